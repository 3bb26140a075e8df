"""bandits: what an alignment algorithm really converges to, computed exactly on finitely many arms.

Read in this order; each module imports only those above it.

    policy        the answer    points of the simplex in log space
    solution      the verdict   a policy with its certificate, and the errors that carry one
    equilibrium   the game      Newton's method for the regularised equilibrium
    bandit        the world     rewards, preferences, reference; optimum, regret, win rate
    laws          the chance    laws over groups of arms and their sampling graphs
    sampling      the data      who produced the samples
    algorithms/   the means     one file an algorithm: theory, coefficient, closed form
    observation   the view      what an algorithm sees of the world
    exact         the truth     expected update, loss, covariance, by enumeration
    fixed_point   the end       where an algorithm converges, certified
    examples      the classics  named worlds from the papers

Notation, one meaning each:

    y, A     arms, last axis; leading axes are contexts         pi, ref   policy, reference
    mu, W    behaviour policy, joint law of a pair              r         reward
    P        P(y, y') = p(y beats y'), P + P^T = 1              beta      multiplies a KL to ref, always
    h        log pi(y) / ref(y)                                 R         r - beta h
    J        E_pi[r] - beta KL(pi || ref) = E_pi[R]             c         coefficient: a sample moves the
                                                                          policy by c grad log pi(y)
"""

from bandits.algorithms import (
    ALGORITHMS,
    DPO,
    DRO,
    DROV,
    IPO,
    RLOO,
    SRPO,
    CoPG,
    ImportanceWeighted,
    NashMD,
    OnlineIPO,
    PolicyGradient,
    PsiPO,
    ReMax,
    Samples,
    Update,
    behavior_value,
    greedy,
    policy_reward,
    policy_value,
)
from bandits.bandit import Bandit
from bandits.exact import expected_loss, expected_update, update_covariance
from bandits.fixed_point import fixed_point, fixed_points
from bandits.sampling import Dataset, Offline, OnPolicy, Pairs
from bandits.solution import NoFixedPoint, NotConverged, Solution

__version__ = "0.1.0"

__all__ = [
    "ALGORITHMS",
    "Bandit",
    "CoPG",
    "DPO",
    "DRO",
    "DROV",
    "Dataset",
    "IPO",
    "ImportanceWeighted",
    "NashMD",
    "NoFixedPoint",
    "NotConverged",
    "Offline",
    "OnPolicy",
    "OnlineIPO",
    "Pairs",
    "PolicyGradient",
    "PsiPO",
    "RLOO",
    "ReMax",
    "SRPO",
    "Samples",
    "Solution",
    "Update",
    "behavior_value",
    "expected_loss",
    "expected_update",
    "fixed_point",
    "fixed_points",
    "greedy",
    "policy_reward",
    "policy_value",
    "update_covariance",
]
