"""Laws of supervised fine-tuning: the loss is -log pi(y|x) a token, whatever else is in the batch."""

from __future__ import annotations

import pytest
import torch

from llm.log_probs import sequence_log_probs
from llm.tokens import collate
from llm.train import fine_tuning_batch

ROWS = [
    {"prompt_ids": [3, 1, 4, 1, 5], "completion_ids": [[9, 2, 0]]},
    {"prompt_ids": [2, 7], "completion_ids": [[1, 8, 2, 8, 0]]},
    {"prompt_ids": [6], "completion_ids": [[0]]},
]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_the_loss_is_minus_log_pi_averaged_over_completion_tokens(make_model, family, attention):
    """The sum over three ragged rows, divided by their 3 + 5 + 1 tokens; all in float32, as trained."""
    model = make_model(family, attention, torch.float32)
    batch = collate(ROWS)
    x, y = batch.pop("prompts"), batch.pop("completions")
    expected = -sequence_log_probs(model, x, y, shared_prefix=False, **batch).sum() / 9
    found = model(**fine_tuning_batch(ROWS)).loss
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_logits_are_made_where_a_completion_is_predicted_only(make_model):
    """5 columns predict the longest completion, and the one behind it comes with them; prompts take none."""
    model = make_model("gpt2")
    assert model(**fine_tuning_batch(ROWS)).logits.shape == (3, 1 + 5, 11)
