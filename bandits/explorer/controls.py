"""What does a hand move?  One widget for each number of a state; its ranges leave out what cannot be.

All can be used from the keyboard: Tab goes from one to the next, arrows move it, its name stands before it.
"""

from __future__ import annotations

import math
from typing import Any

import ipywidgets as widgets

from bandits.explorer.offered import OFFERED
from bandits.explorer.presets import PRESETS
from bandits.explorer.state import ARMS, RANGES, SAMPLING, State
from bandits.explorer.world import NAMES

WIDE = {"width": "20rem", "max_width": "98%"}
NARROW = {"description_width": "6.5rem"}
STEP = 0.01  # of sliders; beta's is of its logarithm to base 10
SHARES = ("reference", "behavior", "second_behavior")
DATA = {
    "D1, a total order": [[0, 1], [1, 2], [0, 2]],
    "D2, a cycle": [[0, 1], [1, 2], [2, 0]],
    "D3, a contradiction": [[0, 1], [1, 0]],
}
# What ipywidgets leaves out: a slider's handle has a role, but no name for those who cannot see its label.
NAMES_FOR_READERS = """
const name = () => document.querySelectorAll('.widget-slider').forEach(slider => {
  const label = slider.querySelector('.widget-label')?.textContent;
  slider.querySelectorAll('.noUi-handle').forEach(each => each.setAttribute('aria-label', label));
});
name();
new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
"""
TITLES = {
    "rewards": "Rewards and preferences",
    "reference": "Reference: where training starts",
    "sampling": "Who samples",
    "behavior": "The sampler",
    "second_behavior": "The second sampler",
}


def slider(name: str, label: str, help_: str) -> Any:
    """A slider over the range of an entry."""
    low, high = RANGES[name]
    return widgets.FloatSlider(
        min=low,
        max=high,
        step=STEP,
        description=label,
        tooltip=help_,
        readout_format=".2f",
        style=NARROW,
        layout=WIDE,
    )


def three(name: str, help_: str) -> list[Any]:
    """A slider for each arm."""
    return [slider(name, NAMES[y], help_.format(NAMES[y])) for y in range(ARMS)]


def menu(label: str, options: Any, help_: str) -> Any:
    """A list of which one is chosen."""
    return widgets.Dropdown(options=options, description=label, tooltip=help_, style=NARROW, layout=WIDE)


def made() -> dict[str, list[Any]]:
    """The widgets of each entry of a state, the toys first."""
    low, high = (math.log10(edge) for edge in RANGES["beta"])
    names = [(f"{name} ({each.words})", name) for name, each in OFFERED.items()]
    beta = widgets.FloatLogSlider(
        min=low, max=high, step=STEP, description="β", tooltip="what multiplies the KL to the reference"
    )
    beta.style, beta.layout, beta.readout_format = NARROW, WIDE, ".3f"
    beside = widgets.SelectMultiple(
        options=list(OFFERED), description="beside", rows=5, tooltip="up to four others, shown beside it"
    )
    beside.style, beside.layout = NARROW, WIDE
    return {
        "toy": [menu("toy", [("own settings", {}), *PRESETS.items()], "the toys of the papers")],
        "algorithm": [menu("algorithm", names, "the one that is looked at")],
        "beside": [beside],
        "beta": [beta],
        "baseline": [slider("baseline", "baseline b", "taken off the reward, by PG and PPO")],
        "clip": [slider("clip", "clip ε", "how far a ratio may go from 1, for PPO, GRPO and ALoL")],
        "rewards": three("rewards", "reward of {}"),
        "cycle": [slider("cycle", "cycle", "makes arm 0 beat arm 1 beat arm 2 beat arm 0, in logits")],
        "reference": three("reference", "probability of {} under the reference"),
        "sampling": [menu("sampling", SAMPLING, "who produced the samples")],
        "data": [menu("data set", list(DATA.items()), "comparisons, as winner and loser")],
        "behavior": three("behavior", "probability of {} under the sampler"),
        "second_behavior": three("second_behavior", "probability of {} under the second sampler"),
    }


def is_echo(name: str, now: Any, arm: int, value: Any) -> bool:
    """Whether a value is no move, but the present one rounded to the slider's steps by the page."""
    if name not in RANGES:
        return False
    present = now[arm] if isinstance(now, list) else now
    if name == "beta":
        present, value = math.log10(present), math.log10(value)
    return abs(value - present) <= STEP / 2 + 1e-9


def show(controls: dict[str, list[Any]], state: State) -> None:
    """Put every control where the state is, and hide or still those that say nothing there."""
    for name, each in controls.items():
        if name == "toy":
            each[0].value = next((s for s in PRESETS.values() if s == state), {})
        elif name == "data":
            others = {} if state["data"] in DATA.values() else {"own comparisons": state["data"]}
            each[0].options = [*DATA.items(), *others.items()]
            each[0].value = state["data"]
        elif len(each) == ARMS:
            for widget, value in zip(each, state[name], strict=True):
                widget.value = value
        else:
            each[0].value = state[name]
    shown = [state["algorithm"], *state["beside"]]
    for name in ("beta", "baseline", "clip"):
        controls[name][0].disabled = not any(name in OFFERED[each].takes for each in shown)
    samplers = {"one sampler": 1, "two samplers": 2}.get(state["sampling"], 0)
    for name, visible in (
        ("data", state["sampling"] == "data set"),
        ("behavior", samplers > 0),
        ("second_behavior", samplers > 1),
    ):
        for widget in controls[name]:
            widget.layout.display = None if visible else "none"


def arranged(controls: dict[str, list[Any]]) -> Any:
    """The controls in groups, each with its heading, in the order of Tab."""
    groups = [
        ("Algorithm", ("toy", "algorithm", "beside", "beta", "baseline", "clip")),
        (TITLES["rewards"], ("rewards", "cycle")),
        (TITLES["sampling"], ("sampling", "data", "behavior", "second_behavior")),
        (TITLES["reference"], ("reference",)),
    ]
    boxes = []
    for title, names in groups:
        inside = [widget for name in names for widget in controls[name]]
        boxes.append(widgets.VBox([widgets.HTML(f"<b>{title}</b>"), *inside]))
    return widgets.VBox(boxes, layout={"width": "21rem", "max_width": "100%"})
