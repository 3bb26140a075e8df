"""Clips, spreads and difficulty: what does a weight do to the end, and to a prompt?  Exercises 06."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from bandits.algorithms import CISPO, GRPO, DrGRPO, MaxRL
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.difficulty import difficulty_weight
from bandits.fixed_point import fixed_point
from bandits.samples import Algorithm, Samples, Update, need
from bandits.sampling.rules import Offline, OnPolicy
from bandits.teaching.answers import Array, Number, Policy
from bandits.teaching.exercise import Exercise, Mistake
from bandits.teaching.trials import Updates
from bandits.testing.enumeration import Case

BETA, MU = 0.5, np.array([0.15, 0.25, 0.4, 0.2])  # of 06.1
HARD = np.array([0.1, 0.4, 0.8])  # success of the three prompts of 06.2
ADVANTAGE, CAP = np.array([1.0, 0.8, 0.3, -0.5]), 1.8  # of 06.5


def _stale() -> Floats:
    """pi*/mu of 06.1."""
    return _graded().optimal_policy(BETA) / MU


def _graded() -> Bandit:
    return Bandit([1.0, 0.6, 0.2, 0.0], reference=[0.1, 0.2, 0.3, 0.4])


def _resampled(kept: Callable[[Floats], Floats], scale: float = 1.0) -> Floats:
    """GRPO's weight, of the share of groups that are kept."""
    return scale * difficulty_weight(GRPO(1.0, k=4), HARD) / kept(HARD)


def _coin() -> Bandit:
    """The prompt of 06.3."""
    return Bandit([1.0, 0.0], reference=[0.3, 0.7])


def _success(algorithm: Algorithm) -> float:
    return float(fixed_point(algorithm, _coin(), OnPolicy()).policy[0])


def _balanced_by_the_other_kl() -> float:
    """p where log odds against the reference's are GRPO's weight, 1 / sqrt 2."""
    odds = 3 / 7 * np.exp(1 / np.sqrt(2))
    return float(odds / (1 + odds))


def _unweighted() -> float:
    """p - p0 = p q."""
    return float(brentq(lambda p: p - 0.3 - p * (1 - p), 0.3, 1.0))


def right_or_wrong() -> list[Case]:
    """Uneven worlds of right and wrong answers, sampled by the policy itself."""
    rng, found = np.random.default_rng(6), []
    for reward in ([1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]):
        reference, policy = 0.1 + 0.7 * rng.dirichlet(np.ones(3), size=2)
        found.append(Case(Bandit(reward, reference=reference), OnPolicy(), policy))
    return found


class Imitation:
    """The successes of a group, and nothing taken off."""

    k = 4

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_share(samples) / self.k)


class Summed:
    """MaxRL that forgets to average over the group."""

    k = 4

    def update(self, samples: Samples) -> Update:
        share = _share(samples)
        return Update(log_prob=share - (share.sum(-1)[..., None] > 0))


class Centred:
    """Success less the mean of the group: Dr. GRPO."""

    k = 4

    def update(self, samples: Samples) -> Update:
        s = need(samples, "reward")
        return Update(log_prob=(s - s.mean(-1)[..., None]) / self.k)


def _share(samples: Samples) -> Floats:
    """k s_i / m, 0 where nothing succeeds."""
    s = np.asarray(need(samples, "reward"))
    return s.shape[-1] * s / np.maximum(s.sum(-1, keepdims=True), 1)


def _capped(cap: float) -> Floats:
    return fixed_point(CISPO(cap, baseline=0.0, k=1), Bandit(ADVANTAGE), Offline(_sampler())).policy


def _sampler() -> Floats:
    return np.array([0.4, 0.3, 0.2, 0.1])


def _cloned() -> Floats:
    kept = _sampler() * np.maximum(ADVANTAGE, 0)
    return kept / kept.sum()


EXERCISES = {
    "06.1": Exercise(
        kind=Number(),
        truth=lambda: _stale().max() - 1,
        hint="All advantages are positive at pi*: it rests there as soon as no pi*/mu is above 1 + eps'.",
        mistakes=(
            Mistake(
                lambda: (_graded().optimal_policy(BETA) / _graded().reference).max() - 1,
                "That is pi*/ref. The clip knows nothing of the reference: what is its ratio taken to?",
            ),
            Mistake(lambda: _stale().max(), "That is the ratio itself; eps' is how far it may be from one."),
            Mistake(
                lambda: 1 - _stale().min(),
                "That is the lower clip, which stops answers of negative advantage: here are none.",
            ),
        ),
    ),
    "06.2": Exercise(
        kind=Array((3,)),
        truth=lambda: _resampled(lambda p: 1 - p**4 - (1 - p) ** 4),
        hint="Groups without a contrast add nothing: the same sum, divided by the share that is kept.",
        mistakes=(
            Mistake(
                lambda: _resampled(np.ones_like),
                "That is GRPO without resampling: groups of equal rewards still count, with nothing.",
            ),
            Mistake(
                lambda: _resampled(lambda p: 1 - (1 - p) ** 4),
                "You throw away the groups in which all fail. Those in which all succeed go as well.",
            ),
            Mistake(
                lambda: _resampled(lambda p: 1 - p**4 - (1 - p) ** 4, np.sqrt(4 / 3)),
                "Your standard deviation divides by k; GRPO's, as trainers have it, by k - 1.",
            ),
        ),
    ),
    "06.3": Exercise(
        kind=Number("of probability"),
        truth=lambda: _success(GRPO(1.0, k=2)),
        hint="Balance the pulls: beta (p - p0) = p q w, and w of GRPO in pairs is one number for every p.",
        mistakes=(
            Mistake(
                lambda: _success(DrGRPO(1.0, k=2)),
                "That is Dr. GRPO's end. GRPO divides the advantages of a pair by their spread.",
            ),
            Mistake(_unweighted, "That is for a weight of one, as RLOO has it. What is w(p) of GRPO, k = 2?"),
            Mistake(
                _balanced_by_the_other_kl,
                "That balances KL(pi || ref), which pulls by the log odds; k3 as a loss is the other KL.",
            ),
            Mistake(
                lambda: _coin().optimal_policy(1.0)[0],
                "That is pi*. GRPO's advantage is not the reward, and its KL is not KL(pi || ref).",
            ),
        ),
    ),
    "06.4": Exercise(
        kind=Updates(right_or_wrong),
        truth=lambda: MaxRL(k=4),
        hint="Take one group with m right answers: what do these get together, and what does everyone lose?",
        mistakes=(
            Mistake(
                Imitation,
                "That imitates the right answers; the baseline is missing, or is also taken off where m = 0.",
            ),
            Mistake(Summed, "The direction is right, the step k times too long: average over the group."),
            Mistake(
                Centred,
                "That divides by k, and weighs prompts as RLOO. Let the m right answers share one unit.",
            ),
        ),
    ),
    "06.5": Exercise(
        kind=Policy(4),
        truth=lambda: _capped(CAP),
        hint="Guess who lives, solve for S = E_mu[a min(pi/mu, C)], and look whether a >= S holds for them.",
        mistakes=(
            Mistake(
                lambda: np.eye(4)[ADVANTAGE.argmax()],
                "That is the end without a cap. With C, the best answer comes to pi = C mu a / S.",
            ),
            Mistake(
                _cloned,
                "That is cloning in proportion to mu a, the end of a small cap, where every a > 0 lives.",
            ),
            Mistake(
                lambda: np.array([CAP * _sampler()[0], 1 - CAP * _sampler()[0], 0.0, 0.0]),
                "You put the best answer at the cap, w = C, as PPO would; nothing stops it there.",
            ),
        ),
    ),
}
