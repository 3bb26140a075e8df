"""What can be chosen on the command line: algorithms, rewards, and the options of each command.

An option is (kind, meaning).  Its kind is a default; `bool`, a switch; another type, of what may be left out;
`...`, what must be given; or a list of one of these, if there may be several.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.sizes import SIZES

OFFLINE = ("CoPG", "DPO", "IPO", "DRO", "DROV", "ALoL", "SRPO")
ONLINE = ("RLOO", "ReMax", "PPO", "GRPO", "OnlineIPO", "OnlineDPO", "NashMD")
REWARDS = ("rouge_l", "length", "coverage", "density")

Options = Mapping[str, tuple[Any, str]]
METAVARS = {int: "N", float: "X", str: "TEXT"}

COMMON: Options = {"seed": (0, "same seed, same bits"), "quiet": (bool, "no progress bars")}
DATA: Options = {
    "data": (..., "file, folder or hub id of the rows"),
    "rows": (int, "use only so many rows"),
    "max-prompt-tokens": (256, "longer prompts lose the end of their text"),
    "max-completion-tokens": (64, "longer completions are refused"),
    "skip-long": (bool, "leave rows with too long completions out"),
    "skip-bad": (bool, "leave bad rows out instead of refusing the data"),
    "as-is": (bool, "leave completions as they are: not one space in front of each and none behind"),
}
TRAINING_OPTIONS: Options = {
    "steps": (500, "updates of the weights"),
    "batch-size": (16, "prompts in a batch, on each process"),
    "accumulation": (1, "batches in an update"),
    "learning-rate": (5e-5, "at its highest; then it falls to zero"),
    "save-every": (100, "steps between checkpoints"),
    "log-every": (10, "steps between lines of the log"),
    "bf16": (bool, "bfloat16 autocast"),
    "tensorboard": (bool, "also log for TensorBoard"),
}
SCORING: Options = {
    "reward": (["rouge_l"], f"{', '.join(REWARDS)}, or a model that judges; each may have =weight"),
    "max-new-tokens": (48, "longest sample"),
}
DEMO: Options = {
    "quick": (bool, "2 minutes instead of 7: smaller everything"),
    "size": ("full", f"{', '.join(SIZES)}, or a JSON file of changes"),
    "data": (str, "prompts and completions instead of docstrings"),
    "held-out": (str, "with --data: prompts and completions to measure on"),
    "tokenizer": (str, "hub id or folder; without one it is trained"),
}
SFT: Options = {
    **DATA,
    **TRAINING_OPTIONS,
    "steps": (1000, "updates of the weights"),
    "model": (str, "hub id or folder; without one a new GPT-2 is made"),
    "tokenizer": (str, "of the model, if it is not with it; else trained"),
    "vocabulary": (5000, "of a trained tokenizer"),
    "layers": (4, "of a new model"),
    "width": (256, "of a new model"),
    "heads": (4, "of a new model"),
}
REWARD: Options = {
    **DATA,
    **TRAINING_OPTIONS,
    "model": (..., "causal language model to start from"),
    "test-share": (0.1, "share of comparisons held out"),
}
SAMPLE: Options = {
    **DATA,
    **SCORING,
    "model": (..., "who samples, and the reference of what follows"),
    "k": (4, "completions of each prompt"),
    "shard-size": (256, "prompts in a file"),
}
ALIGN: Options = {
    **DATA,
    **TRAINING_OPTIONS,
    **SCORING,
    "learning-rate": (1e-5, "at its highest; then it falls to zero"),
    "model": (..., "the reference, where training starts"),
    "algorithm": (
        "CoPG",
        f"on recorded rows {', '.join(OFFLINE)}; sampling as they learn {', '.join(ONLINE)}; "
        "any other of bandits.ALGORITHMS, or your own as module:Class, by what the rows hold",
    ),
    "set": ([str], "other hyper-parameters, as name=value"),
    "beta": (0.1, "strength of the KL to the reference"),
    "k": (4, "completions of each prompt, when sampling (NashMD: half of them the opponent's)"),
    "reuse": (1, "when sampling: steps that use the same samples"),
    "clip": (float, "PPO, GRPO, ALoL: how far the likelihood ratio may go from 1; else 0.2, 0.2, 0.9"),
    "mixture": (0.125, "NashMD: weight of the reference in the opponent"),
    "revision": ("\n\nRevised TL;DR:", "SRPO: what asks for a revision"),
    "lora-rank": (int, "train low-rank adapters only (needs peft)"),
    "gradient-checkpointing": (bool, "less memory, more time"),
    "held-out": (str, "prompts and completions to evaluate on along the way"),
    "evaluate-every": (100, "steps between evaluations, with --held-out"),
}
EVALUATE: Options = {
    **DATA,
    **SCORING,
    "model": ([...], "policies to compare"),
    "reference": (..., "the reference"),
}


def counted(text: str) -> int:
    """A number of things."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, but is {text!r}")
    return int(text)


def folder(text: str) -> Path:
    """A folder to write to."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a folder, but is empty")
    return Path(text)


def add_options(parser: argparse.ArgumentParser, options: Options) -> None:
    """Put options on a parser, each default in its help."""
    for name, (kind, meaning) in options.items():
        one, several = (kind[0], {"nargs": "+"}) if isinstance(kind, list) else (kind, {})
        if one is bool:
            parser.add_argument(f"--{name}", help=meaning, action="store_true")
            continue
        kind_of = str if one is ... else one if isinstance(one, type) else type(one)
        how: dict[str, Any] = {"type": counted if kind_of is int and name != "seed" else kind_of} | several
        if one is ...:
            how["required"] = True
        elif isinstance(one, type):
            how["default"] = [] if several else None
        else:
            how["default"], meaning = kind, f"{meaning} [{str(one).strip()}]"
        parser.add_argument(f"--{name}", help=meaning, metavar=METAVARS[kind_of], **how)
