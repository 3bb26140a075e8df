"""A real Chromium for the tests of what a reader sees: `make browser`, no part of `make test`.

`page` is a tab that fails its test if anything is loaded from elsewhere or an error is written to the
console; `axe` lists what axe-core finds grave on a page; `pictures` saves it as a laptop and a phone show it,
light and dark, under build/screenshots, to be looked at; `serve` starts a server and stops it at the end.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:  # `make test` does without the extra `browser`
    from playwright.sync_api import Browser, ConsoleMessage, Page, Route

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
AXE = BUILD / "axe-core" / "package" / "axe.min.js"
WINDOWS = {"laptop": (1366, 768), "phone": (390, 844)}
QUIET = (  # of a browser that asks nobody outside of this machine
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 120.0  # seconds until a server answers

# Errors on the console that are none of ours, each with its reason.
THEIRS = {
    r"cdn\.jsdelivr\.net/npm/@fortawesome": "Voila's own page asks for icons, of which the explorer has none",
}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason='pip install "alignment-bandits[browser]"')
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.exit("Chromium is missing: `apt-get install chromium`, or name one in CHROMIUM.", returncode=1)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def wrong() -> list[str]:
    """What a test's page did wrong so far."""
    return []


@pytest.fixture
def page(chromium: Browser, wrong: list[str]) -> Iterator[Page]:
    """A tab of a laptop's size; at the end nothing came from elsewhere and the console holds no error."""
    width, height = WINDOWS["laptop"]
    context = chromium.new_context(viewport={"width": width, "height": height})
    tab = context.new_page()
    context.route(is_elsewhere, lambda route: refuse(route, wrong))
    tab.on("pageerror", lambda error: wrong.append(f"uncaught: {error}"))
    tab.on("console", lambda line: heard(line, wrong))
    yield tab
    context.close()
    ours = [line for line in wrong if not any(re.search(known, line) for known in THEIRS)]
    assert not ours, "\n".join(ours)


def is_elsewhere(url: str) -> bool:
    """Whether an address leads away from this machine."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("localhost", "127.0.0.1")


def heard(line: ConsoleMessage, wrong: list[str]) -> None:
    """Remember an error that is written to the console, and of which address it speaks."""
    if line.type == "error":
        wrong.append(f"console: {line.text} ({line.location['url']})")


def refuse(route: Route, wrong: list[str]) -> None:
    """Load nothing, and remember what was asked for."""
    wrong.append(f"loaded from elsewhere: {route.request.url}")
    route.abort()


@pytest.fixture
def axe() -> Callable[[Page], list[str]]:
    """What axe-core calls serious or critical on a page: rule, what it says, and where."""
    if not AXE.exists():
        pytest.exit("axe-core is missing: `make browser` fetches it (npm is needed).", returncode=1)

    def found(page: Page) -> list[str]:
        page.evaluate(AXE.read_text(encoding="utf-8"))
        violations: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{each['id']} ({each['impact']}): {each['help']}: {node['html'][:160]}"
            for each in violations
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    return found


@pytest.fixture
def pictures() -> Callable[[Page, str], list[Path]]:
    """Save the page as build/screenshots/{name}-{laptop,phone}-{light,dark}.png."""

    def saved(page: Page, name: str) -> list[Path]:
        paths = []
        for window, (width, height) in WINDOWS.items():
            page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.wait_for_timeout(500)  # until what changes with the window has been laid out
                paths.append(BUILD / "screenshots" / f"{name}-{window}-{scheme}.png")
                page.screenshot(path=paths[-1])
        return paths

    return saved


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Start a server by the words of a command, {port} being a free port; its address comes back."""
    running: list[subprocess.Popen[bytes]] = []

    def started(*command: str, path: str = "/", cwd: Path = ROOT) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = tmp_path_factory.mktemp("server") / "log"
        words = [word.replace("{port}", str(port)) for word in command]
        with log.open("wb") as out:
            running.append(subprocess.Popen(words, cwd=cwd, stdout=out, stderr=subprocess.STDOUT))
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while not answers(address + path):
            dead = running[-1].poll() is not None
            assert not dead and time.monotonic() < deadline, f"{words} does not answer:\n{log.read_text()}"
            time.sleep(0.3)
        return address

    yield started
    for process in running:
        process.terminate()
        process.wait(timeout=30)


def answers(address: str) -> bool:
    """Whether a server is there, whatever it says."""
    try:
        urllib.request.urlopen(address, timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
