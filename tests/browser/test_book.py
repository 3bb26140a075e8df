"""The book, as `make book` built it, in Chromium: the triangle moves, nothing is loaded, all can read it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import simplex_ends
from bandits import DPO, IPO, Bandit, CoPG, Offline, PolicyGradient, behavior_value, fixed_point

pytestmark = pytest.mark.browser

SITE = Path(__file__).parents[2] / "build" / "book" / "html"
# One page of each kind: front, algorithm, theory, gallery, table, reference, lecturers, report cards, words.
PAGES = (
    *("index", "course", "algorithms/CoPG", "algorithms/GRPO", "bandits/theory", "gallery", "claims"),
    *("api/bandits", "lecturers", "reading", "glossary", "figures/verdicts"),
)
START = {"reward": [1, 0.6, 0], "reference": [0.25, 0.3, 0.45], "beta": 0.5}


@pytest.fixture(scope="module")
def notebook() -> str:
    """The first notebook's page."""
    return f"notebooks/{next(iter(sorted(SITE.glob('notebooks/01_*.html')))).stem}"


@pytest.fixture
def book(page, serve):
    """Opens a page of the book and waits until the triangle and formulas are drawn."""
    assert (SITE / "index.html").is_file(), "there is no book to read: `make book` builds it"
    address = serve(
        sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1", "--directory", str(SITE)
    )

    def opened(name: str, fragment: str = ""):
        page.goto("about:blank")  # so that a new fragment alone loads the page again
        page.goto(f"{address}/{name}.html{fragment}")
        page.wait_for_load_state("networkidle")
        return page

    return opened


def ends(page) -> dict[str, list[float]]:
    """Each algorithm's end as the page holds it, after a look at the digits that it shows."""
    found = {}
    for row in page.locator(".simplex tbody tr").all():
        found[row.get_attribute("data-name")] = policy = json.loads(row.get_attribute("data-policy"))
        assert row.locator(".policy").inner_text().split() == [f"{p:.4f}" for p in policy]
    return found


def known(behavior, *, beta=0.5) -> dict[str, np.ndarray]:
    """Where `bandits` says that they end, in the world that the page starts with."""
    world, mu = Bandit(START["reward"], reference=START["reference"]), Offline(np.array(behavior))
    algorithms = {
        "CoPG": CoPG(beta),
        "DPO": DPO(beta),
        "IPO": IPO(beta),
        "Policy gradient, b = 0": PolicyGradient(beta),
        "Policy gradient, b = E_μ[R]": PolicyGradient(beta, baseline=behavior_value),
    }
    return {name: fixed_point(each, world, mu).policy for name, each in algorithms.items()}


def assert_same(found, expected) -> None:
    assert sorted(found) == sorted(expected)
    for name, policy in expected.items():
        np.testing.assert_allclose(found[name], policy, atol=simplex_ends.WITHIN, err_msg=name)


def behavior(page) -> list[float]:
    """mu, as the address holds it, of four digits each."""
    given = np.array([float(p) for p in page.url.partition("mu=")[2].partition("&")[0].split(",")])
    return list(given / given.sum())


def test_the_arrow_keys_move_mu_and_the_ends(book):
    page = book("index")
    before = ends(page)
    assert_same(before, known([0.1, 0.3, 0.6]))
    handle = page.get_by_role("slider", name="μ, who samples")
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    np.testing.assert_allclose(behavior(page), [0.2, 0.2, 0.6], atol=1e-4)  # four digits in the address
    after = ends(page)
    assert_same(after, known([0.2, 0.2, 0.6]))
    assert handle.get_attribute("aria-valuetext") == "answer 1: 20 %, answer 2: 20 %, answer 3: 60 %"
    moved = {name for name in before if max(abs(np.subtract(before[name], after[name]))) > 1e-4}
    assert moved == {"IPO", "Policy gradient, b = 0"}, "the others end at pi*, whoever sampled"


def test_the_pointer_drags_mu(book):
    page = book("index")
    before, marks = ends(page), page.locator(".triangle .end").all()
    places = [mark.get_attribute("transform") for mark in marks]
    box = page.locator(".handle.behavior .knob").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 60, box["y"] + 90, steps=5)
    page.mouse.up()
    assert behavior(page)[0] > 0.3, "it was drawn towards the first answer"
    assert [mark.get_attribute("transform") for mark in marks] != places and ends(page) != before
    # the address keeps four digits of mu, and the ends move by no more than a few times as much
    for name, policy in known(behavior(page)).items():
        np.testing.assert_allclose(ends(page)[name], policy, atol=1e-3)


def test_a_slider_and_an_address_set_the_world(book):
    page = book("index", "#mu=.2,.3,.5&beta=1")
    assert_same(ends(page), known([0.2, 0.3, 0.5], beta=1.0))
    slider = page.get_by_label("β, weight of the KL")
    assert slider.input_value() == "1"
    slider.fill("0.5")
    assert_same(ends(page), known([0.2, 0.3, 0.5]))
    assert "beta=0.5" in page.url
    page.get_by_label("world").select_option("rock, paper, scissors")
    assert "cycle=1.5" in page.url
    dpo, copg = ends(page)["DPO"], ends(page)["CoPG"]
    assert max(abs(np.subtract(dpo, copg))) > 0.05, "a cycle is no reward: DPO's end depends on mu"


def test_every_end_is_that_of_bandits_in_this_browser(book):
    """The same 1 000 states as in `make test`, without a condition."""
    page, rng = book("index"), np.random.default_rng(7)
    for _ in range(simplex_ends.STRENGTHS):
        world = simplex_ends.worlds(rng)
        states = simplex_ends.states(world)
        found = page.evaluate("(states) => states.map(window.alignmentSimplex.ends)", states)
        gaps = simplex_ends.farthest(world, found)
        assert max(gaps.values()) < simplex_ends.WITHIN, gaps


def test_it_works_from_a_folder_without_a_server(page):
    page.goto((SITE / "index.html").as_uri())
    assert_same(ends(page), known([0.1, 0.3, 0.6]))


def test_no_page_loads_from_elsewhere_or_complains(book, notebook):
    """`page` fails if anything but this machine is asked, or an error is written to the console."""
    for name in (*PAGES, notebook):
        page = book(name)
        assert page.locator("h1").count() == 1, name


def test_formulas_are_drawn(book, notebook):
    page = book(notebook)
    page.wait_for_selector("mjx-container svg")
    assert page.locator("mjx-container").count() > 5 and page.locator("mjx-merror").count() == 0


def test_a_tag_leads_to_its_statement(book):
    page = book("algorithms/CoPG")
    page.locator("a.tag", has_text="T3.3").first.click()
    page.wait_for_load_state()
    assert page.url.endswith("bandits/theory.html#t3-3")
    assert page.get_by_role("heading", name="T3.3 Where it ends").is_visible()


def test_everybody_can_read_it(book, notebook, axe):
    found = {name: axe(book(name)) for name in (*PAGES, notebook)}
    assert {name: list(dict.fromkeys(faults))[:5] for name, faults in found.items() if faults} == {}


def test_pictures_to_be_looked_at(book, notebook, pictures):
    for name in ("index", "algorithms/CoPG", "bandits/theory", "gallery", notebook):
        page = book(name)
        for picture in pictures(page, f"book-{name.replace('/', '-')}"):
            assert picture.stat().st_size > 10_000
        width = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert width <= 0, f"{name} is wider than a phone by {width} pixels"
