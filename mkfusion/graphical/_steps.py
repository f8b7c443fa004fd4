"""What labellers of steps read: one row of X is one step, and X names the sequence it is of."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .._selectors import as_list
from .._validation import is_frame, listed, warn
from ..modality import MultimodalMixin, presence, take_block
from ._cells import cell_columns, check_present, float_block, label_of, refuse_sparse
from ._streams import Sequences, refuse_text

__all__ = ["StepMixin", "Steps"]

Array = np.ndarray

GAP = 1.5  # times the usual distance of two steps, which a greater one exceeds


class Steps(NamedTuple):
    """The steps of X, with those of a sequence side by side; nothing may be written to them."""

    blocks: dict[str, Any]  # by modality: float64 (n_steps, n_features), 0 where absent
    offsets: Array  # shape: (n_sequences + 1,), where each sequence begins
    ids: list[Any]  # of the sequences; the row labels where X has none
    order: Array | None  # order[k] is the row of X that stands k-th; None: the rows' own order
    present: dict[str, Array]  # by modality: (n_steps,), False where all its features are NaN

    def restored(self, values: Array) -> Array:
        """Return what was found of the steps in the order of the rows of X."""
        if self.order is None:
            return values
        back = np.empty_like(values)
        back[self.order] = values
        return back

    def ordered(self, values: Array) -> Array:
        """Return what belongs to the rows of X in the order of the steps."""
        return values if self.order is None else values[self.order]

    def streams(self) -> dict[str, Sequences]:
        """Return the modalities as sequences."""
        return {
            name: Sequences(block, self.offsets, self.present[name])
            for name, block in self.blocks.items()
        }


class _Runs(NamedTuple):
    """Rows of X that stand side by side and are of one sequence."""

    starts: Array  # the row where each begins
    codes: Array  # the sequence of each, numbered by first appearance
    ids: list[Any]


class StepMixin(MultimodalMixin):
    """How a labeller of steps reads X: needs ``sequence`` and ``step``, names in X.

    Each is an index level or a column of X, and no feature: the id of the sequence that a row
    belongs to, and the place or time of a step inside it, which is looked at for gaps only.
    """

    sequence: Any
    step: Any

    _takes_symbols = False  # text is handed on; else it is refused
    _takes_frames = False  # blocks are what X holds, for models that read it by themselves

    def _aside(self, table: Any) -> list[int]:
        found = [_place(table, name) for name in (self.sequence, self.step)]
        return [j for j in found if isinstance(j, int)]

    def _read_fit_steps(self, X: Any) -> Steps:
        """Return the steps, and store what later ones must agree with."""
        table = self._read_fit(X)
        refuse_sparse(table, self._columns, self._takes_frames)
        runs = _runs(table, self.sequence)
        self._has_ids = runs is not None
        if runs is None:
            warn(f"{self._no_ids(table)}; each row is taken for a sequence of one step")
        steps, marks = self._steps_of(table, runs)
        absent = [name for name, there in steps.present.items() if not there.any()]
        if absent:
            raise ValueError(
                f"modality {listed(absent)} is missing at every step (None or NaN); leave its "
                "columns out of X or of modalities"
            )
        self._seen = {} if runs is None else dict(zip(steps.ids, marks, strict=True))
        return steps

    def _read_steps(self, X: Any) -> Steps:
        """Return the steps, checked against those of the fit."""
        table = self._read(X)
        refuse_sparse(table, self._columns, self._takes_frames)
        # Fitted on an array, an estimator sees an array; only the index can hold ids then.
        named = (
            X.iloc[:, :0]
            if isinstance(X, pd.DataFrame) and isinstance(table, np.ndarray)
            else table
        )
        runs = _runs(named, self.sequence)
        if runs is None and self._has_ids:
            raise ValueError(
                f"{self._no_ids(X)}; it was there at fit, and without it nobody knows where a "
                "sequence begins"
            )
        steps, marks = self._steps_of(table, runs)
        if runs is not None:
            seen = self._seen
            changed = [
                own
                for own, mark in zip(steps.ids, marks, strict=True)
                if not _agree(seen.get(own, mark), mark)
            ]
            if changed:
                warn(
                    f"{len(changed)} sequences ({listed(changed, 3)}) were seen at fit with other "
                    "rows: a split that cuts sequences, or ids that are used twice; split by "
                    "sequence, for instance by GroupKFold"
                )
        return steps

    def _no_ids(self, X: Any) -> str:
        hint = "" if is_frame(X) else " (scalers keep it with set_output(transform='pandas'))"
        return (
            f"X has neither an index level nor a column {self.sequence!r} that names the sequence "
            f"of a step{hint}"
        )

    def _steps_of(self, table: Any, runs: _Runs | None) -> tuple[Steps, list[Any]]:
        """Return the steps, and of each sequence what its rows are known by."""
        rows = table.index if isinstance(table, pd.DataFrame) else None
        n = table.shape[0]
        if runs is None:
            offsets, order = np.arange(n + 1), None
            ids = list(range(n)) if rows is None else rows.tolist()
        else:
            offsets, order = _layout(runs, n)
            ids = runs.ids

        def where(step: int) -> str:
            row = step if order is None else int(order[step])
            if runs is None:
                return f"row {label_of(rows, row)!r}"
            i = int(np.searchsorted(offsets, step, side="right")) - 1
            place = step - offsets[i]
            return f"row {label_of(rows, row)!r} (step {place} of sequence {ids[i]!r})"

        blocks, present = {}, {}
        for name, columns in self._columns.items():
            blocks[name], present[name] = self._block_of(
                name, table, as_list(columns), order, where
            )
        steps = Steps(blocks, offsets, ids, order, present)
        if runs is None:
            return steps, []
        return steps, _marks(steps, self._times(table, order), self.step)

    def _block_of(
        self, name: str, table: Any, columns: list[int], order: Array | None, where: Any
    ) -> tuple[Any, Array]:
        cells = cell_columns(table, columns)
        if cells:
            raise ValueError(
                f"modality {name!r} has whole sequences in its cells, and one row is one step "
                "here; make a row of each step with mkfusion.graphical.as_step_frame"
            )
        if self._takes_frames:
            present = presence(table, {name: columns})[0]
            block = take_block(table, self._columns[name])
            if order is not None:
                block = block.iloc[order] if isinstance(table, pd.DataFrame) else block[order]
                present = present[order]
            return block, present
        values = float_block(name, table, columns)
        if values.dtype == object and not self._takes_symbols:
            refuse_text(name)
        return check_present(name, values if order is None else values[order], where)

    def _times(self, table: Any, order: Array | None) -> Array | None:
        """Return the places of the steps inside their sequences, None where X does not say."""
        j = _place(table, self.step)
        if j is None:
            return None
        values = table.index.get_level_values(self.step) if j == "level" else table.iloc[:, j]
        if pd.api.types.is_datetime64_any_dtype(values.dtype):
            values = values.to_numpy(dtype="M8[ns]")  # time zones are text to numpy
        values = np.asarray(values)
        return values if order is None else values[order]


def _place(table: Any, name: Any) -> Any:
    """Return the position of a column, "level" for an index level, None where there is neither."""
    if name is None or not isinstance(table, pd.DataFrame):
        return None
    if not isinstance(name, Hashable):
        raise TypeError(f"a sequence or step is named by a column or an index level, got {name!r}")
    is_level = name in table.index.names
    columns = np.flatnonzero([column == name for column in table.columns])
    if len(columns) + is_level > 1:
        what = "an index level and a column" if is_level else "more than one column"
        raise ValueError(f"{name!r} is {what} of X; rename one")
    if is_level:
        return "level"
    return int(columns[0]) if len(columns) else None


def _runs(table: Any, name: Any) -> _Runs | None:
    """Return which rows are of one sequence, None where X does not say."""
    j = _place(table, name)
    if j is None:
        return None
    if j == "level" and isinstance(table.index, pd.MultiIndex):
        level = table.index.names.index(name)
        codes, labels = np.asarray(table.index.codes[level]), table.index.levels[level]
        starts = _changes(codes)
        codes = codes[starts]
    else:
        values = table.index if j == "level" else table.iloc[:, j]
        plain = isinstance(values.dtype, np.dtype) and values.dtype.kind in "iubfM"
        if plain:
            starts = _changes(values.to_numpy())
            values = values[starts] if j == "level" else values.iloc[starts]
        try:
            codes, labels = pd.factorize(values)
        except TypeError as error:
            raise TypeError(f"the sequence ids {name!r}: {error}") from None
        if not plain:
            starts = _changes(codes)
            codes = codes[starts]
    if (codes < 0).any():
        row = int(starts[np.flatnonzero(codes < 0)[0]])
        raise ValueError(
            f"the sequence id {name!r} is missing (first: row {label_of(table.index, row)!r})"
        )
    numbers, used = pd.factorize(codes)
    return _Runs(starts, numbers, pd.Index(labels).take(used).tolist())


def _changes(values: Array) -> Array:
    """Return where a value differs from the one before, the first among them."""
    change = np.empty(len(values), bool)
    change[:1] = True
    np.not_equal(values[1:], values[:-1], out=change[1:])
    return np.flatnonzero(change)


def _layout(runs: _Runs, n: int) -> tuple[Array, Array | None]:
    """Return where sequences begin, and the order of the rows where they are not adjacent."""
    if len(runs.ids) == len(runs.starts):
        return np.append(runs.starts, n).astype(np.int64), None
    lengths = np.diff(np.append(runs.starts, n))
    codes = np.repeat(runs.codes, lengths)
    offsets = np.zeros(len(runs.ids) + 1, np.int64)
    np.cumsum(np.bincount(codes, minlength=len(runs.ids)), out=offsets[1:])
    return offsets, np.argsort(codes, kind="stable")


def _marks(steps: Steps, times: Array | None, name: Any) -> list[Any]:
    """Return what the rows of each sequence are known by; warn where steps are left out."""
    lengths = np.diff(steps.offsets).tolist()
    if times is None:
        return [(length, None, None) for length in lengths]
    first, last = times[steps.offsets[:-1]], times[steps.offsets[1:] - 1]
    marks = list(zip(lengths, first.tolist(), last.tolist(), strict=True))
    if times.dtype.kind in "iufMm" and len(times) > 1:
        _warn_of_gaps(steps, _distances(times), name)
    return marks


def _agree(one: Any, other: Any) -> bool:
    """Tell whether two marks may be of the same rows; X need not say the places each time."""
    known = one[1] is not None and other[1] is not None
    return one == other if known else one[0] == other[0]


def _distances(times: Array) -> Array:
    """Return how far apart steps are: whole numbers where places are counted."""
    if times.dtype.kind in "Mm":
        return np.diff(times.view(np.int64)).astype(np.float64)
    return np.diff(times.astype(np.int64 if times.dtype.kind in "iu" else np.float64, copy=False))


def _warn_of_gaps(steps: Steps, apart: Array, name: Any) -> None:
    inside = np.ones(len(apart), bool)
    inside[steps.offsets[1:-1] - 1] = False
    wrong = inside & ~(apart > 0)
    forth = apart[inside & (apart > 0)]
    if len(forth):
        usual = np.median(forth) if forth.dtype.kind == "f" else forth.min()
        wrong |= inside & (apart > GAP * usual)
    if wrong.any():
        last = np.flatnonzero(wrong)
        found = np.unique(np.searchsorted(steps.offsets, last, side="right") - 1)
        warn(
            f"{name!r} has gaps or is out of order in {len(found)} sequences "
            f"({listed([steps.ids[i] for i in found[:3]], 3)}), as a split that cuts sequences "
            "leaves it; split by sequence, for instance by GroupKFold"
        )
