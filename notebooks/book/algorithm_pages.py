"""What does the page of an algorithm say?  All is read off its file, or computed while the book is built.

question, formula, coefficient, end   its docstrings, as `bandits.algorithms.table` reads them
report card                           `report` on the world of the map of ends, on its own and skewed samples
kin                                   whose expected update is a multiple of its own there
figures                               the experiments that import it
source                                the file
"""

from __future__ import annotations

import ast
import inspect
import json
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from bandits import report
from bandits.algorithms import ALGORITHMS, table
from bandits.exact import expected_update
from bandits.experiments import EXPERIMENTS, map_of_ends
from bandits.experiments.record import escaped, question
from bandits.samples import Algorithm
from bandits.sampling.rules import Offline, OnPolicy, Sampling
from plain_docstrings import markdown

POLICIES = (
    (0.2, 0.5, 0.3),
    (0.6, 0.1, 0.3),
    (0.15, 0.25, 0.6),
    (0.4, 0.35, 0.25),
)  # nothing cancels at these
IN_THE_TRIANGLE = ("CoPG", "DPO", "IPO", "PolicyGradient")  # simplex.js computes their ends
PARALLEL = 1e-9  # of two updates of length one


def page(cls: type[Algorithm]) -> str:
    """The page of one algorithm, as MyST Markdown."""
    card, module = table.card(cls), inspect.getmodule(cls)
    title, _, theory = (inspect.getdoc(module) or "").partition("\n")
    theory = theory.partition("\nSource:")[0]
    return f"""# {card.name}

{escaped(title)}

:Coefficient: {escaped(card.coefficient)}
:Ends: {escaped(card.ends)}
:Theory: {card.theory}
:Source: {_papers(card) or "wraps another algorithm"}
:Test: [`test_{card.module}.py`](../tests/test_{card.module}.py)

{markdown(theory)}

## Where it ends

{_simplex(card.name)}

{_ends_with(card.name)}

## Report card

{_report(cls)}

## Kin

{_kin(card.name)}

## Figures

{_figures(card.name)}

## In code

```{{eval-rst}}
.. autoclass:: bandits.{card.name}
   :members: {", ".join(name for name in ("update", "loss") if hasattr(cls, name))}
```

<details><summary>bandits/algorithms/{card.module}.py</summary>

```{{literalinclude}} ../bandits/algorithms/{card.module}.py
:language: python
```

</details>
"""


def _papers(card: table.Card) -> str:
    return ", ".join(f"[arXiv:{number}](https://arxiv.org/abs/{number})" for number in card.sources)


def _simplex(name: str) -> str:
    """The triangle; the page's own end is drawn too, for any mu where the triangle can compute it."""
    result, given = _map(), ""
    if name in result.ends and name not in IN_THE_TRIANGLE:
        end = json.dumps([round(float(p), 12) for p in result.ends[name]])
        given = f' data-end="{end}" data-own="{str(result.own[name]).lower()}"'
    return f'```{{raw}} html\n<div class="simplex" data-about="{name}"{given}></div>\n```'


@cache
def _map() -> map_of_ends.Result:
    return map_of_ends.run()


def _ends_with(name: str) -> str:
    """Where it is on the map of ends, and who else is there."""
    result = _map()
    if name in result.nowhere:
        return f"On the [map of ends](../gallery.md#map-of-ends) it has no end: {result.nowhere[name]}."
    [(end, members)] = [each for each in map_of_ends.together(result) if name in each[1]]
    others = [f"[{each}]({each}.md)" for each in members if each != name]
    who = "its own samples" if result.own[name] else "samples of μ"
    at = "π\\*, " if np.abs(end - result.optimum).max() < map_of_ends.SAME else ""
    there = f"So do {', '.join(others)}." if others else "Nobody else does."
    numbers = ", ".join(f"{p:.4f}" for p in end)
    return (
        f"On the [map of ends](../gallery.md#map-of-ends) (r = {_numbers(result.reward)}, "
        f"ref = {_numbers(result.reference)}, μ = {_numbers(result.behavior)}, β = {result.beta:g}) "
        f"it ends, on {who}, at {at}({numbers}). {there}"
    )


def _numbers(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:g}" for v in values) + ")"


def _laws(algorithm: Algorithm) -> list[Sampling]:
    own = getattr(algorithm, "needs_on_policy", False)
    return [OnPolicy()] if own else [OnPolicy(), Offline(map_of_ends.MU)]


def _report(cls: type[Algorithm]) -> str:
    """The verdict of `report`, as a table."""
    algorithm = map_of_ends.made(cls)
    verdict = report(algorithm, map_of_ends.world(), _laws(algorithm))._repr_html_()
    verdict = verdict.replace("<th>", '<th scope="col">').replace(
        "<table>", '<div class="scrolls" tabindex="0"><table class="docutils">'
    )
    return (
        "What `report` says on that world, on its own samples and on μ's; [how to read it](../reading.md)."
        "\n\n```{raw} html\n" + verdict.replace("</table>", "</table></div>") + "\n```"
    )


@cache
def _updates() -> dict[str, np.ndarray]:
    """Expected updates at `POLICIES`, on own samples and on mu's, of length one; 0 where there are none."""
    bandit, found = map_of_ends.world(), {}
    for cls in ALGORITHMS:
        algorithm = map_of_ends.made(cls)
        own = [expected_update(algorithm, bandit, OnPolicy(), p) for p in POLICIES]
        other = [0 * own[0]] * len(POLICIES)
        if not getattr(algorithm, "needs_on_policy", False):
            other = [expected_update(algorithm, bandit, Offline(map_of_ends.MU), p) for p in POLICIES]
        found[cls.__name__] = np.array([np.ravel(own), np.ravel(other)])
    return found


def same_direction(name: str, law: int) -> list[str]:
    """Whose expected update is a positive multiple; law 0: on its own samples, 1: on mu's."""
    mine = _updates()[name][law]
    if not mine.any():
        return []
    units = {n: u[law] / np.linalg.norm(u[law]) for n, u in _updates().items() if u[law].any() and n != name}
    return [n for n, u in units.items() if np.abs(u - mine / np.linalg.norm(mine)).max() < PARALLEL]


def _kin(name: str) -> str:
    """Those that move as it does, on each law."""
    said = []
    for law, where in enumerate(("on its own samples", "on somebody else's")):
        kin = same_direction(name, law)
        if kin:
            links = ", ".join(f"[{each}]({each}.md)" for each in kin)
            said.append(f"In expectation and up to a factor it moves, {where}, as {links}.")
    alone = (
        "In expectation no other algorithm here moves as it does, on its own samples or on somebody else's."
    )
    return "\n\n".join(said) or alone


def _figures(name: str) -> str:
    """The pictures of the experiments that import it."""
    shown = [experiment for experiment in EXPERIMENTS if name in _imported(experiment)] or [map_of_ends]
    return "\n\n".join(_thumbnail(_leaf(each), escaped(question(each))) for each in shown)


def _thumbnail(name: str, caption: str) -> str:
    return f"[![{name}: {caption}](../figures/{name}.svg)](../gallery.md#{name.replace('_', '-')})"


def _leaf(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


@cache
def _imported(experiment: ModuleType) -> set[str]:
    tree = ast.parse(Path(inspect.getfile(experiment)).read_text(encoding="utf-8"))
    return {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
