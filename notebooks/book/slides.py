"""Which cells of a notebook are slides?  `python notebooks/book/slides.py build/slides` makes slides of all.

A notebook in which any cell has a slide type is taken as it is.  In others the type follows from the cell:

    a heading of the first or second level   slide: the next one to the right
    a deeper heading, a picture's code       subslide: the next one below
    an exercise, its answer and its solution  skip
    other cells                              they stay on the slide of the cell before
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import SlidesExporter

import site_check

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"
SHIPPED = {"reveal": BUILD / "reveal.js" / "package", "mathjax": BUILD / "mathjax" / "package" / "es5"}
SHOW = (
    "dist/reveal.js",
    "dist/reveal.css",
    "dist/theme/white.css",
    "dist/theme/fonts",
    "plugin/notes/notes.js",
)
PARTS = {"reveal": SHOW, "mathjax": ("tex-svg.js",)}  # of the themes, one whose fonts are its own
LEFT_OUT = re.compile(r"exercise|solution|answer|check", re.IGNORECASE)


def slide_type(cell: Any) -> str:
    """What a cell is, for reveal.js.

    >>> from nbformat.v4 import new_code_cell, new_markdown_cell
    >>> slide_type(new_markdown_cell("## Regret")), slide_type(new_code_cell("1"))
    ('slide', '-')
    >>> slide_type(new_markdown_cell("### Exercise 01.1")), slide_type(new_code_cell("check('01.1', 2)"))
    ('skip', 'skip')
    """
    first = cell.source.lstrip().partition("\n")[0]
    tags = " ".join(cell.metadata.get("tags", []))
    asks = cell.cell_type == "markdown" and re.match(
        r"(#+|<details>|\*\*).*(exercise|solution)", first, re.IGNORECASE
    )
    if LEFT_OUT.search(tags) or asks or "check(" in cell.source or "YOUR CODE" in cell.source.upper():
        return "skip"
    if cell.cell_type == "markdown" and re.match(r"##? ", first):
        return "slide"
    if re.match(r"###+ ", first) or _draws(cell):
        return "subslide"
    return "-"


def _draws(cell: Any) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def tagged(notebook: Any) -> Any:
    """The notebook with a slide type at every cell, if it has none at all."""
    if not any(cell.metadata.get("slideshow", {}).get("slide_type") for cell in notebook.cells):
        for cell in notebook.cells:
            cell.metadata["slideshow"] = {"slide_type": slide_type(cell)}
    return notebook


def main(target: Path) -> None:
    """Slides of every notebook, and beside them what they load."""
    for name, source in SHIPPED.items():
        for part in PARTS[name]:
            copy = shutil.copytree if (source / part).is_dir() else shutil.copy2
            (target / name / part).parent.mkdir(parents=True, exist_ok=True)
            copy(
                source / part,
                target / name / part,
                **({"dirs_exist_ok": True} if (source / part).is_dir() else {}),
            )
    exporter = SlidesExporter(
        template_name="slides",
        extra_template_basedirs=[str(HERE)],
        reveal_url_prefix="reveal",
        reveal_theme="white",
    )
    for path in sorted(HERE.parent.glob("[0-9][0-9]_*.ipynb")):
        page, _ = exporter.from_notebook_node(tagged(nbformat.read(path, as_version=4)))
        (target / f"{path.stem}.slides.html").write_text(page, encoding="utf-8")
    elsewhere = [fault for fault in site_check.faults(target.resolve()) if " loads " in fault]
    if elsewhere:
        sys.exit("\n".join(elsewhere))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
