"""Language models of 15 and 40 sequences, trained by `alignment_loss`, end where `bandits` says: KL <= 1e-10.

The reference is the model before training.  Expectations are exact: every group of completions, weighted
with the law that produced it.  Training takes Newton steps (J' K J)^-1 g with g the gradient of
`alignment_loss` in the parameters, J the Jacobian of all log-probabilities, and K the slope of the
expected coefficients: a plain optimiser would end at the same place, thousands of steps later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from enumerable import PROMPT, flat, jacobian, tiny_model
from torch import Tensor
from transformers import PreTrainedModel

from bandits import (
    CISPO,
    DAPO,
    DPO,
    DRO,
    DROV,
    EXO,
    GOLD,
    GRPO,
    GSPO,
    IPO,
    KTO,
    NCA,
    OAPL,
    ORPO,
    PPO,
    QRPO,
    REBEL,
    RLOO,
    SPPO,
    SRPO,
    TOPR,
    XPO,
    AsymRE,
    Bandit,
    BestOfN,
    CalDPO,
    ChiPO,
    ConvexLoss,
    CoPG,
    DrGRPO,
    MaxRL,
    NashMD,
    Offline,
    OnlineIPO,
    OnPolicy,
    Pairs,
    PMDMean,
    ReMax,
    RLoL,
    RobustDPO,
    Samples,
    SimPO,
    SLiC,
    expected_update,
    exponential,
    fixed_point,
)
from bandits.algorithms.grpo import unit_spread
from bandits.policy import kl
from llm import algorithms
from llm.beside import attach_value, prompt_values, revision_log_probs
from llm.exact import Completions, as_bandit, enumerate_completions
from llm.loss import TRAINED, alignment_loss

REVISE = torch.tensor([2, 2])  # end of sequence twice: no prompt ends like this
BETA = 0.5


@dataclass
class World:
    """A model whose completions of one prompt are the arms of a bandit, and who samples them."""

    model: PreTrainedModel
    tokens: int = 3

    def __post_init__(self) -> None:
        self.start = Completions(*(field.detach() for field in self.completions()))
        self.arms = len(self.start.lengths)
        rng = np.random.default_rng(4)
        self.reward = rng.normal(0, 0.5, self.arms)
        self.mu1, self.mu2 = rng.dirichlet(np.full(self.arms, 2.0), size=2)
        self.joint = rng.dirichlet(np.full(self.arms**2, 0.5)).reshape(self.arms, self.arms)
        cyclic = rng.normal(0, 1.5, (self.arms, self.arms))
        self.preference = 1 / (1 + np.exp(cyclic.T - cyclic))  # no order of the arms explains it

    def completions(self) -> Completions:
        return enumerate_completions(self.model, PROMPT, self.tokens, eos_token_id=2)

    def by_reward(self) -> Bandit:
        """Rewards, and Bradley-Terry preferences."""
        return as_bandit(self.start, self.reward)

    def by_preference(self) -> Bandit:
        """Cyclic preferences, no rewards."""
        return as_bandit(self.start, preference=self.preference)

    def revisions(self) -> Tensor:
        """log pi'(y_i | y_j) of all pairs, (A, A): the same model, asked to revise."""
        y = self.start
        return revision_log_probs(
            self.model, PROMPT[None], y.tokens[None], instruction=REVISE, completion_mask=y.mask[None]
        )[0]


@dataclass
class Training:
    """An algorithm on all groups of arms.  What is trained is one vector: log pi, and maybe V or log pi'."""

    algorithm: object
    bandit: Bandit
    sampling: object

    def groups(self, trained: Tensor) -> tuple[Samples, Tensor]:
        """Every group and its probability; the sampler is not differentiated."""
        A, algorithm = self.bandit.arms, self.algorithm
        log_reference = torch.from_numpy(self.bandit.log_reference.copy())
        log_prob, beside = trained[:A], trained[A:]
        law = self.sampling.law(algorithm, self.bandit, log_prob.detach().numpy())
        [(arms, fixed_weight)] = law.tuples()
        arm = torch.from_numpy(arms)
        weight = torch.from_numpy(fixed_weight.copy())
        reward = None if self.bandit.reward is None else torch.from_numpy(self.bandit.reward.copy())
        revision = beside.view(A, A) if len(beside) == A * A else None
        pair = (arm[:, :, None], arm[:, None, :])
        alone = {
            name: None if each is None else torch.from_numpy(each.copy())[arm]
            for name, each in (("length", self.bandit.length), ("desirable", self.bandit.desirable))
        }
        samples = Samples(
            **alone,
            log_prob=log_prob[arm],
            reference_log_prob=log_reference[arm],
            reward=None if reward is None else reward[arm],
            preference=torch.from_numpy(self.bandit.preference_between(arms).copy()),
            population=Samples(
                log_prob=log_prob[None],
                reference_log_prob=log_reference[None],
                reward=None if reward is None else reward[None],
            ),
            behavior_log_prob=None
            if self.sampling.on_policy
            else torch.from_numpy(np.log(law.behavior))[arm],
            greedy_reward=None if reward is None else reward[log_prob.argmax()].expand(len(arm)),
            value=beside.expand(len(arm)) if len(beside) == 1 else None,
            revision_log_prob=None if revision is None else revision[pair],
            reference_revision_log_prob=log_reference[arm][:, :, None].expand(-1, -1, 2)
            if revision is not None
            else None,
        )
        return samples, weight

    def loss(self, trained: Tensor) -> Tensor:
        samples, weight = self.groups(trained)
        return alignment_loss(self.algorithm, samples, weight=weight)

    def slope(self, trained: Tensor) -> Tensor:
        """-d (expected coefficient of each entry) / d trained, (n, n).

        On samples that stay, coefficients rest at a multiple of pi; log pi bends by minus Fisher's matrix.
        """

        def expected_coefficients(trained: Tensor) -> Tensor:
            samples, weight = self.groups(trained)
            update = self.algorithm.update(samples)
            probe = torch.zeros_like(trained, requires_grad=True)
            moved, _ = self.groups(probe)
            total = sum(
                (
                    weight
                    * (getattr(update, name) * getattr(moved, name).view_as(getattr(update, name)))
                    .reshape(len(weight), -1)
                    .sum(1)
                ).sum()
                for name in TRAINED
                if getattr(update, name) is not None and getattr(moved, name) is not None
            )
            return torch.autograd.grad(total, probe, create_graph=True)[0]

        found = -torch.autograd.functional.jacobian(expected_coefficients, trained.detach())
        if not self.sampling.on_policy:
            log_prob = trained.detach()[: self.bandit.arms]
            multiple = expected_coefficients(trained.detach())[: self.bandit.arms].sum()
            found[: len(log_prob), : len(log_prob)] += multiple.detach() * torch.diag(log_prob.exp())
        return found


def train(
    training: Training, outputs: Callable[[], Tensor], parameters: list[Tensor], steps: int = 40
) -> None:
    """Damped Newton steps along the gradient of `alignment_loss`, no output moving by more than about 1."""
    for _ in range(steps):
        trained = outputs()
        gradient = flat(torch.autograd.grad(training.loss(trained), parameters, retain_graph=True))
        if gradient.abs().max() < 1e-12:
            return
        slopes = jacobian(trained, parameters)
        left, size, right = torch.linalg.svd(slopes, full_matrices=False)
        kept = size > 1e-9 * size[0]  # log-probabilities that sum to one have a direction less
        left, right = left[:, kept] * size[kept], right[kept]
        slope = left.T @ training.slope(trained) @ left + 0.03 * gradient.norm() * torch.eye(int(kept.sum()))
        step = -right.T @ torch.linalg.solve(slope, right @ gradient)
        step *= min(1, 1 / float((slopes @ step).abs().max()))
        with torch.no_grad():
            for parameter, change in zip(
                parameters, step.split([p.numel() for p in parameters]), strict=True
            ):
                parameter += change.view_as(parameter)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """15 answers of one to three tokens, or 40 where the name says so."""
    family, _, many = request.param.partition("-")
    return World(tiny_model(family, vocabulary=4 if many else 3))


both_families = pytest.mark.parametrize("world", ["gpt2", "gpt_neox"], indirect=True)


def log_policy(world: World) -> np.ndarray:
    return world.completions().log_prob.detach().numpy()


def reaches(world: World, algorithm, bandit: Bandit, sampling) -> float:
    """KL(fixed point of `bandits` || model) after training; before, it is far larger."""
    target = fixed_point(algorithm, bandit, sampling).log_policy
    assert kl(target, log_policy(world)) > 1e-3
    train(
        Training(algorithm, bandit, sampling),
        lambda: world.completions().log_prob,
        list(world.model.parameters()),
    )
    return float(kl(target, log_policy(world)))


@pytest.mark.parametrize("world", ["gpt2-40", "gpt_neox-40"], indirect=True)
@pytest.mark.parametrize(
    "algorithm", [CoPG(beta=BETA), DPO(beta=BETA), IPO(beta=0.1)], ids=lambda a: type(a).__name__
)
def test_contrastive_algorithms_end_at_their_closed_form_whoever_sampled(world, algorithm):
    """T3.3, T5.1, T4.3: any joint law of pairs.  Two laws give IPO two ends, and the others one."""
    assert reaches(world, algorithm, world.by_reward(), Pairs(world.joint)) <= 1e-10


PAIRWISE = [
    ConvexLoss(beta=BETA, f=exponential),
    RobustDPO(beta=BETA),
    EXO(beta=BETA, smoothing=0.1),
    NCA(beta=BETA),
    CalDPO(beta=BETA),
]


@pytest.mark.parametrize("world", ["gpt2"], indirect=True)
@pytest.mark.parametrize("algorithm", PAIRWISE, ids=lambda a: type(a).__name__)
def test_losses_of_pairs_end_where_bandits_says(world, algorithm):
    """T12.16, T13.13, T13.14: half the reward, labels taken as flipped, and three that are no optimum."""
    assert reaches(world, algorithm, world.by_reward(), Offline(world.mu1)) <= 1e-10


@pytest.mark.parametrize("world", ["gpt2"], indirect=True)
def test_the_hinge_pulls_at_a_model_as_at_the_arms(world):
    """T12.18: its slope is a step, so that no Newton's method trains it; its expected pull is compared."""
    algorithm, bandit = SLiC(beta=5.0), world.by_reward()  # leads on both sides of one
    trained = world.completions().log_prob.detach() + torch.linspace(-1, 1, world.arms)
    trained = torch.log_softmax(trained, 0).requires_grad_()
    (slope,) = torch.autograd.grad(Training(algorithm, bandit, Offline(world.mu1)).loss(trained), trained)
    policy = trained.detach().exp().numpy()
    pull = expected_update(algorithm, bandit, Offline(world.mu1), policy)  # contrastive: no normaliser
    np.testing.assert_allclose(-slope.numpy(), pull, rtol=0, atol=1e-14)
    assert len(np.unique(np.round(pull / world.mu1, 9))) > 3


WITHOUT_KL = [  # where all answers live; and their settings where some die out
    (AsymRE(baseline=-3), AsymRE(baseline=0.1)),
    (TOPR(baseline=-3), TOPR(baseline=0.1)),
    (CISPO(cap=0.05, baseline=-3, k=1), CISPO(cap=1.5, baseline=0.1, k=1)),
    (RLoL(clip=0), RLoL()),
    (GOLD(floor=1), GOLD(floor=0.1)),
]


@pytest.mark.parametrize(("interior", "boundary"), WITHOUT_KL, ids=lambda a: repr(a))
def test_without_a_kl_a_model_ends_or_is_pulled_as_the_arms_are(interior, boundary):
    """T13.7-T13.10, T9.1: the end where no answer dies; where some do, the pull on the way."""
    world = World(tiny_model("gpt2", vocabulary=3), tokens=2)
    bandit = as_bandit(world.start, world.reward - world.reward.min() + 0.2)  # R-LoL, GOLD: r > 0
    sampling = Offline(world.mu1)
    assert reaches(world, interior, bandit, sampling) <= 1e-10
    trained = world.completions().log_prob.detach().requires_grad_()
    (slope,) = torch.autograd.grad(Training(boundary, bandit, sampling).loss(trained), trained)
    policy = trained.detach().exp().numpy()
    policy = policy / policy.sum()
    pull = expected_update(boundary, bandit, sampling, policy)
    found = -slope.numpy()
    size = np.abs(found).max()
    assert np.abs(pull).max() > 1e-3
    np.testing.assert_allclose(found - policy * found.sum(), pull, rtol=0, atol=1e-13 * (1 + size))


REGRESSIONS = [
    REBEL(beta=BETA),
    PMDMean(beta=BETA, leave_one_out=True),
    OAPL(beta=BETA),
    QRPO(beta=BETA),
    algorithms.GroupQRPO(beta=BETA),  # what `--algorithm QRPO` trains
]


@pytest.mark.parametrize("algorithm", REGRESSIONS, ids=lambda a: type(a).__name__)
def test_regressions_end_at_their_closed_form(algorithm):
    """T13.2, T13.3, T13.5, T13.6, on somebody else's samples: their ends depend on these, but for REBEL's."""
    world = World(tiny_model("gpt2", vocabulary=3), tokens=2)
    assert reaches(world, algorithm, world.by_reward(), Offline(world.mu1)) <= 1e-10


@both_families
def test_ipo_ends_at_the_least_squares_ranking_of_cyclic_preferences(world):
    assert reaches(world, IPO(beta=0.1), world.by_preference(), Offline(world.mu1, world.mu2)) <= 1e-10


PREFERENCES = [
    ChiPO(beta=BETA),  # T13.17
    SimPO(beta=4.0, margin=0.3),  # T13.15
    ORPO(weight=0.3),
    SPPO(beta=BETA),  # T13.13
    XPO(beta=BETA, alpha=1e-4),  # T13.16
]


@pytest.mark.parametrize("algorithm", PREFERENCES, ids=lambda a: type(a).__name__)
def test_losses_of_pairs_end_where_their_tables_do(algorithm):
    """With the lengths of the model's own completions; where there is no closed form, where the flow ends."""
    world = World(tiny_model("gpt2", vocabulary=3), tokens=2)
    assert reaches(world, algorithm, world.by_reward(), Offline(world.mu1)) <= 1e-10


@pytest.mark.parametrize("point", [None, 0.2], ids=["moving", "frozen"])
def test_kto_ends_in_the_shares_of_its_labels(point):
    """T9.4, with the exact KL for the moving point; lambda_U = 0, so that no arm dies."""
    world = World(tiny_model("gpt2", vocabulary=3), tokens=2)
    labels = np.random.default_rng(6).uniform(0.2, 1, world.arms)
    bandit = Bandit(world.reward, reference=world.by_reward().reference, desirable=labels)
    algorithm = KTO(beta=BETA, undesirable_weight=0.0, reference_point=point)
    assert reaches(world, algorithm, bandit, Offline(world.mu1)) <= 1e-10


@both_families
@pytest.mark.parametrize("algorithm", [DRO(beta=BETA), DROV(beta=BETA)], ids=lambda a: type(a).__name__)
def test_dro_ends_at_the_optimum_and_its_value(world, algorithm):
    """T8.1: (pi*, V* = J(pi*)), the value trained on the model's own state: `attach_value`."""
    bandit, sampling = world.by_reward(), Offline(world.mu1)
    attach_value(world.model, 0.0)
    prompt = PROMPT[None]

    def outputs() -> Tensor:
        value = prompt_values(world.model, prompt, torch.ones_like(prompt))
        return torch.cat([world.completions().log_prob, value])

    assert outputs()[-1] == 0
    train(Training(algorithm, bandit, sampling), outputs, list(world.model.parameters()))
    assert kl(np.log(bandit.optimal_policy(BETA)), log_policy(world)) <= 1e-10
    np.testing.assert_allclose(outputs()[-1].item(), bandit.optimal_value(BETA), rtol=1e-8)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_srpo_ends_at_both_closed_forms(family):
    """T7.2, one model for both policies: it answers the prompt, and revises any of the 7 answers to it."""
    world = World(tiny_model(family, vocabulary=3), tokens=2)
    algorithm, bandit, sampling = SRPO(beta=BETA), world.by_preference(), Offline(world.mu1, world.mu2)
    train(
        Training(algorithm, bandit, sampling),
        lambda: torch.cat([world.completions().log_prob, world.revisions().reshape(-1)]),
        list(world.model.parameters()),
    )
    assert kl(fixed_point(algorithm, bandit, sampling).log_policy, log_policy(world)) <= 1e-10
    revised = world.revisions().detach().T.numpy()  # [y_j, y_i]: rows are conditions
    assert kl(algorithm.log_revision_policy(bandit), revised).max() <= 1e-10


GROUPS = [
    (DrGRPO(beta=BETA), OnPolicy()),
    (DAPO(beta=BETA), OnPolicy()),
    (GSPO(beta=BETA), OnPolicy()),
    (MaxRL(beta=BETA), OnPolicy()),
    (BestOfN(k=2), None),
]


@pytest.mark.parametrize(("algorithm", "sampling"), GROUPS, ids=lambda a: type(a).__name__)
def test_groups_end_where_the_arms_do(algorithm, sampling):
    """T13.11, T13.12 on-policy, lengths of 1 and 2 tokens; T9.2: the best of two of whoever sampled."""
    world = World(tiny_model("gpt2", vocabulary=3), tokens=2)
    assert reaches(world, algorithm, world.by_reward(), sampling or Offline(world.mu1)) <= 1e-10


ON_POLICY = [
    (RLOO(beta=BETA), "reward"),
    (ReMax(beta=BETA), "reward"),
    (PPO(beta=BETA, baseline=0.3), "reward"),
    (GRPO(beta=BETA, spread=unit_spread), "reward"),
    (DPO(beta=BETA), "reward"),
    (OnlineIPO(beta=0.2), "preference"),
    (NashMD(beta=0.2), "preference"),
    (NashMD(beta=0.2, mixture=0.25), "preference"),
]


@both_families
@pytest.mark.parametrize(("algorithm", "kind"), ON_POLICY, ids=lambda x: re.sub("<.*>", "...", str(x)))
def test_on_policy_algorithms_end_at_their_equilibria(world, algorithm, kind):
    """T2.1 for rewards, T6.4 and T6.6 for preferences; with a mixture it is another one."""
    bandit = world.by_reward() if kind == "reward" else world.by_preference()
    assert reaches(world, algorithm, bandit, OnPolicy()) <= 1e-10
