"""The picture of one decision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ._base import BESIDE, GREY, MANY, BaseDisplay

__all__ = ["ContributionDisplay"]


class ContributionDisplay(BaseDisplay):
    """Show what each modality added to the decision about one sample.

    For each class the parts are stacked from 0, those above 0 to the right and those below to the
    left; the diamond is their sum, the decision, and the axis says on what scale it is. Compare
    the rows with one another, not with 0: the logarithm of a probability is below 0 for every
    class, and a modality speaks for the class to which it adds most. The base belongs to no
    modality: with ``log_pool`` it only makes the probabilities of the sample sum to 1 and is the
    same for all classes; :class:`mkfusion.ModalityContributions` says what it is with other rules.

    Parameters
    ----------
    parts : DataFrame
        A row for the base, for each modality and for the decision, a column for each class, as
        :meth:`mkfusion.ModalityContributions.to_frame` gives it.
    scale : str
        What the decision is, as ``scale`` of :class:`mkfusion.ModalityContributions` says it.

    Attributes
    ----------
    bars_ : list of BarContainer
        One for the base and for each modality.
    decision_ : PathCollection
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from mkfusion import ContributionDisplay, LateFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X = X[::10].filter(regex="mor|zer")
    >>> fusion = LateFusionClassifier(rule="mean").fit(X, y[::10])
    >>> parts = fusion.modality_contributions(X[:1])
    >>> display = ContributionDisplay.from_contributions(parts, sample=0)
    >>> len(display.bars_), display.ax_.get_xlabel()
    (3, 'added to the probability')
    """

    bars_: list[Any]
    decision_: Any

    def __init__(self, parts: pd.DataFrame, scale: str) -> None:
        self.parts = parts
        self.scale = scale

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        sample: int = 0,
        *,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> ContributionDisplay:
        """Ask a fusion of one sample, and draw what each modality added.

        Parameters
        ----------
        estimator : fitted estimator
            With a method ``modality_contributions``: late and hybrid fusion, multiple kernel
            learning.
        X : DataFrame or array-like of shape (n_samples, n_features)
        sample : int, default=0
            The place of the sample.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``.

        Returns
        -------
        display : ContributionDisplay

        Raises
        ------
        TypeError
            If the estimator does not tell what modalities add.
        """
        if not hasattr(estimator, "modality_contributions"):
            raise TypeError(
                f"{type(estimator).__name__} has no modality_contributions, which is what is "
                "drawn; late fusion, hybrid fusion and multiple kernel learning have it. Of any "
                "fitted estimator mkfusion.emap tells how much it uses modalities together, and "
                "mkfusion.fusion_report what each modality is worth to it"
            )
        parts = estimator.modality_contributions(X)
        return cls.from_contributions(parts, sample, ax=ax, name=name, **kwargs)

    @classmethod
    def from_contributions(
        cls,
        contributions: Any,
        sample: int,
        *,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> ContributionDisplay:
        """Make and draw the picture of one sample.

        Parameters
        ----------
        contributions : ModalityContributions
            What ``modality_contributions`` of an estimator returns.
        sample : int
            The place of the sample.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``.

        Returns
        -------
        display : ContributionDisplay
        """
        display = cls(contributions.to_frame(sample), contributions.scale)
        return display.plot(ax, name=name, **kwargs)

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> ContributionDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``.

        Returns
        -------
        display : ContributionDisplay
        """
        values = self.parts.to_numpy(dtype=np.float64)
        count, places = values.shape[1], np.arange(values.shape[1])
        ax = self._start(ax, name, 7, 1.4 + 0.32 * max(count, len(values) // 2))
        forward, backward = np.zeros(count), np.zeros(count)
        self.bars_ = []
        for row, part in enumerate(values[:-1]):
            colour = GREY if row == 0 else MANY[(row - 1) % len(MANY)]
            style = {"color": colour, "height": 0.6, "hatch": "//" if row > len(MANY) else None}
            starts = np.where(part >= 0, forward, backward)
            self.bars_.append(ax.barh(places, part, left=starts, **(style | kwargs)))
            forward, backward = forward + part.clip(min=0), backward + part.clip(max=0)
        self.decision_ = ax.scatter(
            values[-1], places, marker="D", color="black", edgecolors="white", zorder=3
        )
        ax.axvline(0, color=GREY, linewidth=1)
        self._name_rows(self.parts.columns)
        ax.get_yticklabels()[int(values[-1].argmax())].set_fontweight("bold")
        ax.use_sticky_edges = False
        ax.set_xlabel(f"added to the {self.scale}")
        handles = [*self.bars_, self.decision_]
        self._legend(handles, self.parts.index, **BESIDE)
        return self
