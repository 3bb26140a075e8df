"""Laws of training: batches and processes are equivalent, a killed run resumed is the run, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import processes
from bandits import DPO, DRO, IPO, RLOO, SRPO, CoPG, NashMD, OnlineIPO, ReMax
from llm.model import load_model
from llm.pipeline import align, with_adapters
from llm.sources import OnPolicy, Recorded, with_reference_log_probs
from llm.train import AlignmentTrainer
from llm.trainer import last_checkpoint, training_arguments


def arguments(folder: Path, **changes):
    return training_arguments(
        folder, **({"steps": 4, "batch_size": 8, "learning_rate": 1e-3, "seed": 0, "log_every": 1} | changes)
    )


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize(
    "algorithm", [CoPG(beta=0.2), CoPG(beta=0.2, k=4), DPO(beta=0.2), IPO(beta=0.2), DRO(beta=0.2)], ids=str
)
def test_offline_training_prefers_what_is_rewarded(tmp_path, policy, scored, algorithm):
    """After 30 steps on 16 prompts, log pi/ref and the reward are correlated within each group."""
    model, _ = policy
    trainer = AlignmentTrainer(
        model, algorithm, Recorded(), arguments(tmp_path, steps=30, batch_size=16), scored
    )
    trainer.train()
    log_prob = np.array(
        with_reference_log_probs(scored.remove_columns("reference_log_probs"), model)["reference_log_probs"]
    )
    h, r = log_prob - np.array(scored["reference_log_probs"]), np.array(scored["rewards"])
    h, r = h - h.mean(1, keepdims=True), r - r.mean(1, keepdims=True)
    assert (h * r).sum() / np.sqrt((h**2).sum() * (r**2).sum()) > 0.5


def test_srpo_trains_both_policies_in_one_model(tmp_path, policy, scored):
    model, tokenizer = policy
    source = Recorded(torch.tensor(tokenizer("\n\nRevised:").input_ids))
    trainer = AlignmentTrainer(model, SRPO(beta=0.5), source, arguments(tmp_path, steps=2), scored)
    before = weights(model).clone()
    trainer.train()
    assert not torch.equal(before, weights(model))


ONLINE = [RLOO(beta=0.1, k=4), ReMax(beta=0.1), OnlineIPO(beta=0.1), NashMD(beta=0.1, mixture=0.25)]


@pytest.mark.parametrize("algorithm", ONLINE, ids=str)
def test_online_training_raises_the_reward(tmp_path, policy, prompts, model_folder, algorithm):
    """Letters are worth more than other signs: after 25 steps the policy's own samples have more of them."""
    model, tokenizer = policy
    reference = load_model(str(model_folder))[0]

    def letters(prompts, completions, references):
        return [4 * sum(c.isascii() and c.isalpha() for c in y) / max(len(y), 1) for y in completions]

    k = 8 if isinstance(algorithm, NashMD) else 4  # half of them the opponent's
    source = OnPolicy(
        algorithm, reference, tokenizer, letters, k, 8, seed=0, greedy=isinstance(algorithm, ReMax)
    )
    args = arguments(tmp_path, steps=25, batch_size=16, learning_rate=1e-2)
    trainer = AlignmentTrainer(model, algorithm, source, args, prompts)
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.2
    first = trainer.state.log_history[0]  # at step 0 the KL is zero; Nash-MD's samples are not all its own
    assert abs(first["log_ratio" if isinstance(algorithm, NashMD) else "kl"]) < 1e-4
    assert 1 <= first["length"] <= 8


def test_the_policy_must_start_at_the_reference(tmp_path, policy, scored):
    model, _ = policy
    with torch.no_grad():
        model.transformer.ln_f.weight += 0.3
    with pytest.raises(
        ValueError, match="at step 0 the policy must be the reference, but log pi - log ref is"
    ):
        AlignmentTrainer(model, CoPG(beta=0.2), Recorded(), arguments(tmp_path), scored).train()


def test_a_batch_of_8_is_8_accumulated_batches_of_1(tmp_path, model_folder, scored):
    """The same weights up to the rounding of sums taken in another order."""
    found = []
    for name, batch, accumulation in (("one", 8, 1), ("two", 4, 2), ("eight", 1, 8)):
        model, _ = load_model(str(model_folder))
        args = arguments(tmp_path / name, batch_size=batch, accumulation=accumulation)
        AlignmentTrainer(model, CoPG(beta=0.2), Recorded(), args, scored).train()
        found.append(weights(model))
    start = weights(load_model(str(model_folder))[0])
    moved = (found[0] - start).norm()
    for other in found[1:]:
        assert (other - found[0]).norm() < 1e-3 * moved


def command(folder: Path, data: Path, model: Path, *more: str) -> list[str]:
    paths = {"--data": data, "--model": model, "--out": folder}
    given = [str(part) for pair in paths.items() for part in pair]
    given += ["--save-every", "2", "--log-every", "1", "--steps", "8", "--learning-rate", "1e-3", *more]
    return ["align" if "--algorithm" in more else "sft", *given]


def test_two_processes_are_one_with_the_same_global_batch(tmp_path, model_folder, sampled):
    """As torch's launcher starts them, with gloo: batches of 4 on each of two processes, 8 on one."""
    more = ["--algorithm", "CoPG", "--batch-size"]
    port, both = str(29000 + os.getpid() % 999), command(tmp_path / "two", sampled, model_folder, *more, "4")
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    said = [tmp_path / "0.txt", tmp_path / "1.txt"]
    two = [
        processes.start(both, file, RANK=str(rank), LOCAL_RANK=str(rank), **world)
        for rank, file in enumerate(said)
    ]
    for process, file in zip(two, said, strict=True):
        processes.end(process, file)
    processes.run(command(tmp_path / "one", sampled, model_folder, *more, "8"), tmp_path / "one.txt")
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    start = load_file(model_folder / "model.safetensors")
    moved = sum(float((one[name] - start[name]).norm() ** 2) for name in one) ** 0.5
    apart = sum(float((one[name] - two[name]).norm() ** 2) for name in one) ** 0.5
    assert moved > 0.01 and 0 < apart < 1e-3 * moved


@pytest.mark.parametrize("algorithm", ["CoPG", "RLOO", "fine-tuning"])
def test_kill_9_and_resume_is_the_uninterrupted_run(tmp_path, model_folder, sampled, pairs, algorithm):
    """Killed after its first complete checkpoint: weights and log are the same, bit for bit."""
    more = ["--batch-size", "4", "--algorithm", algorithm, "--beta", "0.2"]
    data = sampled
    if algorithm == "fine-tuning":
        data, more = pairs, ["--batch-size", "1", "--max-prompt-tokens", "40"]
    elif algorithm == "RLOO":
        data = pairs
        more += ["--reward", "length", "--k", "2", "--max-new-tokens", "4", "--max-prompt-tokens", "40"]
    killed, whole, said = tmp_path / "killed", tmp_path / "whole", tmp_path / "said.txt"
    process = processes.start(command(killed, data, model_folder, *more), said)
    while last_checkpoint(killed) is None and process.is_alive():
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (killed / "model").exists()
    for folder in (killed, whole):
        processes.run(command(folder, data, model_folder, *more), said)
    file = Path("model") / "model.safetensors"
    assert (killed / file).read_bytes() == (whole / file).read_bytes()
    logs = [
        [json.loads(line) for line in (f / "log.jsonl").read_text().splitlines()] for f in (killed, whole)
    ]
    steps = [
        [{k: v for k, v in e.items() if not k.startswith("train")} for e in log if "grad_norm" in e]
        for log in logs
    ]
    assert steps[0] == steps[1] and len(steps[0]) == 8


def test_a_checkpoint_that_was_not_finished_is_passed_over(tmp_path, policy, scored):
    args = arguments(tmp_path, save_every=2)
    AlignmentTrainer(policy[0], CoPG(beta=0.2), Recorded(), args, scored).train()
    assert last_checkpoint(tmp_path).endswith("checkpoint-4")
    (tmp_path / "checkpoint-4" / "complete.json").unlink()
    assert last_checkpoint(tmp_path).endswith("checkpoint-2")
    assert last_checkpoint(tmp_path / "nothing") is None


def test_another_algorithm_in_the_same_folder_is_refused(tmp_path, policy, scored):
    model, tokenizer = policy
    for beta in (0.2, 0.3):
        call = (
            CoPG(beta=beta),
            Recorded(),
            model,
            tokenizer,
            scored,
            arguments(tmp_path, steps=1),
            {"beta": beta},
        )
        if beta == 0.2:
            align(tmp_path, *call)
        else:
            with pytest.raises(ValueError, match="was made with beta = 0.2, not 0.3; choose another folder"):
                align(tmp_path, *call)


def test_adapters_change_nothing_at_the_start_and_little_of_the_weights(
    tmp_path, policy, scored, model_folder
):
    pytest.importorskip("peft")
    model, tokenizer = policy
    found = align(
        tmp_path,
        CoPG(beta=0.2),
        Recorded(),
        model,
        tokenizer,
        scored,
        arguments(tmp_path),
        {"lora": 2},
        lora_rank=2,
    )
    found, start = (load_model(str(folder))[0] for folder in (found, model_folder))
    assert torch.equal(found.transformer.wte.weight, start.transformer.wte.weight)
    change = (found.transformer.h[0].attn.c_attn.weight - start.transformer.h[0].attn.c_attn.weight).detach()
    assert 1 <= int(torch.linalg.matrix_rank(change, rtol=1e-4)) <= 2
    assert sum(p.requires_grad for p in with_adapters(start, 2).parameters()) > 0
