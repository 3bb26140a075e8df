"""What can be chosen on the command line?  The options of each command, without what takes seconds to import.

An option is (kind, meaning).  Its kind is a default; `bool`, a switch; another type, of what may be left out;
`...`, what must be given; or a list of one of these, if there may be several.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.demo.sizes import SIZES
from llm.experiment.plan import FIRST, METHODS

REWARDS = ("rouge_l", "length", "coverage", "density", "rule")

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
TRAINING: Options = {
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
EXPERIMENT: Options = {
    "size": ("demo", "demo, titles, gpt2 (for a GPU), or a JSON file of changes"),
    "methods": (list(FIRST), f"of {', '.join(METHODS)}"),
    "truth": ("learned", "learned, a reward model; or rule, which is known"),
    "seeds": (1, "how many, from --seed on; each trains everything anew"),
    "jobs": (int, "processes side by side; by default one a core"),
    "merge": ([str], "run nothing, join the seeds that are in these folders"),
    "data": (str, "prompts and completions instead of docstrings"),
    "held-out": (str, "with --data: prompts and completions to measure on"),
    "tokenizer": (str, "hub id or folder; without one it is trained"),
}
SFT: Options = {
    **DATA,
    **TRAINING,
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
    **TRAINING,
    "model": (..., "causal language model to start from"),
    "test-share": (0.1, "share of comparisons held out; 0 trains on all"),
    "others": (
        int,
        "with samples: so many texts of people for other prompts, those nearest to each, are rejected too",
    ),
}
SAMPLE: Options = {
    **DATA,
    **SCORING,
    "model": (..., "who samples"),
    "reference": (str, "the reference of what follows, if it is not who samples"),
    "k": (4, "completions of each prompt"),
    "shard-size": (256, "prompts in a file"),
}
ALIGN: Options = {
    **DATA,
    **TRAINING,
    **SCORING,
    "learning-rate": (1e-5, "at its highest; then it falls to zero"),
    "model": (..., "the reference, where training starts"),
    "algorithm": (
        "CoPG",
        "of bandits.ALGORITHMS, OnlineDPO, TokenGRPO and its like, or your own as module:Class; it learns "
        "from rows with scores or comparisons, and at prompts samples as it learns, if it takes rewards",
    ),
    "set": ([str], "other hyper-parameters, as name=value; a value may be the name of a function of bandits"),
    "average": (bool, "log-probabilities divided by the number of tokens: another optimum (T4.6)"),
    "beta": (0.1, "strength of the KL to the reference; AsymRE takes 0: none"),
    "k": (4, "completions of each prompt, when sampling (NashMD: half of them the opponent's)"),
    "ranked": (
        bool,
        "of rewards their order alone counts: who has more is preferred, and above the mean is desirable",
    ),
    "reuse": (1, "when sampling: steps that use the same samples"),
    "clip": (float, "PPO, GRPO, ALoL, RLoL: how far the ratio may go from 1; else 0.2, 0.2, 0.9, 0.9"),
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
    "frontier": (
        int,
        "completions of the reference for each prompt, say 64: what a policy could have at most",
    ),
    "anneal": (int, "with --frontier: moves of each chain at each beta, say 8, to reach smaller beta"),
    "revisions": (int, "ask each policy so many times to revise its answer (SRPO)"),
    "revision": ("\n\nRevised TL;DR:", "what asks for a revision"),
}


COMMANDS = {
    "demo": (DEMO, "the whole pipeline on text that needs no download, with figures"),
    "sft": (SFT, "fine-tune a model on prompts and completions"),
    "reward": (REWARD, "train a reward model on comparisons"),
    "sample": (SAMPLE, "sample completions and score them"),
    "align": (ALIGN, "train a policy by an algorithm of bandits"),
    "evaluate": (EVALUATE, "measure policies on held-out prompts"),
    "experiment": (EXPERIMENT, "compare methods at equal KL, with the best that is possible"),
}


def parser(description: str | None = None) -> argparse.ArgumentParser:
    """The command line; every command writes a folder."""
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m llm", description=description, formatter_class=how)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, (options, meaning) in COMMANDS.items():
        command = commands.add_parser(name, help=meaning, description=meaning.capitalize() + ".")
        out = Path("runs") / name
        told = f"folder for everything it makes [{out}]"
        command.add_argument("--out", type=folder, default=out, metavar="FOLDER", help=told)
        add_options(command, {**COMMON, **options})
    return parser


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
        one, several = (kind[0], True) if isinstance(kind, list) else (kind, False)
        if one is bool:
            parser.add_argument(f"--{name}", help=meaning, action="store_true")
            continue
        has_default = one is not ... and not isinstance(one, type)
        of = type(one) if has_default else str if one is ... else one
        usual = " ".join(str(each).strip() for each in (kind if several else [one]))
        parser.add_argument(
            f"--{name}",
            type=counted if of is int and name != "seed" else of,
            nargs="+" if several else None,
            metavar=METAVARS[of],
            required=one is ...,
            default=kind if has_default else [] if several else None,
            help=f"{meaning} [{usual}]" if has_default else meaning,
        )
