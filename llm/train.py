"""Training: `transformers.Trainer`, whose loss is an algorithm of `bandits` on samples of a source.

A source (`llm.sources`) turns a batch into `Samples` of K completions a prompt, recorded or fresh; the
algorithm sees every choice of its k of them.  At step 0 the policy must be the reference.

Batches, noise and checkpoints are such that a run that was killed and resumed is the uninterrupted run;
mixed precision, accumulation, LoRA, TensorBoard, FSDP, DeepSpeed and `accelerate launch` are the Trainer's.
Weights are safetensors.  The state of the optimizer and of the random numbers is PyTorch's pickle, read with
`weights_only=True`: it may hold tensors and numbers, and code in it is refused, never run.
Fine-tuning and reward models use the plain Trainer, with the batches at the end of this file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled

from bandits import DPO
from bandits.samples import Samples
from llm.data import Row, completions_of
from llm.loss import VALUE, every_choice, update_loss
from llm.sources import NUMBER, Batch, OnPolicy, Source, collate_rows, with_preferences
from llm.tokens import pad

COMPLETE = "complete.json"  # written into a checkpoint when everything else is there
AT_START = 1e-2  # nats by which log pi may differ from log ref at step 0 in float32
VALUE_RATE = 1e-2  # learning rate of V, which has the scale of rewards, not of weights


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
        reuse = source.reuse if isinstance(source, OnPolicy) else 1
        if args.save_strategy == "steps" and args.save_steps % reuse:
            raise ValueError(
                f"checkpoints must come at multiples of reuse = {reuse}, where fresh samples are drawn, but "
                f"save_steps = {int(args.save_steps)}; choose a multiple, to be resumed exactly"
            )
        others = [name for name in rows.column_names if name != NUMBER]
        numbered = rows.select_columns(others).add_column(NUMBER, list(range(len(rows))))
        super().__init__(
            model=model,
            args=args,
            train_dataset=numbered,
            eval_dataset=numbered,  # the Trainer wants one; `evaluate` looks at `held_out`
            data_collator=collate_rows,
            callbacks=[MarkComplete(), *callbacks],
        )
        if isinstance(source, OnPolicy) and (self.is_fsdp_enabled or is_deepspeed_zero3_enabled()):
            raise ValueError(
                "sampling as it learns takes whole weights on every process, and each holds a part of them; "
                "leave FSDP or ZeRO-3 out, or learn from recorded samples"
            )
        self.model_accepts_loss_kwargs = False  # the loss is a mean over the batch: divide it accumulating
        self.algorithm, self.source, self.held_out = algorithm, source, held_out
        self._logged: list[Tensor] = []

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None) -> Tensor:
        """`alignment_loss` of the batch; what there is to watch is kept for the log."""
        batch = inputs | {"step": self.state.global_step}
        samples = self.source(model, batch)
        if self.state.global_step == 0:
            self._check_start(samples)
        groups = every_choice(samples, self.algorithm.k)
        with torch.no_grad():
            update = self.algorithm.update(groups)
            self._logged.append(_watched(samples, update.log_prob, batch["completion_mask"]))
        return update_loss(update, groups)

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """The Trainer's, with a learning rate of its own for a V in training."""
        optimizer = super().create_optimizer(model)
        named = (self.model if model is None else model).named_parameters()
        value = [p for name, p in named if f"{VALUE}." in name and p.requires_grad]
        if value:
            for group in optimizer.param_groups:
                group["params"] = [p for p in group["params"] if all(p is not v for v in value)]
            optimizer.add_param_group({"params": value, "lr": VALUE_RATE, "weight_decay": 0.0})
        return optimizer

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
            means = torch.stack(self._logged).mean(0).to(self.args.device)
            means = self.accelerator.gather(means[None]).mean(0)
            own = isinstance(self.source, OnPolicy) and self.source.only_own
            names = [(KL_AND_ENTROPY.get(name, name) if own else name) for name in WATCHED]
            logs |= {name: x for name, x in zip(names, means.tolist(), strict=True) if not math.isnan(x)}
            self._logged.clear()
        super().log(logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float]:
        """The numbers of `held_out`, logged."""
        if self.held_out is None:
            return {}
        inner = self.accelerator.unwrap_model(self.model).eval()  # activation checkpointing knows no cache
        found = {f"{metric_key_prefix}_{k}": float(v) for k, v in self.held_out(inner).items()}
        inner.train()
        self.log(dict(found))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, found)  # it has been done
        return found

    def _prepare_input(self, data: Any) -> Any:
        """Onto the device, uncast: DeepSpeed's bf16 would round log-probabilities to halves of a nat."""
        is_float = isinstance(data, Tensor) and data.is_floating_point()
        return data.to(self.args.device) if is_float else super()._prepare_input(data)


class MarkComplete(TrainerCallback):
    """Writes into a checkpoint that everything else is there."""

    def on_save(self, args, state, control, **_) -> None:
        """Called when the Trainer has written the checkpoint of this step."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / COMPLETE).write_text(json.dumps({"step": state.global_step}))


WATCHED = ("reward", "value", "length", "log_ratio", "sequence_nll", "off_policy") + (
    "coefficient_mean_abs",
    "coefficient_max_abs",
)
KL_AND_ENTROPY = {"log_ratio": "kl", "sequence_nll": "entropy"}  # what they are for the policy's own samples


def _watched(samples: Samples, coefficient: Tensor, completion_mask: Tensor) -> Tensor:
    """Means over the batch, NaN where there is none; off_policy is |pi/mu - 1|, length in tokens."""
    reward, V, log_mu = samples.reward, samples.value, samples.behavior_log_prob
    size = coefficient.abs()
    found = [
        None if reward is None else reward.mean(),
        None if V is None else V.mean(),
        completion_mask.sum(-1).float().mean(),
        samples.log_ratio.mean(),
        -samples.log_prob.mean(),
        None if log_mu is None else (samples.log_prob - log_mu).expm1().abs().mean(),
        size.mean(),
        size.max(),
    ]
    return torch.tensor([math.nan if x is None else float(x) for x in found])


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
    progress: bool = False,
) -> TrainingArguments:
    """The Trainer's arguments with this project's conventions: linear decay, clipping at 1, no surprises.

    Raises:
        ValueError: `tensorboard` is asked for and not installed.
    """
    if tensorboard and find_spec("tensorboard") is None:
        raise ValueError("TensorBoard logs need the package tensorboard; install it, or read log.jsonl")
    args = TrainingArguments(
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
        logging_steps=min(log_every, steps),
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
        ddp_find_unused_parameters=False,  # every weight has a gradient
        disable_tqdm=not progress,
        use_cpu=not torch.cuda.is_available(),
    )
    if args.n_gpu > 1:
        args._n_gpu = 1  # replicas of nn.DataParallel have no output embedding; `accelerate launch` takes all
    return args


def fine_tuning_batch(rows: Sequence[Row]) -> Batch:
    """Demonstrations as the plain Trainer wants them, with logits where a completion is predicted only.

    Sequences end together, so that the last columns hold every completion: `logits_to_keep` of them.
    """
    tokens, mask = pad([[*row["prompt_ids"], *row["completion_ids"][0]] for row in rows], left=True)
    predicted = 1 + max(len(row["completion_ids"][0]) for row in rows)
    labels = tokens[:, -predicted:].clone()
    for label, row in zip(labels, rows, strict=True):
        label[: predicted - len(row["completion_ids"][0])] = -100
    return {
        "input_ids": tokens,
        "attention_mask": mask.long(),
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        "labels": labels,
        "logits_to_keep": predicted,
    }


def comparison_batch(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Row]], Batch]:
    """Preferences as a reward model reads them: all chosen texts, then all rejected ones."""

    def collate_comparisons(rows: Sequence[Row]) -> Batch:
        texts = [row["prompt"] + completions_of(row)[i] for i in (0, 1) for row in rows]
        return dict(tokenizer(texts, padding=True, padding_side="right", return_tensors="pt"))

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
