"""What does a baseline do: to the mean, to the noise, to the end off-policy?  Exercises 02."""

from __future__ import annotations

import numpy as np

from bandits.algorithms import RLOO, PolicyGradient
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update, update_covariance
from bandits.fixed_point import fixed_points
from bandits.samples import Samples, Update, need
from bandits.sampling.rules import Offline, OnPolicy
from bandits.teaching.answers import Choice, Number
from bandits.teaching.exercise import Exercise, Mistake
from bandits.teaching.trials import Updates, on_policy

BETA = 0.5
REWARD, REFERENCE = np.array([1.2, 0.5, -0.4]), np.array([0.3, 0.5, 0.2])
POLICY, BEHAVIOR = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
WORLD = Bandit(REWARD, reference=REFERENCE)
BOTH, NOISE, NOTHING = "both change", "only the noise changes", "nothing changes"


def _what_a_shift_does() -> str:
    """Of policy gradient without a baseline, on its own samples, when every reward gains 10."""
    shifted, algorithm = Bandit(REWARD + 10.0, reference=REFERENCE), PolicyGradient(BETA)
    means = [expected_update(algorithm, world, OnPolicy(), POLICY) for world in (WORLD, shifted)]
    noise = [update_covariance(algorithm, world, OnPolicy(), POLICY) for world in (WORLD, shifted)]
    if not _same(means[0], means[1]):
        return BOTH
    return NOTHING if _same(noise[0], noise[1]) else NOISE


def _same(one: Floats, other: Floats) -> bool:
    return bool(np.abs(one - other).max() < 1e-9)  # rounding of rewards near 10


def _regularized() -> Floats:
    return np.asarray(REWARD - BETA * np.log(POLICY / REFERENCE))


def _lengths() -> Floats:
    """|e_y - pi|^2 of each arm."""
    return np.asarray(np.sum((np.eye(3) - POLICY) ** 2, axis=-1))


def _weighed(values: Floats) -> float:
    """E_pi[values |s|^2] / E_pi[|s|^2]  (T2.3)."""
    weights = POLICY * _lengths()
    return float(weights @ values / weights.sum())


class MeanOfAll:
    """The sample itself is in its baseline."""

    k = 3

    def update(self, samples: Samples) -> Update:
        R = samples.regularized_reward(BETA)
        return Update(log_prob=(R - R.mean(axis=-1, keepdims=True)) / 3)


class SumOfAll:
    """RLOO, not divided by the size of the group."""

    k = 3

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=3 * RLOO(BETA, k=3).update(samples).log_prob)


class RewardsAlone:
    """RLOO without the KL."""

    k = 3

    def update(self, samples: Samples) -> Update:
        r = need(samples, "reward")
        return Update(log_prob=(r - r.mean(axis=-1, keepdims=True)) / 2)


EXERCISES = {
    "02.1": Exercise(
        kind=Choice((BOTH, NOISE, NOTHING)),
        truth=_what_a_shift_does,
        hint="Compute both for the rewards and for the rewards plus 10.",
        mistakes=(
            Mistake(lambda: BOTH, "Its mean is E_pi[(R + 10) grad log pi]: what is E_pi[grad log pi]?"),
            Mistake(
                lambda: NOTHING,
                "A single sample moves by (R + 10) grad log pi, and the 10 is not gone there.",
            ),
        ),
    ),
    "02.2": Exercise(
        kind=Number("of reward"),
        truth=lambda: _weighed(_regularized()),
        hint="The second moment is E[(R - b)^2 |s|^2], a parabola in b: where is its bottom?",
        mistakes=(
            Mistake(
                lambda: POLICY @ _regularized(),
                "That is the mean J: near, but arms with a long score e_y - pi should count for more.",
            ),
            Mistake(
                lambda: POLICY @ REWARD, "That is the mean reward: what is multiplied by the score is R."
            ),
            Mistake(
                lambda: _weighed(REWARD),
                "The weights are right, but what is multiplied by the score is R, not r.",
            ),
        ),
    ),
    "02.3": Exercise(
        kind=Updates(on_policy),
        truth=lambda: RLOO(BETA, k=3),
        hint="(1/k) (R_i - mean of the others); the others' sum is R.sum(-1) less R_i.",
        mistakes=(
            Mistake(
                MeanOfAll,
                "Too short by the factor 1 - 1/k: is the sample itself among those that you average?",
            ),
            Mistake(
                SumOfAll, "The right direction, k times too long: the gradient is a mean over the group."
            ),
            Mistake(RewardsAlone, "That climbs the reward alone: put the KL into it, R = r - beta h."),
        ),
    ),
    "02.4": Exercise(
        kind=Number("of reward"),
        truth=lambda: WORLD.optimal_value(BETA),
        hint="At pi* the update E_mu[(R - b)(e_y - pi*)] must vanish, and R is the same on every arm.",
        mistakes=(
            Mistake(lambda: BEHAVIOR @ REWARD, "That is E_mu[r]: the KL is missing, R = r - beta h."),
            Mistake(
                lambda: WORLD.optimal_policy(BETA) @ REWARD,
                "That is the reward of pi*, E[r]: R at pi* also pays for the KL.",
            ),
            Mistake(
                lambda: BETA * np.log(np.exp(REWARD / BETA).sum()),
                "Almost: Z is the mean of exp(r / beta) under the reference, not their sum.",
            ),
        ),
    ),
    "02.5": Exercise(
        kind=Number(),
        truth=lambda: len(
            fixed_points(PolicyGradient(BETA, 3.6), Bandit([2.5, 2.0, 1.0]), Offline(BEHAVIOR))
        ),
        hint="List them with fixed_points.",
        mistakes=(
            Mistake(lambda: 3, "One for each arm is what far higher baselines do: one arm cannot hold yet."),
            Mistake(lambda: 1, "That is where one start leads: try others, or `fixed_points`."),
        ),
    ),
}
