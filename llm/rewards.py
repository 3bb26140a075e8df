"""What is good: a reward of each completion, and always its length beside it.

A reward is any callable `reward(prompts, completions, references) -> N numbers` of three lists of N
texts; `references` is None where nobody wrote one.  Write your own (unit tests of generated code, a
rule, a service), take one of these, or add several up by `weighted_sum`.

Human comparisons favour long answers, and a policy learns that first: a reward without its length
cannot be read.  Hence `score` returns both.  A completion that ran out of room is a `CutOff` (`llm.judges`):
rewards that look at more than its text can tell it from one that has come to its end.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from rouge_score.rouge_scorer import RougeScorer

from bandits.checks import Floats
from llm.judges import Texts, load_entailment, load_scorer
from llm.layouts import alike
from llm.model import load_config
from llm.rule import rule

ROUGE = RougeScorer(["rougeL"], use_stemmer=True)
Reward = Callable[[Texts, Texts, Texts | None], ArrayLike]


class Scores(NamedTuple):
    """A reward, and the length in words of what it was given for."""

    reward: Floats  # (N,)
    length: Floats  # (N,)


def score(reward: Reward, prompts: Texts, completions: Texts, references: Texts | None = None) -> Scores:
    """The reward of each completion, with its length.

    Raises:
        ValueError: the lists differ in length, or the reward is not N finite numbers.
    """
    for name, texts in (("completions", completions), ("references", references)):
        if texts is not None and len(texts) != len(prompts):
            raise ValueError(f"{name} must be as many as prompts ({len(prompts)}), but are {len(texts)}")
    rewards = np.array(reward(prompts, completions, references), dtype=np.float64)
    if rewards.shape != (len(prompts),):
        raise ValueError(f"a reward must give one number a text ({len(prompts)},), but gave {rewards.shape}")
    bad = np.flatnonzero(~np.isfinite(rewards))
    if bad.size:
        text = completions[bad[0]]
        raise ValueError(
            f"rewards must be finite, but rewards[{bad[0]}] = {rewards[bad[0]]} for {text!r:.60}"
        )
    return Scores(rewards, length(prompts, completions, references))


def rouge_l(prompts: Texts, completions: Texts, references: Texts | None) -> Floats:
    """ROUGE-L of each completion against its reference: F-measure of the longest common subsequence.

    Words are lower-cased and stemmed.  Lin 2004, as in the package rouge-score.

    Example:
        >>> rouge_l([""], ["the cat sat"], ["the cat"])  # precision 2/3, recall 1
        array([0.8])
    """
    if references is None:
        raise ValueError(
            "rouge_l compares with references, but references is None; give a text for each prompt"
        )
    pairs = zip(references, completions, strict=True)
    return np.array([ROUGE.score(target, text)["rougeL"].fmeasure for target, text in pairs])


def length(prompts: Texts, completions: Texts, references: Texts | None) -> Floats:
    """Words of each completion."""
    return np.array([len(text.split()) for text in completions], dtype=np.float64)


def coverage(prompts: Texts, completions: Texts, references: Texts | None) -> Floats:
    """Share of the completion's words that lie in fragments copied from the prompt, (1/|S|) sum |f|.

    Eq. (1), Grusky 2018, arXiv:1804.11283.
    """
    return _copied(prompts, completions, 1)


def density(prompts: Texts, completions: Texts, references: Texts | None) -> Floats:
    """Mean length of the copied fragment that a word of the completion lies in, (1/|S|) sum |f|^2.

    Eq. (2), Grusky 2018, arXiv:1804.11283.
    """
    return _copied(prompts, completions, 2)


def _copied(prompts: Texts, completions: Texts, power: int) -> Floats:
    pairs = [(x.lower().split(), y.lower().split()) for x, y in zip(prompts, completions, strict=True)]
    return np.array([sum(n**power for n in fragments(x, y)) / max(len(y), 1) for x, y in pairs])


def fragments(source: Sequence[str], summary: Sequence[str]) -> list[int]:
    """Lengths of the fragments that the summary shares with the source, longest first match.

    Figure 3, Grusky 2018, arXiv:1804.11283: walk along the summary, take the longest run of words that
    also stands somewhere in the source, and go on behind it.
    """
    places: dict[str, list[int]] = {}
    for i, word in enumerate(source):
        places.setdefault(word, []).append(i)
    sizes, at = [], 0
    while at < len(summary):
        longest = max((alike(source[i:], summary[at:]) for i in places.get(summary[at], [])), default=0)
        if longest:
            sizes.append(longest)
        at += max(longest, 1)
    return sizes


def weighted_sum(*terms: tuple[float, Reward]) -> Reward:
    """sum_i weight_i * reward_i(y), for example `weighted_sum((1.0, rouge_l), (-0.01, length))`."""

    def total(prompts: Texts, completions: Texts, references: Texts | None) -> Floats:
        each = [weight * score(reward, prompts, completions, references).reward for weight, reward in terms]
        return np.sum(each, axis=0)

    return total


NAMED: dict[str, Reward] = {"rouge_l": rouge_l, "length": length, "coverage": coverage, "density": density}
NAMED["rule"] = rule


def reward_named(*terms: str) -> Reward:
    """The sum of rewards by name or name=weight: of `NAMED`, or the hub id or folder of a model that judges.

    Raises:
        ValueError: a weight is no number, or nothing can be loaded under a name.

    Example:
        >>> reward_named("length", "coverage=-2")(["the cat sat"], ["the cat"], None)
        array([0.])
    """
    return weighted_sum(*(_weighted(term) for term in terms))


def name_and_weight(term: str) -> tuple[str, str]:
    """What stands before and behind the last = of a term; a file or folder that is there is a name."""
    name, equals, weight = ("", "", "") if Path(term).exists() else term.rpartition("=")
    return (name, weight) if equals else (term, "")


def _weighted(term: str) -> tuple[float, Reward]:
    name, weight = name_and_weight(term)
    try:
        factor = float(weight or 1)
    except ValueError as error:
        raise ValueError(
            f"a reward must be name or name=weight, but is {term!r}; the weight is no number"
        ) from error
    if name in NAMED:
        return factor, NAMED[name]
    labels = load_config(name).id2label.values()
    entails = any(label.lower().startswith("entail") for label in labels)
    return factor, load_entailment(name) if entails else load_scorer(name)
