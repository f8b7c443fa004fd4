"""Labels of steps by a linear-chain conditional random field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._contributions import ModalityContributions
from .._validation import check_not_negative, check_option, warn_unconverged
from ..chains._crf_objective import crf_layout
from ..chains._crf_optimum import fit_chain
from ._crf_base import BaseCRFTagger
from ._crfsuite import Vocabulary, attributes, crfsuite_fit, learn_vocabulary, sparse_unary
from ._steps import Steps

__all__ = ["CRFTagger"]

Array = np.ndarray


class CRFTagger(BaseCRFTagger):
    r"""A linear-chain conditional random field over the steps of sequences, on several modalities.

    .. math:: p(y|x) \propto \exp \sum_t \Big(b_{y_t} + \sum_m W^m_{y_t} \cdot x^m_t +
        T_{y_{t-1}, y_t}\Big)

    The first step has no transition. Learnt are

    .. math:: \min\ -\sum_i s_i \log p(y_i|x_i) + \tfrac12 \sum_m \lambda_m \|W^m\|_F^2 +
        \tfrac{\lambda_T}{2} \|T\|_F^2 + \alpha (\|W\|_1 + \|T\|_1)

    with the weights s of the sequences, ``l2`` :math:`\lambda_m`, ``l2_transition``
    :math:`\lambda_T` and ``l1`` :math:`\alpha`. The sum runs over sequences and is not divided by
    their number; the intercepts b carry no penalty. Penalties are on coefficients in the units of
    X: features in other units are penalised otherwise, so scale them. With a context of c,
    :math:`x^m_t` holds the features of the steps t - c, ..., t + c side by side, zeros beyond the
    ends of the sequence. A modality that a step lacks (all NaN) adds nothing to its scores: its
    features are 0.

    On sequences of one step this is multinomial logistic regression, with C = 1 / l2 for three
    labels and more, and 2 / l2 for two.

    Parameters
    ----------
    l2 : float or mapping of str to float, default=1.0
        :math:`\lambda_m`, one for all modalities or by modality.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    l1 : float, default=0.0
        :math:`\alpha`; above 0 it makes coefficients exactly 0.
    l2_transition : float, default=None
        :math:`\lambda_T`. None is ``l2``, and 1 where that is by modality.
    context : int or mapping of str to int, default=0
        c, the steps before and after that a step reads, one for all modalities or by modality;
        0 for those that a mapping leaves out.
    fit_intercept : bool, default=True
    forbidden : sequence of (label, label), default=None
        Transitions (from, to) that have no probability.
    backend : {"dense", "crfsuite"}, default="dense"
        Who minimises. "crfsuite" takes text and categories too, each value a column of 0 and 1 (a
        missing one is none, and so is one that the fit has not seen); it solves the same problem,
        with less precision, and takes no weights and nothing forbidden. There the intercept is
        the coefficient of a large constant, whose penalty is small. ``l1`` needs one ``l2`` then.
    tol : float, default=1e-5
        The residual at which to stop; see ``residual_``.
    max_iter : int, default=1000
    decode : {"viterbi", "marginals"}, default="viterbi"
        ``predict`` gives the labels of the most probable path, or each step's most probable one.
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
    coef_ : ndarray of shape (n_classes, n_coefficients)
        W, in the units of X.
    coef_columns_ : list of (str, int, object)
        Modality, lag and column (with its value, for text) of each coefficient.
    intercept_ : ndarray of shape (n_classes,)
    transition_ : ndarray of shape (n_classes, n_classes)
        T, from row to column; minus infinity where it is forbidden.
    objective_ : float
        The minimum that was reached.
    residual_ : float
        The largest violation of the conditions of optimality, with every column divided by its
        deviation, over the (weighted) number of steps.
    converged_ : bool
    n_iter_ : int
    classes_ : ndarray of shape (n_classes,)
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        For one class, a step that is partly NaN, infinity, numbers whose squares overflow, weights
        that vary within a sequence, labels that take a forbidden transition, and parameters out
        of range.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` iterations do not reach ``tol``, with the residual that is left.

    See Also
    --------
    LatentCRFTagger : Hidden states inside each label.

    References
    ----------
    Lafferty, McCallum, Pereira (2001), Conditional random fields: probabilistic models for
    segmenting and labeling sequence data, ICML.
    Sutton, McCallum (2012), An introduction to conditional random fields, Foundations and Trends
    in Machine Learning 4, equations (2.18) and (5.3) to (5.6).

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from mkfusion.graphical import CRFTagger
    >>> rng = np.random.default_rng(0)
    >>> y = np.tile(np.repeat([0, 1], 10), 10)
    >>> index = pd.Index(np.repeat(range(10), 20), name="sequence")
    >>> signals = y[:, None] + rng.normal(size=(200, 2))
    >>> X = pd.DataFrame(signals, columns=["audio__pitch", "video__hue"], index=index)
    >>> tagger = CRFTagger().fit(X, y)
    >>> tagger.predict(X.loc[[3]])
    array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    >>> bool(tagger.transition_[0, 0] > tagger.transition_[1, 0])
    True
    """

    def __init__(
        self,
        l2: Any = 1.0,
        modalities: Mapping[str, Any] | None = None,
        *,
        l1: float = 0.0,
        l2_transition: float | None = None,
        context: Any = 0,
        fit_intercept: bool = True,
        forbidden: Any = None,
        backend: str = "dense",
        tol: float = 1e-5,
        max_iter: int = 1000,
        decode: str = "viterbi",
        sequence: Any = "sequence",
        step: Any = "step",
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.l2 = l2
        self.modalities = modalities
        self.l1 = l1
        self.l2_transition = l2_transition
        self.context = context
        self.fit_intercept = fit_intercept
        self.forbidden = forbidden
        self.backend = backend
        self.tol = tol
        self.max_iter = max_iter
        self.decode = decode
        self.sequence = sequence
        self.step = step
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    @property
    def _takes_frames(self) -> bool:  # type: ignore[override]
        return self.backend == "crfsuite"

    def _learn(self, steps: Steps, y: Array, weights: Array | None) -> None:
        check_option("backend", self.backend, ("dense", "crfsuite"))
        self._read_options(steps)
        names, n_labels = list(steps.blocks), len(self.classes_)
        layout = crf_layout(len(names), n_labels, self._no_ways(steps, y))
        vocabularies = None
        if self.backend == "crfsuite":
            vocabularies, columns, found = self._learn_by_crfsuite(steps, y, weights)
        else:
            design = self._design(steps)
            with self._progress() as progress:
                found = fit_chain(
                    design,
                    y,
                    layout,
                    self._view_penalties(design, names, layout),
                    fit_intercept=bool(self.fit_intercept),
                    weights=weights,
                    tol=self.tol,
                    max_iter=self.max_iter,
                    n_threads=self._n_threads,
                    progress=progress,
                )
            columns = self._window_columns()
        if not found.converged:
            warn_unconverged(type(self).__name__, "residual", found.residual, found.n_iter)
        self._vocabularies: list[Vocabulary] | None = vocabularies
        self._layout, self._potentials_found = layout, found.potentials
        self.coef_columns_ = columns
        self.objective_, self.residual_ = found.objective, found.residual
        self.n_iter_, self.converged_ = found.n_iter, found.converged
        self.coef_ = found.potentials.coefs[0]
        self.intercept_ = found.potentials.intercepts[0]
        self.transition_ = found.potentials.on_chain(layout)[1]

    def _learn_by_crfsuite(self, steps: Steps, y: Array, weights: Array | None) -> Any:
        if self.forbidden is not None:
            raise ValueError("backend='crfsuite' knows no forbidden transitions; use 'dense'")
        if weights is not None and (weights != 1).any():
            raise ValueError("backend='crfsuite' takes no sample_weight; use backend='dense'")
        names = list(steps.blocks)
        vocabularies = [learn_vocabulary(block) for block in steps.blocks.values()]
        sizes = zip(vocabularies, self._contexts, strict=True)
        widths = tuple(len(v.keys) * (2 * c + 1) for v, c in sizes)
        l2, of_transitions = self._penalties(names, widths)
        design = attributes(steps, vocabularies, self._contexts)
        found = crfsuite_fit(
            design,
            steps.offsets,
            y,
            len(self.classes_),
            l2=np.concatenate(l2),
            l2_transition=of_transitions,
            l1=check_not_negative("l1", self.l1),
            fit_intercept=bool(self.fit_intercept),
            tol=self.tol,
            max_iter=self.max_iter,
        )
        columns: list[Any] = []
        for name, vocabulary, c in zip(names, vocabularies, self._contexts, strict=True):
            labels = vocabulary.labels(self._column_labels(name))
            columns += [(name, lag, label) for lag in range(-c, c + 1) for label in labels]
        return vocabularies, columns, found

    def _potentials(self, steps: Steps) -> tuple[Array, Array, Array]:
        if self._vocabularies is None:
            return super()._potentials(steps)
        design = attributes(steps, self._vocabularies, self._contexts)
        unary = sparse_unary(design, self._potentials_found)
        return np.zeros(unary.shape[1]), self.transition_, unary

    def modality_contributions(self, X: Any) -> ModalityContributions:
        """Return what each modality adds to each label's score at each step.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_steps, n_features)

        Returns
        -------
        contributions : ModalityContributions
            :math:`W^m_y \\cdot x^m_t`; with the base, which is the intercept, they add up to the
            scores of the step by itself, to which the transitions come.

        Raises
        ------
        ValueError
            For ``backend="crfsuite"``.
        """
        check_is_fitted(self)
        if self._vocabularies is not None:
            raise ValueError("modality_contributions needs backend='dense'")
        return self._contributions(self._read_steps(X), self._potentials_found)
