"""Training: `transformers.Trainer`, whose loss is an algorithm of `bandits`.

    AlignmentTrainer(algorithm, source)   offline or online, by where the completions come from:

    Recorded     a scored or compared data set          CoPG, DPO, IPO, DRO, SRPO
    OnPolicy     the policy in training, every step     RLOO, ReMax, OnlineIPO, NashMD

A source turns a batch into `Samples` of K completions a prompt; the algorithm sees every choice of its k
of them.  Preferences are the data's labels, or Bradley-Terry of the rewards (T0).  DRO's V is eliminated,
as the mean of R over the K completions of a prompt.  SRPO's reviser is the model itself, and its revision
reference the reference.

At step 0 the policy must be the reference.  Batches, noise and checkpoints are such that a run that was
killed and resumed is the uninterrupted run; mixed precision, accumulation, LoRA, TensorBoard, FSDP and
`accelerate launch` are the Trainer's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments

from bandits import DPO, Bandit
from bandits.algorithms.samples import Samples
from llm.data import Row, completions_of
from llm.decode import Decoded, greedy_completions, sample_completions, token_opponents, uniform_noise
from llm.generate import sampled_ids, texts_of
from llm.log_probs import sequence_log_probs
from llm.loss import alignment_loss, every_choice, revision_log_probs
from llm.rewards import Reward, score
from llm.tokens import collate, pad

Batch = dict[str, Any]
COMPLETE = "complete.json"  # written into a checkpoint when everything else is there
AT_START = 1e-2  # nats by which log pi may differ from log ref at step 0 in float32


class Source(Protocol):
    """Where completions come from."""

    def __call__(self, model: nn.Module, batch: Batch) -> Samples: ...


@dataclass(frozen=True)
class Recorded:
    """Samples of a data set, whose reference log-probabilities are cached.

    Args:
        revision: token ids of the instruction to revise, (I,): SRPO needs it, others leave it None.
    """

    revision: Tensor | None = None

    def __call__(self, model: nn.Module, batch: Batch) -> Samples:
        masks = {"prompt_mask": batch["prompt_mask"], "completion_mask": batch["completion_mask"]}
        samples = with_preferences(
            Samples(
                log_prob=sequence_log_probs(model, batch["prompts"], batch["completions"], **masks),
                reference_log_prob=batch["reference_log_probs"],
                reward=batch.get("rewards"),
                behavior_log_prob=batch.get("behavior_log_probs"),
            )
        )
        if self.revision is None:
            return samples
        revised = revision_log_probs(
            model,
            batch["prompts"],
            batch["completions"],
            instruction=self.revision.to(batch["prompts"].device),
            **masks,
        )
        reference = batch["reference_log_probs"][..., :, None].expand_as(revised)
        return replace(samples, revision_log_prob=revised, reference_revision_log_prob=reference)


@dataclass(frozen=True)
class OnPolicy:
    """Fresh samples of the policy, scored; the last one by the algorithm's opponent if it brings one.

    Args:
        algorithm: for its `opponent` (Nash-MD: mixed token by token).
        reference: a frozen copy of the model.
        tokenizer: of both.
        reward: of texts, see `llm.rewards`.
        k: completions sampled for each prompt.
        max_new_tokens: longest completion.
        seed: the noise is a function of it, of the step and of the prompt's number.
        greedy: also score the greedy completion (ReMax).
    """

    algorithm: Any
    reference: nn.Module
    tokenizer: PreTrainedTokenizerBase
    reward: Reward
    k: int
    max_new_tokens: int
    seed: int
    greedy: bool = False

    def __call__(self, model: nn.Module, batch: Batch) -> Samples:
        x, x_real = batch["prompts"], batch["prompt_mask"]
        inner = model.module if isinstance(getattr(model, "module", None), nn.Module) else model
        decoded = self._decoded(inner, batch)
        masks = {"prompt_mask": x_real, "completion_mask": decoded.mask}
        with torch.no_grad():
            reference = sequence_log_probs(self.reference, x, decoded.tokens, **masks)
        samples = Samples(
            log_prob=sequence_log_probs(model, x, decoded.tokens, **masks),
            reference_log_prob=reference,
            reward=self._rewards(batch, decoded).to(x.device),
        )
        if self.greedy:
            end, longest = self.tokenizer.eos_token_id, self.max_new_tokens
            best = greedy_completions(inner, x, x_real, max_new_tokens=longest, eos_token_id=end)
            samples = replace(samples, greedy_reward=self._rewards(batch, best)[:, 0].to(x.device))
        batch["completion_mask"] = decoded.mask  # for the log
        return with_preferences(samples)

    def _decoded(self, model: nn.Module, batch: Batch) -> Decoded:
        x, x_real, end = batch["prompts"], batch["prompt_mask"], self.tokenizer.eos_token_id
        noise = uniform_noise([self.seed, batch["step"]], batch["numbers"], self.k, self.max_new_tokens)
        if not hasattr(self.algorithm, "opponent"):
            return sample_completions(model, x, x_real, noise, eos_token_id=end)
        own = sample_completions(model, x, x_real, noise[:, :-1], eos_token_id=end)
        mixture = self.algorithm.opponent
        other = token_opponents(mixture, model, self.reference, x, x_real, noise[:, -1:], eos_token_id=end)
        return Decoded(*(torch.cat(pair, dim=1) for pair in zip(own, other, strict=True)))

    def _rewards(self, batch: Batch, decoded: Decoded) -> Tensor:
        k = decoded.tokens.shape[1]
        ids = [y for row in sampled_ids(decoded) for y in row]
        prompts = [text for text in batch["texts"] for _ in range(k)]
        references = None
        if batch["references"] is not None:
            references = [text for text in batch["references"] for _ in range(k)]
        found = score(self.reward, prompts, texts_of(ids, self.tokenizer), references).reward
        return torch.from_numpy(found).float().view(-1, k)


def with_preferences(samples: Samples) -> Samples:
    """Preferences within each group, and the group as the population that expectations run over.

    Bradley-Terry where there are rewards; else the data's order, the first completion having won.
    """
    log_prob, reward = samples.log_prob, samples.reward
    size = log_prob.shape[-1]
    if reward is not None:
        world = Bandit(reward.double().cpu().numpy())
        preference = torch.tensor(world.preference, dtype=log_prob.dtype, device=log_prob.device)
    else:
        ones = torch.ones(size, size, dtype=log_prob.dtype, device=log_prob.device)
        preference = (ones.triu(1) + ones.diag().diag() / 2).expand(*log_prob.shape, size)
    everyone = Samples(
        log_prob=log_prob,
        reference_log_prob=samples.reference_log_prob,
        reward=reward,
        behavior_log_prob=torch.full_like(log_prob, -math.log(size)),
    )
    return replace(samples, preference=preference, population=everyone)


def collate_rows(rows: Sequence[Row]) -> Batch:
    """A batch of encoded rows with whatever numbers, texts and references they carry."""
    if "completion_ids" in rows[0]:
        batch: Batch = dict(collate(rows))
    else:
        batch = dict(zip(("prompts", "prompt_mask"), pad([row["prompt_ids"] for row in rows]), strict=True))
    for name in ("rewards", "reference_log_probs", "behavior_log_probs"):
        if name in rows[0]:
            batch[name] = torch.tensor([row[name] for row in rows])
    batch["numbers"] = [row["number"] for row in rows]
    batch["texts"] = [row["prompt"] for row in rows]
    batch["references"] = [row["completion"] for row in rows] if "completion" in rows[0] else None
    return batch


@torch.no_grad()
def with_reference_log_probs(rows: Dataset, reference: PreTrainedModel, batch_size: int = 16) -> Dataset:
    """The same encoded rows with `reference_log_probs`, for data that came without them."""
    found: list[list[float]] = []
    for start in range(0, len(rows), batch_size):
        batch = collate(rows.select(range(start, min(start + batch_size, len(rows)))).to_list())
        x, y = batch.pop("prompts"), batch.pop("completions")
        found += sequence_log_probs(reference, x, y, **batch).double().tolist()
    return rows.add_column("reference_log_probs", found)


class AlignmentTrainer(Trainer):
    """A Trainer whose loss is `alignment_loss` of an algorithm on samples of a source.

    Args:
        model: the policy, equal to the reference at the start.
        algorithm: any object with `k` and `update`.
        source: `Recorded(...)` or `OnPolicy(...)`.
        args: of `transformers`; use `training_arguments`.
        rows: encoded rows.
        held_out: model -> numbers, called whenever the Trainer evaluates.
    """

    def __init__(
        self,
        model: nn.Module,
        algorithm: Any,
        source: Source,
        args: TrainingArguments,
        rows: Dataset,
        *,
        held_out: Callable[[nn.Module], Mapping[str, float]] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        numbered = rows.add_column("number", list(range(len(rows))))
        super().__init__(
            model=model,
            args=args,
            train_dataset=numbered,
            eval_dataset=numbered,  # the Trainer wants one; `evaluate` looks at `held_out`
            data_collator=collate_rows,
            callbacks=list(callbacks),
        )
        self.model_accepts_loss_kwargs = (
            False  # the loss is a mean over the batch: divide it when accumulating
        )
        self.algorithm, self.source, self.held_out = algorithm, source, held_out
        self._logged: list[Tensor] = []

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None) -> Tensor:
        """`alignment_loss` of the batch; what there is to watch is kept for the log."""
        samples = self.source(model, inputs | {"step": self.state.global_step})
        if self.state.global_step == 0:
            self._check_start(samples)
        groups = every_choice(samples, self.algorithm.k)
        with torch.no_grad():
            coefficient = self.algorithm.update(groups).log_prob
            self._logged.append(_watched(samples, coefficient))
        return alignment_loss(self.algorithm, groups)

    def _check_start(self, samples: Samples) -> None:
        """At step 0 the policy is the reference, or cached log-probabilities are not what they should be."""
        allowed = AT_START if not (self.args.bf16 or self.args.fp16) else 100 * AT_START
        difference = samples.log_ratio.detach().abs()
        if not difference.max() <= allowed:
            raise ValueError(
                f"at step 0 the policy must be the reference, but log pi - log ref is {difference.max():.3g} "
                f"for a completion of the first batch (at most {allowed} is rounding); start from the model "
                "that the reference log-probabilities were computed with, dropout off"
            )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The Trainer's log, with the means since the last one of what `WATCHED` names."""
        if self._logged and "loss" in logs:
            means = torch.stack(self._logged).mean(0)
            means = self.accelerator.gather(means[None]).mean(0)
            logs |= {name: x for name, x in zip(WATCHED, means.tolist(), strict=True) if not math.isnan(x)}
            self._logged.clear()
        super().log(logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float]:
        """The numbers of `held_out`, logged."""
        if self.held_out is None:
            return {}
        inner = self.accelerator.unwrap_model(self.model)
        found = {f"{metric_key_prefix}_{k}": float(v) for k, v in self.held_out(inner).items()}
        self.log(dict(found))
        return found

    def _save_checkpoint(self, model, trial) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            (folder / COMPLETE).write_text(json.dumps({"step": self.state.global_step}))


WATCHED = ("reward", "log_ratio", "sequence_nll", "coefficient_mean_abs", "coefficient_max_abs")


def _watched(samples: Samples, coefficient: Tensor) -> Tensor:
    """Means over the batch; for the policy's own samples log_ratio is the KL and sequence_nll the entropy."""
    absent = samples.log_prob.new_tensor(math.nan)
    size = coefficient.abs()
    return torch.stack(
        [
            absent if samples.reward is None else samples.reward.mean().to(absent),
            samples.log_ratio.mean(),
            -samples.log_prob.mean(),
            size.mean().to(absent),
            size.max().to(absent),
        ]
    ).detach()


def last_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint that was written to its end; None if there is none."""
    complete = [path.parent for path in Path(folder).glob(f"checkpoint-*/{COMPLETE}")]
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2]))) if complete else None


def training_arguments(
    folder: str | Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    accumulation: int = 1,
    warmup: int = 0,
    log_every: int = 10,
    evaluate_every: int | None = None,
    save_every: int | None = None,
    bf16: bool = False,
    tensorboard: bool = False,
) -> TrainingArguments:
    """The Trainer's arguments with this project's conventions: linear decay, clipping at 1, no surprises."""
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        learning_rate=learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=warmup,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=seed,
        logging_steps=log_every,
        eval_strategy="no" if evaluate_every is None else "steps",
        eval_steps=evaluate_every,
        eval_on_start=evaluate_every is not None,
        save_strategy="no" if save_every is None else "steps",
        save_steps=save_every or 500,
        save_total_limit=2,
        report_to=["tensorboard"] if tensorboard else [],
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        bf16=bf16,
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def fine_tuning_batch(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Demonstrations as the plain Trainer wants them: labels are -100 except on completions."""
    tokens, mask = pad([[*row["prompt_ids"], *row["completion_ids"][0]] for row in rows])
    labels = tokens.clone()
    for label, row in zip(labels, rows, strict=True):
        label[: len(row["prompt_ids"])] = -100
    labels[~mask] = -100
    return {"input_ids": tokens, "attention_mask": mask.long(), "labels": labels}


def comparison_batch(tokenizer: PreTrainedTokenizerBase, context: int) -> Callable[[Sequence[Row]], Batch]:
    """Preferences as a reward model reads them: all chosen texts, then all rejected ones."""

    def collate_comparisons(rows: Sequence[Row]) -> Batch:
        texts = [row["prompt"] + completions_of(row)[i] for i in (0, 1) for row in rows]
        return dict(
            tokenizer(
                texts,
                padding=True,
                padding_side="right",
                truncation=True,
                max_length=context,
                return_tensors="pt",
            )
        )

    return collate_comparisons


class RewardTrainer(Trainer):
    """The plain Trainer with the Bradley-Terry likelihood of comparisons, -log p(chosen beats rejected).

    It is DPO's loss with the reward in the place of beta log pi/ref: the same object serves.
    """

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None) -> Tensor:
        """The mean over comparisons; the chosen texts are the first half of the batch."""
        reward = torch.stack(model(**inputs).logits[:, 0].chunk(2), dim=-1)  # (B, 2)
        pairs = Samples(log_prob=reward, reference_log_prob=torch.zeros_like(reward))
        return DPO(beta=1.0).loss(with_preferences(pairs)).mean()
