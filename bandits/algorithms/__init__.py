"""The means: one algorithm a file, each with its theory, its coefficient and its closed-form fixed point.

Every class is a frozen dataclass of hyper-parameters with `k`, the samples it looks at together, and
`update(samples) -> Update`.  A reader's own algorithm needs no more than these two (`samples.py`).

What a closed form is written in: `linear.py` holds the common fixed point of all updates that are
linear in the logits, `bandits.bradley_terry` DPO's, `bandits.equilibrium` that of the games, and
`bandits.off_policy` the attractors of policy gradient on somebody else's samples.
"""

from bandits.algorithms.copg import CoPG
from bandits.algorithms.dpo import DPO
from bandits.algorithms.dro import DRO, DROV
from bandits.algorithms.importance import ImportanceWeighted
from bandits.algorithms.ipo import IPO, PsiPO
from bandits.algorithms.nash_md import NashMD
from bandits.algorithms.online_ipo import OnlineIPO
from bandits.algorithms.policy_gradient import (
    PolicyGradient,
    behavior_value,
    greedy,
    policy_reward,
    policy_value,
)
from bandits.algorithms.remax import ReMax
from bandits.algorithms.rloo import RLOO
from bandits.algorithms.samples import Samples, Update
from bandits.algorithms.srpo import SRPO

# What every common law of the tests runs over: each is built by `algorithm(beta=...)`.
ALGORITHMS = (PolicyGradient, RLOO, ReMax, CoPG, IPO, PsiPO, DPO, DRO, DROV, NashMD, OnlineIPO, SRPO)

__all__ = [
    "ALGORITHMS",
    "CoPG",
    "DPO",
    "DRO",
    "DROV",
    "IPO",
    "ImportanceWeighted",
    "NashMD",
    "OnlineIPO",
    "PolicyGradient",
    "PsiPO",
    "RLOO",
    "ReMax",
    "SRPO",
    "Samples",
    "Update",
    "behavior_value",
    "greedy",
    "policy_reward",
    "policy_value",
]
