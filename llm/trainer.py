"""`transformers.Trainer` that stops where it would go wrong in silence, and goes on where it was killed.

Numbers that are not finite stop a run before they are saved.  A checkpoint counts when `complete.json` lists
each of its files with size and hash; one that is damaged is passed over for the one before.  It is logged
at every checkpoint, so that the log of a resumed run is that of an uninterrupted one.

Weights are safetensors.  The state of the optimizer and of the random numbers is PyTorch's pickle, read with
`weights_only=True`: it may hold tensors and numbers, and code in it is refused, never run.
"""

import json
import math
import pickle
import shutil
import sys
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from llm.files import COMPLETE, cannot_write, damage, mark_complete
from llm.head import unwrapped
from llm.model import Diverged, not_finite
from llm.run_folder import write_log


class CheckedTrainer(Trainer):
    """The Trainer, whose loss, weights and checkpoints are finite and whole."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The Trainer's; ValueError if the loss is not finite."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not loss.isfinite():
            raise self._diverged(f"the loss is {loss.item()}")
        return loss

    @cached_property
    def seen(self) -> list[dict[str, Tensor]]:
        """What was watched since the last line of the log."""
        return []

    def watch(self, numbers: Mapping[str, Tensor]) -> None:
        """Numbers of a batch, whose means go into the next line of the log; NaN where there is none."""
        self.seen.append({name: x.detach().float() for name, x in numbers.items()})

    def check_weights(self) -> None:
        """ValueError if weights are not finite, or the numbers that they give for a few tokens."""
        bad = not_finite(self.model)
        if bad is None and not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            inner = unwrapped(self.model)
            tokens = torch.arange(min(8, inner.config.vocab_size), device=self.args.device)
            with torch.no_grad():
                bad = None if inner(input_ids=tokens[None]).logits.isfinite().all() else "what the model says"
        if bad is not None:
            raise self._diverged(f"{bad} is not finite")

    def _diverged(self, what: str) -> Diverged:
        rate = self.args.learning_rate
        return Diverged(
            f"training went wrong: {what} at step {self.state.global_step}, and nothing of it is saved; "
            f"take a learning_rate below {rate:g}"
        )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Whole and on the disk, or an error and nothing half-written."""
        self.check_weights()
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        (folder / COMPLETE).unlink(missing_ok=True)
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                mark_complete(folder)
        except (OSError, RuntimeError, SafetensorError) as error:
            told = cannot_write(folder, error)
            shutil.rmtree(folder, ignore_errors=True)
            raise told from error

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The Trainer's, with what was watched; the mean loss is of all steps, also before it was resumed."""
        if self.seen and "learning_rate" in logs:
            table = torch.stack([torch.stack(list(numbers.values())) for numbers in self.seen])
            means = self.accelerator.gather(table.nanmean(0)[None].to(self.args.device)).nanmean(0).tolist()
            logs |= {name: x for name, x in zip(self.seen[0], means, strict=True) if not math.isnan(x)}
            self.seen.clear()
        if "train_loss" in logs:
            losses = {x["step"]: x["loss"] for x in self.state.log_history if "loss" in x}
            steps = np.diff([0, *losses])
            del logs["train_loss"]
            if losses:
                logs["train_loss"] = float(np.average(list(losses.values()), weights=steps))
        super().log(logs, start_time)


class LogAtCheckpoints(TrainerCallback):
    """No step is between the last line of the log and a checkpoint, or the end."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log = control.should_log or control.should_save or control.should_training_stop


def run(trainer: CheckedTrainer, folder: Path) -> None:
    """Train from the last good checkpoint to the end, and write the log.

    Raises:
        ValueError: a checkpoint holds more than tensors and numbers, or something became infinite.
        OSError: a checkpoint cannot be written.
    """
    trainer.remove_callback(PrinterCallback)  # the log is in the folder
    trainer.add_callback(LogAtCheckpoints())
    resume = last_checkpoint(folder, say=trainer.is_world_process_zero())
    trainer.args.eval_on_start = trainer.args.eval_on_start and resume is None
    try:
        trainer.train(resume_from_checkpoint=resume)
    except (pickle.UnpicklingError, SafetensorError, EOFError, json.JSONDecodeError) as error:
        raise ValueError(
            f"the checkpoint {resume} is corrupt or holds more than tensors and numbers "
            f"({str(error).strip().splitlines()[0]}); delete it to go on from the one before"
        ) from error
    finally:
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, ProgressCallback) and callback.training_bar is not None:
                callback.training_bar.close()  # an error begins on a line of its own
    trainer.check_weights()
    if trainer.is_world_process_zero():
        write_log(folder, trainer.state.log_history)


def last_checkpoint(folder: str | Path, *, say: bool = False) -> str | None:
    """The newest checkpoint whose files are as they were written; None if there is none."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()]
    for path in sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        wrong = damage(path)
        if wrong is None:
            return str(path)
        if say:
            print(f"{path.name} is passed over: {wrong}", file=sys.stderr)
    return None


CONVENTIONS = {
    "save_total_limit": 2,
    "logging_nan_inf_filter": False,  # they stop the run
    "remove_unused_columns": False,
    "ddp_find_unused_parameters": False,  # every weight has a gradient
}


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
        ValueError: a number is out of range, or `tensorboard` is asked for and not installed.
    """
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be positive and finite, but is {learning_rate}")
    if tensorboard and find_spec("tensorboard") is None:
        raise ValueError("TensorBoard logs need the package tensorboard; install it, or read log.jsonl")
    size = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": accumulation}
    rate = {"learning_rate": learning_rate, "warmup_steps": warmup, "max_steps": steps, "bf16": bf16}
    logs: dict[str, Any] = {"logging_steps": min(log_every, steps), "disable_tqdm": not progress}
    logs["report_to"] = "tensorboard" if tensorboard else "none"
    when = _every("eval", evaluate_every) | _every("save", save_every)
    when["eval_on_start"] = evaluate_every is not None
    cuda = torch.cuda.is_available()
    device = {"use_cpu": not cuda, "dataloader_pin_memory": cuda}
    args = TrainingArguments(str(folder), seed=seed, **size, **rate, **logs, **when, **device, **CONVENTIONS)
    if args.n_gpu > 1:
        args._n_gpu = 1  # replicas of nn.DataParallel have no output embedding; `accelerate launch` takes all
    return args


def _every(what: str, steps: int | None) -> dict[str, Any]:
    every = {} if steps is None else {f"{what}_steps": steps}
    return {f"{what}_strategy": "steps" if every else "no", **every}
