"""What late fusion of classes and of numbers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping

from .._columns import as_numbers
from .._diagram import single
from .._experts import BaseExperts, joint_columns
from .._folds import Split, groups_column, split_rows
from .._models import noting
from .._validation import check_option, check_weight_vector, listed
from ..modality import take_block
from ..rules import Rule
from ..rules._fuse import check_rule_weights
from ._output import likely_patterns


class LateFusion(TransformerMixin, BaseExperts):
    """What classifiers and regressors share: inner folds, and a rule that may be learnt."""

    _ways: tuple[str, ...] = ("learn", "search")
    _rules: Mapping[str, Rule]
    rule: Any
    weights: Any
    rule_params: Mapping[str, Any] | None
    passthrough: bool
    cv: Any
    groups: str | None
    random_state: Any

    def _rule_picture(self) -> list[Any]:
        name = self.rule if isinstance(self.rule, str) else getattr(self.rule, "__name__", "own")
        how = f", weights: {self.weights}" if isinstance(self.weights, str) else ""
        rule = single(f"rule: {name}{how}", self._rule_text())
        return [rule, self._final()] if self.rule == "stacking" else [rule]

    def _rule_text(self) -> str:
        """Describe the weights in use."""
        weights = getattr(self, "weights_", None)
        if weights is None or np.ndim(weights) != 1:
            return ""
        pairs = zip(self._kept, weights, strict=True)
        return "\n".join(f"{name}: {weight:.3f}" for name, weight in pairs)

    def _aside(self, table: Any) -> list[int]:
        return groups_column(table, self.groups)

    def _learns(self, rule: Rule) -> bool:
        """Tell whether the rule, or its weights, are learnt from out-of-fold answers."""
        by_name = isinstance(self.weights, str)
        if self.weights is not None:
            self._refuse_weights(rule)
        if by_name:
            if self.weights == "learn" and rule.learn is None:
                raise ValueError(f"weights of rule {self.rule!r} are searched, not learnt")
            if self.weights == "search_by_class" and rule.additive is None:
                raise ValueError(f"rule {self.rule!r} takes no weights by class")
        elif not rule.trained and self.rule_params and rule.weights != "variance":
            raise ValueError(f"rule_params are for a rule that is learnt, not for {self.rule!r}")
        return by_name or rule.trained

    def _refuse_weights(self, rule: Rule) -> None:
        """Refuse weights that the rule would not heed; one of the user's own may."""
        if isinstance(self.weights, str):
            check_option("weights", self.weights, self._ways)
        elif rule not in self._rules.values():
            return
        if rule.weights not in ("share", "reliability"):
            taking = [k for k, v in self._rules.items() if v.weights in ("share", "reliability")]
            raise ValueError(
                f"rule {self.rule!r} takes no weights; those that do: {listed(taking)}"
            )

    def _splits(
        self, y: np.ndarray, weight: np.ndarray | None, groups: np.ndarray | None, classes: bool
    ) -> list[Split]:
        counted = np.ones(len(y), bool) if weight is None else weight > 0
        return split_rows(self.cv, y, groups, classes=classes, counted=counted)

    def _features(self, table: Any) -> Any:
        """Return all modalities' features, where they stand beside the answers of a stack."""
        if not self.passthrough:
            return None
        heard = dict.fromkeys(m for name in self._kept for m in self._heard[name].modalities)
        block = take_block(table, joint_columns([self._columns[name] for name in heard]))
        with noting("passthrough=True gives final_estimator the columns as they are"):
            return block if isinstance(block, pd.DataFrame) else as_numbers("passthrough", block)

    def _expected_patterns(self) -> np.ndarray:
        """Return which experts may speak: none where one hears what would be left out."""
        heard = dict.fromkeys(m for name in self._kept for m in self._heard[name].modalities)
        if not all(self._heard[name].whole for name in self._kept):
            return np.empty((0, len(self._kept)), bool)
        there = dict(zip(heard, likely_patterns(len(heard)).T, strict=True))
        patterns = self._speaking(there, self._kept).T
        return patterns[patterns.any(axis=1)]

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata reach the experts, and the final estimator of a stack.

        Returns
        -------
        routing : MetadataRouter
        """
        router = super().get_metadata_routing()
        if self.rule == "stacking":
            mapping = MethodMapping().add(caller="fit", callee="fit")
            router.add(final_estimator=self._final(), method_mapping=mapping)
        return router

    def _route(self, sample_weight: Any, groups: Any, fit_params: dict[str, Any]) -> Any:
        routed = super()._route(sample_weight, groups, fit_params)
        asked = {} if routed is None else routed.get("final_estimator", {})
        self._final_weighted = routed is None or "sample_weight" in asked
        return routed

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _to_learn(self) -> tuple[Any, ...]:
        """Return what decides, beside the data, what is learnt."""
        named = self.weights if isinstance(self.weights, str) else None
        return self.rule, named, self.rule == "stacking" and bool(self.passthrough)

    def _refuse_unlearnt(self) -> None:
        """Refuse a rule, changed since fit, for which other parameters were learnt."""
        if self._learnt_for != self._to_learn():
            raise ValueError(
                f"rule {self.rule!r} with weights={self.weights!r}, passthrough="
                f"{self.passthrough!r} must be learnt from the training data; fit again with it"
            )


def take_rows(features: Any, rows: np.ndarray) -> Any:
    """Return some rows of a table."""
    return features.iloc[rows] if isinstance(features, pd.DataFrame) else features[rows]


def kept_weights(fusion: Any, rule: Rule, n_classes: int = 0) -> Any:
    """Return the weights of the experts that were fitted, as the rule uses them."""
    if isinstance(fusion.weights, str):
        return fusion.learnt_.weights
    if rule.trained:
        return None
    if fusion.weights is None:
        count = len(fusion._kept)
        return np.ones(count) if rule.weights == "reliability" else np.full(count, 1 / count)
    names = list(fusion._voices())
    weights = check_weight_vector("weights", fusion.weights, names)
    if weights.ndim == 2 and weights.shape[1] != n_classes:
        raise ValueError(
            f"weights by class must have shape ({len(names)}, {n_classes}), got {weights.shape}"
        )
    weights = weights[[names.index(name) for name in fusion._kept]]
    check_rule_weights(rule, weights, fusion.rule)
    total = weights.sum(axis=0)
    return weights / np.where(total > 0, total, 1.0) if rule.weights == "share" else weights
