"""The pictures of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._pictures import (
    METRICS,
    class_scores,
    compared,
    compared_classes,
    curves,
    fit_times,
    gain_axis,
    gains,
    is_single,
    number,
    patterns,
    report_gains,
    shown,
)
from .._validation import check_option, listed
from ..evaluation import FusionComparison, FusionReport, availability_table
from ..modality import modality_mask
from ._base import BESIDE, FUSION, GREY, MANY, MOST, PALE, SINGLE, BaseDisplay

__all__ = [
    "AgreementDisplay",
    "FitTimeDisplay",
    "FusionGainDisplay",
    "ModalityMaskDisplay",
    "PerClassDisplay",
    "ReliabilityDisplay",
]


MOST_BARS = 200  # patterns


def _colours(names: Iterable[str]) -> list[str]:
    return [SINGLE if is_single(name) else FUSION for name in names]


class FusionGainDisplay(BaseDisplay):
    """Show what each strategy gains over the best single modality, with its 95 % interval.

    A full dot is the fusion that the verdict speaks of; the other rows are exploratory, or of a
    report what each split gains. A row that lies far out is an arrow at the edge.

    Parameters
    ----------
    gains : DataFrame
        By strategy ``gain``, ``gain_low`` and ``gain_high``, the judged fusion first.
    scoring : str
        The score that is compared.

    Attributes
    ----------
    points_ : PathCollection
    intervals_ : LineCollection
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from mkfusion import FusionGainDisplay, compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategies=["early"])
    >>> display = FusionGainDisplay.from_comparison(found)
    >>> len(display.points_.get_offsets())
    4
    """

    points_: Any
    intervals_: Any

    def __init__(self, gains: pd.DataFrame, *, scoring: str) -> None:
        self.gains = gains
        self.scoring = scoring

    @classmethod
    def from_comparison(
        cls, result: FusionComparison, *, ax: Any = None, name: str | None = None, **kwargs: Any
    ) -> FusionGainDisplay:
        """Make and draw the picture of a comparison.

        Parameters
        ----------
        result : FusionComparison
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.scatter``.

        Returns
        -------
        display : FusionGainDisplay

        Raises
        ------
        ValueError
            If there is one modality only.
        """
        rows = gains(result)
        if rows.empty:
            raise ValueError("there is one modality, so there is nothing to gain from fusion")
        return cls(rows, scoring=result.scoring).plot(ax, name=name, **kwargs)

    @classmethod
    def from_report(
        cls, report: FusionReport, *, ax: Any = None, name: str | None = None, **kwargs: Any
    ) -> FusionGainDisplay:
        """Make and draw the picture of a report: the mean gain, and below it that of each split.

        Parameters
        ----------
        report : FusionReport
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.scatter``.

        Returns
        -------
        display : FusionGainDisplay
        """
        return cls(report_gains(report), scoring=report.scoring).plot(ax, name=name, **kwargs)

    def plot(self, ax: Any = None, *, name: str | None = None, **kwargs: Any) -> FusionGainDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.scatter``.

        Returns
        -------
        display : FusionGainDisplay
        """
        rows, places = self.gains, np.arange(len(self.gains))
        ax = self._start(ax, name, 7, 1.2 + 0.28 * len(rows))
        axis, colours = gain_axis(rows), _colours(rows.index)
        ax.axvline(0, color=GREY, linewidth=1, zorder=0)
        widths = np.where(places == 0, 3.5, 1.75)
        self.intervals_ = ax.hlines(
            places, rows["gain_low"], rows["gain_high"], colors=colours, linewidths=widths
        )
        faces = [colour if place == 0 else "white" for place, colour in enumerate(colours)]
        marks = {"s": np.where(places == 0, 60, 34), "linewidths": 1.75, "zorder": 3}
        marks |= {"edgecolors": colours, "facecolors": faces}
        self.points_ = ax.scatter(rows["gain"], places, **(marks | kwargs))
        for place, (low, high) in enumerate(rows[["gain_low", "gain_high"]].to_numpy()):
            for mark, edge, out in (
                ("<", axis.low, low < axis.low),
                (">", axis.high, high > axis.high),
            ):
                if out:
                    ax.plot(edge, place, mark, color=colours[place], clip_on=False)
        self._name_rows(rows.index)
        ax.get_yticklabels()[0].set_fontweight("bold")
        self._write_values([number(gain, signed=True) for gain in rows["gain"]])
        ax.set_xlim(axis.low, axis.high)
        label = f"gain in {shown(self.scoring)} over the best single modality"
        ax.set_xlabel(label, parse_math=False)
        return self


class PerClassDisplay(BaseDisplay):
    """Show a score of every class, of the best single modality and of the fusion.

    Parameters
    ----------
    scores : DataFrame of shape (n_classes, n_strategies)
        The score by class and strategy.
    metric : {"f1", "precision", "recall"}

    Attributes
    ----------
    points_ : list of PathCollection
        One for each strategy.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from mkfusion import PerClassDisplay, compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategies=["early"])
    >>> display = PerClassDisplay.from_comparison(found, metric="recall")
    >>> display.scores.shape
    (10, 2)
    """

    points_: list[Any]

    def __init__(self, scores: pd.DataFrame, *, metric: str) -> None:
        self.scores = scores
        self.metric = metric

    @classmethod
    def from_comparison(
        cls,
        result: FusionComparison,
        *,
        metric: str = "f1",
        strategies: Sequence[str] | None = None,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> PerClassDisplay:
        """Make and draw the picture of a comparison.

        Parameters
        ----------
        result : FusionComparison
        metric : {"f1", "precision", "recall"}, default="f1"
        strategies : sequence of str, default=None
            Rows of the table. None is the two that the verdict speaks of, and of more classes
            than a picture holds those whose f1 differ most.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.scatter``.

        Returns
        -------
        display : PerClassDisplay

        Raises
        ------
        ValueError
            For regression, and for a strategy that was not compared.
        """
        check_option("metric", metric, METRICS)
        if result.per_class.empty:
            raise ValueError("numbers were predicted, so there are no classes")
        if strategies is None:
            scores = compared_classes(result)[metric].set_axis(compared(result).values(), axis=1)
        else:
            rows = {row: class_scores(result, row)[metric] for row in strategies}
            _check_rows(result, rows)
            scores = pd.DataFrame(rows)
        return cls(scores, metric=metric).plot(ax, name=name, **kwargs)

    def plot(self, ax: Any = None, *, name: str | None = None, **kwargs: Any) -> PerClassDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.scatter``.

        Returns
        -------
        display : PerClassDisplay
        """
        scores, places = self.scores, np.arange(len(self.scores))
        ax = self._start(ax, name, 6, 1.4 + 0.26 * len(scores))
        ax.hlines(places, scores.min(axis=1), scores.max(axis=1), color=PALE, zorder=1)
        self.points_ = []
        series = zip(scores.to_numpy().T, _series(scores.columns), strict=True)
        for values, (colour, face) in series:
            marks = {"edgecolors": colour, "facecolors": face, "linewidths": 1.75, "zorder": 3}
            self.points_.append(ax.scatter(values, places, **(marks | kwargs)))
        self._name_rows(scores.index)
        ax.set_xlabel("F1" if self.metric == "f1" else self.metric)
        ax.grid(axis="x", color=PALE, linewidth=0.75)
        ax.set_axisbelow(True)
        self._legend(self.points_, scores.columns, **BESIDE)
        return self


def _check_rows(result: FusionComparison, names: Iterable[str]) -> None:
    unknown = [name for name in names if name not in result.table.index]
    if unknown:
        raise ValueError(
            f"no row {listed(unknown)}; the rows are {listed(result.table.index, 40)}"
        )


def _series(strategies: Iterable[str]) -> list[tuple[str, str]]:
    """Return the colour of each series and of its marker's face.

    The first single modality and the first fusion have the colours that they have everywhere.
    """
    others = [colour for colour in MANY if colour not in (FUSION, SINGLE)]
    free = {True: [SINGLE], False: [FUSION]}
    found = []
    for place, strategy in enumerate(strategies):
        single = is_single(strategy)
        colour = free[single].pop() if free[single] else others[place % len(others)]
        found.append((colour, "white" if single else colour))
    return found


class ReliabilityDisplay(BaseDisplay):
    """Show whether probabilities can be believed: what was predicted against what came.

    For classes the confidence against the share that is right, for numbers the prediction
    against the target; on the dashed diagonal both are the same.

    Parameters
    ----------
    curves : mapping of str to DataFrame
        By strategy a frame with ``predicted``, ``observed`` and ``count``.
    task : {"classification", "regression"}

    Attributes
    ----------
    lines_ : list of Line2D
        One for each strategy.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from mkfusion import ReliabilityDisplay, compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategies=["early"])
    >>> display = ReliabilityDisplay.from_comparison(found, strategies=["single:mor", "early"])
    >>> list(display.curves)
    ['single:mor', 'early']
    """

    lines_: list[Any]

    def __init__(self, curves: dict[str, pd.DataFrame], *, task: str) -> None:
        self.curves = curves
        self.task = task

    @classmethod
    def from_comparison(
        cls,
        result: FusionComparison,
        *,
        strategies: Sequence[str] | None = None,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> ReliabilityDisplay:
        """Make and draw the picture of a comparison.

        Parameters
        ----------
        result : FusionComparison
        strategies : sequence of str, default=None
            Rows of the table. None is the two that the verdict speaks of.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.plot``.

        Returns
        -------
        display : ReliabilityDisplay

        Raises
        ------
        ValueError
            For a strategy that was not compared, or if none states probabilities.
        """
        wanted = list(compared(result).values()) if strategies is None else list(strategies)
        _check_rows(result, wanted)
        found = curves(result)
        chosen = {row: found[row] for row in wanted if row in found}
        if not chosen:
            raise ValueError(f"without probabilities there is no curve: {listed(wanted)}")
        return cls(chosen, task=result.task).plot(ax, name=name, **kwargs)

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> ReliabilityDisplay:
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
        display : ReliabilityDisplay
        """
        ax = self._start(ax, name, 5.2, 5.2)
        classes = self.task == "classification"
        ax.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle="--", zorder=0)
        self.lines_ = []
        for curve, (colour, face) in zip(self.curves.values(), _series(self.curves), strict=True):
            style = {"marker": "o", "color": colour, "markerfacecolor": face}
            self.lines_ += ax.plot(curve["predicted"], curve["observed"], **(style | kwargs))
        ax.set_xlabel("confidence" if classes else "predicted")
        ax.set_ylabel("share that is right" if classes else "observed")
        if classes:
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.set_aspect("equal")
        ax.grid(color=PALE, linewidth=0.75)
        self._strip("top", "right")
        self._legend(self.lines_, self.curves, loc="best")
        return self


class AgreementDisplay(BaseDisplay):
    """Show how far the models of each two modalities agree.

    Parameters
    ----------
    agreement : DataFrame of shape (n_modalities, n_modalities)
        For classes the share of the rows with the same label, for numbers the correlation of the
        errors.
    task : {"classification", "regression"}

    Attributes
    ----------
    image_ : AxesImage
    text_ : ndarray of shape (n_modalities, n_modalities)
        The numbers in the cells.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from mkfusion import AgreementDisplay, compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategies=["early"])
    >>> AgreementDisplay.from_comparison(found).text_.shape
    (2, 2)
    """

    image_: Any
    text_: np.ndarray

    def __init__(self, agreement: pd.DataFrame, *, task: str) -> None:
        self.agreement = agreement
        self.task = task

    @classmethod
    def from_comparison(
        cls, result: FusionComparison, *, ax: Any = None, name: str | None = None, **kwargs: Any
    ) -> AgreementDisplay:
        """Make and draw the picture of a comparison.

        Parameters
        ----------
        result : FusionComparison
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.imshow``.

        Returns
        -------
        display : AgreementDisplay
        """
        return cls(result.agreement, task=result.task).plot(ax, name=name, **kwargs)

    def plot(self, ax: Any = None, *, name: str | None = None, **kwargs: Any) -> AgreementDisplay:
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
        display : AgreementDisplay
        """
        values = self.agreement.to_numpy(dtype=np.float64)
        ax = self._start(ax, name, 2.6 + 0.5 * len(values), 2 + 0.5 * len(values))
        classes = self.task == "classification"
        style = {"cmap": "Blues", "vmin": 0.0, "vmax": 1.7}
        if not classes:
            style = {"cmap": "RdBu", "vmin": -1.7, "vmax": 1.7}
        self.image_ = ax.imshow(values, **(style | kwargs))
        self.text_ = np.empty(values.shape, dtype=object)
        for (i, j), value in np.ndenumerate(values):
            centred = {"ha": "center", "va": "center", "color": "black"}
            self.text_[i, j] = ax.text(j, i, number(value, 2), **centred)
        self._name_rows(self.agreement.index)
        names = [shown(label, MOST // 2) for label in self.agreement.columns]
        turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(range(len(names)), names, parse_math=False, **turned)
        ax.tick_params(axis="x", length=0)
        self._strip("bottom")
        ax.set_xlabel("share of equal predictions" if classes else "correlation of the errors")
        return self


class FitTimeDisplay(BaseDisplay):
    """Show the mean seconds that each strategy takes to fit on one training set.

    Parameters
    ----------
    fit_times : Series
        Seconds by strategy.

    Attributes
    ----------
    bars_ : BarContainer
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from mkfusion import FitTimeDisplay, compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategies=["early"])
    >>> len(FitTimeDisplay.from_comparison(found).bars_)
    3
    """

    bars_: Any

    def __init__(self, fit_times: pd.Series) -> None:
        self.fit_times = fit_times

    @classmethod
    def from_comparison(
        cls, result: FusionComparison, *, ax: Any = None, name: str | None = None, **kwargs: Any
    ) -> FitTimeDisplay:
        """Make and draw the picture of a comparison.

        Parameters
        ----------
        result : FusionComparison
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``.

        Returns
        -------
        display : FitTimeDisplay
        """
        return cls(fit_times(result)).plot(ax, name=name, **kwargs)

    def plot(self, ax: Any = None, *, name: str | None = None, **kwargs: Any) -> FitTimeDisplay:
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
        display : FitTimeDisplay
        """
        seconds = self.fit_times
        ax = self._start(ax, name, 6.5, 1.1 + 0.28 * len(seconds))
        style = {"color": _colours(seconds.index), "height": 0.55}
        self.bars_ = ax.barh(range(len(seconds)), seconds.to_numpy(), **(style | kwargs))
        self._name_rows(seconds.index)
        self._write_values([f"{value:.3f}" for value in seconds])
        ax.set_xlabel("seconds to fit one training set")
        return self


class ModalityMaskDisplay(BaseDisplay):
    """Show who is missing where: the rows in order of their pattern, a bar where a modality is.

    Parameters
    ----------
    there : ndarray of bool of shape (n_patterns, n_modalities)
        Which modalities each pattern holds.
    counts : ndarray of int of shape (n_patterns,)
        The rows of each pattern.
    modalities : list of str

    Attributes
    ----------
    bars_ : list of BarContainer
        For each modality one bar by pattern that has it; none of more than 200 patterns.
    image_ : QuadMesh or None
        More patterns than that.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from mkfusion import ModalityMaskDisplay, compare_fusion
    >>> from mkfusion.datasets import load_multiple_features, simulate_missing
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X = simulate_missing(X[::10].filter(regex="mor|zer"), rate=0.3, random_state=0)
    >>> found = compare_fusion(X, y[::10], strategies=["early"])
    >>> ModalityMaskDisplay.from_comparison(found).counts.sum()
    np.int64(200)
    """

    bars_: list[Any]
    image_: Any

    def __init__(self, there: np.ndarray, counts: np.ndarray, *, modalities: list[str]) -> None:
        self.there = there
        self.counts = counts
        self.modalities = modalities

    @classmethod
    def from_comparison(
        cls, result: FusionComparison, *, ax: Any = None, name: str | None = None, **kwargs: Any
    ) -> ModalityMaskDisplay:
        """Make and draw the picture of a comparison.

        Parameters
        ----------
        result : FusionComparison
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``, or ``Axes.pcolormesh`` of more than 200 patterns.

        Returns
        -------
        display : ModalityMaskDisplay
        """
        there, counts = patterns(result)
        display = cls(there, counts, modalities=list(result.modalities))
        return display.plot(ax, name=name, **kwargs)

    @classmethod
    def from_data(
        cls,
        X: Any,
        modalities: Mapping[str, Any] | None = None,
        *,
        allow_overlap: bool = False,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> ModalityMaskDisplay:
        """Make and draw the picture of a table.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
        modalities : mapping of str to column selector, default=None
            None reads the prefixes before ``__`` in the column names.
        allow_overlap : bool, default=False
            Let two modalities share columns.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``, or ``Axes.pcolormesh`` of more than 200 patterns.

        Returns
        -------
        display : ModalityMaskDisplay
        """
        mask = modality_mask(X, modalities, allow_overlap=allow_overlap)
        rows = availability_table(mask.to_numpy().T, list(mask))
        there, counts = rows.iloc[:, :-1].to_numpy(bool), rows.iloc[:, -1].to_numpy(np.int64)
        return cls(there, counts, modalities=list(mask)).plot(ax, name=name, **kwargs)

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> ModalityMaskDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``, or ``Axes.pcolormesh`` of more than 200 patterns.

        Returns
        -------
        display : ModalityMaskDisplay
        """
        ax = self._start(ax, name, 7, 1.1 + 0.34 * len(self.modalities))
        total = self.counts.sum()
        self.bars_, self.image_ = [], None
        if len(self.counts) > MOST_BARS:
            self._draw_image(kwargs)
        else:
            self._draw_bars(kwargs)
        self._name_rows(self.modalities)
        shares = self.counts @ self.there / total
        self._write_values([f"{100 * share:.1f} %" for share in shares])
        ax.set_xlim(0, total)
        ax.set_xlabel("rows, those of one pattern side by side")
        return self

    def _draw_bars(self, kwargs: Any) -> None:
        ends = np.cumsum(self.counts)
        style = {"color": FUSION, "height": 0.6} | kwargs
        for place, has in enumerate(self.there.T):
            self.ax_.barh(place, ends[-1], color=PALE, height=0.08, zorder=0)
            starts = (ends - self.counts)[has]
            bars = self.ax_.barh(np.full(has.sum(), place), self.counts[has], left=starts, **style)
            self.bars_.append(bars)

    def _draw_image(self, kwargs: Any) -> None:
        """Draw many patterns at once, those side by side that share the first modalities."""
        from matplotlib.colors import ListedColormap

        order = np.lexsort(~self.there.T[::-1])
        edges = np.concatenate([[0], np.cumsum(self.counts[order])])
        rows = np.arange(len(self.modalities))
        heights = np.column_stack([rows - 0.3, rows + 0.3]).ravel()
        cells = np.ma.masked_all((len(heights) - 1, len(order)))
        cells[::2] = self.there[order].T
        style = {"cmap": ListedColormap([PALE, kwargs.pop("color", FUSION)]), "vmin": 0, "vmax": 1}
        self.image_ = self.ax_.pcolormesh(edges, heights, cells, **(style | kwargs))
