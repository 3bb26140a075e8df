"""Sampled, scored data sets: k completions of each prompt, their rewards and reference log-probabilities.

Written shard by shard as JSON Lines, each shard whole or not at all, so that a run that was killed goes
on where it stopped and ends with the same bytes.  A row holds

    prompt, prompt_ids, completions, completion_ids     as sampled, ids with end-of-sequence if it came
    rewards, lengths                                    k numbers each, lengths in words
    behavior_log_probs, reference_log_probs             k numbers each, summed over tokens
    reference                                           what people wrote, where the prompt came with it

The sampler is the reference itself, and both log-probabilities are the same, unless another is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm.data import load_rows, slices
from llm.decode import SEQUENCES, sample_completions, uniform_noise
from llm.files import read_json, write_json_lines
from llm.judges import CutOff, Texts
from llm.layouts import Row, scored
from llm.log_probs import sequence_log_probs
from llm.negatives import nearest_others
from llm.rewards import Reward, Scores, score
from llm.run_folder import SETTINGS, claimed
from llm.tokens import pad, token_ids

SHARDS = "shards"


@dataclass(frozen=True)
class Sampling:
    """What decides a scored data set, besides the models and the prompts."""

    k: int = 4
    max_new_tokens: int = 48
    seed: int = 0
    shard_size: int = 256

    def __post_init__(self) -> None:
        for name in ("k", "max_new_tokens", "shard_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}")


def write_scored(
    folder: str | Path,
    prompts: Dataset,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    reward: Reward,
    sampling: Sampling,
    *,
    reference: PreTrainedModel | None = None,
    names: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Dataset:
    """Sample, score and write what is not there yet; the whole data set.

    Prompts are rows of `encode`; the reference is the model itself, unless another is given; `names` say what
    else decides the data (model, reward, prompts).

    Raises:
        ValueError, OSError: the folder holds data of other settings or a corrupt shard, or cannot be written
            to; or a reward is not finite.
    """
    folder, size = Path(folder), sampling.shard_size
    starts = range(0, len(prompts), size)
    with claimed(folder, {**asdict(sampling), "prompts": len(prompts), **(names or {})}):
        for number, start in enumerate(tqdm(starts, desc="sampling", unit="shard", disable=not progress)):
            path = folder / SHARDS / f"shard-{number:05d}.jsonl"
            if path.exists():
                continue
            rows = prompts.select(range(start, min(start + size, len(prompts))))
            shard = scored_rows(rows, model, tokenizer, reward, sampling, reference or model, first=start)
            path.parent.mkdir(exist_ok=True)
            write_json_lines(path, shard)
    return read_scored(folder)


def read_scored(folder: str | Path) -> Dataset:
    """The rows of all shards, checked.

    Raises:
        ValueError: a line is corrupt (with file, line and remedy), k varies, or rows are missing.
    """
    folder = Path(folder)
    rows = read_json(folder / SETTINGS).get("prompts") if (folder / SETTINGS).exists() else None
    try:
        found = load_rows(folder / SHARDS, scored).rows
    except ValueError as error:
        raise ValueError(f"{error}  Or delete that shard and sample again: only it is made anew") from error
    if rows not in (None, len(found)):
        raise ValueError(
            f"the shards in {folder} hold {len(found)} rows instead of {rows}; sample again, after deleting "
            "a shard that is too short: only what is missing is made anew"
        )
    return found


@torch.no_grad()
def scored_rows(
    prompts: Dataset,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    reward: Reward,
    sampling: Sampling,
    reference: PreTrainedModel,
    *,
    first: int = 0,
) -> list[dict[str, Any]]:
    """k completions of each prompt, scored; the noise is that of prompts number `first` and on."""
    rows: list[dict[str, Any]] = []
    for start, batch in slices(prompts, max(SEQUENCES // sampling.k, 1)):
        numbers = range(first + start, first + start + len(batch))
        noise = uniform_noise([sampling.seed], numbers, sampling.k, sampling.max_new_tokens)
        x, x_real = (tensor.to(model.device) for tensor in pad([row["prompt_ids"] for row in batch]))
        decoded = sample_completions(model, x, x_real, noise, eos_token_id=tokenizer.eos_token_id)
        given, masks = (x, decoded.tokens), {"prompt_mask": x_real, "completion_mask": decoded.mask}
        behavior = sequence_log_probs(model, *given, **masks).double()
        cached = behavior
        if reference is not model:
            cached = sequence_log_probs(reference, *given, **masks).double()
        for row, ids, own, its in zip(batch, decoded.ids, behavior, cached, strict=True):
            found = {"prompt": row["prompt"], "prompt_ids": row["prompt_ids"]}
            found |= {"completions": texts_of(ids, tokenizer), "completion_ids": ids}
            found |= {"behavior_log_probs": own.tolist(), "reference_log_probs": its.tolist()}
            rows.append(found | ({"reference": row["completion"]} if "completion" in row else {}))
    asked, groups = [row["prompt"] for row in rows], [row["completions"] for row in rows]
    references = [row["reference"] for row in rows] if "reference" in rows[0] else None
    try:
        scores = score_groups(reward, asked, groups, references)
    except ValueError as error:
        raise ValueError(f"in prompts {first} to {first + len(rows) - 1}: {error}") from error
    for row, r, n in zip(rows, scores.reward, scores.length, strict=True):
        row |= {"rewards": r.tolist(), "lengths": n.tolist()}
    return rows


def score_groups(reward: Reward, prompts: Texts, groups: Sequence[Texts], references: Texts | None) -> Scores:
    """Rewards and lengths of k completions of each of B prompts, (B, k)."""
    k = len(groups[0])
    x = [text for text in prompts for _ in range(k)]
    people = None if references is None else [text for text in references for _ in range(k)]
    found = score(reward, x, [y for group in groups for y in group], people)
    return Scores(found.reward.reshape(-1, k), found.length.reshape(-1, k))


def texts_of(ids: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Completions as text, without special tokens; those without end-of-sequence are a `CutOff`."""
    texts = tokenizer.batch_decode([list(y) for y in ids], skip_special_tokens=True)
    ended = [y[-1] == tokenizer.eos_token_id for y in ids]
    return [text if whole else CutOff(text) for text, whole in zip(texts, ended, strict=True)]


def against_samples(rows: Dataset, tokenizer: PreTrainedTokenizerBase, others: int = 0) -> Dataset:
    """What people wrote, each preferred to every sample of its prompt that says something, encoded.

    And to what people wrote for other prompts, so many of the nearest (`llm.negatives`); `rejected_of` tells
    whose the rejected one is, "reference" or "others".  A sample that was cut off has no end here either;
    ValueError if none says anything.
    """
    ids = token_ids(tokenizer, rows["reference"], prompts=False)
    people = [
        (text, [*each, tokenizer.eos_token_id]) for text, each in zip(rows["reference"], ids, strict=True)
    ]
    near = nearest_others(rows["prompt"], rows["reference"], others) if others else [()] * len(rows)
    found = []
    for row, (chosen, own), numbers in zip(rows, people, near, strict=True):
        same = {"prompt": row["prompt"], "prompt_ids": row["prompt_ids"], "chosen": chosen}
        samples = zip(row["completions"], row["completion_ids"], strict=True)
        against = [("reference", *sample) for sample in samples if sample[0].strip()]
        against += [("others", *people[number]) for number in numbers]
        for whose, text, its in against:
            found.append(same | {"rejected": text, "completion_ids": [own, its], "rejected_of": whose})
    if not found:
        raise ValueError("the samples are empty completions only, which cannot be compared; sample anew")
    return Dataset.from_list(found)


def best_of_n(rows: Dataset) -> Dataset:
    """The completion with the highest reward of each prompt, as demonstrations  (T9.2).

    Example:
        >>> rows = Dataset.from_list([{"prompt": "x", "completions": [" a", " b"], "rewards": [0.0, 1.0]}])
        >>> best_of_n(rows)[0]
        {'prompt': 'x', 'completion': ' b', 'reward': 1.0}
    """

    def best(row: Row) -> dict[str, Any]:
        i = int(np.argmax(row["rewards"]))
        return {"prompt": row["prompt"], "completion": row["completions"][i], "reward": row["rewards"][i]}

    return Dataset.from_list([best(row) for row in rows])
