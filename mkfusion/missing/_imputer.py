"""Missing modalities completed from those that are present."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from .._memory import check_budget, memory_in_bytes
from .._parallel import single_blas_thread
from .._selectors import as_list
from .._validation import check_option, listed, warn, warn_unconverged
from ..modality import MultimodalMixin, presence
from ._blocks import fill_entries, missing_entries, refuse_sparse, table_numbers
from ._moments import (
    canonical_regression,
    fit_moments,
    gaussian_conditional,
    penalised_conditional,
    probabilistic_components,
    rank_above_noise,
    regression,
    residual_covariance,
    unique_patterns,
)

__all__ = ["ModalityImputer"]

Array = np.ndarray

METHODS = ("conditional", "ridge", "cca", "low_rank", "knn")
INDICATOR = "missing"


class ModalityImputer(MultimodalMixin, TransformerMixin, BaseEstimator):
    r"""Complete the modalities that a sample lacks from those that it has.

    .. math:: \hat y = \mu_y + B^\top (x - \mu_x), \qquad
        B = \Sigma_{xx}^{-1} \Sigma_{xy} \quad (\text{conditional})

    for a sample whose present columns are x and whose missing ones are y: the conditional mean
    of a Gaussian. Columns are standardised first, and B is solved once for every pattern of
    availability. Entries of present modalities stay as they are, to the last bit.

    Parameters
    ----------
    method : {"conditional", "ridge", "cca", "low_rank", "knn"}, default="conditional"
        How B is found.

        * "conditional": as above, the covariance shrunk towards a multiple of the identity.
        * "ridge": :math:`B = (\Sigma_{xx} + \alpha / n\, I)^{-1} \Sigma_{xy}`, the ridge
          regression with penalty ``alpha`` on n samples.
        * "cca": the conditional mean by the first ``n_components`` pairs of canonical variates
          of x and y.
        * "low_rank": all modalities are views of one subspace of ``n_components`` dimensions
          with one Gaussian distribution, seen through noise of equal strength. Without noise,
          what lies in the subspace is recovered exactly where x determines it.
        * "knn": the mean over the ``n_neighbors`` training samples that have y and are nearest
          in the modalities that are present in both; each modality counts alike in the distance.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    shrinkage : "ledoit_wolf" or float, default="ledoit_wolf"
        Of "conditional" and "cca": the weight, from 0 to 1, of the identity. Ledoit's and Wolf's
        estimate is made on the training samples that have all modalities; its numerator, a
        variance, is divided by how many times more samples see two columns together on average.
    alpha : float, default=1.0
        The penalty of "ridge".
    n_components : int, default=None
        Of "cca" and "low_rank". None is all pairs for "cca", which is the conditional mean, and
        for "low_rank" the singular values that stand above Gavish's and Donoho's threshold for
        noise of unknown level; that finds any rank below half the number of columns.
    n_neighbors : int, default=5
        Of "knn".
    sample_posterior : bool, default=False
        Draw from the Gaussian of y given x (for "knn", one of the neighbours) in place of its
        mean: for multiple imputation, with other values of ``random_state`` for the draws. It
        may be set after the fit.
    add_indicator : bool, default=False
        Add a column ``missing__name`` for each modality that was missing for a sample at fit:
        1 where it is missing.
    max_iter : int, default=100
        The most steps of expectation maximisation, which finds the moments where training
        samples lack modalities.
    tol : float, default=1e-3
        The change of the moments of standardised columns at which to stop.
    random_state : int, RandomState or None, default=None
        Of the draws; read when they are made.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.

    Attributes
    ----------
    location_ : ndarray of shape (n_columns,)
        The means of the columns, in the order of X.
    covariance_ : ndarray of shape (n_columns, n_columns)
        In the units of X, shrunk or of low rank; not for "knn".
    shrinkage_ : float
        The shrinkage in use, of "conditional" and "cca".
    n_components_ : int
        The dimensions of the subspace, of "low_rank".
    n_iter_ : int
        Steps of expectation maximisation; 1 if no training sample lacked a modality.
    converged_ : bool
    indicator_modalities_ : list of str
        The modalities that were missing for a sample at fit.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a column holds text, dates or infinity, or no sample has any modality.

    Warns
    -----
    UserWarning
        If a modality is missing for every sample at fit, whose columns are left out; or samples
        have no modality, which get the means.
    ConvergenceWarning
        If the moments still change by more than ``tol``.

    See Also
    --------
    mkfusion.LateFusionClassifier : Leaves absent modalities out, and imputes nothing.

    Notes
    -----
    A few NaN inside a present modality stay NaN: they are the business of the modality's own
    models (``SimpleImputer`` before or after this fills them). They count as the column's mean
    where they stand among x. Constant columns are completed with their constant. There may be
    more columns than samples: shrinkage, penalty or low rank make the solution unique, and without
    them it is the one of least norm. Draws do not show how uncertain the moments are. Columns of
    whole numbers or truth values become floats where they are completed.

    References
    ----------
    Little, Rubin (2019), "Statistical analysis with missing data", 3rd edition, section 11.2, for
    the moments.
    Ledoit, Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 88(2), equation (14).
    Zhang, Zhao, Zhu, Shen, Ji (2018), "Multi-view missing data completion", IEEE TKDE 30(7), from
    which "low_rank" takes the shared subspace and the identical distribution; Tipping, Bishop
    (1999), "Probabilistic principal component analysis", JRSS B 61(3), equation (7), for its fit;
    Gavish, Donoho (2014), "The optimal hard threshold for singular values is 4/sqrt(3)", IEEE
    Transactions on Information Theory 60(8), equation (5), for its rank.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from mkfusion import ModalityImputer
    >>> X = pd.DataFrame({"audio__pitch": [1.0, 2, 3, 4], "video__hue": [2.0, 4, 6, np.nan]})
    >>> ModalityImputer("low_rank", n_components=1).fit_transform(X).round(6)
       audio__pitch  video__hue
    0           1.0         2.0
    1           2.0         4.0
    2           3.0         6.0
    3           4.0         8.0
    """

    missing_modality = "imputes"

    def __init__(
        self,
        method: str = "conditional",
        modalities: Mapping[str, Any] | None = None,
        *,
        shrinkage: Any = "ledoit_wolf",
        alpha: float = 1.0,
        n_components: int | None = None,
        n_neighbors: int = 5,
        sample_posterior: bool = False,
        add_indicator: bool = False,
        max_iter: int = 100,
        tol: float = 1e-3,
        random_state: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
    ) -> None:
        self.method = method
        self.modalities = modalities
        self.shrinkage = shrinkage
        self.alpha = alpha
        self.n_components = n_components
        self.n_neighbors = n_neighbors
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.remainder = remainder
        self.allow_overlap = allow_overlap

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Any:
        """Learn how modalities go together, from samples that have some of them.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            A modality that is NaN in all its columns is missing for the sample.
        y : ignored

        Returns
        -------
        self : object
        """
        self._check_parameters()
        table = self._read_fit(X)
        refuse_sparse(table, "zeros are no missing values")
        there = dict(zip(self._columns, presence(table, self._columns), strict=True))
        never = [name for name, rows in there.items() if not rows.any()]
        if len(never) == len(there):
            raise ValueError(
                f"modalities {listed(never)} are missing for every sample: there is nothing to "
                "learn from"
            )
        if never:
            warn(f"modalities {listed(never)} are missing for every sample and are left out")
        self._used = {name: own for name, own in self._columns.items() if name not in never}
        self._kept = sorted({j for own in self._used.values() for j in as_list(own)})
        self.indicator_modalities_ = [name for name in self._used if not there[name].all()]
        self._refuse_taken_names(table)
        values = table_numbers(table, self._used)
        lost = missing_entries(there, self._used)
        heard: Array = np.asarray(~lost.all(axis=1))
        self._standardise(values)
        known = self._standard(values)
        with single_blas_thread:
            if self.method == "knn":
                self._fit_neighbours(values[heard], known[heard], lost[heard], there, heard)
            else:
                self._fit_moments(known[heard], ~lost[heard])
        return self

    def _check_parameters(self) -> None:
        check_option("method", self.method, METHODS)
        given = self.shrinkage
        if not (isinstance(given, str) and given == "ledoit_wolf") and not (
            _is_real(given) and 0 <= given <= 1
        ):
            raise ValueError(
                f"shrinkage must be 'ledoit_wolf' or a number from 0 to 1, got {given!r}"
            )
        if not _is_real(self.alpha) or not 0 <= self.alpha < np.inf:
            raise ValueError(f"alpha must be a number of at least 0, got {self.alpha!r}")
        if not _is_real(self.tol) or not 0 <= self.tol < np.inf:
            raise ValueError(f"tol must be a number of at least 0, got {self.tol!r}")
        for name in ("n_components", "n_neighbors", "max_iter"):
            value = getattr(self, name)
            if name == "n_components" and value is None:
                continue
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")

    def _refuse_taken_names(self, table: Any) -> None:
        if not self.add_indicator or not isinstance(table, pd.DataFrame):
            return
        taken = [name for name in self._indicator_names() if name in table.columns]
        if taken:
            raise ValueError(
                f"X has columns {listed(taken)} already, which add_indicator=True would add; "
                "rename them"
            )

    def _indicator_names(self) -> list[str]:
        return [f"{INDICATOR}__{name}" for name in self.indicator_modalities_]

    # Columns on one scale

    def _standardise(self, values: Array) -> None:
        """Learn means and deviations from the entries that are there."""
        observed = ~np.isnan(values)
        counts = observed.sum(axis=0)
        clean = np.where(observed, values, 0.0)
        self._largest = np.abs(clean).max(axis=0, initial=0.0)  # or squares would overflow
        self._largest[self._largest == 0] = 1.0
        clean = clean / self._largest
        with np.errstate(invalid="ignore"):
            mean = clean.sum(axis=0) / counts
        deviations = np.where(observed, clean - mean, 0.0)
        spread = np.sqrt(np.square(deviations).sum(axis=0) / np.maximum(counts, 1))
        # A constant's deviations are rounding.
        spread[spread <= 10 * np.finfo(np.float64).eps * np.abs(np.nan_to_num(mean))] = 1.0
        self._mean, self._spread = mean, np.where(spread > 0, spread, 1.0)

    def _standard(self, values: Array) -> Array:
        """Return standardised columns, with 0 for what is missing."""
        return np.nan_to_num((values / self._largest - self._mean) / self._spread, nan=0.0)

    def _in_units(self, standard: Array) -> Array:
        largest = np.finfo(np.float64).max
        with np.errstate(over="ignore"):
            found = (standard * self._spread + self._mean) * self._largest
        return np.clip(found, -largest, largest)

    # The Gaussian

    def _fit_moments(self, known: Array, mask: Array) -> None:
        n_samples, width = known.shape
        check_budget(
            f"the covariance of {width} columns",
            4 * 8.0 * width**2,
            memory_in_bytes(None),
            "; method='knn' needs none",
        )
        whole = mask.all(axis=1)
        blockwise = whole.sum() < 2
        complete = known if blockwise else known[whole]
        mean = complete.mean(axis=0)
        start = (complete - mean).T @ (complete - mean) / len(complete)
        if blockwise and not whole.all():
            start = self._within_modalities(known, mask)
            mean = np.zeros(width)
        structure = self._structure(start, complete, mask)
        conditional: Any = gaussian_conditional
        self._regress: Any = regression
        if self.method == "ridge":
            penalty = self.alpha / n_samples
            conditional = partial(penalised_conditional, penalty=penalty)
            self._regress = partial(regression, penalty=penalty)
        found = fit_moments(
            known,
            mask,
            structure=structure,
            conditional=conditional,
            start=(mean, structure(start)),
            max_iter=self.max_iter,
            tol=self.tol,
        )
        if self.method == "cca":
            self._regress = partial(canonical_regression, n_components=self.n_components)
        if not found.converged:
            warn_unconverged(
                type(self).__name__, "change of the moments", found.change, found.n_iter
            )
        self._moments = found
        self.n_iter_, self.converged_ = found.n_iter, found.converged
        self.location_ = self._in_units(found.mean)
        units = self._spread * self._largest
        with np.errstate(over="ignore"):
            self.covariance_ = found.covariance * units * units[:, None]

    def _within_modalities(self, known: Array, mask: Array) -> Array:
        """Return the covariance with nothing said across modalities."""
        places = {j: k for k, j in enumerate(self._kept)}
        start = np.zeros((known.shape[1],) * 2)
        for own in self._used.values():
            at = np.array([places[j] for j in as_list(own)])
            rows = known[np.ix_(mask[:, at].all(axis=1), at)]
            start[np.ix_(at, at)] = rows.T @ rows / len(rows)
        return start

    def _structure(self, start: Array, complete: Array, mask: Array) -> Any:
        """Return what is laid on every covariance."""
        if self.method == "low_rank":
            rank = self.n_components or rank_above_noise(start, len(complete))
            self.n_components_ = min(int(rank), len(start))
            return partial(probabilistic_components, n_components=self.n_components_)
        if self.method == "ridge":
            return _as_it_is
        from sklearn.covariance import ledoit_wolf_shrinkage

        given = self.shrinkage
        if isinstance(given, str):
            # One row has no covariance, and leaves nothing to shrink.
            given = ledoit_wolf_shrinkage(complete) if len(complete) > 1 else 0.0
            # Its numerator is a variance: smaller by the samples that see two columns together.
            ratio = len(complete) / (mask.T.astype(float) @ mask).mean()
            given = ratio * given / (1 - given + ratio * given)
        self.shrinkage_ = float(given)
        return partial(_shrunk, shrinkage=self.shrinkage_)

    # The neighbours

    def _fit_neighbours(
        self,
        values: Array,
        known: Array,
        lost: Array,
        there: Mapping[str, Array],
        heard: Array,
    ) -> None:
        places = {j: k for k, j in enumerate(self._kept)}
        self._places = {
            name: np.array([places[j] for j in as_list(own)]) for name, own in self._used.items()
        }
        self._balance = np.ones(known.shape[1])
        for at in self._places.values():
            self._balance[at] = 1 / np.sqrt(len(at))
        self._donors = np.where(lost, np.nan, known * self._balance)
        self._donated = values
        self._has = {name: there[name][heard] for name in self._used}
        self.location_ = self._in_units(np.zeros(known.shape[1]))
        self.n_iter_, self.converged_ = 1, True

    def _from_neighbours(self, known: Array, present: list[str], rng: Any) -> Array:
        """Return what the nearest donors have, of samples with these modalities."""
        from sklearn.neighbors import NearestNeighbors

        filled = np.tile(self.location_, (len(known), 1))
        seen = np.array([j for name in present for j in self._places[name]], dtype=np.intp)
        met = np.any([self._has[name] for name in present], axis=0) if present else None
        for name in (name for name in self._used if name not in present):
            at = self._places[name]
            donors = np.flatnonzero(self._has[name] & met if present else self._has[name])
            if not len(donors) or not (present or self.sample_posterior):
                continue
            count = min(self.n_neighbors, len(donors))
            if present:
                search = NearestNeighbors(n_neighbors=count, metric="nan_euclidean")
                search.fit(self._donors[np.ix_(donors, seen)])
                near = search.kneighbors(
                    known[:, seen] * self._balance[seen], return_distance=False
                )
            else:  # all are equally far
                near = np.tile(np.arange(len(donors)), (len(known), 1))
            if self.sample_posterior:
                near = near[np.arange(len(near)), rng.randint(near.shape[1], size=len(near)), None]
            given = self._donated[donors[near][:, :, None], at]
            holes = np.isnan(given)
            counts = (~holes).sum(axis=1)
            sums = np.where(holes, 0.0, given / near.shape[1]).sum(axis=1)
            mean = sums * (near.shape[1] / np.maximum(counts, 1))
            filled[:, at] = np.where(counts > 0, mean, self.location_[at])
        return filled

    # Completion

    def transform(self, X: Any) -> Any:
        """Complete the modalities that samples lack.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : DataFrame or ndarray of shape (n_samples, n_columns + n_indicators)
            A DataFrame for a DataFrame.
        """
        table = self._read(X)
        refuse_sparse(table, "zeros are no missing values")
        values = table_numbers(table, self._used)
        there = dict(zip(self._used, presence(table, self._used), strict=True))
        lost = missing_entries(there, self._used)
        nobody = int(lost.all(axis=1).sum())
        if nobody:
            warn(
                f"{nobody} of {len(lost)} samples have none of the modalities "
                f"{listed(self._used)}; they get "
                + ("draws around the means" if self.sample_posterior else "the means")
            )
        with single_blas_thread:
            filled = self._completed(values, lost, there)
        Z = fill_entries(table, self._kept, lost, filled)
        return self._with_indicator(Z, there) if self.add_indicator else Z

    def _completed(self, values: Array, lost: Array, there: Mapping[str, Array]) -> Array:
        """Return the values with the lost entries filled, pattern by pattern."""
        rng = check_random_state(self.random_state)
        known = self._standard(values)
        filled = values.copy()
        names = list(there)
        patterns, codes = unique_patterns(np.array(list(there.values())).T)
        for place, pattern in enumerate(patterns):
            if pattern.all():
                continue
            rows = np.flatnonzero(codes == place)
            own = lost[rows[0]]
            if self.method == "knn":
                present = [name for name, has in zip(names, pattern, strict=True) if has]
                found = self._from_neighbours(known[rows], present, rng)
            else:
                found = self._in_units(self._expected(known[rows], own, rng))
            filled[np.ix_(rows, np.flatnonzero(own))] = found[:, own]
        return filled

    def _expected(self, known: Array, lost: Array, rng: Any) -> Array:
        """Return standardised values with the lost columns at their means, or drawn."""
        mean, covariance = self._moments.mean, self._moments.covariance
        seen, gone = np.flatnonzero(~lost), np.flatnonzero(lost)
        coef = self._regress(covariance, seen, gone)
        known = known.copy()
        known[:, gone] = mean[gone] + (known[:, seen] - mean[seen]) @ coef
        if self.sample_posterior:
            left = residual_covariance(covariance, seen, gone, coef)
            roots, vectors = np.linalg.eigh(left)
            colour = (vectors * np.sqrt(np.maximum(roots, 0.0))).T
            known[:, gone] += rng.standard_normal((len(known), len(gone))) @ colour
        return known

    def _with_indicator(self, Z: Any, there: Mapping[str, Array]) -> Any:
        flags = np.array([~there[name] for name in self.indicator_modalities_], dtype=np.float64)
        flags = flags.reshape(-1, len(Z)).T
        if isinstance(Z, pd.DataFrame):
            added = pd.DataFrame(flags, columns=self._indicator_names(), index=Z.index)
            return pd.concat([Z, added], axis=1)
        kind = Z.dtype if Z.dtype.kind == "f" else np.float64
        return np.hstack([Z.astype(kind), flags.astype(kind)])

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the output columns: those of the input, and the indicators.

        Parameters
        ----------
        input_features : array-like of str, default=None
            The names of the input columns; None takes those seen at fit.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        names = list(_check_feature_names_in(self, input_features)[self._kept])
        if self.add_indicator:
            names += self._indicator_names()
        return np.array(names, dtype=object)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _as_it_is(covariance: Array) -> Array:
    return covariance


def _shrunk(covariance: Array, shrinkage: float) -> Array:
    """Return (1 - s) S + s tr(S) / p I."""
    found = (1 - shrinkage) * covariance
    found.flat[:: len(found) + 1] += shrinkage * np.trace(covariance) / len(found)
    return found
