"""The strategies that a comparison tries, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import sklearn

from .._validation import listed
from ..early import EarlyFusionClassifier, EarlyFusionRegressor
from ..hybrid import HybridFusionClassifier, HybridFusionRegressor
from ..late import LateFusionClassifier, LateFusionRegressor
from ..late._stacking import final_classifier, final_regressor
from ..rules import REGRESSION_RULES, RULES
from ._kernels import KERNEL_FUSIONS, kernel_fusion
from ._models import CHAIN_MODELS, chain_model

SINGLE, FUSION = "single (chosen)", "fusion (chosen)"
RULES_OF_TASK: dict[str, Any] = {"classification": RULES, "regression": REGRESSION_RULES}
LATE: dict[str, Any] = {"classification": LateFusionClassifier, "regression": LateFusionRegressor}
HYBRID: dict[str, Any] = {
    "classification": HybridFusionClassifier,
    "regression": HybridFusionRegressor,
}


def _early(task: str, modalities: dict[str, list[int]], encoders: dict, model: Any) -> Any:
    cls = EarlyFusionClassifier if task == "classification" else EarlyFusionRegressor
    imputer = sklearn.impute.SimpleImputer(keep_empty_features=True)
    model = sklearn.pipeline.make_pipeline(imputer, model)
    return cls(model, modalities, transformers=list(encoders.items()), allow_overlap=True)


class Combination(NamedTuple):
    """A rule on the answers of the experts, and what it needs besides them."""

    rule: str
    weights: str | None = None  # how they are found, "learn" or "search"
    joint: bool = False  # the early fused model is one more expert
    learnt: bool = False  # from answers out of fold
    params: Mapping[str, Any] = {}


def _combine(rule: str, weights: str | None, joint: bool, task: str, *_: Any) -> Any:
    if rule not in RULES_OF_TASK[task]:
        return None
    known = RULES_OF_TASK[task][rule]
    learnt = known.trained or known.weights == "variance" or weights is not None
    final = final_classifier if task == "classification" else final_regressor
    params = {"final_estimator": final(None)} if rule == "stacking" else {}
    return Combination(rule, weights, joint, learnt, params)


def _combinations() -> Iterator[tuple[Any, ...]]:
    """Yield name, rule, how its weights are found and whether the early fused model is heard."""
    for rule in RULES | REGRESSION_RULES:
        yield f"late:{rule}", rule, None, False
    for rule in ("weighted", "log_pool", "dempster_shafer"):
        yield f"late:{rule}:learn", rule, "learn", False
    for rule in ("weighted", "log_pool"):
        yield f"late:{rule}:search", rule, "search", False
    for rule in ("mean", "log_pool", "stacking"):
        yield f"hybrid:{rule}", rule, None, True
    for rule in ("weighted", "log_pool"):
        yield f"hybrid:{rule}:learn", rule, "learn", True


def _kernels(way: Any, task: str, modalities: Any, encoders: Any, *_: Any) -> Any:
    return kernel_fusion(way, task, modalities, encoders)


def _graphical(kind: str, task: str, modalities: Any, *_: Any) -> Any:
    return chain_model(kind, modalities) if task == "classification" else None


#: Every way to fuse that :func:`compare_fusion` can try, by its name. The value is a function of
#: the task, the columns of the modalities, the transformers that make numbers of these, and the
#: model. It returns an unfitted estimator for the whole table, or a combination of the
#: experts' answers (all of them share one fit), or None for another task.
STRATEGIES: dict[str, Callable[..., Any]] = {
    "early": _early,
    **{name: partial(_combine, *how) for name, *how in _combinations()},
    **{name: partial(_kernels, way) for name, way in KERNEL_FUSIONS.items()},
    **{f"graphical:{kind}": partial(_graphical, kind) for kind in CHAIN_MODELS},
}
# These say what others say already, of these data or with equal weights, or take long. Kernels
# take time and memory with the square of the rows.
_NOT_BY_DEFAULT = {
    "classification": {
        *("late:kittler_max", "late:kittler_min", "late:weighted", "late:dempster_shafer"),
        *("late:bks", "late:decision_template", "late:weighted:learn", "late:weighted:search"),
        *("late:log_pool:search", "hybrid:mean", "hybrid:weighted:learn", "hybrid:stacking"),
        *KERNEL_FUSIONS,
    },
    "regression": {
        *("late:weighted", "late:weighted:search", "hybrid:mean", "hybrid:stacking"),
        *KERNEL_FUSIONS,
    },
}


def known_strategies(
    task: str,
    columns: dict[str, list[int]],
    encoders: dict[str, Any],
    model: Any,
    sequences: Sequence[str],
    in_step: bool,
) -> dict[str, Any]:
    """Return what can be tried, by name, None for what cannot: of sequences late fusion, and
    graphical models where all modalities are sequences in step.
    """
    known: dict[str, Any] = {}
    for name, build in STRATEGIES.items():
        kind = name.partition(":")[0]
        fits = in_step if kind == "graphical" else not sequences or kind == "late"
        known[name] = build(task, columns, encoders, model) if fits else None
    return known


def choose_strategies(
    wanted: Any, named: str | None, known: dict[str, Any], task: str
) -> dict[str, Any]:
    """Return what is to be tried, by name."""
    known = {name: entry for name, entry in known.items() if entry is not None}
    given = [wanted] if isinstance(wanted, str) else [*wanted]
    items = [name for item in given for name in _expand(item, known, task)]
    chosen = {}
    for item in items if named is None else [*items, named]:
        name, known[name] = _check_strategy(item, known)
        chosen[name] = known[name]
    if not chosen:
        raise ValueError("strategies is empty: name at least one")
    return chosen


def _expand(item: Any, known: Mapping[str, Any], task: str) -> list[Any]:
    """Return the strategies that a word stands for; anything else stands for itself."""
    if not isinstance(item, str) or item in known:
        return [item]
    if item == "default":
        return [name for name in known if name not in _NOT_BY_DEFAULT[task]]
    return [name for name in known if item in ("all", name.partition(":")[0])] or [item]


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


def as_estimator(
    how: Any,
    task: str,
    modalities: dict[str, list[Any]],
    experts: Mapping[str, Any],
    early: Any,
    **learning: Any,
) -> Any:
    """Return what a strategy is as one unfitted estimator; ``learning`` is what learnt ones need
    to know of the folds inside.
    """
    if not isinstance(how, Combination):
        return how
    options = {"rule": how.rule, "weights": how.weights, "allow_overlap": True, **how.params}
    if how.learnt:
        options |= learning
    if how.joint:
        # It is told its modalities' places among the joined columns when it is fitted.
        options["joint_estimator"] = sklearn.base.clone(early).set_params(modalities=None)
    fusion = (HYBRID if how.joint else LATE)[task]
    return fusion(list(experts.items()), modalities, **options)
