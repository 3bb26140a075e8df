"""Every tag is a statement of `bandits/theory.md`, and every statement is tagged or listed as not yet built.

A tag is "T", the chapter, a dot and the number; in the name of a test, `test_t2_5_...`.  A bare chapter
stands only after the word: "chapter T9", "chapters T2 to T9".
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

import bandits

ROOT = Path(bandits.__file__).parent.parent
THEORY = ROOT / "bandits" / "theory.md"
SOURCES = ("bandits/**/*.py", "llm/**/*.py", "tests/**/*.py", "figures/*.json", "*.md")
SOURCES += ("notebooks/*.ipynb", "notebooks/**/*.md")

HEADING = re.compile(r"^##(#?) (T\d+(?:\.\d+)?)? ?(.*)$", re.MULTILINE)
TAG = re.compile(r"(?<![\w.])T\d+\.\d+")
CHAPTER = re.compile(r"(?<![\w.])T\d+(?!\w|\.\d)")
CHAPTERS = re.compile(rf"[Cc]hapters?\s+{CHAPTER.pattern}(?:(?:,| to| and)\s+{CHAPTER.pattern})*")
TEST_NAME = re.compile(r"\bdef test_t(\d+)(?:_(\d+))?_")


def statements(theory: str) -> list[str]:
    """Tags of the statements, in the order of the text."""
    return [tag for level, tag, _ in HEADING.findall(theory) if level and tag]


def not_yet_built(theory: str) -> set[str]:
    """Tags of the list at the end."""
    return set(TAG.findall(theory.partition("\n## Not yet built\n")[2]))


def anchors(theory: str) -> set[str]:
    """What GitHub makes of the headings."""
    titles = [f"{tag} {title}".strip() for _, tag, title in HEADING.findall(theory)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def citations(text: str) -> tuple[set[str], set[str], set[str]]:
    """Statements that a text cites, chapters cited as such, and chapters in the place of a statement."""
    chapters = {each for found in CHAPTERS.findall(text) for each in CHAPTER.findall(found)}
    named = {(f"T{chapter}", number) for chapter, number in TEST_NAME.findall(text)}
    bare = set(CHAPTER.findall(CHAPTERS.sub("", text))) | {chapter for chapter, number in named if not number}
    return set(TAG.findall(text)) | {f"{c}.{n}" for c, n in named if n}, chapters, bare


def faults(theory: str, sources: Mapping[str, str]) -> list[str]:
    """What is wrong between the theory and the texts that cite it, one line each."""
    known, listed, tagged = statements(theory), not_yet_built(theory), set[str]()
    found = [f"theory.md states {tag} twice" for tag in sorted(set(known)) if known.count(tag) > 1]
    body = HEADING.sub("", theory.partition("\n## Not yet built\n")[0])
    for name, text in {"theory.md": body, **sources}.items():
        cited, chapters, bare = citations(text)
        wrong = (cited - set(known)) | (chapters - {tag.partition(".")[0] for tag in known})
        found += [f"{name} cites {tag}, which theory.md does not state" for tag in sorted(wrong)]
        found += [f"{name} cites {tag}: name its statement, or say 'chapter {tag}'" for tag in sorted(bare)]
        links = set(re.findall(r"theory\.md#([\w-]+)", text)) - anchors(theory)
        found += [f"{name} links to #{link}, which is no heading of theory.md" for link in sorted(links)]
        tagged |= cited if name in sources else set()
    lost, built, unknown = set(known) - tagged - listed, listed & tagged, listed - set(known)
    found += [f"{tag} is tagged nowhere: tag what shows it, or list it" for tag in sorted(lost)]
    found += [f"{tag} is built: take it off the list of what is not" for tag in sorted(built)]
    return found + [f"the list at the end has {tag}, which is not stated" for tag in sorted(unknown)]


def text_of(path: Path) -> str:
    """A file's text; of a notebook what was written, without the outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def test_every_tag_is_a_statement_and_every_statement_is_tagged_or_listed():
    paths = {path for pattern in SOURCES for path in ROOT.glob(pattern)} - {Path(__file__)}
    sources = {str(path.relative_to(ROOT)): text_of(path) for path in paths}
    assert len(sources) > 100 and len(statements(THEORY.read_text(encoding="utf-8"))) > 90
    assert faults(THEORY.read_text(encoding="utf-8"), dict(sorted(sources.items()))) == []


SMALL = """# Theory
## T1 The optimum
### T1.1 The policy
As in T1.2.
### T1.2 The regret
## T2 Elsewhere (chapter T1)
### T2.1 Later
## Not yet built
T2.1
"""
GOOD = {"a.py": "(T1.1)", "test_b.py": "# chapters T1 to T2, T1.2\ndef test_t1_2_holds(): ..."}


def test_a_theory_whose_statements_are_tagged_or_listed_has_no_fault():
    assert faults(SMALL, GOOD) == []


@pytest.mark.parametrize(
    ("theory", "text", "fault"),
    [
        (SMALL, "(T1.3)", "a.py cites T1.3, which theory.md does not state"),
        (SMALL, "(T1.1, T1.11)", "a.py cites T1.11, which theory.md does not state"),
        (SMALL, "chapter T3", "a.py cites T3, which theory.md does not state"),
        (SMALL, "def test_t1_7_x(): ...", "a.py cites T1.7, which theory.md does not state"),
        (SMALL, "the optimum (T1).", "a.py cites T1: name its statement, or say 'chapter T1'"),
        (SMALL, "chapter T1, T1.2 and T2", "a.py cites T2: name its statement, or say 'chapter T2'"),
        (SMALL, "def test_t1_optimum(): ...", "a.py cites T1: name its statement, or say 'chapter T1'"),
        (
            SMALL,
            "theory.md#t12-reward",
            "a.py links to #t12-reward, which is no heading of theory.md",
        ),
        (SMALL, "(T2.1)", "T2.1 is built: take it off the list of what is not"),
        (
            SMALL.replace("\nT2.1", "\n"),
            "",
            "T2.1 is tagged nowhere: tag what shows it, or list it",
        ),
        (SMALL + "T2.2", "", "the list at the end has T2.2, which is not stated"),
        (
            SMALL.replace("in T1.2", "in T1.9"),
            "",
            "theory.md cites T1.9, which theory.md does not state",
        ),
        (SMALL.replace("### T2.1", "### T1.2 Again\n### T2.1"), "", "theory.md states T1.2 twice"),
    ],
)
def test_a_wrong_tag_or_list_is_told(theory, text, fault):
    """The wrong twins of the check: dangling tags, bare chapters, untagged statements, stale entries."""
    assert faults(theory, {**GOOD, "a.py": f"(T1.1) {text}"}) == [fault]


def test_what_looks_like_a_tag_and_is_none():
    assert citations("x.T1, T1_large, AT1.2, mu.T2") == (set(), set(), set())


def test_a_link_to_a_heading_is_followed():
    assert faults(SMALL, {**GOOD, "README.md": "[T1.2](bandits/theory.md#t12-the-regret)"}) == []


@pytest.mark.parametrize("document", ["README.md", "bandits/theory.md", "notebooks/book/claims.md"])
def test_the_links_between_our_files_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)}
    ours = {link for link in targets if link and "://" not in link}
    assert ours and {link for link in ours if not ((ROOT / document).parent / link).exists()} == set()


def test_the_theory_is_shipped_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "theory.md" in project["tool"]["setuptools"]["package-data"]["bandits"]
