"""Which text is always there?  A summarization corpus harvested from installed documentation.

People who write docstrings write a one-line summary, a blank line and a description (PEP 257).  Turned
around this is a summarization task with real text and nothing to download:

    prompt       the description, then "TL;DR:"
    completion   the summary

Source files are parsed, never imported.  A description or a summary that occurs twice is kept once,
validation packages first, so that nothing of the validation text is in the training text; and the
split is by package, so that validation asks about text of other authors.
"""

from __future__ import annotations

import ast
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset
from tqdm import tqdm

from llm.data import load_rows
from llm.files import read_json, write_json, write_json_lines
from llm.layouts import demonstration
from llm.run_folder import claimed

STANDARD_LIBRARY = "python"
VALIDATION = ("matplotlib", "networkx")
TRAINING = (
    STANDARD_LIBRARY,
    *("numpy", "scipy", "pandas", "sympy", "mpmath", "torch", "transformers", "datasets", "accelerate"),
    *("peft", "huggingface_hub", "tensorboard", "nltk", "joblib", "pyarrow", "fsspec", "fontTools", "PIL"),
    *("IPython", "hypothesis"),
)
SKIPPED_FOLDERS = {"test", "tests", "testing", "idle_test", "site-packages", "_vendor", "vendored"}
WORDS_IN_SUMMARY = range(4, 41)
WORDS_IN_DESCRIPTION = range(12, 401)

# Where prose ends: doctests, and the sections that hold code, lists of links or names.
END_OF_PROSE = re.compile(
    r"^\s*(>>>|\.\. [a-z-]+::|(examples?|references?|see also|notes?|doctests?|usage)\s*:*\s*$)", re.I | re.M
)


class Text(NamedTuple):
    """Demonstrations `prompt, completion` to learn from, others to be asked about, and what they are."""

    train: Dataset
    held_out: Dataset
    origin: dict[str, Any]


def docstrings(folder: Path, packages: Mapping[str, Sequence[str]], *, progress: bool) -> Text:
    """`docstring_corpus`, read once and kept in the folder, which holds that of no other packages."""
    paths = [folder / "train.jsonl", folder / "held_out.jsonl"]
    with claimed(folder, packages):
        if not (folder / "origin.json").exists():
            text = docstring_corpus(**packages, progress=progress)
            for path, rows in zip(paths, text[:2], strict=True):
                write_json_lines(path, rows)
            write_json(folder / "origin.json", text.origin)
    train, held_out = (load_rows(path, demonstration).rows for path in paths)
    return Text(train, held_out, read_json(folder / "origin.json"))


def docstring_corpus(
    training: Sequence[str] = TRAINING, validation: Sequence[str] = VALIDATION, *, progress: bool = True
) -> Text:
    """(description -> one-line summary) pairs of installed packages, split by package.

    Args:
        training: top-level import names; "python" is the standard library.
        validation: likewise.  A package that is not installed is reported, not an error.
        progress: show a bar: all packages together take about a minute.

    Raises:
        ValueError: a package is on both sides, or nothing was found for one of them.
    """
    both = sorted(set(training) & set(validation))
    if both:
        raise ValueError(f"validation must share no package with training, but both have {both[0]!r}")
    names = [*validation, *training]  # in this order, duplicates are dropped from training
    roots = {name: root for name in names if (root := package_folder(name)) is not None}
    seen: set[str] = set()
    rows: dict[str, list[dict[str, str]]] = {name: [] for name in names}
    duplicates = 0
    for name, root in tqdm(roots.items(), desc="reading docstrings", disable=not progress):
        for description, summary in docstring_pairs(root):
            keys = {" ".join(text.lower().split()) for text in (description, summary)}
            if keys & seen:
                duplicates += 1
                continue
            seen |= keys
            prompt = f"{description}\n\nTL;DR:"
            rows[name].append({"prompt": prompt, "completion": f" {summary}", "package": name})
    sides = [[row for name in side for row in rows[name]] for side in (training, validation)]
    for argument, side in zip(("training", "validation"), sides, strict=True):
        if not side:
            raise ValueError(f"{argument} packages must hold docstrings, but none were found; install one")
    origin = {
        "name": "docstrings of installed packages",
        "duplicates": duplicates,  # a description or summary had been seen
        "versions": _versions(roots),
        "missing": [name for name in names if name not in roots],
    }
    return Text(Dataset.from_list(sides[0]), Dataset.from_list(sides[1]), origin)


def package_folder(name: str) -> Path | None:
    """The folder of a package's source, found without importing it; None if it is not installed."""
    if name == STANDARD_LIBRARY:
        return Path(sysconfig.get_paths()["stdlib"])
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def docstring_pairs(root: Path) -> Iterator[tuple[str, str]]:
    """(description, summary) of the docstrings under a folder, paths in alphabetical order.

    Files that are not Python of this version, and tests, are passed over.
    """
    for path in sorted(root.rglob("*.py")):
        if SKIPPED_FOLDERS & set(path.relative_to(root).parts[:-1]):
            continue
        try:
            with warnings.catch_warnings(action="ignore"):  # of invalid escapes in others' strings
                tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, OSError):
            continue
        for docstring in _docstrings(tree):
            pair = split_docstring(docstring)
            if pair is not None:
                yield pair


def _docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    yield ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child)


def split_docstring(docstring: str) -> tuple[str, str] | None:
    """(description, summary), or None if the docstring is not a one-line summary with prose behind it.

    Example:
        >>> split_docstring("Add two numbers.\\n\\nToo short.") is None
        True
    """
    summary, _, rest = docstring.strip().partition("\n\n")
    if "\n" in summary or not summary[:1].isalpha() or summary.endswith(":"):
        return None
    end = END_OF_PROSE.search(rest)
    description = rest[: end.start() if end else None].strip()
    if len(summary.split()) not in WORDS_IN_SUMMARY or len(description.split()) not in WORDS_IN_DESCRIPTION:
        return None
    return description, summary


def _versions(names: Iterable[str]) -> dict[str, str]:
    homes = metadata.packages_distributions()  # reads all that is installed: a second
    found = {name: metadata.version(homes[name][0]) if name in homes else "unknown" for name in names}
    return found | {name: platform.python_version() for name in found if name == STANDARD_LIBRARY}
