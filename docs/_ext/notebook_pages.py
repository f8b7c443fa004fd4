"""Takes the notebooks, which lie beside the manual, into it.

They are copied when a build begins; links to pages, which say `../docs/` where the notebooks lie,
say `../` in the copy.
"""

from pathlib import Path
from typing import Any

COPIED = "*.ipynb"


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


def copy(app: Any) -> None:
    docs = Path(app.srcdir)
    copy_notebooks(docs.parent / "notebooks", docs / "notebooks")


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
