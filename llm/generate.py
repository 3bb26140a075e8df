"""Sampled, scored data sets: k completions of each prompt, their rewards and reference log-probabilities.

Written shard by shard as JSON Lines, each shard whole or not at all, so that a run that was killed goes
on where it stopped and ends with the same bytes.  A row holds

    prompt, prompt_ids, completions, completion_ids     as sampled, ids with end-of-sequence if it came
    rewards, lengths                                    k numbers each, lengths in words
    behavior_log_probs, reference_log_probs             k numbers each, summed over tokens
    reference                                           what people wrote, where the prompt came with it

The sampler is the reference itself unless another model is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm.data import load_rows
from llm.decode import SEQUENCES, Decoded, sample_completions, uniform_noise
from llm.files import read_json, write_json_lines
from llm.layouts import Row, completions_of, scored
from llm.log_probs import sequence_log_probs
from llm.rewards import CutOff, Reward, score
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

    Args:
        folder: where the shards are, or will be.
        prompts: rows of `encode`.
        model: who samples.
        tokenizer: of the model.
        reward: of texts, see `llm.rewards`.
        sampling: k, lengths, seed, shards.
        reference: whose log-probabilities are cached; the sampler by default.
        names: what else decides the data (model, reward, prompts): a folder made with others is refused.
        progress: show a bar.

    Raises:
        ValueError: the folder holds data of other settings, a shard is corrupt, or a reward is not finite.
        OSError: the folder cannot be written to.
    """
    folder = Path(folder)
    starts = range(0, len(prompts), sampling.shard_size)
    with claimed(folder, {**asdict(sampling), "prompts": len(prompts), **(names or {})}):
        for number, start in enumerate(tqdm(starts, desc="sampling", unit="shard", disable=not progress)):
            path = folder / SHARDS / f"shard-{number:05d}.jsonl"
            if path.exists():
                continue
            rows = prompts.select(range(start, min(start + sampling.shard_size, len(prompts))))
            shard = _scored_rows(rows, start, model, tokenizer, reward, sampling, reference or model)
            path.parent.mkdir(exist_ok=True)
            write_json_lines(path, shard)
    return read_scored(folder, rows=len(prompts))


def read_scored(folder: str | Path, *, rows: int | None = None) -> Dataset:
    """The rows of all shards, checked.

    Raises:
        ValueError: a line is corrupt (with file, line and remedy), k varies, or rows are missing.
    """
    folder = Path(folder)
    if rows is None and (folder / SETTINGS).exists():
        rows = read_json(folder / SETTINGS).get("prompts")
    try:
        found = load_rows(folder / SHARDS, scored).rows
    except ValueError as error:
        raise ValueError(f"{error}  Or delete that shard and sample again: only it is made anew") from error
    if rows is not None and len(found) != rows:
        raise ValueError(
            f"the shards in {folder} hold {len(found)} rows instead of {rows}; sample again, after deleting "
            "a shard that is too short: only what is missing is made anew"
        )
    return found


def sampled_ids(decoded: Decoded) -> list[list[list[int]]]:
    """Token ids of each completion, end-of-sequence included where it came."""
    tokens, lengths = decoded.tokens.tolist(), decoded.mask.sum(-1).tolist()
    return [
        [y[:n] for y, n in zip(row, sizes, strict=True)] for row, sizes in zip(tokens, lengths, strict=True)
    ]


def texts_of(ids: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Completions as text, without special tokens; those without end-of-sequence are a `CutOff`."""
    texts = tokenizer.batch_decode([list(y) for y in ids], skip_special_tokens=True)
    ended = [y[-1] == tokenizer.eos_token_id for y in ids]
    return [text if whole else CutOff(text) for text, whole in zip(texts, ended, strict=True)]


def against_samples(rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """What people wrote, each preferred to every sample of its prompt that says something, encoded.

    A sample that was cut off has no end here either.

    Raises:
        ValueError: no sample says anything.
    """

    def pairs(row: Row) -> Iterator[dict[str, Any]]:
        (chosen,) = token_ids(tokenizer, [row["reference"]], prompts=False)
        for text, ids in zip(row["completions"], row["completion_ids"], strict=True):
            both = {"chosen": row["reference"], "rejected": text}
            both |= {"completion_ids": [[*chosen, tokenizer.eos_token_id], ids]}
            if text.strip():
                yield {"prompt": row["prompt"], "prompt_ids": row["prompt_ids"], **both}

    found = [pair for row in rows for pair in pairs(row)]
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
        reward = max(row["rewards"])
        return {
            "prompt": row["prompt"],
            "completion": completions_of(row)[row["rewards"].index(reward)],
            "reward": reward,
        }

    return Dataset.from_list([best(row) for row in rows])


def _scored_rows(
    rows: Dataset,
    first: int,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    reward: Reward,
    sampling: Sampling,
    reference: PreTrainedModel,
) -> list[dict[str, Any]]:
    """One shard: rows number `first` and on."""
    found: list[dict[str, Any]] = []
    for batch, numbers in _batches(rows, first, sampling.k):
        x, x_real = (t.to(model.device) for t in pad([row["prompt_ids"] for row in batch]))
        noise = uniform_noise([sampling.seed], numbers, sampling.k, sampling.max_new_tokens)
        decoded = sample_completions(model, x, x_real, noise, eos_token_id=tokenizer.eos_token_id)
        behavior = _log_probs(model, x, x_real, decoded)
        cached = behavior if reference is model else _log_probs(reference, x, x_real, decoded)
        for i, (row, ids) in enumerate(zip(batch, sampled_ids(decoded), strict=True)):
            found.append(
                {
                    "prompt": row["prompt"],
                    "prompt_ids": row["prompt_ids"],
                    "completions": texts_of(ids, tokenizer),
                    "completion_ids": ids,
                    "behavior_log_probs": behavior[i].tolist(),
                    "reference_log_probs": cached[i].tolist(),
                    **({"reference": row["completion"]} if "completion" in row else {}),
                }
            )
    return _with_rewards(found, reward, sampling.k, first)


def _batches(rows: Dataset, first: int, k: int) -> Iterator[tuple[list[Row], list[int]]]:
    size = max(SEQUENCES // k, 1)
    for start in range(0, len(rows), size):
        stop = min(start + size, len(rows))
        yield rows.select(range(start, stop)).to_list(), list(range(first + start, first + stop))


@torch.no_grad()
def _log_probs(model: PreTrainedModel, x: Tensor, x_real: Tensor, decoded: Decoded) -> Tensor:
    return sequence_log_probs(
        model, x, decoded.tokens, prompt_mask=x_real, completion_mask=decoded.mask
    ).double()


def _with_rewards(rows: list[dict[str, Any]], reward: Reward, k: int, first: int) -> list[dict[str, Any]]:
    """The same rows with `rewards` and `lengths`, scored all together."""
    prompts = [row["prompt"] for row in rows for _ in range(k)]
    completions = [y for row in rows for y in row["completions"]]
    references = [row["reference"] for row in rows for _ in range(k)] if "reference" in rows[0] else None
    try:
        scores = score(reward, prompts, completions, references)
    except ValueError as error:
        raise ValueError(f"in prompts {first} to {first + len(rows) - 1}: {error}") from error
    per_row = zip(scores.reward.reshape(-1, k).tolist(), scores.length.reshape(-1, k).tolist(), strict=True)
    return [row | {"rewards": r, "lengths": n} for row, (r, n) in zip(rows, per_row, strict=True)]
