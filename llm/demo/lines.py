"""How is a step said?  As the command line that anybody could give, performed in this process."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm.choices import parser
from llm.commands import RUN, perform


def line(command: str, out: Path, data: Path, options: Mapping[str, Any]) -> list[str]:
    """A command; an option may have several values, and one that is True is a switch.

    Example:
        >>> line("align", Path("copg"), Path("samples"), {"beta": 0.1, "ranked": True, "set": ["k=2"]})[5:]
        ['--beta', '0.1', '--ranked', '--set', 'k=2']
    """
    found = [command, "--out", str(out), "--data", str(data)]
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) else [] if value is True else [value]
        found += [f"--{name}", *map(str, values)]
    return found


def training(steps: int, batch: int, rate: float) -> dict[str, Any]:
    """Options of a run: a dozen lines of its log, and one checkpoint on the way."""
    often = {"log-every": max(steps // 12, 1), "save-every": max(steps // 2, 1)}
    return {"steps": steps, "batch-size": batch, "learning-rate": rate, **often}


def performed(command: Sequence[str], *, quiet: bool) -> None:
    """The command, said on standard error and done, unless it has been done already."""
    if not quiet:
        print(
            f"{time.strftime('%H:%M:%S')}  python -m llm {shlex.join(command)}", file=sys.stderr, flush=True
        )
    step = parser().parse_args([*command, "--quiet"])
    perform(step, RUN[step.command])
