"""HMMTagger: against counts, against all paths, against EM without labels, and its bad input."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from oracles_chain import enumerate_chain
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mkfusion.chains._em import fit_hmm
from mkfusion.chains._emissions import Stream
from mkfusion.datasets import load_watch
from mkfusion.evaluation import pk_score, segment_f1_score, sequence_scorer
from mkfusion.graphical import HMMTagger


@pytest.mark.filterwarnings("ignore:nothing is fused:UserWarning")
@pytest.mark.filterwarnings("ignore:X has neither an index level nor:UserWarning")
@parametrize_with_checks([HMMTagger()])
def test_check(estimator, check):
    check(estimator)


def make_steps(rng, lengths=(7, 1, 12, 9), n_labels=3, text=False):
    """Two modalities of labelled steps; labels stay for a while."""
    n = sum(lengths)
    y = np.repeat(rng.permutation(np.arange(n) % n_labels), 3)[:n]
    y[: 3 * n_labels] = np.repeat(np.arange(n_labels), 3)  # no label has too few steps
    columns = {
        "a__x": rng.normal(size=n) + y,
        "a__y": rng.normal(size=n) - y,
        "b__z": rng.normal(size=n) + 2.0 * (y == 1),
    }
    ids = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.concatenate([np.arange(length) for length in lengths])
    index = pd.MultiIndex.from_arrays([ids, steps], names=["sequence", "step"])
    return pd.DataFrame(columns, index=index), np.array(["u", "v", "w"])[y] if text else y


@pytest.fixture
def steps(global_seed):
    return make_steps(np.random.default_rng(global_seed))


def by_sequence(X):
    ids = X.index.get_level_values("sequence")
    return [np.flatnonzero(ids == own) for own in dict.fromkeys(ids)]


def unary_of(tagger, X):
    """Return sum_m w_m log b_m by the emissions' own densities, 0 where a modality is absent."""
    total = 0.0
    for (name, emission), weight in zip(
        tagger.emissions_.items(), tagger.stream_weights_, strict=True
    ):
        block = X[tagger.modalities_[name]].to_numpy()
        there = ~np.isnan(block).all(axis=1)
        total = total + weight * emission.log_density(np.nan_to_num(block), there)
    return total


# What is learnt -----------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 1.0, 0.3])
def test_labelled_steps_are_counted(steps, smoothing):
    X, y = steps
    tagger = HMMTagger(smoothing=smoothing).fit(X, y)
    pairs, first = np.full((3, 3), smoothing), np.full(3, smoothing)
    for rows in by_sequence(X):
        first[y[rows[0]]] += 1
        for one, two in pairwise(rows):
            pairs[y[one], y[two]] += 1
    np.testing.assert_allclose(tagger.start_, first / first.sum(), rtol=1e-12)
    sums = pairs.sum(axis=1)
    assert sums.all()
    np.testing.assert_allclose(tagger.transition_, pairs / sums[:, None], rtol=1e-12)
    for name, columns in tagger.modalities_.items():
        block = X[columns].to_numpy()
        means = np.array([block[y == label].mean(axis=0) for label in range(3)])
        spread = np.array([block[y == label].var(axis=0) for label in range(3)])
        found = tagger.emissions_[name].params
        np.testing.assert_allclose(found["means"], means, rtol=1e-9)
        np.testing.assert_allclose(found["covars"], spread, rtol=1e-6)
    assert tagger.converged_


def test_weights_of_sequences_are_repeated_sequences(steps):
    X, y = steps
    weight = np.array([2.0, 1.0, 0.0, 3.0])[X.index.get_level_values("sequence")]
    weighted = HMMTagger().fit(X, y, sample_weight=weight)
    parts, labels = [], []
    for i, rows in enumerate(by_sequence(X)):
        for k in range(int(weight[rows[0]])):
            part = X.iloc[rows].reset_index("step")
            part.index = pd.Index([f"{i}-{k}"] * len(rows), name="sequence")
            parts.append(part.set_index("step", append=True))
            labels.append(y[rows])
    repeated = HMMTagger().fit(pd.concat(parts), np.concatenate(labels))
    np.testing.assert_allclose(weighted.transition_, repeated.transition_, rtol=1e-12)
    np.testing.assert_allclose(weighted.start_, repeated.start_, rtol=1e-12)
    np.testing.assert_allclose(
        weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-7, atol=1e-12
    )


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_states": {0: 2, 2: 3}},
        {"n_states": 2, "topology": "left-right"},
        {"n_states": 2, "stream_weights": {"a": 0.3, "b": 1.7}, "smoothing": 0.0},
        {"emissions": {"a": ("gaussian", {"covariance_type": "full"}), "b": ("gmm", {})}},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_em_with_unknown_labels_never_falls(params, global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = make_steps(rng, (40, 30, 50))
    labels = y.astype(float)
    labels[rng.random(len(y)) < 0.7] = np.nan
    labels[:3] = [0, 1, 2]
    tagger = HMMTagger(**params, random_state=0, max_iter=40, tol=1e-6).fit(X, labels)
    assert len(tagger.history_) > 2
    assert (np.diff(tagger.history_) >= -1e-8 * abs(tagger.history_[-1])).all()
    assert tagger.history_[-1] > tagger.history_[0]
    assert np.isfinite(tagger.predict_proba(X)).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_labels_it_is_em_without_labels(global_seed):
    """The labels are in a sequence of weight 0, so that nothing is clamped."""
    rng = np.random.default_rng(global_seed)
    X, y = make_steps(rng, (6, 40, 30))
    labels, weight = y.copy(), np.ones(len(y))
    labels[6:], weight[:6] = -1, 0.0
    options = {"max_iter": 10, "tol": 0.0, "random_state": 3}
    tagger = HMMTagger(2, smoothing=0.0, **options).fit(X, labels, sample_weight=weight)
    n_total = len(tagger.state_labels_)
    assert n_total == 2 * len(np.unique(y[:6]))
    present = np.ones(70, bool)
    streams = [Stream(X.iloc[6:, own].to_numpy(), present) for own in (slice(2), slice(2, 3))]
    seed = np.random.RandomState(3).randint(2**31 - 1)
    plain = fit_hmm(
        streams,
        np.array([0, 40, 70]),
        n_total,
        ["gaussian", "gaussian"],
        max_iter=10,
        tol=0.0,
        rng=np.random.default_rng(seed),
    )
    np.testing.assert_allclose(tagger.history_, plain.history, rtol=1e-12)
    np.testing.assert_allclose(tagger.transition_, plain.model.transition, atol=1e-12)


def test_names_of_labels_do_not_matter(global_seed):
    X, y = make_steps(np.random.default_rng(global_seed), (60, 40), text=True)
    labels = y.astype(object)
    labels[::7] = None
    tagger = HMMTagger({"u": 2}, random_state=0).fit(X, labels)
    assert tagger.classes_.tolist() == ["u", "v", "w"]
    assert tagger.state_labels_.tolist() == ["u", "u", "v", "w"]
    forth = {"u": "a", "v": "y", "w": "z", None: np.nan}
    other = HMMTagger({"a": 2}, random_state=0).fit(X, [forth[label] for label in labels])
    np.testing.assert_array_equal(other.predict_proba(X), tagger.predict_proba(X))
    assert other.predict(X).tolist() == [forth[label] for label in tagger.predict(X)]


def test_labelled_steps_stay_in_the_states_of_their_label(global_seed):
    """Labels that the values contradict are learnt as they are, with steps unknown or not."""
    X, y = make_steps(np.random.default_rng(global_seed), (60, 40))
    wrong = np.where(y == 2, 1, y)
    wrong[1::2] = 1 - wrong[::2]
    labels = np.where(np.arange(100) < 96, wrong, -1)
    tagger = HMMTagger(smoothing=0.0).fit(X, labels)
    changes = np.mean(np.diff(wrong[:60]) != 0)
    assert changes > 0.5
    stays = tagger.start_ @ np.linalg.matrix_power(tagger.transition_, 50)
    assert stays @ (1 - np.diag(tagger.transition_)) == pytest.approx(changes, abs=0.15)


def test_unknown_labels_help(global_seed):
    """With a few labels only, the steps without one tell where the states lie."""
    rng = np.random.default_rng(global_seed)
    y = np.repeat(rng.permutation(np.repeat([0, 1], 15)), 10)
    X = pd.DataFrame({"a__x": rng.normal(size=300) + 3 * y, "b__x": rng.normal(size=300) - 3 * y})
    X.index = pd.Index(np.zeros(300, int), name="sequence")
    labels = np.full(300, -1)
    few = np.r_[np.flatnonzero(y == 0)[:2], np.flatnonzero(y == 1)[:2]]
    labels[few] = y[few]
    assert HMMTagger(random_state=0).fit(X, labels).score(X, y) > 0.97


# What is decoded ----------------------------------------------------------------------------


@pytest.mark.parametrize("decode", ["viterbi", "marginals"])
@pytest.mark.parametrize("n_states", [1, {0: 2}])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_all_paths_of_a_tiny_model(decode, n_states, global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = make_steps(rng, (5, 1, 4, 5), n_labels=2)
    X.iloc[[0, 6], 2] = np.nan
    tagger = HMMTagger(n_states, stream_weights=[0.5, 1.5], decode=decode, random_state=0)
    tagger.fit(X, y)
    labels = tagger._label_of_state
    start, transition = np.log(tagger.start_), np.log(tagger.transition_)
    unary, proba, predicted = unary_of(tagger, X), tagger.predict_proba(X), tagger.predict(X)
    for rows in by_sequence(X):
        _, marginals, _, path, _ = enumerate_chain(start, transition, unary[rows])
        by_label = np.array([marginals[:, labels == own].sum(axis=1) for own in (0, 1)]).T
        np.testing.assert_allclose(proba[rows], by_label, atol=1e-9)
        best = labels[list(path)] if decode == "viterbi" else by_label.argmax(axis=1)
        np.testing.assert_array_equal(predicted[rows], tagger.classes_[best])


def test_weight_0_is_a_modality_left_out(steps):
    X, y = steps
    silent = HMMTagger(stream_weights={"a": 1.0, "b": 0.0}).fit(X, y)
    with pytest.warns(UserWarning, match="nothing is fused"):
        alone = HMMTagger().fit(X.filter(regex="a__"), y)
    with np.errstate(all="raise"):
        np.testing.assert_allclose(
            silent.predict_proba(X), alone.predict_proba(X.filter(regex="a__")), atol=1e-12
        )


def test_order_of_modalities_and_of_sequences_does_not_matter(steps):
    X, y = steps
    tagger = HMMTagger().fit(X, y)
    turned = X[["b__z", "a__x", "a__y"]]
    other = HMMTagger().fit(turned, y)
    np.testing.assert_allclose(tagger.predict_proba(X), other.predict_proba(turned), atol=1e-10)
    order = np.concatenate(by_sequence(X)[::-1])
    moved = HMMTagger().fit(X.iloc[order], y[order])
    np.testing.assert_allclose(moved.predict_proba(X), tagger.predict_proba(X), atol=1e-10)


def test_rows_may_be_shuffled_between_sequences(steps, global_seed):
    X, y = steps
    rng = np.random.default_rng(global_seed)
    ids = X.index.get_level_values("sequence").to_numpy()
    # Draw which sequence comes next; inside each the order stays.
    turn = rng.permutation(ids)
    order = np.empty(len(ids), int)
    for own in np.unique(ids):
        order[turn == own] = np.flatnonzero(ids == own)
    tagger, mixed = HMMTagger().fit(X, y), HMMTagger().fit(X.iloc[order], y[order])
    np.testing.assert_array_equal(mixed.predict(X.iloc[order]), tagger.predict(X)[order])
    np.testing.assert_array_equal(
        mixed.predict_proba(X.iloc[order]), mixed.predict_proba(X)[order]
    )
    column = X.reset_index(["sequence", "step"])
    by_column = HMMTagger().fit(column, y)
    np.testing.assert_array_equal(by_column.predict_proba(column), tagger.predict_proba(X))
    assert by_column.modalities_ == {"a": ["a__x", "a__y"], "b": ["b__z"]}


def test_text_and_counts_have_their_emissions(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = make_steps(rng, (40, 30), text=True)
    X["word__w"] = np.where(rng.random(70) < 0.9, y, "u")
    X["count__n"] = rng.poisson(2 + 3 * (y == "w")).astype(float)
    emissions = {"word": "categorical", "count": "poisson"}
    tagger = HMMTagger(emissions=emissions).fit(X, y)
    assert tagger.score(X, y) > 0.9
    unknown = X.copy()
    unknown.iloc[4, 3] = "never"
    with pytest.raises(ValueError, match="never") as caught:
        tagger.predict(unknown)
    assert "modality 'word'" in str(caught.value) + str(caught.value.__notes__)
    with pytest.raises(ValueError, match="word"):
        HMMTagger().fit(X, y)


# What users know ----------------------------------------------------------------------------


def test_zeros_stay_zero(global_seed):
    rng = np.random.default_rng(global_seed)
    X, _ = make_steps(rng, (12, 9))
    y = np.r_[np.repeat([0, 1, 2], 4), np.repeat([0, 1, 2], 3)]
    known = y.astype(float)
    known[[1, 5, 6, 13, 20]] = np.nan
    cycle = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
    for n_states, topology in [(1, "ergodic"), (2, "ergodic"), (2, "left-right")]:
        tagger = HMMTagger(
            n_states, start=[1, 0, 0], transition=cycle, topology=topology, random_state=0
        ).fit(X, known)
        labels = tagger._label_of_state
        assert not tagger.start_[labels > 0].any()
        assert not tagger.transition_[cycle[np.ix_(labels, labels)] == 0].any()
        found = tagger.predict(X)
        for rows in by_sequence(X):
            assert found[rows[0]] == 0
            assert set(np.diff(found[rows])) <= {0, 1}
        if topology == "left-right":
            assert not np.tril(tagger.transition_, -1).any()
    over_states = np.triu(np.ones((6, 6)))
    tagger = HMMTagger(2, transition=over_states, random_state=0).fit(X, y)
    assert not np.tril(tagger.transition_, -1).any()


def test_labels_that_zeros_forbid(steps):
    X, _ = steps
    y = np.r_[np.repeat([0, 1, 0], [2, 2, 3]), [0], np.zeros(21, int)]
    with pytest.raises(ValueError, match=r"forbid the labels of 1 sequences \(0\)"):
        HMMTagger(transition=[[1, 1], [0, 1]]).fit(X, y)
    with pytest.raises(ValueError, match=r"forbid the labels of 4 sequences \(0, 1, 2\)"):
        HMMTagger(start=[0, 1]).fit(X, y)


BAD = {
    "n_states": ({"n_states": 0}, "n_states must be a whole number"),
    "n_states text": ({"n_states": "two"}, "n_states must be a whole number"),
    "n_states bool": ({"n_states": True}, "n_states must be a whole number"),
    "n_states label": ({"n_states": {7: 2}}, "n_states names 7, which is no label of y"),
    "emission": ({"emissions": "laplace"}, "emission must be one of"),
    "emission of none": ({"emissions": {"c": "gmm"}}, "emissions names 'c', which is no modality"),
    "weights": ({"stream_weights": [1.0]}, "stream_weights must have length 2"),
    "weights name": ({"stream_weights": {"a": 1}}, "stream_weights must give one weight for each"),
    "weights sign": ({"stream_weights": [1, -1]}, "stream_weights must be non-negative"),
    "smoothing": ({"smoothing": -1}, "smoothing must be a finite number, 0 or more"),
    "smoothing inf": ({"smoothing": np.inf}, "smoothing must be a finite number"),
    "topology": ({"topology": "ring"}, "topology must be one of"),
    "decode": ({"decode": "beam"}, "decode must be one of"),
    "start shape": ({"start": [1, 1]}, r"start must have shape \(3,\)"),
    "start zero": ({"start": [0, 0, 0]}, "start is 0 for every state"),
    "transition shape": ({"transition": np.ones((2, 2))}, r"transition must have shape \(3, 3\)"),
    "transition sign": ({"transition": -np.ones((3, 3))}, "transition must be non-negative"),
    "transition row": ({"transition": np.eye(3)[[0, 1, 1]] * [[1], [1], [0]]}, "nothing follow"),
    "transition nan": ({"transition": np.full((3, 3), np.nan)}, "transition must be finite"),
    "n_init": ({"n_init": 0}, "n_init must be a whole number"),
}


@pytest.mark.parametrize(("params", "message"), BAD.values(), ids=BAD)
def test_parameters_that_are_refused(steps, params, message):
    X, y = steps
    with pytest.raises(ValueError, match=message):
        HMMTagger(**params).fit(X, y)


# Bad input ----------------------------------------------------------------------------------


def test_predict_without_ids_raises(steps):
    X, y = steps
    tagger = HMMTagger().fit(X, y)
    with pytest.raises(ValueError, match="neither an index level nor a column 'sequence'"):
        tagger.predict(X.reset_index(drop=True))


def test_step_values_that_are_refused(steps):
    X, y = steps
    for value in (np.nan, np.inf):
        bad = X.copy()
        bad.iloc[3, 0] = value
        with pytest.raises(ValueError, match=r"modality 'a'.*step 3 of sequence 0"):
            HMMTagger().fit(bad, y)
        tagger = HMMTagger().fit(X, y)
        with pytest.raises(ValueError, match=r"modality 'a'.*step 3 of sequence 0"):
            tagger.predict(bad)
    lost = X.assign(b__z=np.nan)
    with pytest.raises(ValueError, match="modality 'b' is missing at every step"):
        HMMTagger().fit(lost, y)
    assert np.isfinite(HMMTagger().fit(X, y).predict_proba(lost)).all()


def test_one_class_and_no_label(steps):
    X, _ = steps
    tagger = HMMTagger().fit(X, np.full(29, "u"))
    assert set(tagger.predict(X)) == {"u"}
    np.testing.assert_allclose(tagger.predict_proba(X), 1.0)
    with pytest.raises(ValueError, match="y holds no label"):
        HMMTagger().fit(X, np.full(29, -1))


def test_minus_one_and_one_other_label_are_two_classes(steps):
    X, y = steps
    signs = np.where(y == 0, -1, 1)
    tagger = HMMTagger().fit(X, signs)
    assert tagger.classes_.tolist() == [-1, 1]
    assert tagger.score(X, signs) == accuracy_score(signs, tagger.predict(X))


def test_a_label_with_one_step_and_more_states_than_steps(steps):
    X, y = steps
    y = np.where(y == 2, 1, y)
    y[5] = 2
    for n_states in (1, {2: 4}):
        tagger = HMMTagger(n_states, random_state=0).fit(X, y)
        assert np.isfinite(tagger.predict_proba(X)).all()
        assert np.isfinite(tagger.transition_).all()


def test_score_leaves_unknown_steps_out(steps):
    X, y = steps
    tagger = HMMTagger().fit(X, y)
    known = np.arange(29) % 3 > 0
    labels = np.where(known, y, -1)
    assert tagger.score(X, labels) == np.mean(tagger.predict(X)[known] == y[known])


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_results_do_not_depend_on_threads(n_jobs, global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = make_steps(rng, (4000, 1, 3000))
    labels = np.where(rng.random(7001) < 0.5, -1, y)
    one = HMMTagger(2, random_state=0, max_iter=3, tol=0).set_params(n_jobs=1)
    with pytest.warns(Warning, match="not converged"):
        one.fit(X, labels)
    with pytest.warns(Warning, match="not converged"):
        many = clone(one).set_params(n_jobs=n_jobs).fit(X, labels)
    np.testing.assert_array_equal(one.transition_, many.transition_)
    np.testing.assert_array_equal(one.predict_proba(X), many.predict_proba(X))


def test_inputs_stay_and_a_refit_keeps_nothing(steps):
    X, y = steps
    before = X.copy(), y.copy()
    tagger = HMMTagger(2, random_state=0).fit(X, y)
    tagger.predict_proba(X)
    pd.testing.assert_frame_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])
    few = np.where(y == 2, 1, y)
    tagger.fit(X, few)
    fresh = HMMTagger(2, random_state=0).fit(X, few)
    np.testing.assert_array_equal(tagger.predict_proba(X), fresh.predict_proba(X))
    assert tagger.state_labels_.tolist() == [0, 0, 1, 1]


# In scikit-learn ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watch():
    """The sessions of four subjects, every fifth step."""
    sessions = load_watch(layout="sessions")
    kept = (sessions.groups <= 4) & (sessions.data.index.get_level_values("step") % 5 == 0)
    return sessions.data[kept], sessions.target[kept], sessions.groups[kept]


def fitted_by_hand(params, X, y, train, test):
    scaler = StandardScaler().set_output(transform="pandas").fit(X.iloc[train])
    tagger = HMMTagger(**params).fit(scaler.transform(X.iloc[train]), y.iloc[train])
    return tagger, scaler.transform(X.iloc[test])


def test_searches_give_what_a_loop_gives(watch):
    X, y, groups = watch
    cv = GroupKFold(2)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), HMMTagger())
    grid = [{"accelerometer": 1.0, "gyroscope": own} for own in (0.1, 1.0)]
    scoring = {
        "accuracy": "accuracy",
        "f1": sequence_scorer(segment_f1_score, overlap=0.25),
        "pk": sequence_scorer(pk_score, greater_is_better=False, pooled=True),
    }
    search = GridSearchCV(
        pipeline, {"hmmtagger__stream_weights": grid}, scoring=scoring, refit="f1", cv=cv
    ).fit(X, y, groups=groups)
    found = cross_validate(pipeline, X, y, groups=groups, cv=cv, scoring=scoring)
    for place, weights in enumerate([*grid, None]):
        for fold, (train, test) in enumerate(cv.split(X, y, groups)):
            tagger, Z = fitted_by_hand({"stream_weights": weights}, X, y, train, test)
            answers, true = tagger.predict(Z), y.iloc[test].to_numpy()
            ids = X.index[test].get_level_values("sequence")
            each = [
                segment_f1_score(true[ids == own], answers[ids == own], overlap=0.25)
                for own in ids.unique()
            ]
            expected = {
                "accuracy": np.mean(answers == true),
                "f1": np.mean(each),
                "pk": -pk_score(true, answers, sequence=ids),
            }
            for name, value in expected.items():
                scores = (
                    found[f"test_{name}"][fold]
                    if weights is None
                    else search.cv_results_[f"split{fold}_test_{name}"][place]
                )
                assert scores == pytest.approx(value, rel=1e-12)


def test_cross_val_predict_and_voting_give_what_a_loop_gives(watch):
    X, y, groups = watch
    cv = GroupKFold(2)
    found = cross_val_predict(HMMTagger(), X, y, groups=groups, cv=cv, method="predict_proba")
    for train, test in cv.split(X, y, groups):
        alone = HMMTagger().fit(X.iloc[train], y.iloc[train])
        np.testing.assert_array_equal(found[test], alone.predict_proba(X.iloc[test]))
    weights = [{"accelerometer": 1.0, "gyroscope": 0.0}, {"accelerometer": 0.0, "gyroscope": 1.0}]
    pair = [(f"m{i}", HMMTagger(stream_weights=own)) for i, own in enumerate(weights)]
    voting = VotingClassifier(pair, voting="soft").fit(X.iloc[train], y.iloc[train])
    each = [
        model.fit(X.iloc[train], y.iloc[train]).predict_proba(X.iloc[test]) for _, model in pair
    ]
    np.testing.assert_allclose(
        voting.predict_proba(X.iloc[test]), np.mean(each, axis=0), rtol=1e-12
    )
