"""How sequences are read: cells, steps with ids, and what is refused by name."""

import re
import time
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator

from mkfusion import to_sequences
from mkfusion.datasets import load_watch
from mkfusion.graphical import as_sequence_frame, as_step_frame
from mkfusion.graphical._cells import holds_cells
from mkfusion.graphical._steps import StepMixin
from mkfusion.graphical._streams import SequenceMixin, Sequences, synchronous

pytestmark = pytest.mark.filterwarnings("ignore:nothing is fused:UserWarning")


class Reader(SequenceMixin, BaseEstimator):
    """Reads cells, and does nothing else."""

    def __init__(self, modalities=None, remainder="drop", allow_overlap=False):
        self.modalities = modalities
        self.remainder = remainder
        self.allow_overlap = allow_overlap

    def fit(self, X, y=None):
        self.found_ = self._read_fit_sequences(X)
        return self

    def read(self, X):
        return self._read_sequences(X)


class StepReader(StepMixin, BaseEstimator):
    """Reads steps, and does nothing else."""

    def __init__(
        self,
        modalities=None,
        sequence="sequence",
        step="step",
        remainder="drop",
        allow_overlap=False,
    ):
        self.modalities = modalities
        self.sequence = sequence
        self.step = step
        self.remainder = remainder
        self.allow_overlap = allow_overlap

    def fit(self, X, y=None):
        self.found_ = self._read_fit_steps(X)
        return self

    def read(self, X):
        return self._read_steps(X)


def column(cells):
    made = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        made[i] = cell
    return made


def cell_frame(index=None, **columns):
    return pd.DataFrame({name: column(cells) for name, cells in columns.items()}, index=index)


def assert_same(found, values, lengths, present=None):
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(np.diff(found.offsets), lengths)
    assert found.offsets[0] == 0
    assert found.offsets.dtype == np.int64
    expected = np.ones(len(values), bool) if present is None else present
    np.testing.assert_array_equal(found.present, expected)
    if found.values.dtype != object:
        assert found.values.dtype == np.float64
        assert found.values.flags.c_contiguous


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    return [rng.integers(-9, 9, size=(T, 3)).astype(float) for T in (4, 1, 6)]


# One row is one sample: what X may be ---------------------------------------------------------

FORMS = {
    "frame": lambda cells: cell_frame(X=cells),
    "list": list,
    "tuple": tuple,
    "list of lists": lambda cells: [cell.tolist() for cell in cells],
    "1-D object array": column,
    "2-D object array": lambda cells: column(cells)[:, None],
    "series": lambda cells: pd.Series(column(cells), name="X"),
    "series without name": lambda cells: pd.Series(column(cells)),
}
CELLS = {
    "lists": lambda cell: cell.tolist(),
    "tuples": lambda cell: tuple(map(tuple, cell)),
    "lists of arrays": list,
    "Fortran": np.asfortranarray,
    "negative strides": lambda cell: cell[::-1].copy()[::-1],
    "strided": lambda cell: np.repeat(cell, 2, axis=1)[:, ::2],
    "int8": lambda cell: cell.astype(np.int8),
    "uint64": lambda cell: np.abs(cell).astype(np.uint64),
    "float16": lambda cell: cell.astype(np.float16),
    "big-endian": lambda cell: cell.astype(">f8"),
    "bool": lambda cell: cell > 0,
    "object": lambda cell: cell.astype(object),
    "matrix without mask": np.ma.asarray,
    "frames": pd.DataFrame,
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_cells(form, cells):
    X = FORMS[form](cells)
    reader = Reader().fit(X)
    assert list(reader.found_) == ["X"]
    assert reader.n_features_in_ == 1
    for found in (reader.found_, reader.read(X)):
        assert_same(found["X"], np.concatenate(cells), [4, 1, 6])
    assert holds_cells(X)


@pytest.mark.parametrize("kind", CELLS)
def test_kinds_of_cells(kind, cells):
    given = [CELLS[kind](cell) for cell in cells]
    expected = np.concatenate([np.asarray(cell, dtype=float) for cell in given])
    frame = pd.DataFrame({"a": column(given), "b__x": [1.0, 2.0, 3.0]})
    assert_same(Reader({"a": ["a"]}).fit(frame).found_["a"], expected, [4, 1, 6])


def test_read_only_cells_are_read_and_stay_as_they_are(cells):
    for cell in cells:
        cell.flags.writeable = False
    cells[0] = np.array(cells[0])
    cells[0][2] = np.nan
    cells[0].flags.writeable = False
    before = [cell.copy() for cell in cells]
    for given in (cells, cells[:1]):
        found = Reader().fit(given).found_["X"]
        assert_same(found, np.nan_to_num(np.concatenate(given)), [4, 1, 6][: len(given)],
                    ~np.isnan(np.concatenate(given)).any(axis=1))  # fmt: skip
    for cell, old in zip(cells, before, strict=True):
        np.testing.assert_array_equal(cell, old)


def test_one_dimensional_cells_have_one_feature():
    found = Reader().fit([np.array([1, 2, 3]), np.array([4])]).found_["X"]
    assert_same(found, [[1.0], [2.0], [3.0], [4.0]], [3, 1])


def test_three_dimensional_array_is_cells():
    X = np.arange(24.0).reshape(2, 4, 3)
    reader = Reader().fit(X)
    assert_same(reader.found_["X"], X.reshape(8, 3), [4, 4])
    padded = X.copy()
    padded[1, 2:] = np.nan
    found = reader.read(padded)["X"]
    assert_same(found, np.where(np.isnan(padded), 0, X).reshape(8, 3), [4, 4],
                [True] * 6 + [False] * 2)  # fmt: skip


def test_number_columns_are_sequences_of_one_step():
    X = np.arange(12.0).reshape(4, 3)
    assert_same(Reader().fit(X).found_["X"], X, [1, 1, 1, 1])
    frame = pd.DataFrame(X, columns=["a__x", "a__y", "b__z"])
    frame.loc[2, ["a__x", "a__y"]] = np.nan
    found = Reader().fit(frame).found_
    assert_same(found["a"], X[[0, 1, 3], :2], [1, 1, 0, 1])
    assert_same(found["b"], X[:, 2:], [1, 1, 1, 1])
    assert not holds_cells(frame)
    assert not holds_cells(X)


TABLES = {
    "nullable": lambda X: X.convert_dtypes(),
    "datetime index": lambda X: X.set_axis(pd.date_range("2020", periods=len(X), tz="CET")),
    "duplicate index": lambda X: X.set_axis([7] * len(X)),
    "non-string names": lambda X: X.set_axis([0, 1, 2], axis=1),
    "mixed names": lambda X: X.set_axis([0, "b", ("c", 1)], axis=1),
    "Fortran": lambda X: np.asfortranarray(X),
    "negative strides": lambda X: X.to_numpy()[::-1].copy()[::-1],
    "bool": lambda X: X > 4,
    "mixed bool and float": lambda X: X.assign(b__z=X["b__z"] > 4),
    "int8": lambda X: X.astype(np.int8),
    "float16": lambda X: X.astype(np.float16),
    "object": lambda X: X.astype(object),
    "categories": lambda X: X.assign(b__z=X["b__z"].astype("category")),
    "lists": lambda X: X.to_numpy().tolist(),
    "polars": lambda X: pl.DataFrame(X.to_dict("list")),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("reader", [Reader, StepReader])
@pytest.mark.filterwarnings("ignore:X has neither an index level")
@pytest.mark.filterwarnings("ignore:Feature names only support:FutureWarning")
def test_kinds_of_tables(kind, reader):
    plain = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=["a__x", "a__y", "b__z"])
    X = TABLES[kind](plain)
    expected = np.asarray(X, dtype=float)
    fitted = reader({"a": [0, 1], "b": [2]})
    if kind == "mixed names":  # as scikit-learn
        with pytest.raises(TypeError, match="strings"):
            fitted.fit(X)
        return
    fitted.fit(X)
    for found in (fitted.found_, fitted.read(X)):
        own = found if reader is Reader else found.streams()
        assert_same(own["a"], expected[:, :2], [1] * 4)
        assert_same(own["b"], expected[:, 2:], [1] * 4)


def test_fitted_on_a_frame_and_asked_of_an_array_of_cells(cells):
    frame = cell_frame(audio=cells, video=cells[::-1])
    reader = Reader().fit(frame)
    found = reader.read(frame.to_numpy())
    assert_same(found["audio"], np.concatenate(cells), [4, 1, 6])
    assert_same(found["video"], np.concatenate(cells[::-1]), [6, 1, 4])
    other = Reader({"audio": [0], "video": [1]}).fit(frame.to_numpy()).read(frame)
    assert_same(other["video"], np.concatenate(cells[::-1]), [6, 1, 4])


def test_columns_of_one_modality_stand_side_by_side(cells):
    frame = cell_frame(
        x=[cell[:, 0] for cell in cells], y=[cell[:, 1] for cell in cells],
        z=[cell[:, 2:] for cell in cells],
    )  # fmt: skip
    found = Reader({"all": ["x", "y", "z"]}).fit(frame).found_["all"]
    assert_same(found, np.concatenate(cells), [4, 1, 6])
    frame.at[1, "y"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"'all': row 1 has sequences of \[1, 3, 1\] steps"):
        Reader({"all": ["x", "y", "z"]}).fit(frame)


# What is absent -------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, np.full((2, 3), np.nan)], ids=str)
def test_absent_cells_have_length_0(nothing, cells):
    frame = cell_frame(a=[cells[0], nothing, cells[2]], b=cells)
    reader = Reader().fit(frame)
    for found in (reader.found_, reader.read(frame)):
        assert_same(found["a"], np.concatenate([cells[0], cells[2]]), [4, 0, 6])
    only = reader.read(frame.iloc[[1]])
    assert_same(only["a"], np.empty((0, 3)), [0])
    assert_same(only["b"], cells[1], [1])


def test_absent_steps_are_0_and_not_present(cells):
    cells[2][[0, 3]] = np.nan
    found = Reader().fit(cells).found_["X"]
    present = ~np.isnan(np.concatenate(cells)).any(axis=1)
    assert_same(found, np.nan_to_num(np.concatenate(cells)), [4, 1, 6], present)
    assert present.sum() == 9


def test_modality_missing_for_every_sample(cells):
    frame = cell_frame(a=[None] * 3, b=cells)
    with pytest.raises(ValueError, match="modality 'a' is missing for every sample"):
        Reader().fit(frame)
    with pytest.raises(ValueError, match="modality 'a' is missing for every sample"):
        Reader().fit(cell_frame(a=[np.full((2, 2), np.nan)] * 3, b=cells))
    reader = Reader().fit(cell_frame(a=cells, b=cells))
    assert_same(reader.read(frame)["a"], np.empty((0, 3)), [0, 0, 0])


def test_sample_without_any_modality(cells):
    frame = cell_frame(list("xyz"), a=[cells[0], None, None], b=[None, None, cells[2]])
    with pytest.raises(ValueError, match=r"1 samples have none .*\(first: row 'y'\)"):
        Reader().fit(frame)
    reader = Reader().fit(frame.drop("y"))
    streams, offsets = synchronous(reader.read(frame))
    assert offsets.tolist() == [0, 4, 4, 10]
    assert [own.present.sum() for own in streams] == [4, 6]


# Streams that share a chain -------------------------------------------------------------------


def test_synchronous_gives_one_length(cells):
    cells[2][1] = np.nan
    first = spoilt(cells[0], 2, np.nan)
    found = Reader().fit(cell_frame(a=cells, b=[first, None, None])).found_
    (a, b), offsets = synchronous(found)
    assert offsets.tolist() == [0, 4, 5, 11]
    assert a is found["a"]
    values = np.concatenate([np.nan_to_num(first), np.zeros((7, 3))])
    assert_same(b, values, [4, 1, 6], [True, True, False, True] + [False] * 7)


def test_synchronous_names_modalities_row_and_lengths(cells):
    frame = cell_frame(["r", "s", "t"], a=cells, b=[cells[0], cells[0], None])
    found = Reader().fit(frame).found_
    message = "modalities 'a' and 'b' have 1 and 4 steps in row 's'"
    with pytest.raises(ValueError, match=message):
        synchronous(found)
    with pytest.raises(ValueError, match="steps in row 1"):
        synchronous(dict(found))


def test_synchronous_of_symbols():
    symbols = Sequences(np.array([["u"], ["v"]], object), np.array([0, 2, 2]), np.ones(2, bool))
    numbers = Sequences(np.ones((3, 1)), np.array([0, 2, 3]), np.ones(3, bool))
    (first, _), offsets = synchronous({"s": symbols, "n": numbers})
    assert offsets.tolist() == [0, 2, 3]
    assert first.values.tolist() == [["u"], ["v"], [None]]
    assert first.present.tolist() == [True, True, False]


# Symbols --------------------------------------------------------------------------------------


STRINGS = [list, np.array, lambda c: np.array(c, object), lambda c: np.array(c, "T"), pd.Series]


@pytest.mark.parametrize("cell", STRINGS)
def test_text_stays_as_it_is(cell):
    words = [["yes", "no"], ["no"], ["yes", "yes", "no"]]
    reader = Reader({"words": ["words"], "more": ["more"]})
    reader.fit(cell_frame(words=[cell(own) for own in words], more=words))
    found = reader.found_["words"]
    assert found.values.dtype == object
    assert_same(found, [[w] for own in words for w in own], [2, 1, 3])
    with pytest.raises(ValueError, match="modality 'more' held text at fit and holds numbers"):
        reader.read(cell_frame(words=words, more=[np.ones(2)] * 3))


def test_missing_symbols_are_absent_steps():
    found = Reader().fit(cell_frame(w=[["a", None], [np.nan, "b"]], v=[["a", "c"]] * 2)).found_
    assert_same(found["w"], [["a"], [None], [None], ["b"]], [2, 2], [True, False, False, True])


def test_text_is_refused_where_numbers_are_needed():
    class Numbers(Reader):
        _takes_symbols = False

    with pytest.raises(ValueError, match="modality 'w' holds text"):
        Numbers().fit(cell_frame(w=[["a"], ["b"]], v=[["c"], ["d"]]))
    with (
        pytest.raises(ValueError, match="modality 'w' holds text"),
        warnings.catch_warnings(action="ignore"),
    ):
        StepReader({"w": ["w"], "v": ["v"]}).fit(pd.DataFrame({"w": ["a", "b"], "v": [1, 2]}))


# Refusals -------------------------------------------------------------------------------------


def spoilt(cell, where, value):
    cell = cell.copy()
    cell[where] = value
    return cell


REFUSED = {
    "NaN beside numbers": (lambda c: spoilt(c, (2, 1), np.nan), "row 'r', step 2: 1 of 3 feat"),
    "infinity": (lambda c: spoilt(c, (3, 1), -np.inf), "row 'r', step 3: feature 1 is infinity"),
    "infinity of float16": (
        lambda c: spoilt(c.astype(np.float16), (0, 2), np.inf),
        "row 'r', step 0: feature 2 is inf",
    ),
    "length 0": (lambda c: c[:0], "row 'r' holds a sequence of length 0"),
    "empty list": (lambda c: [], "row 'r' holds a sequence of length 0"),
    "no features": (lambda c: c[:, :0], r"row 'r' holds an array of shape \(4, 0\)"),
    "three dimensions": (lambda c: c[None], r"row 'r' holds an array of shape \(1, 4, 3\)"),
    "another width": (lambda c: c[:, :2], "row 'r' has 2 features at each step"),
    "one dimension": (lambda c: c[:, 0], "row 'r' has 1 features at each step"),
    "ragged": (lambda c: [[1, 2, 3], [4, 5]], "row 'r' holds no sequence of numbers"),
    "ragged objects": (
        lambda c: column([np.ones(3), np.ones(2)]),
        "row 'r' holds no sequence of numbers",
    ),
    "a number": (lambda c: 5.0, "row 'r' holds 5.0 where others hold sequences"),
    "text": (lambda c: "walk", "row 'r' holds 'walk' where others hold sequences"),
    "complex": (lambda c: c + 1j, "row 'r' holds no sequence .* complex128"),
    "dates": (
        lambda c: np.full((4, 3), np.datetime64("2020")),
        "row 'r' holds no sequence .* datetime64",
    ),
    "durations": (
        lambda c: np.full((4, 3), np.timedelta64(1, "s")),
        "row 'r' holds no sequence .* timedelta64",
    ),
    "records": (lambda c: [{"x": 1}] * 4, "row 'r' holds no sequence of numbers"),
    "masked": (
        lambda c: np.ma.masked_greater(c, c.min()),
        "row 'r' holds a masked array",
    ),
    "text and numbers": (lambda c: [["a", 1, 2]] * 4, "row 'r' holds no sequence of numbers"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refusals_name_modality_row_and_step(fault, cells):
    make, message = REFUSED[fault]
    sound = cell_frame(["p", "q", "r"], a=cells, b=cells)
    wrong = cell_frame(["p", "q", "r"], a=[*cells[:2], make(cells[0])], b=cells)
    reader = Reader().fit(sound)
    for refused in (Reader().fit, reader.read):
        with pytest.raises((ValueError, TypeError), match=f"modality 'a'.*{message}"):
            refused(wrong)
    assert_same(reader.read(sound)["a"], np.concatenate(cells), [4, 1, 6])


def test_places_stand_for_rows_of_a_list(cells):
    cells[1][0, 0] = np.nan
    with pytest.raises(ValueError, match="modality 'X', row 1, step 0"):
        Reader().fit(cells)


def test_width_other_than_at_fit(cells):
    reader = Reader().fit(cells)
    narrow = [cell[:, :2] for cell in cells]
    with pytest.raises(ValueError, match="row 0 has 2 features at each step, at fit they had 3"):
        reader.read(narrow)
    with pytest.raises(ValueError, match="held sequences of 3 features at fit and holds 1 col"):
        reader.read(np.ones((3, 1)))
    with pytest.raises(ValueError, match="1 features"):
        reader.read(np.ones((3, 3)))


def test_single_values_beside_sequences(cells):
    frame = cell_frame(a=cells).assign(b=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="'m': columns 'b' hold single values and 'a' whole"):
        Reader({"m": ["a", "b"]}).fit(frame)


@pytest.mark.parametrize("reader", [Reader, StepReader])
@pytest.mark.filterwarnings("ignore:X has neither an index level")
def test_refused_tables(reader):
    dense = np.eye(4)
    with pytest.raises(TypeError, match=r"X is a sparse matrix.*toarray"):
        reader().fit(sparse.csr_array(dense))
    frame = pd.DataFrame(dense, columns=["a__x", "a__y", "b__x", "b__y"])
    with pytest.raises(TypeError, match="modality 'b': columns 'b__x' are sparse"):
        reader().fit(frame.assign(b__x=pd.arrays.SparseArray(dense[0])))
    with pytest.raises(ValueError, match="masked array"):
        reader().fit(np.ma.masked_less(dense, 0.5))
    with pytest.raises(TypeError, match=r"modality 'b', column 'b__x': .*Timestamp"):
        reader().fit(frame.assign(b__x=pd.date_range("2020", periods=4)))
    with pytest.raises(TypeError, match=r"modality 'a', column 'a__y': .*Timedelta"):
        reader().fit(frame.assign(a__y=pd.to_timedelta(range(4), unit="s")))
    with pytest.raises((TypeError, ValueError), match="modality 'a', column 'a__x'"):
        reader().fit(frame.astype(object).assign(a__x=[1, "two", 3, 4]))


def test_lists_of_lists_that_are_no_table():
    with pytest.raises(ValueError, match="list of lists of different lengths"):
        Reader().fit([[1, 2], [3]])
    with pytest.raises(TypeError, match="as_sequence_frame"):
        Reader().fit({"a": [np.ones((2, 2))]})


def test_extremes_are_numbers():
    huge = [np.array([[1e308, 5e-324], [1e308, -1e308]])]
    assert_same(Reader().fit(huge).found_["X"], huge[0], [2])


# One row is one step --------------------------------------------------------------------------


@pytest.fixture
def steps():
    index = pd.MultiIndex.from_arrays(
        [["s", "s", "s", "t", "u", "u"], [0, 1, 2, 0, 0, 1]], names=["sequence", "step"]
    )
    values = np.arange(18.0).reshape(6, 3)
    return pd.DataFrame(values, columns=["a__x", "a__y", "b__z"], index=index)


def id_as(kind, steps):
    ids = steps.index.get_level_values("sequence")
    if kind == "level":
        return steps
    if kind == "only level":
        return steps.droplevel("step")
    values = {
        "text": pd.Series(ids, dtype="str"),
        "objects": pd.Series(np.asarray(ids, dtype=object)),
        "numbers": pd.Series(ids).map({"s": 3, "t": -1, "u": 0}),
        "floats": pd.Series(ids).map({"s": 0.5, "t": np.inf, "u": -0.0}),
        "dates": pd.to_datetime(pd.Series(ids).map({"s": "2020", "t": "2019", "u": "2021"})),
        "categories": pd.Series(ids).astype("category"),
        "nullable": pd.Series(ids).map({"s": 3, "t": -1, "u": 0}).astype("Int64"),
        "bool and text": pd.Series(ids).map({"s": True, "t": "t", "u": 7}).astype(object),
    }[kind]
    return steps.reset_index(drop=True).assign(sequence=values)


IDS = ["level", "only level", "text", "objects", "numbers", "floats", "dates", "categories",
       "nullable", "bool and text"]  # fmt: skip


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [4, 0, 1, 3, 5, 2]])
def test_steps_of_one_sequence_stand_side_by_side(kind, order, steps):
    X = id_as(kind, steps).iloc[order]
    reader = StepReader().fit(X)
    for found in (reader.found_, reader.read(X)):
        ids = steps.index.get_level_values("sequence")[order]
        first = list(dict.fromkeys(ids))
        lengths = [(ids == name).sum() for name in first]
        np.testing.assert_array_equal(np.diff(found.offsets), lengths)
        expected = np.concatenate([steps.to_numpy()[order][ids == name] for name in first])
        np.testing.assert_array_equal(np.hstack(list(found.blocks.values())), expected)
        assert list(found.blocks) == ["a", "b"]
        assert (found.order is None) == (order == sorted(order))
        assert len(found.ids) == len(first)
        if kind == "level":
            assert found.ids == first
        np.testing.assert_array_equal(found.restored(found.blocks["a"]), X[["a__x", "a__y"]])
        np.testing.assert_array_equal(found.ordered(X["b__z"].to_numpy()), found.blocks["b"][:, 0])


def test_id_and_step_are_no_features(steps):
    X = steps.reset_index()
    reader = StepReader().fit(X)
    assert reader.modalities_ == {"a": ["a__x", "a__y"], "b": ["b__z"]}
    assert reader.n_features_in_ == 5
    renamed = X.rename(columns={"sequence": "take", "step": "time"})
    found = StepReader(sequence="take", step="time").fit(renamed).found_
    np.testing.assert_array_equal(found.offsets, [0, 3, 4, 6])


def test_without_ids_each_row_is_a_sequence(steps):
    with pytest.warns(UserWarning, match="neither an index level nor a column 'sequence'"):
        reader = StepReader().fit(steps.to_numpy())
    np.testing.assert_array_equal(reader.found_.offsets, range(7))
    with warnings.catch_warnings(action="error"):
        np.testing.assert_array_equal(reader.read(steps.to_numpy()).offsets, range(7))
    with pytest.warns(UserWarning, match="X has feature names"):
        np.testing.assert_array_equal(reader.read(steps).offsets, [0, 3, 4, 6])


def test_fitted_with_ids_and_asked_without_them(steps):
    for X, bare in ((steps, steps.reset_index(drop=True)), (steps, steps.to_numpy())):
        reader = StepReader().fit(X)
        with pytest.raises(ValueError, match="neither an index level nor a column 'sequence'"):
            reader.read(bare)


def test_a_scaler_that_loses_the_ids_is_told_of(steps):
    with pytest.warns(UserWarning, match=r"set_output\(transform='pandas'\)"):
        StepReader().fit(steps.to_numpy())
    reader = StepReader().fit(steps)
    with pytest.raises(ValueError, match=r"set_output\(transform='pandas'\)"):
        reader.read(steps.to_numpy())


def test_long_tables_are_no_sequences(steps):
    assert "each row of X is read as a sequence of one step" in warned(lambda: Reader().fit(steps))
    assert warned(lambda: Reader().fit(steps.iloc[[0, 3, 4]])) == ""
    assert warned(lambda: Reader().fit(as_sequence_frame(steps.droplevel("step")))) == ""


def test_polars_with_an_id_column(steps):
    X = pl.DataFrame(steps.reset_index().to_dict("list"))
    reader = StepReader().fit(X)
    for found in (reader.found_, reader.read(X)):
        assert found.ids == ["s", "t", "u"]
        np.testing.assert_array_equal(found.blocks["a"], steps[["a__x", "a__y"]])


def test_ids_that_are_missing_or_ambiguous(steps):
    X = steps.reset_index()
    for gone in (None, np.nan, pd.NA):
        holes = X.assign(sequence=[*X["sequence"][:2], gone, *X["sequence"][3:]])
        with pytest.raises(ValueError, match=r"id 'sequence' is missing \(first: row 2\)"):
            StepReader().fit(holes)
    with pytest.raises(ValueError, match="id 'sequence' is missing"):
        StepReader().fit(X.assign(sequence=[0, 0, np.nan, np.nan, 1, 1]))
    level = steps.set_axis(
        pd.MultiIndex.from_arrays([[0, 0, None, 1, 1, 1], range(6)], names=["sequence", "step"])
    )
    with pytest.raises(ValueError, match=r"id 'sequence' is missing \(first: row \(nan, 2\)\)"):
        StepReader().fit(level)
    with pytest.raises(ValueError, match="'sequence' is an index level and a column"):
        StepReader().fit(steps.assign(sequence=0))
    with pytest.raises(TypeError, match="sequence ids 'sequence'"):
        StepReader().fit(X.assign(sequence=column([[1]] * 6)))


STEP_FAULTS = {
    "NaN beside numbers": ((4, 0), np.nan, r"modality 'a', row \('u', 0\) \(step 0 of sequence"),
    "infinity": ((5, 2), np.inf, r"modality 'b', row \('u', 1\) \(step 1 of sequence 'u'\): feat"),
}


@pytest.mark.parametrize("fault", STEP_FAULTS)
def test_refused_steps_are_named(fault, steps):
    where, value, message = STEP_FAULTS[fault]
    reader = StepReader().fit(steps)
    wrong = steps.copy()
    wrong.iloc[where] = value
    for X in (wrong, wrong.iloc[[4, 0, 1, 3, 5, 2]]):
        with pytest.raises(ValueError, match=message):
            StepReader().fit(X)
        with pytest.raises(ValueError, match=message):
            reader.read(X)


def test_absent_steps_of_one_modality(steps):
    X = steps.copy()
    X.loc["t", ["a__x", "a__y"]] = np.nan
    found = StepReader().fit(X).found_
    assert found.present["a"].tolist() == [True, True, True, False, True, True]
    assert found.blocks["a"][3].tolist() == [0.0, 0.0]
    assert found.present["b"].all()
    assert X.isna().sum().sum() == 2
    X["b__z"] = np.nan
    with pytest.raises(ValueError, match="modality 'b' is missing at every step"):
        StepReader().fit(X)


def test_cells_are_no_steps(cells):
    with (
        pytest.raises(ValueError, match="modality 'a' has whole sequences"),
        warnings.catch_warnings(action="ignore"),
    ):
        StepReader().fit(cell_frame(a=cells, b=cells))


def test_frames_where_models_read_for_themselves(steps):
    class Frames(StepReader):
        _takes_frames = True

    X = steps.assign(b__z=list("uvwxyz"))
    X.loc[("t", 0), ["a__x", "a__y"]] = np.nan
    found = Frames().fit(X.iloc[[4, 0, 1, 2, 3, 5]]).found_
    pd.testing.assert_frame_equal(found.blocks["b"], X.iloc[[4, 5, 0, 1, 2, 3]][["b__z"]])
    assert found.present["a"].tolist() == [True] * 5 + [False]
    scalar = Frames({"a": ["a__x", "a__y"], "b": "b__z"}).fit(X).found_
    pd.testing.assert_series_equal(scalar.blocks["b"], X["b__z"])
    thin = steps.assign(a__x=pd.arrays.SparseArray(np.arange(6) % 2))
    assert Frames().fit(thin).found_.blocks["a"].dtypes.iloc[0] == thin["a__x"].dtype
    with pytest.raises(TypeError, match="from_spmatrix"):
        Frames().fit(sparse.csr_array(np.eye(3)))


# Cut sequences --------------------------------------------------------------------------------


def warned(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return " ".join(str(one.message) for one in caught)


STEP_LABELS = {
    "numbers": lambda k: k,
    "uint8": lambda k: np.asarray(k, np.uint8),
    "int8, far apart": lambda k: np.asarray(60 * np.asarray(k) - 120, np.int8),
    "by tens": lambda k: np.asarray(k) * 10,
    "seconds": lambda k: np.asarray(k) / 10 + np.resize([0.0, 0.01, -0.01], len(k)),
    "dates": lambda k: pd.to_datetime(np.asarray(k), unit="D"),
    "zoned dates": lambda k: pd.to_datetime(np.asarray(k), unit="D", utc=True).tz_convert("CET"),
    "durations": lambda k: pd.to_timedelta(np.asarray(k), unit="s"),
}


@pytest.mark.parametrize("as_column", [False, True])
@pytest.mark.parametrize("kind", STEP_LABELS)
def test_gaps_and_disorder_are_named(kind, as_column):
    places = list(range(5)) * 3
    X = pd.DataFrame({"a__x": np.arange(15.0), "b__x": np.arange(15.0)})
    X["sequence"] = np.repeat(["p", "q", "r"], 5)
    X["step"] = STEP_LABELS[kind](places)
    if not as_column:
        X = X.set_index(["sequence", "step"])
    assert warned(lambda: StepReader().fit(X)) == ""
    assert "1 sequences ('q')" in warned(lambda: StepReader().fit(X.drop(X.index[7])))
    assert warned(lambda: StepReader().fit(X.drop(X.index[9]))) == ""  # the end: no gap
    swapped = X.iloc[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 10, 12, 13, 14]]
    assert "'step' has gaps or is out of order in 1 sequences ('r')" in warned(
        lambda: StepReader().fit(swapped)
    )
    twice = X.iloc[[0, 0, 1, 2, 3, 4, 5, 6]]
    assert "1 sequences ('p')" in warned(lambda: StepReader().fit(twice))


def test_ids_seen_at_fit_with_other_rows(steps):
    reader = StepReader().fit(steps)
    assert warned(lambda: reader.read(steps)) == ""
    assert warned(lambda: reader.read(steps.loc[["u", "s"]])) == ""
    fresh = steps.rename(index={"s": "new"})
    assert warned(lambda: reader.read(fresh)) == ""
    assert "1 sequences ('s') were seen at fit with other rows" in warned(
        lambda: reader.read(steps.iloc[:2])
    )
    # As many rows, but later ones.
    later = steps.set_axis(
        pd.MultiIndex.from_arrays(
            [["s"] * 3 + ["t"] + ["u"] * 2, [3, 4, 5, 0, 0, 1]], names=["sequence", "step"]
        )
    )
    assert "('s')" in warned(lambda: reader.read(later))
    bare = steps.droplevel("step")
    assert warned(lambda: reader.read(bare)) == ""
    assert "('u')" in warned(lambda: StepReader().fit(bare).read(bare.iloc[[0, 1, 2, 4]]))


def test_a_fold_that_cuts_sequences_is_found():
    X = load_watch(layout="sessions").data.iloc[::7]
    cut = np.arange(len(X)) % 5 == 2
    reader = StepReader()
    assert "has gaps" in warned(lambda: reader.fit(X[~cut]))
    assert "seen at fit with other rows" in warned(lambda: reader.read(X[cut]))


# Conversion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_as_sequence_frame_of_every_form(form, cells):
    frame = as_sequence_frame(FORMS[form](cells))
    assert list(frame.columns) == ["X"]
    for found, cell in zip(frame["X"], cells, strict=True):
        np.testing.assert_array_equal(found, cell)
        assert found.dtype == np.float64


def test_as_sequence_frame_takes_padding_off(cells):
    padded = np.full((3, 6, 3), np.nan)
    for row, cell in zip(padded, cells, strict=True):
        row[: len(cell)] = cell
    for X, found in ((padded, as_sequence_frame(padded)["X"]),
                     (padded, as_sequence_frame({"X": padded})["X"])):  # fmt: skip
        for one, cell in zip(found, cells, strict=True):
            np.testing.assert_array_equal(one, cell)
        assert np.isnan(X).any()
    gone = as_sequence_frame(np.concatenate([padded, np.full((1, 6, 3), np.nan)]))
    assert gone["X"].iloc[3] is None


def test_as_sequence_frame_of_a_mapping(cells, steps):
    frame = as_sequence_frame({"a": cells, "b": [None, [1, 2], [3]], "c": np.zeros((3, 2, 1))})
    assert list(frame.columns) == ["a", "b", "c"]
    assert frame["b"].iloc[0] is None
    assert frame["b"].iloc[1].tolist() == [[1.0], [2.0]]
    long = as_sequence_frame({"a": steps[["a__x", "a__y"]], "b": steps[["b__z"]].drop("t")},
                             how="outer")  # fmt: skip
    assert list(long.index) == ["s", "t", "u"]
    assert pd.isna(long.loc["t", "b"])
    np.testing.assert_array_equal(long.loc["u", "a"], steps.loc["u", ["a__x", "a__y"]])


def test_as_sequence_frame_of_frames(steps, cells):
    pd.testing.assert_frame_equal(
        as_sequence_frame(steps.droplevel("step")), to_sequences(steps.droplevel("step"))
    )
    lists = cell_frame(a=[cell.tolist() for cell in cells], n=[None, None, [1]]).assign(
        k=[1, 2, 3]
    )
    found = as_sequence_frame(lists)
    assert isinstance(lists["a"].iloc[0], list)
    np.testing.assert_array_equal(found["a"].iloc[0], cells[0])
    assert found["k"].tolist() == [1, 2, 3]


def test_frames_go_there_and_back():
    long = load_watch(layout="steps").data.iloc[:2000]
    wide = as_sequence_frame(long)
    names = {"accelerometer": list("xyz"), "gyroscope": list("xyz")}
    pd.testing.assert_frame_equal(as_step_frame(wide, names=names), long, check_index_type=False)


def test_as_step_frame_of_absent_modalities(cells):
    X = cell_frame(["p", "q", "r"], a=cells, b=[None, np.array([5]), None])
    found = as_step_frame(X, sequence="take", step="time")
    assert found.index.names == ["take", "time"]
    assert list(found.columns) == ["a__0", "a__1", "a__2", "b__0"]
    assert found["b__0"].dropna().tolist() == [5.0]
    assert found.loc["r"].shape == (6, 4)
    np.testing.assert_array_equal(as_step_frame(cells).to_numpy(), np.concatenate(cells))


def test_refused_conversions(cells):
    with pytest.raises(TypeError, match="modality 'a' holds no sequences"):
        as_sequence_frame({"a": [1.0, 2.0]})
    with pytest.raises(TypeError, match="modality 'X' holds no sequences"):
        as_sequence_frame(np.ones((3, 2)))
    with pytest.raises(ValueError, match="modality 'a': the frame has neither"):
        as_sequence_frame({"a": pd.DataFrame({"x": [1.0]})})
    with pytest.raises(ValueError, match="one long DataFrame"):
        as_sequence_frame({"a": cells}, keep=["label"])
    with pytest.raises(ValueError, match="modality 'a': row 1 holds a sequence of length 0"):
        as_sequence_frame({"a": [np.ones(2), np.ones(0)]})
    with pytest.raises(ValueError, match="stand more than once"):
        as_step_frame(cell_frame([1, 1, 2], a=cells, b=cells))
    with pytest.raises(ValueError, match="'a' has 3 features, and names has 1"):
        as_step_frame(cell_frame(a=cells, b=cells), names={"a": ["x"]})
    with pytest.raises(ValueError, match="'a' and 'b' have 1 and 4 steps in row 1"):
        as_step_frame(cell_frame(a=cells, b=[cells[0], cells[0], None]))


# Cost -----------------------------------------------------------------------------------------


def seconds(function, repeats=7):
    best = np.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return best


def test_reading_costs_no_loop_over_rows():
    """Reading costs some ten copies of the table; a loop over its rows would cost hundreds."""
    X = load_watch(layout="sessions").data
    reader = StepReader().fit(X)
    copy = seconds(lambda: np.array(X.to_numpy(), order="C"))
    assert seconds(lambda: reader.read(X)) < 60 * copy
    wide = load_watch().data
    cells = Reader().fit(wide)
    assert seconds(lambda: cells.read(wide)) < 60 * copy


def test_adjacent_rows_of_an_array_are_not_copied():
    X = np.ones((50, 3))
    with warnings.catch_warnings(action="ignore"):
        found = StepReader().fit(X).found_
    assert np.shares_memory(found.blocks["X"], X)
    assert np.shares_memory(Reader().fit(X).found_["X"].values, X)


def test_names_in_messages_are_plain(steps):
    wrong = steps.copy()
    wrong.iloc[0, 0] = np.nan
    with pytest.raises(ValueError) as caught:
        StepReader().fit(wrong)
    assert not re.search(r"np\.", str(caught.value))
