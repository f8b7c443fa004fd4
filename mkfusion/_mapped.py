"""Parts of memory-mapped arrays, as their places in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["MappedPart", "mapped_part"]


class MappedPart(NamedTuple):
    """A part of a memory-mapped array as its place in the file.

    It takes some bytes to send, and what is opened is unmapped with its last reader, so that
    the rows of earlier blocks do not stay in memory.
    """

    path: str
    start: int  # of the part's lowest byte in the file
    n_bytes: int
    first: int  # of the first number, from start
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def open(self) -> np.ndarray:
        """Map the part, to be read only."""
        span = np.memmap(self.path, np.uint8, "r", offset=self.start, shape=(self.n_bytes,))
        return np.ndarray(self.shape, self.dtype, span, self.first, self.strides)


def mapped_part(part: np.ndarray) -> MappedPart | None:
    """Return where an array stands in a file, None where it is not what the file holds."""
    mapping = _mapping(part)
    if mapping is None or part.size == 0 or mapping.mode == "c" or not mapping.filename:
        return None
    if not Path(mapping.filename).is_file():
        return None
    steps = [(n - 1) * stride for n, stride in zip(part.shape, part.strides, strict=True)]
    before = -sum(step for step in steps if step < 0)
    after = sum(step for step in steps if step > 0) + part.itemsize
    place = mapping.offset + _address(part) - _address(mapping)
    return MappedPart(
        str(mapping.filename),
        place - before,
        before + after,
        before,
        part.dtype,
        part.shape,
        part.strides,
    )


def _mapping(array: Any) -> np.memmap | None:
    """Return the memmap under an array: the one whose own place its offset tells."""
    found = None
    while isinstance(array, np.ndarray):
        found = array if isinstance(array, np.memmap) else found
        array = array.base
    return found


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]
