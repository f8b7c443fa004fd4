"""Formulas as MathML, made when the site is built: nothing is loaded to read them.

A formula that cannot be converted is a warning with the page's name, and so fails the build.
"""

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

# What the converter passes on as text where it does not know a command.
UNKNOWN = re.compile(r">\s*(\\(?:[A-Za-z]+|\W))\s*<")
# Of the variants of letters browsers know only the upright one.
NOT_SHOWN = re.compile(r'mathvariant="((?!normal)[^"]*)"')
MATHML = "http://www.w3.org/1998/Math/MathML"
LIMITED = {"max", "min", "sup", "inf", "lim"}
# What LaTeX knows and the converter does not.
SPELLINGS = (
    (re.compile(r"(?<!\\)\\\s*\n"), r"\\ "),  # a space at the end of a line
    (re.compile(r"\\arg(?![A-Za-z])"), r"\\operatorname{arg}"),
    (re.compile(r"(\\(?:begin|end)\{)(?:aligned|gathered)\}"), r"\1split}"),
)


def to_mathml(latex: str, display: bool) -> str:
    """Convert a formula, or raise a ValueError that says why not."""
    for pattern, instead in SPELLINGS:
        latex = pattern.sub(instead, latex)
    try:
        text = convert(latex, display="block" if display else "inline")
    except Exception as error:
        raise ValueError(f"{type(error).__name__} {error}".strip()) from error
    unknown = UNKNOWN.findall(text)
    if unknown:
        raise ValueError(f"unknown commands {', '.join(sorted(set(unknown)))}")
    if lost := NOT_SHOWN.search(text):
        raise ValueError(f"browsers do not show {lost[1]} letters; \\mathbf makes bold ones")
    try:
        tree = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError("it has & or < where they mean nothing") from error
    return with_limits(tree) if display else text


def with_limits(tree: ElementTree.Element) -> str:
    """Put what stands under a maximum below it, as in print."""
    ElementTree.register_namespace("", MATHML)
    for element in tree.iter(f"{{{MATHML}}}msub"):
        if element[0].text in LIMITED:
            element.tag = f"{{{MATHML}}}munder"
    return ElementTree.tostring(tree, encoding="unicode")


def as_one(latex: str) -> str:
    """Make one formula of a block: lines that end in `\\\\` are aligned, and so are paragraphs."""
    parts = [part.strip() for part in re.split(r"\n\s*\n", latex) if part.strip()]
    body = " \\\\ ".join(parts)
    if re.search(r"\\\\|(?<!\\)&", body) and "\\begin" not in body:
        return f"\\begin{{aligned}} {body} \\end{{aligned}}"
    return body


def visit_inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(rendered(node, node.astext(), display=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    body = translator.body
    body.append(translator.starttag(node, "div", CLASS="math-block"))
    body.append(rendered(node, as_one(node.astext()), display=True))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        body.append("</span>")
    body.append("</div>\n")
    raise nodes.SkipNode


def rendered(node: nodes.Element, latex: str, display: bool) -> str:
    try:
        return to_mathml(latex, display)
    except ValueError as error:
        logger.warning("this formula cannot be shown: %s: %s", error, latex, location=node)
        return f"<code>{nodes.unescape(latex)}</code>"


def setup(app: Any) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
