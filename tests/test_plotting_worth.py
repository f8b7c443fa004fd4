"""The pictures of a report, of a curve and of a fitted fusion: what they draw is what is there."""

from itertools import combinations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from comparisons import HOSTILE
from examinations import curve_of, report_of
from sklearn.exceptions import NotFittedError

from mkfusion import (
    FusionGainDisplay,
    FusionWeightsDisplay,
    HMMClassifier,
    HybridFusionClassifier,
    LateFusionClassifier,
    LateFusionRegressor,
    ModalityMaskDisplay,
    ModalityValueDisplay,
    PosteriorAgreementDisplay,
    RobustnessCurveDisplay,
    SubsetLatticeDisplay,
    modality_mask,
)
from mkfusion import _pictures as pictures
from mkfusion.datasets import make_multimodal_sequences, simulate_missing

pytestmark = pytest.mark.interface

NAMES = [*HOSTILE[:-1], "_hidden"]
LONG = [f"modality {m} of a name that is rather long indeed" for m in range(12)]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def two_views(n=90, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 4)), columns=["a__0", "a__1", "b__0", "b__1"])
    return X, np.array(["low", "mid", "high"])[np.digitize(X["a__0"] + X["b__0"], [-0.6, 0.6])]


def predictions(names, n=40):
    rng = np.random.default_rng(0)
    return rng.integers(3, size=n), {name: rng.integers(3, size=n) for name in names}


# Every one of them, as a function of the names that it shows and of options
DRAWN = {
    "values": lambda names, **o: ModalityValueDisplay.from_report(report_of(names), **o),
    "lattice": lambda names, **o: SubsetLatticeDisplay.from_report(report_of(names), **o),
    "gain": lambda names, **o: FusionGainDisplay.from_report(report_of(names), **o),
    "missing": lambda names, **o: RobustnessCurveDisplay.from_curve(curve_of(names), **o),
    "noise": lambda names, **o: RobustnessCurveDisplay.from_curve(
        curve_of(names), damage="noise", **o
    ),
    "weights": lambda names, **o: FusionWeightsDisplay.from_weights(
        np.linspace(0, 1, len(names)), names, **o
    ),
    "by class": lambda names, **o: FusionWeightsDisplay.from_weights(
        np.random.default_rng(0).random((len(names), len(names))), names, classes=names, **o
    ),
    "agreement": lambda names, **o: PosteriorAgreementDisplay.from_predictions(
        *predictions(names), **o
    ),
    "mask": lambda names, **o: ModalityMaskDisplay.from_data(
        np.where(np.random.default_rng(0).random((500, len(names))) < 0.4, np.nan, 1.0),
        {name: [place] for place, name in enumerate(names)},
        **o,
    ),
}
by_picture = pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)


@by_picture
def test_draws_in_a_figure_of_its_own_or_where_it_is_told(draw):
    own = draw(["a", "b", "c"], name="a title")
    assert own.figure_ is own.ax_.figure
    assert own.ax_.get_title() == "a title"
    _, ax = plt.subplots()
    told = draw(["a", "b", "c"], ax=ax)
    assert told.ax_ is ax
    assert told.ax_.get_title() == ""
    _, other = plt.subplots()
    assert own.plot(ax=other) is own
    assert own.ax_ is other


@by_picture
def test_options_reach_matplotlib(draw):
    drawn = draw(["a", "b", "c"], alpha=0.25)
    ax = drawn.ax_
    artists = [*ax.collections, *ax.lines, *ax.patches, *ax.images]
    assert 0.25 in {artist.get_alpha() for artist in artists}


def texts_of(figure):
    for ax in figure.axes:
        yield from ax.texts
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = (tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
            yield from (label for tick in ticks for label in (tick.label1, tick.label2))
        yield from (ax.title, ax.xaxis.label, ax.yaxis.label)
        if ax.get_legend():
            yield from ax.get_legend().get_texts()


@pytest.mark.filterwarnings("ignore:Glyph")
@by_picture
def test_hostile_names_are_text(draw):
    drawn = draw(NAMES, name="$\\frac$")
    drawn.figure_.draw_without_rendering()
    named = [text for text in texts_of(drawn.figure_) if "$" in text.get_text()]
    assert named
    assert not any(text.get_parse_math() for text in named)
    ticks = [*drawn.ax_.get_yticklabels(), *drawn.ax_.get_xticklabels()]
    assert "\n" not in "".join(text.get_text() for text in ticks)


@pytest.mark.parametrize("names", [["audio", "video"], LONG], ids=["few", "many"])
@by_picture
def test_nothing_is_cut_off_and_no_names_overlap(draw, names):
    drawn = draw(names, name="a title")
    drawn.figure_.canvas.draw()
    renderer, page = drawn.figure_.canvas.get_renderer(), drawn.figure_.bbox
    shown = [text for text in texts_of(drawn.figure_) if text.get_text() and text.get_visible()]
    boxes = {text: text.get_window_extent(renderer) for text in shown}
    for text, box in boxes.items():
        room = (box.x0 - page.x0, page.x1 - box.x1, box.y0 - page.y0, page.y1 - box.y1)
        assert min(room) > -1, text.get_text()
    level = [text for text in shown if text.get_rotation() == 0]
    for one, other in combinations(level, 2):
        a, b = boxes[one], boxes[other]
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        up = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across < 1 or up < 1, (one.get_text(), other.get_text())


# What is drawn


@pytest.mark.parametrize("n_splits", [1, 4])
def test_values(n_splits, global_seed):
    report = report_of(4, n_splits=n_splits, seed=global_seed)
    display = ModalityValueDisplay.from_report(report)
    rows = report.shapley.sort_values("value", ascending=False)
    marks = {"value": display.points_, "alone": display.alone_, "last": display.last_}
    for key, points in marks.items():
        np.testing.assert_allclose(
            points.get_offsets(), np.column_stack([rows[key], np.arange(4)])
        )
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == list(rows.index)
    for place, line in enumerate(display.intervals_.get_segments()):
        if n_splits > 1:
            np.testing.assert_allclose(line[:, 0], rows[["low", "high"]].iloc[place])
    assert "accuracy" in display.ax_.get_xlabel()


def test_the_best_subsets_are_drawn_and_the_others_counted(global_seed):
    report = report_of(6, seed=global_seed)
    display = SubsetLatticeDisplay.from_report(report, most=10)
    found = display.subsets
    assert (len(found.scores), found.left_out) == (10, 53)
    assert (np.diff(found.scores) <= 0).all()
    table = report.subsets[1:]
    at_least = table["score"].nlargest(8).index
    drawn = [" + ".join(f"sense{m}" for m in np.flatnonzero(own)) for own in found.there]
    assert set(at_least) <= set(drawn)
    assert table.index[-1] in drawn
    assert table["score"][:6].idxmax() in drawn
    np.testing.assert_allclose(found.scores, table["score"][drawn])
    np.testing.assert_allclose(found.spread, table["spread"][drawn])
    said = display.ax_.get_xlabel()
    assert "10 of 63 subsets" in said
    assert f"{report.subsets['score'].iloc[0]:.4f}" in said
    size = found.there.sum(axis=1)
    kinds = (size == 1, (size > 1) & (size < 6), size == 6)
    for points, kind in zip(display.points_, kinds, strict=True):
        offsets = np.column_stack([np.flatnonzero(kind), found.scores[kind]])
        np.testing.assert_allclose(points.get_offsets(), offsets)
    dark = display.matrix_.get_facecolors()[:, 0] == 0
    np.testing.assert_array_equal(dark.reshape(6, 10), found.there.T)


def test_all_subsets_of_few_modalities_are_drawn():
    display = SubsetLatticeDisplay.from_report(report_of(3))
    assert (len(display.subsets.scores), display.subsets.left_out) == (7, 0)
    assert "7 of" not in display.ax_.get_xlabel()


def test_scores_stand_above_the_matrix():
    display = SubsetLatticeDisplay.from_report(report_of(12))
    display.figure_.canvas.draw()
    scores, matrix = display.ax_, display.matrix_ax_
    lowest = min(
        scores.transData.transform(points.get_offsets())[:, 1].min()
        for points in display.points_
        if len(points.get_offsets())
    )
    highest = matrix.transData.transform(display.matrix_.get_offsets())[:, 1].max()
    assert lowest > highest + 5


def test_gains_of_a_report():
    report = report_of(3)
    display = FusionGainDisplay.from_report(report)
    wanted = [report.mean_gain, *report.gain["gain"]]
    np.testing.assert_allclose(display.points_.get_offsets()[:, 0], wanted)
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names[0] == report.estimator
    assert names[1] == f"split 1, over {report.gain['chosen'].iloc[0]}"
    np.testing.assert_allclose(display.intervals_.get_segments()[0][:, 0], report.interval)


@pytest.mark.parametrize("damage", ["missing", "noise"])
def test_falls(damage, global_seed):
    curve = curve_of(["one", "two"], seed=global_seed)
    display = RobustnessCurveDisplay.from_curve(curve, damage=damage)
    for name, line in zip(["one", "two"], display.lines_, strict=True):
        own = curve.curves.loc[damage][name]
        np.testing.assert_allclose(line.get_xydata(), np.column_stack([own.index, own]))
        splits = curve.scores.query("damage == @damage and estimator == @name")
        splits = splits.groupby(["level", "split"])["score"].mean().unstack()
        np.testing.assert_allclose(display.falls[name]["spread"], splits.std(axis=1))
    styles = {(line.get_linestyle(), line.get_marker()) for line in display.lines_}
    assert len(styles) == 2


def test_lines_of_many_estimators_can_be_told_apart():
    display = RobustnessCurveDisplay.from_curve(curve_of([f"e{k}" for k in range(24)]))
    looks = [
        (line.get_color(), line.get_linestyle(), line.get_marker(), line.get_markerfacecolor())
        for line in display.lines_
    ]
    assert len(set(looks)) == 24


def test_a_refused_level_is_a_gap():
    curve = curve_of(["one"])
    curve.scores.loc[curve.scores["level"] == 0.25, "score"] = np.nan
    display = RobustnessCurveDisplay.from_curve(curve)
    assert np.isnan(display.lines_[0].get_ydata()).tolist() == [False, True, False]


@pytest.mark.parametrize("n_modalities", [3, 12])
def test_who_has_what(n_modalities, global_seed):
    rng = np.random.default_rng(global_seed)
    names = [f"m{m}" for m in range(n_modalities)]
    X = pd.DataFrame(rng.normal(size=(900, n_modalities)), columns=[f"{m}__0" for m in names])
    X = simulate_missing(X, 0.4, random_state=global_seed)
    mask, display = modality_mask(X), ModalityMaskDisplay.from_data(X)
    shares = [text.get_text() for text in display.ax_.texts]
    assert shares == [f"{100 * share:.1f} %" for share in mask.mean()]
    if n_modalities == 3:
        widths = [sum(bar.get_width() for bar in bars) for bars in display.bars_]
        assert display.image_ is None
    else:
        cells = display.image_.get_array().reshape(2 * n_modalities - 1, -1)[::2]
        edges = display.image_.get_coordinates()[0, :, 0]
        widths = (cells * np.diff(edges)).sum(axis=1)
        assert (np.diff(cells[0]) <= 0).all()
    np.testing.assert_allclose(widths, mask.sum())


# Weights


def test_weights_of_a_fitted_fusion():
    X, y = two_views()
    fusion = LateFusionClassifier(rule="weighted", weights=[3, 1]).fit(X, y)
    display = FusionWeightsDisplay.from_estimator(fusion)
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], [0.75, 0.25])
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["a", "b"]
    by_class = [[1, 2, 1], [1, 0, 3]]
    fusion = LateFusionClassifier(rule="weighted", weights=by_class).fit(X, y)
    display = FusionWeightsDisplay.from_estimator(fusion)
    np.testing.assert_allclose(display.image_.get_array(), fusion.weights_)
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == list(fusion.classes_)
    hybrid = HybridFusionClassifier(rule="weighted").fit(X, y)
    names = FusionWeightsDisplay.from_estimator(hybrid).ax_.get_yticklabels()
    assert [t.get_text() for t in names] == ["a", "b", "joint"]


@pytest.mark.filterwarnings("ignore:.*not converged")
def test_weights_of_streams():
    X, y = make_multimodal_sequences(12, lengths=6, return_X_y=True, random_state=0)
    names = list(X)
    given = np.arange(1.0, len(names) + 1)
    model = HMMClassifier(
        modalities={name: [name] for name in names}, stream_weights=given, n_states=2,
        max_iter=2, random_state=0,
    ).fit(X, y)  # fmt: skip
    display = FusionWeightsDisplay.from_estimator(model)
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], model.stream_weights_)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.2, 0.3], "for each of 2 modalities"),
        ([0.5, np.nan], "finite"),
        ([0.5, -1], "not negative"),
    ],
)
def test_weights_that_fit_no_modalities_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        FusionWeightsDisplay.from_weights(weights, ["a", "b"])


# Agreement


def test_who_agrees_and_who_is_right():
    truth = ["x", "x", "y", "y", "z"]
    said = {
        "good": ["x", "x", "y", "y", "x"],  # 4 of 5
        "half": ["x", "y", "y", None, "x"],  # 2 of 4, with good on 3 of 4
    }
    display = PosteriorAgreementDisplay.from_predictions(truth, said)
    np.testing.assert_allclose(display.agreement, [[0.8, 0.75], [0.75, 0.5]])
    np.testing.assert_allclose(display.one_right, [[0, 0.25], [0.25, 0]])
    cells = [[text.get_text() for text in row] for row in display.text_]
    assert cells == [["0.80", "0.25"], ["0.75", "0.50"]]


def test_agreement_of_a_fitted_fusion(global_seed):
    X, y = two_views(seed=global_seed)
    X.iloc[:30, :2] = np.nan
    fusion = LateFusionClassifier(rule="mean").fit(X, y)
    display = PosteriorAgreementDisplay.from_estimator(fusion, X, y)
    own = {
        name: fusion.named_estimators_[name].predict(X.filter(regex=f"^{name}__").iloc[30:])
        for name in "ab"
    }
    assert display.agreement.loc["a", "a"] == pytest.approx(np.mean(own["a"] == y[30:]))
    assert display.agreement.loc["a", "b"] == pytest.approx(np.mean(own["a"] == own["b"]))
    one = (own["a"] == y[30:]) != (own["b"] == y[30:])
    assert display.one_right.loc["a", "b"] == pytest.approx(one.mean())


def test_experts_that_never_meet_have_no_agreement():
    said = {"a": [1, 1, None, None], "b": [None, None, 1, 1]}
    display = PosteriorAgreementDisplay.from_predictions([1, 0, 1, 0], said)
    assert display.text_[1, 0].get_text() == pictures.NONE
    assert display.text_[0, 0].get_text() == "0.50"


# What cannot be drawn


def test_refusals_say_why():
    X, y = two_views()
    with pytest.raises(ValueError, match="damage must be"):
        RobustnessCurveDisplay.from_curve(curve_of(["a"], damages=("missing",)), damage="noise")
    with pytest.raises(NotFittedError):
        FusionWeightsDisplay.from_estimator(LateFusionClassifier())
    with pytest.raises(ValueError, match="rule 'naive_bayes' gives its experts no weights"):
        FusionWeightsDisplay.from_estimator(LateFusionClassifier(rule="naive_bayes").fit(X, y))
    regressor = LateFusionRegressor().fit(X, X["a__0"])
    with pytest.raises(TypeError, match="of classifiers, got LateFusionRegressor"):
        PosteriorAgreementDisplay.from_estimator(regressor, X, X["a__0"])
    with pytest.raises(ValueError, match=r"predictions of 'a' must have the shape of y_true, \(3"):
        PosteriorAgreementDisplay.from_predictions([1, 2, 3], {"a": [1, 2]})
    with pytest.raises(ValueError, match="one expert and one row"):
        PosteriorAgreementDisplay.from_predictions([], {})


def test_what_is_given_is_not_changed():
    report, same = report_of(4), report_of(4)
    for display in (ModalityValueDisplay, SubsetLatticeDisplay, FusionGainDisplay):
        display.from_report(report)
    for name in ("subsets", "shapley", "gain"):
        pd.testing.assert_frame_equal(getattr(report, name), getattr(same, name))
