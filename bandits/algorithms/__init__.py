"""Which coefficient, why, and where does it end?  One algorithm a file: theory, update, closed form.

Every class is a frozen dataclass of hyper-parameters with `k`, the samples it looks at together, and
`update(samples) -> Update`.  A reader's own algorithm needs no more than these two (`samples.py`).
How one of them comes into the house, in three places, is told in CONTRIBUTING.md.

What a closed form is written in: `linear.py` holds the common fixed point of all updates that are linear in
the logits, `fits.py` that of all losses of a margin, `singly.py` that of losses of one answer; in
`bandits.solvers` are DPO's (`bradley_terry`), that of the games (`equilibrium`) and the attractors of policy
gradient on somebody else's samples (`off_policy`), where regressions of rewards on log-ratios end too
(`regression.py`).  Ends without a KL, on the boundary of the simplex, are in `boundary.py`.  PPO's clip,
which GRPO shares, is in `ppo.py`; where it binds there is no closed form, and often no fixed point.
`table.py` reads one line an algorithm off the docstrings.
"""

from bandits.algorithms.alol import ALoL, RLoL
from bandits.algorithms.asymre import AsymRE
from bandits.algorithms.best_of_n import BestOfN
from bandits.algorithms.cal_dpo import CalDPO
from bandits.algorithms.chi_po import ChiPO
from bandits.algorithms.cispo import CISPO
from bandits.algorithms.convex_loss import ConvexLoss
from bandits.algorithms.copg import CoPG
from bandits.algorithms.dapo import DAPO
from bandits.algorithms.dpo import DPO
from bandits.algorithms.dr_grpo import DrGRPO
from bandits.algorithms.dro import DRO, DROV
from bandits.algorithms.exo import EXO
from bandits.algorithms.gold import GOLD
from bandits.algorithms.grpo import GRPO, standard_deviation, unit_spread
from bandits.algorithms.gspo import GSPO
from bandits.algorithms.importance import ImportanceWeighted
from bandits.algorithms.ipo import IPO, PsiPO
from bandits.algorithms.kl_estimators import WithKLLoss, WithKLReward, k1, k2, k3
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
from bandits.algorithms.max_rl import MaxRL
from bandits.algorithms.nash_md import NashMD
from bandits.algorithms.nca import NCA
from bandits.algorithms.oapl import OAPL
from bandits.algorithms.online_ipo import OnlineIPO
from bandits.algorithms.orpo import ORPO
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
from bandits.algorithms.simpo import SimPO
from bandits.algorithms.slic import SLiC
from bandits.algorithms.sppo import SPPO
from bandits.algorithms.srpo import SRPO
from bandits.algorithms.table import shown_in_notebooks
from bandits.algorithms.topr import TOPR
from bandits.algorithms.xpo import XPO
from bandits.samples import Samples, Update

# Every algorithm.  A newcomer goes to the end: its place is its colour and its line in every figure.
# Most are built by `algorithm(beta=...)`; A-LoL has no beta, and those with a field `algorithm` take one.
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
    AsymRE,
    TOPR,
    CISPO,
    GOLD,
    RLoL,
    DrGRPO,
    DAPO,
    GSPO,
    MaxRL,
    SPPO,
    ORPO,
    SimPO,
    WithKLReward,
    WithKLLoss,
)

for each in ALGORITHMS:
    shown_in_notebooks(each)

__all__ = [
    "ALGORITHMS",
    "ALoL",
    "AsymRE",
    "BestOfN",
    "CISPO",
    "CalDPO",
    "ChiPO",
    "CoPG",
    "ConvexLoss",
    "DAPO",
    "DPO",
    "DRO",
    "DROV",
    "DrGRPO",
    "EXO",
    "GOLD",
    "GRPO",
    "GSPO",
    "IPO",
    "ImportanceWeighted",
    "KTO",
    "MarginLoss",
    "MaxRL",
    "NCA",
    "NashMD",
    "OAPL",
    "ORPO",
    "OnlineIPO",
    "PMDMean",
    "PPO",
    "PolicyGradient",
    "PsiPO",
    "QRPO",
    "REBEL",
    "RLOO",
    "RLoL",
    "ReMax",
    "RobustDPO",
    "SLiC",
    "SPPO",
    "SRPO",
    "Samples",
    "SimPO",
    "TOPR",
    "Update",
    "WithKLLoss",
    "WithKLReward",
    "XPO",
    "behavior_value",
    "continuous_value",
    "exponential",
    "greedy",
    "group_quantile",
    "hinge",
    "k1",
    "k2",
    "k3",
    "logistic",
    "policy_reward",
    "policy_value",
    "reference_quantile",
    "reference_value",
    "savage",
    "squared",
    "standard_deviation",
    "truncated_squared",
    "unit_spread",
]
