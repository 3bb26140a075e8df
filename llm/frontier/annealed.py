"""What has pi* of a beta that weights of the reference's samples do not reach?

Chains of completions start as samples of the reference and are led down a ladder beta_1 > beta_2 > ...

    weigh       w *= exp(r (1/beta_t - 1/beta_{t-1})),  beta_0 infinite
    select      where few chains of an island carry its weight, chains are drawn anew by their weights
    move        Metropolis moves, which keep pi* of beta_t  (`moves`)

Of an island, Z^ = prod_t of the mean weights, and r^ = the weighted mean of the rewards along its moves; then

    E[Z^] = Z,   E[Z^ r^] = Z E_{pi*}[r]     exactly, however few and slow the moves are               (T10.4)

but a mean of few Z^ is below Z nearly always, as a few large ones make it. With many chains log Z^ is normal,
and if it is so together with r^, then, from independent islands without bias, however few they are,

    log Z = mean log Z^ + var(log Z^)/2      reward = mean r^ + cov(log Z^, r^)      KL = reward/beta - log Z

What the two second terms say is what the chains lag behind, and islands that differ too much are a gap: there
the curve ends.  The integral of E_{pi*}[r] d(1/beta), which is log Z too, has the steps of the ladder in it,
and is a check only.

Axes: betas first, then prompts, then islands.  Source: Jarzynski 1997, Physical Review Letters 78; Neal 2001,
Annealed importance sampling, Statistics and Computing 11; Del Moral, Doucet & Jasra 2006, Sequential Monte
Carlo samplers, JRSS B 68 (the selection); Berard, Del Moral & Doucet 2014, A lognormal central limit theorem
for particle approximations of normalizing constants, Electronic Journal of Probability 19.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp

from bandits import checks
from bandits.checks import Floats
from llm.frontier.jackknife import Estimate, jackknife
from llm.frontier.moves import Chains, Propose, metropolis, windows
from llm.frontier.optimum import Frontier, Point, averaged, column

ISLANDS = 4
FEW = 0.5  # effective chains of an island, as a share, below which chains are selected


@dataclass(frozen=True, eq=False)
class Annealed:
    """What independent islands of chains found at every beta of the ladder."""

    beta: Floats  # (betas,), decreasing
    log_z: Floats  # (betas, prompts, islands)  log Z^
    reward: Floats  # (betas, prompts, islands)  r^
    taken: Floats  # (betas,)  the share of moves that were taken

    def frontier(self, *, min_ess: float | None = None) -> Frontier:
        """The mean over prompts of what pi* has, (betas,) each; NaN from where the islands disagree.

        Args:
            min_ess: effective islands, a harmonic mean over prompts, below which the curve ends; by default
                what the campaign found to cover (`of_islands`).
        """
        least = of_islands(self.log_z.shape[-1]) if min_ess is None else checks.number(min_ess, "min_ess")
        return averaged(self.beta, self.points(), least, onward=True)

    def value(self) -> Estimate:
        """J* = beta log Z at every prompt, (betas, prompts)."""
        return column(self.points(), "value")

    def points(self) -> list[Point]:
        """Reward, KL and J* at every prompt, beta by beta; the jackknife leaves one island out."""
        slopes, found = np.reciprocal(self.beta), []
        for slope, log_z, reward in zip(slopes, self.log_z, self.reward, strict=True):
            without = [np.delete(log_z, i, -1) for i in range(log_z.shape[-1])]
            others = [np.delete(reward, i, -1) for i in range(log_z.shape[-1])]
            left = zip(without, others, strict=True)
            fewer = np.stack([_moments(*each, float(slope)) for each in left], axis=-1)
            whole = _moments(log_z, reward, float(slope))
            share = np.exp(log_softmax(log_z, axis=-1))
            mean, kl, value = (jackknife(*each) for each in zip(whole, fewer, strict=True))
            found.append(Point(mean, kl, value, 1 / (share**2).sum(axis=-1)))
        return found


def _moments(log_z: Floats, reward: Floats, slope: float) -> Floats:
    """Reward, KL and J* of islands whose log Z^ and r^ are normal, (3, prompts)."""
    off = (log_z - log_z.mean(axis=-1, keepdims=True)) / (log_z.shape[-1] - 1)
    whole = log_z.mean(axis=-1) + (off * log_z).sum(axis=-1) / 2
    mean = reward.mean(axis=-1) + (off * reward).sum(axis=-1)
    return np.stack([mean, slope * mean - whole, whole / slope])


def anneal(
    start: Chains, propose: Propose, betas: ArrayLike, *, moves: int, islands: int = ISLANDS, seed: int = 0
) -> Annealed:
    """Reward and Z of pi* of every beta of a ladder, by chains that are led there  (T10.4).

    Args:
        start: n samples of the reference for each prompt.
        propose: what renews tokens of the chains (`llm.frontier.moves`); `llm.chains` has that of a model.
        betas: positive and decreasing, (betas,): the nearer, the less the weights differ.
        moves: at each beta.
        islands: into which the n chains of a prompt fall, at least 3, dividing n: chains of one are selected
            together, islands know nothing of each other.
        seed: of all chance.

    Raises:
        ValueError: betas are not positive, or do not decrease; moves < 1; islands < 3, or do not divide n;
            the shapes of the chains do not fit, or a reward is not finite.

    Example: answers of one token, 0 or 1, one half each, with this reward.

        >>> def fresh(chains, start, stop, rng):
        ...     token = rng.integers(2, size=chains.tokens.shape)
        ...     return Chains(token, np.full(token.shape, np.log(0.5)), token[..., 0].astype(float))
        >>> none = Chains(np.zeros((5, 128, 1), dtype=int), np.zeros((5, 128, 1)), np.zeros((5, 128)))
        >>> chains = fresh(none, 0, 1, np.random.default_rng(0))
        >>> found = anneal(chains, fresh, [1.0, 0.5, 0.25], moves=8).frontier()
        >>> found.reward.round(1)  # 1/(1 + exp(-1/beta)): .73, .88, .98
        array([0.7, 0.9, 1. ])
    """
    ladder = _ladder(betas)
    chains = _checked(start, islands)
    checks.count(moves, "moves")
    P, n, T = chains.tokens.shape
    rng = np.random.default_rng(seed)
    order, log_weight = windows(T, rng), np.zeros((P, islands, n // islands))
    log_z, rewards, taken = [], [], []
    for before, slope in pairwise([0.0, *np.reciprocal(ladder)]):
        log_weight = log_weight + (slope - before) * chains.reward.reshape(log_weight.shape)
        chains, log_weight = selected(chains, log_weight, rng)
        seen, shares = [chains.reward], []
        for window in islice(order, moves):
            moved = metropolis(chains, propose, window, slope, rng)
            chains = _checked(moved.chains, islands)
            seen.append(moved.reward)
            shares.append(moved.taken.mean())
        mean = np.mean(seen, axis=0).reshape(log_weight.shape)
        log_z.append(logsumexp(log_weight, axis=-1) - np.log(n // islands))
        rewards.append((np.exp(log_softmax(log_weight, axis=-1)) * mean).sum(axis=-1))
        taken.append(np.mean(shares))
    return Annealed(ladder, np.array(log_z), np.array(rewards), np.array(taken))


def selected(chains: Chains, log_weight: Floats, rng: np.random.Generator) -> tuple[Chains, Floats]:
    """Chains drawn by their weights, which then are alike, in the islands where few carry the weight.

    An island decides alone, and its mean weight stays: E[Z^] = Z needs no more.  Systematic: of N chains a
    chain of share p comes floor(N p) or ceil(N p) times.
    """
    P, islands, N = log_weight.shape
    share = np.exp(log_softmax(log_weight, axis=-1))
    few = 1 / (share**2).sum(axis=-1, keepdims=True) < FEW * N
    marks = (np.arange(N) + rng.random((P, islands, 1))) / N
    parents = (marks[..., None] > share.cumsum(axis=-1)[..., None, :-1]).sum(axis=-1)
    parents = np.where(few, parents, np.arange(N)) + N * np.arange(islands)[:, None]
    alike = logsumexp(log_weight, axis=-1, keepdims=True) - np.log(N)
    return chains.copies(parents.reshape(P, -1)), np.where(few, alike, log_weight)


def of_islands(islands: int) -> float:
    """How many islands of each prompt must count, a harmonic mean, for a mean over prompts."""
    return 0.965 * islands


def _ladder(betas: ArrayLike) -> Floats:
    ladder = checks.floats(betas, "betas")
    if ladder.ndim != 1 or not ladder.size:
        raise ValueError(
            f"betas must be a list of at least one, but its shape is {ladder.shape}; give a list"
        )
    for i, each in enumerate(ladder):
        checks.positive(float(each), f"betas[{i}]")
    rises = np.flatnonzero(np.diff(ladder) >= 0)
    if rises.size:
        i = int(rises[0]) + 1
        raise ValueError(
            f"betas must decrease, but betas[{i}] = {ladder[i]} follows {ladder[i - 1]}; sort them, "
            "the largest first"
        )
    return ladder


def _checked(chains: Chains, islands: int) -> Chains:
    """The chains, if they are chains that fall into so many islands."""
    shape = np.shape(chains.tokens)
    if len(shape) != 3 or np.shape(chains.log_prob) != shape or np.shape(chains.reward) != shape[:2]:
        raise ValueError(
            "chains must have tokens and log_prob (prompts, n, T) and reward (prompts, n), but their shapes "
            f"are {shape}, {np.shape(chains.log_prob)} and {np.shape(chains.reward)}"
        )
    if checks.count(islands, "islands", 3) and shape[1] % islands:
        raise ValueError(f"islands must divide the {shape[1]} chains of a prompt, but are {islands}; take 4")
    checks.floats(chains.reward, "reward of the chains")
    return chains
