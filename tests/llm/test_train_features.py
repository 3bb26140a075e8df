"""Laws of what is trained beside, again and how: a value, reused samples, and the Trainer's own switches."""

from __future__ import annotations

import pickle
import shutil
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import TrainerCallback

import llm.train
import llm.trainer
from bandits import DPO, DROV, GRPO, KTO, PPO, RLOO, ALoL, CoPG, NashMD, PolicyGradient, behavior_value
from bandits.samples import Samples
from llm.beside import VALUE, attach_value, prompt_values
from llm.files import mark_complete
from llm.model import load_model
from llm.pipeline import align, with_adapters
from llm.sources import (
    Mismatched,
    OnPolicy,
    Recorded,
    mean_reward,
    trained_value,
    with_preferences,
    with_reference_log_probs,
)
from llm.tokens import pad
from llm.train import AlignmentTrainer
from llm.trainer import last_checkpoint, training_arguments


def arguments(folder: Path, **changes):
    usual = {"steps": 4, "batch_size": 8, "learning_rate": 1e-3, "seed": 0, "log_every": 1}
    return training_arguments(folder, **(usual | changes))


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def letters(prompts, completions, references):
    """Letters are worth more than other signs."""
    return [4 * sum(c.isascii() and c.isalpha() for c in y) / max(len(y), 1) for y in completions]


def one_by_one(scored: Dataset) -> Dataset:
    """Every completion as a row of its own, k = 1."""
    lists = ("completions", "completion_ids", "rewards", "reference_log_probs", "behavior_log_probs")
    rows = [
        {"prompt": row["prompt"], "prompt_ids": row["prompt_ids"]} | {name: [row[name][i]] for name in lists}
        for row in scored.to_list()
        for i in range(len(row["rewards"]))
    ]
    return Dataset.from_list(rows)


def log_ratios(model, rows: Dataset) -> np.ndarray:
    now = with_reference_log_probs(rows.remove_columns("reference_log_probs"), model)["reference_log_probs"]
    return np.array(now) - np.array(rows["reference_log_probs"])


def test_a_trained_value_meets_the_mean_regularised_reward_of_single_completions(tmp_path, policy, scored):
    """T8.1 with k = 1: V = E_mu[R], from half a unit below; and log pi/ref follows the reward."""
    model, _ = policy
    rows, beta = one_by_one(scored), 0.2
    attach_value(model, float(np.mean(rows["rewards"])) - 0.5)
    args = arguments(tmp_path, steps=60, batch_size=16)
    trainer = AlignmentTrainer(model, DROV(beta=beta), Recorded(value=trained_value), args, rows)
    trainer.train()
    h, r = log_ratios(model, rows)[:, 0], np.array(rows["rewards"])[:, 0]
    V = prompt_values(model, *pad(rows["prompt_ids"])).detach().numpy()
    assert abs((r - beta * h - V).mean()) < 0.05
    of_a_prompt = [x.reshape(16, 4) - x.reshape(16, 4).mean(1, keepdims=True) for x in (h, r)]
    assert np.corrcoef(*(x.ravel() for x in of_a_prompt))[0, 1] > 0.5
    seen = [entry["value"] for entry in trainer.state.log_history if "value" in entry]
    assert seen[0] == pytest.approx(r.mean() - 0.5, abs=1e-6)


def test_leftover_lunch_prefers_what_is_better_than_the_mean(tmp_path, policy, scored):
    model, _ = policy
    args = arguments(tmp_path, steps=30, batch_size=16)
    AlignmentTrainer(model, ALoL(), Recorded(value=mean_reward), args, scored).train()
    h, r = log_ratios(model, scored), np.array(scored["rewards"])
    better = r > r.mean(1, keepdims=True)
    assert h[better].mean() > h[~better].mean() + 0.5


def test_ranked_rewards_are_their_order_and_nothing_else():
    """Preferences 1, 0 or 1/2 for a tie, whatever the rewards' size; desirable is what is above the mean."""
    reward = torch.tensor([[0.1, 3.0, 0.1], [2.0, -1.0, 5.0]])
    samples = Samples(log_prob=torch.zeros(2, 3), reference_log_prob=torch.zeros(2, 3), reward=reward)
    found = with_preferences(samples, ranked=True).preference
    expected = [[[0.5, 0, 0.5], [1, 0.5, 1], [0.5, 0, 0.5]], [[0.5, 1, 0], [0, 0.5, 0], [1, 1, 0.5]]]
    assert found.tolist() == expected
    scaled = with_preferences(replace(samples, reward=100 * reward + 7), ranked=True)
    assert scaled.preference.tolist() == expected
    assert with_preferences(samples).preference.tolist() != expected


def test_kto_learns_from_ranked_samples(tmp_path, policy, scored):
    """Desirable is what is above the mean of its prompt: log pi/ref there is the higher."""
    model, _ = policy
    args = arguments(tmp_path, steps=30, batch_size=16)
    source = Recorded(value=Mismatched(deepcopy(model)), ranked=True)
    AlignmentTrainer(model, KTO(beta=0.2), source, args, scored).train()
    h, r = log_ratios(model, scored), np.array(scored["rewards"])
    better = r > r.mean(1, keepdims=True)
    assert h[better].mean() > h[~better].mean() + 0.5


def test_a_mean_over_one_completion_is_refused(tmp_path, policy, scored):
    trainer = AlignmentTrainer(
        policy[0], ALoL(), Recorded(value=mean_reward), arguments(tmp_path), one_by_one(scored)
    )
    with pytest.raises(ValueError, match="mean over one completion is that completion itself; sample at"):
        trainer.train()


def fresh(algorithm, model_folder, reuse: int = 1, reward=letters) -> OnPolicy:
    reference, tokenizer = load_model(str(model_folder))
    return OnPolicy(algorithm, reference, tokenizer, reward, 4, 8, seed=0, reuse=reuse)


def test_without_reuse_the_clip_never_acts(tmp_path, model_folder, prompts):
    """PPO and policy gradient train the same weights, bit for bit, and pi/mu is 1."""
    found = []
    usual = {"beta": 0.1, "baseline": behavior_value, "k": 4}
    for algorithm in (PPO(**usual), PolicyGradient(**usual)):
        model, _ = load_model(str(model_folder))
        source = fresh(algorithm, model_folder)
        trainer = AlignmentTrainer(model, algorithm, source, arguments(tmp_path), prompts)
        trainer.train()
        found.append(weights(model))
        assert all(entry["off_policy"] == 0 for entry in trainer.state.log_history if "grad_norm" in entry)
    assert torch.equal(*found)


def test_reused_batches_come_in_the_order_they_were_drawn(policy, model_folder, prompts):
    """Two batches a step, as accumulation has it: steps 1 and 2 use the samples of 0, 3 has its own."""
    source = fresh(PPO(beta=0.1, k=4), model_folder, reuse=3)
    batches = [
        llm.train.collate_rows([row | {"number": i} for i, row in enumerate(prompts.to_list()[part])])
        for part in (slice(0, 8), slice(8, 16))
    ]
    seen = [[source(policy[0], batch | {"step": step}) for batch in batches] for step in range(4)]
    for again in seen[1:3]:
        for now, then in zip(again, seen[0], strict=True):
            torch.testing.assert_close(now.behavior_log_prob, then.log_prob.detach(), rtol=0, atol=0)
            assert now.reward is then.reward
    assert not torch.equal(seen[0][0].reward, seen[0][1].reward)
    assert not torch.equal(seen[3][0].behavior_log_prob, seen[0][0].behavior_log_prob)


REUSING = [PPO(beta=0.1, k=4, baseline=behavior_value), GRPO(beta=0.1, k=4), DPO(beta=0.1)]


@pytest.mark.parametrize("algorithm", REUSING, ids=lambda a: type(a).__name__)
def test_reused_samples_leave_the_policy_and_raise_the_reward(
    tmp_path, policy, prompts, model_folder, algorithm
):
    """pi/mu is 1 at every fourth step, and departs from it in between."""
    args = arguments(tmp_path, steps=32, batch_size=16, learning_rate=1e-2)
    trainer = AlignmentTrainer(policy[0], algorithm, fresh(algorithm, model_folder, reuse=4), args, prompts)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    off = np.array([entry["off_policy"] for entry in log]).reshape(8, 4)
    assert (off[:, 0] == 0).all() and (off[:, 1:] > 1e-3).all() and off.max() > 0.1
    drawn = [entry["reward"] for entry in log[::4]]
    assert np.mean(drawn[-2:]) > np.mean(drawn[:2]) + 0.2


def test_an_opponent_only_meets_the_policy(policy, model_folder, prompts):
    """Pairs (own, opponent), k / 2 a prompt: with mixture 1 all second ones are the reference's."""
    with torch.no_grad():
        policy[0].transformer.wte.weight *= 12  # pi is not ref
    source = fresh(NashMD(beta=0.1, mixture=1.0), model_folder)
    batch = llm.train.collate_rows([row | {"number": i} for i, row in enumerate(prompts.to_list())])
    found = source(policy[0], batch | {"step": 0})
    assert found.log_prob.shape == (16, 2, 2) and found.preference.shape == (16, 2, 2, 2)
    by_policy, by_reference = found.log_ratio.detach().mean((0, 1))
    assert by_policy > 0.5 and by_reference < -0.5  # KL(pi || ref) and -KL(ref || pi)
    with pytest.raises(ValueError, match="k must be even, half of them the opponent's, but is 3; choose 4"):
        replace(source, k=3)


def test_checkpoints_between_draws_are_refused(tmp_path, policy, prompts, model_folder):
    source = fresh(PPO(beta=0.1), model_folder, reuse=4)
    with pytest.raises(ValueError, match="multiples of reuse = 4, .* save_every = 6; choose a multiple"):
        AlignmentTrainer(policy[0], PPO(beta=0.1), source, arguments(tmp_path, save_every=6), prompts)
    with pytest.raises(ValueError, match="reuse must be at least 1, but is 0"):
        fresh(PPO(beta=0.1), model_folder, reuse=0)


def test_sampling_with_sharded_weights_is_refused(tmp_path, policy, prompts, scored, model_folder):
    """Processes would wait for each other for ever; recorded samples are as good as ever."""

    class Sharded(AlignmentTrainer):
        def create_accelerator_and_postprocess(self):
            super().create_accelerator_and_postprocess()
            self.is_fsdp_enabled = True

    algorithm, args = PPO(beta=0.1), arguments(tmp_path)
    Sharded(policy[0], algorithm, Recorded(), args, scored)
    with pytest.raises(ValueError, match="sampling as it learns takes whole weights on every process"):
        Sharded(policy[0], algorithm, fresh(algorithm, model_folder), args, prompts)


def test_adapters_without_their_package_are_one_line(policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match="needs the package peft; install it"):
        with_adapters(policy[0], 2)


class Killed(TrainerCallback):
    """Stops the run in the middle of a step that is after a checkpoint."""

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == 6:
            raise KeyboardInterrupt


RESUMED = ["value", "value and adapters", "reused samples"]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft's own call
@pytest.mark.parametrize("case", RESUMED)
def test_interrupted_and_resumed_is_uninterrupted(tmp_path, model_folder, scored, prompts, case, monkeypatch):
    """What is trained or kept beside the policy is resumed with it; the final model holds none of it."""

    def run(folder: Path):
        model, tokenizer = load_model(str(model_folder))
        args = arguments(folder, steps=8, batch_size=4, save_every=4)
        if case == "reused samples":
            algorithm, rows = PPO(beta=0.1, k=4), prompts
            source = fresh(algorithm, model_folder, reuse=2)
        else:
            algorithm, rows, source = DROV(beta=0.2), scored, Recorded(value=trained_value)
            attach_value(model, 1.0)
        rank = 2 if "adapters" in case else None
        given = (algorithm, source, model, tokenizer, rows, args, {"a": 1})
        return load_model(str(align(folder, *given, lora_rank=rank)))[0]

    whole = run(tmp_path / "whole")
    start = AlignmentTrainer.__init__
    with monkeypatch.context() as patch:
        patch.setattr(
            AlignmentTrainer, "__init__", lambda self, *a, **k: start(self, *a, **k, callbacks=[Killed()])
        )
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed")
    assert last_checkpoint(tmp_path / "killed").endswith("checkpoint-4")
    resumed = run(tmp_path / "killed")
    assert torch.equal(weights(whole), weights(resumed))
    assert not [name for name in load_file(tmp_path / "killed/model/model.safetensors") if VALUE in name]
    assert not torch.equal(weights(whole), weights(load_model(str(model_folder))[0]))


class Malicious:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
def test_code_in_a_checkpoint_is_never_run(tmp_path, model_folder, scored, file):
    """Refused with one error where the file is read at all; the Trainer's own arguments are not."""

    def run():
        model, tokenizer = load_model(str(model_folder))
        args = arguments(tmp_path / "run", save_every=2)
        given = (CoPG(beta=0.2), Recorded(), model, tokenizer, scored, args, {})
        return load_model(str(align(tmp_path / "run", *given)))[0]

    whole = run()
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / "checkpoint-4")
    trace = tmp_path / "trace"
    torch.save({"state": Malicious(trace)}, tmp_path / "run" / "checkpoint-2" / file)
    mark_complete(tmp_path / "run" / "checkpoint-2")  # as whoever put it there would
    if file == "training_args.bin":
        assert torch.equal(weights(run()), weights(whole))
    else:
        with pytest.raises(ValueError, match="checkpoint-2 is corrupt or holds more than tensors"):
            run()
    assert not trace.exists()
    pickle.loads(pickle.dumps(Malicious(trace))).close()  # the twin that is caught: it does run when trusted
    assert trace.exists()


@pytest.mark.parametrize("algorithm", [CoPG(beta=0.2), RLOO(beta=0.2, k=4)], ids=str)
def test_activation_checkpointing_changes_nothing(tmp_path, model_folder, scored, prompts, algorithm):
    """Neither the gradients nor what is sampled with a cache in between, up to the rounding of float32."""
    found = []
    for checkpointing in (False, True):
        model, _ = load_model(str(model_folder))
        if checkpointing:
            model.activation_checkpointing_enable()
        recorded = isinstance(algorithm, CoPG)
        source = Recorded() if recorded else fresh(algorithm, model_folder)
        AlignmentTrainer(
            model, algorithm, source, arguments(tmp_path), scored if recorded else prompts
        ).train()
        found.append(weights(model))
    moved = found[0] - weights(load_model(str(model_folder))[0])
    assert 0 < moved.norm() and (found[1] - found[0]).norm() < 1e-3 * moved.norm()


def test_bfloat16_trains_nearly_the_same_weights_in_float32(tmp_path, model_folder, scored):
    """Eight bits a product: another path, whose direction is that of the first to a tenth."""
    start = weights(load_model(str(model_folder))[0])
    moved = []
    for bf16 in (False, True):
        model, _ = load_model(str(model_folder))
        AlignmentTrainer(model, CoPG(beta=0.2), Recorded(), arguments(tmp_path, bf16=bf16), scored).train()
        assert all(p.dtype == torch.float32 for p in model.parameters())
        moved.append(weights(model) - start)
    assert not torch.equal(*moved)
    assert torch.cosine_similarity(*moved, dim=0) > 0.9


def test_tensorboard_gets_what_the_log_gets(tmp_path, policy, scored):
    args = arguments(tmp_path, tensorboard=True)
    AlignmentTrainer(policy[0], CoPG(beta=0.2), Recorded(), args, scored).train()
    [events] = tmp_path.rglob("events.out.tfevents.*")
    written = events.read_bytes()
    assert all(
        name in written for name in (b"train/reward", b"train/log_ratio", b"train/coefficient_max_abs")
    )


def test_tensorboard_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(llm.trainer, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="TensorBoard logs need the package tensorboard; install it"):
        arguments(tmp_path, tensorboard=True)
