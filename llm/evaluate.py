"""How good a policy is, on prompts that it was not trained on, and how far it has moved.

    reward      E_{y ~ pi}[r(x, y)]               beside its length, and ROUGE-L where people wrote a summary
    KL          E_{y ~ pi}[log pi(y|x)/ref(y|x)]  from the same samples: unbiased, and may be negative
    entropy     E_{y ~ pi}[-log pi(y|x)]          in nats a completion
    win rate    P(r of one > r of the other)      on the same prompts, a tie counts one half

Every mean comes with its 95 % interval over prompts, mean +- 1.96 sd / sqrt(N).  Two policies sampled with
the same noise are compared prompt by prompt: the interval of a difference is that of the paired
differences.  A share of wins has Wilson's interval, which says something of 10 wins out of 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm.decode import SEQUENCES, sample_completions, uniform_noise
from llm.generate import sampled_ids, texts_of
from llm.log_probs import sequence_log_probs
from llm.rewards import Floats, Reward, rouge_l, score
from llm.tokens import pad

NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its 95 % interval.

    Example:
        >>> estimate(np.array([0.0, 1.0, 2.0, 1.0])).mean
        1.0
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(values: Floats) -> Estimate:
    """The mean of one number a prompt, and its 95 % interval.

    Raises:
        ValueError: there are fewer than two prompts.
    """
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

    Args:
        model, reference: with the tokenizer's vocabulary.
        rows: rows of `encode`; their completions are what people wrote.
        tokenizer: of both models.
        reward: of texts, see `llm.rewards`.
        max_new_tokens: longest completion.
        seed: of the noise: policies evaluated with one seed differ only by what they are.
    """
    texts: list[str] = []
    log_probs: list[Floats] = []
    reference_log_probs: list[Floats] = []
    for start in range(0, len(rows), SEQUENCES):
        batch = rows.select(range(start, min(start + SEQUENCES, len(rows))))
        x, x_real = (t.to(model.device) for t in pad(list(batch["prompt_ids"])))
        noise = uniform_noise([seed], range(start, start + len(batch)), 1, max_new_tokens)
        decoded = sample_completions(model, x, x_real, noise, eos_token_id=tokenizer.eos_token_id)
        texts += texts_of([ids for (ids,) in sampled_ids(decoded)], tokenizer)
        with torch.no_grad():
            masks = {"prompt_mask": x_real, "completion_mask": decoded.mask}
            own = sequence_log_probs(model, x, decoded.tokens, **masks)
            its = own if reference is model else sequence_log_probs(reference, x, decoded.tokens, **masks)
        for scored, found in ((own, log_probs), (its, reference_log_probs)):
            found.append(scored[:, 0].double().cpu().numpy())
    prompts = list(rows["prompt"])
    references = list(rows["completion"]) if "completion" in rows.column_names else None
    scores = score(reward, prompts, texts, references)
    log_prob, log_reference = np.concatenate(log_probs), np.concatenate(reference_log_probs)
    rouge = None if references is None else rouge_l(prompts, texts, references)
    return Outcome(texts, scores.reward, scores.length, log_prob - log_reference, log_prob, rouge)


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
    return Share(mean, center - half, center + half, ties, N)


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
