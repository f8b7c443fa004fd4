"""The manual's sources: every public object has its page, every page its place."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
from discovery import public_modules

import mkfusion

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

sys.path.insert(0, str(DOCS / "_ext"))
api_pages = importlib.import_module("api_pages")

# What each module's `__all__` names, but for other modules and the version.
NAMED = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in public_modules()
    for name in getattr(module, "__all__", ())
    if not inspect.ismodule(getattr(module, name)) and name != "__version__"
}
ENTRIES = api_pages.entries()
REGISTRIES = [entry for entry in ENTRIES.values() if entry.kind == "registry"]


@pytest.fixture(scope="module")
def pages():
    """The text of every page of the API reference, by its name."""
    pytest.importorskip("numpydoc", reason="the docs extra holds numpydoc")
    return api_pages.pages()


# The API reference


def test_every_public_object_has_one_page(pages):
    for path, value in NAMED.items():
        same = [entry.path for entry in ENTRIES.values() if entry.value is value]
        assert len(same) == 1, path
        assert same[0] in pages


@pytest.mark.parametrize("path", NAMED)
def test_an_object_is_found_under_every_path(path):
    assert api_pages.find(path).value is NAMED[path]


def test_what_the_package_names_is_shown_under_its_name():
    for path, entry in ENTRIES.items():
        if entry.name in mkfusion.__all__:
            assert path == f"mkfusion.{entry.name}"


def test_every_page_of_the_reference_is_listed_once(pages):
    listed = [
        line.strip().removeprefix("/api/")
        for text in pages.values()
        for tree in re.findall(r"^\.\. toctree::\n((?:   .*\n|\n)*)", text, flags=re.M)
        for line in tree.splitlines()
        if line.strip() and not line.strip().startswith(":")
    ]
    assert sorted(listed) == sorted(set(pages) - {"index"})


@pytest.mark.parametrize("entry", REGISTRIES, ids=lambda entry: entry.path)
def test_a_registry_shows_all_its_entries(entry, pages):
    text = pages[entry.path]
    assert [name for name in entry.value if f'``"{name}"``' not in text] == []
    assert api_pages.comment_above(entry.name, entry.home), "no `#:` lines above it"


def test_the_four_families_of_parts_are_registries():
    names = {entry.name for entry in REGISTRIES}
    assert {"KERNELS", "RULES", "WEIGHTINGS", "EMISSIONS"} <= names


@pytest.mark.parametrize(
    "entry",
    [entry for entry in ENTRIES.values() if entry.kind == "class"],
    ids=lambda entry: entry.path,
)
def test_a_class_page_lists_its_own_methods(entry, pages):
    """What a class of the package defines is described, what scikit-learn does is named."""
    text = pages[entry.path]
    for name, member in vars(entry.value).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            assert f".. automethod:: {name}\n" in text
    for name in ("set_output", "fit_transform"):
        if hasattr(entry.value, name) and entry.value.__module__.startswith("mkfusion"):
            assert name in text


# Docstrings


def documented():
    """Yield (path, object) of each function and class, and of each class's own methods."""
    for path, entry in ENTRIES.items():
        if entry.kind == "function":
            yield path, entry.value
        elif entry.kind == "class":
            yield path, entry.value
            own, _ = api_pages.members(entry.value)
            for name, is_property in own:
                method = getattr(entry.value, name)
                if not is_property and (method.__doc__ or not inspect.getdoc(method)):
                    yield f"{path}.{name}", method  # one without its own has its base class's


# Of numpydoc's checks those that are about what a reader sees. test_public_api.py looks for the
# parameters of the signature and for examples.
CHECKS = {
    "GL03": "double blank lines",
    "GL05": "tabs",
    "GL06": "a section that numpydoc does not know",
    "GL07": "sections in another order",
    "GL08": "no docstring",
    "GL09": "a deprecation that is not above the rest",
    "GL10": "a directive with one colon",
    "SS01": "no summary",
    "SS02": "a summary that begins with a small letter",
    "SS03": "a summary without a full stop",
    "SS04": "a summary with spaces before it",
    "SS06": "a summary of several lines",
    "PR02": "a parameter that does not exist",
    "PR03": "parameters in another order",
    "PR05": "a type that ends with a full stop",
    "PR10": "a colon without a space before it",
    "YD01": "no section of what is yielded",
    "SA04": "a reference without a description",
}


@pytest.mark.parametrize(("path", "value"), [pytest.param(*it, id=it[0]) for it in documented()])
def test_numpydoc_validates(path, value):
    validate = pytest.importorskip("numpydoc.validate", reason="the docs extra holds numpydoc")
    found = validate.validate(validate.get_doc_object(value))
    assert [(code, said) for code, said in found["errors"] if code in CHECKS] == []


# The pages


def written_pages():
    made = ("_build", "api", "auto_gallery", "_ext", "_static")
    return [
        path
        for path in sorted(DOCS.rglob("*.md"))
        if path.relative_to(DOCS).parts[0] not in made and path.parent.name != "gallery"
    ]


def listed_pages():
    """Return the pages that index pages list, patterns filled in."""
    found = set()
    for path in written_pages():
        text = path.read_text(encoding="utf-8")
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, flags=re.M | re.S):
            for line in block.splitlines():
                name = re.sub(r".*<(.*)>$", r"\1", line.strip())
                if name and not name.startswith(":"):
                    folder = DOCS if name.startswith("/") else path.parent
                    found |= set(folder.glob(name.lstrip("/") + ".md"))
    return found


def test_every_page_is_listed():
    assert set(written_pages()) - listed_pages() == {DOCS / "index.md"}


@pytest.mark.parametrize(
    "path", written_pages(), ids=lambda path: path.relative_to(DOCS).as_posix()
)
def test_a_page_has_one_title_and_says_what_it_answers(path):
    text = re.sub(r"\A---\n.*?^---\n", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"^(`{3,}).*?^\1`*$", "", text, flags=re.M | re.S)
    titles = re.findall(r"^# .+$", text, flags=re.M)
    assert len(titles) == 1
    below = text.strip().removeprefix(titles[0]).strip()
    assert re.match(r"[\w`{*\[]", below), "no paragraph below the title"


LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
TEXTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]


@pytest.mark.parametrize(
    "path", [*TEXTS, *written_pages()], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_relative_links_lead_to_files(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        there = (path.parent / target).resolve()
        made_of = {
            DOCS / "api": ENTRIES,  # exists when the site is built
            DOCS / "auto_gallery": {p.stem for p in (DOCS / "gallery").glob("plot_*.py")},
            DOCS / "notebooks": {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")},
        }
        made = made_of.get(there.parent)
        exists = there.exists() or (made is not None and there.stem in {*made, "index"})
        assert exists, target


# The flowchart, the formulas, the notebooks, the links


def test_the_flowchart_asks_each_question_once_and_leads_to_the_api():
    pytest.importorskip("sphinx", reason="the docs extra holds Sphinx")
    flowchart = importlib.import_module("flowchart")
    leaves = flowchart.leaves(flowchart.read_questions(DOCS / "choose.toml"))
    assert {path for leaf in leaves for path in leaf.take} <= set(ENTRIES)
    assert len({leaf.path for leaf in leaves}) == len(leaves)
    links = {path: "x" for leaf in leaves for path in leaf.take}
    for draw in (flowchart.draw_wide, flowchart.draw_narrow):
        picture = draw(flowchart.read_questions(DOCS / "choose.toml"), links, "label")
        assert picture.count("<a ") == sum(len(leaf.take) for leaf in leaves)


def test_the_page_of_the_flowchart_can_be_read_where_nothing_draws_it():
    pytest.importorskip("sphinx", reason="the docs extra holds Sphinx")
    flowchart = importlib.import_module("flowchart")
    questions = flowchart.read_questions(DOCS / "choose.toml")
    page = (DOCS / "choose.md").read_text(encoding="utf-8")
    kept = re.search(r"^:::\{flowchart\} choose\.toml\n\n(.*)\n\n:::$", page, flags=re.M | re.S)
    printed = flowchart.outline(questions, flowchart.plain)
    assert kept[1].splitlines() == printed, "python docs/_ext/flowchart.py docs/choose.toml"


def test_a_flowchart_refuses_a_question_that_nobody_asks(tmp_path):
    pytest.importorskip("sphinx", reason="the docs extra holds Sphinx")
    flowchart = importlib.import_module("flowchart")
    lost = tmp_path / "lost.toml"
    lost.write_text(
        '[a]\nquestion = "?"\nanswers = [{ answer = "x", take = ["y"] }]\n'
        '[b]\nquestion = "?"\nanswers = []\n'
    )
    with pytest.raises(ValueError, match="asked are"):
        flowchart.read_questions(lost)


def test_an_unknown_command_in_a_formula_is_refused():
    pytest.importorskip("latex2mathml", reason="the docs extra holds it")
    mathml = importlib.import_module("mathml")
    assert "<mfrac>" in mathml.to_mathml(r"\frac{1}{2}", display=True)
    assert "<mo>arg</mo>" in mathml.to_mathml(r"\arg\max_c p(c)", display=False)
    assert "munder" in mathml.to_mathml(r"\max_c p(c)", display=True)
    assert mathml.to_mathml(mathml.as_one("a &= b \\\\ c &= d"), display=True).count("<mtr") == 2
    with pytest.raises(ValueError, match="bold-italic"):
        mathml.to_mathml(r"\boldsymbol{\beta}", display=False)
    with pytest.raises(ValueError, match=r"\\nonsense"):
        mathml.to_mathml(r"x + \nonsense{y}", display=False)


LINKS_TO_NOTEBOOKS = [
    ("start", "[a](../notebooks/a.ipynb)", "[a](notebooks/a.ipynb)"),
    ("guide/late", "[a](../../notebooks/a.ipynb#b) c", "[a](../notebooks/a.ipynb#b) c"),
    (
        "notebooks/index",
        "[a](../../notebooks/a.ipynb), [b](../../notebooks/b.ipynb)",
        "[a](../notebooks/a.ipynb), [b](../notebooks/b.ipynb)",
    ),
    ("guide/late", "[a](../notebooks/a.ipynb)", "[a](../notebooks/a.ipynb)"),  # already the copy
    ("guide/late", "[a](../notebooks/index.md)", "[a](../notebooks/index.md)"),
    ("start", "`../notebooks/a.ipynb`", "`../notebooks/a.ipynb`"),
]


@pytest.mark.parametrize(("page", "written", "read"), LINKS_TO_NOTEBOOKS)
def test_links_to_notebooks_lead_to_their_copies(page, written, read):
    source = [written]
    importlib.import_module("notebook_pages").read(None, page, source)
    assert source == [read]


def test_the_notebooks_page_lists_every_notebook():
    page = DOCS / "notebooks" / "index.md"
    text = page.read_text(encoding="utf-8").partition("```{toctree}")[0]
    listed = [(page.parent / target).resolve() for target in LINK.findall(text)]
    kept = sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not kept:
        pytest.skip("the sdist holds no notebooks")
    assert listed == kept


def test_links_that_lead_nowhere_are_found(tmp_path):
    links = load(ROOT / ".ci" / "links.py")
    (tmp_path / "b.html").write_text('<p id="there">')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there"></a><a href="b.html#gone"></a><a href="c.html"></a>'
        '<a href="https://example.org"></a><script src="https://example.org/x.js"></script>'
        '<img src="b.html">'
    )
    found = [
        what for _, what in links.complaints(tmp_path.resolve(), tmp_path.resolve() / "a.html")
    ]
    assert found == [
        "a picture without alternative text: b.html",
        "no such anchor: b.html#gone",
        "no such file: c.html",
        "loaded from elsewhere: https://example.org/x.js",
    ]


def load(path):
    if not path.exists():
        pytest.skip("not part of the sdist")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
