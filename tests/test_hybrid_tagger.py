"""HybridHMMTagger: its formula by hand, folds that cut no sequence, learnt weights, bad input."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from oracles_chain import enumerate_chain
from scipy.optimize import approx_fprime
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_hmm_tagger import by_sequence, make_steps

from mkfusion.chains._chain import log_partition
from mkfusion.chains._label_chain import (
    LARGEST_WEIGHT,
    LabelChain,
    learn_stream_weights,
    weighted_scores,
)
from mkfusion.datasets import load_watch
from mkfusion.evaluation import segment_f1_score, sequence_scorer
from mkfusion.graphical import HybridHMMTagger

FLOOR = np.finfo(float).eps


@pytest.mark.filterwarnings("ignore:nothing is fused:UserWarning")
@pytest.mark.filterwarnings("ignore:X has neither an index level nor:UserWarning")
@parametrize_with_checks([HybridHMMTagger()])
def test_check(estimator, check):
    check(estimator)


@pytest.fixture
def steps(global_seed):
    return make_steps(np.random.default_rng(global_seed))


def scaled(expert, block, prior):
    return np.log(np.maximum(expert.predict_proba(block), FLOOR)) - np.log(prior)


# The formula --------------------------------------------------------------------------------


@pytest.mark.parametrize("decode", ["viterbi", "marginals"])
def test_all_paths_of_the_formula(decode, global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = make_steps(rng, (5, 1, 5, 4), text=True)
    X.iloc[[7, 10], 2] = np.nan
    weights = {"a": 0.4, "b": 1.3}
    tagger = HybridHMMTagger(
        estimator=GaussianNB(), stream_weights=weights, decode=decode, smoothing=0.5
    ).fit(X, y)
    codes = np.searchsorted(tagger.classes_, y)
    pairs, first, unary = np.full((3, 3), 0.5), np.full(3, 0.5), 0.0
    for rows in by_sequence(X):
        first[codes[rows[0]]] += 1
        np.add.at(pairs, (codes[rows[:-1]], codes[rows[1:]]), 1)
    start, transition = first / first.sum(), pairs / pairs.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(tagger.start_, start, rtol=1e-12)
    np.testing.assert_allclose(tagger.transition_, transition, rtol=1e-12)
    for name, weight in weights.items():
        block = X.filter(regex=f"{name}__")
        there = block.notna().all(axis=1).to_numpy()
        expert = GaussianNB().fit(block[there], y[there])
        prior = np.unique(y[there], return_counts=True)[1] / there.sum()
        own = np.zeros((len(X), 3))
        own[there] = scaled(expert, block[there], prior)
        unary = unary + weight * own
    proba, predicted = tagger.predict_proba(X), tagger.predict(X)
    for rows in by_sequence(X):
        _, marginals, _, path, _ = enumerate_chain(np.log(start), np.log(transition), unary[rows])
        np.testing.assert_allclose(proba[rows], marginals, atol=1e-9)
        best = list(path) if decode == "viterbi" else marginals.argmax(axis=1)
        np.testing.assert_array_equal(predicted[rows], tagger.classes_[best])


def test_without_a_chain_it_is_the_bayes_rule(steps):
    """Sequences of one step, whose start is the prior: what late fusion's rule gives."""
    from mkfusion import LateFusionClassifier

    X, y = steps
    alone = X.reset_index(drop=True)
    with pytest.warns(UserWarning, match="each row is taken for a sequence of one step"):
        tagger = HybridHMMTagger(smoothing=0.0).fit(alone, y)
    late = LateFusionClassifier(rule="bayes").fit(alone, y)
    np.testing.assert_allclose(tagger.predict_proba(alone), late.predict_proba(alone), rtol=1e-9)


def test_a_class_that_an_expert_never_saw_has_factor_1(steps):
    X, y = steps
    X = X.copy()
    X.loc[y == 2, "b__z"] = np.nan
    tagger = HybridHMMTagger().fit(X, y)
    assert tagger.expert_priors_[1, 2] == 0
    assert (tagger._scores(*tagger._posteriors(X))[1, :, 2] == 0).all()
    assert np.isfinite(tagger.predict_proba(X)).all()


def test_experts_without_posteriors_are_calibrated(global_seed):
    X, y = make_steps(np.random.default_rng(global_seed), (40, 30, 50, 45, 40))
    own = [("a", LinearSVC(random_state=0)), ("b", RandomForestClassifier(5, random_state=0))]
    tagger = HybridHMMTagger(own, cv=2).fit(X, y)
    assert list(tagger.calibrators_) == ["a"]
    np.testing.assert_allclose(tagger.predict_proba(X).sum(axis=1), 1.0)
    both = HybridHMMTagger(own, calibration="isotonic", cv=2).fit(X, y)
    assert list(both.calibrators_) == ["a", "b"]


def test_a_modality_is_dropped_or_not_there(steps):
    X, y = steps
    tagger = HybridHMMTagger(stream_weights=[1.0, 2.0])
    dropped = tagger.set_params(estimators=[("a", "drop")]).fit(X, y)
    assert list(dropped.named_estimators_) == ["b"]
    assert dropped.stream_weights_.tolist() == [2.0]
    with pytest.warns(UserWarning, match="nothing is fused"):
        alone = HybridHMMTagger(stream_weights=[2.0]).fit(X[["b__z"]], y)
    np.testing.assert_array_equal(dropped.predict_proba(X), alone.predict_proba(X[["b__z"]]))
    lost = X.assign(a__x=np.nan, a__y=np.nan)
    whole = HybridHMMTagger().fit(X, y)
    part = whole.predict_proba(lost)
    silent = whole.set_params(stream_weights=None).fit(X, y)
    silent.stream_weights_ = np.array([0.0, 1.0])
    np.testing.assert_allclose(part, silent.predict_proba(X), atol=1e-12)


def test_nested_parameters_are_set_by_name(steps):
    X, y = steps
    tagger = HybridHMMTagger([("a", LogisticRegression())], estimator=GaussianNB())
    assert tagger.get_params()["a__C"] == 1.0
    tagger.set_params(a__C=0.1, estimator__var_smoothing=1e-3).fit(X, y)
    assert tagger.named_estimators_["a"].C == 0.1
    assert tagger.named_estimators_["b"].var_smoothing == 1e-3
    assert "HybridHMMTagger" in tagger._repr_html_()


# Out of fold --------------------------------------------------------------------------------


class Recorder(GaussianNB):
    """Keeps the sequences that it was fitted on and asked about."""

    log = []  # noqa: RUF012

    def fit(self, X, y):
        self.heard_ = set(X.index.get_level_values("sequence"))
        return super().fit(X, y)

    def predict_proba(self, X):
        self.log.append((self.heard_, set(X.index.get_level_values("sequence"))))
        return super().predict_proba(X)


@pytest.mark.parametrize("by", ["sequence", "group"])
def test_folds_never_cut_a_sequence_or_a_group(by, global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = make_steps(rng, (12,) * 8)
    order = rng.permutation(len(X))
    order = order[np.argsort(X.index.get_level_values("step")[order], kind="stable")]
    X, y = X.iloc[order], y[order]
    groups = None if by == "sequence" else X.index.get_level_values("sequence") // 2
    Recorder.log.clear()
    tagger = HybridHMMTagger(estimator=Recorder(), stream_weights="learn")
    tagger.fit(X, y, groups=groups)
    assert len(Recorder.log) >= 4
    for heard, asked in Recorder.log:
        assert not heard & asked
        if by == "group":
            assert not {i // 2 for i in heard} & {i // 2 for i in asked}
    if by == "group":
        named = X.assign(who=groups)
        other = HybridHMMTagger(estimator=Recorder(), stream_weights="learn", groups="who")
        other.fit(named, y)
        np.testing.assert_array_equal(other.stream_weights_, tagger.stream_weights_)
        assert "who" not in [name for names in other.modalities_.values() for name in names]


def test_splitters_and_groups_that_cut_sequences_are_refused(steps):
    X, y = steps
    cut = list(KFold(2).split(X))
    with pytest.raises(ValueError, match="cv divides"):
        HybridHMMTagger(stream_weights="learn", cv=cut).fit(X, y)
    with pytest.raises(ValueError, match="groups divides 3 sequences"):
        HybridHMMTagger(stream_weights="learn").fit(X, y, groups=np.arange(29))
    only = X[X.index.get_level_values("sequence") == 2]
    with pytest.raises(ValueError, match="all samples are in one group"):
        HybridHMMTagger(stream_weights="learn").fit(only, np.arange(12) % 2)


def test_learnt_weights_are_those_of_posteriors_by_hand(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = make_steps(rng, (60, 50, 70, 55, 65, 60))
    tagger = HybridHMMTagger(estimator=GaussianNB(), stream_weights="learn", cv=3).fit(X, y)
    assert tagger.learnt_.converged
    ids = X.index.get_level_values("sequence").to_numpy()
    scores = np.zeros((2, len(y), 3))
    for train, test in StratifiedGroupKFold(3).split(X, y, ids):
        assert set(y[train]) == {0, 1, 2}
        for m, name in enumerate("ab"):
            block = X.filter(regex=f"{name}__")
            expert = GaussianNB().fit(block.iloc[train], y[train])
            scores[m, test] = scaled(expert, block.iloc[test], np.bincount(y) / len(y))
    with np.errstate(divide="ignore"):
        chain = np.log(tagger.start_), np.log(tagger.transition_)
    offsets = np.r_[0, np.cumsum([60, 50, 70, 55, 65, 60])]

    def loss(w):
        """The mean negative log-likelihood of the labels, path by path."""
        unary = w[0] * scores[0] + w[1] * scores[1]
        total = -log_partition(*chain, unary, offsets).sum()
        for rows in by_sequence(X):
            total += chain[0][y[rows[0]]] + unary[rows, y[rows]].sum()
            total += chain[1][y[rows[:-1]], y[rows[1:]]].sum()
        return -total / len(y)

    best = loss(tagger.stream_weights_)
    assert best == pytest.approx(-tagger.learnt_.log_likelihood, rel=1e-10)
    assert best <= loss(np.ones(2))
    for change in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01], [0.02, -0.02]):
        assert loss(np.maximum(tagger.stream_weights_ + change, 0)) >= best - 1e-9


def test_gradient_of_the_weights_vanishes_at_the_optimum(global_seed):
    rng = np.random.default_rng(global_seed)
    scores = rng.normal(size=(3, 60, 2))
    codes = rng.integers(2, size=60)
    scores[0, np.arange(60), codes] += 0.7
    scores[2, np.arange(60), codes] -= 0.7  # it says the opposite: weight 0
    offsets = np.array([0, 20, 21, 60])
    chain = LabelChain(np.array([0.5, 0.5]), np.array([[0.8, 0.2], [0.3, 0.7]]))
    weights = np.array([1.0, 2.0, 0.5])
    learnt = learn_stream_weights(scores, codes, offsets, chain, sample_weight=weights)
    assert learnt.converged
    assert learnt.weights[2] == 0.0

    def value(w):
        unary = weighted_scores(scores, w)
        total = 0.0
        for (a, b), own in zip(pairwise(offsets), weights, strict=True):
            path, part = codes[a:b], unary[a:b]
            score = np.log(chain.start[path[0]]) + part[np.arange(b - a), path].sum()
            score += np.log(chain.transition[path[:-1], path[1:]]).sum()
            logs = log_partition(
                np.log(chain.start), np.log(chain.transition), part, np.array([0, b - a])
            )
            total += own * (score - logs[0])
        return total / (weights @ np.diff(offsets))

    assert learnt.log_likelihood == pytest.approx(value(learnt.weights), rel=1e-10)
    slope = approx_fprime(learnt.weights, value, 1e-6)
    assert abs(slope[:2][learnt.weights[:2] > 0]).max() < 1e-4
    assert slope[2] < 0


def test_weights_of_streams_without_an_error_stop_at_the_bound():
    codes = np.tile([0, 0, 1, 1], 5)
    scores = np.where(codes[None, :, None] == np.arange(2), 3.0, -3.0)
    chain = LabelChain(np.array([0.5, 0.5]), np.full((2, 2), 0.5))
    learnt = learn_stream_weights(scores, codes, np.array([0, 20]), chain)
    assert 1 < learnt.weights[0] <= LARGEST_WEIGHT
    assert learnt.converged


def test_a_silent_modality_gets_less_weight(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = make_steps(rng, (40,) * 6)
    X["b__z"] = rng.normal(size=240)
    tagger = HybridHMMTagger(stream_weights="learn").fit(X, y)
    assert tagger.stream_weights_[0] > 0.1


# Weights, threads, order --------------------------------------------------------------------


def test_weights_of_sequences_are_repeated_sequences(steps):
    X, y = steps
    weight = np.array([2.0, 1.0, 0.0, 3.0])[X.index.get_level_values("sequence")]
    weighted = HybridHMMTagger(estimator=GaussianNB()).fit(X, y, sample_weight=weight)
    rows = np.repeat(np.arange(29), weight.astype(int))
    times = np.concatenate([np.arange(int(w)) for w in weight])
    rows = rows[np.lexsort((rows, times))]
    pairs = zip(X.index.get_level_values("sequence")[rows], np.sort(times), strict=True)
    ids = [f"{own}, {time}" for own, time in pairs]
    repeated = X.iloc[rows].reset_index(drop=True)
    repeated.index = pd.Index(ids, name="sequence")
    other = HybridHMMTagger(estimator=GaussianNB()).fit(repeated, y[rows])
    np.testing.assert_allclose(weighted.transition_, other.transition_, rtol=1e-12)
    found = other.predict_proba(X)
    np.testing.assert_allclose(weighted.predict_proba(X), found, atol=1e-6)
    uneven = weight.copy()
    uneven[3] = 5
    with pytest.raises(ValueError, match="sample_weight varies within 1 sequences"):
        HybridHMMTagger().fit(X, y, sample_weight=uneven)


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_results_do_not_depend_on_threads(n_jobs, global_seed):
    X, y = make_steps(np.random.default_rng(global_seed), (3000, 20, 2000, 900))
    one = HybridHMMTagger(stream_weights="learn").fit(X, y)
    many = HybridHMMTagger(stream_weights="learn", n_jobs=n_jobs).fit(X, y)
    np.testing.assert_array_equal(one.stream_weights_, many.stream_weights_)
    np.testing.assert_array_equal(one.predict_proba(X), many.predict_proba(X))


def test_rows_may_be_shuffled_between_sequences_and_ids_be_a_column(steps, global_seed):
    X, y = steps
    rng = np.random.default_rng(global_seed)
    ids = X.index.get_level_values("sequence").to_numpy()
    turn, order = rng.permutation(ids), np.empty(len(ids), int)
    for own in np.unique(ids):
        order[turn == own] = np.flatnonzero(ids == own)
    tagger = HybridHMMTagger().fit(X, y)
    mixed = HybridHMMTagger().fit(X.iloc[order], y[order])
    np.testing.assert_allclose(
        mixed.predict_proba(X.iloc[order]), tagger.predict_proba(X)[order], atol=1e-8
    )
    column = X.reset_index(["sequence", "step"])
    by_column = HybridHMMTagger().fit(column, y)
    np.testing.assert_array_equal(by_column.predict_proba(column), tagger.predict_proba(X))
    assert by_column.modalities_ == {"a": ["a__x", "a__y"], "b": ["b__z"]}


# Bad input ----------------------------------------------------------------------------------

BAD = {
    "weights word": ({"stream_weights": "search"}, 'stream_weights must be "learn"'),
    "weights length": ({"stream_weights": [1.0]}, "stream_weights must have length 2"),
    "weights by class": ({"stream_weights": np.ones((2, 3))}, r"must have shape \(2,\)"),
    "weights sign": ({"stream_weights": [1, -1]}, "stream_weights must be non-negative"),
    "smoothing": ({"smoothing": -1}, "smoothing must be a finite number, 0 or more"),
    "start": ({"start": [0, 1, 1]}, "start forbids label 0, with which sequence 0 begins"),
    "transition": (
        {"transition": np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])},
        "transition forbids label 1 after 1, which stand so in sequence 0",
    ),
    "decode": ({"decode": "beam"}, "decode must be one of"),
    "unknown modality": ({"estimators": [("c", GaussianNB())]}, "names 'c', which is no modality"),
    "all dropped": ({"estimators": [("a", "drop"), ("b", "drop")]}, "every modality is dropped"),
    "regressor": ({"calibration": {"z": "sigmoid"}}, "calibration names 'z'"),
    "groups": ({"groups": "who", "stream_weights": "learn"}, "neither an index level nor"),
}


@pytest.mark.parametrize(("params", "message"), BAD.values(), ids=BAD)
def test_parameters_that_are_refused(params, message):
    X, _ = make_steps(np.random.default_rng(0))
    y = np.r_[np.repeat([0, 1, 2], [2, 3, 2]), [0], np.zeros(21, int)]
    with pytest.raises(ValueError, match=message):
        HybridHMMTagger(**params).fit(X, y)


def test_labels_and_ids_that_are_refused(steps):
    X, y = steps
    with pytest.raises(ValueError, match="needs at least 2 classes"):
        HybridHMMTagger().fit(X, np.zeros(29))
    with pytest.raises(ValueError, match="y contains NaN"):
        HybridHMMTagger().fit(X, np.r_[np.nan, y[1:]])
    tagger = HybridHMMTagger().fit(X, y)
    with pytest.raises(ValueError, match="neither an index level nor a column 'sequence'"):
        tagger.predict(X.reset_index(drop=True))
    lost = X.assign(b__z=np.nan)
    with pytest.raises(ValueError, match="modality 'b' is missing at every step"):
        HybridHMMTagger().fit(lost, y)
    infinite = X.copy()
    infinite.iloc[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        HybridHMMTagger().fit(infinite, y)


def test_a_label_with_one_step(global_seed):
    X, y = make_steps(np.random.default_rng(global_seed), (40, 30, 50, 20))
    y = np.where(y == 2, 1, y)
    y[5] = 2
    with pytest.warns(UserWarning, match="samples are left out of what is learnt"):
        tagger = HybridHMMTagger(stream_weights="learn", cv=GroupKFold(2)).fit(X, y)
    assert np.isfinite(tagger.predict_proba(X)).all()


def test_zeros_stay_zero(global_seed):
    X, _ = make_steps(np.random.default_rng(global_seed), (12, 9))
    y = np.r_[np.repeat([0, 1, 2], 4), np.repeat([0, 1, 2], 3)]
    cycle = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
    tagger = HybridHMMTagger(start=[1, 0, 0], transition=cycle).fit(X, y)
    assert (tagger.transition_[cycle == 0] == 0).all()
    for rows in by_sequence(X):
        found = tagger.predict(X)[rows]
        assert found[0] == 0
        assert set(np.diff(found)) <= {0, 1}


# In scikit-learn ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watch():
    sessions = load_watch(layout="sessions")
    kept = (sessions.groups <= 4) & (sessions.data.index.get_level_values("step") % 5 == 0)
    return sessions.data[kept], sessions.target[kept], sessions.groups[kept]


def test_searches_give_what_a_loop_gives(watch):
    X, y, groups = watch
    cv = GroupKFold(2)
    pipeline = make_pipeline(
        StandardScaler().set_output(transform="pandas"), HybridHMMTagger(estimator=GaussianNB())
    )
    grid = [{"accelerometer": 1.0, "gyroscope": own} for own in (0.1, 1.0)]
    scoring = {"accuracy": "accuracy", "f1": sequence_scorer(segment_f1_score, overlap=0.25)}
    search = GridSearchCV(
        pipeline, {"hybridhmmtagger__stream_weights": grid}, scoring=scoring, refit="f1", cv=cv
    ).fit(X, y, groups=groups)
    found = cross_validate(pipeline, X, y, groups=groups, cv=cv, scoring=scoring)
    for place, weights in enumerate([*grid, None]):
        for fold, (train, test) in enumerate(cv.split(X, y, groups)):
            scaler = StandardScaler().set_output(transform="pandas").fit(X.iloc[train])
            tagger = HybridHMMTagger(estimator=GaussianNB(), stream_weights=weights)
            tagger.fit(scaler.transform(X.iloc[train]), y.iloc[train])
            answers = tagger.predict(scaler.transform(X.iloc[test]))
            true, ids = y.iloc[test].to_numpy(), X.index[test].get_level_values("sequence")
            each = [
                segment_f1_score(true[ids == own], answers[ids == own], overlap=0.25)
                for own in ids.unique()
            ]
            for name, value in {"accuracy": np.mean(answers == true), "f1": np.mean(each)}.items():
                scores = (
                    found[f"test_{name}"][fold]
                    if weights is None
                    else search.cv_results_[f"split{fold}_test_{name}"][place]
                )
                assert scores == pytest.approx(value, rel=1e-12)


def test_cross_val_predict_and_voting_give_what_a_loop_gives(watch):
    X, y, groups = watch
    cv, model = GroupKFold(2), HybridHMMTagger(estimator=GaussianNB())
    found = cross_val_predict(model, X, y, groups=groups, cv=cv, method="predict_proba")
    for train, test in cv.split(X, y, groups):
        alone = model.fit(X.iloc[train], y.iloc[train])
        np.testing.assert_array_equal(found[test], alone.predict_proba(X.iloc[test]))
    pair = [
        (f"m{i}", HybridHMMTagger(estimator=GaussianNB(), stream_weights=own))
        for i, own in enumerate(np.eye(2))
    ]
    voting = VotingClassifier(pair, voting="soft").fit(X.iloc[train], y.iloc[train])
    fits = [own.fit(X.iloc[train], y.iloc[train]) for _, own in pair]
    each = [own.predict_proba(X.iloc[test]) for own in fits]
    found = voting.predict_proba(X.iloc[test])
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-12)
