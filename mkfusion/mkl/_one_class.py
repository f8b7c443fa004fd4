"""Novelty in samples that several modalities see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import OutlierMixin

from .._contributions import ModalityContributions
from ._base import BaseMKL, Problem, check_positive
from ._target import Target, unit_weights

__all__ = ["MKLOneClass"]

Array = np.ndarray


class MKLOneClass(OutlierMixin, BaseMKL):
    r"""A one-class support vector machine on a sum of kernels.

    .. math:: \min_{f, \rho}\ \tfrac12 \|f\|_{K_\theta}^2 - \rho
        + \frac1{\nu \sum_i s_i} \sum_i s_i \max(0, \rho - f(x_i))

    on :math:`K_\theta = \sum_m \theta_m K_m`. The weights are uniform by default. Learnt ones,
    ``weighting="exact"``, make the samples look as alike as they can, and run to the smoothest
    kernel, even to that of a constant modality: they tell which modality is the most uniform, not
    which is of use. Kernels are not centred: the mean is the origin then, and nothing separates
    samples from their own mean. Absent modalities are masked, as by :class:`ModalityKernels`.

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
        ``"uniform"``, ``"exact"``, ``"product"``, ``"quadratic"``, weights by kernel, or a
        function ``(kernels, y)`` with y None; they are divided by their sum.
    norm : float, default=1
        p of ``weighting="exact"``, from 1 to infinity.
    nu : float, default=0.5
        A bound on the share of outliers from above, and of support vectors from below.
    solver : {"newton", "qp"}, default="newton"
        "qp" finds the weights of ``weighting="exact"`` by a general conic solver, for some
        hundreds of samples; it needs cvxpy.
    normalize : {"cosine", "trace", None}, default="cosine"
        Divide K(x, y) by sqrt(K(x, x) K(y, y)), or each kernel by the mean of its diagonal over
        the training samples.
    tol : float, default=1e-3
        The duality gap at which to stop, relative to the objective.
    max_iter : int, default=200
        The most machines to solve.
    memory_budget : float or str, default=None
        Bytes that the kernels may take, or a text such as "2GB"; None is half of what is free.
        Where the combined kernel has no room, the machine asks for its rows instead, which is
        slower; products need the whole.
    dtype : dtype, default=None
        Of kernels in memory. None is float64 where the budget allows for it, and else float32;
        bounds and decisions are summed in float64 in any case.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads, as joblib counts them. No result depends on it.
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
        The samples with a dual coefficient.
    dual_coef_ : ndarray of shape (1, n_support)
    intercept_ : ndarray of shape (1,)
    offset_ : float
        ``decision_function`` is ``score_samples - offset_``.
    objective_ : float
        The upper bound of the optimum: the primal objective at these weights.
    duality_gap_ : float
        What it lies above the lower bound at most; for weights that were chosen first, above the
        optimum at these weights.
    n_iter_ : int
        Machines solved.
    history_ : ndarray of shape (n_iter, 2)
        The upper and the lower bound of every solve.
    solution_ : MKLSolution
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
        For a kernel that is not positive semi-definite, a sample without any modality, and
        parameters out of range.
    MemoryError
        If the combined kernel does not fit into the budget, and is needed as a whole.

    Warns
    -----
    ConvergenceWarning
        If the gap is not reached, with the gap that is left.

    See Also
    --------
    MKLClassifier : For classes that are known.

    References
    ----------
    Schoelkopf, Platt, Shawe-Taylor, Smola, Williamson (2001), Estimating the support of a
    high-dimensional distribution, Neural Computation 13, equations (3.4) to (3.11).

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from mkfusion.mkl import MKLOneClass
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.normal(size=(100, 2)), columns=["audio__pitch", "video__hue"])
    >>> fusion = MKLOneClass(nu=0.1).fit(X)
    >>> fusion.predict(pd.DataFrame({"audio__pitch": [0.0, 9.0], "video__hue": [0.0, 9.0]}))
    array([ 1, -1])
    """

    center = False

    def __init__(
        self,
        kernels: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        kernel: Any = "rbf",
        weighting: Any = "uniform",
        norm: float = 1,
        nu: float = 0.5,
        solver: str = "newton",
        normalize: str | None = "cosine",
        tol: float = 1e-3,
        max_iter: int = 200,
        memory_budget: Any = None,
        dtype: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.kernels = kernels
        self.modalities = modalities
        self.kernel = kernel
        self.weighting = weighting
        self.norm = norm
        self.nu = nu
        self.solver = solver
        self.normalize = normalize
        self.tol = tol
        self.max_iter = max_iter
        self.memory_budget = memory_budget
        self.dtype = dtype
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Learn what samples are like.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            A modality that is NaN (None for text or sequences) in all its columns is missing for
            the sample.
        y : ignored
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : object
        """
        self._fit(X, self._target_of(X, y, sample_weight))
        self.offset_ = -float(self.intercept_[0])
        return self

    def _target_of(self, X: Any, y: Any, sample_weight: Any) -> Target:
        """Return what is learnt from."""
        nu = check_positive("nu", self.nu)
        if nu > 1:
            raise ValueError(f"nu must be above 0 and at most 1, got {self.nu!r}")
        weights = unit_weights(X, sample_weight)
        return Target("none", None, None, weights / (nu * weights.sum()), weights)

    def _problems(self, target: Target) -> list[tuple[Target, Problem]]:
        return [(target, Problem("one_class", None, target.costs[None]))]

    def decision_function(self, X: Any) -> Array:
        """Return how far samples lie inside of what was learnt; outliers are negative.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        decisions : ndarray of shape (n_samples,)
        """
        return self._decide(X)[:, 0]

    def score_samples(self, X: Any) -> Array:
        """Return f(x), which the offset divides into inliers and outliers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
        """
        return self.decision_function(X) + self.offset_

    def predict(self, X: Any) -> Array:
        """Return 1 for inliers and -1 for outliers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def modality_contributions(self, X: Any) -> ModalityContributions:
        """Return what each modality adds to each decision: ``sum_m theta_m K_m(x, .) beta``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        contributions : ModalityContributions
            They and the base, which is the intercept, add up to ``decision_function``.

        Raises
        ------
        ValueError
            If the kernels are multiplied.
        """
        return self._contributions(X, ["inlier"])
