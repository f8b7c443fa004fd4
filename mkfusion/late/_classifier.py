"""Late fusion of classifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from .._calibration import METHODS
from .._classifier_experts import ClassifierExperts, answer_of
from .._contributions import ModalityContributions
from .._folds import group_codes
from .._models import default_classifier
from .._out_of_fold import OutOfFold, calibrated_posteriors, out_of_reach
from .._parallel import single_blas_thread
from .._validation import (
    check_class_target,
    check_distribution,
    check_lengths,
    check_option,
    listed,
    sample_weights,
    warn,
)
from ..rules import (
    RULES,
    Rule,
    decompose,
    fuse,
    learn_rule,
)
from ..rules._rule import get_rule
from ._fusion import LateFusion, kept_weights, take_rows
from ._output import calibrate_output, fit_output_calibrators
from ._stacking import final_classifier, stacking_params


class LateFusionClassifier(ClassifierMixin, LateFusion, ClassifierExperts):
    r"""Fit a classifier per modality and combine their posteriors by a rule.

    With the default rule, for the R modalities that a sample has,

    .. math:: P(c \mid x_1, \dots, x_R) \propto P(c) \prod_m \frac{p_m(c \mid x_m)}{P_m(c)},

    where P_m is the class prior that expert m was trained with; the other rules are listed at
    :func:`mkfusion.rules.fuse`. Each expert is fitted on the samples that have its modality. An
    absent modality is left out of the rule, never imputed; a sample without any gets the priors.

    What is learnt beside the experts (a trained rule, weights, calibration) is learnt from what
    they answer about samples that they have not seen. One pass of K inner folds serves all of it:
    every expert is fitted 1 + K times then, and once where nothing is learnt.

    Parameters
    ----------
    estimators : list of (str, estimator), default=None
        Classifiers by modality; "drop" leaves a modality out. One without ``predict_proba`` is
        calibrated by a sigmoid, unless labels are enough for the rule (``vote``, ``naive_bayes``,
        ``bks``).
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
        on it: a rule that is not learnt, and weights, may be changed after fit.
    weights : {"learn", "search", "search_by_class"}, array-like of shape (n_modalities,) or \
            mapping of str to float, default=None
        For the rules that take weights, in the order of the modalities; also by class, of shape
        (n_modalities, n_classes), for ``weighted`` and ``log_pool``. None is uniform. "learn"
        finds weights and a temperature by log loss (``weighted``, ``log_pool``; reliabilities
        for ``dempster_shafer``), "search" the best of many draws for any rule that takes weights;
        see :func:`mkfusion.rules.learn_rule`.
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
        P_m(c) by modality, where it is not the one found (see ``expert_priors_``).
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
        The fitted experts. A modality with fewer than two classes among its samples has none.
    named_estimators_ : Bunch
        The fitted experts by modality.
    calibrators_ : dict of str to CalibratedClassifierCV
        What calibrates the answers of each expert that is calibrated.
    weights_ : ndarray of shape (n_experts,) or (n_experts, n_classes)
        The weights in use: shares that sum to 1, or reliabilities; None for a trained rule.
    learnt_ : NamedTuple or None
        What the rule has learnt; of weights a :class:`mkfusion.rules.LearntWeights`, with their
        temperature and the certificate of the optimum.
    output_calibrators_ : mapping of tuple of str to CalibratedClassifierCV, or None
        By the names of the experts present; ``()`` names that of all other patterns.
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
        ``predict_proba`` nor ``decision_function`` to a rule that needs posteriors, or the inner
        folds cannot be made or divide a group.

    Warns
    -----
    UserWarning
        If a modality or a sample cannot take part, and which.
    ConvergenceWarning
        If the weights did not converge, with the projected gradient that is left.

    See Also
    --------
    EarlyFusionClassifier : One model on all modalities side by side.
    HybridFusionClassifier : Early and late fusion together.

    References
    ----------
    Kittler, Hatef, Duin, Matas (1998), "On combining classifiers", IEEE TPAMI 20(3), 226-239.
    Wolpert (1992), "Stacked generalization", Neural Networks 5(2), 241-259.
    Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks", ICML, for the
    temperature.

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

    Weights and a temperature learnt out of fold:

    >>> fusion = LateFusionClassifier(rule="log_pool", weights="learn", cv=3)
    >>> fusion.fit(X[::4].filter(regex="zer|mor"), y[::4]).weights_.shape
    (2,)
    """

    _otherwise = ", or rule='vote' without calibration"
    _ways = ("learn", "search", "search_by_class")
    _rules = RULES

    def __init__(
        self,
        estimators: list[tuple[str, Any]] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        estimator: Any = None,
        rule: str | Rule | Callable[..., np.ndarray] = "bayes",
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

    def _prototype(self) -> Any:
        return default_classifier() if self.estimator is None else self.estimator

    def _final(self) -> Any:
        return final_classifier(self.final_estimator)

    def _rule(self) -> Rule:
        return get_rule(self.rule, RULES)

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, **fit_params: Any
    ) -> Any:
        """Fit the experts, and learn from out-of-fold answers what has to be learnt.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
            A modality that is NaN (None for text) in all its columns is missing for the sample.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the experts that take weights, and counted in the priors and in all that is
            learnt.
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
        labels = check_class_target(y)
        check_lengths(X=table, y=labels)
        weight = sample_weights(sample_weight, table)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has one class ({listed(self.classes_)}); a classifier needs at least two "
                "classes"
            )
        check_option("output_calibration", self.output_calibration, [None, *METHODS])
        chosen = self._chosen()
        needing = f"rule {self.rule!r}" if rule.probabilities else None
        self._methods = self._calibration_methods(chosen, needing)
        learns = self._learns(rule)
        needed = learns or self.output_calibration is not None or any(self._methods.values())
        codes = group_codes(table, self.groups, groups)
        splits = self._splits(labels, weight, codes, True) if needed else []
        ask = partial(answer_of, responses=self._responses(chosen))
        masks, answers = self._fit_experts(
            table, labels, weight, fit_params, chosen, splits, ask, groups
        )
        self.priors_ = self._check_priors(labels, weight)
        self.expert_priors_ = self._check_expert_priors(labels, weight, masks, self.expert_priors)
        told = self._gather(labels, splits, codes, answers) if needed else None
        self._learn(rule, table, labels, weight, told)
        return self

    def _check_priors(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        if self.priors is not None:
            return check_distribution("priors", self.priors, len(self.classes_))
        counts = np.bincount(np.searchsorted(self.classes_, y), weight)
        return counts / counts.sum()

    # What is learnt out of fold

    def _learn(
        self,
        rule: Rule,
        table: Any,
        y: np.ndarray,
        weight: np.ndarray | None,
        told: OutOfFold | None,
    ) -> None:
        learns = self._learns(rule)
        self.calibrators_: dict[str, Any] = {}
        self.learnt_: Any = None
        self.output_calibrators_: Any = None
        self._learnt_for = self._to_learn()
        if told is None:
            self.weights_ = kept_weights(self, rule, len(self.classes_))
            return
        posteriors, self.calibrators_ = calibrated_posteriors(
            told,
            self.named_estimators_,
            self._methods,
            self._responses(self.named_estimators_),
            self.classes_,
            y,
            weight,
        )
        learn = features = None
        if learns:
            self._refuse_one_class(told, y, weight)
            seed = self._seed()
            features = self._features(table) if self.rule == "stacking" else None
            learn = partial(self._learn_rule, told, posteriors, y, weight, seed, features)
            self.learnt_ = learn(np.ones(len(told.rows), bool))
        self.weights_ = kept_weights(self, rule, len(self.classes_))
        if self.output_calibration is not None:
            self._calibrated_for = (self.output_calibration, self.rule, repr(self.weights))
            self.output_calibrators_ = fit_output_calibrators(
                self._cross_fused(told, posteriors, learn, features),
                told,
                self._expected_patterns(),
                self._kept,
                y,
                weight,
                method=self.output_calibration,
                classes=self.classes_,
            )

    def _refuse_one_class(self, told: OutOfFold, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Refuse answers out of fold that are all about one class, and tell nothing apart."""
        rows = told.rows[told.asked.any(axis=0)]
        seen = np.unique(y[rows if weight is None else rows[weight[rows] > 0]])
        if len(seen) < 2:
            how = f" with weights={self.weights!r}" if isinstance(self.weights, str) else ""
            missing = np.setdiff1d(self.classes_, seen)
            raise ValueError(
                f"rule {self.rule!r}{how} learns from answers out of fold: "
                f"{out_of_reach(missing, y, weight)}; add samples, or take a rule that learns "
                "nothing, such as 'mean'"
            )

    def _learn_rule(
        self,
        told: OutOfFold,
        posteriors: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None,
        seed: int,
        features: Any,
        chosen: np.ndarray,
    ) -> Any:
        """Learn the rule from some of the out-of-fold answers."""
        chosen = chosen & told.asked.any(axis=0)
        if weight is not None:
            chosen &= weight[told.rows] > 0
        rows = told.rows[chosen]
        params = dict(self.rule_params or {})
        if self.rule == "stacking":
            beside = None if features is None else take_rows(features, rows)
            params |= {**self._stacking_params(beside), "labels": self.classes_}
        return learn_rule(
            posteriors[:, chosen],
            np.searchsorted(self.classes_, y[rows]),
            self.rule,
            mask=told.asked[:, chosen],
            priors=self.priors_,
            expert_priors=self.expert_priors_,
            sample_weight=None if weight is None else weight[rows],
            weights=self.weights,
            random_state=seed,
            **params,
        )

    def _stacking_params(self, beside: Any) -> dict[str, Any]:
        labels = self.classes_[1:] if len(self.classes_) == 2 else self.classes_
        names = [f"{name}__P({label})" for name in self._kept for label in labels]
        return stacking_params(self._final(), names, self._kept, self._final_weighted, beside)

    def _cross_fused(
        self, told: OutOfFold, posteriors: np.ndarray, learn: Any, features: Any
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Return what fuses out-of-fold answers, those of a fold by what the others teach."""
        weights: dict[int, Any] = {}
        folds = np.unique(told.folds).tolist()
        if learn is not None and len(folds) == 1:
            warn(
                "cv has one split: the output is calibrated on the answers that the rule was "
                "learnt from, and may be too sure; take more splits"
            )
        for fold in folds:
            others = told.others(fold) & told.asked.any(axis=0)
            if learn is None:
                weights[fold] = self._weights_in_use(None)
            else:
                weights[fold] = learn(others) if others.any() else self.learnt_

        def fused(mask: np.ndarray, rows: np.ndarray) -> np.ndarray:
            found = np.empty((len(rows), len(self.classes_)))
            for fold, own in weights.items():
                chosen = rows & (told.folds == fold)
                if features is not None:
                    own = own._replace(extra=take_rows(features, told.rows[chosen]))
                found[chosen] = self._fuse(posteriors[:, chosen], mask[:, chosen], own)
            return found[rows]

        return fused

    # What is asked

    def _posteriors(self, table: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return them, unless the rule was changed since fit and needs more than experts give."""
        responses = self._responses(self.named_estimators_)
        silent = [name for name in self._kept if responses[name] == "predict"]
        if silent and self._rule().probabilities:
            raise ValueError(
                f"rule {self.rule!r} needs posteriors, but the models of {listed(silent)} were "
                "fitted for labels only; fit again with this rule"
            )
        return super()._posteriors(table)

    def _weights_in_use(self, table: Any) -> Any:
        rule = self._rule()
        if not self._learns(rule):
            used = rule.weights or self.weights is not None
            return kept_weights(self, rule, len(self.classes_)) if used else None
        self._refuse_unlearnt()
        if self.rule == "stacking" and self.passthrough:
            return self.learnt_._replace(extra=self._features(table))
        return self.learnt_

    def _fuse(
        self, posteriors: np.ndarray, mask: np.ndarray, weights: Any, log: bool = False
    ) -> np.ndarray:
        with single_blas_thread:
            return fuse(
                posteriors,
                self.rule,
                mask=mask,
                priors=self.priors_,
                expert_priors=self.expert_priors_,
                weights=weights,
                log=log,
            )

    def _decide(self, X: Any, log: bool = False) -> np.ndarray:
        table = self._read(X)
        posteriors, mask = self._posteriors(table)
        weights = self._weights_in_use(table)
        if self.output_calibration is None:
            return self._fuse(posteriors, mask, weights, log)
        self._refuse_uncalibrated()
        fused = self._fuse(posteriors, mask, weights)
        with single_blas_thread:
            fused = calibrate_output(self.output_calibrators_, fused, mask, self._kept)
        if not log:
            return fused
        with np.errstate(divide="ignore"):
            return np.log(fused)

    def _refuse_uncalibrated(self) -> None:
        """Refuse an output calibration, or a rule under it, that was changed since fit."""
        now = (self.output_calibration, self.rule, repr(self.weights))
        if self.output_calibrators_ is None or self._calibrated_for != now:
            raise ValueError(
                f"output_calibration={self.output_calibration!r} was not fitted for rule "
                f"{self.rule!r} with these weights; fit again"
            )

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
        return self._decide(X)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the fused posteriors, computed in logarithms.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        return self._decide(X, log=True)

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
        posteriors, mask = self._posteriors(self._read(X))
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

        For ``bayes`` a modality adds log p_m(c) - log P_m(c), for ``log_pool`` w_m log p_m(c) over
        the temperature, for ``mean`` p_m(c) / R, for ``weighted`` w_m p_m(c), for ``sum`` p_m(c),
        for ``naive_bayes`` log P(s_m | c) / P(s_m), for ``decision_template`` its distance to the
        template of c.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        contributions : ModalityContributions
            They and the base add up to the decision: ``predict_log_proba`` for the rules that
            work in logarithms, else ``predict_proba`` (for ``sum`` before it is clipped at 0, for
            ``weighted`` before a learnt temperature); always before ``output_calibration``.

        Raises
        ------
        ValueError
            If the rule is not additive.
        """
        table = self._read(X)
        posteriors, mask = self._posteriors(table)
        parts = decompose(
            posteriors,
            self.rule,
            mask=mask,
            priors=self.priors_,
            expert_priors=self.expert_priors_,
            weights=self._weights_in_use(table),
        )
        return ModalityContributions(
            parts.contributions.transpose(1, 0, 2),
            parts.base,
            parts.decision,
            list(self._kept),
            self.classes_,
            "log probability" if get_rule(self.rule, RULES).log else "probability",
        )
