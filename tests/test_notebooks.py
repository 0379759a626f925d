"""The notebooks: the house style as committed, and that they run (marked ``notebooks``) in a quick
profile.
"""

import contextlib
import importlib.util
import os
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
SOLUTIONS = sorted(NOTEBOOKS.glob("solutions/*.ipynb"))
ALL = pytest.mark.parametrize(
    "path", LESSONS + SOLUTIONS, ids=lambda p: f"{p.parent.name}-{p.stem}"
)
EACH_LESSON = pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
WIDGET = "application/vnd.jupyter.widget"

spec = importlib.util.spec_from_file_location("execute", NOTEBOOKS / "execute.py")
execute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute)


def cells(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def text_of(path):
    return "\n".join(cell.source for cell in cells(path, "markdown"))


def test_there_are_lessons_each_with_solutions():
    assert len(LESSONS) >= 6
    assert [path.name for path in LESSONS] == [path.name for path in SOLUTIONS]
    assert [path.name[:2] for path in LESSONS] == sorted(
        {path.name[:2] for path in LESSONS}
    )  # no number twice


@ALL
def test_it_is_committed_executed_small_and_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size <= 500 * 1024
    assert "widgets" not in notebook.metadata
    assert all("execution" not in cell.metadata for cell in notebook.cells)
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"  # neither warnings nor progress bars
            assert not any(mime.startswith(WIDGET) for mime in output.get("data", {}))


@ALL
def test_what_it_shows_names_no_machine_and_no_warning(path):
    for cell in cells(path, "code"):
        for output in cell.outputs:
            data = output.get("data", {})
            shown = output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")
            assert not re.search(r"/(home|root|tmp|work|Users)/|Warning", shown)


@ALL
def test_code_is_short_and_explained(path):
    lengths = [len(cell.source.splitlines()) for cell in cells(path, "code")]
    assert max(lengths) <= 30 and min(lengths) > 0
    if path in LESSONS:
        assert statistics.median(lengths) <= 8
        assert len(cells(path, "markdown")) >= len(lengths)


@EACH_LESSON
def test_it_opens_with_what_a_reader_wants_to_know(path):
    opening, first = cells(path, "markdown")[0].source, cells(path, "code")[0].source
    assert opening.startswith(f"# {path.name[:2]} · ")
    for part in (
        "**Question.**",
        "**In the paper.**",
        "arxiv.org/abs/2502.09993",
        "**Needs**",
        "**Produces**",
        "| run time | 2 CPU cores |",
    ):
        assert part in opening
    assert "nla.__version__" in first and "seed" in first and "print(" in first
    assert "@" not in opening.replace("@" * 3, "")  # no place-holder left for a run time


@EACH_LESSON
def test_it_answers_its_question_in_three_computed_sentences(path):
    notebook = nbformat.read(path, as_version=4)
    ends = [k for k, cell in enumerate(notebook.cells) if "## What we saw" in cell.source]
    assert len(ends) == 1
    said = notebook.cells[ends[0] + 1]
    text = "".join(output.get("text", "") for output in said.outputs)
    for k in (1, 2, 3):
        (sentence,) = re.findall(rf"^{k}\. (.*)$", text, flags=re.MULTILINE)
        assert sentence.endswith(".") and sentence not in said.source  # numbers are computed
    assert "4." not in [line[:2] for line in text.splitlines()]


NUMBER_OF_A_RUN = re.compile(r"\d\.\d+ ?(?:%|points)|[+±] ?\d+\.\d")


@pytest.mark.parametrize(
    "path", [p for p in LESSONS if not p.stem.startswith("07")], ids=lambda p: p.stem
)
def test_prose_states_no_number_that_another_machine_would_not_give(path):
    assert not NUMBER_OF_A_RUN.search(text_of(path))


@EACH_LESSON
def test_sections_are_numbered_one_by_one(path):
    numbers = [int(k) for k in re.findall(r"^## (\d+) · ", text_of(path), flags=re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("confusion_explorer", "04_per_class_and_confusion"),
        ("naw_explorer", "05_naw_weights_over_epochs"),
        ("parameter_explorer", "05_naw_weights_over_epochs"),
        ("latent_explorer", "06_latent_umap_across_steps"),
    ],
)
def test_explorers_stand_where_they_are_looked_for(name, stem):
    path = NOTEBOOKS / f"{stem}.ipynb"
    (cell,) = [cell for cell in cells(path, "code") if f"explore.{name}(" in cell.source]
    assert "images)" in cell.source  # with faces
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)


def test_make_lab_serves_the_whole_project_and_opens_the_first_notebook():
    command = subprocess.run(["make", "-n", "lab"], cwd=NOTEBOOKS.parent, capture_output=True)
    call = next(line for line in command.stdout.decode().splitlines() if "jupyter" in line)
    arguments = call.split("lab ", 1)[1].split()  # a file among them would make its folder the root
    assert arguments == ["--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"]


@EACH_LESSON
def test_it_ends_in_checks_and_exercises(path):
    notebook, last = nbformat.read(path, as_version=4), cells(path, "code")[-1]
    headings = [line for line in text_of(path).splitlines() if line.startswith("#")]
    assert headings[-2:] == ["## Checks", "## Exercises"]
    assert last.source.count("assert") >= 4 and "all checks passed" in last.outputs[-1]["text"]
    exercises = notebook.cells[-1].source
    assert sum(f"\n{k}. **" in exercises for k in range(1, 5)) in (2, 3)
    assert f"solutions/{path.name}" in exercises


@ALL
def test_links_between_notebooks_lead_somewhere(path):
    for piece in text_of(path).split("](")[1:]:
        link = piece.split(")")[0]
        assert link.startswith("https://") or (path.parent / link).exists(), link


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda p: p.stem)
def test_every_exercise_is_solved_and_the_solution_checked(path):
    wanted = sum(
        f"\n{k}. **" in cells(NOTEBOOKS / path.name, "markdown")[-1].source for k in range(1, 5)
    )
    assert (
        text_of(path).count("\n## ") + text_of(path).startswith("## ") == wanted + 1
    )  # and the checks
    last = cells(path, "code")[-1]
    assert last.source.count("assert") >= 3 and "all checks passed" in last.outputs[-1]["text"]


def test_figures_are_shown_where_they_are_made():
    for path in LESSONS:
        outputs = [output for cell in cells(path, "code") for output in cell.outputs]
        pictures = [output for output in outputs if "image/png" in output.get("data", {})]
        assert len(pictures) >= 2, path.name


def test_tidying_leaves_out_progress_bars_timestamps_and_widgets(tmp_path):
    view = {execute.WIDGET: {"model_id": "a"}, "text/plain": "VBox(children=(...))"}
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="50 %"),
        nbformat.v4.new_output("display_data", view),
        nbformat.v4.new_output("stream", name="stdout", text="kept"),
    ]
    cell = nbformat.v4.new_code_cell(
        "1", outputs=outputs, metadata={"execution": {"started": "now"}}
    )
    notebook = execute.tidy(
        nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    )
    assert [output.output_type for output in notebook.cells[0].outputs] == [
        "display_data",
        "stream",
    ]
    assert set(notebook.cells[0].outputs[0]["data"]) == {"text/plain"}
    assert "VBox" not in notebook.cells[0].outputs[0]["data"]["text/plain"]
    assert not notebook.cells[0].metadata and "widgets" not in notebook.metadata


# Running them


def asked(request, fixture):
    """The notebooks whose tests this session is to run with a fixture."""
    return [
        item.callspec.params["path"]
        for item in request.session.items
        if fixture in getattr(item, "fixturenames", ()) and hasattr(item, "callspec")
    ]


@contextlib.contextmanager
def started(paths, folder, *options):
    """A future for each notebook: first the lesson that trains the demo, then two at a time.

    They share a folder, so that its runs are trained once; the checkout's data/ stays out of it.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if root := os.environ.get("NLA_DATA_ROOT"):
        environment["NLA_DATA_ROOT"] = str(Path(root).resolve())
    script = [sys.executable, NOTEBOOKS / "execute.py", "--quick", *options, "--folder", folder]

    def run(path, env=environment, after=None):
        if after:
            after.result()
        return subprocess.run([*script, path], env=env, capture_output=True, text=True)

    trains, *_ = LESSONS
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, trains, environment | {"OMP_NUM_THREADS": "2"})
        first.result()
        futures = {trains: first}
        for path in paths:
            if path != trains:  # solutions read the run that their lesson trains
                lesson = futures.get(NOTEBOOKS / path.name)
                futures[path] = pool.submit(run, path, after=lesson)
        yield futures


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    with started(asked(request, "outcomes"), tmp_path_factory.mktemp("notebooks")) as futures:
        yield futures


@pytest.fixture(scope="module")
def with_another_seed(request, tmp_path_factory):
    paths, folder = asked(request, "with_another_seed"), tmp_path_factory.mktemp("another_seed")
    with started(paths, folder, "--seed", "1") as futures:
        yield futures


@pytest.mark.notebooks
@EACH_LESSON
def test_it_runs_in_the_quick_profile(path, outcomes):
    outcome = outcomes[path].result()
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.notebooks
@pytest.mark.slow
@EACH_LESSON
def test_no_claim_turns_false_with_another_seed(path, with_another_seed):
    """What it claims stands in its Checks, or is computed."""
    outcome = with_another_seed[path].result()
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.notebooks
@pytest.mark.slow
@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda p: p.stem)
def test_its_solutions_run_in_the_quick_profile(path, outcomes):
    outcome = outcomes[path].result()
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.notebooks
def test_an_error_stops_the_execution_and_says_where(tmp_path, monkeypatch, capsys):
    broken = tmp_path / "broken.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0  # here")]), broken
    )
    before = broken.read_bytes()
    monkeypatch.setattr("sys.argv", ["execute.py", "--in-place", str(broken)])
    monkeypatch.setenv("NLA_DATA_ROOT", "as it was")
    with pytest.raises(
        SystemExit, match="broken.ipynb failed(.|\n)*1 / 0  # here(.|\n)*ZeroDivisionError"
    ):
        execute.main()
    assert broken.read_bytes() == before


@pytest.mark.notebooks
def test_two_at_a_time_each_leaves_its_copy_and_an_error_still_stops(tmp_path):
    for name, source in (("01_fine", "print(6 * 7)"), ("02_broken", "1 / 0  # here")):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    script = [sys.executable, NOTEBOOKS / "execute.py", "--jobs", "2", "--into", tmp_path / "done"]
    both = sorted(tmp_path.glob("*.ipynb"))
    ended = subprocess.run([*script, *both], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "02_broken.ipynb failed" in ended.stderr and "1 / 0  # here" in ended.stderr
    assert not (tmp_path / "done/02_broken.ipynb").exists()
    ended = subprocess.run([*script, "--times", both[0], both[0]], capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout.count("01_fine.ipynb") == 2
    assert "42" in (tmp_path / "done/01_fine.ipynb").read_text(encoding="utf-8")
