"""The explorer alone, through Voila: a key moves a slider, and state, picture and card follow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bandits.explorer import DEFAULT, from_link, link

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SHOWN = 120_000  # milliseconds until a fresh kernel has drawn


@pytest.fixture(scope="module")
def voila(serve):
    """The address of the explorer."""
    options = ["--no-browser", "--port={port}", "--Voila.ip=127.0.0.1"]
    return serve(sys.executable, "-m", "voila", "explorer.ipynb", *options, path="/static", cwd=NOTEBOOKS)


def opened(page, address):
    """The picture, once all is there."""
    page.goto(address)
    page.locator("table").first.wait_for(timeout=SHOWN)
    page.locator(".noUi-handle[aria-label]").first.wait_for(timeout=SHOWN)
    return page.locator("img[alt]")


def test_a_key_moves_a_slider_and_the_picture_changes(page, voila):
    """Tab comes to beta; ten times Right; then the picture is another, and the link carries the new beta."""
    picture = opened(page, voila)
    before, state = picture.get_attribute("src"), from_link(page.get_by_label("link").input_value())
    assert state == DEFAULT  # nothing has moved by itself
    page.get_by_label("beside").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "β"
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    changed = "before => document.querySelector('img[alt]').src != before"
    page.wait_for_function(changed, arg=before, timeout=SHOWN)
    page.wait_for_timeout(3000)
    now = from_link(page.get_by_label("link").input_value())
    assert now["beta"] > 1.2 * state["beta"] and now | {"beta": 0.5} == state  # ten steps of 0.01 decades


def test_a_link_opens_its_state(page, voila):
    opened(page, f"{voila}/?{link({'algorithm': 'GRPO', 'sampling': 'on-policy'})[1:]}")
    assert page.get_by_label("algorithm").input_value().startswith("GRPO")
    assert page.locator("table th[scope=row]").first.text_content() == "GRPO"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_read_it(page, voila, axe, pictures, theme):
    """axe-core finds nothing grave; screenshots to be looked at.  The address chooses the theme."""
    opened(page, f"{voila}/?theme={theme}")
    pictures(page, f"explorer-{theme}")
    assert axe(page) == []
