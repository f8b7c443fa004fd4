"""MultistreamHMM: what X may be, what is absent, what is refused, and what comes back."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion.chains._chain import posteriors
from mkfusion.chains._em import n_parameters
from mkfusion.graphical import MultistreamHMM

pytestmark = pytest.mark.filterwarnings("ignore:nothing is fused")

MIXED = {"count": "poisson", "word": ("categorical", {"unknown": "ignore"})}


def drawn(rng, lengths=(20, 15, 25, 30)):
    """Return cells of three modalities, long rows of the same, and the states behind."""
    cells, states = {"sound": [], "count": [], "word": []}, []
    for length in lengths:
        path = np.zeros(length, int)
        path[0] = rng.integers(2)
        for t in range(1, length):
            path[t] = path[t - 1] if rng.random() < 0.85 else 1 - path[t - 1]
        cells["sound"].append(rng.normal(size=(length, 2)) + 4 * path[:, None])
        cells["count"].append(rng.poisson(1 + 6 * path).astype(float)[:, None])
        words = np.array(["no", "yes"], dtype=object)
        cells["word"].append(words[np.where(rng.random(length) < 0.1, 1 - path, path)])
        states.append(path)
    return cells, states


def cell_frame(cells):
    frame = pd.DataFrame(index=range(len(cells["sound"])))
    for name, column in cells.items():
        frame[name] = pd.Series(column, dtype=object)
    return frame


def step_frame(cells):
    ids = np.repeat(np.arange(len(cells["sound"])), [len(c) for c in cells["sound"]])
    sound = np.vstack(cells["sound"])
    return pd.DataFrame(
        {
            "sound__0": sound[:, 0],
            "sound__1": sound[:, 1],
            "count__n": np.vstack(cells["count"])[:, 0],
            "word__w": np.concatenate(cells["word"]),
        },
        index=pd.Index(ids, name="sequence"),
    )


def model(**changes):
    return MultistreamHMM(**{"emissions": MIXED, "random_state": 0, **changes})


def agreement(found, states):
    same = (np.concatenate(list(found)) == np.concatenate(states)).mean()
    return max(same, 1 - same)


def test_states_are_found_in_cells_and_in_steps_alike(global_seed):
    cells, states = drawn(np.random.default_rng(global_seed), (40,) * 10)
    X, long = cell_frame(cells), step_frame(cells)
    by_cells, by_steps = model(n_init=3).fit(X), model(n_init=3).fit(long)
    np.testing.assert_allclose(by_steps.history_, by_cells.history_, rtol=1e-9)
    found = by_cells.predict(X)
    assert found.dtype == object
    assert agreement(found, states) > 0.95
    np.testing.assert_array_equal(by_steps.predict(long), np.concatenate(list(found)))
    proba = by_cells.predict_proba(X)
    np.testing.assert_allclose(by_steps.predict_proba(long), np.vstack(list(proba)), atol=1e-8)
    np.testing.assert_allclose(by_steps.score_samples(long), by_cells.score_samples(X))
    assert by_cells.score(X) == pytest.approx(by_cells.score_samples(X).mean())
    assert by_cells.log_likelihood_ == pytest.approx(by_cells.score_samples(X).sum())


def test_rows_that_are_not_adjacent_are_put_back(global_seed):
    rng = np.random.default_rng(global_seed)
    long = step_frame(drawn(rng)[0])
    fitted = model().fit(long)
    # rows of the sequences drawn into one another, each in its own order
    place = np.argsort(rng.permutation(long.index.to_numpy()), kind="stable")
    order = np.empty(len(long), int)
    order[place] = np.arange(len(long))
    mixed = long.iloc[order]
    assert (np.diff(mixed.index) != 0).sum() > 3
    np.testing.assert_array_equal(fitted.predict(mixed), fitted.predict(long)[order])


def test_modality_alone_is_as_if_others_had_weight_0(global_seed):
    cells, _ = drawn(np.random.default_rng(global_seed))
    X = cell_frame(cells)
    zero = model(stream_weights={"sound": 1, "count": 0, "word": 0}).fit(X)
    alone = model(emissions="gaussian").fit(X[["sound"]])
    np.testing.assert_array_equal(zero.history_, alone.history_)
    np.testing.assert_array_equal(zero.score_samples(X), alone.score_samples(X[["sound"]]))
    assert set(zero.emissions_) == {"sound", "count", "word"}


def test_absent_modality_has_the_factor_1(global_seed):
    cells, _ = drawn(np.random.default_rng(global_seed))
    X = cell_frame(cells)
    without = X.copy()
    for name in ("count", "word"):
        without[name] = pd.Series([None] * 4, dtype=object)
    fitted = model().fit(X)
    mute = model(stream_weights=[1, 0, 0]).fit(X)
    mute._store(fitted._model, list(fitted.modalities_), np.array([1.0, 0, 0]))
    np.testing.assert_allclose(fitted.score_samples(without), mute.score_samples(X))
    some = X.copy()
    some.at[1, "count"] = np.full((15, 1), np.nan)
    some.at[2, "word"] = None
    some.at[3, "sound"] = np.where(np.arange(30)[:, None] % 3, X.at[3, "sound"], np.nan)
    trained = model().fit(some)
    assert np.isfinite(trained.score_samples(some)).all()
    assert np.diff(trained.history_).min() >= -1e-8 * abs(trained.history_[-1])
    # What is absent is not learnt from: the absent steps' numbers would be far off.
    assert (abs(trained.emissions_["sound"].means) < 8).all()


def test_everything_absent_at_a_step_leaves_the_chain(global_seed):
    cells, _ = drawn(np.random.default_rng(global_seed))
    X = cell_frame(cells)[["sound"]]
    fitted = model(emissions="gaussian").fit(X)
    hole = X.copy()
    values = X.at[0, "sound"].copy()
    values[7] = np.nan
    hole.at[0, "sound"] = values
    unary = fitted.emissions_["sound"].log_density(X.at[0, "sound"])
    unary[7] = 0
    chain = np.log(fitted.start_), np.log(fitted.transition_), unary, [0, 20]
    wanted = posteriors(*chain)
    np.testing.assert_allclose(fitted.predict_proba(hole)[0], wanted.marginals, atol=1e-12)
    assert fitted.score_samples(hole)[0] == pytest.approx(wanted.log_partition[0])


def test_a_list_of_arrays_and_an_array_of_three_dimensions(global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(6, 9, 2)) + 5 * (np.arange(9) > 4)[:, None]
    fitted = MultistreamHMM(random_state=0).fit(list(X))
    again = MultistreamHMM(random_state=0).fit(X)
    np.testing.assert_array_equal(fitted.history_, again.history_)
    assert agreement(fitted.predict(X), [(np.arange(9) > 4).astype(int)] * 6) > 0.95


@pytest.mark.parametrize("as_frame", [cell_frame, step_frame])
def test_sample_weight_counts_sequences(as_frame, global_seed):
    rng = np.random.default_rng(global_seed)
    cells, _ = drawn(rng, (20, 15, 25, 30, 10))
    own = np.array([2, 0, 1, 3, 1])
    twice = {
        name: [c for c, k in zip(column, own, strict=True) for _ in range(k)]
        for name, column in cells.items()
    }
    X = as_frame(cells)
    weights = own if as_frame is cell_frame else own[X.index]
    weighted = model(tol=1e-7).fit(X, sample_weight=weights.astype(float))
    repeated = model(tol=1e-7).fit(as_frame(twice))
    assert weighted.log_likelihood_ == pytest.approx(repeated.log_likelihood_, rel=1e-6)
    np.testing.assert_allclose(weighted.transition_, repeated.transition_, atol=1e-3)


def test_weights_that_vary_within_a_sequence_are_refused():
    X = step_frame(drawn(np.random.default_rng(0))[0])
    with pytest.raises(ValueError, match="varies within 4 sequences"):
        model().fit(X, sample_weight=np.linspace(0.1, 1, len(X)))


def test_threads_change_nothing(global_seed):
    cells, _ = drawn(np.random.default_rng(global_seed), (100,) * 60)
    X = cell_frame(cells)
    one, two = (model(n_jobs=k, max_iter=1, tol=0) for k in (1, 2))
    with pytest.warns(ConvergenceWarning, match="not converged after 1 iterations"):
        one.fit(X)
    with pytest.warns(ConvergenceWarning):
        two.fit(X)
    np.testing.assert_array_equal(one.history_, two.history_)
    np.testing.assert_array_equal(one.score_samples(X), two.score_samples(X))


@pytest.mark.filterwarnings("ignore:8 sequences .* were seen at fit")  # samples count from 0 too
@pytest.mark.parametrize("as_frame", [cell_frame, step_frame])
def test_samples_can_be_learnt_from(as_frame, global_seed):
    rng = np.random.default_rng(global_seed)
    X = as_frame(drawn(rng, (40,) * 8)[0])
    fitted = model().fit(X)
    new, states = fitted.sample(60, 50, random_state=global_seed)
    assert list(new.columns) == list(X.columns)
    assert len(new) == len(states) == (60 if as_frame is cell_frame else 3000)
    flat = states if as_frame is step_frame else np.concatenate(list(states))
    pairs = np.zeros((2, 2))
    paths = flat.reshape(60, 50)
    np.add.at(pairs, (paths[:, :-1].ravel(), paths[:, 1:].ravel()), 1)
    np.testing.assert_allclose(
        pairs / pairs.sum(axis=1, keepdims=True), fitted.transition_, atol=0.1
    )
    again = fitted.sample(60, 50, random_state=global_seed)[1]
    assert all(np.array_equal(a, b) for a, b in zip(states, again, strict=True))
    found = fitted.predict(new)
    found = found if as_frame is step_frame else np.concatenate(list(found))
    assert (found == flat).mean() > 0.9


def test_criteria():
    X = cell_frame(drawn(np.random.default_rng(0))[0])
    fitted = model().fit(X)
    total = fitted.score_samples(X).sum()
    # 1 start, 2 transitions, 4 means and 4 variances, 2 rates, 2 symbols
    assert n_parameters(fitted._model) == 1 + 2 + 8 + 2 + 2
    assert fitted.aic(X) == pytest.approx(-2 * total + 2 * 15)
    assert fitted.bic(X) == pytest.approx(-2 * total + 15 * np.log(90))


def test_left_right_and_zeros_of_the_user():
    X = cell_frame(drawn(np.random.default_rng(0))[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = model(n_states=3, topology="left-right").fit(X)
    assert fitted.transition_[2, 2] == 1
    np.testing.assert_array_equal(fitted.start_, [1, 0, 0])
    given = model(start=[1, 0], transition=[[0.5, 0.5], [0, 1]]).fit(X)
    assert given.transition_[1, 0] == 0


def test_clone_pickle_and_refit():
    X = cell_frame(drawn(np.random.default_rng(0))[0])
    fitted = model().fit(X)
    back = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(back.score_samples(X), fitted.score_samples(X))
    fresh = clone(fitted)
    assert not hasattr(fresh, "history_")
    narrow = {"emissions": {"count": "poisson"}, "n_states": 3}
    fitted.set_params(**narrow).fit(X[["sound", "count"]][:3])
    other = model(**narrow).fit(X[["sound", "count"]][:3])
    np.testing.assert_array_equal(fitted.history_, other.history_)
    assert list(fitted.emissions_) == ["sound", "count"]


def test_inputs_are_not_written_to():
    cells, _ = drawn(np.random.default_rng(0))
    for column in cells.values():
        for cell in column:
            cell.flags.writeable = False
    X = cell_frame(cells)
    fitted = model().fit(X)
    fitted.predict(X)
    fitted.predict_proba(X)


def test_search_over_stream_weights_is_the_loop():
    cells, _ = drawn(np.random.default_rng(0), (25,) * 9)
    X = step_frame(cells)[["sound__0", "sound__1", "count__n"]]
    groups = X.index.to_numpy()
    scaler = StandardScaler().set_output(transform="pandas")
    base = make_pipeline(scaler, MultistreamHMM(random_state=0))
    grid = [{"sound": 1, "count": w} for w in (0, 0.5, 1)]
    search = GridSearchCV(base, {"multistreamhmm__stream_weights": grid}, cv=GroupKFold(3))
    search.fit(X, groups=groups)
    for weights, score in zip(grid, search.cv_results_["mean_test_score"], strict=True):
        loop = []
        for train, test in GroupKFold(3).split(X, groups=groups):
            own = clone(base).set_params(multistreamhmm__stream_weights=weights)
            loop.append(own.fit(X.iloc[train]).score(X.iloc[test]))
        assert score == np.mean(loop)
    scores = cross_val_score(MultistreamHMM(random_state=0), cell_frame(cells)[["sound"]], cv=3)
    assert np.isfinite(scores).all()


# Bad input


def broken(**cells):
    X = cell_frame(drawn(np.random.default_rng(0))[0])
    for name, cell in cells.items():
        X.at[2, name] = cell
    return X


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (broken(sound=np.empty((0, 2))), "'sound'.*2"),
        (broken(sound=np.zeros((25, 3))), "'sound'"),
        (broken(sound=np.zeros((24, 2))), "'sound' and 'count' have 24 and 25 steps in row 2"),
        (broken(sound=np.full((25, 2), np.inf)), "'sound'.*row 2"),
        (broken(sound=np.full((25, 2), 1e200)), "'sound'.*1e\\+120"),
        (broken(count=np.full((25, 1), 0.5)), "'count'.*counts.*0.5"),
        (broken(count=np.full((25, 1), -1.0)), "'count'.*counts.*-1"),
        (broken(sound=None, count=None, word=None), "none of the modalities"),
    ],
    ids=["length 0", "ragged", "lengths", "inf", "huge", "half", "negative", "nothing"],
)
def test_bad_cells_are_named(X, message):
    with pytest.raises(ValueError, match=message):
        model().fit(X)
    good = model().fit(broken())
    with pytest.raises(ValueError, match=message):
        good.predict(X)


def test_one_step_is_enough():
    X = pd.DataFrame({"sound": pd.Series([np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]])])})
    fitted = MultistreamHMM(4, random_state=0).fit(X)
    assert np.isfinite(fitted.score_samples(X)).all()
    assert [len(path) for path in fitted.predict(X)] == [1, 1]


def test_a_modality_that_is_all_nan_is_refused_at_fit():
    X = broken()
    X["sound"] = pd.Series([np.full((n, 2), np.nan) for n in (20, 15, 25, 30)])
    with pytest.raises(ValueError, match="'sound' is missing for every sample"):
        model().fit(X)


def test_unknown_symbols():
    X, new = broken(), broken()
    word = X.at[0, "word"].copy()
    word[3] = "perhaps"
    new.at[0, "word"] = word
    strict = model(emissions={"count": "poisson", "word": "categorical"}).fit(X)
    with pytest.raises(ValueError, match="'word': symbols 'perhaps' were not seen in training"):
        strict.predict(new)
    assert np.isfinite(model().fit(X).score_samples(new)).all()


def test_ids_of_the_fit_are_asked_for():
    X = step_frame(drawn(np.random.default_rng(0))[0])
    fitted = model().fit(X)
    with pytest.raises(ValueError, match="it was there at fit"):
        fitted.predict(X.reset_index(drop=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emissions": "gaussian"}, "'word' holds text.*emissions={'word': 'categorical'}"),
        ({"emissions": {"video": "gaussian"}}, "emissions names 'video', which is no modality"),
        ({"emissions": {**MIXED, "sound": "poisson"}}, "'sound': poisson emissions need counts"),
        ({"stream_weights": {"sound": 1}}, "one weight for each of"),
        ({"stream_weights": [0, 0, 0]}, "not all 0"),
        ({"stream_weights": [1, -1, 0]}, "non-negative"),
        ({"stream_weights": [[1, 1], [1, 1], [1, 1]]}, "one number for each"),
        ({"n_states": 0}, "n_states must be a whole number"),
        ({"n_states": 2.5}, "n_states must be a whole number"),
        ({"start": [1, 0, 0]}, "start must have length 2"),
        ({"tol": -1}, "tol must be at least 0"),
    ],
)
def test_parameters_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        model(**changes).fit(broken())


def test_impossible_sequences_warn():
    X = [np.array([[0.0], [1.0]]), np.array([[1.0], [1.0]])]
    fitted = MultistreamHMM(
        2,
        emissions="categorical",
        start=[1, 0],
        transition=[[0, 1], [0, 1]],
        random_state=0,
    ).fit(X[:1])
    assert fitted.score_samples(X)[0] == pytest.approx(0)
    assert fitted.score_samples(X)[1] == -np.inf
    with pytest.warns(
        UserWarning, match=r"no path of states is possible through 1 seq.*\(numbers 1\)"
    ):
        fitted.predict(X)
    with pytest.warns(UserWarning, match="no path"):
        assert (fitted.predict_proba(X)[1] == 0).all()
