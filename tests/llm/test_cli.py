"""Laws of the command line: help that helps, one line for what the user can mend, and the whole demo."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
from safetensors.torch import load_file

import llm.commands
import llm.demo.run
from llm.__main__ import main
from llm.demo.sizes import SIZES

pytestmark = pytest.mark.usefixtures("unrendered")
OFFLINE = ["CoPG", "DPO", "IPO", "DRO", "DROV", "ALoL", "SRPO", "RLOO"]  # on recorded rows
TOKEN_WISE = ["TokenGRPO", "TokenPPO", "KLInReward", "KLInLoss"]
ONLINE = ["RLOO", "CoPG", "ReMax", "PPO", "GRPO", "OnlineIPO", "OnlineDPO", "NashMD"]  # at prompts

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
    said = run(
        *("reward", "--out", reward, "--data", samples, "--model", policy, "--test-share", 0.2, *short),
        *("--others", 1),
    )
    assert "held-out comparisons" in said and "against others" in said and "against reference" in said
    accuracy = json.loads((reward / "metrics.json").read_text())
    assert accuracy["comparisons"] == sum(each["of"] for each in accuracy["accuracy_against"].values())
    run("align", "copg", "--data", samples, "--model", policy, "--algorithm", "CoPG", *short)
    run(
        "align",
        *("rloo", "--data", pairs, "--model", policy, "--algorithm", "RLOO", *short, *sampling),
        *("--reward", reward / "model", "--k", 2),
    )
    said = run(
        "evaluate",
        *("--data", pairs, "--model", tmp_path / "copg" / "model", tmp_path / "rloo" / "model"),
        *("--reference", policy, "--reward", reward / "model", *sampling, "--frontier", 64, "--anneal", 1),
    )
    assert said.count("reward") == 3
    metrics = json.loads((tmp_path / "evaluate" / "metrics.json").read_text())
    assert metrics["reference"]["kl"]["mean"] == 0
    assert [each.get("regret", {}).get("beta") for each in metrics.values()] == [None, 0.1, 0.1]
    most = json.loads((tmp_path / "evaluate" / "frontier.json").read_text())
    assert most["samples"] == 64 and None not in most["frontier"]["reward"][:5]  # of large beta
    assert most["annealed"]["islands"] == 4 and most["annealed"]["reward"][0] is not None
    samples = (tmp_path / "evaluate" / "samples.md").read_text()
    assert samples.count("## Prompt") == 10
    each = json.loads((tmp_path / "evaluate" / "prompts.json").read_text())
    for name, numbers in each.items():
        for key, column in (("reward", "reward"), ("kl", "log_ratio"), ("length", "length")):
            assert len(numbers[column]) == 24
            assert np.mean(numbers[column]) == pytest.approx(metrics[name][key]["mean"], abs=1e-12)
        assert [text.strip() in samples for text in numbers["completion"][:10]] == [True] * 10


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    """Scored completions that somebody else wrote, without log-probabilities."""
    path = tmp_path_factory.mktemp("data") / "scored.jsonl"
    answers, rewards = [" A kettle.", " Rain fell.", " No."], [1.0, 0.25, -0.5]
    rows = [row | {"completions": answers, "rewards": rewards} for row in PAIRS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


SMALL = ["--max-prompt-tokens", "40", "--steps", "2", "--batch-size", "4", "--log-every", "1", "--quiet"]


def aligned(out: Path, data: Path, model: Path, algorithm: str, *more: str) -> list[dict[str, float]]:
    """The log of a run of `align`, which must succeed and leave a model and its settings."""
    given = ["--data", data, "--model", model, "--out", out, "--algorithm", algorithm, *SMALL, *more]
    assert main(["align", *map(str, given)]) == 0
    assert json.loads((out / "settings.json").read_text())["algorithm"] == algorithm
    assert (out / "model" / "model.safetensors").exists() and (out / "versions.json").exists()
    assert all("prompt_value" not in name for name in load_file(out / "model" / "model.safetensors"))
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("algorithm", [*OFFLINE, "PMDMean", "TokenSquare"])
def test_every_offline_algorithm_trains_from_the_command_line(
    tmp_path, model_folder, sampled, words, algorithm
):
    """From what `sample` wrote, and from scores in a file, whose reference log-probabilities are computed."""
    for name, data in (("sampled", sampled), ("file", words)):
        log = [x for x in aligned(tmp_path / name, data, model_folder, algorithm) if "grad_norm" in x]
        assert len(log) == 2 and abs(log[0].get("kl", log[0].get("log_ratio"))) < 1e-3
        assert log[0]["coefficient_max_abs"] > 0 and log[0]["grad_norm"] > 0


@pytest.mark.parametrize("algorithm", ["OAPL", "REBEL", "QRPO"])
def test_regressions_train_from_the_command_line(tmp_path, model_folder, words, algorithm):
    """On scores in a file; a group of QRPO and OAPL may be all completions of a prompt."""
    whole = [] if algorithm == "REBEL" else ["--set", "k=3"]
    log = [x for x in aligned(tmp_path, words, model_folder, algorithm, *whole) if "grad_norm" in x]
    assert len(log) == 2 and abs(log[0]["log_ratio"]) < 1e-3
    assert log[0]["coefficient_max_abs"] > 0 and log[0]["grad_norm"] > 0


JUDGED = {
    "labels": [row | {"label": i % 2} for i, row in enumerate(PAIRS)],
    "comparisons": [{"prompt": row["prompt"], "chosen": " A kettle.", "rejected": " No."} for row in PAIRS],
}


@pytest.mark.parametrize("kind", JUDGED)
def test_kto_trains_on_labels_and_on_comparisons(tmp_path, model_folder, kind):
    """A label of each answer; of a comparison, the chosen one is desirable and the other is not."""
    path = tmp_path / "judged.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in JUDGED[kind]))
    log = [x for x in aligned(tmp_path / "run", path, model_folder, "KTO") if "grad_norm" in x]
    assert len(log) == 2 and abs(log[0]["log_ratio"]) < 1e-3 and log[0]["grad_norm"] > 0


@pytest.mark.parametrize("algorithm", ["ChiPO", "SimPO", "ORPO", "SPPO", "XPO"])
def test_losses_of_pairs_train_on_comparisons(tmp_path, model_folder, algorithm):
    path = tmp_path / "comparisons.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in JUDGED["comparisons"]))
    log = [x for x in aligned(tmp_path / "run", path, model_folder, algorithm) if "grad_norm" in x]
    assert len(log) == 2 and log[0]["grad_norm"] > 0


@pytest.mark.parametrize("algorithm", [*ONLINE, "PMDMean", *TOKEN_WISE])  # by what the rows hold
def test_every_online_algorithm_trains_from_the_command_line(tmp_path, model_folder, pairs, algorithm):
    more = ["--max-new-tokens", "4", "--k", "4", "--reward", "length", "--reuse", "2"]
    log = [x for x in aligned(tmp_path, pairs, model_folder, algorithm, *more) if "grad_norm" in x]
    assert len(log) == 2 and log[0]["off_policy"] == 0 and log[0]["grad_norm"] > 0


def test_held_out_prompts_are_looked_at_along_the_way(tmp_path, model_folder, sampled, pairs, rendered):
    """At the start and every step; also with adapters, bfloat16 and activation checkpointing at once."""
    more = ["--held-out", str(pairs), "--evaluate-every", "1", "--max-new-tokens", "4", "--reward", "length"]
    switches = ["--bf16", "--gradient-checkpointing", "--tensorboard", "--lora-rank", "2"]
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft's own calls
        log = aligned(tmp_path, sampled, model_folder, "CoPG", *more, *switches)
    looks = [entry for entry in log if "eval_reward" in entry]
    assert [entry["step"] for entry in looks] == [0, 1, 2] and looks[0]["eval_kl"] == pytest.approx(
        0, abs=0.1
    )
    assert list(tmp_path.rglob("events.out.tfevents.*")) and (tmp_path / "log.svg").stat().st_size > 9999


ALL_RANKED = "quantile=reference_quantile"
BAD = [
    (["sft", "--data", "nothing.jsonl"], "there is no file or folder nothing.jsonl"),
    (
        ["sample", "--data", "PAIRS", "--model", "./no-such-model"],
        "cannot load a model from './no-such-model'",
    ),
    (["sft", "--data", "PAIRS", "--max-completion-tokens", "1"], "completions must have at most 1 tokens"),
    (["align", "--data", "ONE", "--model", "MODEL", "--algorithm", "ALoL"], "sample at least k = 2"),
    (["align", "--data", "TWO", "--model", "MODEL", "--algorithm", "DROV"], "the rows hold comparisons"),
    (["align", "--data", "TWO", "--model", "MODEL", "--algorithm", "CoPG"], "the rows hold comparisons"),
    (
        ["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "PPO", "--reuse", "3"],
        "at multiples of reuse = 3",
    ),
    (["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "NashMD", "--k", "3"], "k must be even"),
    (
        ["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "QRPO"],
        "QRPO ranks rewards among completions of the reference",
    ),
    (
        ["align", "--data", "ALL", "--model", "MODEL", "--algorithm", "QRPO", "--set", ALL_RANKED],
        "population must be all answers to a prompt",
    ),
    (["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "Dpo"], "one of PolicyGradient, RLOO"),
    (["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "PPO", "--k", "1"], "take k >= 2"),
    (["align", "--data", "HALF", "--model", "MODEL"], "hold 8 rows instead of 16"),
    (["align", "--data", "HALF", "--model", "MODEL", "--algorithm", "RLOO"], "hold 8 rows instead of 16"),
    (["align", "--data", "ALL", "--model", "MODEL", "--algorithm", "ReMax"], "--data holds samples"),
    (["align", "--data", "ALL", "--model", "MODEL", "--algorithm", "OnlineDPO"], "--data holds samples"),
    (["align", "--data", "ODD", "--model", "MODEL"], "1 completions and 2 completion_ids"),
    (["align", "--data", "HUGE", "--model", "MODEL"], r"rewards[0] must be a finite number"),
    (
        ["align", "--data", "ONE", "--model", "MODEL", "--algorithm", "SRPO", "--revision", ""],
        "k = 2 completions",
    ),
    (["sft", "--data", "LONG", "--model", "MODEL"], "at most the model's context of 64 tokens"),
    (["sample", "--data", "LONG", "--model", "MODEL"], "at most the model's context of 64 tokens"),
    (["reward", "--data", "TWO", "--model", "MODEL"], "comparisons of at least 2 prompts are needed"),
    (["reward", "--data", "TWO", "--model", "MODEL", "--test-share", "1"], "between 0 and 1, but is 1.0"),
    (["demo", "--size", "SIZE"], "betas must be positive, but is ()"),
    (["demo", "--size", "enormous"], "size must be one of full, quick, titles"),
    (["align", "--data", "PAIRS", "--model", "MODEL", "--beta", "-1"], "beta must be a positive"),
    (["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "DPO"], "column 'chosen' is missing"),
    (["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "DRO"], "column 'chosen' is missing"),
    (["align", "--data", "ONE", "--model", "MODEL", "--algorithm", "NashMD"], "'completion' is missing"),
    (["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "KTO"], "label must be 0 or 1"),
    (["align", "--data", "LIKED", "--model", "MODEL", "--algorithm", "KTO"], "label must be 0 or 1"),
    (["align", "--data", "ALL", "--model", "MODEL", "--algorithm", "KTO"], "learns from labels"),
    (
        ["align", "--data", "TWO", "--model", "MODEL", "--algorithm", "KTO", "--batch-size", "1"],
        "take a batch of at least 2",
    ),
    (["align", "--data", "ONE", "--model", "MODEL", "--algorithm", "GRPO"], "GRPO reads who sampled"),
]
ROWS = {
    "ONE": {"prompt": "Tea?", "completions": [" Yes."], "rewards": [1.0]},
    "LIKED": {"prompt": "Tea?", "completion": " Yes.", "label": 0.5},
    "TWO": {"prompt": "Tea?", "chosen": " Yes.", "rejected": " No."},
    "LONG": {"prompt": "Tea, or rather coffee? " * 10, "completion": " Yes."},
    "ODD": {"prompt": "Tea?", "completions": [" Yes."], "rewards": [1], "completion_ids": [[5], [6]]},
    "HUGE": {"prompt": "Tea?", "completions": [" Yes."], "rewards": [10**400]},
    "SIZE": {"betas": []},
}


def test_held_out_comparisons_are_of_prompts_that_nothing_was_trained_on(
    tmp_path, sampled, model_folder, monkeypatch
):
    """Each prompt has four comparisons, all on one side."""
    seen: list[set[str]] = []

    def trained(folder, settings, tokenizer, trainer, *, seed):
        seen.append(set(trainer().train_dataset["prompt"]))
        return "judge"

    def scorer(prompts, completions):
        seen.append(set(prompts))
        return np.zeros(len(prompts))

    monkeypatch.setattr("llm.commands.trained", trained)
    load = llm.commands.load_scorer
    monkeypatch.setattr(
        "llm.commands.load_scorer", lambda name, **how: scorer if name == "judge" else load(name, **how)
    )
    monkeypatch.setattr("llm.commands.figures.along_training", lambda folder: folder)
    given = ["--data", sampled, "--model", model_folder, "--out", tmp_path, "--test-share", "0.25", "--quiet"]
    assert main(["reward", *map(str, given)]) == 0
    trained, tested = seen[:2]
    assert len(trained) == 12 and len(tested) == 4 and not trained & tested


@pytest.mark.parametrize("algorithm", ["DRO", "DROV"])
def test_one_completion_of_a_prompt_is_enough_where_v_is_trained(tmp_path, model_folder, algorithm):
    """V is in training because the algorithm has a coefficient for it, whatever it is called."""
    data = tmp_path / "one.jsonl"
    rows = [{"prompt": f"Tea {r}?", "completions": [" Yes."], "rewards": [r]} for r in (1.0, 0.0, 0.2)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ["--steps", "4", "--batch-size", "1"]
    log = [x for x in aligned(tmp_path / "out", data, model_folder, algorithm, *more) if "grad_norm" in x]
    assert log[0]["value"] == pytest.approx(0.4) and log[-1]["value"] != log[0]["value"]


def half_sampled(folder: Path, sampled: Path) -> Path:
    """Samples whose making was interrupted: the last shard is missing."""
    shutil.copytree(sampled, folder)
    max((folder / "shards").iterdir()).unlink()
    return folder


@pytest.mark.parametrize("option", ["--steps", "--k", "--rows", "--save-every", "--reuse", "--lora-rank"])
def test_what_is_counted_is_at_least_one(option, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["align", "--data", "x", "--model", "y", option, "0"])
    assert stop.value.code == 2
    assert f"argument {option}: must be an integer of at least 1, but is '0'" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=range(len(BAD)))
def test_what_the_user_can_mend_is_one_line(
    arguments, message, pairs, model_folder, sampled, tmp_path, capsys
):
    places = {"PAIRS": str(pairs), "MODEL": str(model_folder), "ALL": str(sampled)}
    for name, row in ROWS.items():
        places[name] = str(tmp_path / f"{name}.jsonl")
        Path(places[name]).write_text(json.dumps(row) + "\n")
    if "HALF" in arguments:
        places["HALF"] = str(half_sampled(tmp_path / "half", sampled))
    given = [places.get(a, a) for a in arguments]
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and message in said


@pytest.fixture
def bars() -> Iterator[None]:
    """The bars of `datasets`, which these tests do without."""
    datasets.enable_progress_bars()
    yield
    datasets.disable_progress_bars()


def test_quiet_shows_no_bar(tmp_path, model_folder, pairs, capsys, bars):
    """Neither of encoding nor of training; the twin without it shows both."""
    given = ["--data", pairs, "--model", model_folder, "--max-prompt-tokens", "40", "--steps", "1"]
    shown = []
    for name, quiet in (("loud", []), ("quiet", ["--quiet"])):
        assert main(["sft", *map(str, given), "--out", str(tmp_path / name), *quiet]) == 0
        shown.append(capsys.readouterr().err)
    assert "encoding" in shown[0] and "1/1" in shown[0] and shown[1] == ""


def test_half_of_the_quick_demo_raises_the_held_out_reward(tmp_path, capsys, bars, monkeypatch):
    """The whole pipeline: for each method the 95 % interval of the rise lies above zero at its best beta."""
    half = replace(
        SIZES["quick"],
        completion_tokens=16,
        fine_tuning_steps=100,
        comparisons=384,
        prompts=128,
        betas=(0.3,),
        offline_steps=12,
        online_steps=10,
        held_out=288,
        watched=16,
    )
    monkeypatch.setitem(SIZES, "quick", half)
    monkeypatch.setattr(llm.demo.run, "QUICK_PACKAGES", {"training": ("numpy",), "validation": ("networkx",)})
    assert main(["demo", "--quick", "--quiet", "--out", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for method, beta in metrics["best_beta"].items():
        [best] = [r for r in metrics["runs"] if r["method"] == method and r["beta"] == beta]
        assert best["rise_over_reference"]["low"] > 0
    assert metrics["reference"]["kl"]["mean"] == 0
    for figure in ("training", "beta", "comparison", "best", "frontier"):
        assert (tmp_path / f"{figure}.svg").read_bytes().startswith(b"<?xml")
    said = capsys.readouterr()
    assert "rise over reference" in said.out and said.err == ""
