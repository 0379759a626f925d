"""The promises of the repository as a whole: two ways to install agree, and its rooms are kept."""

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "playwright": "playwright-python",
    "face-recognition-models": "face_recognition_models",
}


def test_conda_and_pip_install_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    split = [re.fullmatch(r"([a-z-]+)(.*)", requirement).groups() for requirement in wanted]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed = {entry for entry in environment if isinstance(entry, str)}
    listed |= set(environment[-1]["pip"]) - {"-e ."}  # what conda-forge does not have
    assert {CONDA_NAMES.get(name, name) + version for name, version in split} == listed - {
        "pip",
        "python>=3.11",
    }
    assert project["requires-python"] == ">=3.11" and "python>=3.11" in listed


def test_the_tested_versions_are_those_that_are_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    asked = [Requirement(text) for text in wanted]
    assert set(tested) == {requirement.name for requirement in asked}
    for requirement in asked:
        assert requirement.specifier.contains(tested[requirement.name]), requirement


def modules():
    return sorted((ROOT / "nla").rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


def test_parameters_and_returns_have_types():
    for path in modules():
        for function in functions(path):
            given = [*function.args.args, *function.args.kwonlyargs]
            untyped = [
                a.arg for a in given if a.annotation is None and a.arg not in ("self", "cls")
            ]
            assert not untyped, f"{path.name}: {function.name} {untyped}"
            assert function.returns is not None or function.name == "__init__", (
                path,
                function.name,
            )


def test_functions_fit_a_screen():
    for path in modules():
        for function in functions(path):
            length = function.end_lineno - function.lineno
            assert length < 60, f"{path.name}: {function.name}"


ROOMS = {  # room: the rooms of nla/ that it may import from; "method" is what stands at the top
    "method": {"method", "data"},
    "data": {"data", "files"},
    "training": {"training", "method", "data", "files"},
    "analysis": {"analysis", "training", "method", "data", "files"},
    "study": {"study", "analysis", "training", "method", "data", "files"},
    "cli": {"cli", "study", "analysis", "training", "method", "data", "files"},
}
ORDER = (
    "naw",
    "consistency",
    "losses",
    "rema",
    "baselines",
    "long_tail",
    "malt",
    "parts",
    "methods",
)  # of the method: each knows earlier ones
ON_DISK = "datasets store decoding pixels check folder folders tables placing parsing".split()
FOLDERS_OF_DATA = tuple(f"nla.data.{name}" for name in (*ON_DISK, "rafdb", "affectnet", "ferplus"))


def room_of(name):
    """The room that a module such as ``nla.data.images`` lies in."""
    part = name.split(".")[1] if "." in name else "method"
    part = {"__main__": "cli", "cli_train": "cli", "on_demand": "files"}.get(part, part)
    return part if part in (*ROOMS, "files") else "method"


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_data_flows_one_way():
    for path in modules():
        module = name_of(path)
        if module == "nla":
            continue  # it says what the kit offers
        allowed = ROOMS.get(room_of(module), set()) | {"method"} - {room_of(module)}
        for name in imports(path):
            if name.startswith("nla."):
                assert room_of(name) in allowed | {"files"}, f"{module} imports {name}"


def test_the_method_builds_up_from_the_plane():
    for place, file in enumerate(ORDER):
        later = {f"nla.{other}" for other in ORDER[place + 1 :]}
        known = set(imports(ROOT / f"nla/{file}.py"))
        assert not any(name.startswith(tuple(f"{other}." for other in later)) for name in known), (
            file
        )


def test_analysis_neither_reads_a_data_sets_folder_nor_starts_a_run():
    for path in (ROOT / "nla/analysis").glob("*.py"):
        for name in imports(path):
            assert not name.startswith((*FOLDERS_OF_DATA, "nla.training.loop")), (path, name)
            assert name not in ("nla.fit", "nla.training.fit"), path


WIDGETS = {"widget.py", "parameters.py"}  # the explorers, which nothing else imports


def test_training_works_without_the_notebooks_packages():
    for path in modules():
        top = [
            node
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = {
            (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in top
        }
        if path.name not in WIDGETS:
            assert not {name.split(".")[0] for name in names} & {
                "umap",
                "jupyterlab",
                "ipywidgets",
                "IPython",
            }, path


TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
).stdout.split("\n")
PAGES = [name for name in TRACKED if name.endswith((".md", ".ipynb"))]


@pytest.mark.skipif(not PAGES, reason="this is no checkout")
@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_everybody_has(page):
    there = {str(parent) for name in TRACKED for parent in (Path(name), *Path(name).parents)}
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert os.path.relpath(ROOT / Path(page).parent / target, ROOT) in there, target
