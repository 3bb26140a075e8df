"""A campaign: how far down do the intervals of the annealed frontier cover, and what tells that they do not?

    python tests/campaigns/annealed.py 100 24 96

For every kind of world and every number of moves: `draws` times 16 chains, 4 islands, of each of 100 prompts,
led down a ladder of 12 betas, and whether the 95 % intervals of reward and KL cover the truth, of the mean
over these prompts. Completions have up to 28 tokens that are independent under the reference, with additive
rewards, so that pi* is known, by a recursion over the tokens, at as many nats as one likes; or 9 tokens with
any rewards, by enumeration. Prompts differ in the scale of their rewards. Prints one line a
beta, with the effective islands; then from how many on all betas cover in 90 to 98 % of the draws, as far as
so many can tell. Exits 1 if the bound in use is lower. A sample runs among the tests.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from bandits.checks import Floats
from llm.frontier import Chains, anneal
from llm.frontier.annealed import ISLANDS, of_islands

SLOPES = np.linspace(0.25, 3.0, 12)  # 1/beta, in standard deviations of the reward
NORMAL_95 = 1.959964
LOW, HIGH = 0.90, 0.98
CHAINS, PROMPTS, AGAIN = 16, 100, 4


@dataclass(frozen=True, eq=False)
class Tokens:
    """Completions of tokens that are independent under the reference, 0 ends them; additive rewards."""

    log_prob: Floats  # (prompts, T, V)
    worth: Floats  # (prompts, T, V)

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, prompts: int, longest: int, vocabulary: int, end: float
    ) -> Tokens:
        """Each prompt with its own law and its own scale of rewards."""
        shape = (prompts, longest, vocabulary - 1)
        others = (1 - end) * rng.dirichlet(np.ones(vocabulary - 1), size=shape[:2])
        law = np.concatenate([np.full((*shape[:2], 1), max(end, 1e-300)), others], axis=-1)
        scale = np.exp(0.4 * rng.normal(size=(prompts, 1, 1)))
        worth = scale * rng.normal(size=(prompts, longest, vocabulary)) / np.sqrt(longest)
        return cls(np.log(law), worth)

    def repeated(self, times: int) -> Tokens:
        """The same prompts so many times."""
        return Tokens(*(np.repeat(field, times, axis=0) for field in (self.log_prob, self.worth)))

    def exact(self, beta: float) -> tuple[Floats, Floats]:
        """E_{pi*}[r] and log Z of every prompt, from the last token to the first."""
        log_z = np.zeros(len(self.log_prob))
        reward = np.zeros(len(self.log_prob))
        for t in reversed(range(self.log_prob.shape[1])):
            onward = np.concatenate([[0.0], np.ones(self.log_prob.shape[2] - 1)])  # nothing follows the end
            score = self.log_prob[:, t] + self.worth[:, t] / beta + onward * log_z[:, None]
            log_z = logsumexp(score, axis=-1)
            policy = np.exp(score - log_z[:, None])
            reward = (policy * (self.worth[:, t] + onward * reward[:, None])).sum(-1)
        return reward, log_z

    def start(self, n: int, rng: np.random.Generator) -> Chains:
        shape = (len(self.log_prob), n, self.log_prob.shape[1])
        return self.read(self.sampled(shape, rng))

    def sampled(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Tokens (prompts, n, T), also behind an end."""
        upto = np.exp(self.log_prob).cumsum(axis=-1)[:, None]
        return (rng.random(shape)[..., None] > upto[..., :-1]).sum(-1)

    def read(self, tokens: np.ndarray) -> Chains:
        """With -1 behind the first end, log-probabilities and rewards."""
        ended = np.cumsum(tokens == 0, axis=-1) > 0
        real = np.concatenate([np.ones_like(ended[..., :1]), ~ended[..., :-1]], axis=-1)
        at = np.ix_(*(np.arange(n) for n in tokens.shape))[::2]
        places = np.where(real, tokens, 0)
        log_prob, worth = (field[at[0], at[1], places] * real for field in (self.log_prob, self.worth))
        return Chains(np.where(real, tokens, -1), log_prob, self.of(np.where(real, tokens, -1), worth))

    def of(self, tokens: np.ndarray, worth: Floats) -> Floats:
        """The reward of each completion, from what its tokens are worth."""
        return worth.sum(-1)

    def propose(self, old: Chains, start: int, stop: int, rng: np.random.Generator) -> Chains:
        """What `llm.frontier.moves` asks for."""
        new = self.sampled(old.tokens.shape, rng)
        window = (np.arange(old.tokens.shape[-1]) >= start) & (np.arange(old.tokens.shape[-1]) < stop)
        behind = np.arange(old.tokens.shape[-1]) >= stop
        length = (old.tokens >= 0).sum(-1, keepdims=True)
        renewed = window | (behind & (length <= stop))  # an end inside: nothing is behind that could be kept
        found = self.read(np.where(renewed & (length > start), new, np.maximum(old.tokens, 0)))
        return old.where(length[..., 0] > start, found)


@dataclass(frozen=True, eq=False)
class Enumerated(Tokens):
    """As many tokens as can be enumerated, all completions of one length, with any reward of each."""

    table: Floats  # (prompts, V^T)

    @classmethod
    def of_shares(
        cls, rng: np.random.Generator, prompts: int, shares: Sequence[float], vocabulary: int = 3
    ) -> Enumerated:
        """Normal rewards; shares of their variance come with the first token, the first two, ..., all."""
        longest = len(shares)
        plain = Tokens.drawn(rng, prompts, longest, vocabulary + 1, 0.0)
        arms = np.arange(vocabulary**longest)
        table = np.zeros((prompts, len(arms)))
        for t, share in enumerate(shares):
            parts = rng.normal(size=(prompts, vocabulary ** (t + 1))) * np.sqrt(share)
            table += parts[:, arms // vocabulary ** (longest - t - 1)]
        return cls(plain.log_prob, plain.worth, np.exp(0.4 * rng.normal(size=(prompts, 1))) * table)

    def of(self, tokens: np.ndarray, worth: Floats) -> Floats:
        V, longest = self.log_prob.shape[2] - 1, tokens.shape[-1]
        arms = np.maximum(tokens - 1, 0) @ V ** np.arange(longest)[::-1]
        return np.take_along_axis(self.table, arms, -1)

    def exact(self, beta: float) -> tuple[Floats, Floats]:
        V, longest = self.log_prob.shape[2] - 1, self.log_prob.shape[1]
        digits = np.stack(np.unravel_index(np.arange(V**longest), (V,) * longest))
        log_ref = sum(self.log_prob[:, t, 1:][:, digits[t]] for t in range(longest))
        score = log_ref + self.table / beta
        log_z = logsumexp(score, axis=-1)
        return (np.exp(score - log_z[:, None]) * self.table).sum(-1), log_z


@dataclass(frozen=True)
class Kind:
    """A kind of world."""

    name: str
    end: float | None = None  # of additive rewards: how likely every token is the last
    shares: tuple[float, ...] = ()

    def world(self, rng: np.random.Generator, prompts: int) -> Tokens:
        """Prompts of this kind."""
        if self.end is None:
            return Enumerated.of_shares(rng, prompts, self.shares)
        return Tokens.drawn(rng, prompts, 28, 17, self.end)


KINDS = (
    Kind("additive, ends of 5 %", end=0.05),
    Kind("additive, 28 tokens", end=0.0),
    Kind("each token by what was before", shares=(1 / 9,) * 9),
    Kind("the first two decide", shares=(0.2, 0.5, *[0.0] * 6, 0.3)),
    Kind("each answer of its own", shares=(*[0.0] * 8, 1.0)),
)


@dataclass(frozen=True)
class Coverage:
    """How often 95 % intervals cover at one beta, and what else is known there."""

    slope: float
    spent: float  # KL, nats
    ess: float
    taken: float
    reward: float
    kl: float
    off: float  # mean error of the KL, nats


def coverage(
    kind: Kind,
    draws: int,
    prompts: int = PROMPTS,
    slopes: Sequence[float] | Floats = SLOPES,
    moves: int = 8,
    seed: int = 0,
) -> list[Coverage]:
    """Of every beta, over worlds, prompts and chains drawn anew."""
    rng, found = np.random.default_rng([seed, moves]), []
    betas = 1 / np.array(slopes)
    for draw in range(draws):
        if draw % AGAIN == 0:
            world = kind.world(rng, prompts)
            truth = [world.exact(float(beta)) for beta in betas]
            reward = np.array([each.mean() for each, _ in truth])
            spent = np.array([(r / b - z).mean() for (r, z), b in zip(truth, betas, strict=True)])
        of_all = anneal(world.start(CHAINS, rng), world.propose, betas, moves=moves, seed=draw)
        curve = of_all.frontier(min_ess=1)
        hits = abs(curve.reward - reward) <= NORMAL_95 * curve.reward_se
        both = hits, abs(curve.kl - spent) <= NORMAL_95 * curve.kl_se
        found.append([betas, spent, curve.ess, of_all.taken, *both, curve.kl - spent])
    means = np.mean(found, axis=0).T
    return [replace(Coverage(*map(float, row)), slope=float(1 / row[0])) for row in means]


def bounds(found: Sequence[Coverage], draws: int) -> tuple[float, float]:
    """The most effective islands that do not cover, within two binomial errors, and the next that do."""
    room = 2 * np.sqrt(LOW * (1 - LOW) / draws)
    below, above = 0.0, np.inf
    for each in sorted(found, key=lambda each: each.ess):
        if min(each.reward, each.kl) >= LOW - room:
            above = min(above, each.ess)
        else:
            below, above = each.ess, np.inf
    return below, above


def main(draws: int, sizes: Sequence[int]) -> int:
    """The tables; whether the bound in use is too low."""
    wrong = 0
    for total in sizes:
        for kind in KINDS:
            found = coverage(kind, draws, moves=total // len(SLOPES))
            print(f"\n{kind.name}, {total} moves a chain, {draws} draws of {PROMPTS} prompts")
            print(" 1/beta    KL | islands  taken | reward    KL   off")
            for each in found:
                row = (each.slope, each.spent, each.ess, each.taken, each.reward, each.kl, each.off)
                print("{:7.2f} {:5.2f} | {:7.2f} {:6.2f} | {:6.3f} {:5.3f} {:5.2f}".format(*row), flush=True)
            below, above = bounds(found, draws)
            print(f"covers from {above:.2f} islands on, at {below:.2f} it does not")
            wrong += below > of_islands(ISLANDS)
    print(f"in use: {of_islands(ISLANDS)}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), [int(n) for n in sys.argv[2:]]))
