"""From kernels and blocks of features to tiles: what is worked out, in which order, by whom.

Every matrix that is asked for is a sum of weighted products of leaves (``Kernel._terms``). A leaf
with an operation is evaluated tile by tile, any other makes its whole matrix first. Leaves that
differ in their numbers only share one pass over the features.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._jit import JIT
from .._parallel import on_threads, thread_count
from . import _plain, _tile
from ._tile import ADD, MULTIPLY, PANEL, SET, Place, new_tiles, pack

Array = np.ndarray

CHUNK = 4  # panels of a result that grows step by step: they stay in the second cache
SERIAL = 4_000_000  # pairs of numbers below which threads cost more than they bring

_loops: Any = _tile if JIT else _plain


class Part(NamedTuple):
    """One kernel on one block of features.

    ``rows`` and ``columns`` multiply the values, as the masks of absent modalities do.
    """

    kernel: Any
    X: Any
    Y: Any = None  # None: X itself
    rows: Array | None = None
    columns: Array | None = None


class Source(NamedTuple):
    """Features as the loops read them."""

    X: Array  # shape: (n_rows, n_features)
    panels: Array  # shape: (n_panels, n_features, PANEL)
    left: Array  # shape: (n_rows,) or (0,)
    right: Array  # shape: (n_panels * PANEL,) or (0,)


class Evaluate(NamedTuple):
    """Leaves of one operation on one source."""

    op: Any
    source: Source
    numbers: Array  # shape: (n_leaves, 3)
    weights: Array  # shape: (n_leaves,)
    modes: Array  # shape: (n_leaves,)
    slabs: Array  # shape: (n_leaves,)
    in_part: bool

    def run(self, task: Task, scratch: Scratch, out: Array, place: Place) -> None:
        X, panels, left, right = self.source
        tiles = scratch.part if self.in_part else scratch.tiles
        _loops.evaluate(
            self.op, self.numbers, self.weights, self.modes, self.slabs, X, task.i0, task.i1,
            panels, task.p0, task.p1, left, right, scratch.sums, scratch.spare,
            tiles, out, place,
        )  # fmt: skip


class Load(NamedTuple):
    """A leaf whose matrix is there already."""

    matrix: Array  # shape: (n_rows, n_columns)
    left: Array
    right: Array
    weight: float
    mode: int
    slab: int
    in_part: bool

    def run(self, task: Task, scratch: Scratch, out: Array, place: Place) -> None:
        tiles = scratch.part if self.in_part else scratch.tiles
        _loops.load(
            self.matrix, self.weight, self.mode, *task, self.left, self.right, scratch.spare,
            tiles, self.slab, out, place,
        )  # fmt: skip


class Fold(NamedTuple):
    """A product is complete and goes into its sum."""

    mode: int
    slab: int

    def run(self, task: Task, scratch: Scratch, out: Array, place: Place) -> None:
        _loops.fold(scratch.part, self.mode, *task, scratch.tiles, self.slab, out, place)


class Task(NamedTuple):
    """Rows i0:i1 and panels p0:p1."""

    i0: int
    i1: int
    p0: int
    p1: int


class Scratch(NamedTuple):
    """What one thread works in."""

    sums: Array
    spare: Array
    tiles: Array
    part: Array


class Plan(NamedTuple):
    """What to work out for every tile, and on which rows and columns."""

    steps: list[Evaluate | Load | Fold]
    n_rows: int
    n_columns: int
    dtype: Any
    symmetric: bool
    work: int  # pairs of numbers
    single: bool  # every matrix is made by one step, and needs no tiles between steps

    def tasks(self, n_threads: int) -> list[Task]:
        """Cut the matrix into tasks, larger ones first."""
        n_panels = -(-self.n_columns // PANEL)
        n_strips = -(-self.n_rows // PANEL)
        width = max(1, n_panels) if self.single else CHUNK
        if n_threads > 1:
            width = min(width, max(1, n_panels * n_strips // (8 * n_threads)))
        found = []
        for r in range(n_strips):
            i0 = r * PANEL
            for p0 in range(r if self.symmetric else 0, n_panels, width):
                i1, p1 = min(i0 + PANEL, self.n_rows), min(p0 + width, n_panels)
                found.append(Task(i0, i1, p0, p1))
        return found

    def run(self, out: Array, place_of: Callable[[Task], Place], n_threads: int = 1) -> None:
        """Work out every task into a flat output."""
        if self.work < SERIAL:
            n_threads = 1
        free: deque[Scratch] = deque()

        def work(task: Task) -> None:
            scratch = self.taken(free)
            self.run_task(task, scratch, out, place_of(task))
            free.append(scratch)

        on_threads(work, self.tasks(n_threads), n_threads)

    def run_dense(self, out: Array, n_threads: int = 1) -> None:
        """Work out every matrix into a C-contiguous array of shape (..., n_rows, n_columns)."""
        row = self.n_columns

        def place_of(task: Task) -> Place:
            origin = task.i0 * row + task.p0 * PANEL
            return Place(origin, self.n_rows * row, row, PANEL, row, self.symmetric)

        self.run(out.reshape(-1), place_of, n_threads)

    def blocks(self) -> list[Array]:
        """Return what is read of the caller's: features, and matrices that are there already."""
        features = [step.source.X for step in self.steps if isinstance(step, Evaluate)]
        return features + [step.matrix for step in self.steps if isinstance(step, Load)]

    def run_task(self, task: Task, scratch: Scratch, out: Array, place: Place) -> None:
        """Work out one task into a flat output."""
        for step in self.steps:
            step.run(task, scratch, out, place)

    def taken(self, free: deque[Scratch]) -> Scratch:
        """Return scratch that nobody uses, from those that are there or a new one."""
        with contextlib.suppress(IndexError):  # another thread may take the last one first
            return free.pop()
        return self.scratch()

    def scratch(self) -> Scratch:
        count = 1 if self.single else CHUNK
        sums, spare = new_tiles(2, self.dtype)
        return Scratch(sums, spare, new_tiles(count, self.dtype), new_tiles(count, self.dtype))


# Making a plan ------------------------------------------------------------------------------


def make_plan(
    matrices: Sequence[Sequence[tuple[float, Part]]], n_jobs: int | None = None
) -> tuple[Plan, int]:
    """Plan matrices, each a sum of weighted parts, all of one shape; return the threads too.

    The kernels are single ones, and their numbers are known.
    """
    n_threads = thread_count(n_jobs)
    sums = [
        [(scale * w, part, leaves) for scale, part in parts for w, leaves in part.kernel._terms()]
        for parts in matrices
    ]
    maker = _Maker([part for parts in matrices for _, part in parts], n_threads)
    steps: list[Any] = []
    for slab, terms in enumerate(sums):
        steps += maker.steps(terms, slab)
    merged = _merge(steps)
    features = sum(s.source.X.shape[1] for s in merged if isinstance(s, Evaluate))
    work = maker.n_rows * maker.n_columns * max(features, 1)
    single = all(len(terms) == 1 and len(terms[0][2]) == 1 for terms in sums)
    plan = Plan(merged, maker.n_rows, maker.n_columns, maker.dtype, maker.symmetric, work, single)
    return plan, n_threads


class _Maker:
    """Makes steps of terms; checks, prepares and packs every block once."""

    def __init__(self, parts: Sequence[Part], n_threads: int) -> None:
        self.n_threads = n_threads
        self.symmetric = parts[0].Y is None
        self._checked: dict[Any, Any] = {}
        self._sources: dict[Any, Source] = {}
        shapes = set()
        kinds = set()
        for part in parts:
            for _, leaves in part.kernel._terms():
                for leaf in leaves:
                    X, Y = self._blocks(leaf, part)
                    shapes.add((leaf._count(X), leaf._count(X if Y is None else Y)))
                    kinds.add(X.dtype if leaf._operation is not None else np.dtype(np.float64))
                    if Y is not None and leaf._operation is not None:
                        kinds.add(Y.dtype)
        if len(shapes) > 1:
            raise ValueError(
                f"all kernels must see the same samples, got blocks of {sorted(shapes)} rows"
            )
        ((self.n_rows, self.n_columns),) = shapes
        self.dtype = np.result_type(*kinds)

    def _blocks(self, leaf: Any, part: Part) -> tuple[Any, Any]:
        return self._check(leaf, part.X, "X"), (
            None if part.Y is None else self._check(leaf, part.Y, "Y", part.X)
        )

    def _check(self, leaf: Any, block: Any, name: str, beside: Any = None) -> Any:
        key = (id(block), leaf._check_key())
        if key not in self._checked:
            self._checked[key] = (leaf._check(block, name), block)
        checked = self._checked[key][0]
        if beside is not None and leaf._operation is not None:
            width = self._check(leaf, beside, "X").shape[1]
            if checked.shape[1] != width:
                raise ValueError(
                    f"X and Y must have the same features: X has {width}, Y has {checked.shape[1]}"
                )
        return checked

    def steps(self, terms: list[tuple[float, Part, list[Any]]], slab: int) -> list[Any]:
        """Return the steps that sum these terms and store the sum in its slab."""
        alone = [term for term in terms if len(term[2]) == 1]
        passes: dict[Any, int] = {}
        for term in alone:
            passes.setdefault(_pass(term), len(passes))
        # What shares a pass over the features comes together.
        ordered = sorted(alone, key=lambda term: passes[_pass(term)])
        ordered += [term for term in terms if len(term[2]) > 1]
        found: list[Any] = []
        for k, (weight, part, leaves) in enumerate(ordered):
            mode, where = (SET if k == 0 else ADD), (slab if k == len(ordered) - 1 else -1)
            if len(leaves) == 1:
                found.append(self._step(leaves[0], part, weight, mode, where, False))
                continue
            for position, leaf in enumerate(leaves):
                first = position == 0
                masked = part if first else part._replace(rows=None, columns=None)
                scale, how = (weight, SET) if first else (1.0, MULTIPLY)
                found.append(self._step(leaf, masked, scale, how, -1, True))
            found.append(Fold(mode, where))
        return found

    def _step(
        self, leaf: Any, part: Part, weight: float, mode: int, slab: int, in_part: bool
    ) -> Evaluate | Load:
        X, Y = self._blocks(leaf, part)
        if leaf._operation is None:
            matrix = leaf._matrix(X, Y, self.n_threads)
            left, right = self._scales(part.rows, part.columns, None, None)
            return Load(
                _unwriteable(matrix), left, right, self.dtype.type(weight), mode, slab, in_part
            )
        source = self._source(leaf, part, X, Y)
        numbers = leaf._constants(X.shape[1], self.dtype)
        return Evaluate(
            leaf._operation, source, numbers[None], np.array([weight], self.dtype),
            np.array([mode]), np.array([slab]), in_part,
        )  # fmt: skip

    def _source(self, leaf: Any, part: Part, X: Array, Y: Array | None) -> Source:
        key = (leaf._form, id(part.X), id(part.Y), id(part.rows), id(part.columns))
        if key not in self._sources:
            rows, own_rows = leaf._prepare(X.astype(self.dtype, order="C", copy=False))
            other, own_columns = rows, own_rows
            if Y is not None:
                other, own_columns = leaf._prepare(Y.astype(self.dtype, order="C", copy=False))
            left, right = self._scales(part.rows, part.columns, own_rows, own_columns)
            self._sources[key] = Source(_unwriteable(rows), pack(other), left, right)
        return self._sources[key]

    def _scales(
        self,
        rows: Array | None,
        columns: Array | None,
        own_rows: Array | None,
        own_columns: Array | None,
    ) -> tuple[Array, Array]:
        """Return what multiplies rows and columns; both empty where nothing does."""
        if self.symmetric:
            columns = rows
        if all(scale is None for scale in (rows, columns, own_rows, own_columns)):
            return np.empty(0, self.dtype), np.empty(0, self.dtype)
        left = np.ones(self.n_rows, self.dtype)
        right = np.zeros(-(-self.n_columns // PANEL) * PANEL, self.dtype)
        right[: self.n_columns] = 1
        for scale in (rows, own_rows):
            if scale is not None:
                left *= scale
        for scale in (columns, own_columns):
            if scale is not None:
                right[: self.n_columns] *= scale
        return left, right


def _unwriteable(array: Array) -> Array:
    """Return a view that loops cannot write through, and for which they are compiled only once."""
    view = array.view()
    view.flags.writeable = False
    return view


def _pass(term: tuple[float, Part, list[Any]]) -> Any:
    """Return what terms share that can be worked out in one pass over the features."""
    _, part, (leaf,) = term
    if leaf._operation is None:
        return id(leaf)
    return type(leaf._operation), leaf._form, *map(id, part[1:])


def _merge(steps: list[Any]) -> list[Any]:
    """Make one step of neighbours that share operation, source and tiles."""
    merged: list[Any] = []
    for step in steps:
        last = merged[-1] if merged else None
        if (
            isinstance(step, Evaluate)
            and isinstance(last, Evaluate)
            and type(step.op) is type(last.op)
            and step.source is last.source
            and step.in_part == last.in_part
        ):
            joined: Any = {
                name: np.concatenate([getattr(last, name), getattr(step, name)])
                for name in ("numbers", "weights", "modes", "slabs")
            }
            merged[-1] = last._replace(**joined)
        else:
            merged.append(step)
    return merged


def plan_gram(
    kernel: Any,
    X: Any,
    Y: Any = None,
    *,
    out: Array | None = None,
    dtype: Any = None,
    n_jobs: int | None = None,
) -> Array:
    """Return the matrix of one kernel, or the stack of matrices of a bank."""
    kernels = (kernel.resolve(X) if Y is None else kernel).expand()
    plan, n_threads = make_plan([[(1.0, Part(single, X, Y))] for single in kernels], n_jobs)
    shape = (plan.n_rows, plan.n_columns)
    stack = (len(kernels),) if kernel._is_bank() else ()
    return run_dense(plan, (*stack, *shape), out=out, dtype=dtype, n_threads=n_threads)


def run_dense(
    plan: Plan, shape: tuple[int, ...], *, out: Array | None, dtype: Any, n_threads: int
) -> Array:
    """Run a plan into a dense array, new or given."""
    if dtype is None:
        dtype = plan.dtype if out is None else getattr(out, "dtype", plan.dtype)
    result = check_out(out, shape, np.dtype(dtype))
    if out is not None and any(np.may_share_memory(out, block) for block in plan.blocks()):
        raise ValueError("out lies in the memory of X, which would be written to; give another")
    plan.run_dense(result, n_threads)
    return result


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Return an output of this shape and type: a new one, or the given one if it fits."""
    if dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise ValueError(f"dtype must be float64 or float32, got {dtype}")
    if out is None:
        return np.empty(shape, dtype)
    if type(out) not in (np.ndarray, np.memmap):  # others do not flatten, or hide values
        raise TypeError(f"out must be a plain numpy array, got {type(out).__name__}")
    fits = out.shape == shape and out.dtype == dtype
    if not (fits and out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(
            f"out must be a writeable C-contiguous array of shape {shape} and type {dtype}, got "
            f"shape {out.shape}, type {out.dtype}, C-contiguous {out.flags.c_contiguous}, "
            f"writeable {out.flags.writeable}"
        )
    return out
