"""Graphical estimators: interrupted, refitted, on threads, after forks, on inputs left alone.

Each reads either recordings, one row each with a sequence in every cell, or steps, one row each
with the id of the sequence in the index.
"""

import copy
import multiprocessing
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
from interruptions import interrupted_at
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mkfusion._parallel import single_blas_thread
from mkfusion.graphical import (
    CoupledHMMClassifier,
    CRFTagger,
    HiddenCRFClassifier,
    HMMClassifier,
    HMMTagger,
    HybridHMMTagger,
    LatentCRFTagger,
    MultistreamHMM,
    StepwiseTransformer,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:nothing is fused:UserWarning"
)

N = 24  # sequences


class Data(NamedTuple):
    X: Any
    y: Any
    weights: Any


def make(seed):
    """Return recordings and steps of the same sequences: two modalities, three classes."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 9, N)
    kinds = np.arange(N) % 3
    audio, video, labels = [], [], []
    for length, kind in zip(lengths, kinds, strict=True):
        states = (np.arange(length) // 2 + kind) % 3
        audio.append(rng.normal(size=(length, 2)) + states[:, None] * [1.0, -1.0])
        video.append(rng.normal(size=(length, 1)) + states[:, None] * 0.5 * (kind + 1))
        labels.append(states)
    names = np.array(["ant", "bee", "cat"])
    weights = rng.uniform(0.5, 2.0, N)
    cells = pd.DataFrame(index=pd.Index(np.arange(N), name="sequence"))
    for name, sequences in (("audio", audio), ("video", video)):
        column = np.empty(N, dtype=object)
        for i, sequence in enumerate(sequences):
            column[i] = sequence
        cells[name] = column
    ids = np.repeat(np.arange(N), lengths)
    index = pd.MultiIndex.from_arrays(
        [ids, np.concatenate([np.arange(n) for n in lengths])], names=["sequence", "step"]
    )
    columns = ["audio__0", "audio__1", "video__0"]
    flat = np.hstack([np.concatenate(audio), np.concatenate(video)])
    steps = pd.DataFrame(flat, columns=columns, index=index)
    return {
        "recordings": Data(cells, names[kinds], weights),
        "steps": Data(steps, names[np.concatenate(labels)], weights[ids]),
    }


MODELS = {
    "hmm": (HMMClassifier(2, max_iter=10, random_state=0), "recordings"),
    "hmm of each modality": (
        HMMClassifier(2, chain="separate", max_iter=10, random_state=0),
        "recordings",
    ),
    "coupled hmm": (CoupledHMMClassifier(2, max_iter=10, random_state=0), "recordings"),
    "hidden crf": (HiddenCRFClassifier(2, max_iter=20, random_state=0), "recordings"),
    "linked hidden crf": (
        HiddenCRFClassifier(2, chains="linked-coupled", max_iter=20, random_state=0),
        "recordings",
    ),
    "streams": (MultistreamHMM(2, max_iter=10, random_state=0), "recordings"),
    "streams of steps": (MultistreamHMM(2, max_iter=10, random_state=0), "steps"),
    "hmm tagger": (HMMTagger(n_states=2, max_iter=10, random_state=0), "steps"),
    "hybrid tagger": (HybridHMMTagger(estimator=LogisticRegression(), cv=3), "steps"),
    "crf tagger": (CRFTagger(l2=0.1), "steps"),
    "latent crf tagger": (LatentCRFTagger(2, max_iter=30, random_state=0), "steps"),
    "stepwise": (StepwiseTransformer(StandardScaler()), "recordings"),
}
all_models = pytest.mark.parametrize("name", MODELS)
all_deciding = pytest.mark.parametrize(
    "name", [name for name, (model, _) in MODELS.items() if not hasattr(model, "transform")]
)
all_parallel = pytest.mark.parametrize(
    "name", [name for name, (model, _) in MODELS.items() if "n_jobs" in model.get_params()]
)


def case(name, seed):
    model, layout = MODELS[name]
    return clone(model), make(seed)[layout]


def fit(model, data, X=None):
    weights = {}
    if "sample_weight" in type(model).fit.__code__.co_varnames:
        weights = {"sample_weight": data.weights}
    return model.fit(data.X if X is None else X, data.y, **weights)


def answer(model, X):
    """Return all that a fitted model says of X, as one array of numbers."""
    if hasattr(model, "transform"):
        cells = np.asarray(model.transform(X)).ravel()
    elif hasattr(model, "score_samples"):
        return np.ravel(model.score_samples(X))
    else:
        return np.asarray(model.predict_proba(X), dtype=float)
    return np.concatenate([np.ravel(np.asarray(cell, dtype=float)) for cell in cells])


# Interrupted, failed, repeated


@all_models
def test_an_interrupted_refit_is_as_if_it_had_not_been(name, global_seed):
    model, data = case(name, global_seed)
    kept = pickle.dumps((data, model.get_params()))
    wanted = answer(fit(clone(model), data), data.X)
    rows = np.arange(len(data.X)) < len(data.X) // 2
    before = clone(model).fit(data.X[rows], data.y[rows])
    with interrupted_at(None) as lines:
        fit(copy.deepcopy(before), data)
    assert len(lines) > 100
    points = np.random.default_rng(global_seed).choice(len(lines), size=6, replace=False)
    for line in [*points, len(lines) - 1]:
        again = copy.deepcopy(before)
        with pytest.raises(KeyboardInterrupt), interrupted_at(line + 1):
            fit(again, data)
        assert pickle.dumps((data, model.get_params())) == kept
        np.testing.assert_array_equal(answer(fit(again, data), data.X), wanted)


@all_models
def test_an_unfitted_model_says_so(name):
    model, data = case(name, 0)
    with pytest.raises(NotFittedError):
        answer(model, data.X)


@all_models
def test_a_refit_keeps_nothing_stale(name, global_seed):
    model, data = case(name, global_seed)
    rows = np.flatnonzero(np.isin(data.y, ["ant", "bee"]))
    audio = [column for column in data.X.columns if column.startswith("audio")]
    fewer = Data(data.X.iloc[rows], data.y[rows], data.weights[rows])
    for again in (data, Data(data.X[audio], data.y, data.weights), fewer, data):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a sequence that lost some of its steps
            fresh = fit(clone(model), again)
            fit(model, again)
            assert set(vars(model)) == set(vars(fresh))
            np.testing.assert_array_equal(answer(model, again.X), answer(fresh, again.X))


# Inputs


def layout_is_steps(X):
    return "step" in X.index.names


def frozen(values):
    values = np.array(values)
    values.setflags(write=False)
    return values


@all_models
def test_inputs_are_never_written_to(name, global_seed):
    model, data = case(name, global_seed)
    X = data.X.copy()
    for column in X.columns:
        if X[column].dtype == object:
            for cell in X[column]:
                cell.setflags(write=False)
    if layout_is_steps(X):
        X = pd.DataFrame(frozen(X), columns=X.columns, index=X.index, copy=False)
    given = Data(X, frozen(data.y), frozen(data.weights))
    kept = pickle.dumps(given)
    wanted = answer(fit(clone(model), data), data.X)
    np.testing.assert_array_equal(answer(fit(model, given), X), wanted)
    if hasattr(model, "predict"):
        model.predict(X)
    assert pickle.dumps(given) == kept


@all_models
def test_stored_models_answer_the_same(name, global_seed, tmp_path):
    model, data = case(name, global_seed)
    wanted = answer(fit(model, data), data.X)
    joblib.dump(model, tmp_path / "model")
    loaded = joblib.load(tmp_path / "model", mmap_mode="r")
    for stored in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), loaded):
        np.testing.assert_array_equal(answer(stored, data.X), wanted)


# One batch, another batch


@all_deciding
def test_an_answer_does_not_depend_on_the_batch(name, global_seed):
    model, data = case(name, global_seed)
    whole = answer(fit(model, data), data.X)
    ids = data.X.index.get_level_values("sequence")
    for i in (0, 5, N - 1):
        own = [i] if len(whole) == N else ids == i
        np.testing.assert_allclose(
            answer(model, data.X[ids == i]), whole[own], rtol=1e-9, atol=1e-12
        )


@all_deciding
def test_the_order_of_sequences_does_not_matter(name, global_seed):
    model, data = case(name, global_seed)
    whole = answer(fit(model, data), data.X)
    ids = np.asarray(data.X.index.get_level_values("sequence"))
    drawn = np.random.default_rng(global_seed).permutation(N)
    order = np.argsort(drawn[ids], kind="stable")
    found = answer(model, data.X.iloc[order])
    own = np.argsort(drawn) if len(whole) == N else order
    np.testing.assert_allclose(found, whole[own], rtol=1e-9, atol=1e-12)


# Threads, forks, other processes


@all_parallel
def test_no_bit_depends_on_jobs(name, global_seed):
    model, data = case(name, global_seed)
    wanted = answer(fit(clone(model), data), data.X)
    for n_jobs in (2, 3):
        own = fit(clone(model).set_params(n_jobs=n_jobs), data)
        np.testing.assert_array_equal(answer(own, data.X), wanted)


@all_models
def test_many_threads_at_once(name):
    model, data = case(name, 0)
    inside = single_blas_thread._inside
    wanted = answer(fit(clone(model), data), data.X)
    fitted = fit(clone(model), data)
    with ThreadPoolExecutor(6) as pool:
        fits = list(pool.map(lambda _: answer(fit(clone(model), data), data.X), range(4)))
        asked = list(pool.map(lambda _: answer(fitted, data.X), range(8)))
    for found in [*fits, *asked]:
        np.testing.assert_array_equal(found, wanted)
    assert single_blas_thread._inside == inside


def _fit_and_send(connection, model, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        connection.send(answer(fit(model, data), data.X))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@all_models
def test_after_a_fork(name):
    model, data = case(name, 0)
    if name not in ("hybrid tagger", "stepwise"):  # these ask joblib, and not our own threads
        model.set_params(n_jobs=2)
    wanted = answer(fit(clone(model), data), data.X)
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(
        target=_fit_and_send, args=(there, model, data)
    )
    with single_blas_thread._lock:  # as if another thread were entering at that moment
        child.start()
    try:
        assert here.poll(60), "the child hangs"
        np.testing.assert_array_equal(here.recv(), wanted)
    finally:
        child.terminate()
        child.join()


def _answer_of(name):
    model, data = case(name, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return answer(fit(model, data), data.X)


def test_in_loky():
    found = joblib.Parallel(2, backend="loky")(joblib.delayed(_answer_of)(name) for name in MODELS)
    for name, own in zip(MODELS, found, strict=True):
        np.testing.assert_allclose(own, _answer_of(name), rtol=1e-12)
