"""Which modality to buy next, from what subsets of the modalities score and cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from .._validation import listed
from ._result import printable

STEPS = ["modality", "cost", "total_cost", "score", "gain", "gain_per_cost"]


@dataclass(frozen=True, eq=False, repr=False)
class AcquisitionOrder:
    """What :func:`acquisition_order` found.

    Parameters
    ----------
    steps : DataFrame
        A row for each purchase, in order: the ``modality``, its ``cost``, the ``total_cost`` of
        all bought so far, the ``score`` with it, the ``gain`` over the step before, and that
        ``gain_per_cost``.
    frontier : DataFrame
        The subsets that no other one beats at the same cost or below: ``modalities``, ``cost`` and
        ``score``, from the cheapest on.
    best : tuple of str
        The best subset under the budget.
    best_score, best_cost : float
    budget : float
    owned : tuple of str

    Attributes
    ----------
    order : list of str
        The modalities in the order of purchase.
    verdict : str
        A plain sentence.

    Examples
    --------
    >>> from mkfusion.evaluation import acquisition_order
    >>> scores = {(): 0.5, ("a",): 0.7, ("b",): 0.6, ("a", "b"): 0.9}
    >>> acquisition_order(scores, {"a": 4, "b": 1}).order
    ['b', 'a']
    """

    steps: pd.DataFrame
    frontier: pd.DataFrame
    best: tuple[str, ...]
    best_score: float
    best_cost: float
    budget: float
    owned: tuple[str, ...]

    @property
    def order(self) -> list[str]:
        """The modalities in the order of purchase."""
        return self.steps["modality"].tolist()

    @property
    def verdict(self) -> str:
        """A plain sentence that names what to buy next, and the best that can be had."""
        if self.order:
            first = self.steps.iloc[0]
            text = (
                f"Buy {first['modality']} next: the score changes by {first['gain']:+.3g} for "
                f"{first['cost']:g}."
            )
        else:
            text = "There is nothing left that can be bought."
        limit = "at any cost" if np.isinf(self.budget) else f"for at most {self.budget:g}"
        named = ", ".join(self.best) or "no modality"
        return (
            f"{text} The best that can be had {limit} is {named} (score {self.best_score:.3g}, "
            f"cost {self.best_cost:g})."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the steps, as a copy."""
        return self.steps.copy()

    def __repr__(self) -> str:
        steps = self.steps.assign(modality=self.steps["modality"].map(printable))
        return f"{steps.to_string(float_format='{:.4g}'.format)}\n\n{printable(self.verdict)}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.verdict)}</p>{self.steps.to_html(float_format='{:.4g}'.format)}"


def acquisition_order(
    scores: Any,
    costs: Mapping[str, float] | Iterable[str],
    *,
    budget: float | None = None,
    owned: Iterable[str] = (),
) -> AcquisitionOrder:
    r"""Say which modality to buy next under given costs, and the best subset under a budget.

    Bought next is what brings the most for its price,

    .. math:: \arg\max_{m \notin S,\; c(S) + c_m \le b} \frac{v(S \cup \{m\}) - v(S)}{c_m},

    one after another; modalities that are worth something only together are not found that way.
    The best subset under the budget is the best of all that are in the table, and the frontier
    holds those that no cheaper one equals.

    Parameters
    ----------
    scores : mapping or DataFrame or Series
        A score for each subset of the modalities, greater is better. The keys of a mapping, and
        the index of a Series, are tuples, sets or lists of names, a single name, or names joined
        by "+"; an empty one is no modality. A DataFrame has a column "score" and either such an
        index, or a column "subset" or "modalities" of them, or a boolean column for each modality.
        Not all subsets need be there.
    costs : mapping of str to float, or iterable of str
        What each modality costs, 0 or more. Names alone cost 1 each.
    budget : float, default=None
        What may be spent on what is not owned. None is no limit.
    owned : iterable of str, default=()
        Modalities that are there already, and cost nothing more.

    Returns
    -------
    found : AcquisitionOrder

    Raises
    ------
    ValueError
        For unknown modalities, negative costs, scores that are no finite numbers or contradict
        each other, or a table that lacks what is owned.

    References
    ----------
    Krause, Guestrin (2005), "A note on the budgeted maximization of submodular functions",
    CMU-CALD-05-103, for the greedy order and its limits.

    Examples
    --------
    >>> from mkfusion.evaluation import acquisition_order
    >>> scores = {"": 0.5, "audio": 0.8, "video": 0.75, "audio+video": 0.9}
    >>> acquisition_order(scores, {"audio": 10, "video": 2}, budget=11).best
    ('audio',)
    """
    prices = _prices(costs)
    table = _subsets(scores, prices)
    have = frozenset([owned] if isinstance(owned, str) else owned)
    _refuse_unknown(have, prices, "owned")
    limit = np.inf if budget is None else _number("budget", budget)
    if have not in table:
        what = f"the owned {listed(sorted(have))}" if have else "the empty subset"
        raise ValueError(f"scores lacks {what}, from which the order begins; add its score")

    def cost(subset: frozenset[str]) -> float:
        return float(sum(prices[name] for name in prices if name in subset - have))

    affordable = [s for s in table if have <= s and cost(s) <= limit]
    in_order = sorted(affordable, key=lambda s: (cost(s), -table[s], len(s), _named(s, prices)))
    frontier: list[tuple[Any, ...]] = []
    for subset in in_order:
        if not frontier or table[subset] > frontier[-1][2]:
            frontier.append((_named(subset, prices), cost(subset), table[subset]))
    best, best_cost, best_score = frontier[-1]
    steps = _greedy(table, prices, have, limit)
    return AcquisitionOrder(
        steps=pd.DataFrame(steps, columns=STEPS, index=range(1, len(steps) + 1)),
        frontier=pd.DataFrame(frontier, columns=["modalities", "cost", "score"]),
        best=best,
        best_score=best_score,
        best_cost=best_cost,
        budget=limit,
        owned=_named(have, prices),
    )


def _greedy(
    table: Mapping[frozenset[str], float],
    prices: Mapping[str, float],
    have: frozenset[str],
    limit: float,
) -> list[tuple[Any, ...]]:
    steps: list[tuple[Any, ...]] = []
    total = 0.0
    while True:
        choices = [
            name
            for name, price in prices.items()
            if name not in have and have | {name} in table and total + price <= limit
        ]
        if not choices:
            return steps
        gains = {name: table[have | {name}] - table[have] for name in choices}
        best = max(choices, key=lambda name: (_rate(gains[name], prices[name]), gains[name]))
        have, total = have | {best}, total + prices[best]
        rate = _rate(gains[best], prices[best])
        steps.append((best, prices[best], total, table[have], gains[best], rate))


def _rate(gain: float, price: float) -> float:
    """Return the gain for a price of 1; what is free and good comes first, free and bad last."""
    if price > 0:
        return gain / price
    return float(np.inf * np.sign(gain)) if gain else 0.0


def _named(subset: frozenset[str], prices: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(name for name in prices if name in subset)


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, 0 or more, got {value!r}") from None
    if not number >= 0:
        raise ValueError(f"{name} must be a number, 0 or more, got {value!r}")
    return number


def _prices(costs: Any) -> dict[str, float]:
    if isinstance(costs, str) or not isinstance(costs, Iterable):
        raise TypeError(f"costs must be a mapping from modalities to numbers, got {costs!r}")
    given = dict(costs) if isinstance(costs, Mapping | pd.Series) else dict.fromkeys(costs, 1.0)
    if not given:
        raise ValueError("costs names no modality")
    prices = {name: _number(f"the cost of {name!r}", price) for name, price in given.items()}
    endless = [name for name, price in prices.items() if np.isinf(price)]
    if endless:
        raise ValueError(f"the costs of {listed(endless)} are infinite; leave their subsets out")
    return prices


def _refuse_unknown(subset: Iterable[Any], prices: Mapping[str, float], where: str) -> None:
    unknown = [name for name in subset if name not in prices]
    if unknown:
        raise ValueError(
            f"{where} names {listed(unknown)}, of which costs says nothing; "
            f"it has {listed(prices)}"
        )


def _subsets(scores: Any, prices: Mapping[str, float]) -> dict[frozenset[str], float]:
    """Return the score of each subset."""
    if isinstance(scores, pd.DataFrame):
        pairs = _of_frame(scores, prices)
    elif isinstance(scores, Mapping | pd.Series):
        pairs = list(scores.items())
    else:
        raise TypeError(
            f"scores must be a mapping, a Series or a DataFrame, got {type(scores).__name__}"
        )
    table: dict[frozenset[str], float] = {}
    for key, score in pairs:
        subset = _subset(key, prices)
        _refuse_unknown(sorted(subset, key=str), prices, "scores")
        try:
            value = float(score)
        except (TypeError, ValueError):
            value = np.nan
        if not np.isfinite(value):
            raise ValueError(f"the score of {key!r} must be a finite number, got {score!r}")
        if table.setdefault(subset, value) != value:
            raise ValueError(f"scores has two different scores of {_named(subset, prices)}")
    return table


def _of_frame(scores: pd.DataFrame, prices: Mapping[str, float]) -> list[tuple[Any, Any]]:
    if "score" not in scores:
        raise ValueError(f"scores has no column 'score', but {listed(scores.columns)}")
    values = scores["score"].tolist()
    for name in ("subset", "modalities"):
        if name in scores and name not in prices:
            return list(zip(scores[name], values, strict=True))
    flags = [name for name in scores if name in prices]
    if not flags:
        return list(zip(scores.index, values, strict=True))
    wrong = [name for name in flags if not scores[name].isin([True, False]).all()]
    if wrong:
        raise ValueError(
            f"columns {listed(wrong)} of scores must be boolean: who is in the subset"
        )
    rows = scores[flags].astype(bool).to_numpy()
    return [
        (frozenset(np.array(flags, dtype=object)[row]), value)
        for row, value in zip(rows, values, strict=True)
    ]


def _subset(key: Any, prices: Mapping[str, float]) -> frozenset[str]:
    if isinstance(key, str):
        if key in prices:
            return frozenset([key])
        names = [name.strip() for name in key.split("+")]
        return frozenset(name for name in names if name)
    if not isinstance(key, Iterable):
        raise TypeError(f"a subset in scores is a tuple, a set or a list of names, got {key!r}")
    return frozenset(key)
