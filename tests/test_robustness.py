"""Robustness under the same damage for all, areas, and the order in which to buy modalities."""

import inspect
import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_regression
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from mkfusion import EarlyFusionClassifier, LateFusionClassifier
from mkfusion.evaluation import acquisition_order, robustness_curve
from mkfusion.evaluation._robustness import robustness_areas


def table(rng, n_rows=120, shift=1.5):
    y = rng.permutation(np.repeat([0, 1], n_rows // 2))
    X = pd.DataFrame(rng.normal(size=(n_rows, 4)), columns=["a__0", "a__1", "b__0", "b__1"])
    X[["a__0", "b__0"]] += shift * y[:, np.newaxis]
    return X, y


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers what it is fitted on and asked of, in a list that its clones share."""

    def __init__(self, log=None):
        self.log = log

    def __sklearn_clone__(self):
        return Recorder(self.log)

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.log.append(("fit", X.copy()))
        return self

    def predict(self, X):
        self.log.append(("predict", X.copy()))
        return np.zeros(len(X), dtype=int)


# Areas


def areas_of(**curves):
    levels = curves.pop("levels")
    index = pd.MultiIndex.from_product([["missing"], levels], names=["damage", "level"])
    return robustness_areas(pd.DataFrame(curves, index=index), next(iter(curves)))


def test_area_of_a_constant_curve_is_value_times_range():
    for levels in [(0, 0.1, 0.2, 0.5), (0, 0.5), (0, 0.37, 0.5)]:
        found = areas_of(levels=levels, flat=[0.8] * len(levels)).loc[("missing", "flat")]
        assert abs(found["area"] - 0.4) < 1e-12
        assert abs(found["relative"] - 1) < 1e-12
        assert found["effective"] == 0


def test_areas_of_lines():
    levels = np.array([0.0, 0.1, 0.4, 1.0])
    found = areas_of(levels=levels, base=0.9 - 0.4 * levels, other=0.6 - 0.1 * levels)
    np.testing.assert_allclose(found["clean"], [0.9, 0.6])
    np.testing.assert_allclose(found["area"], [0.7, 0.55])
    np.testing.assert_allclose(found["relative"], [0.7 / 0.9, 0.55 / 0.6])
    np.testing.assert_allclose(found["effective"], [0, 0.15], atol=1e-12)


def test_areas_are_those_of_multibench_but_for_the_step():
    rng = np.random.default_rng(0)
    scores, late = rng.random((2, 6))
    found = areas_of(levels=np.arange(6) / 10, late=late, mine=scores).loc[("missing", "mine")]
    area = sum((scores[i] + scores[i + 1]) * 0.1 / 2 for i in range(5))
    assert abs(found["area"] - area) < 1e-12
    above = scores - (late + (scores[0] - late[0]))  # MultiBench sums these
    assert abs(found["effective"] - 0.1 * (above.sum() - above[-1] / 2)) < 1e-12


def test_finer_steps_do_not_change_the_area():
    coarse, fine = np.linspace(0, 0.5, 3), np.linspace(0, 0.5, 51)
    one = areas_of(levels=coarse, line=1 - coarse)
    other = areas_of(levels=fine, line=1 - fine)
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_relative_means_nothing_for_a_score_below_zero():
    found = areas_of(levels=[0, 1], bad=[-0.2, -0.4]).loc[("missing", "bad")]
    assert np.isnan(found["relative"])
    assert abs(found["area"] + 0.3) < 1e-12


# Curves


def test_clean_scores_are_those_of_cross_val_score(global_seed):
    X, y = table(np.random.default_rng(global_seed))
    models = {"late": LateFusionClassifier(), "constant": DummyClassifier()}
    found = robustness_curve(models, X, y, random_state=5)
    folds = StratifiedKFold(5, shuffle=True, random_state=5)
    for name, model in models.items():
        expected = cross_val_score(model, X, y, cv=folds)
        for damage in ("missing", "noise"):
            clean = found.scores.query("damage == @damage and level == 0 and estimator == @name")
            assert clean["score"].tolist() == np.repeat(expected, 3).tolist()
            assert abs(found.areas.loc[(damage, name), "clean"] - expected.mean()) < 1e-12
    assert len(found.scores) == 2 * 5 * 3 * (6 + 4)
    constant = found.curves["constant"]
    assert np.ptp(constant) < 1e-12
    np.testing.assert_allclose(found.areas.loc[("missing", "constant"), "relative"], 1)
    reach = {"missing": 0.5, "noise": 2.0}
    for damage, width in reach.items():
        assert abs(found.areas.loc[(damage, "constant"), "area"] - 0.5 * width) < 1e-12


def test_damage_costs(global_seed):
    X, y = table(np.random.default_rng(global_seed), 400)
    found = robustness_curve(LateFusionClassifier(), X, y, rates=(0, 0.9), noise=(0, 5))
    curves = found.curves.iloc[:, 0]
    assert curves["missing", 0.9] < curves["missing", 0.0]
    assert curves["noise", 5.0] < curves["noise", 0.0] - 0.05
    assert "LateFusionClassifier has the largest area" in found.verdict
    assert "falls to" in found.verdict


def test_fitted_once_on_clean_rows_and_damaged_alike(global_seed):
    X, y = table(np.random.default_rng(global_seed))
    logs = [], []
    found = robustness_curve(
        [("one", Recorder(logs[0])), ("two", Recorder(logs[1]))],
        X,
        y,
        rates=(0, 0.2, 0.6),
        noise=(0, 1, 3),
        cv=2,
        n_repeats=2,
    )
    assert found.baseline == "one"
    for log in logs:
        fits = [kept for kind, kept in log if kind == "fit"]
        assert len(fits) == 2
        pd.testing.assert_frame_equal(pd.concat(fits).sort_index(), X)
    for (kind, one), (other_kind, other) in zip(*logs, strict=True):
        assert kind == other_kind
        pd.testing.assert_frame_equal(one, other)
    asked = [kept for kind, kept in logs[0] if kind == "predict"]
    per_split = 1 + 2 * 2  # clean, two repeats of two levels
    assert len(asked) == 2 * 2 * per_split
    clean, low, low2, high, high2 = asked[:per_split]
    pd.testing.assert_frame_equal(clean, X.loc[clean.index])
    assert low.notna().any(axis=1).all()  # one modality is left
    hit, hit_again = (asked.isna().any(axis=1) for asked in (low, high))
    assert (hit_again | ~hit).all()
    assert 0 < hit.sum() < hit_again.sum()
    assert not low.isna().equals(low2.isna())
    assert not high.isna().equals(high2.isna())
    assert (low.isna()["a__0"] == low.isna()["a__1"]).all()  # whole modalities
    noise = asked[per_split : 2 * per_split]
    np.testing.assert_allclose(noise[3] - clean, 3 * (noise[1] - clean), atol=1e-10)
    fit = logs[0][0][1]
    spread = (noise[1] - clean).std() / fit.std()
    assert ((spread > 0.6) & (spread < 1.5)).all()


@pytest.mark.parametrize("keep_one", [True, False])
def test_losses_grow_with_the_rate(keep_one, global_seed):
    X, y = table(np.random.default_rng(global_seed))
    log = []
    options = {"noise": None, "cv": 2, "n_repeats": 1, "random_state": global_seed}
    robustness_curve(Recorder(log), X, y, rates=(0, 0.5, 1), keep_one=keep_one, **options)
    _, some, most = [kept for kind, kept in log if kind == "predict"][:3]
    assert (most.isna().sum(axis=1) == (2 if keep_one else 4)).all()
    lost = some.isna()[["a__0", "b__0"]].to_numpy()
    assert abs(lost.mean() - (0.5 - 0.125 * keep_one)) < 0.2
    assert lost.all(axis=1).any() != keep_one


def test_who_refuses_missing_rows_is_named(global_seed):
    X, y = table(np.random.default_rng(global_seed))
    models = {
        "late": LateFusionClassifier(),
        "early": EarlyFusionClassifier(LogisticRegression()),
        "imputed": make_pipeline(SimpleImputer(), LogisticRegression()),
    }
    with pytest.warns(UserWarning, match="'early' refuses damaged rows"):
        found = robustness_curve(models, X, y, rates=(0, 0.5))
    assert list(found.refusals) == ["early"]
    assert found.curves["early"].isna().tolist() == [False, True] + [False] * 4
    areas = found.areas["area"]
    assert np.isnan(areas["missing", "early"])
    assert areas.drop(("missing", "early")).notna().all()
    assert repr(found)
    assert found.areas.loc[("noise", "early"), "relative"] > 0.5


def test_a_model_that_fails_on_clean_rows_fails():
    X, y = table(np.random.default_rng(0))
    X.iloc[::9, :2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        robustness_curve(EarlyFusionClassifier(LogisticRegression()), X, y)


def test_same_figures_for_any_number_of_jobs_and_inputs_stay(global_seed):
    X, y = table(np.random.default_rng(global_seed), 60)
    before = X.copy()
    model = LateFusionClassifier()
    one, two = (robustness_curve(model, X, y, cv=3, n_jobs=n).scores for n in (1, 2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    pd.testing.assert_frame_equal(X, before)


def test_arrays_and_numbers(global_seed):
    X, y = make_regression(90, 4, noise=5, random_state=global_seed)
    X.flags.writeable = False
    model = make_pipeline(SimpleImputer(), Ridge())
    found = robustness_curve(model, X, y, {"a": [0, 1], "b": [2, 3]}, pattern="block")
    assert found.scoring == "r2"
    framed = pd.DataFrame(X, columns=["a__0", "a__1", "b__0", "b__1"])
    same = robustness_curve(model, framed, y, pattern="block")
    np.testing.assert_allclose(found.scores["score"], same.scores["score"], atol=1e-9)
    assert found.curves["Pipeline"]["noise", 2.0] < found.curves["Pipeline"]["noise", 0.0]


def test_words_get_no_noise(global_seed):
    X, y = table(np.random.default_rng(global_seed))
    X["b__1"] = np.where(X["b__1"] > 0, "up", "down")
    X["b__0"] = X["b__0"].astype("Float64")
    log = []
    robustness_curve(Recorder(log), X, y, rates=None, noise=(0, 1), cv=2, n_repeats=1)
    asked = [kept for kind, kept in log if kind == "predict"]
    assert (asked[1]["b__1"] == asked[0]["b__1"]).all()
    assert (asked[1]["b__0"] != asked[0]["b__0"]).all()


MODEL = LateFusionClassifier()


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        ({"X": lambda X: X[["a__0"]]}, {}, "one modality, 'a'"),
        ({"y": lambda y: y * 0}, {}, "y has one value, 0"),
        ({"y": lambda y: np.where(y, np.nan, 0)}, {}, "y contains NaN"),
        ({"y": lambda y: y[1:]}, {}, "X has 120, y has 119"),
        ({}, {"rates": (0, 1.2)}, "rates must be at least two different numbers"),
        ({}, {"rates": (0.5,)}, "rates must be at least two different numbers"),
        ({}, {"rates": ("few", 1)}, "rates must be numbers or None"),
        ({}, {"noise": (0, np.inf)}, "noise must be at least two"),
        ({}, {"noise": (-1, 1)}, "noise must be at least two"),
        ({}, {"rates": None, "noise": None}, "no damage"),
        ({}, {"n_repeats": 0}, "n_repeats must be a positive"),
        ({}, {"pattern": "often"}, "pattern must be one of"),
        ({}, {"baseline": "late"}, "baseline must be one of 'LateFusionClassifier'"),
        ({}, {"estimators": []}, "at least one entry"),
        ({}, {"estimators": [("a", MODEL), ("a", MODEL)]}, "different names"),
        ({}, {"estimators": {"a": MODEL, "b": Ridge()}}, "all classifiers or all regressors"),
    ],
)
@pytest.mark.filterwarnings("ignore:nothing is fused")
def test_refusals(change, options, match):
    X, y = table(np.random.default_rng(0))
    X, y = change.get("X", lambda X: X)(X), change.get("y", lambda y: y)(y)
    options = {"estimators": MODEL, **options}
    with pytest.raises(ValueError, match=match):
        robustness_curve(X=X, y=y, **options)


def test_what_is_no_estimator():
    X, y = table(np.random.default_rng(0))
    with pytest.raises(TypeError, match="estimators must be an estimator, a mapping"):
        robustness_curve(3, X, y)
    with pytest.raises(TypeError, match="'a' have no fit"):
        robustness_curve({"a": "svm"}, X, y)


# What to buy


SCORES = {(): 0.5, ("a",): 0.7, ("b",): 0.65, ("a", "b"): 0.8}
COSTS = {"a": 10, "b": 2}


def every(names):
    return itertools.chain.from_iterable(
        itertools.combinations(names, k) for k in range(len(names) + 1)
    )


def test_order_and_best_subset_of_a_small_table():
    found = acquisition_order(SCORES, COSTS)
    assert found.order == ["b", "a"]
    np.testing.assert_allclose(found.steps["gain"], [0.15, 0.15])
    np.testing.assert_allclose(found.steps["gain_per_cost"], [0.075, 0.015])
    assert found.steps["total_cost"].tolist() == [2, 12]
    assert found.best == ("a", "b")
    assert acquisition_order(SCORES, COSTS, budget=11).best == ("a",)
    assert acquisition_order(SCORES, COSTS, budget=11).order == ["b"]
    assert acquisition_order(SCORES, COSTS, budget=1).best == ()
    assert acquisition_order(SCORES, COSTS, budget=1).order == []
    assert acquisition_order(SCORES, ["a", "b"]).order == ["a", "b"]
    assert "Buy b next" in found.verdict


def test_best_is_the_best_of_all_subsets(global_seed):
    rng = np.random.default_rng(global_seed)
    names = list("abcde")
    costs = dict(zip(names, rng.integers(0, 5, 5).tolist(), strict=True))
    scores = {subset: float(rng.integers(10)) for subset in every(names)}
    for budget in (0, 3, 7, None):
        found = acquisition_order(scores, costs, budget=budget)
        limit = np.inf if budget is None else budget
        within = {s: v for s, v in scores.items() if sum(costs[m] for m in s) <= limit}
        top = max(within.values())
        assert found.best_score == top
        assert scores[found.best] == top
        cheapest = min(sum(costs[m] for m in s) for s, v in within.items() if v == top)
        assert found.best_cost == cheapest
        assert found.steps["total_cost"].max() <= limit or found.steps.empty
        for line in found.frontier.itertuples():
            cheaper = [v for s, v in scores.items() if sum(costs[m] for m in s) <= line.cost]
            assert line.score == max(cheaper)
        assert (found.frontier["score"].diff().dropna() > 0).all()


def test_each_step_is_the_best_gain_for_its_price(global_seed):
    rng = np.random.default_rng(global_seed)
    names = list("abcd")
    costs = dict(zip(names, rng.uniform(1, 5, 4), strict=True))
    scores = {frozenset(subset): rng.random() for subset in every(names)}
    have = frozenset()
    for line in acquisition_order(scores, costs).steps.itertuples():
        rates = {m: (scores[have | {m}] - scores[have]) / costs[m] for m in names if m not in have}
        assert line.modality == max(rates, key=rates.get)
        assert abs(line.gain_per_cost - rates[line.modality]) < 1e-12
        have |= {line.modality}
    assert len(have) == 4


def test_free_ones_come_first_where_they_help_and_last_where_they_harm():
    scores = {(): 0.5, "good": 0.51, "bad": 0.4, "paid": 0.9}
    scores |= {"good+bad": 0.45, "good+paid": 0.95, "bad+paid": 0.8, "good+bad+paid": 0.9}
    found = acquisition_order(scores, {"bad": 0, "paid": 5, "good": 0})
    assert found.order == ["good", "paid", "bad"]
    assert found.best == ("paid", "good")


def test_what_is_owned_costs_nothing():
    found = acquisition_order(SCORES, COSTS, owned=["a"], budget=2)
    assert found.order == ["b"]
    assert found.best == ("a", "b")
    assert found.best_cost == 2
    assert acquisition_order(SCORES, COSTS, owned=("a", "b")).order == []
    assert "nothing left" in acquisition_order(SCORES, COSTS, owned=("a", "b")).verdict


@pytest.mark.parametrize(
    "same",
    [
        {frozenset(key): value for key, value in SCORES.items()},
        {"": 0.5, "a": 0.7, "b": 0.65, "b + a": 0.8},
        pd.Series({"": 0.5, "a": 0.7, "b": 0.65, "a+b": 0.8}),
        pd.DataFrame({"score": [0.5, 0.7, 0.65, 0.8]}, index=["", "a", "b", "a+b"]),
        pd.DataFrame({"score": SCORES.values(), "subset": SCORES.keys()}),
        pd.DataFrame({"score": SCORES.values(), "modalities": [[], ["a"], ["b"], ["b", "a"]]}),
        pd.DataFrame({"score": SCORES.values(), "a": [0, 1, 0, 1], "b": [0, 0, 1, 1]}),
        pd.DataFrame(
            {"score": SCORES.values(), "low": 0.0, "a": [False, True] * 2, "b": [0, 0, 1, 1]}
        ),
    ],
)
def test_tables_of_any_form(same):
    expected, found = acquisition_order(SCORES, COSTS), acquisition_order(same, COSTS)
    pd.testing.assert_frame_equal(found.steps, expected.steps)
    pd.testing.assert_frame_equal(found.frontier, expected.frontier)


def test_names_that_hold_a_plus_are_names():
    assert acquisition_order({"": 0, "a+b": 1}, ["a+b", "a", "b"]).order == ["a+b"]


def test_subsets_that_are_not_there_are_not_chosen():
    found = acquisition_order({(): 0.5, "b": 0.6, "a+b": 0.9}, COSTS)
    assert found.order == ["b", "a"]
    assert acquisition_order({(): 0.5, "a+b": 0.9}, COSTS).order == []
    assert acquisition_order({(): 0.5, "a+b": 0.9}, COSTS).best == ("a", "b")


@pytest.mark.parametrize(
    ("scores", "costs", "options", "match"),
    [
        ({"a": 1}, COSTS, {}, "lacks the empty subset"),
        (SCORES, COSTS, {"owned": ["c"]}, "owned names 'c'"),
        ({(): 0, "a": 1}, COSTS, {"owned": "b"}, "lacks the owned 'b'"),
        ({(): 0, "c": 1}, COSTS, {}, "scores names 'c', of which costs says nothing"),
        (SCORES, {"a": -1, "b": 1}, {}, "the cost of 'a' must be a number, 0 or more"),
        (SCORES, {"a": np.nan, "b": 1}, {}, "the cost of 'a' must be"),
        (SCORES, {"a": np.inf, "b": 1}, {}, "infinite"),
        (SCORES, {}, {}, "costs names no modality"),
        (SCORES, COSTS, {"budget": -1}, "budget must be a number"),
        ({(): np.nan}, COSTS, {}, "must be a finite number"),
        ({("a", "b"): 1, ("b", "a"): 2}, COSTS, {}, "two different scores"),
        (pd.DataFrame({"value": [1]}), COSTS, {}, "no column 'score'"),
        (pd.DataFrame({"score": [1], "a": [0.5]}), COSTS, {}, "must be boolean"),
    ],
)
def test_refused_tables(scores, costs, options, match):
    with pytest.raises(ValueError, match=match):
        acquisition_order(scores, costs, **options)


def test_refused_types():
    with pytest.raises(TypeError, match="costs must be a mapping"):
        acquisition_order(SCORES, "ab")
    with pytest.raises(TypeError, match="scores must be a mapping"):
        acquisition_order([1, 2], COSTS)
    with pytest.raises(TypeError, match="a subset in scores is a tuple"):
        acquisition_order({3: 1}, COSTS)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "two\nlines", "{{ 7 }}"])
def test_names_are_text(name):
    bought = acquisition_order({"": 0, name: 1}, [name])
    X, y = table(np.random.default_rng(0), 40)
    curve = robustness_curve({name: MODEL}, X, y, cv=2, rates=(0, 0.5), noise=None)
    for found in (bought, curve):
        assert "<script>" not in found._repr_html_()
        assert "two\nlines" not in repr(found)
    assert inspect.cleandoc(repr(bought))
