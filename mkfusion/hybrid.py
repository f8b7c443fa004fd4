"""Hybrid fusion: a model per modality and models of joined modalities, one rule over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor

from ._experts import BaseExperts, Voice, joint_columns
from ._models import takes_nan
from ._selectors import as_list, check_names
from ._validation import listed
from .early import EarlyFusionClassifier, EarlyFusionRegressor
from .late import LateFusionClassifier, LateFusionRegressor
from .rules import Rule

__all__ = ["HybridFusionClassifier", "HybridFusionRegressor"]

JOINT = "joint"


class _JointExperts(BaseExperts):
    """Late fusion some of whose experts hear several modalities, side by side."""

    joint_modalities: Any
    joint_estimator: Any
    estimator: Any
    _early: Any

    def _prototypes(self) -> dict[str, Any]:
        return super()._prototypes() | {"joint_estimator": self._joint(self._joint_prototype())}

    def _joint_prototype(self) -> Any:
        return self.estimator if self.joint_estimator is None else self.joint_estimator

    def _joint(self, model: Any) -> Any:
        """Return the early fusion, or the search over one, that a joint expert is."""
        # A model of the other kind stays as it is, to be refused under its own name.
        wrong = is_regressor if self._early is EarlyFusionClassifier else is_classifier
        kept = self._inside(model) is not None or (model is not None and wrong(model))
        return model if kept else self._early(model)

    def _inside(self, model: Any) -> Any:
        """Return the early fusion that a model is, or searches over; None if there is none."""
        if isinstance(model, self._early):
            return model
        inner = getattr(model, "estimator", None)
        return inner if isinstance(inner, self._early) else None

    def _voices(self) -> dict[str, Voice]:
        own, joint = super()._voices(), self._joint_voices()
        taken = [name for name in joint if name in own]
        if taken:
            raise ValueError(
                f"modalities {listed(taken)} have the names of joint experts; rename them, or "
                "name the joint experts: joint_modalities={'name': ['audio', 'video'], ...}"
            )
        return own | joint

    def _joint_voices(self) -> dict[str, Voice]:
        names, wanted = list(self._columns), self.joint_modalities
        if isinstance(wanted, str) and wanted in ("all", "pairs"):
            # Of one modality the joint expert would be its own expert once more.
            if len(names) < 2:
                return {}
            if wanted == "all":
                return {JOINT: Voice(tuple(names))}
            return {"+".join(pair): Voice(pair) for pair in combinations(names, 2)}
        if not isinstance(wanted, Mapping):
            raise ValueError(
                "joint_modalities must be 'all', 'pairs' or a mapping from names to lists of "
                f"modalities, got {wanted!r}"
            )
        reserved = {*names, "estimator", *self.get_params(deep=False)}
        check_names(wanted, reserved)
        return {name: Voice(self._check_joint(name, heard)) for name, heard in wanted.items()}

    def _check_joint(self, name: str, heard: Any) -> tuple[str, ...]:
        found = (heard,) if isinstance(heard, str) else tuple(heard)
        unknown = [modality for modality in found if modality not in self._columns]
        if unknown or len(set(found)) < 2 or len(set(found)) < len(found):
            raise ValueError(
                f"joint expert {name!r} must hear at least two different modalities out of "
                f"{listed(self._columns, 30)}, got {found}"
            )
        return found

    def _prototype_of(self, name: str) -> str:
        return "estimator" if name in self._columns else "joint_estimator"

    def _chosen(self) -> dict[str, Any]:
        chosen = super()._chosen()
        for name, voice in self._heard.items():
            if name not in self._columns:
                # One that takes NaN speaks as soon as any of its modalities is there.
                early = self._inside(self._joint(chosen[name]))
                nan = early is not None and takes_nan(early._model())
                self._heard[name] = voice._replace(whole=not nan)
        return chosen

    def _fresh(self, name: str, expert: Any) -> Any:
        """Return an unfitted copy of an expert; a joint one knows its modalities."""
        model = clone(expert)
        if name in self._columns:
            return model
        model = self._joint(model)
        early = self._inside(model)
        if early.modalities is not None:
            return model
        own = {heard: self._columns[heard] for heard in self._heard[name].modalities}
        place = {column: j for j, column in enumerate(joint_columns(list(own.values())))}
        blocks = {
            heard: place[found] if isinstance(found, int) else [place[j] for j in as_list(found)]
            for heard, found in own.items()
        }
        early.set_params(modalities=blocks, allow_overlap=True)
        return model


class HybridFusionClassifier(_JointExperts, LateFusionClassifier):
    r"""Fit a classifier per modality and one on all together, and combine their posteriors.

    .. math:: p = g(p_1, \dots, p_M, p_{joint})

    with the posteriors :math:`p_m` of the experts of single modalities, those of one expert or
    more on joined features, and a rule g of late fusion. With the default rule it is the
    geometric mean of those who speak. A joint expert speaks of samples that have all of its
    modalities, or any if it takes NaN. An absent modality is left out of the rule, never imputed.

    Where a rule, weights or calibration are learnt from K inner folds, every expert is fitted
    1 + K times, and once otherwise.

    Parameters
    ----------
    estimators : list of (str, estimator), default=None
        Classifiers by modality or by the name of a joint expert; "drop" leaves one out (a joint
        expert goes on hearing the modality).
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    estimator : estimator, default=None
        The prototype for every modality that has none of its own; None is logistic regression on
        standardised columns.
    joint_modalities : {"all", "pairs"} or mapping of str to list of str, default="all"
        Which modalities the joint experts hear: one expert, "joint", hears all; or one hears each
        pair, named as "audio+video"; or as named here.
    joint_estimator : estimator, default=None
        The classifier on joined features: an :class:`EarlyFusionClassifier`, which may have
        transformers by modality, or any other, which gets the columns as they are. None is
        ``estimator``; where that is None too, logistic regression on standardised columns.
    rule : str, Rule or callable, default="log_pool"
        A name in :data:`mkfusion.rules.RULES`, or a function
        ``scores(posteriors, mask, priors, expert_priors, weights)``. The experts do not depend
        on it: a rule that is not learnt, and weights, may be changed after fit. Rules that
        multiply (``bayes``, ``product``) count the evidence of a joint expert twice.
    weights : {"learn", "search", "search_by_class"}, array-like of shape (n_experts,) or \
            mapping of str to float, default=None
        For the rules that take weights, the modalities first, then the joint experts; also by
        class, of shape (n_experts, n_classes), for ``weighted`` and ``log_pool``. None is uniform.
        "learn" finds weights and a temperature by log loss (``weighted``, ``log_pool``;
        reliabilities for ``dempster_shafer``), "search" the best of many draws for any rule that
        takes weights; see :func:`mkfusion.rules.learn_rule`.
    rule_params : mapping of str to object, default=None
        Options of what is learnt, such as ``{"smoothing": 0.5}`` or ``{"n_draws": 2000}``.
    final_estimator : estimator, default=None
        The classifier of ``rule="stacking"``; None is logistic regression. It gets the posteriors
        of all experts side by side, of two classes the second; an absent expert is NaN to it if
        it takes NaN, else the priors and a column that marks the absence.
    passthrough : bool, default=False
        Give the final estimator the modalities' columns too, as they are.
    calibration : {"sigmoid", "isotonic", "temperature"} or mapping of str to these, default=None
        How the posteriors of all experts, or of those named, are calibrated.
    output_calibration : {"sigmoid", "isotonic", "temperature"}, default=None
        How the fused posteriors are calibrated, for each pattern of present modalities by itself:
        a sample teaches also of the patterns that it would have with fewer modalities. Patterns
        of fewer than 30 answers share a calibrator.
    priors : array-like of shape (n_classes,), default=None
        P(c), in the order of ``classes_``. None takes the weighted class frequencies.
    expert_priors : mapping of str to array-like of shape (n_classes,), default=None
        P_m(c) by expert, where it is not the one found (see ``expert_priors_``).
    cv : int, cross-validation generator or iterable, default=None
        The inner folds. None is five stratified folds, or as many as the smallest class has
        samples; a number or None keeps groups together. A splitter that divides a group is
        refused.
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
    classes_ : ndarray of shape (n_classes,)
    estimators_ : list of estimators
        The fitted experts, those of the modalities first.
    named_estimators_ : Bunch
        The fitted experts by name.
    calibrators_, learnt_, output_calibrators_
        As for :class:`LateFusionClassifier`.
    weights_ : ndarray of shape (n_experts,) or (n_experts, n_classes)
        The weights in use; None for a trained rule.
    priors_ : ndarray of shape (n_classes,)
    expert_priors_ : ndarray of shape (n_experts, n_classes)
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        As for :class:`LateFusionClassifier`, and if a joint expert hears fewer than two
        modalities or an unknown one.

    See Also
    --------
    LateFusionClassifier : The same without joint experts.
    EarlyFusionClassifier : The joint expert alone.

    References
    ----------
    Atrey, Hossain, El Saddik, Kankanhalli (2010), "Multimodal fusion for multimedia analysis: a
    survey", Multimedia Systems 16(6), 345-379, section 3.1.3.

    Examples
    --------
    >>> from mkfusion import HybridFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> fusion = HybridFusionClassifier().fit(X[::2], y[::2])
    >>> list(fusion.named_estimators_)
    ['fou', 'fac', 'kar', 'pix', 'zer', 'mor', 'joint']
    >>> bool(fusion.score(X[1::2], y[1::2]) > 0.95)
    True
    """

    _early = EarlyFusionClassifier

    def __init__(
        self,
        estimators: list[tuple[str, Any]] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        estimator: Any = None,
        joint_modalities: Any = "all",
        joint_estimator: Any = None,
        rule: str | Rule | Callable[..., np.ndarray] = "log_pool",
        weights: Any = None,
        rule_params: Mapping[str, Any] | None = None,
        final_estimator: Any = None,
        passthrough: bool = False,
        calibration: Any = None,
        output_calibration: str | None = None,
        priors: Any = None,
        expert_priors: Mapping[str, Any] | None = None,
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
        self.joint_modalities = joint_modalities
        self.joint_estimator = joint_estimator
        self.rule = rule
        self.weights = weights
        self.rule_params = rule_params
        self.final_estimator = final_estimator
        self.passthrough = passthrough
        self.calibration = calibration
        self.output_calibration = output_calibration
        self.priors = priors
        self.expert_priors = expert_priors
        self.cv = cv
        self.groups = groups
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose


class HybridFusionRegressor(_JointExperts, LateFusionRegressor):
    r"""Fit a regressor per modality and one on all together, and combine their predictions.

    .. math:: f = g(f_1, \dots, f_M, f_{joint})

    with the predictions :math:`f_m` of the experts of single modalities, those of one expert or
    more on joined features, and a rule g of late fusion. A joint expert speaks of samples that
    have all of its modalities, or any if it takes NaN. An absent modality is left out of the rule,
    never imputed.

    Where a rule, weights or variances are learnt from K inner folds, every expert is fitted
    1 + K times, and once otherwise.

    Parameters
    ----------
    estimators : list of (str, estimator), default=None
        Regressors by modality or by the name of a joint expert; "drop" leaves one out (a joint
        expert goes on hearing the modality).
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    estimator : estimator, default=None
        The prototype for every modality that has none of its own; None is ridge regression on
        standardised columns.
    joint_modalities : {"all", "pairs"} or mapping of str to list of str, default="all"
        Which modalities the joint experts hear: one expert, "joint", hears all; or one hears each
        pair, named as "audio+video"; or as named here.
    joint_estimator : estimator, default=None
        The regressor on joined features: an :class:`EarlyFusionRegressor`, which may have
        transformers by modality, or any other, which gets the columns as they are. None is
        ``estimator``; where that is None too, ridge regression on standardised columns.
    rule : str, Rule or callable, default="mean"
        A name in :data:`mkfusion.rules.REGRESSION_RULES`, or a function
        ``fused(predictions, mask, weights, variances)``.
    weights : {"learn", "search"}, array-like of shape (n_experts,) or mapping of str to \
            float, default=None
        For ``weighted``, the modalities first, then the joint experts. None is uniform; "learn"
        finds those of least squared error, "search" the best of many draws.
    rule_params : mapping of str to object, default=None
        Options of what is learnt, such as ``{"n_draws": 2000}``.
    variances : "learn", array-like of shape (n_experts,) or mapping of str to float, \
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
        The fitted experts, those of the modalities first.
    named_estimators_ : Bunch
        The fitted experts by name.
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
        As for :class:`LateFusionRegressor`, and if a joint expert hears fewer than two modalities
        or an unknown one.

    See Also
    --------
    LateFusionRegressor : The same without joint experts.
    EarlyFusionRegressor : The joint expert alone.

    References
    ----------
    Atrey, Hossain, El Saddik, Kankanhalli (2010), "Multimodal fusion for multimedia analysis: a
    survey", Multimedia Systems 16(6), 345-379, section 3.1.3.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion import HybridFusionRegressor
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> fusion = HybridFusionRegressor(
    ...     modalities={"audio": [0, 1], "video": [2, 3]}, rule="weighted", weights="learn"
    ... )
    >>> fusion.fit(X, X.sum(axis=1)).weights_.round(2)
    array([0., 0., 1.])
    """

    _early = EarlyFusionRegressor

    def __init__(
        self,
        estimators: list[tuple[str, Any]] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        estimator: Any = None,
        joint_modalities: Any = "all",
        joint_estimator: Any = None,
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
        self.joint_modalities = joint_modalities
        self.joint_estimator = joint_estimator
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
