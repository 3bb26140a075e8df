"""Laws of silent damage: what is not finite or not whole is stopped, refused or passed over, and named."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import MambaConfig, MambaForCausalLM, TrainerCallback

from bandits import DPO, IPO, RLOO, CoPG
from llm.__main__ import main
from llm.files import COMPLETE, damage, mark_complete
from llm.judges import load_scorer
from llm.model import load_model
from llm.pipeline import align
from llm.sources import Recorded
from llm.train import AlignmentTrainer, order
from llm.trainer import last_checkpoint, training_arguments

pytestmark = pytest.mark.usefixtures("unrendered")


def arguments(folder: Path, **changes):
    usual = {"steps": 8, "batch_size": 4, "learning_rate": 1e-3, "seed": 0, "log_every": 3, "save_every": 2}
    return training_arguments(folder, **(usual | changes))


def aligned(folder: Path, model_folder: Path, rows: Dataset, **changes):
    model, tokenizer = load_model(str(model_folder))
    args = arguments(folder, **changes)
    return align(folder, CoPG(beta=0.2), Recorded(), model, tokenizer, rows, args, {"a": 1})


def bits(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def logged(folder: Path) -> list[dict[str, float]]:
    timed = ("runtime", "per_second")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith(timed)} for line in lines]


@pytest.mark.parametrize("command", ["sft", "reward", "align"])
@pytest.mark.parametrize("steps", [2, 5])
def test_a_run_that_diverges_ends_with_one_line_and_saves_nothing(
    tmp_path, model_folder, sampled, pairs, command, steps, capsys
):
    """In the middle, and in the very last step, whose loss was still finite; the first has rate 0."""
    data = pairs if command == "sft" else sampled
    given = [
        "--data",
        data,
        "--model",
        model_folder,
        "--out",
        tmp_path,
        "--learning-rate",
        1e30,
        "--save-every",
        1,
    ]
    given += ["--steps", steps, "--max-prompt-tokens", 40, "--quiet"]
    assert main([command, *map(str, given)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: training went wrong") and said.endswith("--learning-rate below 1e+30")
    assert not (tmp_path / "model").exists()
    assert last_checkpoint(tmp_path) in (None, str(tmp_path / "checkpoint-1"))


def changed(folder: Path, to: Path, change) -> Path:
    shutil.copytree(folder, to, dirs_exist_ok=True)
    weights = load_file(to / "model.safetensors")
    change(weights)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, model_folder, value):
    spoilt = changed(
        model_folder, tmp_path, lambda w: w["transformer.h.0.mlp.c_fc.weight"][0, 3:4].fill_(value)
    )
    with pytest.raises(ValueError, match=r"the weight 'transformer\.h\.0\.mlp\.c_fc\.weight' is not finite"):
        load_model(str(spoilt))


def test_a_reward_model_is_no_policy(tmp_path, model_folder):
    scorer = load_scorer(str(model_folder), fresh=True)
    scorer.model.save_pretrained(tmp_path)
    scorer.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a model that judges"):
        load_model(str(tmp_path))
    assert load_scorer(str(tmp_path)).model.config.num_labels == 1


def test_a_model_without_keys_and_values_is_refused(tmp_path, tokenizer):
    config = MambaConfig(vocab_size=300, hidden_size=8, state_size=4, num_hidden_layers=1)
    config.eos_token_id = config.bos_token_id = config.pad_token_id = 0
    MambaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a MambaForCausalLM, .* must be causal models of attention"):
        load_model(str(tmp_path))


def test_the_start_is_checked_for_every_row(tmp_path, model_folder, scored):
    """One wrong reference log-probability, wherever it is: not only in the first batch (512 of many)."""
    for row in (0, 7, 15):
        rows = scored.to_list()
        rows[row]["reference_log_probs"][2] += 0.5
        with pytest.raises(ValueError, match=f"but log pi - log ref is 0.5 for a completion of row {row} "):
            aligned(tmp_path / str(row), model_folder, Dataset.from_list(rows))


class Killed(TrainerCallback):
    """Stops the run where no line of the log is due."""

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == 6:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model_folder, sampled) -> Path:
    """An uninterrupted run, with its last two checkpoints."""
    from llm.generate import read_scored

    folder = tmp_path_factory.mktemp("whole")
    aligned(folder, model_folder, read_scored(sampled))
    return folder


def test_the_log_of_a_resumed_run_is_that_of_a_whole_one(tmp_path, whole, model_folder, scored, monkeypatch):
    """Also between the lines, in the mean of all losses, and where a checkpoint is between two lines."""
    start = AlignmentTrainer.__init__
    with monkeypatch.context() as patch:
        patch.setattr(
            AlignmentTrainer, "__init__", lambda s, *a, **k: start(s, *a, **k, callbacks=[Killed()])
        )
        with pytest.raises(KeyboardInterrupt):
            aligned(tmp_path, model_folder, scored)
    aligned(tmp_path, model_folder, scored)
    assert logged(tmp_path) == logged(whole) and bits(tmp_path) == bits(whole)
    losses = {x["step"]: x["loss"] for x in logged(whole) if "loss" in x}
    assert list(losses) == [2, 3, 4, 6, 8]
    mean = sum(n * x for n, x in zip((2, 1, 1, 2, 2), losses.values(), strict=True)) / 8
    assert logged(whole)[-1]["train_loss"] == pytest.approx(mean, rel=1e-12)


HARMS = {
    "removed": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_checkpoint_with_any_file_damaged_is_passed_over(tmp_path, whole, harm, capsys):
    """Whatever a loss of power leaves: the one before is taken, and the file is named."""
    names = sorted(path.name for path in (whole / "checkpoint-8").iterdir())
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", COMPLETE} <= set(names)
    for name in names:
        folder = tmp_path / name
        shutil.copytree(whole, folder)
        HARMS[harm](folder / "checkpoint-8" / name)
        assert last_checkpoint(folder, say=True) == str(folder / "checkpoint-6")
        said = capsys.readouterr().err
        assert said.startswith("checkpoint-8 is passed over: ") and name in said and said.count("\n") == 1


@pytest.mark.parametrize("left", [1, 0])
def test_from_the_checkpoint_before_or_from_the_start_come_the_same_bits(
    tmp_path, whole, model_folder, scored, left
):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "model")
    for checkpoint in sorted(tmp_path.glob("checkpoint-*"))[left:]:
        (checkpoint / "optimizer.pt").write_bytes(b"")
    aligned(tmp_path, model_folder, scored)
    assert bits(tmp_path) == bits(whole) and logged(tmp_path) == logged(whole)


@pytest.mark.parametrize("harm", HARMS)
def test_a_model_with_any_file_damaged_is_refused_by_name(tmp_path, whole, harm):
    for path in sorted((whole / "model").iterdir()):
        if (path.name, harm) == (COMPLETE, "removed"):
            continue  # then it is as whole as any that others wrote
        folder = tmp_path / path.name
        shutil.copytree(whole / "model", folder)
        HARMS[harm](folder / path.name)
        with pytest.raises(ValueError, match=path.name.replace(".", r"\.")):
            load_model(str(folder))


def test_what_is_complete_is_known_by_size_and_content(tmp_path):
    (tmp_path / "inside").mkdir()
    for name in ("a", "inside/b"):
        (tmp_path / name).write_text("text")
    mark_complete(tmp_path)
    assert damage(tmp_path) is None
    (tmp_path / "c").write_text("more")  # is not theirs
    assert damage(tmp_path) is None
    (tmp_path / "inside/b").write_text("Text")
    assert damage(tmp_path) == f"{tmp_path / 'inside/b'} holds something else than was written"


@contextlib.contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A small disk of its own, where that is allowed."""
    folder.mkdir()
    made = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("mounting a small disk needs rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("size", ["64k", "160k", "320k"])
def test_a_full_disk_is_called_a_full_disk_and_the_run_goes_on_when_there_is_room(
    tmp_path, model_folder, whole, sampled, size, capsys
):
    """At the first file, the first checkpoint, and a later one; what is there stays whole."""
    given = ["--data", sampled, "--model", model_folder, "--beta", "0.2", "--steps", 8, "--batch-size", 4]
    given += ["--learning-rate", 1e-3, "--save-every", 2, "--log-every", 3, "--quiet"]
    with disk(tmp_path / "disk", size) as small:
        assert main(["align", *map(str, given), "--out", str(small / "run")]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert (
            len(said) == 1
            and re.search(r"cannot write .*\(0(\.0\d*)? MB are free", said[0])
            and "corrupt" not in said[0]
        )
        assert not list((small / "run").glob("**/.model*"))
        shutil.copytree(small / "run", tmp_path / "run")
    assert main(["align", *map(str, given), "--out", str(tmp_path / "run")]) == 0
    start, moved, same = (
        load_file(f / "model.safetensors") for f in (model_folder, tmp_path / "run/model", whole / "model")
    )
    assert any(not torch.equal(start[name], moved[name]) for name in start) and start.keys() == same.keys()


def test_a_finished_folder_that_cannot_be_written_is_no_error(tmp_path, model_folder, pairs, capsys):
    with disk(tmp_path / "disk", "4m") as small:
        given = ["--data", pairs, "--model", model_folder, "--out", small / "run", "--steps", 1, "--quiet"]
        command = ["sft", *map(str, given), "--max-prompt-tokens", "40"]
        assert main(command) == 0
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        assert main(command) == 0 and "was already there" in capsys.readouterr().out
        assert main([*command, "--seed", "1"]) == 2
        assert "was made with seed = 0, not 1" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", [made(beta=0.3) for made in (DPO, IPO, CoPG, RLOO)], ids=str)
def test_the_logged_loss_is_the_algorithms_own(tmp_path, policy, scored, algorithm):
    """At the start h = 0: DPO's is log 2, IPO's and CoPG's a known square; ties count a half."""
    args = arguments(tmp_path, steps=1, batch_size=16, save_every=None)
    trainer = AlignmentTrainer(policy[0], algorithm, Recorded(), args, scored)
    trainer.train()
    line = trainer.state.log_history[0]
    r = torch.tensor(scored["rewards"]).double()
    pairs = torch.combinations(torch.arange(4))
    gap = r[:, pairs[:, 0]] - r[:, pairs[:, 1]]
    expected = {
        "DPO": torch.tensor(2.0).log(),  # -sum p log sigmoid(0)
        "IPO": torch.tensor(1 / (4 * 0.3**2)),  # (h - 1/(2 beta))^2, whoever won
        "CoPG": (gap.square() / (2 * 0.3)).mean(),
    }.get(type(algorithm).__name__)
    if expected is None:
        assert "loss" not in line and "train_loss" not in trainer.state.log_history[-1]
    else:
        assert line["loss"] == pytest.approx(float(expected), rel=1e-3)
        assert trainer.state.log_history[-1]["train_loss"] == line["loss"]
    assert ("accuracy" in line) == (type(algorithm).__name__ in ("DPO", "IPO"))
    assert line.get("accuracy", 0.5) == pytest.approx(0.5, abs=0.5) and abs(line.get("margin", 0)) < 1e-3


def test_margin_and_accuracy_are_those_of_the_preferred():
    score = torch.tensor([[1.0, 3.0], [2.0, 2.0], [5.0, 1.0]])
    first = torch.tensor([[0.5, 1.0], [0.0, 0.5]]).expand(3, 2, 2)
    assert {name: float(x) for name, x in order(score, first).items()} == {
        "margin": pytest.approx((-2 + 0 + 4) / 3),
        "accuracy": pytest.approx(0.5),
    }
