"""GOLD: off-policy policy gradient on demonstrations, in which the policy's own probability is the weight.

    c = r max(pi, u)      (the weight is held fixed)

Importance weights pi/mu with a mu that is taken to be uniform over the demonstrations, and bounded below.

Who samples: any fixed law D of demonstrations, with a reward each.  There is no KL.  It is A-LoL's law (T9.1)
with the uniform measure in the place of ref and no upper bound: with Z = E_D[r max(pi, u)] and r >= 0

    pi = u D r / Z  on all arms but the one with the largest D r, which takes the rest at Z = D r,

as long as that rest is u at least; from u = 1 on, where every weight is u, it is D r / Z, weighted behaviour
cloning, and u -> 0 keeps the mode of D r alone.  Arms without D r die out.  Negative rewards push for ever
unless u = 0, or u >= 1, which is AsymRE with V = 0 (T13.7); between, only the flow tells.  On its own samples
it gathers on a few arms, and the start decides.

The paper weighs tokens; a whole answer of a language model has so little probability that u decides.

Source: Pang & He 2021, "Text Generation by Learning from Demonstrations", arXiv:2009.07839.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms import boundary
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Samples, Update, need
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers.gates import Gate


@dataclass(frozen=True)
class GOLD:
    """c = r max(pi, u).

    Ends at u D r / Z, Z = max D r, on all arms but the one with the largest D r, which takes the rest; from
    u = 1 on at D r / Z  (T9.1).

    Args:
        floor: u >= 0, the least weight.

    Example:
        >>> import numpy as np
        >>> two = Samples(log_prob=np.log([[0.6], [0.01]]), reward=np.array([[1.0], [1.0]]))
        >>> GOLD(floor=0.1).update(two).log_prob.round(12).tolist()
        [[0.6], [0.1]]
    """

    floor: float = 0.1
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "floor", checks.zero_or_more(self.floor, "floor", "choose 0 (none) or more"))

    def update(self, samples: Samples) -> Update:
        """c = r max(pi, u)  (T9.1)."""
        pi = array_namespace(samples.log_prob).exp(samples.log_prob)
        return Update(log_prob=need(samples, "reward") * pi.clip(min=self.floor))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The end on a fixed law, where rewards are not negative or the floor lets them go  (T9.1).

        Raises:
            NoFixedPoint: several arms share the largest D r, and the start decides among the limits.
        """
        gate, reward = self._gate(bandit), bandit.needed_reward()
        if sampling.on_policy:
            boundary.refuse_own_samples("GOLD", reward, gate, log_start)
            return None
        mass = sampling.law(self, bandit, log_start).behavior * reward
        return boundary.gated("GOLD", mass, gate, bandit, log_start)

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end where rewards are negative, one context, for u = 0 and u >= 1  (T13.7, T13.10)."""
        mass, words = law.behavior * bandit.needed_reward(), "the mean reward is not positive"
        return boundary.attractors(mass, self._gate(bandit), bandit, log_start, words)

    def _gate(self, bandit: Bandit) -> Gate:
        return Gate(np.ones(bandit.arms), self.floor, self.floor if self.floor >= 1 else np.inf)
