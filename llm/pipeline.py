"""The steps of alignment, each from one folder to the next, each resumed where it was killed.

    fine_tune      demonstrations          -> a policy, the reference of what follows
    train_reward   comparisons             -> a reward model
    align          scored rows or prompts  -> a policy better than the reference

Sampling is `llm.generate.write_scored`.  A step whose result is there is not done again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

from llm.beside import VALUE
from llm.files import read_json, write_json
from llm.model import load_model
from llm.padding import check_context
from llm.rewards import Scorer, load_scorer
from llm.run_folder import claimed, save_model
from llm.sources import Recorded, Source, with_reference_log_probs
from llm.tokens import lengths_of
from llm.train import AlignmentTrainer, RewardTrainer, comparison_batch, fine_tuning_batch
from llm.trainer import CheckedTrainer, run

CACHED = "reference_log_probs"


def fine_tune(
    folder: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    args: TrainingArguments,
    settings: Mapping[str, Any],
) -> PreTrainedModel:
    """Supervised fine-tuning on encoded demonstrations, by the plain Trainer; the tuned model.

    Raises:
        ValueError: the folder was made with other settings, or training went wrong.
    """
    folder = Path(folder)
    with claimed(folder, settings):
        if (folder / "model").exists():
            return load_model(str(folder / "model"))[0]
        check_context(model.config, lengths_of(rows))
        trainer = CheckedTrainer(model=model, args=args, train_dataset=rows, data_collator=fine_tuning_batch)
        run(trainer, folder)
        _save(trainer, folder, model, tokenizer)
    return model.eval()


def train_reward(
    folder: str | Path,
    start: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    args: TrainingArguments,
    settings: Mapping[str, Any],
) -> Scorer:
    """A reward model from a causal language model and encoded preferences, by the plain Trainer.

    Raises:
        ValueError: the folder was made with other settings, a text is longer than the model's context, or
            training went wrong.
    """
    folder = Path(folder)
    with claimed(folder, settings):
        if (folder / "model").exists():
            return load_scorer(str(folder / "model"))
        model = load_scorer(str(start), fresh=True).model
        check_context(model.config, lengths_of(rows))
        trainer = RewardTrainer(model=model, args=args, train_dataset=rows, data_collator=comparison_batch)
        trainer.model_accepts_loss_kwargs = False  # a mean over the batch: divide it accumulating
        run(trainer, folder)
        _save(trainer, folder, model, tokenizer)
    return load_scorer(str(folder / "model"))


def align(
    folder: str | Path,
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
) -> PreTrainedModel:
    """Train the policy by an algorithm of `bandits`; the aligned model.

    Args:
        folder: of this run: checkpoints, log, model.
        algorithm, source, rows, args, held_out: as for `AlignmentTrainer`; recorded rows that come without
            `reference_log_probs` get those of the model as it is, once a folder.
        model: equal to the reference; with a value (`attach_value`), which is not saved in the end.
        tokenizer: saved with the model.
        settings: what decides the result.
        lora_rank: train low-rank adapters only (needs `peft`), merged into the weights at the end.

    Raises:
        ValueError: the folder was made with other settings, the policy does not start at the reference, or
            training went wrong.
    """
    folder = Path(folder)
    with claimed(folder, settings):
        if (folder / "model").exists():
            return load_model(str(folder / "model"))[0]
        if isinstance(source, Recorded) and CACHED not in rows.column_names:
            rows = _with_reference(folder / f"{CACHED}.json", rows, model)
        policy = model if lora_rank is None else with_adapters(model, lora_rank)
        trainer = AlignmentTrainer(policy, algorithm, source, args, rows, held_out=held_out)
        sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        if sharded and lora_rank is not None:
            raise ValueError("adapters are merged into whole weights; leave lora_rank, FSDP or DeepSpeed out")
        run(trainer, folder)
        merged = model if lora_rank is None else policy.merge_and_unload()
        gather = trainer.accelerator.get_state_dict
        weights = gather(trainer.model_wrapped) if sharded else merged.state_dict()
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(VALUE)}
        _save(trainer, folder, merged, tokenizer, weights)
    if sharded:
        return load_model(str(folder / "model"))[0]
    if hasattr(merged, VALUE):
        delattr(merged, VALUE)
    return merged.eval()


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
        raise ValueError(
            "lora_rank needs the package peft; install it (the extra `lora`), or train all weights"
        ) from error
    transposed = model.config.model_type == "gpt2"  # how its layers hold their weights
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft asks for an old name
        beside = [VALUE] if hasattr(model, VALUE) else None
        config = LoraConfig(r=rank, lora_alpha=2 * rank, fan_in_fan_out=transposed, modules_to_save=beside)
        return get_peft_model(model, config)


def _save(
    trainer: Trainer,
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """The model, by one process while the others wait."""
    if trainer.is_world_process_zero():
        save_model(folder, model, tokenizer, weights)
    trainer.accelerator.wait_for_everyone()
