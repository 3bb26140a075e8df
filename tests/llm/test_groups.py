"""All groups of completions, listed: the loss of them is the expectation, whoever sampled."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from enumerable import PROMPT, tiny_model
from torch import Tensor

from bandits import (
    DPO,
    DRO,
    GRPO,
    KTO,
    RLOO,
    SRPO,
    Bandit,
    CoPG,
    Dataset,
    NashMD,
    Offline,
    OnPolicy,
    Pairs,
    ReMax,
    expected_update,
)
from bandits.policy import kl
from bandits.sequences import TokenPPO
from llm import alignment_loss, as_bandit, enumerate_completions, every_group, trace_of
from llm.exact import policy_of

ARMS = 7  # 1 + 2 + 4: answers of a vocabulary of three, of at most two tokens
RNG = np.random.default_rng(5)
MU, NU = RNG.dirichlet(np.ones(ARMS), size=2)
WORLD = Bandit(
    RNG.normal(size=ARMS),
    reference=RNG.dirichlet(np.ones(ARMS)),
    desirable=RNG.uniform(size=ARMS),
    length=RNG.integers(1, 5, size=ARMS),
)
CASES = {
    "CoPG, two samplers": (CoPG(0.5), Offline(MU, NU)),
    "CoPG, any pairs": (CoPG(0.5), Pairs(RNG.dirichlet(np.ones(ARMS**2)).reshape(ARMS, ARMS))),
    "DPO, labels of the data": (DPO(0.5), Dataset([(0, 1), (1, 2), (2, 0), (0, 1)])),
    "RLOO, on-policy": (RLOO(0.5, k=4), OnPolicy()),
    "GRPO, a group": (GRPO(0.5, k=4), Offline(MU)),
    "ReMax, greedy reward": (ReMax(0.5), OnPolicy()),
    "KTO, alone": (KTO(0.5), Offline(MU)),
    "Nash-MD, an opponent": (NashMD(0.5, 0.3), OnPolicy()),
    "SRPO, best reviser": (SRPO(0.5), Offline(MU)),
    "DRO, best V": (DRO(0.5), Offline(MU)),
}


def logits() -> Tensor:
    return torch.tensor(np.random.default_rng(6).normal(size=ARMS), requires_grad=True)


@pytest.mark.parametrize(("algorithm", "sampling"), CASES.values(), ids=CASES)
def test_the_loss_of_all_groups_descends_along_the_expected_update(algorithm, sampling):
    """Autograd through the listed groups, and the sum that `bandits` takes (of CoPG and DPO a formula)."""
    theta = logits()
    log_prob = torch.log_softmax(theta, 0)
    samples, weight = every_group(algorithm, WORLD, sampling, log_prob)
    assert abs(float(weight.sum()) - 1) < 1e-14  # a sum of at most 210 probabilities
    (slope,) = torch.autograd.grad(alignment_loss(algorithm, samples, weight=weight), theta)
    expected = expected_update(algorithm, WORLD, sampling, log_prob.detach().exp().numpy())
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(slope.numpy(), -expected, rtol=0, atol=1e-14)  # rounding of sums of order 1


def test_what_is_trained_beside_the_policy_is_trained_here_too():
    """The slopes in V and in log pi' by autograd, and by hand: E[c_V], sum of w c'."""
    value = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    log_prob = torch.log_softmax(logits(), 0)
    samples, weight = every_group(DRO(0.5), WORLD, Offline(MU), log_prob, value=value)
    (slope,) = torch.autograd.grad(alignment_loss(DRO(0.5), samples, weight=weight), value)
    R = WORLD.reward - 0.5 * (log_prob.detach().numpy() - WORLD.log_reference)
    np.testing.assert_allclose(slope, -(MU @ R - 0.3), rtol=1e-13)

    revision = torch.randn(ARMS, ARMS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    revision = torch.log_softmax(revision, 0).requires_grad_()  # [i, j] = log pi'(y_i | y_j)
    samples, weight = every_group(SRPO(0.5), WORLD, Offline(MU), log_prob, revision_log_prob=revision)
    first, second = samples.arm.T
    picked = samples.revision_log_prob.detach()
    torch.testing.assert_close(picked[:, 0, 1], revision.detach()[first, second], rtol=0, atol=0)
    (slope,) = torch.autograd.grad(alignment_loss(SRPO(0.5), samples, weight=weight), revision)
    c = SRPO(0.5).update(samples).revision_log_prob.detach()
    by_hand = torch.zeros(ARMS, ARMS, dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            by_hand.index_put_((samples.arm[:, i], samples.arm[:, j]), weight * c[:, i, j], accumulate=True)
    torch.testing.assert_close(slope, -by_hand, rtol=1e-12, atol=1e-15)


def test_a_group_whose_order_does_not_matter_is_listed_once():
    """C(7 + 3, 4) = 210 of 2401 for RLOO; both orders of a pair, of which there are 49."""
    assert len(every_group(RLOO(0.5, k=4), WORLD, OnPolicy(), logits()).weight) == 210
    assert len(every_group(CoPG(0.5), WORLD, Offline(MU), logits()).weight) == 49


def test_a_float32_model_gets_float32_samples_and_no_gradient_through_the_sampler():
    log_prob = torch.log_softmax(logits().float(), 0)
    samples, weight = every_group(CoPG(0.5), WORLD, OnPolicy(), log_prob)
    assert samples.log_prob.dtype == samples.reward.dtype == weight.dtype == torch.float32
    assert samples.log_prob.requires_grad and not weight.requires_grad


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"log_prob": logits()[:3]}, r"log_prob must be a tensor \(7,\).* is a Tensor \(3,\)"),
        (
            {"log_prob": np.zeros(7)},
            "log_prob must be a tensor .* is a ndarray .*; take enumerate_completions",
        ),
        ({"bandit": Bandit(np.zeros((2, ARMS)))}, r"one prompt, but the bandit has \(2,\); use bandit.at"),
        ({"max_groups": 20}, "49 groups of k = 2 .* max_groups = 20 allows fewer"),
        ({"algorithm": TokenPPO(beta=0.5)}, "looks at tokens"),
        ({"sampling": Offline([0.5, 0.5])}, "arms"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    good = {"algorithm": CoPG(0.5), "bandit": WORLD, "sampling": Offline(MU), "log_prob": logits()}
    with pytest.raises(ValueError, match=words):
        every_group(**good | change)


def test_the_trace_of_models_is_that_of_their_policies():
    """KL of the first model is zero, as it is the reference; a generator may train as it yields."""
    model = tiny_model("gpt2", vocabulary=3)
    start = enumerate_completions(model, PROMPT, 2)
    bandit = as_bandit(start, np.arange(ARMS) / 3)

    def trained():
        yield model
        with torch.no_grad():
            model.lm_head.weight += (
                0.3 * torch.randn(3, 16, generator=torch.Generator().manual_seed(0)).double()
            )
        yield model

    trace = trace_of(trained(), PROMPT, 2, steps=[0, 10])
    end = policy_of(enumerate_completions(model, PROMPT, 2))
    assert trace.steps.tolist() == [0, 10] and trace.policies.shape == (2, 1, ARMS)
    assert trace.kl(bandit)[0, 0] < 1e-20
    np.testing.assert_allclose(trace.kl(bandit)[1, 0], kl(np.log(end), bandit.log_reference), rtol=1e-12)
    optimum = bandit.log_optimal_policy(0.5)
    np.testing.assert_allclose(trace.regret(bandit, 0.5)[1, 0], 0.5 * kl(np.log(end), optimum), rtol=1e-12)
    with pytest.raises(ValueError, match=re.escape("there are 1 models and steps = [0, 1]")):
        trace_of([model], PROMPT, 2, steps=[0, 1])
