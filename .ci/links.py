"""Check a built site, by reading its files and nothing else.

links.py FOLDER    every link within the site leads to a file, and to an anchor that is there;
                   every picture is there and has alternative text; nothing comes from elsewhere
"""

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself when it opens a page, and what it only follows when asked.
LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("link", "href"),
    ("iframe", "src"),
    ("source", "src"),
}
FOLLOWED = {("a", "href"), ("area", "href")}
ELSEWHERE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")


class Page(HTMLParser):
    """Collects of a page its anchors and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.references, self.wrong = {"", "top"}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        held = dict(attributes)
        line = self.getpos()[0]
        for name in ("id", "name") if tag == "a" else ("id",):
            if held.get(name):
                self.anchors.add(held[name])
        if tag == "img" and not (held.get("alt") or "").strip():
            self.wrong.append((line, f"a picture without alternative text: {held.get('src')}"))
        for name, value in attributes:
            if value and (tag, name) in LOADED | FOLLOWED:
                self.references.append((line, (tag, name) in LOADED, value.strip()))


@cache
def read(path):
    return Page(path.read_text(encoding="utf-8"))


def complaints(site, path):
    """Yield (line, what is wrong) of one page."""
    page = read(path)
    yield from page.wrong
    for line, loaded, reference in page.references:
        parts = urlsplit(reference)
        if parts.scheme or parts.netloc:
            if loaded and parts.scheme != "data":
                yield line, f"loaded from elsewhere: {reference}"
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        if not target.is_relative_to(site) or not target.is_file():
            yield line, f"no such file: {reference}"
        elif target.suffix == ".html" and unquote(parts.fragment) not in read(target).anchors:
            yield line, f"no such anchor: {reference}"


def main(folder):
    site = Path(folder).resolve()
    pages = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    if not pages:
        sys.exit(f"{folder} holds no page")
    wrong = [
        f"{path.relative_to(site)}:{line}: {what}"
        for path in pages
        for line, what in complaints(site, path)
    ]
    wrong += [
        f"{path.relative_to(site)}: loaded from elsewhere: {address}"
        for path in sorted(site.rglob("*.css"))
        for address in ELSEWHERE.findall(path.read_text(encoding="utf-8"))
    ]
    count = sum(len(read(path).references) for path in pages)
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    sys.stdout.write(f"{len(pages)} pages, {count} links and pictures, {len(wrong)} wrong\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
