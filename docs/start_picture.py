"""Draws the picture of start.md from that page's own first block.

python docs/start_picture.py    writes docs/_static/start.svg
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.hashsalt": "mkfusion", "font.size": 9})

DOCS = Path(__file__).resolve().parent


def first_block(page: str) -> str:
    return page.partition("```python\n")[2].partition("```")[0]


def draw() -> None:
    names: dict[str, object] = {}
    exec(first_block((DOCS / "start.md").read_text(encoding="utf-8")), names)
    figure = names["picture"].figure_
    figure.set_size_inches(7.5, 5.5)
    figure.savefig(DOCS / "_static" / "start.svg", bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    draw()
