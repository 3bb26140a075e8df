"""Answers made of tokens: what do a sum, an average and a divisor do?  Exercises 10."""

from __future__ import annotations

from functools import cache

import numpy as np

from bandits.algorithms import DPO, CoPG, DrGRPO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments import divisors
from bandits.fixed_point import fixed_point
from bandits.samples import Samples, Update, need
from bandits.sampling.rules import Offline, OnPolicy
from bandits.sequences import Averaged, TokenGRPO, TokenTable, by_answer, by_group, table_fixed_point
from bandits.sequences.clipping import Divisor
from bandits.teaching.answers import Number, Policy
from bandits.teaching.exercise import Exercise, Mistake
from bandits.teaching.trials import Updates
from bandits.testing.enumeration import Case

TOKENS, RATIOS = np.array([10.0, 40.0]), np.array([0.05, 0.02])  # of 10.2, the winner first


def _answers() -> TokenTable:
    """Those of 10.1."""
    return TokenTable(np.zeros(5), length=3, end=4)


def _ended() -> int:
    return sum(y[-1] == 4 for y in _answers().sequences)


def _push(h: Floats, which: int = 0) -> float:
    """DPO's coefficient of an answer of the pair."""
    sure = np.array([[0.5, 1.0], [0.0, 0.5]])
    pair = Samples(log_prob=h, reference_log_prob=np.zeros(2), preference=sure)
    return float(DPO(0.5).update(pair).log_prob[which])


def _lengthy() -> Bandit:
    """The world of 10.3."""
    return Bandit([1.0, 0.6, 0.2], reference=[0.2, 0.3, 0.5], length=[1, 2, 4])


def _averaged() -> Floats:
    return fixed_point(Averaged(CoPG(0.5)), _lengthy(), Offline([0.3, 0.4, 0.3])).policy


def _tilted(power: float) -> Floats:
    """ref exp(|y|^power r / beta), divided by its sum."""
    world = _lengthy()
    weight = world.reference * np.exp(need_length(world) ** power * world.needed_reward() / 0.5)
    return np.asarray(weight / weight.sum())


def need_length(world: Bandit) -> Floats:
    """Tokens of each arm, (A,)."""
    assert world.length is not None
    return world.length


def lengths_apart() -> list[Case]:
    """Uneven worlds whose answers have different lengths, sampled by the policy itself."""
    rng, found = np.random.default_rng(10), []
    for length in ([1, 3, 7], [5, 2, 4], [2, 9, 3]):
        reference, policy = 0.1 + 0.7 * rng.dirichlet(np.ones(3), size=2)
        found.append(Case(Bandit(rng.normal(size=3), reference=reference, length=length), OnPolicy(), policy))
    return found


class ByGroup:
    """The lead over the group's mean, over the tokens of the group."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_lead(samples) / need(samples, "length").sum(-1)[..., None])


class ByAnswer:
    """The same, over each answer's own tokens."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_lead(samples) / need(samples, "length"))


class ByMean:
    """The same, over the mean length of the group."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_lead(samples) / need(samples, "length").mean(-1)[..., None])


def _lead(samples: Samples) -> Floats:
    return np.asarray(DrGRPO(k=2).update(samples).log_prob)


@cache  # a second of search
def _lengthened(divisor: Divisor, of_good: bool = False) -> float:
    """How much longer than the reference's the bad answers, or the good ones, are at the end."""
    table, bandit, good = divisors.world()
    end = table_fixed_point(TokenGRPO(0.25, divisor=divisor), table, bandit, OnPolicy()).policy
    which = good if of_good else 1 - good
    now, then = (p @ (which * table.lengths) / (p @ which) for p in (end, bandit.reference))
    return float(now - then)


EXERCISES = {
    "10.1": Exercise(
        kind=Number("arms"),
        truth=lambda: len(_answers().sequences),
        hint="Count the answers that end after one, two and three tokens, then those that were cut off.",
        mistakes=(
            Mistake(lambda: 5**3, "Nothing comes behind an end: many of these strings are one answer."),
            Mistake(_ended, "Those are the answers that end. The others are cut off, and are answers too."),
            Mistake(
                lambda: len(_answers().sequences) - _ended(),
                "Those are the answers that are cut off. Which ones ended before?",
            ),
        ),
    ),
    "10.2": Exercise(
        kind=Number(),
        truth=lambda: _push(TOKENS * RATIOS),
        hint="beta sigma(-beta (h of the winner - h of the loser)), with h of whole answers.",
        mistakes=(
            Mistake(lambda: _push(RATIOS), "Those are averages over tokens: log pi of an answer is a sum."),
            Mistake(
                lambda: _push(TOKENS[::-1] * RATIOS[::-1]),
                "The sign: the loser has risen more, so the push must exceed one half of beta.",
            ),
            Mistake(
                lambda: 2 * _push(TOKENS * RATIOS), "beta stands in front of the sigmoid as well as in it."
            ),
        ),
    ),
    "10.3": Exercise(
        kind=Policy(3),
        truth=_averaged,
        hint="log(pi / ref) / |y| = r / beta + c for every answer: find the c of a policy.",
        mistakes=(
            Mistake(lambda: _tilted(0), "That is pi*, where sums end."),
            Mistake(
                lambda: _tilted(1),
                "The normalising constant counts |y| times too: to divide by Z is not enough.",
            ),
            Mistake(lambda: _tilted(-1), "Upside down: an average makes long answers feel the reward more."),
        ),
    ),
    "10.4": Exercise(
        kind=Updates(lengths_apart),
        truth=ByGroup,
        hint="One divisor for both answers of a group: the sum of their lengths.",
        mistakes=(
            Mistake(ByAnswer, "Each answer is divided by its own length, as GRPO does."),
            Mistake(ByMean, "That is the mean length of the group, k times too small a divisor."),
            Mistake(lambda: DrGRPO(k=2), "There is no divisor: that is Dr. GRPO."),
        ),
    ),
    "10.5": Exercise(
        kind=Number("tokens"),
        truth=lambda: _lengthened(by_answer),
        hint="The mean of |y| among the bad answers at the end, less the same under the reference.",
        mistakes=(
            Mistake(lambda: _lengthened(by_answer, True), "Those are the good answers, which get shorter."),
            Mistake(lambda: _lengthened(by_group), "That is DAPO's divisor. Here each answer has its own."),
        ),
    ),
}
