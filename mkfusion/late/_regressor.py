"""Late fusion of regressors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .._contributions import ModalityContributions
from .._experts import Answer
from .._folds import Split, group_codes
from .._models import default_regressor, refuse_kind
from .._out_of_fold import gather
from .._parallel import single_blas_thread
from .._validation import (
    check_lengths,
    check_numeric_target,
    check_option,
    check_weight_vector,
    sample_weights,
)
from ..rules import (
    REGRESSION_RULES,
    Rule,
    decompose_predictions,
    fuse_predictions,
    learn_regression_rule,
)
from ..rules._rule import get_rule
from ._fusion import LateFusion, kept_weights, take_rows
from ._stacking import final_regressor, stacking_params


class LateFusionRegressor(RegressorMixin, LateFusion):
    r"""Fit a regressor per modality and combine their predictions by a rule.

    With the default rule, for the R modalities that a sample has,
    :math:`f(x) = \frac1R \sum_m f_m(x_m)`; the other rules are listed at
    :func:`mkfusion.rules.fuse_predictions`. Each expert is fitted on the samples that have its
    modality. An absent modality is left out of the rule, never imputed.

    What is learnt beside the experts (weights, error variances, a stack) is learnt from what they
    predict of samples that they have not seen. One pass of K inner folds serves all of it: every
    expert is fitted 1 + K times then, and once where nothing is learnt.

    Parameters
    ----------
    estimators : list of (str, estimator), default=None
        Regressors by modality; "drop" leaves a modality out.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    estimator : estimator, default=None
        The prototype for every modality that has none of its own; None is ridge regression on
        standardised columns.
    rule : str, Rule or callable, default="mean"
        A name in :data:`mkfusion.rules.REGRESSION_RULES`, or a function
        ``fused(predictions, mask, weights, variances)``.
    weights : {"learn", "search"}, array-like of shape (n_modalities,) or mapping of str to \
            float, default=None
        For ``weighted``, in the order of the modalities. None is uniform; "learn" finds those of
        least squared error, "search" the best of many draws.
    rule_params : mapping of str to object, default=None
        Options of what is learnt, such as ``{"n_draws": 2000}``.
    variances : "learn", array-like of shape (n_modalities,) or mapping of str to float, \
            default=None
        The error variance of each expert, in the square of the unit of y, for
        ``inverse_variance``. "learn" takes the mean squared residual out of fold, by output. None
        asks the experts for the standard deviation of each prediction where all offer it as
        ``predict(X, return_std=True)``, and learns otherwise.
    final_estimator : estimator, default=None
        The regressor of ``rule="stacking"``; None is RidgeCV. It gets the predictions of all
        experts side by side; an absent expert is NaN to it if it takes NaN, else the mean of y
        and a column that marks the absence.
    passthrough : bool, default=False
        Give the final estimator the modalities' columns too, as they are.
    cv : int, cross-validation generator or iterable, default=None
        The inner folds. None is five; a number or None keeps groups together. A splitter that
        divides a group is refused.
    groups : str, default=None
        The index level or column of X that names the groups; a column is no feature then. None
        takes an index level named "sequence", so that no sequence is cut.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Experts that are fitted at a time, through joblib.
    random_state : int, RandomState instance or None, default=None
        Draws the weights that ``weights="search"`` tries.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted experts; a modality that no sample has has none.
    named_estimators_ : Bunch
        The fitted experts by modality.
    weights_ : ndarray of shape (n_experts,)
        The weights in use; they sum to 1. None for a trained rule.
    learnt_ : NamedTuple or None
        What the rule has learnt; see :func:`mkfusion.rules.learn_regression_rule`.
    mean_ : ndarray of shape (n_outputs,)
        The weighted mean of y: the prediction for a sample without any modality.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a selector selects nothing, a name of ``estimators`` is no modality, weights or
        variances do not fit, or the inner folds cannot be made or divide a group.

    See Also
    --------
    EarlyFusionRegressor : One model on all modalities side by side.
    HybridFusionRegressor : Early and late fusion together.

    References
    ----------
    Bates, Granger (1969), "The combination of forecasts", Operational Research Quarterly 20(4).
    Breiman (1996), "Stacked regressions", Machine Learning 24, 49-64.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion import LateFusionRegressor
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> fusion = LateFusionRegressor(modalities={"audio": [0, 1], "video": [2, 3]})
    >>> fusion.fit(X, X.sum(axis=1)).predict(X[:2]).shape
    (2,)
    """

    _without_modality = "the mean of y"
    _rules = REGRESSION_RULES

    def __init__(
        self,
        estimators: list[tuple[str, Any]] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        estimator: Any = None,
        rule: str | Rule | Callable[..., np.ndarray] = "mean",
        weights: Any = None,
        rule_params: Mapping[str, Any] | None = None,
        variances: Any = None,
        final_estimator: Any = None,
        passthrough: bool = False,
        cv: Any = None,
        groups: str | None = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.modalities = modalities
        self.estimator = estimator
        self.rule = rule
        self.weights = weights
        self.rule_params = rule_params
        self.variances = variances
        self.final_estimator = final_estimator
        self.passthrough = passthrough
        self.cv = cv
        self.groups = groups
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _prototype(self) -> Any:
        return default_regressor() if self.estimator is None else self.estimator

    def _final(self) -> Any:
        return final_regressor(self.final_estimator)

    def _rule(self) -> Rule:
        return get_rule(self.rule, REGRESSION_RULES)

    def _unfit(self, y: np.ndarray) -> str:
        return "" if len(y) else "is missing for every sample"

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, **fit_params: Any
    ) -> Any:
        """Fit the experts, and learn from out-of-fold answers what has to be learnt.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
            A modality that is NaN (None for text) in all its columns is missing for the sample.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the experts that take weights, and counted in all that is learnt.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group stay in one inner fold.
        **fit_params : dict
            Handed to the experts by metadata routing.

        Returns
        -------
        self : object
        """
        rule = self._rule()
        table = self._read_fit(X)
        target = check_numeric_target(y)
        check_lengths(X=table, y=target)
        weight = sample_weights(sample_weight, table)
        chosen = self._chosen()
        for name, expert in chosen.items():
            refuse_kind(name, expert, "regressor")
        self._stated = target.ndim == 1 and all(map(_states_deviation, chosen.values()))
        learns = self._learns(rule)
        learns |= self._variance_source(rule) == "learn"
        codes = group_codes(table, self.groups, groups)
        splits = self._splits(target, weight, codes, False) if learns else []
        _, answers = self._fit_experts(
            table, target, weight, fit_params, chosen, splits, _numbers, groups
        )
        self._one_output = target.ndim == 1
        outputs = target.reshape(len(target), -1)
        self.mean_ = np.average(outputs, axis=0, weights=weight)
        self._learnt_for = self._to_learn()
        self.learnt_: Any = (
            self._learn(table, outputs, weight, splits, answers) if learns else None
        )
        self.weights_ = kept_weights(self, rule)
        return self

    def _variance_source(self, rule: Rule) -> str | None:
        """Return where the error variances come from: given, stated by the experts, or learnt."""
        if rule.weights != "variance":
            if self.variances is not None and not callable(self.rule):
                raise ValueError(f"rule {self.rule!r} takes no variances; 'inverse_variance' does")
            return None
        if isinstance(self.variances, str):
            check_option("variances", self.variances, ["learn"])
            return "learn"
        if self.variances is not None:
            self._check_variances()
            return "given"
        return "stated" if self._stated else "learn"

    def _check_variances(self) -> np.ndarray:
        names = list(self._voices())
        variances = check_weight_vector("variances", self.variances, names)
        if variances.ndim != 1 or (variances <= 0).any():
            raise ValueError(f"variances must be positive numbers, got {variances.tolist()}")
        return variances

    def _learn(
        self,
        table: Any,
        y: np.ndarray,
        weight: np.ndarray | None,
        splits: list[Split],
        answers: dict[tuple[int, str], Answer],
    ) -> Any:
        widths = dict(zip(self._kept, [y.shape[1]] * len(self._kept), strict=True))
        told = gather(answers, splits, widths)
        kept: np.ndarray = np.asarray(told.asked.any(axis=0))
        if weight is not None:
            kept &= weight[told.rows] > 0
        told = told.take(kept)
        params = dict(self.rule_params or {})
        if self.rule == "stacking":
            features = self._features(table)
            beside = None if features is None else take_rows(features, told.rows)
            outputs = [""] if self._one_output else range(y.shape[1])
            names = [f"{name}__prediction{k}" for name in self._kept for k in outputs]
            params |= stacking_params(
                self._final(), names, self._kept, self._final_weighted, beside
            )
        return learn_regression_rule(
            np.array(told.values),
            y[told.rows],
            self.rule,
            mask=told.asked,
            sample_weight=None if weight is None else weight[told.rows],
            weights=self.weights if isinstance(self.weights, str) else None,
            random_state=self._seed(),
            **params,
        )

    def _predictions(self, table: Any) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Return (n_experts, n_samples, n_outputs) predictions, who is there, and the rest."""
        source = self._variance_source(self._rule())
        answers, mask = self._ask(
            table, _numbers_and_deviation if source == "stated" else _numbers
        )
        predictions = np.zeros((*mask.shape, len(self.mean_)))
        variances: Any = np.ones(mask.shape) if source == "stated" else None
        for place, (answer, rows) in enumerate(zip(answers, mask, strict=True)):
            if answer is not None:
                predictions[place, rows] = answer[:, : len(self.mean_)]
                if source == "stated":
                    variances[place, rows] = np.square(answer[:, -1])
        if source == "given":
            places = [list(self._voices()).index(name) for name in self._kept]
            variances = self._check_variances()[places]
        return predictions, mask, {"variances": variances, "weights": self._weights(table, source)}

    def _weights(self, table: Any, source: str | None) -> Any:
        rule = self._rule()
        if source == "learn" or self._learns(rule):
            self._refuse_unlearnt()
            if self.rule == "stacking" and self.passthrough:
                return self.learnt_._replace(extra=self._features(table))
            return self.learnt_
        used = rule.weights == "share" or self.weights is not None
        return kept_weights(self, rule) if used else None

    def predict(self, X: Any) -> np.ndarray:
        """Return the fused predictions.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        predictions : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        predictions, mask, given = self._predictions(self._read(X))
        with single_blas_thread:
            fused = fuse_predictions(
                predictions, self.rule, mask=mask, fallback=self.mean_, **given
            )
        return fused[:, 0] if self._one_output else fused

    def transform(self, X: Any) -> np.ndarray:
        """Return the predictions of all experts side by side.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        predictions : ndarray of shape (n_samples, n_experts * n_outputs)
            NaN where a modality is absent.
        """
        predictions, mask, _ = self._predictions(self._read(X))
        predictions[~mask] = np.nan
        return predictions.transpose(1, 0, 2).reshape(mask.shape[1], -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of :meth:`transform`: the modalities.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        names : ndarray of str
            ``modality__output`` where there are several outputs.
        """
        check_is_fitted(self)
        if self._one_output:
            return np.array(self._kept, dtype=object)
        outputs = range(len(self.mean_))
        return np.array([f"{name}__{k}" for name in self._kept for k in outputs], dtype=object)

    def modality_contributions(self, X: Any) -> ModalityContributions:
        """Return what each modality added to each prediction, for the additive rules.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        contributions : ModalityContributions
            They and the base add up to the prediction.

        Raises
        ------
        ValueError
            If the rule is not additive.
        """
        predictions, mask, given = self._predictions(self._read(X))
        parts = decompose_predictions(
            predictions, self.rule, mask=mask, fallback=self.mean_, **given
        )
        return ModalityContributions(
            parts.contributions.transpose(1, 0, 2),
            parts.base,
            parts.decision,
            list(self._kept),
            np.arange(len(self.mean_)),
            "prediction",
        )


def _states_deviation(expert: Any) -> bool:
    import inspect

    final = expert.steps[-1][1] if hasattr(expert, "steps") else expert
    return "return_std" in inspect.signature(final.predict).parameters


def _numbers(name: str, expert: Any, block: Any) -> np.ndarray:
    """Return predictions of shape (n_samples, n_outputs)."""
    found = np.asarray(expert.predict(block), dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"the model of modality {name!r} returned NaN")
    return found.reshape(len(found), -1)


def _numbers_and_deviation(name: str, expert: Any, block: Any) -> np.ndarray:
    """Return predictions, and the standard deviation of each as the last column."""
    return np.column_stack(expert.predict(block, return_std=True))
