"""HiddenCRFClassifier: what it says is the formula of its attributes, and how it is used."""

import pickle
import warnings

import numpy as np
import oracles_hidden
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mkfusion.datasets import load_watch, make_multimodal_sequences
from mkfusion.graphical import HiddenCRFClassifier

CHAINS = ("joint", "linked", "coupled", "linked-coupled", "separate")
over_chains = pytest.mark.parametrize("chains", CHAINS)
quick = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def drawn(seed, n=24, lengths=(1, 4), separate=False, n_classes=3):
    """Return a frame of two modalities, its labels, and per-sample lists of arrays."""
    rng = np.random.default_rng(seed)
    y = np.array(["no", "yes", "maybe"])[np.arange(n) % n_classes]
    a, b = [], []
    for label in y:
        T = rng.integers(lengths[0], lengths[1] + 1)
        other = rng.integers(lengths[0], lengths[1] + 1) if separate else T
        a.append(rng.normal(3 + len(label), 2, size=(T, 2)))
        b.append(rng.normal(size=(other, 1)) * len(label))
    return frame_of(a, b), y


def frame_of(a, b):
    X = pd.DataFrame(index=np.arange(100, 100 + len(a)), columns=["a", "b"], dtype=object)
    for j, cells in enumerate((a, b)):
        for i, cell in enumerate(cells):
            X.iat[i, j] = cell
    return X


def model_of(chains="joint", **options):
    return HiddenCRFClassifier(
        **{"n_states": 2, "chains": chains, "random_state": 0, "max_iter": 25} | options
    )


def windows(z, context):
    padded = np.pad(z, ((context, context), (0, 0)))
    return np.hstack([padded[k : k + len(z)] for k in range(2 * context + 1)])


def oracle_of(model):
    """Return the oracle's dict for the attributes of a fitted model."""
    names = list(model.coef_)
    chains = list(model.state_potentials_)
    number = {name: m for m, name in enumerate(names)}
    coef = list(model.coef_.values())
    return {
        "intercept": model.intercept_,
        "weights": {0: np.hstack(coef)} if chains == ["joint"] else dict(enumerate(coef)),
        "states": dict(enumerate(model.state_potentials_.values())),
        "transitions": {
            m: np.where(np.isfinite(table), table, -1e9)
            for m, table in enumerate(model.transition_potentials_.values())
        },
        "links": {(number[a], number[b]): t for (a, b), t in model.link_potentials_.items()},
        "couplings": {
            (number[a], number[b]): t for (a, b), t in model.coupling_potentials_.items()
        },
    }


def seen_by(model, X, context=0):
    """Return what the oracle sees of each sample, in the units of X."""
    samples = []
    for _, row in X.iterrows():
        T = max(len(cell) for cell in row if cell is not None)
        parts = []
        for name, cell in row.items():
            if cell is None:
                length = 0 if model.chains == "separate" else T
                parts.append(np.zeros((length, model.coef_[name].shape[1])))
                continue
            x = np.nan_to_num(np.asarray(cell, float) - model.means_[name])
            parts.append(windows(x, context))
        samples.append(
            {0: np.hstack(parts)} if model.chains == "joint" else dict(enumerate(parts))
        )
    return samples


# What it says --------------------------------------------------------------------------------


@quick
@over_chains
@pytest.mark.parametrize("context", [0, 1])
def test_posteriors_are_those_of_all_paths(chains, context, global_seed):
    X, y = drawn(global_seed, separate=chains == "separate")
    X.iat[0, 0] = None  # a stream that is absent
    X.iat[1, 1] = None
    X.iat[2, 0] = np.vstack([X.iat[2, 0][:1], np.full((1, 2), np.nan), X.iat[2, 0][:1]])
    X.iat[2, 1] = np.zeros((3, 1))  # and steps that are
    model = model_of(chains, context=context).fit(X, y)
    oracle, samples = oracle_of(model), seen_by(model, X, context)
    scores = np.array([oracles_hidden.class_scores(oracle, x) for x in samples])
    # Absent is absent, whatever a window of the oracle holds at its neighbours' places.
    np.testing.assert_allclose(model.predict_proba(X), softmax(scores, axis=1), atol=1e-9)
    np.testing.assert_allclose(
        model.predict_log_proba(X), log_softmax(scores, axis=1), rtol=1e-8, atol=1e-8
    )
    np.testing.assert_array_equal(model.predict(X), model.classes_[scores.argmax(axis=1)])
    decisions = model.decision_function(X)
    np.testing.assert_allclose(
        decisions - decisions.mean(axis=1, keepdims=True),
        scores - scores.mean(axis=1, keepdims=True),
        rtol=1e-8, atol=1e-8,
    )  # fmt: skip


@quick
@over_chains
def test_objective_is_the_formula_of_the_docstring(chains, global_seed):
    X, y = drawn(global_seed, separate=chains == "separate")
    weights = np.random.default_rng(global_seed).uniform(0.5, 2, size=len(y))
    l2 = {"a": 0.5, "b": 2.0}
    model = model_of(chains, l2=l2, l2_chain=0.25).fit(X, y, sample_weight=weights)
    for name in "ab":
        steps = np.vstack(list(X[name]))
        w = np.repeat(weights, [len(cell) for cell in X[name]])
        mean = np.average(steps, axis=0, weights=w)
        np.testing.assert_allclose(model.means_[name], mean, rtol=1e-10)
        spread = np.sqrt(np.average((steps - mean) ** 2, axis=0, weights=w))
        np.testing.assert_allclose(model.scales_[name], spread, rtol=1e-10)
    log_posterior = model.predict_log_proba(X)
    codes = np.searchsorted(model.classes_, y)
    loss = -weights @ log_posterior[np.arange(len(y)), codes]
    pull = sum(l2[name] * np.sum((model.coef_[name] * model.scales_[name]) ** 2) for name in "ab")
    for part in ("state", "transition", "link", "coupling"):
        tables = getattr(model, f"{part}_potentials_").values()
        pull += 0.25 * sum(np.sum(table**2) for table in tables)
    assert model.objective_ == pytest.approx(loss + pull / 2, rel=1e-10)
    assert model.history_[-1] == model.objective_
    assert len(model.history_) == model.n_iter_ + 1


def test_one_private_state_of_one_step_is_logistic_regression(global_seed):
    X, y = drawn(global_seed, n=60, lengths=(1, 1))
    model = HiddenCRFClassifier(1, states="private", l2=2.0, tol=1e-8, random_state=0).fit(X, y)
    Z = np.hstack([(np.vstack(list(X[m])) - model.means_[m]) / model.scales_[m] for m in "ab"])
    peer = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(Z, y)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(Z), atol=1e-6)


@quick
def test_one_private_state_is_a_softmax_of_sums(global_seed):
    X, y = drawn(global_seed)
    model = model_of(n_states=1, states="private").fit(X, y)
    own = np.arange(3)
    eta = model.state_potentials_["joint"]
    tau = model.transition_potentials_["joint"]
    assert (np.isneginf(eta) == ~np.eye(3, dtype=bool)).all()
    W = np.hstack(list(model.coef_.values()))
    sums = np.array([x[0].sum(axis=0) for x in seen_by(model, X)])
    T = np.array([[len(cell)] for cell in X["a"]])
    scores = sums @ W.T + T * eta[own, own] + (T - 1) * tau[own, own, own] + model.intercept_
    np.testing.assert_allclose(model.predict_proba(X), softmax(scores, axis=1), atol=1e-10)


@quick
@pytest.mark.parametrize("chains", ["joint", "linked-coupled", "separate"])
def test_private_states(chains, global_seed):
    X, y = drawn(global_seed, lengths=(1, 2))
    model = model_of(chains, states="private", n_states=1, max_states=9).fit(X, y)
    scores = [oracles_hidden.class_scores(oracle_of(model), x) for x in seen_by(model, X)]
    np.testing.assert_allclose(model.predict_proba(X), softmax(scores, axis=1), atol=1e-10)


@quick
def test_an_absent_stream_of_its_own_chain_says_nothing(global_seed):
    """Its factor is 1: what is left is what the other chain says."""
    X, y = drawn(global_seed, separate=True)
    model = model_of("separate").fit(X, y)
    without = X.copy()
    without["b"] = None
    oracle = oracle_of(model)
    alone = [
        oracles_hidden.class_scores(oracle, {0: np.asarray(cell) - model.means_["a"]})
        for cell in X["a"]
    ]
    np.testing.assert_allclose(model.predict_proba(without), softmax(alone, axis=1), atol=1e-10)
    both = X.copy()
    both[:] = None
    with pytest.warns(UserWarning, match="24 of 24 samples have no modality"):
        found = model.predict_proba(both)
    np.testing.assert_allclose(found, np.tile(softmax(model.intercept_), (24, 1)), atol=1e-12)


# How it learns -------------------------------------------------------------------------------


@over_chains
def test_converges_to_a_point_without_slope(chains, global_seed):
    X, y = drawn(global_seed)
    model = model_of(chains, max_iter=2000, tol=1e-5).fit(X, y)
    assert model.converged_
    assert model.gradient_norm_ <= 1e-5
    assert (np.diff(model.history_) <= 1e-9).all()


def in_their_chains(seed, n=80):
    """Return sequences whose classes differ in nothing but how states follow one another."""
    stay = np.array([[0.9, 0.1], [0.1, 0.9]])
    return make_multimodal_sequences(
        n, n_states=2, lengths=(20, 30), transition=np.array([stay, stay[::-1]]),
        start=np.full((2, 2), 0.5), random_state=seed,
    )  # fmt: skip


@pytest.mark.parametrize("tol", [1e-3, 1e-4])
@pytest.mark.parametrize("chains", ["joint", "linked", "separate"])
def test_a_search_does_not_end_where_it_began(chains, tol, global_seed):
    """Where all states are alike derivatives are small, and much is still to be gained."""
    truth = in_their_chains(global_seed)
    model = HiddenCRFClassifier(2, chains=chains, tol=tol, random_state=global_seed, max_iter=500)
    model.fit(truth.data, truth.target)
    assert model.converged_
    assert model.gradient_norm_ <= tol
    assert model.objective_ < 0.7 * model.history_[0]


@pytest.mark.parametrize("states", ["shared", "private"])
def test_alike_states_are_told(states, global_seed):
    """So strong a penalty leaves no state that sees anything of its own."""
    truth = in_their_chains(global_seed, n=20)
    options = {"l2": 1e4, "l2_chain": 1e4, "states": states, "random_state": 0}
    with pytest.warns(UserWarning, match="all hidden states are alike where the search ended"):
        model = HiddenCRFClassifier(2, **options).fit(truth.data, truth.target)
    assert model.converged_
    assert model.gradient_norm_ <= 1e-6  # and not the default of tol
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HiddenCRFClassifier(1, **options).fit(truth.data, truth.target)  # nothing could differ


def test_stopping_early_says_what_is_left():
    X, y = drawn(0)
    with pytest.warns(ConvergenceWarning, match=r"after 2 iterations; the largest partial"):
        model = model_of(max_iter=2).fit(X, y)
    assert not model.converged_
    assert model.gradient_norm_ > model.tol
    assert model.n_iter_ == 2


@quick
def test_the_best_of_several_searches_is_kept(global_seed):
    X, y = drawn(global_seed)
    model = model_of(n_init=4, init_scale=1.0).fit(X, y)
    assert len(set(model.objectives_)) > 1
    assert model.objective_ == model.objectives_.min()


@pytest.mark.parametrize("chains", ["joint", "linked", "separate"])
def test_order_of_sequences_does_not_matter(chains, global_seed):
    X, y = drawn(global_seed)
    order = np.random.default_rng(global_seed).permutation(len(y))
    options = {"tol": 1e-8, "max_iter": 3000, "l2": 5.0, "l2_chain": 5.0}
    here = model_of(chains, **options).fit(X, y)
    there = model_of(chains, **options).fit(X.iloc[order], y[order])
    assert here.objective_ == pytest.approx(there.objective_, rel=1e-6)
    np.testing.assert_allclose(here.predict_proba(X), there.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("chains", ["joint", "linked", "separate"])
def test_weights_are_repetitions(chains, global_seed):
    X, y = drawn(global_seed)
    weights = np.random.default_rng(global_seed).integers(0, 3, size=len(y))
    weights[:3] = 1
    rows = np.repeat(np.arange(len(y)), weights)
    options = {"tol": 1e-8, "max_iter": 3000, "l2": 5.0, "l2_chain": 5.0}
    weighed = model_of(chains, **options).fit(X, y, sample_weight=weights)
    repeated = model_of(chains, **options).fit(X.iloc[rows], y[rows])
    assert weighed.objective_ == pytest.approx(repeated.objective_, rel=1e-6)
    np.testing.assert_allclose(weighed.predict_proba(X), repeated.predict_proba(X), atol=1e-3)


@quick
def test_class_weight_is_a_factor_of_the_weights(global_seed):
    X, y = drawn(global_seed)
    X, y = X.iloc[:-4], y[:-4]
    counts = {label: np.sum(y == label) for label in np.unique(y)}
    balanced = np.array([len(y) / (3 * counts[label]) for label in y])
    here = model_of(class_weight="balanced").fit(X, y)
    there = model_of().fit(X, y, sample_weight=balanced)
    np.testing.assert_allclose(here.predict_proba(X), there.predict_proba(X), atol=1e-7)


@quick
@over_chains
def test_threads_change_nothing(chains, global_seed):
    X, y = drawn(global_seed, n=60, lengths=(200, 220))
    one, two = (model_of(chains, n_jobs=n, max_iter=4).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(one.history_, two.history_)
    for name in "ab":
        np.testing.assert_array_equal(one.coef_[name], two.coef_[name])
    np.testing.assert_array_equal(one.predict_log_proba(X), two.predict_log_proba(X))


@quick
def test_survives_pickling():
    X, y = drawn(0)
    model = model_of("linked").fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict_log_proba(X), again.predict_log_proba(X))


@quick
def test_a_second_fit_keeps_nothing_of_the_first():
    X, y = drawn(0)
    other = X[["b"]].rename(columns={"b": "c"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = model_of("linked").fit(X, y)
        model.set_params(chains="joint").fit(other, y == "no")
        fresh = model_of().fit(other, y == "no")
    assert list(model.coef_) == ["c"]
    assert model.link_potentials_ == {}
    np.testing.assert_array_equal(model.predict_proba(other), fresh.predict_proba(other))
    assert model.decision_function(other).shape == (len(y),)


@quick
def test_a_constant_column_says_nothing():
    X, y = drawn(0)
    X["b"] = [np.full((len(cell), 1), 7.0) for cell in X["b"]]
    model = model_of("linked").fit(X, y)
    assert not model.coef_["b"].any()
    before = model.predict_proba(X)
    X["b"] = [np.full((len(cell), 1), 1e300) for cell in X["b"]]
    np.testing.assert_array_equal(model.predict_proba(X), before)


@quick
def test_huge_numbers_are_scaled(global_seed):
    X, y = drawn(global_seed)
    huge = X.map(lambda cell: cell * 2.0**1018)
    here, there = model_of().fit(X, y), model_of().fit(huge, y)
    np.testing.assert_allclose(here.predict_proba(X), there.predict_proba(huge), atol=1e-6)


# What it takes -------------------------------------------------------------------------------


@quick
@pytest.mark.filterwarnings("ignore:nothing is fused")
def test_lists_and_arrays_are_one_modality():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 5, 2)), np.arange(20) % 2
    expected = model_of().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(model_of().fit(list(X), y).predict_proba(list(X)), expected)


@quick
def test_length_1_and_own_lengths(global_seed):
    X, y = drawn(global_seed, separate=True)
    X["a"] = [cell[:1] for cell in X["a"]]
    X["b"] = [np.repeat(cell, 3, axis=0) for cell in X["b"]]
    model = model_of("separate", n_states={"a": 1, "b": 3}).fit(X, y)
    assert model.transition_potentials_["b"].shape == (3, 3, 3)
    assert np.isfinite(model.predict_log_proba(X)).all()
    for chains in ("joint", "linked"):
        with pytest.raises(ValueError, match=r"'a' and 'b' have 1 and \d+ steps in row 100"):
            model_of(chains).fit(X, y)


@quick
def test_more_states_than_steps(global_seed):
    X, y = drawn(global_seed, lengths=(1, 2))
    model = model_of(n_states=5).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_product_of_too_many_states_is_refused_with_its_size():
    X, y = drawn(0)
    with pytest.raises(ValueError, match=r"9 of 'a' x 8 of 'b' = 72, over max_states=64"):
        model_of("coupled", n_states={"a": 9, "b": 8}).fit(X, y)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda X: X.at[101, "a"].__setitem__((0, 0), np.inf), r"'a'.*101.*step 0"),
        (lambda X: X.at[101, "a"].__setitem__((0, 0), np.nan), r"'a'.*101.*step 0"),
        (lambda X: X["a"].array.__setitem__(1, np.empty((0, 2))), r"'a'.*101"),
        (lambda X: X["a"].array.__setitem__(1, np.zeros((2, 3))), r"'a'.*101"),
        (lambda X: X["a"].array.__setitem__(slice(None), None), r"'a' is missing for every"),
        (lambda X: X["a"].array.__setitem__(1, ["x", "y"]), r"'a'"),
    ],
    ids=["infinity", "NaN beside numbers", "length 0", "ragged widths", "all absent", "text"],
)
def test_bad_sequences_are_refused_by_name(change, said):
    X, y = drawn(0)
    change(X)
    with pytest.raises((TypeError, ValueError), match=said):
        model_of().fit(X, y)


def test_one_class_is_refused():
    X, y = drawn(0)
    with pytest.raises(ValueError, match=r"one class \('yes'\); a classifier needs at least two"):
        model_of().fit(X, np.full(len(y), "yes"))
    with pytest.raises(ValueError, match=r"leave 'no'; a classifier needs at least two"):
        model_of().fit(X, y, sample_weight=(y == "no").astype(float))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chains": "loop"}, "chains must be one of 'joint'"),
        ({"states": "both"}, "states must be one of 'shared', 'private'"),
        ({"n_states": 0}, "n_states of 'a' must be a whole number of at least 1"),
        ({"n_states": 1.5}, "n_states of 'a' must be a whole number"),
        ({"n_states": {"a": 2, "b": 2}}, "one chain"),
        ({"chains": "linked", "n_states": {"a": 2}}, "n_states must give a value for each of"),
        ({"l2": -1}, "l2 of 'a' must be a finite number of at least 0"),
        ({"l2": {"a": 1, "c": 1}}, "l2 must give a value for each of 'a', 'b'"),
        ({"l2_chain": np.nan}, "l2_chain must be a finite number"),
        ({"context": -1}, "context of 'a' must be a whole number of at least 0"),
        ({"n_init": 0}, "n_init must be"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"tol": 0}, "tol must be above 0"),
        ({"init_scale": 0}, "init_scale must be above 0"),
    ],
)
def test_parameters_out_of_range_are_refused(options, said):
    X, y = drawn(0)
    with pytest.raises((TypeError, ValueError), match=said):
        model_of(**options).fit(X, y)


@quick
def test_prediction_needs_what_was_fitted():
    X, y = drawn(0)
    model = model_of().fit(X, y)
    with pytest.raises(ValueError, match="'a'"):
        model.predict(X.assign(a=[np.zeros((len(cell), 3)) for cell in X["a"]]))
    with pytest.raises(ValueError, match="'b'"):
        model.predict(X[["a"]])


# What it is good for -------------------------------------------------------------------------


@pytest.mark.parametrize("chains", ["joint", "linked", "separate"])
def test_beats_chance_where_classes_differ_in_their_chains(chains, global_seed):
    truth = in_their_chains(global_seed, n=160)
    train, test = slice(0, 80), slice(80, None)
    model = HiddenCRFClassifier(2, chains=chains, n_init=8, random_state=0, max_iter=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(truth.data[train], truth.target[train])
    assert model.score(truth.data[test], truth.target[test]) > 0.9


def every_tenth(X):
    return X.map(lambda cell: cell[::10])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_grid_search_by_subject_is_the_loop():
    watch = load_watch()
    kept = np.isin(watch.groups, [1, 2, 3, 4])
    X, y, subjects = watch.data[kept], watch.target[kept], watch.groups[kept]
    pipeline = make_pipeline(
        FunctionTransformer(every_tenth),
        HiddenCRFClassifier(2, random_state=0, max_iter=20),
    )
    grid = {"hiddencrfclassifier__l2": [1.0, 100.0]}
    search = GridSearchCV(pipeline, grid, cv=GroupKFold(2)).fit(X, y, groups=subjects)
    for place, l2 in enumerate([1.0, 100.0]):
        for fold, (train, test) in enumerate(GroupKFold(2).split(X, y, subjects)):
            model = HiddenCRFClassifier(2, l2=l2, random_state=0, max_iter=20)
            model.fit(every_tenth(X.iloc[train]), y.iloc[train])
            score = np.mean(model.predict(every_tenth(X.iloc[test])) == y.iloc[test])
            assert search.cv_results_[f"split{fold}_test_score"][place] == score
    assert search.best_score_ > 2 / 7
    found = cross_val_predict(
        search.best_estimator_, X, y, groups=subjects, cv=GroupKFold(2), method="predict_proba"
    )
    np.testing.assert_allclose(found.sum(axis=1), 1)
