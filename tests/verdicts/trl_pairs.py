"""How are TRL's DPO, KTO, CPO and ORPO trainers called on given pairs?

Each trainer is made with its own class, config, model and reference; what its collator would hand to
`compute_loss` is made of given completions, and the loss that comes back is differentiated.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from enumerable import PROMPT
from torch import Tensor, nn

from verdicts.judged import Gradient
from verdicts.world import COUNTS, END, VOCABULARY, Groups, World, flat_gradient, load

USUAL = {
    "per_device_train_batch_size": 8,
    "max_steps": 1,
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
}


def tokenizer() -> Any:
    """Three words, the last of which ends an answer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {str(i): i for i in range(VOCABULARY)}
    bare = Tokenizer(models.WordLevel(words, unk_token="0"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token=str(END), pad_token=str(END))


def usual(config: Any, **settings: Any) -> Any:
    """A trainer's config, in a folder that is forgotten."""
    return config(output_dir=tempfile.mkdtemp(), **{**USUAL, **settings})


def at(world: World, parameters: Tensor) -> nn.Module:
    """A model of its own for a trainer to patch."""
    model = copy.deepcopy(world.model)
    load(model, parameters)
    return model


def rows_of(world: World, arms: Tensor) -> dict[str, Tensor]:
    """Prompt and completion of each arm, (n, P + T), with the masks of a collator."""
    mask = world.mask[arms].long()
    prompts = PROMPT.expand(len(arms), -1)
    real = torch.ones_like(prompts)
    tokens = torch.where(mask > 0, world.tokens[arms], END)
    return {
        "input_ids": torch.cat([prompts, tokens], 1),
        "attention_mask": torch.cat([real, mask], 1),
        "completion_mask": torch.cat([0 * real, mask], 1),
    }


def gradient_of(trainer: Any, batch: Callable[[Groups], dict[str, Any]]) -> Gradient:
    """Minus nothing: d compute_loss / d parameters of the trainer's model."""

    def gradient(groups: Groups, policy: Tensor, sampler: Tensor) -> Tensor:
        load(trainer.model, policy)
        return flat_gradient(trainer.compute_loss(trainer.model, batch(groups)), trainer.model)

    return gradient


def dpo(loss_type: str, **settings: Any) -> Callable[[World], Gradient]:
    """`DPOTrainer.compute_loss`."""

    @functools.cache
    def made(world: World) -> Gradient:
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        one = Dataset.from_list([{"prompt": "0 1", "chosen": " 0", "rejected": " 1"}])
        trainer = DPOTrainer(
            model=at(world, world.policy),
            ref_model=at(world, world.reference),
            args=usual(DPOConfig, loss_type=[loss_type], **settings),
            train_dataset=one,
            processing_class=tokenizer(),
        )
        return gradient_of(trainer, lambda groups: rows_of(world, groups.arms.T.reshape(-1)))

    return made


def kto(**settings: Any) -> Callable[[World], Gradient]:
    """`KTOTrainer.compute_loss`; its estimate of the KL is taken over twenty answers, `COUNTS` of each."""

    @functools.cache
    def made(world: World) -> Gradient:
        from datasets import Dataset
        from trl import KTOConfig, KTOTrainer

        one = Dataset.from_list([{"prompt": "0 1", "completion": " 0", "label": True}] * 8)
        trainer = KTOTrainer(
            model=at(world, world.policy),
            ref_model=at(world, world.reference),
            args=usual(KTOConfig, **settings),
            train_dataset=one,
            processing_class=tokenizer(),
        )
        everyone = rows_of(world, torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS)))
        others = {f"KL_{name}": value for name, value in everyone.items()}

        def batch(groups: Groups) -> dict[str, Tensor]:
            assert groups.label is not None
            return {**rows_of(world, groups.arms[:, 0]), **others, "label": groups.label > 0}

        return gradient_of(trainer, batch)

    return made


def labelled_rows(world: World, groups: Groups) -> dict[str, Tensor]:
    """The batch of CPO's and ORPO's collator: chosen and rejected apart, with labels."""
    found = {}
    for place, side in enumerate(("chosen", "rejected")):
        rows = rows_of(world, groups.arms[:, place])
        labels = rows["input_ids"].masked_fill(rows["completion_mask"] == 0, -100)
        both = {"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"], "labels": labels}
        found |= {f"{side}_{name}": value for name, value in both.items()}
    return found


def without_reference(module: str, name: str, **settings: Any) -> Callable[[World], Gradient]:
    """`compute_loss` of CPOTrainer or ORPOTrainer, of trl.experimental."""

    @functools.cache
    def made(world: World) -> Gradient:
        import importlib

        from datasets import Dataset

        found = importlib.import_module(f"trl.experimental.{module}")
        one = Dataset.from_list([{"prompt": "0 1", "chosen": " 0", "rejected": " 1"}])
        trainer = getattr(found, f"{name}Trainer")(
            model=at(world, world.policy),
            args=usual(getattr(found, f"{name}Config"), **settings),
            train_dataset=one,
            processing_class=tokenizer(),
        )
        return gradient_of(trainer, lambda groups: labelled_rows(world, groups))

    return made


def orpo_with_prompt(weight: float) -> Callable[[World], Gradient]:
    """A second program for ORPO whose likelihood is that of prompt and winner, by the model's own logits."""

    def made(world: World) -> Gradient:
        def gradient(groups: Groups, policy: Tensor, sampler: Tensor) -> Tensor:
            load(world.model, policy)
            losses = []
            for winner, loser in groups.arms.tolist():
                everything, won = _log_probs(world, winner)
                odds = [x - torch.log1p(-torch.exp(x)) for x in (won, _log_probs(world, loser)[1])]
                losses.append(-everything - weight * torch.log(torch.sigmoid(odds[0] - odds[1])))
            return flat_gradient(torch.stack(losses).mean(), world.model)

        return gradient

    return made


def _log_probs(world: World, arm: int) -> tuple[Tensor, Tensor]:
    """Mean log-probability of all tokens but the first, and of the answer's alone."""
    n = int(world.lengths[arm])
    ids = torch.cat([PROMPT, world.tokens[arm][:n]])
    log_p = world.model(ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0].log_softmax(-1)[:-1]
    each = log_p.gather(1, ids[1:, None])[:, 0]
    return each.mean(), each[-n:].mean()
