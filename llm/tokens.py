"""Rows of text in, padded token ids out.

    B prompts of P columns, k completions each of T columns: demonstrations have k = 1, preferences
    k = 2 with the chosen one first, scored samples the k of their file

A limit on length never acts in silence: prompts that were cut and rows that were left out are
counted.  Masks are made here, from lengths: afterwards padding may be any token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llm.data import Row, completions_of

LONGEST_INSTRUCTION = 20  # words in the last paragraph of a prompt, up to which it is never cut


class Encoded(NamedTuple):
    """Rows with `prompt_ids` and `completion_ids`, and what length limits did to them."""

    rows: Dataset
    truncated: int  # how many of them had the text of their prompt cut
    skipped: tuple[str, ...]  # which were left out for a long completion, and how long it is


def encode(
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_completion_tokens: int,
    skip_long: bool = False,
) -> Encoded:
    """Rows of any kind with `prompt_ids`, and `completion_ids` of their k completions.

    A long prompt loses the end of its text, never its instruction, and its `prompt` says what is left.
    Every completion ends with end-of-sequence, unless its `completion_ids` came with the row: a sample
    that was cut off has none.

    Raises:
        ValueError: a completion is longer than `max_completion_tokens` and `skip_long` is false, or an
            instruction alone is longer than `max_prompt_tokens`.
    """
    texts = rows.to_list()
    prompts = tokenizer([row["prompt"] for row in texts]).input_ids
    answers = [y for row in texts for y in completions_of(row)]
    answer_ids = iter(tokenizer(answers, add_special_tokens=False).input_ids)
    kept: list[dict[str, Any]] = []
    truncated, long = 0, []
    for i, (row, prompt_ids) in enumerate(zip(texts, prompts, strict=True)):
        ids = [[*next(answer_ids), tokenizer.eos_token_id] for _ in completions_of(row)]
        ids = row.get("completion_ids") or ids
        longest = max(len(y) for y in ids)
        if longest > max_completion_tokens:
            long.append(f"row {i}: a completion of {longest} tokens")
            continue
        prompt = row["prompt"]
        if len(prompt_ids) > max_prompt_tokens:
            truncated += 1
            prompt = truncate_prompt(prompt, tokenizer, max_prompt_tokens)
            prompt_ids = tokenizer(prompt).input_ids
        kept.append({**row, "prompt": prompt, "prompt_ids": prompt_ids, "completion_ids": ids})
    if long and not (skip_long and kept):
        raise ValueError(
            f"completions must have at most {max_completion_tokens} tokens with end-of-sequence, but "
            f"{len(long)} of {len(rows)} rows have more, the first is {long[0]}; raise the limit, or "
            "leave them out with skip_long=True"
        )
    return Encoded(Dataset.from_list(kept), truncated, tuple(long))


def truncate_prompt(prompt: str, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> str:
    """The prompt with the end of its text cut off, so that at most `max_tokens` tokens are left.

    What comes before a post or an article stays, and so does a short last paragraph such as "TL;DR:".

    Raises:
        ValueError: these alone are too long.
    """
    head, text, tail = _parts(prompt)
    words = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = [end for _, end in words.offset_mapping]
    room = min(max_tokens - len(tokenizer(head + tail).input_ids), len(ends))
    while room > 0 and (kept := text[: ends[room - 1]].rstrip()):
        excess = len(tokenizer(head + kept + tail).input_ids) - max_tokens
        if excess <= 0:
            return head + kept + tail
        room -= excess
    raise ValueError(
        f"max_prompt_tokens = {max_tokens} leaves no room for text beside the instruction "
        f"{(head + tail)!r:.80}; raise the limit"
    )


def _parts(prompt: str) -> tuple[str, str, str]:
    """(head, text, tail): only the text may be cut."""
    start = re.match(r"SUBREDDIT:.*?\n\nPOST:|Article:", prompt, re.DOTALL)
    head = start.group() if start else ""
    text, blank, last = prompt[len(head) :].rpartition("\n\n")
    if blank and len(last.split()) <= LONGEST_INSTRUCTION:
        return head, text, blank + last
    return head, prompt[len(head) :], ""


def collate(rows: Sequence[Row]) -> dict[str, Tensor]:
    """A batch of encoded rows: `prompts` (B, P), `completions` (B, k, T), and a mask of each.

    Raises:
        ValueError: the rows have different numbers of completions.
    """
    sizes = [len(row["completion_ids"]) for row in rows]
    for i, size in enumerate(sizes):
        if size != sizes[0]:
            raise ValueError(f"row {i} of a batch has {size} completions, row 0 {sizes[0]}: k must not vary")
    prompts, prompt_mask = pad([row["prompt_ids"] for row in rows])
    completions, completion_mask = pad([y for row in rows for y in row["completion_ids"]])
    shape = (len(rows), sizes[0], completions.shape[1])
    return {
        "prompts": prompts,
        "prompt_mask": prompt_mask,
        "completions": completions.view(shape),
        "completion_mask": completion_mask.view(shape),
    }


def pad(sequences: Sequence[Sequence[int]], *, left: bool = False) -> tuple[Tensor, Tensor]:
    """Token ids (N, T) with zeros behind (or before) each sequence, and the mask of what is real.

    Example:
        >>> tokens, mask = pad([[5], [6, 7]])
        >>> tokens.tolist(), mask.tolist()
        ([[5, 0], [6, 7]], [[True, False], [True, True]])
    """
    tokens = torch.zeros(len(sequences), max(len(ids) for ids in sequences), dtype=torch.long)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for row, real, ids in zip(tokens, mask, sequences, strict=True):
        place = slice(len(row) - len(ids), None) if left else slice(len(ids))
        row[place], real[place] = torch.tensor(ids, dtype=torch.long), True
    return tokens, mask
