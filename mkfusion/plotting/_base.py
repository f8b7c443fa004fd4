"""What the Displays share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .._pictures import number, shown
from .._validation import install

__all__ = ["BESIDE", "FUSION", "GREY", "MANY", "MOST", "PALE", "SINGLE", "BaseDisplay", "share"]

# Okabe, Ito (2008): colours that the colour-blind tell apart.
FUSION, SINGLE = "#0072b2", "#d55e00"
MANY = (FUSION, "#e69f00", "#009e73", "#cc79a7", "#56b4e9", SINGLE, "#8a6d1f", "#5d5d8c")
BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
GREY, PALE = "#6b7480", "#d8dce1"
MOST = 32


class BaseDisplay:
    """What the Displays share: where they draw, and that names stay text."""

    ax_: Any
    figure_: Any

    def _start(self, ax: Any, name: Any, width: float, height: float) -> Any:
        if ax is None:
            _, ax = _pyplot(type(self)).subplots(figsize=(width, height), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        if name is not None:
            ax.set_title(shown(name), parse_math=False)
        return ax

    def _name_rows(self, names: Iterable[Any]) -> None:
        """Write names down the vertical axis, the first one on top."""
        texts = [shown(name, MOST) for name in names]
        self.ax_.set_yticks(range(len(texts)), texts, parse_math=False)
        self.ax_.set_ylim(len(texts) - 0.5, -0.5)
        self.ax_.tick_params(axis="y", length=0)
        self._strip("top", "right", "left")

    def _strip(self, *sides: str) -> None:
        for side in sides:
            self.ax_.spines[side].set_visible(False)

    def _write_values(self, texts: Sequence[str]) -> list[Any]:
        """Write a number right of each row."""
        across = self.ax_.get_yaxis_transform()
        return [
            self.ax_.text(1.02, y, text, transform=across, va="center", color=GREY)
            for y, text in enumerate(texts)
        ]

    def _right(self, points: float, rows: bool = True) -> Any:
        """Return where x = 1 is so many points right of the axes, and y a row or a share."""
        from matplotlib.transforms import ScaledTranslation

        shift = ScaledTranslation(points / 72, 0, self.figure_.dpi_scale_trans)
        return (self.ax_.get_yaxis_transform() if rows else self.ax_.transAxes) + shift

    def _legend(self, handles: Sequence[Any], names: Iterable[Any], **options: Any) -> Any:
        # A label that starts with an underscore would be left out.
        labels = [f"\u200b{shown(name, MOST)}" for name in names]
        legend = self.ax_.legend(handles, labels, frameon=False, **options)
        for text in legend.get_texts():
            text.set_parse_math(False)
        return legend


def _pyplot(display: type) -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{display.__name__} needs matplotlib: {install('plot')}") from error
    return plt


def share(weight: float, decimals: int = 3) -> str:
    """Write a weight, of which only none is 0."""
    least = 10.0**-decimals
    if weight == 0:
        return "0"
    return f"<{number(least, decimals)}" if weight < least / 2 else number(weight, decimals)
