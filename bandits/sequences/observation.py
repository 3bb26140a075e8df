"""What does an algorithm see of the tokens of a group?  `TokenSamples`, read off a table and its world.

Any law of answers factorises into tokens, so that sampler and reference need no table of their own:
mu(v | x) = mu(answers that begin with xv) / mu(answers that begin with x).

Under a `mask` that leaves tokens out (as a trainer's that cuts off the end), log-probabilities of answers are
sums over the tokens that are left: no longer probabilities, but what the trainer computes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Samples, TokenSamples
from bandits.sampling.laws import Arms, Law
from bandits.sampling.observation import State, samples_of
from bandits.sequences.table import TokenTable


@dataclass(frozen=True, eq=False)
class TokenView:
    """What of each answer's tokens is seen, (A, T); made anew wherever training stands."""

    table: TokenTable
    bandit: Bandit
    mask: Floats  # (A, T)

    @cached_property
    def reference(self) -> Floats:
        """log ref(y_t | y_<t), (A, T)."""
        return self.table.conditionals(self.bandit.log_reference) * self.mask

    def samples(self, law: Law, token_log_prob: Floats, arms: Arms) -> TokenSamples:
        """The samples of groups (n, k) while training stands at token_log_prob (..., A, T)."""
        with np.errstate(divide="ignore"):
            behavior = self.table.conditionals(np.log(law.behavior))
        seen = samples_of(self.bandit, law, State(token_log_prob.sum(-1)), arms)
        known: dict[str, Any] = {each.name: getattr(seen, each.name) for each in fields(Samples)}
        tokens = token_log_prob * self.mask, self.reference, np.where(self.mask > 0, behavior, 0.0)
        if self.mask is not self.table.mask:
            names = ("log_prob", "reference_log_prob", "behavior_log_prob", "length")
            sums = [each.sum(-1) for each in (*tokens, self.mask)]
            known |= {name: total[..., arms] for name, total in zip(names, sums, strict=True)}
        policy, reference, sampler = (each[..., arms, :] for each in tokens)
        return TokenSamples(
            **known,
            token_log_prob=policy,
            token_reference_log_prob=reference,
            token_behavior_log_prob=sampler,
            mask=self.mask[arms],
        )


def view(table: TokenTable, bandit: Bandit, mask: ArrayLike | None) -> TokenView:
    """What is seen of the tokens.

    Raises:
        ValueError: the world's arms are not the table's answers, it has contexts, or the mask is not (A, T)
            of zeros and ones that leaves each answer a token and holds none behind an end.
    """
    if not isinstance(bandit, Bandit) or not isinstance(table, TokenTable):
        raise ValueError("table must be a TokenTable and bandit the world of its answers, table.bandit(...)")
    if bandit.arms != len(table.sequences) or bandit.contexts:
        raise ValueError(
            f"bandit must have the {len(table.sequences)} answers of the table as its arms and no contexts, "
            f"but it has {bandit.arms} arms and contexts {bandit.contexts}; make it by table.bandit(reward)"
        )
    if mask is None or mask is table.mask:
        return TokenView(table, bandit, table.mask)
    seen = checks.floats(mask, "mask")
    if seen.shape != table.mask.shape:
        raise ValueError(f"mask must be (A, T) = {table.mask.shape}, but its shape is {seen.shape}")
    bad = (seen != 0) & (seen != 1) | (seen > table.mask)
    checks.reject_first(bad, seen, "mask", "0 or 1, and 0 behind an end", "start from table.mask")
    return TokenView(table, bandit, seen)
