"""How does every mention of a tag become a link?  In the finished page, in prose and in code alike.

`theory.md` gets an anchor for each of its headings, #t1-2 for T1.2 and #t5 for a chapter; then, in every
page, each T1.2 and each "chapter T5" that is not a link already, nor in a heading, leads there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

THEORY = "bandits/theory"
HEADING = re.compile(r"^(##+) (T\d+(?:\.\d+)?) ", re.MULTILINE)
TAG = re.compile(r"(?<![\w.#/-])(?:T\d+\.\d+(?!\w)|(?<=chapter )T\d+(?![\w.]\d))")
PIECES = re.compile(r"(<[^>]*>)")
NAME = re.compile(r"<(/?)(\w+)")
CLOSED = {"a", "h1", "h2", "h3", "h4", "script", "style", "svg", "title"}  # no links inside of these


def anchor(tag: str) -> str:
    """The anchor of a tag.

    >>> anchor("T12.3")
    't12-3'
    """
    return tag.lower().replace(".", "-")


def with_anchors(theory: str) -> str:
    """The text with a target before each heading that begins with a tag.

    >>> with_anchors("### T1.2 The regret")
    '(t1-2)=\\n### T1.2 The regret'
    """
    return HEADING.sub(lambda found: f"({anchor(found[2])})=\n{found[0]}", theory)


def linked(body: str, page: str, known: set[str]) -> str:
    """HTML with its tags as links into `page`; tags that the theory does not state stay as they are.

    >>> linked("<p>(T1.2) <a>T1.2</a></p>", "theory.html", {"T1.2"})
    '<p>(<a class="tag" href="theory.html#t1-2">T1.2</a>) <a>T1.2</a></p>'
    """

    def link(found: re.Match[str]) -> str:
        tag = found[0]
        return f'<a class="tag" href="{page}#{anchor(tag)}">{tag}</a>' if tag in known else tag

    depth, pieces = 0, []
    for piece in PIECES.split(body):
        if piece.startswith("<"):
            named = NAME.match(piece)
            if named and named[2] in CLOSED and not piece.endswith("/>"):
                depth += -1 if named[1] else 1
        elif depth == 0:
            piece = TAG.sub(link, piece)
        pieces.append(piece)
    return "".join(pieces)


def _anchor_the_theory(app: Sphinx, name: str, source: list[str]) -> None:
    if name == THEORY:
        source[0] = with_anchors(source[0])


def _link_the_page(app: Sphinx, name: str, template: str, context: dict[str, Any], tree: Any) -> None:
    if "body" in context and "pathto" in context:
        theory = (app.srcdir / f"{THEORY}.md").read_text(encoding="utf-8")
        known = {found[2] for found in HEADING.finditer(theory)}
        context["body"] = linked(context["body"], context["pathto"](THEORY).rstrip("#"), known)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _anchor_the_theory)
    app.connect("html-page-context", _link_the_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
