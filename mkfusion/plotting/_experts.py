"""The pictures of a fitted fusion: the weights of its experts, and where these agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted

from .._pictures import number, shown
from .._validation import check_lengths, listed
from ._base import FUSION, MOST, BaseDisplay, share

__all__ = ["FusionWeightsDisplay", "PosteriorAgreementDisplay"]

WITH_NUMBERS = 14  # classes, beyond which the cells of a heat map hold no numbers
MOST_TICKS = 30
TURNED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}


class FusionWeightsDisplay(BaseDisplay):
    """Show how much a fitted fusion heeds each of its experts or streams.

    Bars in the order of the modalities, with a dashed line where all would be alike; of weights
    by class a heat map of modalities by classes.

    Parameters
    ----------
    weights : array-like of shape (n_modalities,) or (n_modalities, n_classes)
    modalities : sequence of str
        What each weight belongs to.
    classes : sequence, default=None
        The classes of weights by class; None numbers them.

    Attributes
    ----------
    bars_ : BarContainer or None
    image_ : AxesImage or None
        Of weights by class.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    KernelWeightsDisplay : The weights of kernels.
    ModalityValueDisplay : What a modality is worth, which its weight does not say.

    Examples
    --------
    >>> from mkfusion import FusionWeightsDisplay, LateFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X, y = X[::10].filter(regex="mor|zer"), y[::10]
    >>> fusion = LateFusionClassifier(rule="weighted", weights="learn").fit(X, y)
    >>> len(FusionWeightsDisplay.from_estimator(fusion).bars_)
    2
    """

    bars_: Any
    image_: Any

    def __init__(
        self, weights: Any, modalities: Sequence[str], *, classes: Sequence[Any] | None = None
    ) -> None:
        self.weights = weights
        self.modalities = modalities
        self.classes = classes

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, name: str | None = None, **kwargs: Any
    ) -> FusionWeightsDisplay:
        """Make and draw the picture of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A late or hybrid fusion whose rule has weights, or a graphical model of several
            streams, such as :class:`mkfusion.HMMClassifier`.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``, or ``Axes.imshow`` of weights by class.

        Returns
        -------
        display : FusionWeightsDisplay

        Raises
        ------
        TypeError
            If the estimator has no weights of modalities.
        ValueError
            If its rule heeds none.
        """
        check_is_fitted(estimator)
        found = [a for a in ("stream_weights_", "weights_") if hasattr(estimator, a)]
        held = getattr(estimator, "named_estimators_", getattr(estimator, "modalities_", None))
        if not found or held is None:
            raise TypeError(
                "estimator must be a late or hybrid fusion, or a graphical model with "
                f"stream_weights_, got {type(estimator).__name__}; of a pipeline or a search take "
                "the estimator inside"
            )
        weights = getattr(estimator, found[0])
        if weights is None:
            raise ValueError(
                f"rule {getattr(estimator, 'rule', None)!r} gives its experts no weights to show"
            )
        classes = getattr(estimator, "classes_", None) if np.ndim(weights) == 2 else None
        display = cls(np.asarray(weights), list(held), classes=classes)
        return display.plot(ax, name=name, **kwargs)

    @classmethod
    def from_weights(
        cls,
        weights: Any,
        modalities: Sequence[str],
        *,
        classes: Sequence[Any] | None = None,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> FusionWeightsDisplay:
        """Make and draw the picture of weights.

        Parameters
        ----------
        weights : array-like of shape (n_modalities,) or (n_modalities, n_classes)
        modalities : sequence of str
            What each weight belongs to.
        classes : sequence, default=None
            The classes of weights by class; None numbers them.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``, or ``Axes.imshow`` of weights by class.

        Returns
        -------
        display : FusionWeightsDisplay
        """
        return cls(weights, list(modalities), classes=classes).plot(ax, name=name, **kwargs)

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> FusionWeightsDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``, or ``Axes.imshow`` of weights by class.

        Returns
        -------
        display : FusionWeightsDisplay
        """
        weights = self._checked()
        self.bars_ = self.image_ = None
        letters = min(MOST, max(len(shown(one)) for one in self.modalities))
        many = weights.shape[1] if weights.ndim == 2 else 0
        width = 4.2 if not many else max(2.2, 0.5 * many) if many <= WITH_NUMBERS else 7.5
        height = (1.9 if many else 1.1) + 0.3 * len(weights)
        ax = self._start(ax, name, 1.3 + width + 0.085 * letters, max(1.7, height))
        if many:
            self._draw_classes(weights, kwargs)
        else:
            style = {"color": FUSION, "height": 0.6} | kwargs
            self.bars_ = ax.barh(range(len(weights)), weights, **style)
            alike = weights.mean()
            ax.axvline(alike, color="black", linewidth=1, linestyle="--")
            ax.set_xlim(0, 1.06 * (max(weights.max(), alike) or 1.0))
            ax.set_xlabel(f"weight (dashed: all alike, {number(alike, 3)})")
        self._name_rows(self.modalities)
        if not many:
            self._write_values([share(weight) for weight in weights])
        return self

    def _checked(self) -> np.ndarray:
        weights, names = np.asarray(self.weights, dtype=np.float64), list(self.modalities)
        if weights.ndim not in (1, 2) or len(weights) != len(names) or not weights.size:
            raise ValueError(
                f"weights must have one number, or one for each class, for each of {len(names)} "
                f"modalities ({listed(names)}), got shape {weights.shape}"
            )
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("weights must be finite and not negative")
        if self.classes is not None and weights.ndim == 2:
            check_lengths(classes=self.classes, weights=weights.T)
        return weights

    def _draw_classes(self, weights: np.ndarray, kwargs: Any) -> None:
        ax, count = self.ax_, weights.shape[1]
        style = {"cmap": "Blues", "vmin": 0.0, "vmax": 1.7 * (float(weights.max()) or 1.0)}
        self.image_ = ax.imshow(weights, **(style | {"aspect": "auto"} | kwargs))
        if count <= WITH_NUMBERS:
            for (i, j), value in np.ndenumerate(weights):
                ax.text(j, i, share(value, 2), ha="center", va="center", fontsize="small")
        else:
            from matplotlib.ticker import MaxNLocator

            levels = np.linspace(0, float(weights.max()) or 1.0, 101)
            ticks = MaxNLocator(5)
            bar = self.figure_.colorbar(self.image_, ax=ax, boundaries=levels, ticks=ticks)
            bar.set_label("weight")
        _name_columns(ax, range(count) if self.classes is None else self.classes)
        self._strip("bottom")
        ax.set_xlabel("class")


def _name_columns(ax: Any, labels: Any) -> None:
    labels = list(labels)
    step = 1 + (len(labels) - 1) // MOST_TICKS
    names = [shown(label, MOST // 2) for label in labels[::step]]
    turned = TURNED if max(map(len, names)) > 3 else {}
    ax.set_xticks(range(0, len(labels), step), names, parse_math=False, **turned)
    ax.tick_params(axis="x", length=0)


class PosteriorAgreementDisplay(BaseDisplay):
    """Show where the experts of a late fusion agree, and who of them is right.

    On the diagonal stands the share of the rows of which an expert is right; below it the share
    for which two experts say the same, above it that for which exactly one of the two is right.
    The higher the numbers above the diagonal, the more a fusion has to gain. A row counts where
    both experts have their modality.

    Parameters
    ----------
    agreement : DataFrame of shape (n_experts, n_experts)
        The share of equal predictions, with the accuracy on the diagonal.
    one_right : DataFrame of shape (n_experts, n_experts)
        The share where exactly one of the two is right; 0 on the diagonal.

    Attributes
    ----------
    images_ : list of AxesImage
        Below the diagonal, on it, and above.
    text_ : ndarray of shape (n_experts, n_experts)
        The numbers in the cells.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    AgreementDisplay : The agreement on the test rows of a comparison, of numbers too.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier, PosteriorAgreementDisplay
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X = X.filter(regex="mor|zer")
    >>> fusion = LateFusionClassifier().fit(X[::10], y[::10])
    >>> display = PosteriorAgreementDisplay.from_estimator(fusion, X[1::10], y[1::10])
    >>> bool(display.one_right.loc["mor", "zer"] > 0)
    True
    """

    images_: list[Any]
    text_: np.ndarray

    def __init__(self, agreement: pd.DataFrame, one_right: pd.DataFrame) -> None:
        self.agreement = agreement
        self.one_right = one_right

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, ax: Any = None, name: str | None = None,
        **kwargs: Any,
    ) -> PosteriorAgreementDisplay:  # fmt: skip
        """Make and draw the picture of a fitted fusion; on rows that it was not fitted on.

        Parameters
        ----------
        estimator : LateFusionClassifier or HybridFusionClassifier
            Fitted.
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.imshow``.

        Returns
        -------
        display : PosteriorAgreementDisplay

        Raises
        ------
        TypeError
            If the estimator has no experts that state posteriors.
        """
        check_is_fitted(estimator)
        if is_regressor(estimator) or not hasattr(estimator, "named_estimators_"):
            raise TypeError(
                "estimator must be a late or hybrid fusion of classifiers, got "
                f"{type(estimator).__name__}"
            )
        names, classes = list(estimator.named_estimators_), np.asarray(estimator.classes_)
        stated = np.asarray(estimator.transform(X)).reshape(-1, len(names), len(classes))
        said = {}
        for place, own in enumerate(names):
            silent = np.isnan(stated[:, place]).any(axis=1)
            answers = classes[np.nan_to_num(stated[:, place]).argmax(axis=1)].astype(object)
            answers[silent] = None
            said[own] = answers
        return cls.from_predictions(y, said, ax=ax, name=name, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        predictions: Mapping[str, Any],
        *,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> PosteriorAgreementDisplay:
        """Make and draw the picture of what experts predicted.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
        predictions : mapping of str to array-like of shape (n_samples,)
            By expert the labels; None or NaN where it has no say.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.imshow``.

        Returns
        -------
        display : PosteriorAgreementDisplay

        Raises
        ------
        ValueError
            If the lengths differ, or there is no prediction.
        """
        truth = np.asarray(y_true, dtype=object)
        said = {key: np.asarray(own, dtype=object) for key, own in predictions.items()}
        if not said or not len(truth):
            raise ValueError("predictions must be of one expert and one row at least")
        for key, own in said.items():
            if own.shape != truth.shape or truth.ndim != 1:
                raise ValueError(
                    f"predictions of {key!r} must have the shape of y_true, {truth.shape}, got "
                    f"{own.shape}"
                )
        return cls(*_agreement(truth, said)).plot(ax, name=name, **kwargs)

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> PosteriorAgreementDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.imshow``.

        Returns
        -------
        display : PosteriorAgreementDisplay
        """
        values = self.agreement.to_numpy(dtype=np.float64)
        count = len(values)
        above = np.triu(np.ones_like(values, dtype=bool), 1)
        values = np.where(above, self.one_right.to_numpy(dtype=np.float64), values)
        letters = min(MOST, max(len(shown(one)) for one in self.agreement.index))
        side = max(1.5, 0.5 * count)
        ax = self._start(ax, name, max(5.0, side + 0.6 + 0.085 * letters), side + 2.3)
        parts = (above.T, np.eye(count, dtype=bool), above)
        self.images_ = []
        for part, colours in zip(parts, ("Blues", "Greys", "Oranges"), strict=True):
            style = {"cmap": colours, "vmin": 0.0, "vmax": 1.7}
            cells = np.ma.masked_where(~part, values)
            self.images_.append(ax.imshow(cells, **(style | kwargs)))
        self.text_ = np.empty(values.shape, dtype=object)
        for (i, j), value in np.ndenumerate(values):
            weight = "bold" if i == j else "normal"
            centred = {"ha": "center", "va": "center", "color": "black", "fontweight": weight}
            self.text_[i, j] = ax.text(j, i, number(value, 2), **centred)
        self._name_rows(self.agreement.index)
        _name_columns(ax, self.agreement.columns)
        self._strip("bottom")
        for edge in np.arange(count + 1) - 0.5:
            ax.axhline(edge, color="white", linewidth=1.5)
            ax.axvline(edge, color="white", linewidth=1.5)
        ax.set_xlabel(
            "diagonal: share that is right\nbelow, blue: share of equal predictions\n"
            "above, orange: share where exactly one of two is right"
        )
        return self


def _agreement(
    truth: np.ndarray, said: Mapping[str, np.ndarray]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the shares of equal predictions (of right ones) and of one right; NaN of no rows."""
    names = list(said)
    spoke = [~pd.isna(own) for own in said.values()]
    right = [own == truth for own in said.values()]
    same, one = np.empty((len(names), len(names))), np.zeros((len(names), len(names)))
    answers = list(said.values())
    for i in range(len(names)):
        for j in range(i + 1):
            both = spoke[i] & spoke[j]
            equal = right[i] if i == j else answers[i] == answers[j]
            same[i, j] = same[j, i] = equal[both].mean() if both.any() else np.nan
            apart = right[i] != right[j]
            one[i, j] = one[j, i] = apart[both].mean() if both.any() else np.nan
    return pd.DataFrame(same, names, names), pd.DataFrame(one, names, names)
