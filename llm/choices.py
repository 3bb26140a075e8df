"""What can be chosen on the command line: algorithms, rewards, and the options of each command."""

from __future__ import annotations

import argparse

from bandits import DPO, DRO, IPO, RLOO, SRPO, CoPG, NashMD, OnlineIPO, ReMax
from llm.corpus import TRAINING, VALIDATION
from llm.rewards import coverage, density, length, rouge_l
from llm.sizes import SIZES

OFFLINE = {"CoPG": CoPG, "DPO": DPO, "IPO": IPO, "DRO": DRO, "SRPO": SRPO}
ONLINE = {"RLOO": RLOO, "ReMax": ReMax, "OnlineIPO": OnlineIPO, "NashMD": NashMD}
REWARDS = {"rouge_l": rouge_l, "length": length, "coverage": coverage, "density": density}
PACKAGES = {"training": TRAINING, "validation": VALIDATION}
QUICK_PACKAGES = {"training": ("python", "numpy"), "validation": ("networkx",)}


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="file, folder or hub id of the rows")
    parser.add_argument("--rows", type=int, default=None, help="use only so many rows")
    parser.add_argument(
        "--max-prompt-tokens", type=int, default=256, help="longer prompts lose the end of their text"
    )
    parser.add_argument(
        "--max-completion-tokens", type=int, default=64, help="longer completions are refused"
    )
    parser.add_argument("--skip-long", action="store_true", help="leave rows with too long completions out")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave bad rows out instead of refusing the data"
    )


def _add_training(parser: argparse.ArgumentParser, steps: int, rate: float) -> None:
    parser.add_argument("--steps", type=int, default=steps, help="updates of the weights")
    parser.add_argument("--batch-size", type=int, default=16, help="prompts in a batch, on each process")
    parser.add_argument("--accumulation", type=int, default=1, help="batches in an update")
    parser.add_argument(
        "--learning-rate", type=float, default=rate, help="at its highest; then it falls to zero"
    )
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--log-every", type=int, default=10, help="steps between lines of the log")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard")


def add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="2 minutes instead of 20: smaller everything")
    parser.add_argument("--size", default="full", help=f"{', '.join(SIZES)}, or a JSON file of changes")
    parser.add_argument("--data", default=None, help="prompts and completions instead of docstrings")
    parser.add_argument("--held-out", default=None, help="with --data: prompts and completions to measure on")
    parser.add_argument("--tokenizer", default=None, help="hub id or folder; without one it is trained")


def add_sft(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    _add_training(parser, 1000, 5e-5)
    parser.add_argument("--model", default=None, help="hub id or folder; without one a new GPT-2 is made")
    parser.add_argument("--tokenizer", default=None, help="of the model, if it is not with it; else trained")
    parser.add_argument("--vocabulary", type=int, default=5000, help="of a trained tokenizer")
    parser.add_argument("--layers", type=int, default=4, help="of a new model")
    parser.add_argument("--width", type=int, default=256, help="of a new model")
    parser.add_argument("--heads", type=int, default=4, help="of a new model")


def add_reward(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    _add_training(parser, 500, 5e-5)
    parser.add_argument("--model", required=True, help="causal language model to start from")
    parser.add_argument("--test-share", type=float, default=0.1, help="share of comparisons held out")


def _add_reward_name(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(REWARDS)
    parser.add_argument("--reward", default="rouge_l", help=f"{names}, or the folder of a reward model")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="longest sample")


def add_sample(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    _add_reward_name(parser)
    parser.add_argument("--model", required=True, help="who samples, and the reference of what follows")
    parser.add_argument("--k", type=int, default=4, help="completions of each prompt")
    parser.add_argument("--shard-size", type=int, default=256, help="prompts in a file")


def add_align(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    _add_training(parser, 500, 1e-5)
    _add_reward_name(parser)
    names = [*OFFLINE, *ONLINE]
    parser.add_argument(
        "--algorithm", choices=names, default="CoPG", help="the last four sample as they learn"
    )
    parser.add_argument("--beta", type=float, default=0.1, help="strength of the KL to the reference")
    parser.add_argument(
        "--mixture", type=float, default=0.125, help="NashMD: weight of the reference in the opponent"
    )
    parser.add_argument("--revision", default="\n\nRevised TL;DR:", help="SRPO: what asks for a revision")
    parser.add_argument("--model", required=True, help="the reference, where training starts")
    parser.add_argument("--k", type=int, default=4, help="completions of each prompt, when sampling")
    parser.add_argument(
        "--lora-rank", type=int, default=None, help="train low-rank adapters only (needs peft)"
    )


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    _add_reward_name(parser)
    parser.add_argument("--model", nargs="+", required=True, help="policies to compare")
    parser.add_argument("--reference", required=True, help="the reference")
