"""Laws of scored data sets: what is cached is true, and an interrupted run ends with the same bytes."""

from __future__ import annotations

import errno
import gzip
import json
import signal
import time
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from datasets import Dataset

import processes
from llm.data import load_rows
from llm.generate import Sampling, against_samples, best_of_n, read_scored, texts_of, write_scored
from llm.judges import CutOff
from llm.layouts import scored
from llm.log_probs import sequence_log_probs
from llm.model import load_model
from llm.rewards import length, rouge_l
from llm.sources import with_reference_log_probs
from llm.tokens import encode

PAIRS = [
    {"prompt": "The kettle sang on the stove.\n\nTL;DR:", "completion": " Kettle sang."},
    {"prompt": "Nobody reads the manual.\n\nTL;DR:", "completion": " Unread manual."},
    {"prompt": "A ferry crossed at noon.\n\nTL;DR:", "completion": " Ferry at noon."},
    {"prompt": "Summaries are short.\n\nTL;DR:", "completion": " Short."},
    {"prompt": "Rain fell over the harbour.\n\nTL;DR:", "completion": " Rain."},
]
SAMPLING = Sampling(k=3, max_new_tokens=6, seed=1, shard_size=2)


@pytest.fixture
def loaded(model_folder):
    return load_model(str(model_folder))


@pytest.fixture
def prompts(loaded):
    rows = Dataset.from_list(PAIRS)
    return encode(rows, loaded[1], max_prompt_tokens=40, max_completion_tokens=24).rows


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jsonl"))}


def test_another_reference_is_the_one_whose_log_probabilities_are_kept(tmp_path, loaded, prompts):
    """The sampler's beside it, each as computed again; the completions do not depend on it."""
    model, tokenizer = loaded
    other = deepcopy(model)
    with torch.no_grad():
        other.get_output_embeddings().weight.mul_(1.5)
    given = (prompts, model, tokenizer, rouge_l, SAMPLING)
    alone, both = (
        write_scored(tmp_path / name, *given, reference=reference, progress=False)
        for name, reference in (("alone", None), ("both", other))
    )
    assert both["completions"] == alone["completions"]
    assert both["behavior_log_probs"] == alone["behavior_log_probs"] == alone["reference_log_probs"]
    its = with_reference_log_probs(both.remove_columns("reference_log_probs"), other)["reference_log_probs"]
    torch.testing.assert_close(torch.tensor(both["reference_log_probs"]), torch.tensor(its))
    assert both["reference_log_probs"] != both["behavior_log_probs"]


def test_what_is_cached_is_true(tmp_path, loaded, prompts):
    """Rewards and log-probabilities, computed again one completion at a time."""
    model, tokenizer = loaded
    rows = write_scored(tmp_path, prompts, model, tokenizer, rouge_l, SAMPLING, progress=False)
    assert len(rows) == 5 and {len(row["completions"]) for row in rows} == {3}
    for row, pair in zip(rows, PAIRS, strict=True):
        for i, (text, ids) in enumerate(zip(row["completions"], row["completion_ids"], strict=True)):
            assert tokenizer.decode(ids, skip_special_tokens=True) == text
            assert tokenizer.eos_token_id not in ids[:-1] and len(ids) <= 6
            assert row["rewards"][i] == rouge_l([""], [text], [pair["completion"]])[0]
            assert row["lengths"][i] == len(text.split())
            with torch.no_grad():
                x, y = torch.tensor([row["prompt_ids"]]), torch.tensor([[ids]])
                found = sequence_log_probs(model, x, y, shared_prefix=False).item()
            assert abs(found - row["reference_log_probs"][i]) < 1e-4
        assert (
            row["behavior_log_probs"] == row["reference_log_probs"] and row["reference"] == pair["completion"]
        )


def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path, loaded, prompts):
    model, tokenizer = loaded
    write_scored(tmp_path / "whole", prompts, model, tokenizer, length, SAMPLING, progress=False)
    write_scored(tmp_path / "parts", prompts, model, tokenizer, length, SAMPLING, progress=False)
    (tmp_path / "parts" / "shards" / "shard-00001.jsonl").unlink()
    (tmp_path / "parts" / "shards" / ".shard-00001.jsonl.99").write_text('{"half": ')  # what a kill leaves
    write_scored(tmp_path / "parts", prompts, model, tokenizer, length, SAMPLING, progress=False)
    assert (
        contents(tmp_path / "whole") == contents(tmp_path / "parts")
        and len(contents(tmp_path / "whole")) == 3
    )


def test_kill_9_and_resume_is_the_uninterrupted_run(tmp_path, model_folder):
    """`python -m llm sample`, killed after its first shard."""
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in PAIRS * 6)
    common = ["sample", "--model", str(model_folder), "--data", str(tmp_path / "pairs.jsonl.gz")]
    common += ["--reward", "rouge_l", "--k", "2", "--max-new-tokens", "6", "--shard-size", "3"]
    common += ["--max-prompt-tokens", "40", "--out"]
    killed, whole, said = tmp_path / "killed", tmp_path / "whole", tmp_path / "said.txt"
    process = processes.start([*common, str(killed)], said)
    while not list(killed.rglob("shard-*.jsonl")) and process.is_alive():
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    done = contents(killed)
    assert 1 <= len(done) < 10
    for folder in (killed, whole):
        processes.run([*common, str(folder)], said)
    assert contents(killed) == contents(whole) and len(contents(whole)) == 10
    assert done.items() <= contents(whole).items()


def test_best_of_n_keeps_the_highest_reward(tmp_path, loaded, prompts):
    rows = write_scored(tmp_path, prompts, *loaded, length, SAMPLING, progress=False)
    for best, row in zip(best_of_n(rows), rows, strict=True):
        assert best["reward"] == max(row["rewards"]) == len(best["completion"].split())


def test_a_comparison_with_a_sample_ends_where_the_sample_ended(tmp_path, loaded, prompts):
    """What people wrote ends; a sample that was cut off does not, and rewards are told so."""
    _, tokenizer = loaded
    rows = write_scored(tmp_path, prompts, *loaded, length, SAMPLING, progress=False)
    end, pairs = tokenizer.eos_token_id, against_samples(rows, tokenizer)
    sampled = [
        ids
        for row in rows
        for ids, y in zip(row["completion_ids"], row["completions"], strict=True)
        if y.strip()
    ]
    assert [row["completion_ids"][1] for row in pairs] == sampled
    for row in pairs:
        chosen, rejected = row["completion_ids"]
        assert tokenizer.decode(chosen) == row["chosen"] + "<|endoftext|>" and row["prompt_ids"]
        kinds = [type(text) for text in texts_of([chosen, rejected], tokenizer)]
        assert kinds == [str, str if rejected[-1] == end else CutOff]
    assert {ids[-1] == end for ids in sampled} == {False, True}


def test_other_settings_are_refused(tmp_path, loaded, prompts):
    write_scored(tmp_path, prompts, *loaded, length, SAMPLING, progress=False)
    with pytest.raises(ValueError, match="made with seed = 1, not 2; choose another folder"):
        write_scored(tmp_path, prompts, *loaded, length, Sampling(3, 6, 2, 2), progress=False)


def test_a_corrupt_shard_is_named_with_its_line(tmp_path, loaded, prompts):
    write_scored(tmp_path, prompts, *loaded, length, SAMPLING, progress=False)
    shard = tmp_path / "shards" / "shard-00001.jsonl"
    shard.write_text(shard.read_text()[:-30])
    with pytest.raises(ValueError, match=r"shard-00001.jsonl:2: the line is not JSON.*delete that shard"):
        read_scored(tmp_path)
    shard.unlink()
    with pytest.raises(ValueError, match="hold 3 rows instead of 5"):
        read_scored(tmp_path)


def test_a_reward_that_is_not_finite_is_named(tmp_path, loaded, prompts):
    def broken(prompts, completions, references):
        return [float("nan") if i == 4 else 1.0 for i in range(len(completions))]

    with pytest.raises(
        ValueError, match=r"in prompts 0 to 1: rewards must be finite, but rewards\[4\] = nan"
    ):
        write_scored(tmp_path, prompts, *loaded, broken, SAMPLING, progress=False)
    assert not contents(tmp_path)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, loaded, prompts, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    (tmp_path / "settings.json").touch()
    (tmp_path / "settings.json").unlink()
    with pytest.raises(OSError, match="cannot write .*settings.json.*No space left on device.*make room"):
        write_scored(tmp_path, prompts, *loaded, length, SAMPLING, progress=False)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"]  # which is empty


def test_an_empty_sample_is_kept_and_an_empty_text_is_not(tmp_path):
    """End-of-sequence at once is a completion like others; text without ids may be a mistake."""
    row = {"prompt": "x", "completions": ["", " a"], "rewards": [0.0, 1.0]}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row | {"completion_ids": [[0], [5, 0]]}) + "\n")
    assert load_rows(path, scored).rows[0]["completions"] == ["", " a"]
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="must be text that is not empty"):
        load_rows(path, scored)
