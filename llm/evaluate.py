"""How good a policy is, on prompts that it was not trained on, and how far it has moved.

    reward      E_{y ~ pi}[r(x, y)]               beside its length, and ROUGE-L where people wrote a summary
    KL          E_{y ~ pi}[log pi(y|x)/ref(y|x)]  from the same samples: unbiased, and may be negative
    entropy     E_{y ~ pi}[-log pi(y|x)]          in nats a completion
    win rate    P(r of one > r of the other)      on the same prompts, a tie counts one half

Every mean comes with its 95 % interval over prompts, mean +- 1.96 sd / sqrt(N).  Two policies sampled with
the same noise are compared prompt by prompt: the interval of a difference is that of the paired
differences.  A share of wins has Wilson's interval, which says something of 10 wins out of 10.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bandits.checks import Floats
from llm.files import read_json
from llm.generate import Sampling, scored_rows
from llm.intervals import Interval, Share, interval, preferred
from llm.rewards import Reward, rouge_l

PROMPTS = "prompts.json"  # every completion and its numbers, beside the means of metrics.json


@dataclass(frozen=True, eq=False)
class Outcome:
    """One sampled completion of each held-out prompt, and its numbers, (N,) each."""

    completions: list[str] = field(repr=False)
    reward: Floats
    length: Floats
    log_ratio: Floats  # log pi/ref of the completion
    log_prob: Floats
    rouge: Floats | None  # where people wrote a completion

    def estimates(self) -> dict[str, Interval]:
        """reward, length (words), kl, entropy and rouge, each with its interval."""
        found = {
            "reward": interval(self.reward),
            "length": interval(self.length),
            "kl": interval(self.log_ratio),
            "entropy": interval(-self.log_prob),
        }
        return found if self.rouge is None else found | {"rouge": interval(self.rouge)}

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


def each_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What `evaluate` wrote of every prompt, (P,) each, by the name of the policy's run, or "reference"."""
    found = read_json(folder / PROMPTS)
    return {
        Path(name).parent.name or name: {key: np.array(column) for key, column in columns.items()}
        for name, columns in found.items()
    }


def win_rate(one: Outcome, other: Outcome) -> Share:
    """How often one policy's completion has the higher reward."""
    return preferred(one.reward, other.reward)


def improvement(one: Outcome, other: Outcome) -> Interval:
    """Mean difference of rewards, prompt by prompt."""
    return interval(one.reward - other.reward)


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
