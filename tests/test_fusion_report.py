"""What a fusion is worth: subsets by hand, axioms of Shapley's value, counted fits."""

import json
import warnings
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from mkfusion import (
    EarlyFusionClassifier,
    HybridFusionClassifier,
    LateFusionClassifier,
    LateFusionRegressor,
    MKLClassifier,
)
from mkfusion.evaluation import fusion_report
from mkfusion.evaluation._subsets import hearing, plan_subsets, shapley_values

NAMES = ["audio", "video", "text"]
COLUMNS = {"audio": [0, 1, 2], "video": [3, 4], "text": [5, 6]}


def make(seed, n=90):
    X, y = make_classification(
        n, 7, n_informative=5, n_redundant=0, n_classes=3, random_state=seed
    )
    columns = [f"{name}__{j}" for name, own in COLUMNS.items() for j in own]
    return pd.DataFrame(X, columns=columns), np.array(["ant", "bee", "cat"])[y]


def folds(y, seed=0):
    return list(StratifiedKFold(4, shuffle=True, random_state=seed).split(np.zeros(len(y)), y))


# Shapley's value


def shapley_by_orders(values, M):
    """Let the modalities join in every order, and take the mean of what each adds."""
    added = np.zeros(M)
    for order in permutations(range(M)):
        for place, m in enumerate(order):
            added[m] += values[frozenset(order[: place + 1])] - values[frozenset(order[:place])]
    return added / len(list(permutations(range(M))))


def as_array(plan, values):
    return np.array([values[frozenset(np.flatnonzero(row).tolist())] for row in plan.subsets])


def drawn_values(seed, M):
    rng = np.random.default_rng(seed)
    sets = [frozenset(own) for size in range(M + 1) for own in combinations(range(M), size)]
    return dict(zip(sets, rng.normal(size=len(sets)), strict=True))


@pytest.mark.parametrize("M", [1, 2, 3, 5])
def test_shapley_is_the_mean_over_all_orders(M, global_seed):
    values = drawn_values(global_seed, M)
    plan = plan_subsets(M, 10, np.random.RandomState(0))
    found = shapley_values(plan, as_array(plan, values))
    np.testing.assert_allclose(found, shapley_by_orders(values, M), atol=1e-13)
    total = values[frozenset(range(M))] - values[frozenset()]
    assert abs(found.sum() - total) < 1e-12


def test_who_adds_nothing_gets_nothing_and_twins_share(global_seed):
    base = drawn_values(global_seed, 3)
    values = {}  # 3 is a dummy, and 0 and 1 may stand for one another
    for size in range(5):
        for own in combinations(range(4), size):
            twins = len({0, 1} & set(own))
            values[frozenset(own)] = base[frozenset(set(range(twins)) | ({2} & set(own)))]
    plan = plan_subsets(4, 10, np.random.RandomState(0))
    found = shapley_values(plan, as_array(plan, values))
    assert abs(found[3]) < 1e-13
    assert found[0] == pytest.approx(found[1], abs=1e-13)


def test_drawn_orders_share_out_everything_and_come_near(global_seed):
    M = 10
    rng = np.random.RandomState(global_seed)
    plan = plan_subsets(M, 400, rng)
    assert len(plan.subsets) < 2**M
    strength = np.arange(M, dtype=float)
    totals = plan.subsets @ strength
    values = totals + 0.05 * totals**2 / M
    found = shapley_values(plan, values)
    assert found.sum() == pytest.approx(values[-1] - values[0], abs=1e-10)
    # s_m + .05 / M (s_m^2 + s_m (T - s_m)), because a pair shares its product equally.
    exact = strength + 0.05 / M * strength * strength.sum()
    np.testing.assert_allclose(found, exact, atol=0.05 * exact.max())


# Subsets against a loop


def by_hand(build, X, y, splits, scoring):
    """Score every subset on every fold; ``build(names)`` makes the model that hears these."""
    scores = {}
    for size in range(len(NAMES) + 1):
        for chosen in combinations(NAMES, size):
            own = []
            for train, test in splits:
                model, table = build(chosen)
                model.fit(table.iloc[train], y[train])
                own.append(get_scorer(scoring)(model, table.iloc[test], y[test]))
            scores[" + ".join(chosen) or "nothing"] = own
    return pd.DataFrame(scores)


def selected(X, chosen):
    return X[[column for column in X.columns if column.split("__")[0] in chosen]]


FUSIONS = {
    "late": LateFusionClassifier(),
    "learnt": LateFusionClassifier(rule="log_pool", weights="learn", cv=3),
    "calibrated": LateFusionClassifier(
        estimator=LinearSVC(), rule="mean", output_calibration="temperature", cv=3
    ),
    "stacked": LateFusionClassifier(rule="stacking", cv=3),
    "hybrid": HybridFusionClassifier(joint_modalities="all"),
    "early": EarlyFusionClassifier(),
    "kernels": MKLClassifier(),
    "forest": RandomForestClassifier(10, random_state=0),
}


@pytest.mark.filterwarnings("ignore:nothing is fused")
@pytest.mark.parametrize("name", FUSIONS)
def test_subsets_equal_a_loop_of_refits(name, global_seed):
    X, y = make(global_seed)
    splits = folds(y, global_seed)[:2]

    def build(chosen):
        if not chosen:
            return DummyClassifier(strategy="prior"), X.iloc[:, :0]
        model = clone(FUSIONS[name])
        if "modalities" in model.get_params():
            model.set_params(modalities={m: list(selected(X, [m]).columns) for m in chosen})
        return model, selected(X, chosen)

    found = fusion_report(FUSIONS[name], X, y, cv=splits, single="audio")
    wanted = by_hand(build, X, y, splits, "accuracy")
    assert list(found.fold_scores.columns) == list(wanted.columns)
    np.testing.assert_allclose(found.fold_scores, wanted, atol=1e-12)
    np.testing.assert_allclose(found.subsets["score"], wanted.mean(), atol=1e-12)
    whole = found.subsets["score"].iloc[-1] - found.subsets["score"].iloc[0]
    assert abs(found.shapley["value"].sum() - whole) < 1e-12
    pair = found.interactions.loc[("audio", "text"), "value"]
    mean = wanted.mean()
    assert pair == pytest.approx(
        mean["audio + text"] - mean["audio"] - mean["text"] + mean["nothing"], abs=1e-12
    )
    gains = wanted["audio + video + text"] - wanted["audio"]
    np.testing.assert_allclose(found.gain["gain"], gains, atol=1e-12)


def test_numbers_are_reported_on_too(global_seed):
    X, _ = make(global_seed)
    Z = StandardScaler().fit_transform(X)
    y = Z[:, 0] + 0.3 * Z[:, 3]
    found = fusion_report(LateFusionRegressor(), X, y, cv=3)
    assert found.subsets["score"].iloc[0] <= 0  # r2 of the mean
    assert found.scoring == "r2"
    assert found.calibration.empty
    assert found.shapley["value"].idxmax() == "audio"


def test_a_pipeline_that_ends_in_a_fusion_is_told_what_it_hears(global_seed):
    X, y = make(global_seed)
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), LateFusionClassifier())
    splits = folds(y)
    found = fusion_report(model, X, y, cv=splits)
    plain = fusion_report(LateFusionClassifier(), X, y, cv=splits)
    np.testing.assert_allclose(found.fold_scores, plain.fold_scores, atol=0.1)
    copy = hearing(model, {m: list(selected(X, [m]).columns) for m in NAMES}, ["text"])
    assert copy.named_steps["latefusionclassifier"].modalities == {"text": ["text__5", "text__6"]}


# What is fitted


class Counted(ClassifierMixin, BaseEstimator):
    """Naive Bayes that counts its fits."""

    fits = 0

    def fit(self, X, y):
        Counted.fits += 1
        self.model_ = GaussianNB().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def predict(self, X):
        return self.model_.predict(X)


@pytest.mark.parametrize(
    ("params", "more"), [({}, 0), ({"rule": "log_pool", "weights": "learn", "cv": 3}, 3)]
)
def test_every_expert_is_fitted_once_for_all_subsets(params, more, global_seed):
    X, y = make(global_seed)
    fusion = LateFusionClassifier(estimator=Counted(), **params)
    Counted.fits = 0
    fusion_report(fusion, X, y, cv=4, single="audio")
    assert Counted.fits == 4 * 3 * (1 + more)
    Counted.fits = 0
    LateFusionClassifier(estimator=Counted(), **params).fit(X, y)
    assert Counted.fits == 3 * (1 + more)  # outside of a report nothing is remembered


class CountedScaler(StandardScaler):
    """A scaler that counts what it is asked for."""

    fits = transforms = 0

    def fit(self, X, y=None, sample_weight=None):
        CountedScaler.fits += 1
        return super().fit(X, y, sample_weight)

    def fit_transform(self, X, y=None):
        return self.fit(X, y).transform(X)

    def transform(self, X, copy=None):
        CountedScaler.transforms += 1
        return super().transform(X, copy)


def test_every_transformer_is_fitted_once_for_all_subsets(global_seed):
    X, y = make(global_seed)
    fusion = EarlyFusionClassifier(GaussianNB(), transformer=CountedScaler())
    CountedScaler.fits = CountedScaler.transforms = 0
    fusion_report(fusion, X, y, cv=4, single="audio", scoring="neg_log_loss")
    assert CountedScaler.fits == 4 * 3
    assert CountedScaler.transforms == 2 * 4 * 3  # training and test rows
    fusion.fit(X, y).predict(X)
    assert CountedScaler.fits == 5 * 3


@pytest.mark.parametrize("weighting", ["svm", "uniform", "product"])
def test_every_kernel_is_made_once_for_all_subsets(weighting, global_seed):
    X, y = make(global_seed)
    made = []

    def similar(A, B):
        made.append(len(A) * len(B))
        return np.exp(-0.3 * ((A[:, None] - B[None]) ** 2).sum(axis=2))

    model = MKLClassifier(kernel=similar, weighting=weighting, normalize=None)
    splits = folds(y, global_seed)
    columns = {name: list(selected(X, [name]).columns) for name in NAMES}
    wanted = {}
    for chosen in (["audio"], ["video", "text"], NAMES):
        copy = clone(model).set_params(modalities={m: columns[m] for m in chosen})
        wanted[" + ".join(chosen)] = [
            copy.fit(X.iloc[train], y[train]).score(X.iloc[test], y[test])
            for train, test in splits
        ]
    made.clear()
    found = fusion_report(model, X, y, cv=splits, single="audio")
    for chosen, scores in wanted.items():
        np.testing.assert_allclose(found.fold_scores[chosen], scores, atol=1e-12)
    once = sum(3 * len(train) * (len(train) + len(test)) for train, test in splits)
    assert 0.5 * once < sum(entries for entries in made if entries > 1) <= once  # 1: a diagonal


def test_kernels_are_not_kept_beyond_the_budget(global_seed):
    X, y = make(global_seed)
    model = MKLClassifier(memory_budget="700kB")  # two kernels take 262 kB, and twice so
    fusion_report(model, X, y, cv=4, single="audio")
    known = {}
    for chosen in (NAMES[:1], NAMES[:2], NAMES):
        columns = {m: list(selected(X, [m]).columns) for m in chosen}
        copy = clone(model).set_params(modalities=columns)
        copy._known = known
        lone = clone(model).set_params(modalities=columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.testing.assert_allclose(
                copy.fit(X, y).decision_function(X), lone.fit(X, y).decision_function(X), atol=1e-6
            )
        assert sum(own.nbytes for own in known.values() if hasattr(own, "nbytes")) <= 616_000


def test_a_scorer_may_ask_of_other_tables(global_seed):
    X, y = make(global_seed)

    def reversed_too(model, table, truth):
        return (model.score(table, truth) + model.score(table[::-1], truth)) / 2

    for model in (LateFusionClassifier(), EarlyFusionClassifier(), MKLClassifier()):
        splits = folds(y, global_seed)
        found = fusion_report(model, X, y, cv=splits, single="audio", scoring=reversed_too)
        for fold, (train, test) in enumerate(splits):
            copy = clone(model).fit(X.iloc[train], y[train])
            score = reversed_too(copy, X.iloc[test], y[test])
            assert found.fold_scores["audio + video + text"][fold] == pytest.approx(score)


def test_blanking_fits_once(global_seed):
    X, y = make(global_seed)
    Counted.fits = 0
    splits = folds(y)
    fusion = LateFusionClassifier(estimator=Counted(), rule="mean")
    found = fusion_report(fusion, X, y, cv=splits, strategy="mask", single="text")
    assert Counted.fits == 4 * 3
    for fold, (train, test) in enumerate(splits):
        model = clone(fusion).fit(X.iloc[train], y[train])
        blank = X.iloc[test].copy()
        blank[["video__3", "video__4"]] = np.nan
        assert found.fold_scores["audio + text"][fold] == model.score(blank, y[test])


def test_the_single_modality_is_chosen_inside_the_training_rows(global_seed):
    X, y = make(global_seed)
    splits = folds(y)
    found = fusion_report(LateFusionClassifier(), X, y, cv=splits, inner_cv=3)
    for fold, (train, test) in enumerate(splits):
        inner = StratifiedKFold(3, shuffle=True, random_state=0).split(train, y[train])
        means = {m: [] for m in NAMES}
        for a, b in inner:
            for m in NAMES:
                model = LateFusionClassifier(modalities={m: list(selected(X, [m]).columns)})
                model.fit(selected(X, [m]).iloc[train[a]], y[train[a]])
                means[m].append(model.score(selected(X, [m]).iloc[train[b]], y[train[b]]))
        best = max(NAMES, key=lambda m: np.mean(means[m]))
        assert found.gain["chosen"][fold] == best
        assert found.gain["single"][fold] == found.fold_scores[best][fold]
        assert len(test)


# What it says


def test_noise_has_no_sure_share_and_a_copy_shares(global_seed):
    rng = np.random.default_rng(global_seed)
    y = np.arange(300) % 2
    signal = y[:, None] + rng.normal(size=(300, 2))
    X = pd.DataFrame(
        np.hstack([signal, signal, rng.normal(size=(300, 2))]),
        columns=["a__0", "a__1", "b__0", "b__1", "noise__0", "noise__1"],
    )
    found = fusion_report(EarlyFusionClassifier(), X, y, scoring="neg_log_loss", single="a")
    assert found.shapley.loc["noise", "low"] <= 0
    assert found.shapley.loc["a", "low"] > 0
    assert found.shapley.loc["a", "value"] == pytest.approx(
        found.shapley.loc["b", "value"], abs=1e-3
    )
    assert found.interactions.loc[("a", "b"), "high"] < 0  # they say the same


def test_masked_noise_covers_nothing_in_an_additive_model(global_seed):
    """Of eight tables at most one interval of the noise's share may miss 0."""
    rng = np.random.default_rng(global_seed)
    y = np.arange(200) % 2
    missed, signal = 0, []
    for _ in range(8):
        values = rng.normal(size=(200, 6))
        values[:, :4] += 0.7 * y[:, None]
        X = pd.DataFrame(values, columns=["a__0", "a__1", "b__0", "b__1", "n__0", "n__1"])
        model = LateFusionClassifier(estimator=GaussianNB(), rule="bayes")
        found = fusion_report(
            model, X, y, cv=5, scoring="neg_log_loss", strategy="mask", single="a"
        )
        share = found.shapley.loc["n"]
        missed += not share["low"] <= 0 <= share["high"]
        signal.append(found.shapley.loc["a", "value"])
    assert missed <= 1
    assert np.mean(signal) > 0.05


def test_two_that_speak_only_together_interact(global_seed):
    rng = np.random.default_rng(global_seed)
    bits = rng.permutation(np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (50, 1)))
    X = pd.DataFrame(bits + 0.01 * rng.normal(size=bits.shape), columns=["a__0", "b__0"])
    y = bits[:, 0] ^ bits[:, 1]
    model = EarlyFusionClassifier(RandomForestClassifier(20, random_state=0))
    found = fusion_report(model, X, y)
    assert found.interactions.loc[("a", "b"), "low"] > 0
    assert found.interval[0] > 0
    assert "Fusion pays" in found.verdict


def test_equal_strategies_gain_nothing():
    X, y = make(0)
    found = fusion_report(DummyClassifier(), X, y)
    assert found.mean_gain == 0
    assert found.interval == (0, 0)
    assert "no sure gain" in found.verdict
    assert not found.shapley["value"].any()


def test_many_modalities_are_sampled(global_seed):
    rng = np.random.default_rng(global_seed)
    X = pd.DataFrame(rng.normal(size=(60, 9)), columns=[f"m{j}__x" for j in range(9)])
    y = (X.to_numpy() @ np.arange(9) > 0).astype(int)
    found = fusion_report(
        LateFusionClassifier(estimator=GaussianNB()), X, y, cv=3, n_orders=6, single="m8"
    )
    assert 2 + 9 + 36 + 9 <= len(found.subsets) < 2**9
    total = found.subsets["score"].iloc[-1] - found.subsets["score"].iloc[0]
    assert abs(found.shapley["value"].sum() - total) < 1e-12


def test_figures_do_not_depend_on_jobs(global_seed):
    X, y = make(global_seed)
    for model in (LateFusionClassifier(), EarlyFusionClassifier()):
        one, two = (fusion_report(model, X, y, cv=3, n_jobs=n) for n in (None, 2))
        for table in ("subsets", "shapley", "interactions", "gain", "calibration", "fold_scores"):
            pd.testing.assert_frame_equal(
                getattr(one, table), getattr(two, table), check_exact=True
            )


def test_groups_stay_together(global_seed):
    X, y = make(global_seed)
    groups = np.arange(len(y)) % 6
    found = fusion_report(LateFusionClassifier(), X, y, cv=GroupKFold(3), groups=groups)
    named = fusion_report(
        LateFusionClassifier(), X.assign(who=groups), y, cv=GroupKFold(3), groups="who"
    )
    pd.testing.assert_frame_equal(found.fold_scores, named.fold_scores)


def test_probabilities_get_no_worse_figures_than_by_hand(global_seed):
    X, y = make(global_seed)
    splits = folds(y)
    found = fusion_report(LateFusionClassifier(), X, y, cv=splits, single="audio")
    rows = [
        LateFusionClassifier().fit(X.iloc[a], y[a]).predict_proba(X.iloc[b]) for a, b in splits
    ]
    truth = np.concatenate([y[b] for _, b in splits])[:, None] == np.unique(y)
    p = np.concatenate(rows)
    assert found.calibration.loc["as it is", "log_loss"] == pytest.approx(
        -np.log(p[truth]).mean(), rel=1e-9
    )
    assert found.calibration.loc["as it is", "brier"] == pytest.approx(
        ((p - truth) ** 2).sum(axis=1).mean(), rel=1e-9
    )


def test_report_is_text_numbers_and_html():
    X, y = make(0)
    X = X.rename(columns=lambda name: name.replace("audio", "<script>alert(1)</script>"))
    found = fusion_report(LateFusionClassifier(), X, y, cv=3)
    page = found._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert json.loads(json.dumps(found.to_dict(), default=float))["n_rows"] == 90
    assert found.verdict in repr(found)
    named = fusion_report(LateFusionClassifier(), X, y, cv=3, single="text")
    assert "text, named beforehand" in named.verdict
    once = fusion_report(LateFusionClassifier(), X, y, cv=folds(y)[:1])
    assert np.isnan(once.interval).all()
    assert "one split gives no interval" in once.verdict


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": ["audio__0"]}, "X has one modality"),
        ({"strategy": "drop"}, "strategy"),
        ({"single": "smell"}, "single names 'smell'"),
        ({"modalities": {"score": ["text__5"], "b": ["text__6"]}}, "'score' have the names"),
        ({"y": "one"}, "in every row"),
        ({"y": "missing"}, "NaN|missing"),
        ({"cv": 60}, "too few rows per class"),
        ({"estimator": StandardScaler()}, "neither|must be a classifier or a regressor"),
        ({"modalities": {"a": ["nowhere"], "b": ["text__5"]}}, "nowhere"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    X, y = make(0)
    given = {"estimator": LateFusionClassifier(), "X": X, "y": y} | change
    if isinstance(given["X"], list):
        given["X"] = X[given["X"]]
    if isinstance(given["y"], str):
        given["y"] = (
            np.full(len(y), "ant") if given["y"] == "one" else np.where(y == "ant", None, y)
        )
    with pytest.raises((ValueError, KeyError), match=message):
        fusion_report(**given)


def test_a_model_that_fails_says_for_whom():
    X, y = make(0)
    X["video__3"] = np.inf
    with pytest.raises(ValueError, match="infinity") as caught:
        fusion_report(make_pipeline(LogisticRegression()), X, y, cv=3, single="audio")
    assert "raised by the fusion of video" in caught.value.__notes__


def test_dummy_of_numbers_is_the_mean():
    X, _ = make(0)
    y = X.iloc[:, 0].to_numpy()
    splits = [(np.arange(60), np.arange(60, 90))]
    found = fusion_report(make_pipeline(Ridge()), X, y, cv=splits, single="audio")
    mean = DummyRegressor().fit(X[:60], y[:60]).score(X[60:], y[60:])
    assert found.fold_scores["nothing"][0] == mean
