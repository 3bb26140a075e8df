"""How does a step get from one folder to the next, resumed where it was killed?

What is trained is in `folder`/model in the end, and not trained again if it is there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, set_seed

from llm.beside import VALUE
from llm.files import read_json, write_json
from llm.run_folder import claimed, save_model
from llm.sources import Recorded, Source, with_reference_log_probs
from llm.train import AlignmentTrainer, check_start
from llm.trainer import CheckedTrainer, last_checkpoint, run

CACHED = "reference_log_probs"
CHECKED = 128  # rows, a second: who names another reference is found at each of them


def trained(
    folder: Path,
    settings: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    trainer: Callable[[], CheckedTrainer],
    *,
    seed: int,
) -> Path:
    """The folder of the model: of whole weights, adapters merged and V left out, with the tokenizer.

    Raises:
        ValueError: the folder was made with other settings, which decide the result, or training went wrong.
        OSError: another process writes there, or the disk is full.
    """
    found = folder / "model"
    with claimed(folder, settings):
        if found.exists():
            return found
        set_seed(seed)  # what is new of a model begins at random
        made = trainer()
        run(made, folder)
        sharded = made.is_fsdp_enabled or made.is_deepspeed_enabled
        model = made.accelerator.unwrap_model(made.model)
        model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
        weights = made.accelerator.get_state_dict(made.model_wrapped) if sharded else model.state_dict()
        if made.is_world_process_zero():
            kept = {name: tensor for name, tensor in weights.items() if not name.startswith(VALUE)}
            save_model(folder, model, tokenizer, kept)
        made.accelerator.wait_for_everyone()
    return found


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
    """The folder of a policy trained by an algorithm of `bandits`.

    Args:
        algorithm, source, rows, args, held_out: as for `AlignmentTrainer`; recorded rows that come without
            `reference_log_probs` get those of the model as it is, once a folder, others are checked.
        model: equal to the reference; with a value (`attach_value`), which is not saved in the end.
        lora_rank: train low-rank adapters only (needs `peft`), merged into the weights at the end.
    """

    def trainer() -> AlignmentTrainer:
        given = _with_reference(folder, rows, model) if isinstance(source, Recorded) else rows
        policy = model if lora_rank is None else with_adapters(model, lora_rank)
        made = AlignmentTrainer(policy, algorithm, source, args, given, held_out=held_out)
        if lora_rank is not None and (made.is_fsdp_enabled or made.is_deepspeed_enabled):
            raise ValueError("adapters are merged into whole weights; leave lora_rank, FSDP or DeepSpeed out")
        return made

    return trained(folder, settings, tokenizer, trainer, seed=args.seed)


def _with_reference(folder: Path, rows: Dataset, model: PreTrainedModel) -> Dataset:
    """The rows with reference log-probabilities: those they came with, checked before the first step at
    up to `CHECKED` rows all over the data, or the model's, computed once and kept in a file.
    """
    path = folder / f"{CACHED}.json"
    if CACHED in rows.column_names:
        if last_checkpoint(folder) is None:
            places = np.unique(np.linspace(0, len(rows) - 1, CHECKED).round().astype(int))
            some = rows.select(places)
            now = with_reference_log_probs(some.remove_columns(CACHED), model)
            for i, own, its in zip(places, now[CACHED], some[CACHED], strict=True):
                check_start(torch.tensor(own) - torch.tensor(its), f"a completion of row {i}")
        return rows
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
