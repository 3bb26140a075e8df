"""How does it come onto the page?  `explore(state)` in a notebook's cell, which asks for ipywidgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandits.explorer.panel import Panel


def explore(state: Mapping[str, Any] | None = None) -> Panel:
    """The explorer, a widget; `.state` is what its controls say, and may be set.

    Raises:
        ImportError: ipywidgets is not installed.
        ValueError: the state is none.

    Example:
        >>> panel = explore({"algorithm": "CoPG", "beta": 2.0})  # the last line of a cell shows it
        >>> panel.state["beta"]
        2.0
    """
    try:
        from bandits.explorer.panel import Panel
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("ipywidgets", "IPython", "traitlets"):
            raise
        raise ImportError(
            'explore needs ipywidgets, but it is missing: pip install "alignment-bandits[notebooks]"; '
            "compute(state) does without"
        ) from error
    return Panel(state)
