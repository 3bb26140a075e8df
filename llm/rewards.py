"""What is good: a reward of each completion, and always its length beside it.

A reward is any callable `reward(prompts, completions, references) -> N numbers` of three lists of N
texts; `references` is None where nobody wrote one.  Write your own (unit tests of generated code, a
rule, a service), take one of these, or add several up by `weighted_sum`.

Human comparisons favour long answers, and a policy learns that first: a reward without its length
cannot be read.  Hence `score` returns both.  A completion that ran out of room is a `CutOff`: rewards
that look at more than its text can tell it from one that has come to its end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from rouge_score.rouge_scorer import RougeScorer
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from llm.head import unwrapped
from llm.layouts import alike
from llm.model import load_config, load_tokenizer, load_weights
from llm.padding import check_context
from llm.rule import rule
from llm.shared_prefix import FEW, shared_prefix_outputs, takes_shared_prefix
from llm.tokens import pad, token_ids

Texts = Sequence[str]
Floats = NDArray[np.float64]
ROUGE = RougeScorer(["rougeL"], use_stemmer=True)
Reward = Callable[[Texts, Texts, Texts | None], ArrayLike]


class CutOff(str):
    """The text of a completion that ran out of room, without end-of-sequence; any other has ended."""


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


@dataclass(frozen=True, eq=False)
class Scorer:
    """A learned reward r(x, y): a language model's last state through one linear unit.

    Trained on preferences as p(y beats y') = sigmoid(r(x, y) - r(x, y'))  (Bradley-Terry, T0.2): only
    differences between completions of one prompt mean anything.  It reads end-of-sequence behind a
    completion, unless that is a `CutOff`.
    """

    model: PreTrainedModel  # AutoModelForSequenceClassification with one label
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 32

    def __call__(self, prompts: Texts, completions: Texts, references: Texts | None = None) -> Floats:
        if not hasattr(self.model, "score"):  # an encoder, whose tokenizer puts what it needs around texts
            both = [x + y for x, y in zip(prompts, completions, strict=True)]
            texts = token_ids(self.tokenizer, both, prompts=True)
        else:
            once = list(dict.fromkeys(prompts))
            ids_of = dict(zip(once, token_ids(self.tokenizer, once, prompts=True), strict=True))
            x = [ids_of[text] for text in prompts]
            y = token_ids(self.tokenizer, completions, prompts=False)
            end = [[] if isinstance(text, CutOff) else [self.tokenizer.eos_token_id] for text in completions]
            y = [ids + last for ids, last in zip(y, end, strict=True)]
            if takes_shared_prefix(self.model) and all(x):
                return _behind_prompts(self, x, y)
            texts = [ids + its for ids, its in zip(x, y, strict=True)]
        return _outputs(self, [{"input_ids": ids} for ids in texts])[:, 0]


@dataclass(frozen=True, eq=False)
class Entailment:
    """log p(the prompt entails the completion), by a model of natural-language inference.

    As a reward for summaries that are faithful: Roit 2023, arXiv:2306.00186.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 32

    def __call__(self, prompts: Texts, completions: Texts, references: Texts | None = None) -> Floats:
        labels = {label.lower(): index for index, label in self.model.config.id2label.items()}
        entails = [index for label, index in labels.items() if label.startswith("entail")]
        if len(entails) != 1:
            raise ValueError(
                f"an entailment model must have one label 'entailment', but has {sorted(labels)}; "
                "take a model of natural-language inference"
            )
        pairs = self.tokenizer(list(prompts), list(completions), split_special_tokens=True)
        names = [name for name in ("input_ids", "token_type_ids") if name in pairs]
        texts = [{name: pairs[name][i] for name in names} for i in range(len(prompts))]
        logits = _outputs(self, texts)
        return torch.from_numpy(logits).log_softmax(-1)[:, entails[0]].numpy()


def load_scorer(name: str, *, fresh: bool = False) -> Scorer:
    """A reward model by hub id or folder; with `fresh`, one to be trained, from a causal language model.

    Raises:
        ValueError: it cannot be loaded, or has not exactly one output.
    """
    config = load_config(name)
    if fresh:
        config.num_labels = 1
    if config.num_labels != 1:
        outputs = config.num_labels
        raise ValueError(f"a reward model must have 1 output, but {name!r} has {outputs}; train one")
    return Scorer(*_loaded(name, config, ("score.weight",) if fresh else ()))


def load_entailment(name: str) -> Entailment:
    """A model of natural-language inference by hub id or folder; ValueError if it cannot be loaded."""
    return Entailment(*_loaded(name, load_config(name)))


def _loaded(name: str, config: PreTrainedConfig, new_weights: tuple[str, ...] = ()) -> tuple[Any, Any]:
    tokenizer = load_tokenizer(name, config)
    model = load_weights(AutoModelForSequenceClassification, name, config, new_weights=new_weights)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


@torch.no_grad()
def _behind_prompts(judge: Scorer, x: Sequence[list[int]], y: Sequence[list[int]]) -> Floats:
    """The scores of completions y of prompts x, (N,): some of one prompt stand behind it together."""
    lengths = _lengths(judge, [ids + its for ids, its in zip(x, y, strict=True)])
    runs = (list(run) for _, run in groupby(range(len(x)), key=lambda i: x[i]))
    rows = [run[i : i + FEW] for run in runs for i in range(0, len(run), FEW)]
    rows.sort(key=lambda row: int(lengths[row].sum()))  # rows of one length make little padding
    k, device, found = max(map(len, rows)), judge.model.device, np.empty(len(x))
    size = max(judge.batch_size // k, 1)
    for batch in (rows[i : i + size] for i in range(0, len(rows), size)):
        filled = [[y[i] for i in row] + [[]] * (k - len(row)) for row in batch]
        padded = (*pad([x[row[0]] for row in batch]), *pad(sum(filled, [])))
        px, x_real, py, y_real = (each.to(device) for each in padded)
        texts = (each.unflatten(0, (len(batch), k)) for each in (py, y_real))
        scores = shared_prefix_outputs(judge.model, px, x_real, *texts)
        for row, its in zip(batch, scores[..., 0].double().cpu().numpy(), strict=True):
            found[row] = its[: len(row)]
    return found


def _lengths(judge: Scorer | Entailment, texts: Sequence[list[int]]) -> Tensor:
    """How many tokens each text has, if all of them fit into the model."""
    lengths = torch.tensor([len(ids) for ids in texts])
    check_context(
        judge.model.config, lengths, "text", "shorten the prompts", judge.tokenizer.model_max_length
    )
    return lengths


@torch.no_grad()
def _outputs(judge: Scorer | Entailment, texts: Sequence[dict[str, list[int]]]) -> Floats:
    """The classifier's outputs for texts as it takes them, (N, labels)."""
    model, size = judge.model, judge.batch_size
    lengths = _lengths(judge, [text["input_ids"] for text in texts])
    found, order = [], lengths.argsort(stable=True)  # texts of one length make little padding
    for batch in ([texts[i] for i in places] for places in order.split(size)):
        inputs = {name: pad([text[name] for text in batch])[0].to(model.device) for name in batch[0]}
        mask = pad([text["input_ids"] for text in batch])[1].to(model.device)
        found.append(classified(model, mask, **inputs).double().cpu().numpy())
    return np.asarray(np.concatenate(found)[order.argsort().numpy()])


def classified(model: nn.Module, mask: Tensor, **inputs: Tensor) -> Tensor:
    """A classifier's outputs, (B, labels), a causal one's at the last real token of each row.

    transformers looks for the last token that is not padding, and where padding is end-of-sequence, as
    with GPT-2, it looks past the end.  Here the mask (B, T) says which is the last; padding is behind.
    """
    last = mask.sum(1) - 1
    rows = torch.arange(len(last), device=last.device)

    def take(_: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        return (arguments[0][rows, last][:, None].expand_as(arguments[0]),)

    head = getattr(unwrapped(model), "score", None)  # an encoder has none, and reads its first token
    handle = None if head is None else head.register_forward_pre_hook(take)
    try:
        return model(**inputs, attention_mask=mask.long()).logits
    finally:
        if handle is not None:
            handle.remove()
