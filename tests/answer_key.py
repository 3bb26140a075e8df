"""Every coefficient written a second time, one group of samples at a time, in the words of the papers.

    coefficients(algorithm, samples)    the formula for one group: plain Python, winner and loser in turn
    groups(algorithm, case)             every group that a sampling rule can draw, with its probability
    expected_by_hand(algorithm, case)   both together

Nothing here calls what it checks: from the algorithms only their hyper-parameters are read, from the
bandit its arrays, from the sampling its behaviour policies.

Axes: none but the sample's place in its group, (k,), and the arms, (A,).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import bandits as b
from bandits import Bandit, Samples

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A world, a way to sample it and where training stands; no contexts."""

    bandit: Bandit
    sampling: b.Offline | b.Pairs | b.Dataset | b.OnPolicy
    policy: Floats  # (A,)
    value: float | None = None  # DRO's V; None: eliminated
    revision: Floats | None = None  # (A, A)  SRPO's pi'(y2 | y1) at [y1, y2]


# ---- the formulas -----------------------------------------------------------------------------------------


def coefficients(algorithm, samples: Samples) -> list[float]:
    """The coefficient of each sample of one group, from the formula of the paper."""
    return FORMULAS[type(algorithm)](algorithm, samples)


def _h(samples: Samples) -> list[float]:
    return [float(a - c) for a, c in zip(samples.log_prob, samples.reference_log_prob, strict=True)]


def _R(beta: float, samples: Samples) -> list[float]:
    return [float(r) - beta * h for r, h in zip(samples.reward, _h(samples), strict=True)]


def _mean_R(beta: float, samples: Samples, weights: Floats) -> float:
    """E[R] over the population with these weights."""
    terms = zip(weights, _R(beta, samples.population), strict=True)
    return math.fsum(w * R for w, R in terms if w > 0)


def baseline(algorithm, samples: Samples) -> float:
    """b of T2.5 by name."""
    everyone = samples.population
    if algorithm.baseline is b.policy_reward:
        return math.fsum(np.exp(everyone.log_prob) * everyone.reward)
    if algorithm.baseline is b.policy_value:
        return _mean_R(algorithm.beta, samples, np.exp(everyone.log_prob))
    if algorithm.baseline is b.behavior_value:
        return _mean_R(algorithm.beta, samples, np.exp(everyone.behavior_log_prob))
    if algorithm.baseline is b.greedy:
        return float(samples.greedy_reward)
    return algorithm.baseline


def policy_gradient(a: b.PolicyGradient, s: Samples) -> list[float]:
    """T2.1: (R - b) / k."""
    return [(R - baseline(a, s)) / a.k for R in _R(a.beta, s)]


def rloo(a: b.RLOO, s: Samples) -> list[float]:
    """T2.2: (R_i - mean of the other R) / k."""
    R = _R(a.beta, s)
    return [(R[i] - sum(R[:i] + R[i + 1 :]) / (a.k - 1)) / a.k for i in range(a.k)]


def remax(a: b.ReMax, s: Samples) -> list[float]:
    """T2.4: R - r(argmax pi)."""
    return [_R(a.beta, s)[0] - float(s.greedy_reward)]


def copg(a: b.CoPG, s: Samples) -> list[float]:
    """T3.1: sum over the pairs that contain sample i of the difference of R."""
    R = _R(a.beta, s)
    return [sum(R[i] - R[j] for j in range(a.k) if j != i) for i in range(a.k)]


def ipo(a: b.IPO | b.OnlineIPO, s: Samples) -> list[float]:
    """T4.2: +-2 (1/(2 beta) - (h_w - h_l)) for each outcome of the label."""

    def of_winner(w: int, l: int) -> float:  # noqa: E741
        return 2 * (1 / (2 * a.beta) - (_h(s)[w] - _h(s)[l]))

    return _over_labels(of_winner, float(s.preference[0, 1]))


def dpo(a: b.DPO, s: Samples) -> list[float]:
    """T5.1 and T5.4: +-beta sigma(-(beta dh + dGamma)); with smoothing, the flipped label with weight eps."""
    gamma = [0.0, 0.0] if a.margin is None else [float(g) for g in a.margin(s)]

    def of_winner(w: int, l: int) -> float:  # noqa: E741
        margin = a.beta * (_h(s)[w] - _h(s)[l]) + gamma[w] - gamma[l]
        kept, flipped = (1 - math.tanh(margin / 2)) / 2, (1 + math.tanh(margin / 2)) / 2
        return a.beta * ((1 - a.smoothing) * kept - a.smoothing * flipped)

    return _over_labels(of_winner, float(s.preference[0, 1]))


def psipo(a: b.PsiPO, s: Samples) -> list[float]:
    """T4.1: +-(Psi(p(y, y'')) - Psi(p(y', y'')) - beta (h - h')), nothing for the opponent y''."""
    h, p = _h(s), s.preference
    c = float(a.psi(p[0, 2]) - a.psi(p[1, 2])) - a.beta * (h[0] - h[1])
    return [c, -c, 0.0]


def dro(a: b.DRO, s: Samples) -> list[float]:
    """T8.1: beta (r - V - beta h)."""
    return [a.beta * c for c in drov(a, s)]


def drov(a: b.DRO | b.DROV, s: Samples) -> list[float]:
    """T8.1: r - V - beta h; V = E_mu[R] where it is eliminated."""
    if s.value is None:
        return [_R(a.beta, s)[0] - _mean_R(a.beta, s, np.exp(s.population.behavior_log_prob))]
    return [_R(a.beta, s)[0] - float(s.value)]


def nash_md(a: b.NashMD, s: Samples) -> list[float]:
    """T6.5: p(y beats y') - 1/2 - beta h(y), nothing for the opponent y'."""
    return [float(s.preference[0, 1]) - 0.5 - a.beta * _h(s)[0], 0.0]


def srpo(a: b.SRPO, s: Samples) -> list[float]:
    """T7.3, the part of the generative policy: +-2 beta (1 - alpha) (1 - beta [...])."""

    def of_winner(w: int, l: int) -> float:  # noqa: E741
        return 2 * a.beta * (1 - a.alpha) * _srpo_errors(a, s, w, l)[0]

    return _over_labels(of_winner, float(s.preference[0, 1]))


def srpo_revision(a: b.SRPO, s: Samples) -> Floats:
    """T7.3, the coefficient of log pi'(y_i | y_j) at [i, j], (2, 2)."""
    total = np.zeros((2, 2))
    for share, (w, l) in ((s.preference[0, 1], (0, 1)), (s.preference[1, 0], (1, 0))):  # noqa: E741
        gen, from_loser, from_winner = _srpo_errors(a, s, w, l)
        total[w, l] += share * 2 * a.beta * ((1 - a.alpha) * gen + a.alpha * from_loser)
        total[l, l] -= share * 2 * a.beta * a.alpha * from_loser
        total[w, w] += share * 2 * a.beta * a.alpha * from_winner
        total[l, w] -= share * 2 * a.beta * ((1 - a.alpha) * gen + a.alpha * from_winner)
    return total


def _srpo_errors(a: b.SRPO, s: Samples, w: int, l: int) -> tuple[float, float, float]:  # noqa: E741
    """The three brackets of T7.3."""
    h, hr = _h(s), s.revision_log_prob - s.reference_revision_log_prob
    gen = 1 - a.beta * (hr[w, l] + h[w] - hr[l, w] - h[l])
    return (
        float(gen),
        float(0.5 - a.beta * (hr[w, l] - hr[l, l])),
        float(0.5 - a.beta * (hr[w, w] - hr[l, w])),
    )


def importance_weighted(a: b.ImportanceWeighted, s: Samples) -> list[float]:
    """T2.6: the coefficients times min(prod pi/mu, clip)."""
    weight = min(math.prod(np.exp(s.log_prob - s.behavior_log_prob)), a.clip)
    return [weight * c for c in coefficients(a.algorithm, s)]


def alol(a: b.ALoL, s: Samples) -> list[float]:
    """T9.1: max(r - V, 0) times pi/ref, held between 1 - eps and 1 + eps; V = E_ref[r]."""
    V = s.value
    if V is None:
        V = math.fsum(np.exp(s.population.reference_log_prob) * s.population.reward)
    return [max(float(s.reward[0] - V), 0.0) * _near_one(math.exp(_h(s)[0]), a.clip)]


def ppo(a: b.PPO, s: Samples) -> list[float]:
    """T9.5: w (R - b) / k where that is the smaller side of the surrogate."""
    advantages = [R - baseline(a, s) for R in _R(a.beta, s)]
    return [c / a.k for c in _clipped(advantages, s, a.clip)]


def grpo(a: b.GRPO, s: Samples) -> list[float]:
    """T9.5: ((r - mean) / std, clipped, + beta (ref/pi - 1)) / k."""
    mean, scale = math.fsum(s.reward) / a.k, 1.0
    if a.spread is b.standard_deviation:
        scale = math.sqrt(math.fsum((r - mean) ** 2 for r in s.reward) / (a.k - 1))
    same = len(set(map(float, s.reward))) == 1
    advantages = [0.0 if same else float(r - mean) / scale for r in s.reward]
    pull = [a.beta * (math.exp(-h) - 1) for h in _h(s)]
    return [(c + k) / a.k for c, k in zip(_clipped(advantages, s, a.clip), pull, strict=True)]


def _clipped(advantages: list[float], s: Samples, clip: float) -> list[float]:
    """w a, or nothing where min(w a, clip(w) a) does not move with w."""
    weights = [math.exp(x) for x in s.log_prob - s.behavior_log_prob]
    pairs = zip(weights, advantages, strict=True)
    return [w * A if w * A <= _near_one(w, clip) * A else 0.0 for w, A in pairs]


def _near_one(ratio: float, clip: float) -> float:
    return min(max(ratio, 1 - clip), 1 + clip)


def _over_labels(of_winner, p: float) -> list[float]:
    """Mean over the label: the first wins with probability p."""
    c = p * of_winner(0, 1) - (1 - p) * of_winner(1, 0)
    return [c, -c]


FORMULAS = {
    b.PolicyGradient: policy_gradient,
    b.RLOO: rloo,
    b.ReMax: remax,
    b.CoPG: copg,
    b.IPO: ipo,
    b.OnlineIPO: ipo,
    b.DPO: dpo,
    b.PsiPO: psipo,
    b.DRO: dro,
    b.DROV: drov,
    b.NashMD: nash_md,
    b.SRPO: srpo,
    b.ALoL: alol,
    b.PPO: ppo,
    b.GRPO: grpo,
    b.ImportanceWeighted: importance_weighted,
}


# ---- every group that can be drawn ------------------------------------------------------------------------


def groups(algorithm, case: Case) -> Iterator[tuple[float, tuple[int, ...], Samples]]:
    """Probability, arms and `Samples` of each group."""
    places = place_laws(algorithm, case)
    for weight, arms, label in _draws(algorithm.k, case, places):
        if weight > 0:
            yield weight, arms, _samples(case, places, arms, label)


def place_laws(algorithm, case: Case) -> list[Floats]:
    """Who sampled each place of the group."""
    sampling, k = case.sampling, algorithm.k
    if isinstance(sampling, b.Offline):
        return [sampling.behaviors[i % len(sampling.behaviors)] for i in range(k)]
    if isinstance(sampling, b.Pairs):
        return [sampling.joint.sum(axis=1), sampling.joint.sum(axis=0)]
    if isinstance(sampling, b.Dataset):
        listed = sampling.pairs
        return [np.array([np.mean(listed[:, i] == y) for y in range(case.bandit.arms)]) for i in (0, 1)]
    laws = [case.policy] * k
    if isinstance(algorithm, b.NashMD):
        mix = case.policy ** (1 - algorithm.mixture) * case.bandit.reference**algorithm.mixture
        laws[-1] = mix / mix.sum()
    return laws


def _draws(k: int, case: Case, places: list[Floats]) -> Iterator[tuple[float, tuple[int, ...], bool]]:
    if isinstance(case.sampling, b.Dataset):
        for winner, loser in case.sampling.pairs:
            yield 1 / len(case.sampling.pairs), (int(winner), int(loser)), True
        return
    for arms in itertools.product(range(case.bandit.arms), repeat=k):
        if isinstance(case.sampling, b.Pairs):
            yield float(case.sampling.joint[arms]), arms, False
        else:
            yield math.prod(float(law[y]) for law, y in zip(places, arms, strict=True)), arms, False


def _samples(case: Case, places: list[Floats], arms: tuple[int, ...], label: bool) -> Samples:
    world, pick = case.bandit, list(arms)
    everyone = Samples(
        log_prob=np.log(case.policy),
        reference_log_prob=np.log(world.reference),
        reward=world.reward,
        behavior_log_prob=_log(sum(places) / len(places)),
    )
    preference = np.array([[_p(world, y, z) for z in arms] for y in arms])
    return Samples(
        log_prob=everyone.log_prob[pick],
        reference_log_prob=everyone.reference_log_prob[pick],
        reward=None if world.reward is None else world.reward[pick],
        preference=np.array([[0.5, 1.0], [0.0, 0.5]]) if label else preference,
        behavior_log_prob=np.array([_log(law)[y] for law, y in zip(places, arms, strict=True)]),
        arm=np.array(arms),
        population=everyone,
        greedy_reward=None if world.reward is None else world.reward[np.argmax(case.policy)],
        value=None if case.value is None else np.float64(case.value),
        revision_log_prob=_conditional(case.revision, arms),
        reference_revision_log_prob=None
        if case.revision is None
        else np.array([[np.log(world.reference[y])] * len(arms) for y in arms]),
    )


def _p(world: Bandit, y: int, z: int) -> float:
    if world.given_preference is not None:
        return float(world.given_preference[y, z])
    return 1 / (1 + math.exp(world.reward[z] - world.reward[y]))


def _conditional(revision: Floats | None, arms: tuple[int, ...]) -> Floats | None:
    """[i, j] = log pi'(y_i | y_j)."""
    if revision is None:
        return None
    return np.array([[math.log(revision[given, y]) for given in arms] for y in arms])


def _log(probabilities: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def expected_by_hand(algorithm, case: Case) -> Floats:
    """E[sum_i c_i (e_{y_i} - pi)], group by group, (A,)."""
    total = np.zeros(case.bandit.arms)
    for weight, arms, samples in groups(algorithm, case):
        for y, c in zip(arms, coefficients(algorithm, samples), strict=True):
            total[y] += weight * c
            total -= weight * c * case.policy
    return total


def stacked(algorithm, case: Case) -> tuple[Floats, NDArray[np.intp], Samples]:
    """All groups at once: probabilities (n,), arms (n, k) and `Samples` whose batch axis is the group."""
    weights, arms, listed = zip(*groups(algorithm, case), strict=True)
    everyone = listed[0].population
    names = ("log_prob", "reference_log_prob", "reward", "preference", "behavior_log_prob", "arm")
    names += ("greedy_reward", "value", "revision_log_prob", "reference_revision_log_prob")
    columns = {name: [getattr(s, name) for s in listed] for name in names}
    fields = {name: None if column[0] is None else np.stack(column) for name, column in columns.items()}
    population = Samples(
        **{
            name: None if getattr(everyone, name) is None else getattr(everyone, name)[None]
            for name in ("log_prob", "reference_log_prob", "reward", "behavior_log_prob")
        }
    )
    return np.array(weights), np.array(arms), Samples(**fields, population=population)
