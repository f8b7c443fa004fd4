"""What subsets of the modalities are worth: which to try, and how their worth is shared out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from .._validation import listed

__all__ = ["Plan", "hearing", "plan_subsets", "shapley_values"]

BY_POSITION = ("weights", "variances", "stream_weights")  # may have a number for each modality
MOST_EXACT = 8  # modalities whose subsets are all tried

Array = np.ndarray


class Plan(NamedTuple):
    """Which subsets are tried.

    Attributes
    ----------
    subsets : ndarray of bool of shape (n_subsets, n_modalities)
        Small ones first; the first is empty and the last is everything.
    orders : ndarray of int of shape (n_orders, n_modalities)
        The orders in which modalities join, where subsets are drawn; none where all are tried.
    """

    subsets: Array
    orders: Array

    @property
    def places(self) -> dict[bytes, int]:
        """The row of each subset."""
        return {row.tobytes(): place for place, row in enumerate(self.subsets)}


def plan_subsets(n_modalities: int, n_orders: int, rng: np.random.RandomState) -> Plan:
    """Return all subsets of few modalities; of many, those that drawn orders come across.

    Every order is followed by its reverse. Single modalities, pairs, and all but one are always
    there.
    """
    M, members = n_modalities, range(n_modalities)
    if M <= MOST_EXACT:
        sets = [set(own) for size in range(M + 1) for own in combinations(members, size)]
        return Plan(_as_masks(sets, M), np.empty((0, M), dtype=np.int64))
    drawn = [rng.permutation(M) for _ in range(-(-n_orders // 2))]
    orders = np.array([order for own in drawn for order in (own, own[::-1])])
    sizes = (0, 1, 2, M - 1, M)
    sets = [set(own) for size in sizes for own in combinations(members, size)]
    sets += [set(order[:size].tolist()) for order in orders for size in range(3, M - 1)]
    unique = {tuple(sorted(own)): own for own in sets}
    return Plan(
        _as_masks(sorted(unique.values(), key=lambda own: (len(own), sorted(own))), M), orders
    )


def _as_masks(sets: Sequence[set[int]], n_modalities: int) -> Array:
    masks = np.zeros((len(sets), n_modalities), dtype=bool)
    for row, own in zip(masks, sets, strict=True):
        row[list(own)] = True
    return masks


def shapley_values(plan: Plan, values: Array) -> Array:
    r"""Return the Shapley value of each modality.

    .. math:: \phi_m = \sum_{S \not\ni m} \frac{|S|!\,(M - |S| - 1)!}{M!}
        \left[ v(S \cup m) - v(S) \right]

    which is the mean of what the modality adds over all orders in which they can join. Of many
    modalities it is the mean over the drawn orders.

    Parameters
    ----------
    plan : Plan
    values : ndarray of shape (n_subsets, ...)
        What each subset is worth.

    Returns
    -------
    shares : ndarray of shape (n_modalities, ...)
        They sum to the worth of all less that of none.

    References
    ----------
    Shapley (1953), A value for n-person games. Castro, Gomez, Tejada (2009), Polynomial
    calculation of the Shapley value based on sampling, Computers & Operations Research 36.
    """
    subsets, M = plan.subsets, plan.subsets.shape[1]
    places = plan.places
    shares = np.zeros((M, *values.shape[1:]))
    if len(plan.orders):
        for order in plan.orders:
            joined = np.zeros(M, dtype=bool)
            before = values[places[joined.tobytes()]]
            for m in order:
                joined[m] = True
                after = values[places[joined.tobytes()]]
                shares[m] += after - before
                before = after
        return shares / len(plan.orders)
    for place, subset in enumerate(subsets):
        size = int(subset.sum())
        for m in np.flatnonzero(~subset):
            joined = subset.copy()
            joined[m] = True
            weight = 1 / (M * comb(M - 1, size))
            shares[m] += weight * (values[places[joined.tobytes()]] - values[place])
    return shares


# An estimator that hears some of the modalities ----------------------------------------------


def hearing(estimator: Any, columns: Mapping[str, Sequence[Any]], chosen: Sequence[str]) -> Any:
    """Return an unfitted copy of an estimator that hears only the chosen modalities.

    What else its parameters say of the others is left out: their models and kernels, and their
    weights, by name or by position. None if the estimator has no parameter ``modalities``.
    """
    owner = _owner(estimator)
    if owner is None:
        return None
    copy = clone(estimator)
    params = copy.get_params()
    inner = params[owner[:-2]] if owner else copy
    own = inner.get_params(deep=False)
    changed = {
        name: _without(name, value, columns, chosen)
        for name, value in own.items()
        if name != "modalities"
    }
    changed = {name: value for name, value in changed.items() if value is not own[name]}
    changed["modalities"] = {name: list(columns[name]) for name in chosen}
    return copy.set_params(**{f"{owner}{name}": value for name, value in changed.items()})


def _owner(estimator: Any) -> str | None:
    """Return the prefix of the parameter ``modalities``: the estimator's, or a last step's."""
    params = estimator.get_params(deep=False)
    if "modalities" in params:
        return ""
    last = estimator.steps[-1] if getattr(estimator, "steps", None) else None
    if last is not None and hasattr(last[1], "get_params"):
        inner = _owner(last[1])
        return None if inner is None else f"{last[0]}__{inner}"
    return None


def _without(name: str, value: Any, columns: Mapping[str, Any], chosen: Sequence[str]) -> Any:
    """Return a parameter without what it says of modalities that are not chosen."""
    others = set(columns) - set(chosen)
    if isinstance(value, Mapping):
        if any(isinstance(own, list | tuple) and others & _texts(own) for own in value.values()):
            groups = {key: [m for m in own if m not in others] for key, own in value.items()}
            return {key: own for key, own in groups.items() if len(own) > 1} or None
        own_ones = {key: own for key, own in value.items() if key not in others}
        return value if len(own_ones) == len(value) else own_ones
    if isinstance(value, list) and value and all(isinstance(own, tuple) for own in value):
        kept = [own for own in value if not _speaks_of(own, others)]
        return value if len(kept) == len(value) else kept or None
    if name in BY_POSITION and isinstance(value, list | tuple | np.ndarray):
        kept = [own for own, m in zip(value, columns, strict=False) if m in chosen]
        return np.array(kept) if isinstance(value, np.ndarray) else kept
    return value


def _texts(values: Sequence[Any]) -> set[Any]:
    return {value for value in values if isinstance(value, str)}


def _speaks_of(own: tuple[Any, ...], others: set[str]) -> bool:
    """Tell whether a (modality, model) pair or a (name, kernel, modality) triple is of another."""
    return own[0 if len(own) == 2 else -1] in others


def check_chosen(names: Sequence[str], wanted: str | None) -> None:
    """Refuse the name of what is no modality."""
    if wanted is not None and wanted not in names:
        raise ValueError(
            f"single names {wanted!r}, which is no modality of X; they are {listed(names, 30)}"
        )
