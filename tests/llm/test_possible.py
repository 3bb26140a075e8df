"""Laws of what could have been had at most: from the reference's own samples, and a gap is no number."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from llm import figures
from llm.evaluate import Outcome
from llm.files import read_json, write_json
from llm.frontier import best_of, frontier, regret
from llm.generate import Sampling, scored_rows
from llm.possible import beta_of, possible, reference_rewards, regret_of
from llm.rewards import length


def outcome(reward: np.ndarray, log_ratio: np.ndarray) -> Outcome:
    return Outcome(["x"] * len(reward), reward, reward, log_ratio, log_ratio, None)


def test_the_rewards_are_those_of_the_references_samples(policy, prompts):
    """Prompt by prompt, the same for the same seed, and others for another."""
    model, tokenizer = policy
    how = {"samples": 3, "max_new_tokens": 6}
    found = reference_rewards(model, prompts, tokenizer, length, seed=4, **how)
    again = scored_rows(prompts, model, tokenizer, length, Sampling(3, 6, 4), model)
    assert found.tolist() == [row["rewards"] for row in again]
    assert (found != reference_rewards(model, prompts, tokenizer, length, seed=5, **how)).any()


def test_what_is_written_is_the_frontier_with_its_gaps(tmp_path):
    """Over a range of beta where it is the reference almost, and where too few samples count."""
    rewards = 3 * np.random.default_rng(0).normal(size=(20, 64))
    write_json(tmp_path / "f.json", possible(rewards))
    found = read_json(tmp_path / "f.json")
    curve, best = found["frontier"], found["best_of_n"]
    same = frontier(rewards, curve["beta"])
    for name, values in vars(same).items():
        written = [np.nan if x is None else x for x in curve[name]]
        np.testing.assert_allclose(written, values, rtol=1e-12)
    assert curve["kl"][0] < 0.01 and curve["kl"][-1] is None and None not in curve["ess"]
    assert found["least_ess"] == 56 and found["samples"] == 64
    assert (
        best["n"] == [1, 2, 4, 8, 16] and best["reward"] == best_of(rewards, [1, 2, 4, 8, 16]).reward.tolist()
    )


def test_rewards_that_are_all_equal_have_a_frontier_too():
    curve = possible(np.zeros((2, 64)))["frontier"]
    assert curve["kl"] == pytest.approx([0] * 25, abs=1e-14) and curve["reward"] == [0] * 25


@pytest.mark.parametrize("n", [2, 3, 4, 16])
def test_few_samples_have_a_file_too(n):
    """All of pi* is a gap; the best of one is the reference itself."""
    rewards = np.random.default_rng(2).normal(size=(5, n))
    found = possible(rewards)
    assert set(found["frontier"]["reward"]) == {None} and found["best_of_n"]["n"][0] == 1
    assert found["best_of_n"]["reward"][0] == pytest.approx(rewards.mean(), rel=1e-12)


@pytest.mark.parametrize(("n", "said"), [(64, "π*, β ≥"), (16, "π*: 16 samples are too few")])
def test_the_curve_that_is_drawn_ends_where_the_samples_do(n, said):
    """Its points are those that are no gap, in the order of their KL; the legend says where it ends."""
    found = possible(np.random.default_rng(3).normal(size=(30, n)))
    axes = Figure().subplots()
    figures.possible(axes, found)
    best, curve = axes.get_lines()
    there = [x for x in found["frontier"]["kl"] if x is not None]
    assert list(curve.get_xdata()) == sorted(there) and curve.get_label().startswith(said)
    assert list(best.get_ydata()) == found["best_of_n"]["reward"]


def test_one_sample_is_refused():
    with pytest.raises(
        ValueError, match=r"n >= 2 completions of each, but its shape is \(5, 1\); sample more"
    ):
        possible(np.zeros((5, 1)))


def test_a_regret_is_a_number_or_a_gap():
    rng = np.random.default_rng(1)
    rewards, own, h = rng.normal(size=(20, 64)), rng.normal(size=20), 0.1 * rng.normal(size=20)
    found, right = regret_of(rewards, 4.0, outcome(own, h)), regret(rewards, 4.0, own, h)
    assert (found["mean"], found["low"], found["high"]) == (right.mean, right.low, right.high)
    assert found["ess"] > 56 and found["samples"] == 64
    gap = regret_of(rewards, 0.1, outcome(own, h))
    assert gap["mean"] is gap["low"] is gap["high"] is None and gap["ess"] < 20
    json.dumps(gap, allow_nan=False)


def test_a_policy_says_its_beta_in_the_settings_beside_it(tmp_path):
    write_json(tmp_path / "settings.json", {"beta": 0.25, "algorithm": "CoPG"})
    assert beta_of(str(tmp_path / "model")) == 0.25
    write_json(tmp_path / "settings.json", {"algorithm": "CoPG"})
    assert beta_of(str(tmp_path / "model")) is None
    assert beta_of("gpt2") is None
