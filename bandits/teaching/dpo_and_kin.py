"""What do methods that learn from labelled pairs fit, and when is there no fit?  Exercises 04."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from bandits.algorithms import DPO, IPO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_loss
from bandits.fixed_point import fixed_point
from bandits.samples import Samples, Update, need
from bandits.sampling.rules import Dataset, Offline
from bandits.solution import NoFixedPoint
from bandits.teaching.answers import Choice, Number
from bandits.teaching.exercise import Exercise, Mistake
from bandits.teaching.trials import Updates, off_policy_pairs

BETA = 0.5
TAU = 0.1  # beta of 04.1
REWARD, REFERENCE = np.array([1.2, 0.5, -0.4]), np.array([0.3, 0.5, 0.2])
FLIPS, AHEAD = 0.2, 1.5  # of 04.5: the share of flipped labels, r(a) - r(b)
LISTS = {
    "A": [(0, 1), (0, 2), (1, 2)],
    "B": [(0, 1), (1, 2), (2, 1), (1, 0)],
    "C": [(0, 1), (1, 2), (2, 1)],
}


def _start_loss(algorithm: DPO | IPO) -> Floats:
    world = Bandit(REWARD, reference=REFERENCE)
    return expected_loss(algorithm, world, Offline([0.2, 0.3, 0.5]), REFERENCE)


def _end() -> Floats:
    world = Bandit(REWARD, reference=REFERENCE)
    return fixed_point(DPO(BETA), world, Offline([0.2, 0.3, 0.5])).policy


def _has_an_end(name: str) -> bool:
    try:
        fixed_point(DPO(BETA), Bandit(REWARD), Dataset(LISTS[name]))
    except NoFixedPoint:
        return False
    return True


def _the_list() -> str:
    return next(name for name in LISTS if _has_an_end(name))


class OtherWayRound:
    """Pushes most where the model agrees with the label already."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=BETA * _mean_slope(samples, -BETA * _ahead(samples.log_ratio)))


class NoReference:
    """The policy's own log-probabilities in place of log-ratios."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=BETA * _mean_slope(samples, BETA * _ahead(samples.log_prob)))


class NoLabels:
    """The first of the pair is taken for the winner."""

    k = 2

    def update(self, samples: Samples) -> Update:
        pull = BETA * expit(-BETA * _ahead(samples.log_ratio)[..., 0])
        return Update(log_prob=np.stack([pull, -pull], axis=-1))


class NoBeta:
    """The factor beta in front is missing."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_mean_slope(samples, BETA * _ahead(samples.log_ratio)))


def _ahead(values: Floats) -> Floats:
    """Of each sample of a pair over the other, (..., 2)."""
    return values - values[..., ::-1]


def _mean_slope(samples: Samples, margin: Floats) -> Floats:
    """p sigma(-margin) - (1 - p) sigma(margin), (..., 2)."""
    P = need(samples, "preference")
    p = np.stack([P[..., 0, 1], P[..., 1, 0]], axis=-1)
    return np.asarray(p * expit(-margin) - (1 - p) * expit(margin))


def _noisy(p: float) -> float:
    return (1 - FLIPS) * p + FLIPS * (1 - p)


EXERCISES = {
    "04.1": Exercise(
        kind=Number(),
        truth=lambda: _start_loss(IPO(TAU)),
        hint="At the reference h = 0 on every answer: put a margin of zero into IPO's square.",
        mistakes=(
            Mistake(lambda: _start_loss(DPO(TAU)), "That is DPO's, log 2; IPO's loss is a square."),
            Mistake(lambda: 0.0, "The margin is zero, not the loss: IPO wants it to be 1 / (2 beta)."),
            Mistake(
                lambda: np.sqrt(_start_loss(IPO(TAU))),
                "That is the distance to the wanted margin; the loss is its square.",
            ),
        ),
    ),
    "04.2": Exercise(
        kind=Number("of reward"),
        truth=lambda: BETA * (np.log(_end() / REFERENCE) @ [1.0, 0.0, -1.0]),
        hint="DPO's implicit reward is beta log(pi / ref), up to a constant of the prompt.",
        mistakes=(
            Mistake(
                lambda: BETA * np.log(_end()[0] / _end()[2]),
                "That compares probabilities: the reference's own preference must be divided out.",
            ),
            Mistake(
                lambda: np.log(_end() / REFERENCE) @ [1.0, 0.0, -1.0],
                "That is in nats: beta turns log-ratios into rewards.",
            ),
            Mistake(
                lambda: BETA * (np.log(_end() / REFERENCE) @ [-1.0, 0.0, 1.0]),
                "The other way round: how far is arm 0 ahead of arm 2?",
            ),
        ),
    ),
    "04.3": Exercise(
        kind=Updates(off_policy_pairs),
        truth=lambda: DPO(BETA),
        hint="beta (p sigma(-m) - (1 - p) sigma(m)) for y, with m = beta (h(y) - h(y')); minus that for y'.",
        mistakes=(
            Mistake(
                OtherWayRound,
                "The sigma is the wrong way round: pairs that the policy gets wrong must push most.",
            ),
            Mistake(NoReference, "Your margin is one of log pi: take `log_ratio`, or the reference is lost."),
            Mistake(NoLabels, "You always let the first answer win: `preference` says how often it does."),
            Mistake(NoBeta, "Right but for the factor beta that the derivative of sigma(beta ...) brings."),
        ),
    ),
    "04.4": Exercise(
        kind=Choice(tuple(LISTS)),
        truth=_the_list,
        hint="Draw an arrow from each winner to its loser: can you get from every arm to every other?",
        mistakes=(
            Mistake(lambda: "A", "In A nobody ever beats arm 0: its logit rises for ever."),
            Mistake(lambda: "C", "In C arm 0 wins its only comparison: what would ever hold it back?"),
        ),
    ),
    "04.5": Exercise(
        kind=Number(),
        truth=lambda: logit(_noisy(float(expit(AHEAD)))) / BETA,
        hint="Which win rate do the flipped labels show, and which margin has that win rate?",
        mistakes=(
            Mistake(lambda: AHEAD / BETA, "That is the margin without flips: what do the labels show?"),
            Mistake(
                lambda: (1 - 2 * FLIPS) * AHEAD / BETA,
                "Flips shrink p - 1/2 by 1 - 2 eps, not the margin: go through sigma and back.",
            ),
            Mistake(
                lambda: logit(_noisy(float(expit(AHEAD)))),
                "That is beta times the margin of the log-ratios.",
            ),
        ),
    ),
}
