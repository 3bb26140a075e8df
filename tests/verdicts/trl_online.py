"""How is TRL's Online DPO trainer called on given pairs?

Its `training_step` draws two answers, asks the reward who has won, and differentiates: what is put in its way
is generation, which hands over given answers, and the gradient is read off the parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from enumerable import PROMPT
from torch import Tensor

from verdicts.judged import Gradient
from verdicts.trl_pairs import at, tokenizer, usual
from verdicts.world import END, Groups, World, load


class Prescribed:
    """A trainer whose generation hands over what it is told to: first all first answers, then all second."""

    prescribed: tuple[Tensor, Tensor]  # tokens and mask, (2 n, T)

    def _generate(self, model: Any, prompts: list[str], images: Any = None) -> tuple[Any, ...]:
        tokens, mask = self.prescribed
        prompt = PROMPT.expand(len(tokens), -1)
        return prompt, torch.ones_like(prompt), tokens, mask, None


def online_dpo(**settings: Any) -> Callable[[World], Gradient]:
    """`OnlineDPOTrainer.training_step` of trl.experimental."""

    @functools.cache
    def made(world: World) -> Gradient:
        trainer = _trainer(world, settings)

        def gradient(groups: Groups, policy: Tensor, sampler: Tensor) -> Tensor:
            arms = groups.arms.T.reshape(-1)
            mask = world.mask[arms].long()
            trainer.prescribed = torch.where(mask > 0, world.tokens[arms], END), mask
            load(trainer.model, policy)
            trainer.model.zero_grad()
            trainer.training_step(trainer.model, {"prompt": ["0 1"] * len(groups)})
            each = (p.grad if p.grad is not None else torch.zeros_like(p) for p in trainer.model.parameters())
            return torch.cat([x.reshape(-1).double() for x in each])

        return gradient

    return made


def _trainer(world: World, settings: dict[str, Any]) -> Any:
    from datasets import Dataset
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    reward = {
        tuple(ids[:n].tolist()): r
        for ids, n, r in zip(world.tokens, world.lengths, world.reward.tolist(), strict=True)
    }

    def worth(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [reward[tuple(ids[: ids.index(END) + 1] if END in ids else ids)] for ids in completion_ids]

    return type("PrescribedOnlineDPO", (Prescribed, OnlineDPOTrainer), {})(
        model=at(world, world.policy),
        ref_model=at(world, world.reference),
        reward_funcs=worth,
        args=usual(OnlineDPOConfig, **settings),
        train_dataset=Dataset.from_list([{"prompt": "0 1"}] * 8),
        processing_class=tokenizer(),
    )
