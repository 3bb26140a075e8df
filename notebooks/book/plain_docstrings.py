"""How do docstrings, written as plain text for `help()`, become pages?

    pi*, R_i, |y|     are what they say, and no marks
    `name`            is code
    an indented block after prose is a formula or a table, as it stands
    a line of Python  as in the examples below: an example, up to the next empty line

Google's sections (Args, Raises, Example) are left to napoleon, which reads after us.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from bandits.experiments.record import CODE, escaped

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Raises|Returns|Yields|Example|Examples|Attributes|Note|Warns):(.*)$")


def blocks(text: str) -> list[str]:
    """Paragraphs and indented blocks, as they were parted by empty lines; an indented block keeps its own.

    >>> blocks("a\\nb\\n\\n    c = 1\\n\\n    d\\n\\ne")
    ['a\\nb', '    c = 1\\n\\n    d', 'e']
    """
    found: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        both_set_in = bool(found) and block[:1] == " " and found[-1][:1] == " "
        found[-1:] = [f"{found[-1]}\n\n{block}"] if both_set_in else [*found[-1:], block]
    return found


def markdown(text: str) -> str:
    """The docstring of a module as Markdown.

    >>> print(markdown("pi* of R_i\\n\\n    c = *"))
    pi\\* of R\\_i
    <BLANKLINE>
    ```text
    c = *
    ```
    """
    said = []
    for block in blocks(text):
        if block.lstrip().startswith(">>>"):
            said.append(f"```pycon\n{textwrap.dedent(block)}\n```")
        elif block[:1] == " ":
            said.append(f"```text\n{textwrap.dedent(block)}\n```")
        else:
            said.append(escaped(block))
    return "\n\n".join(said)


def restructured(lines: list[str]) -> list[str]:
    """The docstring of a class or function as reStructuredText for napoleon."""
    said: list[str] = []
    example = formula = in_args = False
    for i, line in enumerate(lines):
        bare, indent = line.strip(), len(line) - len(line.lstrip())
        before = lines[i - 1].strip() if i else ""
        section = SECTION.match(bare) if not indent else None
        if bare and indent == 0:
            formula, in_args = False, bool(section) and bare.startswith(("Args", "Raises", "Attributes"))
        example = bare.startswith((">>>", "...")) or (example and bool(bare))
        if not bare or example:
            said += [""] * bool(example and bare.startswith(">>>") and before and not _is_code(before))
            said.append(line)
        elif section:
            said += _heading(section)
            formula = section[1].startswith("Example") and not section[2] and not _is_code(_next(lines, i))
            said += ["", "    ::", ""] * formula
        elif indent and not in_args and (formula or not before):
            said += ["::", ""] * (not formula) + ["    " + line]
            formula = True
        else:
            said.append(_marks(line))
    return said


def _is_code(line: str) -> bool:
    return line.startswith((">>>", "..."))


def _next(lines: list[str], i: int) -> str:
    return lines[i + 1].strip() if i + 1 < len(lines) else ""


def _heading(section: re.Match[str]) -> list[str]:
    """`Example: two answers.` has its words on a line of their own."""
    name, words = section[1], section[2].strip()
    return [f"{name}:", *([f"    {_marks(words)}", ""] if words else [])]


def _marks(line: str) -> str:
    r"""Escape \ * | and _ outside of code, which gets its two backticks."""
    parts = CODE.split(line)
    return "".join(f"`{p}`" if p[:1] == "`" else re.sub(r"([\\*|_])", r"\\\1", p) for p in parts)


def _mend(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _mend, priority=100)  # before napoleon's 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
