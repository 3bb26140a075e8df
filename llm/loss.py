"""How does an algorithm of `bandits` become the loss of a language model?

An algorithm is its coefficients, `update(samples) -> Update`, so

    loss = - mean over groups of sum_i c_i log pi(y_i | x),     c not differentiated

has as its gradient minus the algorithm's ascent direction, whatever the algorithm: no coefficient is
written down here.  What is trained beside the policy (`llm.beside`) has coefficients of its own.

    B prompts, K sampled completions of each, of which the algorithm looks at k at a time

From K > k samples an algorithm sees every choice of k of them: the mean over these is what it would do
on average with k of the K drawn at random (RLOO on all pairs is RLOO on all K: T2.2).
"""

from __future__ import annotations

from itertools import combinations
from typing import cast

import torch
from torch import Tensor

from bandits.samples import Algorithm, Samples, TokenAlgorithm, TokenUpdate, Update, choose, need, sample_axes

TRAINED = tuple(sample_axes(Update))  # `Samples` that have a coefficient in `Update`


def alignment_loss(
    algorithm: Algorithm | TokenAlgorithm, samples: Samples, *, weight: Tensor | None = None
) -> Tensor:
    """A scalar whose gradient is minus the algorithm's expected update, averaged over the groups.

        -sum_groups weight (sum_i c_i log pi(y_i) + c_V V + sum_ij c'_ij log pi'(y_i | y_j))

    Its value means nothing, but it is differentiable in `samples.log_prob`, and in `samples.value` and
    `samples.revision_log_prob` where the algorithm trains them.

    Args:
        algorithm: any object with `update`, those of `bandits` above all.
        samples: groups of k completions, `log_prob` (..., k); `TokenSamples` for a token-wise algorithm,
            whose coefficients are those of `token_log_prob`.
        weight: of each group, (...), instead of one over their number: with the probabilities of all
            groups the gradient is exact.

    Raises:
        ValueError: a field that has a coefficient is missing from `samples`, a coefficient is not
            finite, or `weight` has another shape than the groups.

    Example:
        >>> from bandits import CoPG
        >>> log_prob = torch.tensor([[-1.0, -2.0]], requires_grad=True)
        >>> start, reward = log_prob.detach(), torch.tensor([[1.0, 0.25]])
        >>> pair = Samples(log_prob=log_prob, reference_log_prob=start, reward=reward)
        >>> alignment_loss(CoPG(beta=0.5), pair).backward()
        >>> log_prob.grad
        tensor([[-0.7500,  0.7500]])
    """
    with torch.no_grad():
        update = cast(Algorithm, algorithm).update(samples)  # token-wise: `need` asks for their tokens
    return update_loss(update, samples, weight=weight)


def update_loss(update: Update | TokenUpdate, samples: Samples, *, weight: Tensor | None = None) -> Tensor:
    """`alignment_loss` from coefficients that are there already."""
    groups = samples.log_prob.shape[:-1]
    if weight is None:
        weight = samples.log_prob.new_full(groups, 1 / max(groups.numel(), 1))
    elif weight.shape != groups:
        raise ValueError(
            f"weight must have the shape of the groups {tuple(groups)}, but has {tuple(weight.shape)}"
        )
    total = samples.log_prob.new_zeros(())
    kind: type = type(update)
    for name in sample_axes(kind):
        coefficient = getattr(update, name)
        if coefficient is not None and _is_trained(samples, name):
            total = total - (weight * _group_sum(coefficient, need(samples, name), groups, name)).sum()
    return total


def _is_trained(samples: Samples, name: str) -> bool:
    """DRO without a value in training eliminates it; everything else must be there."""
    return name != "value" or samples.value is not None


def _group_sum(coefficient: Tensor, trained: Tensor, groups: torch.Size, name: str) -> Tensor:
    """sum of c times what it moves, over all but the axes of the groups."""
    bad = ~coefficient.isfinite()
    if bad.any():
        index = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"the coefficients of {name} must be finite, but one is {coefficient[index].item()} at "
            f"{list(index)}; look at the rewards and log-probabilities of that group"
        )
    per_group = coefficient.reshape(*groups, -1) * trained.reshape(*groups, -1)
    return per_group.sum(-1)


def every_choice(samples: Samples, k: int) -> Samples:
    """Groups of k from groups of K, all of them: (..., K) becomes (..., K! / (k! (K - k)!), k).

    Raises:
        ValueError: there are fewer samples than the algorithm looks at.

    Example:
        >>> three = Samples(log_prob=torch.tensor([[1.0, 2.0, 3.0]]))
        >>> every_choice(three, 2).log_prob.tolist()
        [[[1.0, 2.0], [1.0, 3.0], [2.0, 3.0]]]
    """
    size = samples.log_prob.shape[-1]
    if size < k:
        raise ValueError(
            f"the algorithm looks at k = {k} completions of a prompt, but there are {size}; sample more"
        )
    chosen = torch.tensor(list(combinations(range(size), k)), device=samples.log_prob.device)  # (groups, k)
    return choose(samples, chosen)
