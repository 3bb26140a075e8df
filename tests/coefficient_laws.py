"""The laws of a coefficient, as functions that raise AssertionError, and the cases that they run over.

Four routes to one number:
    the formula           `answer_key`, written from the papers, one group at a time
    enumeration           `expected_update`, against the same formula summed over all groups by hand
    finite difference     of `expected_loss` along the logits, the sampler held fixed
    autograd              the same algorithm object over torch tensors in float64: `loss` and `update`
and, where an algorithm has no loss, the gradient of the objective that it climbs on-policy.

In each law `algorithm` is on trial and `right` is what it claims to be: `test_algorithms.py` puts every
algorithm against itself, `test_wrong_twins.py` lets the wrong twins in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import root
from scipy.special import softmax

import answer_key
import bandits as b
import strategies
import twins
from answer_key import Case
from bandits import ALGORITHMS, expected_loss, expected_update


def _square(p):
    return p**2


def _a_fifth_of_the_reward(samples):
    return 0.2 * samples.reward


# Every algorithm at its defaults, and the variants that its hyper-parameters open.  A-LoL has no beta: the
# number that the laws draw is its clip.
VARIANTS = {cls.__name__: cls for cls in ALGORITHMS} | {
    "PolicyGradient(1.5)": lambda beta: b.PolicyGradient(beta, baseline=1.5),
    "PolicyGradient(policy_reward)": lambda beta: b.PolicyGradient(beta, baseline=b.policy_reward),
    "PolicyGradient(policy_value)": lambda beta: b.PolicyGradient(beta, baseline=b.policy_value),
    "PolicyGradient(behavior_value)": lambda beta: b.PolicyGradient(beta, baseline=b.behavior_value),
    "PolicyGradient(greedy, k=2)": lambda beta: b.PolicyGradient(beta, baseline=b.greedy, k=2),
    "RLOO(k=3)": lambda beta: b.RLOO(beta, k=3),
    "CoPG(k=3)": lambda beta: b.CoPG(beta, k=3),
    "PsiPO(square)": lambda beta: b.PsiPO(beta, psi=_square),
    "DPO(smoothing, margin)": lambda beta: b.DPO(beta, smoothing=0.1, margin=_a_fifth_of_the_reward),
    "NashMD(0.3)": lambda beta: b.NashMD(beta, mixture=0.3),
    "SRPO(0.2)": lambda beta: b.SRPO(beta, alpha=0.2),
    "ImportanceWeighted(RLOO)": lambda beta: b.ImportanceWeighted(b.RLOO(beta)),
    "ImportanceWeighted(PolicyGradient, clip)": lambda beta: b.ImportanceWeighted(
        b.PolicyGradient(beta), 1.2
    ),
    "ALoL": lambda beta: b.ALoL(clip=beta),
    "PPO(1.5, clip=inf, k=2)": lambda beta: b.PPO(beta, clip=np.inf, baseline=1.5, k=2),
    "GRPO(k=3, clip=inf)": lambda beta: b.GRPO(beta, k=3, clip=np.inf),
    "GRPO(unit_spread)": lambda beta: b.GRPO(beta, spread=b.unit_spread),
}
WITH_LOSS = [
    "CoPG",
    "CoPG(k=3)",
    "IPO",
    "OnlineIPO",
    "PsiPO",
    "PsiPO(square)",
    "DPO",
    "DPO(smoothing, margin)",
]
WITH_LOSS += ["DRO", "SRPO", "SRPO(0.2)", "GRPO", "GRPO(k=3, clip=inf)", "GRPO(unit_spread)"]
SMOOTH = [name for name in WITH_LOSS if name not in ("GRPO", "GRPO(unit_spread)")]  # no clip, no kinks


@st.composite
def cases(
    draw,
    algorithm,
    min_arms: int = 2,
    max_arms: int = 4,
    smallest: float = 1e-3,
    value: float | None = None,
    listed: bool = True,
) -> Case:
    """A world with rewards and unrelated preferences, a sampling rule that fits the algorithm, a policy.

    With two arms Nash-MD's opponent makes no difference, and a finite list of pairs may say "a > b" as
    often as "b > a", so that labels make none: no world to catch a mistake in.
    """
    world = draw(strategies.bandits_with_both(min_arms, max_arms, smallest=smallest))
    arms = world.arms
    rules = [strategies.offline(arms, 1), strategies.offline(arms, algorithm.k)]
    if algorithm.k == 2:
        rules += [strategies.joints(arms).map(b.Pairs)] + [strategies.datasets(arms)] * listed
    if getattr(algorithm, "needs_on_policy", False):
        rules = [st.just(b.OnPolicy())]
    revision = draw(strategies.policies(arms, (arms,), smallest)) if isinstance(algorithm, b.SRPO) else None
    return Case(
        bandit=world,
        sampling=draw(st.one_of(rules)),
        policy=draw(strategies.policies(arms, smallest=smallest)),
        value=value,
        revision=revision,
    )


def connected_case(data, algorithm) -> Case:
    """A case whose sampling graph is connected."""
    case = data.draw(cases(algorithm, smallest=1e-2))
    if isinstance(case.sampling, b.Dataset):
        case = replace(case, sampling=data.draw(strategies.connected_datasets(case.bandit.arms)))
    return case


# ---- the laws: `algorithm` is on trial, `right` is what it claims to be ------------------------------------


def coefficients_follow_the_formula(algorithm, right, case: Case) -> None:
    """Tolerance: a coefficient is a difference of at most 2k terms R or h/beta, each rounded to 1e-16."""
    _, arms, samples = answer_key.stacked(right, case)
    by_formula = [answer_key.coefficients(right, s) for _, _, s in answer_key.groups(right, case)]
    assert_close(algorithm.update(samples).log_prob, np.array(by_formula), 1e-12, _size(right, case))


def expectation_is_the_sum_over_all_groups(algorithm, right, case: Case) -> None:
    """Tolerance: as the coefficients; the sum of probabilities times them adds no more."""
    by_hand = answer_key.expected_by_hand(right, case)
    assert_close(update_of(algorithm, case), by_hand, 1e-12, _size(right, case))


def expectation_descends_the_loss(algorithm, right, case: Case) -> None:
    """-d expected loss / d logits, extrapolated: truncation (4e-3)^4 / 100, cancellation 1e-16 / 4e-3."""
    if isinstance(case.sampling, b.OnPolicy):
        weights = answer_key.stacked(right, case)[0]  # the sampler stays where it is

        def loss(logits):
            moved = replace(case, policy=softmax(logits))
            return weights @ algorithm.loss(_with_log_prob(right, case, moved))
    else:

        def loss(logits):
            return _expected_loss(algorithm, replace(case, policy=softmax(logits)))

    slope = gradient(loss, np.log(case.policy))
    scale = abs(loss(np.log(case.policy))) + _size(right, case)
    assert_close(-slope, update_of(algorithm, case), 1e-9, scale)


def coefficients_differentiate_the_loss(algorithm, right, case: Case) -> None:
    """Autograd of the loss of each group in log pi(y_i): exact up to rounding."""
    _, _, samples = answer_key.stacked(right, case)
    found = algorithm.update(samples).log_prob
    leaves = twins.to_torch(samples)
    leaves.log_prob.requires_grad_()
    (slope,) = torch.autograd.grad(algorithm.loss(leaves).sum(), leaves.log_prob)
    assert_close(found, -slope.numpy(), 1e-12, _size(right, case))


def torch_trains_as_numpy_expects(algorithm, right, case: Case) -> None:
    """-d/dlogits of -sum c.detach() log pi over torch tensors: the same object, the same update."""
    weights, arms, samples = answer_key.stacked(right, case)
    logits = torch.tensor(np.log(case.policy), requires_grad=True)
    log_prob = torch.log_softmax(logits, 0)[torch.as_tensor(arms)]
    c = algorithm.update(replace(twins.to_torch(samples), log_prob=log_prob)).log_prob
    assert c.dtype == torch.float64
    surrogate = (torch.as_tensor(weights)[:, None] * c.detach() * log_prob).sum()
    (ascent,) = torch.autograd.grad(surrogate, logits)
    assert_close(ascent.numpy(), update_of(right, case), 1e-12, _size(right, case))


def on_policy_it_climbs(algorithm, right, case: Case) -> None:
    """E[update] on the policy's own samples = scale * grad of the objective, by autograd in float64.

    The opponent of a preference objective is held fixed (that is what "self-play" differentiates).
    """
    case = replace(case, sampling=b.OnPolicy())
    scale, score = ON_POLICY[type(right)](right, case)
    logits = torch.tensor(np.log(case.policy), requires_grad=True)
    log_pi = torch.log_softmax(logits, 0)
    h = log_pi - torch.as_tensor(np.log(case.bandit.reference))
    value = (log_pi.exp() * (torch.tensor(score) - right.beta * h)).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    assert_close(update_of(algorithm, case), scale * gradient.numpy(), 1e-12, scale * _size(right, case))


def it_rests_where_theory_says(algorithm, right, case: Case) -> None:
    """The expected update vanishes at the closed form, and nowhere near it."""
    case = replace(case, policy=TARGET[type(right)](right, case))
    size = _size(right, case)
    assert_close(update_of(algorithm, case), np.zeros(case.bandit.arms), 1e-11, size)
    away = replace(case, policy=softmax(np.log(case.policy) + np.linspace(0, 1, case.bandit.arms) ** 2))
    assert np.abs(update_of(algorithm, away)).max() > 1e-7


# Where theory gives the on-policy objective E_pi[score] - beta KL: its score, and the factor of the update.
ON_POLICY = {
    b.PolicyGradient: lambda a, c: (1, c.bandit.reward),  # T2.1
    b.RLOO: lambda a, c: (1, c.bandit.reward),  # T2.2
    b.ReMax: lambda a, c: (1, c.bandit.reward),  # T2.4
    b.CoPG: lambda a, c: (a.k * (a.k - 1), c.bandit.reward),  # T3.7
    b.PPO: lambda a, c: (1, c.bandit.reward),  # T9.5: w = 1, policy gradient
    b.DRO: lambda a, c: (a.beta, c.bandit.reward),  # T8.1, V = E_pi[R]
    b.DROV: lambda a, c: (1, c.bandit.reward),  # T8.1
    b.NashMD: lambda a, c: (1, c.bandit.preference @ answer_key.place_laws(a, c)[1]),  # T6.5
    b.IPO: lambda a, c: (4 / a.beta, c.bandit.preference @ c.policy),  # T6.6: 2/beta times CoPG's 2
    b.OnlineIPO: lambda a, c: (4 / a.beta, c.bandit.preference @ c.policy),  # T6.6
    b.PsiPO: lambda a, c: (2, a.psi(c.bandit.preference) @ c.policy),  # T4.1
}
CLIMBING = [name for name in VARIANTS if type(VARIANTS[name](beta=1.0)) in ON_POLICY]


def _optimum(a, c: Case):
    """T1.1."""
    return softmax(np.log(c.bandit.reference) + c.bandit.reward / a.beta)


def _ranking(a, c: Case):
    """T4.3: L h = flow, by dense least squares on the incidence of the pairs."""
    rows, target = [], []
    for weight, (y, z), s in answer_key.groups(a, c):
        row = np.zeros(c.bandit.arms)
        row[y] += np.sqrt(weight)
        row[z] -= np.sqrt(weight)
        rows.append(row)
        target.append(np.sqrt(weight) * (s.preference[0, 1] - 0.5) / a.beta)
    h = np.linalg.lstsq(np.array(rows), np.array(target), rcond=None)[0]
    return softmax(np.log(c.bandit.reference) + h)


def _answer_to_mixture(a, c: Case):
    """T6.4 by a general root finder on z = log pi/ref."""
    log_reference, weight = np.log(c.bandit.reference), getattr(a, "mixture", 0.0)

    def miss(z):
        return z - (c.bandit.preference - 0.5) @ softmax(log_reference + (1 - weight) * z) / a.beta

    found = root(miss, np.zeros(c.bandit.arms), tol=1e-14)
    assert np.abs(miss(found.x)).max() < 1e-11
    return softmax(log_reference + found.x)


def _psi_tilt(a, c: Case):
    """T4.1 with the law of the third sample."""
    score = a.psi(c.bandit.preference) @ answer_key.place_laws(a, c)[2]
    return softmax(np.log(c.bandit.reference) + score / a.beta)


TARGET = {
    b.CoPG: _optimum,  # T3.3
    b.RLOO: _optimum,  # T3.1: CoPG's coefficients
    b.DRO: _optimum,  # T8.1
    b.DROV: _optimum,
    b.IPO: _ranking,
    b.PsiPO: _psi_tilt,
    b.NashMD: _answer_to_mixture,
    b.OnlineIPO: _answer_to_mixture,  # T6.6
}
RESTING = [name for name in VARIANTS if type(VARIANTS[name](beta=1.0)) in TARGET]


# ---- tools ------------------------------------------------------------------------------------------------


def assert_close(actual, desired, tolerance: float, scale: float) -> None:
    """|actual - desired| <= tolerance * scale, entry by entry."""
    assert_allclose(actual, desired, rtol=0, atol=tolerance * scale)


def _size(algorithm, case: Case) -> float:
    """What a coefficient is made of: the terms r, beta h, b (and 1/beta, h for IPO) before they cancel."""
    inner = getattr(algorithm, "algorithm", algorithm)
    h = np.abs(np.log(case.policy / case.bandit.reference)).max()
    if case.revision is not None:
        h += np.abs(np.log(case.revision / case.bandit.reference)).max()
    size = 2 + np.abs(case.bandit.reward).max() + getattr(inner, "beta", 0.0) * h
    if isinstance(inner, b.IPO | b.OnlineIPO):
        size = 1 / inner.beta + h
    if isinstance(inner, b.DPO | b.DRO | b.SRPO):
        size *= max(1.0, inner.beta) ** (1 if not isinstance(inner, b.DPO) else 2)
    if isinstance(algorithm, b.ALoL):
        size *= min(np.exp(h), 1 + algorithm.clip)
    if isinstance(algorithm, b.PPO | b.GRPO):
        samples = answer_key.stacked(algorithm, case)[2]
        size *= max(1.0, np.exp((samples.log_prob - samples.behavior_log_prob).max()))
    if isinstance(algorithm, b.GRPO):
        size += algorithm.beta * np.exp(h)
    if isinstance(algorithm, b.ImportanceWeighted):
        listed = [s for _, _, s in answer_key.groups(algorithm, case)]
        largest = max(np.exp((s.log_prob - s.behavior_log_prob).sum()) for s in listed)
        size *= max(1.0, min(largest, algorithm.clip))
    return float(4 * algorithm.k * size)


def _state(algorithm, case: Case) -> dict:
    return {"value": case.value, "revision_policy": case.revision}


def update_of(algorithm, case: Case):
    return expected_update(algorithm, case.bandit, case.sampling, case.policy, **_state(algorithm, case))


def _expected_loss(algorithm, case: Case) -> float:
    return float(expected_loss(algorithm, case.bandit, case.sampling, case.policy, **_state(algorithm, case)))


def _with_log_prob(algorithm, case: Case, moved: Case) -> b.Samples:
    """The groups of `case` seen with the policy of `moved`."""
    _, arms, samples = answer_key.stacked(algorithm, case)
    return replace(samples, log_prob=np.log(moved.policy)[arms])


def gradient(function, point, step: float = 4e-3):
    """Central differences at steps h and h/2, extrapolated: the error is of order h^4."""

    def central(h):
        shifts = h * np.eye(len(point))
        return np.array([(function(point + e) - function(point - e)) / (2 * h) for e in shifts])

    return (4 * central(step / 2) - central(step)) / 3
