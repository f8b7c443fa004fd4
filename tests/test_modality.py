"""How one X divides into modalities: selectors, prefixes, who has which, joining and splitting."""

import datetime
import decimal
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mkfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    HMMTagger,
    LateFusionClassifier,
    LateFusionRegressor,
    ModalityConcatenator,
    join_modalities,
    modality_mask,
    split_modalities,
    to_sequences,
)
from mkfusion.modality import as_list, fill_cells, presence, resolve_modalities, take_block

pytestmark = pytest.mark.interface

NAN = np.nan
ARRAY = np.arange(20.0).reshape(4, 5)
FRAME = pd.DataFrame(ARRAY, columns=list("abcde"))
TABLES = {
    "frame": FRAME,
    "array": ARRAY,
    "csr_matrix": sparse.csr_matrix(ARRAY),
    "csc_array": sparse.csc_array(ARRAY),
}
leaves_columns_out = pytest.mark.filterwarnings("ignore:columns .* belong to no modality")
SEQUENCE = [np.ones((2, 3)), np.zeros((1, 3)), np.full((4, 3), 2.0)]


def over(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases)


def cells(*contents):
    """A column of cells, which may hold arrays."""
    return pd.Series(fill_cells(contents))


def resolve(X, modalities=None, **options):
    """Resolve, whatever is left over and however few modalities there are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return resolve_modalities(X, modalities, **options)


def prefixed(*names):
    return pd.DataFrame(np.ones((2, len(names))), columns=pd.Index(names))


# Selectors


BY_POSITION = {
    "position": (1, 1),
    "negative position": (-1, 4),
    "numpy position": (np.int16(2), 2),
    "positions": ([0, 2], [0, 2]),
    "positions in another order": ([3, 0], [3, 0]),
    "negative positions": ([-1, 0], [4, 0]),
    "tuple": ((1, 3), [1, 3]),
    "range": (range(1, 4), [1, 2, 3]),
    "array of positions": (np.array([0, 1], dtype=np.uint8), [0, 1]),
    "index of positions": (pd.Index([4, 2]), [4, 2]),
    "slice": (slice(0, 2), [0, 1]),
    "slice to the width": (slice(3, 5), [3, 4]),
    "open slice": (slice(3, None), [3, 4]),
    "negative slice": (slice(-2, None), [3, 4]),
    "slice of all": (slice(None), [0, 1, 2, 3, 4]),
    "slice in steps": (slice(None, None, 2), [0, 2, 4]),
    "slice backwards": (slice(4, 0, -2), [4, 2]),
    "mask": ([True, False, True, False, False], [0, 2]),
    "mask of numpy": (np.array([False, True, True, False, False]), [1, 2]),
    "mask as series": (pd.Series([False, False, False, True, False]), [3]),
    "mask as nullable": (pd.array([True, False, False, False, True], dtype="boolean"), [0, 4]),
    "callable to positions": (lambda X: [0, X.shape[1] - 1], [0, 4]),
    "callable to a position": (lambda X: -1, 4),
    "callable to a slice": (lambda X: slice(1, 3), [1, 2]),
}
BY_NAME = {
    "name": ("b", 1),
    "numpy name": (np.str_("b"), 1),
    "names": (["a", "c"], [0, 2]),
    "names in another order": (["d", "a"], [3, 0]),
    "index of names": (pd.Index(["a", "b"]), [0, 1]),
    "array of names": (np.array(["e", "b"]), [4, 1]),
    "series of names": (pd.Series(["e", "b"]), [4, 1]),
    "slice of names with its end": (slice("b", "d"), [1, 2, 3]),
    "open slice of names": (slice("d", None), [3, 4]),
    "slice up to a name": (slice(None, "b"), [0, 1]),
    "slice of names in steps": (slice("a", "e", 2), [0, 2, 4]),
    "slice of names backwards": (slice("d", "b", -1), [3, 2, 1]),
    "slice of names to the first": (slice("c", None, -2), [2, 0]),
    "slice of names from the last": (slice(None, "b", -2), [4, 2]),
    "callable to names": (lambda X: list(X.columns[:2]), [0, 1]),
    "callable to a name": (lambda X: "c", 2),
    "make_column_selector": (make_column_selector("[ae]"), [0, 4]),
    "make_column_selector by dtype": (make_column_selector(dtype_include=float), [0, 1, 2, 3, 4]),
}


@pytest.mark.parametrize("table", TABLES)
@over(BY_POSITION)
def test_selects_by_position(table, case):
    selector, positions = case
    assert resolve(TABLES[table], {"m": selector})["m"] == positions


@over(BY_NAME)
def test_selects_by_name(case):
    selector, positions = case
    assert resolve(FRAME, {"m": selector})["m"] == positions


@leaves_columns_out
@over({**BY_POSITION, **BY_NAME})
def test_selects_from_polars(case):
    selector, positions = case
    blocks = split_modalities(pl.DataFrame(ARRAY, schema=list("abcde")), {"m": selector})
    np.testing.assert_array_equal(blocks["m"], ARRAY[:, positions])


@pytest.mark.parametrize("table", TABLES)
@over(BY_POSITION)
def test_block_holds_the_selected_columns(table, case):
    X, (selector, positions) = TABLES[table], case
    columns = resolve(X, {"m": selector})["m"]
    rows = np.array([True, False, True, True])
    for kept in (None, rows):
        block = take_block(X, columns, kept)
        wanted = ARRAY[:, positions] if kept is None else ARRAY[kept][:, positions]
        if sparse.issparse(block):
            assert block.format == "csr"
            np.testing.assert_array_equal(block.toarray(), wanted.reshape(len(wanted), -1))
        else:
            assert isinstance(block, np.ndarray) or table == "frame"
            np.testing.assert_array_equal(block, wanted)  # 1-D for a scalar


def test_adjacent_columns_of_an_array_are_a_view():
    assert np.shares_memory(take_block(ARRAY, [1, 2, 3]), ARRAY)
    assert np.shares_memory(take_block(ARRAY, [1, 2], np.ones(4, bool)), ARRAY)
    assert not np.shares_memory(take_block(ARRAY, [1, 3]), ARRAY)


class Recorder(TransformerMixin, BaseEstimator):
    """Keep the block that a ColumnTransformer hands over."""

    def fit(self, X, y=None):
        self.block_ = X
        return self

    def transform(self, X):
        return np.zeros((len(X), 1))


@st.composite
def selectors(draw, names=None, width=None):
    """Any selector that a ColumnTransformer takes and that selects something."""
    width = width or len(names)
    place = st.integers(0, width - 1)
    several = st.lists(place, min_size=1, max_size=width, unique=True)
    first, last = sorted(draw(st.tuples(place, place)))
    chosen = draw(several)
    mask = np.isin(np.arange(width), chosen)
    negative = draw(st.sampled_from([0, width]))
    kinds = [
        first - negative,
        [j - negative for j in chosen],
        np.array(chosen) - negative,
        slice(first - negative, last + 1),
        slice(first, None if last == width - 1 else last + 1),
        mask,
        mask.tolist(),
        lambda X: chosen,
    ]
    if names is not None:
        wanted = [names[j] for j in chosen]
        kinds += [
            names[first],
            wanted,
            np.array(wanted, dtype=object),
            slice(names[first], names[last]),
            slice(None if first == 0 else names[first], names[last]),
            lambda X: wanted,
            make_column_selector("|".join(f"^{re.escape(name)}$" for name in wanted)),
        ]
    return draw(st.sampled_from(kinds))


@given(data=st.data())
def test_selects_what_column_transformer_selects(data):
    names = data.draw(st.lists(st.text("ab_.", max_size=4), min_size=1, max_size=6))
    names = [f"{name}{j}" for j, name in enumerate(names)]
    X = pd.DataFrame(np.arange(3.0 * len(names)).reshape(3, -1), columns=names)
    selector = data.draw(selectors(names))
    theirs = ColumnTransformer([("m", Recorder(), selector)]).fit(X).named_transformers_["m"]
    ours = take_block(X, resolve(X, {"m": selector})["m"])
    assert type(ours) is type(theirs.block_)  # a Series for a scalar
    np.testing.assert_array_equal(ours, theirs.block_)
    if ours.ndim == 2:
        assert list(ours.columns) == list(theirs.block_.columns)


@given(data=st.data())
def test_selects_from_an_array_what_column_transformer_selects(data):
    width = data.draw(st.integers(1, 6))
    X = np.arange(3.0 * width).reshape(3, width)
    selector = data.draw(selectors(width=width))
    theirs = ColumnTransformer([("m", Recorder(), selector)]).fit(X).named_transformers_["m"]
    np.testing.assert_array_equal(take_block(X, resolve(X, {"m": selector})["m"]), theirs.block_)


# What is refused, in words that say what would be right


REFUSED = {
    "unknown name": ("z", ValueError, "modality 'm': X has no columns 'z'"),
    "unknown names": (["a", "y", "z"], ValueError, "modality 'm': X has no columns 'y', 'z'"),
    "close name": ("aa", ValueError, "X has no columns 'aa'; close to it: 'a'"),
    "unknown name in slice": (slice("a", "z"), ValueError, "modality 'm': X has no columns 'z'"),
    "position beyond": (5, ValueError, r"'m': positions 5 lie beyond X, which has 5 columns"),
    "position before": ([0, -6], ValueError, r"'m': positions -6 lie beyond X.*\[0, -6\]"),
    "huge position": ([10**30], ValueError, f"'m': positions {10**30} lie beyond"),
    "huge unsigned": (np.array([2**63], np.uint64), ValueError, f"positions {2**63} lie beyond"),
    "slice beyond": (slice(3, 9), ValueError, r"'m': slice\(3, 9, None\) goes beyond X.*5 col"),
    "slice far beyond": (slice(7, 9), ValueError, r"'m' selects no columns of X \(5 columns\)"),
    "empty slice": (slice(3, 1), ValueError, r"'m' selects no columns.*slice\(3, 1, None\)"),
    "empty slice of names": (slice("c", "a"), ValueError, "'m' selects no columns of X"),
    "empty list": ([], ValueError, r"'m' selects no columns of X \(5 columns\).*\[\]"),
    "empty mask": ([False] * 5, ValueError, "'m' selects no columns of X"),
    "callable to nothing": (make_column_selector("z"), ValueError, "'m' selects no columns of X"),
    "short mask": ([True, False], ValueError, "'m': its boolean mask has length 2, X has 5 col"),
    "twice": (["a", "b", "a"], ValueError, "modality 'm' selects columns 'a' more than once"),
    "twice by sign": ([0, -5], ValueError, "modality 'm' selects columns 'a' more than once"),
    "bool": (True, TypeError, "'m': a selector cannot be the single value True"),
    "none": (None, TypeError, "'m': a selector is a name, a position, a slice.*got None"),
    "float": (1.5, TypeError, "'m': a selector is a name, a position, a slice.*got 1.5"),
    "bytes": (b"a", TypeError, "'m': a selector is a name, a position, a slice.*got b'a'"),
    "set": ({"a"}, TypeError, "'m': a selector is a name, a position, a slice.*got {'a'}"),
    "mapping": ({"a": 1}, TypeError, "'m': a selector is a name, a position, a slice"),
    "iterator": (iter([0, 1]), TypeError, "'m': a selector is a name, a position, a slice"),
    "two-dimensional": (np.array([[0]]), TypeError, "'m': a selector is a name, a position"),
    "frame": (FRAME[["a"]], TypeError, "'m': a selector is a name, a position, a slice"),
    "nested": ([["a"], ["b", "c"]], TypeError, "'m': a list of columns holds names, positions"),
    "mixed": (["a", 0], TypeError, "'m': a list of columns holds names.*all of one kind"),
    "bool and position": ([True, 0], TypeError, "'m': a list of columns holds names"),
    "floats": ([1.0], TypeError, r"'m': a list of columns holds names.*\[1.0\]"),
    "mask with a hole": (pd.array([True, None] * 2 + [True]), TypeError, "'m': a list of columns"),
    "mixed slice": (slice("a", 3), TypeError, "'m': a slice goes from name to name or from pos"),
    "slice of floats": (slice(0.0, 2.0), TypeError, "'m': a slice goes from name to name"),
    "slice of bools": (slice(False, True), TypeError, "'m': a slice goes from name to name"),
    "slice in no steps": (slice("a", "c", 0), TypeError, "'m': a slice.*in whole steps"),
    "slice in half steps": (slice(0, 2, 0.5), TypeError, "'m': a slice.*in whole steps"),
    "callable to a callable": (lambda X: len, TypeError, "'m': a selector is a name, a position"),
    "callable that fails": (lambda X: X["z"], KeyError, "by the selector of modality 'm'"),
}


@over(REFUSED)
def test_refuses_selector(case):
    selector, error, words = case
    with pytest.raises(error, match=words):
        resolve(FRAME, {"m": selector})


@pytest.mark.parametrize("table", sorted(set(TABLES) - {"frame"}))
@pytest.mark.parametrize("selector", ["a", ["a", "b"], slice("a", "b"), np.array(["a", "b"])])
def test_refuses_names_without_a_frame(table, selector):
    with pytest.raises(ValueError, match=r"modality 'm' selects columns by name \('a'.*an array"):
        resolve(TABLES[table], {"m": selector})


def test_refuses_column_selector_without_a_frame():
    with pytest.raises(ValueError, match="selector of modality 'm'"):
        resolve(ARRAY, {"m": make_column_selector("a")})


@pytest.mark.parametrize("selector", ["a", ["a"], ["b", "a"], slice("a", "c"), slice("b", "a")])
def test_refuses_name_that_stands_twice(selector):
    X = FRAME.set_axis(list("aabcd"), axis=1)
    with pytest.raises(ValueError, match="'m': X has more than one column named 'a'; select by"):
        resolve(X, {"m": selector})
    assert resolve(X, {"m": ["b", "d"]})["m"] == [2, 4]


@pytest.mark.parametrize(
    ("modalities", "error", "words"),
    [
        ({}, ValueError, "modalities is an empty mapping: it must name at least one modality"),
        ([("a", [0])], TypeError, "modalities must be a mapping.*got list"),
        ("audio", TypeError, "modalities must be a mapping.*got str"),
        ({"a__b": [0]}, ValueError, "modality 'a__b': a name must not contain '__'"),
        ({"a_": [0]}, ValueError, "modality 'a_': a name must not end in '_'"),
        ({"": [0]}, ValueError, "a modality's name must be a non-empty string, got ''"),
        ({1: [0]}, ValueError, "a modality's name must be a non-empty string, got 1"),
        ({None: [0]}, ValueError, "a modality's name must be a non-empty string, got None"),
        ({"rule": [0]}, ValueError, "modality 'rule' has the name of a constructor parameter"),
    ],
)
def test_refuses_mapping(modalities, error, words):
    with pytest.raises(error, match=words):
        resolve(FRAME, modalities, reserved={"rule"})


CLASSIFIERS = [LateFusionClassifier, EarlyFusionClassifier]
REGRESSORS = [LateFusionRegressor, EarlyFusionRegressor]
FUSIONS = [*CLASSIFIERS, *REGRESSORS, ModalityConcatenator]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_refuses_name_of_any_constructor_parameter(fusion):
    y = [0, 1, 0, 1]
    for name in {*fusion().get_params(deep=False), "estimator"}:
        with pytest.raises(ValueError, match=f"modality '{name}' has the name of a constructor"):
            fusion(modalities={name: [0], "m": slice(1, 5)}).fit(ARRAY, y)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_refuses_model_of_unknown_modality(fusion):
    given_as = "estimators" if fusion in (LateFusionClassifier, LateFusionRegressor) else None
    models = {given_as or "transformers": [("m", StandardScaler()), ("z", StandardScaler())]}
    with pytest.raises(ValueError, match=r"names 'z', which is no modality of X.*'m', 'n'"):
        fusion(modalities={"m": [0, 1], "n": [2, 3, 4]}, **models).fit(ARRAY, [0, 1, 0, 1])


# Columns that belong to none, or to two


@pytest.mark.parametrize("table", TABLES)
def test_remainder_is_dropped_with_a_warning_that_names_it(table):
    named = "'c', 'e'" if table == "frame" else "2, 4"
    X, modalities = TABLES[table], {"m": [0, 1], "n": [3]}
    with pytest.warns(
        UserWarning, match=f"columns {named} of X belong to no modality and are not used$"
    ):
        assert resolve_modalities(X, modalities) == modalities
    with pytest.raises(ValueError, match=f"columns {named} of X belong to no.*remainder='drop'"):
        resolve_modalities(X, modalities, remainder="error")


@pytest.mark.parametrize("remainder", ["drop", "error"])
def test_no_remainder_no_warning(remainder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve_modalities(FRAME, {"m": [0, 1], "n": slice("c", "e")}, remainder=remainder)


@pytest.mark.parametrize("remainder", ["passthrough", None, 0, []])
def test_refuses_other_remainders(remainder):
    with pytest.raises(ValueError, match="remainder must be one of 'drop', 'error', got"):
        resolve(FRAME, {"m": [0]}, remainder=remainder)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion_heeds_remainder_and_overlap(fusion):
    y = [0, 1, 0, 1]
    told = (
        "columns 'e' of X belong to no modality and are not used; later tables must have them too"
    )
    with pytest.warns(UserWarning, match=told):
        fusion(modalities={"m": [0, 1], "n": [2, 3]}).fit(FRAME, y)
    with pytest.raises(ValueError, match="columns 'e' of X belong to no modality"):
        fusion(modalities={"m": [0, 1], "n": [2, 3]}, remainder="error").fit(FRAME, y)
    shared = {"m": [0, 1, 2], "n": [2, 3, 4]}
    with pytest.raises(ValueError, match="modalities 'm' and 'n' share columns 'c'"):
        fusion(modalities=shared).fit(FRAME, y)
    fitted = fusion(modalities=shared, allow_overlap=True).fit(FRAME, y)
    assert fitted.modalities_ == {"m": list("abc"), "n": list("cde")}


def test_shared_columns_are_refused_unless_asked_for():
    modalities = {"m": ["a", "b"], "n": ["b", "c"], "o": "b"}
    with pytest.raises(ValueError, match="modalities 'm' and 'n' share columns 'b'; pass allow_"):
        resolve(FRAME, modalities)
    with pytest.raises(ValueError, match="modalities 'm' and 'n' share columns 1, 2; pass allow_"):
        resolve(ARRAY, {"m": slice(0, 3), "n": [2, 1]})
    found = resolve(FRAME, modalities, allow_overlap=True)
    assert found == {"m": [0, 1], "n": [1, 2], "o": 1}


# The prefix rule


PREFIXED = {
    "two": (["a__x", "b__y"], {"a": [0], "b": [1]}),
    "mingled": (["b__x", "a__x", "b__y"], {"b": [0, 2], "a": [1]}),
    "first double underscore counts": (["a__x__y", "b__x"], {"a": [0], "b": [1]}),
    "nothing behind it": (["a__", "b__"], {"a": [0], "b": [1]}),
    "more underscores": (["a___x", "b____x"], {"a": [0], "b": [1]}),
    "underscore before": (["_a__x", "b__x"], {"_a": [0], "b": [1]}),
    "names twice": (["a__x", "a__x", "b__x"], {"a": [0, 1], "b": [2]}),
    "markup": (["<b>&'__x", '\n"__x'], {"<b>&'": [0], '\n"': [1]}),
}


@over(PREFIXED)
def test_prefix_names_the_modality(case):
    names, found = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_modalities(prefixed(*names)) == found


@pytest.mark.parametrize(
    ("X", "name", "why"),
    [
        (prefixed("a__x", "a__y"), "a", "all columns belong to 'a'"),
        (prefixed("x", "y"), "X", "no column name has a prefix"),
        (prefixed("__x", "__y"), "X", "no column name has a prefix"),
        (prefixed(0, 1), "X", "no column name has a prefix"),
        (prefixed(("a__x", 0), ("b__x", 0)), "X", "no column name has a prefix"),
        (prefixed(*pd.date_range("2020", periods=2)), "X", "no column name has a prefix"),
        (np.ones((2, 2)), "X", "X has no column names"),
        (sparse.csr_array(np.ones((2, 2))), "X", "X has no column names"),
        (pd.DataFrame({"t": list("ab"), "u": list("cd")}), "X", "no column name has a prefix"),
    ],
)
def test_one_modality_is_fused_with_a_warning(X, name, why):
    with pytest.warns(UserWarning, match=f"nothing is fused: {why}.*pass modalities="):
        assert resolve_modalities(X) == {name: [0, 1]}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a__x", "y"], r"columns 'y' have no modality prefix .* while others have \('a'\)"),
        (["__x", "a__y"], r"columns '__x' have no modality prefix"),
        (["", "a__y", "b__z"], r"columns '' have no.*\('a', 'b'\)"),
        ([0, "a__y"], r"columns 0 have no modality prefix"),
        (["remainder__x", "a__y"], "prefix 'remainder__' are what a ColumnTransformer left over"),
        (["a__x", "remainder__x"], "prefix 'remainder__' are what a ColumnTransformer left over"),
        (["remainder__x", "remainder__y"], "prefix 'remainder__' are what a ColumnTransformer"),
    ],
)
def test_prefixes_on_some_columns_are_refused(names, words):
    with pytest.raises(ValueError, match=f"{words}.*pass modalities="):
        resolve(prefixed(*names))
    assert resolve(prefixed(*names), {"m": [0], "n": slice(1, None)})["m"] == [0]


def test_column_transformer_upstream_declares_the_modalities():
    declared = ColumnTransformer(
        [("audio", StandardScaler(), ["a", "b"]), ("video", "passthrough", ["c", "d", "e"])]
    ).set_output(transform="pandas")
    pipe = make_pipeline(
        declared, StandardScaler().set_output(transform="pandas"), LateFusionClassifier()
    )
    pipe.fit(FRAME, [0, 1, 0, 1])
    assert {name: len(found) for name, found in pipe[-1].modalities_.items()} == {
        "audio": 2,
        "video": 3,
    }


# Whole sequences in cells


SEQUENCES = {
    "arrays": SEQUENCE,
    "lists": [[1.0, 2.0], [3.0], [4.0]],
    "tuples": [(1,), (2, 3), (4,)],
    "none first": [None, SEQUENCE[0], None],
    "NaN first": [NAN, SEQUENCE[0], NAN],
    "NA first": [pd.NA, SEQUENCE[0], None],
    "NaT first": [pd.NaT, SEQUENCE[0], None],
}


@over(SEQUENCES)
def test_column_of_sequences_is_a_modality(case):
    X = pd.DataFrame({"gyro": cells(*case), "a__x": np.ones(3), "a__y": np.ones(3)})
    assert resolve_modalities(X) == {"gyro": [0], "a": [1, 2]}


def test_columns_of_sequences_stand_alone():
    X = pd.DataFrame({"gyro": cells(*SEQUENCE), "accel": cells(*SEQUENCE)})
    assert resolve_modalities(X) == {"gyro": [0], "accel": [1]}
    with pytest.warns(UserWarning, match="nothing is fused: all columns belong to 'gyro'"):
        assert resolve_modalities(X[["gyro"]]) == {"gyro": [0]}


def test_column_of_sequences_that_a_fold_lost_is_still_a_modality():
    X = pd.DataFrame({"gyro": cells(None, None, None), "accel": cells(*SEQUENCE)})
    assert resolve_modalities(X) == {"gyro": [0], "accel": [1]}


def test_prefix_of_a_column_of_sequences_names_it():
    X = pd.DataFrame({"imu__gyro": cells(*SEQUENCE), "audio__x": np.ones(3)})
    assert resolve_modalities(X) == {"imu": [0], "audio": [1]}


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (
            pd.DataFrame({"gyro": cells(*SEQUENCE), "x": np.ones(3)}),
            r"columns 'x' have no modality prefix.*\('gyro'\)",
        ),
        (
            pd.DataFrame({"gyro": cells(*SEQUENCE), "gyro__x": np.ones(3)}),
            "columns 'gyro', 'gyro__x' would all belong to modality 'gyro'",
        ),
        (
            pd.DataFrame({"imu__gyro": cells(*SEQUENCE), "imu__accel": cells(*SEQUENCE)}),
            "columns 'imu__gyro', 'imu__accel' would all belong to modality 'imu'",
        ),
        (
            pd.concat([cells(*SEQUENCE).rename("gyro")] * 2, axis=1),
            "columns 'gyro', 'gyro' would all belong to modality 'gyro'",
        ),
        (
            pd.DataFrame({0: cells(*SEQUENCE), 1: cells(*SEQUENCE)}),
            "a modality's name must be a non-empty string, got 0",
        ),
        (
            pd.DataFrame({"remainder__gyro": cells(*SEQUENCE), "a__x": np.ones(3)}),
            "columns with the prefix 'remainder__'",
        ),
        (
            pd.DataFrame({"t": cells("words", SEQUENCE[0], None), "a__x": np.ones(3)}),
            "columns 't' have no modality prefix",
        ),
    ],
)
def test_refuses_sequences_that_name_no_modality(X, words):
    with pytest.raises(ValueError, match=words):
        resolve(X)


# Who has which


def lacks(cell):
    """Say of one cell, the slow way, that nothing is in it."""
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return True
    if isinstance(cell, np.ndarray | list | tuple):
        items = list(cell)
        return bool(items) and all(lacks(item) for item in items)
    try:
        return bool(cell != cell)
    except TypeError:
        return False


def looped_presence(X, columns):
    """Ask every cell: a modality is there as soon as one of its cells is."""
    if sparse.issparse(X):
        X = X.toarray()
    return np.array(
        [
            [
                not all(
                    lacks(X.iloc[i, j] if isinstance(X, pd.DataFrame) else X[i, j])
                    for j in as_list(found)
                )
                for i in range(X.shape[0])
            ]
            for found in columns.values()
        ]
    )


HOLES = {
    "float": (pd.Series([1.0, NAN, 0.0, np.inf]), "1011"),
    "float16": (pd.Series([1.0, NAN, 0.0, -np.inf], dtype=np.float16), "1011"),
    "longdouble": (pd.Series(np.array([1.0, NAN, 0.0, 2.0], dtype=np.longdouble)), "1011"),
    "int": (pd.Series([1, 0, -1, 2]), "1111"),
    "bool": (pd.Series([True, False, True, False]), "1111"),
    "Int64": (pd.Series([1, None, 0, None], dtype="Int64"), "1010"),
    "Float64": (pd.Series([1.5, None, 0.0, None], dtype="Float64"), "1010"),
    "boolean": (pd.Series([True, None, False, None], dtype="boolean"), "1010"),
    "text": (cells("t", "", None, "nan"), "1101"),
    "string": (pd.Series(["t", "", None, pd.NA], dtype="string"), "1100"),
    "category": (pd.Series(pd.Categorical(["u", None, "v", NAN])), "1010"),
    "datetime": (pd.Series(pd.to_datetime(["2020-01-01", None, "2021-01-01", None])), "1010"),
    "datetime with zone": (pd.Series(pd.to_datetime(["2020-01-01", None] * 2, utc=True)), "1010"),
    "timedelta": (pd.Series(pd.to_timedelta([1, None, 0, pd.NaT])), "1010"),
    "period": (pd.Series(pd.PeriodIndex(["2020", None, "2021", None], freq="D")), "1010"),
    "sparse of NaN": (pd.Series(pd.arrays.SparseArray([1.0, NAN, 0.0, NAN])), "1010"),
    "sparse of 0": (pd.Series(pd.arrays.SparseArray([1, 0, 0, 2])), "1111"),
    "every sign of absence": (cells(None, NAN, pd.NA, pd.NaT), "0000"),
    "numpy scalars": (cells(np.float32(NAN), np.datetime64("NaT"), np.int8(0), 0), "0011"),
    "numbers as objects": (cells(decimal.Decimal("NaN"), 0, False, 10**40), "0111"),
    "sequences": (cells(np.ones((2, 2)), None, np.full((3, 2), NAN), [[NAN, 1.0]]), "1001"),
    "lists": (cells([1.0], [NAN, NAN], (None, NAN), [[NAN], [NAN, NAN]]), "1000"),
    "ragged": (cells([[NAN], [1.0, 2.0]], NAN, [], np.ones((0, 3))), "1011"),
    "sequences of objects": (
        cells(np.array([None, 1], object), np.array([pd.NA], object), np.array(["a"]), pd.NA),
        "1010",
    ),
    "times": (cells(np.array(["NaT"], "M8[s]"), np.array([0], "m8[s]"), 1, 2), "0111"),
    "whole numbers in sequences": (cells(np.array([0]), np.array([False]), [0], None), "1110"),
    "other things": (cells({}, {"x": NAN}, datetime.date(2020, 1, 1), b""), "1111"),
}


@over(HOLES)
def test_mask_of_every_kind_of_column(case):
    column, wanted = case
    X = pd.DataFrame({"a": column, "b": np.ones(4)}, index=[3, 3, 1, 0])
    X["a"] = column.to_numpy() if column.dtype == object else column.array
    mask = modality_mask(X, {"a": ["a"], "b": ["b"]})
    assert mask.index.equals(X.index)
    assert mask.dtypes.eq(bool).all()
    assert "".join(map(str, mask["a"].astype(int))) == wanted
    assert mask["b"].all()
    one_dimensional = modality_mask(X, {"a": "a", "b": ["b"]})
    pd.testing.assert_frame_equal(one_dimensional, mask)
    beside = modality_mask(X.assign(c=[NAN, 1.0, NAN, NAN]), {"a": ["c", "a"], "b": ["b"]})
    assert beside["a"].tolist() == [digit == "1" or i == 1 for i, digit in enumerate(wanted)]


@st.composite
def holed_frames(draw):
    """A frame of columns of any kind, with holes, and a division of it."""
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 6))
    columns = [
        column.iloc[seed.integers(len(column), size=n)].reset_index(drop=True)
        for column, _ in draw(st.lists(st.sampled_from(list(HOLES.values())), min_size=1))
    ]
    X = pd.concat(columns, axis=1, keys=[f"c{j}" for j in range(len(columns))])
    owner = seed.integers(1, 4, size=len(columns))
    return X, {f"m{k}": np.flatnonzero(owner == k).tolist() for k in np.unique(owner)}


@given(case=holed_frames())
def test_presence_equals_a_loop_over_cells(case):
    X, columns = case
    np.testing.assert_array_equal(presence(X, columns), looped_presence(X, columns))
    scalars = {name: found[0] for name, found in columns.items()}
    np.testing.assert_array_equal(presence(X, scalars), looped_presence(X, scalars))
    np.testing.assert_array_equal(
        modality_mask(X, columns).to_numpy(), looped_presence(X, columns).T
    )


@given(
    data=st.lists(
        st.lists(st.sampled_from([NAN, 0.0, 1.0]), min_size=4, max_size=4), min_size=1, max_size=6
    ),
    kind=st.sampled_from(
        [
            "array",
            "fortran",
            "negative",
            "object",
            "float16",
            "csr_matrix",
            "csc_array",
            "coo_array",
        ]
    ),
    columns=st.sampled_from(
        [{"a": [0, 1], "b": [2, 3]}, {"a": [3, 1], "b": [0, 2]}, {"a": 1, "b": [3, 2, 0]}]
    ),
)
def test_presence_in_arrays_equals_a_loop_over_cells(data, kind, columns):
    values = np.array(data)
    X = {
        "array": lambda: values,
        "fortran": lambda: np.asfortranarray(values),
        "negative": lambda: values[::-1, ::-1],
        "object": lambda: np.where(np.isnan(values), None, values),
        "float16": lambda: values.astype(np.float16),
    }.get(kind, lambda: getattr(sparse, kind)(values))()
    mask = modality_mask(X, columns)
    np.testing.assert_array_equal(mask.to_numpy(), looped_presence(X, columns).T)


def test_sparse_entry_stored_in_parts_counts_once():
    twice = sparse.csr_array((np.array([NAN, NAN, 1.0]), [0, 0, 1], [0, 2, 3]), shape=(2, 2))
    assert modality_mask(twice, {"a": [0, 1]})["a"].tolist() == [True, True]
    assert twice.nnz == 3  # the caller's matrix is as it was


@pytest.mark.parametrize("dtype", [bool, np.int8])
def test_sparse_whole_numbers_are_always_there(dtype):
    X = sparse.csr_array(np.eye(3, dtype=dtype))
    assert modality_mask(X, {"a": [0, 1, 2]})["a"].all()


def test_polars_nulls_are_absent():
    X = pl.DataFrame(
        {
            "a__i": [1, None, 3],
            "b__t": ["t", None, ""],
            "c__f": [None, NAN, 1.0],
            "d__b": [True, None, False],
            "e__c": pl.Series(["u", None, "v"], dtype=pl.Categorical),
            "f__d": [datetime.date(2020, 1, 1), None, None],
            "g__n": pl.Series([None, None, None]),
        }
    )
    found = modality_mask(X).astype(int).T.apply(lambda row: "".join(map(str, row)), axis=1)
    wanted = {"a": "101", "b": "101", "c": "001", "d": "101", "e": "101", "f": "100", "g": "000"}
    assert found.to_dict() == wanted


# Tables that are none


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (None, "Expected 2D array"),
        ("text", "Expected 2D array"),
        ([1, 2], "Expected 2D array"),
        (np.ones(3), "Expected 2D array"),
        (FRAME["a"], "Expected a 2-dimensional container"),
        (np.ones((2, 2, 2)), "Found array with dim 3"),
        (FRAME.iloc[:0], r"0 sample\(s\)"),
        (np.ones((0, 2)), r"0 sample\(s\)"),
        (FRAME[[]], r"0 feature\(s\)"),
        (np.ones((2, 0)), r"0 feature\(s\)"),
        (np.ones((2, 2)) * 1j, "Complex data not supported"),
        (FRAME.astype({"b": complex, "d": complex}), "Complex data.*columns 'b', 'd' of X"),
        (np.ma.array(ARRAY, mask=ARRAY > 3), "X is a masked array, whose mask would be lost"),
    ],
)
@pytest.mark.parametrize("fusion", [LateFusionClassifier, EarlyFusionClassifier])
def test_refuses_what_is_no_table(fusion, X, words):
    for ask in (modality_mask, split_modalities, lambda X: fusion().fit(X, [0, 1, 0, 1])):
        with pytest.raises(ValueError, match=words):
            ask(X)


def test_masked_array_that_hides_nothing_is_an_array():
    X = np.ma.array(ARRAY, mask=False)
    assert modality_mask(X, {"m": slice(None)})["m"].all()


def test_warnings_point_at_the_caller():
    def file_of(ask):
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            ask()
        return {warning.filename for warning in record}

    lost = FRAME.assign(a=[NAN, *"123"], b=NAN).astype(float)
    model = LateFusionClassifier(modalities={"m": ["a"], "n": ["c", "d", "e"]})
    assert file_of(lambda: resolve_modalities(FRAME, {"m": [0]})) == {__file__}
    assert file_of(lambda: modality_mask(ARRAY)) == {__file__}
    assert file_of(lambda: model.fit(lost, [0, 1, 0, 1])) == {__file__}
    assert file_of(lambda: make_pipeline(model).fit(lost, [0, 1, 0, 1])) == {__file__}


# Joining and splitting


A = pd.DataFrame({"p": [1.0, 2.0, 3.0], "q": [4.0, 5.0, 6.0]}, index=list("xyz"))
B = pd.DataFrame({"p": [7.0, 8.0]}, index=list("zw"))


def test_join_aligns_on_the_index():
    inner = join_modalities({"a": A, "b": B})
    assert inner.to_dict("index") == {"z": {"a__p": 3.0, "a__q": 6.0, "b__p": 7.0}}
    outer = join_modalities({"b": B, "a": A}, how="outer")
    assert list(outer.index) == list("zwxy")
    assert list(outer.columns) == ["b__p", "a__p", "a__q"]
    assert outer.loc["w", ["a__p", "a__q"]].isna().all()
    assert modality_mask(outer).to_numpy().astype(int).tolist() == [[1, 1], [1, 0], [0, 1], [0, 1]]


@st.composite
def blocks(draw):
    """Tables of several modalities, each with samples of its own and something in every row."""
    labels = draw(
        st.sampled_from(
            [
                range(8),
                list("abcdefgh"),
                pd.date_range("2020", periods=8),
                [0.5, 3, "x", "y", 7, True, -1, pd.Timestamp("2020-01-01")],
            ]
        )
    )
    found = {}
    for name in draw(st.permutations(["a", "b", "c"])):
        chosen = draw(st.lists(st.sampled_from(range(8)), min_size=1, unique=True))
        index = pd.Index([labels[i] for i in chosen], dtype=None if labels[0] != 0.5 else object)
        kind = draw(st.sampled_from(["numbers", "text", "sequence", "nullable"]))
        count = np.array(chosen, dtype=float)
        if kind == "sequence":
            found[name] = pd.Series(fill_cells([np.full((i + 1, 2), i) for i in chosen]), index)
        elif kind == "text":
            found[name] = pd.DataFrame({"t": [f"word {i}" for i in chosen]}, index=index)
        elif kind == "nullable":
            found[name] = pd.DataFrame({0: count, 1: count + 1}, index=index).astype("Float64")
        else:
            width = draw(st.integers(1, 3))
            numbers = np.add.outer(count, np.arange(width) / 7)
            found[name] = pd.DataFrame(numbers, index=index).add_prefix("x__")
    return found


def assert_same_block(found, wanted, name):
    if isinstance(wanted, pd.Series):
        assert list(found.columns) == [name]
        assert found.index.equals(wanted.index)
        for cell, other in zip(found[name], wanted, strict=True):
            np.testing.assert_array_equal(cell, other)
    else:
        wanted = wanted.rename(columns=str)
        pd.testing.assert_frame_equal(found, wanted, check_index_type=False)


@given(tables=blocks())
def test_split_goes_back_from_an_outer_join(tables):
    X = join_modalities(tables, how="outer")
    seen = dict.fromkeys(label for block in tables.values() for label in block.index)
    assert list(X.index) == list(seen)  # in the order in which they first appear
    there = pd.DataFrame({name: X.index.isin(block.index) for name, block in tables.items()})
    np.testing.assert_array_equal(modality_mask(X).to_numpy(), there.to_numpy())
    for name, block in split_modalities(X).items():
        wanted = tables[name]
        in_order = [label for label in seen if label in set(wanted.index)]
        assert_same_block(block, wanted.reindex(in_order), name)


@given(tables=blocks())
def test_inner_join_keeps_what_all_have(tables):
    first = next(iter(tables.values()))
    common = [
        label for label in first.index if all(label in set(b.index) for b in tables.values())
    ]
    if not common:
        with pytest.raises(ValueError, match="no sample is in all of the modalities"):
            join_modalities(tables)
        return
    X = join_modalities(tables)
    assert list(X.index) == common
    for name, block in split_modalities(X).items():
        assert_same_block(block, tables[name].reindex(common), name)


def test_join_of_equal_indices_needs_no_unique_ones():
    X = join_modalities({"a": A.set_axis([0, 0, 1]), "b": A.set_axis([0, 0, 1])})
    assert X["a__p"].tolist() == X["b__p"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("how", ["inner", "outer"])
@pytest.mark.parametrize("other", [[0, 1, 0], [1, 0, 0], [0, 1, 2]])
def test_join_refuses_samples_that_stand_twice(how, other):
    tables = {"a": A.set_axis([0, 0, 1]), "b": A.set_axis(other)}
    with pytest.raises(ValueError, match="modality 'a': index entries 0 stand more than once"):
        join_modalities(tables, how=how)


def test_join_takes_arrays_by_position():
    sequences = [np.ones((2, 1)), None, np.ones((1, 1))]
    X = join_modalities(
        {
            "a": ARRAY[:3, :2],
            "b": [[1], [2], [3]],
            "c": sequences,
            "d": np.ones((3, 4, 2)),
            "e": pd.Series([1.0, 2.0, 3.0], name="v"),
            "f": pd.Series([1.0, 2.0, 3.0]),
            "g": pl.DataFrame({"w": [1, 2, 3]}),
        }
    )
    assert list(X.columns) == ["a__0", "a__1", "b__0", "c", "d", "e__v", "f__f", "g__w"]
    assert X["c"].tolist() == sequences
    assert [cell.shape for cell in X["d"]] == [(4, 2)] * 3
    assert list(resolve_modalities(X)) == list("abcdefg")


@pytest.mark.parametrize("count", [1, 3])
def test_join_keeps_sequences_of_one_shape_apart(count):
    X = join_modalities({"a": [np.ones((2, 3))] * count, "b": np.ones((count, 1))})
    assert X.shape == (count, 2)
    assert [cell.shape for cell in X["a"]] == [(2, 3)] * count


def test_join_keeps_a_column_of_sequences_a_modality():
    X = join_modalities({"imu": pd.DataFrame({"gyro": cells(*SEQUENCE)}), "a": np.ones((3, 1))})
    assert resolve_modalities(X) == {"imu": [0], "a": [1]}
    assert list(split_modalities(X)["imu"].columns) == ["gyro"]


NOT_JOINED = {
    "nothing": ({}, ValueError, "blocks must be a mapping that names at least one modality"),
    "list": ([A], ValueError, "blocks must be a mapping"),
    "name": ({"a__b": A}, ValueError, "modality 'a__b': a name must not contain '__'"),
    "last underscore": ({"a_": A, "a": A}, ValueError, "modality 'a_': a name must not end in"),
    "number": ({0: A}, ValueError, "a modality's name must be a non-empty string, got 0"),
    "none": ({"a": A, "b": None}, ValueError, "modality 'b' is no table"),
    "vector": ({"a": A, "b": np.ones(3)}, ValueError, "modality 'b' is no table: Expected 2D"),
    "ragged": ({"a": [[1, 2], [3]]}, ValueError, "modality 'a' is no table"),
    "no columns": ({"a": A, "b": A[[]]}, ValueError, "modality 'b' has no columns"),
    "sparse": ({"a": sparse.eye(2)}, TypeError, "modality 'a' is a sparse matrix"),
    "lengths": (
        {"a": np.ones((2, 1)), "b": np.ones((3, 1))},
        ValueError,
        "modalities 'a', 'b' have no index.*'a' 2, 'b' 3.; pass DataFrames",
    ),
    "array beside labels": ({"a": A, "b": ARRAY[:3]}, ValueError, "modalities 'b' have no index"),
    "one name": (
        {"a": pd.DataFrame([[1, 2, 3]], columns=[1, "1", "2"])},
        ValueError,
        "modality 'a': several columns would be named 'a__1'",
    ),
    "nothing in common": (
        {"a": A, "b": A.reset_index(drop=True)},
        ValueError,
        "no sample is in all of the modalities 'a', 'b'.*how='outer'",
    ),
}


@over(NOT_JOINED)
def test_join_refuses(case):
    tables, error, words = case
    with pytest.raises(error, match=words):
        join_modalities(tables)


def test_join_refuses_other_ways():
    with pytest.raises(ValueError, match="how must be one of 'inner', 'outer', got 'left'"):
        join_modalities({"a": A}, how="left")


def test_join_and_split_leave_their_inputs_alone():
    a, b = A.copy(), ARRAY[:3].copy()
    X = join_modalities({"a": a, "b": pd.DataFrame(b, index=list("xyz"))})
    X.iloc[:, :] = -1.0
    np.testing.assert_array_equal(b, ARRAY[:3])
    pd.testing.assert_frame_equal(a, A)


def test_split_keeps_or_drops_the_absent():
    X = pd.DataFrame({"a__p": [1.0, NAN], "a__q": [NAN, NAN], "b__a__r": [1.0, 2.0]}, index=[5, 3])
    dropped, kept = split_modalities(X), split_modalities(X, drop_absent=False)
    assert dropped["a"].index.tolist() == [5]
    assert kept["a"].index.tolist() == [5, 3]
    assert list(dropped["a"].columns) == ["p", "q"]
    assert list(dropped["b"].columns) == ["a__r"]  # one prefix is taken off, not two


def test_split_gives_vectors_for_scalars():
    series = split_modalities(prefixed("a__x", "b__y"), {"a": "a__x", "b": ["b__y"]})
    assert series["a"].name == "x"
    assert list(series["b"].columns) == ["y"]
    arrays = split_modalities(ARRAY, {"m": 0, "n": slice(1, None)})
    assert arrays["m"].shape == (4,)
    assert arrays["n"].shape == (4, 4)


# From steps to sequences


@st.composite
def long_frames(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 12))
    ids = rng.choice(draw(st.sampled_from([[1], [7, 3], ["u", "v", "w"]])), size=n)
    values = rng.normal(size=(n, 3))
    values[rng.random((n, 3)) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = NAN
    frame = pd.DataFrame(values, columns=["a__x", "b__x", "a__y"])
    frame["label"] = [f"label of {i}" for i in ids]
    frame["day"] = pd.Series([None if i in (7, "u") else "day" for i in ids], dtype=object)
    return frame, ids


@given(case=long_frames(), as_level=st.booleans())
def test_to_sequences_equals_a_loop(case, as_level):
    frame, ids = case
    if as_level:
        steps = frame.set_index([pd.Index(ids, name="who"), pd.RangeIndex(len(ids), name="t")])
    else:
        steps = frame.assign(who=ids)
    found = to_sequences(steps, "who", keep=["label", "day"])
    order = list(dict.fromkeys(ids.tolist()))
    assert found.index.tolist() == order
    assert found.index.name == "who"
    assert list(found.columns) == ["a", "b", "label", "day"]
    for who in order:
        for name, columns in {"a": ["a__x", "a__y"], "b": ["b__x"]}.items():
            rows = [
                [frame[column].iloc[i] for column in columns]
                for i in range(len(ids))
                if ids[i] == who
            ]
            cell = found.loc[who, name]
            if lacks(rows):
                assert cell is None
            else:
                np.testing.assert_array_equal(cell, np.array(rows))
        assert found.loc[who, "label"] == f"label of {who}"
        assert found["day"].isna()[who] == (who in (7, "u"))
    if found[["a", "b"]].notna().any(axis=None):
        assert resolve_modalities(found[["a", "b"]]) == {"a": [0], "b": [1]}


STEPS = pd.DataFrame(
    {"sequence": [2, 1, 2], "a__x": [1, 2, 3], "b__y": [0.1, 0.2, 0.3], "label": ["p", "q", "p"]}
)


def test_to_sequences_takes_selectors_names_and_polars():
    chosen = {"m": ["b__y", "a__x"]}
    for frame in (STEPS, pl.from_pandas(STEPS)):
        found = to_sequences(frame, modalities=chosen, keep="label")
        assert list(found.columns) == ["m", "label"]
        assert found.loc[2, "m"].tolist() == [[0.1, 1.0], [0.3, 3.0]]
        assert found["label"].to_dict() == {2: "p", 1: "q"}


def test_to_sequences_makes_numbers_of_nullable_columns():
    steps = STEPS.assign(a__x=pd.array([1, None, 3], dtype="Int64"))
    found = to_sequences(steps, keep="label")["a"]
    assert found[2].dtype == np.float64
    assert found[2].tolist() == [[1.0], [3.0]]
    assert found[1] is None


@pytest.mark.parametrize(
    "labels",
    [
        pd.array([1, 2, 1], dtype="Int64"),
        pd.array([1, None, 1], dtype="Int64"),
        pd.array(["p", None, "p"], dtype="string"),
        pd.Categorical(["p", "q", "p"]),
        pd.to_datetime(["2020-01-01", "2021-01-01", "2020-01-01"], utc=True),
        [True, False, True],
        fill_cells([None, 1, NAN]),
        fill_cells([("a", 1), pd.NA, ("a", 1)]),
    ],
    ids=lambda labels: str(getattr(labels, "dtype", "bool")),
)
def test_to_sequences_keeps_constants_of_any_kind(labels):
    frame = STEPS.assign(label=labels)
    found = to_sequences(frame, keep=["label"])["label"]
    assert found.dtype == frame["label"].dtype
    for cell, wanted in zip(found, labels[:2], strict=True):
        assert lacks(cell) if lacks(wanted) else cell == wanted


NO_SEQUENCES = {
    "array": (STEPS.to_numpy(), {}, TypeError, "frame must be a DataFrame, got ndarray"),
    "no rows": (STEPS.iloc[:0], {}, ValueError, r"0 sample\(s\)"),
    "no such id": (STEPS, {"by": "who"}, KeyError, "'who' is neither a column nor an index level"),
    "no id": (STEPS, {"by": None}, TypeError, "by must be the name of a column or of an index"),
    "list": (STEPS, {"by": ["sequence"]}, TypeError, "by must be the name of a column"),
    "missing id": (
        STEPS.assign(sequence=[1, NAN, 1]),
        {"keep": "label"},
        ValueError,
        "the sequence id 'sequence' is missing for 1 rows",
    ),
    "id twice": (
        STEPS.set_axis(["sequence", "sequence", "b__y", "label"], axis=1),
        {"keep": "label"},
        ValueError,
        "more than one column named 'sequence'",
    ),
    "kept twice": (
        STEPS.set_axis(["sequence", "label", "b__y", "label"], axis=1),
        {"keep": "label"},
        ValueError,
        "more than one column named 'label'",
    ),
    "only ids": (STEPS[["sequence"]], {}, ValueError, "no columns besides 'sequence'"),
    "only kept": (
        STEPS[["sequence", "label"]],
        {"keep": "label"},
        ValueError,
        "no columns besides 'sequence', 'label'",
    ),
    "no such column": (STEPS, {"keep": ["lebal"]}, KeyError, "that are not there: 'lebal'"),
    "varies": (
        STEPS.assign(label=list("pqr")),
        {"keep": "label"},
        ValueError,
        "column 'label' of keep varies within sequence 2",
    ),
    "varies by a hole": (
        STEPS.assign(label=pd.array(["p", "q", None], dtype="string")),
        {"keep": "label"},
        ValueError,
        "column 'label' of keep varies within sequence 2",
    ),
    "cannot be compared": (
        STEPS.assign(label=fill_cells([[1], [2], [1]])),
        {"keep": "label"},
        TypeError,
        "column 'label' of keep",
    ),
    "kept name of a modality": (
        STEPS.rename(columns={"label": "a"}),
        {"keep": "a"},
        ValueError,
        "keep names 'a', which are names of modalities too",
    ),
    "column of no modality": (STEPS, {}, ValueError, "columns 'label' have no modality prefix"),
    "left over": (
        STEPS,
        {"modalities": {"m": ["a__x"]}, "keep": "label"},
        ValueError,
        "columns 'b__y' of X belong to no modality",
    ),
}


@over(NO_SEQUENCES)
def test_to_sequences_refuses(case):
    frame, options, error, words = case
    with pytest.raises(error, match=words):
        to_sequences(frame, **options)


def test_to_sequences_leaves_its_input_alone():
    frame = STEPS.copy()
    for cell in to_sequences(frame, keep="label")["b"]:
        cell[...] = -1.0
    pd.testing.assert_frame_equal(frame, STEPS)


# At predict


V = np.random.default_rng(0).normal(size=(24, 4))
Y = (V[:, 0] + V[:, 2] > 0).astype(int)
NAMED = pd.DataFrame(V, columns=["a__x", "a__y", "b__x", "b__y"])
DIVIDED = {"a": [0, 1], "b": [2, 3]}
GIVEN = {
    "frame": NAMED,
    "polars": pl.from_pandas(NAMED),
    "array": V,
    "list": V.tolist(),
    "fewer columns": NAMED[["a__x", "a__y", "b__x"]],
    "more columns": NAMED.assign(c__x=0.0),
    "array of fewer columns": V[:, :3],
    "other order": NAMED[["b__y", "b__x", "a__y", "a__x"]],
    "other names": NAMED.set_axis(["a__x", "a__y", "b__x", "b__z"], axis=1),
    "numbered": NAMED.set_axis(range(4), axis=1),
    "numbered otherwise": NAMED.set_axis([7, 5, 3, 1], axis=1),
    "names twice": NAMED.set_axis(["a__x", "a__x", "b__x", "b__y"], axis=1),
    "levels": NAMED.set_axis(pd.MultiIndex.from_product([list("ab"), list("xy")]), axis=1),
    "dates": NAMED.set_axis(pd.date_range("2020", periods=4), axis=1),
    "names and numbers": NAMED.set_axis(["a__x", 1, "b__x", "b__y"], axis=1),
    "names and none": NAMED.set_axis(["a__x", None, "b__x", 1.5], axis=1),
    "one row": V[0],
    "no rows": NAMED.iloc[:0],
    "series": NAMED["a__x"],
    "nothing": None,
    "cube": V[None],
}


def outcome(model, method, fitted_on, asked_of):
    """What fit and predict do: an answer with the warnings about names, or an error."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        try:
            fitted = clone(model).fit(fitted_on, Y)
        except (ValueError, TypeError):
            return "refused at fit", None
        del record[:]
        try:
            answer = np.asarray(getattr(fitted, method)(asked_of))
        except (ValueError, TypeError):
            return "refused", None
    told = sorted(re.sub("but .* was", "but it was", str(warning.message)) for warning in record)
    return tuple(told), answer


COMPLETE = [name for name, X in GIVEN.items() if np.shape(X) == V.shape and name != "other order"]


@pytest.mark.parametrize("fitted_on", COMPLETE)
def test_other_table_at_predict_is_met_as_by_scikit_learn(fitted_on):
    reference = make_pipeline(StandardScaler(), LogisticRegression())
    ours = {
        LateFusionClassifier(modalities=DIVIDED): "predict_proba",
        EarlyFusionClassifier(modalities=DIVIDED): "predict_proba",
        ModalityConcatenator(modalities=DIVIDED, transformer=StandardScaler()): "transform",
    }
    for name, X in GIVEN.items():
        theirs, _ = outcome(reference, "predict_proba", GIVEN[fitted_on], X)
        for model, method in ours.items():
            found, answer = outcome(model, method, GIVEN[fitted_on], X)
            assert found == theirs, (name, type(model).__name__)
            if answer is not None and name != "other order":  # columns count by their place
                _, wanted = outcome(model, method, GIVEN[fitted_on], GIVEN[fitted_on])
                np.testing.assert_allclose(answer, wanted, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    ("X", "words"),
    [
        (GIVEN["fewer columns"], "modality 'b' lacks the columns 'b__y'"),
        (NAMED[["b__x", "b__y"]], "modality 'a' lacks the columns 'a__x', 'a__y'"),
        (GIVEN["other names"], "b__z(.|\n)*modality 'b' lacks the columns 'b__y'"),
        (GIVEN["more columns"], "unseen at fit time:\n- c__x"),
        (GIVEN["other order"], "Feature names must be in the same order as they were in fit"),
        (GIVEN["names twice"], "modality 'a' lacks the columns 'a__y'"),
        (GIVEN["array of fewer columns"], "X has 3 features, but .* is expecting 4 features"),
    ],
)
def test_refuses_other_columns_at_predict(fusion, X, words):
    fitted = fusion(modalities=DIVIDED).fit(NAMED, Y)
    ask = fitted.transform if fusion is ModalityConcatenator else fitted.predict
    with pytest.raises(ValueError, match=words):
        ask(X)


NO_PLACE = NAMED.assign(place=1.0, time=2.0)  # both are in no modality
SELECTED = r"\nX has every column of the fit; pass X\[estimator.feature_names_in_\]\Z"
FILLED = r"\nfor NaN in place of .*, pass X.reindex\(columns=estimator.feature_names_in_\)\Z"
UNUSED = r"\ncolumns 'place', 'time' are in no modality, but were there at fit"
TWICE = r"\ncolumns 'time' stand in X more than once\Z"
PARTLY = r"\nmodality 'b' lacks the columns 'b__y'"
REMEDIES = {
    "more": (NO_PLACE.assign(z=1.0), SELECTED),
    "other order": (NO_PLACE[NO_PLACE.columns[::-1]], SELECTED),
    "more in another order": (NO_PLACE.assign(z=1.0).iloc[:, ::-1], SELECTED),
    "all of a modality": (NO_PLACE.drop(columns=["a__x", "a__y"]), rf"'a__x', 'a__y'{FILLED}"),
    "unused ones": (NAMED, UNUSED + FILLED),
    "part of a modality": (NO_PLACE.drop(columns="b__y"), rf"{PARTLY}\Z"),
    "that and unused ones": (NAMED.drop(columns="b__y"), rf"{PARTLY}{UNUSED}\Z"),
    "one twice": (
        NO_PLACE.iloc[:, [0, 1, 2, 3, 4, 5, 5]],
        TWICE,
    ),
}


@pytest.mark.filterwarnings("ignore:columns .* belong to no modality:UserWarning")
@pytest.mark.parametrize("fusion", FUSIONS)
@over(REMEDIES)
def test_other_columns_at_predict_come_with_a_remedy(case, fusion):
    X, words = case
    fitted = fusion(modalities=DIVIDED).fit(NO_PLACE, Y)
    ask = fitted.transform if fusion is ModalityConcatenator else fitted.predict
    with pytest.raises(ValueError, match=words):
        ask(X)


@pytest.mark.filterwarnings("ignore:columns .* belong to no modality:UserWarning")
def test_the_remedies_for_other_columns_work():
    fitted = LateFusionClassifier(modalities=DIVIDED).fit(NO_PLACE, Y)
    for name in ("more", "other order", "more in another order"):
        again = REMEDIES[name][0][fitted.feature_names_in_]
        np.testing.assert_array_equal(fitted.predict(again), fitted.predict(NO_PLACE))
    filled = NAMED.reindex(columns=fitted.feature_names_in_)
    np.testing.assert_array_equal(fitted.predict(filled), fitted.predict(NO_PLACE))
    lost = REMEDIES["all of a modality"][0].reindex(columns=fitted.feature_names_in_)
    absent = NO_PLACE.assign(a__x=np.nan, a__y=np.nan)
    np.testing.assert_array_equal(fitted.predict_proba(lost), fitted.predict_proba(absent))


@pytest.mark.filterwarnings("ignore:X has neither")
def test_a_sequence_id_that_is_lacking_has_no_remedy():
    steps = NAMED.assign(clip=np.arange(len(NAMED)) // 4)
    fitted = HMMTagger(modalities=DIVIDED, sequence="clip").fit(steps, Y)
    with pytest.raises(ValueError, match=r"now missing:\n- clip\n\Z"):
        fitted.predict(NAMED)


def test_array_after_frame_keeps_names_for_the_models():
    def by_name(X):
        return X[["a__x"]]

    model = make_pipeline(FunctionTransformer(by_name), LogisticRegression())
    fitted = LateFusionClassifier([("a", model)], DIVIDED).fit(NAMED, Y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        answer = fitted.predict(V)
    np.testing.assert_array_equal(answer, fitted.predict(NAMED))


def test_nullable_frame_after_array_becomes_numbers():
    fitted = LateFusionClassifier(modalities=DIVIDED, estimator=DecisionTreeClassifier()).fit(V, Y)
    lost = np.where(V > 1, NAN, V)
    assert 0 < np.isnan(lost[:, 0]).sum() < len(V)
    frame = pd.DataFrame(lost, columns=list("abcd")).astype("Float64")
    with pytest.warns(UserWarning, match="X has feature names"):
        answer = fitted.predict_proba(frame)
    np.testing.assert_array_equal(answer, fitted.predict_proba(lost))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fitted_selectors_fit_again(fusion):
    by_callable = {"a": make_column_selector("^a"), "b": slice(-2, None)}
    for X, wanted in (
        (NAMED, {"a": ["a__x", "a__y"], "b": ["b__x", "b__y"]}),
        (V, DIVIDED),
        (NAMED.set_axis(range(4), axis=1), DIVIDED),
    ):
        modalities = by_callable if X is NAMED else {"a": slice(0, 2), "b": slice(-2, None)}
        fitted = fusion(modalities=modalities).fit(X, Y)
        assert fitted.modalities_ == wanted
        assert fusion(modalities=fitted.modalities_).fit(X, Y).modalities_ == wanted


@settings(max_examples=15)
@given(order=st.permutations(range(4)), seed=st.integers(0, 2**32 - 1))
def test_place_of_a_modality_in_x_does_not_matter(order, seed):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(12, 4)), columns=["a__x", "a__y", "b__x", "b__y"])
    y = np.arange(12) % 2
    chosen = {"a": ["a__x", "a__y"], "b": ["b__x", "b__y"]}
    moved = X.iloc[:, list(order)]
    for fusion in CLASSIFIERS:
        ours = fusion(modalities=chosen).fit(X, y).predict_proba(X)
        theirs = fusion(modalities=chosen).fit(moved, y).predict_proba(moved)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
