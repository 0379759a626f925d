"""Run the notebooks in order, from top to bottom, and stop at the first error.

    python notebooks/execute.py --in-place            as they are committed, on built-in faces only
    python notebooks/execute.py --into data/executed  copies, the originals stay as they are
    python notebooks/execute.py --quick --seed 1 ...  a smaller demo, of another seed, for tests

Stored are outputs without progress bars, without timestamps and without the state of widgets (an
interactive figure is kept as its static twin), and pictures with 256 colours.
"""

import argparse
import base64
import io
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"
QUICK = """
import dataclasses, nla, nla.training.config
small = dict(train_faces=600, test_faces=300, epochs=4, probe=120, seed=0)
nla.DEMO = nla.training.config.DEMO = dataclasses.replace(nla.DEMO, **small)
baseline = dataclasses.replace(nla.DEMO_BASELINE, **small)
nla.DEMO_BASELINE = nla.training.config.DEMO_BASELINE = baseline
"""


def execute(
    path: Path,
    target: Path | None = None,
    quick: bool = False,
    folder: Path = HERE.parent,
    seed: int = 0,
) -> None:
    """Run one notebook with ``folder`` as its working directory; write it to ``target``.

    ``quick``: with a smaller demo, of that ``seed``.

    CellExecutionError, with the cell and its traceback, if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    if quick:
        demo = QUICK.replace("seed=0", f"seed={seed}")
        notebook.cells.insert(0, nbformat.v4.new_code_cell(demo))
    NotebookClient(
        notebook,
        timeout=900,
        resources={"metadata": {"path": folder}},
        extra_arguments=["--log-level=ERROR"],
    ).execute()
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(tidy(notebook), target)


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what changes from run to run or says nothing once a run is over."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.get("outputs", ()):
            if output.get("data", {}).pop(WIDGET, None):
                output["data"]["text/plain"] = (
                    "An explorer: it moves where a kernel runs. This is its static twin."
                )
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = with_palette(output["data"]["image/png"])
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def with_palette(png: str) -> str:
    """The same picture (base64) in 256 colours, a third of the bytes."""
    stored, buffer = base64.b64decode(png), io.BytesIO()
    picture = Image.open(io.BytesIO(stored)).convert("RGB")
    picture.quantize(256, kmeans=int(len(stored) > 80_000)).save(
        buffer, "png", optimize=True
    )  # k-means for faces
    return base64.b64encode(buffer.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "notebooks", nargs="*", type=Path, help="default: all, then their solutions"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--in-place", action="store_true")
    where.add_argument("--into", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the quick demo")
    parser.add_argument(
        "--folder", type=Path, default=HERE.parent, help="working directory of the notebooks"
    )
    parser.add_argument("--times", action="store_true", help="print the seconds each notebook took")
    options = parser.parse_args()
    if options.seed and not options.quick:
        parser.error("--seed is the seed of the quick demo: add --quick")
    if options.in_place:
        os.environ["NLA_DATA_ROOT"] = (
            "data/built-in-faces-only"  # nothing is there: no real face gets committed
        )
    paths = options.notebooks or [
        *sorted(HERE.glob("[0-9]*.ipynb")),
        *sorted(HERE.glob("solutions/*.ipynb")),
    ]
    bar = tqdm(paths, unit="notebook", leave=False)
    for path in bar:
        bar.set_postfix_str(path.stem)
        part = "solutions" if path.resolve().parent.name == "solutions" else "."
        target = path if options.in_place else options.into and options.into / part / path.name
        began = time.perf_counter()
        try:
            execute(path, target, options.quick, options.folder, options.seed)
        except CellExecutionError as error:
            bar.close()
            sys.exit(f"{path} failed:\n{error}")
        if options.times:
            bar.write(f"{time.perf_counter() - began:6.1f} s  {part}/{path.name}")


if __name__ == "__main__":
    main()
