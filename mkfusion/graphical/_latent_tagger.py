"""Labels of steps by conditional random fields whose labels have hidden states of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._stored import ByTuple
from .._validation import check_count, check_option, listed, warn_unconverged
from ..chains._crf_objective import Layout
from ..chains._latent_objective import fit_latent, latent_layout, n_latent_states
from ._crf_base import BaseCRFTagger
from ._steps import Steps

__all__ = ["LatentCRFTagger"]

Array = np.ndarray

CHAINS = ("joint", "linked", "coupled", "linked-coupled", "separate")


class LatentCRFTagger(BaseCRFTagger):
    r"""A latent-dynamic conditional random field, with one hidden chain or one per modality.

    Every label y has hidden states of its own, and a labelling is as probable as all the paths of
    states that belong to it:

    .. math:: p(y|x) = \sum_{h:\ h_t \in H_{y_t}} p(h|x),\qquad
        p(h|x) \propto \exp \sum_t (W_{h_t} \cdot x_t + b_{h_t} + T_{h_{t-1}, h_t})

    With a hidden chain for each modality, h holds a state of each, :math:`h_t = (h^1_t, h^2_t,
    \ldots)`, all of the same label. The score is the sum of the chains' own; to it come

    .. math:: \sum_t \sum_{m<n} L^{mn}_{h^m_t, h^n_t}\ \text{(linked)},\qquad
        \sum_t \sum_{m \ne n} C^{mn}_{h^m_{t-1}, h^n_t}\ \text{(coupled)}

    and sums run over the product of the states, exactly. Learnt is a local minimum, the best of
    ``n_init`` searches, of

    .. math:: -\sum_i s_i \log p(y_i|x_i) + \tfrac12 \sum_m \lambda_m \|W^m\|_F^2 +
        \tfrac{\lambda_T}{2} (\|T\|_F^2 + \|L\|_F^2 + \|C\|_F^2) +
        \alpha (\|W\|_1 + \|T\|_1 + \|L\|_1 + \|C\|_1)

    with weights s of the sequences; the intercepts b carry no penalty, and penalties are on
    coefficients in the units of X. With one state per label and one chain this is
    :class:`CRFTagger`. A modality that a step lacks adds nothing to its scores.

    Parameters
    ----------
    n_states : int or mapping of str to int, default=2
        Hidden states of each label; by modality where each has a chain.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    chains : {"joint", "linked", "coupled", "linked-coupled", "separate"}, default="joint"
        One hidden chain that sees all modalities, or one per modality: that interact at the same
        step, from one step to the next, both, or through their common label only.
    l2 : float or mapping of str to float, default=1.0
        :math:`\lambda_m`, one for all modalities or by modality.
    l1 : float, default=0.0
        :math:`\alpha`.
    l2_transition : float, default=None
        :math:`\lambda_T`. None is ``l2``, and 1 where that is by modality.
    context : int or mapping of str to int, default=0
        The steps before and after that a step reads too, one for all modalities or by modality.
    fit_intercept : bool, default=True
    forbidden : sequence of (label, label), default=None
        Transitions (from, to) that have no probability.
    max_states : int, default=128
        The most states that the chain may have: a pass over T steps takes T times their square.
    n_init : int, default=3
        Searches, each from a start of its own.
    tol : float, default=1e-4
        The residual at which to stop; see ``residual_``.
    max_iter : int, default=500
        Of each search.
    random_state : int, RandomState instance or None, default=None
    decode : {"viterbi", "marginals"}, default="viterbi"
        ``predict`` gives the labels of the most probable path of states, or each step's label
        whose states are most probable together.
    sequence : str, default="sequence"
        The index level or column of X that names the sequence of a step.
    step : str, default="step"
        The index level or column, if there is one, that tells the place of a step, looked at for
        gaps.
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
    coef_ : dict of str to ndarray of shape (n_classes * n_states, n_coefficients)
        W of each chain, "joint" or by modality: the states of the first label, of the second, ...
    intercept_ : dict of str to ndarray of shape (n_classes * n_states,)
    transition_ : dict of str to ndarray of shape (n_classes * n_states, n_classes * n_states)
        T of each chain, from row to column.
    links_, couplings_ : mapping of (str, str) to ndarray
        L of each pair of modalities, and C from the first at a step to the second at the next.
    coef_columns_ : list of (str, int, object)
        Modality, lag and column of the coefficients, one chain's after the other's.
    objective_ : float
    objectives_ : ndarray of shape (n_init,)
        What each search came to.
    residual_ : float
        The largest violation of the conditions of a minimum, with every column divided by its
        deviation, over the (weighted) number of steps.
    converged_ : bool
    n_iter_ : int
        Of the best search.
    classes_ : ndarray of shape (n_classes,)
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        For one class, more states than ``max_states``, a step that is partly NaN, infinity,
        numbers whose squares overflow, weights that vary within a sequence, labels that take a
        forbidden transition, and parameters out of range.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` iterations do not reach ``tol``, with the residual that is left.

    See Also
    --------
    CRFTagger : Without hidden states; its optimum is the only one.

    References
    ----------
    Morency, Quattoni, Darrell (2007), Latent-dynamic discriminative models for continuous gesture
    recognition, CVPR, equations (1) to (5).
    Song, Morency, Davis (2012), Multi-view latent variable discriminative models for action
    recognition, CVPR, equations (1) to (4).

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from mkfusion.graphical import LatentCRFTagger
    >>> rng = np.random.default_rng(0)
    >>> y = np.tile(np.repeat([0, 1], 10), 10)
    >>> index = pd.Index(np.repeat(range(10), 20), name="sequence")
    >>> signals = 2 * y[:, None] + rng.normal(size=(200, 2))
    >>> X = pd.DataFrame(signals, columns=["audio__pitch", "video__hue"], index=index)
    >>> tagger = LatentCRFTagger(chains="linked", random_state=0).fit(X, y)
    >>> tagger.predict(X.loc[[3]])
    array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    """

    def __init__(
        self,
        n_states: Any = 2,
        modalities: Mapping[str, Any] | None = None,
        *,
        chains: str = "joint",
        l2: Any = 1.0,
        l1: float = 0.0,
        l2_transition: float | None = None,
        context: Any = 0,
        fit_intercept: bool = True,
        forbidden: Any = None,
        max_states: int = 128,
        n_init: int = 3,
        tol: float = 1e-4,
        max_iter: int = 500,
        random_state: Any = None,
        decode: str = "viterbi",
        sequence: Any = "sequence",
        step: Any = "step",
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_states = n_states
        self.modalities = modalities
        self.chains = chains
        self.l2 = l2
        self.l1 = l1
        self.l2_transition = l2_transition
        self.context = context
        self.fit_intercept = fit_intercept
        self.forbidden = forbidden
        self.max_states = max_states
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.decode = decode
        self.sequence = sequence
        self.step = step
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _learn(self, steps: Steps, y: Array, weights: Array | None) -> None:
        self._read_options(steps)
        n_init = check_count("n_init", self.n_init)
        names = list(steps.blocks)
        layout = self._made_layout(names, self._no_ways(steps, y))
        design = self._design(steps)
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=n_init)
        with self._progress() as progress:
            fit = fit_latent(
                design,
                y,
                layout,
                self._view_penalties(design, names, layout),
                [np.random.default_rng(seed) for seed in seeds],
                fit_intercept=bool(self.fit_intercept),
                weights=weights,
                tol=self.tol,
                max_iter=self.max_iter,
                n_threads=self._n_threads,
                progress=progress,
            )
        found = fit.best
        if not found.converged:
            warn_unconverged(type(self).__name__, "residual", found.residual, found.n_iter)
        self._layout, self._potentials_found = layout, found.potentials
        self.objective_, self.objectives_ = found.objective, fit.objectives
        self.residual_, self.converged_ = found.residual, found.converged
        self.n_iter_ = found.n_iter
        self.coef_columns_ = self._window_columns()
        self._name_parameters(["joint"] if self.chains == "joint" else names)

    def _made_layout(self, names: list[str], forbidden: Array | None) -> Layout:
        check_option("chains", self.chains, CHAINS)
        n_labels, joint = len(self.classes_), self.chains == "joint"
        if isinstance(self.n_states, Mapping):
            if joint or set(self.n_states) != set(names):
                raise ValueError(
                    "n_states must be one number for chains='joint', else a number or one for "
                    f"each of {listed(names, 30)}; got {self.n_states!r}"
                )
            n_states = [check_count("n_states", self.n_states[name]) for name in names]
        else:
            n_states = [check_count("n_states", self.n_states)] * (1 if joint else len(names))
        most, total = (
            check_count("max_states", self.max_states),
            n_latent_states(n_labels, n_states),
        )
        if total > most:
            raise ValueError(
                f"{n_labels} labels with {' x '.join(map(str, n_states))} states each make a "
                f"chain of {total} states, over max_states={most}; a pass over T steps takes "
                f"T x {total**2:,} operations: lower n_states, or raise max_states"
            )
        views = [range(len(names))] if joint else [[m] for m in range(len(names))]
        return latent_layout(
            views,
            n_labels,
            n_states,
            linked=self.chains.startswith("linked"),
            coupled=self.chains.endswith("coupled"),
            forbidden=forbidden,
        )

    def _name_parameters(self, chains: list[str]) -> None:
        found, layout = self._potentials_found, self._layout
        self.coef_ = dict(zip(chains, found.coefs, strict=True))
        self.intercept_ = dict(zip(chains, found.intercepts, strict=True))
        self.transition_ = dict(zip(chains, found.transitions, strict=True))
        pairs = [
            [(chains[v], chains[w]) for v, w in which]
            for which in (layout.links, layout.couplings)
        ]
        self.links_ = ByTuple(zip(pairs[0], found.links, strict=True))
        self.couplings_ = ByTuple(zip(pairs[1], found.couplings, strict=True))

    def hidden_states(self, X: Any) -> Array:
        """Return the hidden states of each step on the most probable path.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_steps, n_features)

        Returns
        -------
        states : ndarray of int of shape (n_steps, n_chains)
            Rows of ``coef_``, by chain.
        """
        check_is_fitted(self)
        best = self._states(X)
        maps = [best if own is None else own[best] for own in self._layout.maps]
        return np.column_stack(maps)
