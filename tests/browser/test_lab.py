"""JupyterLab, as `make lab` opens it, runs the course's first notebook to its end."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PATIENCE = 240.0  # seconds for one notebook
SETTINGS = {  # of a reader whom nobody asks about news, and whose pages follow the system's light and dark
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false"},
    "@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"adaptive-theme": True},
}


@pytest.fixture
def notebook(tmp_path):
    """The course's first, alone in a folder, without its outputs."""
    [original] = NOTEBOOKS.glob("01_*.ipynb")
    text = json.loads(original.read_text(encoding="utf-8"))
    for cell in code_cells(text):
        cell.update(outputs=[], execution_count=None)
    copy = tmp_path / "course" / original.name
    copy.parent.mkdir()
    copy.write_text(json.dumps(text), encoding="utf-8")
    return copy


@pytest.fixture
def lab(serve, notebook, tmp_path):
    """The address of a JupyterLab that neither reads nor writes the settings of whoever runs the test."""
    for name, values in SETTINGS.items():
        path = tmp_path / "user_settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    own = [f"--LabApp.{each}_dir={tmp_path / each}" for each in ("workspaces", "user_settings")]
    alone = [
        "--no-browser",
        "--allow-root",
        "--IdentityProvider.token=",
        "--LabApp.extension_manager=readonly",
    ]
    place = ["--port={port}", "--ServerApp.port_retries=0"]
    return serve(sys.executable, "-m", "jupyterlab", *alone, *place, *own, path="/lab", cwd=notebook.parent)


def code_cells(text: dict) -> list[dict]:
    return [cell for cell in text["cells"] if cell["cell_type"] == "code"]


def ran(notebook: Path) -> tuple[bool, list[str]]:
    """Whether every cell of what has been saved has run, in order, and what went wrong."""
    cells = code_cells(json.loads(notebook.read_text(encoding="utf-8")))
    errors = [out["evalue"] for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
    return [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), errors


def test_the_first_notebook_runs_to_its_end(page, pictures, lab, notebook):
    """Run > Run All Cells, as a reader clicks; then what has been saved holds every result and no error."""
    page.goto(f"{lab}/lab/tree/{notebook.name}")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('[data-command="runmenu:run-all"]').click()
    deadline = time.monotonic() + PATIENCE
    done, errors = False, []
    while not done:
        assert not errors and time.monotonic() < deadline, errors or "it did not come to its end"
        page.wait_for_timeout(2000)
        page.keyboard.press("Control+s")
        done, errors = ran(notebook)
    assert not errors
    pictures(page, "lab")
