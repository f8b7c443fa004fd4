"""The base of labellers of steps, by the simplest one there is."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from interruptions import interrupted_at
from oracles_chain import enumerate_chain
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mkfusion.datasets import load_watch
from mkfusion.graphical._tagger import BaseTagger


class FrequencyTagger(BaseTagger):
    """Class means of the joined features, one spread, and the frequencies of transitions."""

    def __init__(
        self,
        smoothing=1.0,
        modalities=None,
        *,
        decode="viterbi",
        sequence="sequence",
        step="step",
        remainder="drop",
        allow_overlap=False,
        n_jobs=None,
        verbose=0,
    ):
        self.smoothing = smoothing
        self.modalities = modalities
        self.decode = decode
        self.sequence = sequence
        self.step = step
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _learn(self, steps, y, weights):
        K = len(self.classes_)
        lengths = np.diff(steps.offsets)
        each = np.repeat(np.ones(len(lengths)) if weights is None else weights, lengths)
        X = np.hstack(list(steps.blocks.values()))
        known = np.zeros((len(y), K))
        known[np.arange(len(y)), y] = each
        counts = known.sum(axis=0)
        self.means_ = known.T @ X / np.maximum(counts, 1e-12)[:, None]
        self.spread_ = np.sqrt((each @ (X - self.means_[y]) ** 2) / each.sum()) + 1e-6
        pairs = np.full((K, K), self.smoothing)
        inner = np.ones(len(y), bool)
        inner[steps.offsets[:-1]] = False
        ends = np.flatnonzero(inner)
        np.add.at(pairs, (y[ends - 1], y[ends]), each[ends])
        self.transition_ = np.log(pairs / pairs.sum(axis=1, keepdims=True))
        self.start_ = np.log((counts + 1e-12) / counts.sum())

    def _potentials(self, steps):
        X = np.hstack(list(steps.blocks.values()))
        unary = -0.5 * (((X[:, None] - self.means_) / self.spread_) ** 2).sum(axis=2)
        return self.start_, self.transition_, unary


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([FrequencyTagger()])
def test_check(estimator, check):
    check(estimator)


class SubstateTagger(FrequencyTagger):
    """Two states for each class, alike in all but name."""

    _semi_supervised = True
    _least_classes = 1

    @property
    def _label_of_state(self):
        return np.repeat(np.arange(len(self.classes_)), 2)

    def _learn(self, steps, y, weights):
        self.codes_ = y
        known = np.where(y < 0, 0, y)
        super()._learn(steps, known, weights)

    def _potentials(self, steps):
        start, transition, unary = super()._potentials(steps)
        half = np.log(0.5)
        twice = np.kron(transition, np.ones((2, 2))) + half
        return np.repeat(start, 2) + half, twice, np.repeat(unary, 2, axis=1)


@pytest.fixture(scope="module")
def watch():
    """Some steps of the joined sessions, with ids in the index, and the subjects."""
    data = load_watch(layout="sessions")
    kept = np.arange(len(data.data)) % 12 == 0
    X = data.data[kept]
    X.index = X.index.droplevel("step")
    return X, data.target[kept].to_numpy(), data.groups[kept].to_numpy()


@pytest.fixture
def tiny(global_seed):
    rng = np.random.default_rng(global_seed)
    ids = np.repeat(["p", "q", "r"], [4, 1, 5])
    X = pd.DataFrame(rng.normal(size=(10, 3)), columns=["a__x", "a__y", "b__z"],
                     index=pd.Index(ids, name="sequence"))  # fmt: skip
    return X, np.array(list("uvuwuvwuvw"))


# Against all paths ----------------------------------------------------------------------------


def test_predictions_are_those_of_all_paths(tiny):
    X, y = tiny
    tagger = FrequencyTagger().fit(X, y)
    labels, proba = tagger.predict(X), tagger.predict_proba(X)
    marginal = clone(tagger).set_params(decode="marginals").fit(X, y).predict(X)
    start, transition, unary = tagger._potentials(tagger._read_steps(X))
    for name in "pqr":
        own = X.index == name
        _, marginals, _, path, _ = enumerate_chain(start, transition, unary[own])
        np.testing.assert_allclose(proba[own], marginals, atol=1e-12)
        np.testing.assert_array_equal(labels[own], tagger.classes_[list(path)])
        np.testing.assert_array_equal(marginal[own], tagger.classes_[marginals.argmax(axis=1)])
    np.testing.assert_allclose(tagger.predict_log_proba(X), np.log(proba))
    assert tagger.score(X, y) == accuracy_score(y, labels)


def test_states_of_a_label_are_summed(tiny):
    X, y = tiny
    plain, doubled = FrequencyTagger().fit(X, y), SubstateTagger().fit(X, y)
    np.testing.assert_allclose(doubled.predict_proba(X), plain.predict_proba(X), atol=1e-12)
    np.testing.assert_array_equal(doubled.predict(X), plain.predict(X))
    assert set(doubled._states(X)) <= set(range(6))


def test_rows_in_any_order_get_the_same_answers(tiny, global_seed):
    X, y = tiny
    rng = np.random.default_rng(global_seed)
    # Rows are mixed between the sequences, and keep their order inside.
    keys = rng.permutation(X.index.to_numpy())
    places = {name: iter(np.flatnonzero(X.index == name)) for name in "pqr"}
    order = np.array([next(places[name]) for name in keys])
    fitted = FrequencyTagger().fit(X, y)
    mixed = FrequencyTagger().fit(X.iloc[order], y[order])
    np.testing.assert_allclose(mixed.means_, fitted.means_)
    np.testing.assert_allclose(mixed.transition_, fitted.transition_)
    np.testing.assert_array_equal(fitted.predict(X.iloc[order]), fitted.predict(X)[order])
    np.testing.assert_array_equal(
        fitted.predict_proba(X.iloc[order]), fitted.predict_proba(X)[order]
    )
    as_column = X.iloc[order].reset_index()
    again = FrequencyTagger().fit(as_column, y[order])
    np.testing.assert_array_equal(again.predict(as_column), mixed.predict(X.iloc[order]))


def test_sequences_by_themselves_get_the_same_answers(tiny):
    X, y = tiny
    tagger = FrequencyTagger().fit(X, y)
    together = tagger.predict_proba(X)
    for name in "pqr":
        np.testing.assert_array_equal(tagger.predict_proba(X.loc[[name]]),
                                      together[X.index == name])  # fmt: skip


# Inside scikit-learn, with the ids inside X ---------------------------------------------------


def by_hand(tagger, X, y, groups, ask):
    found = []
    for train, test in GroupKFold(5).split(X, y, groups):
        fitted = clone(tagger).fit(X.iloc[train], y[train])
        found.append((test, ask(fitted, X.iloc[test], y[test])))
    return found


def test_cross_val_predict_equals_the_loop(watch):
    X, y, groups = watch
    for method in ("predict", "predict_proba"):
        found = cross_val_predict(
            FrequencyTagger(), X, y, groups=groups, cv=GroupKFold(5), method=method
        )
        loop = by_hand(
            FrequencyTagger(), X, y, groups, lambda own, Z, _, ask=method: getattr(own, ask)(Z)
        )
        for test, expected in loop:
            np.testing.assert_array_equal(found[test], expected)
    by_session = cross_val_predict(
        FrequencyTagger(), X, y, groups=X.index.get_level_values("sequence"), cv=GroupKFold(5)
    )
    assert (by_session == y).mean() > 0.4  # chance is 1 in 7


def test_multi_metric_scores_equal_the_loop(watch):
    X, y, groups = watch
    scores = cross_validate(
        FrequencyTagger(), X, y, groups=groups, cv=GroupKFold(5),
        scoring=["accuracy", "f1_macro", "neg_log_loss"],
    )  # fmt: skip

    def three(fitted, Z, labels):
        found = fitted.predict(Z)
        proba = fitted.predict_proba(Z)
        return (
            accuracy_score(labels, found),
            f1_score(labels, found, average="macro"),
            -log_loss(labels, proba, labels=fitted.classes_),
        )

    expected = np.array([own for _, own in by_hand(FrequencyTagger(), X, y, groups, three)])
    for j, name in enumerate(["accuracy", "f1_macro", "neg_log_loss"]):
        np.testing.assert_allclose(scores[f"test_{name}"], expected[:, j], rtol=1e-12)


def test_grid_search_in_a_pipeline_equals_the_loop(watch):
    X, y, groups = watch
    scaler = StandardScaler().set_output(transform="pandas")
    search = GridSearchCV(
        make_pipeline(scaler, FrequencyTagger()),
        {"frequencytagger__smoothing": [1e-3, 1e3], "standardscaler__with_mean": [True]},
        cv=GroupKFold(5),
    ).fit(X, y, groups=groups)
    for smoothing, score in zip([1e-3, 1e3], search.cv_results_["mean_test_score"], strict=True):
        pipe = make_pipeline(scaler, FrequencyTagger(smoothing))
        loop = by_hand(pipe, X, y, groups, lambda own, Z, t: (own.predict(Z) == t).mean())
        assert score == pytest.approx(np.mean([own for _, own in loop]), rel=1e-12)
    assert search.best_params_["frequencytagger__smoothing"] == 1e-3
    assert search.best_estimator_[-1].modalities_.keys() == {"accelerometer", "gyroscope"}


def test_voting_equals_the_mean(watch):
    X, y, groups = watch
    train = groups > 3
    models = [("rough", FrequencyTagger(1e3)), ("fine", FrequencyTagger(1e-2))]
    voting = VotingClassifier(models, voting="soft").fit(X[train], y[train])
    each = [
        model.fit(X[train], y[train]).predict_proba(X[~train])
        for model in (FrequencyTagger(1e3), FrequencyTagger(1e-2))
    ]
    np.testing.assert_allclose(voting.predict_proba(X[~train]), np.mean(each, axis=0), rtol=1e-12)


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_threads_change_nothing(watch, n_jobs):
    X, y, _ = watch
    one, many = FrequencyTagger().fit(X, y), FrequencyTagger(n_jobs=n_jobs).fit(X, y)
    assert np.abs(one.predict_proba(X) - many.predict_proba(X)).max() == 0.0
    np.testing.assert_array_equal(one.predict(X), many.predict(X))


def test_pickle_and_clone(watch):
    X, y, _ = watch
    tagger = FrequencyTagger(0.5, decode="marginals").fit(X, y)
    copied = pickle.loads(pickle.dumps(tagger))
    np.testing.assert_array_equal(copied.predict(X), tagger.predict(X))
    assert clone(tagger).get_params() == tagger.get_params()


def test_inputs_stay_as_they_were(watch):
    X, y, _ = watch
    before, labels = X.copy(), y.copy()
    weights = np.ones(len(y))
    FrequencyTagger().fit(X, y, sample_weight=weights).predict(X)
    pd.testing.assert_frame_equal(X, before)
    np.testing.assert_array_equal(y, labels)
    np.testing.assert_array_equal(weights, 1.0)


# Weights --------------------------------------------------------------------------------------


def test_a_sequence_of_weight_2_stands_twice(tiny):
    X, y = tiny
    weights = np.where(X.index == "r", 2.0, 1.0)
    weighted = FrequencyTagger().fit(X, y, sample_weight=weights)
    copy = X.loc[["r"]].rename(index={"r": "again"})
    twice = FrequencyTagger().fit(pd.concat([X, copy]), np.concatenate([y, y[X.index == "r"]]))
    np.testing.assert_allclose(weighted.transition_, twice.transition_)
    np.testing.assert_allclose(weighted.means_, twice.means_)
    without = FrequencyTagger().fit(X, y, sample_weight=np.where(X.index == "r", 0.0, 3.0))
    assert without.transition_.shape == weighted.transition_.shape


def test_weights_that_vary_within_a_sequence(tiny):
    X, y = tiny
    weights = np.ones(len(y))
    weights[7] = 0.5
    with pytest.raises(ValueError, match=r"varies within 1 sequences \(first: 'r', from 0.5 to 1"):
        FrequencyTagger().fit(X, y, sample_weight=weights)
    order = [5, 0, 6, 1, 7, 2, 8, 3, 9, 4]
    sound = np.select([X.index == "p", X.index == "q"], [2.0, 3.0], 1.0)
    apart = FrequencyTagger().fit(X, y, sample_weight=sound)
    mixed = FrequencyTagger().fit(X.iloc[order], y[order], sample_weight=sound[order])
    np.testing.assert_allclose(mixed.transition_, apart.transition_)
    with pytest.raises(ValueError, match="first: 'r'"):
        FrequencyTagger().fit(X.iloc[order], y[order], sample_weight=weights[order])


# Labels ---------------------------------------------------------------------------------------

UNKNOWN = {
    "minus one": (np.array([0, 1, -1, 1, 0, -1, 1, 1, 0, 0]), [0, 1]),
    "NaN": (np.array([0.0, 1, np.nan, 1, 0, np.nan, 1, 1, 0, 0]), [0.0, 1.0]),
    "None": (np.array(["u", "v", None, "v", "u", None, "v", "v", "u", "u"], object), ["u", "v"]),
    "list of text and NaN": (
        ["u", "v", np.nan, "v", "u", None, "v", "v", "u", "u"], ["u", "v"]
    ),
    "text and minus one": (
        np.array(["u", "v", -1, "v", "u", -1.0, "v", "v", "u", "u"], object), ["u", "v"]
    ),
    "nullable": (pd.Series([0, 1, pd.NA, 1, 0, pd.NA, 1, 1, 0, 0], dtype="Int64"), [0, 1]),
    "categories": (
        pd.Series(["u", "v", None, "v", "u", None, "v", "v", "u", "u"], dtype="category"),
        ["u", "v"],
    ),
    "strings": (
        pd.Series(["u", "v", None, "v", "u", None, "v", "v", "u", "u"], dtype="str"), ["u", "v"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown_labels(kind, tiny):
    X, _ = tiny
    y, classes = UNKNOWN[kind]
    tagger = SubstateTagger().fit(X, y)
    assert tagger.classes_.tolist() == classes
    assert tagger.codes_.tolist() == [0, 1, -1, 1, 0, -1, 1, 1, 0, 0]
    known = tagger.codes_ >= 0
    truth = np.array(classes, dtype=tagger.classes_.dtype)[tagger.codes_[known]]
    found = tagger.predict(X)
    assert tagger.score(X, y) == (found[known] == truth).mean()
    assert tagger.score(X, y, sample_weight=np.arange(10.0)) == pytest.approx(
        np.average(found[known] == truth, weights=np.arange(10.0)[known])
    )


def test_unknown_labels_where_all_must_be_known(tiny):
    X, _ = tiny
    for kind in ("NaN", "None", "nullable", "categories"):
        with pytest.raises(ValueError, match="Input y contains NaN"):
            FrequencyTagger().fit(X, UNKNOWN[kind][0])
    assert FrequencyTagger().fit(X, UNKNOWN["minus one"][0]).classes_.tolist() == [-1, 0, 1]


def test_labels_that_are_refused(tiny):
    X, y = tiny
    with pytest.raises(ValueError, match="at least 2 classes, and y holds one class: 'u'"):
        FrequencyTagger().fit(X, np.full(10, "u"))
    assert set(SubstateTagger().fit(X, np.full(10, "u")).predict(X)) == {"u"}
    with pytest.raises(ValueError, match="y holds no label"):
        SubstateTagger().fit(X, np.full(10, -1))
    with pytest.raises(ValueError, match="X has 10, y has 9"):
        FrequencyTagger().fit(X, y[:9])
    with pytest.raises(ValueError, match="y should be a 1d array"):
        FrequencyTagger().fit(X, None)
    with pytest.raises(ValueError, match="decode must be one of 'viterbi', 'marginals'"):
        FrequencyTagger(decode="best").fit(X, y)
    with pytest.raises(ValueError, match="masked array"):
        SubstateTagger().fit(X, np.ma.masked_equal([0, 1] * 5, 1))


# What may go wrong ----------------------------------------------------------------------------


def test_no_path_is_possible(tiny):
    class Forbidden(FrequencyTagger):
        def _potentials(self, steps):
            start, transition, unary = super()._potentials(steps)
            return start, np.full_like(transition, -np.inf), unary

    X, y = tiny
    tagger = Forbidden().fit(X, y)
    with pytest.warns(UserWarning, match=r"through 2 sequences \('p', 'r'\)"):
        proba = tagger.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    np.testing.assert_allclose(proba[X.index == "p"], 1 / 3)
    assert proba[X.index == "q"].max() > 0.34
    with pytest.warns(UserWarning, match="no path of states is possible"):
        tagger.predict(X)


def test_a_second_fit_keeps_nothing(tiny):
    X, y = tiny
    again = FrequencyTagger().fit(X, y)
    other = X.rename(columns={"b__z": "c__z"}).assign(c__u=1.0)
    labels = np.array(["s", "t"] * 5)
    again.fit(other, labels)
    fresh = FrequencyTagger().fit(other, labels)
    assert again.modalities_ == fresh.modalities_
    np.testing.assert_array_equal(again.predict_proba(other), fresh.predict_proba(other))
    with warnings.catch_warnings(action="ignore"):
        again.fit(X.to_numpy(), y)
        np.testing.assert_array_equal(
            again.predict(X.to_numpy()),
            FrequencyTagger().fit(X.to_numpy(), y).predict(X.to_numpy()),
        )


def test_an_interrupted_fit_is_none(tiny):
    X, y = tiny
    with interrupted_at(10**9) as ran:
        fresh = FrequencyTagger().fit(X, y)
    expected = fresh.predict_proba(X)
    for line in range(1, len(ran), max(1, len(ran) // 40)):
        tagger = FrequencyTagger().fit(X, y)
        with pytest.raises(KeyboardInterrupt), interrupted_at(line):
            tagger.fit(X, y)
        tagger.fit(X, y)
        assert np.abs(tagger.predict_proba(X) - expected).max() == 0.0
