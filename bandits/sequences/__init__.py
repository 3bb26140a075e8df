"""And if answers are made of tokens?  Every sequence of a tiny vocabulary is an arm; what trains is a table.

Read in this order; each imports only those above it.

    table          which answers are there, and which row of logits decides each of their tokens?
    soft_values    which table is the optimum, token by token?
    observation    what does an algorithm see of the tokens of a group?
    through        where does training the table lead, and how fast?
    averaged       what if log-probabilities are averaged over tokens?
    clipping       what if each token has its own likelihood ratio, and which divisor?
    token_kl       what if each token pays for its own KL?
    token_square   what if each token has its own square?
    value          what does a baseline of its own for each prefix do?
    mixtures       what if Nash-MD mixes token by token?
"""

from bandits.sequences.averaged import Averaged
from bandits.sequences.clipping import TokenGRPO, TokenPPO, by_answer, by_constant, by_group
from bandits.sequences.mixtures import TokenNashMD
from bandits.sequences.soft_values import soft_optimum
from bandits.sequences.table import TokenTable
from bandits.sequences.through import TableFit, table_fixed_point, table_flow, table_update
from bandits.sequences.token_kl import KLInLoss, KLInReward, future_cost, k1, k2, k3, own_cost, whole_cost
from bandits.sequences.token_square import TokenSquare
from bandits.sequences.value import PrefixValue, TokenPolicyGradient, no_baseline

__all__ = [
    "Averaged",
    "KLInLoss",
    "KLInReward",
    "PrefixValue",
    "TableFit",
    "TokenGRPO",
    "TokenNashMD",
    "TokenPPO",
    "TokenPolicyGradient",
    "TokenSquare",
    "TokenTable",
    "by_answer",
    "by_constant",
    "by_group",
    "future_cost",
    "k1",
    "k2",
    "k3",
    "no_baseline",
    "own_cost",
    "soft_optimum",
    "table_fixed_point",
    "table_flow",
    "table_update",
    "whole_cost",
]


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return __all__
