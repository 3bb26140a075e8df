"""What is the best policy where preferences come from no score?  Win rates and equilibria.  Exercises 05."""

from __future__ import annotations

import numpy as np
from scipy.special import logit

from bandits.algorithms import DPO, IPO, OnlineIPO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.fixed_point import fixed_point
from bandits.samples import Samples, Update, need
from bandits.sampling.rules import Offline
from bandits.teaching.answers import Number, Policy
from bandits.teaching.exercise import Exercise, Mistake
from bandits.teaching.trials import Ends, on_policy

BETA = 0.5  # of 05.5, and of no other
TAU = 0.2  # beta of the others
P = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])
REFERENCE = np.array([0.5, 0.3, 0.2])
MINE, YOURS = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.2, 0.6])
GAME = Bandit(preference=P, reference=REFERENCE)


def _tilted(scores: Floats, by: Floats | float = REFERENCE) -> Floats:
    """by * exp(scores), normalised."""
    weights = by * np.exp(scores)
    return np.asarray(weights / weights.sum())


def _gain() -> float:
    """What the best response to MINE wins beyond one half, the KLs paid."""
    best = GAME.best_response(MINE, TAU)
    kls = [policy @ np.log(policy / REFERENCE) for policy in (best, MINE)]
    return float(GAME.win_rate(best, MINE) - TAU * kls[0] + TAU * kls[1] - 0.5)


class LogOdds:
    """Labels turned into scores: log-odds of each comparison instead of p - 1/2."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=logit(_wins(samples)) - BETA * samples.log_ratio)


class TwiceTheKL:
    """-2 beta h for -beta h."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=_wins(samples) - 0.5 - 2 * BETA * samples.log_ratio)


class Mirrored:
    """How often the answer loses."""

    k = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=0.5 - _wins(samples) - BETA * samples.log_ratio)


def _wins(samples: Samples) -> Floats:
    """p(y beats y') of each sample of a pair, (..., 2)."""
    preference = need(samples, "preference")
    return np.stack([preference[..., 0, 1], preference[..., 1, 0]], axis=-1)


EXERCISES = {
    "05.1": Exercise(
        kind=Number(),
        truth=lambda: GAME.win_rate(MINE, YOURS),
        hint="Sum pi(y) P(y, y') pi'(y') over all pairs of arms.",
        mistakes=(
            Mistake(lambda: GAME.win_rate(YOURS, MINE), "That is how often the second beats the first."),
            Mistake(
                lambda: MINE @ (P - np.diag(np.diag(P))) @ YOURS,
                "Two equal answers meet as well: they count one half, not nothing.",
            ),
        ),
    ),
    "05.2": Exercise(
        kind=Policy(3),
        truth=lambda: GAME.best_response(YOURS, TAU),
        hint="It is pi* of a bandit whose reward is each arm's win rate against the opponent.",
        mistakes=(
            Mistake(
                lambda: _tilted(YOURS @ P / TAU),
                "That rewards losing: p(y beats mu) is P @ mu, not mu @ P.",
            ),
            Mistake(lambda: _tilted(P @ YOURS / TAU, 1.0), "And the reference? The KL is to it."),
            Mistake(lambda: _tilted(P @ YOURS * TAU), "The win rates are divided by beta, not multiplied."),
        ),
    ),
    "05.3": Exercise(
        kind=Policy(3),
        truth=lambda: GAME.nash_policy(TAU),
        hint="Look for the policy that is its own best response: repeat short steps towards it.",
        mistakes=(
            Mistake(
                lambda: GAME.best_response(REFERENCE, TAU),
                "That is one best response, to the reference; it has a best response of its own.",
            ),
            Mistake(
                lambda: fixed_point(IPO(TAU), GAME, Offline([1 / 3, 1 / 3, 1 / 3])).policy,
                "That is the best response to the uniform policy, IPO's end, and nobody plays that.",
            ),
            Mistake(
                lambda: Bandit(preference=P).nash_policy(TAU),
                "That is the equilibrium for a uniform reference: this one likes arm 0.",
            ),
        ),
    ),
    "05.4": Exercise(
        kind=Number(),
        truth=lambda: GAME.duality_gap(MINE, TAU),
        hint="2 beta KL(pi || its best response).",
        mistakes=(
            Mistake(_gain, "That is what one player gains; the gap counts both."),
            Mistake(
                lambda: GAME.duality_gap(MINE, TAU) / TAU,
                "That is in nats; the gap is in units of win rate: multiply by beta.",
            ),
            Mistake(
                lambda: 2 * TAU * _kl(GAME.best_response(MINE, TAU), MINE),
                "The KL the other way round: the policy on trial comes first.",
            ),
        ),
    ),
    "05.5": Exercise(
        kind=Ends(on_policy),
        truth=lambda: OnlineIPO(BETA),
        hint="Against an opponent drawn from the policy itself: p(y beats y') - 1/2 - beta h(y).",
        mistakes=(
            Mistake(lambda: DPO(BETA), "Online DPO wants sigma(beta dh) to match p: another end."),
            Mistake(LogOdds, "Log-odds are a score's; the game is played for the win rate itself."),
            Mistake(TwiceTheKL, "You pay the KL twice: one -beta h an answer."),
            Mistake(Mirrored, "You reward losing: `preference[..., i, j]` is how often i beats j."),
        ),
    ),
}


def _kl(policy: Floats, other: Floats) -> float:
    return float(policy @ np.log(policy / other))
