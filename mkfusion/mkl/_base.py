"""What multiple kernel learners share: weights found on training samples, used on new ones."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.validation import check_is_fitted

from .._memory import check_budget, memory_in_bytes
from .._parallel import single_blas_thread, thread_count
from .._progress import tqdm
from .._validation import check_option, listed, warn, warn_unconverged
from ..kernels import FunctionKernel, Kernel, Precomputed, combine
from ..kernels._landmarks import check_count
from ..solvers import FixedKernel, MKLSolution, solve_mkl, solve_mkl_conic
from ._answers import KernelAnswers
from ._composition import is_gram, is_gram_alone, leaves_of
from ._shared import SPARE
from ._target import Target
from ._view import KernelView, SumOnDemand, ViewOnDemand, formed
from ._weighting import find_weights, get_weighting

__all__ = ["BaseMKL"]

Array = np.ndarray

COPIES = 0.25  # of the combined kernel: what its machines copy
FEW = 1_000  # samples, whose smallest eigenvalue is found by all of them
CONIC = {f"tol_{name}": 1e-7 for name in ("gap_abs", "gap_rel", "feas")}  # it reaches always
INDEFINITE = 1e-6  # of the largest eigenvalue: a smallest one below it is no rounding


class Problem(NamedTuple):
    """The problems that a fusion's machine solves on one combined kernel."""

    task: str
    Y: Any  # shape: (n_problems, n_samples)
    costs: Array  # shape: (n_problems, n_samples)
    epsilon: float = 0.0


class BaseMKL(KernelAnswers):
    """Finds kernel weights and machines on training samples, and keeps the support vectors.

    A subclass has the parameters used here; ``_fit_kernels`` and this class between them set
    every attribute that ends in an underscore.
    """

    weighting: Any
    norm: float
    solver: str
    center: bool
    tol: float
    max_iter: int
    memory_budget: Any
    dtype: Any
    n_jobs: int | None
    verbose: int

    _normalizations = ("cosine", "trace", None)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return "support_" in vars(self)

    # Training -------------------------------------------------------------------------------

    def _target_of(self, X: Any, y: Any, sample_weight: Any) -> Target:
        """Return what is learnt from."""
        raise NotImplementedError

    def _problems(self, target: Target) -> list[tuple[Target, Problem]]:
        """Return the machines, each with what its weights are learnt from."""
        raise NotImplementedError

    def _fit(self, X: Any, target: Target) -> None:
        view = self._open(X, target)
        self._keep(view, [self._learn(view, *each) for each in self._problems(target)])

    def _open(self, X: Any, target: Target, whole: bool = True) -> KernelView:
        """Resolve the kernels against training samples, and open them to solvers.

        ``whole`` says that the combined kernel of all samples will be made.
        """
        self.__dict__.pop("support_", None)  # until the end of this fit nothing is fitted
        check_option("solver", self.solver, ("newton", "qp"))
        check_positive("tol", self.tol)
        check_count("max_iter", self.max_iter)
        self._way = get_weighting(self.weighting, target.kind)
        if self._way.form != "linear" and self.center:
            raise ValueError(
                f"weighting={self.weighting!r} multiplies kernels, and center=True is for sums"
            )
        blocks, mask = self._fit_kernels(X)
        scales = self._scales(blocks, mask)
        n = mask.shape[1]
        if self._way.form != "linear" and not mask.all():
            lacking = int((~mask).any(axis=0).sum())
            raise ValueError(
                f"weighting={self.weighting!r} multiplies kernels, and {lacking} samples lack a "
                "modality; use a weighting that adds them"
            )
        self._plan_memory(n, whole or self._way.asks)
        shares = target.weights / target.weights.sum()
        view = KernelView(
            self.kernels_, [blocks[name] for name in self.kernel_modalities_], scales, n,
            shares if self.center else None, self.n_jobs, self._options,
        )  # fmt: skip
        shared = None if self._served else self._shared_store(blocks, scales, self._options)
        if shared is not None:
            view.store = shared
        diagonals = view.diagonal()
        self._check_kernels(view, diagonals)
        if self.normalize == "trace":
            view.factors[:] = _inverse_traces(view, diagonals, shares)
        self._training = (blocks, scales)
        return view

    def _plan_memory(self, n: int, whole: bool) -> None:
        """Choose the numbers' type and what may be kept, so that all fits into the budget."""
        budget = memory_in_bytes(self.memory_budget)
        fits = 8 * n**2 * (1 + COPIES) <= budget
        dtype = self.dtype or (np.float64 if fits or not whole else np.float32)
        self._dtype = np.dtype(dtype)
        size = self._dtype.itemsize * n**2 if whole else 0
        room = (1 - SPARE) * budget
        self._served = size > room and self._can_serve()
        if self._served:
            self._for_copies = room
            self._options = {"dtype": self._dtype, "mode": "recompute"}
            return
        help = "; take fewer samples, a larger memory_budget, or MKLTransformer's features"
        if self._dtype == np.float64:
            help = f"; use dtype='float32'{help}"
        check_budget(f"the combined kernel of {n} samples", size, budget, help)
        room = max(0.0, room - size)
        self._for_copies = min(COPIES * size, room)
        self._options = {"dtype": self._dtype, "memory_budget": room - self._for_copies}

    def _can_serve(self) -> bool:
        """Tell whether machines can do with rows of the combined kernel."""
        return self._way.form == "linear" and self._way.serves

    def _check_kernels(self, view: KernelView, diagonals: Array) -> None:
        """Warn of kernels that say nothing, and refuse those that solvers cannot use."""
        zero = []
        for m, (name, kernel) in enumerate(zip(self.kernel_names_, self.kernels_, strict=True)):
            wrong = np.flatnonzero(~np.isfinite(diagonals[m]))
            if wrong.size:
                raise ValueError(
                    f"kernel {name!r} overflows: k(x, x) of the sample at row {wrong[0]} is not "
                    f"finite; rescale the features of {self.kernel_modalities_[m]!r}"
                )
            largest = float(diagonals[m].max())
            if not _is_trusted(kernel):
                least, largest = _extreme_eigenvalues(view, m)
                if least < -INDEFINITE * max(largest, np.finfo(float).tiny):
                    raise ValueError(self._indefinite(view, name, least, largest))
            if largest == 0:
                zero.append(name)
        if zero:
            warn(f"kernels {listed(zero)} are 0 for every sample, and say nothing")

    def _indefinite(self, view: KernelView, name: str, least: float, largest: float) -> str:
        blind = "center" in self.get_params(deep=False) and view.centre is None
        centre = (
            "take center=True if it is so but for coefficients that sum to 0, " if blind else ""
        )
        return (
            f"kernel {name!r} is not positive semi-definite on the training samples: the smallest "
            f"eigenvalue of its Gram matrix is {least:.3g}, the largest {largest:.3g}; {centre}"
            "repair it with mkfusion.kernels.nearest_psd, or drop it"
        )

    def _learn(
        self,
        view: KernelView,
        target: Target,
        problem: Problem,
        start: MKLSolution | None = None,
    ) -> MKLSolution:
        """Find the weights of the kernels, and the machines at them."""
        options: dict[str, Any] = {
            "task": problem.task, "epsilon": problem.epsilon, "tol": self.tol,
            "max_solves": self.max_iter, "n_threads": thread_count(self.n_jobs),
            "budget": self._for_copies, "dtype": self._dtype,
        }  # fmt: skip
        if self._way.asks:
            _ = view.store  # before the first sum, which would be made from the features
        with _Bar(self.verbose, type(self).__name__) as bar:
            if self._way.weights is None:
                if self.solver == "qp":
                    start = self._conic(view, problem)
                kernels = ViewOnDemand(view) if self._served else view
                return solve_mkl(
                    kernels, problem.Y, problem.costs, norm=self.norm, start=start, callback=bar,
                    **options,
                )  # fmt: skip
            theta = find_weights(self._way, view, target, self.kernel_names_)
            K: Any = (
                SumOnDemand(view, theta)
                if self._served
                else view.formed(self._way.form, theta, self._dtype)
            )
            solution = solve_mkl(
                FixedKernel(K), problem.Y, problem.costs, callback=bar, **options
            )  # fmt: skip
        return solution._replace(theta=theta)

    def _conic(self, view: KernelView, problem: Problem) -> MKLSolution:
        """Return what a conic solver finds; the search goes on where that is not ``tol``."""
        stack = np.array([view.combine(single) for single in np.eye(view.n_kernels)])
        y = None if problem.task == "one_class" else problem.Y.T
        C = problem.costs[0] if y is None else problem.costs.T
        found = solve_mkl_conic(
            stack, y, C, norm=self.norm, task=problem.task, epsilon=problem.epsilon,
            options=CONIC,
        )  # fmt: skip
        signs = problem.Y if problem.task == "svm" else 1.0
        coef = found.alpha.T.reshape(len(problem.costs), -1) * signs
        return MKLSolution(
            found.theta, coef, np.atleast_1d(found.bias), found.upper, found.lower, found.gap,
            coef, 0, True, np.empty((0, 2)),
        )  # fmt: skip

    def _keep(self, view: KernelView, solutions: Sequence[MKLSolution]) -> None:
        """Store what solutions found: one for all problems, or one for each."""
        many = len(solutions) > 1
        theta = np.array([solution.theta for solution in solutions])
        coef = np.concatenate([solution.coef for solution in solutions])
        bias = np.concatenate([solution.bias for solution in solutions])
        for solution in solutions:
            self._warn_of(solution)
        self._keep_weights(view, theta if many else theta[0])
        self.solution_ = list(solutions) if many else solutions[0]
        self.objective_ = float(sum(solution.objective for solution in solutions))
        self.duality_gap_ = float(sum(solution.gap for solution in solutions))
        self.n_iter_ = max(solution.n_solves for solution in solutions)
        self.history_ = [s.history for s in solutions] if many else solutions[0].history
        spread = view.spread(coef.T).T
        offset = np.zeros(len(coef))
        if view.centre is not None:
            each = theta if many else np.repeat(theta, len(coef), axis=0)
            products = view.store.matvec(spread.T)
            offset = np.einsum("n,mnp,pm->p", view.centre, products, each * view.factors)
        self.intercept_ = bias - offset
        kept = np.flatnonzero(spread.any(axis=0))
        if any(is_gram(kernel) and not is_gram_alone(kernel) for kernel in self.kernels_):
            kept = np.arange(view.n_samples)  # columns are features too
        self.dual_coef_ = spread[:, kept]
        self._keep_samples(kept)

    def _warn_of(self, solution: MKLSolution) -> None:
        if not solution.converged:
            warn_unconverged(
                type(self).__name__, "duality gap relative to the objective",
                solution.gap / (abs(solution.objective) or 1.0), solution.n_solves,
            )  # fmt: skip

    def _keep_weights(self, view: KernelView, theta: Array) -> None:
        self.kernel_weights_ = theta
        self.modality_weights_ = {
            name: theta[..., self._kernels_of(name)].sum(axis=-1)
            for name in dict.fromkeys(self.kernel_modalities_)
        }
        self._factors = view.factors
        self._used_kernels = np.flatnonzero(np.atleast_2d(theta).any(axis=0))

    def _keep_samples(self, kept: Array) -> None:
        """Store what the kernels that have weight see of some training samples."""
        blocks, scales = self._training
        self._support = {
            name: blocks[name][kept]
            for name in dict.fromkeys(self.kernel_modalities_[m] for m in self._used_kernels)
        }
        self._support_scales = None if scales is None else scales[:, kept]
        self.support_ = kept

    def _kernels_of(self, modality: str) -> list[int]:
        return [m for m, name in enumerate(self.kernel_modalities_) if name == modality]

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {key: value for key, value in state.items() if key != "_training"}

    @property
    def combined_kernel_(self) -> Array:
        """The combined kernel of the training samples, made anew each time it is asked for."""
        check_is_fitted(self)
        if not hasattr(self, "_training"):
            raise AttributeError(
                "combined_kernel_ needs the training samples, which are not pickled; fit again, "
                "or use MKLTransformer(weighting=kernel_weights_)"
            )
        if np.ndim(self.kernel_weights_) > 1:
            raise AttributeError("combined_kernel_ is for weights that the classes share")
        return self._kernel_among(*self._training)

    def _kernel_among(self, blocks: Mapping[str, Any], scales: Array | None) -> Array:
        """Return the combined kernel of samples with themselves."""
        used = self._used_kernels
        seen = [blocks[self.kernel_modalities_[m]] for m in used]
        kernels = [self.kernels_[m] for m in used]
        rows = None if scales is None else scales[used]

        def mixed(weights: Array) -> Array:
            return combine(
                kernels, weights[used] * self._factors[used], seen, row_scales=rows,
                n_jobs=self.n_jobs,
            )  # fmt: skip

        return formed(self._way.form, self.kernel_weights_, mixed)


class _Bar:
    """A progress bar over the machines that are solved, with the gap that is left."""

    def __init__(self, verbose: int, title: str) -> None:
        self._bar = tqdm(desc=title, unit="solve", disable=not verbose, leave=verbose > 1)

    def __call__(self, upper: float, lower: float) -> None:
        self._bar.set_postfix(gap=f"{(upper - lower) / (abs(upper) or 1.0):.1e}", refresh=False)
        self._bar.update()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.close()


def _is_trusted(kernel: Kernel) -> bool:
    """Tell whether a kernel is known to be positive semi-definite."""
    given = any(isinstance(leaf, FunctionKernel | Precomputed) for leaf in leaves_of(kernel))
    return kernel.positive_definite and not given


def _extreme_eigenvalues(view: KernelView, m: int) -> tuple[float, float]:
    """Return the smallest and the largest eigenvalue of a kernel."""
    n = view.n_samples
    K = view.combine(np.eye(view.n_kernels)[m])
    with single_blas_thread:
        if n <= FEW:
            values = linalg.eigvalsh(K, overwrite_a=True)
            return float(values[0]), float(values[-1])
        operator = LinearOperator((n, n), matvec=lambda v: K @ v, dtype=np.float64)
        start = np.random.default_rng(0).normal(size=n)
        ends = eigsh(
            operator, 2, which="BE", tol=1e-4, v0=start, ncv=min(n, 60), return_eigenvectors=False
        )
    return float(ends.min()), float(ends.max())


def _inverse_traces(view: KernelView, diagonals: Array, shares: Array) -> Array:
    """Return 1 / the weighted mean of each kernel's diagonal, 0 where that is 0."""
    means = diagonals @ shares
    if view.centre is not None:
        means = means - view.store.quadratic_forms(shares)
    positive = means > 1e-14 * np.abs(diagonals).max(axis=1, initial=0.0)
    return np.divide(1.0, means, out=np.zeros(len(means)), where=positive)


def check_positive(name: str, value: Any) -> float:
    """Return a finite number above 0."""
    number = float(value) if isinstance(value, numbers.Real) else np.nan
    if 0 < number < np.inf and not isinstance(value, bool):
        return number
    raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
