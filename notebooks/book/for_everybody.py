"""What do the finished pages lack for readers with a keyboard or a screen reader?  It is added here.

captions of the side bar   are headings without a level
folded cells               have a name that is not what is read on them
wide code                  cannot be scrolled by the keys
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

BODY = (
    (' aria-label="Toggle hidden content"', ""),
    ("<pre>", '<pre tabindex="0">'),
    ('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'),
)
SIDE = (('role="heading"', 'role="heading" aria-level="2"'),)
LATE = 900  # after the theme


def mended(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """The text with each first string replaced by its second.

    >>> mended("<pre>1</pre>", BODY)
    '<pre tabindex="0">1</pre>'
    """
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def _mend(app: Sphinx, name: str, template: str, context: dict[str, Any], tree: Any) -> None:
    for key, pairs in (("body", BODY), ("furo_navigation_tree", SIDE)):
        if isinstance(context.get(key), str):
            context[key] = mended(context[key], pairs)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", _mend, priority=LATE)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
