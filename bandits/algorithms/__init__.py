"""Which coefficient, why, and where does it end?  One algorithm a file: theory, update, closed form.

Every class is a frozen dataclass of hyper-parameters with `k`, the samples it looks at together, and
`update(samples) -> Update`.  A reader's own algorithm needs no more than these two (`samples.py`).

What a closed form is written in: `linear.py` holds the common fixed point of all updates that are
linear in the logits; in `bandits.solvers` are DPO's (`bradley_terry`), that of the games (`equilibrium`)
and the attractors of policy gradient on somebody else's samples (`off_policy`).  PPO's clip, which GRPO
shares, is in `ppo.py`; where it binds there is no closed form, and often no fixed point.
"""

from bandits.algorithms.alol import ALoL
from bandits.algorithms.copg import CoPG
from bandits.algorithms.dpo import DPO
from bandits.algorithms.dro import DRO, DROV
from bandits.algorithms.grpo import GRPO, standard_deviation, unit_spread
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
from bandits.algorithms.ppo import PPO
from bandits.algorithms.remax import ReMax
from bandits.algorithms.rloo import RLOO
from bandits.algorithms.srpo import SRPO
from bandits.samples import Samples, Update

# What every common law of the tests runs over: each is built by `algorithm(beta=...)`.  ALoL has no KL term,
# hence no beta, and ImportanceWeighted wraps another algorithm: the laws name these two beside the tuple.
FROM_REWARDS = (PolicyGradient, RLOO, ReMax, PPO, GRPO, CoPG, DRO, DROV)
FROM_PREFERENCES = (IPO, PsiPO, DPO, NashMD, OnlineIPO, SRPO)
ALGORITHMS = FROM_REWARDS + FROM_PREFERENCES

__all__ = [
    "ALGORITHMS",
    "ALoL",
    "CoPG",
    "DPO",
    "DRO",
    "DROV",
    "GRPO",
    "IPO",
    "ImportanceWeighted",
    "NashMD",
    "OnlineIPO",
    "PPO",
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
    "standard_deviation",
    "unit_spread",
]
