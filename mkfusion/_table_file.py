"""The table that the command line reads: target, groups, modalities, and what is left out."""

from __future__ import annotations

import argparse
import fnmatch
import re
import warnings
import zlib
from collections.abc import Container, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ._validation import install, listed, warn
from .modality import as_list, resolve_modalities, to_sequences

__all__ = ["Data", "RefusedError", "load_data", "one_line", "reason", "unit_of_rows"]

# What pandas and pyarrow raise of a file that they cannot read.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    OverflowError,
    NotImplementedError,
    zlib.error,
)
# What a target or a group may be; anything else (bytes, lists, dates) has no order or no labels.
SCALARS = {
    "string",
    "integer",
    "floating",
    "mixed-integer-float",
    "boolean",
    "categorical",
    "decimal",
}


class RefusedError(Exception):
    """What the user gave cannot be used, said in one line."""


class Data(NamedTuple):
    """What was read, where, and what of it was left out."""

    source: str
    X: pd.DataFrame
    y: Any
    modalities: dict[str, list[int]]
    groups: Any
    ignored: list[str]
    unused: list[str]  # columns of no modality
    dropped: str  # a sentence on the rows without a target, empty if there are none


def load_data(options: argparse.Namespace) -> Data:
    if options.file is None:
        return _load_digits(options)
    if options.target is None:
        raise RefusedError("--target must name the column to predict")
    table, ignored = _leave_aside(_read_table(options.file), options)
    X, modalities = table, None
    unused: list[str] = []
    if options.sequence is not None:
        X, modalities, unused = _as_sequences(table, options)
    dropped = ""
    if options.drop_missing_target:
        X, dropped = _drop_missing_target(X, options)
    y = _take_column(X, "target", options)
    groups = _take_column(X, "groups", options) if options.groups is not None else None
    if not X.size:
        raise RefusedError(f"{options.file}: nothing is left to predict from ({X.shape[0]} rows)")
    if modalities is None:
        X, modalities, unused = _choose_columns(X, options.modalities)
    return Data(options.file, X, y, modalities, groups, ignored, unused, dropped)


def _leave_aside(
    table: pd.DataFrame, options: argparse.Namespace
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table without the columns that --ignore names, and their names."""
    roles = {getattr(options, role): role for role in ("target", "groups", "sequence")}
    ignored: dict[str, None] = {}
    for pattern in options.ignore or ():
        found = [name for name in table.columns if _matches(str(name), [pattern])]
        if not found:
            hint = "; a file stands before the options" if options.file is None else ""
            raise RefusedError(
                f"--ignore: {pattern!r} matches none of the columns "
                f"{listed(table.columns, 12)}{hint}"
            )
        for name in found:
            if name in roles:
                raise RefusedError(
                    f"--ignore: {pattern!r} matches {name!r}, which --{roles[name]} names"
                )
        ignored |= dict.fromkeys(found)
    return table.drop(columns=list(ignored)), list(ignored)


def _as_sequences(
    steps: pd.DataFrame, options: argparse.Namespace
) -> tuple[pd.DataFrame, dict[str, list[int]], list[str]]:
    """Return a row for each sequence, its modalities, and the columns of none.

    The cells hold what the steps held.
    """
    kept = []
    for option in ("sequence", "target", "groups"):
        name = getattr(options, option)
        if name is not None:
            _check_column(steps, option, options)
        kept += [name] if name is not None and option != "sequence" else []
    if options.sequence in kept:
        raise RefusedError(f"--sequence: {options.sequence!r} is the target or the groups too")
    features = steps.drop(columns=[options.sequence, *kept])
    if not features.size:
        raise RefusedError(f"{options.file}: nothing is left to predict from ({len(steps)} rows)")
    features, chosen, unused = _choose_columns(features, options.modalities)
    steps = steps[[*features.columns, options.sequence, *dict.fromkeys(kept)]]
    X = to_sequences(steps, options.sequence, modalities=chosen, keep=kept)
    return X, {name: [j] for j, name in enumerate(X.columns.drop(kept))}, unused


def _drop_missing_target(X: pd.DataFrame, options: argparse.Namespace) -> tuple[pd.DataFrame, str]:
    """Return the rows that have a target, and how many have none."""
    _check_column(X, "target", options)
    there, what = X[options.target].notna(), unit_of_rows(options)
    if there.all():
        return X, ""
    if not there.any():
        raise RefusedError(f"--target: {options.target!r} is missing for all {len(X)} {what}")
    X = X[there].copy()
    X[options.target] = _as_without_gaps(X[options.target])
    missing = len(there) - len(X)
    return X, f"left out, as {options.target!r} is missing: {missing} of {len(there)} {what}"


def _as_without_gaps(column: pd.Series) -> pd.Series:
    """Return what a file without the gaps would have given: with them 1 is read as 1.0."""
    column = column.infer_objects()
    whole = column.dtype.kind == "f" and ((column % 1 == 0) & (column.abs() < 2**53)).all()
    return column.astype(np.int64) if whole else column


def unit_of_rows(options: argparse.Namespace) -> str:
    return "rows" if options.sequence is None else "sequences"


def _load_digits(options: argparse.Namespace) -> Data:
    from .datasets import load_multiple_features

    for item in options.modalities or ():
        _pattern(item)  # a file among them is the likelier fault
    X, y = load_multiple_features(return_X_y=True)
    X, ignored = _leave_aside(X, options)  # and here
    for option in ("target", "groups", "sequence", "drop_missing_target"):
        if getattr(options, option) not in (None, False):
            raise RefusedError(f"--{option.replace('_', '-')} needs a file")
    source = "the bundled handwritten digits (UCI Multiple Features)"
    X, modalities, unused = _choose_columns(X, options.modalities)
    return Data(source, X, y, modalities, None, ignored, unused, "")


def _read_table(path: str) -> pd.DataFrame:
    name = path.lower()
    try:
        if not Path(path).exists():
            raise RefusedError(f"{path}: there is no such file")
        if name.endswith((".parquet", ".pq")):
            table = pd.read_parquet(path)
        elif name.endswith((".csv", ".csv.gz")):
            table = _read_csv(path)
        else:
            raise RefusedError(f"{path}: a file must end in .csv, .csv.gz or .parquet")
    except ImportError:
        raise RefusedError(
            f"{path}: reading Parquet needs pyarrow: {install('parquet')}"
        ) from None
    except UNREADABLE as error:
        raise RefusedError(f"{path}: cannot be read: {reason(error)}") from None
    if not table.columns.is_unique:
        raise RefusedError(f"{path}: two columns have one name")
    return table


def _read_csv(path: str) -> pd.DataFrame:
    table = pd.read_csv(path, low_memory=False)
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes the surplus cells for an index, and every name moves to another column.
        raise RefusedError(f"{path}: its rows have more cells than its first line has names")
    return table


def _check_column(table: pd.DataFrame, option: str, options: argparse.Namespace) -> None:
    name = getattr(options, option)
    if name not in table.columns:
        raise RefusedError(
            f"--{option}: no column {name!r}; the columns are {listed(table.columns, 12)}"
        )


def _take_column(table: pd.DataFrame, option: str, options: argparse.Namespace) -> pd.Series:
    _check_column(table, option, options)
    name = getattr(options, option)
    column = table.pop(name)
    missing = np.flatnonzero(pd.isna(column))
    if missing.size:
        below = "of those with a target" if options.drop_missing_target else "below the header"
        first = f"row {missing[0] + 1} {below}"
        if options.sequence is not None:
            first = f"sequence {listed([column.index[missing[0]]])}"
        remedy = "leave them out"
        if option == "target":
            remedy = "--drop-missing-target leaves them out"
        raise RefusedError(
            f"--{option}: {name!r} is missing for {missing.size} of {len(column)} "
            f"{unit_of_rows(options)}, the first being {first}; {remedy}"
        )
    kind = pd.api.types.infer_dtype(column)
    if len(column) and kind not in SCALARS:
        raise RefusedError(f"--{option}: {name!r} holds {kind}, neither labels nor numbers")
    return column


def _choose_columns(
    X: pd.DataFrame, given: Sequence[str] | None
) -> tuple[pd.DataFrame, dict[str, list[int]], list[str]]:
    """Return the columns that belong to modalities, the positions of each modality's, and the
    columns of none.
    """
    found = _by_prefixes(X) if given is None else _by_patterns(X.columns, given)
    left = X.columns.delete(sorted(chain(*found.values()))).tolist()
    if given is not None and left:
        warn(
            f"columns {listed(left)} belong to no modality and are not used; "
            "if that is meant, name them after --ignore"
        )
        X = X.drop(columns=left)
        found = _by_patterns(X.columns, given)
    _warn_unnamed(X.columns)
    return X, found, left


def _warn_unnamed(columns: Any) -> None:
    """Warn of columns whose name pandas made up where the file has none."""
    unnamed = [name for name in columns if re.fullmatch(r"Unnamed: \d+", str(name))]
    if unnamed:
        names = " ".join(f"'{name}'" for name in unnamed[:3])
        warn(
            f"columns {listed(unnamed)} have no name in the file and are most likely an index, "
            f"yet are read as features; --ignore {names}{' ...' if len(unnamed) > 3 else ''} "
            "leaves them out"
        )


def _by_prefixes(X: pd.DataFrame) -> dict[str, list[int]]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="nothing is fused")  # it speaks Python
            found = {name: as_list(places) for name, places in resolve_modalities(X).items()}
        if len(found) == 1:
            bare = not any("__" in str(name) for name in X.columns)
            why = f"all columns have the prefix '{next(iter(found))}__'"
            why = "no column name has a prefix before '__'" if bare else why
            warn(
                f"nothing is fused: {why}, so that all columns are one modality; "
                "--modalities NAME=PATTERN NAME=PATTERN says which columns belong together"
            )
        return found
    except ValueError as error:
        error.add_note(
            "on the command line --modalities NAME=PATTERN says which columns belong together, "
            "and --ignore leaves columns aside"
        )
        raise


def _pattern(item: str, found: Container[str] = ()) -> tuple[str, str]:
    """Take NAME=PATTERN[,PATTERN...] apart."""
    name, equals, patterns = item.partition("=")
    if not equals or not name or not patterns or name in found:
        raise RefusedError(
            f"--modalities: {item!r} is not of the form NAME=PATTERN with a new name; "
            "a file stands before the options"
        )
    return name, patterns


def _by_patterns(columns: Any, given: Sequence[str]) -> dict[str, list[int]]:
    """Resolve NAME=PATTERN[,PATTERN...] to the positions of the columns that match."""
    found: dict[str, list[int]] = {}
    owner: dict[int, str] = {}
    for item in given:
        name, patterns = _pattern(item, found)
        found[name] = [j for j, c in enumerate(columns) if _matches(str(c), patterns.split(","))]
        if not found[name]:
            raise RefusedError(
                f"--modalities: {item!r} matches none of the columns {listed(columns, 12)}"
            )
        for j in found[name]:
            if owner.setdefault(j, name) != name:
                raise RefusedError(
                    f"--modalities: both {owner[j]!r} and {name!r} match column {columns[j]!r}"
                )
    return found


def _matches(column: str, patterns: Sequence[str]) -> bool:
    return any(column == p or fnmatch.fnmatchcase(column, p) for p in patterns)


def one_line(error: Any) -> str:
    notes = getattr(error, "__notes__", [])
    return "; ".join(" ".join(str(part).split()) for part in (error, *notes))


def reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or one_line(error) or type(error).__name__
