"""Laws of evaluation: intervals cover, the KL is the KL, a policy against itself is a draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.stats import binomtest

from bandits.policy import kl
from llm import generate
from llm.evaluate import Outcome, evaluate, improvement, sample_table, win_rate
from llm.exact import enumerate_completions, policy_of
from llm.intervals import interval, preferred
from llm.model import load_model
from llm.rewards import length
from llm.tokens import encode


def outcome(reward: np.ndarray) -> Outcome:
    zero = np.zeros_like(reward)
    return Outcome(["x"] * len(reward), reward, zero, zero, zero, None)


def test_95_percent_of_intervals_cover_the_mean():
    """2000 samples of 50 exponential variables; coverage within 4 standard errors of .93 to .95 (skewed)."""
    rng = np.random.default_rng(0)
    found = [interval(rng.exponential(size=50)) for _ in range(2000)]
    share = np.mean([e.low <= 1 <= e.high for e in found])
    assert 0.93 - 4 * np.sqrt(0.93 * 0.07 / 2000) < share < 0.95 + 4 * np.sqrt(0.95 * 0.05 / 2000)


def test_an_interval_is_mean_and_standard_error():
    """1, 2, 3, 6: mean 3, sd sqrt(14/3), half width 1.96 sd / 2."""
    found = interval(np.array([1.0, 2.0, 3.0, 6.0]))
    half = 1.959964 * np.sqrt(14 / 3) / 2
    np.testing.assert_allclose([found.mean, found.low, found.high], [3, 3 - half, 3 + half], rtol=1e-12)


def test_a_policy_against_itself_is_a_draw():
    one = outcome(np.array([1.0, 2.0, 5.0]))
    found = win_rate(one, one)
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    assert improvement(one, one).mean == 0


def test_win_rates_of_two_policies_sum_to_one():
    one, other = outcome(np.array([1.0, 2.0, 3.0, 4.0])), outcome(np.array([1.0, 1.0, 4.0, 2.0]))
    assert win_rate(one, other).mean == (0.5 + 1 + 0 + 1) / 4
    assert win_rate(one, other).mean + win_rate(other, one).mean == 1
    assert improvement(one, other).mean == 0.5


@pytest.mark.parametrize(("wins", "count"), [(10, 10), (0, 7), (3, 9), (50, 51)])
def test_without_ties_the_interval_is_wilsons(wins, count):
    """scipy's, at the same quantile to 1e-6; and it says something of 10 wins out of 10."""
    found = preferred(np.arange(count) < wins, np.full(count, 0.5))
    expected = binomtest(wins, count).proportion_ci(method="wilson")
    np.testing.assert_allclose([found.low, found.high], expected, rtol=0, atol=1e-6)
    assert found.mean == wins / count and found.high - found.low > 0.05 and found.ties == 0


def test_an_interval_of_shares_stays_within_zero_and_one():
    """At all wins and at none it ends at 1 and at 0 exactly; 12 of 12 came to 1 + 4e-16."""
    for count in range(1, 60):
        wins, none = (preferred(np.full(count, score), np.full(count, 0.5)) for score in (1.0, 0.0))
        assert wins.high <= 1.0 and none.low >= 0.0, count
        np.testing.assert_allclose([wins.high, none.low], [1.0, 0.0], rtol=0, atol=1e-14)  # a root


def test_with_ties_the_interval_covers_and_is_narrower():
    """2000 samples of 30 wins, losses and ties (.55, .15, .3): coverage within 4 standard errors of .95.

    A share of 30 moves in steps of 1/60, hence 3 % of room on either side.
    """
    rng = np.random.default_rng(3)
    sign = rng.choice([1.0, -1.0, 0.0], p=[0.55, 0.15, 0.3], size=(2000, 30))
    found = [preferred(row, np.zeros(30)) for row in sign]
    share = np.mean([e.low <= 0.7 <= e.high for e in found])
    assert 0.92 - 4 * np.sqrt(0.05 / 2000) < share < 0.98 + 4 * np.sqrt(0.05 / 2000)
    untied = preferred(np.array([1.0, 1.0, 0.0, 0.0]), np.full(4, 0.5))
    tied = preferred(np.array([1.0, 0.5, 0.5, 0.0]), np.full(4, 0.5))
    assert untied.mean == tied.mean and tied.high - tied.low < untied.high - untied.low
    assert str(tied).endswith("2 of 4 tied")


def test_the_reference_is_scored_once_on_its_own_samples(policy, prompts, monkeypatch):
    model, tokenizer = policy
    seen = []
    right = generate.sequence_log_probs

    def counted(who, *arguments, **masks):
        seen.append(who)
        return right(who, *arguments, **masks)

    monkeypatch.setattr(generate, "sequence_log_probs", counted)
    found = evaluate(model, model, prompts, tokenizer, length, max_new_tokens=2, seed=0)
    assert len(seen) == 1 and (found.log_ratio == 0).all()


def test_the_kl_is_that_of_all_completions(model_folder, make_model):
    """300 prompts that are the same: the mean log-ratio within 4 standard errors of the enumerated KL."""
    model, tokenizer = load_model(str(model_folder))
    policy = load_model(str(model_folder))[0]
    with torch.no_grad():
        policy.transformer.ln_f.weight *= 20
    rows = encode(
        Dataset.from_list([{"prompt": "The ferry", "completion": " a"}] * 300),
        tokenizer,
        max_prompt_tokens=20,
        max_completion_tokens=5,
    ).rows
    found = evaluate(policy, model, rows, tokenizer, length, max_new_tokens=1, seed=0)
    prompt = torch.tensor(rows[0]["prompt_ids"])
    pi, ref = (
        policy_of(enumerate_completions(m, prompt, 1, eos_token_id=tokenizer.eos_token_id))
        for m in (policy, model)
    )
    exact = float(kl(np.log(pi), np.log(ref)))
    assert exact > 0.05
    assert abs(found.log_ratio.mean() - exact) < 4 * found.log_ratio.std() / np.sqrt(300)
    entropy = -(pi * np.log(pi)).sum()
    assert abs(-found.log_prob.mean() - entropy) < 4 * found.log_prob.std() / np.sqrt(300)
    itself = evaluate(model, model, rows, tokenizer, length, max_new_tokens=1, seed=0)
    assert (itself.log_ratio == 0).all()
    assert "written by people" in sample_table(rows, {"policy": found}, 2)


def test_an_interval_takes_two_prompts():
    with pytest.raises(ValueError, match="at least 2 prompts, but there are 1; evaluate more"):
        interval(np.array([1.0]))
