"""Laws of a language model that is small enough to enumerate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from llm.exact import GROUP, as_bandit, enumerate_completions, every_sequence, policy_of

PROMPT = torch.tensor([7, 2, 9])


def by_walking_the_tree(model: PreTrainedModel, prompt: torch.Tensor, steps: int, eos: int | None) -> dict:
    """The chain rule, one token and one forward pass at a time: completion -> probability."""
    live, ended = {(): 1.0}, {}
    for _ in range(steps):
        longer = {}
        for y, probability in live.items():
            ids = torch.cat([prompt, torch.tensor(y, dtype=torch.long)])[None]
            following = model(ids).logits[0, -1].softmax(-1)
            for token, p in enumerate(following.tolist()):
                (ended if token == eos else longer)[(*y, token)] = probability * p
        live = longer
    return ended | live


@pytest.mark.parametrize("eos", [0, 4, None])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_the_completions_are_the_leaves_of_the_tree(make_model, family, eos):
    model = make_model(family)
    found = enumerate_completions(model, PROMPT, 2, eos_token_id=eos)
    expected = by_walking_the_tree(model, PROMPT, 2, eos)
    names = [tuple(y[:n]) for y, n in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)]
    assert len(names) == len(set(names)) and set(names) == set(expected)
    probabilities = [expected[name] for name in names]
    np.testing.assert_allclose(found.log_prob.exp().detach(), probabilities, rtol=1e-12)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_probabilities_sum_to_one_whatever_the_parameters(make_model, family):
    """Hence the sum is 1 and its gradient 0: 1111 completions, in groups that share no forward pass."""
    model = make_model(family)
    found = enumerate_completions(model, PROMPT, 3, eos_token_id=0)
    assert len(found.log_prob) == 1 + 10 + 100 + 1000 > GROUP  # lengths 1, 2, 3 with end; 3 without
    total = found.log_prob.exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-12)
    for gradient in torch.autograd.grad(total, list(model.parameters())):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("own", "meant"), [(4, 4), (None, None), (50256, None)])
def test_the_models_own_end_of_sequence_is_the_default(make_model, own, meant):
    """A token outside the vocabulary never comes: then nothing ends a completion."""
    model = make_model("gpt2")
    model.config.eos_token_id = own
    expected = enumerate_completions(model, PROMPT, 2, eos_token_id=meant)
    assert torch.equal(enumerate_completions(model, PROMPT, 2).tokens, expected.tokens)


@given(vocabulary=st.integers(2, 5), steps=st.integers(1, 4), with_end=st.booleans())
def test_there_are_as_many_sequences_as_the_formula_says(vocabulary, steps, with_end):
    tokens, lengths = every_sequence(vocabulary, steps, vocabulary - 1 if with_end else None)
    going = vocabulary - with_end
    count = going**steps + with_end * sum(going**t for t in range(steps))
    assert tokens.shape == (count, steps) and lengths.shape == (count,)
    for y, n in zip(tokens.tolist(), lengths.tolist(), strict=True):
        assert n == steps or (with_end and y[n - 1] == vocabulary - 1)
        assert not with_end or vocabulary - 1 not in y[: n - 1]


def test_four_tokens_and_three_steps_make_forty_sequences():
    """1 + 3 + 9 that end early or in time, and 27 that are cut off: the model of T10.2."""
    assert len(every_sequence(4, 3, eos_token_id=2)[1]) == 1 + 3 + 9 + 27


def test_the_bandit_of_a_model_has_the_optimum_of_its_completions(make_model):
    """pi* = ref exp(r/beta) / Z (T1.1) written out over the leaves of the tree."""
    model = make_model("gpt2")
    completions = enumerate_completions(model, PROMPT, 2, eos_token_id=0)
    reward = np.cos(np.arange(len(completions.lengths)))
    bandit = as_bandit(completions, reward)
    reference = by_walking_the_tree(model, PROMPT, 2, 0)
    names = [
        tuple(y[:n]) for y, n in zip(completions.tokens.tolist(), completions.lengths.tolist(), strict=True)
    ]
    weight = np.array([reference[name] for name in names]) * np.exp(reward / 0.3)
    np.testing.assert_allclose(bandit.optimal_policy(0.3), weight / weight.sum(), rtol=1e-11)
    np.testing.assert_allclose(policy_of(completions), bandit.reference, rtol=1e-12)


def test_the_bandit_of_a_float32_model_is_normalised(make_model):
    completions = enumerate_completions(make_model("gpt2", dtype=torch.float32), PROMPT, 2, eos_token_id=0)
    assert completions.log_prob.dtype == torch.float32
    bandit = as_bandit(completions, preference=np.full((111, 111), 0.5))
    np.testing.assert_allclose(bandit.reference.sum(), 1, rtol=0, atol=1e-14)


BAD_CALLS = [
    ({"prompt": PROMPT[None]}, r"prompt must be token ids of shape \(P,\).*\(1, 3\)"),
    ({"prompt": PROMPT[:0]}, r"P > 0, but has \(0,\)"),
    ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, but is 0"),
    ({"max_new_tokens": 6}, "11 tokens and max_new_tokens = 6 make 1111111 completions, more than"),
    ({"eos_token_id": 11}, r"eos_token_id must be None or in \[0, 11\), but is 11"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CALLS)
def test_bad_input_is_refused(make_model, change, message):
    call = {"prompt": PROMPT, "max_new_tokens": 2, "eos_token_id": 0} | change
    with pytest.raises(ValueError, match=message):
        enumerate_completions(make_model("gpt2"), **call)
