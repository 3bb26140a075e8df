"""Train language models by the algorithms of `bandits`, one step a command.

    python -m llm demo --quick --out demo          everything in two minutes, figures included
    python -m llm sft      --data pairs.jsonl --model gpt2 --out sft
    python -m llm reward   --data comparisons.jsonl --model sft/model --out reward
    python -m llm sample   --data pairs.jsonl --model sft/model --reward reward/model --out samples
    python -m llm align    --data samples --model sft/model --algorithm CoPG --beta 0.1 --out copg
    python -m llm evaluate --data valid.jsonl --model copg/model --reference sft/model --out eval
    python -m llm experiment --seeds 5 --out experiment       methods compared at equal KL, hours

Data are JSON Lines (.jsonl, .jsonl.gz), Parquet, a folder of them, a hub id, or what `sample` wrote, with
the columns `prompt, completion`, or `prompt, chosen, rejected`, or `prompt, completions, rewards`.  Each
command writes one folder, says what it did, and goes on where it was killed when it is given again.
"""

from __future__ import annotations

import argparse
import os
import re
import sys

from llm.choices import parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line of explanation for what the user can mend."""
    said: list[str] = []
    try:
        options = parser(__doc__).parse_args(arguments)
        said = _performed(options)
    except (ValueError, OSError) as error:
        print(f"error: {_as_given(' '.join(str(error).split()), options)}", file=sys.stderr)
        return 2
    finally:
        _say(said)
    return 0


def _performed(options: argparse.Namespace) -> list[str]:
    """Imported here: PyTorch takes seconds, which help does not need."""
    if options.command == "experiment":
        from llm.experiment.report import run_experiment

        return run_experiment(options)
    from llm.commands import RUN, perform
    from llm.demo.run import run_demo

    return perform(options, run_demo if options.command == "demo" else RUN[options.command])


def _as_given(message: str, options: argparse.Namespace) -> str:
    """Names of several words, of arguments in Python, as the options that they are."""
    names = "|".join(name for name in vars(options) if "_" in name) or "-"
    alone = rf"(?<![\w./'\"-])({names})(?: ?= ?True)?(?![\w./'\"])"
    return re.sub(alone, lambda found: "--" + found[1].replace("_", "-"), message)


def _say(lines: list[str]) -> None:
    """All that was to be said, help too; whoever has gone before, as `head` does, makes no error of it."""
    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor when Python ends


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("error: interrupted; give the command again, and it goes on", file=sys.stderr)
        sys.exit(130)
