"""The explorers as people use them: in JupyterLab, in Notebook 7 and as a page, in a real browser.

Screenshots are kept in tests/output (or where NLA_SCREENSHOTS points). Skipped without chromium or
playwright.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
import torch
from conftest import plant
from test_notebooks import NOTEBOOKS, execute
from test_views import drawn_run

from nla.analysis import explore

pytestmark = pytest.mark.browser
SHOTS = Path(os.environ.get("NLA_SCREENSHOTS", Path(__file__).parent / "output"))
LEFT, TOP, SIZE = 88, 26, 440  # of the plane on the canvas, as in explorer.js
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


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    SHOTS.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


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
from nla.analysis import explore
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
    lesson = nbformat.read(NOTEBOOKS / "05_naw_weights_over_epochs.ipynb", as_version=4)
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
            f"--ServerApp.root_dir={folder}",
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | places
        | {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "OMP_NUM_THREADS": "1"},
    )
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
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


def loop(tab, explorer, corners):
    """Draw a loop through points of the unit square of the canvas."""
    box = explorer.locator("canvas").bounding_box()
    points = [(box["x"] + LEFT + SIZE * x, box["y"] + TOP + SIZE * (1 - y)) for x, y in corners]
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
    assert changed() and "selected" in explorer.locator(".nla-faces").inner_text()
    assert cards.first.locator("polyline").count() == 1
    tab.screenshot(path=SHOTS / f"{shot}.png")
    texts, before = cards.all_inner_texts(), cards.first.inner_html()
    slider.fill("0")
    assert changed() and cards.first.inner_html() != before  # the same face at another time
    explorer.get_by_role("button", name="colour by class").click()
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
    box = confusion.locator("canvas").bounding_box()
    tab.mouse.click(
        box["x"] + LEFT + SIZE * 1.5 / 7, box["y"] + TOP + SIZE * 0.5 / 7
    )  # surprise taken for fear
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


@pytest.mark.parametrize("truth", [False, True])
def test_a_set_with_classes_of_its_own(tab, tmp_path, truth):
    names = ("<b>cat</b>", "noisy", "clean", *"defghijkl")  # markup, kinds, more than eight
    run = drawn_run(tmp_path / "run", names, 20, 3, truth)
    images = torch.randint(0, 255, (len(run.manifest), 3, 48, 48), dtype=torch.uint8)
    tab.goto(explore.naw_html(run, tmp_path / "naw.html", images).as_uri())
    explorer = tab.locator(".nla")
    loop(tab, explorer, [(0, 0), (1, 0), (1, 1), (0, 1)])
    cards = explorer.locator(".nla-card")
    assert cards.count() == explore.CARDS
    assert f"{20 * len(names)} selected" in explorer.locator(".nla-faces").inner_text()
    first = cards.first.inner_text()
    assert names[0] in first and "set & more/" in first  # as text, not as markup
    tab.screenshot(path=SHOTS / f"own_classes_{'truth' if truth else 'no_truth'}.png")
    buttons = explorer.get_by_role("button")
    offered = buttons.all_inner_texts()
    by = ["colour by kind", "colour by class"] if truth else ["colour by class"]
    kinds = ["clean", "noisy"] if truth else []
    assert offered == ["play", *by, *kinds, *names]
    shown = " ".join(cards.all_inner_texts())
    assert ("true:" in shown) == ("(noisy)" in shown) == ("(clean)" in shown) == truth
    before = explorer.locator("canvas").screenshot()
    buttons.nth(len(offered) - len(names) + 1).click()  # the class "noisy", not the kind
    loop(tab, explorer, [(0, 0), (1, 0), (1, 1), (0, 1)])
    assert f"{20 * (len(names) - 1)} selected" in explorer.locator(".nla-faces").inner_text()
    assert explorer.locator("canvas").screenshot() != before
    assert tab.errors == []
