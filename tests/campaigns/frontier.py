"""A campaign: from how many effective samples on do the intervals of the frontier cover?

    python tests/campaigns/frontier.py 400 64 256 1024

For every kind of world and every n: `draws` times n samples of each of 100 prompts, whose frontier over 2000
answers is computed by enumeration, and whether the 95 % intervals of reward and KL cover, of the mean over
prompts, and in every fourth draw, which has a new world, of each prompt. Prints one line a beta, with the
effective samples, and for each n from how many on all betas cover in 90 to 98 % of the draws, as far as so
many can tell; and the best of n.  Exits 1 if the bound in use is lower. A sample runs among the tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bandits import Bandit
from bandits.checks import Floats
from bandits.policy import kl, tilt
from bandits.selection import log_best_of_n
from llm.frontier import Frontier, Optimum, best_of, frontier, optimum
from llm.frontier.optimum import of_mean, of_prompt

BETAS = np.geomspace(0.6, 8.0, 9)
NORMAL_95 = 1.959964
LOW, HIGH = 0.90, 0.98
ARMS, PROMPTS, AGAIN = 2000, 100, 4

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]
REWARDS: dict[str, Draw] = {  # of standard deviation 1, before each prompt's own scale
    "normal": lambda rng, shape: rng.normal(size=shape),
    "a rule, 9 levels": lambda rng, shape: rng.binomial(8, 0.5, size=shape) / np.sqrt(2),
    "a rule, bounded": lambda rng, shape: rng.beta(2.0, 5.0, size=shape) / 0.16,
    "long left tail": lambda rng, shape: -rng.gamma(2.0, size=shape) / np.sqrt(2),
}


@dataclass(frozen=True)
class Kind:
    """A kind of world, and who samples there."""

    name: str
    reward: str = "normal"
    concentration: float = 1.0  # of the reference: .01 puts its mass on some forty answers
    tempered: float = np.inf  # half of the samples are of pi* of this beta

    def world(self, rng: np.random.Generator, shape: tuple[int, int]) -> Bandit:
        """Rewards whose scale is each prompt's own, and a reference, (prompts, arms)."""
        prompts, _ = shape
        scale = np.exp(0.4 * rng.normal(size=(prompts, 1)))
        reward = rng.normal(size=(prompts, 1)) + scale * REWARDS[self.reward](rng, shape)
        reference = rng.gamma(self.concentration, size=shape) + 1e-200
        return Bandit(reward, reference=reference / reference.sum(axis=-1, keepdims=True))


KINDS = (
    *(Kind(name, name) for name in REWARDS),
    Kind("few answers", concentration=0.01),
    Kind("half of them of pi* at 1", tempered=1.0),
)


def sampled(kind: Kind, world: Bandit, n: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Rewards of n answers of each prompt, their log-probabilities by the reference and by the sampler."""
    log_ref = np.broadcast_to(world.log_reference, world.needed_reward().shape)
    if kind.tempered == np.inf:
        log_q, parts = log_ref, [(np.exp(log_ref), n)]
    else:
        log_tilted = tilt(log_ref, world.needed_reward(), kind.tempered)
        log_q = np.logaddexp(log_ref, log_tilted) - np.log(2.0)
        parts = [(np.exp(log_ref), n // 2), (np.exp(log_tilted), n - n // 2)]
    arms = np.concatenate([drawn(policy, count, rng) for policy, count in parts], axis=-1)
    reward, own, its = (np.take_along_axis(x, arms, -1) for x in (world.needed_reward(), log_ref, log_q))
    return reward, own, its


def drawn(policy: Floats, n: int, rng: np.random.Generator) -> np.ndarray:
    """n answers of each prompt, (prompts, n)."""
    upto = policy.cumsum(axis=-1)
    uniform = rng.random((len(policy), n)) * upto[:, -1:]
    found = [np.searchsorted(row, u, side="right") for row, u in zip(upto, uniform, strict=True)]
    return np.minimum(np.array(found), policy.shape[1] - 1)


def exact(world: Bandit, beta: float) -> tuple[Floats, Floats]:
    """Reward and KL of pi* at every prompt, by enumeration."""
    log_policy = world.log_optimal_policy(beta)
    reward = (np.exp(log_policy) * world.needed_reward()).sum(axis=-1)
    return reward, kl(log_policy, world.log_reference)


@dataclass(frozen=True)
class Coverage:
    """How often 95 % intervals cover at one beta, and for how many effective samples."""

    beta: float
    kl: float
    mean: tuple[float, float, float]  # effective samples, a harmonic mean; reward, KL
    prompt: tuple[float, float, float]  # share of the prompts that are drawn; reward, KL of these


def coverage(
    kind: Kind,
    n: int,
    draws: int,
    betas: Sequence[float] | Floats = BETAS,
    shape: tuple[int, int] = (PROMPTS, ARMS),
    seed: int = 0,
) -> list[Coverage]:
    """Of every beta, over worlds, prompts and samples drawn anew."""
    rng = np.random.default_rng([seed, n])
    means, each = [], []
    for _ in range(draws // AGAIN):
        world = kind.world(rng, shape)
        truth = np.array([exact(world, float(beta)) for beta in betas])  # (betas, 2, prompts)
        for again in range(AGAIN):
            reward, own, its = sampled(kind, world, n, rng)
            by = {"reference_log_prob": own, "behavior_log_prob": its}
            curve = frontier(reward, betas, min_ess=1, **by)
            means.append([truth[:, 1].mean(-1), curve.ess, *_covers(curve, truth.mean(-1))])
            if not again:
                one = optimum(reward, betas, min_ess=1, **by)
                each.append([one.ess, *_covers(one, truth)])
    of_all, of_each = np.array(means).mean(0), np.moveaxis(np.array(each), 1, 0)  # (4, B); (3, draws, B, P)
    found = []
    for i, beta in enumerate(betas):
        ess, *covers = of_each[:, :, i]
        passed = ess >= of_prompt(n)
        share = [float(x[passed].mean()) if passed.any() else np.nan for x in covers]
        divergence, effective, *both = (float(x) for x in of_all[:, i])
        rows = ((effective, *both), (float(passed.mean()), *share))
        found.append(Coverage(float(beta), divergence, *rows))
    return found


def _covers(found: Frontier | Optimum, truth: Floats) -> list[Floats]:
    reward, divergence = np.moveaxis(truth, 1, 0)
    pairs = ((found.reward, reward, found.reward_se), (found.kl, divergence, found.kl_se))
    return [abs(value - right) <= NORMAL_95 * se for value, right, se in pairs]


def best_coverage(kind: Kind, n: int, draws: int, seed: int = 0) -> list[tuple[int, float, float]]:
    """The best of 2, 4, ... n/4: how often the interval of the reward covers, and the bias of the KL."""
    rng = np.random.default_rng([seed, n])
    sizes, covers, off = [2**i for i in range(1, int(np.log2(n / 4)) + 1)], [], []
    for _ in range(draws // AGAIN):
        world = kind.world(rng, (PROMPTS, ARMS))
        logs = [log_best_of_n(world.needed_reward(), world.reference, size) for size in sizes]
        reward = np.array([(np.exp(each) * world.needed_reward()).sum(-1).mean() for each in logs])
        spent = np.array([kl(each, world.log_reference).mean() for each in logs])
        for _ in range(AGAIN):
            found = best_of(drawn_rewards(world, n, rng), sizes)
            covers.append(abs(found.reward - reward) <= NORMAL_95 * found.reward_se)
            off.append(found.kl - spent)
    return list(zip(sizes, np.mean(covers, axis=0).tolist(), np.mean(off, axis=0).tolist(), strict=True))


def drawn_rewards(world: Bandit, n: int, rng: np.random.Generator) -> Floats:
    """Rewards of n answers of the reference."""
    policy = np.broadcast_to(world.reference, world.needed_reward().shape)
    return np.take_along_axis(world.needed_reward(), drawn(policy, n, rng), -1)


def bounds(found: Sequence[Coverage], draws: int) -> tuple[float, float]:
    """The largest effective sample size that does not cover, within two binomial errors, and the next."""
    room = 2 * np.sqrt(LOW * (1 - LOW) / draws)
    below, above = 0.0, np.inf
    for size, *shares in sorted(each.mean for each in found):
        if all(LOW - room <= share <= HIGH + room for share in shares):
            above = min(above, size)
        else:
            below, above = size, np.inf
    return below, above


def main(draws: int, sizes: Sequence[int]) -> int:
    """The tables; how many bounds in use are too low."""
    wrong = 0
    for n in sizes:
        said = []
        for kind in KINDS:
            found = coverage(kind, n, draws)
            print(f"\n{kind.name}, n = {n}, {draws} draws of {PROMPTS} prompts")
            print("  beta    KL |  ess of mean  reward    KL | prompts drawn  reward    KL")
            for each in found:
                mean = "{:12.1f}  {:6.3f} {:5.3f}".format(*each.mean)
                prompt = "{:13.3f}  {:6.3f} {:5.3f}".format(*each.prompt)
                print(f"{each.beta:6.2f} {each.kl:5.2f} | {mean} | {prompt}", flush=True)
            print("  the best of how many: how often the reward covers, and the bias of the KL in nats")
            print("  " + ", ".join("{}: {:.3f} {:.4f}".format(*row) for row in best_coverage(kind, n, draws)))
            below, above = bounds(found, draws)
            said.append(
                f"n = {n}: the mean covers from {above:.1f} on, at {below:.1f} it does not: {kind.name}"
            )
            wrong += below > of_mean(n)
        print("", *said, f"n = {n}: in use {of_mean(n)} of a mean, {of_prompt(n)} of a prompt", sep="\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), [int(n) for n in sys.argv[2:]]))
