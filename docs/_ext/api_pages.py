"""The API reference, made of what `__all__` and the registries say when the site is built.

Every public object has one page, under the shortest path by which it can be imported; a module's
page lists what it holds. A registry (a dict that `__all__` names) shows each entry with its traits
and its docstring, so that an entry is documented the day it is written.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sklearn.base import BaseEstimator

import mkfusion

ROOT = "mkfusion"
FOLDER = "api"
ROLES = {"class": "class", "function": "func", "registry": "data", "module": "mod"}
TITLES = {"class": "Classes", "function": "Functions", "registry": "Registries"}
# A role of Sphinx in scikit-learn's docstrings, whose targets are on another site.
ROLE = re.compile(r":[a-z:]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`")


class Entry(NamedTuple):
    """A public object: where its page is, what it is, and in which module it is at home."""

    path: str
    value: Any
    kind: str
    home: str

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


# --- what there is -------------------------------------------------------------------------


def public_modules() -> dict[str, ModuleType]:
    """Import the modules that have an `__all__`, the package itself first."""
    found = pkgutil.walk_packages(mkfusion.__path__, f"{ROOT}.")
    names = [module.name for module in found if "._" not in module.name]
    modules = {name: importlib.import_module(name) for name in (ROOT, *sorted(names))}
    return {name: module for name, module in modules.items() if hasattr(module, "__all__")}


def kind_of(value: Any) -> str:
    if inspect.ismodule(value):
        return "module"
    if inspect.isclass(value):
        return "class"
    if isinstance(value, dict):
        return "registry"
    return "function" if inspect.isroutine(value) else "constant"


@lru_cache(maxsize=1)
def entries() -> dict[str, Entry]:
    """Every public object by its path: the package's own where it names the object."""
    found: dict[int, Entry] = {}
    for module_name, module in public_modules().items():
        for name in module.__all__:
            value = getattr(module, name)
            kind = kind_of(value)
            if kind in {"module", "constant"}:
                continue
            known = found.get(id(value))
            if known is None:
                found[id(value)] = Entry(f"{module_name}.{name}", value, kind, module_name)
            elif known.home == ROOT:
                found[id(value)] = known._replace(home=module_name)
    return {entry.path: entry for entry in found.values()}


def listed_in(module: ModuleType) -> list[Entry]:
    by_value = {id(entry.value): entry for entry in entries().values()}
    values = [getattr(module, name) for name in module.__all__]
    return [by_value[id(value)] for value in values if id(value) in by_value]


def find(target: str) -> Entry | None:
    """Find an object by any path under which it can be imported, or by its bare name."""
    module, _, name = target.rpartition(".")
    if module.startswith(ROOT) and module in public_modules():
        value = getattr(public_modules()[module], name, None)
        same = [entry for entry in entries().values() if entry.value is value]
    else:
        same = [entry for entry in entries().values() if entry.name == target]
    return same[0] if len(same) == 1 else None


# --- text ----------------------------------------------------------------------------------


def heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def indented(text: str, by: int = 3) -> str:
    pad = " " * by
    return "\n".join(pad + line if line.strip() else "" for line in text.splitlines())


def first_sentence(docstring: str | None) -> str:
    paragraph = inspect.cleandoc(docstring or "").partition("\n\n")[0].replace("\n", " ")
    return re.match(r"(.*?[^.\d]\.)(?= [A-Z:`]|$)|.*", paragraph)[0]


def table(columns: list[str], rows: list[list[str]], widths: str = "auto") -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [columns, *rows]:
        for place, cell in enumerate(row):
            mark = "   * - " if place == 0 else "     - "
            lines.append(mark + indented(cell, 7).lstrip())
    return "\n".join(lines) + "\n"


def toctree(pages: list[str], caption: str = "", hidden: bool = True) -> str:
    options = [":hidden:"] if hidden else []
    if caption:
        options.append(f":caption: {caption}")
    return ".. toctree::\n" + indented("\n".join([*options, "", *pages])) + "\n"


def link(entry: Entry) -> str:
    return f":{ROLES[entry.kind]}:`~{entry.path}`"


def comment_above(name: str, module: str) -> str:
    """Read the `#:` lines above a constant, in its package or in a module beside it."""
    folder = Path(importlib.import_module(module).__file__).parent
    for path in [*sorted(folder.glob("*.py")), *sorted(folder.parent.glob("*.py"))]:
        text = path.read_text(encoding="utf-8")
        match = re.search(rf"^((?:#:.*\n)+){name}\b", text, flags=re.M)
        if match:
            return re.sub(r"^#: ?", "", match[1], flags=re.M).strip()
    return ""


def summary(entry: Entry) -> str:
    if entry.kind == "registry":
        return first_sentence(comment_above(entry.name, entry.home))
    return first_sentence(entry.value.__doc__)


# --- a page for each object ----------------------------------------------------------------


def object_page(entry: Entry) -> str:
    body = {"class": class_body, "function": function_body, "registry": registry_body}
    module = entry.path.rpartition(".")[0]
    head = f"{heading(entry.name)}\n.. currentmodule:: {module}\n\n"
    return head + body[entry.kind](entry)


def function_body(entry: Entry) -> str:
    return f".. autofunction:: {entry.name}\n"


def class_body(entry: Entry) -> str:
    own, inherited = members(entry.value)
    text = f".. autoclass:: {entry.name}\n\n"
    for name, is_property in own:
        directive = "autoproperty" if is_property else "automethod"
        text += f"   .. {directive}:: {name}\n\n"
    if inherited:
        rows = [[f"``{name}``", said] for name, said in inherited.items()]
        text += ".. rubric:: From scikit-learn\n\n" + table(["method", "what it does"], rows)
    return text


def members(owner: type) -> tuple[list[tuple[str, bool]], dict[str, str]]:
    """List the public methods and properties of the package, and those of scikit-learn."""
    own, inherited = [], {}
    for name in dir(owner):
        if name.startswith("_") and name != "__call__":
            continue
        member = inspect.getattr_static(owner, name)
        function = plain_function(member)
        module = getattr(function, "__module__", None) or ""
        if inspect.isfunction(function) and module.startswith(f"{ROOT}."):
            own.append((name, isinstance(member, property | cached_property)))
        elif issubclass(owner, BaseEstimator) and callable(getattr(owner, name)):
            inherited[name] = ROLE.sub(r"\1", first_sentence(getattr(owner, name).__doc__))
    return own, inherited


def plain_function(member: Any) -> Any:
    """Take a function out of the descriptor that holds it."""
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property):
        return member.fget
    if isinstance(member, cached_property):
        return member.func
    return getattr(member, "fn", member)  # scikit-learn's available_if


def registry_body(entry: Entry) -> str:
    text = f".. data:: {entry.name}\n\n"
    text += indented(comment_above(entry.name, entry.home)) + "\n\n"
    rows = {name: traits(value) for name, value in entry.value.items()}
    asked = [
        trait for trait in next(iter(rows.values())) if all(trait in row for row in rows.values())
    ]
    if asked:
        cells = [
            [f'``"{name}"``', *(shown(row.get(trait)) for trait in asked)]
            for name, row in rows.items()
        ]
        text += table(["name", *(f"``{trait}``" for trait in asked)], cells) + "\n"
    else:
        text += " ".join(f'``"{name}"``' for name in rows) + "\n\n"
    for name, value in entry.value.items():
        if told := entry_text(value):
            text += heading(f'"{name}"', "-") + "\n" + told + "\n\n"
    return text


def entry_text(value: Any) -> str:
    """Say of an entry what its docstring says, or where the page is that says it."""
    known = [entry for entry in entries().values() if entry.value is value]
    if known:
        return f"{link(known[0])}: {summary(known[0])}"
    if isinstance(value, str):
        return value
    told = getattr(value, field_names(value)[0]) if field_names(value) else value
    public = getattr(told, "__name__", "_")[0] != "_"
    if public and (inspect.isclass(told) or inspect.isroutine(told)):
        return numpydoc_text(inspect.cleandoc(told.__doc__ or ""))
    return ""


def numpydoc_text(docstring: str) -> str:
    from numpydoc.docscrape_sphinx import SphinxDocString

    text = str(SphinxDocString(docstring, config={"show_class_members": False}))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def field_names(value: Any) -> list[str]:
    if dataclasses.is_dataclass(value) and not inspect.isclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return list(getattr(value, "_fields", ())) if isinstance(value, tuple) else []


def traits(value: Any) -> dict[str, Any]:
    """Read what an entry says of itself in plain values: fields, or a class's attributes."""
    if inspect.isclass(value):
        plain = {
            name: getattr(value, name)
            for owner in reversed(value.__mro__)
            for name in vars(owner)
            if not name.startswith("_") and owner.__module__.startswith(ROOT)
        }
        return {name: said for name, said in plain.items() if isinstance(said, bool)}
    plain = {name: getattr(value, name) for name in field_names(value)}
    return {
        name: said
        for name, said in plain.items()
        if said is None or isinstance(said, bool | str | frozenset)
    }


def shown(said: Any) -> str:
    if said is None:
        return ""
    if isinstance(said, bool):
        return "yes" if said else "no"
    return ", ".join(sorted(said)) if isinstance(said, frozenset) else str(said)


# --- a page for each module ----------------------------------------------------------------


def module_page(name: str) -> str:
    held = listed_in(public_modules()[name]) if name != ROOT else []
    text = f"{heading(name)}\n.. automodule:: {name}\n   :no-members:\n\n"
    for kind, title in TITLES.items():
        rows = [[link(entry), summary(entry)] for entry in held if entry.kind == kind]
        if rows:
            text += heading(title, "-") + "\n" + table(["name", "what it is"], rows) + "\n"
    at_home = [f"/{FOLDER}/{entry.path}" for entry in entries().values() if entry.home == name]
    return text + (toctree(at_home) if at_home else "")


def index_page() -> str:
    """List the modules: those with estimators first."""
    parts: dict[str, list[str]] = {"Estimators": [], "Functions and results": []}
    for name in public_modules():
        if name == ROOT:
            continue
        held = [entry.value for entry in entries().values() if entry.home == name]
        fits = any(inspect.isclass(value) and hasattr(value, "fit") for value in held)
        parts["Estimators" if fits else "Functions and results"].append(name)
    text = heading("API") + (
        "\nEvery public object, by the module that holds it. What a module lists can be imported "
        "from it;\nwhat the package itself names is shown under the package's name. This "
        "reference is made of\n``__all__`` and of the registries, so that it holds all there is.\n"
        f"\n:mod:`{ROOT}` itself says how its families belong together.\n\n"
    )
    text += toctree([ROOT]) + "\n"
    for title, names in parts.items():
        text += heading(title, "-") + "\n"
        for name in names:
            module = public_modules()[name]
            text += heading(name, "~") + "\n" + first_sentence(module.__doc__) + "\n\n"
            rows = [[link(entry), summary(entry)] for entry in listed_in(module)]
            text += table(["name", "what it is"], rows) + "\n"
        text += toctree(names) + "\n"
    return text


def pages() -> dict[str, str]:
    """Return the text of every page of the reference, by its file's name."""
    made = {"index": index_page()}
    made |= {name: module_page(name) for name in public_modules()}
    made |= {path: object_page(entry) for path, entry in entries().items()}
    return made


# --- docstrings ----------------------------------------------------------------------------

# A parameter's name and type, which numpydoc reads as text with references in it.
TYPE_LINE = re.compile(r"^\s*[*\w]+(?:, [*\w]+)* : ")
FIELD = re.compile(r"^ {4,}\w+ : \S")  # a field of a Bunch
TRAILING = re.compile(r"(?<=\w)_(?=[,) ]|$)")


def mend(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make one line of a type that goes over several, and no reference of `n_features_in_`."""
    joined: list[str] = []
    for line in lines:
        if joined and joined[-1].endswith("\\") and TYPE_LINE.match(joined[-1]):
            joined[-1] = joined[-1].rstrip("\\").rstrip() + " " + line.strip()
        else:
            joined.append(line)
    for place, line in enumerate(joined):
        below = joined[place + 1] if place + 1 < len(joined) else ""
        if FIELD.match(line) and indent(below) <= indent(line):
            joined[place] += "\n" + " " * indent(line) + "    \\ "  # a term needs a definition
        if found := TYPE_LINE.match(line):
            rest = joined[place][found.end() :]
            joined[place] = found[0] + TRAILING.sub(r"\_", rest)
    lines[:] = "\n".join(joined).split("\n")


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


# --- Sphinx --------------------------------------------------------------------------------


def write_pages(app: Any) -> None:
    """Write what has changed, and take away what is gone."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    made = {folder / f"{name}.rst": text for name, text in pages().items()}
    for path in set(folder.glob("*.rst")) - set(made):
        path.unlink()
    for path, text in made.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")


def resolve(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Find an object under another of its paths; complain of what the package does not have."""
    from sphinx.util import logging

    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].rstrip("()")
    owner, _, member = target.rpartition(".")
    domain = env.domains["py"]
    for candidate, rest in ((target, ""), (owner, f".{member}")):
        entry = find(candidate)
        path = f"{entry.path}{rest}" if entry else ""
        if path in domain.objects and path != node["reftarget"]:
            node["reftarget"] = path
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], path, node, content
            )
    if target.startswith(f"{ROOT}.") or node["reftarget"] == ROOT:
        logging.getLogger(__name__).warning(
            "no page says what %s is", target, location=node, type="ref"
        )
    return None


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", mend, priority=400)  # before numpydoc's
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
