"""Which files is the book made of?  `python notebooks/book/assemble.py build/book/source` puts them together.

Written by people: the pages beside this file, the notebooks, `theory.md`.  Read off the code: a page an
algorithm, the gallery, the reference.  The tree has the shape of the repository, so that links hold.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from joblib import Parallel, delayed

import algorithm_pages
import course_pages
import reference_pages
from bandits.algorithms import ALGORITHMS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COPIED = (
    "bandits",
    "llm",
    "tests",
    "figures",
    "notebooks",
)  # what pages link to, and the notebooks themselves
LEFT = shutil.ignore_patterns("__pycache__", "book", "*.pyc", ".ipynb_checkpoints", "README.md")
MATHJAX = ROOT / "build" / "mathjax" / "package" / "es5" / "tex-svg.js"  # one file, fonts and all


def main(target: Path) -> None:
    """Write the whole tree, anew: nothing stays of what has been renamed."""
    shutil.rmtree(target, ignore_errors=True)
    for name in COPIED:
        shutil.copytree(ROOT / name, target / name, dirs_exist_ok=True, ignore=LEFT)
    for each in [*HERE.glob("*.md"), ROOT / "CONTRIBUTING.md"]:
        write(target / each.name, course_pages.for_the_book(each.read_text(encoding="utf-8")))
    shutil.copy2(ROOT / "LICENSE", target / "LICENSE")
    if not MATHJAX.is_file():
        sys.exit("MathJax is missing: `make book` takes it from the npm registry, once (npm is needed).")
    (target.parent / "static" / "mathjax").mkdir(parents=True, exist_ok=True)
    shutil.copy2(MATHJAX, target.parent / "static" / "mathjax")
    write(target / "gallery.md", reference_pages.gallery())
    pages = Parallel(n_jobs=-1)(delayed(algorithm_pages.page)(cls) for cls in ALGORITHMS)
    for cls, text in zip(ALGORITHMS, pages, strict=True):
        write(target / "algorithms" / f"{cls.__name__}.md", text)
    write(target / "api" / "index.md", reference_pages.api_index())
    for name, title, packages in reference_pages.PAGES:
        write(target / "api" / f"{name}.md", reference_pages.api_page(title, packages))


def write(path: Path, text: str) -> None:
    """Write a page, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
