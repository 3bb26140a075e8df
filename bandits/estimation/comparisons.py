"""What was compared, and who won?  A data set of comparisons is how often each arm beat each other.

    wins[i, j]   N_ij, how often i beat j
    games        N_ij + N_ji, how often they met: the conductances of the graph of comparisons  (T9.8)

N comparisons of y from one policy with y' from another, labelled by the world, are one multinomial draw:
"i beat j" has probability (W_ij + W_ji) P(i, j), W = first x second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.sampling.rules import Dataset


def wins_of(comparisons: Dataset, arms: int) -> Floats:
    """How often each arm beat each other, (A, A), winner first.

    Raises:
        ValueError: `comparisons` is no `Dataset`, or names an arm that there is not.

    Example:
        >>> wins_of(Dataset([(0, 1), (0, 1), (1, 0)]), arms=2)
        array([[0., 2.],
               [1., 0.]])
    """
    checks.instance(comparisons, Dataset, "comparisons", "write Dataset([(winner, loser), ...])")
    pairs, size = comparisons.pairs, checks.count(arms, "arms")
    rule, remedy = f"indices below arms = {size}", "count arms from 0"
    checks.reject_first(pairs >= size, pairs, "comparisons.pairs", rule, remedy)
    wins = np.zeros((size, size))
    np.add.at(wins, tuple(pairs.T), 1.0)
    return wins


def draw_wins(
    bandit: Bandit, first: ArrayLike, second: ArrayLike, count: int, rng: np.random.Generator
) -> Floats:
    """The wins of `count` comparisons of y from `first` with y' from `second`, (A, A).

    The diagonal holds the comparisons of an arm with itself, which teach nothing but were paid for.

    Args:
        bandit: the world, of one context; it labels each pair with probability P(y, y').
        first, second: policies, (A,).
        count: N, 0 or more.
        rng: source of all chance.

    Raises:
        ValueError: a policy is no distribution over the arms, N is no count, or the world has contexts.

    Example:
        >>> sure = Bandit(preference=[[0.5, 1.0], [0.0, 0.5]])
        >>> draw_wins(sure, [1.0, 0.0], [0.0, 1.0], 5, np.random.default_rng(0))
        array([[0., 5.],
               [0., 0.]])
    """
    checks.instance(bandit, Bandit, "bandit", "write Bandit(reward) or Bandit(preference=...)")
    if bandit.contexts:
        raise ValueError(f"bandit must have one context, but it has {bandit.contexts}; ask bandit.at(index)")
    one = policy_of(first, "first", bandit.reference, "the bandit")
    other = policy_of(second, "second", bandit.reference, "the bandit")
    count, rng = checks.count(count, "count", least=0), checks.generator(rng)
    met = np.outer(one, other)
    law = ((met + met.T) * bandit.preference).ravel()
    return rng.multinomial(count, law / law.sum()).reshape(met.shape).astype(float)


def checked_wins(wins: ArrayLike) -> Floats:
    """A private copy without the diagonal, (A, A).

    Raises:
        ValueError: `wins` is not square, or an entry is negative or not finite.
    """
    matrix = np.array(checks.arms(wins, "wins"))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"wins must be a square matrix (winner, loser), but its shape is {matrix.shape}; "
            f"wins_of(Dataset(pairs), arms) makes one"
        )
    remedy = "a loss of i to j belongs in wins[j, i]"
    checks.reject_first(matrix < 0, matrix, "wins", "non-negative", remedy)
    np.fill_diagonal(matrix, 0.0)
    return matrix


def policy_of(values: ArrayLike, name: str, arms: Floats, whose: str = "wins") -> Floats:
    """One policy over as many arms as there are in `arms`, (A,).

    Raises:
        ValueError: it is no distribution, or over other arms.
    """
    policy = checks.distribution(values, name)
    checks.same_arms(policy, arms, name, whose)
    if policy.ndim > 1:
        raise ValueError(
            f"{name} must be one policy, (A,), but its shape is {policy.shape}; pass one prompt's"
        )
    return policy
