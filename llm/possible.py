"""What could a policy have had at most, on the prompts that it is evaluated on?

    frontier    pi* of a range of beta: reward and KL, from n samples of the reference at each prompt
    best of n   from the same samples, where the frontier has run out of them: nearly as good, with no beta
    regret      J*(beta) - J(pi), of every policy whose folder tells its beta, prompt by prompt

Numbers are those of `llm.frontier`; NaN, which is a gap, is written as null.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm.evaluate import Outcome
from llm.files import read_json
from llm.frontier import best_of, frontier, regret
from llm.frontier.optimum import of_mean, scored
from llm.generate import Sampling, scored_rows
from llm.rewards import Floats, Reward
from llm.run_folder import SETTINGS

POINTS = 25  # betas
REACH = 8.0  # the largest beta, in standard deviations of the reward at a prompt: a KL of less than .01
STEEP = 0.25  # the smallest, likewise


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


def possible(rewards: Floats) -> dict[str, Any]:
    """The frontier and the best of n of samples of the reference, as numbers for a file.

    The range of beta is that of the rewards: from 8 to 1/4 of their standard deviation at a prompt.
    """
    n = scored(rewards).shape[1]
    spread = float(np.sqrt(rewards.var(axis=1, ddof=1).mean())) or 1.0
    curve = frontier(rewards, spread * np.geomspace(REACH, STEEP, POINTS))
    best = best_of(rewards, [2**i for i in range(max(int(np.log2(n)) - 1, 1))])
    return {
        "samples": n,
        "least_ess": of_mean(n),
        "frontier": {name: _written(values) for name, values in vars(curve).items()},
        "best_of_n": {name: _written(values) for name, values in vars(best).items()},
    }


def regret_of(rewards: Floats, beta: float, outcome: Outcome) -> dict[str, Any]:
    """The policy's regret at its beta, with its interval; null where too few samples count."""
    found = regret(rewards, beta, outcome.reward, outcome.log_ratio)
    ess = float(frontier(rewards, [beta]).ess[0])
    numbers = {name: _written(np.array([value]))[0] for name, value in vars(found).items()}
    return {"beta": beta, **numbers, "ess": ess, "samples": rewards.shape[1]}


def beta_of(model: str) -> float | None:
    """The beta that `align` wrote beside a policy, None where it did not."""
    path = Path(model).parent / SETTINGS
    found = read_json(path).get("beta") if path.is_file() else None
    return float(found) if isinstance(found, int | float) and found > 0 else None


def _written(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
