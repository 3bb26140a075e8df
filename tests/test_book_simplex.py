"""The triangle of the book computes in JavaScript what `bandits` computes: run here by Node.

`make browser` runs the same comparison in Chromium, without a condition.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from urllib.parse import quote

import numpy as np
import pytest

import simplex_ends
from bandits.experiments import map_of_ends

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no node here; `make browser` compares in Chromium")


def evaluated(expression: str, given: object) -> list:
    """The value of a JavaScript expression of `core`, the page's functions, and `given`."""
    script = (
        f"const core = require({json.dumps(str(simplex_ends.SCRIPT))});"
        "const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        f"process.stdout.write(JSON.stringify({expression}));"
    )
    run = subprocess.run([NODE, "-e", script], input=json.dumps(given), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@needs_node
def test_the_ends_of_the_page_are_those_of_bandits():
    """1 000 random states: each algorithm within 1e-6 of `fixed_point`."""
    rng = np.random.default_rng(7)
    for _ in range(simplex_ends.STRENGTHS):
        world = simplex_ends.worlds(rng)
        gaps = simplex_ends.farthest(world, evaluated("given.map(core.ends)", simplex_ends.states(world)))
        assert max(gaps.values()) < simplex_ends.WITHIN, gaps


@needs_node
def test_the_comparison_sees_a_wrong_end():
    """The wrong twin: with the reference in the place of mu, IPO, DPO and policy gradient end elsewhere."""
    world = simplex_ends.worlds(np.random.default_rng(8))
    wrong = [{**state, "behavior": state["reference"]} for state in simplex_ends.states(world)]
    gaps = simplex_ends.farthest(world, evaluated("given.map(core.ends)", wrong))
    assert {name for name, gap in gaps.items() if gap > 1e-3} == {"DPO", "IPO", "Policy gradient, b = 0"}


@needs_node
def test_the_regret_of_the_page_is_that_of_bandits():
    world = simplex_ends.worlds(np.random.default_rng(9))
    bandit = simplex_ends.Bandit(world["reward"], reference=world["reference"])
    given = [[state, state["behavior"]] for state in simplex_ends.states(world)]
    found = evaluated("given.map(([state, policy]) => core.regret(state, policy))", given)
    known = bandit.regret(world["behavior"], world["beta"])
    np.testing.assert_allclose(found, known, rtol=1e-9, atol=1e-12)  # sums of a dozen terms of size 10


@needs_node
def test_the_page_starts_with_the_world_of_the_map_of_ends():
    """An algorithm's own end is drawn there, as the map computed it."""
    [start] = evaluated("[core.START]", None)
    known = map_of_ends.REWARD, map_of_ends.REFERENCE, map_of_ends.MU
    assert tuple(map(tuple, (start["reward"], start["reference"], start["behavior"]))) == known
    assert start["beta"] == map_of_ends.BETA and start["cycle"] == 0


@needs_node
def test_an_address_keeps_a_state_to_its_four_digits():
    given = simplex_ends.states(simplex_ends.worlds(np.random.default_rng(10)))
    for state, back in zip(
        given, evaluated("given.map((s) => core.fromFragment(core.toFragment(s)))", given), strict=True
    ):
        for key, value in state.items():
            np.testing.assert_allclose(back[key], value, atol=2e-4)  # four digits, then a sum of one again


@needs_node
@pytest.mark.parametrize("address", ["", "#", "#t1-2", "#mu=1,2", "#mu=a,b,c&beta=x", "#mu=-1,1,1&r=1,,"])
def test_an_address_that_says_nothing_usable_is_the_start(address):
    start, found = evaluated("[core.START, core.fromFragment(given)]", address)
    assert found == start


@needs_node
def test_a_link_of_the_explorer_opens_the_same_world():
    """Its cycle has the same meaning: 1 beats 2 beats 3 beats 1."""
    said = {"rewards": [2, 1, 0.5], "reference": [0.5, 0.25, 0.25], "behavior": [0.25, 0.25, 0.5], "cycle": 1}
    address = f"#state={quote(json.dumps(said | {'beta': 0.25, 'algorithm': 'PG'}), safe='')}"
    [state] = evaluated("[core.fromFragment(given)]", address)
    assert (state["beta"], state["cycle"], state["reward"]) == (0.25, 1, [2, 1, 0.5])
    np.testing.assert_allclose([state["reference"], state["behavior"]], [said["reference"], said["behavior"]])
    assert evaluated("[core.fromFragment(given)]", "#state=%7Bno") == evaluated("[core.START]", None)


@needs_node
def test_an_address_beyond_the_ranges_comes_to_their_edge():
    state = evaluated("[core.fromFragment(given)]", "#mu=0,0,1&r=9,-9,1&beta=0&cycle=99")[0]
    assert state["beta"] == 0.1 and state["cycle"] == 2 and state["reward"] == [3, 0, 1]
    np.testing.assert_allclose(state["behavior"], [0.01, 0.01, 0.98], rtol=1e-12)
