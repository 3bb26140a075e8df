"""Laws of revisions: the first answer is the one that is evaluated, and each asks about the one before."""

from __future__ import annotations

import numpy as np
import pytest

from llm.decode import sample_completions, uniform_noise
from llm.evaluate import evaluate
from llm.generate import Sampling, texts_of
from llm.revise import revisions
from llm.rewards import length
from llm.tokens import pad, token_ids

ASK = " Again:"


def words_and_letters(prompts, completions, references):
    """A number that tells texts apart."""
    return [len(y) + 0.01 * sum(map(ord, y)) for y in completions]


def test_the_first_answer_is_that_of_evaluate(policy, prompts):
    model, tokenizer = policy
    how = {"instruction": ASK, "count": 1, "sampling": Sampling(1, 6, 3)}
    found = revisions(model, prompts, tokenizer, length, **how)
    outcome = evaluate(model, model, prompts, tokenizer, length, max_new_tokens=6, seed=3)
    assert found.shape == (2, len(prompts)) and found[0].tolist() == outcome.reward.tolist()


def test_each_revision_is_sampled_behind_prompt_answer_and_instruction(policy, prompts):
    """One prompt at a time, as the words of the definition say: the same rewards as in a batch."""
    model, tokenizer = policy
    how = {"instruction": ASK, "count": 3, "sampling": Sampling(1, 6, 5)}
    found = revisions(model, prompts, tokenizer, words_and_letters, **how)
    (asks,) = token_ids(tokenizer, [ASK], prompts=False)
    for i in range(4):
        behind, answer = prompts[i]["prompt_ids"], []
        for n in range(4):
            x, real = pad([behind])
            noise = uniform_noise([5, n] if n else [5], [i], 1, 6)
            decoded = sample_completions(model, x, real, noise, eos_token_id=tokenizer.eos_token_id)
            ((answer,),) = decoded.ids
            (text,) = texts_of([answer], tokenizer)
            assert found[n, i] == words_and_letters([""], [text], None)[0]
            behind = [*prompts[i]["prompt_ids"], *answer, *asks]
    assert len(np.unique(found)) > 4


def test_bad_numbers_and_a_model_that_is_too_small_are_refused(policy, prompts):
    model, tokenizer = policy
    with pytest.raises(ValueError, match="count must be an integer of at least 1"):
        revisions(model, prompts, tokenizer, length, instruction=ASK, count=0, sampling=Sampling(1, 6, 3))
    with pytest.raises(ValueError, match="context"):
        revisions(
            model, prompts, tokenizer, length, instruction=ASK * 99, count=1, sampling=Sampling(1, 6, 3)
        )
