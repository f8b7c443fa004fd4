"""Late fusion: a model per modality, their decisions combined by a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._experts import (
    BaseExperts,
    default_classifier,
    default_regressor,
    refuse_kind,
    responds,
    trained_prior,
    weight_params,
)
from ._validation import (
    check_class_target,
    check_distribution,
    check_lengths,
    check_numeric_target,
    check_weight_vector,
    listed,
    sample_weights,
)
from .rules import (
    REGRESSION_RULES,
    RULES,
    Rule,
    check_rule_weights,
    decompose,
    decompose_predictions,
    fuse,
    fuse_predictions,
    get_rule,
)

__all__ = ["LateFusionClassifier", "LateFusionRegressor", "ModalityContributions"]


class ModalityContributions(NamedTuple):
    """What each modality added to each decision.

    ``base + contributions.sum(axis=1)`` is ``decision``.

    Parameters
    ----------
    contributions : ndarray of shape (n_samples, n_modalities, n_classes)
        0 where a modality is absent.
    base : ndarray of shape (n_samples, n_classes)
        What the decision holds before any modality speaks.
    decision : ndarray of shape (n_samples, n_classes)
        The fused decision: logarithms of probabilities for the rules that work in logarithms
        (``bayes``, ``product``, ``log_pool``), else probabilities, for a regressor predictions.
    modalities : list of str
    classes : ndarray of shape (n_classes,)
        For a regressor the numbers of its outputs.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> fusion = LateFusionClassifier().fit(X[["mor__0", "mor__1", "zer__0", "zer__1"]], y)
    >>> parts = fusion.modality_contributions(X.iloc[:1, :][fusion.feature_names_in_])
    >>> parts.contributions.shape
    (1, 2, 10)
    """

    contributions: np.ndarray
    base: np.ndarray
    decision: np.ndarray
    modalities: list[str]
    classes: np.ndarray

    def to_frame(self, sample: int) -> pd.DataFrame:
        """Return one sample's explanation: a row for the base, each modality and the decision."""
        rows = np.vstack([self.base[sample], self.contributions[sample], self.decision[sample]])
        index = pd.Index(["base", *self.modalities, "decision"], name="modality")
        return pd.DataFrame(rows, index=index, columns=list(self.classes))


class LateFusionClassifier(ClassifierMixin, TransformerMixin, BaseExperts):
    r"""Fit a classifier per modality and combine their posteriors by a rule.

    With the default rule, for the R modalities that a sample has,

    .. math:: P(c \mid x_1, \dots, x_R) \propto P(c) \prod_m \frac{p_m(c \mid x_m)}{P_m(c)},

    where P_m is the class prior that expert m was trained with; the other rules are listed at
    :func:`mkfusion.rules.fuse`. Each expert is fitted on the samples that have its modality. An
    absent modality is left out of the rule, never imputed; a sample without any gets the priors.

    Parameters
    ----------
    estimators : list of (str, estimator), default=None
        Classifiers by modality; "drop" leaves a modality out. One without ``predict_proba`` is
        calibrated by a sigmoid out of fold, unless the rule is ``vote``, which needs only labels.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them: names, positions, a slice, a mask or a callable; a
        scalar gives the model a 1-D column. None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    estimator : estimator, default=None
        The prototype for every modality that has none of its own; None is logistic regression on
        standardised columns.
    rule : str, Rule or callable, default="bayes"
        A name in :data:`mkfusion.rules.RULES`, or a function
        ``scores(posteriors, mask, priors, expert_priors, weights)``. The experts do not depend
        on it: rule and weights may be changed after fit.
    weights : array-like of shape (n_modalities,) or mapping of str to float, default=None
        For the rules that take weights, in the order of the modalities; also by class, of shape
        (n_modalities, n_classes), for ``weighted`` and ``log_pool``. None is uniform.
    priors : array-like of shape (n_classes,), default=None
        P(c), in the order of ``classes_``. None takes the weighted class frequencies.
    expert_priors : mapping of str to array-like of shape (n_classes,), default=None
        P_m(c) by modality, where it is not the one found (see ``expert_priors_``).
    cv : int, cross-validation generator or iterable, default=None
        The folds of the calibration of experts without ``predict_proba``. None is five stratified
        folds, or as many as the smallest class has samples.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Experts that are fitted at a time, through joblib.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimators_ : list of estimators
        The fitted experts. A modality with fewer than two classes among its samples has none.
    named_estimators_ : Bunch
        The fitted experts by modality.
    weights_ : ndarray of shape (n_experts,) or (n_experts, n_classes)
        The weights in use: shares that sum to 1, or reliabilities.
    priors_ : ndarray of shape (n_classes,)
    expert_priors_ : ndarray of shape (n_experts, n_classes)
        What an expert states itself (naive Bayes, discriminant analysis), else the weighted
        class frequencies of its rows times its class weights; 0 for a class it never saw.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a selector selects nothing, a name of ``estimators`` is no modality, ``weights`` do
        not fit the rule, the target has several labels per sample, or an expert offers neither
        ``predict_proba`` nor ``decision_function`` to a rule that needs posteriors.

    See Also
    --------
    EarlyFusionClassifier : One model on all modalities side by side.

    References
    ----------
    Kittler, Hatef, Duin, Matas (1998), "On combining classifiers", IEEE TPAMI 20(3), 226-239.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> fusion = LateFusionClassifier(rule="mean").fit(X[::2], y[::2])
    >>> list(fusion.named_estimators_)
    ['fou', 'fac', 'kar', 'pix', 'zer', 'mor']
    >>> bool(fusion.score(X[1::2], y[1::2]) > 0.95)
    True
    """

    _without_modality = "the priors"

    def __init__(
        self,
        estimators: list[tuple[str, Any]] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        estimator: Any = None,
        rule: str | Rule | Callable[..., np.ndarray] = "bayes",
        weights: Any = None,
        priors: Any = None,
        expert_priors: Mapping[str, Any] | None = None,
        cv: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.modalities = modalities
        self.estimator = estimator
        self.rule = rule
        self.weights = weights
        self.priors = priors
        self.expert_priors = expert_priors
        self.cv = cv
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _prototype(self) -> Any:
        return default_classifier() if self.estimator is None else self.estimator

    def _rule(self) -> Rule:
        return get_rule(self.rule, RULES)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Fit the experts.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
            A modality that is NaN (None for text) in all its columns is missing for the sample.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the experts that take weights, and counted in the priors.
        **fit_params : dict
            Handed to the experts by metadata routing.

        Returns
        -------
        self : object
        """
        rule = self._rule()
        table = self._read_fit(X)
        labels = check_class_target(y)
        check_lengths(X=table, y=labels)
        weight = sample_weights(sample_weight, table)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has one class ({self.classes_[0]!r}); a classifier needs at least two classes"
            )
        masks = self._fit_experts(table, labels, weight, fit_params)
        self.priors_ = self._check_priors(labels, weight)
        self.expert_priors_ = self._check_expert_priors(labels, weight, masks)
        self.weights_ = _kept_weights(self, rule, len(self.classes_))
        return self

    def _unfit(self, y: np.ndarray) -> str:
        if not len(y):
            return "is missing for every sample"
        return "has one class among its samples" if (y == y[0]).all() else ""

    def _respondent(self, expert: Any, y: Any = None, name: str = "") -> Any:
        """Return the expert, calibrated if it has no posteriors and the rule needs them."""
        from sklearn.calibration import CalibratedClassifierCV

        refuse_kind(name, expert, "classifier")
        if responds(expert, "predict_proba") or not self._rule().probabilities:
            return expert
        if not responds(expert, "decision_function"):
            if y is None:
                return expert
            raise ValueError(
                f"the model of modality {name!r} ({type(expert).__name__}) has neither "
                f"predict_proba nor decision_function, but rule {self.rule!r} needs posteriors; "
                "take a classifier that has one of them, or rule='vote'"
            )
        cv = self.cv
        if cv is None and y is not None:
            cv = min(5, np.unique(y, return_counts=True)[1].min())
            if cv < 2:
                raise ValueError(
                    f"the model of modality {name!r} ({type(expert).__name__}) has no "
                    "predict_proba; calibrating it out of fold needs at least 2 samples of each "
                    "class, and one class has 1"
                )
        return CalibratedClassifierCV(expert, method="sigmoid", cv=cv, ensemble=False)

    def _check_priors(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        if self.priors is not None:
            return check_distribution("priors", self.priors, len(self.classes_))
        counts = np.bincount(np.searchsorted(self.classes_, y), weight)
        return counts / counts.sum()

    def _check_expert_priors(
        self, y: np.ndarray, weight: np.ndarray | None, masks: dict[str, np.ndarray]
    ) -> np.ndarray:
        given = {} if self.expert_priors is None else dict(self.expert_priors)
        unknown = [name for name in given if name not in self._columns]
        if unknown:
            raise ValueError(f"expert_priors names {listed(unknown)}, which is no modality of X")
        priors = []
        for name, expert in self.named_estimators_.items():
            rows = masks[name]
            took = (
                None if weight is None or weight_params(expert, weight) is None else weight[rows]
            )
            prior = trained_prior(expert, y[rows], took, self.classes_)
            if name in given:
                stated = check_distribution(
                    f"expert_priors[{name!r}]", given[name], len(self.classes_)
                )
                prior = np.where(prior > 0, stated, 0.0)
            priors.append(prior)
        return np.array(priors)

    def _posteriors(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return posteriors (n_experts, n_samples, n_classes), 0 where absent, and the mask."""
        table = self._read(X)
        self._refuse_labels()
        answers, mask = self._ask(table, _posterior)
        posteriors = np.zeros((*mask.shape, len(self.classes_)))
        for place, (answer, rows) in enumerate(zip(answers, mask, strict=True)):
            if answer is None:
                continue
            if not np.isfinite(answer).all():
                raise ValueError(f"the model of modality {self._kept[place]!r} returned NaN")
            classes = np.searchsorted(self.classes_, self.estimators_[place].classes_)
            posteriors[place][np.ix_(rows, classes)] = answer
        return posteriors, mask

    def _refuse_labels(self) -> None:
        """Refuse a rule, changed since fit, that needs more than an expert gives."""
        silent = [n for n, e in self.named_estimators_.items() if not responds(e, "predict_proba")]
        if silent and self._rule().probabilities:
            raise ValueError(
                f"rule {self.rule!r} needs posteriors, but the models of {listed(silent)} were "
                "fitted for labels only; fit again with this rule"
            )

    def _rule_arguments(self) -> dict[str, Any]:
        rule = self._rule()
        used = rule.weights or self.weights is not None
        return {
            "rule": self.rule,
            "priors": self.priors_,
            "expert_priors": self.expert_priors_,
            "weights": _kept_weights(self, rule, len(self.classes_)) if used else None,
        }

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the fused posteriors.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Rows sum to 1.
        """
        posteriors, mask = self._posteriors(X)
        return fuse(posteriors, mask=mask, **self._rule_arguments())

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the fused posteriors, computed in logarithms.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        posteriors, mask = self._posteriors(X)
        return fuse(posteriors, mask=mask, log=True, **self._rule_arguments())

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of highest fused posterior.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def transform(self, X: Any) -> np.ndarray:
        """Return the posteriors of all experts side by side.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        posteriors : ndarray of shape (n_samples, n_experts * n_classes)
            NaN where a modality is absent.
        """
        posteriors, mask = self._posteriors(X)
        posteriors[~mask] = np.nan
        return posteriors.transpose(1, 0, 2).reshape(mask.shape[1], -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of :meth:`transform`: ``modality__class``.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        names = [f"{name}__{label}" for name in self._kept for label in self.classes_]
        return np.array(names, dtype=object)

    def modality_contributions(self, X: Any) -> ModalityContributions:
        """Return what each modality added to each decision, for the additive rules.

        For ``bayes`` a modality adds log p_m(c) - log P_m(c), for ``log_pool`` w_m log p_m(c),
        for ``mean`` p_m(c) / R, for ``weighted`` w_m p_m(c), for ``sum`` p_m(c).

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        contributions : ModalityContributions
            They and the base add up to the decision: ``predict_log_proba`` for the rules that
            work in logarithms, else ``predict_proba`` (for ``sum`` before it is clipped at 0).

        Raises
        ------
        ValueError
            If the rule is not additive.
        """
        posteriors, mask = self._posteriors(X)
        parts = decompose(posteriors, mask=mask, **self._rule_arguments())
        return ModalityContributions(
            parts.contributions.transpose(1, 0, 2),
            parts.base,
            parts.decision,
            list(self._kept),
            self.classes_,
        )


def _kept_weights(fusion: Any, rule: Rule, n_classes: int = 0) -> np.ndarray:
    """Return the weights of the experts that were fitted, as the rule uses them."""
    if fusion.weights is None:
        count = len(fusion._kept)
        return np.ones(count) if rule.weights == "reliability" else np.full(count, 1 / count)
    weights = check_weight_vector("weights", fusion.weights, list(fusion._columns))
    if weights.ndim == 2 and weights.shape[1] != n_classes:
        raise ValueError(
            f"weights by class must have shape ({len(fusion._columns)}, {n_classes}), "
            f"got {weights.shape}"
        )
    weights = weights[[list(fusion._columns).index(name) for name in fusion._kept]]
    check_rule_weights(rule, weights, fusion.rule)
    total = weights.sum(axis=0)
    return weights / np.where(total > 0, total, 1.0) if rule.weights == "share" else weights


def _posterior(name: str, expert: Any, block: Any) -> np.ndarray:
    if responds(expert, "predict_proba"):
        return np.asarray(expert.predict_proba(block), dtype=np.float64)
    return (expert.predict(block)[:, None] == expert.classes_).astype(np.float64)


class LateFusionRegressor(RegressorMixin, TransformerMixin, BaseExperts):
    r"""Fit a regressor per modality and combine their predictions by a rule.

    With the default rule, for the R modalities that a sample has,
    :math:`f(x) = \frac1R \sum_m f_m(x_m)`; the other rules are listed at
    :func:`mkfusion.rules.fuse_predictions`. Each expert is fitted on the samples that have its
    modality. An absent modality is left out of the rule, never imputed.

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
    weights : array-like of shape (n_modalities,) or mapping of str to float, default=None
        For ``weighted``, in the order of the modalities. None is uniform.
    variances : array-like of shape (n_modalities,) or mapping of str to float, default=None
        The error variance of each expert, in the square of the unit of y, for
        ``inverse_variance``. None asks the experts for the standard deviation of each
        prediction, which they must offer as ``predict(X, return_std=True)``.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Experts that are fitted at a time, through joblib.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted experts; a modality that no sample has has none.
    named_estimators_ : Bunch
        The fitted experts by modality.
    weights_ : ndarray of shape (n_experts,)
        The weights in use; they sum to 1.
    mean_ : ndarray of shape (n_outputs,)
        The weighted mean of y: the prediction for a sample without any modality.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a selector selects nothing, a name of ``estimators`` is no modality, or weights or
        variances do not fit.

    See Also
    --------
    EarlyFusionRegressor : One model on all modalities side by side.

    References
    ----------
    Bates, Granger (1969), "The combination of forecasts", Operational Research Quarterly 20(4).

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

    def __init__(
        self,
        estimators: list[tuple[str, Any]] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        estimator: Any = None,
        rule: str | Rule | Callable[..., np.ndarray] = "mean",
        weights: Any = None,
        variances: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.modalities = modalities
        self.estimator = estimator
        self.rule = rule
        self.weights = weights
        self.variances = variances
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _prototype(self) -> Any:
        return default_regressor() if self.estimator is None else self.estimator

    def _rule(self) -> Rule:
        return get_rule(self.rule, REGRESSION_RULES)

    def _respondent(self, expert: Any, y: Any = None, name: str = "") -> Any:
        refuse_kind(name, expert, "regressor")
        return expert

    def _unfit(self, y: np.ndarray) -> str:
        return "" if len(y) else "is missing for every sample"

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Fit the experts.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
            A modality that is NaN (None for text) in all its columns is missing for the sample.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the experts that take weights.
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
        self._fit_experts(table, target, weight, fit_params)
        self._given_variances = self._check_variances(rule, target)
        self.weights_ = _kept_weights(self, rule)
        self._one_output = target.ndim == 1
        self.mean_ = np.average(target.reshape(len(target), -1), axis=0, weights=weight)
        return self

    def _check_variances(self, rule: Rule, y: np.ndarray) -> np.ndarray | None:
        if rule.weights != "variance":
            if self.variances is not None and not callable(self.rule):
                raise ValueError(f"rule {self.rule!r} takes no variances; 'inverse_variance' does")
        elif self.variances is None and y.ndim == 2:
            raise ValueError(
                "rule 'inverse_variance' needs variances=... where y has several columns"
            )
        elif self.variances is None:
            for name, expert in self.named_estimators_.items():
                if not _states_deviation(expert):
                    raise ValueError(
                        f"rule 'inverse_variance' needs variances=..., or models that offer "
                        f"predict(X, return_std=True); that of modality {name!r} "
                        f"({type(expert).__name__}) does not"
                    )
        if self.variances is None:
            return None
        variances = check_weight_vector("variances", self.variances, list(self._columns))
        if variances.ndim != 1 or (variances <= 0).any():
            raise ValueError(f"variances must be positive numbers, got {variances.tolist()}")
        return variances[[list(self._columns).index(name) for name in self._kept]]

    def _predictions(self, X: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        """Return (n_experts, n_samples, n_outputs) predictions, who is there, and variances."""
        table = self._read(X)
        ask_deviation = self._rule().weights == "variance" and self._given_variances is None
        answers, mask = self._ask(
            table, _prediction_and_deviation if ask_deviation else _prediction
        )
        predictions = np.zeros((*mask.shape, len(self.mean_)))
        variances: Any = np.ones(mask.shape) if ask_deviation else self._given_variances
        for place, (answer, rows) in enumerate(zip(answers, mask, strict=True)):
            if answer is None:
                continue
            prediction, deviation = answer
            if not np.isfinite(prediction).all():
                raise ValueError(f"the model of modality {self._kept[place]!r} returned NaN")
            predictions[place, rows] = np.reshape(prediction, (rows.sum(), -1))
            if ask_deviation:
                variances[place, rows] = np.square(deviation)
        return predictions, mask, variances

    def _rule_arguments(self) -> dict[str, Any]:
        rule = self._rule()
        used = rule.weights == "share" or self.weights is not None
        weights = _kept_weights(self, rule) if used else None
        return {"rule": self.rule, "weights": weights, "fallback": self.mean_}

    def predict(self, X: Any) -> np.ndarray:
        """Return the fused predictions.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        predictions : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        predictions, mask, variances = self._predictions(X)
        fused = fuse_predictions(
            predictions, mask=mask, variances=variances, **self._rule_arguments()
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
        predictions, mask, _ = self._predictions(X)
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
        predictions, mask, variances = self._predictions(X)
        parts = decompose_predictions(
            predictions, mask=mask, variances=variances, **self._rule_arguments()
        )
        return ModalityContributions(
            parts.contributions.transpose(1, 0, 2),
            parts.base,
            parts.decision,
            list(self._kept),
            np.arange(len(self.mean_)),
        )


def _states_deviation(expert: Any) -> bool:
    import inspect

    final = expert.steps[-1][1] if hasattr(expert, "steps") else expert
    return "return_std" in inspect.signature(final.predict).parameters


def _prediction(name: str, expert: Any, block: Any) -> tuple[Any, None]:
    return expert.predict(block), None


def _prediction_and_deviation(name: str, expert: Any, block: Any) -> tuple[Any, Any]:
    return expert.predict(block, return_std=True)
