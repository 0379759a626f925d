"""Files that are whole or absent: written under a temporary name, then renamed."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import save


class WriteError(ValueError):
    """A file that cannot be written; what was there before is still there."""


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that replaces it once the block has ended without an error, else WriteError."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error}): free space or choose another folder; "
            "nothing that was there before is lost, and a run goes on from its last checkpoint"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write(path: str | Path, content) -> None:
    """By the name's suffix: a table as .csv or .parquet, a dict as .json, of arrays as .npz, of tensors as
    .safetensors; otherwise text. WriteError if the disk or the folder does not let it."""
    with atomic(path) as temporary:
        match Path(path).suffix:
            case ".csv" if isinstance(content, pd.DataFrame):
                content.to_csv(temporary, index=False)
            case ".parquet":
                content.to_parquet(temporary, index=False)
            case ".json":
                temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            case ".npz":
                with open(temporary, "wb") as file:
                    np.savez(file, **content)
            case ".safetensors":
                temporary.write_bytes(
                    save({name: tensor.contiguous().cpu() for name, tensor in content.items()})
                )
            case _:
                temporary.write_text(content, encoding="utf-8")
