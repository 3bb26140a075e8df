"""Language models trained by token-wise losses end where the table of their next tokens says, KL <= 1e-8.

A one-layer GPT-2 or GPT-NeoX with 15 answers; its own next-token probabilities are the table.  Expectations
are exact: every group of answers with its probability.  Steps are taken on the gradient of `alignment_loss`
in the parameters, preconditioned by the table's slope: where the gradient vanishes does not depend on that.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from enumerable import PROMPT, flat, jacobian, tiny_model
from torch import Tensor

import bandits as b
from bandits.bandit import Bandit
from bandits.policy import kl
from bandits.samples import TokenSamples, TokenUpdate
from bandits.sequences import (
    Averaged,
    KLInReward,
    TokenGRPO,
    TokenPPO,
    by_answer,
    by_group,
    own_cost,
    table_fixed_point,
    table_update,
)
from bandits.solvers import rest
from llm.__main__ import main
from llm.algorithms import algorithm as named_algorithm
from llm.algorithms import needs
from llm.exact import Completions, as_bandit, as_table, enumerate_completions, token_log_probs
from llm.log_probs import sequence_log_probs
from llm.loss import alignment_loss
from llm.model import load_model
from llm.sources import OnPolicy, Recorded
from llm.train import AlignmentTrainer
from llm.trainer import training_arguments

BETA = 0.5


def completions(model) -> Completions:
    return enumerate_completions(model, PROMPT, 3, eos_token_id=2)


def tokens_of(model, answers: Completions) -> Tensor:
    """log pi of every token of every answer, (A, T)."""
    return token_log_probs(model, PROMPT, answers)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_the_table_of_a_model_gives_every_answer_its_probability(family):
    model = tiny_model(family, vocabulary=3)
    found = completions(model)
    tokens = tokens_of(model, found)
    table = as_table(found, tokens)
    assert [list(y) for y in table.sequences] == [
        y[:n].tolist() for y, n in zip(found.tokens, found.lengths, strict=True)
    ]
    np.testing.assert_allclose(table.log_prob(), found.log_prob.detach().numpy(), atol=1e-13)
    np.testing.assert_allclose(table.token_log_prob(), tokens.detach().numpy(), atol=1e-13)


@pytest.mark.parametrize("shared", [True, False])
def test_log_probs_of_tokens_sum_to_those_of_answers_whatever_the_padding(shared):
    model, generator = tiny_model("gpt2"), torch.Generator().manual_seed(0)
    y = torch.randint(4, (2, 3, 4), generator=generator)
    real = torch.rand(y.shape, generator=generator) < 0.7
    real[..., 1] = True
    given = {
        "prompts": PROMPT.expand(2, -1),
        "completions": y,
        "completion_mask": real,
        "shared_prefix": shared,
    }
    tokens = sequence_log_probs(model, **given, per_token=True)
    torch.testing.assert_close(tokens.sum(-1), sequence_log_probs(model, **given), rtol=0, atol=1e-13)
    behind = torch.arange(4) >= real.sum(-1, keepdim=True)
    assert (tokens[behind] == 0).all() and (tokens[~behind] < 0).all()
    mean = sequence_log_probs(model, **given, per_token=True, average=True)
    torch.testing.assert_close(mean * real.sum(-1, keepdim=True), tokens, rtol=0, atol=1e-13)


class Training:
    """A model, its table and world, and all groups of an algorithm as `TokenSamples` of torch."""

    def __init__(self, algorithm, model, sampling) -> None:
        self.algorithm, self.model, self.sampling = algorithm, model, sampling
        start = self.answers = completions(model)
        self.table = as_table(start, tokens_of(model, start))
        self.world: Bandit = as_bandit(start, np.random.default_rng(4).normal(0, 0.7, len(start.lengths)))
        self.arm = torch.tensor(list(product(range(self.world.arms), repeat=algorithm.k)))
        self.mask = torch.from_numpy(self.table.mask)

    def loss(self, token_log_prob: Tensor) -> Tensor:
        """`alignment_loss` over every group, with its probability; the sampler is not differentiated."""
        log_policy = token_log_prob.detach().sum(-1).numpy()
        law = self.sampling.law(self.algorithm, self.world, log_policy)
        behavior = torch.from_numpy(self.table.conditionals(np.log(law.behavior)))
        reference, arm = torch.from_numpy(self.table.token_log_prob()), self.arm
        reward, length = torch.from_numpy(self.world.reward.copy()), torch.from_numpy(self.table.lengths)
        samples = TokenSamples(
            log_prob=token_log_prob.sum(-1)[arm],
            reference_log_prob=reference.sum(-1)[arm],
            behavior_log_prob=behavior.sum(-1)[arm],
            reward=reward[arm],
            preference=torch.from_numpy(self.world.preference_between(arm.numpy()).copy()),
            length=length[arm],
            token_log_prob=token_log_prob[arm],
            token_reference_log_prob=reference[arm],
            token_behavior_log_prob=behavior[arm],
            mask=self.mask[arm],
        )
        weight = torch.from_numpy(np.array(law.behavior))[arm].prod(-1)
        return alignment_loss(self.algorithm, samples, weight=weight)

    def rows(self, token_log_prob: Tensor) -> Tensor:
        """log pi(v | x) of every prefix and token, (P V,), read off the answers."""
        entry = (self.table.rows * self.table.logits.shape[1] + self.table.tokens).ravel()
        first = [
            int(np.flatnonzero((entry == e) & (self.table.mask.ravel() > 0))[0])
            for e in range(self.table.logits.size)
        ]
        return token_log_prob.reshape(-1)[first]

    def slope(self, rows: Tensor) -> Tensor:
        """-dG / d log pi(v | x) of the table."""

        return -torch.from_numpy(rest.jacobian(self.update, rows.detach().numpy()[None])[0])

    def update(self, rows: np.ndarray) -> np.ndarray:
        """G of tables (..., P V)."""
        logits = rows.reshape(-1, *self.table.logits.shape)
        found = table_update(self.algorithm, self.table, self.world, self.sampling, logits)
        return found.reshape(rows.shape)

    def run(self, steps: int = 70) -> None:
        """Implicit Euler steps of the flow, (J'(K + 1/h)J)^-1 times the gradient, h growing as it falls."""
        parameters, first = list(self.model.parameters()), None
        for _ in range(steps):
            tokens = tokens_of(self.model, self.answers)
            rows = self.rows(tokens)
            still = np.abs(self.update(rows.detach().numpy())).max()
            first = first or still
            if still < 1e-13:
                return
            gradient = flat(torch.autograd.grad(self.loss(tokens), parameters, retain_graph=True))
            left, size, right = torch.linalg.svd(jacobian(rows, parameters), full_matrices=False)
            kept = size > 1e-9 * size[0]
            left, right = left[:, kept] * size[kept], right[kept]
            slope = left.T @ (self.slope(rows) + still / first * torch.eye(len(rows))) @ left
            step = -right.T @ torch.linalg.solve(slope, right @ gradient)
            step *= min(1, 0.5 / float((left @ (right @ step)).abs().max()))
            with torch.no_grad():
                for parameter, change in zip(
                    parameters, step.split([p.numel() for p in parameters]), strict=True
                ):
                    parameter += change.view_as(parameter)


CASES = [
    (b.CoPG(BETA), "offline"),
    (Averaged(b.CoPG(1.5)), "offline"),
    (TokenGRPO(BETA, divisor=by_answer), "on-policy"),
    (TokenGRPO(BETA, divisor=by_group), "on-policy"),
    (TokenPPO(BETA, clip=0.2, k=2), "on-policy"),
    (KLInReward(BETA, cost=own_cost), "on-policy"),
]


FAMILIES = [("gpt2", case) for case in CASES] + [
    ("gpt_neox", case) for case in (CASES[0], CASES[1], CASES[4])
]


@pytest.mark.parametrize(
    ("family", "case"), FAMILIES, ids=lambda x: x if isinstance(x, str) else type(x[0]).__name__
)
def test_token_wise_training_ends_where_the_table_says(family, case):
    algorithm, kind = case
    model = tiny_model(family, vocabulary=3)
    mu = np.random.default_rng(5).dirichlet(np.full(15, 3.0))
    training = Training(algorithm, model, b.OnPolicy() if kind == "on-policy" else b.Offline(mu))
    end = table_fixed_point(algorithm, training.table, training.world, training.sampling)
    assert kl(np.log(end.policy), training.world.log_reference) > 1e-3
    training.run()
    found = completions(model).log_prob.detach().numpy()
    assert kl(np.log(end.policy), found) <= 1e-8


# ---- training by `align` ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spelled:
    """A whole-answer algorithm said token by token: every token has its answer's coefficient  (T10.1)."""

    algorithm: Any

    @property
    def k(self) -> int:
        return self.algorithm.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        reference = samples.token_reference_log_prob.sum(-1)  # the sums are those of the tokens
        c = self.algorithm.update(replace(samples, reference_log_prob=reference)).log_prob
        return TokenUpdate(token_log_prob=samples.mask * c[..., None])


def trained(folder, model_folder, rows, algorithm, source) -> Tensor:
    """The weights after four steps of `AlignmentTrainer`."""
    model, tokenizer = load_model(str(model_folder))
    reference = load_model(str(model_folder))[0]
    args = training_arguments(folder, steps=4, batch_size=4, learning_rate=1e-3, seed=0)
    AlignmentTrainer(model, algorithm, source(algorithm, reference, tokenizer), args, rows).train()
    return flat(list(model.parameters())).detach()


SOURCES = {
    "recorded": lambda algorithm, reference, tokenizer: Recorded(reference=reference),
    "fresh, used twice": lambda algorithm, reference, tokenizer: OnPolicy(
        algorithm, reference, tokenizer, lambda p, c, r: [len(y) / 10 for y in c], 4, 6, seed=0, reuse=2
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_trainer_moves_tokens_that_share_a_coefficient_as_it_moves_their_answer(
    tmp_path, model_folder, scored, prompts, source
):
    rows = scored if source == "recorded" else prompts
    one = b.CoPG(0.2) if source == "recorded" else b.PPO(0.2, baseline=b.behavior_value, k=2)
    given = (model_folder, rows)
    start = flat(list(load_model(str(model_folder))[0].parameters())).detach()
    whole = trained(tmp_path / "whole", *given, one, SOURCES[source])
    spelled = trained(tmp_path / "spelled", *given, Spelled(one), SOURCES[source])
    assert (spelled - whole).norm() < 1e-4 * (whole - start).norm()


def test_a_divisor_is_chosen_by_name_and_averages_by_a_switch():
    """What the command line makes of it; the objects themselves are held to the table above."""
    assert chosen("TokenGRPO", set=["divisor=by_group"]) == TokenGRPO(0.1, divisor=by_group)
    assert chosen("IPO", average=True) == Averaged(b.IPO(0.1))
    assert "length" in needs(Averaged(b.IPO(0.1))).fields
    with pytest.raises(ValueError, match="Averaged takes algorithms of one policy alone, but NashMD has"):
        chosen("NashMD", average=True)


def chosen(name: str, **options) -> Any:
    given = {"algorithm": name, "beta": 0.1, "clip": None, "mixture": 0.125, "set": [], "average": False}
    return named_algorithm(argparse.Namespace(**given | options), online=False)


def test_recorded_rows_do_not_say_who_sampled_each_token(tmp_path, model_folder, sampled, capsys):
    given = ["--data", sampled, "--model", model_folder, "--out", tmp_path / "out", "--algorithm", "TokenPPO"]
    assert main(["align", *map(str, given)]) == 2
    assert "reads who sampled each token, which no row holds; give it prompts" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
