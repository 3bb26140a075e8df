"""What could a policy have had at most, on the prompts that it is evaluated on?

    frontier    pi* of a range of beta: reward and KL, from n samples of the reference at each prompt
    annealed    pi* of smaller beta, from chains that are led there, where it was asked for
    best of n   from the same samples, where both have ended: nearly as good, with no beta
    regret      J*(beta) - J(pi), of every policy whose folder tells its beta, prompt by prompt

Numbers are those of `llm.frontier`; NaN, which is a gap, is written as null.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bandits.checks import Floats
from llm.chains import Renewal
from llm.evaluate import Outcome
from llm.files import read_json
from llm.frontier import Annealed, anneal, best_of, frontier, regret
from llm.frontier.annealed import of_islands
from llm.frontier.optimum import of_mean, scored
from llm.frontier.regret import regret_below
from llm.generate import Sampling, scored_rows
from llm.rewards import Reward
from llm.run_folder import SETTINGS

POINTS = 25  # betas
REACH = 8.0  # the largest beta, in standard deviations of the reward at a prompt: a KL of less than .01
STEEP = 0.25  # the smallest, likewise
CHAINS, RUNGS = 16, 16  # of each prompt; betas of the ladder they are led down
LOWEST = 1 / 6  # the smallest beta of the ladder, likewise


def reference_rewards(
    reference: PreTrainedModel,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    reward: Reward,
    *,
    samples: int,
    max_new_tokens: int,
    seed: int,
) -> Floats:
    """Rewards of so many completions of the reference at each prompt, (prompts, samples)."""
    drawn = Sampling(samples, max_new_tokens, seed)
    found = scored_rows(rows, reference, tokenizer, reward, drawn, reference)
    return np.array([row["rewards"] for row in found])


def annealed(
    reference: PreTrainedModel,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    reward: Reward,
    *,
    moves: int,
    max_new_tokens: int,
    seed: int,
    betas: Iterable[float] = (),
) -> Annealed:
    """16 chains of each prompt, led down a ladder with so many moves at each beta; other `betas` join it.

    1/beta rises to 6 per standard deviation of the reward at a prompt, in steps that are small at first.
    """
    renewal, rng = Renewal(reference, rows.to_list(), tokenizer, reward), np.random.default_rng([seed, 0])
    start = renewal.start(CHAINS, max_new_tokens, rng)
    ladder = _spread(start.reward) * LOWEST * (RUNGS / np.arange(1, RUNGS + 1)) ** 1.5
    more = [beta for beta in betas if ladder[-1] < beta < ladder[0]]
    return anneal(start, renewal, np.unique([*ladder, *more])[::-1], moves=moves, seed=seed)


def possible(rewards: Floats, chains: Annealed | None = None) -> dict[str, Any]:
    """The frontier and the best of n of samples of the reference, as numbers for a file.

    The range of beta is that of the rewards: from 8 to 1/4 of their standard deviation at a prompt, and what
    chains were led to.
    """
    n = scored(rewards).shape[1]
    curve = frontier(rewards, _spread(rewards) * np.geomspace(REACH, STEEP, POINTS))
    best = best_of(rewards, [2**i for i in range(max(int(np.log2(n)) - 1, 1))])
    found: dict[str, Any] = {
        "samples": n,
        "least_ess": of_mean(n),
        "frontier": {name: _written(values) for name, values in vars(curve).items()},
        "best_of_n": {name: _written(values) for name, values in vars(best).items()},
    }
    if chains is not None:
        islands = chains.log_z.shape[-1]
        led = {name: _written(values) for name, values in vars(chains.frontier()).items()}
        more = {"taken": chains.taken.tolist(), "islands": islands, "least_ess": of_islands(islands)}
        found["annealed"] = led | more
    return found


def regret_of(
    rewards: Floats, beta: float, outcome: Outcome, chains: Annealed | None = None
) -> dict[str, Any]:
    """The policy's regret at its beta, with its interval; null where too few samples count.

    Where those of the reference do not, and chains were led to this beta, against what these found.
    """
    found, ess = regret(rewards, beta, outcome.reward, outcome.log_ratio), frontier(rewards, [beta]).ess[0]
    told = {"ess": float(ess), "samples": rewards.shape[1]}
    if np.isnan(found.mean) and chains is not None and beta in chains.beta:
        i, curve = int(np.flatnonzero(chains.beta == beta)[0]), chains.frontier()
        told |= {"islands": chains.log_z.shape[-1], "effective_islands": float(curve.ess[i])}
        if np.isfinite(curve.reward[i]):
            found = regret_below(chains.value().value[i], beta, outcome.reward, outcome.log_ratio)
    numbers = {name: _written(np.array([value]))[0] for name, value in vars(found).items()}
    return {"beta": beta, **numbers, **told}


def beta_of(model: str) -> float | None:
    """The beta that `align` wrote beside a policy, None where it did not."""
    path = Path(model).parent / SETTINGS
    found = read_json(path).get("beta") if path.is_file() else None
    return float(found) if isinstance(found, int | float) and found > 0 else None


def _spread(rewards: Floats) -> float:
    """Standard deviation of the reward at a prompt; 1 where all are equal."""
    return float(np.sqrt(rewards.var(axis=1, ddof=1).mean())) or 1.0


def _written(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
