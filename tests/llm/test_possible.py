"""Laws of what could have been had at most: from the reference's own samples, and a gap is no number."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from llm import figures
from llm.evaluate import Outcome
from llm.files import read_json, write_json
from llm.frontier import Annealed, best_of, frontier, regret
from llm.generate import Sampling, scored_rows
from llm.possible import annealed, beta_of, possible, reference_rewards, regret_of
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


def chains_of(rewards: np.ndarray, betas: list[float], noise: float = 0.1) -> Annealed:
    """Four islands at every prompt that nearly agree on J* = 1 + prompt and a reward of 2."""
    P, rng = len(rewards), np.random.default_rng(4)
    beta = np.array(betas)
    log_z = (1 + np.arange(P)) / beta[:, None] + np.zeros((len(beta), P))
    log_z = log_z[..., None] + noise * rng.normal(size=(len(beta), P, 4))
    reward = np.arange(P)[:, None] + 2 + 0.1 * np.ones((len(beta), P, 4))
    return Annealed(beta, log_z, reward, np.full(len(beta), 0.5))


def test_chains_go_on_where_the_samples_end():
    """In the file with their gaps; drawn are their points below the last beta of the samples, one line."""
    rewards = np.random.default_rng(3).normal(size=(30, 64))
    chains = chains_of(rewards, [5.0, 0.5, 0.25])
    chains.log_z[2, :, 0] += 20.0  # these islands do not agree
    found = possible(rewards, chains)
    assert found["annealed"]["kl"][2] is None and found["annealed"]["taken"] == [0.5] * 3
    json.dumps(found, allow_nan=False)
    axes = Figure().subplots()
    figures.possible(axes, found)
    _, curve = axes.get_lines()
    own = [x for x in found["frontier"]["kl"] if x is not None]
    assert list(curve.get_xdata()) == [*sorted(own), found["annealed"]["kl"][1]]
    assert curve.get_label() == "π*, β ≥ 0.5"


def test_a_regret_beyond_the_samples_is_against_the_chains():
    """J* - J with J* = 1 + prompt, within what the islands' noise of .1 leaves; a gap where they disagree."""
    rng = np.random.default_rng(5)
    rewards, own = rng.normal(size=(40, 64)), rng.normal(size=40) + np.arange(40)
    chains = chains_of(rewards, [0.5, 0.25])
    found = regret_of(rewards, 0.25, outcome(own, np.zeros(40)), chains)
    right = (1 + np.arange(40) - own).mean()
    assert found["islands"] == 4 and found["effective_islands"] > 3.9
    assert found["mean"] == pytest.approx(right, abs=0.02) and found["low"] < right < found["high"]
    assert regret_of(rewards, 0.3, outcome(own, np.zeros(40)), chains)["mean"] is None  # no such step
    chains.log_z[1, :, 0] += 20.0
    assert regret_of(rewards, 0.25, outcome(own, np.zeros(40)), chains)["mean"] is None
    near = regret_of(rewards, 4.0, outcome(own, np.zeros(40)), chains)
    assert "islands" not in near and near["mean"] is not None


def test_chains_of_a_model_join_the_betas_of_policies(policy, prompts):
    """A ladder of 16 betas, and one more; a constant reward has no frontier but the reference."""
    model, tokenizer = policy
    how = {"moves": 1, "max_new_tokens": 3, "seed": 1}
    rows = prompts.select(range(2))
    found = annealed(model, rows, tokenizer, length, betas=[1e9, 0.3], **how)
    assert len(found.beta) in (16, 17) and (np.diff(found.beta) < 0).all()
    assert found.log_z.shape == (len(found.beta), 2, 4) and 0 < found.taken.min() <= found.taken.max() <= 1
    same = annealed(model, rows, tokenizer, lambda x, y, z: np.ones(len(x)), betas=[0.3], **how)
    assert same.beta.max() / same.beta.min() == pytest.approx(64) and 0.3 in same.beta
    np.testing.assert_allclose(same.frontier().kl, 0, rtol=0, atol=1e-12)


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
