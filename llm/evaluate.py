"""How good a policy is, on prompts that it was not trained on, and how far it has moved.

    reward      E_{y ~ pi}[r(x, y)]               beside its length, and ROUGE-L where people wrote a summary
    KL          E_{y ~ pi}[log pi(y|x)/ref(y|x)]  from the same samples: unbiased, and may be negative
    entropy     E_{y ~ pi}[-log pi(y|x)]          in nats a completion
    win rate    P(r of one > r of the other)      on the same prompts, a tie counts one half

Every mean comes with its 95 % interval over prompts, mean +- 1.96 sd / sqrt(N).  Two policies sampled with
the same noise are compared prompt by prompt: the interval of a difference is that of the paired
differences.  A share of wins has Wilson's interval, which says something of 10 wins out of 10.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm.generate import Sampling, scored_rows
from llm.rewards import Floats, Reward, rouge_l

NORMAL_95 = 1.959964
PROMPTS = "prompts.json"  # every completion and its numbers, beside the means of metrics.json


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(values: Floats) -> Estimate:
    """The mean of one number for each of at least two prompts, and its 95 % interval."""
    if len(values) < 2:
        raise ValueError(f"an interval takes at least 2 prompts, but there are {len(values)}; evaluate more")
    mean, half = float(values.mean()), NORMAL_95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


@dataclass(frozen=True, eq=False)
class Outcome:
    """One sampled completion of each held-out prompt, and its numbers, (N,) each."""

    completions: list[str] = field(repr=False)
    reward: Floats
    length: Floats
    log_ratio: Floats  # log pi/ref of the completion
    log_prob: Floats
    rouge: Floats | None  # where people wrote a completion

    def estimates(self) -> dict[str, Estimate]:
        """reward, length (words), kl, entropy and rouge, each with its interval."""
        found = {
            "reward": estimate(self.reward),
            "length": estimate(self.length),
            "kl": estimate(self.log_ratio),
            "entropy": estimate(-self.log_prob),
        }
        return found if self.rouge is None else found | {"rouge": estimate(self.rouge)}

    def each(self) -> dict[str, list[Any]]:
        """completion, reward, length and log_ratio of each prompt, for a file."""
        numbers = {name: getattr(self, name).tolist() for name in ("reward", "length", "log_ratio")}
        return {"completion": self.completions} | numbers


def evaluate(
    model: PreTrainedModel,
    reference: PreTrainedModel,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    reward: Reward,
    *,
    max_new_tokens: int,
    seed: int,
) -> Outcome:
    """Sample one completion of each prompt, score it, and measure how far the policy is from the reference.

    Rows are those of `encode`; their completions are what people wrote.  Policies evaluated with one seed
    differ only by what they are.
    """
    found = scored_rows(rows, model, tokenizer, reward, Sampling(1, max_new_tokens, seed), reference)
    texts = [row["completions"][0] for row in found]
    names = ("rewards", "lengths", "behavior_log_probs", "reference_log_probs")
    rewards, lengths, own, its = np.array([[row[name][0] for row in found] for name in names])
    rouge = None
    if "reference" in found[0]:
        rouge = rouge_l([row["prompt"] for row in found], texts, [row["reference"] for row in found])
    return Outcome(texts, rewards, lengths, own - its, own, rouge)


@dataclass(frozen=True)
class Share(Estimate):
    """How often one of two is better, a tie counting one half, with its 95 % interval."""

    ties: int
    of: int

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.ties} of {self.of} tied"


def preferred(one: Floats, other: Floats) -> Share:
    """How often a number is larger than another: accuracy of a reward, win rate of a policy.

    The interval holds every p that the data do not speak against, (mean - p)^2 <= 1.96^2 v(p) / N with the
    variance v(p) = p (1 - p) - ties / 4N of a win, a loss or a tie.  Without ties it is Wilson's (1927).

    Example:
        >>> str(preferred(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 5.0, 4.0])))
        '0.625 [0.267, 0.860], 1 of 4 tied'
    """
    N, ties = len(one), int((one == other).sum())
    mean, spread = (int((one > other).sum()) + ties / 2) / N, NORMAL_95**2 / N
    center = (mean + spread / 2) / (1 + spread)
    half = math.sqrt(max(center**2 - (mean**2 + spread * ties / (4 * N)) / (1 + spread), 0.0))
    low, high = max(center - half, 0.0), min(center + half, 1.0)  # rounding leaves [0, 1]
    return Share(mean, low, high, ties, N)


def win_rate(one: Outcome, other: Outcome) -> Share:
    """How often one policy's completion has the higher reward."""
    return preferred(one.reward, other.reward)


def improvement(one: Outcome, other: Outcome) -> Estimate:
    """Mean difference of rewards, prompt by prompt."""
    return estimate(one.reward - other.reward)


def sample_table(rows: Dataset, outcomes: Mapping[str, Outcome], count: int = 10) -> str:
    """Completions side by side, to be read: Markdown, one prompt after another."""
    lines = []
    for i in range(min(count, *(len(outcome.completions) for outcome in outcomes.values()))):
        lines += [f"## Prompt {i + 1}", "", *(f"> {line}" for line in rows[i]["prompt"].splitlines()), ""]
        if "completion" in rows.column_names:
            lines.append(f"- **written by people**: {rows[i]['completion'].strip()}")
        for name, outcome in outcomes.items():
            lines.append(f"- **{name}** ({outcome.reward[i]:+.2f}): {outcome.completions[i].strip()}")
        lines.append("")
    return "\n".join(lines)
