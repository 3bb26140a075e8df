"""How is TRL's A*-PO trainer called on given answers?

Its loss is asked for one answer a prompt, with the value that its first stage would have estimated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from verdicts.judged import Gradient
from verdicts.trl_pairs import at, gradient_of, rows_of, tokenizer, usual
from verdicts.world import TOKENS, Groups, World


def a2po(value: float, **settings: Any) -> Callable[[World], Gradient]:
    """`A2POTrainer.compute_loss` of trl.experimental; `value` is V* of the prompt."""

    @functools.cache
    def made(world: World) -> Gradient:
        from datasets import Dataset
        from trl.experimental.a2po import A2POConfig, A2POTrainer

        trainer = A2POTrainer(
            model=at(world, world.reference),  # it copies its reference from there
            reward_funcs=lambda prompts, **_: [0.0] * len(prompts),
            args=usual(A2POConfig, **settings),
            train_dataset=Dataset.from_list([{"prompt": "0 1"}] * 8),
            processing_class=tokenizer(),
        )
        log_reference = world.table(world.reference).sum(-1)

        def batch(groups: Groups) -> dict[str, Any]:
            arms = groups.arms[:, 0]
            rows = rows_of(world, arms)
            return {
                "input_ids": rows["input_ids"],
                "attention_mask": rows["attention_mask"],
                "logits_to_keep": TOKENS,
                "ref_logps": log_reference[arms],
                "rewards": torch.from_numpy(world.reward)[arms],
                "v_star": torch.full((len(arms),), value, dtype=torch.float64),
            }

        return gradient_of(trainer, batch)

    return made
