"""What estimators of sequences read: one row of X is one sample, whose cells hold sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .._folds import SEQUENCE
from .._selectors import as_list
from .._validation import listed, warn
from ..modality import MultimodalMixin
from ._cells import (
    as_cell_table,
    cell_columns,
    check_present,
    float_block,
    holds_cells,
    label_of,
    read_cells,
    refuse_sparse,
)

__all__ = [
    "SequenceMixin",
    "Sequences",
    "holds_cells",
    "read_modality",
    "refuse_text",
    "synchronous",
]

Array = np.ndarray


class Sequences(NamedTuple):
    """The sequences of one modality end to end; one that is absent has length 0.

    The arrays may be those of X: nothing may be written to them.
    """

    values: Array  # shape: (n_steps, n_features), float64 in C order, 0 where absent; or symbols
    offsets: Array  # shape: (n_samples + 1,), where each begins
    present: Array  # shape: (n_steps,), False where all features of the step are NaN


class ByModality(dict[str, Sequences]):
    """The sequences of each modality, and the labels of the rows that they come from."""

    rows: Any = None


class SequenceMixin(MultimodalMixin):
    """How an estimator of sequences reads X: one row is one sample.

    A cell is an array or a list of shape (n_steps, n_features) or (n_steps,); a modality of number
    columns is a sequence of one step. A bare list of arrays, an object array of them and an array
    of shape (n_samples, n_steps, n_features) are one modality.
    """

    _takes_symbols = True  # text in cells is handed on; else it is refused
    _takes_holes = False  # NaN beside numbers, and infinity, are left to what comes after

    def _read_fit_sequences(self, X: Any) -> dict[str, Sequences]:
        """Return the sequences of each modality, and store what later ones must agree with."""
        table = self._read_fit(as_cell_table(X))
        found = self._sequences_of(table, None)
        absent = [name for name, own in found.items() if not len(own.values)]
        if absent:
            raise ValueError(
                f"modality {listed(absent)} is missing for every sample (None or NaN); leave its "
                "columns out of X or of modalities"
            )
        lengths = np.array([np.diff(own.offsets) for own in found.values()])
        empty = np.flatnonzero(~lengths.any(axis=0))
        if empty.size:
            raise ValueError(
                f"{empty.size} samples have none of the modalities {listed(found)} (first: row "
                f"{label_of(found.rows, int(empty[0]))!r}); leave them out of fit"
            )
        self._warn_of_steps(table)
        self._widths = {name: own.values.shape[1] for name, own in found.items()}
        self._symbolic = frozenset(n for n, own in found.items() if own.values.dtype == object)
        return found

    def _warn_of_steps(self, table: Any) -> None:
        """Warn of a long table, whose rows are steps: it would be read without complaint."""
        if not isinstance(table, pd.DataFrame) or SEQUENCE not in table.index.names:
            return
        ids = table.index.get_level_values(SEQUENCE)
        if not ids.is_unique and not cell_columns(table, range(table.shape[1])):
            warn(
                f"each row of X is read as a sequence of one step, though ids of the index level "
                f"{SEQUENCE!r} stand in several rows; if these are its steps, pass "
                "as_sequence_frame(X)"
            )

    def _read_sequences(self, X: Any) -> dict[str, Sequences]:
        """Return the sequences of each modality, checked against those of the fit."""
        table = self._read(as_cell_table(X))
        found = self._sequences_of(table, self._widths)
        for name, own in found.items():
            is_text = own.values.dtype == object
            if len(own.values) and is_text != (name in self._symbolic):
                was, now = ("numbers", "text") if is_text else ("text", "numbers")
                raise ValueError(f"modality {name!r} held {was} at fit and holds {now} now")
        return found

    def _sequences_of(self, table: Any, widths: Mapping[str, int] | None) -> ByModality:
        refuse_sparse(table, self._columns)
        found = ByModality()
        found.rows = table.index if isinstance(table, pd.DataFrame) else None
        for name, columns in self._columns.items():
            width = None if widths is None else widths[name]
            found[name] = read_modality(name, table, as_list(columns), width, self._takes_holes)
            if found[name].values.dtype == object and not self._takes_symbols:
                refuse_text(name)
        return found


def read_modality(
    name: str,
    table: Any,
    columns: Sequence[int],
    width: int | None = None,
    holes: bool = False,
) -> Sequences:
    """Return the sequences of some columns of a table.

    ``width`` is the number of features that they must have; ``holes`` lets NaN beside numbers,
    and infinity, be.
    """
    values, lengths = _steps_of(name, table, columns, width)
    rows = table.index if isinstance(table, pd.DataFrame) else None
    return _sequences(name, values, lengths, rows, holes)


def refuse_text(name: str) -> None:
    """Refuse text where numbers are needed."""
    raise ValueError(
        f"modality {name!r} holds text, and numbers are needed; encode it, for instance by "
        "StepwiseTransformer(OneHotEncoder())"
    )


def _steps_of(
    name: str, table: Any, columns: Sequence[int], width: int | None
) -> tuple[Array, Array]:
    """Return the steps of a modality end to end, and how many each row has."""
    cells = cell_columns(table, columns)
    if cells:
        return read_cells(name, table, columns, cells, width)
    values = float_block(name, table, columns)
    if width is not None and values.shape[1] != width:
        if not pd.isna(values).all():
            raise ValueError(
                f"modality {name!r} held sequences of {width} features at fit and holds "
                f"{values.shape[1]} columns of single values now"
            )
        return np.empty((0, width)), np.zeros(len(values), np.int64)
    return values, np.ones(len(values), np.int64)


def _offsets(lengths: Array) -> Array:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _sequences(name: str, values: Array, lengths: Array, rows: Any, holes: bool) -> Sequences:
    offsets = _offsets(lengths)

    def where(step: int) -> str:
        i = int(np.searchsorted(offsets, step, side="right")) - 1
        return f"row {label_of(rows, i)!r}, step {step - offsets[i]}"

    values, present = check_present(name, values, where, holes)
    if present.all():
        return Sequences(values, offsets, present)
    # A sequence of which no step is there is absent, and has length 0.
    counts = _offsets(present)
    kept = np.diff(counts[offsets]) > 0
    steps = np.repeat(kept, lengths)
    return Sequences(values[steps], _offsets(np.where(kept, lengths, 0)), present[steps])


def synchronous(sequences: Mapping[str, Sequences]) -> tuple[list[Sequences], Array]:
    """Return the modalities with one length for each sample, and the offsets that they share.

    Where a modality is absent it has as many steps as the others, none of which is present.
    """
    names, streams = list(sequences), list(sequences.values())
    lengths = np.array([np.diff(own.offsets) for own in streams])
    longest = lengths.max(axis=0)
    wrong = (lengths != 0) & (lengths != longest)
    if wrong.any():
        i = int(np.flatnonzero(wrong.any(axis=0))[0])
        m, other = int(wrong[:, i].argmax()), int(lengths[:, i].argmax())
        raise ValueError(
            f"modalities {names[m]!r} and {names[other]!r} have {lengths[m, i]} and "
            f"{lengths[other, i]} steps in row {label_of(getattr(sequences, 'rows', None), i)!r}; "
            "streams of one chain have the same steps: resample one, or let each have its chain"
        )
    offsets = _offsets(longest)
    return [_at(own, offsets) for own in streams], offsets


def _at(own: Sequences, offsets: Array) -> Sequences:
    """Return sequences at these offsets, with steps that are absent where there are none."""
    if np.array_equal(own.offsets, offsets):
        return own
    there = np.repeat(np.diff(own.offsets) > 0, np.diff(offsets))
    values = np.zeros((len(there), own.values.shape[1]), own.values.dtype)
    if own.values.dtype == object:
        values[:] = None
    values[there] = own.values
    present = np.zeros(len(there), bool)
    present[there] = own.present
    return Sequences(values, offsets, present)
