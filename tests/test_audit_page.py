"""The page of the audit as people use it, in a real browser: keys, undo, reload, export, dark, 375.

Screenshots, of drawn faces, are kept in tests/output (or where NLA_SCREENSHOTS points). Skipped
without chromium or playwright.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SHOTS, plant
from test_browser import run_all
from test_views import drawn_run

from nla.analysis import explore
from nla.analysis.audit import audit
from nla.analysis.audit_page import page_content, write_page
from nla.data.correction import read_decisions
from nla.files import write
from nla.training.config import Config
from nla.training.loading import load_data
from nla.training.record import RunError, read_run

browsing = pytest.mark.browser


class Reader:
    """Somebody who has the page open, without a network; ``errors`` are the page's own."""

    def __init__(self, browser, file, width=1280, height=900, scheme="light"):
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        self.context.route(
            lambda url: not url.startswith(("file:", "data:", "blob:")), lambda route: route.abort()
        )
        self.errors = []
        self.file = file
        self.tab = self.open()

    def open(self):
        tab = self.context.new_page()
        tab.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.goto(self.file.as_uri())
        tab.wait_for_selector(".audit-done:not(:empty)")
        return tab

    def press(self, keys):
        for key in keys.split():
            self.tab.keyboard.press(key)

    def says(self, part):
        return self.tab.inner_text(f".audit-{part}")

    def saved(self):
        with self.tab.expect_download() as download:
            self.press("e")
        return Path(download.value.path())


@pytest.fixture
def reader(browser):
    opened = []

    def at(*args, **options):
        opened.append(Reader(browser, *args, **options))
        return opened[-1]

    yield at
    for one in opened:
        assert one.errors == []
        one.context.close()


@pytest.fixture(scope="module")
def faces_page(tiny_run, tmp_path_factory):
    """The page of a run on drawn faces, and its table."""
    images, _ = load_data(Config.parse(tiny_run.config))
    table = audit(tiny_run)
    file = tmp_path_factory.mktemp("page") / "audit.html"
    return write_page(tiny_run, table, file, images), table


@browsing
def test_a_hundred_faces_are_decided_by_key_saved_and_read_back(faces_page, reader, tiny_run):
    page, table = faces_page
    someone = reader(page)
    someone.press("k s t n 3 " * 20)
    assert "100 of 210 decided" in someone.says("done")
    file = someone.saved()
    made = read_decisions(file, "faces", tiny_run.classes)
    assert len(made) == 100
    first = table.head(5)
    image = tiny_run.manifest.loc[first["index"], "row"].astype(str).to_numpy()
    assert made["image"].head(5).tolist() == image.tolist()
    assert made["label"].head(5).tolist() == first["label"].tolist()
    third = "keep" if first["label"].iloc[4] == tiny_run.classes[2] else "relabel"
    expected = ["keep", "relabel", "two expressions", "no face", third]
    assert made["decision"].head(5).tolist() == expected
    assert made["to"].iloc[1] == first["suggested"].iloc[1]
    digests = [f"{d:016x}" for d in tiny_run.manifest.loc[first["index"], "digest"]]
    assert made["digest"].head(5).tolist() == digests


@browsing
def test_undo_goes_back_to_what_was_and_where_it_was(faces_page, reader):
    someone = reader(faces_page[0])
    someone.press("k ArrowLeft n u")
    assert "1 of 210 decided: 1 kept" in someone.says("done")
    assert someone.says("current").count("decided: keep") == 1
    someone.press("u")
    assert "0 of 210 decided" in someone.says("done")
    someone.press("u k ArrowLeft x")
    assert "0 of 210 decided" in someone.says("done")
    someone.press("Control+z")
    assert "1 of 210 decided" in someone.says("done")


@browsing
def test_decisions_survive_closing_and_come_to_other_windows(faces_page, reader):
    someone = reader(faces_page[0])
    someone.press("k s n")
    someone.tab.close()
    someone.tab = someone.open()
    assert "3 of 210 decided" in someone.says("done")
    assert someone.tab.locator(".audit-grid .done").count() == 3
    other = someone.open()
    someone.press("ArrowRight ArrowRight ArrowRight t")
    other.wait_for_function("document.querySelector('.audit-done').innerText.startsWith('4 of')")


@browsing
def test_what_python_decides_and_what_the_browser_kept_are_one_table(faces_page, reader, tmp_path):
    text = faces_page[0].read_text(encoding="utf-8")
    assert "const state = {" in text and "on: () => {}," in text
    text = text.replace("const state = {", "const state = window.state = {")
    text = text.replace("on: () => {},", "on: (_, call) => { window.told = call },")
    file = tmp_path / "widget.html"
    file.write_text(text, encoding="utf-8")
    someone = reader(file)
    someone.press("k")
    (first,) = someone.tab.evaluate("Object.keys(state.decisions)")
    rows = someone.tab.evaluate("state.content.rows")
    last = next(
        name for name in map(" ".join, zip(rows["split"], map(str, rows["image"]))) if name != first
    )
    by_python = "(id) => { state.decisions = { ...state.decisions, [id]: ['keep', ''] }; told() }"
    someone.tab.evaluate(by_python, last)
    assert someone.says("done").startswith("2 ")
    someone.press("k")  # of the face that comes next, which may be that of Python
    made = set(someone.tab.evaluate("Object.keys(state.decisions)"))
    assert {first, last} <= made
    again = someone.open()  # a kernel that starts anew knows of no decision
    assert set(again.evaluate("Object.keys(state.decisions)")) == made


@browsing
def test_another_runs_decisions_are_not_these(faces_page, reader, tmp_path):
    someone = reader(faces_page[0])
    someone.press("k")
    other = drawn_run(tmp_path / "run")
    someone.file = write_page(other, audit(other), tmp_path / "other.html", None)
    someone.tab = someone.open()
    assert "0 of 8 decided" in someone.says("done")


@browsing
def test_filters_and_tabs_count_what_they_hide(faces_page, reader):
    page, table = faces_page
    someone = reader(page)
    someone.tab.get_by_label("label", exact=True).select_option("fear")
    count = (table["label"] == "fear").sum()
    assert f"1 of {count} " in someone.says("current")
    assert f"{210 - count} more are filtered out" in someone.says("none")
    someone.press("k k")
    someone.tab.get_by_label("decided", exact=True).select_option("done")
    assert "1 of 2 " in someone.says("current")
    someone.tab.get_by_label("seen").select_option("held out")
    assert "filtered out" in someone.says("none")
    someone.tab.get_by_role("button", name="Ambiguous").click()
    assert someone.tab.get_by_role("button", name="Ambiguous").get_attribute("aria-pressed")


@browsing
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_is_readable_on_a_phone_and_in_the_dark(faces_page, reader, width, scheme):
    someone = reader(faces_page[0], width, 812, scheme=scheme)
    someone.press("k s t n ArrowRight")
    tab = someone.tab
    tab.screenshot(path=SHOTS / f"audit_{width}_{scheme}.png")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("Keep", "No face", "neutral", "Save csv"):
        box = tab.get_by_role("button", name=re.compile(f"^{name}")).first.bounding_box()
        assert box["height"] >= 30 and 0 <= box["x"] and box["x"] + box["width"] <= width
    ink, paper = tab.evaluate(
        "['color', 'background-color'].map((of) => "
        "getComputedStyle(document.querySelector('.audit'))[of].match(/[0-9]+/g).map(Number))"
    )
    assert (sum(paper) < sum(ink)) == (scheme == "dark")
    assert abs(sum(paper) - sum(ink)) > 400


@browsing
def test_who_cannot_see_the_page_hears_it(faces_page, reader):
    tab = reader(faces_page[0]).tab
    nameless = tab.evaluate(
        "[...document.querySelectorAll('button, select, input, progress, [role=img]')].filter("
        "(one) => !(one.innerText || one.ariaLabel || one.labels?.length)).length"
    )
    assert nameless == 0
    tab.keyboard.press("n")
    heard = tab.locator("[aria-live]").inner_text()
    assert heard.startswith("no face. Now: label ")
    assert tab.locator(".audit-grid [tabindex='0']").count() == 1  # one stop, not two hundred


@browsing
def test_the_mouse_does_all_that_keys_do(faces_page, reader):
    someone = reader(faces_page[0])
    for name in ("Keep", "Take the suggestion", "Two expressions", "No face", "sadness"):
        someone.tab.locator(".audit-stage").get_by_role("button", name=name).click()
    assert "5 of 210 decided" in someone.says("done")
    someone.tab.locator(".audit-grid button").nth(20).click()
    assert "21 of 210" in someone.says("current")
    someone.tab.get_by_role("button", name="Undo").click()
    assert "4 of 210 decided" in someone.says("done")


@browsing
def test_names_that_look_like_markup_are_text(tmp_path, reader):
    names = ("<b>cat</b>", 'dog, "big"', "</script>")
    run = drawn_run(tmp_path / "run", names, 3)
    images = torch.arange(18, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 24, 24)
    someone = reader(write_page(run, audit(run), tmp_path / "audit.html", images))
    someone.press("k s")
    made = read_decisions(someone.saved(), "faces", names)
    assert len(made) == 2 and set(made["image"].str[:10]) == {"set & more"}
    assert "truth" not in someone.tab.inner_text(".audit") and "votes" not in someone.says("facts")


def test_a_run_without_pictures_one_class_and_no_rows_have_a_page(tmp_path, odd_run):
    content = page_content(odd_run, audit(odd_run))
    assert content["sheets"] == [] and len(content["rows"]["image"]) == content["total"]
    tiny = drawn_run(tmp_path, record=False)
    assert page_content(tiny, audit(tiny))["total"] == 4


def test_copies_with_different_labels_stand_together(tmp_path):
    run = plant(tmp_path / "run")
    digest = np.arange(len(run.manifest), dtype=np.uint64)
    digest[[200, 3]] = digest[[40, 4]]  # 200 and 40 differ in their labels, 3 and 4 do not
    write(run.folder / "manifest.parquet", run.manifest.assign(digest=digest))
    run = read_run(run.folder)
    content = page_content(run, audit(run), faces=100)
    copies = next(tab for tab in content["tabs"] if tab["name"] == "copies")
    rows = content["rows"]
    assert {rows["index"][k] for k in copies["order"]} == {40, 200} and copies["total"] == 2
    assert rows["copies"][copies["order"][0]] == "fear, neutral"


@pytest.mark.parametrize("faces", [10, 60, 1000])
def test_the_page_shows_as_many_as_asked_for_and_counts_the_rest(planted_run, faces):
    content = page_content(planted_run, audit(planted_run), faces=faces)
    count = len(content["rows"]["image"])
    assert count == min(faces, 280) and content["total"] == 280
    assert content["tabs"][0]["order"] == sorted(content["tabs"][0]["order"])


def test_a_large_run_gives_a_page_under_ten_megabytes(tmp_path):
    run = plant(tmp_path / "run", epochs=3, per_class=40_557, test_per_class=5, latents=False)
    faces = torch.randint(256, (64, 3, 112, 112), dtype=torch.uint8)  # as hard to pack as can be

    class Pictures:
        shape = (len(run.manifest), 3, 112, 112)

        def __getitem__(self, row):
            return faces[row % 64]

    table = audit(run)
    page = write_page(run, table, tmp_path / "audit.html", Pictures(), faces=2000)
    assert len(table) == 283_934
    assert page.stat().st_size < 10e6


def test_the_widget_gives_its_decisions_as_a_table(tiny_run, tmp_path):
    images, _ = load_data(Config.parse(tiny_run.config))
    widget = explore.audit_explorer(tiny_run, images)
    assert widget.table.empty
    first = int(audit(tiny_run)["index"].iloc[0])
    with pytest.raises(RunError, match="row 9999 is none of the 210 faces shown"):
        widget.decide(9999, "anger")
    with pytest.raises(RunError, match="no class is called 'calm'"):
        widget.decide(first, "calm")
    widget.decide(first, "anger")
    row = widget.table.iloc[0]
    assert (row["to"], row["decision"], row["data"]) == ("anger", "relabel", "faces")
    made = read_decisions(widget.save(tmp_path / "made.csv"), "faces", tiny_run.classes)
    assert made["image"].tolist() == [str(tiny_run.manifest.loc[first, "row"])]
    output = widget._repr_mimebundle_()[0]
    assert output["image/png"] and "application/vnd.jupyter.widget-view+json" in output
    assert isinstance(pd.DataFrame(widget.content["rows"]), pd.DataFrame)


# In JupyterLab


@pytest.fixture(scope="module")
def lab(tiny_run, tmp_path_factory):
    """The address of a JupyterLab on a folder with a notebook that shows the widget."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(tiny_run.folder, folder / "run")
    show = """
from nla import Config, read_run
from nla.analysis import explore
from nla.training.loading import load_data
run = read_run("run")
widget = explore.audit_explorer(run, load_data(Config.parse(run.config))[0])
widget"""
    cells = [nbformat.v4.new_code_cell(show), nbformat.v4.new_code_cell("print(len(widget.table))")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(notebook, folder / "audit.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--IdentityProvider.token="]
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options, f"--port={port}"],
        cwd=folder,
        stderr=subprocess.DEVNULL,
        env=os.environ | dict.fromkeys(places, str(folder / "jupyter")),
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5)
            break
        except OSError:
            assert process.poll() is None
            time.sleep(0.3)
    yield address
    process.terminate()
    process.wait(20)


@browsing
def test_in_jupyterlab_keys_decide_and_do_not_cut_cells(lab, browser):
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.route(lambda url: "//127.0.0.1" not in url and url.startswith("http"), stop)
    tab = context.new_page()
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    run_all(tab, lab, "lab/tree/audit.ipynb")
    page = tab.locator(".audit")
    page.wait_for(timeout=120_000)
    page.locator(".audit-grid button").first.click()
    cells = tab.locator(".jp-Notebook .jp-Cell").count()
    for key in ("k", "s", "n", "x", "d", "d", "u"):
        tab.keyboard.press(key)
    assert "2 of 210 decided" in page.locator(".audit-done").inner_text()
    assert tab.locator(".jp-Notebook .jp-Cell").count() == cells
    tab.screenshot(path=SHOTS / "audit_lab.png")
    tab.evaluate("document.body.dataset.jpThemeLight = 'false'")
    tab.wait_for_selector(".audit.dark")
    tab.screenshot(path=SHOTS / "audit_lab_dark.png")
    tab.locator(".jp-CodeCell .jp-InputArea-editor").last.click()
    tab.keyboard.press("Shift+Enter")
    tab.locator(".jp-CodeCell .jp-OutputArea-output", has_text="2").last.wait_for(timeout=60_000)
    assert errors == []
    context.close()


def stop(route):
    route.abort()
