"""The page: every picture and number there, names as text, nothing loaded; and in a browser."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import chromium
from comparisons import HOSTILE, made
from examinations import examined

import mkfusion
from mkfusion import _pictures as pictures
from mkfusion import compare_fusion, write_report
from mkfusion.evaluation import examine_fusion
from mkfusion.report import render_report

pytestmark = pytest.mark.interface

TEMPLATES = Path(mkfusion.__file__).parent / "templates"
VOID = {"meta", "link", "br", "img", "input", "hr"}
ALL = {"gains", "f1", "precision", "recall", "curve1", "curve2", "agreement", "times", "who"}


class Document(HTMLParser):
    """A page read as a browser reads it: tags with attributes, and the text between them."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.open = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def pictures(self):
        """The pictures by name; small ones of the other strategies are left out."""
        shown = [a["aria-labelledby"] for a in self.all("svg") if a.get("role") == "img"]
        return {label.split("-title")[0] for label in shown if not label.startswith("other")}


def read(result, **options):
    return Document(render_report(result, **options))


# What is there ------------------------------------------------------------------------------


def test_every_picture_and_section_is_there():
    page = read(made(3, 4))
    assert page.open == []
    assert page.pictures == ALL
    for anchor in page.all("a"):
        assert anchor["href"][1:] in {attributes.get("id") for _, attributes in page.tags}


def test_every_picture_is_named_and_described():
    page = read(made(3, 4))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for svg in page.all("svg"):
        if svg.get("role") == "img":
            assert set(svg["aria-labelledby"].split()) <= set(ids)


def test_the_verdict_comes_first():
    result = made(3, 4)
    page = render_report(result, title="digits.csv")
    assert page.startswith("<!doctype html>")
    headline, _, lead = result.verdict.partition(": ")
    assert f"<h1>{headline}</h1>" in page
    assert f"{lead[:1].upper()}{lead[1:]}" in Document(page).text
    assert page.index("<h1>") < page.index("<svg") < page.index("<table")
    assert "digits.csv" in Document(page).text


def test_the_table_holds_the_numbers():
    result = made(3, 4)
    text = read(result).text
    for name, row in result.table.iterrows():
        wanted = [row["score"], row["spread"], row["log_loss"], row["ece"], row["fit_time"]]
        found = re.search(
            rf"{re.escape(name)} ((?:[\d.]+ ){{5}})", text[text.index("strategy ") :]
        )
        assert found.group(1).split() == [f"{value:.4f}" for value in wanted]


def test_every_class_has_its_scores_of_every_strategy():
    result = made(3, 4)
    text = read(result).text
    parts = dict(list(result.per_class.groupby(level=0, sort=False)))
    for name in result.table.index[2:]:
        shown = " ".join(
            f"{label} {support:.0f} {f1:.3f} {precision:.3f} {recall:.3f}"
            for (_, label), precision, recall, f1, support in parts[name].itertuples()
        )
        assert f"{name} class test rows F1 precision recall {shown}" in text
    single, fusion = (parts[name] for name in result.table.index[:2])
    for (_, label), one, two in zip(
        single.index, single.to_numpy(), fusion.to_numpy(), strict=True
    ):
        pairs = " ".join(f"{one[j]:.3f} {two[j]:.3f}" for j in (2, 0, 1))
        assert f"{label} {one[3]:.0f} {pairs}" in text


def test_a_gain_stands_where_its_number_says():
    result = made(3, 4)
    rows = pictures.gains(result)
    axis = pictures.gain_axis(rows)
    page = render_report(result)
    figure = page[page.index('id="gains-title"') : page.index("</figure>")]
    drawn = [float(x) for x in re.findall(r'<circle [^>]*cx="([\d.]+)%"', figure)]
    seen = rows["gain"][(rows["gain"] >= axis.low) & (rows["gain"] <= axis.high)]
    wanted = 100 * (seen - axis.low) / (axis.high - axis.low)
    np.testing.assert_allclose(drawn, wanted, atol=0.006)
    assert figure.count('class="arrow"') == (
        (rows["gain_low"] < axis.low).sum() + (rows["gain_high"] > axis.high).sum()
    )


def test_rows_stand_in_families():
    text = read(made(3, 4, fusions=("early", "late:mean", "mkl:svm:p2", "mine"))).text
    heads = ("Single modalities", "Early fusion", "Late fusion", "Multiple kernel", "Your own")
    places = [text.index(head) for head in heads]
    assert places == sorted(places)
    assert "Hybrid fusion" not in text


def test_exploratory_rows_are_called_so():
    text = read(made(3, 4)).text
    assert text.count("· exploratory") == 5
    assert "the best of many rows always looks better than it is" in text
    named = read(made(3, 4, named="late:bayes")).text
    assert "late:bayes (named)" in named
    assert "named beforehand" in named


# The fusion that is judged, looked at closely --------------------------------------------------

CLOSER = {"worth", "subsets", "fall"}


def test_what_was_examined_has_its_pictures():
    found = examined(3)
    page = read(made(3, 4), examined=found)
    assert page.open == []
    assert page.pictures == ALL | CLOSER
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for anchor in page.all("a"):
        assert anchor["href"][1:] in ids
    for svg in page.all("svg"):
        if svg.get("role") == "img":
            assert set(svg["aria-labelledby"].split()) <= set(ids)


def test_the_page_says_which_fusion_it_speaks_of_and_how_it_came():
    chosen = read(made(3, 4), examined=examined(3, picked=2)).text
    said = "This speaks of late:mean , chosen in 2 of 5 training sets"
    assert chosen.count(said) == 3  # worth, calibration, robustness
    assert chosen.count("it is exploratory") == 3
    named = made(3, 4, named="late:mean")
    named = read(named, examined=examined(3, picked=None)).text
    assert named.count("This speaks of late:mean , named beforehand.") == 3
    assert "it is exploratory" not in named
    masked = read(made(3, 4), examined=examined(3, strategy="mask")).text
    assert "the other modalities are blanked" in masked
    assert "is fitted anew for each subset" in chosen


def test_values_of_modalities_stand_where_their_numbers_say():
    found = examined(5)
    page = render_report(made(5, 4), examined=found)
    rows = pictures.modality_values(found.report)
    axis = pictures.make_axis(rows, include=(0.0,))
    figure = page[page.index('id="worth-title"') : page.index("</figure>", page.index("worth-ti"))]
    for key, mark in (("value", "full"), ("alone", "open")):
        drawn = [float(x) for x in re.findall(rf'"{mark}" cx="([\d.]+)%"', figure)]
        np.testing.assert_allclose(drawn, [axis.at(value) for value in rows[key]])
    text = Document(page).text
    for name, (value, low, high, alone, last) in rows.iterrows():
        row = f"{name} {value:+.4f} {low:+.4f} to {high:+.4f} {alone:+.4f} {last:+.4f}"
        assert row.replace("-", "\N{MINUS SIGN}") in text


def test_the_lattice_holds_the_best_subsets():
    found = examined(6)
    page = render_report(made(6, 4), examined=found)
    text = Document(page).text
    assert "Of 63 subsets 33 are not drawn." in text
    drawn = pictures.best_subsets(found.report)
    lattice = page[page.index('id="subsets-title"') : page.index("The subsets as a table")]
    assert lattice.count('class="here"') == drawn.there.sum()
    assert lattice.count('class="away"') == (~drawn.there).sum()
    for there, score in zip(drawn.there, drawn.scores, strict=True):
        names = " , ".join(f"sense{m}" for m in np.flatnonzero(there))
        assert f"{names} {score:.4f}" in text
    assert "are not drawn" not in read(made(3, 4), examined=examined(3)).text


def test_calibration_before_and_after_and_the_falls_are_there():
    found = examined(3)
    text = read(made(3, 4), examined=found).text
    for name, row in found.report.calibration.iterrows():
        assert f"{name} {' '.join(f'{value:.4f}' for value in row)}" in text
    for (_, level), row in found.robustness.curves.iterrows():
        assert f"{100 * level:.0f} % {' '.join(f'{value:.4f}' for value in row)}" in text
    bare = read(made(3, 4), examined=examined(3, probabilities=False)).text
    assert "Before and after a temperature" not in bare


def test_one_split_leaves_no_nan():
    page = render_report(made(3, 4), examined=examined(3, n_splits=1))
    assert "nan" not in page.replace("nance", "").lower().split("<body>")[1]


def test_what_could_not_be_told_is_said():
    found = replace(examined(3, reasons=["takes no <NaN>"]), report=None, robustness=None)
    page = read(made(3, 4), examined=found)
    assert page.pictures == ALL
    assert "takes no <NaN>" in page.text
    assert "What could not be told of late:mean" in page.text


def test_hostile_names_are_text_there_too():
    found = examined(list(HOSTILE), name=HOSTILE[0], reasons=[HOSTILE[1]])
    page = render_report(made(HOSTILE, 3), examined=found)
    assert [raw for raw in RAW if raw in page] == []
    tags = {tag for tag, _ in Document(page).tags}
    assert tags & {"script", "img", "iframe", "object", "base"} == set()


# What is left out ---------------------------------------------------------------------------


def test_regression_has_no_classes():
    result = made(3, 0)
    page = read(result)
    assert page.pictures == ALL - {"f1", "precision", "recall"}
    assert "rmse" in page.text
    assert "Classes" not in page.text
    assert "correlation of the errors" in page.text


def test_one_modality_has_nothing_to_fuse():
    page = read(made(1, 3, missing=0))
    assert page.pictures == {"f1", "precision", "recall", "curve1"}
    assert "There is one modality, so there is nothing to fuse" in page.text
    assert "Nobody: every row has the modality." in page.text
    assert "fusion (chosen)" not in page.text


def test_one_split_gives_no_interval():
    result = made(2, 3, n_splits=1)
    result.table[["spread", "gain_low", "gain_high"]] = np.nan
    text = read(result).text
    assert "one split gives no interval" in text
    assert "95 % interval" not in text
    assert "spread" not in text
    assert "nan" not in render_report(result).replace("nance", "").lower().split("<body>")[1]


def test_nobody_is_missing():
    page = read(made(3, 4, missing=0))
    assert page.pictures == ALL - {"who"}
    assert "Nobody: every row has every modality." in page.text


def test_without_probabilities_there_is_a_sentence():
    result = made(3, 4)
    result = replace(result, calibration=result.calibration.iloc[:0])
    result.table[["ece", "log_loss"]] = np.nan
    page = read(result)
    assert page.pictures == ALL - {"curve1", "curve2"}
    assert "No strategy states probabilities" in page.text
    assert "log loss" not in page.text


def test_undefined_scores_are_dashes():
    result = made(3, 4)
    result.per_class.iloc[0, 0] = np.nan
    result.agreement.iloc[0, 1] = result.agreement.iloc[1, 0] = np.nan
    page = render_report(result)
    assert "nan" not in page.replace("nance", "").split("<body>")[1]
    assert "\N{EN DASH}" in page


@pytest.mark.parametrize(("modalities", "classes"), [(2, 2), (12, 40), (12, 300)])
def test_any_size(modalities, classes):
    page = read(made(modalities, classes))
    assert page.pictures == ALL
    if classes > pictures.MOST_CLASSES:
        assert "The 40 of 300 classes whose F1 differ most" in page.text


def test_the_baseline_stands_at_the_head():
    text = read(made(3, 4)).text
    said = "Without any modality, the most frequent class always, the score is 0.2500."
    assert text.index(said) < text.index("best single modality, accuracy")
    page = read(replace(made(1, 0, missing=0), baseline=np.nan))
    said = "Without any modality, the mean of the training rows always, there is no score."
    assert said in page.text


def test_columns_are_listed():
    result = made(["a", "b"], 2)
    result = replace(result, columns=result.columns.assign(empty=0.125).iloc[-30:])
    page = render_report(result)
    cells = (
        f'<tr><th scope="row"><bdi>{column}</bdi></th><td class="name"><bdi>{modality}</bdi></td>'
        f'<td class="name">{kind}</td><td>12.5 %</td></tr>'
        for modality, column, kind, _ in result.columns.to_numpy()
    )
    assert all(cell in page for cell in cells)
    assert "which the comparison's columns list" not in Document(page).text


def test_many_columns_are_cut():
    result = made(12, 2)
    page = render_report(result)
    table = page[page.index('<table id="columns">') :]
    assert table[: table.index("</table>")].count('<th scope="row">') == 200
    more = len(result.columns) - 200
    assert more > 0
    assert f"And {more} more, which" in Document(page).text


def test_notes_stand_in_the_chapter_on_the_data():
    page = render_report(made(2, 2), notes=["The target is 'x'.", *HOSTILE])
    start = page.index('<section id="data">')
    text = Document(page[start : page.index("</section>", start)]).text
    assert "The target is 'x'." in text
    assert [raw for raw in RAW if raw in page] == []
    for note in HOSTILE:
        assert " ".join(pictures.shown(note).split()) in text
    assert '<ul class="notes">' not in render_report(made(2, 2))
    with pytest.raises(TypeError, match=r"a sequence of sentences, got the text .One\."):
        render_report(made(2, 2), notes="One.")


def test_patterns_are_counted():
    result = made(2, 2)
    page = render_report(result)
    table = page[page.index("The patterns as a table") :]
    for sense0, sense1, count in result.availability.to_numpy():
        there = [name for name, has in (("sense0", sense0), ("sense1", sense1)) if has]
        names = ", ".join(f"<bdi>{name}</bdi>" for name in there) or "none"
        assert f'<th scope="row">{names}</th><td>{count}</td>' in table


# Names are text -----------------------------------------------------------------------------

RAW = ("<script", "<img", "onerror=alert(2)>", "\u202e", "\u2066", "\x00", "\x1b")


@pytest.fixture(scope="module")
def hostile():
    strategies = [f"mine {name}" for name in HOSTILE]
    names = [name.replace("__", "_") for name in HOSTILE]
    return made(names, names, fusions=strategies, scoring=HOSTILE[0])


def test_hostile_names_are_text(hostile):
    page = render_report(hostile, title=HOSTILE[1])
    assert [raw for raw in RAW if raw in page] == []
    found = Document(page)
    assert {tag for tag, _ in found.tags} & {"script", "img", "iframe", "object", "base"} == set()
    assert not any(key.startswith("on") for _, a in found.tags for key in a)
    for name in HOSTILE:
        assert " ".join(pictures.shown(name).split()) in found.text
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", page)[0]
    assert "{{ 7*7 }}" in page
    assert "{% raw %}" in page


def test_what_utf8_cannot_hold_is_an_escape():
    assert "\\ud800" in render_report(made(2, 2), title="\ud800")


def test_joiners_stay():
    assert pictures.shown("👩\u200d🔬\u202e") == "👩\u200d🔬\\u202e"


def test_data_never_become_markup():
    sources = [path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.iterdir())]
    sources.append(Path(mkfusion.report.__file__).read_text(encoding="utf-8"))
    for source in sources:
        assert not re.search(r"\|\s*safe|Markup|autoescape\s+false|from_string", source)


def test_labels_need_not_be_text():
    result = made(2, [False, True])
    assert {"False", "True"} <= set(read(result).text.split())
    assert "3.5" in read(made(2, [1.5, 3.5])).text


# Self-contained -----------------------------------------------------------------------------


def test_nothing_is_loaded():
    page = render_report(made(3, 4))
    found = Document(page)
    (policy,) = [a["content"] for a in found.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    for _, attributes in found.tags:
        for key in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:"))
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert "url(" not in page


def test_the_same_result_gives_the_same_page():
    assert render_report(made(3, 4)) == render_report(made(3, 4))


# Writing ------------------------------------------------------------------------------------


def test_a_file_is_replaced(tmp_path):
    target = tmp_path / "out.html"
    target.write_text("old")
    write_report(made(2, 2), target)
    write_report(made(2, 2), str(target), title="new")
    assert "new" in target.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [target]


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="is a directory"):
        write_report(made(2, 2), tmp_path)
    with pytest.raises(OSError, match=r"nowhere.*out\.html cannot be written: No such file"):
        write_report(made(2, 2), tmp_path / "nowhere" / "out.html")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "out.html"
    target.write_text("old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_report(made(2, 2), target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


# Numbers and axes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [[0, 1], [5], [0], [1e-9, 3e-9], [-1e8, 2e8], [0.97, 0.971], [np.nan, 2, 3], []]
)
def test_an_axis_holds_its_values_and_few_ticks(values):
    axis = pictures.make_axis(values)
    known = [value for value in values if np.isfinite(value)]
    assert all(axis.low < value < axis.high for value in known)
    ticks = axis.ticks(4)
    assert 1 <= len(ticks) <= 5
    assert len({tick.text for tick in ticks}) == len(ticks)
    for tick in ticks:
        value = float(tick.text.replace("\N{MINUS SIGN}", "-"))
        assert axis.at(value) == pytest.approx(tick.at, abs=0.01)


def test_a_bad_modality_does_not_hide_the_fusions():
    rows = pd.DataFrame(
        {
            "gain": [0.01, -0.5, 0.012],
            "gain_low": [0.0, -0.6, 0.0],
            "gain_high": [0.02, -0.4, 0.02],
        },
        index=["fusion (chosen)", "single:bad", "early"],
    )
    axis = pictures.gain_axis(rows)
    assert axis.low > -0.1
    assert axis.low < 0 < 0.02 < axis.high


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5000"), (-0.25, "-0.2500"), (np.nan, "\N{EN DASH}"), (0, "0.0000"), (1e9, "1e+09")],
)
def test_numbers_are_written(value, text):
    assert pictures.number(value) == text.replace("-", "\N{MINUS SIGN}")
    assert pictures.number(0.5, 2, signed=True) == "+0.50"
    assert pictures.number(-1e-5, 4, signed=True) == "0.0000"


# A comparison that was really made ----------------------------------------------------------


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_real_comparison(task, global_seed):
    rng = np.random.default_rng(global_seed)
    y = rng.normal(size=120)
    columns = {f"{name}__{k}": y + rng.normal(size=120) for name in "abc" for k in range(2)}
    X = pd.DataFrame(columns)
    X.loc[:20, ["a__0", "a__1"]] = np.nan
    target = np.where(y > 0, "up", "down") if task == "classification" else y
    found = compare_fusion(X, target, strategies=["early", "late:mean"], cv=3)
    closer = examine_fusion(found, X, target, cv=3)
    page = read(found, examined=closer)
    wanted = ALL if task == "classification" else ALL - set(pictures.METRICS)
    assert page.pictures == wanted | CLOSER
    assert f"{found.table['score'].iloc[1]:.4f}" in page.text
    assert closer.name in page.text


# In a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


CASES = {
    "three": lambda: made(3, 4),
    "two": lambda: made(2, 2, missing=0),
    "twelve": lambda: made(12, 40),
    "regression": lambda: made(3, 0),
    "one": lambda: made(1, 3, missing=0),
    "hostile": lambda: made(HOSTILE, HOSTILE, fusions=HOSTILE, scoring=HOSTILE[0]),
}
BOXES = """[...document.querySelectorAll('svg[role=img]')].filter(svg => svg.checkVisibility())
    .map(svg => svg.getBoundingClientRect()).map(box => [box.width, box.height, box.right])"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("case", CASES)
def test_the_page_in_a_browser(browser, tmp_path, case, width):
    target = tmp_path / "page.html"
    result = CASES[case]()
    names = list(result.modalities)
    closer = examined(names) if len(names) > 1 else None
    write_report(result, target, title=HOSTILE[0], notes=HOSTILE, examined=closer)
    page = browser.open(target.as_uri(), width, scheme="dark" if width == 390 else "light")
    page.run("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run("document.body.innerText").count("<script>alert(1)</script>") >= 1
    assert page.run("document.querySelectorAll('script, img, iframe').length") == 0
    boxes = page.run(BOXES)
    assert len(boxes) >= 4
    assert min(min(wide, high) for wide, high, _ in boxes) > 20
    for picture in CLOSER:
        there = f"!!document.querySelector('svg[aria-labelledby^={picture}-title]')"
        assert page.run(there) == (closer is not None)
    assert page.requests() == [target.as_uri()]
    assert page.complaints() == []


@pytest.mark.browser
def test_colours_follow_the_scheme(browser, tmp_path):
    target = tmp_path / "page.html"
    write_report(made(2, 2), target)
    found = []
    for scheme in ("light", "dark"):
        page = browser.open(target.as_uri(), scheme=scheme)
        found.append(page.run("getComputedStyle(document.body).backgroundColor"))
    assert found == ["rgb(255, 255, 255)", "rgb(19, 22, 26)"]


@pytest.mark.browser
def test_the_browser_test_sees_what_it_looks_for(browser, tmp_path):
    """A page that does all that ours must not do."""
    target = tmp_path / "bad.html"
    target.write_text(
        "<script>console.error('x'); throw 1</script><img src='missing.png'>"
        "<div style='width:2000px'>wide</div>"
    )
    page = browser.open(target.as_uri(), 390)
    assert page.run("document.documentElement.scrollWidth") > 390
    assert len(page.complaints()) >= 2
    assert len(page.requests()) == 2
