"""The watchers of these tests notice what they watch for."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


def test_errors_and_loads_from_elsewhere_are_noticed(page, wrong):
    page.goto("data:text/html,<p>a page</p>")
    page.evaluate("console.error('broken')")
    page.evaluate("setTimeout(() => { throw Error('thrown') }, 0)")
    page.evaluate("fetch('https://elsewhere.invalid/font').catch(() => null)")
    page.wait_for_timeout(200)
    for sign in (
        "console: broken",
        "uncaught: thrown",
        "loaded from elsewhere: https://elsewhere.invalid/font",
    ):
        assert any(line.startswith(sign) for line in wrong), sign
    wrong.clear()


def test_axe_finds_what_is_grave(page, axe):
    page.set_content("<html lang=en><title>t</title><main><h1>t</h1><img src='data:,'></main></html>")
    assert [line.split()[0] for line in axe(page)] == ["image-alt"]
