"""The pictures of multiple kernel learning: weights of kernels, and weights along a path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._pictures import shown
from .._validation import check_lengths, listed
from ..mkl import WEIGHTINGS
from ._base import FUSION, GREY, MANY, MOST, PALE, BaseDisplay, share

__all__ = ["KernelPathDisplay", "KernelWeightsDisplay"]

Array = np.ndarray

MOST_KERNELS = 24
MOST_LINES = 8
MOST_TICKS = 30
WITH_NUMBERS = 14  # classes, beyond which the cells of a heat map hold no numbers
DASHES = ("-", "--", ":", "-.")


class _Group(NamedTuple):
    """The kernels of a modality that are drawn: the rows from ``first`` on."""

    modality: str
    first: int
    kernels: list[int]


class KernelWeightsDisplay(BaseDisplay):
    """Show the weights that multiple kernel learning gave to kernels and modalities.

    A bar is a kernel, its colour the modality that it sees; modalities and the kernels within
    them stand in the order of their weights. At the right are the sums by modality. Of weights
    by class it is a heat map of kernels by classes, with their means at the right. Of many
    kernels the largest are drawn, and the others counted.

    Parameters
    ----------
    names : sequence of str
        The kernels.
    modalities : sequence of str
        The modality that each kernel sees.
    weights : array-like of shape (n_kernels,) or (n_classes, n_kernels)
    classes : sequence, default=None
        The classes that have weights of their own; None numbers them.

    Attributes
    ----------
    bars_ : BarContainer or None
        In the order of the rows.
    image_ : AxesImage or None
        Of weights by class.
    kernels_ : list of int
        The kernel in each row, from the top.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    KernelPathDisplay : The weights along C or the norm.

    Examples
    --------
    >>> from mkfusion import KernelWeightsDisplay, MKLClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> fusion = MKLClassifier(C=10).fit(X[::10], y[::10])
    >>> display = KernelWeightsDisplay.from_estimator(fusion)
    >>> len(display.bars_)
    6
    """

    bars_: Any
    image_: Any
    kernels_: list[int]

    def __init__(
        self,
        names: Sequence[str],
        modalities: Sequence[str],
        weights: Any,
        *,
        classes: Sequence[Any] | None = None,
    ) -> None:
        self.names = names
        self.modalities = modalities
        self.weights = weights
        self.classes = classes

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        most: int = MOST_KERNELS,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> KernelWeightsDisplay:
        """Make and draw the picture of a fitted estimator.

        Parameters
        ----------
        estimator : MKLClassifier, MKLRegressor, MKLOneClass or MKLTransformer
        most : int, default=24
            Kernels that are drawn, those of largest weight.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``, or ``Axes.imshow`` of weights by class.

        Returns
        -------
        display : KernelWeightsDisplay

        Raises
        ------
        ValueError
            If the kernels are multiplied, which leaves no share for each.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "kernel_weights_"):
            raise TypeError(
                "estimator must be one of mkfusion.mkl that has kernel_weights_, got "
                f"{type(estimator).__name__}; of a pipeline or a search take the estimator inside"
            )
        weighting = getattr(estimator, "weighting", None)
        way = WEIGHTINGS.get(weighting) if isinstance(weighting, str) else None
        if way is not None and way.form != "linear":
            raise ValueError(
                f"weighting={weighting!r} multiplies kernels: no kernel has a weight of its own "
                "to show"
            )
        return cls.from_weights(
            estimator.kernel_names_, estimator.kernel_modalities_, estimator.kernel_weights_,
            classes=getattr(estimator, "classes_", None), most=most, ax=ax, name=name, **kwargs,
        )  # fmt: skip

    @classmethod
    def from_weights(
        cls,
        names: Sequence[str],
        modalities: Sequence[str],
        weights: Any,
        *,
        classes: Sequence[Any] | None = None,
        most: int = MOST_KERNELS,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> KernelWeightsDisplay:
        """Make and draw the picture of weights.

        Parameters
        ----------
        names : sequence of str
            The kernels.
        modalities : sequence of str
            The modality that each kernel sees.
        weights : array-like of shape (n_kernels,) or (n_classes, n_kernels)
        classes : sequence, default=None
            The classes that have weights of their own; None numbers them.
        most : int, default=24
            Kernels that are drawn, those of largest weight.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``, or ``Axes.imshow`` of weights by class.

        Returns
        -------
        display : KernelWeightsDisplay
        """
        numbers = _check_weights(names, modalities, weights)
        display = cls(list(names), list(modalities), numbers, classes=classes)
        return display.plot(ax, most=most, name=name, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        most: int = MOST_KERNELS,
        name: str | None = None,
        **kwargs: Any,
    ) -> KernelWeightsDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        most : int, default=24
            Kernels that are drawn, those of largest weight.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.barh``, or ``Axes.imshow`` of weights by class.

        Returns
        -------
        display : KernelWeightsDisplay
        """
        weights = _check_weights(self.names, self.modalities, self.weights)
        table, by_class = np.atleast_2d(weights), weights.ndim > 1
        means = table.mean(axis=0)
        groups = _groups(self.modalities, means, max(1, most))
        sums = self._sums(groups, means)
        self.kernels_ = [kernel for group in groups for kernel in group.kernels]
        names = [self.names[kernel] for kernel in self.kernels_]
        self.bars_ = self.image_ = None
        letters = min(MOST, max(map(len, map(shown, names)))) + max(map(len, sums), default=0)
        width = (3.5 if not by_class else _width(len(table))) + 0.085 * letters
        self._start(ax, name, max(7.0, 1.5 + width), 1.2 + 0.28 * len(self.kernels_))
        if by_class:
            self._draw_classes(table, kwargs)
        else:
            self._draw_bars(weights, [FUSION] if not sums else MANY, groups, kwargs)
        self._name_rows(names)
        for row, kernel in enumerate(self.kernels_):
            self._write(8, row, share(means[kernel]), color=GREY)
        if by_class:
            self._write(8, -0.8, "mean", color=GREY)
        self._bracket(groups, sums)
        label = ["class" if by_class else "weight", *_left_out(means, self.kernels_)]
        self.ax_.set_xlabel("\n".join(label))
        return self

    def _sums(self, groups: Sequence[_Group], means: Array) -> list[str]:
        """Return the sum of each modality, none where they are what the rows say."""
        own = [np.array([name == group.modality for name in self.modalities]) for group in groups]
        kernels = [group.kernels for group in groups]
        alone = all(mine.sum() == 1 for mine in own)
        if alone and all(self.names[k] == self.modalities[k] for (k,) in kernels):
            return []
        found = []
        for group, mine in zip(groups, own, strict=True):
            count, drawn = int(mine.sum()), len(group.kernels)
            part = f"  ({drawn} of {count})" if drawn < count else ""
            found.append(f"{shown(group.modality, MOST)}  {share(means[mine].sum())}{part}")
        return found

    def _draw_bars(
        self, weights: Array, colours: Sequence[str], groups: Sequence[_Group], kwargs: Any
    ) -> None:
        each = [colours[g % len(colours)] for g, group in enumerate(groups) for _ in group.kernels]
        style = {"color": each, "height": 0.6} | kwargs
        self.bars_ = self.ax_.barh(range(len(each)), weights[self.kernels_], **style)
        self.ax_.set_xlim(0, 1.04 * (weights.max() or 1.0))
        self.ax_.grid(axis="x", color=PALE, linewidth=0.75)
        self.ax_.set_axisbelow(True)

    def _draw_classes(self, table: Array, kwargs: Any) -> None:
        cells = table[:, self.kernels_].T
        style = {"cmap": "Blues", "vmin": 0.0, "vmax": 1.7 * (float(table.max()) or 1.0)}
        self.image_ = self.ax_.imshow(cells, **(style | {"aspect": "auto"} | kwargs))
        if len(table) <= WITH_NUMBERS:
            for (i, j), value in np.ndenumerate(cells):
                text = share(value, 2)
                self.ax_.text(j, i, text, ha="center", va="center", fontsize="small")
        classes = range(len(table)) if self.classes is None else self.classes
        step = 1 + (len(table) - 1) // MOST_TICKS
        labels = [shown(label, MOST // 2) for label in list(classes)[::step]]
        turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        turned = turned if max(map(len, labels)) > 3 else {}
        self.ax_.set_xticks(range(0, len(table), step), labels, parse_math=False, **turned)
        self.ax_.tick_params(axis="x", length=0)
        self._strip("bottom")

    def _bracket(self, groups: Sequence[_Group], sums: Sequence[str]) -> None:
        """Write the sums of the modalities beside their rows."""
        for g, ((_, first, kernels), text) in enumerate(zip(groups, sums, strict=False)):
            ends = (first - 0.3, first + len(kernels) - 0.7)
            colour = GREY if self.bars_ is None else MANY[g % len(MANY)]
            self.ax_.plot(
                (1, 1), ends, color=colour, linewidth=3, transform=self._right(52),
                clip_on=False, solid_capstyle="butt",
            )  # fmt: skip
            self._write(60, sum(ends) / 2, text)

    def _write(self, points: float, row: float, text: str, **style: Any) -> None:
        """Write so many points right of a row."""
        style |= {"transform": self._right(points), "va": "center", "parse_math": False}
        self.ax_.text(1, row, text, **style)


def _width(n_classes: int) -> float:
    """Return the inches of a heat map."""
    return 0.5 * n_classes if n_classes <= WITH_NUMBERS else max(7.0, min(10.0, 0.2 * n_classes))


def _check_weights(names: Sequence[str], modalities: Sequence[str], weights: Any) -> Array:
    numbers = np.asarray(weights, dtype=np.float64)
    check_lengths(names=names, modalities=modalities)
    if numbers.ndim not in (1, 2) or numbers.shape[-1] != len(names) or not numbers.size:
        raise ValueError(
            f"weights must have one number for each of {len(names)} kernels ({listed(names)}), "
            f"or a row of them for each class, got shape {numbers.shape}"
        )
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        raise ValueError("weights must be finite and not negative")
    return numbers


def _groups(modalities: Sequence[str], weights: Array, most: int) -> list[_Group]:
    """Return what is drawn of each modality, the largest first; of equals the first."""
    kept = np.argsort(-weights, kind="stable").tolist()
    if len(kept) > most:
        kept = [kernel for kernel in kept[:most] if weights[kernel] > 0] or kept[:1]
    totals = dict.fromkeys(modalities, 0.0)
    for name, weight in zip(modalities, weights, strict=True):
        totals[name] += weight
    groups, first = [], 0
    for modality in sorted(totals, key=lambda name: -round(totals[name], 12)):
        own = [kernel for kernel in kept if modalities[kernel] == modality]
        if own:
            groups.append(_Group(modality, first, own))
            first += len(own)
    return groups


def _left_out(weights: Array, drawn: Sequence[int]) -> list[str]:
    """Say what is not drawn."""
    others = np.delete(weights, list(drawn))
    small, zero = others[others > 0], int((others == 0).sum())
    count = "one smaller kernel has" if len(small) == 1 else f"{len(small)} smaller kernels share"
    notes = [f"{count} {share(small.sum())}"] if len(small) else []
    notes += (
        [f"{zero} more have weight 0" if zero > 1 else "one more has weight 0"] if zero else []
    )
    return [", ".join(notes)] if notes else []


class KernelPathDisplay(BaseDisplay):
    """Show kernel weights along a parameter, as :func:`mkfusion.mkl_path` returns them.

    The kernels of most weight (in its root mean square) are coloured lines with their names, at
    the end where these lie farther apart; the others are grey. C has a logarithmic axis. The norm
    p is drawn at 1 - 1/p, so that infinity has a place of its own.

    Parameters
    ----------
    path : KernelPath
        Or what has its ``param``, ``values``, ``kernel_names`` and ``weights``.

    Attributes
    ----------
    lines_ : list of Line2D
        Of the kernels that are named, the one of most weight first.
    others_ : LineCollection
        Of the other kernels that ever have weight.
    kernels_ : list of int
        The kernel of each line.
    labels_ : list of Text
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    KernelWeightsDisplay : The weights of one fit.

    Examples
    --------
    >>> from mkfusion import KernelPathDisplay, MKLClassifier, mkl_path
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> path = mkl_path(MKLClassifier(), X[::10], y[::10], values=[0.1, 1.0, 10.0])
    >>> display = KernelPathDisplay.from_path(path)
    >>> display.ax_.get_xscale()
    'log'
    """

    lines_: list[Any]
    others_: Any
    kernels_: list[int]
    labels_: list[Any]

    def __init__(self, path: Any) -> None:
        self.path = path

    @classmethod
    def from_path(
        cls,
        path: Any,
        *,
        most: int = MOST_LINES,
        ax: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> KernelPathDisplay:
        """Make and draw the picture of a path.

        Parameters
        ----------
        path : KernelPath
        most : int, default=8
            Kernels that are named.
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.plot``.

        Returns
        -------
        display : KernelPathDisplay
        """
        return cls(path).plot(ax, most=most, name=name, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        most: int = MOST_LINES,
        name: str | None = None,
        **kwargs: Any,
    ) -> KernelPathDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        most : int, default=8
            Kernels that are named.
        name : str, default=None
            A title.
        **kwargs : dict
            For ``Axes.plot``.

        Returns
        -------
        display : KernelPathDisplay
        """
        path = self.path
        values = np.asarray(path.values, dtype=np.float64)
        order = np.argsort(values, kind="stable")
        values, weights = values[order], np.asarray(path.weights, dtype=np.float64)[order]
        largest = weights.max(axis=0)
        ranked = np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")
        self.kernels_ = ranked[: max(1, most)].tolist()
        rest = [m for m in ranked[max(1, most) :].tolist() if largest[m] > 0]
        ax = self._start(ax, name, 7, 4.4)
        places = self._place(values)
        curves = [np.column_stack([places, weights[:, m]]) for m in rest]
        self.others_ = _grey_lines(ax, curves)
        self.lines_ = []
        for m in self.kernels_:
            # By its place in the path: pictures of the same kernels agree in their colours.
            row = sorted(self.kernels_).index(m)
            style = {"color": MANY[row % len(MANY)], "linewidth": 1.75, "marker": "o"}
            style |= {"markersize": 4, "linestyle": DASHES[row // len(MANY) % len(DASHES)]}
            self.lines_ += ax.plot(places, weights[:, m], **(style | kwargs))
        ax.set_ylim(-0.02 * largest.max(), 1.05 * (largest.max() or 1.0))
        self._name_lines(places, weights[:, self.kernels_])
        ax.set_ylabel("kernel weight")
        ax.grid(axis="y", color=PALE, linewidth=0.75)
        self._strip("top", "right")
        never = int((largest == 0).sum() - (largest[self.kernels_] == 0).sum())
        count = "one more kernel" if len(rest) == 1 else f"{len(rest)} more kernels"
        notes = [f"grey: {count}"] if rest else []
        notes += [f"{never} more have weight 0 throughout"] if never else []
        label = "norm p" if path.param == "norm" else shown(path.param)
        ax.set_xlabel("\n".join([label, *([", ".join(notes)] if notes else [])]), parse_math=False)
        return self

    def _place(self, values: Array) -> Array:
        """Return where values stand on the horizontal axis, and write it."""
        if self.path.param != "norm":
            self.ax_.set_xscale("log")
            return values
        places = 1 - 1 / values
        ticks = _apart(places, 0.06)
        texts = ["\N{INFINITY}" if np.isinf(v) else f"{v:.3g}" for v in values[ticks]]
        self.ax_.set_xticks(places[ticks], texts)
        return places

    def _name_lines(self, places: Array, weights: Array) -> None:
        """Write names beside the lines, at the end where these lie farther apart."""
        left = _spread(weights[0]) > 1.25 * _spread(weights[-1])
        ends, at = (weights[0], places[0]) if left else (weights[-1], places[-1])
        low, high = self.ax_.get_ylim()
        # Of equal ends the one that was larger elsewhere stands higher.
        order = np.lexsort((-weights.max(axis=0), -weights.mean(axis=0), -np.round(ends, 9)))
        heights = _separated((ends[order] - low) / (high - low), 0.055)
        if left:
            self.ax_.yaxis.tick_right()
            self.ax_.yaxis.set_label_position("right")
            self.ax_.spines["left"].set_visible(False)
        side, align = (-0.05, "right") if left else (1.05, "left")
        line = {"arrowstyle": "-", "linewidth": 0.75, "alpha": 0.6, "relpos": (float(left), 0.5)}
        self.labels_ = []
        for height, m in zip(heights, order, strict=True):
            colour = self.lines_[m].get_color()
            label = self.ax_.annotate(
                shown(self.path.kernel_names[self.kernels_[m]], MOST),
                (at, ends[m]), xytext=(side, height), textcoords="axes fraction",
                ha=align, va="center", color=colour, parse_math=False, annotation_clip=False,
                arrowprops=line | {"color": colour},
            )  # fmt: skip
            self.labels_.append(label)


def _grey_lines(ax: Any, curves: Sequence[Array]) -> Any:
    from matplotlib.collections import LineCollection

    return ax.add_collection(
        LineCollection(curves, colors=GREY, alpha=0.28, linewidths=1, zorder=1)
    )


def _spread(ends: Array) -> float:
    """Return by how much neighbours differ, the nearest counting most."""
    return float(np.sqrt(np.diff(np.sort(ends))).sum())


def _apart(places: Array, least: float) -> list[int]:
    """Return as many places as stand so far apart, the first and the last among them."""
    span = (places[-1] - places[0]) or 1.0
    kept = [0]
    for j in range(1, len(places)):
        if places[j] - places[kept[-1]] >= least * span:
            kept.append(j)
    if kept[-1] != len(places) - 1:
        kept[-1 if len(kept) > 1 else len(kept) :] = [len(places) - 1]
    return kept


def _separated(heights: Array, least: float) -> Array:
    """Return heights, given from the top down, moved so far apart inside 0 to 1."""
    least = min(least, 1 / max(1, len(heights) - 1))
    found = np.minimum(heights, 1.0)
    for j in range(1, len(found)):
        found[j] = min(found[j], found[j - 1] - least)
    found[-1] = max(found[-1], 0.0)
    for j in range(len(found) - 2, -1, -1):
        found[j] = max(found[j], found[j + 1] + least)
    return found
