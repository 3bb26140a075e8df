"""What happens when it moves?  The chosen flow at once; everything else when the hand has come to rest.

A slider sends its values while it is held.  At each the chosen algorithm's flow and end are drawn anew, and a
timer is set back; when it runs out, the others, the basins and the card follow.  Without a running loop (a
script, a test) they follow at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from copy import deepcopy
from html import escape
from typing import Any

import ipywidgets as widgets
from IPython.display import Javascript

from bandits.explorer import card, controls
from bandits.explorer.answer import compute, moved
from bandits.explorer.picture import Picture
from bandits.explorer.state import RANGES, State, checked, from_link, link, rebalanced

PAUSE = 0.25  # seconds without a move: the hand has come to rest


class Panel(widgets.HBox):
    """Controls, picture and card; `.state` is a dictionary, and may be set."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._state, self._busy = checked(state), False
        self._timer: asyncio.TimerHandle | None = None
        self.controls = controls.made()
        found = compute(self._state)
        self.drawing = Picture()
        self.image = widgets.HTML(layout={"max_width": "100%"})
        names = widgets.Output(layout={"height": "0"})
        names.append_display_data(Javascript(controls.NAMES_FOR_READERS))  # type: ignore[no-untyped-call]
        self.card = widgets.HTML()
        self.message = widgets.HTML()
        self.link = widgets.Text(
            description="link",
            tooltip="carries the whole state: send it, or paste one here",
            continuous_update=False,
            style=controls.NARROW,
            layout={"width": "100%"},
        )
        right = widgets.VBox(
            [self.image, self.card, self.link, self.message],
            layout={"flex": "1 1 24rem", "max_width": "60rem", "min_width": "0"},
        )
        super().__init__(
            [right, controls.arranged(self.controls), names],
            layout={"flex_flow": "row wrap", "width": "100%"},
        )
        self._settle(found)
        for name, each in self.controls.items():
            for arm, widget in enumerate(each):
                widget.observe(lambda change, n=name, a=arm: self._touched(n, a, change["new"]), "value")
        self.link.observe(lambda change: self._pasted(change["new"]), "value")

    @property
    def state(self) -> State:
        """What the controls say; a copy."""
        return deepcopy(self._state)

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self._state = checked(state)
        self._settle()

    def _touched(self, name: str, arm: int, value: Any) -> None:
        """A control has moved: what it says becomes the state."""
        if self._busy or controls.is_echo(name, self._state.get(name), arm, value):
            return
        try:
            self._state = checked(self._after(name, arm, value))
        except ValueError as error:
            self._say(str(error))
        else:
            self._say("")
            self._draw_moved()
        self._sync()
        self._wait()

    def _after(self, name: str, arm: int, value: Any) -> State:
        if name == "toy":
            return deepcopy(value) or self.state
        if name in controls.SHARES:
            low = RANGES[name][0]
            return self._state | {name: rebalanced(self._state[name], arm, value, low)}
        if name == "rewards":
            return self._state | {name: [value if y == arm else r for y, r in enumerate(self._state[name])]}
        if name in RANGES:  # a logarithm's rounding may leave it
            low, high = RANGES[name]
            return self._state | {name: min(max(value, low), high)}
        return self._state | {name: list(value) if name == "beside" else value}

    def _pasted(self, address: str) -> None:
        if self._busy:
            return
        try:
            self.state = from_link(address)
        except ValueError as error:
            self._say(str(error))
            self._sync()

    def _draw_moved(self) -> None:
        found, name = moved(self._state), self._state["algorithm"]
        self.drawing.show_moved(name, found, self._state["reference"])
        self.image.value = card.image(self.drawing.png(), f"{name} {card.said(found['end']['end'])}")

    def _wait(self) -> None:
        """Settle when nothing has moved for a while."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._settle()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(PAUSE, self._settle)

    def _settle(self, found: dict[str, Any] | None = None) -> None:
        """Everything that the state leads to."""
        found = compute(self._state) if found is None else found
        self.drawing.show(found)
        words = ", ".join(f"{name} {card.said(end['end'])}" for name, end in found["ends"].items())
        self.image.value = card.image(self.drawing.png(), words)
        self.card.value = card.html(found)
        self._sync()

    def _sync(self) -> None:
        """Put the controls where the state is; nothing that this moves is a hand's."""
        self._busy = True
        try:
            controls.show(self.controls, self._state)
            self.link.value = link(self._state)
        finally:
            self._busy = False

    def _say(self, words: str) -> None:
        self.message.value = f'<p role="alert">{escape(words)}</p>' if words else ""
