"""Regression by ridge regression or support vectors on learnt kernel combinations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from .._contributions import ModalityContributions
from .._validation import check_option
from ._base import BaseMKL, Problem, check_positive
from ._target import Target, number_target

__all__ = ["MKLRegressor"]

Array = np.ndarray


class MKLRegressor(RegressorMixin, BaseMKL):
    r"""Multiple kernel learning for numbers: ridge or support vector regression.

    The kernel is :math:`K = \sum_m \theta_m K_m`. With ``weighting="exact"`` the weights and the
    machine are one convex problem,

    .. math:: \min_{\theta \ge 0,\ \|\theta\|_p \le M^{1/p - 1}}\ \min_{f, b}\
        \tfrac12 \|f\|_{K_\theta}^2 + \sum_i C_i\, \ell(y_i - f(x_i) - b),

    with :math:`\ell(r) = r^2 / 2` for ``machine="ridge"`` and :math:`\max(0, |r| - \epsilon)` for
    ``machine="svr"``, solved to a duality gap that is part of the result. Several outputs share
    the weights. Absent modalities are masked, as by :class:`ModalityKernels`.

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
    machine : {"ridge", "svr"}, default="ridge"
        The loss.
    weighting : str, mapping of str to float, array-like of shape (n_kernels,) or callable, \
            default="exact"
        How the weights are found: ``"exact"``, with the machine; ``"uniform"``; ``"alignment"``,
        ``"alignf"`` and ``"alignment_qp"``, by the centred alignment with ``y y'``;
        ``"product"`` and ``"quadratic"``, which multiply kernels. Weights by kernel, and what a
        function ``(kernels, y)`` returns, are divided by their sum.
    norm : float, default=1
        p of ``weighting="exact"``, from 1 to infinity.
    C : float, default=1.0
        The weight of the loss; ridge regression's penalty is 1 / C.
    epsilon : float, default=0.1
        Errors up to it cost nothing with ``machine="svr"``, in the unit of y.
    solver : {"newton", "qp"}, default="newton"
        "qp" finds the weights of ``weighting="exact"`` by a general conic solver, for some
        hundreds of samples; it needs cvxpy.
    normalize : {"cosine", "trace", None}, default="cosine"
        Divide K(x, y) by sqrt(K(x, x) K(y, y)), or each kernel by the mean of its diagonal over
        the training samples.
    center : bool, default=False
        Centre kernels in feature space, after "cosine" and before "trace". The intercept makes the
        machine blind to it, but for the scale that "trace" finds.
    tol : float, default=1e-3
        The duality gap at which to stop, relative to the objective.
    max_iter : int, default=200
        The most machines to solve, those of all outputs together counted once.
    memory_budget : float or str, default=None
        Bytes that the kernels may take, or a text such as "2GB"; None is half of what is free.
        Where the combined kernel has no room, the machine of "svr" asks for its rows instead,
        which is slower; ridge regression and products need the whole.
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
    dual_coef_ : ndarray of shape (n_outputs, n_support)
    intercept_ : ndarray of shape (n_outputs,)
    objective_ : float
        The upper bound of the optimum: the primal objective at these weights.
    duality_gap_ : float
        What it lies above the lower bound at most; for weights that were chosen first, above the
        optimum at these weights.
    n_iter_ : int
        Machines solved, those of all outputs together counted once.
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
    MKLClassifier : The same for classes, with more on weightings.

    References
    ----------
    Rakotomamonjy, Bach, Canu, Grandvalet (2008), SimpleMKL, JMLR 9, section 5.
    Cortes, Mohri, Rostamizadeh (2009), L2 regularization for learning kernels, UAI, for ridge
    regression.

    Examples
    --------
    >>> from mkfusion.datasets import make_multimodal_regression
    >>> from mkfusion.mkl import MKLRegressor
    >>> X, y = make_multimodal_regression(n_samples=200, random_state=0, return_X_y=True)
    >>> fusion = MKLRegressor(C=10).fit(X[::2], y[::2])
    >>> bool(fusion.score(X[1::2], y[1::2]) > 0)
    True
    """

    def __init__(
        self,
        kernels: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        kernel: Any = "rbf",
        machine: str = "ridge",
        weighting: Any = "exact",
        norm: float = 1,
        C: float = 1.0,
        epsilon: float = 0.1,
        solver: str = "newton",
        normalize: str | None = "cosine",
        center: bool = False,
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
        self.machine = machine
        self.weighting = weighting
        self.norm = norm
        self.C = C
        self.epsilon = epsilon
        self.solver = solver
        self.normalize = normalize
        self.center = center
        self.tol = tol
        self.max_iter = max_iter
        self.memory_budget = memory_budget
        self.dtype = dtype
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Find the weights of the kernels and the machine.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            A modality that is NaN (None for text or sequences) in all its columns is missing for
            the sample.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            What multiplies C by sample.

        Returns
        -------
        self : object
        """
        check_option("machine", self.machine, ("ridge", "svr"))
        target = self._target_of(X, y, sample_weight)
        self._flat = target.y.ndim == 1
        self._fit(X, target)
        return self

    def _target_of(self, X: Any, y: Any, sample_weight: Any) -> Target:
        return number_target(X, y, sample_weight, check_positive("C", self.C))

    def _can_serve(self) -> bool:
        return self.machine == "svr" and super()._can_serve()

    def _problems(self, target: Target) -> list[tuple[Target, Problem]]:
        Y = target.y.reshape(len(target.y), -1).T
        costs = np.repeat(target.costs[None], len(Y), axis=0)
        return [(target, Problem(self.machine, Y, costs, self.epsilon))]

    def predict(self, X: Any) -> Array:
        """Predict numbers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        predictions : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        found = self._decide(X)
        return found[:, 0] if self._flat else found

    def modality_contributions(self, X: Any) -> ModalityContributions:
        """Return what each modality adds to each prediction: ``sum_m theta_m K_m(x, .) beta``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        contributions : ModalityContributions
            They and the base, which is the intercept, add up to the prediction.

        Raises
        ------
        ValueError
            If the kernels are multiplied.
        """
        return self._contributions(X, range(len(self.intercept_)))
