"""What estimators keep, in shapes that formats other than pickle can hold too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["ByTuple"]


class ByTuple(Mapping[tuple[Any, ...], Any]):
    """A mapping whose keys are tuples, kept as two lists: JSON has no such keys.

    Parameters
    ----------
    pairs : mapping, or iterable of (tuple, object)
    """

    def __init__(self, pairs: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        found = dict(pairs)
        self._keys, self._values = list(found), list(found.values())

    def __getitem__(self, key: Any) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return self._values[self._keys.index(key)]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return repr(dict(self))
