"""Gives the small pictures of the gallery's index the titles of their pages as texts."""

import re
from typing import Any

from docutils import nodes

THUMBNAIL = re.compile(r"sphx_glr_(\w+)_thumb\.\w+$")


def describe(app: Any, doctree: nodes.document, docname: str) -> None:
    folder = docname.rpartition("/")[0]
    for image in doctree.findall(nodes.image):
        found = THUMBNAIL.search(image["uri"])
        title = app.env.titles.get(f"{folder}/{found[1]}") if found else None
        if title is not None and not image.get("alt"):
            image["alt"] = f"The picture of: {title.astext()}"


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-resolved", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
