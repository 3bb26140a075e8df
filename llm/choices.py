"""What can be chosen on the command line: algorithms, rewards, and the options of each command.

An option is (kind, meaning).  Its kind is a default; a list, if there may be several; `bool`, a switch;
another type, of what may be left out; or `...`, what must be given.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import bandits
from llm.corpus import TRAINING, VALIDATION
from llm.rewards import NAMED
from llm.sizes import SIZES
from llm.sources import mean_reward, trained_value

Maker = tuple[Callable[..., Any], tuple[str, ...]]  # an algorithm, and the options that it takes

OFFLINE: dict[str, Maker] = {
    "CoPG": (bandits.CoPG, ("beta",)),
    "DPO": (bandits.DPO, ("beta",)),
    "IPO": (bandits.IPO, ("beta",)),
    "DRO": (bandits.DRO, ("beta",)),
    "DROV": (bandits.DROV, ("beta",)),
    "ALoL": (bandits.ALoL, ("clip",)),
    "SRPO": (bandits.SRPO, ("beta",)),
}
ONLINE: dict[str, Maker] = {
    "RLOO": (bandits.RLOO, ("beta", "k")),
    "ReMax": (bandits.ReMax, ("beta",)),
    "PPO": (partial(bandits.PPO, baseline=bandits.behavior_value), ("beta", "k", "clip")),
    "GRPO": (bandits.GRPO, ("beta", "k", "clip")),
    "OnlineIPO": (bandits.OnlineIPO, ("beta",)),
    "OnlineDPO": (bandits.DPO, ("beta",)),
    "NashMD": (bandits.NashMD, ("beta", "mixture")),
}
VALUES = {"DROV": trained_value, "ALoL": mean_reward}
PACKAGES = {"training": TRAINING, "validation": VALIDATION}
QUICK_PACKAGES = {"training": ("python", "numpy"), "validation": ("networkx",)}

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
    "reward": (["rouge_l"], f"{', '.join(NAMED)}, or a model that judges; each may have =weight"),
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
        f"on recorded rows {', '.join(OFFLINE)}; sampling as they learn {', '.join(ONLINE)}",
    ),
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
    "model": ([], "policies to compare"),
    "reference": (..., "the reference"),
}


def counted(text: str) -> int:
    """A number of things."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, but is {text!r}")
    return int(text)


def add_options(parser: argparse.ArgumentParser, options: Options) -> None:
    """Put options on a parser, each default in its help."""
    for name, (kind, meaning) in options.items():
        if kind is bool:
            how: dict[str, Any] = {"action": "store_true"}
        elif kind is ...:
            how = {"required": True, "metavar": METAVARS[str]}
        elif isinstance(kind, type):
            how = {"type": counted if kind is int else kind, "metavar": METAVARS[kind]}
        elif kind == []:
            how = {"nargs": "+", "required": True, "metavar": METAVARS[str]}
        else:
            one, count = (kind[0], "+") if isinstance(kind, list) else (kind, None)
            read = counted if type(one) is int and name != "seed" else type(one)
            how = {"type": read, "default": kind, "nargs": count, "metavar": METAVARS[type(one)]}
            meaning = f"{meaning} [{str(one).strip()}]"
        parser.add_argument(f"--{name}", help=meaning, **how)


def algorithm(options: argparse.Namespace) -> Any:
    """The algorithm that was chosen, with the options that it takes and that were given.

    Raises:
        ValueError: there is none of that name, or it refuses an option.
    """
    known = OFFLINE | ONLINE
    if options.algorithm not in known:
        raise ValueError(f"algorithm must be one of {', '.join(known)}, but is {options.algorithm!r}")
    if options.algorithm == "PPO" and options.k < 2:
        raise ValueError("PPO's baseline is the mean over k samples; with k = 1 nothing is left, take k >= 2")
    made, names = known[options.algorithm]
    given = {name: getattr(options, name) for name in names}
    return made(**{name: value for name, value in given.items() if value is not None})
