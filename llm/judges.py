"""Who judges?  Models that read a prompt and a completion: a learned reward, and whether one follows.

Completions of one prompt are read behind it together (`llm.shared_prefix`), where the architecture is known;
any other reads each text whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bandits.checks import Floats
from llm.head import unwrapped
from llm.model import load_config, load_tokenizer, load_weights
from llm.padding import check_context
from llm.shared_prefix import FEW, shared_prefix_outputs, takes_shared_prefix
from llm.tokens import pad, token_ids

Texts = Sequence[str]


class CutOff(str):
    """The text of a completion that ran out of room, without end-of-sequence; any other has ended."""


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
