"""The steps of alignment, each from one folder to the next, each resumed where it was killed.

    fine_tune      demonstrations          -> a policy, the reference of what follows
    train_reward   comparisons             -> a reward model
    align          scored rows or prompts  -> a policy better than the reference

Sampling is `llm.generate.write_scored`.  Each returns the folder of its model, and does not do again what
is there.  All raise ValueError where the folder was made with other settings (`settings`: what decides the
result), a text is longer than the model's context, or training went wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from llm.beside import VALUE
from llm.files import read_json, write_json
from llm.padding import check_context
from llm.rewards import load_scorer
from llm.run_folder import claimed, save_model
from llm.sources import Recorded, Source, with_reference_log_probs
from llm.tokens import lengths_of
from llm.train import AlignmentTrainer, RewardTrainer, comparison_batch, fine_tuning_batch
from llm.trainer import CheckedTrainer, run

CACHED = "reference_log_probs"
MODEL = "model"


def fine_tune(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    args: TrainingArguments,
    settings: Mapping[str, Any],
) -> Path:
    """Supervised fine-tuning on encoded demonstrations, by the plain Trainer."""
    with claimed(folder, settings):
        if not (folder / MODEL).exists():
            check_context(model.config, lengths_of(rows))
            how = {"args": args, "train_dataset": rows, "data_collator": fine_tuning_batch}
            _train(CheckedTrainer(model=model, **how), folder, model, tokenizer)
    return folder / MODEL


def train_reward(
    folder: Path,
    start: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    args: TrainingArguments,
    settings: Mapping[str, Any],
) -> Path:
    """A reward model from a causal language model and encoded preferences, by the plain Trainer."""
    with claimed(folder, settings):
        if not (folder / MODEL).exists():
            model = load_scorer(str(start), fresh=True).model
            check_context(model.config, lengths_of(rows))
            how = {"args": args, "train_dataset": rows, "data_collator": comparison_batch}
            trainer = RewardTrainer(model=model, **how)
            trainer.model_accepts_loss_kwargs = False  # a mean over the batch: divide it accumulating
            _train(trainer, folder, model, tokenizer)
    return folder / MODEL


def align(
    folder: Path,
    algorithm: Any,
    source: Source,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    args: TrainingArguments,
    settings: Mapping[str, Any],
    *,
    held_out: Callable[[Any], Mapping[str, float]] | None = None,
    lora_rank: int | None = None,
) -> Path:
    """Train the policy by an algorithm of `bandits`.

    Args:
        algorithm, source, rows, args, held_out: as for `AlignmentTrainer`; recorded rows that come without
            `reference_log_probs` get those of the model as it is, once a folder.
        model: equal to the reference; with a value (`attach_value`), which is not saved in the end.
        lora_rank: train low-rank adapters only (needs `peft`), merged into the weights at the end.
    """
    with claimed(folder, settings):
        if (folder / MODEL).exists():
            return folder / MODEL
        if isinstance(source, Recorded) and CACHED not in rows.column_names:
            rows = _with_reference(folder / f"{CACHED}.json", rows, model)
        policy = model if lora_rank is None else with_adapters(model, lora_rank)
        trainer = AlignmentTrainer(policy, algorithm, source, args, rows, held_out=held_out)
        if lora_rank is not None and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
            raise ValueError("adapters are merged into whole weights; leave lora_rank, FSDP or DeepSpeed out")
        _train(trainer, folder, policy, tokenizer)
    return folder / MODEL


def _train(trainer: CheckedTrainer, folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Run, and save whole weights, by one process while the others wait."""
    run(trainer, folder)
    model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model  # adapters
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else model.state_dict()
    if trainer.is_world_process_zero():
        kept = {name: tensor for name, tensor in weights.items() if not name.startswith(VALUE)}
        save_model(folder, model, tokenizer, kept)
    trainer.accelerator.wait_for_everyone()


def _with_reference(path: Path, rows: Dataset, model: PreTrainedModel) -> Dataset:
    """The rows with reference log-probabilities, computed once and kept in a file."""
    if not path.exists():
        rows = with_reference_log_probs(rows, model)
        write_json(path, {CACHED: list(rows[CACHED])})
        return rows
    found = read_json(path).get(CACHED)
    if not isinstance(found, list) or len(found) != len(rows):
        raise ValueError(f"{path} is corrupt: it must hold {len(rows)} rows; delete it, to be made again")
    return rows.add_column(CACHED, found)


def with_adapters(model: PreTrainedModel, rank: int) -> Any:
    """The model with trainable low-rank adapters, which change nothing at the start.

    Raises:
        ValueError: `peft` is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        told = "lora_rank needs the package peft; install it (the extra `lora`), or train all weights"
        raise ValueError(told) from error
    transposed = model.config.model_type == "gpt2"  # how its layers hold their weights
    beside = [VALUE] if hasattr(model, VALUE) else None
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft asks for an old name
        config = LoraConfig(r=rank, lora_alpha=2 * rank, fan_in_fan_out=transposed, modules_to_save=beside)
        return get_peft_model(model, config)
