"""Takes the notebooks, which lie beside the manual, into it.

They are copied when a build begins. Links are written for those who read in the repository: of a
page a notebook says `../docs/start.md`, and its copy `../start.md`; of a notebook a page says
`../notebooks/00_tour.ipynb`, from a folder below `../../notebooks/00_tour.ipynb`, and it is read
without the first `../`, which leads to the copy.
"""

import re
from pathlib import Path
from typing import Any

COPIED = "*.ipynb"
LINK = re.compile(r"\]\(((?:\.\./)+)(notebooks/[^)\s]+\.ipynb[)#])")


def copy_notebooks(source: Path, target: Path) -> None:
    """Make the notebooks below `target` what those in `source` are."""
    wanted = {path.name: path for path in source.glob(COPIED)}
    for path in target.glob(COPIED):
        if path.name not in wanted:
            path.unlink()
    for name, path in wanted.items():
        text = path.read_text(encoding="utf-8").replace("](../docs/", "](../")
        copy = target / name
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8", newline="\n")


def to_copies(page: str, text: str) -> str:
    """Let a page's links to the notebooks beside the manual lead to their copies in it."""
    out = "../" * (page.count("/") + 1)  # from the page's folder out of the manual
    return LINK.sub(
        lambda link: f"]({link[1].removesuffix('../')}{link[2]}" if link[1] == out else link[0],
        text,
    )


def copy(app: Any) -> None:
    docs = Path(app.srcdir)
    copy_notebooks(docs.parent / "notebooks", docs / "notebooks")


def read(app: Any, page: str, source: list[str]) -> None:
    source[0] = to_copies(page, source[0])


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", copy)
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
