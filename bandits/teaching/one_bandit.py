"""One bandit, exactly: what is its optimum, how bad is a policy, what is an algorithm?  Exercises 01."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from bandits.algorithms import CoPG, PolicyGradient
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.examples import copg_toy
from bandits.fixed_point import fixed_point
from bandits.policy import kl
from bandits.samples import Samples, Update, need
from bandits.sampling.rules import Offline
from bandits.teaching.answers import Choice, Number, Policy
from bandits.teaching.exercise import Exercise, Mistake
from bandits.teaching.trials import Updates, off_policy_pairs

BETA = 0.5
ARMS = ("arm 0", "arm 1", "arm 2")
REWARD, REFERENCE = np.array([1.4, 0.2, 0.6]), np.array([0.1, 0.6, 0.3])  # of 01.1 and 01.2


def _optimum() -> Floats:
    return Bandit(REWARD, reference=REFERENCE).optimal_policy(BETA)


def _tilted(scores: Floats, by: Floats | float) -> Floats:
    """by * exp(scores), normalised."""
    weights = by * np.exp(scores)
    return np.asarray(weights / weights.sum())


def _share_of_the_best(beta: float) -> float:
    return float(copg_toy()[0].optimal_policy(beta)[0])


def _beta_where_the_best_has(share: float) -> float:
    return float(brentq(lambda beta: _share_of_the_best(beta) - share, 0.05, 50.0, xtol=1e-12))


def _kl(policy: Floats, other: Floats) -> float:
    return float(kl(np.log(policy), np.log(other)))


class PlainRewards:
    """CoPG that forgets -beta h."""

    k = 2

    def update(self, samples: Samples) -> Update:
        r = need(samples, "reward")
        return Update(log_prob=r - r[..., ::-1])


class Uphill:
    """CoPG with its sign flipped."""

    k = 2

    def update(self, samples: Samples) -> Update:
        R = samples.regularized_reward(BETA)
        return Update(log_prob=R[..., ::-1] - R)


class NoPartner:
    """R of each answer alone: policy gradient without a baseline."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=samples.regularized_reward(BETA))


def _overrated() -> Floats:
    """How much policy gradient's end without a baseline exceeds pi*, on the toy's singles."""
    world, sampling = copg_toy()
    singles = Offline(np.mean(sampling.behaviors, axis=0))
    return fixed_point(PolicyGradient(BETA, 0.0), world, singles).policy - world.optimal_policy(BETA)


EXERCISES = {
    "01.1": Exercise(
        kind=Policy(3),
        truth=_optimum,
        hint="Weigh ref(y) by exp(r(y) / beta), then divide by the sum.",
        mistakes=(
            Mistake(
                lambda: _tilted(REWARD / BETA, 1.0),
                "That is the softmax of r / beta: where is the reference?",
            ),
            Mistake(
                lambda: _tilted(REWARD * BETA, REFERENCE),
                "You multiplied by beta: a strong pull to the reference must make rewards count less.",
            ),
            Mistake(
                lambda: REWARD == REWARD.max(),
                "That takes the best arm alone, which is the optimum only as beta goes to 0.",
            ),
        ),
    ),
    "01.2": Exercise(
        kind=Number("of reward"),
        truth=lambda: Bandit(REWARD, reference=REFERENCE).regret(REFERENCE, BETA),
        hint="Regret is beta times a KL divergence: between which two policies, which way round?",
        mistakes=(
            Mistake(
                lambda: BETA * _kl(_optimum(), REFERENCE),
                "That is the KL the other way round: here the policy on trial, the reference, comes first.",
            ),
            Mistake(
                lambda: _kl(REFERENCE, _optimum()),
                "That KL is in nats; regret is in units of reward. What turns the one into the other?",
            ),
            Mistake(
                lambda: (_optimum() - REFERENCE) @ REWARD,
                "That is the reward still to be won; pi* also pays for its KL to the reference.",
            ),
        ),
    ),
    "01.3": Exercise(
        kind=Number(),
        truth=lambda: _beta_where_the_best_has(0.6),
        hint="Plot the best arm's probability under pi* against beta: where does it cross 0.6?",
        mistakes=(
            Mistake(
                lambda: 1 / _beta_where_the_best_has(0.6),
                "That is 1 / beta: the KL is multiplied by beta, and rewards are divided by it.",
            ),
            Mistake(
                lambda: 0.5 / np.log(0.6 / 0.4),
                "That is right for the two best arms alone: the third answer takes its share as well.",
            ),
        ),
    ),
    "01.4": Exercise(
        kind=Updates(off_policy_pairs),
        truth=lambda: CoPG(BETA),
        hint="The coefficient of y is R(y) - R(y'), with y' the other answer of the pair.",
        mistakes=(
            Mistake(
                PlainRewards, "You compare plain rewards: R = r - beta h, or nothing holds the logits back."
            ),
            Mistake(
                Uphill, "The sign is flipped: coefficients ascend, the better answer's must be positive."
            ),
            Mistake(
                NoPartner, "That is each answer's own R: take away that of the other answer of its pair."
            ),
        ),
    ),
    "01.5": Exercise(
        kind=Choice(ARMS),
        truth=lambda: ARMS[_overrated().argmax()],
        hint="Compare the end with pi*, arm by arm.",
        mistakes=(
            Mistake(
                lambda: ARMS[_overrated().argmin()],
                "The best arm loses most: every R is positive here, so what is shown often is pushed up.",
            ),
            Mistake(
                lambda: ARMS[np.abs(_overrated()).argmin()],
                "That arm's share hardly moves. Which one do the behaviour policies show most?",
            ),
        ),
    ),
}
