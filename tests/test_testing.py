"""`bandits.testing` for strangers: laws that hold, laws that break by name on the smallest world."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

import bandits as b
import worlds
from bandits.testing import laws, strategies, twins
from bandits.testing.cases import cases
from bandits.testing.enumeration import Case
from bandits.testing.reading import reads

ROOT = Path(b.__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
RLOO = b.RLOO(beta=0.5)
CASE = Case(worlds.MIXED, b.Offline(worlds.BEHAVIOR), worlds.POLICY)


def optimum(case):
    return case.bandit.optimal_policy(0.5)


class Faulty:
    """RLOO with a mistake to be filled in."""

    beta, k = 0.5, 2

    def update(self, samples):
        return RLOO.update(samples)


class Mixing(Faulty):
    def update(self, samples):
        c = RLOO.update(samples).log_prob
        return b.Update(log_prob=c / (1 + (c**2).mean()))


class Writing(Faulty):
    def update(self, samples):
        samples.reward[...] *= 1.0 + 1e-9
        return RLOO.update(samples)


class ClaimsTheWrongSum(Faulty):
    def expected_coefficient(self, bandit, law, log_ratio):
        return law.laplacian(bandit.reward - 0.51 * log_ratio) / 2


class WrongLoss(Faulty):
    def loss(self, samples):
        return b.CoPG(beta=0.5).loss(samples) / 3


class SeesTheConstant(Faulty):
    def update(self, samples):
        return b.PolicyGradient(beta=0.5, k=2).update(samples)


BROKEN = {  # law, algorithm, words of the error
    "follows": (lambda a: laws.follows(a, lambda _, s: [1.0, -1.0]), RLOO, "follow the formula"),
    "expectation": (laws.is_its_expectation, ClaimsTheWrongSum(), "sum over all groups"),
    "loss": (laws.descends_its_loss, WrongLoss(), "descends its loss"),
    "mixing": (laws.does_not_mix_the_batch, Mixing(), "does not mix the groups"),
    "mutating": (laws.never_mutates, Writing(), r"writes to samples\.reward"),
    "biased": (laws.is_unbiased, b.CoPG(beta=0.5), "unbiased"),  # by a factor of two
    "resting": (lambda a: laws.rests_at(a, lambda c: c.policy), RLOO, "rests at the target"),
    "everywhere": (lambda a: laws.rests_at(a, optimum), b.ALoL(), "rests at the target"),
    "repelled": (lambda a: laws.ends_at(a, optimum), twins.flipped_sign(RLOO), "pushed away"),
    "sees": (
        lambda a: laws.is_blind_to(a, lambda s: replace(s, reward=s.reward + 5)),
        SeesTheConstant(),
        "blind to the change",
    ),
    "sees on average": (
        lambda a: laws.is_blind_on_average_to(a, lambda s: replace(s, reward=s.reward + 5), CASE),
        SeesTheConstant(),
        "on average it is blind",
    ),
    "no change": (lambda a: laws.is_blind_to(a, lambda s: s), RLOO, "changes nothing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_law_that_breaks_says_which_and_shows_at_most_three_arms(name):
    law, algorithm, words = BROKEN[name]
    with pytest.raises(AssertionError, match=words) as caught:
        law(algorithm)
    (policy,) = re.findall(r"policy=np\.array\(\[(.*?)\]\)", str(caught.value))
    assert len(policy.split(",")) <= 3


def test_the_shown_world_makes_the_failure_again():
    """The text of the error, evaluated, is a case that breaks the same law."""
    with pytest.raises(AssertionError) as caught:
        laws.is_unbiased(b.CoPG(beta=0.5))
    shown = str(caught.value).rpartition("\non ")[2]
    names = {name: getattr(b, name) for name in ("Bandit", "Offline", "Pairs", "Dataset", "OnPolicy")}
    with pytest.raises(AssertionError, match="unbiased"):
        laws.is_unbiased(b.CoPG(beta=0.5), eval(shown, {"Case": Case, "np": np, **names}))  # noqa: S307


HOLDING = {
    "is_unbiased": lambda: laws.is_unbiased(RLOO),
    "up to a scale": lambda: laws.is_unbiased(b.CoPG(beta=0.5), scale=2.0),
    "another beta": lambda: laws.is_unbiased(b.PolicyGradient(beta=0.3), beta=0.3),
    "ends_at": lambda: laws.ends_at(b.CoPG(beta=0.5), optimum),
    "shortcut": lambda: laws.is_its_expectation(b.DPO(beta=0.5)),
    "loss": lambda: laws.descends_its_loss(b.CoPG(beta=0.5)),
    "never_mutates": lambda: laws.never_mutates(b.PPO(beta=0.5)),
    "batch": lambda: laws.does_not_mix_the_batch(b.GRPO(beta=0.5, k=3)),
    "shift of rewards": lambda: laws.is_blind_to(RLOO, lambda s: replace(s, reward=s.reward + 5)),
    "on average": lambda: laws.is_blind_on_average_to(
        b.PolicyGradient(beta=0.5),
        lambda s: replace(s, reward=s.reward + 5),
        replace(CASE, sampling=b.OnPolicy()),
    ),
}


@pytest.mark.parametrize("name", HOLDING)
def test_a_law_that_holds_is_silent(name):
    HOLDING[name]()


def test_on_average_is_weaker_than_always():
    """A baseline that is blind on its own samples sees the constant in every single coefficient."""
    with pytest.raises(AssertionError, match="blind to the change"):
        laws.is_blind_to(
            b.PolicyGradient(beta=0.5),
            lambda s: replace(s, reward=s.reward + 5),
            replace(CASE, sampling=b.OnPolicy()),
        )


def test_a_law_of_laws():
    laws.rejects(laws.is_unbiased, RLOO, twins.flipped_sign, twins.swapped_kl, twins.dropped_detach)
    with pytest.raises(AssertionError, match="does not reject k2_as_loss"):
        laws.rejects(laws.is_unbiased, RLOO, twins.k2_as_loss)  # on its own samples the same (T9.6)
    with pytest.raises(ValueError, match="flipped_label cannot be made of"):
        laws.rejects(laws.is_unbiased, RLOO, twins.flipped_label)
    with pytest.raises(ValueError, match="at least one"):
        laws.rejects(laws.is_unbiased, RLOO)
    with pytest.raises(AssertionError, match="unbiased"):  # what fails itself proves nothing by rejecting
        laws.rejects(laws.is_unbiased, b.CoPG(beta=0.5), twins.flipped_sign)


@given(data=st.data())
@settings(max_examples=5)
def test_the_gradient_of_the_objective_is_autograds(data):
    """Closed form of grad (E_pi[r] - beta KL) in `is_unbiased`, against torch in float64."""
    case = data.draw(cases(RLOO))
    logits = torch.tensor(np.log(case.policy), requires_grad=True)
    log_pi = torch.log_softmax(logits, 0)
    h = log_pi - torch.as_tensor(np.log(case.bandit.reference))
    (log_pi.exp() * (torch.tensor(case.bandit.reward) - 0.5 * h)).sum().backward()
    slope = logits.grad.numpy()

    class Told:
        beta, k = 0.5, 1

        def update(self, samples):  # each arm's share of the gradient, spread by its probability
            return b.Update(log_prob=(slope / case.policy)[samples.arm])

    laws.is_unbiased(Told(), case)


# ---- twins -------------------------------------------------------------------------------------------------

MAKERS = [b.DPO(0.3), b.IPO(0.3), b.CoPG(0.3), b.RLOO(0.3, k=3), b.PPO(0.3, k=2), b.GRPO(0.3, k=3)]
UNSEEN = {  # the same function, up to a positive constant
    ("leave_one_in", "GRPO"): "the standard deviation shrinks with the rewards",
    ("k1_in_reward", "CoPG"): "it is CoPG",
    ("k1_in_reward", "RLOO"): "it is RLOO",
    ("k1_in_reward", "PPO"): "it is PPO",
    ("k3_as_loss", "GRPO"): "it is GRPO",
    ("divided_by_k", None): "a constant",
}


@pytest.mark.parametrize("algorithm", MAKERS, ids=lambda a: type(a).__name__)
def test_a_twin_is_another_function_or_says_why_not(algorithm):
    """On 50 random groups its coefficients are not the right ones times a positive number."""
    samples = some_groups(algorithm.k)
    right = algorithm.update(samples).log_prob
    for make in twins.TWINS:
        twin = make(algorithm)
        if twin is None:
            continue
        wrong = twin.update(samples).log_prob
        scale = (wrong * right).sum() / (right**2).sum()
        same = scale > 0 and np.abs(wrong - scale * right).max() < 1e-9 * np.abs(wrong).max()
        known = {(make.__name__, type(algorithm).__name__), (make.__name__, None)} & set(UNSEEN)
        assert same == bool(known), make.__name__


def some_groups(k: int) -> b.Samples:
    rng = np.random.default_rng(5)
    p = (rng.random((50, k, k)) < 0.5).astype(float)
    p = np.triu(p, 1) + np.tril(1 - np.swapaxes(np.triu(p, 1), -1, -2), -1) + 0.5 * np.eye(k)
    logs = -rng.exponential(size=(3, 50, k))
    return b.Samples(
        log_prob=logs[0],
        reference_log_prob=logs[1],
        behavior_log_prob=logs[2],
        reward=rng.normal(size=(50, k)),
        preference=p,
        length=rng.integers(1, 9, size=(50, k)).astype(float),
    )


def test_every_twin_says_what_is_wrong_and_runs_over_torch():
    assert len({make.__name__ for make in twins.TWINS}) == len(twins.TWINS)
    samples = some_groups(2)
    tensors = b.Samples(
        **{n: torch.tensor(getattr(samples, n)) for n in reads(b.GRPO(0.3)) | {"preference", "length"}}
    )
    for make in twins.TWINS:
        assert make.__doc__
        for algorithm in (b.DPO(0.3), b.GRPO(0.3)):
            twin = make(algorithm)
            if twin is not None:
                found = twin.update(tensors).log_prob
                np.testing.assert_allclose(found, twin.update(samples).log_prob, rtol=0, atol=1e-9)


# ---- strategies --------------------------------------------------------------------------------------------


def test_strategies_take_strategies_and_check_what_came_back():
    @given(
        strategies.worlds(
            st.just(3), (2,), reward=lambda arms, contexts: st.just(np.arange(6.0).reshape(*contexts, arms))
        )
    )
    @settings(max_examples=2)
    def test(world):
        assert world.reward.shape == world.reference.shape == (2, 3)

    test()

    @given(strategies.worlds(3, reward=lambda arms, contexts: st.just(np.arange(4.0)), reference=_uneven(4)))
    @settings(max_examples=1)
    def test_of_another_size(world):
        pass

    with pytest.raises(ValueError, match=r"must give arrays of 3 arms in contexts \(\)"):
        test_of_another_size()


def _uneven(arms):
    return lambda *_: st.just(softmax(np.arange(float(arms))))


# ---- as a stranger would, outside the repository -----------------------------------------------------------

PLANTED = """
from bandits import Update
from bandits.testing import laws

class Mine:
    beta, k = 0.5, 2
    def update(self, samples):
        R = samples.reward - 0.5 * samples.log_ratio / 2  # the fault: beta is halved
        return Update(log_prob=(R - R[..., ::-1]) / 2)

def test_mine():
    laws.is_unbiased(Mine())
"""

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "llm"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
"""


def test_outside_the_repository_the_law_names_itself_and_the_smallest_world(tmp_path):
    (tmp_path / "conftest.py").write_text(BLOCKED)
    (tmp_path / "test_mine.py").write_text(PLANTED)
    command = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", "-pno:nbmake", "test_mine.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert run.returncode == 1, run.stderr
    assert "it is unbiased for the gradient of its objective: not so for" in run.stdout
    (policy,) = set(re.findall(r"policy=np\.array\(\[(.*?)\]\)", run.stdout))
    assert len(policy.split(",")) <= 3
