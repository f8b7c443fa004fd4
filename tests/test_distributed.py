"""The package on Dask: Gram matrices, predictions by partition, and joblib's backend for it.

The cluster is two worker processes on loopback.
"""

import os
import signal
import sys
import time
import warnings
from itertools import pairwise

import dask
import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pytest
from interruptions import interrupted_after
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mkfusion import (
    EarlyFusionRegressor,
    HMMClassifier,
    HybridFusionClassifier,
    LateFusionClassifier,
    MKLClassifier,
    compare_fusion,
    fusion_report,
)
from mkfusion._parallel import delayed, run
from mkfusion.distributed import dask_gram, predict_in_blocks
from mkfusion.kernels import (
    KERNELS,
    RBF,
    FunctionKernel,
    GlobalAlignment,
    Linear,
    Precomputed,
    gram,
)
from mkfusion.modality import fill_cells

pytestmark = pytest.mark.interface


@pytest.fixture(params=["threads", "cluster"])
def engine(request):
    """Where Dask computes: in threads of this process, or on the cluster."""
    if request.param == "cluster":
        client = request.getfixturevalue("client")
        with client.as_current(), dask.config.set(scheduler=client):
            yield client
    else:
        with dask.config.set(scheduler="threads"):
            yield None


def table(n_samples=60, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(n_samples) % 3
    X = pd.DataFrame(
        {
            "audio__a": y + rng.normal(size=n_samples),
            "audio__b": rng.normal(size=n_samples),
            "video__a": rng.normal(size=n_samples) - y,
            "video__b": rng.normal(size=n_samples),
        },
        index=pd.Index(rng.permutation(n_samples) // 2, name="sample"),
    )
    return X, np.array(["low", "middle", "very high"])[y]


def sequences(n_samples=24, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n_samples) % 2
    cells = {
        name: fill_cells(rng.normal(c, size=(rng.integers(4, 9), width)) for c in y)
        for name, width in (("audio", 2), ("video", 1))
    }
    return pd.DataFrame(cells), y


def cut(X, n_partitions=4):
    """Return a frame as partitions in its own order, with divisions that are not known."""
    ends = np.linspace(0, len(X), n_partitions + 1).astype(int)
    return partitions(*[X.iloc[a:b] for a, b in pairwise(ends)])


def partitions(*parts, meta=None):
    return dd.from_map(lambda part: part, parts, meta=parts[0][:0] if meta is None else meta)


def late(**options):
    return LateFusionClassifier(estimator=LogisticRegression(), **options)


# Gram matrices


VECTORS = [name for name, kernel in KERNELS.items() if name not in {"precomputed", "spectrum"}]


def samples(kernel, n_samples=23, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    if kernel == "global_alignment":
        return fill_cells(rng.normal(size=(rng.integers(2, 6), 2)) for _ in range(n_samples))
    if kernel == "categorical":
        return rng.integers(0, 3, size=(n_samples, 4)).astype(float)
    return np.abs(rng.normal(size=(n_samples, 4))).astype(dtype)


@pytest.mark.parametrize("kernel", VECTORS)
def test_gram_is_that_of_the_core(kernel):
    X = samples(kernel)
    expected = gram(X, kernel=kernel)
    given = dask_gram(X, kernel=kernel, chunks=9)
    assert given.chunks == ((9, 9, 5), (9, 9, 5))
    assert (given.compute() == expected).all()
    cells = da.from_array(X, chunks=(7, *X.shape[1:]))
    found = dask_gram(cells, kernel=kernel)
    assert found.chunks == ((7, 7, 7, 2), (7, 7, 7, 2))
    assert (found.compute() == expected).all()


def test_gram_of_two_sets_is_that_of_the_core(engine):
    X, Y = samples("rbf"), samples("rbf", 11, seed=1)
    kernel = RBF().resolve(X)
    found = dask_gram(da.from_array(X, chunks=(10, 2)), Y, kernel=kernel, chunks=8)
    assert found.chunks == ((8, 8, 7), (8, 3))
    assert (found.compute() == gram(X, Y, kernel)).all()


def test_gram_on_the_cluster_is_symmetric_to_the_bit(client):
    X = samples("rbf", 40)
    found = dask_gram(da.from_array(X, chunks=(11, 3)), kernel=RBF() + 0.5 * Linear()).compute()
    assert (found == found.T).all()
    assert (found == gram(X, kernel=RBF() + 0.5 * Linear())).all()


def test_gram_of_a_bank_has_a_matrix_for_each_bandwidth():
    X = samples("rbf")
    kernel = RBF(gamma=[0.1, "scale", 3.0])
    found = dask_gram(da.from_array(X, chunks=(10, 4)), kernel=kernel)
    assert found.shape == (3, 23, 23)
    assert (found.compute() == gram(X, kernel=kernel)).all()


@pytest.mark.parametrize(
    "kernel", ["rbf", FunctionKernel(lambda X, Y: X @ Y.T)], ids=["rbf", "function"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gram_has_the_type_of_the_core(kernel, dtype):
    X = samples("rbf", dtype=dtype)
    expected = gram(X, kernel=kernel)
    found = dask_gram(X, kernel=kernel, chunks=10)
    assert found.dtype == expected.dtype
    assert found.compute().dtype == expected.dtype
    assert np.allclose(found.compute(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "X", [samples("rbf").tolist(), pd.DataFrame(samples("rbf"))], ids=["list", "DataFrame"]
)
def test_gram_of_other_tables(X):
    assert (dask_gram(X, chunks=9).compute() == gram(X)).all()


def test_gram_of_a_list_of_sequences():
    X = list(samples("global_alignment", 7))
    found = dask_gram(X, kernel=GlobalAlignment(), chunks=3).compute()
    assert (found == gram(X, kernel=GlobalAlignment())).all()


def test_gram_works_out_nothing_before_it_is_asked():
    asked = []
    kernel = FunctionKernel(lambda X, Y: asked.append(len(X)) or X @ Y.T)
    found = dask_gram(samples("rbf"), kernel=kernel, chunks=10)
    assert asked == []
    found.compute(scheduler="sync")
    assert len(asked) == 6  # of nine blocks those on and above the diagonal


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"X": dd.from_pandas(table()[0], 2, sort=False)}, TypeError, "to_dask_array"),
        ({"X": cut(table()[0]).to_dask_array()}, ValueError, "compute_chunk_sizes"),
        ({"X": np.empty((0, 3))}, ValueError, "no samples"),
        ({"X": da.ones((0, 3))}, ValueError, "no samples"),
        ({"X": np.eye(3), "kernel": Precomputed()}, ValueError, "Gram matrix already"),
        ({"X": np.eye(3), "Y": np.eye(3)}, ValueError, r"kernel\.resolve"),
        ({"X": np.eye(3), "kernel": "no such"}, ValueError, "no such"),
    ],
)
def test_gram_refuses(options, error, words):
    with pytest.raises(error, match=words):
        dask_gram(**options)


def test_gram_refuses_nan_when_it_is_computed():
    X = da.from_array(np.where(np.eye(6, 3, -4), np.nan, 1.0), chunks=(3, 3))
    with pytest.raises(ValueError, match="NaN"):
        dask_gram(X, kernel="linear").compute()


# Predictions


METHODS = ["predict", "predict_proba", "decision_function"]


@pytest.mark.parametrize("method", METHODS)
def test_predictions_of_a_frame_are_those_of_the_estimator(engine, method):
    X, y = table()
    for model in (
        late().fit(X, y),
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y),
    ):
        if not hasattr(model, method):
            continue
        found = predict_in_blocks(model, cut(X), method=method)
        answers = found.compute()
        expected = getattr(model, method)(X)
        assert (answers.to_numpy() == expected).all()
        assert answers.index.equals(X.index)
        if method == "predict":
            assert answers.name == "predict"
            assert answers.dtype == found.dtype
        else:
            assert list(found.columns) == list(answers.columns) == list(model.classes_)


@pytest.mark.parametrize("method", METHODS[:2])
def test_predictions_of_an_array_are_those_of_the_estimator(engine, method):
    X, y = table()
    X = X.to_numpy()
    model = late(modalities={"audio": [0, 1], "video": [2, 3]}).fit(X, y)
    blocks = da.from_array(X, chunks=(17, 3))
    found = predict_in_blocks(model, blocks, method=method)
    assert found.chunks[0] == blocks.chunks[0]
    answers = found.compute()
    assert found.dtype == answers.dtype
    assert found.shape == answers.shape
    assert (answers == getattr(model, method)(X)).all()


def test_predictions_of_a_kernel_machine():
    X, y = table()
    model = MKLClassifier().fit(X, y)
    found = predict_in_blocks(model, cut(X)).compute(scheduler="sync")
    assert (found.to_numpy() == model.predict(X)).all()


def test_predictions_of_numbers_and_of_several_targets():
    X, _ = table()
    Y = X.to_numpy() @ np.arange(8.0).reshape(4, 2)
    one = EarlyFusionRegressor(estimator=Ridge()).fit(X, Y[:, 0])
    answers = predict_in_blocks(one, cut(X)).compute()
    assert answers.dtype == np.float64
    assert np.allclose(answers, one.predict(X), rtol=1e-12)
    two = LinearRegression().fit(X, Y)
    answers = predict_in_blocks(two, cut(X)).compute()
    assert list(answers.columns) == [0, 1]
    assert np.allclose(answers, Y)


def test_a_transformer_gives_its_features_names():
    X, _ = table()
    model = StandardScaler().fit(X)
    found = predict_in_blocks(model, cut(X), method="transform").compute()
    assert list(found.columns) == list(X.columns)
    model.set_output(transform="pandas")
    pandas = predict_in_blocks(model, cut(X), method="transform").compute()
    pd.testing.assert_frame_equal(found, pandas)
    pd.testing.assert_frame_equal(pandas, model.transform(X))


def test_sequences_are_labelled_by_partition(client):
    X, y = sequences()
    model = LateFusionClassifier(estimator=HMMClassifier(n_states=2, random_state=0)).fit(X, y)
    with dask.config.set({"dataframe.convert-string": False}):
        X_cut = dd.from_pandas(X, npartitions=3)
        found = predict_in_blocks(model, X_cut, method="predict_proba").compute()
    assert np.allclose(found.to_numpy(), model.predict_proba(X), rtol=1e-12, atol=0)
    assert list(found.columns) == [0, 1]


def test_nothing_is_computed_before_it_is_asked():
    X, y = table()
    seen = []
    parts = dd.from_map(lambda i: seen.append(i) or X.iloc[i : i + 20], [0, 20, 40], meta=X[:0])
    found = predict_in_blocks(late().fit(X, y), parts)
    assert seen == []
    assert len(found.compute(scheduler="sync")) == 60
    assert sorted(seen) == [0, 20, 40]


@pytest.mark.parametrize("method", METHODS[:2])
def test_an_empty_partition_gives_an_empty_answer(engine, method):
    X, y = table()
    model = late().fit(X, y)
    found = predict_in_blocks(model, partitions(X[:0], X[:20], X[20:20], X[20:]), method=method)
    answers = found.compute()
    assert answers.index.equals(X.index)
    assert (answers.to_numpy() == getattr(model, method)(X)).all()
    nothing = predict_in_blocks(model, partitions(X[:0]), method=method).compute()
    assert len(nothing) == 0
    assert nothing.ndim == answers.ndim
    blocks = da.concatenate(
        [da.from_array(X[a:b].to_numpy()) for a, b in ((0, 5), (5, 5), (5, 60))]
    )
    model = late(modalities={"audio": [0, 1], "video": [2, 3]}).fit(X.to_numpy(), y)
    answers = predict_in_blocks(model, blocks, method=method).compute()
    assert (answers == getattr(model, method)(X.to_numpy())).all()


class Remembering(RegressorMixin, BaseEstimator):
    """Answers with the number of times that it was made from a pickle in this process."""

    made = 0

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def __setstate__(self, state):
        Remembering.made += 1
        super().__setstate__(state)

    def predict(self, X):
        return np.full(len(X), float(Remembering.made))


def test_the_estimator_is_sent_once(client):
    X, _ = table()
    model = Remembering().fit(X)
    found = predict_in_blocks(model, cut(X, 12)).compute()
    assert 1 <= found.max() <= 2  # for the scheduler's graph at most once more
    assert len(found) == len(X)


def test_other_columns_are_refused_before_anything_runs():
    X, y = table()
    model = late().fit(X, y)
    for columns, words in (
        (X.columns[1:], r"lacks 'audio__a'\Z"),
        (X.columns[::-1], r"another order; pass X\[list\(estimator.feature_names_in_\)\]"),
        ([*X.columns, "z"], r"'z' were not there at fit; pass X\[list"),
        ([*X.columns[:3], "video__c"], r"lacks 'video__b'; 'video__c' were not there at fit\Z"),
    ):
        other = cut(X.reindex(columns=list(columns), fill_value=0.0))
        with pytest.raises(ValueError, match=words):
            predict_in_blocks(model, other)
    array = late(modalities={"audio": [0, 1], "video": [2, 3]}).fit(X.to_numpy(), y)
    with pytest.raises(ValueError, match=r"X has 3 columns.*fitted on 4"):
        predict_in_blocks(array, da.ones((6, 3)))
    with pytest.raises(ValueError, match="1 dimensions"):
        predict_in_blocks(array, da.ones(6))


def test_types_that_cannot_be_read_are_refused_before_anything_runs():
    X, y = table()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    with pytest.raises(TypeError, match=r"'video__a' \(str.*could not convert"):
        predict_in_blocks(model, cut(X.assign(video__a="much")))


def test_what_dummies_cannot_tell_is_told_by_attributes():
    X, y = table()
    X = X.assign(audio__a=np.where(X["audio__a"] > 0, "loud", "quiet"))
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X[["audio__a"]], y)
    found = predict_in_blocks(model, cut(X[["audio__a"]]))
    assert (found.compute().to_numpy() == model.predict(X[["audio__a"]])).all()
    found = predict_in_blocks(model, cut(X[["audio__a"]]), method="predict_proba")
    assert (found.compute().to_numpy() == model.predict_proba(X[["audio__a"]])).all()


def test_nan_names_its_partition(engine):
    X, y = table()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    spoilt = X.copy()
    spoilt.iloc[32, 1] = np.nan
    with pytest.raises(ValueError, match=r"partition 2: .*NaN"):
        predict_in_blocks(model, cut(spoilt)).compute()
    array = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.to_numpy(), y)
    with pytest.raises(ValueError, match=r"partition 3: .*NaN"):
        predict_in_blocks(array, da.from_array(spoilt.to_numpy(), chunks=(10, 4))).compute()


class Failing(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        raise KeyError("lost")


def test_other_errors_name_their_partition_too():
    X, y = table()
    with pytest.raises(RuntimeError, match="partition 0: 'lost'"):
        predict_in_blocks(Failing().fit(X, y), partitions(X)).compute(scheduler="sync")


def test_a_partition_with_other_columns_is_named(engine):
    X, y = table()
    model = late().fit(X, y)
    for other, kind, words in (
        (X.rename(columns={"audio__b": "audio__c"}), ValueError, "lacks 'audio__b'.*'audio__c'"),
        (X.iloc[:, ::-1], ValueError, "in the order 'video__b'"),
        (X.assign(audio__b="text"), TypeError, "column 'audio__b' is of type"),
    ):
        with pytest.raises(kind, match=f"partition 1: .*{words}"):
            predict_in_blocks(model, partitions(X[:20], other[20:40], X[40:])).compute()


def test_whole_numbers_in_one_partition_are_read():
    X, y = table()
    model = late().fit(X, y)
    whole = X.round().astype(int)
    found = predict_in_blocks(model, partitions(X[:20], whole[20:])).compute()
    expected = np.concatenate([model.predict(X[:20]), model.predict(whole[20:])])
    assert (found.to_numpy() == expected).all()


def test_predictions_refuse():
    X, y = table()
    model = late().fit(X, y)
    with pytest.raises(TypeError, match=r"got DataFrame; estimator.predict\(X\)"):
        predict_in_blocks(model, X)
    with pytest.raises(TypeError, match="got Series"):
        predict_in_blocks(model, cut(X)["audio__a"])
    with pytest.raises(NotFittedError):
        predict_in_blocks(late(), cut(X))
    with pytest.raises(AttributeError, match="no method 'answer'"):
        predict_in_blocks(model, cut(X), method="answer")


@pytest.mark.parametrize("missing", ["dask", "dask.array"])
def test_without_dask_the_extra_is_named(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "mkfusion\[distributed\]"'):
        dask_gram(np.eye(3))
    if missing == "dask":
        with pytest.raises(ImportError, match=r"mkfusion\[distributed\]"):
            predict_in_blocks(late(), np.eye(3))


# The rest of the package under joblib's backend


def serial_and_on_dask(client, function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        serial = function()
        with client.as_current(), joblib.parallel_config("dask"):
            return serial, function()


@pytest.mark.parametrize("rule", ["bayes", "stacking"])
def test_late_fusion_on_dask(client, rule):
    X, y = table()
    serial, found = serial_and_on_dask(client, lambda: late(rule=rule).fit(X, y).predict_proba(X))
    assert (found == serial).all()


def test_hybrid_fusion_on_dask(client):
    X, y = table()
    model = HybridFusionClassifier(estimator=LogisticRegression())
    serial, found = serial_and_on_dask(client, lambda: model.fit(X, y).predict_proba(X))
    assert (found == serial).all()


def test_fusion_of_sequences_on_dask(client):
    X, y = sequences()
    model = LateFusionClassifier(estimator=HMMClassifier(n_states=2, random_state=0))
    serial, found = serial_and_on_dask(client, lambda: model.fit(X, y).predict_proba(X))
    assert (found == serial).all()


def test_comparison_on_dask(client):
    X, y = table(45)
    options = {"cv": 3, "strategies": ["early", "late:bayes", "late:stacking"]}
    serial, found = serial_and_on_dask(client, lambda: compare_fusion(X, y, **options))
    for one in (serial, found):
        one.table.drop(columns="fit_time", inplace=True)
    pd.testing.assert_frame_equal(found.table, serial.table, check_exact=True)
    pd.testing.assert_frame_equal(found.fold_scores, serial.fold_scores, check_exact=True)
    pd.testing.assert_frame_equal(found.per_class, serial.per_class, check_exact=True)


def test_report_on_dask(client):
    X, y = table(45)
    model = late().fit(X, y)
    serial, found = serial_and_on_dask(client, lambda: fusion_report(model, X, y, cv=3))
    tables = [name for name, value in vars(serial).items() if isinstance(value, pd.DataFrame)]
    assert tables
    for name in tables:
        pd.testing.assert_frame_equal(
            getattr(found, name), getattr(serial, name), check_exact=True
        )


def test_grid_search_on_dask(client):
    X, y = table(45)
    search = GridSearchCV(late(), {"estimator__C": [0.1, 1.0]}, cv=3)
    serial, found = serial_and_on_dask(client, lambda: search.fit(X, y).cv_results_.copy())
    scores = [name for name in serial if "test_score" in name]
    assert all((found[name] == serial[name]).all() for name in scores)


class Shared:
    """Stands for an object of the package that holds a table and is asked by its method."""

    def __init__(self, X):
        self.X = X

    def place(self, row):
        time.sleep(0.02)
        return os.getpid(), id(self), float(self.X["audio"].iloc[row].sum())


Shared.__module__ = "mkfusion._of_tests"


def test_an_object_that_calls_share_is_sent_once(client):
    X, _ = sequences(40)
    shared = Shared(X)
    with client.as_current(), joblib.parallel_config("dask"):
        found = run(delayed(shared.place)(row) for row in range(20))
    assert [total for *_, total in found] == [cell.sum() for cell in X["audio"][:20]]
    places = {(process, place) for process, place, _ in found}
    assert len(places) == len({process for process, _ in places})


# What goes wrong on a cluster


def slow(folder, number, block):
    (folder / str(number)).touch()
    time.sleep(0.3)
    return number + float(block.sum())


def test_an_interrupted_run_leaves_nothing_on_the_cluster(client, tmp_path):
    block = np.ones(500)
    tasks = (delayed(slow)(tmp_path, number, block) for number in range(40))
    with client.as_current(), joblib.parallel_config("dask"):
        with pytest.raises(KeyboardInterrupt), interrupted_after(0.8):
            run(tasks)
        time.sleep(0.4)  # what was at work ends
        begun = len(list(tmp_path.iterdir()))
        time.sleep(0.8)
        assert len(list(tmp_path.iterdir())) == begun < 40
        assert not any(client.processing().values())
        tasks = (delayed(slow)(tmp_path, number, block) for number in range(3))
        assert run(tasks) == [500.0, 501.0, 502.0]
    assert len(client.scheduler_info()["workers"]) == 2


def test_an_error_leaves_nothing_on_the_cluster(client, tmp_path):
    tasks = [delayed(slow)(tmp_path, 0, None)]
    tasks += [delayed(slow)(tmp_path, number, np.ones(500)) for number in range(1, 40)]
    with client.as_current(), joblib.parallel_config("dask"):
        with pytest.raises(AttributeError, match="sum"):
            run(tasks)
        time.sleep(0.4)
        begun = len(list(tmp_path.iterdir()))
        time.sleep(0.8)
        assert len(list(tmp_path.iterdir())) == begun < 40


def die_once(folder, number):
    mark = folder / "died"
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_run_survives_a_worker(client, tmp_path):
    with client.as_current(), joblib.parallel_config("dask"):
        found = run(delayed(die_once)(tmp_path, number) for number in range(8))
    assert found == list(range(8))
    assert (tmp_path / "died").exists()
    client.wait_for_workers(2, timeout=30)


def die(block):
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def test_data_that_died_with_a_worker_are_spoken_of(client):
    blocks = [np.full(50_000, float(number)) for number in range(6)]
    with (
        client.as_current(),
        joblib.parallel_config("dask"),
        pytest.raises(RuntimeError, match="a worker died, and with it data"),
    ):
        run(delayed(die)(block) for block in blocks)
    client.wait_for_workers(2, timeout=30)


def test_predictions_survive_a_worker(client, tmp_path):
    X, y = table()
    model = late().fit(X, y)
    mark = tmp_path / "died"

    def read(part):
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return part

    parts = dd.from_map(read, [X[:20], X[20:40], X[40:]], meta=X[:0])
    with client.as_current():
        found = predict_in_blocks(model, parts).compute()
    assert mark.exists()
    assert (found.to_numpy() == model.predict(X)).all()
    client.wait_for_workers(2, timeout=30)
