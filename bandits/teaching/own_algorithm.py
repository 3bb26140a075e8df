"""Your own algorithm: where does it end, and which mistake is it?  Exercises 09."""

from __future__ import annotations

from bandits.algorithms import CoPG
from bandits.bandit import Bandit
from bandits.dynamics.rates import convergence_rate, largest_stable_step
from bandits.samples import Algorithm, Array, Samples, Update, need
from bandits.sampling.rules import Offline
from bandits.teaching.answers import Choice, Number
from bandits.teaching.exercise import Exercise, Mistake
from bandits.teaching.trials import Ends, Updates, off_policy_pairs
from bandits.testing import twins
from bandits.testing.enumeration import Case

BETA, SKEWED = 0.5, Offline([0.1, 0.2, 0.7])
REFERENCES = ("dropped_reference", "wrong_reference", "swapped_reference", "swapped_kl")


def _world() -> Bandit:
    """That of the notebook."""
    return Bandit([1.0, 0.4, 0.0], reference=[0.2, 0.5, 0.3])


def two_worlds() -> list[Case]:
    """What runs away takes its time."""
    return off_policy_pairs()[:2]


class PlainRewards:
    """Rewards alone: nothing holds the logits."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_less_the_other(need(samples, "reward")))


class NoPartner:
    """R of each answer by itself."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=samples.regularized_reward(BETA))


class Halved:
    """CoPG, less the mean of the pair in place of the other."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_less_the_other(samples.regularized_reward(BETA)) / 2)


class WrongReference:
    """CoPG against whoever sampled."""

    k = 2

    def update(self, samples: Samples) -> Update:
        h = samples.log_prob - need(samples, "behavior_log_prob")
        return Update(log_prob=_less_the_other(need(samples, "reward") - BETA * h))


class AsHandedIn:
    """Both of the above."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=WrongReference().update(samples).log_prob / 2)


class Suspect:
    """Each answer has the reference of the other."""

    k = 2

    def update(self, samples: Samples) -> Update:
        h = samples.log_prob - need(samples, "reference_log_prob")[..., ::-1]
        return Update(log_prob=_less_the_other(need(samples, "reward") - BETA * h))


def _less_the_other(score: Array) -> Array:
    return score - score[..., ::-1]


def _name_of(suspect: Algorithm) -> str:
    """The twin of CoPG with the same expected updates."""
    kind, found = Updates(off_policy_pairs), {}
    for name in REFERENCES:
        twin = getattr(twins, name)(CoPG(BETA))
        found[name] = abs(kind.read(twin) - kind.read(suspect)).max()
    return min(found, key=lambda name: found[name])


def _step() -> float:
    """Of CoPG, whose slope at the end is that of the squashed one."""
    return float(largest_stable_step(CoPG(BETA), _world(), SKEWED))


def _rate() -> float:
    return float(convergence_rate(CoPG(BETA), _world(), SKEWED))


EXERCISES = {
    "09.1": Exercise(
        kind=Ends(two_worlds),
        truth=lambda: CoPG(BETA),
        hint="pi* is where all R = r - beta h are equal: let the coefficient vanish there, and only there.",
        mistakes=(
            Mistake(PlainRewards, "It never rests: without -beta h nothing holds the logits back."),
            Mistake(
                NoPartner, "It rests elsewhere: R alone is not zero at pi*. What is, for the two of a pair?"
            ),
            Mistake(
                lambda: CoPG(1.0), "It ends at the optimum of another beta: the question has beta = 0.5."
            ),
        ),
    ),
    "09.2": Exercise(
        kind=Updates(off_policy_pairs),
        truth=lambda: CoPG(BETA),
        hint="Write down R, then the coefficient of CoPG, and compare line by line.",
        mistakes=(
            Mistake(
                AsHandedIn,
                "That is what you were given. Both mistakes are still there: one in h, one is a factor.",
            ),
            Mistake(
                Halved,
                "The end is right now, and every step half as long: the mean of a pair holds yourself.",
            ),
            Mistake(
                WrongReference, "The step is right now, but the KL is taken to whoever sampled the answers."
            ),
        ),
    ),
    "09.3": Exercise(
        kind=Choice(REFERENCES),
        truth=lambda: _name_of(Suspect()),
        hint="Make the twins of CoPG(0.5) and compare their coefficients with the suspect's on some samples.",
        mistakes=(
            Mistake(lambda: "dropped_reference", "There is a reference in it. Whose is it?"),
            Mistake(lambda: "wrong_reference", "It does look at the reference, and not at who sampled."),
            Mistake(lambda: "swapped_kl", "The sign of h is right: log pi comes first."),
        ),
    ),
    "09.4": Exercise(
        kind=Number(),
        truth=_step,
        hint="`largest_stable_step` takes any algorithm, yours too.",
        mistakes=(
            Mistake(
                _rate, "That is the rate of the slowest direction. The fastest one is the first to jump."
            ),
            Mistake(
                lambda: 2 / _rate(),
                "That is for the slowest direction. The step must suit the fastest one as well.",
            ),
            Mistake(
                lambda: _step() / 2,
                "That step arrives in one go along the fastest direction. How much longer may it be?",
            ),
        ),
    ),
}
