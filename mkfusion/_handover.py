"""Calls made ready for another process: sequences flat, and what calls share packed once.

A table whose cells are arrays is pickled cell by cell: a header for each, and no memory that
processes could share. Here all cells of a column become one array of values, with the shape of
each, so that joblib maps it into its workers and Dask sends it as one buffer.
"""

from __future__ import annotations

import inspect
import io
import pickle
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from cloudpickle import Pickler

__all__ = ["Handover", "pack", "unpack"]

LARGE = 1024  # bytes of an array from which it stands beside the pickle, not in it


class FlatCells(NamedTuple):
    """An array of objects of which some are arrays: values and offsets."""

    shape: tuple[int, ...]  # of the array of cells
    places: np.ndarray  # shape: (n_cells,), where the cells stand
    kinds: np.ndarray  # shape: (n_cells,), which of the values
    ndims: np.ndarray  # shape: (n_cells,), negative in Fortran order
    sizes: np.ndarray  # the shapes of the cells, one after the other
    values: list[np.ndarray]  # one array for each type of numbers
    others: list[tuple[int, Any]]  # place and object of what is no array

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return sum(values.nbytes for values in self.values)


def flatten(cells: np.ndarray) -> FlatCells | None:
    """Return an array of objects flat, None where none of them is an array."""
    items = cells.ravel().tolist()
    arrays = [_is_plain(item) for item in items]
    if not any(arrays):
        return None
    places = np.flatnonzero(arrays)
    found: list[np.ndarray] = [items[place] for place in places]
    dtypes = list(dict.fromkeys(cell.dtype for cell in found))
    kinds = np.array([dtypes.index(cell.dtype) for cell in found], dtype=np.intp)
    fortran = [cell.flags.fnc for cell in found]
    values = []
    for kind, dtype in enumerate(dtypes):
        own = [
            cell.ravel(order="F" if turned else "C")
            for cell, turned, other in zip(found, fortran, kinds, strict=True)
            if other == kind
        ]
        values.append(np.concatenate(own, dtype=dtype))
    return FlatCells(
        cells.shape,
        places,
        kinds,
        np.array([-c.ndim if f else c.ndim for c, f in zip(found, fortran, strict=True)], np.int8),
        np.array([size for cell in found for size in cell.shape], dtype=np.int64),
        values,
        [(place, items[place]) for place in np.flatnonzero(np.logical_not(arrays)).tolist()],
    )


def _is_plain(item: Any) -> bool:
    return type(item) is np.ndarray and not item.dtype.hasobject


def restore(flat: FlatCells) -> np.ndarray:
    """Return the array of objects, its cells views of the values."""
    cells = np.empty(int(np.prod(flat.shape)), dtype=object)
    starts = [0] * len(flat.values)
    sizes, first = flat.sizes.tolist(), 0
    for place, kind, ndim in zip(
        flat.places.tolist(), flat.kinds.tolist(), flat.ndims.tolist(), strict=True
    ):
        shape = sizes[first : first + abs(ndim)]
        first += abs(ndim)
        start, length = starts[kind], 1
        for size in shape:
            length *= size
        starts[kind] += length
        own = flat.values[kind][start : start + length]
        cells[place] = own.reshape(shape, order="F" if ndim < 0 else "C")
    for place, item in flat.others:
        cells[place] = item
    return cells.reshape(flat.shape)


class _Packer(Pickler):
    """Pickles a value without its arrays, which stand beside it as parts."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.parts: list[np.ndarray | FlatCells] = []
        self._seen: dict[int, tuple[int | None, Any]] = {}  # with the array: its id must stay its

    def persistent_id(self, value: Any) -> int | None:
        if type(value) is not np.ndarray and type(value) is not np.memmap:
            return None
        if id(value) not in self._seen:
            part = _part(value)
            self._seen[id(value)] = None if part is None else len(self.parts), value
            self.parts += [] if part is None else [part]
        return self._seen[id(value)][0]


def _part(array: np.ndarray) -> np.ndarray | FlatCells | None:
    if array.dtype == object:
        return flatten(array)
    return array if array.nbytes >= LARGE and not array.dtype.hasobject else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: Any, parts: Sequence[Any]) -> None:
        super().__init__(file)
        self._parts = parts
        self._restored: dict[int, np.ndarray] = {}

    def persistent_load(self, number: int) -> np.ndarray:
        part = self._parts[number]
        if not isinstance(part, FlatCells):
            return part
        if number not in self._restored:
            self._restored[number] = restore(part)
        return self._restored[number]


def pack(value: Any) -> tuple[bytes, list[np.ndarray | FlatCells]]:
    """Return a value as a pickle and the arrays beside it."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(value)
    return file.getvalue(), packer.parts


def unpack(pickled: bytes, parts: Sequence[np.ndarray | FlatCells]) -> Any:
    """Return the value that was packed."""
    return _Unpacker(io.BytesIO(pickled), parts).load()


class Parcel:
    """An argument on its way: in this process the value itself, flat where it is pickled."""

    def __init__(self, get: Callable[[], Any], nbytes: int | None = None) -> None:
        self.get = get
        self._nbytes = nbytes
        self._packed: tuple[bytes, list[np.ndarray | FlatCells]] | None = None

    def _pack(self) -> tuple[bytes, list[np.ndarray | FlatCells]]:
        if self._packed is None:  # the same arrays for every call: joblib maps each only once
            self._packed = pack(self.get())
        return self._packed

    def __reduce__(self) -> Any:
        return _arrived, self._pack()

    def __sizeof__(self) -> int:
        """Return how much is to be sent: Dask asks, and sends what is large only once."""
        if self._nbytes is None:
            self._nbytes = _nbytes(*self._pack())
        return self._nbytes


def _nbytes(pickled: bytes, parts: Sequence[np.ndarray | FlatCells]) -> int:
    return len(pickled) + sum(part.nbytes for part in parts)


def _arrived(pickled: bytes, parts: Sequence[np.ndarray | FlatCells]) -> Parcel:
    value = unpack(pickled, parts)
    return Parcel(lambda: value, _nbytes(pickled, parts))


class Call:
    """A function whose arguments come in parcels."""

    # No __dict__: it would be copied into what wraps the call, and sent with it.
    __slots__ = ("_kept", "function")

    def __init__(self, function: Callable[..., Any], kept: Any = None) -> None:
        self.function = function
        self._kept = kept  # the arguments, which parcels hold weakly

    def __reduce__(self) -> Any:
        return _arrived_call, pack(self.function)  # what a closure holds is sent flat too

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(
            *map(_opened, args), **{name: _opened(value) for name, value in kwargs.items()}
        )

    @property
    def __name__(self) -> str:
        return getattr(self.function, "__name__", "call")


def _arrived_call(pickled: bytes, parts: Sequence[np.ndarray | FlatCells]) -> Call:
    return Call(unpack(pickled, parts))


def _opened(value: Any) -> Any:
    return value.get() if isinstance(value, Parcel) else value


class Handover:
    """The calls of one run; an argument that several of them share is one parcel."""

    def __init__(self) -> None:
        self._parcels: dict[int, Parcel] = {}

    def __call__(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Call, list[Any], dict[str, Any]]:
        """Return the same call with its large arguments in parcels.

        The object of a bound method becomes an argument: it may hold the table.
        """
        owner = getattr(function, "__self__", None)
        if inspect.ismethod(function) and not isinstance(owner, type):
            function, args = function.__func__, (owner, *args)
        call = Call(function, (args, kwargs))
        return (
            call,
            [self._parcel(value) for value in args],
            {name: self._parcel(value) for name, value in kwargs.items()},
        )

    def _parcel(self, value: Any) -> Any:
        if not _is_large(value):
            return value
        parcel = self._parcels.get(id(value))
        if parcel is None or parcel.get() is not value:
            key = id(value)
            # Weakly, so that a block lives no longer than the calls that need it.
            held = weakref.ref(value, lambda _: self._parcels.pop(key, None))
            parcel = self._parcels[key] = Parcel(held)
        return parcel


def _is_large(value: Any) -> bool:
    """Tell whether a value may hold sequences, or a table that calls share."""
    if isinstance(value, pd.DataFrame):
        return np.dtype(object) in value.dtypes.tolist()
    if isinstance(value, pd.Series | np.ndarray):
        return value.dtype == object
    ours = type(value).__module__.partition(".")[0] == "mkfusion"
    return ours and type(value).__weakrefoffset__ != 0
