"""The combined kernel, or features of it, for methods that take one matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from .._parallel import single_blas_thread, thread_count
from .._validation import (
    check_option,
)
from ..kernels._approx import inverse_root
from ..kernels._landmarks import check_count
from ._answers import Heard
from ._base import BaseMKL, Problem, check_positive
from ._target import Target, class_target, number_target, unit_weights
from ._view import KernelView
from ._weighting import find_weights

__all__ = ["MKLTransformer"]

Array = np.ndarray


class MKLTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseMKL):
    r"""The combined kernel with the training samples, or features of it.

    With :math:`K = \sum_m \theta_m K_m`, ``output="gram"`` returns :math:`K(x, X)`, for what takes
    a precomputed kernel: kernel PCA, spectral clustering, machines of one's own.
    ``output="nystroem"`` returns :math:`K(x, Z) K(Z, Z)^{-1/2}` of landmarks Z, whose inner
    products approximate K, for what takes features: linear models, k-means, Gaussian processes.
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
            default="uniform"
        As in :class:`MKLClassifier` where y holds classes, as in :class:`MKLRegressor` (with
        ridge regression) where it holds numbers that are no classes, and as in
        :class:`MKLOneClass` without y.
    norm : float, default=1
        p of the exact weightings, from 1 to infinity.
    C : float, default=1.0
        Of the exact weightings and of "accuracy".
    output : {"gram", "nystroem"}, default="gram"
    n_components : int, default=100
        Landmarks, drawn from the training samples, and features of "nystroem"; at most n_samples
        are taken.
    solver : {"newton", "qp"}, default="newton"
        Of the exact weightings; "qp" is for some hundreds of samples, and needs cvxpy.
    normalize : {"cosine", "trace", None}, default="cosine"
        Divide K(x, y) by sqrt(K(x, x) K(y, y)), or each kernel by the mean of its diagonal over
        the training samples.
    center : bool, default=False
        Centre the combined kernel in feature space.
    lam : float, default=0.1
        lambda of ``weighting="easy"``.
    tol : float, default=1e-3
        The duality gap of the exact weightings at which to stop, relative to the objective.
    max_iter : int, default=200
        The most machines to solve for the exact weightings.
    memory_budget : float or str, default=None
        Bytes that the kernels may take, or a text such as "2GB"; None is half of what is free.
    dtype : dtype, default=None
        Of kernels in memory while weights are learnt. None is float64 where the budget allows for
        it, and else float32.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads, as joblib counts them. No result depends on it.
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks, and the folds of "accuracy".
    verbose : int, default=0
        Above 0 a progress bar shows the gap that is left.

    Attributes
    ----------
    kernel_weights_ : ndarray of shape (n_kernels,)
        theta, in the order of ``kernel_names_``.
    modality_weights_ : dict of str to float
        The sum of the weights of each modality's kernels.
    kernel_names_, kernel_modalities_ : list of str
    kernels_ : list of Kernel
        The single kernels, with every parameter a number.
    support_ : ndarray of int of shape (n_support,)
        The training samples that are kept: all, or the landmarks.
    duality_gap_, objective_ : float
        Of the exact weightings; NaN for the others.
    n_iter_ : int
        Machines solved for the exact weightings; 1 for the others.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        For a weighting that y does not allow for, a kernel that is not positive semi-definite, a
        sample without any modality, and parameters out of range.
    MemoryError
        If weights are learnt from more samples than fit into the budget.

    See Also
    --------
    ModalityNystroem : Features of each kernel by itself, side by side.

    References
    ----------
    Williams, Seeger (2001), Using the Nystrom method to speed up kernel machines, eq. (11).

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.mkl import MKLTransformer
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.pipeline import make_pipeline
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> features = MKLTransformer(output="nystroem", n_components=50, random_state=0)
    >>> features.fit_transform(X[::5]).shape
    (400, 50)
    >>> make_pipeline(features, KMeans(10, random_state=0)).fit_predict(X[::5]).shape
    (400,)
    """

    def __init__(
        self,
        kernels: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        kernel: Any = "rbf",
        weighting: Any = "uniform",
        norm: float = 1,
        C: float = 1.0,
        output: str = "gram",
        n_components: int = 100,
        solver: str = "newton",
        normalize: str | None = "cosine",
        center: bool = False,
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
        self.output = output
        self.n_components = n_components
        self.solver = solver
        self.normalize = normalize
        self.center = center
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Find the weights of the kernels, and keep the samples that are needed.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            A modality that is NaN (None for text or sequences) in all its columns is missing for
            the sample.
        y : array-like of shape (n_samples,), default=None
            Classes or numbers, for weightings that learn from them.
        sample_weight : array-like of shape (n_samples,), default=None
            Counts where weights are learnt, and in the means of ``center``.

        Returns
        -------
        self : object
        """
        check_option("output", self.output, ("gram", "nystroem"))
        count = check_count("n_components", self.n_components)
        target = self._target_of(X, y, sample_weight)
        view = self._open(X, target, whole=False)
        self._keep_weights(view, self._learn_weights(view, target))
        n = view.n_samples
        kept = np.arange(n)
        if self.output == "nystroem" and count < n:
            drawn = check_random_state(self.random_state).permutation(n)[:count]
            kept = np.sort(drawn)
        self._keep_samples(kept)
        self._centre = self._root = self._means = None
        if self.output == "nystroem":
            K = self._kernel_among(self._support, self._support_scales)
            self._root = inverse_root(K, "the combined kernel")[0]
            if view.centre is not None:
                blocks, scales = self._training
                used = None if scales is None else scales[self._used_kernels]
                self._means = view.centre @ self._features(Heard(blocks, used))
        elif view.centre is not None:
            self._centre = view.centre
            self._means = self._kernel_among(*self._training) @ view.centre
        self._n_features_out = len(kept)
        return self

    def _target_of(self, X: Any, y: Any, sample_weight: Any) -> Target:
        """Return what is learnt from, by what y holds."""
        C = check_positive("C", self.C)
        if y is None:
            weights = unit_weights(X, sample_weight)
            return Target("none", None, None, C * weights, weights)
        if type_of_target(y, input_name="y") not in ("binary", "multiclass"):
            return number_target(X, y, sample_weight, C)
        return class_target(
            X, y, sample_weight, C, lam=self.lam, n_threads=thread_count(self.n_jobs),
            random_state=self.random_state,
        )  # fmt: skip

    def _learn_weights(self, view: KernelView, target: Target) -> Array:
        self.objective_ = self.duality_gap_ = np.nan
        self.n_iter_ = 1
        if self._way.weights is not None:
            return find_weights(self._way, view, target, self.kernel_names_)
        ((target, problem),) = self._problems(target)
        solution = self._learn(view, target, problem)
        self._warn_of(solution)
        self.objective_, self.duality_gap_ = solution.objective, solution.gap
        self.n_iter_ = solution.n_solves
        return solution.theta

    def _problems(self, target: Target) -> list[tuple[Target, Problem]]:
        """Return the machine that the weights are learnt with."""
        if target.kind == "none":
            costs = 2 * target.costs[None] / target.costs.sum()
            return [(target, Problem("one_class", None, costs))]
        classes = target.kind == "classes"
        Y = target.signs() if classes else target.y.reshape(len(target.y), -1).T
        costs = np.repeat(target.costs[None], len(Y), axis=0)
        return [(target, Problem("svm" if classes else "ridge", Y, costs))]

    def transform(self, X: Any) -> Any:
        """Return the combined kernel with the training samples, or its features.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
            A sample without a modality whose kernel has weight has zeros only before centring,
            and there is a warning.
        """
        check_is_fitted(self)
        heard = self._heard(X)
        if self._root is not None:
            Z = self._features(heard)
            return Z if self._means is None else Z - self._means
        K = self._kernel_with(heard)
        if self._centre is not None:
            total = self._centre @ self._means
            K -= (K @ self._centre)[:, None] + (self._means - total)
        return K

    def _features(self, heard: Heard) -> Array:
        with single_blas_thread:
            return self._kernel_with(heard) @ self._root

    def _kernel_with(self, heard: Heard) -> Array:
        K = self._kernel_of(heard, slice(None), self.kernel_weights_)
        assert K is not None
        return K
