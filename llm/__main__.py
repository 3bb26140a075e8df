"""Train language models by the algorithms of `bandits`, one step a command.

    python -m llm demo --quick --out demo          everything in two minutes, figures included
    python -m llm sft      --data pairs.jsonl --model gpt2 --out sft
    python -m llm reward   --data comparisons.jsonl --model sft/model --out reward
    python -m llm sample   --data pairs.jsonl --model sft/model --reward reward/model --out samples
    python -m llm align    --data samples --model sft/model --algorithm CoPG --beta 0.1 --out copg
    python -m llm evaluate --data valid.jsonl --model copg/model --reference sft/model --out eval

Data are JSON Lines (.jsonl, .jsonl.gz), Parquet, a folder of them, a hub id, or what `sample` wrote, with
the columns `prompt, completion`, or `prompt, chosen, rejected`, or `prompt, completions, rewards`.  Each
command writes one folder, says what it did, and goes on where it was killed when it is given again.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from llm import choices

COMMANDS = {
    "demo": (choices.DEMO, "the whole pipeline on text that needs no download, with figures"),
    "sft": (choices.SFT, "fine-tune a model on prompts and completions"),
    "reward": (choices.REWARD, "train a reward model on comparisons"),
    "sample": (choices.SAMPLE, "sample completions and score them"),
    "align": (choices.ALIGN, "train a policy by an algorithm of bandits"),
    "evaluate": (choices.EVALUATE, "measure policies on held-out prompts"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line of explanation for what the user can mend."""
    options = _parser().parse_args(arguments)
    from llm.commands import perform  # PyTorch takes seconds, which help does not need

    try:
        print(*perform(options), sep="\n", flush=True)
    except BrokenPipeError:
        _nobody_listens()  # what was to be made is there
    except (ValueError, OSError) as error:
        print(f"error: {_as_given(' '.join(str(error).split()), options)}", file=sys.stderr)
        return 2
    return 0


def _as_given(message: str, options: argparse.Namespace) -> str:
    """Names of several words, of arguments in Python, as the options that they are."""
    names = "|".join(name for name in vars(options) if "_" in name) or "-"
    alone = rf"(?<![\w./'\"-])({names})(?: ?= ?True)?(?![\w./'\"])"
    return re.sub(alone, lambda found: "--" + found[1].replace("_", "-"), message)


def _nobody_listens() -> None:
    """Whoever read the output has gone, as `head` does: not an error, nor to be told at the exit again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, (options, explanation) in COMMANDS.items():
        command = commands.add_parser(name, help=explanation, description=explanation.capitalize() + ".")
        out, meaning = Path("runs") / name, "folder for everything it makes"
        command.add_argument(
            "--out", type=choices.folder, default=out, metavar="FOLDER", help=f"{meaning} [{out}]"
        )
        choices.add_options(command, {**choices.COMMON, **options})
    return parser


if __name__ == "__main__":
    try:
        code = main()
    except BrokenPipeError:
        code = 0
    except KeyboardInterrupt:
        print("error: interrupted; give the command again, and it goes on", file=sys.stderr)
        code = 130
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _nobody_listens()
    sys.exit(code)
