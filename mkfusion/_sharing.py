"""What copies of one estimator share that hear different modalities of the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ._parallel import run


class Sharing:
    """An estimator whose copies work out once what does not depend on the modalities they hear.

    Who makes the copies gives them one dictionary, for one table to learn from. Without it each
    works for itself.
    """

    _known: dict[Any, Any] | None = None

    def _recall(self, jobs: Sequence[tuple[Any, Callable[[], Any]]], **options: Any) -> list[Any]:
        """Return the results of jobs, (key, maker of a delayed call); known ones are not run."""
        known = self._known
        todo = [job for job in jobs if known is None or job[0] not in known]
        new = run((make() for _, make in todo), total=len(todo), **options)
        if known is None:
            return new
        known.update(zip((key for key, _ in todo), new, strict=True))
        return [known[key] for key, _ in jobs]

    def _asked(self, X: Any) -> int:
        """Return the key of a table of samples: as long as it is held, no other has its number."""
        if self._known is not None:
            self._known["asked", id(X)] = X
        return id(X)
