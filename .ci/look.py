"""Look at pages of a built site in headless Chromium, as a reader would.

look.py FOLDER [--shots FOLDER] [PAGE...]

Each page is opened wide and narrow, light and dark. Nothing may reach beyond the window's edge,
every picture is loaded, every formula has a size, nothing is asked of another computer, and the
browser complains of nothing.
"""

import argparse
import base64
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from chromium import chromium  # noqa: E402

WIDTHS = {"wide": 1280, "narrow": 390}
SCHEMES = ("light", "dark")
# One of each kind; of a folder, its first page.
PAGES = (
    "index.html",
    "start.html",
    "choose.html",
    "api/index.html",
    "api/mkfusion.MKLClassifier.html",
    "api/mkfusion.rules.fuse.html",
    "api/mkfusion.rules.RULES.html",
    "guide/[!i]*.html",
    "practice/[!i]*.html",
    "coming_from/[!i]*.html",
    "extending/[!i]*.html",
    "auto_gallery/plot_*.html",
    "notebooks/[!i]*.html",
)

STATE = """(() => {
  const edge = document.documentElement.clientWidth;
  const inside = element => {  // of something that scrolls by itself, or is not shown
    for (let e = element; e && e !== document.body; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.position === "fixed" || style.visibility === "hidden") return true;
      if (e !== element && ["auto", "scroll", "hidden"].includes(style.overflowX)) return true;
    }
    return false;
  };
  const named = e => e.tagName.toLowerCase() + (e.className.baseVal ?? e.className ? "." + String(
    e.className.baseVal ?? e.className).trim().replace(/\\s+/g, ".") : "");
  const out = [...document.querySelectorAll("body *")].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && box.right > edge + 1 && !inside(element);
  });
  return {
    scrolls: document.documentElement.scrollWidth - edge,
    out: out.slice(0, 5).map(named),
    pictures: [...document.images].filter(i => i.offsetParent && i.complete && !i.naturalWidth)
      .map(i => i.src),
    nameless: [...document.images].filter(i => !i.alt).map(i => i.src),
    formulas: document.querySelectorAll("article math").length,
    flat: [...document.querySelectorAll("article math")].filter(
      m => m.checkVisibility() && !(m.getBoundingClientRect().height > 4)).length,
    background: getComputedStyle(document.body).backgroundColor,
  };
})()"""


def wrong(state, page):
    """List what is wrong with an open page."""
    found = []
    if state["scrolls"] > 0 or state["out"]:
        found.append(f"{state['scrolls']} pixels too wide: {', '.join(state['out'])}")
    found += [f"this picture is not shown: {source}" for source in state["pictures"]]
    found += [f"without alternative text: {source}" for source in state["nameless"]]
    if state["flat"]:
        found.append(f"{state['flat']} formulas have no size")
    away = [url for url in page.requests() if not url.startswith(("file:", "data:", "blob:"))]
    found += [f"asked for {url}" for url in away]
    said = [event["params"] for event in page.complaints()]
    return found + [f"the browser says: {what}" for what in said if what.get("type") != "log"]


def luminance(colour):
    red, green, blue = (int(float(part)) for part in colour.strip("rgba()").split(",")[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def look(browser, site, path, shots):
    """Open one page in every way; return what was wrong, and how many formulas it has."""
    found, formulas = [], 0
    for scheme in SCHEMES:
        for name, width in WIDTHS.items():
            page = browser.open(path.as_uri(), width=width, scheme=scheme)
            state = page.run(STATE)
            complaints = wrong(state, page)
            if (luminance(state["background"]) < 0.5) != (scheme == "dark"):
                complaints.append(f"the background is {state['background']}")
            formulas = state["formulas"]
            place = path.relative_to(site).as_posix()
            found += [f"{place} ({name}, {scheme}): {what}" for what in complaints]
            if shots:
                picture = page.ask("Page.captureScreenshot")["data"]
                file = f"{place.replace('/', '_').removesuffix('.html')}-{name}-{scheme}.png"
                (shots / file).write_bytes(base64.b64decode(picture))
    return found, formulas


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--shots", type=Path)
    given = parser.parse_args()
    site = given.site.resolve()
    patterns = given.pages or PAGES
    matches = [sorted(site.glob(pattern)) for pattern in patterns]
    chosen = [path for found in matches for path in (found if given.pages else found[:1])]
    if given.shots:
        given.shots.mkdir(parents=True, exist_ok=True)
    found, formulas = [], 0
    with tempfile.TemporaryDirectory() as profile, chromium(profile) as browser:
        for path in chosen:
            complaints, count = look(browser, site, path, given.shots)
            found, formulas = found + complaints, formulas + count
    if not formulas:
        found.append("none of the pages has a formula")
    sys.stdout.write("".join(f"{line}\n" for line in found))
    ways = len(WIDTHS) * len(SCHEMES)
    sys.stdout.write(f"{len(chosen)} pages looked at {ways} times, {formulas} formulas\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
