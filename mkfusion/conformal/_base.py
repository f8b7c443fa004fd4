"""What conformal classifiers and regressors share: who learns, who calibrates, who has what."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing, check_random_state, get_tags
from sklearn.utils.validation import has_fit_parameter

from .._folds import group_codes, groups_column, split_rows
from .._models import weight_params
from .._parallel import single_blas_thread
from .._policy import missing_policy
from .._selectors import Columns, resolve_modalities
from .._stored import ByTuple
from .._validation import check_lengths, listed, sample_weights, warn
from ..modality import MultimodalMixin, presence
from ._held_out import held_out
from ._scores import check_alpha, fewest, rank

__all__ = ["BaseConformal"]

Array = np.ndarray
Pattern = tuple[str, ...]


class BaseConformal(MetaEstimatorMixin, MultimodalMixin, BaseEstimator):
    """Fits a model, and calibrates what it may be wrong by for each pattern of availability."""

    estimator: Any
    alpha: float
    calibration_size: float
    cv: Any
    random_state: Any
    _wrong_kind: Any
    _kind: str
    _everything: str  # what a sample gets whose pattern is not calibrated

    def _default(self) -> Any:
        raise NotImplementedError

    def _check_target(self, y: Any) -> Array:
        raise NotImplementedError

    def _check_model(self, model: Any, y: Array) -> None:
        """Refuse a model that cannot be calibrated, and store the classes."""
        raise NotImplementedError

    def _codes(self, y: Array) -> Array | None:
        """Return the classes as codes, None for numbers."""
        raise NotImplementedError

    def _conformity(self, model: Any, X: Any, y: Array, uniform: Array) -> Array:
        """Return how strange each sample's own label is to a model that has not seen it."""
        raise NotImplementedError

    def _model(self) -> Any:
        return self._default() if self.estimator is None else self.estimator

    @property
    def missing_modality(self) -> str:
        """What the model inside does with a missing modality."""
        return missing_policy(self._model())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._model()).input_tags
        return tags

    def _resolved(self, table: Any) -> dict[str, Columns]:
        named = self.modalities
        if named is None:
            own = getattr(self.estimator, "modalities", None)
            named = own if isinstance(own, Mapping) else None
        with warnings.catch_warnings():
            # The model gets every column, and says by itself which it leaves out.
            warnings.simplefilter("ignore", UserWarning)
            return resolve_modalities(table, named, allow_overlap=True, aside=self._aside(table))

    def _aside(self, table: Any) -> list[int]:
        """Return the columns that hold no features, by what the model says of them."""
        names = [getattr(self.estimator, own, None) for own in ("groups", "sequence", "step")]
        return [j for name in names for j in groups_column(table, name)]

    def _named_groups(self, table: Any) -> str | None:
        """Return the name of the groups, or sequences, that the model keeps together."""
        levels = table.index.names if isinstance(table, pd.DataFrame) else []
        for own in ("groups", "sequence"):
            name = getattr(self.estimator, own, None)
            if isinstance(name, str) and (name in levels or groups_column(table, name)):
                return name
        return None

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit the model, and calibrate it on samples that it has not seen.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
            A modality that is NaN (None for text) in all its columns is missing for the sample.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the model. A sample of weight 0 calibrates nothing, and all others count
            once.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group are learnt from or calibrated on together. Handed to the model
            where it takes groups. None takes those that the model names itself (``groups``, or
            ``sequence``), or an index level named "sequence".

        Returns
        -------
        self : object
        """
        alpha = check_alpha(self.alpha)
        share = self._check_size()
        table = self._read_fit(X)
        target = self._check_target(y)
        check_lengths(X=table, y=target)
        weight = sample_weights(sample_weight, table)
        codes = group_codes(table, self._named_groups(table) if groups is None else None, groups)
        model = self._model()
        if self._wrong_kind(model):
            raise ValueError(f"estimator must be a {self._kind}, got {type(model).__name__}")
        self._check_model(model, target)
        there = presence(table, self._columns)
        if not there.any():
            raise ValueError(
                f"modalities {listed(self._columns)} are missing for every sample: nothing can "
                "be learnt or calibrated"
            )
        patterns, places = self._pattern_codes(there)
        rng = check_random_state(self.random_state)
        counted = np.ones(len(target), bool) if weight is None else weight > 0
        parts = self._parts(model, target, codes, counted, places, share, rng)
        uniform = rng.random_sample(len(target))
        self._seed = int(rng.randint(2**31 - 1))

        def fitted(rows: Array | None) -> Any:
            if rows is None:
                return model
            return self._fitted(model, rows, table, target, weight, groups)

        models = [fitted(train) for train, _ in parts]
        scores = []
        for own, (_, held) in zip(models, parts, strict=True):
            with single_blas_thread:
                asked = _safe_indexing(table, held)
                scores.append(self._conformity(own, asked, target[held], uniform[held]))
        crossed = self.cv is not None and not isinstance(model, FrozenEstimator)
        final = fitted(np.arange(len(target))) if crossed else models[0]
        self._calibrated = ByTuple(
            (
                pattern,
                [
                    np.sort(strange[places[held] == place])
                    for (_, held), strange in zip(parts, scores, strict=True)
                ],
            )
            for place, pattern in enumerate(patterns)
        )
        pooled = {pattern: np.concatenate(own) for pattern, own in self._calibrated.items()}
        self.n_calibration_ = ByTuple((pattern, len(own)) for pattern, own in pooled.items())
        self.quantiles_ = ByTuple(
            (pattern, _quantile(own, alpha)) for pattern, own in pooled.items()
        )
        self.estimators_ = models
        self.estimator_ = final
        return self

    def _check_size(self) -> float:
        size = self.calibration_size
        if not isinstance(size, Real) or isinstance(size, bool) or not 0 < float(size) < 1:
            raise ValueError(f"calibration_size must be a share above 0 and below 1, got {size!r}")
        return float(size)

    def _parts(
        self,
        model: Any,
        y: Array,
        groups: Array | None,
        counted: Array,
        patterns: Array,
        share: float,
        rng: np.random.RandomState,
    ) -> list[tuple[Array | None, Array]]:
        """Return rows to learn from, and rows to calibrate on; None where all is learnt."""
        rows = np.flatnonzero(counted)
        codes = self._codes(y)
        if isinstance(model, FrozenEstimator):
            return [(None, rows)]
        if self.cv is not None:
            splits = split_rows(self.cv, y, groups, classes=codes is not None, counted=counted)
            tested = np.bincount(np.concatenate([test for _, test in splits]), minlength=len(y))
            if tested.max() > 1:
                raise ValueError(
                    f"cv tests {int((tested > 1).sum())} samples more than once (first: row "
                    f"{int(np.argmax(tested > 1))}), and each can be calibrated on once"
                )
            kept = [(train, test[counted[test]]) for train, test in splits]
            return [part for part in kept if len(part[1])]
        few = [None if own is None else own[rows] for own in (codes, groups)]
        chosen = held_out(patterns[rows], few[0], few[1], share, rng)
        held = rows[chosen]
        learnt = np.setdiff1d(np.arange(len(y)), held)
        if not len(held) or chosen.all():
            raise ValueError(
                f"n_samples = {len(rows)} cannot be divided into samples to learn from and a "
                f"share of {share:g} to calibrate on (1 sample and one of each class at least)"
            )
        return [(learnt, held)]

    def _fitted(
        self, model: Any, rows: Array, X: Any, y: Array, weight: Array | None, groups: Any
    ) -> Any:
        """Return a copy of the model that was fitted on some rows."""
        model = clone(model)
        params: dict[str, Any] = {}
        if weight is not None:
            params = weight_params(model, weight[rows]) or {}
            if not params:
                raise TypeError(f"{type(model).__name__} takes no sample_weight")
        named = getattr(model, "groups", None)
        if groups is not None and named is None and has_fit_parameter(model, "groups"):
            params["groups"] = _safe_indexing(groups, rows)
        whole = len(rows) == len(y)
        with single_blas_thread:
            return model.fit(X if whole else _safe_indexing(X, rows), y[rows], **params)

    # Patterns

    def _pattern_codes(self, there: Array) -> tuple[list[Pattern], Array]:
        """Return the patterns, as the modalities that are there, and which one each row has."""
        seen, places = np.unique(there.T, axis=0, return_inverse=True)
        order = np.lexsort((*~seen.T[::-1], -seen.sum(axis=1)))  # whole samples first
        names = list(self._columns)
        patterns = [
            tuple(name for name, has in zip(names, seen[k], strict=True) if has) for k in order
        ]
        return patterns, np.argsort(order)[places.ravel()]

    def _asked(self, X: Any, alpha: Any) -> tuple[Any, list[float], list[tuple[Pattern, Array]]]:
        """Return the table, the levels, and the rows of each pattern."""
        levels = self._levels(alpha)
        table = self._read(X)
        patterns, places = self._pattern_codes(presence(table, self._columns))
        asked = [(own, np.flatnonzero(places == k)) for k, own in enumerate(patterns)]
        self._warn_of_small(asked, min(levels))
        return table, levels, asked

    def _levels(self, alpha: Any) -> list[float]:
        if alpha is None:
            alpha = self.alpha
        if isinstance(alpha, Iterable) and not isinstance(alpha, str):
            levels = [check_alpha(own) for own in alpha]
            if not levels:
                raise ValueError("alpha is empty: it must hold at least one number")
            return levels
        return [check_alpha(alpha)]

    def _warn_of_small(self, asked: Sequence[tuple[Pattern, Array]], alpha: float) -> None:
        """Warn of patterns of which no quantile is known."""
        needed = fewest(alpha)
        small = {
            pattern: self.n_calibration_.get(pattern, 0)
            for pattern, _ in asked
            if self.n_calibration_.get(pattern, 0) < needed
        }
        if small:
            count = sum(len(rows) for pattern, rows in asked if pattern in small)
            described = "; ".join(
                f"{' and '.join(map(repr, pattern)) or 'no modality'}: {n}"
                for pattern, n in list(small.items())[:6]
            )
            more = f" and {len(small) - 6} more" if len(small) > 6 else ""
            warn(
                f"{count} samples have patterns of modalities on which fewer than the {needed} "
                f"samples were calibrated that alpha={alpha:g} needs ({described}{more}); they "
                f"get {self._everything}"
            )


def _quantile(scores: Array, alpha: float) -> float:
    place = rank(len(scores), alpha)
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else float("inf")
