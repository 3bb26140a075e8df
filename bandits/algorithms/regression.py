"""Where does a regression of rewards on log-ratios end, if its value does not see the policy?

    c_i = (1/k) (a_i - beta h_i),      h = log pi/ref

a_i is what the rewards of a group of k samples say of sample i: its reward less their mean (PMD-mean), less
beta log of their mean exp(r / beta) (OAPL), or its quantile less beta log Z (QRPO).  The coefficients are
minus the gradient of sum_i (a_i - beta h_i)^2 / (2 beta k), in which a is a constant.

Who samples decides.  On any law of groups that stays, mu a single sample's, the expectation is

    E[c of arm y] = mu (score - beta h),      score(y) = E[a_i | y_i = y]:

policy gradient without a baseline on the reward `score`, all of whose ends are listed (T2.5).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bandits.algorithms.policy_gradient import PolicyGradient
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array
from bandits.sampling import groups
from bandits.sampling.coefficients import sum_by_arm
from bandits.sampling.laws import Law
from bandits.solution import Solution

MOST_GROUPS = 10**6  # summed for a closed form: a second; beyond, the flow is followed
BLOCK = 2**15  # groups held at a time

Credit = Callable[[Array], Array]  # rewards of a group (..., k) to a_i, (..., k), whatever their order


def attractors(
    score: Floats | None, beta: float, bandit: Bandit, law: Law, log_start: Floats
) -> list[Solution] | None:
    """Every end on a law that stays, one context, for E[a_i | y_i = y], (A,); None if that is not known."""
    if score is None:
        return None
    world = Bandit(score, reference=bandit.reference)
    return PolicyGradient(beta).attractors(world, law, log_start)


def mean_credit(credit: Credit, bandit: Bandit, law: Law) -> Floats | None:
    """E[a_i | y_i = y] over all groups of the law, one context, (A,); None if there are too many.

    Arms that are never sampled have none, and count zero.
    """
    reward, total = bandit.needed_reward(), np.zeros(bandit.arms)
    unordered = groups.multisets(law)
    if (groups.ordered_groups(law) if unordered is None else unordered) > MOST_GROUPS:
        return None
    every = law.tuples(BLOCK) if unordered is None else groups.unordered_groups(law, BLOCK)
    for arms, weight in every:
        total += sum_by_arm(weight[..., None] * credit(reward[arms]) / law.k, arms, bandit.arms)
    return per_sample(total, law)


def per_sample(total: Floats, law: Law) -> Floats:
    """What is summed over the samples of an arm, divided by how often it is sampled, (A,)."""
    mu = law.behavior
    return np.where(mu > 0, total / np.where(mu > 0, mu, 1.0), 0.0)
