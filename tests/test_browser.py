"""The explorers as people use them: in JupyterLab, in Notebook 7 and as a page, in a real browser.

Screenshots are kept in tests/output (or where NLA_SCREENSHOTS points). Skipped without chromium or
playwright.
"""

import json
import os
import socket
import statistics
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
from test_notebooks import NOTEBOOKS, execute
from test_views import drawn_run

from nla.analysis import explore, figures, page
from nla.data import EXPRESSIONS

pytestmark = pytest.mark.browser
STEP = """async (scatter) => {  // milliseconds from a move of the slider to the picture it gives
  const slider = scatter.closest('.nla').querySelector('.nla-step'), times = []
  for (let k = 0; k < 12; k++) {
    await new Promise((done) => setTimeout(done, 200))
    slider.value = (Number(slider.value) + 1) % (Number(slider.max) + 1)
    const start = performance.now()
    slider.dispatchEvent(new Event('input'))
    await new Promise(requestAnimationFrame)
    scatter.getContext('2d').getImageData(0, 0, 1, 1)
    times.push(performance.now() - start)
  }
  return times
}"""


@pytest.fixture
def tab(browser):
    """A page 1400 x 1000 that reaches this machine only; ``tab.errors`` are the page's own."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.route(
        lambda url: "//127.0.0.1" not in url and not url.startswith(("file:", "data:", "blob:")),
        lambda route: route.abort(),
    )
    tab = context.new_page()
    tab.errors = []
    tab.on(
        "console",
        lambda message: tab.errors.append(message.text) if message.type == "error" else None,
    )
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    yield tab
    tab.screenshot(path=SHOTS / "last.png")  # of the latest test, however it ended
    context.close()


class Address(str):
    """Where a server listens, and the folder that it serves."""

    folder: Path


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    """JupyterLab and Notebook 7 on a folder with a small lesson 05 and all explorers on a run of
    RAF-DB's size."""
    folder = tmp_path_factory.mktemp("jupyter")
    plant(folder / "large", epochs=6, per_class=1753, test_per_class=438)
    large = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import pandas as pd, torch
from nla import read_run
from nla.analysis import explore, figures, page
from nla.data import EXPRESSIONS
run = read_run("large")
rows = run.manifest.loc[run.latents[0]["index"]].reset_index(names="index")
grey = torch.arange(256, dtype=torch.uint8).repeat(61)[:len(run.manifest)]
images = grey[:, None, None, None].expand(-1, 1, 48, 48)
embedding = pd.concat([rows.assign(epoch=step, x=arrays["latent"][:, 0], y=arrays["latent"][:, 1])
                       for step, arrays in run.latents.items()], ignore_index=True)
"""
    cells = [
        large,
        "explore.naw_explorer(run, images)",
        "explore.latent_explorer(run, embedding, images)",
        "explore.confusion_explorer(run, images)",
        "explore.parameter_explorer(run, images)",
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)], metadata=kernel),
        folder / "large.ipynb",
    )
    small = [
        f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from conftest import plant
from nla.analysis import explore
explorer = explore.naw_explorer(plant(Path("small")))
explorer""",
        "print(explorer.step, explorer.selected['kind'].value_counts().to_dict())",
    ]
    cells = [*map(nbformat.v4.new_code_cell, small)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "small.ipynb")
    path = next(NOTEBOOKS.glob("*_naw_weights_over_epochs.ipynb"))
    lesson = nbformat.read(path, as_version=4)
    last = next(k for k, cell in enumerate(lesson.cells) if "explore.naw_explorer" in cell.source)
    lesson.cells = [nbformat.v4.new_code_cell(execute.QUICK), *lesson.cells[: last + 1]]
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(lesson, folder / "lesson.ipynb")
    for name, content in {
        "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
        "notebook-extension/tracker": '{"windowingMode": "none"}',
    }.items():  # all cells on the page
        settings = folder / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        settings.parent.mkdir(parents=True)
        settings.write_text(content)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {
        name: str(folder / "jupyter")
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            "--ip=127.0.0.1",
            f"--port={port}",
            "--IdentityProvider.token=",
            "--ServerApp.disable_check_xsrf=True",  # the tests shut kernels down
            f"--ServerApp.root_dir={folder}",
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | places
        | {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "OMP_NUM_THREADS": "1"},
    )
    address, deadline = Address(f"http://127.0.0.1:{port}"), time.monotonic() + 60
    address.folder = folder
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5)
            break
        except OSError:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.3)
    yield address
    process.terminate()
    process.wait(20)


def run_all(tab, address, notebook):
    """Open a notebook and run it from its menu; returns once its first cell has run."""
    tab.goto(f"{address}/{notebook}?reset")  # not what an earlier tab had open
    tab.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    prompt, dialog = (
        tab.locator(".jp-CodeCell .jp-InputPrompt").first,
        tab.locator(".jp-Dialog .jp-mod-accept"),
    )
    tab.locator(".jp-Toolbar-kernelName", has_text="Python 3").wait_for(timeout=60_000)
    tab.wait_for_timeout(3000)  # the kernel has a name before it answers
    for _ in range(90):
        if dialog.count():
            dialog.first.click()
        elif prompt.inner_text() == "[ ]:":
            tab.get_by_role("menuitem", name="Run", exact=True).click()
            tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        elif prompt.inner_text() != "[*]:":
            return
        tab.wait_for_timeout(1000)
    raise AssertionError("the notebook did not run")


def bring_up(tab, nth=0):
    """The nth explorer of a notebook, once it is there, scrolled to."""
    found = tab.locator(".nla").nth(nth)
    found.wait_for(timeout=120_000)
    found.scroll_into_view_if_needed()
    return found


def on_screen(explorer, places):
    """Where points of the unit square of the picture are on the screen."""
    canvas = explorer.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    left, top, size = (
        float(canvas.get_attribute(f"data-{name}")) for name in ("left", "top", "size")
    )
    return [(box["x"] + left + size * x, box["y"] + top + size * (1 - y)) for x, y in places]


def loop(tab, explorer, corners):
    """Draw a loop through points of the unit square of the picture."""
    points = on_screen(explorer, corners)
    tab.mouse.move(*points[0])
    tab.mouse.down()
    for point in points[1:]:
        tab.mouse.move(*point, steps=4)
    tab.mouse.up()


def walk_through(tab, explorer, corners, shot):
    """Slider, loop, filters, colours, play: the picture and the faces change each time."""
    canvas, cards, slider = (
        explorer.locator(name) for name in ("canvas", ".nla-card", ".nla-step")
    )
    pictures = [canvas.screenshot()]

    def changed():
        tab.wait_for_timeout(300)
        pictures.append(canvas.screenshot())
        return pictures[-1] != pictures[-2]

    slider.fill(slider.get_attribute("max"))
    assert changed()
    loop(tab, explorer, corners)
    explorer.locator("img.nla-face, .nla-sprite").first.wait_for(
        timeout=60_000
    )  # the kernel may be at another cell
    assert changed() and "selected" in explorer.locator(".nla-summary").inner_text()
    assert cards.first.locator("polyline").count() == 1
    tab.screenshot(path=SHOTS / f"{shot}.png")
    texts, before = cards.all_inner_texts(), cards.first.inner_html()
    slider.fill("0")
    assert changed() and cards.first.inner_html() != before  # the same face at another time
    explorer.get_by_role("button", name="by class").click()
    assert changed()
    explorer.get_by_role("button", name="happiness", exact=True).click()
    assert changed()
    explorer.get_by_role("button", name="play").click()
    tab.wait_for_timeout(1700)
    assert slider.input_value() != "0" and changed()
    explorer.get_by_role("button", name="pause").click()
    return texts


NOISY = [
    (0.0, 0.75),
    (0.1, 0.75),
    (0.1, 0.85),
    (0.0, 0.85),
]  # of conftest.plant: p_GT .05, p_NN .80


@pytest.mark.parametrize("place", ["lab/tree", "notebooks"])
def test_explorers_at_the_size_of_rafdb(tab, server, place):
    if place == "notebooks":
        pytest.importorskip("notebook", reason="Notebook 7 is not installed (pip install notebook)")
    name = place.split("/")[0]
    run_all(tab, server, f"{place}/large.ipynb")
    explorer = bring_up(tab)
    texts = walk_through(tab, explorer, NOISY, f"{name}_naw")
    assert len(texts) == explore.CARDS and all(
        "noisy" in text and "true:" in text for text in texts
    )
    times = explorer.locator("canvas").evaluate(STEP)
    print(
        f"\n{name}: {statistics.median(times):.0f} ms a step at 12,271 points "
        f"(median of {len(times)}, worst {max(times):.0f})"
    )
    assert statistics.median(times) < 150
    confusion = bring_up(tab, 2)
    tab.mouse.click(*on_screen(confusion, [(1.5 / 7, 6.5 / 7)])[0])  # surprise taken for fear
    confusion.locator("img.nla-face").first.wait_for(
        timeout=60_000
    )  # the kernel may be at another cell
    assert "438 selected" in confusion.inner_text() and "predicted fear" in confusion.inner_text()
    tab.screenshot(path=SHOTS / f"{name}_confusion.png")
    if name == "notebooks":
        return
    latent = bring_up(tab, 1)
    walk_through(tab, latent, [(0, 0), (0.4, 0), (0.4, 1), (0, 1)], f"{name}_latents")
    parameters = bring_up(tab, 3)
    table = tab.locator("table", has_text="share of the loss").last
    before, picture = table.inner_text(timeout=10_000), parameters.locator("canvas").screenshot()
    tab.locator(".widget-hslider", has_text="slope").locator(".widget-readout").fill("-1")
    tab.keyboard.press("Enter")
    tab.wait_for_timeout(1500)
    assert table.inner_text() != before and parameters.locator("canvas").screenshot() != picture
    tab.screenshot(path=SHOTS / f"{name}_parameters.png")


def picture_of(tab):
    """The explorer's static twin in a notebook."""
    return tab.locator(".jp-OutputArea-child img")


def test_keys_selection_and_reopening_in_jupyterlab(tab, server):
    """Lab takes no key from the slider; Python reads the selection; a picture stays."""
    run_all(tab, server, "lab/tree/small.ipynb")
    explorer = bring_up(tab)
    assert not picture_of(tab).is_visible()
    slider = explorer.locator(".nla-step")
    slider.click(position={"x": 2, "y": 8})  # as a hand does
    for key, value in {"End": 4, "ArrowLeft": 3, "Home": 0, "PageUp": 1, "ArrowUp": 2}.items():
        tab.keyboard.press(key)
        assert slider.input_value() == str(value), key
    assert slider.evaluate("slider => slider === document.activeElement")
    loop(tab, explorer, [(0.3, 0.35), (0.5, 0.35), (0.5, 0.45), (0.3, 0.45)])
    assert shown(explorer).startswith("42 selected")
    explorer.locator("canvas").focus()
    for key in ("PageDown", "End", "ArrowUp", "d", "d", "x", "b"):  # Lab deletes a cell by d d
        tab.keyboard.press(key)
    assert tab.locator(".jp-CodeCell").count() == 2
    tab.screenshot(path=SHOTS / "lab_small.png")
    tab.locator(".jp-CodeCell .jp-InputArea-editor").nth(1).click()
    tab.keyboard.press("Shift+Enter")
    tab.get_by_text("2 {'ambiguous': 42}").wait_for(timeout=60_000)
    tab.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
    tab.keyboard.press("Control+s")
    tab.wait_for_timeout(2000)
    folder = Path(server.folder)
    notebook = nbformat.read(folder / "small.ipynb", as_version=4)
    assert execute.WIDGET in str(notebook.cells[0].outputs)
    notebook.cells[1].source += "  # of somebody else, whom Lab does not trust"
    nbformat.write(notebook, folder / "untrusted.ipynb")
    for session in json.load(urllib.request.urlopen(f"{server}/api/sessions")):
        address = f"{server}/api/sessions/{session['id']}"
        urllib.request.urlopen(urllib.request.Request(address, method="DELETE"))
    for name in ("small", "untrusted"):
        tab.goto(f"{server}/lab/tree/{name}.ipynb?reset")
        picture_of(tab).wait_for(timeout=60_000)
        tab.wait_for_timeout(4000)  # Lab looks for the model for a while
        assert picture_of(tab).is_visible() and picture_of(tab).count() == 1
        assert not tab.get_by_text("model not found").is_visible()
        tab.screenshot(path=SHOTS / f"reopened_{name}.png")


def test_a_lesson_in_jupyterlab(tab, server):
    run_all(tab, server, "lab/tree/lesson.ipynb")
    explorer = bring_up(tab)
    walk_through(tab, explorer, [(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.98)], "lesson")


def test_the_page_needs_neither_kernel_nor_network(tab, tmp_path):
    run = plant(
        tmp_path / "run", epochs=14, per_class=285, latents=False
    )  # as many samples and epochs as the demo
    images = (torch.rand(len(run.manifest), 1, 48, 48, generator=torch.manual_seed(0)) * 255).to(
        torch.uint8
    )
    page = explore.naw_html(run, tmp_path / "naw.html", images)
    assert page.stat().st_size < 5_000_000  # noise compresses worse than any face
    tab.context.set_offline(True)
    tab.goto(page.as_uri())
    texts = walk_through(tab, tab.locator(".nla"), NOISY, "page")
    assert all("noisy" in text for text in texts)
    assert tab.errors == []


ALL = [(0, 0), (1, 0), (1, 1), (0, 1)]


def shown(explorer):
    """How many are selected, as the page says it."""
    return explorer.locator(".nla-summary").inner_text()


@pytest.mark.parametrize("truth", [False, True])
def test_a_set_with_classes_of_its_own(tab, tmp_path, truth):
    names = ("<b>cat</b>", "noisy", "clean", *"defghijkl")  # markup, kinds, more than eight
    run = drawn_run(tmp_path / "run", names, 20, 3, truth)
    images = torch.randint(0, 255, (len(run.manifest), 3, 48, 48), dtype=torch.uint8)
    tab.goto(explore.naw_html(run, tmp_path / "naw.html", images).as_uri())
    explorer = tab.locator(".nla")
    loop(tab, explorer, ALL)
    cards = explorer.locator(".nla-card")
    assert cards.count() == explore.CARDS
    assert shown(explorer).startswith(f"{20 * len(names)} selected: mean w*")
    first = cards.first.inner_text()
    assert names[0] in first and "set & more/" in first  # as text, not as markup
    tab.screenshot(path=SHOTS / f"own_classes_{'truth' if truth else 'no_truth'}.png")
    filters = explorer.locator(".nla-filters button")
    kinds = ["clean", "noisy", "no kinds"] if truth else []
    assert filters.all_inner_texts() == [*kinds, *names, "no classes"]
    said = " ".join(cards.all_inner_texts())
    assert ("true:" in said) == ("(noisy)" in said) == ("(clean)" in said) == truth
    before = explorer.locator("canvas").screenshot()
    filters.nth(len(kinds) + 1).click()  # the class "noisy", not the kind
    left = 20 * (len(names) - 1)
    assert shown(explorer).startswith(f"{left} selected (20 more hidden by the filters)")
    loop(tab, explorer, ALL)
    assert shown(explorer).startswith(f"{left} selected: mean")
    assert explorer.locator("canvas").screenshot() != before
    assert tab.errors == []


@pytest.fixture(scope="module")
def exported(browser, tmp_path_factory):
    """A page of 60 samples with faces, whose answers are planted, and its run."""
    folder = tmp_path_factory.mktemp("page")
    run = plant(folder / "run", epochs=5, per_class=30, latents=False)
    images = torch.zeros(len(run.manifest), 1, 8, 8, dtype=torch.uint8)
    return explore.naw_html(run, folder / "naw.html", images), run


@pytest.fixture
def explorer(tab, exported):
    tab.goto(exported[0].as_uri())
    yield tab.locator(".nla")
    assert tab.errors == []


def test_the_legend_has_the_looks_of_what_is_drawn(tab, explorer):
    def legend(group):
        icons = explorer.locator(".nla-filters .nla-row").nth(group).locator("polygon")
        return [icon.get_attribute("fill") for icon in icons.all()]

    assert legend(0) == [figures.KIND_PALETTE[kind] for kind in ("clean", "ambiguous", "noisy")]
    assert legend(1) == []  # classes are not what colours stand for now
    explorer.get_by_role("button", name="by class").click()
    assert legend(1) == [figures.PALETTE[name] for name in EXPRESSIONS[:7]] and legend(0) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 800, 1600])
def test_the_picture_is_as_wide_as_its_place(tab, explorer, width, scheme):
    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    tab.wait_for_timeout(300)
    canvas, place = explorer.locator("canvas"), explorer.locator(".nla-place")
    assert canvas.bounding_box()["width"] == pytest.approx(place.bounding_box()["width"], abs=1)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert float(canvas.get_attribute("data-size")) > {375: 250, 800: 350, 1600: 600}[width]
    loop(tab, explorer, ALL)
    assert shown(explorer).startswith("210 selected")  # the mouse is where the picture is
    tab.screenshot(path=SHOTS / f"page_{width}_{scheme}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(tab, explorer, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    tab.emulate_media(color_scheme=scheme)
    loop(tab, explorer, ALL)
    explorer.get_by_role("button", name="fear", exact=True).click()
    explorer.locator("canvas").focus()
    found = axe.Axe().run(tab).response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []


def test_keys_move_the_slider_and_reach_every_sample(tab, explorer):
    slider, said = explorer.locator(".nla-step"), explorer.locator(".nla-said")
    slider.focus()
    for key, value in {"End": 4, "ArrowLeft": 3, "Home": 0, "PageUp": 1, "ArrowRight": 2}.items():
        tab.keyboard.press(key)
        assert slider.input_value() == str(value), key
    assert "epoch 3 of 5" in slider.get_attribute("aria-valuetext")
    explorer.get_by_role("button", name="play").focus()
    while not explorer.locator("canvas").evaluate("canvas => canvas === document.activeElement"):
        tab.keyboard.press("Tab")
    assert "surprise (clean), sample 0" in said.inner_text()
    for k in range(1, 25):
        tab.keyboard.press("PageDown")
        assert f"sample {k}," in said.inner_text()
    assert "(noisy)" in said.inner_text() and "p_NN 0.80" in said.inner_text()
    tab.keyboard.press("Enter")
    assert shown(explorer).startswith("1 selected")
    tab.keyboard.press("ArrowDown")  # from the noisy in the upper left
    assert "(ambiguous)" in said.inner_text() or "(clean)" in said.inner_text()
    tab.keyboard.press("Shift+Enter")
    assert shown(explorer).startswith("2 selected")
    tab.keyboard.press("Alt+Enter")
    assert shown(explorer).startswith("1 selected")
    tab.keyboard.press("End")
    assert "sample 209," in said.inner_text()
    tab.keyboard.press("Escape")
    assert explorer.locator(".nla-card").count() == 0


def test_a_selection_is_added_to_taken_from_filtered_and_cleared(tab, explorer):
    noisy = [(0.0, 0.75), (0.1, 0.75), (0.1, 0.85), (0.0, 0.85)]
    ambiguous = [(0.4, 0.35), (0.5, 0.35), (0.5, 0.45), (0.4, 0.45)]
    loop(tab, explorer, noisy)
    assert shown(explorer).startswith("42 selected")
    explorer.get_by_role("button", name="adds").click()
    loop(tab, explorer, ambiguous)
    assert shown(explorer).startswith("84 selected")
    both = shown(explorer)
    explorer.get_by_role("button", name="ambiguous").click()
    assert shown(explorer).startswith("42 selected (42 more hidden by the filters)")
    assert both.split("mean")[1] != shown(explorer).split("mean")[1]
    cards = explorer.locator(".nla-card").all_inner_texts()
    assert len(cards) == 24 and all("(noisy)" in card for card in cards)
    explorer.get_by_role("button", name="ambiguous").click()
    explorer.get_by_role("button", name="takes away").click()
    loop(tab, explorer, noisy)
    assert shown(explorer).startswith("42 selected: mean")
    assert "(ambiguous)" in explorer.locator(".nla-card").first.inner_text()
    explorer.get_by_role("button", name="clear").click()
    assert explorer.locator(".nla-card").count() == 0


def test_cards_are_ordered_by_any_fact_and_turned_page_by_page(tab, explorer):
    explorer.get_by_role("button", name="all shown").click()
    order = explorer.get_by_label("order of the cards")
    facts = order.locator("option").all_inner_texts()
    assert facts[:5] == ["as picked", "by label", "by kind", "by true label", "by file or row"]
    assert {"by w*", "by p_GT", "by p_NN", "by change of w*"} <= set(facts)
    cards = explorer.locator(".nla-card")
    order.select_option(label="by p_NN")
    explorer.get_by_role("button", name="descending").click()
    assert all("p_NN 0.80" in text for text in cards.all_inner_texts())
    order.select_option(label="by file or row")
    seen = []
    while True:
        seen += [int(text.split("sample ")[1].split()[0]) for text in cards.all_inner_texts()]
        if explorer.get_by_role("button", name="next").is_disabled():
            break
        explorer.get_by_role("button", name="next").click()
    assert seen == list(range(209, -1, -1))  # 9 before 10: as numbers, not as letters


def test_a_selection_is_saved_as_csv(tab, explorer, exported):
    explorer.locator(".nla-step").fill("3")
    loop(tab, explorer, NOISY)
    with tab.expect_download() as saved:
        explorer.get_by_role("button", name="save csv").click()
    table = pd.read_csv(saved.value.path()).set_index("index")
    samples = exported[1].samples(3).set_index("index").query("kind == 'noisy'")
    assert set(table.index) == set(samples.index) and (table["epoch"] == 3).all()
    for column, name in {"w*": "weight", "p_GT": "p_gt", "p_NN": "p_nn"}.items():
        assert (table[column] - samples[name].loc[table.index]).abs().max() < 1e-4
    names = np.array(exported[1].classes)
    assert (table["true label"] == names[samples["true_label"].loc[table.index]]).all()


def test_paths_show_where_samples_walked(tab, explorer):
    clean = [(0.2, 0.3), (0.4, 0.3), (0.4, 0.4), (0.2, 0.4)]
    loop(tab, explorer, clean)
    canvas = explorer.locator("canvas")
    with_paths = canvas.screenshot()
    explorer.get_by_role("button", name="paths of the cards").click()
    without = canvas.screenshot()
    assert with_paths != without
    explorer.get_by_role("button", name="mean paths").click()
    assert canvas.screenshot() not in (with_paths, without)


def test_no_kind_hides_the_others(tab, tmp_path):
    run = drawn_run(tmp_path / "run", ("cat", "dog"), 1500, 1, truth=True)
    tab.goto(explore.naw_html(run, tmp_path / "naw.html").as_uri())
    count = """(canvas, colour) => {
      const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
      let found = 0
      for (let k = 0; k < data.length; k += 4) {
        found += colour.every((part, at) => Math.abs(data[k + at] - part) < 45)
      }
      return found
    }"""
    tab.wait_for_timeout(500)
    canvas, found = tab.locator("canvas"), {}
    for kind in ("clean", "noisy"):  # 1,500 each, on one line
        red, green, blue = (int(figures.KIND_PALETTE[kind][k : k + 2], 16) for k in (1, 3, 5))
        found[kind] = canvas.evaluate(count, [red, green, blue])
    assert 0.4 < found["clean"] / found["noisy"] < 2.5


def test_the_confusion_explorer_by_keys(tab, tmp_path):
    run = plant(tmp_path / "run", latents=False)
    scene = explore.confusion_explorer(run).scene
    path = tmp_path / "confusion.html"
    path.write_text(page.exported(scene.content, "them"), encoding="utf-8")
    tab.set_viewport_size({"width": 375, "height": 800})
    tab.goto(path.as_uri())
    explorer = tab.locator(".nla")
    explorer.get_by_role("button", name="full screen").focus()
    while not explorer.locator("canvas").evaluate("canvas => canvas === document.activeElement"):
        tab.keyboard.press("Tab")
    tab.keyboard.press("ArrowRight")  # from surprise as surprise to surprise as fear
    said = explorer.locator(".nla-said").inner_text()
    assert said == "true class surprise, predicted class fear: 10"
    tab.keyboard.press("Enter")
    assert shown(explorer).startswith("10 selected")
    tab.screenshot(path=SHOTS / "confusion_375.png", full_page=True)
    assert tab.errors == []
