"""Linear machines on tables that are somewhere else: files, Dask, workers that end."""

import gc
import os
import pickle
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import dask
import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from test_linear_mkl import MODALITIES, MODELS, NAMES, N, assert_same_bits, decide, lose, make

from mkfusion import _blocks, _parquet_blocks
from mkfusion.distributed import predict_in_blocks
from mkfusion.mkl import (
    LinearMKLClassifier,
    ModalityFourierFeatures,
    _linear_rows,
    mkl_path,
)

ROWS = 18  # in a block, where all are cut alike
NAN = np.nan
over_models = pytest.mark.parametrize("name", ["logistic", "cosine", "numbers", "nystroem"])


@pytest.fixture(params=["no cluster", "cluster"])
def anywhere(request):
    """Run a test by Dask's own scheduler, and on the cluster."""
    return request.getfixturevalue("client") if request.param == "cluster" else None


@pytest.fixture
def cut(monkeypatch):
    """Cut arrays and files as the partitions are."""
    monkeypatch.setattr(_blocks, "NUMBERS", ROWS * len(NAMES))
    monkeypatch.setattr(_parquet_blocks, "NUMBERS", ROWS * (len(NAMES) + 2))


def table(name, seed):
    """Return a frame of features with a target and a weight as its last columns."""
    X, labels, numbers = make(seed, 3)
    y = labels if isinstance(MODELS[name], LinearMKLClassifier) else numbers
    weight = np.random.default_rng(seed).uniform(0.5, 2, N)
    return pd.DataFrame(X, columns=NAMES).assign(target=y, load=weight)


def beside(full):
    """Return features, target and weight as arrays."""
    return full[NAMES].to_numpy(), full["target"].to_numpy(), full["load"].to_numpy()


def assert_near(found, wanted, atol=1e-10):
    size = max(1.0, np.abs(wanted.coef_).max())
    assert_allclose(found.kernel_weights_, wanted.kernel_weights_, rtol=0, atol=atol)
    assert_allclose(found.coef_, wanted.coef_, rtol=0, atol=atol * size)
    assert_allclose(found.intercept_, wanted.intercept_, rtol=0, atol=atol * size)


def written(full, folder, ends=(36, 54, N), row_group_size=7):
    """Write a table as several files of several row groups."""
    folder.mkdir()
    for i, (start, stop) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
        part = pa.Table.from_pandas(full[start:stop], preserve_index=False)
        pq.write_table(part, folder / f"part.{i}.parquet", row_group_size=row_group_size)
    return folder


def partitions(frames, meta=None):
    """Return a Dask DataFrame of these partitions."""
    parts = [dask.delayed(frame, traverse=False) for frame in frames]
    return dd.from_delayed(parts, meta=frames[0][:0] if meta is None else meta, verify_meta=False)


def of_array(full, folder):
    return beside(full)


def of_mapped(full, folder):
    for name, values in zip("Xyw", beside(full), strict=True):
        np.save(folder / f"{name}.npy", values.astype("U3") if values.dtype == object else values)
    return tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in "Xyw")


def of_parquet(full, folder):
    return written(full, folder / "table", row_group_size=6), "target", "load"


def of_dataset(full, folder):
    files = written(full.drop(columns="load"), folder / "table", row_group_size=6)
    return ds.dataset(files), "target", full["load"].tolist()


def of_dask_array(full, folder):
    X, y, weight = beside(full)
    chunks = [da.from_array(own, chunks=ROWS) for own in (y, weight)]
    return da.from_array(X, chunks=(ROWS, 2)), *chunks


def of_dask_frame(full, folder):
    return dd.from_pandas(full, chunksize=ROWS), "target", "load"


def of_dask_frame_beside(full, folder):
    table = dd.from_pandas(full, chunksize=ROWS)
    return table[NAMES], table["target"], full["load"].to_numpy()


SOURCES = {
    "mapped": of_mapped,
    "parquet": of_parquet,
    "dataset": of_dataset,
    "dask array": of_dask_array,
    "dask frame": of_dask_frame,
    "dask frame, apart": of_dask_frame_beside,
}
over_sources = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())


def fitted(name, source):
    """Return a model, fitted to a source of X, y and weights."""
    X, y, weight = source
    return clone(MODELS[name]).fit(X, y, sample_weight=weight)


# The same wherever the rows are --------------------------------------------------------------


@over_models
@over_sources
def test_alike_cut_the_bits_are_the_same(source, name, cut, global_seed, tmp_path):
    full = table(name, global_seed)
    wanted = fitted(name, of_array(full, tmp_path))
    found = fitted(name, source(full, tmp_path))
    assert_same_bits(found, wanted)
    assert_array_equal(decide(found, full[NAMES].to_numpy()), decide(wanted, beside(full)[0]))


@pytest.mark.parametrize("name", ["cosine", "numbers"])
def test_on_workers_the_bits_are_the_same(name, cut, client, global_seed, tmp_path):
    full = table(name, global_seed)
    full[NAMES] = lose(full[NAMES].to_numpy(), global_seed)[0]
    wanted = fitted(name, of_array(full, tmp_path))
    for source in (of_dask_array, of_dask_frame, of_dask_frame_beside):
        assert_same_bits(fitted(name, source(full, tmp_path)), wanted)
    X, y, weight = of_dask_frame(full, tmp_path)
    assert_same_bits(fitted(name, (X.persist(), y, weight)), wanted)
    if name == "numbers":
        with joblib.parallel_config("dask"):
            model = clone(MODELS[name]).set_params(n_jobs=2)
            assert_same_bits(model.fit(*of_parquet(full, tmp_path)), wanted)


def test_worker_processes_of_joblib_change_no_bit(cut, global_seed, tmp_path):
    full = table("numbers", global_seed)
    wanted = fitted("numbers", of_array(full, tmp_path))
    model = clone(MODELS["numbers"]).set_params(n_jobs=2)
    with joblib.parallel_config("loky"):
        for source in (of_mapped, of_parquet):
            assert_same_bits(model.fit(*source(full, tmp_path)), wanted)


@over_models
def test_cut_otherwise_all_but_the_rounding_is_the_same(name, global_seed, tmp_path):
    full = table(name, global_seed)
    X, y, weight = beside(full)
    wanted = clone(MODELS[name]).fit(X, y, sample_weight=weight)
    others = {
        "files": (written(full, tmp_path / "table", (5, 6, N), 11), "target", "load"),
        "one file": (written(full, tmp_path / "whole", (N,)) / "part.0.parquet", "target", "load"),
        "chunks": (da.from_array(X, chunks=((40, 50), (1, 5))), y, weight),
        "partitions": (partitions([full[:1], full[1:77], full[77:]]), "target", "load"),
    }
    for given in others.values():
        found = fitted(name, given)
        assert_near(found, wanted)
        assert found.n_iter_ == wanted.n_iter_
        assert_allclose(found.scales_["video"], wanted.scales_["video"], rtol=1e-12)


def test_what_is_known_of_the_columns_goes_with_the_machine(global_seed, tmp_path):
    full = table("logistic", global_seed)
    model = LinearMKLClassifier().fit(written(full, tmp_path / "table"), "target", "load")
    assert list(model.feature_names_in_) == NAMES
    assert model.n_features_in_ == 6
    assert list(model.modality_weights_) == ["audio", "video", "text"]
    assert model.modalities_["video"] == NAMES[2:5]
    with pytest.raises(ValueError, match="same order"):
        model.predict(full[NAMES[::-1]])
    with pytest.raises(ValueError, match="unseen at fit time:\n- load\n- target"):
        model.predict(full)
    same = pickle.loads(pickle.dumps(model))
    assert_array_equal(same.predict(full[NAMES]), model.predict(full[NAMES]))


@pytest.mark.parametrize("name", ["logistic", "numbers"])
def test_a_path_reads_files_and_partitions(name, cut, anywhere, global_seed, tmp_path):
    full = table(name, global_seed)
    X, y, weight = beside(full)
    wanted = mkl_path(MODELS[name], X, y, sample_weight=weight, values=[0.1, 1.0])
    for source in (of_parquet, of_dask_frame):
        X, y, weight = source(full, tmp_path)
        found = mkl_path(MODELS[name], X, y, sample_weight=weight, values=[0.1, 1.0])
        for a, b in zip(found, wanted, strict=True):
            assert_array_equal(a, b)


def test_new_samples_by_partitions(anywhere, global_seed):
    full = table("logistic", global_seed)
    model = clone(MODELS["logistic"]).set_params(modalities=None)
    X = dd.from_pandas(full, chunksize=40)
    model.fit(X, "target", "load")
    found = predict_in_blocks(model, X[NAMES]).compute()
    assert_array_equal(found, model.predict(full[NAMES]))
    proba = predict_in_blocks(model, X[NAMES], method="predict_proba").compute()
    assert_allclose(proba, model.predict_proba(full[NAMES]), rtol=1e-12)
    with pytest.raises(TypeError, match="predict_in_blocks"):
        model.predict(X[NAMES])


def test_features_are_made_out_of_core(cut, anywhere, global_seed, tmp_path):
    full = table("logistic", global_seed)
    features = ModalityFourierFeatures(n_components=6, random_state=global_seed)
    model = LinearMKLClassifier(features=features, norm=2)
    wanted = clone(model).fit(full[NAMES], full["target"], sample_weight=full["load"])
    for source in (of_parquet, of_dask_frame):
        found = clone(model).fit(*source(full, tmp_path))
        assert_same_bits(found, wanted)
        assert_array_equal(
            found.features_.transform(full[NAMES]), wanted.features_.transform(full[NAMES])
        )
        assert found.coef_.shape == (3, 18)


def test_features_are_learnt_from_rows_of_every_block(cut, monkeypatch, global_seed, tmp_path):
    """Of a sorted table too, and never of more than the limit."""
    from mkfusion.mkl import _linear

    monkeypatch.setattr(_linear, "SAMPLE", 23)
    seen = []

    class Noting(ModalityFourierFeatures):
        def fit(self, X, y=None):
            seen.append(X)
            return super().fit(X, y)

    full = table("logistic", global_seed).sort_values("target", ignore_index=True)
    model = LinearMKLClassifier(features=Noting(n_components=4, random_state=0))
    model.fit(written(full, tmp_path / "table", row_group_size=6), "target", "load")
    (rows,) = seen
    assert len(rows) <= 23
    blocks = [full[NAMES][start : start + ROWS] for start in range(0, N, ROWS)]
    for block in blocks:
        assert len(block.merge(rows, on=NAMES)) == 23 // len(blocks)


# Partitions of every kind ---------------------------------------------------------------------


def test_a_class_may_be_absent_from_a_partition(cut, anywhere, global_seed, tmp_path):
    full = table("logistic", global_seed).sort_values("target", ignore_index=True)
    full["target"] = full["target"].replace("cow", "a longer name")
    wanted = fitted("logistic", of_array(full, tmp_path))
    for source in (of_parquet, of_dask_frame, of_dask_array):
        found = fitted("logistic", source(full, tmp_path))
        assert_same_bits(found, wanted)
        assert_array_equal(found.classes_, ["a longer name", "ant", "bee"])


@pytest.mark.parametrize("name", ["cosine", "numbers"])
def test_empty_partitions_are_nothing(name, anywhere, global_seed, tmp_path):
    full = table(name, global_seed)
    wanted = fitted(name, of_array(full, tmp_path))
    frames = [full[:0], full[:40], full[:0], full[40:], full[:0]]
    assert_near(fitted(name, (partitions(frames), "target", "load")), wanted)
    y = full["target"].to_numpy(dtype="U3" if full["target"].dtype == object else None)
    X, y, weight = (
        da.from_array(values, chunks=((0, 40, 0, 50),) + (-1,) * (values.ndim - 1))
        for values in (full[NAMES].to_numpy(), y, full["load"].to_numpy())
    )
    assert_near(fitted(name, (X, y, weight)), wanted)


@over_models
def test_empty_files_are_nothing(name, global_seed, tmp_path):
    full = table(name, global_seed)
    wanted = fitted(name, of_array(full, tmp_path))
    assert_near(
        fitted(name, (written(full, tmp_path / "t", (0, 40, 40, N)), "target", "load")), wanted
    )


@pytest.mark.parametrize("name", ["logistic", "numbers", "nystroem"])
def test_no_rows_at_all_are_refused(name, tmp_path):
    full = table(name, 0)[:0]
    for X in (partitions([full, full]), written(full, tmp_path / "table", (0, 0))):
        with pytest.raises(ValueError, match="X has no rows; nothing can be learnt from it"):
            fitted(name, (X, "target", "load"))


def test_a_partition_whose_rows_all_weigh_nothing(anywhere, global_seed):
    full = table("squared", global_seed)
    full.loc[20:39, "load"] = 0.0
    wanted = fitted("squared", of_array(full.drop(index=range(20, 40)), None))
    frames = [full[:20], full[20:40], full[40:]]
    assert_near(fitted("squared", (partitions(frames), "target", "load")), wanted)


LABELS = {
    "text": lambda y: y,
    "category": lambda y: y.astype("category"),
    "string": lambda y: y.astype("string"),
    "bool": lambda y: y == "ant",
    "whole": lambda y: y.map({"ant": 4, "bee": 2, "cow": -7}),
    "nullable": lambda y: y.map({"ant": 4, "bee": 2, "cow": -7}).astype("Int64"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_in_columns(kind, tmp_path):
    full = table("logistic", 0)
    full["target"] = LABELS[kind](full["target"])
    plain = np.array(full["target"].tolist())
    wanted = clone(MODELS["logistic"]).fit(full[NAMES].to_numpy(), plain, full["load"])
    for X in (dd.from_pandas(full, npartitions=3), written(full, tmp_path / "table")):
        found = fitted("logistic", (X, "target", "load"))
        assert found.classes_.tolist() == wanted.classes_.tolist()
        assert_near(found, wanted)
        assert (
            found.predict(full[NAMES].to_numpy()).tolist()
            == wanted.predict(full[NAMES].to_numpy()).tolist()
        )


# Refusals -------------------------------------------------------------------------------------


def changed(**columns):
    """Return three partitions, the last with other columns."""
    full = table("logistic", 0)
    return [full[:30], full[30:60], full[60:].assign(**columns)]


WRONG_PARTITIONS = {
    "NaN": (
        lambda: changed(video__1=lambda f: f.video__1.mask(f.index == 70)),
        ValueError,
        r"\Apartition 2: modality 'video': .*NaN",
    ),
    "infinity": (
        lambda: changed(text__0=np.inf),
        ValueError,
        r"\Apartition 2: modality 'text': .*infinity",
    ),
    "text": (
        lambda: changed(text__0="a word"),
        ValueError,
        r"\Apartition 2: columns of another type than in the table: 'text__0' is",
    ),
    "no label": (
        lambda: changed(target=lambda f: f.target.mask(f.index == 70)),
        ValueError,
        r"\Apartition 2: Input y contains NaN: the label of 1 samples is missing",
    ),
    "no weight": (
        lambda: changed(load=NAN),
        ValueError,
        r"\Apartition 2: sample_weight must be finite",
    ),
    "negative weight": (
        lambda: changed(load=-1.0),
        ValueError,
        r"\Apartition 2: Negative values in data passed to `sample_weight`",
    ),
    "a column more": (
        lambda: changed(text__1=0.0),
        ValueError,
        r"\Apartition 2: has the columns 'text__1', which the table has not",
    ),
    "a column less": (
        lambda: [*changed()[:2], changed()[2].drop(columns="text__0")],
        ValueError,
        r"\Apartition 2: lacks the columns 'text__0'",
    ),
    "another order": (
        lambda: [*changed()[:2], changed()[2][["load", "target", *NAMES]]],
        ValueError,
        r"\Apartition 2: the columns .* stand in another order",
    ),
    "nobody": (
        lambda: changed(**dict.fromkeys(NAMES, NAN)),
        ValueError,
        "30 samples have none of the modalities 'audio', 'video', 'text'",
    ),
}


@pytest.mark.parametrize("case", WRONG_PARTITIONS)
def test_what_is_wrong_with_one_partition_is_told(case):
    check_refusal(case)


@pytest.mark.parametrize("case", ["NaN", "text", "a column less", "nobody"])
def test_what_is_wrong_with_one_partition_is_told_by_workers(case, client):
    check_refusal(case)


def check_refusal(case):
    frames, kind, message = WRONG_PARTITIONS[case]
    X = partitions(frames())
    model = LinearMKLClassifier()
    model.fit(dd.from_pandas(table("logistic", 0), npartitions=2), "target", "load")
    with pytest.raises(kind, match=message):
        model.fit(X, "target", "load")
    with pytest.raises(NotFittedError):
        model.predict(table("logistic", 0)[NAMES])


def test_what_is_wrong_with_one_file_is_told(tmp_path):
    full = table("logistic", 0)
    full.loc[80, "video__1"] = np.inf
    folder = written(full, tmp_path / "table")
    message = r"\Arows 0 to 35 of part\.2\.parquet: modality 'video': .*infinity"
    with pytest.raises(ValueError, match=message):
        LinearMKLClassifier().fit(folder, "target", "load")
    for given, word in (
        ({"y": "label"}, "y='label'"),
        ({"sample_weight": "w"}, "sample_weight='w'"),
    ):
        with pytest.raises(
            ValueError, match=f"{word} is no column of X; the columns are 'audio__0'"
        ):
            LinearMKLClassifier().fit(folder, **{"y": "target", **given})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        LinearMKLClassifier().fit(tmp_path / "nowhere", "target")


def test_targets_that_do_not_go_with_the_partitions():
    full = table("logistic", 0)
    X = dd.from_pandas(full[NAMES], npartitions=3)
    with pytest.raises(ValueError, match="X has 90, y has 89"):
        LinearMKLClassifier().fit(X, full["target"][:-1])
    with pytest.raises(ValueError, match="y must be partitioned as X"):
        LinearMKLClassifier().fit(X, dd.from_pandas(full["target"], npartitions=2))
    with pytest.raises(ValueError, match="class labels, got None"):
        LinearMKLClassifier().fit(X, None)
    with pytest.raises(ValueError, match=r"y has one class \('ant'\)"):
        LinearMKLClassifier().fit(
            dd.from_pandas(full.assign(target="ant"), npartitions=3), "target", "load"
        )


@pytest.mark.parametrize("kind", [str, object])
def test_labels_of_two_kinds_cannot_stand_side_by_side(kind):
    """One partition has numbers and the next has words."""
    X, y, _ = make(0)
    codes = np.unique(y, return_inverse=True)[1]
    labels = da.concatenate(
        [
            da.from_array(codes[:30], chunks=30),
            da.from_delayed(dask.delayed(y[30:].astype(kind)), (60,), dtype=codes.dtype),
        ]
    )
    with pytest.raises(TypeError, match="y holds labels that cannot stand side by side: 0, 1, 'a"):
        LinearMKLClassifier(MODALITIES).fit(da.from_array(X, chunks=((30, 60), -1)), labels)


# Workers that end, fits that are ended ----------------------------------------------------------


@pytest.mark.parametrize(("name", "call"), [("logistic", 4), ("numbers", 1)])
def test_a_worker_may_die_on_the_way(name, call, cut, client, global_seed, tmp_path):
    full = table(name, global_seed)
    wanted = fitted(name, of_array(full, tmp_path))
    folder = tmp_path / "calls"
    folder.mkdir()

    def made(start):
        if start == 2 * ROWS:
            (folder / f"{os.urandom(8).hex()}").touch()
            if len(list(folder.iterdir())) == call:
                os._exit(1)
        return full[start : start + ROWS]

    parts = [dask.delayed(made, pure=False)(start) for start in range(0, N, ROWS)]
    X = dd.from_delayed(parts, meta=full[:0], verify_meta=False)
    assert_same_bits(fitted(name, (X, "target", "load")), wanted)
    assert len(list(folder.iterdir())) > call
    client.wait_for_workers(2)


def test_that_a_partition_ends_every_worker_is_told(client):
    full = table("logistic", 0)

    def made(start):
        if start == ROWS:
            os._exit(1)
        return full[start : start + ROWS]

    parts = [dask.delayed(made, pure=False)(start) for start in range(0, N, ROWS)]
    X = dd.from_delayed(parts, meta=full[:0], verify_meta=False)
    model = clone(MODELS["logistic"])
    # What waited on the worker that died is suspected too, by Dask.
    with pytest.raises(RuntimeError, match=r"\Apartition [0-4]: KilledWorker: "):
        model.fit(X, "target", "load")
    with pytest.raises(NotFittedError):
        model.predict(full[NAMES].to_numpy())
    client.wait_for_workers(2)


@pytest.mark.parametrize("call", [1, 3])
def test_an_ended_fit_leaves_nothing_behind(
    call, cut, anywhere, monkeypatch, global_seed, tmp_path
):
    full = table("logistic", global_seed)
    wanted = fitted("logistic", of_array(full, tmp_path))
    model = clone(MODELS["logistic"]).fit(*of_dask_frame(full, tmp_path))
    calls = []

    def ended(*args):
        calls.append(None)
        if len(calls) == call:
            raise KeyboardInterrupt
        return passed(*args)

    passed = _linear_rows.BlockedRows.terms
    with monkeypatch.context() as patched:
        patched.setattr(_linear_rows.BlockedRows, "terms", ended)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*of_dask_frame(full, tmp_path))
    with pytest.raises(NotFittedError):
        model.predict(full[NAMES].to_numpy())
    assert_same_bits(model.fit(*of_dask_frame(full, tmp_path)), wanted)
    gc.collect()
    deadline = time.monotonic() + 20
    while anywhere is not None and anywhere.futures and time.monotonic() < deadline:
        time.sleep(0.05)
    assert anywhere is None or not anywhere.futures


# Memory -----------------------------------------------------------------------------------------

LIMITED = """
    import resource, sys
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from mkfusion import _parquet_blocks
    from mkfusion.mkl import LinearMKLClassifier

    def load(path):
        if path.endswith(".npy"):
            return np.array(np.load(path, mmap_mode="r"))
        import pyarrow.parquet as pq
        batches = pq.ParquetFile(path).iter_batches(2**13, use_threads=False)
        return np.concatenate([batch.to_pandas().to_numpy() for batch in batches])

    def fit(path, y):
        X = np.load(path, mmap_mode="r") if path.endswith(".npy") else path
        modalities = {"signal": slice(0, 16), "noise": slice(16, 64)}
        return LinearMKLClassifier(modalities, loss="squared", tol=0.05).fit(X, y)

    small, large, labels = sys.argv[1:]
    _parquet_blocks.NUMBERS = 2**19  # of a table that takes seconds and not minutes to write
    y = np.load(labels)
    fit(small, y[:1000])  # what is loaded and made once
    LogisticRegression(max_iter=1).fit(load(small), y[:1000])
    with open("/proc/self/status") as file:
        used = next(int(line.split()[1]) for line in file if line.startswith("VmData"))
    limit = used * 1024 + 2**26
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    model = fit(large, y)
    assert model.modality_weights_["signal"] > 0.9, model.modality_weights_
    assert model.duality_gap_ <= 0.05 * model.objective_
    try:
        LogisticRegression(max_iter=1).fit(load(large), y)
    except MemoryError:
        print("does not fit into memory")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.parametrize("kind", ["npy", "parquet"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_table_that_is_larger_than_the_memory(kind, tmp_path):
    """Twice what the process may take more; loaded, the same table is refused by the system."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2**18, 64))
    y = X[:, :16].sum(axis=1) + rng.normal(size=len(X)) > 0
    assert X.nbytes == 2**27
    names = [f"x{j}" for j in range(64)]
    for path, rows in ((tmp_path / f"small.{kind}", 1000), (tmp_path / f"large.{kind}", len(X))):
        if kind == "npy":
            np.save(path, X[:rows])
        else:
            part = pa.table(dict(zip(names, X[:rows].T, strict=True)))
            options = {"compression": None, "use_dictionary": False, "row_group_size": 2**15}
            pq.write_table(part, path, **options)
    np.save(tmp_path / "y.npy", y)
    paths = [tmp_path / f"small.{kind}", tmp_path / f"large.{kind}", tmp_path / "y.npy"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(LIMITED), *map(str, paths)],
        capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(_blocks.__file__).parents[1]),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "does not fit into memory\n"


# A model of some rows -------------------------------------------------------------------------


def test_the_model_of_some_rows_weighs_as_all_however_they_are_cut(global_seed):
    rng = np.random.default_rng(global_seed)
    Z = rng.normal(size=(4000, 2))
    reader = _linear_rows.Reader(
        {"a": [0], "b": [1]}, None, {"a": slice(0, 1), "b": slice(1, 2)}, False
    )
    W, b = np.zeros((2, 1)), np.zeros(1)
    for rows in (4000, 100, 3):
        blocks = _blocks.open_blocks(Z, Z[:, 0], rows=rows)
        found = _linear_rows.survey(blocks, reader, True)
        some = _linear_rows.BlockedRows(blocks, reader, "squared", np.ones(2), found, None, None)
        assert some.every > 100
        counted = some.grams(W, b, True, False)[0, 2, 2]
        assert counted == pytest.approx(some.grams(W, b, True, True)[0, 2, 2])


def test_blocks_are_joined_as_they_come(global_seed):
    rng = np.random.default_rng(global_seed)
    Z = rng.normal(size=(90, 2)) + np.where(np.arange(90) < 30, 1e6, 0.0)[:, None]
    labels = np.repeat(["x", "y", "z"], 30)  # each block has one class, and the first is far away
    reader = _linear_rows.Reader(
        {"a": [0], "b": [1]}, None, {"a": slice(0, 1), "b": slice(1, 2)}, False
    )
    found = _linear_rows.survey(_blocks.open_blocks(Z, labels, rows=30), reader, False)
    np.testing.assert_array_equal(found.classes, ["x", "y", "z"])
    np.testing.assert_array_equal(found.weights, [30.0, 30.0, 30.0])
    np.testing.assert_allclose(found.mean, Z.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.squares, Z.var(axis=0), rtol=1e-12)
    wanted = [(Z[labels == k] - Z.mean(axis=0)).sum(axis=0) for k in "xyz"]
    np.testing.assert_allclose(found.features.T, wanted, rtol=1e-9, atol=1e-3)
