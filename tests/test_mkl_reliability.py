"""Multiple kernel learning after interruptions and failures, refitted, on inputs left alone."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from interruptions import interrupted_at
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from test_mkl import KERNELS, N, grams, make
from test_mkl_use import MODELS, all_models, data, decide

from mkfusion.kernels import Precomputed


@all_models
def test_an_interrupted_refit_is_as_if_it_had_not_been(name, global_seed):
    X, y = data(name, global_seed)
    weight = np.random.default_rng(0).uniform(0.5, 2, N)
    kernels = [(n, clone(kernel), modality) for n, kernel, modality in KERNELS]
    model = clone(MODELS[name]).set_params(kernels=kernels)
    kept = pickle.dumps((X, y, weight, model.get_params()))
    wanted = decide(clone(model).fit(X, y, sample_weight=weight), X)
    narrow = None if y is None else y[:40] if name in ("ridge", "svr") else (y == "ant")[:40]
    before = clone(model).set_params(kernels=None).fit(X[["audio__0", "text__0"]][:40], narrow)
    before.set_params(kernels=kernels)
    again = copy.deepcopy(before)
    with interrupted_at(None) as lines:
        again.fit(X, y, sample_weight=weight)
    assert len(lines) > 300
    points = np.random.default_rng(global_seed).choice(len(lines), size=10, replace=False)
    for line in [*points, len(lines) - 1]:
        again = copy.deepcopy(before)
        with pytest.raises(KeyboardInterrupt), interrupted_at(line + 1):
            again.fit(X, y, sample_weight=weight)
        assert pickle.dumps((X, y, weight, model.get_params())) == kept
        np.testing.assert_array_equal(decide(again.fit(X, y, sample_weight=weight), X), wanted)


@all_models
def test_what_a_failed_fit_leaves_is_not_fitted(name, global_seed):
    X, y = data(name, global_seed)
    model = clone(MODELS[name])
    with pytest.raises(NotFittedError):
        decide(model, X)
    model.fit(X, y)
    wanted = decide(model, X)
    with pytest.raises(ValueError, match="length 3"):
        model.set_params(weighting=[1, 1]).fit(X, y)
    for call in (decide, type(model).modality_contributions, lambda m, X: m.combined_kernel_):
        with pytest.raises(NotFittedError):
            call(model, X)
    np.testing.assert_array_equal(
        decide(model.set_params(**MODELS[name].get_params(deep=False)).fit(X, y), X), wanted
    )


REFITS = {
    "two classes": lambda X, y: (X, y == "ant"),
    "four classes": lambda X, y: (X, np.arange(len(X)) % 4),
    "fewer columns": lambda X, y: (X[["audio__0", "video__1", "text__0"]], y),
    "an array": lambda X, y: (X.to_numpy(), y),
    "holes": lambda X, y: (X.mask(np.outer(np.arange(N) < 9, X.columns.str[0] == "a")), y),
    "few rows": lambda X, y: (X[:20], y[:20]),
    "as before": lambda X, y: (X, y),
}


@all_models
def test_a_refit_keeps_nothing_stale(name, global_seed):
    X, y, numbers = make(global_seed, n_classes=3)
    model = clone(MODELS[name])
    for case in [*REFITS, *reversed(REFITS)]:
        table, labels = REFITS[case](X.copy(), y)
        if name in ("ridge", "svr"):
            labels = np.c_[numbers, numbers**2][: len(table)] if "classes" in case else numbers
            labels = labels[: len(table)]
        given = {"audio": [0, 1], "video": [2, 3, 4], "text": [5]}
        model.set_params(modalities=None if isinstance(table, pd.DataFrame) else given)
        fresh = clone(model).fit(table, labels)
        model.fit(table, labels)
        assert set(vars(model)) == set(vars(fresh))
        np.testing.assert_array_equal(decide(model, table), decide(fresh, table))
        np.testing.assert_array_equal(model.kernel_weights_, fresh.kernel_weights_)


def frozen(values):
    values = np.array(values)
    values.setflags(write=False)
    return values


@all_models
@pytest.mark.parametrize("weighting", ["learnt", "given"])
def test_inputs_are_never_written_to(name, weighting, global_seed):
    X, y = data(name, global_seed)
    X = X.assign(graph__row=np.arange(N))
    K = frozen(grams(X)[0])
    shares = frozen([1.0, 2.0, 1.0, 1.0])
    kernels = [(n, clone(kernel), modality) for n, kernel, modality in KERNELS]
    kernels.append(("graph", Precomputed(K), "graph"))
    modalities = {"audio": [0, 1], "video": [2, 3, 4], "text": [5], "graph": [6]}
    model = clone(MODELS[name]).set_params(normalize="trace")
    model.set_params(kernels=kernels, modalities=modalities)
    if weighting == "given":
        model.set_params(weighting=shares)
    weight = frozen(np.random.default_rng(0).uniform(0.5, 2, N))
    plain = X.to_numpy()
    given = frozen(plain), None if y is None else frozen(y)
    kept = pickle.dumps((given, weight, kernels, shares, modalities))
    model.fit(*given, sample_weight=weight)
    decide(model, given[0])
    model.modality_contributions(given[0])
    assert pickle.dumps((given, weight, kernels, shares, modalities)) == kept
    assert model.kernels is kernels
    columns = dict(zip(modalities, ([0, 1], [2, 3, 4], [5], list(range(6, 6 + N))), strict=True))
    raw = clone(MODELS[name]).set_params(modalities=columns, kernel=Precomputed())
    table = frozen(np.hstack([plain[:, :6], K]))
    raw.set_params(kernels=kernels[:3]).fit(table, given[1], sample_weight=weight)
    np.testing.assert_array_equal(table, np.hstack([plain[:, :6], K]))
    frame = pd.DataFrame(given[0], columns=X.columns, copy=False)
    model.set_params(modalities=None).fit(frame, given[1], sample_weight=weight)
