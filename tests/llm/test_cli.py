"""Laws of the command line: help that helps, one line for what the user can mend, and the whole demo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm.__main__ import main

PAIRS = [{"prompt": f"Item {i} is here.\n\nTL;DR:", "completion": f" Item {i}."} for i in range(24)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return path


@pytest.mark.parametrize("command", ["demo", "sft", "reward", "sample", "align", "evaluate"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--out" in said and "--seed" in said and "same seed, same bits" in said


def test_from_pairs_to_an_evaluated_policy(tmp_path, pairs, capsys):
    """sft, sample, reward, align offline and online, evaluate: each takes what the one before made."""
    small = ["--max-prompt-tokens", "24", "--max-completion-tokens", "16", "--quiet"]
    short = ["--steps", "2", "--batch-size", "4"]
    policy, samples, reward = tmp_path / "sft" / "model", tmp_path / "samples", tmp_path / "reward"
    sampling = ["--max-new-tokens", "6"]

    def run(command: str, *arguments: object) -> str:
        out = tmp_path / {"align": str(arguments[0])}.get(command, command)
        given = [str(a) for a in (arguments[1:] if command == "align" else arguments)]
        assert main([command, "--out", str(out), *small[: -1 if command == "demo" else None], *given]) == 0
        return capsys.readouterr().out

    model = ["--layers", 1, "--width", 16, "--heads", 2, "--vocabulary", 300]
    assert "fine-tuned on 24 pairs" in run("sft", "--data", pairs, *model, *short)
    assert "24 prompts, 2 completions each" in run(
        "sample",
        "--out",
        samples,
        "--data",
        pairs,
        "--model",
        policy,
        "--k",
        2,
        "--reward",
        "rouge_l",
        *sampling,
    )
    assert "held-out comparisons" in run(
        "reward", "--out", reward, "--data", samples, "--model", policy, "--test-share", 0.2, *short
    )
    run("align", "copg", "--data", samples, "--model", policy, "--algorithm", "CoPG", *short)
    run(
        "align",
        *("rloo", "--data", pairs, "--model", policy, "--algorithm", "RLOO", *short, *sampling),
        *("--reward", reward / "model", "--k", 2),
    )
    said = run(
        "evaluate",
        *("--data", pairs, "--model", tmp_path / "copg" / "model", tmp_path / "rloo" / "model"),
        *("--reference", policy, "--reward", reward / "model", *sampling),
    )
    assert said.count("reward") == 3
    metrics = json.loads((tmp_path / "evaluate" / "metrics.json").read_text())
    assert metrics["reference"]["kl"]["mean"] == 0
    assert (tmp_path / "evaluate" / "samples.md").read_text().count("## Prompt") == 10


BAD = [
    (["sft", "--data", "nothing.jsonl"], "there is no file or folder nothing.jsonl"),
    (
        ["sample", "--data", "PAIRS", "--model", "./no-such-model"],
        "cannot load a model from './no-such-model'",
    ),
    (["sft", "--data", "PAIRS", "--max-completion-tokens", "1"], "completions must have at most 1 tokens"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=range(len(BAD)))
def test_what_the_user_can_mend_is_one_line(arguments, message, pairs, tmp_path, capsys):
    given = [str(pairs) if a == "PAIRS" else a for a in arguments]
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and message in said


def test_the_quick_demo_raises_the_held_out_reward(tmp_path, capsys):
    """The whole pipeline: for each method the 95 % interval of the rise lies above zero at its best beta."""
    assert main(["demo", "--quick", "--quiet", "--out", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for method, beta in metrics["best_beta"].items():
        [best] = [r for r in metrics["runs"] if r["method"] == method and r["beta"] == beta]
        assert best["rise_over_reference"]["low"] > 0
    assert metrics["reference"]["kl"]["mean"] == 0
    for figure in ("training", "beta", "comparison", "best", "frontier"):
        assert (tmp_path / f"{figure}.svg").read_bytes().startswith(b"<?xml")
    assert "rise over reference" in capsys.readouterr().out
