"""Which groups of completions are there, and how likely is each?  Nothing is drawn: all are listed.

Where every completion of a prompt is listed (`llm.exact`), so is every group of k of them, with its
probability under whoever samples.  Weighted with these, `alignment_loss` is the expectation itself:

    loss = - sum over groups of w sum_i c_i log pi(y_i | x),      sum of w = 1,

and its gradient is minus the algorithm's expected update, without noise  (T0.1, T10.2).

    n groups, k completions in each, A completions in all
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import completed, summed_groups
from bandits.problem import Problem, bind
from bandits.samples import GROUP, PAIR, SAMPLE, Algorithm, Samples, present, sample_axes
from bandits.sampling.coefficients import update_of
from bandits.sampling.groups import COMPANY, some_groups
from bandits.sampling.laws import Law
from bandits.sampling.observation import State, fields_read, samples_of
from bandits.sampling.rules import Sampling

MOST = 10**6  # groups of one call: they are all held


class Groups(NamedTuple):
    """Every group of completions of one prompt, and how likely it is."""

    samples: Samples  # n groups of k; `samples.arm` says which completions
    weight: Tensor  # (n,)  probabilities: they sum to one


def every_group(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    log_prob: Tensor,
    *,
    value: Tensor | None = None,
    revision_log_prob: Tensor | None = None,
    max_groups: int = MOST,
) -> Groups:
    """All groups that the algorithm may see, as exact `Samples` with weights.

    `alignment_loss(algorithm, samples, weight=weight)` then has minus the expected update as its gradient.
    The sampler is not differentiated: on-policy the weights are those of `log_prob` as it stands.

    Args:
        bandit: the world whose arms are the completions, from `as_bandit`: reward or preference, reference.
        sampling: who produced the samples, as for `bandits.expected_update`.
        log_prob: log pi(y|x) of every completion, (A,), differentiable, as `enumerate_completions` gives.
        value: DRO's V, (), where it is trained.
        revision_log_prob: SRPO's log pi'(y_i | y_j) at [i, j], (A, A).
        max_groups: more than so many are refused.  They are A^k, or C(A + k - 1, k) where the order of a
            group makes no difference to the algorithm, which is tried out.

    Raises:
        ValueError: the arguments do not fit together, the world has several prompts, or there are too many
            groups.

    Example: two answers, sampled evenly, make four ordered pairs.

        >>> from bandits import Bandit, CoPG, Offline
        >>> log_prob = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
        >>> samples, weight = every_group(CoPG(beta=1.0), Bandit([1.0, 0.0]), Offline([0.5, 0.5]), log_prob)
        >>> samples.arm.tolist(), weight.tolist()
        ([[0, 0], [0, 1], [1, 0], [1, 1]], [0.25, 0.25, 0.25, 0.25])
    """
    beside = {"value": value, "revision_log_prob": revision_log_prob}
    problem, state = _problem(algorithm, bandit, sampling, log_prob, beside, max_groups)
    law = problem.law()
    state = completed(problem, law, state)
    blocks = summed_groups(problem, law, state, update_of(algorithm))
    arms, chances = (np.concatenate(each) for each in zip(*blocks, strict=True))
    samples = _samples(samples_of(bandit, law, state, arms), _read(problem, law, state), log_prob, beside)
    return Groups(samples, torch.as_tensor(chances, dtype=log_prob.dtype, device=log_prob.device))


def _problem(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    log_prob: Tensor,
    beside: dict[str, Tensor | None],
    max_groups: int,
) -> tuple[Problem, State]:
    """What `bandits` enumerates: training stands where the model does."""
    problem = bind(algorithm, bandit, sampling, max_groups=max_groups)
    if problem.contexts:
        raise ValueError(
            f"every_group takes one prompt, but the bandit has {problem.contexts}; use bandit.at"
        )
    if not isinstance(log_prob, Tensor) or log_prob.shape != (bandit.arms,):
        shape = getattr(log_prob, "shape", None)
        what = (
            f"is {checks.shown(log_prob)}"
            if shape is None
            else f"is a {type(log_prob).__name__} {tuple(shape)}"
        )
        raise ValueError(
            f"log_prob must be a tensor ({bandit.arms},), the log-probability of every completion, "
            f"but it {what}; take enumerate_completions(...).log_prob"
        )
    V, revision = ((None if x is None else _array(x)) for x in beside.values())
    log_policy = log_softmax(_array(log_prob))  # that of a float32 model sums to one only to about 1e-6
    state = State(log_policy, V, None if revision is None else revision.T)  # [y1, y2] = log pi'(y2 | y1)
    return replace(problem, log_start=log_policy), state


def _array(x: Tensor) -> Floats:
    return x.detach().double().cpu().numpy()


def _read(problem: Problem, law: Law, state: State) -> frozenset[str]:
    """The fields that the algorithm looks at."""
    return fields_read(problem.algorithm, samples_of(problem.bandit, law, state, some_groups(law, COMPANY)))[
        0
    ]


def _samples(
    seen: Samples, read: frozenset[str], log_prob: Tensor, beside: dict[str, Tensor | None]
) -> Samples:
    """What `bandits` sees of the groups, as tensors; what is trained is the model's own.

    A number of each pair, and the population, are there where the algorithm reads them: they are many.
    """

    def tensor(array: Any) -> Tensor:
        return torch.as_tensor(np.array(array), dtype=log_prob.dtype, device=log_prob.device)

    arm = torch.as_tensor(np.array(seen.arm), device=log_prob.device)
    value, revision = beside.values()
    shapes = {GROUP: arm.shape[:1], SAMPLE: arm.shape, PAIR: (*arm.shape, arm.shape[-1])}
    fields: dict[str, Any] = {
        name: tensor(x).broadcast_to(shapes[axes])
        for name, axes in sample_axes(Samples).items()
        if (axes < PAIR or name in read) and (x := getattr(seen, name)) is not None
    }
    fields |= {"log_prob": log_prob[arm], "arm": arm}
    if value is not None:
        fields["value"] = value.expand(len(arm))
    if revision is not None:
        fields["revision_log_prob"] = revision[arm[:, :, None], arm[:, None, :]]
    if "population" in read and seen.population is not None:
        everyone = {name: tensor(x) for name, x in present(seen.population).items()}
        fields["population"] = Samples(**everyone | {"log_prob": log_prob[None]})
    return Samples(**fields)
