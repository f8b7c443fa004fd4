"""Draws "which estimator do I need" from one table, as pictures with links and as a list.

    :::{flowchart} choose.toml

    * **question** ...

    :::

The file holds questions. An answer leads to another question (`ask`) or to what to take (`take`,
paths of the API), with a few words of why (`why`). The same tree is drawn twice, once for wide
pages and once for narrow ones, and written as a list below. What the directive holds is that list
without links, for those who read the page where nothing draws; print it after a change of the
table by `python docs/_ext/flowchart.py docs/choose.toml`. A leaf that has no page in the API is a
warning, and so fails the build.
"""

from __future__ import annotations

import sys
import textwrap
import tomllib
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

LINE = 19  # height of a line of text
LETTER = 7.3  # width of a letter, on the broad side
PAD = 9
GAP = 14  # between links


class Leaf(NamedTuple):
    """Where the answers lead."""

    path: tuple[tuple[str, str], ...]  # (question, answer)
    take: tuple[str, ...]


# --- the table -----------------------------------------------------------------------------


def read_questions(path: Path) -> dict[str, Any]:
    """Read the questions, the first of which is asked first; each must be reached once."""
    questions = tomllib.loads(path.read_text(encoding="utf-8"))
    asked = [next(iter(questions))]
    for question in questions.values():
        for answer in question["answers"]:
            if ("ask" in answer) == ("take" in answer):
                raise ValueError(f"{path.name}: {answer} must hold one of ask and take")
            if "ask" in answer:
                asked.append(answer["ask"])
    if sorted(asked) != sorted(questions):
        raise ValueError(f"{path.name}: asked are {asked}, there are {list(questions)}")
    return questions


def leaves(questions: dict[str, Any]) -> list[Leaf]:
    """List the leaves in the order in which they are drawn."""

    def below(name: str, path: tuple[tuple[str, str], ...]) -> list[Leaf]:
        found = []
        for answer in questions[name]["answers"]:
            here = (*path, (questions[name]["question"], answer["answer"]))
            if "ask" in answer:
                found += below(answer["ask"], here)
            else:
                found.append(Leaf(here, tuple(answer["take"])))
        return found

    return below(next(iter(questions)), ())


def outline(questions: dict[str, Any], shown: Callable[[str], str]) -> list[str]:
    """Write the tree as lines of a nested list; `shown` writes the path of what to take."""

    def below(name: str, depth: int) -> list[str]:
        lines = []
        for answer in questions[name]["answers"]:
            if "ask" in answer:
                end = f"**{questions[answer['ask']]['question']}**"
            else:
                take = ", ".join(map(shown, answer["take"]))
                end = f"{take}. {answer.get('why', '')}".rstrip()
            lines.append(f"{'  ' * depth}* *{answer['answer']}*: {end}")
            if "ask" in answer:
                lines += below(answer["ask"], depth + 1)
        return lines

    first = next(iter(questions))
    return [f"**{questions[first]['question']}**", "", *below(first, 0)]


def plain(path: str) -> str:
    return f"`{short(path)}`"


# --- the pictures --------------------------------------------------------------------------


class Picture:
    """Collects the parts of an SVG."""

    def __init__(self, width: int, links: dict[str, str]):
        self.width, self.links = width, links
        self.lines: list[str] = []
        self.boxes: list[str] = []

    def text(self, x: float, y: float, lines: list[str], kind: str) -> str:
        spans = "".join(
            f'<tspan x="{x:g}" y="{y + LINE * (row + 0.72):g}">{escape(line)}</tspan>'
            for row, line in enumerate(lines)
        )
        return f'<text class="flow-{kind}">{spans}</text>'

    def question(self, x: float, y: float, width: float, text: str) -> float:
        """Draw a question; return its height."""
        lines = wrapped(text, width - 2 * PAD, bold=True)
        height = LINE * len(lines) + 2 * PAD
        self.boxes.append(
            f'<rect class="flow-question-box" x="{x:g}" y="{y:g}" width="{width:g}" '
            f'height="{height:g}" rx="8"/>' + self.text(x + PAD, y + PAD, lines, "question")
        )
        return height

    def leaf(self, x: float, y: float, width: float, take: tuple[str, ...], why: str) -> float:
        """Draw what to take, each a link; return its height."""
        rows: list[list[str]] = []
        for path in take:  # as many beside each other as there is room for
            if rows and sum(map(across, [*rows[-1], path])) <= width - 2 * PAD + GAP:
                rows[-1].append(path)
            else:
                rows.append([path])
        names = ""
        for row, paths in enumerate(rows):
            for place, path in enumerate(paths):
                left = x + PAD + sum(map(across, paths[:place]))
                name = self.text(left, y + PAD + LINE * row, [short(path)], "link")
                names += f'<a href="{escape(self.links[path])}">{name}</a>'
        said = wrapped(why, width - 2 * PAD) if why else []
        height = LINE * (len(rows) + len(said)) + 2 * PAD
        self.boxes.append(
            f'<rect class="flow-leaf-box" x="{x:g}" y="{y:g}" width="{width:g}" '
            f'height="{height:g}" rx="8"/>'
            + names
            + self.text(x + PAD, y + PAD + LINE * len(rows), said, "why")
        )
        return height

    def answer(self, x: float, y: float, lines: list[str]) -> float:
        """Write an answer; return its height."""
        self.boxes.append(self.text(x, y, lines, "answer"))
        return LINE * len(lines)

    def line(self, *points: tuple[float, float]) -> None:
        path = " L".join(f"{x:g} {y:g}" for x, y in points)
        self.lines.append(f'<path class="flow-line" d="M{path}"/>')

    def svg(self, height: float, kind: str, label: str) -> str:
        return (
            f'<svg class="flow flow-{kind}" viewBox="0 0 {self.width} {height:g}" '
            f'xmlns="http://www.w3.org/2000/svg" role="group" aria-label="{escape(label)}">'
            + "".join(self.lines + self.boxes)
            + "</svg>"
        )


def wrapped(text: str, width: float, bold: bool = False) -> list[str]:
    letters = int(width / (LETTER * (1.15 if bold else 1)))
    return textwrap.wrap(text, letters, break_long_words=False)


def across(path: str) -> float:
    """Return how wide a link is, with the gap behind it."""
    return 1.22 * LETTER * len(short(path)) + GAP


def short(path: str) -> str:
    return path.rpartition(".")[2]


def draw_narrow(questions: dict[str, Any], links: dict[str, str], label: str) -> str:
    """Draw the tree from top to bottom; what follows from an answer stands below it, indented."""
    picture, width, step = Picture(360, links), 360, 16

    def below(name: str, x: float, y: float) -> float:
        top = y + picture.question(x, y, width - x - 2, questions[name]["question"])
        y, spine = top + 12, x + 7
        for answer in questions[name]["answers"]:
            middle = y + LINE / 2
            picture.line((spine, top), (spine, middle), (x + step - 2, middle))
            lines = wrapped(answer["answer"], width - x - step - 4)
            y += picture.answer(x + step + 2, y, lines) + 4
            if "ask" in answer:
                y = below(answer["ask"], x + step, y)
            else:
                y += picture.leaf(
                    x + step, y, width - x - step - 2, tuple(answer["take"]), answer.get("why", "")
                )
            y += 12
        return y - 12

    height = below(next(iter(questions)), 2, 2) + 2
    return picture.svg(height, "narrow", label)


def draw_wide(questions: dict[str, Any], links: dict[str, str], label: str) -> str:
    """Draw the tree from top to bottom, with what to take in a column at the right."""
    picture, width, step, column = Picture(900, links), 900, 22, 470

    def below(name: str, x: float, y: float) -> float:
        top = y + picture.question(x, y, column - 30 - x, questions[name]["question"])
        y, spine = top + 14, x + 9
        for answer in questions[name]["answers"]:
            lines = wrapped(answer["answer"], column - 44 - x - step)
            end = x + step + 6 + LETTER * max(map(len, lines))
            if "ask" in answer:
                middle = y + LINE / 2
                said = picture.answer(x + step + 2, y, lines)
                bottom = below(answer["ask"], x + step, y + said + 6)
            else:
                take, why = tuple(answer["take"]), answer.get("why", "")
                middle = y + PAD + LINE / 2
                said = picture.answer(x + step + 2, y + PAD, lines)
                bottom = y + picture.leaf(column, y, width - column - 2, take, why)
                bottom = max(bottom, y + PAD + said)
                picture.line((end, middle), (column, middle))
            picture.line((spine, top), (spine, middle), (x + step - 2, middle))
            y = bottom + 12
        return y - 12

    height = below(next(iter(questions)), 2, 2) + 2
    return picture.svg(height, "wide", label)


# --- Sphinx --------------------------------------------------------------------------------


class Drawn(nodes.General, nodes.Element):
    """Stands for the pictures until the pages of the API are known."""


class Flowchart(SphinxDirective):
    """Put the pictures, and the list with links, where the directive stands."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        relative, absolute = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        questions = read_questions(Path(absolute))
        drawn = Drawn(questions=questions)
        self.set_source_info(drawn)
        told = nodes.container(classes=["flow-list"])
        linked = outline(questions, lambda path: f"{{py:obj}}`~{path}`")
        self.state.nested_parse([*linked, ""], self.lineno, told)
        return [drawn, told]


def draw(app: Any, doctree: nodes.document, docname: str) -> None:
    """Make the pictures, now that every page is known."""
    domain = app.env.domains["py"]
    for node in list(doctree.findall(Drawn)):
        questions, links = node["questions"], {}
        for leaf in leaves(questions):
            for path in leaf.take:
                known = domain.objects.get(path)
                if known is None:
                    logger.warning("no page says what %s is", path, location=node)
                    links[path] = "#"
                else:
                    uri = app.builder.get_relative_uri(docname, known.docname)
                    links[path] = f"{uri}#{known.node_id}"
        label = "The same questions as in the list below"
        pictures = draw_wide(questions, links, label) + draw_narrow(questions, links, label)
        node.replace_self(
            nodes.raw("", f'<div class="flow-holder">{pictures}</div>', format="html")
        )


def setup(app: Any) -> dict[str, Any]:
    app.add_node(Drawn)
    app.add_directive("flowchart", Flowchart)
    app.connect("doctree-resolved", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    sys.stdout.write("\n".join(outline(read_questions(Path(sys.argv[1])), plain)) + "\n")
