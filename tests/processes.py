"""Processes of their own for `python -m llm`, forked from one that has already imported what they need.

They are killed and started again like those of a terminal; only the ten seconds that PyTorch and transformers
take to be imported are spent once.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from llm.__main__ import main

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["llm.commands", "llm.pipeline", "llm.train", "transformers.trainer"])


def start(arguments: list[str], said: Path, **environment: str) -> BaseProcess:
    """`python -m llm ...` in a process of its own; what it says goes to a file."""
    process = WARM.Process(target=_command, args=(arguments, said, environment))
    process.start()
    return process


def end(process: BaseProcess, said: Path) -> None:
    """Wait for it to succeed."""
    process.join()
    assert process.exitcode == 0, said.read_text()


def run(arguments: list[str], said: Path) -> None:
    end(start(arguments, said), said)


def _command(arguments: list[str], said: Path, environment: dict[str, str]) -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""} | environment
    file = os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.exit(main(arguments))
