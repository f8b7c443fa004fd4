"""What is handed to another process arrives as it was, and flat."""

import gc
import pickle
import pickletools
import weakref

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from mkfusion import HMMClassifier, LateFusionClassifier, _handover, _parallel
from mkfusion._handover import Call, FlatCells, Handover, Parcel, flatten, pack, restore, unpack
from mkfusion._parallel import delayed, run


def column(cells):
    """Return a 1-D object array; numpy would stack cells of one shape."""
    found = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        found[i] = cell
    return found


def there_and_back(value):
    """Pickle a value flat and read it again, as another process would."""
    return unpack(*pickle.loads(pickle.dumps(pack(value))))


def assert_same_cells(left, right):
    assert left.shape == right.shape
    for a, b in zip(left.ravel(), right.ravel(), strict=True):
        assert type(a) is type(b)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            assert a.tobytes() == b.tobytes()
            assert (a.flags.c_contiguous or not a.flags.f_contiguous) == (
                b.flags.c_contiguous or not b.flags.f_contiguous
            )
        else:
            assert a == b or (a != a and b != b)


def frame(n_samples=40, seed=0):
    rng = np.random.default_rng(seed)
    audio = column([rng.normal(size=(rng.integers(2, 9), 3)) for _ in range(n_samples)])
    words = column([rng.integers(0, 5, rng.integers(1, 7)) for _ in range(n_samples)])
    audio[3], audio[5], words[4] = None, np.nan, np.full(3, np.nan)
    return pd.DataFrame(
        {
            "audio": audio,
            "words": words,
            "face__x": rng.normal(size=n_samples),
            "face__n": pd.array(rng.integers(0, 9, n_samples), dtype="Int64"),
            "text": [f"row {i}" for i in range(n_samples)],
        },
        index=pd.Index(rng.permutation(n_samples) // 2, name="sample"),
    )


CELLS = {
    "2-D, ragged": [np.ones((2, 3)), np.zeros((5, 3)), np.ones((1, 3))],
    "1-D": [np.arange(4), np.arange(2)],
    "of other widths": [np.ones((2, 3)), np.ones((2, 4)), np.ones(3), np.array(2.0)],
    "of several types": [
        np.ones(2, np.float32),
        np.ones(2),
        np.array(["a", "bcd"]),
        np.ones(1, bool),
    ],
    "times": [np.array(["2020-01-01", "NaT"], "M8[D]"), np.array([3], "m8[s]")],
    "in Fortran order": [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6.0).reshape(3, 2),
    ],
    "not contiguous": [np.arange(24.0).reshape(6, 4)[::2, ::-1], np.arange(6.0).reshape(2, 3).T],
    "of length 0": [np.empty((0, 3)), np.empty(0), np.ones((2, 3))],
    "with missing ones": [np.ones(2), None, np.nan, pd.NA, np.full((2, 2), np.nan)],
    "beside lists and text": [np.ones(2), [1.0, 2.0], "text", (1, 2), {"a": 1}],
}


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_cells_arrive_as_they_were(cells):
    values = column(cells)
    flat = flatten(values)
    assert isinstance(flat, FlatCells)
    found = restore(pickle.loads(pickle.dumps(flat)))
    assert found.shape == values.shape
    for a, b in zip(values, found, strict=True):
        if isinstance(a, np.ndarray):
            assert_same_cells(column([a]), column([b]))
        else:
            assert type(a) is type(b)
            assert a is pd.NA or a == b or a != a


@given(
    st.lists(
        st.one_of(
            st.none(),
            st_numpy.arrays(
                st.sampled_from([np.float64, np.int16, np.bool_]),
                st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
            ),
        ),
        max_size=8,
    )
)
def test_any_cells_arrive_as_they_were(cells):
    assert_same_cells(column(cells), there_and_back(column(cells)))


def test_objects_without_arrays_are_left_alone():
    values = column(["a", None, 1.0, [np.ones(2)]])
    assert flatten(values) is None
    assert flatten(np.empty(0, dtype=object)) is None
    assert there_and_back(values)[:3].tolist() == ["a", None, 1.0]


def test_an_array_of_arrays_of_objects_arrives():
    inner = column([np.ones(2), "a"])
    found = there_and_back(column([inner, np.zeros(3)]))
    assert found[0].tolist()[1] == "a"
    assert found[0][0].tolist() == [1.0, 1.0]
    assert found[1].tolist() == [0.0, 0.0, 0.0]


def test_frame_arrives_as_it_was():
    X = frame()
    found = there_and_back(X)
    pd.testing.assert_frame_equal(
        found.drop(columns=["audio", "words"]), X.drop(columns=["audio", "words"])
    )
    assert list(found.columns) == list(X.columns)
    assert found.dtypes.tolist() == X.dtypes.tolist()
    assert found.index.name == "sample"
    for name in ("audio", "words"):
        assert_same_cells(X[name].to_numpy(), found[name].to_numpy())


def test_series_and_slices_arrive_as_they_were():
    X = frame()
    for part in (X["audio"], X.iloc[5:11], X.iloc[[2, 0, 7]], X.iloc[:0]):
        found = there_and_back(part)
        assert found.index.equals(part.index)
        assert_same_cells(part.to_numpy(dtype=object), found.to_numpy(dtype=object))


def test_an_array_stays_one_array():
    X = np.arange(2000.0)
    pickled, parts = pack({"a": X, "b": [X, X[:500]]})
    assert parts[0] is X
    assert len(parts) == 2
    found = unpack(pickled, parts)
    assert found["a"] is found["b"][0]


def objects_pickled(data):
    """Count what a pickle makes anew."""
    made = ("REDUCE", "BUILD", "NEWOBJ", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
    return sum(code.name in made for code, *_ in pickletools.genops(data))


def test_the_count_of_pickled_objects_does_not_grow_with_the_cells():
    few, many = frame(50).drop(columns="text"), frame(500).drop(columns="text")
    counts = [objects_pickled(pickle.dumps(pack(X))) for X in (few, many)]
    plain = [objects_pickled(pickle.dumps(X)) for X in (few, many)]
    assert counts[1] - counts[0] <= 20  # arrays that became large stand beside the pickle
    assert plain[1] > 2500 > 50 > counts[1]


def test_flat_is_hardly_larger():
    X = frame(500)
    assert len(pickle.dumps(pack(X))) < 1.1 * len(pickle.dumps(X))


# Calls


class Table:
    """Stands for an object of the package: it holds a table, and is asked by its method."""

    def __init__(self, X):
        self.X = X

    def total(self, row, scale=1.0):
        return scale * float(self.X["audio"].iloc[row].sum())


Table.__module__ = "mkfusion._tables_of_tests"


def total(X, row, scale=1.0):
    return scale * float(X["audio"].iloc[row].sum())


def kind_of_memory(X, row):
    base = X["audio"].iloc[row].base
    return type(base).__name__


def test_serial_and_threads_are_given_the_objects_themselves(monkeypatch):
    def refuse(*args):
        raise AssertionError("nothing is to be packed here")

    monkeypatch.setattr(_parallel, "Handover", refuse)
    X = frame()
    for options in ({"n_jobs": 1}, {"n_jobs": None}, {"n_jobs": 2, "threads": True}):
        (found,) = run([delayed(lambda X: X)(X)], **options)
        assert found is X
    with joblib.parallel_config("threading", n_jobs=2):
        assert run([delayed(lambda X: X)(X)])[0] is X


def test_results_are_those_of_a_serial_run():
    X = frame()
    tasks = [delayed(total)(X, row, scale=2.0) for row in (0, 1, 2)]
    assert run(tasks, n_jobs=2) == run(tasks, n_jobs=1)
    assert run(tasks) == [2 * X["audio"].iloc[i].sum() for i in range(3)]


def test_cells_are_mapped_by_workers_once_they_are_large():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"audio": column([rng.normal(size=(200, 20)) for _ in range(60)])})
    found = run([delayed(kind_of_memory)(X, row) for row in (0, 59)], n_jobs=2)
    assert found == ["memmap", "memmap"]
    plain = joblib.Parallel(2)(joblib.delayed(kind_of_memory)(X, row) for row in (0, 59))
    assert "memmap" not in plain


def test_what_calls_share_is_one_parcel():
    table, hand = Table(frame()), Handover()
    first, second = (hand(table.total, (row,), {"scale": 2.0}) for row in (0, 1))
    assert isinstance(first[1][0], Parcel)
    assert first[1][0] is second[1][0]
    assert first[1][1:] == [0]
    found = pickle.loads(pickle.dumps(first))
    assert found[0](*found[1], **found[2]) == table.total(0, 2.0)


def test_a_parcel_is_packed_once(monkeypatch):
    packed = []
    monkeypatch.setattr(_handover, "pack", lambda value: packed.append(value) or pack(value))
    X, hand = frame(), Handover()
    for row in range(3):
        pickle.dumps(hand(total, (X, row), {}))
    assert sum(value is X for value in packed) == 1


def test_a_block_lives_no_longer_than_its_call():
    hand = Handover()
    block = frame()
    gone = weakref.ref(block)
    call = hand(total, (block, 0), {})
    del block
    gc.collect()
    assert gone() is not None  # the call needs it
    assert call[0](*call[1]) == total(gone(), 0)
    del call
    gc.collect()
    assert gone() is None
    assert hand._parcels == {}


def test_the_size_of_a_parcel_is_that_of_its_cells():
    X = frame(300)
    cells = sum(cell.nbytes for cell in X["audio"] if isinstance(cell, np.ndarray))
    _, (parcel,), _ = Handover()(total, (X,), {})
    assert parcel.__sizeof__() > cells
    arrived = pickle.loads(pickle.dumps(parcel))
    assert arrived.__sizeof__() == parcel.__sizeof__()


def test_small_arguments_are_sent_as_they_are():
    X = np.arange(5000.0)
    plain = pd.DataFrame({"a": [1.0, 2.0]})
    call, args, _ = Handover()(total, (X, plain, "name", None, [1], 3), {})
    assert isinstance(call, Call)
    assert args[0] is X
    assert args[1] is plain
    assert args[2:] == ["name", None, [1], 3]


def test_a_function_of_a_class_stays_with_its_class():
    call, args, _ = Handover()(dict.fromkeys, ("ab",), {})
    assert call(*args) == {"a": None, "b": None}


def test_errors_come_back_as_they_are():
    with pytest.raises(IndexError):
        run([delayed(total)(frame(), 10_000) for _ in range(2)], n_jobs=2)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_fusion_of_sequences_is_the_same_in_processes(backend):
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 15)
    X = pd.DataFrame(
        {
            "audio": column([rng.normal(c, size=(rng.integers(4, 8), 2)) for c in y]),
            "video": column([rng.normal(c, size=(rng.integers(3, 6), 1)) for c in y]),
        }
    )
    model = LateFusionClassifier(estimator=HMMClassifier(n_states=2, random_state=0))
    serial = model.fit(X, y).predict_proba(X)
    with joblib.parallel_config(backend, n_jobs=2):
        found = model.fit(X, y).predict_proba(X)
    assert (found == serial).all()
