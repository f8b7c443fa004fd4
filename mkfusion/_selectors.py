"""Selectors of columns: which of X belong to which modality."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from ._validation import check_option, listed, warn

__all__ = [
    "Columns",
    "as_list",
    "check_names",
    "holds_sequences",
    "is_missing_scalar",
    "left_over",
    "resolve_modalities",
]

Columns = int | list[int]


def resolve_modalities(
    X: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    remainder: str = "drop",
    allow_overlap: bool = False,
    reserved: Iterable[str] = (),
    aside: Collection[int] = (),
    fitting: bool = False,
) -> dict[str, Columns]:
    """Return the positions of each modality's columns in a table.

    A scalar selector gives one position, for a 1-D column, any other a list of positions. The
    columns ``aside`` hold no features: they belong to no modality and are no remainder. Where an
    estimator is ``fitting``, its later tables must have the columns that are left over, too.
    """
    check_option("remainder", remainder, ("drop", "error"))
    if modalities is None:
        columns = _from_names(X, aside) if isinstance(X, pd.DataFrame) else _single(X)
    else:
        if not isinstance(modalities, Mapping):
            raise TypeError(
                "modalities must be a mapping from names to column selectors, "
                f"got {type(modalities).__name__}"
            )
        if not modalities:
            raise ValueError("modalities is an empty mapping: it must name at least one modality")
        columns = {name: _positions(X, name, value) for name, value in modalities.items()}
        _refuse_aside(X, columns, aside)
    check_names(columns, reserved)
    if not allow_overlap:
        _refuse_overlap(X, columns)
    _handle_remainder(X, columns, remainder, aside, fitting)
    return columns


def check_names(names: Iterable[Any], reserved: Iterable[str]) -> None:
    """Refuse names that no modality can have."""
    reserved = set(reserved)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"a modality's name must be a non-empty string, got {name!r}")
        if "__" in name:
            raise ValueError(
                f"modality {name!r}: a name must not contain '__', which separates "
                "it from a parameter or a column"
            )
        if name.endswith("_"):
            raise ValueError(
                f"modality {name!r}: a name must not end in '_', or 'name__column' could not be "
                "divided again"
            )
        if name in reserved:
            raise ValueError(
                f"modality {name!r} has the name of a constructor parameter; rename it"
            )


def _single(X: Any) -> dict[str, Columns]:
    _warn_single("X has no column names")
    return {"X": list(range(X.shape[1]))}


def _warn_single(why: str) -> None:
    warn(
        f"nothing is fused: {why}, so that X is one modality; "
        "pass modalities={'name': columns, ...} or prefix the columns as 'name__column'"
    )


def _from_names(X: pd.DataFrame, aside: Collection[int]) -> dict[str, Columns]:
    own = [j for j in range(X.shape[1]) if j not in aside]
    if not own:
        raise ValueError(f"X has no columns besides {_names(X, aside)}, which is no feature")
    prefixes = {j: _prefix(X.columns[j]) for j in own}
    sequences = _sequence_columns(X, prefixes)
    lacking = [j for j, prefix in prefixes.items() if not prefix and j not in sequences]
    if len(lacking) == len(own):
        _warn_single("no column name has a prefix")
        return {"X": lacking}
    if lacking:
        named = dict.fromkeys(filter(None, prefixes.values()))
        others = named or [X.columns[j] for j in sequences]
        raise ValueError(
            f"columns {_names(X, lacking)} have no modality prefix ('name__column') while others "
            f"have ({listed(others)}); pass modalities={{'name': columns, ...}}"
        )
    if "remainder" in prefixes.values():
        raise ValueError(
            "columns with the prefix 'remainder__' are what a ColumnTransformer left over, "
            "not a modality; pass modalities={'name': columns, ...}"
        )
    columns: dict[str, list[int]] = {}
    for j, prefix in prefixes.items():
        columns.setdefault(prefix or X.columns[j], []).append(j)
    for name, found in columns.items():
        if len(found) > 1 and not sequences.isdisjoint(found):
            raise ValueError(
                f"columns {_names(X, found)} would all belong to modality {name!r}, but a column "
                "of whole sequences is a modality by itself; rename it, or pass "
                "modalities={'name': columns, ...}"
            )
    if len(columns) == 1:
        _warn_single(f"all columns belong to {listed(columns)}")
    return dict(columns)


def _sequence_columns(X: pd.DataFrame, prefixes: Mapping[int, str]) -> set[int]:
    """Return the columns of whole sequences, with those beside them that no row has."""
    dtypes = X.dtypes.tolist()
    columns = {j: X.iloc[:, j] for j in prefixes if dtypes[j] == "object"}
    sequences = {j for j, column in columns.items() if holds_sequences(column)}
    if sequences:
        lost = (j for j in columns if not prefixes[j])
        sequences.update(j for j in lost if columns[j].isna().all())
    return sequences


def _prefix(name: Any) -> str:
    return name.partition("__")[0] if isinstance(name, str) and "__" in name else ""


def holds_sequences(column: pd.Series) -> bool:
    """Tell whether the cells of a column are whole sequences, by the first that is there."""
    if column.dtype != object:
        return False
    first = next((cell for cell in column if not is_missing_scalar(cell)), None)
    return isinstance(first, np.ndarray | list | tuple)


def is_missing_scalar(cell: Any) -> bool:
    """Tell whether a cell holds None, NaN, NA or NaT."""
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return True
    return bool(np.isscalar(cell) and cell != cell)


# Selectors ----------------------------------------------------------------------------------


def _positions(X: Any, name: str, selector: Any) -> Columns:
    """Resolve one selector, as ColumnTransformer would, to positions."""
    given = selector
    if callable(selector):
        selector = _called(X, name, selector)
    if isinstance(selector, bool | np.bool_):
        raise TypeError(f"modality {name!r}: a selector cannot be the single value {selector}")
    if isinstance(selector, Integral):
        return _check_positions(X, name, [selector], given)[0]
    if isinstance(selector, str):
        return _by_name(X, name, [selector])[0]
    if isinstance(selector, slice):
        found = _slice(X, name, selector)
    else:
        found = _listed_positions(X, name, selector)
    if not found:
        raise ValueError(
            f"modality {name!r} selects no columns of X ({X.shape[1]} columns); "
            f"its selector is {given!r}"
        )
    twice = [j for j in set(found) if found.count(j) > 1] if len(set(found)) < len(found) else []
    if twice:
        raise ValueError(f"modality {name!r} selects columns {_names(X, twice)} more than once")
    return found


def _called(X: Any, name: str, selector: Callable[[Any], Any]) -> Any:
    try:
        return selector(X)
    except Exception as error:
        error.add_note(f"raised by the selector of modality {name!r}")
        raise


def _slice(X: Any, name: str, selector: slice) -> list[int]:
    ends = [end for end in (selector.start, selector.stop) if end is not None]
    kinds = {_kind(end) for end in ends}
    step = 1 if selector.step is None else selector.step
    if kinds not in (set(), {"int"}, {"str"}) or _kind(step) != "int" or step == 0:
        raise TypeError(
            f"modality {name!r}: a slice goes from name to name or from position to position, "
            f"in whole steps, got {selector!r}"
        )
    places = range(X.shape[1])
    if kinds == {"str"}:
        # The last name belongs to the slice, as in pandas.
        found = {end: _by_name(X, name, [end])[0] for end in ends}
        forth = 1 if step > 0 else -1
        first = found.get(selector.start, places[0 if step > 0 else -1])
        last = found.get(selector.stop, places[-1 if step > 0 else 0])
        return list(range(first, last + forth, step))
    if places[selector] and max(map(abs, ends), default=0) > len(places):
        raise ValueError(
            f"modality {name!r}: {selector!r} goes beyond X, which has {len(places)} columns"
        )
    return list(places[selector])


# What has no order, is read only once, or would be taken for numbers.
_NO_LIST = (set, frozenset, Mapping, Iterator, bytes, bytearray)


def _listed_positions(X: Any, name: str, selector: Any) -> list[int]:
    one_dimensional = np.ndim(selector) == 1 if hasattr(selector, "ndim") else True
    if isinstance(selector, _NO_LIST) or not isinstance(selector, Iterable) or not one_dimensional:
        raise TypeError(
            f"modality {name!r}: a selector is a name, a position, a slice, a list of either, "
            f"a boolean mask or a callable, got {selector!r}"
        )
    chosen = list(selector)
    kinds = {_kind(item) for item in chosen}
    if kinds == {"bool"}:
        if len(chosen) != X.shape[1]:
            raise ValueError(
                f"modality {name!r}: its boolean mask has length {len(chosen)}, "
                f"X has {X.shape[1]} columns"
            )
        return np.flatnonzero(chosen).tolist()
    if kinds == {"str"}:
        return _by_name(X, name, chosen)
    if kinds <= {"int"}:
        return _check_positions(X, name, chosen, selector)
    raise TypeError(
        f"modality {name!r}: a list of columns holds names, positions or booleans, "
        f"all of one kind, got {selector!r}"
    )


def _kind(item: Any) -> str:
    if isinstance(item, bool | np.bool_):
        return "bool"
    if isinstance(item, Integral):
        return "int"
    return "str" if isinstance(item, str) else "other"


def _by_name(X: Any, name: str, wanted: list[str]) -> list[int]:
    if not isinstance(X, pd.DataFrame):
        raise ValueError(
            f"modality {name!r} selects columns by name ({listed(wanted)}), but X is an array "
            "without names; pass a DataFrame, or select by position"
        )
    places: dict[Any, list[int]] = {}
    for j, column in enumerate(X.columns):
        places.setdefault(column, []).append(j)
    missing = [column for column in wanted if column not in places]
    if missing:
        close = difflib.get_close_matches(missing[0], [str(c) for c in X.columns], n=3)
        hint = f"; close to it: {listed(close)}" if close else ""
        raise ValueError(f"modality {name!r}: X has no columns {listed(missing)}{hint}")
    doubled = [column for column in wanted if len(places[column]) > 1]
    if doubled:
        raise ValueError(
            f"modality {name!r}: X has more than one column named {listed(doubled)}; "
            "select by position"
        )
    return [places[column][0] for column in wanted]


def _check_positions(X: Any, name: str, positions: Iterable[Any], given: Any) -> list[int]:
    width = X.shape[1]
    places = [int(j) for j in positions]
    beyond = [j for j in places if not -width <= j < width]
    if beyond:
        raise ValueError(
            f"modality {name!r}: positions {listed(beyond)} lie beyond X, "
            f"which has {width} columns; its selector is {given!r}"
        )
    return [j % width for j in places]


def as_list(columns: Columns) -> list[int]:
    """Return a modality's positions as a list, whether it is 1-D or 2-D."""
    return [columns] if isinstance(columns, int) else columns


def _names(X: Any, positions: Iterable[int]) -> str:
    return listed(X.columns[j] if isinstance(X, pd.DataFrame) else j for j in sorted(positions))


def _refuse_overlap(X: Any, columns: Mapping[str, Columns]) -> None:
    owner: dict[int, str] = {}
    for name, found in columns.items():
        shared = [j for j in as_list(found) if j in owner]
        if shared:
            raise ValueError(
                f"modalities {owner[shared[0]]!r} and {name!r} share columns "
                f"{_names(X, shared)}; pass allow_overlap=True if that is meant"
            )
        owner.update(dict.fromkeys(as_list(found), name))


def _refuse_aside(X: Any, columns: Mapping[str, Columns], aside: Collection[int]) -> None:
    for name, found in columns.items():
        taken = [j for j in as_list(found) if j in aside]
        if taken:
            raise ValueError(
                f"modality {name!r} selects {_names(X, taken)}, which names the groups of the "
                "samples and is no feature; leave it out of the selector"
            )


def left_over(X: Any, columns: Mapping[str, Columns], aside: Collection[int]) -> list[int]:
    """Return the positions of the columns that could be features and are in no modality."""
    used = {j for found in columns.values() for j in as_list(found)} | set(aside)
    return [j for j in range(X.shape[1]) if j not in used]


def _handle_remainder(
    X: Any,
    columns: Mapping[str, Columns],
    remainder: str,
    aside: Collection[int],
    fitting: bool,
) -> None:
    left = left_over(X, columns, aside)
    if not left:
        return
    what = f"columns {_names(X, left)} of X belong to no modality"
    if remainder == "error":
        raise ValueError(f"{what}; add them to one, or pass remainder='drop'")
    later = "; later tables must have them too, unless they are left out now" if fitting else ""
    warn(f"{what} and are not used{later}")
