"""What the book is made of, before Sphinx sees it: `make book` builds it, `make browser` reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import algorithm_pages
import bandits
import course_pages
import reference_pages
import site_check
import slides
import theory_tags
from bandits import ALGORITHMS
from bandits.experiments import EXPERIMENTS

ROOT = Path(bandits.__file__).parents[1]
THEORY = (ROOT / "bandits" / "theory.md").read_text(encoding="utf-8")


# ---- what must be there ------------------------------------------------------------------------------------


def test_every_public_name_has_an_entry():
    """Public names are a subset of documented names; `site_check` asks the same of the built pages."""
    pages = [reference_pages.api_page(title, packages) for _, title, packages in reference_pages.PAGES[:-1]]
    entries = set(re.findall(r"auto\w+:: (\S+)|py:data:: (\S+)", "\n".join(pages)))
    told = {name for pair in entries for name in pair if name}
    told |= {f"bandits.{cls.__name__}" for cls in ALGORITHMS}  # each has a page of its own
    public = {f"bandits.{name}" for name in bandits.__all__}
    assert len(public) > 90 and public - told == set()


def test_every_figure_is_in_the_gallery_with_its_caption():
    text = reference_pages.gallery()
    for experiment in EXPERIMENTS:
        name = experiment.__name__.rpartition(".")[2]
        assert f"(figures/{name}.svg)" in text and (ROOT / "figures" / f"{name}.svg").is_file()
        assert f"({name.replace('_', '-')})=" in text, "pages link to this anchor"
    assert text.count("\n## ") == len(EXPERIMENTS)


def test_every_tag_gets_its_anchor():
    anchored = theory_tags.with_anchors(THEORY)
    tags = re.findall(r"^### (T\d+\.\d+) ", THEORY, re.MULTILINE)
    assert len(tags) > 90
    assert [tag for tag in tags if f"({theory_tags.anchor(tag)})=\n### {tag} " not in anchored] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks" / "book").glob("*.md")), ids=lambda path: path.name
)
def test_no_mark_of_ours_is_left_in_a_page(path):
    text = course_pages.for_the_book(path.read_text(encoding="utf-8"))
    assert not re.search(r"nb:\d\d|\]\(\.\./|<!-- (notebooks|pages) -->", text)


# ---- pages of algorithms -----------------------------------------------------------------------------------


def test_kin_move_alike():
    """By theory: CoPG is RLOO up to a factor on any samples (T3.1); DRO is CoPG, its value put in (T3.7)."""
    assert {"RLOO", "DRO"} <= set(algorithm_pages.same_direction("CoPG", law=1))
    assert "PolicyGradient" in algorithm_pages.same_direction("CoPG", law=0)  # both climb J (T2.1, T3.7)
    assert "PolicyGradient" not in algorithm_pages.same_direction("CoPG", law=1)
    assert algorithm_pages.same_direction("NashMD", law=1) == []  # takes its own samples alone


def test_a_page_says_all_that_its_file_says():
    text = algorithm_pages.page(bandits.RLOO)
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads == ["Where it ends", "Report card", "Kin", "Figures", "In code"]
    for said in (
        ":Coefficient:",
        ":Ends:",
        "arxiv.org/abs/2402.14740",
        'data-about="RLOO"',
        "[CoPG](CoPG.md)",
    ):
        assert said in text
    assert "<td>optimum</td>" in text and "0x" not in text, (
        "no address of an object: the same bytes every time"
    )


# ---- links of tags -----------------------------------------------------------------------------------------


def test_tags_are_linked_in_prose_and_code_and_nowhere_else():
    unknown, bare = "T" + "9.99", "T" + "3"  # put together: in this text they would be faults
    body = f"<h2>T1.1</h2><p>chapter T3, {bare} alone, (T1.1)</p><pre><i># T1.1</i></pre><p>{unknown}</p>"
    link = '<a class="tag" href="t.html#t1-1">T1.1</a>'
    chapter = f'<a class="tag" href="t.html#t3">{bare}</a>'
    assert theory_tags.linked(body, "t.html", {"T1.1", bare}) == (
        f"<h2>T1.1</h2><p>chapter {chapter}, {bare} alone, ({link})</p><pre><i># {link}</i></pre>"
        f"<p>{unknown}</p>"
    )


# ---- the check of the site ---------------------------------------------------------------------------------

GOOD = (
    '<html><head><link rel="stylesheet" href="_static/a.css"><link rel="next" href="b.html">'
    '<script src="_static/simplex.js"></script></head><body><h1 id="top">a</h1>'
    '<a href="#top">up</a> <a href="b.html#x">b</a> <a href="https://arxiv.org/abs/1">paper</a> {}'
    "</body></html>"
)


def site(folder: Path, more: str = "", css: str = "", script: str = "") -> list[str]:
    """The faults of a small site with one thing more."""
    (folder / "_static").mkdir()
    (folder / "_static" / "a.css").write_text(f"p {{}} {css}")
    (folder / "_static" / "simplex.js").write_text(f"// https://example.org is only named\n{script}")
    (folder / "index.html").write_text(GOOD.format(more))
    (folder / "b.html").write_text('<p id="x">b</p>')
    return list(site_check.faults(folder))


def test_a_site_that_holds_together_has_no_fault(tmp_path):
    assert site(tmp_path) == []


@pytest.mark.parametrize(
    "more",
    [
        '<script src="https://cdn.example.org/a.js"></script>',
        '<img src="//example.org/a.png">',
        '<link rel="stylesheet" href="https://fonts.example.org/a.css">',
        '<link rel="preconnect" href="https://fonts.example.org">',
        '<iframe src="https://example.org"></iframe>',
        '<p style="background: url(https://example.org/a.png)">x</p>',
        "<style>@import 'https://example.org/a.css';</style>",
        '<script type="module">import a from "https://example.org/a.mjs";</script>',
        '<svg><image href="https://example.org/a.png"/></svg>',
    ],
)
def test_what_comes_from_elsewhere_is_found(tmp_path, more):
    [fault] = site(tmp_path, more)
    assert "index.html loads" in fault and "example.org" in fault


def test_style_sheets_and_scripts_that_load_are_found(tmp_path):
    faults = site(
        tmp_path, css="@font-face { src: url(https://e.org/f.woff) }", script='fetch("https://e.org/a")'
    )
    assert [fault.split(" loads ")[1] for fault in faults] == ["https://e.org/f.woff", "https://e.org/a"]


@pytest.mark.parametrize(
    "link", ["c.html", "#nowhere", "b.html#nowhere", "../../etc/hosts", "file:///etc/hosts"]
)
def test_links_that_lead_nowhere_are_found(tmp_path, link):
    [fault] = site(tmp_path, f'<a href="{link}">x</a>')
    assert f"links to {link}" in fault


def test_a_public_name_without_an_entry_is_found(tmp_path):
    site(tmp_path)
    assert "bandits.CoPG is public" in " ".join(site_check.faults(tmp_path, {"bandits.CoPG"}))


def test_an_empty_site_is_no_site(tmp_path):
    assert list(site_check.faults(tmp_path)) == [f"{tmp_path}: no page"]


# ---- slides ------------------------------------------------------------------------------------------------


def test_a_lecturers_own_slide_types_are_kept():
    v4 = pytest.importorskip("nbformat.v4", reason="pip install 'alignment-bandits[notebooks]'")
    own = v4.new_notebook(cells=[v4.new_markdown_cell("# A"), v4.new_markdown_cell("## B")])
    own.cells[1].metadata["slideshow"] = {"slide_type": "notes"}
    assert [cell.metadata.get("slideshow") for cell in slides.tagged(own).cells] == [
        None,
        {"slide_type": "notes"},
    ]
    bare = v4.new_notebook(cells=[v4.new_markdown_cell("# A"), v4.new_code_cell("1")])
    assert [c.metadata.slideshow.slide_type for c in slides.tagged(bare).cells] == ["slide", "-"]
