"""Who sampled, and does it matter?  The graph of the samples, and its rate.  Exercises 03."""

from __future__ import annotations

import numpy as np

from bandits.algorithms import DRO, CoPG
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.rates import convergence_rate, largest_stable_step
from bandits.fixed_point import fixed_point
from bandits.samples import Samples, Update, need
from bandits.sampling.rules import Offline, Pairs
from bandits.teaching.answers import Number, Policy
from bandits.teaching.exercise import Exercise, Mistake
from bandits.teaching.trials import Ends, off_policy

BETA = 0.5
REWARD, REFERENCE = np.array([1.2, 0.5, -0.4]), np.array([0.3, 0.5, 0.2])
BEHAVIOR = np.array([0.2, 0.3, 0.5])
WORLD = Bandit(REWARD, reference=REFERENCE)
PATH = np.array([[0.0, 0.7, 0.0], [0.0, 0.0, 0.3], [0.0, 0.0, 0.0]])  # arms 0 and 1 meet, and 1 and 2
TWO = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])  # arm 2 meets nobody


def _eigenvalues(joint: Floats) -> Floats:
    """Of L = diag(S1) - S, S = W + W^T, ascending  (T3.2)."""
    S = joint + joint.T
    return np.asarray(np.linalg.eigvalsh(np.diag(S.sum(axis=1)) - S), dtype=np.float64)


def _iid() -> Floats:
    return np.outer(BEHAVIOR, BEHAVIOR)


def _optimum() -> Floats:
    return WORLD.optimal_policy(BETA)


def _seen_alone() -> Floats:
    seen = _optimum() * [1, 1, 0]
    return np.asarray(seen / seen.sum())


class RewardsAlone:
    """Contrast of rewards without the KL: nothing holds the logits back."""

    k = 3

    def update(self, samples: Samples) -> Update:
        r = need(samples, "reward")
        return Update(log_prob=r - r.mean(axis=-1, keepdims=True))


class HalfContrast:
    """The baseline is the group's mean reward; each sample keeps its own -beta h: PMD-mean's update."""

    k = 3

    def update(self, samples: Samples) -> Update:
        r = need(samples, "reward")
        return Update(log_prob=r - r.mean(axis=-1, keepdims=True) - BETA * samples.log_ratio)


class NoContrast:
    """Policy gradient without a baseline."""

    k = 3

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=samples.regularized_reward(BETA))


EXERCISES = {
    "03.1": Exercise(
        kind=Ends(off_policy),
        truth=lambda: CoPG(BETA, k=3),
        hint="Let every coefficient be a difference of R = r - beta h inside the group.",
        mistakes=(
            Mistake(RewardsAlone, "Without -beta h nothing pulls the logits back, and they run away."),
            Mistake(
                HalfContrast,
                "You contrast rewards, but each sample keeps its own -beta h: contrast the whole R.",
            ),
            Mistake(NoContrast, "That is policy gradient without a baseline: off-policy its end follows mu."),
        ),
    ),
    "03.2": Exercise(
        kind=Number("of reward"),
        truth=lambda: fixed_point(DRO(BETA), WORLD, Offline(BEHAVIOR)).value,
        hint="At the optimum r - V - beta h vanishes on every arm, and the policy sums to one.",
        mistakes=(
            Mistake(lambda: BEHAVIOR @ REWARD, "That is E_mu[r]: what a value is where nobody trains."),
            Mistake(lambda: _optimum() @ REWARD, "That is the reward of pi*; V also pays its KL."),
            Mistake(
                lambda: np.log(REFERENCE @ np.exp(REWARD / BETA)),
                "That is log Z, in nats; V is in units of reward.",
            ),
        ),
    ),
    "03.3": Exercise(
        kind=Number(),
        truth=lambda: convergence_rate(CoPG(BETA), WORLD, Pairs(PATH)),
        hint="S = W + W^T, L = diag(row sums of S) - S, and the rate is beta times its second eigenvalue.",
        mistakes=(
            Mistake(lambda: _eigenvalues(PATH)[1], "That is lambda_2 of the graph alone: what does beta do?"),
            Mistake(
                lambda: BETA * _eigenvalues(PATH)[2],
                "That is the fastest direction; a flow has arrived when its slowest one has.",
            ),
            Mistake(
                lambda: BETA * _eigenvalues(PATH / 2)[1],
                "Half of it: both answers of a pair move, so that S is W + W^T, not its half.",
            ),
        ),
    ),
    "03.4": Exercise(
        kind=Policy(3),
        truth=lambda: fixed_point(CoPG(BETA), WORLD, Pairs(TWO)).policy,
        hint="Two things never move: the logit of arm 2, and the mean of the logits of arms 0 and 1.",
        mistakes=(
            Mistake(_optimum, "That is pi*, which needs a chain of comparisons between all arms."),
            Mistake(_seen_alone, "Arm 2 keeps a share: nobody ever pushed its logit down."),
            Mistake(
                lambda: np.array([*(0.8 * _seen_alone()[:2]), 0.2]),
                "What arm 2 keeps is its logit, not its probability: the softmax shares out anew.",
            ),
        ),
    ),
    "03.5": Exercise(
        kind=Number(),
        truth=lambda: largest_stable_step(CoPG(BETA), WORLD, Offline(BEHAVIOR)),
        hint="A step multiplies the error along an eigenvector of L by 1 - eta beta lambda.",
        mistakes=(
            Mistake(
                lambda: 1 / (BETA * _eigenvalues(_iid())[2]),
                "There the stiffest direction is solved in one step; it takes twice that to diverge.",
            ),
            Mistake(
                lambda: 2 / (BETA * _eigenvalues(_iid())[1]),
                "That is the slowest direction's bound; the stiffest one breaks first.",
            ),
            Mistake(
                lambda: 1 / BETA,
                "That bounds steps on one pair at a time, which are noisy; the mean step may be longer.",
            ),
        ),
    ),
}
