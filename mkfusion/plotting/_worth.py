"""The pictures of what a fusion is worth: modalities, their subsets, and how scores fall."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .._pictures import (
    MOST_SUBSETS,
    Axis,
    Subsets,
    best_subsets,
    falls,
    make_axis,
    modality_values,
    number,
    shown,
)
from .._validation import check_option
from ..evaluation import FusionReport, RobustnessCurve
from ._base import BESIDE, FUSION, GREY, MANY, MOST, PALE, SINGLE, BaseDisplay

__all__ = ["ModalityValueDisplay", "RobustnessCurveDisplay", "SubsetLatticeDisplay"]

MARKERS = "osD^vPX"
DASHES = ("-", "--", ":", "-.")
KINDS = ("one modality", "several", "everything")
SCORES = 2.3  # inches of the scores above the matrix of dots
LEVELS = {
    "missing": "share of the rows that lose a modality",
    "noise": "noise, in standard deviations",
}


class ModalityValueDisplay(BaseDisplay):
    """Show what each modality is worth to a fusion: its Shapley value with its 95 % interval.

    The most valuable stands on top. The small marks are what the modality adds alone, as the
    first of all, and what it adds as the last one to join all the others: the value lies between
    what others do not know and what they know as well.

    Parameters
    ----------
    values : DataFrame
        By modality ``value``, ``low``, ``high``, ``alone`` and ``last``.
    scoring : str
        The score that is shared out.

    Attributes
    ----------
    points_ : PathCollection
    intervals_ : LineCollection
    alone_ : PathCollection
    last_ : PathCollection
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    SubsetLatticeDisplay : The scores that the values are made of.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier, ModalityValueDisplay, fusion_report
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> report = fusion_report(LateFusionClassifier(), X[::10].filter(regex="mor|zer"), y[::10])
    >>> display = ModalityValueDisplay.from_report(report)
    >>> len(display.points_.get_offsets())
    2
    """

    points_: Any
    intervals_: Any
    alone_: Any
    last_: Any

    def __init__(self, values: pd.DataFrame, *, scoring: str) -> None:
        self.values = values
        self.scoring = scoring

    @classmethod
    def from_report(
        cls, report: FusionReport, *, ax: Any = None, name: str | None = None, **kwargs: Any
    ) -> ModalityValueDisplay:
        """Make and draw the picture of a report.

        Parameters
        ----------
        report : FusionReport
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.scatter``, of the values.

        Returns
        -------
        display : ModalityValueDisplay
        """
        display = cls(modality_values(report), scoring=report.scoring)
        return display.plot(ax, name=name, **kwargs)

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> ModalityValueDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.scatter``, of the values.

        Returns
        -------
        display : ModalityValueDisplay
        """
        rows, places = self.values, np.arange(len(self.values))
        ax = self._start(ax, name, 8.5, max(1.9, 1.2 + 0.3 * len(rows)))
        ax.axvline(0, color=GREY, linewidth=1, zorder=0)
        ends = rows[["alone", "last"]]
        ax.hlines(places, ends.min(axis=1), ends.max(axis=1), color=PALE, linewidth=1, zorder=1)
        self.intervals_ = ax.hlines(
            places, rows["low"], rows["high"], colors=FUSION, linewidths=3.5, zorder=2
        )
        small = {"s": 26, "facecolors": "white", "linewidths": 1.25, "zorder": 3}
        self.alone_ = ax.scatter(rows["alone"], places, marker="^", edgecolors=SINGLE, **small)
        self.last_ = ax.scatter(rows["last"], places, marker="s", edgecolors=GREY, **small)
        marks = {"s": 60, "color": FUSION, "edgecolors": "white", "linewidths": 1, "zorder": 4}
        self.points_ = ax.scatter(rows["value"], places, **(marks | kwargs))
        self._name_rows(rows.index)
        self._write_values([number(value, signed=True) for value in rows["value"]])
        ax.set_xlabel(f"added to {shown(self.scoring)}", parse_math=False)
        handles = [self.points_, self.alone_, self.last_]
        kinds = ("Shapley value", "alone", "last to join")
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
        self._legend(handles, kinds, bbox_transform=self._right(64, rows=False), **beside)
        return self


class SubsetLatticeDisplay(BaseDisplay):
    """Show what the subsets of the modalities score, the best first.

    A column is a subset: above its mean score with the spread over the splits, below a dark dot
    for each modality that is in it. A diamond is everything together, an open dot a single
    modality. Of many subsets the best are drawn, with everything and the best single modality,
    and the others counted.

    Parameters
    ----------
    subsets : Subsets
        What is drawn: ``modalities``, ``there`` of shape (n_drawn, n_modalities), ``scores``,
        ``spread``, how many are ``left_out``, and the score of ``nothing``.
    scoring : str

    Attributes
    ----------
    points_ : list of PathCollection
        The scores of single modalities, of other subsets and of everything.
    spread_ : LineCollection
    matrix_ : PathCollection
        The dots below, modality by modality.
    matrix_ax_ : matplotlib Axes
        What holds them.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    ModalityValueDisplay : What these scores say of each modality.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier, SubsetLatticeDisplay, fusion_report
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> report = fusion_report(LateFusionClassifier(), X[::10].filter(regex="mor|zer"), y[::10])
    >>> display = SubsetLatticeDisplay.from_report(report)
    >>> display.subsets.there.tolist()
    [[True, True], [True, False], [False, True]]
    """

    points_: list[Any]
    spread_: Any
    matrix_: Any
    matrix_ax_: Any

    def __init__(self, subsets: Subsets, *, scoring: str) -> None:
        self.subsets = subsets
        self.scoring = scoring

    @classmethod
    def from_report(
        cls,
        report: FusionReport,
        *,
        most: int = MOST_SUBSETS,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> SubsetLatticeDisplay:
        """Make and draw the picture of a report.

        Parameters
        ----------
        report : FusionReport
        most : int, default=30
            Subsets that are drawn.
        ax : matplotlib Axes, default=None
            Where the scores are drawn; the matrix goes below. None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.scatter``, of the scores.

        Returns
        -------
        display : SubsetLatticeDisplay
        """
        display = cls(best_subsets(report, most), scoring=report.scoring)
        return display.plot(ax, name=name, **kwargs)

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> SubsetLatticeDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where the scores are drawn; the matrix goes below. None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.scatter``, of the scores.

        Returns
        -------
        display : SubsetLatticeDisplay
        """
        found = self.subsets
        count, M = len(found.scores), len(found.modalities)
        below = 0.35 + 0.26 * M
        width = max(6.4, 3.4 + 0.085 * _letters(found.modalities) + 0.26 * count)
        ax = self._start(ax, name, width, SCORES + below + 0.8)
        places, size = np.arange(count), found.there.sum(axis=1)
        low, high = found.scores - found.spread, found.scores + found.spread
        self.spread_ = ax.vlines(places, low, high, color=GREY, linewidth=1.5, zorder=1)
        kinds = (size == 1, (size > 1) & (size < M), places == found.everything)
        styles: list[dict[str, Any]] = [
            {"marker": "o", "s": 40, "facecolors": "white", "edgecolors": SINGLE},
            {"marker": "o", "s": 40, "facecolors": FUSION, "edgecolors": FUSION},
            {"marker": "D", "s": 50, "facecolors": "black", "edgecolors": "black"},
        ]
        self.points_ = []
        for kind, own in zip(kinds, styles, strict=True):
            marks = {"linewidths": 1.75, "zorder": 3} | own | kwargs
            self.points_.append(ax.scatter(places[kind], found.scores[kind], **marks))
        self._bound_scores(make_axis([low, high, found.scores]), below)
        ax.set_xlim(-0.6, count - 0.4)
        ax.set_xticks([])
        self._strip("top", "right", "bottom")
        drawn = [points for points in self.points_ if len(points.get_offsets())]
        kinds_drawn = [text for text, kind in zip(KINDS, kinds, strict=True) if kind.any()]
        self._legend(drawn, kinds_drawn, **BESIDE)
        self._draw_matrix(below)
        ax.set_xlabel(_left_out(found))
        return self

    def _bound_scores(self, axis: Axis, below: float) -> None:
        """Keep the lower part of the axes free, so many inches of it."""
        ax, reach = self.ax_, axis.high - axis.low
        ax.set_ylim(axis.low - reach * below / SCORES, axis.high)
        ax.spines["left"].set_bounds(axis.low, axis.high)
        ticks = axis.ticks(5)
        ax.set_yticks([axis.low + reach * t.at / 100 for t in ticks], [t.text for t in ticks])
        ax.set_ylabel(shown(self.scoring, MOST), loc="top", parse_math=False)
        ax.grid(axis="y", color=PALE, linewidth=0.75)
        ax.set_axisbelow(True)

    def _draw_matrix(self, below: float) -> None:
        found, M = self.subsets, len(self.subsets.modalities)
        ax = self.matrix_ax_ = self.ax_.twinx()
        for place, own in enumerate(found.there):
            held = np.flatnonzero(own)
            ax.plot((place, place), held[[0, -1]], color="black", linewidth=1.5, zorder=2)
        for row in range(0, M, 2):
            ax.axhspan(row - 0.5, row + 0.5, color=PALE, alpha=0.35, linewidth=0, zorder=0)
        rows, columns = np.divmod(np.arange(found.there.size), len(found.there))
        dots = ["black" if there else PALE for there in found.there.T.ravel()]
        self.matrix_ = ax.scatter(columns, rows, s=34, c=dots, zorder=3)
        names = [shown(name, MOST) for name in found.modalities]
        ax.yaxis.tick_left()
        ax.set_yticks(range(M), names, parse_math=False)
        # A row takes as many inches as there are, less what stands between dots and scores.
        row_height = (below - 0.35) / M
        ax.set_ylim(M - 0.5, M - 0.5 - (SCORES + below) / row_height)
        ax.tick_params(axis="y", length=0)
        ax.spines[:].set_visible(False)


def _letters(names: list[Any]) -> int:
    return min(MOST, max(len(shown(name)) for name in names))


def _left_out(found: Subsets) -> str:
    """Say in which order they stand, how many are not drawn, and what no modality scores."""
    drawn = len(found.scores)
    first = "subsets of the modalities, the best first"
    if found.left_out:
        first = f"{drawn} of {drawn + found.left_out} subsets, the best first"
    return f"{first}\nwithout any modality: {number(found.nothing)}"


class RobustnessCurveDisplay(BaseDisplay):
    """Show how scores fall under damage, a line for each estimator.

    A point is the mean over the splits, the band one standard deviation over them. Lines differ
    in colour, dashes and markers.

    Parameters
    ----------
    falls : mapping of str to DataFrame
        By estimator a frame with ``level``, ``score`` and ``spread``.
    damage : {"missing", "noise"}
    scoring : str

    Attributes
    ----------
    lines_ : list of Line2D
        One for each estimator.
    bands_ : list of FillBetweenPolyCollection
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier, RobustnessCurveDisplay, robustness_curve
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X, y = X[::8].filter(regex="mor|zer"), y[::8]
    >>> curve = robustness_curve(LateFusionClassifier(), X, y, rates=(0, 0.5), noise=None)
    >>> RobustnessCurveDisplay.from_curve(curve).lines_[0].get_xdata()
    array([0. , 0.5])
    """

    lines_: list[Any]
    bands_: list[Any]

    def __init__(self, falls: dict[str, pd.DataFrame], *, damage: str, scoring: str) -> None:
        self.falls = falls
        self.damage = damage
        self.scoring = scoring

    @classmethod
    def from_curve(
        cls,
        curve: RobustnessCurve,
        *,
        damage: str | None = None,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> RobustnessCurveDisplay:
        """Make and draw the picture of what :func:`mkfusion.robustness_curve` found.

        Parameters
        ----------
        curve : RobustnessCurve
        damage : {"missing", "noise"}, default=None
            None is the first that was tried.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.plot``.

        Returns
        -------
        display : RobustnessCurveDisplay
        """
        tried = list(dict.fromkeys(curve.scores["damage"]))
        damage = tried[0] if damage is None else damage
        check_option("damage", damage, tried)
        display = cls(falls(curve, damage), damage=damage, scoring=curve.scoring)
        return display.plot(ax, name=name, **kwargs)

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> RobustnessCurveDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.plot``.

        Returns
        -------
        display : RobustnessCurveDisplay
        """
        letters = _letters(list(self.falls))
        ax = self._start(ax, name, 5.4 + 0.085 * letters, max(3.6, 0.6 + 0.22 * len(self.falls)))
        self.lines_, self.bands_ = [], []
        for place, rows in enumerate(self.falls.values()):
            colour = MANY[place % len(MANY)]
            style = {"color": colour, "marker": MARKERS[place % len(MARKERS)], "zorder": 3}
            style |= {"markerfacecolor": colour if place % 2 == 0 else "white"}
            style |= {"linestyle": DASHES[place % len(DASHES)]}
            self.lines_ += ax.plot(rows["level"], rows["score"], **(style | kwargs))
            low, high = rows["score"] - rows["spread"], rows["score"] + rows["spread"]
            faint = max(0.04, 0.26 / len(self.falls))
            band = {"color": colour, "alpha": faint, "linewidth": 0, "zorder": 1}
            self.bands_.append(ax.fill_between(rows["level"], low, high, **band))
        ax.set_xlabel(LEVELS[self.damage])
        ax.set_ylabel(shown(self.scoring), parse_math=False)
        ax.grid(color=PALE, linewidth=0.75)
        ax.set_axisbelow(True)
        self._strip("top", "right")
        self._legend(self.lines_, self.falls, **BESIDE)
        return self
