"""Blocks of rows: every source is cut as it says, and no engine changes a bit of a sum."""

import pickle
import subprocess
import sys
import threading
import time

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
from block_work import (
    ToldError,
    Weights,
    dies,
    end_worker,
    fails,
    moments,
    n_rows,
    refuses_nan,
    slowly,
    unreadable,
    weigh,
    whole,
)
from interruptions import interrupted_after
from numpy.testing import assert_array_equal
from scipy import sparse

from mkfusion._blocks import open_blocks
from mkfusion._row_blocks import Sealed, aligned

N_ROWS, N_COLUMNS, ROWS = 1000, 7, 96
NAMES = [f"audio__{j}" for j in range(N_COLUMNS)]


@pytest.fixture(params=["no cluster", "cluster"])
def anywhere(request):
    """Run a test by Dask's own scheduler, and on the cluster."""
    return request.getfixturevalue("client") if request.param == "cluster" else None


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(N_ROWS, N_COLUMNS)) * 10.0 ** rng.integers(-6, 6, size=N_COLUMNS)
    return X, rng.choice(["yes", "no"], N_ROWS), rng.uniform(size=N_ROWS)


@pytest.fixture(scope="module")
def frame(table):
    return pd.DataFrame(table[0], columns=NAMES)


def stacked(blocks):
    """Return the features, targets and weights of all blocks as arrays."""
    X, y, weight = zip(*blocks.map(whole), strict=True)
    rows = [part.toarray() if sparse.issparse(part) else np.asarray(part) for part in X]
    return np.concatenate(rows), np.concatenate(y), np.concatenate(weight)


def in_order(table, w, rows=ROWS):
    """Return the sums of all blocks, made by hand from the first to the last."""
    total = None
    for start in range(0, N_ROWS, rows):
        X, y, weight = (np.ascontiguousarray(part[start : start + rows]) for part in table)
        part = (X.T @ (weight * (X @ w)), float((X @ w).sum()), np.sum(y == "yes"))
        total = part if total is None else tuple(a + b for a, b in zip(total, part, strict=True))
    return total


def assert_same_bits(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert_array_equal(a, b, strict=True)


def of_array(X, folder):
    return X


def of_mapped(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def of_sparse(X, folder):
    return sparse.coo_array(X)


def of_frame(X, folder):
    return pd.DataFrame(X, columns=NAMES)


def of_parquet(X, folder):
    pq.write_table(pa.table(of_frame(X, folder)), folder / "X.parquet", row_group_size=40)
    return folder / "X.parquet"


SOURCES = {
    "array": of_array,
    "mapped": of_mapped,
    "sparse": of_sparse,
    "frame": of_frame,
    "parquet": of_parquet,
}
by_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
ENGINES = {"serial": (None, None), "threads": ("threading", 2), "processes": ("loky", 2)}
by_engine = pytest.mark.parametrize(("backend", "n_jobs"), ENGINES.values(), ids=ENGINES.keys())


# Cuts


@by_source
def test_blocks_are_the_table(source, table, tmp_path):
    X, y, weight = table
    blocks = open_blocks(source(X, tmp_path), y, weight, rows=80)
    found = stacked(blocks)
    for part, wanted in zip(found, table, strict=True):
        assert_array_equal(part, wanted)
    assert blocks.map(n_rows) == [80] * 12 + [40]
    suffix = " of X.parquet" if source is of_parquet else ""
    assert blocks.names[0] == f"rows 0 to 79{suffix}"
    assert blocks.names[-1] == f"rows 960 to 999{suffix}"
    assert len(blocks.names) == 13
    first = blocks.map(whole)[0].X
    assert type(blocks.head) is type(first)
    assert blocks.head.shape[1] == N_COLUMNS
    if isinstance(first, pd.DataFrame):
        pd.testing.assert_frame_equal(blocks.head, first[: len(blocks.head)])


@by_source
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_cuts_do_not_depend_on_jobs(source, n_jobs, table, tmp_path):
    blocks = open_blocks(source(table[0], tmp_path), rows=150, n_jobs=n_jobs)
    assert len(blocks.names) == len(blocks.map(whole))
    assert sum(blocks.map(n_rows)) == N_ROWS
    assert blocks.names == open_blocks(source(table[0], tmp_path), rows=150).names


def test_a_block_holds_about_eight_million_numbers():
    wide = np.broadcast_to(np.float32(1), (10_000, 2**13))
    assert open_blocks(wide).map(n_rows) == [1024] * 9 + [784]
    assert len(open_blocks(np.ones((10, 3))).names) == 1
    # Of a sparse matrix, numbers that are stored.
    assert len(open_blocks(sparse.eye_array(10_000, 2**13, format="csr")).names) == 1


def test_last_row_alone(table):
    blocks = open_blocks(table[0], rows=N_ROWS - 1)
    assert blocks.names == ["rows 0 to 998", "row 999"]
    assert blocks.map(n_rows) == [999, 1]


def test_a_column_may_be_the_target_and_another_the_weight(frame, table, tmp_path):
    _, y, weight = table
    full = frame.assign(label=y, load=weight)
    full.to_parquet(tmp_path / "full.parquet")
    for source in (full, tmp_path / "full.parquet", dd.from_pandas(full, npartitions=4)):
        blocks = open_blocks(source, "label", "load", rows=300)
        found = stacked(blocks)
        for part, wanted in zip(found, table, strict=True):
            assert_array_equal(part, wanted)
        assert list(blocks.head.columns) == NAMES
        assert all(list(block.X.columns) == NAMES for block in blocks.map(whole))


def test_one_weight_for_all(frame):
    for source in (frame, frame.to_numpy(), dd.from_pandas(frame, npartitions=2)):
        weights = [block.weight for block in open_blocks(source, sample_weight=2).map(whole)]
        assert_array_equal(np.concatenate(weights), np.full(N_ROWS, 2.0), strict=True)


def test_nothing_beside_the_features(frame):
    assert all(block.y is None and block.weight is None for block in open_blocks(frame).map(whole))


# Sums


@by_engine
@by_source
def test_sums_are_the_same_bits_everywhere(source, backend, n_jobs, table, tmp_path):
    X, y, weight = table
    w = np.random.default_rng(1).normal(size=N_COLUMNS)
    with joblib.parallel_config(backend or "sequential"):
        blocks = open_blocks(source(X, tmp_path), y, weight, rows=80, n_jobs=n_jobs)
        found = blocks.sum(moments, w)
    if source in (of_frame, of_parquet):  # a frame's numbers stand by columns
        wanted = open_blocks(of_frame(X, tmp_path), y, weight, rows=80).sum(moments, w)
        np.testing.assert_allclose(wanted[0], in_order(table, w, 80)[0], rtol=1e-9)
    else:
        wanted = in_order(table, w, 80)
    assert_same_bits(found, wanted)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_terms_are_added_from_the_first_to_the_last(n_jobs):
    terms = np.array([1e16, 1.0, 1.0, 1.0, 1.0, -1e16, 0.5])
    blocks = open_blocks(terms[:, None], rows=1, n_jobs=n_jobs)
    total = 0.0
    for term in terms:
        total += term
    assert total == 0.5  # by pairs, or from the last to the first, it is not
    assert blocks.sum(lambda block: (block.X[0, 0],)) == (total,)


def test_a_sum_of_one_block_and_arrays_of_any_shape(table):
    blocks = open_blocks(table[0])
    assert blocks.sum(lambda block: (len(block.X), block.X[:2], block.X.max())) == (
        N_ROWS,
        pytest.approx(table[0][:2]),
        table[0].max(),
    )


def test_a_sum_needs_a_tuple(table):
    with pytest.raises(TypeError, match="returns a tuple"):
        open_blocks(table[0], rows=500).sum(lambda block: block.X.sum())


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_are_summed_as_they_come(n_jobs):
    """Of ten thousand results of a megabyte, few are there at one time."""
    blocks = open_blocks(np.ones((2000, 1)), rows=1, n_jobs=n_jobs)
    alive, most, lock = [0], [0], threading.Lock()

    class Counted:
        def __init__(self):
            with lock:
                alive[0] += 1
                most[0] = max(most[0], alive[0])

        def __del__(self):
            with lock:
                alive[0] -= 1

        def __add__(self, other):
            return self

    blocks.sum(lambda block: (Counted(),))
    assert most[0] < 200


def test_blas_has_one_thread_in_a_block(table):
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads(block):
        return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        found = open_blocks(table[0], rows=500).map(threads)
    assert found
    assert all(counts and set(counts) == {1} for counts in found)


# What is mapped from a file


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_view_of_a_mapped_file(order, table, tmp_path):
    np.save(tmp_path / "X.npy", np.asarray(table[0], order=order))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for view in (mapped, np.asarray(mapped), mapped[::-1], mapped[5::3, 1:], mapped[:, ::-2]):
        blocks = open_blocks(view, rows=64)
        assert_array_equal(np.concatenate([b.X for b in blocks.map(whole)]), view)
        assert all(len(pickle.dumps(piece)) < 1000 for piece in blocks._pieces(0))
        assert not any(block.X.flags.writeable for block in blocks.map(whole))


def test_changes_that_the_file_does_not_hold_are_seen(tmp_path):
    np.save(tmp_path / "X.npy", np.zeros((10, 2)))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="c")
    mapped += 1
    assert open_blocks(mapped, rows=3).sum(lambda block: (block.X.sum(),)) == (20.0,)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    if sys.platform != "win32":  # a file that is gone by name is still mapped
        (tmp_path / "X.npy").unlink()
        assert open_blocks(mapped, rows=3).sum(lambda block: (len(block.X),)) == (10,)


def test_a_mapped_file_is_never_in_memory_as_a_whole(tmp_path):
    """Half a gigabyte that is read adds less than a third of it to the peak."""
    code = f"""
import resource
import numpy as np
from mkfusion._blocks import open_blocks

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

X = np.memmap({str(tmp_path / "X")!r}, np.float64, "w+", shape=(2**16, 2**10))
blocks = open_blocks(X, np.memmap({str(tmp_path / "y")!r}, np.float64, "w+", shape=2**16))
before = peak()
assert blocks.sum(lambda block: (block.X.sum(), len(block.y))) == (0.0, 2**16)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(done.stdout) < 170


# Errors


@pytest.mark.parametrize(
    ("kind", "raised", "text", "backend", "n_jobs"),
    [
        (ValueError, ValueError, "X holds NaN", "sequential", None),
        (UnicodeError, ValueError, "X holds NaN", "sequential", None),
        (TypeError, TypeError, "X holds NaN", "threading", 2),
        (MemoryError, MemoryError, "X holds NaN", "sequential", None),
        (ToldError, RuntimeError, "ToldError: X holds NaN", "threading", 2),
        (ValueError, ValueError, "X holds NaN", "loky", 2),
    ],
)
def test_an_error_names_the_block(kind, raised, text, backend, n_jobs):
    X = np.arange(20.0).reshape(10, 2)
    with joblib.parallel_config(backend):
        blocks = open_blocks(X, rows=2, n_jobs=n_jobs)
        with pytest.raises(raised, match=rf"\Arows 4 to 5: {text} in column 'audio__2'\Z") as info:
            blocks.sum(fails, kind, 8.0)
    assert type(info.value) is raised


def test_a_worker_process_that_dies_once_changes_nothing(tmp_path):
    X = np.arange(20.0).reshape(10, 2)
    with joblib.parallel_config("loky"):
        found = open_blocks(X, rows=2, n_jobs=2).sum(dies, str(tmp_path / "died"), 8.0)
    assert (tmp_path / "died").exists()
    assert found == (X.sum(),)


def test_worker_processes_that_die_again_are_told(tmp_path):
    X = np.arange(20.0).reshape(10, 2)
    blocks = open_blocks(X, rows=2, n_jobs=2)
    message = r"\Arows \d to \d, or a block soon after it: 2 worker processes died"
    with joblib.parallel_config("loky"), pytest.raises(RuntimeError, match=message):
        blocks.sum(dies, str(tmp_path / "always"), 8.0)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"y": np.zeros(3)}, "X has 1000, y has 3"),
        ({"sample_weight": np.ones(3)}, "X has 1000, sample_weight has 3"),
        ({"y": "label"}, "y='label' is no column of X; the columns are 'audio__0'"),
        ({"sample_weight": "load"}, "sample_weight='load' is no column of X"),
        ({"y": np.ma.masked_equal(np.arange(N_ROWS), 3)}, "y is a masked array"),
        ({"y": np.array(1.0)}, "y must have a value for each row"),
        ({"sample_weight": -np.ones(N_ROWS)}, "Negative values in data passed"),
        ({"sample_weight": np.full(N_ROWS, np.nan)}, "sample_weight must be fin"),
        ({"sample_weight": ["a"] * N_ROWS}, "sample_weight must hold numbers"),
        ({"sample_weight": np.ones((N_ROWS, 2))}, "Sample weights must be 1D"),
        ({"sample_weight": -1}, "rows 0 to 4.9.*: Negative values in data passed"),
        ({"rows": 0}, "rows must be a whole number, at least 1, got 0"),
        ({"rows": 2.5}, "rows must be a whole number"),
    ],
)
@pytest.mark.parametrize("source", [of_frame, of_parquet])
def test_what_does_not_fit_is_refused(source, beside, message, table, tmp_path):
    with pytest.raises(ValueError, match=message):
        open_blocks(source(table[0], tmp_path), **{"rows": 500, **beside}).map(n_rows)


def test_a_sparse_target_is_refused(table):
    with pytest.raises(TypeError, match=r"y is sparse; pass y.toarray\(\)"):
        open_blocks(table[0], sparse.eye_array(N_ROWS, 1))


@pytest.mark.parametrize("X", [np.ones(3), np.ones((0, 3)), np.ones((2, 0)), [[1], [1, 2]], None])
def test_what_is_no_table_is_refused(X):
    with pytest.raises((ValueError, TypeError)):
        open_blocks(X)


def test_a_name_needs_columns(table):
    with pytest.raises(ValueError, match="y='label' is no column of X"):
        open_blocks(table[0], "label")


def test_inputs_are_not_written_to(table):
    X, y, weight = (part.copy() for part in table)
    for part in (X, y, weight):
        part.flags.writeable = False
    open_blocks(X, y, weight, rows=100).sum(moments, np.ones(N_COLUMNS))
    assert_array_equal(X, table[0])


# Parquet


@pytest.fixture
def folder(frame, table, tmp_path):
    """Three files: small row groups, large ones, and no rows."""
    full = frame.assign(label=table[1])
    full[:400].to_parquet(tmp_path / "p0.parquet", row_group_size=50)
    full[400:].to_parquet(tmp_path / "p1.parquet", row_group_size=250)
    full[:0].to_parquet(tmp_path / "p2.parquet")
    return tmp_path


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_row_groups_are_joined_and_divided(folder, frame, table, n_jobs):
    blocks = open_blocks(str(folder), "label", rows=120, n_jobs=n_jobs)
    cuts = [(0, 99), (100, 199), (200, 299), (300, 399)]
    more = [(0, 119), (120, 239), (240, 249), (250, 369), (370, 489), (490, 499), (500, 599)]
    assert blocks.names == [
        *(f"rows {a} to {b} of p0.parquet" for a, b in cuts),
        *(f"rows {a} to {b} of p1.parquet" for a, b in more),
        "no rows of p2.parquet",
    ]
    assert blocks.map(n_rows) == [*(b - a + 1 for a, b in cuts + more), 0]
    found = blocks.map(whole)
    assert_array_equal(np.concatenate([b.X for b in found]), frame)
    assert_array_equal(np.concatenate([b.y for b in found]), table[1])
    assert list(found[-1].X.columns) == NAMES


def test_a_target_beside_the_files_follows_their_rows(folder):
    numbers = np.arange(float(N_ROWS))
    np.save(folder.parent / "y.npy", numbers)
    for y in (numbers, np.load(folder.parent / "y.npy", mmap_mode="r"), numbers.tolist()):
        found = open_blocks(ds.dataset(folder), y, numbers, rows=70).map(whole)
        assert_array_equal(np.concatenate([b.y for b in found]), numbers)
        assert_array_equal(np.concatenate([b.weight for b in found]), numbers)
        assert all(len(b.y) == len(b.X) for b in found)


def test_folders_that_say_a_column(frame, tmp_path):
    part = np.arange(N_ROWS) % 3
    frame.assign(part=part).to_parquet(tmp_path / "parts", partition_cols=["part"])
    blocks = open_blocks(tmp_path / "parts")
    assert [name.partition("/")[0] for name in blocks.names] == [
        f"rows 0 to {n - 1} of part={i}" for i, n in enumerate(np.bincount(part))
    ]
    assert list(blocks.head.columns) == [*NAMES, "part"]
    for i, block in enumerate(blocks.map(whole)):
        assert_array_equal(block.X, frame.assign(part=part)[part == i])


def test_cells_that_hold_sequences_and_an_index(tmp_path):
    frame = pd.DataFrame(
        {"audio": [np.arange(i + 1.0) for i in range(9)], "video__hue": np.arange(9)},
        index=pd.Index([f"s{i}" for i in range(9)], name="sample"),
    )
    frame.to_parquet(tmp_path / "cells.parquet", row_group_size=2)
    blocks = open_blocks(tmp_path / "cells.parquet", rows=4)
    pd.testing.assert_frame_equal(pd.concat([block.X for block in blocks.map(whole)]), frame)
    pd.testing.assert_frame_equal(blocks.head, frame[: len(blocks.head)])
    assert len(blocks.head) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="audio__2"), r"\Ap3.parquet: lacks the columns 'audio__2'"),
        (lambda f: f.assign(q=1), r"\Ap3.parquet: has the columns 'q', which the table has not"),
        (lambda f: f[f.columns[::-1]], r"\Ap3.parquet: the columns .* stand in another order"),
        (
            lambda f: f.assign(audio__2="x"),
            r"\Ap3.parquet: columns of another type .*'audio__2' is .*string instead of double",
        ),
    ],
)
def test_a_file_with_other_columns_is_named(change, message, folder):
    full = pd.read_parquet(folder / "p0.parquet")
    change(full).to_parquet(folder / "p3.parquet")
    with pytest.raises(ValueError, match=message):
        open_blocks(folder)


def test_files_that_do_not_do(folder, tmp_path_factory, monkeypatch):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ValueError, match="holds no Parquet file"):
        open_blocks(empty)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_blocks(str(empty / "nowhere"))
    (empty / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TypeError, match="must be a data set of Parquet files"):
        open_blocks(ds.dataset(empty / "table.csv", format="csv"))
    with pytest.raises(ValueError, match="filter"):
        open_blocks(ds.dataset(folder).filter(ds.field("audio__0") > 0))
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    with pytest.raises(
        ImportError, match=r"needs pyarrow: python -m pip install \"mkfusion\[parq"
    ):
        open_blocks(str(folder))


def test_a_file_that_vanishes_is_named(folder):
    blocks = open_blocks(folder, rows=120)
    (folder / "p1.parquet").unlink()
    with pytest.raises(RuntimeError, match=r"\Arows 0 to 119 of p1.parquet: FileNotFoundError"):
        blocks.map(n_rows)


# Dask, by its own scheduler and on a cluster


def test_an_array_of_dask_gives_the_bits_of_an_array(anywhere, table):
    X, y, weight = table
    w = np.random.default_rng(1).normal(size=N_COLUMNS)
    wanted = in_order(table, w)
    chunks = [da.from_array(part, chunks=ROWS) for part in table]
    for collection in (chunks[0], da.from_array(X, chunks=(ROWS, 3)), chunks[0].persist()):
        for beside in ((y, weight), chunks[1:]):
            blocks = open_blocks(collection, *beside)
            assert blocks.names == [f"partition {i}" for i in range(11)]
            assert (blocks.head.shape, blocks.head.dtype) == ((0, N_COLUMNS), X.dtype)
            assert_same_bits(blocks.sum(moments, w), wanted)


def test_a_frame_of_dask_gives_the_bits_of_a_frame(anywhere, frame, table):
    X, y, weight = table
    w = np.random.default_rng(1).normal(size=N_COLUMNS)
    wanted = open_blocks(frame, y, weight, rows=100).sum(moments, w)
    X = dd.from_pandas(frame, npartitions=10)
    full = dd.from_pandas(frame.assign(label=y, load=weight), npartitions=10)
    for collection, beside in (
        (X, (y, weight)),
        (X.clear_divisions(), (full["label"].clear_divisions(), full["load"].to_dask_array())),
        (X, (full["label"], full["load"])),
        (full, ("label", "load")),
        (full.persist(), ("label", "load")),
    ):
        blocks = open_blocks(collection, *beside)
        assert list(blocks.head.columns) == NAMES
        assert_same_bits(blocks.sum(moments, w), wanted)


def test_a_sparse_array_of_dask(anywhere, table):
    X = da.from_array(table[0], chunks=(ROWS, -1)).map_blocks(
        sparse.csr_matrix, meta=sparse.csr_matrix((0, 0))
    )
    found = open_blocks(X).map(whole)
    assert all(block.X.format == "csr" for block in found)
    assert_array_equal(np.concatenate([block.X.toarray() for block in found]), table[0])


def test_an_empty_partition_is_a_block_without_rows(anywhere, frame):
    X = dd.from_pandas(frame.assign(place=np.arange(N_ROWS)), npartitions=5)
    X = X[(X.place < 200) | (X.place >= 400)]
    assert open_blocks(X, "place").map(n_rows) == [200, 0, 200, 200, 200]
    bare = X.map_partitions(
        lambda part: part if len(part) else pd.DataFrame(columns=part.columns, dtype=object),
        meta=X._meta,
    )
    blocks = open_blocks(bare, "place")
    assert blocks.map(n_rows) == [200, 0, 200, 200, 200]
    assert list(blocks.map(whole)[1].X.dtypes) == [np.dtype(float)] * N_COLUMNS


def replaced(part, change):
    return change(part) if part.index[0] == 400 else part


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(columns={"audio__2": "z"}), "audio__2"),
        (lambda f: f[f.columns[::-1]], "stand in another order"),
        (lambda f: f.assign(audio__2="x"), "'audio__2' is .* instead of float64"),
    ],
)
def test_a_partition_with_other_columns_is_named(change, message, client, frame):
    parts = [dask.delayed(replaced)(frame[i : i + 200], change) for i in range(0, N_ROWS, 200)]
    X = dd.from_delayed(parts, meta=frame[:0], verify_meta=False)
    with pytest.raises(ValueError, match=rf"(?s)\Apartition 2: .*{message}"):
        open_blocks(X).map(n_rows)


def test_a_chunk_that_is_not_as_it_was_said(anywhere):
    X = da.ones((3, 2), chunks=(3, 2))
    wide = X.map_blocks(lambda part: np.ones((3, 4)), meta=np.empty((0, 0)))
    with pytest.raises(ValueError, match=r"partition 0: a chunk of shape \(3, 4\), where X has 2"):
        open_blocks(wide).map(n_rows)
    text = X.map_blocks(lambda part: part.astype(str), dtype=float)
    with pytest.raises(ValueError, match="partition 0: holds <U32, where X holds float64"):
        open_blocks(text).map(n_rows)


def test_an_error_names_the_partition(anywhere, table):
    X = table[0].copy()
    X[350, 3] = np.nan
    with pytest.raises(ValueError, match=r"\Apartition 3: X holds NaN\Z"):
        open_blocks(da.from_array(X, chunks=(100, -1))).sum(refuses_nan)


def test_a_partition_that_cannot_be_made(anywhere):
    X = da.from_array(np.arange(20.0).reshape(10, 2), chunks=(2, 2)).map_blocks(unreadable, 8.0)
    name = "making a partition of X" if anywhere is None else "partition 2"
    with pytest.raises(RuntimeError, match=rf"\A{name}: OSError: no such disk"):
        open_blocks(X).map(n_rows)


def test_collections_that_do_not_go_together(anywhere, frame, table):
    X, y = da.from_array(table[0], chunks=(100, -1)), table[1]
    cases = [
        (X, da.ones(N_ROWS, chunks=90), "y must be partitioned as X: X has the chunks 100, .*90"),
        (X, y[:7], "X has 1000, y has 7"),
        (X, "label", "y='label' is no column of X"),
        (dd.from_pandas(frame, npartitions=2), da.ones(N_ROWS, chunks=100), "chunks or partiti"),
        (
            dd.from_pandas(frame, npartitions=2),
            dd.from_pandas(frame["audio__1"], npartitions=3),
            "the divisions 0, 500, 999, and y 0, 334, 667, 999",
        ),
    ]
    for collection, target, message in cases:
        with pytest.raises(ValueError, match=message):
            open_blocks(collection, target)
    unknown = dd.from_pandas(frame, npartitions=2)
    halves = da.ones(N_ROWS, chunks=((400, 600),))
    with pytest.raises(ValueError, match=r"\Apartition [01]: .* X has 500, y has [46]00"):
        open_blocks(unknown, halves).map(n_rows)


@pytest.mark.parametrize("X", [da.ones(3), da.ones((2, 2, 2)), dd.from_dict({"a": [1]}, 1)["a"]])
def test_what_is_no_table_of_dask_is_refused(X):
    with pytest.raises(TypeError, match="X must be a Dask DataFrame or a Dask Array of two axes"):
        open_blocks(X)


# What only a cluster can do wrong


def test_an_interrupted_pass_leaves_no_task(client, cluster):
    blocks = open_blocks(da.ones((60, 2), chunks=(1, 2)))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupted_after(1.0):
        blocks.map(slowly)
    assert time.monotonic() - started < 10
    while cluster.scheduler.tasks and time.monotonic() - started < 20:
        time.sleep(0.05)
    assert not cluster.scheduler.tasks
    assert not any(client.processing().values())
    assert blocks.map(n_rows) == [1] * 60


@pytest.mark.parametrize("source", [of_array, of_mapped, of_parquet])
def test_joblib_on_the_cluster_gives_the_same_bits(source, client, table, tmp_path):
    w = np.random.default_rng(1).normal(size=N_COLUMNS)
    X = source(table[0], tmp_path)
    wanted = open_blocks(X, *table[1:], rows=80).sum(moments, w)
    with joblib.parallel_config("dask"):
        assert_same_bits(open_blocks(X, *table[1:], rows=80).sum(moments, w), wanted)
        with pytest.raises(ValueError, match=r"\Arows 0 to 79.*: X holds NaN in column"):
            open_blocks(X, rows=80).sum(fails, ValueError, table[0][3, 0])


def test_weights_are_sent_to_each_worker_once(client, tmp_path):
    path = tmp_path / "unpickled"
    total, n_aligned = open_blocks(da.ones((400, 2), chunks=(10, 2))).sum(weigh, Weights(path))
    assert (total, n_aligned) == (120.0, 40)
    pids = path.read_text().split()
    assert len(pids) == len(set(pids)) <= 3  # the scheduler's and both workers'
    assert len(pids) >= 2


def test_what_was_sealed_is_pickled_once_and_comes_out_aligned():
    calls = []

    class Counted:
        def __reduce__(self):
            calls.append(1)
            return int, ()

    sealed = Sealed((Counted(), np.arange(5.0)))
    for _ in range(3):
        text = pickle.dumps(sealed, protocol=5, buffer_callback=calls.append)
    assert len(calls) == 1
    number, array = pickle.loads(text).value
    assert number == 0
    assert array.flags.aligned
    assert_array_equal(array, np.arange(5.0))


def test_arrays_and_frames_are_aligned():
    odd = np.frombuffer(b"x" * 81, np.uint8)[1:].view(np.float64)
    assert not odd.flags.aligned
    table = pd.DataFrame(odd.reshape(5, 2), copy=False)
    assert not table.to_numpy().flags.aligned
    even, (also,), third = aligned((odd, [odd], table), writeable=True)
    assert even.flags.aligned
    assert even.flags.writeable
    assert also.flags.aligned
    assert third.to_numpy().flags.aligned
    assert_array_equal(even, odd)
    assert aligned(even) is even


def test_a_worker_that_dies_once_changes_nothing(client, tmp_path):
    X = np.arange(40.0).reshape(20, 2)
    found = open_blocks(da.from_array(X, chunks=(2, 2))).sum(dies, str(tmp_path / "died"), 8.0)
    assert (tmp_path / "died").exists()
    assert found == (X.sum(),)


def test_rows_that_end_every_worker_are_named(client, tmp_path):
    X = da.from_array(np.arange(20.0).reshape(10, 2), chunks=(2, 2))
    with pytest.raises(RuntimeError, match=r"\Apartition \d: KilledWorker: Attempted to run"):
        open_blocks(X).sum(dies, str(tmp_path / "always"), 8.0)


def test_rows_that_are_lost_with_a_worker_are_named(client, frame, tmp_path):
    """They were sent there, so that nothing says how to make them again."""
    held = client.scatter([frame[:500], frame[500:]])
    blocks = open_blocks(dd.from_delayed(held, meta=frame[:0], verify_meta=False))
    assert blocks.map(n_rows) == [500, 500]
    with pytest.raises(RuntimeError, match=r"\Apartition \d: its rows are lost, with the worker"):
        blocks.map(end_worker)


def fails_with_a_note(block):
    error = ValueError("X holds NaN")
    error.add_note("seen in column 'a'")
    raise error


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_notes_of_an_error_are_kept(n_jobs):
    with pytest.raises(ValueError, match=r"\Arow [012]: X holds NaN") as caught:
        open_blocks(np.ones((3, 2)), rows=1, n_jobs=n_jobs).map(fails_with_a_note)
    assert "seen in column 'a'" in caught.value.__notes__


def test_threads_warn_of_nothing(recwarn):
    assert open_blocks(np.ones((9, 2)), rows=1, n_jobs=2).map(n_rows) == [1] * 9
    assert not recwarn.list


def test_results_are_joined_in_the_order_of_the_blocks():
    blocks = open_blocks(np.arange(6.0)[:, None], rows=1, n_jobs=2)
    assert blocks.fold(lambda a, b: [*a, *b], lambda block: [float(block.X[0, 0])]) == [*range(6)]
