"""Classification by support vector machines on learnt kernel combinations."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import _ovr_decision_function
from sklearn.utils.validation import check_is_fitted

from .._contributions import ModalityContributions
from .._parallel import thread_count
from .._validation import (
    check_option,
)
from ._base import BaseMKL, Problem, check_positive
from ._target import Target, class_target

__all__ = ["MKLClassifier"]

Array = np.ndarray


class MKLClassifier(ClassifierMixin, BaseMKL):
    r"""Multiple kernel learning: a support vector machine on a learnt sum of kernels.

    The kernel is :math:`K = \sum_m \theta_m K_m`. With ``weighting="svm"`` the weights and the
    machines are one convex problem,

    .. math:: \min_{\theta \ge 0,\ \|\theta\|_p \le M^{1/p - 1}} \sum_c \max_{\alpha \in A_c}
        1^\top \alpha - \tfrac12 \sum_m \theta_m (\alpha \circ y_c)^\top K_m (\alpha \circ y_c),

    with :math:`A_c = \{0 \le \alpha_i \le C_i,\ y_c^\top \alpha = 0\}`, solved to a duality gap
    that is part of the result. p = 1 is the simplex, with sparse weights; p = infinity gives
    uniform ones. All other weightings choose the weights first.

    With normalised kernels, uniform weights are hard to beat on clean data. Learnt ones pay where
    modalities are noise or weak, and they explain. A kernel on pure noise does not get weight 0:
    it acts as a ridge, the more so the larger C and the more labels are wrong.

    There is no ``predict_proba``: ``CalibratedClassifierCV(MKLClassifier(), ensemble=False)``
    makes probabilities of the decisions, and a late fusion calibrates such an expert by itself.

    Absent modalities are masked, as by :class:`ModalityKernels`.

    Parameters
    ----------
    kernels : list of (str, kernel, str) or kernel, default=None
        Name, kernel (a name, a :class:`~mkfusion.kernels.Kernel`, a function of (X, Y), or "drop")
        and modality. Several may see one modality; a bank counts as its single kernels. One kernel
        alone is taken for every modality.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    kernel : kernel, default="rbf"
        The prototype for every modality that ``kernels`` does not name; "drop" leaves those out.
    weighting : str, mapping of str to float, array-like of shape (n_kernels,) or callable, \
            default="svm"
        How the weights are found:

        * ``"svm"``: with the machine, exactly.
        * ``"uniform"``: 1 / M each.
        * ``"accuracy"``: by how much each kernel's own machine beats the largest class, in three
          folds.
        * ``"alignment"``: each kernel's centred alignment with the classes, where positive.
        * ``"alignf"``: the weights with the largest alignment of the sum.
        * ``"alignment_qp"``: the nearest sum to the ideal kernel, on the simplex.
        * ``"easy"``: EasyMKL, after the margin distribution at ``lam``.
        * ``"product"``: the product of the kernels, entry by entry.
        * ``"quadratic"``: the square of their mean, entry by entry.

        Weights by kernel, and what a function ``(kernels, y)`` returns, are divided by their sum;
        ``kernels`` has ``combine``, ``quadratic_forms``, ``matvec`` and ``rows``.
    norm : float, default=1
        p of ``weighting="svm"``, from 1 to infinity.
    C : float, default=1.0
        The largest dual variable of a sample of weight 1.
    solver : {"newton", "qp"}, default="newton"
        "qp" finds the weights of ``weighting="svm"`` by a general conic solver, for some hundreds
        of samples; it needs cvxpy.
    multi_class : {"shared", "per_class", "ovo"}, default="shared"
        Of more than two classes: each against the rest with weights that all share, each with
        weights of its own, or each pair with shared weights.
    normalize : {"cosine", "trace", None}, default="cosine"
        Divide K(x, y) by sqrt(K(x, x) K(y, y)), or each kernel by the mean of its diagonal over
        the training samples.
    center : bool, default=False
        Centre kernels in feature space, after "cosine" and before "trace". The intercept makes the
        machine blind to it, but for the scale that "trace" finds.
    class_weight : dict or "balanced", default=None
        What multiplies C by class.
    lam : float, default=0.1
        lambda of ``weighting="easy"``: 0 is the hard margin, 1 the distance of class means.
    tol : float, default=1e-3
        The duality gap at which to stop, relative to the objective.
    max_iter : int, default=200
        The most machines to solve, those of all classes together counted once.
    memory_budget : float or str, default=None
        Bytes that the kernels may take, or a text such as "2GB"; None is half of what is free.
        Where the combined kernel has no room, machines ask for its rows instead, which is slower;
        "accuracy", "easy" and products need the whole.
    dtype : dtype, default=None
        Of kernels in memory. None is float64 where the budget allows for it, and else float32;
        bounds and decisions are summed in float64 in any case.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads, as joblib counts them. No result depends on it.
    random_state : int, RandomState instance or None, default=None
        Draws the folds of ``weighting="accuracy"``; None takes the samples in their order.
    verbose : int, default=0
        Above 0 a progress bar shows the gap that is left.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    kernel_weights_ : ndarray of shape (n_kernels,) or (n_classes, n_kernels)
        theta, in the order of ``kernel_names_``; by class for ``multi_class="per_class"``.
    modality_weights_ : dict of str to float or ndarray
        The sum of the weights of each modality's kernels.
    kernel_names_, kernel_modalities_ : list of str
    kernels_ : list of Kernel
        The single kernels, with every parameter a number.
    support_ : ndarray of int of shape (n_support,)
        The samples that are a support vector of any machine.
    dual_coef_ : ndarray of shape (n_problems, n_support)
        alpha times y. One problem for two classes, else one for each class, or each pair in the
        order (0, 1), (0, 2), ...
    intercept_ : ndarray of shape (n_problems,)
    objective_ : float
        The upper bound of the optimum: the primal objective at these weights.
    duality_gap_ : float
        What it lies above the lower bound at most; for weights that were chosen first, above the
        optimum at these weights.
    n_iter_ : int
        Machines solved, those of all classes together counted once.
    history_ : ndarray of shape (n_iter, 2)
        The upper and the lower bound of every solve; a list by class for "per_class".
    solution_ : MKLSolution or list of MKLSolution
        What the solver returned, with the coefficients behind both bounds.
    combined_kernel_ : ndarray of shape (n_samples, n_samples)
        The combined kernel of the training samples, made when asked for; not after unpickling.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        For one class, a kernel that is not positive semi-definite, a sample without any modality,
        and parameters out of range.
    MemoryError
        If the combined kernel does not fit into the budget, and is needed as a whole.

    Warns
    -----
    ConvergenceWarning
        If the gap is not reached, with the gap that is left.
    UserWarning
        If a kernel is 0, no kernel is aligned, or a sample has no modality with weight.

    See Also
    --------
    MKLRegressor : The same for numbers.
    ModalityKernels : The kernels alone.
    sklearn.calibration.CalibratedClassifierCV : Probabilities from the decision function.

    References
    ----------
    Lanckriet et al. (2004), Learning the kernel matrix with semidefinite programming, JMLR 5.
    Rakotomamonjy, Bach, Canu, Grandvalet (2008), SimpleMKL, JMLR 9, eq. (10).
    Kloft, Brefeld, Sonnenburg, Zien (2011), lp-norm multiple kernel learning, JMLR 12.
    Cortes, Mohri, Rostamizadeh (2012), Algorithms for learning kernels based on centered
    alignment, JMLR 13, for the alignments.
    Aiolli, Donini (2015), EasyMKL, Neurocomputing 169.

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.mkl import MKLClassifier
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> fusion = MKLClassifier(C=10).fit(X[::5], y[::5])
    >>> bool(fusion.score(X[1::5], y[1::5]) > 0.95)
    True
    >>> bool(fusion.duality_gap_ <= 1e-3 * fusion.objective_)
    True
    """

    def __init__(
        self,
        kernels: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        kernel: Any = "rbf",
        weighting: Any = "svm",
        norm: float = 1,
        C: float = 1.0,
        solver: str = "newton",
        multi_class: str = "shared",
        normalize: str | None = "cosine",
        center: bool = False,
        class_weight: Any = None,
        lam: float = 0.1,
        tol: float = 1e-3,
        max_iter: int = 200,
        memory_budget: Any = None,
        dtype: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.kernels = kernels
        self.modalities = modalities
        self.kernel = kernel
        self.weighting = weighting
        self.norm = norm
        self.C = C
        self.solver = solver
        self.multi_class = multi_class
        self.normalize = normalize
        self.center = center
        self.class_weight = class_weight
        self.lam = lam
        self.tol = tol
        self.max_iter = max_iter
        self.memory_budget = memory_budget
        self.dtype = dtype
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Find the weights of the kernels and the machines.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            A modality that is NaN (None for text or sequences) in all its columns is missing for
            the sample.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            What multiplies C by sample.

        Returns
        -------
        self : object
        """
        check_option("multi_class", self.multi_class, ("shared", "per_class", "ovo"))
        target = self._target_of(X, y, sample_weight)
        self.classes_ = np.unique(target.y)
        self._counted = np.unique(target.codes[target.costs > 0])  # classes that can be predicted
        self._class_pairs = class_pairs(target) if self.multi_class == "ovo" else []
        self._fit(X, target)
        return self

    def _target_of(self, X: Any, y: Any, sample_weight: Any) -> Target:
        return class_target(
            X, y, sample_weight, check_positive("C", self.C), class_weight=self.class_weight,
            lam=self.lam, n_threads=thread_count(self.n_jobs), random_state=self.random_state,
        )  # fmt: skip

    def _problems(self, target: Target) -> list[tuple[Target, Problem]]:
        signs = target.signs()
        costs = np.repeat(target.costs[None], len(signs), axis=0)
        if self.multi_class == "per_class" and len(signs) > 1:
            return [
                (target._replace(y=y, codes=(y > 0).astype(int)), Problem("svm", y[None], C[None]))
                for y, C in zip(signs, costs, strict=True)
            ]
        if self.multi_class == "ovo" and len(signs) > 1:
            codes, pairs = target.codes, class_pairs(target)
            signs = np.array([np.where(codes == a, 1.0, -1.0) for a, _ in pairs])
            costs = np.array([np.where(np.isin(codes, pair), target.costs, 0) for pair in pairs])
        return [(target, Problem("svm", signs, costs))]

    def decision_function(self, X: Any) -> Array:
        """Return how far samples lie on the side of each class.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        decisions : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of two classes the second's; for "ovo" the pairs won, and the sum of their margins as
            less than half a pair more.
        """
        decisions = self._decide(X)
        if len(self.classes_) == 2:
            return decisions[:, 0]
        if not self._class_pairs:
            return decisions
        return _ovr_decision_function(decisions < 0, -decisions, len(self.classes_))

    def predict(self, X: Any) -> Array:
        """Predict the class with the largest decision, of those whose samples had weight.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        decisions = self.decision_function(X)
        if decisions.ndim == 1:
            return self.classes_[(decisions > 0).astype(int)]
        return self.classes_[self._counted[decisions[:, self._counted].argmax(axis=1)]]

    def modality_contributions(self, X: Any) -> ModalityContributions:
        """Return what each modality adds to each decision: ``sum_m theta_m K_m(x, .) beta``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        contributions : ModalityContributions
            They and the base, which is the intercept, add up to ``decision_function``; of two
            classes the second's, for "ovo" those of each pair.

        Raises
        ------
        ValueError
            If the kernels are multiplied.
        """
        check_is_fitted(self)
        names: Any = self.classes_[1:] if len(self.classes_) == 2 else self.classes_
        if self._class_pairs:
            names = [f"{self.classes_[a]} - {self.classes_[b]}" for a, b in self._class_pairs]
        return self._contributions(X, names)


def class_pairs(target: Target) -> list[tuple[int, int]]:
    """Return the pairs of more than two classes."""
    return list(combinations(range(target.n_classes), 2)) if target.n_classes > 2 else []
