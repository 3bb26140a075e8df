"""The explorer: its answers are the package's, its states go round, its controls move one picture."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandits import Bandit, Offline, OnPolicy, examples, expected_update, explorer, fixed_point, flow
from bandits.explorer.picture import Picture
from bandits.explorer.state import SAMPLING, rebalanced
from bandits.explorer.world import rule, world
from bandits.solution import NoFixedPoint, NotConverged
from explorer_states import by_hand, random_state, uneven

RESTS_QUICKLY = {"CoPG", "RLOO", "DRO", "REBEL", "DPO", "IPO", "OnlineIPO", "NashMD", "SRPO", "SPPO"}
LOCK_IN = {  # off-policy with the baseline far too low: several attractors, one for each start's favourite
    "algorithm": "PG",
    "sampling": "one sampler",
    "behavior": [0.4, 0.35, 0.25],
    "rewards": [1.0, 0.8, 0.5],
    "beta": 0.3,
    "baseline": 3.0,
    "beside": [],
}


@pytest.fixture(scope="module")
def found():
    """What follows from random states, one for each algorithm; the benchmark has a hundred others."""
    rng = np.random.default_rng(14)
    states = [random_state(rng, name) | {"beside": []} for name in explorer.OFFERED]
    return [explorer.compute(state) for state in states]


# ---- the answers ------------------------------------------------------------------------------------------


def test_every_answer_is_whole_at_random_states(found):
    """JSON holds it; policies are policies; a flow starts at the reference; no end means words."""
    for one in found:
        assert json.loads(json.dumps(one, allow_nan=False)) == one
        name, state, card = one["state"]["algorithm"], one["state"], one["card"]
        path = np.array(one["flows"][name]["policies"])
        assert_allclose(path.sum(axis=-1), 1, atol=1e-12)
        assert_allclose(path[0], state["reference"], atol=1e-12)
        assert card["policy"] is not None or card["words"]
        if card["end"].startswith("none"):
            assert card["words"], name
        else:
            assert abs(sum(card["policy"]) - 1) < 1e-12
            regret = by_hand(state, 1)[0].regret(card["policy"], state["beta"])
            assert_allclose(card["regret"], regret, atol=1e-12)


@pytest.fixture(scope="module")
def campaign():
    file = Path(__file__).parent / "campaigns" / "explorer.py"
    spec = importlib.util.spec_from_file_location("campaign_of_the_explorer", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_drawn_ends_and_attractors_hold_their_formula_in_a_sample_of_the_campaign(campaign, found):
    """One state an algorithm; thirty of each, with their seconds: tests/campaigns/explorer.py."""
    assert [said for one in found for said in campaign.judged(one)] == []


def test_the_campaign_notices(campaign, found):
    """Wrong twins: an end beside the end, an attractor that is none, and an end that is said not to be."""
    one = next(one for one in found if one["state"]["algorithm"] == "CoPG")
    beside = (0.99 * np.array(one["card"]["policy"]) + 0.01 / 3).tolist()
    for twin in (
        {"card": one["card"] | {"policy": beside}},
        {"basins": one["basins"] | {"attractors": [beside]}},
        {"card": one["card"] | {"end": "none: runs away"}},
    ):
        assert len(campaign.judged(one | twin)) == 1


@pytest.mark.parametrize("sampling", SAMPLING[:3])
def test_ends_are_those_of_fixed_point(sampling):
    """At random states, for the chosen one and for those beside it, in a world built a second time."""
    rng = np.random.default_rng(SAMPLING.index(sampling))
    for _ in range(4):
        shown = rng.choice(sorted(RESTS_QUICKLY), 4, replace=False).tolist()
        state = random_state(rng, shown[0]) | {"sampling": sampling, "beside": shown[1:]}
        one = explorer.compute(state)
        for name in shown:
            algorithm = explorer.OFFERED[name].make(one["state"])
            bandit, rules = by_hand(one["state"], algorithm.k)
            law = OnPolicy() if hasattr(algorithm, "needs_on_policy") else rules[sampling]
            try:
                truth = fixed_point(algorithm, bandit, law).policy
            except (NoFixedPoint, NotConverged):
                assert one["ends"][name]["end"].startswith("none")
                continue
            # 1e-6: what `bandits.verdict` takes for the same end
            assert_allclose(one["ends"][name]["policy"], truth, atol=1e-6, err_msg=name)


def test_a_moved_slider_shows_the_same_flow_and_end(found):
    """`moved` and `compute` agree wherever the first look finds the rest."""
    agreed = 0
    for one in found[:10]:
        quick, name = explorer.moved(one["state"]), one["state"]["algorithm"]
        assert quick["flow"] == one["flows"][name]
        assert quick["field"] == one["field"]
        if quick["end"]["end"] != "none yet":
            assert_allclose(quick["end"]["policy"], one["card"]["policy"], atol=1e-6)
            agreed += 1
    assert agreed >= 7


@pytest.mark.parametrize("name", ["CoPG", "DPO", "PG"])
def test_a_flow_is_the_exact_one_to_the_width_of_a_line(name):
    """Against `flow`, in a world built a second time, at times in units of 1 / the speed of the start."""
    state = explorer.checked(random_state(np.random.default_rng(3), name) | {"sampling": "one sampler"})
    shown = explorer.moved(state)["flow"]
    algorithm = explorer.OFFERED[name].make(state)
    bandit, rules = by_hand(state, algorithm.k)
    law, times = rules["one sampler"], np.array(shown["times"])
    speed = np.abs(expected_update(algorithm, bandit, law, bandit.reference)).max()
    exact = flow(algorithm, bandit, law, times / speed)
    assert np.abs(exact[-1] - exact[0]).max() > 0.03
    assert_allclose(shown["policies"], exact, atol=3e-3)  # an edge has 425 pixels, a line two
    assert_allclose(shown["regret"], bandit.regret(shown["policies"], state["beta"]), atol=1e-12)


def test_basins_send_each_start_where_its_own_flow_goes():
    one = explorer.compute(LOCK_IN)
    starts, which = one["basins"]["starts"], np.array(one["basins"]["which"])
    attractors = np.array(one["basins"]["attractors"])
    assert len(attractors) > 1 and not one["card"]["unique"]
    bandit = Bandit(LOCK_IN["rewards"])
    algorithm = explorer.OFFERED["PG"].make(one["state"])
    for basin in range(len(attractors)):
        for i in np.flatnonzero(which == basin)[::9]:
            end = fixed_point(algorithm, bandit, Offline(LOCK_IN["behavior"]), start=starts[i])
            assert_allclose(end.policy, attractors[basin], atol=1e-6)  # `verdict`'s SAME


def test_kin_is_another_class_whose_mean_update_is_the_same():
    """One sampler of pairs: the other answer is the baseline, for CoPG as for RLOO."""
    state = {"algorithm": "CoPG", "sampling": "one sampler", "behavior": [0.2, 0.3, 0.5]}
    card = explorer.compute(state)["card"]
    assert card["kin"] != "CoPG" and card["agreement"] in ("equal", "proportional")
    assert card["distance"] < 1e-8  # rounding, of sums of nine terms


# ---- states -----------------------------------------------------------------------------------------------


def test_states_go_round_through_json_and_links():
    rng = np.random.default_rng(4)
    for _ in range(20):
        state = explorer.checked(random_state(rng))
        assert explorer.checked(json.loads(json.dumps(state))) == state
        assert explorer.from_link(explorer.link(state, "page.html")) == state
        assert explorer.from_link(f"page.html?{explorer.link(state)[1:]}&theme=dark") == state


def test_a_share_that_moves_leaves_a_distribution():
    rng = np.random.default_rng(5)
    for _ in range(200):
        policy, arm, low = uneven(rng), int(rng.integers(3)), float(rng.choice([0.0, 0.01]))
        share = float(rng.uniform(0, 1))
        new = rebalanced(policy, arm, share, low)
        assert abs(sum(new) - 1) < 1e-12 and min(new) >= low - 1e-12
        assert low > 0 or abs(new[arm] - share) < 1e-12
    assert rebalanced([1.0, 0.0, 0.0], 0, 0.5) == [0.5, 0.25, 0.25]


TOYS = {
    "CoPG's toy (Flet-Berliac 2024)": lambda: examples.copg_toy()[0],
    "Elo (Munos 2023)": examples.elo,
    "Three raters (Munos 2023)": examples.three_raters,
    "Dice (Munos 2023)": examples.dice,
    "SRPO's spirit (Choi 2024)": examples.srpo_spirit,
    "D1, a total order (Azar 2023)": lambda: examples.total_order()[0],
    "D2, a cycle (Azar 2023)": lambda: examples.cycle()[0],
    "D3, a contradiction (Azar 2023)": lambda: examples.contradiction()[0],
}


@pytest.mark.parametrize("name", explorer.PRESETS)
def test_presets_are_the_worlds_of_the_papers(name):
    state = explorer.PRESETS[name]
    assert explorer.checked(state) == state
    theirs, ours = TOYS[name](), world(state)
    assert_allclose(ours.preference, theirs.preference, atol=1e-15)
    assert_allclose(ours.reference, theirs.reference, atol=1e-15)
    if name.startswith("CoPG"):
        assert_allclose(ours.reward, theirs.reward)
        law = rule(state, explorer.OFFERED["CoPG"].make(state))
        assert [mu.tolist() for mu in law.behaviors] == [
            mu.tolist() for mu in examples.copg_toy()[1].behaviors
        ]


NONSENSE = [
    ([1.0], "state must be a dictionary"),
    ({"reward": [1, 2, 3]}, "state must have no entries but .* 'reward'; leave it out"),
    ({"rewards": [1.0, 2.0]}, "rewards must hold 3 numbers"),
    ({"rewards": [1.0, 2.0, 40.0]}, r"rewards must be in \[-4, 4\], but rewards\[2\] = 40"),
    ({"rewards": [1.0, float("nan"), 0.0]}, r"rewards must be finite.* rewards\[1\] = nan"),
    ({"rewards": "abc"}, "rewards must"),
    ({"reference": [0.5, 0.5, 0.5]}, "sum of reference must be 1, but .* 1.5; divide"),
    ({"reference": [0.0, 0.5, 0.5]}, r"reference must be in \[0.01, 0.98\], but reference\[0\] = 0"),
    ({"behavior": [-0.1, 0.6, 0.5]}, r"behavior must be in \[0, 1\], but behavior\[0\] = -0.1"),
    ({"beta": 0.0}, "beta must lie in .* beta = 0.0"),
    ({"beta": None}, "beta must be a"),
    ({"clip": 1.5}, "clip must lie in .* clip = 1.5"),
    ({"sampling": "nobody"}, "sampling must be one of one sampler, .* sampling = 'nobody'"),
    ({"data": [[0, 3]]}, r"data must be arms below 3, but data\[0, 1\] = 3"),
    ({"data": []}, "data must be a list of comparisons: .* empty"),
    ({"algorithm": "DPPO"}, "algorithm must be one of CoPG, .* algorithm = 'DPPO'"),
    ({"beside": ["CoPG"] * 5}, "beside must be a list of at most 4"),
    ({"beside": [3]}, "beside must be one of .* beside = 3"),
]


@pytest.mark.parametrize(("state", "words"), NONSENSE, ids=[words[:30] for _, words in NONSENSE])
def test_nonsense_is_refused_in_one_sentence(state, words):
    for question in (explorer.checked, explorer.compute, explorer.moved, explorer.link, explorer.explore):
        with pytest.raises(ValueError, match=words):
            question(state)


@pytest.mark.parametrize("address", ["page#state=", "page#state=%7B", 3])
def test_an_address_that_carries_no_state_is_refused(address):
    with pytest.raises(ValueError, match=r"address must .*link\(state\)"):
        explorer.from_link(address)


def test_a_page_that_is_no_string_is_refused():
    with pytest.raises(ValueError, match="page must be a string, but page = 3; '' is this page"):
        explorer.link({}, 3)


# ---- the widget -------------------------------------------------------------------------------------------


@pytest.fixture
def panel():
    return explorer.explore({"algorithm": "CoPG", "beside": ["PG", "DPO"]})


def test_the_state_follows_each_control_and_the_picture_each_state(panel):
    moves = {"beta": 2.0, "rewards": -1.0, "behavior": 0.6, "reference": 0.5, "algorithm": "IPO"}
    moves |= {"sampling": "on-policy", "cycle": 1.0, "beside": ("DRO",)}
    for name, value in moves.items():
        before = panel.image.value
        panel.controls[name][0].value = value
        now = panel.state[name]
        said = now if isinstance(value, str | tuple) or name in ("beta", "cycle") else now[0]
        assert said == (list(value) if name == "beside" else value), name
        assert panel.image.value != before, name
    assert explorer.from_link(panel.link.value) == panel.state


def test_controls_show_the_state_that_is_set(panel):
    panel.state = explorer.PRESETS["Dice (Munos 2023)"]
    assert panel.controls["algorithm"][0].value == "NashMD"
    assert panel.controls["toy"][0].value == explorer.PRESETS["Dice (Munos 2023)"]
    assert panel.controls["behavior"][0].layout.display == "none"  # nobody else samples
    assert panel.controls["baseline"][0].disabled and not panel.controls["beta"][0].disabled
    panel.controls["toy"][0].value = explorer.PRESETS["D2, a cycle (Azar 2023)"]
    assert panel.state == explorer.PRESETS["D2, a cycle (Azar 2023)"]
    assert panel.controls["data"][0].layout.display is None


def test_what_cannot_be_is_told_and_leaves_the_state(panel):
    before = panel.state
    panel.link.value = "page#state=%7B%22beta%22:-1%7D"
    assert "beta must lie in" in panel.message.value
    panel.controls["beside"][0].value = ("CoPG", "PG", "DPO", "IPO", "DRO")
    assert "at most 4" in panel.message.value
    assert panel.state == before and panel.controls["beside"][0].value == ("PG", "DPO")


def test_every_slider_covers_its_range_and_no_more(panel):
    """Both ends of every slider are states."""
    for name in explorer.state.RANGES:
        for arm in range(len(panel.controls[name])):
            for edge in ("min", "max"):
                widget = panel.controls[name][arm]
                value = getattr(widget, edge)
                value = 10**value if name == "beta" else value
                assert explorer.checked(panel._after(name, arm, value))
                assert widget.description and widget.tooltip


def test_artists_are_moved_and_none_is_added(found):
    picture = Picture()
    many = len(picture.figure.findobj())
    seen = set()
    for one in found[:8]:
        name = one["state"]["algorithm"]
        moved = {"flow": one["flows"][name], "field": one["field"], "end": one["ends"][name]}
        picture.show_moved(name, moved, one["state"]["reference"])
        seen.add(picture.png())
        picture.show(one)
        seen.add(picture.png())
        assert len(picture.figure.findobj()) == many
    assert len(seen) == 16
    picture.show(found[0])
    first = picture.png()
    picture.show(found[1])
    picture.show(found[0])
    assert picture.png() == first  # nothing of another state stays


def test_without_ipywidgets_the_extra_is_named_and_compute_works(monkeypatch):
    for name in ("panel", "controls"):
        monkeypatch.delitem(sys.modules, f"bandits.explorer.{name}", raising=False)
        monkeypatch.delattr(explorer, name, raising=False)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r'pip install "alignment-bandits\[notebooks\]"'):
        explorer.explore()
    assert explorer.moved({"algorithm": "CoPG"})["end"]["end"] == "optimum"


def test_import_asks_for_no_widgets():
    script = "import sys, bandits.explorer; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
