"""Sets of classes that hold the true one with a stated chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metaestimators import available_if

from .._models import responds
from .._parallel import single_blas_thread
from .._validation import check_class_target, check_option, listed
from ..late import LateFusionClassifier
from ._base import BaseConformal
from ._scores import class_scores, counts_below, rank

__all__ = ["ConformalFusionClassifier"]

Array = np.ndarray


def _has_proba(self: Any) -> bool:
    getattr(getattr(self, "estimator_", None) or self._model(), "predict_proba")  # noqa: B009
    return True


class ConformalFusionClassifier(ClassifierMixin, BaseConformal):
    r"""Give sets of classes that hold the true one with chance 1 - alpha, whatever is missing.

    .. math:: C(x) = \{c : S(x, c) \le \hat q_{P(x)}\}, \qquad
        \hat q_P = S_{(\lceil (n_P + 1)(1 - \alpha) \rceil)}

    with the score S, greater for stranger classes, the modalities P(x) that the sample has, and
    the scores :math:`S_{(1)} \le \dots \le S_{(n_P)}` of the true classes of the calibration
    samples that have just these (Mondrian, or group-conditional, split conformal prediction).
    Where samples are exchangeable, for every pattern P

    .. math:: 1 - \alpha \le P(y \in C(x) \mid P) \le 1 - \alpha + \frac1{n_P + 1},

    the upper bound if no two scores are equal, and the model may be as wrong as it likes: a bad
    one pays with large sets. What the model makes of a missing modality is its own affair; late
    fusion leaves it out.

    Parameters
    ----------
    estimator : estimator, default=None
        A classifier with ``predict_proba``, of this package or not; None is
        :class:`LateFusionClassifier`. One in a ``FrozenEstimator`` is fitted already, and all
        samples calibrate it: it must not have seen them.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None takes those of ``estimator``, and if it names
        none, reads the prefixes before ``__`` in the column names of a DataFrame. The classifier
        gets every column of X.
    alpha : float, default=0.1
        The share of the sets that may lack the true class, above 0 and below 1. A pattern needs
        at least (1 - alpha) / alpha calibration samples.
    conformity_score : {"lac", "aps"}, default="lac"
        "lac" is :math:`1 - p_c`, whose sets are the smallest on average, and may be empty.
        "aps" is the posterior of c and of all that are more probable, whose sets are larger and
        adapt to how hard a sample is.
    randomize : bool, default=False
        For "aps": count a random share of the posterior of c itself. It makes the upper bound
        hold too, which "aps" exceeds otherwise, and the sets smaller, some empty. The shares are
        those of the fit's ``random_state`` and go by the place of a sample in X.
    calibration_size : float, default=0.25
        The share of the samples that is held out to calibrate on, evenly among patterns and
        classes. Of groups, a number of whole ones that is about as much.
    cv : int, splitter, iterable or None, default=None
        None holds samples out. Otherwise every sample is calibrated on by the model that has not
        seen it in these folds, and a new one is asked of all of them (cross-conformal
        prediction): no sample is wasted, K + 1 models are fitted, ``predict`` asks the one
        fitted on all, and the chance that is proven is no more than 1 - 2 alpha.
    random_state : int, RandomState or None, default=None
        Of what is held out, and of the random shares.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    quantiles_ : mapping of tuple of str to float
        The largest score that conforms at ``alpha``, by the modalities that are there; infinity
        where too few samples were calibrated on. With ``cv`` of the scores of all folds.
    n_calibration_ : mapping of tuple of str to int
        How many samples were calibrated on, by the modalities that are there.
    estimator_ : estimator
        The classifier that ``predict`` asks.
    estimators_ : list of estimator
        Those that were calibrated: ``estimator_`` itself, or with ``cv`` one for each fold.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If alpha is not between 0 and 1, there is one class only, every modality is missing for
        every sample, or the estimator is no classifier with ``predict_proba``.

    Warns
    -----
    UserWarning
        If samples have a pattern on which too few samples were calibrated, or none; they get all
        classes.

    Notes
    -----
    The chance is over draws of the calibration samples too: given these, the coverage of a
    pattern varies with a standard deviation of about
    :math:`\sqrt{\alpha (1 - \alpha) / (n_P + 2)}`. Samples of one group are not exchangeable
    with those of another: ``groups`` keeps the classifier from having seen the group, and the
    bounds hold where a group is one sample.

    References
    ----------
    Vovk, Lindsay, Nouretdinov, Gammerman (2003), "Mondrian confidence machine". Sadinle, Lei,
    Wasserman (2019), "Least ambiguous set-valued classifiers with bounded error levels", JASA
    114(525), for "lac". Romano, Sesia, Candes (2020), "Classification with valid and adaptive
    coverage", NeurIPS 33, section 2, for "aps" and for ``cv``.

    Examples
    --------
    >>> from mkfusion import ConformalFusionClassifier
    >>> from mkfusion.datasets import make_multimodal_classification
    >>> X, y = make_multimodal_classification(
    ...     2000, missing={"video": 0.5}, return_X_y=True, random_state=0)
    >>> conformal = ConformalFusionClassifier(random_state=0).fit(X[:1000], y[:1000])
    >>> conformal.n_calibration_
    {('audio', 'video'): 127, ('audio',): 123}
    >>> sets = conformal.predict_set(X[1000:])
    >>> covered = sets[range(1000), y[1000:]]  # the classes are 0 and 1
    >>> whole = X[1000:]["video__0"].notna().to_numpy()
    >>> [round(float(own.mean()), 1) for own in (covered[whole], covered[~whole])]
    [0.9, 0.9]
    """

    _wrong_kind = staticmethod(is_regressor)
    _kind = "classifier"
    _everything = "all classes"

    def __init__(
        self,
        estimator: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        alpha: float = 0.1,
        conformity_score: str = "lac",
        randomize: bool = False,
        calibration_size: float = 0.25,
        cv: Any = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.modalities = modalities
        self.alpha = alpha
        self.conformity_score = conformity_score
        self.randomize = randomize
        self.calibration_size = calibration_size
        self.cv = cv
        self.random_state = random_state

    def _default(self) -> Any:
        return LateFusionClassifier(modalities=self.modalities)

    def _check_target(self, y: Any) -> Array:
        return check_class_target(y)

    def _check_model(self, model: Any, y: Array) -> None:
        check_option("conformity_score", self.conformity_score, ("lac", "aps"))
        if not isinstance(self.randomize, bool | np.bool_):
            raise ValueError(f"randomize must be True or False, got {self.randomize!r}")
        if self.randomize and self.conformity_score != "aps":
            raise ValueError("randomize is for conformity_score='aps'; 'lac' has no chance in it")
        if not responds(model, "predict_proba"):
            raise ValueError(
                f"estimator {type(model).__name__} has no predict_proba, whose posteriors are "
                "calibrated; put it into CalibratedClassifierCV, or a late fusion"
            )
        found = np.unique(y)
        if isinstance(model, FrozenEstimator):
            unseen = np.setdiff1d(found, model.classes_)
            if len(unseen):
                raise ValueError(
                    f"y holds classes {listed(unseen)} that the fitted estimator has not seen; it "
                    f"knows {listed(model.classes_)}"
                )
            found = np.asarray(model.classes_)
        if len(found) < 2:
            raise ValueError(
                f"y has one class ({listed(found)}); a classifier needs at least two classes"
            )
        self.classes_ = found

    def _codes(self, y: Array) -> Array | None:
        return np.searchsorted(self.classes_, y)

    def _posteriors(self, model: Any, X: Any) -> Array:
        """Return the posteriors of all classes, 0 for those that a model has not seen."""
        found = np.asarray(model.predict_proba(X), dtype=np.float64)
        if not np.isfinite(found).all():
            raise ValueError(f"{type(model).__name__} gives posteriors that are NaN or infinite")
        if np.array_equal(model.classes_, self.classes_):
            return found
        whole = np.zeros((len(found), len(self.classes_)))
        whole[:, np.searchsorted(self.classes_, model.classes_)] = found
        return whole

    def _scores(self, model: Any, X: Any, uniform: Array) -> Array:
        shares = uniform if self.randomize else None
        return class_scores(self._posteriors(model, X), self.conformity_score, shares)

    def _conformity(self, model: Any, X: Any, y: Array, uniform: Array) -> Array:
        scores = self._scores(model, X, uniform)
        return scores[np.arange(len(y)), self._codes(y)]

    def predict(self, X: Any) -> Array:
        """Return the classes that the classifier predicts.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        table = self._read(X)
        with single_blas_thread:
            return self.estimator_.predict(table)

    @available_if(_has_proba)
    def predict_proba(self, X: Any) -> Array:
        """Return the classifier's posteriors, as it gives them.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        table = self._read(X)
        with single_blas_thread:
            return self._posteriors(self.estimator_, table)

    def predict_set(self, X: Any, alpha: Any = None) -> Array:
        """Return the classes that conform.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
        alpha : float or sequence of float, default=None
            The share of the sets that may lack the true class; None is that of the constructor.

        Returns
        -------
        sets : ndarray of bool of shape (n_samples, n_classes)
            The columns are those of ``classes_``. Of several alphas, in a last axis.
        """
        table, levels, asked = self._asked(X, alpha)
        uniform = np.random.RandomState(self._seed).random_sample(table.shape[0])
        with single_blas_thread:
            scores = [self._scores(model, table, uniform) for model in self.estimators_]
        sets = np.ones((table.shape[0], len(self.classes_), len(levels)), bool)
        for pattern, rows in asked:
            n = self.n_calibration_.get(pattern, 0)
            if n:
                below = counts_below(self._calibrated[pattern], [own[rows] for own in scores])
                sets[rows] = below[:, :, None] < [rank(n, level) for level in levels]
        return sets if np.ndim(alpha) else sets[:, :, 0]
