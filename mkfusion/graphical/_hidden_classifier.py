"""Whole sequences classified by what hidden states say of them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.validation import check_is_fitted

from .._parallel import thread_count
from .._progress import tqdm
from .._stored import ByTuple
from .._validation import (
    check_class_target,
    check_lengths,
    check_option,
    listed,
    sample_weights,
    warn,
    warn_unconverged,
)
from ..chains._hidden_objective import (
    HiddenFit,
    Observed,
    Problem,
    draw_model,
    fit_hidden,
    free_parameters,
    hidden_scores,
    model_of,
    penalties,
)
from ..chains._hidden_steps import Scaling, context_windows, scaling_of
from ..chains._hidden_views import Views
from ._streams import SequenceMixin, Sequences, synchronous

__all__ = ["HiddenCRFClassifier"]

Array = np.ndarray

CHAINS = ("joint", "linked", "coupled", "linked-coupled", "separate")
STATES = ("shared", "private")


class HiddenCRFClassifier(ClassifierMixin, SequenceMixin, BaseEstimator):
    r"""A conditional random field whose states are hidden, for the classes of whole sequences.

    .. math:: P(y \mid x) = \frac{\sum_h e^{\Psi(y, h, x)}}{\sum_{y'} \sum_h e^{\Psi(y', h, x)}},
        \qquad \Psi(y, h, x) = b_y
        + \sum_t [\theta_{h_t} \cdot z_t + \eta_{y, h_t}] + \sum_{t > 1} \tau_{y, h_{t-1}, h_t}

    A state sees the same in every class; classes differ in which states they like and how these
    follow one another. z are the columns of a step, less ``means_`` and divided by ``scales_``,
    and 0 where a modality is absent: the factor of what is absent is 1. With more than one chain
    every modality has hidden states of its own, and those of different modalities may have
    potentials together. Minimised is

    .. math:: -\sum_i w_i \log P(y_i \mid x_i)
        + \tfrac12 \sum_m \lambda_m \|\theta^m\|^2
        + \tfrac12 \lambda \bigl(\|\eta\|^2 + \|\tau\|^2 + \|\text{links}\|^2
        + \|\text{couplings}\|^2\bigr)

    with :math:`\theta` that of the scaled columns z, the :math:`\lambda_m` of ``l2`` and the
    :math:`\lambda` of ``l2_chain``. The optimum is a local one.

    Parameters
    ----------
    n_states : int or mapping of str to int, default=3
        Hidden states of a chain, or of the chain of each modality.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None takes every column of sequences for a modality,
        and reads the prefixes before ``__`` in the names of other columns.
    chains : {"joint", "linked", "coupled", "linked-coupled", "separate"}, default="joint"
        ``"joint"``: one hidden chain sees all modalities. Else a chain per modality: the states
        of every two interact at each step (``"linked"``), from each step to the next
        (``"coupled"``), both (``"linked-coupled"``), or not at all (``"separate"``), and then
        modalities may differ in length and rate. Else those of a sample have the same steps.
    states : {"shared", "private"}, default="shared"
        Whether all classes know all states, or each class has ``n_states`` of its own.
    context : int or mapping of str to int, default=0
        Steps before and after that a state sees as well, by modality; 0 beyond the ends.
    l2 : float or mapping of str to float, default=1.0
        The penalty of the weights of each modality.
    l2_chain : float, default=1.0
        The penalty of all potentials that do not see x.
    fit_intercept : bool, default=True
        Learn :math:`b`, which no penalty holds; else it is 0.
    class_weight : dict or "balanced", default=None
        Factors of the samples' weights by class, as in scikit-learn.
    n_init : int, default=1
        Searches from different draws; the lowest objective is kept.
    init_scale : float, default=0.01
        Standard deviation of the drawn parameters. Potentials add up over the steps: large draws
        start where the classes of long sequences are certain, and wrong.
    max_iter : int, default=200
        Iterations of L-BFGS at most, for each search.
    tol : float, default=1e-4
        A search ends when no partial derivative is larger than ``tol`` times the number of steps,
        each counted by the weight of its sequence (of chains apart, the longest counts). Beside
        the start, where all states are alike, derivatives are as small as their differences: where
        potentials of states differ by less than 1, ``tol`` is multiplied by the difference, and
        below 0.1 it is 1e-6 at most.
    max_states : int, default=64
        States that linked or coupled chains may have on the product space: exact sums take the
        square of them at each step.
    random_state : int, RandomState or None, default=None
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads, as joblib counts them. No result depends on it.
    verbose : int, default=0
        Above 0 a progress bar shows the objective.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : dict of str to ndarray of shape (n_states, n_features * (2 * context + 1))
        theta by modality in the units of X, to be multiplied with ``x - means_``; of a window the
        earliest step first.
    state_potentials_ : dict of str to ndarray of shape (n_classes, n_states)
        eta by chain: of each modality, or of ``"joint"``. Minus infinity where a state is another
        class's.
    transition_potentials_ : dict of str to ndarray of shape (n_classes, n_states, n_states)
        tau by chain, from row to column.
    link_potentials_ : mapping of (str, str) to ndarray
        By pair of modalities, of shape (n_classes, states of the first, states of the second).
    coupling_potentials_ : mapping of (str, str) to ndarray
        The same from the first modality to the second one at the next step.
    intercept_ : ndarray of shape (n_classes,)
    means_, scales_ : dict of str to ndarray of shape (n_features,)
        Weighted means and standard deviations of the steps that are present. A constant column
        has scale 1, and no weight.
    objective_ : float
        What is minimised, at the optimum found.
    gradient_norm_ : float
        The largest partial derivative there, divided by the number of steps, as for ``tol``.
    history_ : ndarray of shape (n_iter_ + 1,)
        The objective of every iteration of the search that was kept.
    objectives_ : ndarray of shape (n_init,)
        Where each search ended.
    n_iter_ : int
    converged_ : bool
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        For one class, a product of more than ``max_states`` states, modalities of different
        lengths where one length is needed, and parameters out of range.

    Warns
    -----
    ConvergenceWarning
        If the gradient is not as small as asked, with what is left.
    UserWarning
        If all hidden states are alike where the search ended: then x says nothing.

    See Also
    --------
    mkfusion.LateFusionClassifier : For a model of its own for each modality.

    Notes
    -----
    Potentials add up over the steps, so that the posteriors of long sequences are sharp, and the
    penalties count for little: raise ``l2`` and ``l2_chain`` with the length.

    References
    ----------
    Quattoni, Wang, Morency, Collins, Darrell (2007), Hidden conditional random fields, IEEE
    Transactions on Pattern Analysis and Machine Intelligence 29(10), equations (1) to (3).

    Song, Morency, Davis (2012), Multi-view latent variable discriminative models for action
    recognition, CVPR, equations (1) to (5).

    Reiter, Schuller, Rigoll (2007), Hidden conditional random fields for meeting segmentation,
    ICME.

    Examples
    --------
    >>> from mkfusion.datasets import make_multimodal_sequences
    >>> from mkfusion.graphical import HiddenCRFClassifier
    >>> truth = make_multimodal_sequences(60, lengths=(10, 20), random_state=0)
    >>> model = HiddenCRFClassifier(chains="linked", n_states=2, random_state=0)
    >>> model.fit(truth.data, truth.target).coef_["audio"].shape
    (2, 2)
    """

    def __init__(
        self,
        n_states: Any = 3,
        modalities: Mapping[str, Any] | None = None,
        *,
        chains: str = "joint",
        states: str = "shared",
        context: Any = 0,
        l2: Any = 1.0,
        l2_chain: float = 1.0,
        fit_intercept: bool = True,
        class_weight: Any = None,
        n_init: int = 1,
        init_scale: float = 0.01,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_states: int = 64,
        random_state: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_states = n_states
        self.modalities = modalities
        self.chains = chains
        self.states = states
        self.context = context
        self.l2 = l2
        self.l2_chain = l2_chain
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.n_init = n_init
        self.init_scale = init_scale
        self.max_iter = max_iter
        self.tol = tol
        self.max_states = max_states
        self.random_state = random_state
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    missing_modality = "skips"
    _takes_symbols = False

    def __sklearn_is_fitted__(self) -> bool:
        return "_vector" in vars(self)

    # Training -------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Learn from sequences and their classes.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like
            A row for each sequence. A modality is a column whose cells are arrays of shape
            (n_steps, n_features); columns of numbers are one step. A cell that is None or all NaN
            is absent, and so is a step that is all NaN.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : object
        """
        self.__dict__.pop("_vector", None)  # until the end of this fit nothing is fitted
        self._check_parameters()
        labels = check_class_target(y)
        sequences = self._read_fit_sequences(X)
        n_samples = len(next(iter(sequences.values())).offsets) - 1
        check_lengths(X=np.empty(n_samples), y=labels)
        classes, codes = np.unique(labels, return_inverse=True)
        weights = self._weights(classes, labels, codes, sample_weight)
        names = list(sequences)
        context = {
            name: int(_number(f"context of {name!r}", value, whole=True, least=0))
            for name, value in _by_modality("context", self.context, names).items()
        }
        scalings = {name: scaling_of(own, weights) for name, own in sequences.items()}
        chains = self._observed(sequences, scalings, context)
        views = self._views(names, scalings, context, len(classes))
        problem = self._problem(views, names, scalings, context, chains, codes, weights)
        fits = self._search(problem)
        best = min(fits, key=lambda fit: fit.objective)
        if not best.converged:
            warn_unconverged(
                type(self).__name__, "largest partial derivative for each step",
                best.gradient_norm, best.n_iter,
            )  # fmt: skip
        elif best.alike:
            warn(
                "all hidden states are alike where the search ended, and classes are told apart "
                "by nothing but their shares and the numbers of steps; lower l2 and l2_chain, or "
                "raise n_init or init_scale"
            )
        self._keep(best, names, scalings, context)
        self.classes_ = classes
        self.objectives_ = np.array([fit.objective for fit in fits])
        self._context, self._scalings = context, scalings
        self._fitted_views, self._vector = best.model.views, best.model.vector()
        return self

    def _check_parameters(self) -> None:
        check_option("chains", self.chains, CHAINS)
        check_option("states", self.states, STATES)
        _number("l2_chain", self.l2_chain, least=0)
        for name in ("n_init", "max_iter", "max_states"):
            _number(name, getattr(self, name), whole=True, least=1)
        for name in ("tol", "init_scale"):
            if _number(name, getattr(self, name), least=0) == 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)!r}")

    def _weights(self, classes: Array, labels: Array, codes: Array, sample_weight: Any) -> Array:
        if len(classes) < 2:
            raise ValueError(
                f"y has one class ({listed(classes)}); a classifier needs at least two classes"
            )
        given = sample_weights(sample_weight, labels)
        weights = np.ones(len(labels)) if given is None else given
        if self.class_weight is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                by_class = compute_class_weight(
                    self.class_weight, classes=classes, y=labels, sample_weight=weights
                )
            weights = np.where(weights > 0, weights * by_class[codes], 0.0)
        counted = classes[np.unique(codes[weights > 0])]
        if len(counted) < 2:
            raise ValueError(
                f"of the classes {listed(classes)} sample_weight and class_weight leave "
                f"{listed(counted)}; a classifier needs at least two classes"
            )
        return weights

    def _observed(
        self,
        sequences: Mapping[str, Sequences],
        scalings: Mapping[str, Scaling],
        context: Mapping[str, int],
    ) -> tuple[Observed, ...]:
        """Return what each chain sees."""
        if self.chains == "separate":
            streams = list(sequences.values())
        else:
            streams, _ = synchronous(sequences)
        seen = [
            Observed(context_windows(scalings[name].apply(own), own.offsets, context[name]),
                     own.offsets)
            for name, own in zip(sequences, streams, strict=True)
        ]  # fmt: skip
        if self.chains == "separate" or len(seen) == 1:
            return tuple(seen)
        return (Observed(np.hstack([each.values for each in seen]), seen[0].offsets),)

    def _views(
        self,
        names: list[str],
        scalings: Mapping[str, Scaling],
        context: Mapping[str, int],
        n_classes: int,
    ) -> tuple[Views, ...]:
        """Return the chains, whose states are the classes' own one after another if private."""
        if self.chains == "joint" and isinstance(self.n_states, Mapping):
            raise ValueError("chains='joint' has one chain, and n_states must be one number")
        found = _by_modality("n_states", self.n_states, names)
        own = [
            int(_number(f"n_states of {name!r}", found[name], whole=True, least=1))
            for name in names
        ]
        widths = [len(scalings[name].means) * (2 * context[name] + 1) for name in names]
        if self.chains == "joint":
            own, widths = own[:1], [sum(widths)]
        known = None
        total = own
        if self.states == "private":
            total = [n_classes * size for size in own]
            one = np.eye(n_classes, dtype=bool)
            known = [np.repeat(one, size, axis=1) for size in own]
        if self.chains not in ("joint", "separate"):
            self._check_product(dict(zip(names, total, strict=True)))
            return (
                Views(
                    tuple(total), tuple(widths), n_classes, "linked" in self.chains,
                    "coupled" in self.chains, None if known is None else tuple(known),
                ),
            )  # fmt: skip
        return tuple(
            Views((size,), (width,), n_classes, allowed=None if known is None else (known[m],))
            for m, (size, width) in enumerate(zip(total, widths, strict=True))
        )

    def _check_product(self, sizes: Mapping[str, int]) -> None:
        product = int(np.prod(list(sizes.values()), dtype=object))
        if product > self.max_states:
            told = " x ".join(f"{size} of {name!r}" for name, size in sizes.items())
            raise ValueError(
                f"chains={self.chains!r} is exact on the product of the states, which are {told} "
                f"= {product}, over max_states={self.max_states}; lower n_states, raise "
                "max_states (the work grows with its square), or take chains='separate'"
            )

    def _problem(
        self,
        views: tuple[Views, ...],
        names: list[str],
        scalings: Mapping[str, Scaling],
        context: Mapping[str, int],
        chains: tuple[Observed, ...],
        codes: Array,
        weights: Array,
    ) -> Problem:
        l2 = _by_modality("l2", self.l2, names)
        by_column: list[Array] = []
        told: list[Array] = []
        for name in names:
            times = 2 * context[name] + 1
            value = _number(f"l2 of {name!r}", l2[name], least=0)
            by_column.append(np.full(times * len(scalings[name].means), value))
            told.append(np.tile(scalings[name].varies, times))
        if self.chains != "separate":
            by_column, told = [np.concatenate(by_column)], [np.concatenate(told)]
        free = free_parameters(views, bool(self.fit_intercept))
        for part, columns in zip(model_of(views, free).potentials, told, strict=True):
            first = 0
            for table in part.weights:
                table &= columns[first : first + table.shape[1]]
                first += table.shape[1]
        penalty = penalties(views, by_column, self.l2_chain)
        return Problem(views, chains, codes, weights, penalty, free)

    def _search(self, problem: Problem) -> list[HiddenFit]:
        rng = check_random_state(self.random_state)
        starts = []
        for _ in range(self.n_init):
            vector = draw_model(problem.views, rng, self.init_scale).vector()
            starts.append(model_of(problem.views, np.where(problem.free, vector, 0.0)))
        fits = []
        with tqdm(
            desc=type(self).__name__, unit="iteration", disable=not self.verbose,
            leave=self.verbose > 1,
        ) as bar:  # fmt: skip

            def report(iteration: int, objective: float) -> None:
                bar.set_postfix(objective=f"{objective:.6g}", refresh=False)
                bar.update()

            for start in starts:
                fits.append(
                    fit_hidden(
                        problem, start, max_iter=self.max_iter, tol=self.tol,
                        n_threads=thread_count(self.n_jobs), callback=report,
                    )
                )  # fmt: skip
        return fits

    def _keep(
        self,
        fit: HiddenFit,
        names: list[str],
        scalings: Mapping[str, Scaling],
        context: Mapping[str, int],
    ) -> None:
        model = fit.model
        chains = ["joint"] if self.chains == "joint" else names
        weights: list[Array] = []
        states: list[Array] = []
        transitions: list[Array] = []
        known: list[Array] = []
        for views, part in zip(model.views, model.potentials, strict=True):
            weights += part.weights
            states += part.states
            transitions += part.transitions
            known += views.allowed or [np.ones(table.shape, bool) for table in part.states]
        if self.chains == "joint":
            widths = [len(scalings[name].means) * (2 * context[name] + 1) for name in names]
            weights = np.split(weights[0], np.cumsum(widths)[:-1], axis=1)
        self.coef_ = {
            name: table / np.tile(scalings[name].scales, 2 * context[name] + 1)
            for name, table in zip(names, weights, strict=True)
        }
        self.state_potentials_ = {
            name: np.where(mask, table, -np.inf)
            for name, table, mask in zip(chains, states, known, strict=True)
        }
        self.transition_potentials_ = {
            name: np.where(mask[:, :, None] & mask[:, None, :], table, -np.inf)
            for name, table, mask in zip(chains, transitions, known, strict=True)
        }
        first = model.potentials[0]
        self.link_potentials_ = _named(names, first.links)
        self.coupling_potentials_ = _named(names, first.couplings)
        self.intercept_ = model.intercept - model.intercept.mean()
        self.means_ = {name: own.means for name, own in scalings.items()}
        self.scales_ = {name: own.scales for name, own in scalings.items()}
        self.objective_ = fit.objective
        self.gradient_norm_ = fit.gradient_norm
        self.history_ = fit.history
        self.n_iter_ = fit.n_iter
        self.converged_ = fit.converged

    # New samples ----------------------------------------------------------------------------

    def _scores(self, X: Any) -> Array:
        """Return ``log sum_h exp Psi(y, h, x)``, of shape (n_samples, n_classes)."""
        check_is_fitted(self)
        sequences = self._read_sequences(X)
        lengths = np.array([np.diff(own.offsets) for own in sequences.values()])
        silent = int((~lengths.any(axis=0)).sum())
        if silent:
            warn(
                f"{silent} of {lengths.shape[1]} samples have no modality; nothing is known of "
                "them but the intercept"
            )
        chains = self._observed(sequences, self._scalings, self._context)
        model = model_of(self._fitted_views, self._vector)
        return hidden_scores(model, chains, n_threads=thread_count(self.n_jobs))

    def decision_function(self, X: Any) -> Array:
        r"""Return :math:`\log \sum_h e^{\Psi(y, h, x)}`; for two classes their difference.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like
            A row for each sequence.

        Returns
        -------
        decisions : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the posteriors.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like
            A row for each sequence.

        Returns
        -------
        log_posteriors : ndarray of shape (n_samples, n_classes)
        """
        return log_softmax(self._scores(X), axis=1)

    def predict_proba(self, X: Any) -> Array:
        """Return the posteriors of the classes.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like
            A row for each sequence.

        Returns
        -------
        posteriors : ndarray of shape (n_samples, n_classes)
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each sequence.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like
            A row for each sequence.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        scores = self._scores(X)
        return self.classes_[scores.argmax(axis=1)]


def _named(names: list[str], tables: Mapping[tuple[int, int], Array]) -> ByTuple:
    return ByTuple(((names[a], names[b]), table) for (a, b), table in tables.items())


def _by_modality(name: str, value: Any, names: list[str]) -> dict[str, Any]:
    """Return one value for each modality."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    if set(value) != set(names):
        raise ValueError(
            f"{name} must give a value for each of {listed(names, 30)}, got values for "
            f"{listed(value, 30)}"
        )
    return dict(value)


def _number(name: str, value: Any, *, least: float, whole: bool = False) -> Any:
    kind: Any = numbers.Integral if whole else numbers.Real
    what = "a whole number" if whole else "a finite number"
    if not isinstance(value, kind) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be {what}, got {value!r}")
    if not np.isfinite(value) or value < least:
        raise ValueError(f"{name} must be {what} of at least {least}, got {value!r}")
    return value
