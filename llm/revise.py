"""Does an answer get better if the policy is asked to revise it, and again?

    y_0 ~ pi(. | x),    y_{n+1} ~ pi'(. | x, y_n) = pi(. | x, y_n, instruction)

SRPO trains pi' to be ref' exp(p(y' beats y)/beta)/Z(y)  (T7.1): its revisions should win. A policy that was
never asked says what chance does.

Source: Choi 2024, arXiv:2406.01660, Section 5 (the quality of revisions).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bandits import checks
from bandits.checks import Floats
from llm.data import slices
from llm.decode import SEQUENCES, sample_completions, uniform_noise
from llm.generate import Sampling, score_groups, texts_of
from llm.rewards import Reward
from llm.tokens import pad, token_ids


@torch.no_grad()
def revisions(
    model: PreTrainedModel,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    reward: Reward,
    *,
    instruction: str,
    count: int,
    sampling: Sampling,
) -> Floats:
    """Rewards of an answer to each prompt and of its revisions one after another, (count + 1, prompts).

    Args:
        rows: those of `encode`.
        instruction: what asks for a revision, behind the prompt and the answer.
        count: how many revisions.
        sampling: its `k` is not used: there is one answer.

    Raises:
        ValueError: count is below 1, or prompt, answer, instruction and answer do not fit into the model.
    """
    checks.count(count, "count")
    (asks,) = token_ids(tokenizer, [instruction], prompts=False)
    found: list[list[float]] = [[] for _ in range(count + 1)]
    for start, batch in slices(rows, SEQUENCES):
        asked = [row["prompt_ids"] for row in batch]
        people = [row["completion"] for row in batch] if "completion" in batch[0] else None
        before: Sequence[Sequence[int]] = [[]] * len(batch)
        for n in range(count + 1):
            ids = [[*x, *y, *asks] if n else x for x, y in zip(asked, before, strict=True)]
            x, real = (tensor.to(model.device) for tensor in pad(ids))
            numbers = range(start, start + len(batch))
            drawn = [sampling.seed, n] if n else [sampling.seed]  # the first is that of `evaluate`
            noise = uniform_noise(drawn, numbers, 1, sampling.max_new_tokens)
            decoded = sample_completions(model, x, real, noise, eos_token_id=tokenizer.eos_token_id)
            before = [row[0] for row in decoded.ids]
            texts = [texts_of(row, tokenizer) for row in decoded.ids]
            prompts = [row["prompt"] for row in batch]
            found[n] += score_groups(reward, prompts, texts, people).reward[:, 0].tolist()
    return np.array(found)
