"""Laws of a run's folder: nothing stale is told as new, nobody else writes, a failure claims nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import llm.model
import llm.pipeline
from llm.__main__ import main
from llm.choices import parser
from llm.files import write_json_lines
from llm.inputs import reward_of, settings_of
from llm.judges import load_scorer
from llm.run_folder import check, claimed

pytestmark = pytest.mark.usefixtures("unrendered")
ROWS = [{"prompt": f"Item {i} is here.\n\nTL;DR:", "completion": f" Item {i}."} for i in range(12)]
COMPARED = [{"prompt": f"Tea {i}?", "chosen": " Yes.", "rejected": " No, no."} for i in range(6)]
SHORT = ["--steps", "1", "--batch-size", "2", "--max-prompt-tokens", "40", "--quiet"]


def say(capsys, *arguments: object) -> tuple[int, str]:
    """Exit status and what was said; an error must be one line."""
    code = main([str(a) for a in arguments])
    out = capsys.readouterr()
    errors = [line for line in out.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (code != 0) and "Traceback" not in out.err
    return code, errors[0] if code else out.out


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def data(path: Path, rows: list[dict[str, str]]) -> Path:
    write_json_lines(path, rows)
    return path


def test_data_that_grew_are_not_told_as_trained_on(tmp_path, model_folder, capsys):
    """The same command over a longer file: refused, naming both contents; nothing is touched."""
    file, out = data(tmp_path / "pairs.jsonl", ROWS[:4]), tmp_path / "sft"
    command = ["sft", "--data", file, "--model", model_folder, "--out", out, *SHORT]
    assert "fine-tuned on 4 pairs" in say(capsys, *command)[1]
    before = state(out)
    code, said = say(capsys, *command)
    assert code == 0 and "was already there" in said and "then: fine-tuned on 4 pairs" in said
    data(file, ROWS)
    code, said = say(capsys, *command)
    assert code == 2 and "was made with data = " in said and said.count("(read as ") == 2
    assert state(out) == before
    data(file, ROWS[:4])
    shutil.copy(file, tmp_path / "moved.jsonl")  # the content decides, not the name
    command[2] = tmp_path / "moved.jsonl"
    assert say(capsys, *command)[0] == 0 and state(out) == before


@pytest.mark.parametrize("command", ["reward", "align"])
def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(
    tmp_path, model_folder, sampled, capsys, command
):
    """A reward's head and adapters begin at random: by the seed, not by what the process drew before."""
    given = [command, "--data", sampled, "--model", model_folder, *SHORT, "--steps", 4]
    given += ["--lora-rank", 2] if command == "align" else []
    found = []
    for before in (1, 2):
        torch.manual_seed(before)
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft's own calls
            assert say(capsys, *given, "--out", tmp_path / str(before))[0] == 0
        found.append(load_file(tmp_path / str(before) / "model" / "model.safetensors"))
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_what_is_read_may_have_any_name(tmp_path, model_folder):
    """Also one with a = in it, which otherwise stands before a reward's weight."""
    file, judge = data(tmp_path / "beta=1.jsonl", ROWS[:4]), tmp_path / "rate=0.1"
    scorer = load_scorer(str(model_folder), fresh=True)
    scorer.model.save_pretrained(judge)
    scorer.tokenizer.save_pretrained(judge)
    given = ["sample", "--data", str(file), "--model", str(judge), "--reward", f"{judge}", f"{judge}=-2"]
    options = parser().parse_args(given)
    before = settings_of(options)
    assert before["reward"][1] == before["reward"][0] + "=-2" and "(read as " in before["model"]
    texts = [row["completion"] for row in ROWS]
    np.testing.assert_allclose(reward_of(options)(texts, texts, None), -scorer(texts, texts), rtol=1e-5)
    data(file, ROWS)
    assert settings_of(options)["data"] != before["data"]


def test_samples_scored_by_a_reward_that_was_trained_again_are_refused(tmp_path, model_folder, pairs, capsys):
    judge, out = tmp_path / "reward", tmp_path / "samples"
    scorer = load_scorer(str(model_folder), fresh=True)
    scorer.model.save_pretrained(judge)
    scorer.tokenizer.save_pretrained(judge)
    out = tmp_path / "samples"
    command = [
        "sample",
        "--data",
        pairs,
        "--rows",
        4,
        "--model",
        model_folder,
        "--reward",
        f"{judge}=2",
        "--out",
        out,
    ]
    command += ["--k", 2, "--max-new-tokens", 2, "--max-prompt-tokens", 40, "--quiet"]
    assert say(capsys, *command)[0] == 0
    with torch.no_grad():
        scorer.model.score.weight += 1
    scorer.model.save_pretrained(judge)
    code, said = say(capsys, *command)
    assert code == 2 and "was made with reward = " in said


def test_a_finished_folder_is_told_of_and_nothing_is_loaded(tmp_path, model_folder, capsys, monkeypatch):
    """Offline `align` loads one model, takes the reference of comparisons once, and then neither."""
    loaded, measured = [], []

    def counted(name, seen, of):
        real = getattr(of, name)
        monkeypatch.setattr(of, name, lambda *a, **k: (seen.append(name), real(*a, **k))[1])

    counted("load_weights", loaded, llm.model)
    counted("with_reference_log_probs", measured, llm.pipeline)
    file, out = data(tmp_path / "pairs.jsonl", COMPARED), tmp_path / "dpo"
    command = ["align", "--data", file, "--model", model_folder, "--algorithm", "DPO", "--out", out, *SHORT]
    assert say(capsys, *command)[0] == 0
    assert (len(loaded), len(measured)) == (1, 1)
    weights = (out / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(out / "model")  # what is missing is made again
    assert say(capsys, *command)[0] == 0
    assert (len(loaded), len(measured)) == (2, 1)
    assert (out / "model" / "model.safetensors").read_bytes() == weights
    assert say(capsys, *command)[0] == 0
    assert (len(loaded), len(measured)) == (2, 1)


def test_a_failed_run_claims_nothing(tmp_path, model_folder, capsys):
    """What was asked first could not be done: the folder takes what is asked next."""
    file, out = data(tmp_path / "pairs.jsonl", ROWS[:4]), tmp_path / "sft"
    command = ["sft", "--data", file, "--model", model_folder, "--out", out, *SHORT]
    assert say(capsys, *command, "--learning-rate", "1e9", "--steps", "3")[0] == 2
    assert say(capsys, *command, "--max-completion-tokens", "1")[0] == 2
    assert say(capsys, *command)[0] == 0


def test_a_second_process_is_refused_with_the_name_of_the_first(tmp_path):
    with claimed(tmp_path / "run", {"a": 1}):
        holder = f"in use by process {os.getpid()} "
        with pytest.raises(OSError, match=holder), claimed(tmp_path / "run", {"a": 1}):
            pass
    with claimed(tmp_path / "run", {"a": 1}):
        pass


@pytest.mark.parametrize("text", ["[]", '["a"]', "", "{", "[" * 100_000, '"x"', "null", "7"])
def test_settings_that_are_none_are_one_error_that_names_the_file(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ValueError, match="settings.json is corrupt"):
        check(tmp_path, {"a": 1})


MESSAGES = [
    (["sft", "--data", "nothing.jsonl", "--model", "./none"], "there is no file or folder nothing.jsonl"),
    (["sample", "--data", "nothing.jsonl", "--model", "./none"], "there is no file or folder nothing.jsonl"),
    (["align", "--data", "nothing.jsonl", "--model", "./none"], "there is no file or folder nothing.jsonl"),
    (["reward", "--data", "nothing.jsonl", "--model", "./none"], "there is no file or folder nothing.jsonl"),
    (
        ["evaluate", "--data", "nothing.jsonl", "--model", "x", "--reference", "y"],
        "there is no file or folder",
    ),
    (["sample", "--data", "PAIRS", "--model", "./none", "--reward", "rogue_l"], "did you mean rouge_l?"),
    (["sft", "--data", "BAD", "--model", "./none"], "leave them out with --skip-bad"),
    (["sft", "--data", "PAIRS", "--model", "MODEL", "--max-completion-tokens", "1"], "with --skip-long"),
    (
        ["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "PPO", "--reuse", "3"],
        "but --save-every =",
    ),
    (["reward", "--data", "PAIRS", "--model", "MODEL", "--test-share", "2"], "--test-share must lie"),
    (["align", "--data", "TWO", "--model", "MODEL", "--algorithm", "ALoL"], "the rows hold comparisons"),
    (["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "json:loads"], "must be a dataclass"),
    (["align", "--data", "PAIRS", "--model", "MODEL", "--algorithm", "no:Where"], "cannot be imported"),
    (
        ["align", "--data", "PAIRS", "--model", "MODEL", "--set", "gamma=1"],
        "CoPG has no hyper-parameter 'gamma'",
    ),
    (
        ["sft", "--data", "PAIRS", "--model", "MODEL", "--learning-rate", "nan"],
        "--learning-rate must be positive",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MESSAGES, ids=range(len(MESSAGES)))
def test_what_is_wrong_is_blamed_and_options_are_spelt_as_given(
    arguments, message, tmp_path, pairs, model_folder, capsys
):
    places = {
        "PAIRS": pairs,
        "MODEL": model_folder,
        "BAD": data(tmp_path / "bad.jsonl", [{"prompt": "Tea?"}]),
    }
    places["TWO"] = data(tmp_path / "two.jsonl", COMPARED)
    code, said = say(capsys, *(places.get(a, a) for a in arguments), "--out", tmp_path / "out")
    assert code == 2 and message in said


def test_an_empty_folder_name_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["sft", "--data", "x", "--out", ""])
    assert stop.value.code == 2 and "--out: must name a folder, but is empty" in capsys.readouterr().err


def test_help_needs_no_torch_and_a_closed_pipe_is_no_error():
    """`--help | head -1`, and `import llm` where PyTorch is not installed: one line that names the extra."""
    script = """
import io, sys
from contextlib import redirect_stdout, suppress
from llm.__main__ import main
from llm.choices import parser
with redirect_stdout(io.StringIO()), suppress(SystemExit):
    main(["align", "--help"])
assert not {"torch", "transformers", "datasets", "numpy", "bandits"} & set(sys.modules)
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "torch" else real(name, *a)
del sys.modules["llm"]
with suppress(ImportError):
    import llm
    raise SystemExit("imported without torch")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    piped = f"{sys.executable} -m llm align --help | head -1"
    assert subprocess.run(piped, shell=True, capture_output=True, text=True).stderr == ""


OWN = """
from dataclasses import dataclass
from bandits import Update

@dataclass(frozen=True)
class Contrast:
    strength: float
    k: int = 2

    def update(self, samples):
        R = samples.reward - self.strength * samples.log_ratio
        return Update(log_prob=R - R.mean(-1)[..., None])
"""


def test_a_readers_own_algorithm_trains_recorded_and_fresh(
    tmp_path, model_folder, sampled, pairs, monkeypatch, capsys
):
    """module:Class, with its hyper-parameters from its fields; what it samples is what the rows lack."""
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    usual = [
        "--model",
        model_folder,
        "--algorithm",
        "mine:Contrast",
        *SHORT,
        "--max-new-tokens",
        3,
        "--reward",
        "length",
    ]
    for name, rows in (("recorded", sampled), ("fresh", pairs)):
        command = ["align", "--data", rows, "--out", tmp_path / name, *usual, "--set", "strength=0.3"]
        assert say(capsys, *command)[0] == 0
        [line] = [
            x
            for x in map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
            if "grad_norm" in x
        ]
        assert line["off_policy"] < 1e-4 and line["coefficient_max_abs"] > 0
    code, said = say(capsys, "align", "--data", sampled, "--out", tmp_path / "none", *usual)
    assert code == 2 and "strength" in said and "--set name=value" in said
