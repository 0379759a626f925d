"""Every figure: it draws, nothing is clipped or overlaps, and it says what it should."""

import itertools
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import plant
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from test_cli import call

from nla import NAW, read_run, study
from nla.analysis import figures, gallery, latents, style
from nla.data import EXPRESSIONS
from nla.files import write
from nla.training.record import RunError

OWN = dict(enumerate(figures.OWN_COLOURS))
MOODS = ("calm", "tense", "tired")
SIGNS = ("CE_30% & more", "cost $5 and $6", "_hidden", "</b><i>x^2 {y} \\\\ #1 ~", "100 %")

CVD = {  # Machado, Oliveira, Fernandes 2009, severity 1: linear RGB
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour):
    c = np.array(mpl.colors.to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* (D65) of linear RGB."""
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ rgb
    )
    f = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 1e-6))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("palette", [figures.PALETTE, figures.KIND_PALETTE, OWN])
@pytest.mark.parametrize("vision", ["usual", *CVD])
def test_colours_differ_for_every_kind_of_vision(palette, vision):
    matrix = np.array(CVD.get(vision, np.eye(3)))
    seen = {name: lab(np.clip(matrix @ linear(colour), 0, 1)) for name, colour in palette.items()}
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 20, (a, b)


@pytest.mark.parametrize("palette", [figures.PALETTE, figures.KIND_PALETTE, OWN])
def test_colours_differ_in_grey(palette):
    lightness = sorted(lab(linear(colour))[0] for colour in palette.values())
    assert np.diff(lightness).min() > 4


@given(st.lists(st.sampled_from(EXPRESSIONS) | st.text(min_size=1), unique=True, max_size=40))
def test_every_class_has_a_look_and_expressions_keep_theirs(classes):
    palette, markers = figures.look_of("class", classes)
    assert list(palette) == list(markers) == classes
    assert len({(palette[name], markers[name]) for name in classes}) == len(classes)
    own = [name for name in classes if name not in EXPRESSIONS]
    for name in set(classes) - set(own):
        assert (palette[name], markers[name]) == (figures.PALETTE[name], figures.MARKERS[name])
    assert not {palette[name] for name in own} & set(figures.PALETTE.values())
    assert len({palette[name] for name in own}) == min(len(own), 8)


def planted_set(folder, names, known=True, name="planted", test_per_class=10, **options):
    """The run of ``plant`` with these classes of its own; ``known``: whether the truth is.

    The seven planted classes become these; of eight expressions neutral is absent.
    """
    run = plant(folder, test_per_class=test_per_class, **options)
    new = np.array({3: [0, 1, 2, 0, 1, 2, 1], 8: [0, 1, 2, 3, 4, 5, 7]}.get(len(names), range(7)))
    manifest = run.manifest.assign(
        label=new[run.manifest["label"]], true_label=new[run.manifest["true_label"]]
    )
    if not known:
        manifest = manifest.assign(true_label=manifest["label"]).drop(columns="kind")
    manifest.attrs["classes"] = list(names)
    for file in [*folder.glob("dynamics/*"), *folder.glob("predictions/*")]:
        table = pd.read_parquet(file)
        codes = table.columns.intersection(["label", "prediction"])
        table[codes] = table[codes].map(lambda code: new[code])
        write(file, table.drop(columns=table.filter(regex="^p_(?!gt|nn)").columns))
    for file in folder.glob("latents/*"):
        arrays = dict(np.load(file))
        for key in ("logits", "flipped_logits"):
            arrays[key] = np.pad(arrays[key], ((0, 0), (0, 1)))[:, : len(names)]
        write(file, arrays)
    write(folder / "manifest.parquet", manifest)
    write(folder / "card.json", run.card | {"classes": len(names), "class_names": list(names)})
    write(folder / "config.json", run.config | {"name": name})
    return read_run(folder)


@pytest.fixture(scope="module")
def moods(tmp_path_factory):
    return planted_set(tmp_path_factory.mktemp("moods") / "run", MOODS)


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Seven of eight expressions occur, neutral does not; of the same name as the planted run."""
    return planted_set(tmp_path_factory.mktemp("eight") / "run", EXPRESSIONS)


@pytest.fixture(scope="module")
def unknown(tmp_path_factory):
    return planted_set(tmp_path_factory.mktemp("unknown") / "run", EXPRESSIONS[:7], known=False)


def embedded(run):
    """A map of the run's snapshots without UMAP, and the numbers beside it."""
    rows = run.latents[0]["index"]
    steps = list(run.latents)
    table = run.manifest.loc[np.tile(rows, len(steps))].reset_index(names="index")
    places = np.random.default_rng(0).normal(size=(len(table), 2))
    embedding = table.assign(epoch=np.repeat(steps, len(rows)), x=places[:, 0], y=places[:, 1])
    return embedding, latents.quality(run, embedding)


def words(figure):
    """Everything that a figure says, as it is shown."""
    FigureCanvasAgg(figure).draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())


def drawings(run, other=None):
    yield "plane", lambda: figures.planes(run, [-1])
    yield "planes by class", lambda: figures.planes(run, [0], by="class", points=20)
    yield "planes", lambda: figures.planes(run)
    yield "surfaces", lambda: figures.weight_surfaces(NAW())
    yield "framework", lambda: figures.framework()
    yield "weights by class", lambda: figures.weights_over_epochs(run)
    yield "weights by kind", lambda: figures.weights_over_epochs(run, "kind")
    yield "kinds together", lambda: figures.weights_of_kinds(run)
    yield "paths", lambda: figures.paths(run)
    yield "trajectories", lambda: figures.trajectories(run, list(run.samples()["index"][:5]))
    yield "curves", lambda: figures.training_curves([run, other or run])
    yield "agreement", lambda: figures.agreement([run, other or run])
    yield "per class", lambda: figures.per_class_accuracy([run, other or run])
    yield "confusion", lambda: figures.confusion_matrices([run, other or run])
    yield "one confusion", lambda: figures.confusion_matrices(run)


def flaws(figure):
    """What reaches beyond the page, and which titles, labels and legends lie on one another."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page, renderer = figure.bbox.padded(1.5), canvas.get_renderer()
    axes = [ax for ax in figure.axes if ax.get_visible()]
    outside = [
        ax.get_title(loc="left") for ax in axes if not within(ax.get_tightbbox(renderer), page)
    ]
    texts = [
        text
        for ax in axes
        for text in (ax._left_title, ax.xaxis.label, ax.yaxis.label)
        if text.get_text()
    ]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    boxes += [("legend", legend.get_window_extent(renderer)) for legend in figure.legends]
    outside += [name for name, box in boxes if not within(box, page)]
    return outside + [
        (a, b) for (a, box), (b, other) in itertools.combinations(boxes, 2) if box.overlaps(other)
    ]


def within(box, page):
    return page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1


@pytest.mark.parametrize("name", [name for name, _ in drawings(None)])
def test_figures_draw_with_labels_and_without_clipping(planted_run, name):
    before = dict(mpl.rcParams)
    figure = dict(drawings(planted_run))[name]()
    assert dict(mpl.rcParams) == before
    assert figure.get_size_inches()[0] in (figures.ONE, figures.TWO)
    assert flaws(figure) == []
    for ax in figure.axes:
        if ax.get_visible() and name != "framework":
            assert ax.get_xlabel() or ax.get_ylabel() or ax.get_title(loc="left")


def test_odd_runs_draw(odd_run):
    scored = not odd_run.predictions().empty
    for name, draw in drawings(odd_run):
        missing = {
            "confusion": not scored,
            "one confusion": not scored,
            "per class": not scored,
            "agreement": not list(odd_run.folder.glob("latents/*")),
        }.get(name)
        if not missing:
            assert draw().axes
        else:
            with pytest.raises(
                RunError, match="no test samples to score; its splits are train|no latent snapshots"
            ):
                draw()


def test_what_cannot_be_scored_is_not_offered(planted_run):
    with pytest.raises(RunError, match="no train samples to score; it scored those of test$"):
        planted_run.confusion(split="train")


def test_surface_is_the_weight():
    naw, grid = NAW(), figures.weight_grid(NAW(), 0.3, 101)
    sigma = np.array(naw.covariances(0.3)[0])
    d = np.array([0.8, 0.1]) - naw.mu_true
    assert grid[10, 80] == pytest.approx(
        np.exp(-0.5 * d @ np.linalg.inv(sigma) @ d) / (2 * np.pi * np.sqrt(np.linalg.det(sigma)))
    )


def test_per_class_shows_the_planted_accuracies(planted_run):
    figure = figures.per_class_accuracy([planted_run, planted_run])
    points = figure.axes[0].lines[0].get_xdata()
    assert points[0] == 0 and all(points[1:] == 100)
    assert "surprise (10)" in [t.get_text() for t in figure.axes[0].get_yticklabels()]
    alone = figures.per_class_accuracy(planted_run)
    ends = [[list(line.get_xdata()) for line in f.axes[0].lines] for f in (figure, alone)]
    assert ends[0] == ends[1]  # a second run on the same images makes no interval narrower


def test_confusion_difference_of_a_run_with_itself_is_nothing(planted_run):
    figure = figures.confusion_matrices([planted_run, planted_run])
    assert {t.get_text() for t in figure.axes[2].texts} == {"0"}
    assert [t.get_text() for t in figures.confusion_matrices(planted_run).axes[0].texts][:3] == [
        "0",
        "10",
        "0",
    ]


def test_faces_are_the_rows_asked_for(planted_run, planted_images):
    train = planted_run.manifest.query("split == 'train'")
    figure = figures.face_sheet(planted_images, train, by="kind", columns=4)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [
        "clean",
        "ambiguous",
        "noisy",
    ]
    sheet = np.asarray(figure.axes[0].images[0].get_array())
    for r, kind in enumerate(["clean", "ambiguous", "noisy"]):
        for c in range(4):
            row = int(sheet[r * (sheet.shape[0] // 3) + 4, c * 18 + 4, 0])
            assert train.loc[row, "kind"] == kind
    assert flaws(figure) == []
    assert flaws(figures.faces(planted_images[:5] / 255, ["label: fear\nmodel: anger"] * 5)) == []


def test_saved_files_name_their_run(planted_run, tmp_path):
    figure = figures.training_curves(planted_run)
    files = figures.save(figure, tmp_path / "figures/curves", planted_run, ("pdf", "png"))
    key = planted_run.card["key"]
    assert f"config {key}, seed 0" in Image.open(files[1]).text["Description"]
    assert f"config {key}, seed 0".encode() in files[0].read_bytes()
    first = [file.read_bytes() for file in files]
    again = figures.save(
        figures.training_curves(planted_run), tmp_path / "again", planted_run, ("pdf", "png")
    )
    assert [file.read_bytes() for file in again] == first  # same run, same bytes
    assert not list(tmp_path.rglob(".*"))


def test_latent_steps_share_axes_and_palette(planted_run):
    table = np.random.default_rng(0).normal(size=(4 * 140, 2))
    rows = np.tile(planted_run.latents[0]["index"], 4)
    embedding = (
        planted_run.manifest.loc[rows]
        .reset_index(names="index")
        .assign(epoch=np.repeat([0, 1, 2, 5], 140), x=table[:, 0], y=table[:, 1])
    )
    quality = latents.quality(planted_run, embedding)
    for by in ("true_label", "kind"):
        figure = figures.latent_steps(embedding, by, quality)
        assert len({ax.get_xlim() for ax in figure.axes}) == 1
        assert flaws(figure) == []


def test_an_untrained_map_far_away_leaves_the_others_their_frame(planted_run):
    embedding, _ = embedded(planted_run)
    far = embedding.assign(x=embedding["x"] + 100 * (embedding["epoch"] == 0))
    first, *others = figures.latent_steps(far).axes
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in others}) == 1
    assert others[0].get_xlim()[1] < 10 and first.get_xlim()[0] > 90
    assert first.get_title("left") == "before training (own frame)"
    assert all("own frame" not in ax.get_title("left") for ax in others)


def test_noisy_samples_lie_on_top_and_are_larger(planted_run):
    embedding, _ = embedded(planted_run)
    below, above = figures.latent_steps(embedding, "kind").axes[0].collections
    assert above.get_zorder() > below.get_zorder()
    assert above.get_sizes()[0] > below.get_sizes()[0]
    noisy = embedding.query("epoch == 0 and kind == 'noisy'")
    assert np.array_equal(above.get_offsets(), noisy[["x", "y"]])


def test_paths_are_the_groups_means(planted_run):
    by_kind, by_class = figures.paths(planted_run).axes
    assert len(by_kind.get_legend().get_texts()) == 3
    assert len(by_class.get_legend().get_texts()) == 7
    first = planted_run.samples(0)
    mean = first.loc[first["kind"] == "noisy", ["p_gt", "p_nn"]].mean().to_numpy()
    starts = [line.get_xydata()[0] for line in by_kind.lines]
    assert any(np.allclose(start, mean) for start in starts)


def test_where_nobody_knows_the_kinds_paths_are_those_of_the_labels(unknown):
    figure = figures.paths(unknown)
    assert [ax.get_visible() for ax in figure.axes] == [True, False]
    row = int(unknown.samples()["index"].iloc[0])
    said = words(figure) + words(figures.trajectories(unknown, [row]))
    assert not [word for word in ("clean", "ambiguous", "noisy", "shows") if word in said]


def test_trajectories_follow_a_sample_and_refuse_what_was_not_trained_on(planted_run):
    rows = planted_run.samples()["index"].tolist()[3:5]
    figure = figures.trajectories(planted_run, rows)
    places = [planted_run.samples(e).set_index("index").loc[rows[1]] for e in range(5)]
    (arrows,) = [c for c in figure.axes[1].collections if hasattr(c, "U")]
    assert np.allclose(arrows.XY, [(p["p_gt"], p["p_nn"]) for p in places[:-1]])
    test = planted_run.manifest.query("split == 'test'").index[0]
    with pytest.raises(RunError, match=f"row {test} of the manifest is no training sample"):
        figures.trajectories(planted_run, [test])


def test_a_colour_bar_names_its_epoch(planted_run):
    assert "weight w*, planted, epoch 1" in words(figures.planes(planted_run, [0]))
    assert "weight w*, one scale for all" in words(figures.planes(planted_run))


METHODS = st.sampled_from([*figures.METHODS, "mine", "another", "cross-entropy"])


@given(st.lists(METHODS, max_size=12))
def test_a_method_looks_the_same_in_every_figure(names):
    looks = figures.method_looks(names)
    seen = set()
    for name, look in zip(names, looks, strict=True):
        if name in figures.METHODS and name not in seen:
            assert look["color"] == figures.METHODS[name]["color"]
            assert look["marker"] == figures.METHODS[name]["marker"]
        seen.add(name)
    apart = {(look["color"], look["marker"]) for look in looks}
    assert len(apart) == len(names)


def test_every_method_of_the_studies_has_a_look_and_a_name_in_full():
    table = pd.read_csv(Path(study.__file__).with_name("methods.csv"), index_col="method")
    groups = ("baselines", "ours", "long_tail", "every_setting")
    compared = {name for group in groups for name in study.METHODS[group]}
    assert compared <= set(table.index) and compared <= set(figures.METHODS)
    assert table[["name", "idea", "made_for"]].notna().all(axis=None)
    assert table.drop("cross-entropy")["paper"].notna().all()


@pytest.mark.parametrize("vision", ["usual", *CVD])
def test_the_methods_that_figures_name_most_differ_for_every_kind_of_vision(vision):
    matrix = np.array(CVD.get(vision, np.eye(3)))
    names = ("cross-entropy", "NLA", "ReMa-C", "LDAM-DRW", "MALT")
    seen = [figures.METHODS[name]["color"] for name in names]
    places = [lab(np.clip(matrix @ linear(colour), 0, 1)) for colour in seen]
    for a, b in itertools.combinations(places, 2):
        assert np.linalg.norm(a - b) > 20


def test_figures_of_runs_and_of_studies_show_nla_alike(planted_run, results, tmp_path):
    run = plant(tmp_path / "nla")
    write(run.folder / "config.json", run.config | {"name": "NLA"})
    curves = figures.training_curves([planted_run, read_run(run.folder)])
    assert curves.axes[1].get_ylim()[0] == 0  # a share, that begins at what chance gives
    scores = figures.accuracy_against(results)
    wanted = figures.METHODS["NLA"]["color"]
    for figure in (curves, scores):
        legend = figure.legends[0]
        names = [text.get_text() for text in legend.get_texts()]
        assert legend.legend_handles[names.index("NLA")].get_color() == wanted


def test_an_image_is_one_image_though_training_sets_differ_in_size(planted_run, tmp_path):
    fewer = plant(tmp_path / "fewer", per_class=20)
    n = (planted_run.manifest["split"] == "test").sum() // 7
    assert fewer.name == planted_run.name
    ax = figures.per_class_accuracy([planted_run, fewer]).axes[0]
    assert {label.get_text().split()[-1] for label in ax.get_yticklabels()} == {f"({n})"}


@pytest.mark.parametrize("count", [16, 30])
def test_a_confusion_of_many_classes_names_them_all(count):
    classes = tuple(f"class {k}" for k in range(count))
    table = pd.DataFrame(np.eye(count, dtype=int), pd.Index(classes), pd.Index(classes))

    class Seen:
        name, folder = "a run", Path("a run")

        def confusion(self, split):
            return table

    Seen.classes = classes
    for runs in ([Seen()], [Seen(), Seen()]):
        ax = figures.confusion_matrices(runs).axes[0]
        assert [label.get_text().split(" (")[0] for label in ax.get_yticklabels()] == list(classes)
        assert [label.get_text() for label in ax.get_xticklabels()] == list(classes)


def test_a_figure_of_three_classes_is_as_low_as_three_rows(moods, planted_run):
    three = figures.per_class_accuracy(moods).get_size_inches()[1]
    seven = figures.per_class_accuracy(planted_run).get_size_inches()[1]
    assert three < 0.7 * seven


@pytest.fixture
def results():
    """Three seeds of two methods at every setting, and one run of a third."""
    rows = [
        (method, noise, imbalance, seed, {"CE": 80, "NLA": 85}[method] + seed - 1)
        for method in ("CE", "NLA")
        for noise in (0.0, 0.3)
        for imbalance in (1, 20)
        for seed in range(3)
    ]
    table = pd.DataFrame(
        [*rows, ("once", 0.0, 1, 0, 70)],
        columns=["method", "noise", "imbalance", "seed", "overall"],
    )
    return table.assign(mean=table["overall"] - 10)


def test_no_line_leads_to_faces_that_nothing_was_imposed_on(results):
    base = results.assign(noise=0.0)
    table = pd.concat([base.assign(imbalance=factor) for factor in (1.0, 10.0, 100.0)])
    ax = figures.accuracy_against(table, "imbalance").axes[0]
    drawn = [np.round(line.get_xdata()) for line in ax.lines if len(set(line.get_xdata())) > 1]
    assert drawn and all(set(line) == {10, 100} for line in drawn)
    assert 1 in np.concatenate([np.round(line.get_xdata()) for line in ax.lines])


@pytest.mark.parametrize("x", ["noise", "imbalance", "method"])
def test_accuracy_against_shows_means_and_intervals_at_one_setting(results, x):
    figure = figures.accuracy_against(results, x)
    ax = figure.axes[0]
    values = (lambda line: line.get_xdata()) if x == "method" else (lambda line: line.get_ydata())
    means = [values(line) for line in ax.lines if line.get_marker() not in (None, "", "None")]
    assert sorted({float(value) for line in means for value in line if not np.isnan(value)}) == [
        70,
        80,
        85,
    ]
    half = 4.303 / np.sqrt(3)  # t distribution, two degrees of freedom, standard deviation 1
    assert any(
        np.allclose(sorted(values(line)), [85 - half, 85 + half], atol=0.01)
        for line in ax.lines
        if len(values(line)) == 2
    )
    held = {
        "noise": "imbalance as drawn",
        "imbalance": "0 % noise",
        "method": "0 % noise, imbalance as drawn",
    }[x]
    assert held in ax.get_title("left").replace("\n", " ")
    assert "n ≥ 1" in ax.get_title("left")  # one method was run once, the others three times
    assert flaws(figure) == []


def test_accuracy_of_the_kits_own_methods_fits_on_its_page(results):
    names = study.STUDIES["ablation"].methods
    nla = results.query("method == 'NLA' and noise == 0 and imbalance == 1")
    table = pd.concat([nla.assign(method=name) for name in names])
    figure = figures.accuracy_against(table, "method")
    assert "n = 3" in figure.axes[0].get_title("left")
    assert flaws(figure) == []


def test_of_many_methods_those_with_most_settings_are_named(results):
    results = results.replace({"method": {"CE": "cross-entropy"}})
    nla = results[results["method"] == "NLA"]
    more = [nla.assign(method=name, overall=nla["overall"] + k) for k, name in enumerate("abcd")]
    once = (
        results[results["noise"] == 0]
        .query("method == 'NLA'")
        .assign(method="best, but once", overall=99)
    )
    figure = figures.accuracy_against(pd.concat([results, *more, once]))
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"NLA", "others"} < set(named) and "best, but once" not in named
    assert [name for name in named if name in "abcd"] == [
        "b",
        "c",
        "d",
    ]  # by name, so that colours do not go by rank


def test_results_without_a_comparison_are_named(results):
    with pytest.raises(RunError, match="no two runs that differ in noise alone"):
        figures.accuracy_against(results[results["noise"] == 0], "noise")


def test_data_sets_are_not_averaged_into_one_another(results):
    other = results.assign(data="photographs", overall=results["overall"] - 40)
    for x in ("noise", "method"):
        figure = figures.accuracy_against(pd.concat([results.assign(data="faces"), other]), x)
        ax = figure.axes[0]
        assert "faces" in ax.get_title("left") and "photographs" not in ax.get_title("left")
        low, high = ax.get_xlim() if x == "method" else ax.get_ylim()
        assert low > 45
        assert "n ≥ 1" in ax.get_title("left")  # three seeds, not six


def test_runs_without_the_measure_do_not_count(results):
    missing = results.assign(adjusted_mean=results["mean"].where(results["seed"] < 2))
    figure = figures.accuracy_against(missing.query("method != 'once'"), "noise", "adjusted_mean")
    assert "n = 2" in figure.axes[0].get_title("left")
    wide = figures.mean_interval(pd.Series([60.0, 62.0, 64.0]))
    assert figures.mean_interval(pd.Series([60.0, 62.0, 64.0, *[np.nan] * 7])) == wide


def test_where_labels_are_wrong_and_classes_uneven_each_ratio_has_its_panel(results):
    ones = [results.query("imbalance == 1"), results.query("imbalance == 20")]
    more = [table.assign(noise=0.4, overall=table["overall"] - 9) for table in ones]
    figure = figures.accuracy_where_both(pd.concat([results, *more]), "overall")
    titles = [ax.get_title("left") for ax in figure.axes]
    assert titles == ["0 % noise, n ≥ 1", "30 % noise, n = 3", "40 % noise, n ≥ 1"]
    for ax, wanted in zip(figure.axes, ({70, 80, 85}, {80, 85}, {61, 71, 76})):
        means = [line for line in ax.lines if line.get_marker() not in (None, "", "None")]
        heights = [float(value) for line in means for value in line.get_ydata()]
        assert {round(value) for value in heights if not np.isnan(value)} >= wanted
        assert all(len(line.get_xdata()) < 2 for line in means)  # nothing joins what is as drawn
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["as drawn", "20"]
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(named) == {"CE", "NLA", "once"}
    assert flaws(figure) == []


def test_the_kits_own_table_of_both_fits_on_its_page():
    table = pd.read_csv(Path(__file__).parents[1] / "figures/both.csv")
    assert flaws(figures.accuracy_where_both(table)) == []


def test_where_nothing_is_imposed_together_is_said(results):
    with pytest.raises(RunError, match="no ratio of wrong labels with two factors"):
        figures.accuracy_where_both(results.query("imbalance == 1"))
    with pytest.raises(RunError, match="no ratio of wrong labels with two factors"):
        figures.accuracy_where_both(results.assign(mean=np.nan))
    with pytest.raises(RunError, match="no column 'noise'; they have method, imbalance"):
        figures.accuracy_where_both(results.drop(columns="noise"))


def test_draw_all_writes_everything_and_says_what_is_missing(
    planted_run, results, planted_images, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # the map's cache
    results.query("noise == 0").to_csv(tmp_path / "results.csv", index=False)
    rows = pd.DataFrame(
        {
            "method": ["A"],
            "backbone": "R18",
            "dataset": "RAF-DB",
            "protocol": "clean",
            "metric": "overall",
            "value": 88.0,
            "source": "paper A",
        }
    )
    rows.to_csv(tmp_path / "published.csv", index=False)
    files = gallery.draw_all(
        [planted_run, planted_run],
        tmp_path / "out",
        tmp_path / "results.csv",
        True,
        planted_images,
        tmp_path / "published.csv",
    )
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    names = {file.name for file in files}
    assert {
        "framework.pdf",
        "plane.png",
        "weights_by_class.png",
        "confusion.pdf",
        "confusion_counts.png",
        "latents.png",
        "agreement.png",
        "imbalance.pdf",
        "ablation.png",
        "comparison_raf-db.csv",
        "comparison_ferplus.tex",
        "naw_explorer.html",
        "faces.png",
    } <= names
    assert (
        "noise.png" not in names
        and "no noise: the results hold no two runs" in capsys.readouterr().out
    )


def test_draw_all_leaves_out_what_a_run_has_no_data_for(tmp_path, capsys):
    run = plant(
        tmp_path / "odd", epochs=1, classes=[3], test_per_class=0, kinds=False, latents=False
    )
    names = {file.stem for file in gallery.draw_all([run], tmp_path / "out", html=True)}
    assert {"framework", "planes", "weights_by_kind", "training_curves", "naw_explorer"} <= names
    said = capsys.readouterr().out
    for name in ("latents", "agreement", "confusion", "confusion_counts", "per_class_accuracy"):
        assert name not in names and f"no {name}: {run.folder} has no" in said


@pytest.mark.parametrize("name", [name for name, _ in drawings(None)])
def test_own_classes_stand_in_every_figure(moods, name):
    figure = dict(drawings(moods))[name]()
    assert flaws(figure) == []
    said = words(figure)
    assert not any(expression in said for expression in EXPRESSIONS)
    if name in ("planes by class", "weights by class", "per class", "confusion", "one confusion"):
        assert all(mood in said for mood in MOODS)


def test_own_classes_stand_in_maps_and_sheets(moods, planted_images):
    embedding, quality = embedded(moods)
    sheet = figures.face_sheet(planted_images, moods.manifest, columns=4)
    map_of = figures.latent_steps(embedding, quality=quality, classes=moods.classes)
    assert flaws(sheet) == flaws(map_of) == []
    for said in (words(sheet), words(map_of)):
        assert all(mood in said for mood in MOODS) and "surprise" not in said
    bare = moods.manifest.copy()
    bare.attrs = {}
    assert "calm" in words(figures.face_sheet(planted_images, bare, classes=moods.classes))


def written(ax):
    """The texts in the cells (8, 8) of a confusion matrix."""
    cells = np.full((8, 8), "", dtype=object)
    for text in ax.texts:
        column, row = np.floor(text.get_position()).astype(int)
        cells[row, column] = text.get_text()
    return cells


def test_sets_of_seven_and_eight_classes_stand_side_by_side(planted_run, eight):
    figure = figures.per_class_accuracy([planted_run, eight])
    rows = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert rows == [f"{name} (10)" for name in EXPRESSIONS]
    seven, other = (line.get_xdata() for line in figure.axes[0].lines if len(line.get_xdata()) == 8)
    assert np.array_equal(seven, [0, 100, 100, 100, 100, 100, 100, np.nan], equal_nan=True)
    assert np.array_equal(other, [0, 100, 100, 100, 100, 100, np.nan, 100], equal_nan=True)
    said = words(figure)
    assert "planted (7 classes)" in said and "planted (8 classes)" in said
    figure = figures.confusion_matrices([planted_run, eight])
    cells = [written(ax) for ax in figure.axes]
    assert set(cells[0][7]) == set(cells[0][:, 7]) == {""}  # contempt, which it does not know
    assert set(cells[1][6]) == {""} and cells[1][7, 7] == "100"  # neutral, which does not occur
    assert set(cells[2][6:].flat) == set(cells[2][:, 7]) == {""} and cells[2][1, 1] == "0"
    for name, draw in drawings(planted_run, eight):
        assert flaws(draw()) == [], name


def test_runs_of_one_name_are_pooled_only_with_the_same_classes(planted_run, moods):
    assert "planted (" not in words(figures.per_class_accuracy([planted_run, planted_run]))
    figure = figures.per_class_accuracy([moods, planted_run])
    rows = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert rows[0] == "calm (20)" and rows[3] == "surprise (10)" and len(rows) == 10
    assert flaws(figures.confusion_matrices([moods, planted_run])) == []


def test_runs_of_one_name_and_other_options_or_data_stand_apart(planted_run, tmp_path):
    def again(folder, changes=(), **columns):
        run = plant(tmp_path / folder)
        write(run.folder / "config.json", run.config | dict(changes))
        write(run.folder / "manifest.parquet", run.manifest.assign(**columns))
        return read_run(run.folder)

    pixels = {"digest": np.arange(len(planted_run.manifest))}
    first = again("first", **pixels)
    seed = again("seed", {"seed": 1, "root": "elsewhere"}, **pixels)
    others = {
        "config": again("config", {"lr": 0.5}, **pixels),
        "list": again("list", {"labels": "list.txt"}, **pixels),
        "mended": again("mended", **pixels, true_label=(first.manifest["true_label"] + 1) % 7),
        "test": again("test", digest=pixels["digest"] + 10),
    }
    assert "planted (" not in words(figures.per_class_accuracy([first, seed]))
    for folder, other in others.items():
        said = words(figures.per_class_accuracy([first, seed, other]))
        assert "planted (first)" in said and f"planted ({folder})" in said
        assert "planted (seed)" not in said
    for draw in (figures.confusion_matrices, figures.training_curves):
        said = words(draw([first, seed]))
        assert "planted (first)" in said and "planted (seed)" in said


def test_runs_that_were_scored_on_other_images_are_compared_with_a_note(
    planted_run, tmp_path, capsys
):
    def again(folder, shift, **columns):
        run = plant(tmp_path / folder)
        digest = np.arange(len(run.manifest)) + shift
        write(run.folder / "manifest.parquet", run.manifest.assign(digest=digest, **columns))
        return run.folder

    first, same, other = again("first", 0), again("same", 0), again("other", 10)
    judged = planted_run.manifest["true_label"].to_numpy(copy=True)
    judged[-3:] = 0
    call("show", first, same)
    assert "note" not in (said := capsys.readouterr().out) and "planted (same)" in said
    call("show", first, other, again("judged", 0, true_label=judged))
    said = capsys.readouterr().out
    assert (
        "note: planted (other) and planted (first) were scored on different test images, 70 and "
        "70, of which 60 are common" in said
    )
    assert "note: 3 test images of planted (judged) have another true label" in said


def test_other_numbers_of_images_are_told(planted_run, tmp_path):
    more = plant(tmp_path / "more", test_per_class=20)
    write(tmp_path / "more/config.json", more.config | {"name": "more"})
    runs = [planted_run, read_run(tmp_path / "more")]
    assert "fear (10/20)" in words(figures.per_class_accuracy(runs))
    assert "fear (10/20)" in words(figures.confusion_matrices(runs))


def test_what_nobody_knows_is_not_shown(unknown, planted_images):
    assert not unknown.knows_truth
    unsaid = ("clean", "ambiguous", "noisy", "true")
    embedding, quality = embedded(unknown)
    shown = {
        "planes": figures.planes(unknown),
        "plane": figures.planes(unknown, [-1]),
        "curves": figures.training_curves(unknown),
        "sheet": figures.face_sheet(planted_images, unknown.manifest, "label"),
        "map by label": figures.latent_steps(embedding, "label"),
    }
    for name, figure in shown.items():
        assert flaws(figure) == []
        assert not [word for word in unsaid if word in words(figure)], name
    assert "surprise" in words(shown["planes"]) and "surprise" in words(shown["plane"])
    figure = figures.latent_steps(embedding, quality=quality)
    assert flaws(figure) == [] and figure.legends[0].get_title().get_text() == "label"
    assert "true" not in words(figure)
    for draw in (
        lambda: figures.planes(unknown, by="kind"),
        lambda: figures.weights_over_epochs(unknown, "kind"),
        lambda: figures.latent_steps(embedding, "kind"),
        lambda: figures.face_sheet(planted_images, unknown.manifest, "kind"),
    ):
        with pytest.raises(RunError, match="nobody knows which labels are wrong"):
            draw()


def test_a_factor_of_the_methods_own_is_drawn_in_place_of_w(tmp_path):
    run = plant(tmp_path / "run")
    for draw in (figures.weights_of_kinds, figures.weights_over_epochs):
        with pytest.raises(RunError, match="has no factor on record"):
            draw(run, column="factor")
    for file in run.folder.glob("dynamics/*"):
        table = pd.read_parquet(file)
        write(file, table.assign(factor=1 - table["weight"]))
    for column, name in (("weight", "mean w*"), ("factor", "mean factor")):
        means = run.samples(0).groupby("kind", observed=True)[column].mean()
        together = figures.weights_of_kinds(run, column).axes[0]
        drawn = {line.get_label().split()[0]: line.get_ydata()[0] for line in together.lines}
        assert drawn == pytest.approx(means.to_dict()) and together.get_ylabel() == name
        assert name in words(figures.weights_over_epochs(run, "kind", column))


def test_known_truth_needs_no_word_in_the_map(planted_run):
    assert figures.latent_steps(embedded(planted_run)[0]).legends[0].get_title().get_text() == ""


def test_draw_all_of_a_run_that_knows_no_truth(unknown, tmp_path, capsys):
    run = unknown
    some = ("planes", "weights_by_class", "weights_by_kind", "training_curves")
    drawings = {name: gallery.drawings_of([run])[name] for name in some}
    names = {file.stem for file in gallery.draw(drawings, tmp_path, [run])}
    said = capsys.readouterr().out
    assert set(drawings) - names == {"weights_by_kind"}
    assert f"no weights_by_kind: {run.folder}: nobody knows which labels are wrong" in said


def test_a_run_without_test_images_and_truth_has_no_curves(tmp_path):
    run = planted_set(tmp_path / "run", MOODS, known=False, test_per_class=0)
    write(run.folder / "epochs.csv", run.epochs.drop(columns=["test_overall", "test_mean"]))
    with pytest.raises(RunError, match="nothing to draw"):
        figures.training_curves(read_run(run.folder))


def test_an_epoch_that_is_not_there_is_refused(planted_run):
    for epoch in (5, -6):
        with pytest.raises(RunError, match="has no epoch .*; it has 0 to 4"):
            figures.planes(planted_run, [epoch])


@given(st.text())
def test_names_are_shown_letter_by_letter(name):
    shown, formula = Text(0, 0)._preprocess_math(figures.plain(name))
    if name.startswith("_"):  # matplotlib hides such labels: the first letter becomes a formula
        assert figures.plain(name).startswith(r"$\_$")
    else:
        assert (shown, bool(formula)) == (name, False)


@pytest.mark.parametrize("name", [name for name, _ in drawings(None)])
def test_names_with_signs_draw(name, signed):
    figure = dict(drawings(*signed))[name]()
    assert flaws(figure) == []
    if name in ("curves", "agreement", "per class"):
        legend = [*figure.legends, figure.axes[0].get_legend()][0]
        assert [text.get_text() for text in legend.get_texts()] == [
            figures.plain(run.name) for run in signed
        ]


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signed % & $x$ 基线")
    first = planted_set(folder / "first", SIGNS[:3], name=SIGNS[1])
    return first, planted_set(folder / "second", SIGNS[:3], name=SIGNS[2])


def test_files_of_runs_with_signs_name_them(signed, planted_images, tmp_path):
    files = figures.save(figures.training_curves(signed), tmp_path / "100% $a$ & 基线", signed)
    assert [file.name for file in files] == ["100% $a$ & 基线.pdf", "100% $a$ & 基线.png"]
    assert "cost $5 and $6: config" in Image.open(files[1]).text["Description"]
    captions = ["cost $5 and $6", "_hidden", "100 %", None]
    figure = figures.faces(planted_images[:4], captions, columns=2, names=["$a$", "_b"])
    assert flaws(figure) == []


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_characters_without_a_font_warn_once(suffix, tmp_path):
    rare = "\U0001f9ff\U000130b8基线"
    run = planted_set(tmp_path / "run", (rare, "b", "c"), name=rare)
    style.say_missing.cache_clear()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for figure in (figures.per_class_accuracy(run), figures.planes(run, [-1], by="class")):
            figures.save(figure, tmp_path / "figure", run, [suffix])
    glyphs = [str(warning.message) for warning in heard if "font" in str(warning.message)]
    assert len(glyphs) == 1 and "boxes stand for them; install one of" in glyphs[0]


def test_an_installed_font_stands_in_for_missing_characters(monkeypatch):
    assert style.style_here()["font.family"][0] == "sans-serif"
    monkeypatch.setattr(style, "CHINESE", ("STIXGeneral", "not installed"))  # one beside matplotlib
    assert style.style_here()["font.family"] == ["sans-serif", "STIXGeneral"]


def test_methods_with_signs_keep_them(results):
    results = results.replace({"method": {"CE": "_CE $a$ 30% & 基线"}})
    for x in ("noise", "method"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure = figures.accuracy_against(results, x)
            assert figures.plain("_CE $a$ 30% & 基线") in words(figure)


def test_results_without_a_column_are_named(results):
    with pytest.raises(RunError, match="no column 'imbalance'; they have method, noise"):
        figures.accuracy_against(results.drop(columns="imbalance"), "noise")
