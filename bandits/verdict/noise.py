"""How biased and how noisy is an update?  Exact moments, beside those of RLOO.

At policies where nothing cancels (`claims.probes`), under the law of the row:

    bias       |E[update] - s grad J| / |E[update]|, s >= 0 the factor that fits best all of them at once: a
               constant step size is no bias; 0: the gradient's direction everywhere, 1: nothing of it
    variance   trace of the covariance of the update of n = max(k, 2) samples, labels drawn: an average of
               groups where a group is smaller
    RLOO's     the same of RLOO at n samples, its step so adjusted that its mean update is as long
    ESS        (E w)^2 / E w^2 of the weights w that the coefficients owe to who sampled: 1 if to nobody
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bandits.algorithms.rloo import RLOO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import completed, expected_update, update_covariance
from bandits.problem import bind
from bandits.samples import Algorithm, Samples
from bandits.sampling.observation import State, fields_read, samples_of
from bandits.verdict.claims import Bare, probes
from bandits.verdict.worlds import MOST_GROUPS, Trial

NOTHING = 1e-14  # relative to what is summed, an expected update below this is rounding


class Noise(NamedTuple):
    """Moments of an update; None: not defined here."""

    bias: float | None
    variance: float | None
    variance_rloo: float | None
    ess: float


def noise_of(algorithm: Algorithm, trial: Trial, beta: float | None) -> Noise:
    """Bias, variance and effective sample size under one law."""
    variance, rloo = _variances(algorithm, trial, beta)
    return Noise(_bias(algorithm, trial, beta), variance, rloo, _effective_share(algorithm, trial))


def gradient(bandit: Bandit, policies: Floats, beta: float) -> Floats:
    """grad J on the logits, pi (R - J), (..., A)  (T2.1)."""
    h = np.where(policies > 0, np.log(np.where(policies > 0, policies, 1.0)) - bandit.log_reference, 0.0)
    R = bandit.needed_reward() - beta * h
    return policies * (R - (policies * R).sum(axis=-1, keepdims=True))


def _bias(algorithm: Algorithm, trial: Trial, beta: float | None) -> float | None:
    if beta is None or trial.bandit.reward is None:
        return None
    policies = probes(trial.bandit)
    up = gradient(trial.bandit, policies, beta)
    g = expected_update(Bare(algorithm), trial.bandit, trial.sampling, policies, max_groups=MOST_GROUPS)
    size = np.linalg.norm(g)
    if size == 0 or not up.any():
        return None
    scale = max(float((g * up).sum() / (up * up).sum()), 0.0)
    return float(np.linalg.norm(g - scale * up) / size)


def _variances(algorithm: Algorithm, trial: Trial, beta: float | None) -> tuple[float | None, float | None]:
    k, policy = algorithm.k, probes(trial.bandit)[0]
    samples = max(k, 2)
    mean, spread = _moments(Bare(algorithm), trial, policy)
    spread *= k / samples
    if beta is None or trial.bandit.reward is None:
        return spread, None
    rloo, its_spread = _moments(RLOO(beta, k=samples), trial, policy)
    if rloo <= NOTHING * its_spread**0.5:
        return spread, None
    return spread, its_spread * (mean / rloo) ** 2


def _moments(algorithm: Algorithm, trial: Trial, policy: Floats) -> tuple[float, float]:
    """Length of the mean update, and trace of its covariance."""
    world = (algorithm, trial.bandit, trial.sampling, policy)
    mean = expected_update(*world, max_groups=MOST_GROUPS)
    return float(np.linalg.norm(mean)), float(np.trace(update_covariance(*world, max_groups=MOST_GROUPS)))


def _effective_share(algorithm: Algorithm, trial: Trial) -> float:
    """(E w)^2 / E w^2, w being a coefficient over the same one if the policy itself had sampled."""
    bare, bandit = Bare(algorithm), trial.bandit
    problem = bind(bare, bandit, trial.sampling, probes(bandit)[0])
    law = problem.law()
    state = completed(problem, law, State(problem.log_start))
    total = squares = count = 0.0
    for arms, weight in law.tuples():
        seen = samples_of(bandit, law, state, arms)
        if "behavior_log_prob" not in fields_read(bare, seen)[0]:
            return 1.0
        c, own = (np.asarray(bare.update(each).log_prob) for each in (seen, _own(seen)))
        counts = np.where((own != 0) & (weight[..., None] > 0), weight[..., None], 0.0)
        w = np.where(counts > 0, c, 0.0) / np.where(counts > 0, own, 1.0)
        total, squares = total + (counts * w).sum(), squares + (counts * w**2).sum()
        count += counts.sum()
    return float(total**2 / (squares * count)) if squares > 0 else 0.0


def _own(samples: Samples) -> Samples:
    """The same samples, had the policy itself drawn them."""
    everyone = samples.population
    if everyone is not None:
        everyone = replace(everyone, behavior_log_prob=everyone.log_prob)
    return replace(samples, behavior_log_prob=samples.log_prob, population=everyone)
