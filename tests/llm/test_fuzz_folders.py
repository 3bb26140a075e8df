"""Hostile folders, configurations and options: whatever they hold, one line, never a traceback.

A sample runs with the tests; `FUZZ=300 pytest tests/llm/test_fuzz_folders.py` is a campaign of 300 cases.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from llm.__main__ import main
from llm.demo.sizes import size_of

pytestmark = pytest.mark.usefixtures("unrendered")
CASES = int(os.environ.get("FUZZ", "36"))
SHORT = ["--steps", "1", "--batch-size", "4", "--max-prompt-tokens", "40", "--save-every", "1", "--quiet"]
TEXTS = [
    "",
    "{",
    "[]",
    "{}",
    "null",
    "7",
    '"x"',
    '[{"a": 1}]',
    "[" * 100_000,
    '{"a":' * 100_000,
    "\x00" * 64,
    "\ufeff{}",
]
VALUES = [
    0,
    -1,
    1,
    3,
    1000,
    0.5,
    -2.5,
    1e300,
    1e999,
    True,
    False,
    None,
    "",
    "x",
    "7",
    [],
    [1],
    ["a"],
    {},
    {"a": 1},
]
OPTIONS = {
    "--beta": ["0", "-1", "nan", "inf", "1e-300", "1e300", "x"],
    "--clip": ["0", "-1", "nan", "inf", "1e9"],
    "--mixture": ["-1", "2", "nan", "1"],
    "--k": ["0", "1", "3", "x", "99999999999999999999"],
    "--seed": ["-1", "99999999999999999999", "x"],
    "--batch-size": ["0", "1", "1000"],
    "--learning-rate": ["0", "-1", "nan", "inf", "1e300", "1e-300"],
    "--rows": ["0", "1", "1000"],
    "--reuse": ["0", "2", "3"],
    "--lora-rank": ["0", "1", "1000"],
    "--max-prompt-tokens": ["1", "3", "1000000"],
    "--max-completion-tokens": ["1", "2", "1000000"],
    "--max-new-tokens": ["1", "0", "1000"],
    "--reward": [
        "",
        "=",
        "length=x",
        "length=nan",
        "length=1e300",
        "rouge",
        "length=0",
        "./",
        "/",
        "a/b",
        "coverage==",
    ],
    "--set": [
        "",
        "=",
        "k=1",
        "k=x",
        "beta=[]",
        "beta=null",
        "smoothing=2",
        "margin=1",
        "alpha=-1",
        "spread=1",
    ],
    "--algorithm": ["", ":", "a:b", "json:JSONDecoder", "bandits:PsiPO", "bandits:ImportanceWeighted", "dpo"],
    "--revision": ["", " ", "<|endoftext|>"],
    "--held-out": ["", "nothing", "/", "PAIRS"],
    "--data": ["", "/", ".", "nothing", "PAIRS", "MODEL", "SAMPLED", "/dev/null", "a/b/c", "x" * 300],
    "--model": ["", "/", ".", "nothing", "PAIRS", "SAMPLED", "a/b/c", "x" * 300, "\n"],
}


def runs(arguments: Sequence[object], capsys: Any, what: object) -> None:
    """It ends with 0 and finite weights, or with 2 and one line."""
    given = [str(a) for a in arguments]
    try:
        code = main(given)
    except SystemExit as stop:  # of argparse, which says its own line
        assert stop.code == 2, (what, given)
        capsys.readouterr()
        return
    except Exception as error:
        raise AssertionError(f"{what!r:.300}: {given}") from error
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert (code, len(said)) in ((0, 0), (2, 1)), (what, given, said)
    weights = Path(given[given.index("--out") + 1]) / "model" / "model.safetensors"
    if code == 0 and weights.exists():
        assert all(tensor.isfinite().all() for tensor in load_file(weights).values()), (what, given)


def hurt(path: Path, rng: random.Random) -> str:
    """Change a file: another text, another value of one key, a key less, fewer bytes, some bits."""
    raw = path.read_bytes()
    kind = rng.randrange(5)
    if kind == 0 or not raw:
        text = rng.choice(TEXTS)
        path.write_text(text)
        return f"{path.name} = {text:.20}"
    if kind < 4 and path.suffix == ".json":
        found = json.loads(raw)
        inner = found
        while isinstance(inner, dict) and inner:
            key = rng.choice(sorted(inner))
            if isinstance(inner[key], dict) and inner[key] and rng.random() < 0.7:
                inner = inner[key]
                continue
            value = rng.choice(VALUES) if kind < 3 else inner.pop(key)
            if kind < 3:
                inner[key] = value
            path.write_text(json.dumps(found))
            return f"{path.name}: {key} = {value!r:.30}" if kind < 3 else f"{path.name}: no {key}"
    if rng.random() < 0.5:
        place = rng.randrange(len(raw) + 1)
        path.write_bytes(raw[:place])
        return f"{path.name}: {place} bytes"
    changed = bytearray(raw)
    for _ in range(3):
        changed[rng.randrange(min(len(raw), 400))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(changed))
    return f"{path.name}: bits"


Fuzz = Callable[[random.Random, Path], tuple[list[object], str]]


@pytest.fixture(scope="module")
def kinds(model_folder, sampled, pairs, tmp_path_factory) -> dict[str, Fuzz]:
    """A case of each kind: what is run, and what was done to it before."""
    usual = {"PAIRS": pairs, "MODEL": model_folder, "SAMPLED": sampled}
    finished = tmp_path_factory.mktemp("finished") / "run"
    again = ["align", "--data", sampled, "--model", model_folder, *SHORT]
    assert main([str(a) for a in [*again, "--out", finished]]) == 0

    def model(rng, folder):
        shutil.copytree(model_folder, folder / "model")
        what = hurt(rng.choice(sorted((folder / "model").iterdir())), rng)
        command = rng.choice(
            [["sft", "--data", pairs], ["align", "--data", sampled], ["reward", "--data", sampled]]
        )
        return [*command, "--model", folder / "model", *SHORT], what

    def run_folder(rng, folder):
        shutil.copytree(finished, folder / "out")
        if rng.random() < 0.5:
            shutil.rmtree(folder / "out" / "model")
        files = sorted(p for p in (folder / "out").rglob("*") if p.is_file())
        return again, hurt(rng.choice(files), rng)

    def shards(rng, folder):
        shutil.copytree(sampled, folder / "samples")
        path = rng.choice(sorted((folder / "samples").rglob("*.jsonl")))
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        every, name = rng.random() < 0.5, rng.choice(sorted(rows[0]))
        value, gone = rng.choice(VALUES), rng.random() < 0.3
        for row in rows if every else rows[:1]:
            if gone:
                del row[name]
            elif isinstance(row[name], list) and rng.random() < 0.6:
                row[name][rng.randrange(len(row[name]))] = value
            else:
                row[name] = value
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = rng.choice(
            [["align", "--algorithm", rng.choice(["CoPG", "DPO", "DROV", "ALoL"])], ["reward"]]
        )
        return [
            *command,
            "--data",
            folder / "samples",
            "--model",
            model_folder,
            *SHORT,
        ], f"{name} = {value!r:.20}"

    def options(rng, folder):
        command = rng.choice(["sft", "reward", "align", "align", "align", "sample"])
        online = rng.choice(["RLOO", "PPO", "GRPO", "NashMD", "ReMax", "OnlineDPO"])
        rows = {"sft": pairs, "reward": sampled, "align": sampled, "sample": pairs}[command]
        given = [command, "--data", rows, "--model", model_folder]
        given += SHORT if command != "sample" else ["--max-prompt-tokens", "40", "--quiet"]
        if command == "align" and rng.random() < 0.5:
            given += ["--algorithm", online, "--data", pairs, "--reward", "length"]
        if command in ("align", "sample"):
            given += ["--max-new-tokens", "3"]
        names = (
            sorted(OPTIONS)
            if command == "align"
            else ["--data", "--model", "--rows", "--seed", "--max-prompt-tokens"]
        )
        for name in rng.sample(names, rng.choice([1, 1, 2])):
            value = rng.choice(OPTIONS[name])
            given += [name, usual.get(value, value)]
        return given, "options"

    return {"model": model, "run folder": run_folder, "shards": shards, "options": options}


@pytest.mark.parametrize("kind", ["model", "run folder", "shards", "options"])
def test_no_traceback(kinds, kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for case in range(CASES // 4):
        rng, folder = random.Random(f"{kind} {case}"), tmp_path / str(case)
        folder.mkdir()
        given, what = kinds[kind](rng, folder)
        runs([*given, "--out", folder / "out"], capsys, (case, what))
        shutil.rmtree(folder)


def test_a_size_that_is_none_is_one_error(tmp_path):
    """Ten cases for each of the others'."""
    rng, path = random.Random(0), tmp_path / "size.json"
    for _ in range(10 * CASES):
        path.write_text(json.dumps({"layers": 5, "betas": [0.1, 2], "width": 8, "k": 3}))
        what = hurt(path, rng)
        try:
            size_of(str(path))
        except ValueError as error:
            assert "size must be one of" in str(error), what
