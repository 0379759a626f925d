"""Run the notebooks in order, from top to bottom, and stop at the first error.

    python notebooks/execute.py --in-place            as they are committed, on built-in faces only
    python notebooks/execute.py --into data/executed  copies, the originals stay as they are
    python notebooks/execute.py --quick --seed 1 ...  a smaller demo, of another seed, for tests
    python notebooks/execute.py --jobs 2 ...          two at a time, which share the processors

Stored are outputs without progress bars, without timestamps and without the state of widgets (an
interactive figure is kept as its static twin), and pictures with 256 colours.
"""

import argparse
import base64
import io
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
TRAINS = "00"  # the notebook that trains the demo, which the others read
MEASURES = "03"  # the one that measures how fast this machine is, so nothing runs beside it
Arguments = tuple[Path, Path | None, bool, Path, int]  # of execute
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


def carried_out(todo: list[Arguments], jobs: int) -> Iterator[str]:
    """Execute notebooks, ``jobs`` at a time, and say of each that has ended how long it took.

    SystemExit, with the cell and its traceback, if a cell fails, once those that run by then have
    ended.
    """
    alone = [one for one in todo if jobs == 1 or one[0].name.startswith((TRAINS, MEASURES))]
    together = [one for one in todo if one not in alone]
    for arguments in alone:
        yield timed(*arguments)
    if not together:
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        running = [pool.submit(timed, *arguments) for arguments in together]
        try:
            for ended in as_completed(running):
                yield ended.result()
        finally:
            pool.shutdown(cancel_futures=True)


def timed(path: Path, target: Path | None, quick: bool, folder: Path, seed: int) -> str:
    """Execute one notebook: how long it took, in words. SystemExit if a cell fails."""
    began = time.perf_counter()
    try:
        execute(path, target, quick, folder, seed)
    except CellExecutionError as error:
        sys.exit(f"{path} failed:\n{error}")
    return f"{time.perf_counter() - began:6.1f} s  {part_of(path)}/{path.name}"


def part_of(path: Path) -> str:
    """The folder of a notebook, among the notebooks."""
    return "solutions" if path.resolve().parent.name == "solutions" else "."


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
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time")
    parser.add_argument("--times", action="store_true", help="print the seconds each notebook took")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs must be 1 or more, got {options.jobs}")
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
    todo = []
    for path in paths:
        copy = options.into and options.into / part_of(path) / path.name
        target = path if options.in_place else copy
        todo.append((path, target, options.quick, options.folder, options.seed))
    with tqdm(total=len(todo), unit="notebook", leave=False) as bar:
        for words in carried_out(todo, options.jobs):
            bar.update()
            bar.set_postfix_str(words.split()[-1])
            if options.times:
                bar.write(words)


if __name__ == "__main__":
    main()
