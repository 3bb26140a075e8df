"""Training: a Trainer whose loss is an algorithm of `bandits` on samples of a source.

A source (`llm.sources`) turns a batch into `Samples` of K completions a prompt, recorded or fresh; the
algorithm sees every choice of its k of them.  At step 0 the policy must be the reference.

Batches, noise and checkpoints are such that a run that was killed and resumed is the uninterrupted run;
mixed precision, accumulation, LoRA, TensorBoard, FSDP, DeepSpeed and `accelerate launch` are the Trainer's.
Fine-tuning and reward models use the plain Trainer, with the batches at the end of this file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import TrainerCallback, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled

from bandits import DPO
from bandits.samples import Samples, TokenUpdate, Update
from llm.algorithms import needs
from llm.beside import VALUE
from llm.judges import classified
from llm.layouts import Row
from llm.loss import every_choice, update_loss
from llm.sources import NUMBER, Batch, OnPolicy, Source, collate_rows, with_preferences
from llm.tokens import pad
from llm.trainer import CheckedTrainer

AT_START = 1e-2  # nats by which log pi may differ from log ref at step 0 in float32
VALUE_RATE = 1e-2  # learning rate of V, which has the scale of rewards, not of weights


class AlignmentTrainer(CheckedTrainer):
    """A Trainer whose loss is `alignment_loss` of an algorithm on samples of a source.

    The model equals the reference at the start, and the rows are encoded; `held_out`, model -> numbers, is
    called whenever the Trainer evaluates.
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
                f"save_every = {int(args.save_steps)}; choose a multiple, to be resumed exactly"
            )
        others = [name for name in rows.column_names if name != NUMBER]
        numbered = rows.select_columns(others).add_column(NUMBER, list(range(len(rows))))
        super().__init__(
            model=model,
            args=args,
            train_dataset=numbered,
            eval_dataset=numbered,  # the Trainer wants one; `evaluate` looks at `held_out`
            data_collator=collate_rows,
            callbacks=list(callbacks),
        )
        if isinstance(source, OnPolicy) and (self.is_fsdp_enabled or is_deepspeed_zero3_enabled()):
            raise ValueError(
                "sampling as it learns takes whole weights on every process, and each holds a part of them; "
                "leave FSDP or ZeRO-3 out, or learn from recorded samples"
            )
        self.model_accepts_loss_kwargs = False  # the loss is a mean over the batch: divide it accumulating
        self.algorithm, self.source, self.held_out = algorithm, source, held_out
        self._compares = "preference" in needs(algorithm).fields

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """`alignment_loss` of the batch; what there is to watch is kept for the log."""
        batch = inputs | {"step": self.state.global_step}
        samples = self.source(model, batch)
        if self.state.global_step == 0:
            allowed = AT_START if not (self.args.bf16 or self.args.fp16) else 100 * AT_START
            check_start(samples.log_ratio.detach(), "a completion of the first batch", allowed)
        groups = every_choice(samples, self.algorithm.k)
        with torch.no_grad():
            update = self.algorithm.update(groups)
            self.watch(self._watched(samples, groups, update, batch["completion_mask"]))
        return update_loss(update, groups)

    def _watched(
        self, samples: Samples, groups: Samples, update: Update | TokenUpdate, completion_mask: Tensor
    ) -> dict[str, Tensor]:
        """Means over the batch of what there is; off_policy is |pi/mu - 1|, length in tokens."""
        own = isinstance(self.source, OnPolicy) and self.source.only_own  # then these are KL and entropy
        size = (update.token_log_prob if isinstance(update, TokenUpdate) else update.log_prob).abs()
        log_mu = samples.behavior_log_prob
        found = {
            "reward": samples.reward,
            "value": samples.value,
            "length": completion_mask.sum(-1).float(),
            "kl" if own else "log_ratio": samples.log_ratio,
            "entropy" if own else "sequence_nll": -samples.log_prob,
            "off_policy": None if log_mu is None else (samples.log_prob - log_mu).expm1().abs(),
            "coefficient_mean_abs": size,
            "coefficient_max_abs": size.max(),
        }
        if self._compares:
            found |= order(samples.log_ratio, samples.preference)
        if hasattr(self.algorithm, "loss"):
            found["loss"] = self.algorithm.loss(groups)
        return {name: x.mean() for name, x in found.items() if x is not None}

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The Trainer's, with a learning rate of its own for a V in training."""
        optimizer = super().create_optimizer(model)
        named = (self.model if model is None else model).named_parameters()
        value = [p for name, p in named if f"{VALUE}." in name and p.requires_grad]
        if value:
            for group in optimizer.param_groups:
                group["params"] = [p for p in group["params"] if all(p is not v for v in value)]
            optimizer.add_param_group({"params": value, "lr": VALUE_RATE, "weight_decay": 0.0})
        return optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The loss is the algorithm's own, where it has one: what is differentiated instead means nothing."""
        if "loss" in logs:
            logs["surrogate"] = logs.pop("loss")
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
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


def check_start(log_ratio: Tensor, what: str, allowed: float = AT_START) -> None:
    """ValueError if log pi - log ref is more than rounding: at step 0 the policy is the reference."""
    difference = log_ratio.abs().max()
    if not difference <= allowed:
        raise ValueError(
            f"at step 0 the policy must be the reference, but log pi - log ref is {difference:.3g} "
            f"for {what} (at most {allowed} is rounding); start from the model that the reference "
            "log-probabilities were computed with, dropout off"
        )


def order(score: Tensor, preference: Tensor) -> dict[str, Tensor]:
    """By how much, and how often, the preferred one of two has the higher score; a tie counts one half.

    From log pi/ref or a reward, (..., k), and p(y_i beats y_j), (..., k, k); NaN where nothing is preferred.

    Example:
        >>> order(torch.tensor([2.0, 0.5]), torch.tensor([[0.5, 1.0], [0.0, 0.5]]))
        {'margin': tensor(1.5000), 'accuracy': tensor(1.)}
    """
    difference = (score[..., :, None] - score[..., None, :])[preference > 0.5]
    return {"margin": difference.mean(), "accuracy": (0.5 + 0.5 * difference.sign()).mean()}


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


def comparison_batch(rows: Sequence[Row]) -> Batch:
    """Preferences as a reward model reads them: all chosen texts, then all rejected ones."""
    tokens, mask = pad([[*row["prompt_ids"], *row["completion_ids"][i]] for i in (0, 1) for row in rows])
    return {"input_ids": tokens, "mask": mask}


class RewardTrainer(CheckedTrainer):
    """The plain Trainer with the Bradley-Terry likelihood of comparisons, -log p(chosen beats rejected).

    It is DPO's loss with the reward in the place of beta log pi/ref: the same object serves.
    """

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The mean over comparisons; the chosen texts are the first half of the batch."""
        reward = torch.stack(classified(model, **inputs)[:, 0].chunk(2), dim=-1)  # (B, 2)
        pairs = with_preferences(Samples(log_prob=reward, reference_log_prob=torch.zeros_like(reward)))
        self.watch(order(reward.detach(), pairs.preference))
        return DPO(beta=1.0).loss(pairs).mean()
