"""How much reward can a nat of KL buy at most?  The exact frontier of a language model, from samples.

No policy has more reward at its KL than pi* = ref exp(r/beta) / Z of some beta  (T1.1), and what pi* has is a
mean over samples of the reference, weighted by exp(r/beta)  (T10.3): nothing is trained.  The best of n
samples, which needs no beta, comes from the same samples.  NumPy only, bare arrays, prompts first:

    rewards (prompts, n), n scored completions of each prompt  ->  one point a beta, with standard errors

Read in this order:

    jackknife   how far is an estimate off, and how sure is it?
    optimum     what has pi* of each beta?
    moves       how does a completion change, so that pi* stays?
    annealed    what has pi* of a beta that weights do not reach?
    best        what has the best of n?
    regret      how far below pi* is a policy?

    >>> found = frontier([[0.0, 1.0] * 32, [0.0, 0.5, 0.5, 1.0] * 16], [2.0, 8.0])
    >>> found.reward.round(2), found.kl.round(3)
    (array([0.59, 0.52]), array([0.023, 0.001]))
"""

from llm.frontier.annealed import Annealed, anneal
from llm.frontier.best import BestOf, best_of
from llm.frontier.moves import Chains
from llm.frontier.optimum import Frontier, Optimum, frontier, optimum
from llm.frontier.regret import regret

__all__ = ["Annealed", "BestOf", "Chains", "Frontier", "Optimum"]
__all__ += ["anneal", "best_of", "frontier", "optimum", "regret"]


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return __all__
