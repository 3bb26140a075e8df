"""Which KL: estimated how, charged where, which way round?  Exercises 07."""

from __future__ import annotations

import numpy as np

from bandits.algorithms import ImportanceWeighted, PolicyGradient
from bandits.algorithms.kl_estimators import Estimator, WithKLLoss, WithKLReward, k1, k2, k3
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update
from bandits.fixed_point import fixed_point
from bandits.policy import kl
from bandits.samples import Array, Samples, Update
from bandits.sampling.rules import OnPolicy
from bandits.teaching.answers import Array as Numbers
from bandits.teaching.answers import Number, Policy
from bandits.teaching.exercise import Exercise, Mistake
from bandits.teaching.trials import Updates, off_policy

BETA = 0.5  # of 07.4
FAR = np.array([0.85, 0.1, 0.05]), np.array([0.1, 0.3, 0.6])  # policy and reference of 07.1
NEAR = np.array([0.35, 0.35, 0.3]), np.array([0.2, 0.3, 0.5])  # of 07.2
LOST = np.array([0.5, 0.48, 0.02]), np.array([0.3, 0.3, 0.4])  # of 07.5


def _excess(law: Floats) -> float:
    """E[k2] under a law, less KL(pi || ref), in the world of 07.1."""
    pi, ref = FAR
    return float(law @ k2.value(np.log(pi / ref)) - kl(np.log(pi), np.log(ref)))


def _variance(estimator: Estimator) -> float:
    pi, ref = NEAR
    value = estimator.value(np.log(pi / ref))
    return float(pi @ value**2 - (pi @ value) ** 2)


def _square(estimator: Estimator) -> float:
    pi, ref = NEAR
    return float(pi @ estimator.value(np.log(pi / ref)) ** 2)


def _graded() -> Bandit:
    """The world of 07.3."""
    return Bandit([1.5, 1.0, 0.0], reference=[0.2, 0.3, 0.5])


def _end(algorithm: WithKLLoss) -> Floats:
    return fixed_point(algorithm, _graded(), OnPolicy()).policy


def _pull(algorithm: WithKLLoss | WithKLReward) -> Floats:
    """Expected update without a reward, in the world of 07.5."""
    pi, ref = LOST
    return expected_update(algorithm, Bandit(np.zeros(3), reference=ref), OnPolicy(), pi)


class Unweighted:
    """R, as if the samples were the policy's own."""

    k = 1

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=samples.regularized_reward(BETA))


class KLUnweighted:
    """The ratio for the reward, and k2 as a loss without one."""

    k = 1

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_ratio(samples) * samples.reward - BETA * samples.log_ratio)


class RatioHeld:
    """w times the slope of k3: the ratio was not differentiated."""

    k = 1

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_ratio(samples) * (samples.reward - BETA * k3.slope(samples.log_ratio)))


def _ratio(samples: Samples) -> Array:
    return np.exp(samples.log_prob - samples.behavior_log_prob)


EXERCISES = {
    "07.1": Exercise(
        kind=Number("nats"),
        truth=lambda: _excess(FAR[0]),
        hint="Sum pi(y) h(y)^2 / 2 over the three answers, and take the KL off.",
        mistakes=(
            Mistake(lambda: -_excess(FAR[0]), "The sign: the question is what k2 has more than the KL."),
            Mistake(
                lambda: _excess(FAR[1]),
                "You took the mean of k2 over the reference. Whose samples does a trainer have?",
            ),
            Mistake(
                lambda: _excess(FAR[0]) + kl(*np.log(FAR)) - kl(*np.log(FAR[::-1])),
                "You compare with KL(ref || pi): pi comes first here, for the samples are its own.",
            ),
        ),
    ),
    "07.2": Exercise(
        kind=Number("samples"),
        truth=lambda: 100 * _variance(k1) / _variance(k3),
        hint="The standard error of a mean of n samples is the root of variance / n.",
        mistakes=(
            Mistake(
                lambda: 100 * np.sqrt(_variance(k1) / _variance(k3)),
                "That is the ratio of the standard deviations: samples count by their root.",
            ),
            Mistake(
                lambda: 100 * _variance(k3) / _variance(k1), "Upside down: near the reference k1 is noisier."
            ),
            Mistake(
                lambda: 100 * _square(k1) / _square(k3),
                "Those are second moments. The variance is what is left without the squared mean.",
            ),
        ),
    ),
    "07.3": Exercise(
        kind=Policy(3),
        truth=lambda: _end(WithKLLoss(PolicyGradient(0.4), k3)),
        hint="At rest r + beta ref / pi is one number t for all answers. Find the t of a policy.",
        mistakes=(
            Mistake(
                lambda: _graded().optimal_policy(0.4),
                "That is pi*, the end of KL(pi || ref). The slope of k3 pulls along the other KL.",
            ),
            Mistake(
                lambda: _end(WithKLLoss(PolicyGradient(1 / 0.4), k3)),
                "Your beta is upside down: a small beta must let the reward win.",
            ),
            Mistake(
                lambda: np.eye(3)[0],
                "That is where k1 in the loss ends, which does not pull. k3 in the loss does.",
            ),
        ),
    ),
    "07.4": Exercise(
        kind=Updates(off_policy),
        truth=lambda: ImportanceWeighted(PolicyGradient(BETA)),
        hint="On its own samples R = r - beta h does it. What turns a mean over mu into one over pi?",
        mistakes=(
            Mistake(
                Unweighted, "That is right for samples of pi. These come from mu: weigh them by pi / mu."
            ),
            Mistake(
                KLUnweighted, "The reward is weighted by pi / mu, the KL is not; both are means over pi."
            ),
            Mistake(
                RatioHeld,
                "The slope of k3, weighted, is the other KL: differentiate the ratio too, or charge k1.",
            ),
        ),
    ),
    "07.5": Exercise(
        kind=Numbers((3,), "of the update"),
        truth=lambda: _pull(WithKLReward(PolicyGradient(1.0), k3)),
        hint="The coefficient is -k3, the update is the mean of coefficient times (e_y - pi) over pi.",
        mistakes=(
            Mistake(
                lambda: -_pull(WithKLReward(PolicyGradient(1.0), k3)),
                "The sign: a charge is taken off the reward, and coefficients ascend.",
            ),
            Mistake(
                lambda: _pull(WithKLReward(PolicyGradient(1.0), k1)),
                "That is k1 in the reward, the gradient of KL(pi || ref), which does bring it back.",
            ),
            Mistake(
                lambda: _pull(WithKLLoss(PolicyGradient(1.0), k3)),
                "That is k3 in the loss: you took its slope. In the reward the value itself is charged.",
            ),
        ),
    ),
}
