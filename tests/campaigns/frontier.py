"""A campaign: from how many effective samples on do the intervals of the frontier cover?

    python tests/campaigns/frontier.py 400 64 256 1024

For every kind of world and every n: `draws` times n samples of each of 100 prompts, whose frontier over 2000
answers is computed by enumeration, and whether the 95 % intervals of reward and KL cover, of the mean over
prompts, and in every fourth draw, which has a new world, of each prompt. Prints one line a beta, with the
effective samples in units of sqrt(n), and for each n the bound: all betas at and above it cover in 90 to 98 %
of the draws, as far as so many can tell. Exits 1 if the bound in use is lower. A sample runs among the tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bandits import Bandit
from bandits.checks import Floats
from bandits.policy import kl, tilt
from llm.frontier import Frontier, Optimum, frontier, optimum
from llm.frontier.optimum import OF_MEAN, OF_PROMPT

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
    of_mean: tuple[float, float, float]  # effective samples of the mean in sqrt(n); reward, KL
    of_prompt: tuple[float, float, float]  # share of the prompts that are drawn; reward, KL of these


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
            means.append([truth[:, 1].mean(-1), curve.ess / np.sqrt(n), *_covers(curve, truth.mean(-1))])
            if not again:
                one = optimum(reward, betas, min_ess=1, **by)
                each.append([one.ess / np.sqrt(n), *_covers(one, truth)])
    of_mean, of_prompt = (
        np.array(means).mean(0),
        np.moveaxis(np.array(each), 1, 0),
    )  # (4, B); (3, draws, B, P)
    found = []
    for i, beta in enumerate(betas):
        ess, *covers = of_prompt[:, :, i]
        passed = ess >= OF_PROMPT
        share = [float(x[passed].mean()) if passed.any() else np.nan for x in covers]
        divergence, effective, *both = (float(x) for x in of_mean[:, i])
        rows = ((effective, *both), (float(passed.mean()), *share))
        found.append(Coverage(float(beta), divergence, *rows))
    return found


def _covers(found: Frontier | Optimum, truth: Floats) -> list[Floats]:
    reward, divergence = np.moveaxis(truth, 1, 0)
    pairs = ((found.reward, reward, found.reward_se), (found.kl, divergence, found.kl_se))
    return [abs(value - right) <= NORMAL_95 * se for value, right, se in pairs]


def bound(found: Sequence[Coverage], draws: int) -> float:
    """The smallest size, in sqrt(n), from which on the mean covers, within two binomial errors."""
    room = 2 * np.sqrt(LOW * (1 - LOW) / draws)
    least = np.inf
    for each in sorted(found, key=lambda c: -c.of_mean[0]):
        if not all(LOW - room <= share <= HIGH + room for share in each.of_mean[1:]):
            break
        least = each.of_mean[0]
    return least


def main(draws: int, sizes: Sequence[int]) -> int:
    """The tables; how many bounds in use are too low."""
    wrong = 0
    for n in sizes:
        bounds = {}
        for kind in KINDS:
            found = coverage(kind, n, draws)
            print(f"\n{kind.name}, n = {n}, {draws} draws of {PROMPTS} prompts")
            print("  beta    KL | ess/sqrt(n)  reward    KL | prompts above  reward    KL")
            for each in found:
                mean = "{:11.2f}  {:6.3f} {:5.3f}".format(*each.of_mean)
                prompt = "{:13.3f}  {:6.3f} {:5.3f}".format(*each.of_prompt)
                print(f"{each.beta:6.2f} {each.kl:5.2f} | {mean} | {prompt}", flush=True)
            bounds[kind.name] = bound(found, draws)
            wrong += bounds[kind.name] > OF_MEAN
        for name, least in bounds.items():
            print(f"n = {n}: the mean over prompts covers from {least:.2f} sqrt(n) on: {name}", flush=True)
    print(f"in use: {OF_MEAN} sqrt(n) of a mean, {OF_PROMPT} sqrt(n) of a prompt; {wrong} too low")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), [int(n) for n in sys.argv[2:]]))
