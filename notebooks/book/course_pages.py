"""How do the written pages name notebooks, algorithms, figures and files?  Links hold where they lie, too.

nb:05                                  becomes a link to the notebook of that number
[CoPG](../../bandits/algorithms/x.py)  one to its page, which ends with that file
](../../figures/x.svg)                 one to its place in the gallery
](../../                               the book has the shape of the repository
<!-- notebooks -->                     becomes the list of all, with their first paragraphs
<!-- pages -->                         the algorithms' pages, for the side bar
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from bandits.algorithms import ALGORITHMS

NOTEBOOKS = Path(__file__).resolve().parents[1]
PICTURE = re.compile(r"(?<!!)(\[[^\]]*\])\(\.\./\.\./figures/(\w+)\.svg\)")
ALGORITHM = re.compile(r"\[(\w+)\]\(\.\./\.\./bandits/algorithms/\w+\.py\)")


def for_the_book(text: str) -> str:
    """A written page with its links leading into the book."""
    known = {path.name[:2]: path.name for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}

    def link(found: re.Match[str]) -> str:
        number = found[1]
        return f"[{number}](notebooks/{known[number]})" if number in known else number

    text = re.sub(r"nb:(\d\d)", link, text)
    text = text.replace("<!-- notebooks -->", listed())
    text = text.replace("<!-- pages -->", _toctree([f"algorithms/{cls.__name__}" for cls in ALGORITHMS]))
    text = ALGORITHM.sub(r"[\1](algorithms/\1.md)", text)
    text = PICTURE.sub(lambda found: f"{found[1]}(gallery.md#{found[2].replace('_', '-')})", text)
    return text.replace("](../../", "](").replace("](notebooks/book/", "](")


def listed() -> str:
    """Titles with first paragraphs, and for the side bar."""
    notebooks = sorted(NOTEBOOKS.glob("*.ipynb"))
    beside = sorted(NOTEBOOKS.glob("*.md"))
    items = "\n".join(f"- {summary(path)}" for path in notebooks)
    items += "".join(f"\n- [{title(path)}](notebooks/{path.name})" for path in beside)
    return f"{items}\n\n" + _toctree([f"notebooks/{path.stem}" for path in [*notebooks, *beside]])


def _toctree(pages: list[str]) -> str:
    return "```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```"


def summary(path: Path) -> str:
    """Number, title and first paragraph of a notebook."""
    text = first_cell(path)
    paragraphs = [each for each in text.split("\n\n") if each and not each.startswith(("#", "|", "-", ">"))]
    said = " ".join(paragraphs[0].split()) if paragraphs else ""
    return f"[{path.stem[:2]} {title(path)}](notebooks/{path.name}). {said}"


def title(path: Path) -> str:
    """The first heading."""
    text = first_cell(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    return next((line.lstrip("# ") for line in text.splitlines() if line.startswith("# ")), path.stem)


def first_cell(path: Path) -> str:
    """The text of the first cell."""
    return "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
