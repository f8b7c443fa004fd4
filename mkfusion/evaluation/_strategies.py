"""The strategies that a comparison tries, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import sklearn

from .._validation import listed
from ..early import EarlyFusionClassifier, EarlyFusionRegressor
from ..rules import REGRESSION_RULES, RULES

SINGLE, FUSION = "single (chosen)", "fusion (chosen)"
RULES_OF_TASK: dict[str, Any] = {"classification": RULES, "regression": REGRESSION_RULES}


def _early(task: str, modalities: dict[str, list[int]], encoders: dict, model: Any) -> Any:
    cls = EarlyFusionClassifier if task == "classification" else EarlyFusionRegressor
    imputer = sklearn.impute.SimpleImputer(keep_empty_features=True)
    model = sklearn.pipeline.make_pipeline(imputer, model)
    return cls(model, modalities, transformers=list(encoders.items()), allow_overlap=True)


def _late(rule: str, task: str, *_: Any) -> str | None:
    # inverse_variance needs variances, which are the user's to give.
    return rule if rule in RULES_OF_TASK[task] and rule != "inverse_variance" else None


# By name a function of the task, the positions of the modalities' columns, the transformers that
# make numbers of these, and the model. It returns an unfitted estimator for the whole table, or
# the name of a late rule (all of them share one fit of the experts), or None for another task.
STRATEGIES: dict[str, Callable[..., Any]] = {
    "early": _early,
    **{f"late:{rule}": partial(_late, rule) for rule in RULES | REGRESSION_RULES},
}
# With equal priors and weights and without discounts these say what others say already.
_NOT_BY_DEFAULT = {"late:kittler_max", "late:kittler_min", "late:weighted", "late:dempster_shafer"}


def choose_strategies(wanted: Any, named: str | None, known: dict[str, Any]) -> dict[str, Any]:
    known = {name: entry for name, entry in known.items() if entry is not None}
    if isinstance(wanted, str) and wanted in ("default", "all"):
        wanted = [name for name in known if wanted == "all" or name not in _NOT_BY_DEFAULT]
    items = [wanted] if isinstance(wanted, str) else [*wanted]
    chosen = {}
    for item in items if named is None else [*items, named]:
        name, known[name] = _check_strategy(item, known)
        chosen[name] = known[name]
    if not chosen:
        raise ValueError("strategies is empty: name at least one")
    return chosen


def _check_strategy(item: Any, known: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name of a strategy and what it is."""
    if isinstance(item, str):
        if item not in known:
            raise ValueError(f"unknown strategy {item!r}; of this task: {listed(known, 40)}")
        return item, known[item]
    name, estimator = item if isinstance(item, tuple | list) and len(item) == 2 else (None, None)
    if not isinstance(name, str) or not hasattr(estimator, "fit") or isinstance(estimator, type):
        raise ValueError(f"a strategy is a name or a pair (name, estimator), got {item!r}")
    if name in known or name.startswith("single:") or name in (SINGLE, FUSION):
        raise ValueError(f"strategy {name!r} has the name of another row; rename it")
    return name, estimator
