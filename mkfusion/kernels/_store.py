"""All kernels of a data set by tiles: in memory, on disk, or worked out anew for every question.

Only tiles on and above the diagonal are kept, and all kernels of a tile lie side by side: M
kernels of n samples take about M n^2 / 2 numbers, a quarter of M full matrices in float32.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._jit import JIT
from .._memory import available_memory, check_budget
from .._parallel import on_threads
from .._validation import check_option, finite_array
from . import _plain, _tile_sums
from ._base import Array
from ._gram import check_weights, make_parts
from ._plan import CHUNK, SERIAL, Scratch, Task, check_out, make_plan
from ._tile import PANEL, Place, new_tiles

GROUPS = 16  # of strips, each summed by itself: the number of threads does not matter to sums

_loops: Any = _tile_sums if JIT else _plain


def store_size(n_samples: int, n_kernels: int, dtype: Any) -> int:
    """Return the bytes of the tiles of so many kernels."""
    n_panels = -(-n_samples // PANEL)
    return n_kernels * n_panels * (n_panels + 1) // 2 * PANEL**2 * np.dtype(dtype).itemsize


class KernelStore:
    """The Gram matrices K_1, ..., K_M of one set of samples, for methods that ask again and again.

    Parameters
    ----------
    kernels : sequence of str, Kernel or callable
        A bank counts as its single kernels, in their order.
    X : array-like of shape (n_samples, n_features), or a list with one block per entry of kernels
        One array for all kernels, or for each the features that it sees.
    scales : array-like of shape (n_kernels, n_samples), default=None
        K_m(i, j) is multiplied by s_mi s_mj, as masks of absent modalities ask for.
    dtype : {float64, float32}, default=float64
        Of what is kept. Sums are float64 in any case; in float32 each value is off by at most 6e-8
        of itself.
    memory_budget : float, default=None
        Bytes that the tiles may take; None is half of the memory that is free.
    mode : {"auto", "memory", "disk", "recompute"}, default="auto"
        "auto" keeps the tiles in memory where they fit into the budget, and else keeps nothing and
        works them out for every question. "disk" maps them from a file: for tiles that are larger
        than the memory and smaller than the disk (10^5 samples take 20 GB a kernel in float32),
        and asked often enough that reading them is cheaper than working them out.
    path : str or path-like, default=None
        The file of mode "disk", new or to be overwritten; None takes a temporary one that vanishes
        with the store.
    n_jobs : int, default=None
        Threads, as joblib counts them. No result depends on it, nor (beyond the rounding of a
        user's own function) on the mode.

    Attributes
    ----------
    kernels : list of Kernel
        The single kernels, with every parameter a number.
    mode : str
        "memory", "disk" or "recompute".
    n_kernels, n_samples : int
    dtype : dtype
    nbytes : int
        What the tiles take in memory or on disk: 0 where nothing is kept.

    Raises
    ------
    MemoryError
        Where the tiles do not fit into the budget ("memory") or on the disk ("disk").
    ValueError, TypeError
        As :func:`combine`.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import RBF, KernelStore, Linear
    >>> audio, video = np.array([[0.0], [1.0]]), np.array([[1.0], [3.0]])
    >>> store = KernelStore([RBF(gamma=1.0), Linear()], [audio, video])
    >>> store.combine([0.5, 0.5])
    array([[1.        , 1.68393972],
           [1.68393972, 5.        ]])
    >>> store.quadratic_forms([1.0, -1.0])
    array([1.26424112, 4.        ])
    """

    def __init__(
        self,
        kernels: Sequence[Any],
        X: Any,
        *,
        scales: Any = None,
        dtype: Any = np.float64,
        memory_budget: float | None = None,
        mode: str = "auto",
        path: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        check_option("mode", mode, ("auto", "memory", "disk", "recompute"))
        if path is not None and mode != "disk":
            raise ValueError(f"path is for mode='disk', got mode={mode!r}")
        self._parts = make_parts(kernels, X, row_scales=scales)
        self._plan, self._n_threads = make_plan([[(1.0, part)] for part in self._parts], n_jobs)
        self.kernels = [part.kernel for part in self._parts]
        self.n_kernels = len(self._parts)
        self.n_samples = self._plan.n_rows
        self.dtype = check_out(None, (0,), np.dtype(dtype)).dtype
        self._n_panels = -(-self.n_samples // PANEL)
        self._free: deque[Scratch] = deque()

        size = store_size(self.n_samples, self.n_kernels, self.dtype)
        budget = available_memory() / 2 if memory_budget is None else memory_budget
        if not (isinstance(budget, int | float | np.number) and budget >= 0):
            raise ValueError(f"memory_budget must be a number of bytes, got {memory_budget!r}")
        if mode == "auto":
            mode = "memory" if size <= budget else "recompute"
        if mode == "memory":
            help = "; use mode='recompute' or 'disk', dtype=np.float32, or fewer samples"
            check_budget(f"keeping {self.n_kernels} kernels in memory", size, budget, help)
        self.mode = mode
        self.nbytes = 0 if mode == "recompute" else size
        self._tiles = None if mode == "recompute" else self._build(path)
        if self._tiles is not None:  # the plan has done its work, and may hold whole matrices
            self._plan = self._plan._replace(steps=[])

    @classmethod
    def joined(cls, stores: Sequence[KernelStore]) -> KernelStore:
        """Return one store of the kernels of several, whose tiles it copies.

        Parameters
        ----------
        stores : sequence of KernelStore
            Of the same samples and type, with their tiles in memory or on disk.

        Returns
        -------
        store : KernelStore
            In memory.

        Raises
        ------
        ValueError
            If a store keeps no tiles, or they differ in samples or type.
        """
        kinds = {(own.n_samples, own.dtype) for own in stores}
        kept = [own._tiles for own in stores if own._tiles is not None]
        if len(kinds) != 1 or len(kept) < len(stores):
            raise ValueError(
                "stores to join must keep their tiles, all of the same samples and type; got "
                f"{', '.join(map(repr, stores)) or 'none'}"
            )
        store = cls.__new__(cls)
        vars(store).update(vars(stores[0]))
        store.mode, store._free = "memory", deque()
        store._parts = [part for own in stores for part in own._parts]
        store.kernels = [kernel for own in stores for kernel in own.kernels]
        store.n_kernels = len(store.kernels)
        store.nbytes = sum(own.nbytes for own in stores)
        store._tiles = np.concatenate(kept, axis=1)
        return store

    def __repr__(self) -> str:
        return (
            f"KernelStore({self.n_kernels} kernels of {self.n_samples} samples, {self.dtype}, "
            f"mode={self.mode!r}, {self.nbytes / 1e6:.1f} MB)"
        )

    def combine(self, weights: Any, out: Array | None = None, dtype: Any = None) -> Array:
        """Return sum_m w_m K_m.

        Parameters
        ----------
        weights : array-like of shape (n_kernels,)
        out : ndarray of shape (n_samples, n_samples), default=None
            C-contiguous, of float64 or float32; it is written to and returned.
        dtype : {float64, float32}, default=None
            Of a new array; None is float64.

        Returns
        -------
        K : ndarray of shape (n_samples, n_samples)
        """
        factors = check_weights(weights, self.n_kernels)
        n = self.n_samples
        if out is not None:
            dtype = getattr(out, "dtype", np.float64)
        elif dtype is None:
            dtype = np.float64
        result = check_out(out, (n, n), np.dtype(dtype))
        flat = result.reshape(-1)

        def take(task: Task, tiles: Array) -> None:
            place = Place(task.i0 * n + task.p0 * PANEL, n * n, n, PANEL, n, True)
            _loops.weighted_sum(tiles, factors, *task, new_tiles(1, np.float64)[0], flat, place)

        self._visit(take, [[strip] for strip in range(self._n_panels)])
        return result

    def quadratic_forms(self, alpha: Any) -> Array:
        """Return alpha' K_m alpha for every kernel.

        Parameters
        ----------
        alpha : array-like of shape (n_samples,) or (n_samples, n_vectors)

        Returns
        -------
        q : ndarray of shape (n_kernels,) or (n_kernels, n_vectors)
        """
        vectors, single = self._vectors(alpha)
        groups = self._groups()
        found = np.zeros((len(groups), self.n_kernels, len(vectors)))

        def take(task: Task, tiles: Array) -> None:
            group = found[(task.i0 // PANEL) % len(groups)]
            _loops.quadratic_forms(tiles, task.i0, task.p0, vectors, group)

        self._visit(take, groups)
        total = found.sum(axis=0)
        return total[:, 0] if single else total

    def matvec(self, alpha: Any) -> Array:
        """Return K_m alpha for every kernel.

        Parameters
        ----------
        alpha : array-like of shape (n_samples,) or (n_samples, n_vectors)

        Returns
        -------
        products : ndarray of shape (n_kernels, n_samples) or (n_kernels, n_samples, n_vectors)
        """
        vectors, single = self._vectors(alpha)
        groups = self._groups()
        found = np.zeros((len(groups), self.n_kernels, *vectors.shape))

        def take(task: Task, tiles: Array) -> None:
            group = found[(task.i0 // PANEL) % len(groups)]
            _loops.products(tiles, task.i0, task.p0, vectors, group)

        self._visit(take, groups)
        total = found.sum(axis=0)[:, :, : self.n_samples].transpose(0, 2, 1)
        return np.ascontiguousarray(total[:, :, 0] if single else total)

    def rows(self, indices: Any) -> Array:
        """Return rows of every kernel.

        Parameters
        ----------
        indices : array-like of int of shape (n_rows,)
            Positions of samples; negative ones count from the end.

        Returns
        -------
        rows : ndarray of shape (n_kernels, n_rows, n_samples), of the store's type
        """
        chosen = self._positions(indices)
        if self._tiles is None:
            return self._recomputed_rows(chosen)
        padded = np.empty((self.n_kernels, len(chosen), self._n_panels, PANEL), self.dtype)
        for k, index in enumerate(chosen):
            strip, row = divmod(int(index), PANEL)
            above = [self._first(c) + strip - c for c in range(strip)]
            padded[:, k, :strip] = self._tiles[above, :, :, row].transpose(1, 0, 2)
            right = self._tiles[self._first(strip) : self._first(strip + 1), :, row, :]
            padded[:, k, strip:] = right.transpose(1, 0, 2)
        flat = padded.reshape(self.n_kernels, len(chosen), self._n_panels * PANEL)
        return np.ascontiguousarray(flat[:, :, : self.n_samples])

    def diagonal(self) -> Array:
        """Return the diagonals, of shape (n_kernels, n_samples)."""
        found = np.empty((self.n_kernels, self._n_panels, PANEL), self.dtype)
        for strip in range(self._n_panels):
            task = Task(*self._span(strip), strip, strip + 1)
            found[:, strip] = self._tiles_of(task)[0].diagonal(axis1=1, axis2=2)
        return found.reshape(self.n_kernels, -1)[:, : self.n_samples]

    # Tiles ----------------------------------------------------------------------------------

    def _first(self, strip: int) -> int:
        """Return the number of the first tile of a strip; tiles are numbered strip by strip."""
        return strip * self._n_panels - strip * (strip - 1) // 2

    def _span(self, strip: int) -> tuple[int, int]:
        return strip * PANEL, min((strip + 1) * PANEL, self.n_samples)

    def _place(self, first_tile: int) -> Place:
        size = PANEL**2
        slabs = self.n_kernels * size
        return Place(first_tile * slabs, size, PANEL, slabs, self.n_samples, False)

    def _build(self, path: Any) -> Array:
        shape = (self._first(self._n_panels), self.n_kernels, PANEL, PANEL)
        tiles = np.empty(shape, self.dtype) if self.mode == "memory" else self._mapped(shape, path)

        def place_of(task: Task) -> Place:
            strip = task.i0 // PANEL
            return self._place(self._first(strip) + task.p0 - strip)

        self._plan.run(tiles.reshape(-1), place_of, self._n_threads)
        rest = self.n_samples % PANEL
        if rest:  # nothing is stored beyond the last sample, and sums run over whole tiles
            for strip in range(self._n_panels):
                tiles[self._first(strip + 1) - 1, :, :, rest:] = 0
            tiles[-1, :, rest:] = 0
        return tiles

    def _mapped(self, shape: tuple[int, ...], path: Any) -> Array:
        if not self.nbytes:
            return np.empty(shape, self.dtype)
        folder = Path(tempfile.gettempdir() if path is None else Path(path).absolute().parent)
        check_budget(
            f"the tiles on the disk of {folder}", self.nbytes, shutil.disk_usage(folder).free
        )
        if path is not None:
            return np.memmap(path, self.dtype, "w+", shape=shape)
        with tempfile.TemporaryFile() as file:  # the map keeps what the name no longer leads to
            return np.memmap(file, self.dtype, "w+", shape=shape)

    def _tiles_of(self, task: Task) -> Array:
        """Return the tiles of a task, of shape (n_tiles, n_kernels, PANEL, PANEL)."""
        strip, count = task.i0 // PANEL, task.p1 - task.p0
        if self._tiles is not None:
            start = self._first(strip) + task.p0 - strip
            return self._tiles[start : start + count]
        tiles = np.zeros((count, self.n_kernels, PANEL, PANEL), self.dtype)
        scratch = self._plan.taken(self._free)
        self._plan.run_task(task, scratch, tiles.reshape(-1), self._place(0))
        self._free.append(scratch)
        return tiles

    def _visit(self, take: Callable[[Task, Array], None], groups: list[list[int]]) -> None:
        """Hand every tile to ``take``: groups of strips side by side, each in order."""

        width = CHUNK if self._tiles is None else max(1, self._n_panels)

        def visit(strips: list[int]) -> None:
            for strip in strips:
                for p0 in range(strip, self._n_panels, width):
                    task = Task(*self._span(strip), p0, min(p0 + width, self._n_panels))
                    take(task, self._tiles_of(task))

        small = self.n_kernels * self.n_samples**2 < SERIAL
        on_threads(visit, groups, 1 if small else self._n_threads)

    def _groups(self) -> list[list[int]]:
        count = max(1, min(GROUPS, self._n_panels))
        return [list(range(g, self._n_panels, count)) for g in range(count)]

    def _vectors(self, alpha: Any) -> tuple[Array, bool]:
        """Return vectors as rows, zeros up to whole panels, and whether it is one."""
        values = finite_array("alpha", alpha)
        if values.ndim not in (1, 2) or len(values) != self.n_samples:
            raise ValueError(
                f"alpha must have one entry for each of {self.n_samples} samples, got shape "
                f"{values.shape}"
            )
        columns = values if values.ndim == 2 else values[:, None]
        vectors = np.zeros((columns.shape[1], self._n_panels * PANEL))
        vectors[:, : self.n_samples] = columns.T
        return vectors, values.ndim == 1

    def _positions(self, indices: Any) -> Array:
        chosen = np.atleast_1d(np.asarray(indices))
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise TypeError(f"indices must be whole numbers, got {chosen.dtype} {chosen.shape}")
        n = self.n_samples
        wrong = (chosen < -n) | (chosen >= n)
        if wrong.any():
            raise IndexError(f"index {chosen[wrong][0]} is out of range for {n} samples")
        chosen = chosen.astype(np.intp)
        return np.where(chosen < 0, chosen + n, chosen)

    def _recomputed_rows(self, chosen: Array) -> Array:
        parts = [
            part._replace(
                X=_taken(part.X, chosen),
                Y=part.X,
                rows=None if part.rows is None else part.rows[chosen],
                columns=part.rows,
            )
            for part in self._parts
        ]
        plan, n_threads = make_plan([[(1.0, part)] for part in parts], self._n_threads)
        found = np.empty((self.n_kernels, len(chosen), self.n_samples), self.dtype)
        plan.run_dense(found, n_threads)
        return found


def _taken(block: Any, rows: Array) -> Any:
    """Return these samples of a block, whatever holds them."""
    if hasattr(block, "iloc"):
        return block.iloc[rows]
    if isinstance(block, list | tuple):
        return [block[i] for i in rows]
    return np.asarray(block)[rows]
