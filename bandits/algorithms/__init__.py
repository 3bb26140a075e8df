"""Which coefficient, why, and where does it end?  One algorithm a file: theory, update, closed form.

Every class is a frozen dataclass of hyper-parameters with `k`, the samples it looks at together, and
`update(samples) -> Update`.  A reader's own algorithm needs no more than these two (`samples.py`).
How one of them comes into the house, in three places, is told in CONTRIBUTING.md.

What a closed form is written in: `linear.py` holds the common fixed point of all updates that are
linear in the logits; in `bandits.solvers` are DPO's (`bradley_terry`), that of the games (`equilibrium`)
and the attractors of policy gradient on somebody else's samples (`off_policy`), where regressions of
rewards on log-ratios end too (`regression.py`).  PPO's clip, which GRPO
shares, is in `ppo.py`; where it binds there is no closed form, and often no fixed point.
`table.py` reads one line an algorithm off the docstrings.
"""

from bandits.algorithms.alol import ALoL
from bandits.algorithms.best_of_n import BestOfN
from bandits.algorithms.cal_dpo import CalDPO
from bandits.algorithms.chi_po import ChiPO
from bandits.algorithms.convex_loss import ConvexLoss
from bandits.algorithms.copg import CoPG
from bandits.algorithms.dpo import DPO
from bandits.algorithms.dro import DRO, DROV
from bandits.algorithms.exo import EXO
from bandits.algorithms.grpo import GRPO, standard_deviation, unit_spread
from bandits.algorithms.importance import ImportanceWeighted
from bandits.algorithms.ipo import IPO, PsiPO
from bandits.algorithms.kto import KTO
from bandits.algorithms.margin_loss import (
    MarginLoss,
    exponential,
    hinge,
    logistic,
    savage,
    squared,
    truncated_squared,
)
from bandits.algorithms.nash_md import NashMD
from bandits.algorithms.nca import NCA
from bandits.algorithms.oapl import OAPL
from bandits.algorithms.online_ipo import OnlineIPO
from bandits.algorithms.pmd_mean import PMDMean
from bandits.algorithms.policy_gradient import (
    PolicyGradient,
    behavior_value,
    greedy,
    policy_reward,
    policy_value,
)
from bandits.algorithms.ppo import PPO
from bandits.algorithms.qrpo import (
    QRPO,
    continuous_value,
    group_quantile,
    reference_quantile,
    reference_value,
)
from bandits.algorithms.rebel import REBEL
from bandits.algorithms.remax import ReMax
from bandits.algorithms.rloo import RLOO
from bandits.algorithms.robust_dpo import RobustDPO
from bandits.algorithms.slic import SLiC
from bandits.algorithms.srpo import SRPO
from bandits.algorithms.xpo import XPO
from bandits.samples import Samples, Update

# Every algorithm.  A newcomer goes to the end: its place is its colour and its line in every figure.
# Most are built by `algorithm(beta=...)`; A-LoL has no beta, and ImportanceWeighted takes what it weights.
ALGORITHMS = (
    PolicyGradient,
    RLOO,
    ReMax,
    CoPG,
    IPO,
    DPO,
    NashMD,
    PPO,
    GRPO,
    SRPO,
    DRO,
    DROV,
    PsiPO,
    OnlineIPO,
    ALoL,
    ImportanceWeighted,
    PMDMean,
    OAPL,
    BestOfN,
    KTO,
    REBEL,
    ChiPO,
    XPO,
    QRPO,
    ConvexLoss,
    SLiC,
    RobustDPO,
    CalDPO,
    EXO,
    NCA,
)

__all__ = [
    "XPO",
    "ChiPO",
    "ALGORITHMS",
    "ALoL",
    "BestOfN",
    "ConvexLoss",
    "CalDPO",
    "EXO",
    "NCA",
    "CoPG",
    "DPO",
    "DRO",
    "DROV",
    "GRPO",
    "IPO",
    "MarginLoss",
    "RobustDPO",
    "SLiC",
    "exponential",
    "hinge",
    "logistic",
    "savage",
    "squared",
    "truncated_squared",
    "ImportanceWeighted",
    "KTO",
    "NashMD",
    "OAPL",
    "OnlineIPO",
    "PMDMean",
    "PPO",
    "PolicyGradient",
    "PsiPO",
    "QRPO",
    "REBEL",
    "RLOO",
    "ReMax",
    "SRPO",
    "Samples",
    "Update",
    "behavior_value",
    "continuous_value",
    "greedy",
    "group_quantile",
    "policy_reward",
    "policy_value",
    "reference_quantile",
    "reference_value",
    "standard_deviation",
    "unit_spread",
]
