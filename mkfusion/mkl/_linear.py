"""Multiple kernel learning in the primal: linear machines on blocks of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse, special
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_regressor
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._blocks import Block, RowBlocks, open_blocks
from .._contributions import ModalityContributions
from .._dask_blocks import is_dask
from .._parallel import single_blas_thread
from .._parquet_blocks import is_parquet
from .._progress import tqdm
from .._selectors import as_list
from .._validation import (
    as_table,
    check_class_target,
    check_count,
    check_numeric_target,
    check_option,
    listed,
    warn,
    warn_unconverged,
)
from ..modality import MultimodalMixin
from ..solvers import LinearMKLSolution, solve_linear_mkl
from ..solvers._bounds import check_norm
from ..solvers._linear_losses import LOSSES
from ._base import check_positive
from ._linear_rows import BlockedRows, Reader, Survey, side_by_side, survey

__all__ = ["BaseLinearMKL", "LinearMKLClassifier", "LinearMKLRegressor"]

Array = np.ndarray

SAMPLE = 10_000  # rows that a maker of features is fitted on


class _Opened(NamedTuple):
    """Rows to be learnt from, and what is known of them."""

    rows: BlockedRows
    found: Survey
    reader: Reader
    scales: Array


class BaseLinearMKL(MultimodalMixin, BaseEstimator):
    """The part that classifiers and regressors share."""

    _numbers: bool
    loss: str

    features: Any
    norm: float
    C: float
    fit_intercept: bool
    normalize: str | None
    tol: float
    max_iter: int
    n_jobs: int | None
    verbose: int

    coef_: Array
    intercept_: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.features is None
        tags.input_tags.allow_nan = False
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return "coef_" in vars(self)

    def _open(self, X: Any, y: Any, sample_weight: Any) -> _Opened:
        """Open the rows of a table, wherever it is, and look at each once."""
        self.__dict__.pop("coef_", None)  # until the end of this fit nothing is fitted
        check_option("loss", self.loss, list(LOSSES))
        check_option("normalize", self.normalize, ("trace", "cosine", None))
        check_norm(self.norm)
        check_positive("C", self.C)
        check_positive("tol", self.tol)
        check_count("max_iter", self.max_iter)
        table = X
        if is_in_memory(X):
            table = as_table(X, self)
            refuse_names(y=y, sample_weight=sample_weight)
            y = self._check_target(y)
        blocks = open_blocks(table, y, sample_weight, n_jobs=self.n_jobs)
        reader = self._reader(X if is_in_memory(X) else _with_a_row(blocks.head), blocks)
        found = survey(blocks, reader, self._numbers)
        scales = np.ones(len(reader.slices))
        places = reader.places
        squares = found.spread(places) if self.fit_intercept else found.lengths(places)
        if self.normalize == "trace":
            np.divide(1.0, np.sqrt(squares), out=scales, where=squares > 0)
        same = [name for name, own in zip(reader.slices, squares, strict=True) if own == 0]
        if same:
            value = "the same" if self.fit_intercept else "0"
            warn(f"the features of {listed(same)} are {value} for every sample, and say nothing")
        center = found.far(places) if self.fit_intercept else None
        rows = BlockedRows(blocks, reader, self.loss, scales, found, self._costs(found), center)
        return _Opened(rows, found, reader, scales)

    def _reader(self, head: Any, blocks: RowBlocks) -> Reader:
        """Resolve the modalities, and fit what makes features of them."""
        self._read_fit(head)
        columns = {name: as_list(own) for name, own in self._columns.items()}
        cosine = self.normalize == "cosine"
        if self.features is None:
            slices = side_by_side([len(own) for own in columns.values()], list(columns))
            return Reader(columns, None, slices, cosine)
        if not hasattr(self.features, "transform"):
            raise TypeError(
                "features must be a transformer such as ModalityNystroem, or None, got "
                f"{self.features!r}"
            )
        if sparse.issparse(blocks.head):
            raise TypeError(
                "X is sparse, and features are made of dense tables: pass X.toarray(), or "
                "features=None"
            )
        maker = clone(self.features)
        if self.modalities is not None and "modalities" in maker.get_params(deep=False):
            maker.set_params(modalities=self.modalities)
        parts = blocks.map(_some_rows, max(1, SAMPLE // max(1, len(blocks.names))))
        parts = [part for part in parts if part.shape[0]]
        if not parts:
            raise ValueError("X has no rows; nothing can be learnt from it")
        whole = pd.concat(parts) if isinstance(parts[0], pd.DataFrame) else np.concatenate(parts)
        with single_blas_thread:
            maker.fit(whole)
        return Reader(columns, maker, _slices_of(maker), cosine)

    def _solve(
        self, opened: _Opened, C: float, norm: float, start: LinearMKLSolution | None = None
    ) -> LinearMKLSolution:
        """Learn machines and weights."""
        bar = tqdm(
            desc=type(self).__name__, unit="pass", disable=not self.verbose,
            leave=self.verbose > 1,
        )  # fmt: skip

        def told(upper: float, lower: float) -> None:
            bar.set_postfix(gap=f"{(upper - lower) / (abs(upper) or 1.0):.1e}", refresh=False)
            bar.update()

        with bar:
            return solve_linear_mkl(
                opened.rows, C, norm=norm, intercept=self.fit_intercept, tol=self.tol,
                max_passes=self.max_iter, start=start, callback=told,
            )  # fmt: skip

    def _warn_of(self, solution: LinearMKLSolution) -> None:
        if not solution.converged:
            warn_unconverged(
                type(self).__name__, "duality gap relative to the objective",
                solution.gap / (abs(solution.objective) or 1.0), solution.n_passes,
            )  # fmt: skip

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        opened = self._open(X, y, sample_weight)
        solution = self._solve(opened, self.C, self.norm)
        self._warn_of(solution)
        self._keep(opened, solution)

    def _keep(self, opened: _Opened, solution: LinearMKLSolution) -> None:
        slices = opened.reader.slices
        self._known_reader = opened.reader
        self.features_ = opened.reader.features
        self.coef_slices_ = dict(slices)
        self.kernel_names_ = list(slices)
        own = getattr(self.features_, "kernel_modalities_", None)
        names = getattr(self.features_, "kernel_names_", None)
        self.kernel_modalities_ = (
            [own[names.index(name)] for name in slices] if own and names else list(slices)
        )
        self.kernel_weights_ = solution.theta
        self.modality_weights_: dict[str, float] = {}
        for name, weight in zip(self.kernel_modalities_, solution.theta, strict=True):
            self.modality_weights_[name] = self.modality_weights_.get(name, 0.0) + float(weight)
        self.scales_ = dict(zip(slices, opened.scales.tolist(), strict=True))
        self.objective_, self.duality_gap_ = solution.objective, solution.gap
        self.n_iter_, self.history_ = solution.n_passes, solution.history
        self.solution_ = solution
        coef = (opened.rows.by_feature[:, None] * solution.coef).T
        center = opened.rows.task.center
        self.intercept_ = solution.intercept - (0.0 if center is None else coef @ center)
        self.coef_ = coef

    # New samples ----------------------------------------------------------------------------

    def _features_of(self, X: Any) -> tuple[Any, Array]:
        check_is_fitted(self)
        if not is_in_memory(X):
            raise TypeError(
                f"X is a {type(X).__name__}, and new samples are decided in memory; "
                "mkfusion.distributed.predict_in_blocks does it by partitions, of Parquet those "
                "of dask.dataframe.read_parquet"
            )
        table = self._read(X)
        Z, mask = self._known_reader.read(table)
        silent = int((~mask.any(axis=0)).sum())
        if silent and self.features_ is None:  # else its maker warns
            warn(
                f"{silent} of {mask.shape[1]} samples have no modality; nothing is known of them "
                "but the intercept"
            )
        return Z, mask

    def _decide(self, X: Any) -> Array:
        """Return the decisions of the machines, of shape (n_samples, n_outputs)."""
        Z, _ = self._features_of(X)
        with single_blas_thread:
            return Z @ np.atleast_2d(self.coef_).T + self.intercept_

    def _contributions(self, X: Any, names: Any) -> ModalityContributions:
        Z, _ = self._features_of(X)
        modalities = list(self.modality_weights_)
        coef = np.atleast_2d(self.coef_)
        parts = np.zeros((Z.shape[0], len(modalities), len(coef)))
        with single_blas_thread:
            for name, own in zip(self.kernel_modalities_, self.coef_slices_.values(), strict=True):
                parts[:, modalities.index(name)] += Z[:, own] @ coef[:, own].T
        base = np.repeat(np.atleast_1d(self.intercept_)[None], len(parts), axis=0)
        scale = "prediction" if is_regressor(self) else "decision value"
        return ModalityContributions(
            parts, base, base + parts.sum(axis=1), modalities, np.asarray(names), scale
        )

    def _check_target(self, y: Any) -> Any:
        raise NotImplementedError

    def _costs(self, found: Survey) -> Any:
        raise NotImplementedError


def is_in_memory(X: Any) -> bool:
    """Tell whether X is a table as scikit-learn knows it, and not one that is read by blocks."""
    return not is_dask(X) and not is_parquet(X)


def refuse_names(**given: Any) -> None:
    """Refuse names of columns where X is in memory, and what they name is at hand."""
    for name, values in given.items():
        if isinstance(values, str):
            raise ValueError(
                f"{name}={values!r} would be a column of a Dask DataFrame or of Parquet; of a "
                f"table in memory pass the column itself, and X without it"
            )


def _with_a_row(head: Any) -> Any:
    """Return a table with the columns and dtypes of another, and at least one row."""
    if head.shape[0]:
        return head
    if not isinstance(head, pd.DataFrame):
        return np.zeros((1, head.shape[1]), head.dtype)
    return head.reindex([0]).astype(
        {name: dtype for name, dtype in head.dtypes.items() if dtype.kind == "f"}
    )


def _some_rows(block: Block, count: int) -> Any:
    """Return rows of a block, evenly spread."""
    n = block.X.shape[0]
    chosen = np.unique(np.linspace(0, max(0, n - 1), min(n, count)).astype(int))
    return block.X.iloc[chosen] if isinstance(block.X, pd.DataFrame) else block.X[chosen]


def _slices_of(maker: Any) -> dict[str, slice]:
    """Return where the features of each block stand: by their maker, or by their prefixes."""
    known = getattr(maker, "output_slices_", None)
    if known is not None:
        return dict(known)
    prefixes = [str(name).split("__", 1)[0] for name in maker.get_feature_names_out()]
    names = list(dict.fromkeys(prefixes))
    widths = [prefixes.count(name) for name in names]
    if prefixes != [name for name, width in zip(names, widths, strict=True) for _ in range(width)]:
        raise ValueError(
            f"features of one modality must stand side by side; {type(maker).__name__} gives "
            f"{listed(prefixes)}"
        )
    return side_by_side(widths, names)


class LinearMKLClassifier(ClassifierMixin, BaseLinearMKL):
    r"""Linear machines on blocks of features, one per modality, whose weights are learnt too.

    .. math:: \min_{W, b, \theta} \; \tfrac12 \sum_m \|W_m\|^2 / \theta_m
        + C \sum_{i, c} s_i \, l(y_{ic}, f_c(x_i)), \qquad f(x) = b + \sum_m W_m' z_m(x)

    with :math:`\theta \ge 0, \|\theta\|_p \le M^{1/p - 1}` shared by all classes: multiple kernel
    learning with linear kernels, in the primal, whose cost grows with the rows and not with their
    square. With ``features`` the blocks approximate other kernels. Of more than two classes each
    is learnt against the rest.

    Where a sample lacks a modality :math:`z_m` is 0, and what it has is divided by the root of the
    share of the modalities that it has, as :class:`ModalityKernels` does it.

    Rows are summed over in blocks, some ten times in all, so that they need not fit into memory: X
    may be an array, also memory-mapped, a sparse matrix, a DataFrame, a Dask Array or DataFrame
    (on the current client of a cluster), or a Parquet data set.

    Parameters
    ----------
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    features : transformer, default=None
        What makes features of the modalities, with their names as prefixes: a
        :class:`ModalityNystroem` or :class:`ModalityFourierFeatures`. It is fitted on at most
        10,000 rows, evenly spread over the blocks. None takes the columns as they are.
    loss : {"logistic", "squared_hinge", "squared"}, default="logistic"
        ``log(1 + exp(-y f))``, ``max(0, 1 - y f)^2`` or ``(y - f)^2``, y being -1 or 1.
    norm : float, default=1
        p, from 1 to infinity: 1 can leave modalities out, infinity weighs them all alike.
    C : float, default=1.0
        The weight of the losses; of each sample.
    fit_intercept : bool, default=True
        Learn b, which is not penalised; else it is 0.
    normalize : {"trace", "cosine", None}, default="trace"
        Divide each block by the root of its mean squared length over the training samples (about
        their mean, where there is an intercept), or what each sample has of it by its length.
    class_weight : dict or "balanced", default=None
        What multiplies C by class.
    tol : float, default=1e-3
        The duality gap at which to stop, relative to the objective.
    max_iter : int, default=100
        The most passes over the rows for a machine.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Blocks that are worked on at a time, through joblib; Dask ignores it. No result depends
        on it.
    verbose : int, default=0
        Above 0 a progress bar shows the gap that is left.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    kernel_weights_ : ndarray of shape (n_blocks,)
        theta, in the order of ``kernel_names_``.
    modality_weights_ : dict of str to float
        The sum of the weights of each modality's blocks.
    coef_ : ndarray of shape (1 or n_classes, n_features_joined)
        Of the features as they come, scales included; for "cosine" of those of length 1.
    coef_slices_ : dict of str to slice
        Where the coefficients of each block stand.
    intercept_ : ndarray of shape (1 or n_classes,)
    scales_ : dict of str to float
        What each block was multiplied by.
    kernel_names_, kernel_modalities_ : list of str
        The blocks, and the modality of each.
    features_ : transformer or None
        The fitted ``features``.
    objective_ : float
        The upper bound of the optimum.
    duality_gap_ : float
        What it lies above the lower bound.
    n_iter_ : int
        Passes over the rows for a machine.
    history_ : ndarray of shape (n_iter, 2)
        The upper and the lower bound of every pass.
    solution_ : LinearMKLSolution
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        For one class, a sample without any modality, features that are not finite (with the block
        of rows that has them), and parameters out of range.

    Warns
    -----
    ConvergenceWarning
        If the gap is not reached, with the gap that is left.

    See Also
    --------
    MKLClassifier : The same with kernels, for some ten thousand rows.

    References
    ----------
    Bach, Lanckriet, Jordan (2004), Multiple kernel learning, conic duality, and the SMO algorithm,
    section 2.2. Kloft, Brefeld, Sonnenburg, Zien (2011), lp-norm multiple kernel learning, eq.
    (4).

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.mkl import LinearMKLClassifier
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> fusion = LinearMKLClassifier().fit(X[::5], y[::5])
    >>> bool(fusion.score(X[1::5], y[1::5]) > 0.95)
    True
    >>> bool(fusion.duality_gap_ <= 1e-3 * fusion.objective_)
    True
    """

    missing_modality = "skips"
    _numbers = False

    def __init__(
        self,
        modalities: Mapping[str, Any] | None = None,
        *,
        features: Any = None,
        loss: str = "logistic",
        norm: float = 1,
        C: float = 1.0,
        fit_intercept: bool = True,
        normalize: str | None = "trace",
        class_weight: Any = None,
        tol: float = 1e-3,
        max_iter: int = 100,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.features = features
        self.loss = loss
        self.norm = norm
        self.C = C
        self.fit_intercept = fit_intercept
        self.normalize = normalize
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Learn the weights and the machines.

        Parameters
        ----------
        X : DataFrame, array, sparse matrix, Dask collection, or Parquet data set or path
            Of shape (n_samples, n_features). A modality that is NaN in all its columns is missing
            for the sample: it counts nothing, and the others more.
        y : array-like of shape (n_samples,), or str
            Class labels. For Dask also a collection that is divided as X; for a Dask DataFrame or
            Parquet also the name of a column, which then is no feature.
        sample_weight : array-like of shape (n_samples,) or str, default=None
            What multiplies C.

        Returns
        -------
        self : object
        """
        self._fit(X, y, sample_weight)
        return self

    def _check_target(self, y: Any) -> Any:
        return check_class_target(y)

    def _costs(self, found: Survey) -> Array:
        """Return what each class multiplies C by."""
        if len(found.classes) < 2:
            raise ValueError(
                f"y has one class ({listed(found.classes)}); a classifier needs at least two "
                "classes"
            )
        costs = class_costs(self.class_weight, found.classes, found.weights)
        self._counted = np.flatnonzero(costs * found.weights > 0)
        if len(self._counted) < 2:
            raise ValueError(
                f"of the classes {listed(found.classes)} sample_weight and class_weight leave "
                f"{listed(found.classes[self._counted])}; a classifier needs at least two classes"
            )
        self.classes_ = found.classes
        return costs

    def decision_function(self, X: Any) -> Array:
        """Return how far samples lie on the side of each class.

        Parameters
        ----------
        X : DataFrame, array or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        decisions : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of two classes the second's.
        """
        decisions = self._decide(X)
        return decisions[:, 0] if len(self.classes_) == 2 else decisions

    def predict(self, X: Any) -> Array:
        """Predict the class with the largest decision, of those whose samples had weight.

        Parameters
        ----------
        X : DataFrame, array or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        decisions = self.decision_function(X)
        if decisions.ndim == 1:
            return self.classes_[(decisions > 0).astype(int)]
        return self.classes_[self._counted[decisions[:, self._counted].argmax(axis=1)]]

    @available_if(lambda self: self.loss == "logistic")
    def predict_proba(self, X: Any) -> Array:
        """Return probabilities: those of each class against the rest, divided by their sum.

        Parameters
        ----------
        X : DataFrame, array or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Only for ``loss="logistic"``.
        """
        decisions = self._decide(X)
        if len(self.classes_) == 2:
            second = special.expit(decisions[:, 0])
            return np.column_stack([special.expit(-decisions[:, 0]), second])
        logs = special.log_expit(decisions)
        logs[:, np.setdiff1d(np.arange(len(self.classes_)), self._counted)] = -np.inf
        return special.softmax(logs, axis=1)

    @available_if(lambda self: self.loss == "logistic")
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities.

        Parameters
        ----------
        X : DataFrame, array or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        logs : ndarray of shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def modality_contributions(self, X: Any) -> ModalityContributions:
        """Return what each modality adds to each decision.

        Parameters
        ----------
        X : DataFrame, array or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        contributions : ModalityContributions
            They and the base, which is the intercept, add up to ``decision_function``; of two
            classes the second's.
        """
        check_is_fitted(self)
        return self._contributions(
            X, self.classes_[1:] if len(self.classes_) == 2 else self.classes_
        )


def class_costs(class_weight: Any, classes: Array, weights: Array) -> Array:
    """Return the weight of each class, from the summed weights of their samples."""
    seen = weights > 0
    if class_weight is None:
        costs = np.ones(len(classes))
    elif isinstance(class_weight, str) and class_weight == "balanced":
        costs = np.divide(
            weights.sum() / max(1, seen.sum()), weights, out=np.zeros(len(classes)), where=seen
        )
    elif isinstance(class_weight, Mapping):
        unknown = [label for label in class_weight if label not in classes.tolist()]
        if unknown:
            raise ValueError(
                f"class_weight names {listed(unknown)}, which are no classes of y; they are "
                f"{listed(classes)}"
            )
        costs = np.array([class_weight.get(label, 1.0) for label in classes.tolist()], float)
    else:
        raise ValueError(f"class_weight must be a dict, 'balanced' or None, got {class_weight!r}")
    wrong = np.flatnonzero(~((costs >= 0) & np.isfinite(costs)))
    if wrong.size:
        raise ValueError(
            f"class_weight must be finite and not negative, got {costs[wrong[0]]} for class "
            f"{listed(classes[wrong[:1]])}"
        )
    return np.where(seen, costs, 0.0)


class LinearMKLRegressor(RegressorMixin, BaseLinearMKL):
    r"""Ridge regression on blocks of features, one per modality, whose weights are learnt too.

    .. math:: \min_{W, b, \theta} \; \tfrac12 \sum_m \|W_m\|^2 / \theta_m
        + C \sum_i s_i \, \|y_i - f(x_i)\|^2, \qquad f(x) = b + \sum_m W_m' z_m(x)

    with :math:`\theta \ge 0, \|\theta\|_p \le M^{1/p - 1}`: multiple kernel learning with linear
    kernels, in the primal. For p = 1 it is the group lasso, squared. The rows are summed over four
    times, wherever they are, and a modality that a sample lacks counts nothing: see
    :class:`LinearMKLClassifier`.

    Parameters
    ----------
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    features : transformer, default=None
        What makes features of the modalities, with their names as prefixes: a
        :class:`ModalityNystroem` or :class:`ModalityFourierFeatures`. It is fitted on at most
        10,000 rows, evenly spread over the blocks. None takes the columns as they are.
    norm : float, default=1
        p, from 1 to infinity: 1 can leave modalities out, infinity weighs them all alike.
    C : float, default=1.0
        The weight of the losses; 1 / (2 lambda) of ridge regression.
    fit_intercept : bool, default=True
        Learn b, which is not penalised; else it is 0.
    normalize : {"trace", "cosine", None}, default="trace"
        Divide each block by the root of its mean squared length over the training samples (about
        their mean, where there is an intercept), or what each sample has of it by its length.
    tol : float, default=1e-3
        The duality gap at which to stop, relative to the objective.
    max_iter : int, default=100
        The most passes over the rows for a machine.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Blocks that are worked on at a time, through joblib; Dask ignores it. No result depends
        on it.
    verbose : int, default=0
        Above 0 a progress bar shows the gap that is left.

    Attributes
    ----------
    kernel_weights_ : ndarray of shape (n_blocks,)
        theta, in the order of ``kernel_names_``.
    modality_weights_ : dict of str to float
        The sum of the weights of each modality's blocks.
    coef_ : ndarray of shape (n_features_joined,) or (n_outputs, n_features_joined)
        Of the features as they come, scales included; for "cosine" of those of length 1.
    coef_slices_ : dict of str to slice
        Where the coefficients of each block stand.
    intercept_ : float or ndarray of shape (n_outputs,)
    scales_ : dict of str to float
        What each block was multiplied by.
    kernel_names_, kernel_modalities_ : list of str
        The blocks, and the modality of each.
    features_ : transformer or None
        The fitted ``features``.
    objective_ : float
        The upper bound of the optimum.
    duality_gap_ : float
        What it lies above the lower bound.
    n_iter_ : int
        Passes over the rows for a machine.
    history_ : ndarray of shape (n_iter, 2)
        The upper and the lower bound of every pass.
    solution_ : LinearMKLSolution
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        For a sample without any modality, features that are not finite (with the block of rows
        that has them), and parameters out of range.

    Warns
    -----
    ConvergenceWarning
        If the gap is not reached, with the gap that is left.

    See Also
    --------
    MKLRegressor : The same with kernels, for some ten thousand rows.

    References
    ----------
    Bach, Lanckriet, Jordan (2004), Multiple kernel learning, conic duality, and the SMO algorithm,
    section 2.2. Kloft, Brefeld, Sonnenburg, Zien (2011), lp-norm multiple kernel learning, eq.
    (4).

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.mkl import LinearMKLRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 4))
    >>> y = X[:, 0] + 0.1 * rng.normal(size=200)
    >>> fusion = LinearMKLRegressor({"signal": [0, 1], "noise": [2, 3]}).fit(X, y)
    >>> {name: round(weight, 2) for name, weight in fusion.modality_weights_.items()}
    {'signal': 1.0, 'noise': 0.0}
    """

    missing_modality = "skips"
    _numbers = True
    loss = "squared"

    def __init__(
        self,
        modalities: Mapping[str, Any] | None = None,
        *,
        features: Any = None,
        norm: float = 1,
        C: float = 1.0,
        fit_intercept: bool = True,
        normalize: str | None = "trace",
        tol: float = 1e-3,
        max_iter: int = 100,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.features = features
        self.norm = norm
        self.C = C
        self.fit_intercept = fit_intercept
        self.normalize = normalize
        self.tol = tol
        self.max_iter = max_iter
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Learn the weights and the machine.

        Parameters
        ----------
        X : DataFrame, array, sparse matrix, Dask collection, or Parquet data set or path
            Of shape (n_samples, n_features). A modality that is NaN in all its columns is missing
            for the sample: it counts nothing, and the others more.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or str
            For Dask also a collection that is divided as X; for a Dask DataFrame or Parquet also
            the name of a column, which then is no feature.
        sample_weight : array-like of shape (n_samples,) or str, default=None
            What multiplies C.

        Returns
        -------
        self : object
        """
        self._fit(X, y, sample_weight)
        return self

    def _keep(self, opened: _Opened, solution: LinearMKLSolution) -> None:
        super()._keep(opened, solution)
        if len(self.coef_) == 1:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])

    def _check_target(self, y: Any) -> Any:
        return check_numeric_target(y)

    def _costs(self, found: Survey) -> None:
        return None

    def predict(self, X: Any) -> Array:
        """Predict numbers.

        Parameters
        ----------
        X : DataFrame, array or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        values : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        values = self._decide(X)
        return values[:, 0] if np.ndim(self.coef_) == 1 else values

    def modality_contributions(self, X: Any) -> ModalityContributions:
        """Return what each modality adds to each prediction.

        Parameters
        ----------
        X : DataFrame, array or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        contributions : ModalityContributions
            They and the base, which is the intercept, add up to ``predict``.
        """
        check_is_fitted(self)
        return self._contributions(X, np.arange(len(np.atleast_2d(self.coef_))))
