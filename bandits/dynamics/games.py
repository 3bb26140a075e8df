"""How do two players who learn against themselves approach the equilibrium, or miss it?

One policy meets its own past or present.  With p(y beats pi') = sum_y' P(y, y') pi'(y'):

    Nash-MD           pi <- m exp(eta p(y beats m)) / Z,    m = pi^(1 - eta beta) ref^(eta beta) / Z
    mirror descent    pi <- m exp(eta p(y beats pi)) / Z
    Nash-EMA          pi <- m exp(eta p(y beats a)) / Z,    a <- a^decay pi^(1 - decay) / Z
    fictitious play   a <- (1 - rate) a + rate (best response to a)
    regret matching   a <- (1 - rate) a + rate (P a - 1/2)_+ / Z
    SPPO              pi <- pi x,  log x + C x = eta (p(y beats pi) - 1/2)
    optimistic        pi <- pi exp(eta (2 p(y beats pi) - p(y beats the last pi))) / Z
    EGPO              pi <- m exp(eta p(y beats ahead)) / Z,  ahead = m exp(eta p(y beats pi)) / Z,  m of pi

At a constant step Nash-MD misses the equilibrium: KL(pi* || pi) = O(eta^2)  (T6.4, T6.5).  SPPO's rounds wind
outwards, optimistic ones inwards (T13.19).  Fictitious play and regret matching move the *average* a of the
policies played, with rate 1 / (t + 1); regret matching plays in proportion to the positive regrets,
t (P a - 1/2)  (T6.8).  In continuous time the first three become
d log pi / dt = p(y beats pi') - beta log pi/ref, and fictitious play d log a / dt = response / a - 1.

Every law is a step or a velocity for `bandits.solvers.paths` to follow, in log space.
Source: Munos et al. 2023, "Nash Learning from Human Feedback", Eqs. (3)-(5), arXiv:2312.00886;
Hart & Mas-Colell 2000, "A Simple Adaptive Procedure Leading to Correlated Equilibrium".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, wrightomega

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import log_ratio, mixture, tilt
from bandits.solvers.paths import Step, Velocity

NEWTON, ROUNDING = 100, 1e-15  # steps for the constant of SPPO's round, from 0: they never pass the root


def nash_md(bandit: Bandit, beta: float, learning_rate: float) -> Step:
    """Nash-MD: mix with the reference, then improve on the mixture, Eqs. (3)-(5), Munos 2023  (T6.5).

    Near its end a constant step multiplies distances by (1 - eta beta)(1 +- i eta f), f the frequencies of
    (P - 1/2)(diag(m) - m m'): it converges for eta up to about 2 beta / f^2, and circles beyond.

    Raises:
        ValueError: eta beta > 1, where the mixture has a negative weight.

    Example: one step on three dice from (.6, .3, .1), beta = .1, eta = 5  (T6.7 iii).

        >>> from bandits.examples import dice
        >>> step = nash_md(dice(), beta=0.1, learning_rate=5.0)
        >>> np.exp(step(np.log([0.6, 0.3, 0.1]))).round(3)
        array([0.491, 0.309, 0.2  ])
    """
    weight = _mixing(beta, learning_rate)

    def step(log_policy: Floats) -> Floats:
        mixed = mixture(log_policy, bandit.log_reference, weight)
        return log_softmax(mixed + learning_rate * _against(bandit, mixed), axis=-1)

    return step


def nash_md_rate(beta: float, t: int) -> float:
    """The decreasing step of Theorem 1, eta_t = 2 / (beta (t + 2)), t = 0, 1, ...  (T6.5).

    Example:
        >>> nash_md_rate(beta=0.5, t=0)
        2.0
    """
    return 2 / (checks.positive(beta, "beta") * (checks.count(t, "t", least=0) + 2))


def nash_md_bound(beta: float, steps: ArrayLike) -> Floats:
    """Theorem 1: KL(pi* || pi_T) <= 8 / (beta^2 (T + 1)), from the reference with `nash_md_rate`  (T6.5).

    Example:
        >>> float(nash_md_bound(beta=2.0, steps=9))
        0.2
    """
    return 8 / (checks.positive(beta, "beta") ** 2 * (checks.floats(steps, "steps") + 1))


def mirror_descent(bandit: Bandit, beta: float, learning_rate: float) -> Step:
    """Online mirror descent: as Nash-MD, but against the policy itself, Munos 2023  (T6.5).

    Its only fixed point is the equilibrium, at any step.  Near it a step multiplies distances by
    1 - eta beta +- i eta f: longer than about 2 beta / f^2 it circles, as Nash-MD does.
    """
    weight = _mixing(beta, learning_rate)

    def step(log_policy: Floats) -> Floats:
        mixed = mixture(log_policy, bandit.log_reference, weight)
        return log_softmax(mixed + learning_rate * _against(bandit, log_policy), axis=-1)

    return step


def nash_ema(bandit: Bandit, beta: float, learning_rate: float, decay: float) -> Step:
    """Nash-EMA: the opponent has the moving average of the logits, Munos 2023  (T6.5).

    The step takes and gives a stack (2, ..., A): the policy and its average.  decay = 0 plays against
    the policy itself, decay = 1 against the start for ever.
    """
    weight, decay = _mixing(beta, learning_rate), checks.fraction(decay, "decay")

    def step(stack: Floats) -> Floats:
        log_policy, average = stack
        mixed = mixture(log_policy, bandit.log_reference, weight)
        log_policy = log_softmax(mixed + learning_rate * _against(bandit, average), axis=-1)
        return np.stack([log_policy, mixture(log_policy, average, decay)])

    return step


def fictitious_play(bandit: Bandit, rate: float, beta: float = 0.0) -> Step:
    """The average moves by `rate` towards the best response to it; 1 / (t + 1) makes it the plain average.

    argmax_pi P(pi beats a) - beta KL(pi || ref), for beta = 0 the reference on the best arms (T1.3).

    Example: paper, scissors, stone; the average is one half paper, which scissors (arm 1) beats.

        >>> game = Bandit(preference=[[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]])
        >>> np.exp(fictitious_play(game, rate=0.5)(np.log([0.5, 0.25, 0.25]))).round(3)
        array([0.25 , 0.625, 0.125])
    """
    rate, beta = checks.fraction(rate, "rate"), _non_negative(beta)

    def step(average: Floats) -> Floats:
        score = _against(bandit, average)
        if beta > 0:
            return _mean(average, tilt(bandit.log_reference, score, beta), rate)
        top = np.where(np.isneginf(bandit.log_reference), -np.inf, score).max(axis=-1, keepdims=True)
        best = np.where(score == top, bandit.log_reference, -np.inf)
        return _mean(average, log_softmax(best, axis=-1), rate)

    return step


def regret_matching(bandit: Bandit, rate: float) -> Step:
    """The average moves by `rate` towards the arms that beat it, in proportion to how much  (T6.8).

    An average that no arm beats is an unregularised equilibrium, and rests.  With rate 1 / (t + 1), t = 1,
    2, ... (start = the first policy played) `exploitability` after T policies is at most sqrt(A / T) / 2.

    Example: arm 1 alone beats the average.

        >>> game = Bandit(preference=[[0.5, 0.0], [1.0, 0.5]])
        >>> np.exp(regret_matching(game, rate=0.5)(np.log([0.5, 0.5])))
        array([0.25, 0.75])
    """
    rate = checks.fraction(rate, "rate")

    def step(average: Floats) -> Floats:
        regret = np.where(np.isneginf(bandit.log_reference), 0.0, _against(bandit, average) - 0.5)
        positive = np.maximum(regret, 0.0)
        total = positive.sum(axis=-1, keepdims=True)
        with np.errstate(divide="ignore"):
            played = np.log(positive) - np.log(np.where(total > 0, total, 1.0))
        return np.where(total > 0, _mean(average, played, rate), average)

    return step


def exponential_weights(bandit: Bandit, learning_rate: float) -> Step:
    """pi exp(eta p(y beats pi)) / Z: what one round of SPPO aims at, no reference staying  (T13.19).

    Near an interior equilibrium of the unregularised game a step multiplies distances by 1 +- i eta f: it
    winds outwards at any step.
    """
    eta = checks.positive(learning_rate, "learning_rate")
    return lambda log_policy: log_softmax(log_policy + eta * _against(bandit, log_policy), axis=-1)


def sppo(bandit: Bandit, learning_rate: float) -> Step:
    """One round of SPPO's regression on pairs of the policy, which is its reference, Wu 2024  (T13.19).

    log x + C x = eta (p(y beats pi) - 1/2) with x = pi'/pi, C = KL(pi || pi'): what `SPPO(1 / eta)` ends at.
    Its rests are those of `exponential_weights`, and so are its derivatives there; KL(w || pi) to an interior
    equilibrium w of the unregularised game never falls.

    Example: from a policy that no arm beats it does not move.
        >>> cycle = Bandit(preference=[[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])
        >>> np.exp(sppo(cycle, 2.0)(np.log([1 / 3, 1 / 3, 1 / 3]))).round(12)
        array([0.33333333, 0.33333333, 0.33333333])
    """
    eta = checks.positive(learning_rate, "learning_rate")

    def step(log_policy: Floats) -> Floats:
        gain = eta * (_against(bandit, log_policy) - 0.5)
        policy, C = np.exp(log_policy), np.zeros((*gain.shape[:-1], 1))
        for _ in range(NEWTON):
            x = np.exp(_log_x(gain, C))
            excess = (policy * x).sum(axis=-1, keepdims=True) - 1
            C = np.maximum(C + excess / (policy * x**2 / (1 + C * x)).sum(axis=-1, keepdims=True), 0.0)
            if (np.abs(excess) <= ROUNDING).all():
                break
        return log_softmax(log_policy + _log_x(gain, C), axis=-1)

    return step


def _log_x(gain: Floats, C: Floats) -> Floats:
    """log x with log x + C x = gain, by Wright's omega; x falls with C, and is convex in it."""
    with np.errstate(divide="ignore"):
        return gain - wrightomega(gain + np.log(C))


def optimistic_weights(bandit: Bandit, learning_rate: float) -> Step:
    """Exponential weights that count the last payoff twice and take the one before back.

    pi exp(eta (2 p(y beats pi) - p(y beats the policy before))) / Z, on a stack (2, ..., A): the policy and
    the one before.  It arrives at an unregularised equilibrium where exponential weights wind outwards
    (Daskalakis & Panageas 2019, arXiv:1807.04252): near one, distances shrink by the roots of
    t^2 - (1 + 2 i eta f) t + i eta f, which are below 1 for eta f < 1 / sqrt(3)  (T13.19).
    """
    eta = checks.positive(learning_rate, "learning_rate")

    def step(stack: Floats) -> Floats:
        log_policy, before = stack
        payoff = 2 * _against(bandit, log_policy) - _against(bandit, before)
        return np.stack([log_softmax(log_policy + eta * payoff, axis=-1), log_policy])

    return step


def extragradient(bandit: Bandit, beta: float, learning_rate: float) -> Step:
    """EGPO: mirror descent that looks at the payoff where a step would lead, then steps from where it was.

    Zhou et al. 2025, arXiv:2503.08942.  Its end is the regularised equilibrium (T6.1); near it a step
    multiplies distances by (1 - eta beta)(1 +- i eta f) - eta^2 f^2, where mirror descent has
    1 - eta beta +- i eta f  (T13.19).

    Raises:
        ValueError: eta beta > 1.
    """
    weight = _mixing(beta, learning_rate)

    def step(log_policy: Floats) -> Floats:
        mixed = mixture(log_policy, bandit.log_reference, weight)
        ahead = log_softmax(mixed + learning_rate * _against(bandit, log_policy), axis=-1)
        return log_softmax(mixed + learning_rate * _against(bandit, ahead), axis=-1)

    return step


def self_play(bandit: Bandit, beta: float, mix: float = 0.0) -> Velocity:
    """Flow of mirror descent, d log pi / dt = p(y beats m) - beta log pi/ref, m = pi^(1 - mix) ref^mix / Z.

    What Nash-MD and mirror descent become for eta -> 0 (mix = 0).  With mix = eps it ends where Nash-MD at
    the constant step eps / beta does  (T6.4).
    """
    beta, mix = checks.positive(beta, "beta"), checks.fraction(mix, "mix")

    def velocity(log_policy: Floats) -> Floats:
        opponent = mixture(log_policy, bandit.log_reference, mix)
        return _against(bandit, opponent) - beta * log_ratio(log_policy, bandit.log_reference)

    return velocity


def averaged_play(bandit: Bandit, beta: float, rate: float) -> Velocity:
    """Flow of Nash-EMA on a stack (2, ..., A): policy against average, and
    d log a / dt = rate (log pi - log a)."""
    beta, rate = checks.positive(beta, "beta"), checks.positive(rate, "rate")

    def velocity(stack: Floats) -> Floats:
        log_policy, average = stack
        payoff = _against(bandit, average) - beta * log_ratio(log_policy, bandit.log_reference)
        return np.stack([payoff, rate * log_ratio(log_policy, average)])

    return velocity


def best_response_flow(bandit: Bandit, beta: float) -> Velocity:
    """Smooth fictitious play in continuous time, da / dt = ref exp(p(y beats a) / beta) / Z - a."""
    beta = checks.positive(beta, "beta")

    def velocity(average: Floats) -> Floats:
        response = tilt(bandit.log_reference, _against(bandit, average), beta)
        return np.exp(log_ratio(response, average)) - 1

    return velocity


def exploitability(bandit: Bandit, policy: ArrayLike) -> Floats:
    """How far the best arm beats a policy, max_y p(y beats pi) - 1/2, (...); 0 only at a von Neumann winner.

    Over the arms that the reference allows.

    Example:
        >>> float(exploitability(Bandit(preference=[[0.5, 0.0], [1.0, 0.5]]), [0.5, 0.5]))
        0.25
    """
    score = bandit.preference_over(policy)
    return np.where(bandit.reference > 0, score, -np.inf).max(axis=-1) - 0.5


def _against(bandit: Bandit, log_opponent: Floats) -> Floats:
    """p(y beats pi') of every arm, (..., A)."""
    return (bandit.preference @ np.exp(log_opponent)[..., None])[..., 0]


def _mean(log_p: Floats, log_q: Floats, rate: float) -> Floats:
    """log of (1 - rate) p + rate q."""
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log1p(-rate) + log_p, np.log(rate) + log_q)


def _mixing(beta: float, learning_rate: float) -> float:
    """The reference's weight in the mixture, eps = eta beta."""
    weight = checks.positive(beta, "beta") * checks.positive(learning_rate, "learning_rate")
    if weight > 1 + 1e-12:
        raise ValueError(
            f"learning_rate must be at most 1 / beta = {1 / beta:.6g}, where the mixture is the reference, "
            f"but learning_rate = {learning_rate!r}; choose a smaller one"
        )
    return min(weight, 1.0)


def _non_negative(beta: float) -> float:
    return 0.0 if beta == 0 else checks.positive(beta, "beta", "0 is the unregularised game")
