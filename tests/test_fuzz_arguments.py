"""Arguments of wrong kinds: some hundred calls of the campaign, the same ones in every run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SLOW = {"fixed_points", "flow_error", "natural_flow"}  # the campaign has them
FILE = Path(__file__).parent / "campaigns" / "fuzz_arguments.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_arguments", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_campaign_knows_every_public_name_and_parameter(fuzz):
    assert fuzz.unnamed() == set()


@pytest.mark.parametrize("part", range(4))
def test_a_wrong_kind_ends_in_a_result_or_in_one_refusal_that_names_the_argument(fuzz, part):
    """60 calls: in time, without NaN or a warning, and the arguments as they were."""
    quick = [call for call in fuzz.some_calls(1000, seed=20) if call.name not in SLOW]
    calls = quick[60 * part : 60 * (part + 1)]
    assert len(calls) == 60
    found = {str(call): fuzz.complaint(call) for call in calls}
    assert {call: wrong for call, wrong in found.items() if wrong is not None} == {}


def test_the_campaign_would_notice(fuzz, monkeypatch):
    """Wrong twins: one that breaks, one that gives NaN, one that hangs, one that refuses without a name."""

    def silent(reward):
        return reward.nothing

    def nan(reward):
        return np.full(3, np.nan)

    def endless(reward):
        while True:
            pass

    def careless(reward):
        raise ValueError("no")

    call = fuzz.Call("unit_spread", 0, "reward", "flat list")
    assert fuzz.complaint(call) is None
    for twin, words in (
        (silent, "ends in"),
        (nan, "gives NaN"),
        (endless, "did not end"),
        (careless, "not name"),
    ):
        monkeypatch.setattr(fuzz.b, "unit_spread", twin)
        assert words in fuzz.complaint(call, seconds=0.2)


def test_the_campaign_would_notice_a_changed_argument(fuzz, monkeypatch):
    def greedy(samples, beta):
        samples.reward[0] += 1.0

    monkeypatch.setattr(fuzz.b, "greedy", greedy)
    assert fuzz.complaint(fuzz.Call("greedy", 0, "beta", "one")) == "changed its arguments"
