"""Intervals that hold the true number with a stated chance."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, is_classifier

from .._parallel import single_blas_thread
from .._validation import check_numeric_target, check_option
from ..late import LateFusionRegressor
from ._base import BaseConformal
from ._scores import interval, rank

__all__ = ["ConformalFusionRegressor"]

Array = np.ndarray


class ConformalFusionRegressor(RegressorMixin, BaseConformal):
    r"""Give intervals that hold the true number with chance 1 - alpha, whatever is missing.

    .. math:: C(x) = f(x) \pm \hat q_{P(x)}\, \sigma(x), \qquad
        \hat q_P = R_{(\lceil (n_P + 1)(1 - \alpha) \rceil)}

    with the modalities P(x) that the sample has, and the sorted residuals
    :math:`R_{(1)} \le \dots \le R_{(n_P)}`, :math:`R_i = |y_i - f(x_i)| / \sigma(x_i)`, of the
    calibration samples that have just these (Mondrian, or group-conditional, split conformal
    prediction). :math:`\sigma` is 1, or the standard deviation that the regressor states. Where
    samples are exchangeable, for every pattern P

    .. math:: 1 - \alpha \le P(y \in C(x) \mid P) \le 1 - \alpha + \frac1{n_P + 1},

    the upper bound if no two residuals are equal, and the model may be as wrong as it likes: a
    bad one pays with wide intervals. What the model makes of a missing modality is its own
    affair; late fusion leaves it out.

    Parameters
    ----------
    estimator : estimator, default=None
        A regressor of one number, of this package or not; None is :class:`LateFusionRegressor`.
        One in a ``FrozenEstimator`` is fitted already, and all samples calibrate it: it must not
        have seen them.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None takes those of ``estimator``, and if it names
        none, reads the prefixes before ``__`` in the column names of a DataFrame. The regressor
        gets every column of X.
    alpha : float, default=0.1
        The share of the intervals that may miss the true number, above 0 and below 1. A pattern
        needs at least (1 - alpha) / alpha calibration samples.
    conformity_score : {"absolute", "normalised"}, default="absolute"
        "absolute" has intervals of one width for each pattern. "normalised" has them as wide as
        the standard deviation that the regressor states by ``predict(X, return_std=True)``.
    calibration_size : float, default=0.25
        The share of the samples that is held out to calibrate on, evenly among patterns. Of
        groups, a number of whole ones that is about as much.
    cv : int, splitter, iterable or None, default=None
        None holds samples out. Otherwise every sample is calibrated on by the model that has not
        seen it in these folds, and intervals are those of CV+: no sample is wasted, K + 1 models
        are fitted, ``predict`` asks the one fitted on all, and the chance that is proven is no
        more than 1 - 2 alpha.
    random_state : int, RandomState or None, default=None
        Of what is held out.

    Attributes
    ----------
    quantiles_ : mapping of tuple of str to float
        The largest residual that conforms at ``alpha``, in the unit of y or in deviations, by the
        modalities that are there; infinity where too few samples were calibrated on. With ``cv``
        of the residuals of all folds.
    n_calibration_ : mapping of tuple of str to int
        How many samples were calibrated on, by the modalities that are there.
    estimator_ : estimator
        The regressor that ``predict`` asks.
    estimators_ : list of estimator
        Those that were calibrated: ``estimator_`` itself, or with ``cv`` one for each fold.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If alpha is not between 0 and 1, y has several columns, every modality is missing for
        every sample, or the estimator is no regressor or states no deviation that is needed.

    Warns
    -----
    UserWarning
        If samples have a pattern on which too few samples were calibrated, or none; they get the
        whole line.

    Notes
    -----
    The chance is over draws of the calibration samples too: given these, the coverage of a
    pattern varies with a standard deviation of about
    :math:`\sqrt{\alpha (1 - \alpha) / (n_P + 2)}`. Samples of one group are not exchangeable
    with those of another: ``groups`` keeps the regressor from having seen the group, and the
    bounds hold where a group is one sample.

    References
    ----------
    Vovk, Lindsay, Nouretdinov, Gammerman (2003), "Mondrian confidence machine". Lei, G'Sell,
    Rinaldo, Tibshirani, Wasserman (2018), "Distribution-free predictive inference for
    regression", JASA 113(523), section 5.2 for "normalised". Barber, Candes, Ramdas, Tibshirani
    (2021), "Predictive inference with the jackknife+", Annals of Statistics 49(1), for ``cv``.

    Examples
    --------
    >>> from mkfusion import ConformalFusionRegressor
    >>> from mkfusion.datasets import make_multimodal_regression
    >>> X, y = make_multimodal_regression(
    ...     2000, missing=0.3, return_X_y=True, random_state=0)
    >>> conformal = ConformalFusionRegressor(random_state=0).fit(X[:1000], y[:1000])
    >>> bounds = conformal.predict_interval(X[1000:])
    >>> covered = (bounds[:, 0] <= y[1000:]) & (y[1000:] <= bounds[:, 1])
    >>> bool(0.85 < covered.mean() < 0.95)
    True
    """

    _wrong_kind = staticmethod(is_classifier)
    _kind = "regressor"
    _everything = "the whole line"

    def __init__(
        self,
        estimator: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        alpha: float = 0.1,
        conformity_score: str = "absolute",
        calibration_size: float = 0.25,
        cv: Any = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.modalities = modalities
        self.alpha = alpha
        self.conformity_score = conformity_score
        self.calibration_size = calibration_size
        self.cv = cv
        self.random_state = random_state

    def _default(self) -> Any:
        return LateFusionRegressor(modalities=self.modalities)

    def _check_target(self, y: Any) -> Array:
        values = check_numeric_target(y)
        if values.ndim > 1:
            raise ValueError(
                f"y has {values.shape[1]} columns; an interval is of one number: fit one for each"
            )
        return values

    def _check_model(self, model: Any, y: Array) -> None:
        check_option("conformity_score", self.conformity_score, ("absolute", "normalised"))
        if self.conformity_score == "normalised" and not _states_deviation(model):
            raise ValueError(
                "conformity_score='normalised' needs a regressor that states a standard deviation "
                f"by predict(X, return_std=True), which {type(model).__name__} does not"
            )

    def _codes(self, y: Array) -> Array | None:
        return None

    def _centre_and_scale(self, model: Any, X: Any) -> tuple[Array, Array]:
        if self.conformity_score == "absolute":
            centre = _numbers(model, model.predict(X))
            return centre, np.ones(len(centre))
        centre, deviation = (_numbers(model, own) for own in model.predict(X, return_std=True))
        if (deviation <= 0).any():
            raise ValueError(
                f"{type(model).__name__} states a deviation of {deviation.min():g} for "
                f"{int((deviation <= 0).sum())} samples; 'normalised' residuals are divided by it"
            )
        return centre, deviation

    def _conformity(self, model: Any, X: Any, y: Array, uniform: Array) -> Array:
        centre, scale = self._centre_and_scale(model, X)
        return np.abs(y - centre) / scale

    def predict(self, X: Any) -> Array:
        """Return the numbers that the regressor predicts.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        predictions : ndarray of shape (n_samples,)
        """
        table = self._read(X)
        with single_blas_thread:
            return _numbers(self.estimator_, self.estimator_.predict(table))

    def predict_interval(self, X: Any, alpha: Any = None) -> Array:
        """Return the interval of numbers that conform.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
        alpha : float or sequence of float, default=None
            The share of the intervals that may miss the true number; None is that of the
            constructor.

        Returns
        -------
        bounds : ndarray of shape (n_samples, 2)
            The lower and the upper end, in the unit of y. Of several alphas, in a last axis.
        """
        table, levels, asked = self._asked(X, alpha)
        with single_blas_thread:
            told = [self._centre_and_scale(model, table) for model in self.estimators_]
        bounds = np.empty((table.shape[0], 2, len(levels)))
        bounds[:] = np.array([-np.inf, np.inf])[:, None]
        for pattern, rows in asked:
            n = self.n_calibration_.get(pattern, 0)
            if n:
                centres, scales = ([own[k][rows] for own in told] for k in (0, 1))
                for k, level in enumerate(levels):
                    known = self._calibrated[pattern]
                    bounds[rows, :, k] = interval(known, centres, scales, rank(n, level))
        return bounds if np.ndim(alpha) else bounds[:, :, 0]


def _numbers(model: Any, predictions: Any) -> Array:
    found = np.asarray(predictions, dtype=np.float64)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError(
            f"{type(model).__name__} must predict one finite number for each sample, got shape "
            f"{found.shape}{'' if np.isfinite(found).all() else ' with NaN or infinity'}"
        )
    return found


def _states_deviation(model: Any) -> bool:
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    return "return_std" in inspect.signature(final.predict).parameters
