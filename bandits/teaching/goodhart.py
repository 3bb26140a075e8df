"""When is it too much of a good thing?  Best-of-n, fits, caution, online against offline.  Exercises 08."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.estimation import accuracy, fitted_reward, pointwise_policy, uncertainty
from bandits.policy import kl
from bandits.selection import best_of_n
from bandits.teaching.answers import Choice, Number, Policy
from bandits.teaching.exercise import Exercise, Mistake

RARE, SURE = 0.02, 0.9  # of 08.1
TIED = np.array([1.0, 0.0, 1.0, 0.5]), np.array([0.1, 0.4, 0.2, 0.3])  # reward and reference of 08.2
GAMES = np.array([[0, 9, 6, 1], [4, 0, 8, 0], [3, 5, 0, 0], [0, 0, 0, 0.0]])  # of 08.4
WHO = ("offline", "online")


def _samples(sure: float) -> float:
    return float(np.ceil(np.log(1 - sure) / np.log(1 - RARE)))


def _first_of_the_best() -> Floats:
    """The best of three where ties go to the first arm."""
    law = best_of_n(*TIED, 3)
    return np.array([law[0] + law[2], law[1], 0.0, law[3]])


def _inclusive() -> Floats:
    """ref F^2, normalised."""
    reward, ref = TIED
    weight = ref * (ref * (reward <= reward[:, None])).sum(axis=1) ** 2
    return np.asarray(weight / weight.sum())


def _graded() -> Bandit:
    """The world of 08.3."""
    return Bandit([1.0, 0.6, 0.2, 0.0], reference=[0.1, 0.2, 0.3, 0.4])


def _spent(policy: Floats) -> float:
    return float(kl(np.log(policy), _graded().log_reference))


def _best_of_four() -> Floats:
    return best_of_n(_graded().needed_reward(), _graded().reference, 4)


def _optimum_that_spends(nats: float) -> Floats:
    beta = brentq(lambda b: _spent(_graded().optimal_policy(b)) - nats, 0.05, 5.0, xtol=1e-13)
    return _graded().optimal_policy(float(beta))


def _won(nats: float) -> float:
    """Reward of the frontier at a KL, less that of best-of-4."""
    return float((_optimum_that_spends(nats) - _best_of_four()) @ _graded().needed_reward())


def _kl_saved() -> float:
    """What the frontier spends less for the same reward."""
    goal, r = _best_of_four() @ _graded().needed_reward(), _graded().needed_reward()
    beta = brentq(lambda b: _graded().optimal_policy(b) @ r - goal, 0.05, 5.0, xtol=1e-13)
    return _spent(_best_of_four()) - _spent(_graded().optimal_policy(float(beta)))


def _compared() -> Floats:
    return np.array([0.2, 0.4, 0.3, 0.1])


def _cautious(width: float) -> Floats:
    return pointwise_policy(GAMES, _compared(), 0.5, width=width, ridge=0.5)


def _reckless() -> Floats:
    """The uncertainty added."""
    score = fitted_reward(GAMES, 0.5) + 2 * uncertainty(np.eye(4), _compared(), GAMES, 0.5)
    return Bandit(score, reference=_compared()).optimal_policy(0.5)


def _cycle() -> Bandit:
    """The world of 08.5."""
    preference = [[0.5, 0.7, 0.1], [0.3, 0.5, 0.8], [0.9, 0.2, 0.5]]
    return Bandit(preference=preference, reference=[0.6, 0.3, 0.1])


def _classifier_and_winner(wrong_classifier: bool = False, wrong_winner: bool = False) -> str:
    world = _cycle()
    ends = world.best_response(world.reference, 0.05), world.nash_policy(0.05)
    scores = [accuracy(np.log(end / world.reference), world, world.reference) for end in ends]
    better = bool(scores[1] > scores[0]) != wrong_classifier
    winner = bool(world.win_rate(ends[1], ends[0]) > 0.5) != wrong_winner
    return f"{WHO[better]} {WHO[winner]}"


EXERCISES = {
    "08.1": Exercise(
        kind=Number("samples"),
        truth=lambda: _samples(SURE),
        hint="It is missed by all n with the probability 0.98^n. Round up to a whole number.",
        mistakes=(
            Mistake(
                lambda: SURE / RARE,
                "Probabilities of n samples do not add up: the same answer may be found twice.",
            ),
            Mistake(lambda: 1 / RARE, "That many find it once on average, which is not nine times in ten."),
            Mistake(lambda: _samples(0.5), "That many find it every other time."),
        ),
    ),
    "08.2": Exercise(
        kind=Policy(4),
        truth=lambda: best_of_n(*TIED, 3),
        hint="First the probability that each level of the reward is the highest, then share it in a level.",
        mistakes=(
            Mistake(lambda: best_of_n(*TIED, 2), "That is the best of two."),
            Mistake(
                _first_of_the_best,
                "You let the first of the tied answers win always; samples of both are equally good.",
            ),
            Mistake(
                _inclusive,
                "That is ref F^2, normalised, right if no samples ever tie. Take from F^3 what is below.",
            ),
        ),
    ),
    "08.3": Exercise(
        kind=Number("of reward"),
        truth=lambda: _won(_spent(_best_of_four())),
        hint="Find the beta whose optimum has the KL of best-of-4, and compare the two mean rewards.",
        mistakes=(
            Mistake(
                lambda: _won(np.log(4) - 3 / 4),
                "You spent log n - (n - 1)/n, the bound. With so few answers best-of-4 costs less than that.",
            ),
            Mistake(
                lambda: _won(np.log(4)), "log n is more than best-of-n costs: something is taken off it."
            ),
            Mistake(
                _kl_saved,
                "That is the KL saved at the same reward; the question is the reward won at the same KL.",
            ),
        ),
    ),
    "08.4": Exercise(
        kind=Policy(4),
        truth=lambda: _cautious(2.0),
        hint="Take 2 |e_y - ref| off the fit of each answer before you tilt the reference by it.",
        mistakes=(
            Mistake(
                lambda: _cautious(0.0), "That follows the fit as it is. What is not known should count less."
            ),
            Mistake(_reckless, "The uncertainty was added: so one explores; caution takes it off."),
            Mistake(lambda: _cautious(1.0), "The width is two: Gamma is twice that distance."),
        ),
    ),
    "08.5": Exercise(
        kind=Choice(tuple(f"{one} {other}" for one in WHO for other in WHO)),
        truth=_classifier_and_winner,
        hint="Compute both ends, `accuracy` of their log-ratios, and the `win_rate` of one over the other.",
        mistakes=(
            Mistake(
                lambda: _classifier_and_winner(wrong_winner=True),
                "The classifier is right. The duel is promised to online at the same KL: who went further?",
            ),
            Mistake(
                lambda: _classifier_and_winner(wrong_classifier=True),
                "The winner is right. Now count the pairs that each orders well.",
            ),
            Mistake(
                lambda: _classifier_and_winner(wrong_classifier=True, wrong_winner=True),
                "Neither is right: compute both.",
            ),
        ),
    ),
}
