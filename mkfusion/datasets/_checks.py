"""Checks of the parameters that the data sets share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

__all__ = [
    "RATE",
    "Interval",
    "as_random_state",
    "check_choice",
    "check_class_names",
    "check_dimensions",
    "check_flags",
    "check_probabilities",
    "check_real",
    "check_whole",
    "listed",
    "per_modality",
]


class Interval(NamedTuple):
    """An interval of the real line; ``open_end`` says that ``high`` is outside."""

    low: float
    high: float
    open_end: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, Real):
            return False
        number = float(value)
        return self.low <= number and (
            number < self.high or (number == self.high and not self.open_end)
        )

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}{')' if self.open_end else ']'}"


RATE = Interval(0, 1)


def listed(names: Iterable[Any], limit: int = 6) -> str:
    """Name at most ``limit`` things, and say how many more there are."""
    names = [name.item() if isinstance(name, np.generic) else name for name in names]
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def check_choice(name: str, value: Any, options: Iterable[str]) -> None:
    """Refuse a value that is none of the options."""
    options = list(options)
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {listed(options)}, got {value!r}")


def check_flags(**flags: Any) -> None:
    """Refuse a flag that is neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {value!r}")


def check_whole(name: str, value: Any, low: int) -> int:
    """Return a whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return int(value)


def check_real(name: str, value: Any, interval: Interval) -> float:
    """Return a number that lies in the interval."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number in {interval}, got {value!r}")
    if value not in interval:
        raise ValueError(f"{name} must lie in {interval}, got {value}")
    return float(value)


def per_modality(
    name: str, value: Any, names: Sequence[str], interval: Interval, absent: float | None = 0.0
) -> dict[str, float]:
    """Return one number per modality from a number for all or from a mapping.

    A modality that the mapping leaves out gets ``absent``; None says that none may be left out.
    """
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, check_real(name, value, interval))
    unknown = [key for key in value if key not in names]
    if unknown:
        raise ValueError(
            f"{name} names {listed(unknown)}, but the modalities are {listed(names, 30)}"
        )
    left_out = [key for key in names if key not in value]
    if left_out and absent is None:
        raise ValueError(f"{name} must give a number for each modality, got none for {left_out}")
    return {
        key: check_real(f"{name} of modality {key!r}", value.get(key, absent), interval)
        for key in names
    }


def check_dimensions(modalities: Any) -> dict[str, int]:
    """Return the number of features of each modality, its name fit to be a column prefix."""
    if not isinstance(modalities, Mapping) or not modalities:
        raise ValueError(
            f"modalities must map names to numbers of features, such as "
            f"{{'audio': 10, 'video': 20}}, got {modalities!r}"
        )
    for name in modalities:
        _check_name(name)
    return {
        name: check_whole(f"modalities[{name!r}], the number of features,", size, 1)
        for name, size in modalities.items()
    }


def _check_name(name: Any) -> None:
    readable = isinstance(name, str) and name and f"{name}__0".partition("__")[0] == name
    if not readable or name == "remainder":
        raise ValueError(
            f"modalities must have names that can stand before '__' in a column's name "
            f"(text without '__' and without a final '_', not 'remainder'), got {name!r}"
        )


def check_probabilities(name: str, values: Any, *shapes: tuple[int, ...]) -> np.ndarray:
    """Return probabilities of one of the shapes that sum to 1 along the last axis."""
    expected = " or ".join(str(shape) for shape in shapes)
    try:
        table = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers of shape {expected}, got {values!r}") from None
    if table.shape not in shapes:
        raise ValueError(f"{name} must have shape {expected}, got shape {table.shape}")
    sums = table.sum(axis=-1)
    if not (table >= 0).all() or not np.allclose(sums, 1, rtol=0, atol=1e-6):
        raise ValueError(
            f"{name} must be non-negative and sum to 1, got {table.tolist()} "
            f"with sum {sums.tolist()}"
        )
    return table / sums[..., np.newaxis]


def check_class_names(class_names: Any, n_classes: int) -> np.ndarray:
    """Return class names in sorted order; None is 0, 1, ..."""
    if class_names is None:
        return np.arange(n_classes)
    names = np.array(class_names, dtype=object).tolist()
    kinds = {type(name) for name in names} if isinstance(names, list) else set()
    if kinds not in ({str}, {int}) or len(set(names)) != n_classes:
        raise ValueError(
            f"class_names must be {n_classes} different names, all str or all int, "
            f"got {class_names!r}"
        )
    if names != sorted(names):
        raise ValueError(
            "class_names must be sorted, so that columns of posteriors stand as in classes_ of "
            f"a classifier: {sorted(names)}, got {names}"
        )
    return np.array(names)


def as_random_state(random_state: Any) -> np.random.RandomState:
    """Return a generator that is never numpy's global one unless that was handed in."""
    if random_state is None:
        return np.random.RandomState()
    try:
        return check_random_state(random_state)
    except (TypeError, ValueError):
        raise ValueError(
            "random_state must be None, a whole number from 0 to 2**32 - 1 or a "
            f"numpy.random.RandomState, got {random_state!r}"
        ) from None
