"""Run the notebooks in order, from top to bottom, and stop at the first error.

    python notebooks/execute.py --in-place            as they are committed
    python notebooks/execute.py --into data/executed  copies, the originals stay as they are
    python notebooks/execute.py --quick ...           a smaller demo, for tests
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

HERE = Path(__file__).parent
QUICK = """
import dataclasses, nla, nla.training
small = dict(train_faces=600, test_faces=300, epochs=4, probe=120)
nla.DEMO = nla.training.DEMO = dataclasses.replace(nla.DEMO, **small)
nla.DEMO_BASELINE = nla.training.DEMO_BASELINE = dataclasses.replace(nla.DEMO_BASELINE, **small)
QUICK = True
"""


def execute(path: Path, target: Path | None, quick: bool = False) -> None:
    """Run one notebook with the repository's root as its working directory; write it to ``target``."""
    notebook = nbformat.read(path, as_version=4)
    if quick:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(QUICK))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": HERE.parent}}).execute()
    for cell in notebook.cells:  # a finished progress bar says nothing, and timestamps change at every run
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all, then their solutions")
    parser.add_argument("--in-place", action="store_true")
    parser.add_argument("--into", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    paths = options.notebooks or [*sorted(HERE.glob("[0-9]*.ipynb")), *sorted(HERE.glob("solutions/*.ipynb"))]
    bar = tqdm(paths, unit="notebook")
    for path in bar:
        bar.set_postfix_str(path.stem)
        target = path if options.in_place else options.into and options.into / path.name
        try:
            execute(path, target, options.quick)
        except CellExecutionError as error:
            bar.close()
            sys.exit(f"{path} failed:\n{error}")


if __name__ == "__main__":
    main()
