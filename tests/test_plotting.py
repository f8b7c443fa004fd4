"""The Displays: what they draw is what the tables hold, and names stay text."""

import sys
from dataclasses import replace
from itertools import groupby, pairwise

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from comparisons import HOSTILE, made
from matplotlib.text import Text
from sklearn.base import is_regressor
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError

import mkfusion
from mkfusion import (
    AgreementDisplay,
    ContributionDisplay,
    CRFTagger,
    FitTimeDisplay,
    FusionGainDisplay,
    HybridFusionClassifier,
    KernelPath,
    KernelPathDisplay,
    KernelWeightsDisplay,
    LateFusionClassifier,
    LateFusionRegressor,
    LinearMKLClassifier,
    LinearMKLRegressor,
    MKLClassifier,
    MKLOneClass,
    MKLRegressor,
    ModalityContributions,
    ModalityMaskDisplay,
    PerClassDisplay,
    ReliabilityDisplay,
    mkl_path,
    plotting,
)
from mkfusion._pictures import shown
from mkfusion.rules import RULES

pytestmark = pytest.mark.interface

OF_A_COMPARISON = [
    display
    for display in map(plotting.__dict__.get, plotting.__all__)
    if hasattr(display, "from_comparison")
]
by_display = pytest.mark.parametrize("display", OF_A_COMPARISON, ids=lambda cls: cls.__name__)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def result():
    return made(3, 4)


def row_names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def written(ax):
    return [text.get_text() for text in ax.texts]


# The convention


@by_display
def test_draws_in_a_figure_of_its_own_or_where_it_is_told(display, result):
    own = display.from_comparison(result, name="a title")
    assert own.figure_ is own.ax_.figure
    assert own.ax_.get_title() == "a title"
    _, ax = plt.subplots()
    told = display.from_comparison(result, ax=ax)
    assert told.ax_ is ax
    assert told.ax_.get_title() == ""
    assert own.plot(ax=ax) is own
    assert own.ax_ is ax


def test_all_displays_are_exported():
    assert set(plotting.__all__) <= set(mkfusion.__all__)
    assert mkfusion.__all__ == sorted(mkfusion.__all__)


@by_display
def test_what_is_given_is_not_changed(display):
    result, same = made(3, 4), made(3, 4)
    display.from_comparison(result)
    for name in ("table", "per_class", "calibration", "agreement", "availability"):
        pd.testing.assert_frame_equal(getattr(result, name), getattr(same, name))


@by_display
def test_options_reach_matplotlib(display, result):
    drawn = display.from_comparison(result, alpha=0.25)
    artists = [*drawn.ax_.collections, *drawn.ax_.lines, *drawn.ax_.patches, *drawn.ax_.images]
    assert 0.25 in {artist.get_alpha() for artist in artists}


def test_without_matplotlib_the_extra_is_named(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(
        ImportError, match=r"FusionGainDisplay needs.*pip install \"mkfusion\[plot\]\""
    ):
        FusionGainDisplay.from_comparison(result)


# What is drawn


def test_gains_and_intervals(result):
    display = FusionGainDisplay.from_comparison(result)
    rows = result.table.iloc[1:]
    places = np.arange(len(rows))
    offsets = np.column_stack([rows["gain"], places])
    np.testing.assert_allclose(display.points_.get_offsets(), offsets)
    for place, line in enumerate(display.intervals_.get_segments()):
        ends = rows[["gain_low", "gain_high"]].iloc[place]
        np.testing.assert_allclose(line, np.column_stack([ends, [place, place]]))
    assert row_names(display.ax_) == list(rows.index)
    signs = [text.replace("\N{MINUS SIGN}", "-") for text in written(display.ax_)]
    assert signs == [f"{gain:+.4f}" for gain in rows["gain"]]
    low, high = display.ax_.get_xlim()
    arrows = (rows["gain_low"] < low).sum() + (rows["gain_high"] > high).sum()
    assert len(display.ax_.lines) == 1 + arrows
    assert arrows > 0


def test_gains_of_one_split():
    result = made(2, 2, n_splits=1)
    result.table[["gain_low", "gain_high"]] = np.nan
    display = FusionGainDisplay.from_comparison(result)
    display.figure_.draw_without_rendering()
    assert len(display.points_.get_offsets()) == len(result.table) - 1


@pytest.mark.parametrize("metric", ["f1", "precision", "recall"])
def test_scores_by_class(result, metric):
    display = PerClassDisplay.from_comparison(result, metric=metric)
    for points, name in zip(display.points_, ["single (chosen)", "fusion (chosen)"], strict=True):
        wanted = result.per_class.loc[name, metric]
        np.testing.assert_allclose(points.get_offsets()[:, 0], wanted)
    assert row_names(display.ax_) == result.classes


def test_scores_by_class_of_chosen_rows(result):
    names = ["early", "late:vote", "single:sense1"]
    display = PerClassDisplay.from_comparison(result, strategies=names)
    assert list(display.scores.columns) == names
    wanted = result.per_class.loc["late:vote", "f1"]
    np.testing.assert_allclose(display.points_[1].get_offsets()[:, 0], wanted)
    colours = {tuple(points.get_edgecolors()[0]) for points in display.points_}
    assert len(colours) == 3


@pytest.mark.parametrize("classes", [4, 0])
def test_calibration_curves(classes):
    result = made(3, classes)
    display = ReliabilityDisplay.from_comparison(result, strategies=["late:mean", "late:vote"])
    (line,) = display.lines_  # the vote states no probabilities
    rows = result.calibration
    wanted = rows.loc[rows["strategy"] == "late:mean", ["predicted", "observed"]]
    np.testing.assert_allclose(line.get_xydata(), wanted)


@pytest.mark.parametrize("classes", [4, 0])
def test_agreement(classes):
    result = made(3, classes)
    result.agreement.iloc[0, 1] = np.nan
    display = AgreementDisplay.from_comparison(result)
    np.testing.assert_allclose(display.image_.get_array().filled(np.nan), result.agreement)
    for (i, j), value in np.ndenumerate(result.agreement.to_numpy()):
        text = display.text_[i, j].get_text().replace("\N{MINUS SIGN}", "-")
        assert text == ("\N{EN DASH}" if np.isnan(value) else f"{value:.2f}")
        assert display.text_[i, j].get_position() == (j, i)
    assert row_names(display.ax_) == list(result.modalities)


def test_fit_times(result):
    display = FitTimeDisplay.from_comparison(result)
    wanted = result.table["fit_time"].iloc[2:]
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], wanted)
    assert row_names(display.ax_) == list(wanted.index)
    assert written(display.ax_) == [f"{value:.3f}" for value in wanted]


def test_availability(result):
    display = ModalityMaskDisplay.from_comparison(result)
    counts = result.availability.iloc[:, -1].to_numpy()
    starts = np.cumsum(counts) - counts
    for name, bars in zip(result.modalities, display.bars_, strict=True):
        has = result.availability[name].to_numpy()
        assert [bar.get_width() for bar in bars] == counts[has].tolist()
        assert [bar.get_x() for bar in bars] == starts[has].tolist()
    assert display.ax_.get_xlim() == (0, result.n_rows)
    shares = [counts @ result.availability[name] / result.n_rows for name in result.modalities]
    assert written(display.ax_) == [f"{100 * share:.1f} %" for share in shares]


@pytest.fixture
def parts(global_seed):
    rng = np.random.default_rng(global_seed)
    added, base = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 4))
    names = ["audio", "video", "text"]
    decision = base + added.sum(axis=1)
    return ModalityContributions(added, base, decision, names, np.arange(4), "score")


def test_contributions_add_up_to_the_decision(parts):
    display = ContributionDisplay.from_contributions(parts, 1)
    widths = np.array([[bar.get_width() for bar in bars] for bars in display.bars_])
    np.testing.assert_allclose(widths, np.vstack([parts.base[1], parts.contributions[1]]))
    offsets = display.decision_.get_offsets()
    np.testing.assert_allclose(offsets[:, 0], parts.decision[1])
    np.testing.assert_allclose(widths.sum(axis=0), offsets[:, 0])
    labels = [text.get_text().strip("\u200b") for text in display.ax_.get_legend().get_texts()]
    assert labels == ["base", "audio", "video", "text", "decision"]


def test_contributions_do_not_overlap(parts):
    display = ContributionDisplay.from_contributions(parts, 0)
    for place in range(4):
        spans = sorted(
            sorted((bars[place].get_x(), bars[place].get_x() + bars[place].get_width()))
            for bars in display.bars_
        )
        for (_, end), (start, _) in pairwise(spans):
            assert start >= end - 1e-12


def test_contributions_of_a_fitted_fusion():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 4)), columns=["a__0", "a__1", "b__0", "b__1"])
    fusion = LateFusionClassifier(rule="mean").fit(X, np.where(X["a__0"] > 0, "up", "down"))
    display = ContributionDisplay.from_contributions(fusion.modality_contributions(X), 5)
    offsets = display.decision_.get_offsets()[:, 0]
    np.testing.assert_allclose(offsets, fusion.predict_proba(X)[5])
    assert row_names(display.ax_) == ["down", "up"]
    asked = ContributionDisplay.from_estimator(fusion, X, 5, name="sample 5")
    pd.testing.assert_frame_equal(asked.parts, display.parts)
    with pytest.raises(
        TypeError, match=r"DummyClassifier has no modality_contributions.* mkfusion\.emap"
    ):
        ContributionDisplay.from_estimator(DummyClassifier().fit(X, fusion.predict(X)), X)


SCALES = {
    "log pool": (LateFusionClassifier(rule="log_pool"), "log probability"),
    "Bayes": (LateFusionClassifier(), "log probability"),
    "sum": (LateFusionClassifier(rule="sum"), "probability"),
    "own rule": (
        LateFusionClassifier(rule=replace(RULES["bayes"])),
        "log probability",
    ),
    "hybrid": (HybridFusionClassifier(rule="mean"), "probability"),
    "late regressor": (LateFusionRegressor(), "prediction"),
    "kernels": (MKLClassifier(), "decision value"),
    "kernel regressor": (MKLRegressor(), "prediction"),
    "kernels of one class": (MKLOneClass(), "decision value"),
    "linear": (LinearMKLClassifier(), "decision value"),
    "linear regressor": (LinearMKLRegressor(), "prediction"),
    "steps": (CRFTagger(), "score"),
}


@pytest.mark.parametrize(("model", "scale"), SCALES.values(), ids=SCALES)
def test_the_axis_names_the_scale_of_the_decision(model, scale):
    X = pd.DataFrame(
        np.random.default_rng(0).normal(size=(40, 4)),
        columns=["a__0", "a__1", "b__0", "b__1"],
        index=pd.Index(np.repeat(range(4), 10), name="sequence"),
    )
    y = X["a__0"] if is_regressor(model) else (X["a__0"] > 0).to_numpy()
    display = ContributionDisplay.from_estimator(model.fit(X, y), X)
    assert display.ax_.get_xlabel() == f"added to the {scale}"


@pytest.fixture
def kernels(global_seed):
    """Three modalities with kernels in turn, and weights of which some are 0."""
    rng = np.random.default_rng(global_seed)
    modalities = [f"sense{m % 3}" for m in range(60)]
    weights = rng.dirichlet(np.full(60, 0.5)) * (rng.random(60) < 0.7)
    return [f"kernel{m}" for m in range(60)], modalities, weights / weights.sum()


def test_kernel_weights_are_drawn_by_modality(kernels):
    names, modalities, weights = kernels
    display = KernelWeightsDisplay.from_weights(*kernels, most=10)
    drawn = display.kernels_
    assert sorted(drawn) == sorted(np.argsort(-weights)[:10])
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], weights[drawn])
    assert row_names(display.ax_) == [names[kernel] for kernel in drawn]
    blocks = [(name, [*own]) for name, own in groupby(drawn, lambda kernel: modalities[kernel])]
    totals = {name: weights[np.array(modalities) == name].sum() for name, _ in blocks}
    assert [name for name, _ in blocks] == sorted(totals, key=totals.get, reverse=True)
    for _, own in blocks:
        assert (np.diff(weights[own]) <= 0).all()
    colours = [bar.get_facecolor() for bar in display.bars_]
    assert len(set(colours)) == len(blocks)
    texts = [f"{name}  {totals[name]:.3f}  ({len(own)} of 20)" for name, own in blocks]
    assert written(display.ax_)[10:] == texts


def test_kernels_that_are_not_drawn_are_counted(kernels):
    names, modalities, weights = kernels
    display = KernelWeightsDisplay.from_weights(*kernels, most=10)
    rest = np.delete(weights, display.kernels_)
    said = display.ax_.get_xlabel()
    assert f"{(rest > 0).sum()} smaller kernels share {rest.sum():.3f}" in said
    assert f"{(rest == 0).sum()} more have weight 0" in said
    all_of_them = KernelWeightsDisplay.from_weights(*kernels, most=60)
    assert len(all_of_them.bars_) == 60
    assert all_of_them.ax_.get_xlabel() == "weight"
    zeros = [text == "0" for text in written(all_of_them.ax_)[:60]]
    np.testing.assert_array_equal(zeros, weights[all_of_them.kernels_] == 0)
    few = KernelWeightsDisplay.from_weights(names, modalities, np.eye(60)[7], most=10)
    assert few.kernels_ == [7]


def test_kernel_weights_by_class(kernels):
    names, modalities, _ = kernels
    table = np.random.default_rng(0).dirichlet(np.ones(60), size=5)
    classes = ["$a$", "b", "c", "d", "e"]
    display = KernelWeightsDisplay.from_weights(names, modalities, table, classes=classes, most=9)
    np.testing.assert_allclose(display.image_.get_array(), table[:, display.kernels_].T)
    assert sorted(display.kernels_) == sorted(np.argsort(-table.mean(axis=0))[:9])
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == classes
    cells = {text.get_position(): text.get_text() for text in display.ax_.texts[:45]}
    for (row, column), value in np.ndenumerate(table[:, display.kernels_].T):
        assert cells[column, row] == ("<0.01" if value < 0.005 else f"{value:.2f}")
    many = np.random.default_rng(0).dirichlet(np.ones(60), size=300)
    assert len(KernelWeightsDisplay.from_weights(names, modalities, many).ax_.get_xticks()) <= 30


def two_views(n=60):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n, 4)), columns=["a__0", "a__1", "b__0", "b__1"])
    return X, np.digitize(X["a__0"], [-0.4, 0.4])


def test_kernel_weights_of_fitted_estimators():
    X, y = two_views()
    shared = MKLClassifier().fit(X, y)
    display = KernelWeightsDisplay.from_estimator(shared, name="two views", alpha=0.25)
    widths = {
        name: bar.get_width()
        for name, bar in zip(row_names(display.ax_), display.bars_, strict=True)
    }
    assert widths == pytest.approx(shared.modality_weights_)
    assert {bar.get_alpha() for bar in display.bars_} == {0.25}
    assert len(display.ax_.texts) == 2  # a kernel for each modality needs no sums
    own = KernelWeightsDisplay.from_estimator(shared.set_params(multi_class="per_class").fit(X, y))
    np.testing.assert_allclose(own.image_.get_array(), shared.kernel_weights_[:, own.kernels_].T)
    for weighting in ("product", "quadratic"):
        fused = MKLRegressor(weighting=weighting).fit(X, y)
        with pytest.raises(ValueError, match=f"weighting='{weighting}' multiplies kernels"):
            KernelWeightsDisplay.from_estimator(fused)
    with pytest.raises(NotFittedError):
        KernelWeightsDisplay.from_estimator(MKLClassifier())
    with pytest.raises(TypeError, match="got LateFusionClassifier; of a pipeline"):
        KernelWeightsDisplay.from_estimator(LateFusionClassifier().fit(X, y))


@pytest.mark.parametrize(
    ("weights", "message"),
    [([0.5, 0.5], "one number for each of 3 kernels"), ([0.5, np.nan, 0.5], "must be finite")],
)
def test_weights_that_fit_no_kernels_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        KernelWeightsDisplay.from_weights("abc", "xyz", weights)


def path_of(weights, values, param="C", names=None):
    names = [f"k{m}" for m in range(weights.shape[1])] if names is None else names
    rest = (np.ones(len(weights)),) * 3
    return KernelPath(param, np.array(values), names, names, weights, *rest)


def test_path_of_weights(global_seed):
    rng = np.random.default_rng(global_seed)
    weights = rng.random((5, 30)) * (np.arange(30) % 3 > 0)
    values = [10.0, 0.1, 1.0, 1000.0, 100.0]
    display = KernelPathDisplay.from_path(path_of(weights, values))
    assert display.kernels_ == np.argsort(-(weights**2).sum(axis=0))[:8].tolist()
    order = np.argsort(values)
    for line, kernel in zip(display.lines_, display.kernels_, strict=True):
        wanted = np.column_stack([np.sort(values), weights[order, kernel]])
        np.testing.assert_allclose(line.get_xydata(), wanted)
    assert len(display.others_.get_segments()) == 12
    assert "grey: 12 more kernels, 10 more have weight 0 throughout" in display.ax_.get_xlabel()
    assert {text.get_text() for text in display.labels_} == {f"k{m}" for m in display.kernels_}


def test_a_kernel_has_one_colour_in_all_paths():
    ends = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
    colours = []
    for weights in (ends, ends[:, ::-1]):  # other weights, another order of the lines
        display = KernelPathDisplay.from_path(path_of(weights, [1.0, 2.0]))
        pairs = zip(display.kernels_, display.lines_, strict=True)
        colours.append({kernel: line.get_color() for kernel, line in pairs})
    assert colours[0] == colours[1]
    assert len(set(colours[0].values())) == 3


def test_names_of_lines_do_not_overlap(global_seed):
    rng = np.random.default_rng(global_seed)
    for ends in (rng.random(8), np.zeros(8), np.ones(8), 0.5 + 1e-3 * rng.random(8)):
        weights = np.vstack([rng.random(8), ends])
        display = KernelPathDisplay.from_path(path_of(weights, [1.0, 2.0]))
        renderer = display.figure_.canvas.get_renderer()
        display.figure_.draw_without_rendering()
        spans = sorted(
            (box.y0, box.y1)
            for box in (Text.get_window_extent(label, renderer) for label in display.labels_)
        )
        for (_, top), (bottom, _) in pairwise(spans):
            assert bottom >= top - 1
        heights = [label.xyann[1] for label in display.labels_]
        assert 0 <= min(heights) <= max(heights) <= 1
        plt.close("all")


def test_infinite_norm_has_a_place_of_its_own():
    X, y = two_views()
    display = KernelPathDisplay.from_path(mkl_path(MKLClassifier(), X, y, param="norm"))
    places = [0, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1]
    np.testing.assert_allclose(display.lines_[0].get_xdata(), places, atol=1e-12)
    texts = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert texts == ["1", "1.14", "1.33", "2", "4", "\N{INFINITY}"]
    # At infinity all weights are equal: names stand at the other end.
    assert {label.xy[0] for label in display.labels_} == {0.0}


def test_path_of_one_value_or_no_weight():
    for weights in (np.array([[0.3, 0.7]]), np.zeros((1, 2))):
        display = KernelPathDisplay.from_path(path_of(weights, [1.0]), alpha=0.25)
        display.figure_.draw_without_rendering()
        assert {line.get_alpha() for line in display.lines_} == {0.25}


# What cannot be drawn


def test_refusals_say_why(result):
    with pytest.raises(ValueError, match="one modality"):
        FusionGainDisplay.from_comparison(made(1, 3))
    with pytest.raises(ValueError, match="numbers were predicted"):
        PerClassDisplay.from_comparison(made(3, 0))
    with pytest.raises(ValueError, match="metric must be"):
        PerClassDisplay.from_comparison(result, metric="beauty")
    for display in (PerClassDisplay, ReliabilityDisplay):
        with pytest.raises(ValueError, match="no row 'magic'; the rows are 'single"):
            display.from_comparison(result, strategies=["magic"])
    with pytest.raises(ValueError, match="without probabilities there is no curve: 'late:vote'"):
        ReliabilityDisplay.from_comparison(result, strategies=["late:vote"])


# Names are text


@pytest.mark.filterwarnings("ignore:Glyph")
@by_display
def test_hostile_names_are_text(display):
    names = [*HOSTILE[:-1], "_hidden"]
    drawn = display.from_comparison(made(names, names, fusions=names), name="$\\frac$")
    drawn.figure_.draw_without_rendering()
    texts = [*drawn.ax_.get_yticklabels(), *drawn.ax_.get_xticklabels(), drawn.ax_.title]
    named = [text for text in texts if "$" in text.get_text()]
    assert named
    assert not any(text.get_parse_math() for text in named)
    assert "\n" not in "".join(text.get_text() for text in texts)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_names_are_text_in_legends(result):
    names = ["$\\frac{1}$", "_hidden", "a\nb", "{{ 7*7 }}"]
    parts = ModalityContributions(
        np.ones((1, 4, 2)),
        np.zeros((1, 2)),
        np.full((1, 2), 4.0),
        names,
        np.array(["$x$", "_"]),
        "score",
    )
    display = ContributionDisplay.from_contributions(parts, 0)
    display.figure_.draw_without_rendering()
    texts = display.ax_.get_legend().get_texts()
    assert [text.get_text().strip("\u200b") for text in texts[1:-1]] == [*map(shown, names)]
    assert not any(text.get_parse_math() for text in texts)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_kernels_and_modalities_are_text():
    names = [*HOSTILE[:-1], "_hidden"]
    weights = np.random.default_rng(0).dirichlet(np.ones(len(names)), size=3)
    turned = names[1:] + names[:1]
    path = path_of(weights, [1.0, 2.0, np.inf], "norm", names)
    for display in (
        KernelWeightsDisplay.from_weights(names, turned, weights[0], name="$\\frac$"),
        KernelWeightsDisplay.from_weights(names, turned, weights, classes=names[-3:]),
        KernelPathDisplay.from_path(path, most=len(names)),
    ):
        display.figure_.draw_without_rendering()
        ax = display.ax_
        texts = [*ax.texts, *ax.get_yticklabels(), *ax.get_xticklabels(), ax.title]
        named = [text for text in texts if "$" in text.get_text()]
        assert named
        assert not any(text.get_parse_math() for text in named)
        assert "\n" not in "".join(text.get_text() for text in texts)
