"""A toctree that lists, of the pages and patterns named, those that are there."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.directives.other import TocTree
from sphinx.util import docname_join
from sphinx.util.matching import patfilter
from sphinx.util.nodes import explicit_title_re


class Pages(TocTree):
    """Like a toctree with `:glob:`. A page that no index lists is an error all the same."""

    def run(self) -> list[nodes.Node]:
        self.options["glob"] = None
        left = set(self.env.found_docs) - {self.env.docname}
        kept = []
        for name in self.content:
            titled = explicit_title_re.match(name)
            page = titled[2] if titled else name.strip()
            page = docname_join(self.env.docname, page) if page else ""
            found = set(patfilter(left, page)) if page else set()
            left -= found
            kept += [name] if found else []
        self.content = StringList(kept, self.content.source(0))
        return super().run()


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("pages", Pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
