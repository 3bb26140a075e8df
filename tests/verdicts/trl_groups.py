"""How are TRL's GRPO and RLOO trainers called on given groups?

The trainer's own scoring and loss run in turn, `_generate_and_score_completions` at the sampler and then
`compute_loss` at the policy; what is put in their way is generation, which hands over given completions.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from typing import Any

from enumerable import PROMPT
from torch import Tensor

from verdicts.judged import Gradient
from verdicts.trl_pairs import at, tokenizer, usual
from verdicts.world import TOKENS, Groups, K, World, flat_gradient, load


class Prescribed:
    """A trainer whose generation hands over what it is told to."""

    prescribed: list[list[int]]
    extra: int  # how much more than prompts, completions and texts its `_generate` returns

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        found, texts = self.prescribed, [" ".join(map(str, ids)) for ids in self.prescribed]
        prompt = [PROMPT.tolist()] * len(found)
        if self.extra:  # tool mask; log-probabilities, extra fields and images
            return prompt, found, None, texts, None, {}, None, None
        return prompt, found, texts


def grpo(**settings: Any) -> Callable[[World], Gradient]:
    """`GRPOTrainer`: scoring, then loss."""
    return _of_groups("trl", "GRPO", 1, **settings)


def gmpo(**settings: Any) -> Callable[[World], Gradient]:
    """`GMPOTrainer` of trl.experimental: scoring, then loss."""
    return _of_groups("trl.experimental.gmpo", "GMPO", 1, **settings)


def rloo(**settings: Any) -> Callable[[World], Gradient]:
    """`RLOOTrainer`: scoring, then loss."""
    return _of_groups("trl", "RLOO", 0, **settings)


def _of_groups(module: str, name: str, extra: int, **settings: Any) -> Callable[[World], Gradient]:
    @functools.cache
    def made(world: World) -> Gradient:
        trainer = _trainer(world, module, name, extra, settings)

        def gradient(groups: Groups, policy: Tensor, sampler: Tensor) -> Tensor:
            lengths = world.lengths[groups.arms]
            completions = zip(world.tokens[groups.arms.reshape(-1)], lengths.reshape(-1), strict=True)
            trainer.prescribed = [ids[:n].tolist() for ids, n in completions]
            trainer.current_gradient_accumulation_steps = 1
            load(trainer.model, sampler)
            prompts = [{"prompt": "0 1"} for _ in trainer.prescribed]
            batch = trainer._generate_and_score_completions(prompts)
            load(trainer.model, policy)
            return flat_gradient(trainer.compute_loss(trainer.model, batch), trainer.model)

        return gradient

    return made


def _trainer(world: World, module: str, name: str, extra: int, settings: dict[str, Any]) -> Any:
    """A trainer that learns twice from the same groups, so that it holds the sampler's log-probabilities."""
    import importlib

    from datasets import Dataset

    trl = importlib.import_module(module)

    model, folder = at(world, world.reference), tempfile.mkdtemp()
    model.save_pretrained(folder)  # the reference is loaded by the name of the model
    model.config._name_or_path = folder
    reward = {
        tuple(ids[:n].tolist()): r
        for ids, n, r in zip(world.tokens, world.lengths, world.reward.tolist(), strict=True)
    }

    def worth(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [reward[tuple(ids)] for ids in completion_ids]

    base = getattr(trl, f"{name}Trainer")
    made = type(f"Prescribed{name}", (Prescribed, base), {"extra": extra})(
        model=model,
        reward_funcs=worth,
        args=usual(
            getattr(trl, f"{name}Config"),
            **{
                "num_generations": K,
                "per_device_train_batch_size": K,
                "max_completion_length": TOKENS,
                "num_iterations": 2,
                **settings,
            },
        ),
        train_dataset=Dataset.from_list([{"prompt": "0 1"}] * 4),
        processing_class=tokenizer(),
    )
    return made
