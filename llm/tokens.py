"""Rows of text in, padded token ids out.

    B prompts of P columns, k completions each of T columns: demonstrations have k = 1, preferences
    k = 2 with the chosen one first, scored samples the k of their file

Nothing acts in silence: prompts that were cut, rows that were left out for their length and texts in which
a special token is spelled out are told.  Such text stays text: "<|endoftext|>" in a post ends nothing.
Masks are made here, from lengths: afterwards padding may be any token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from datasets.fingerprint import generate_random_fingerprint
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from llm.layouts import Row, completions_of

LONGEST_INSTRUCTION = 20  # words in the last paragraph of a prompt, up to which it is never cut


class Encoded(NamedTuple):
    """Rows with `prompt_ids` and `completion_ids`, and what was done to them."""

    rows: Dataset
    truncated: int  # how many of them had the text of their prompt cut
    skipped: tuple[str, ...]  # which were left out for a long completion, and how long it is
    spelled: tuple[str, ...] = ()  # where a special token is spelled out, and which


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, prompts: bool) -> list[list[int]]:
    """Token ids of texts, in which a special token that is spelled out is text like other text.

    Args:
        tokenizer: of the model.
        texts: prompts, or what is to stand behind them.
        prompts: begin as the model's texts begin, if they begin with a token of their own.

    Example:
        >>> import llm.model
        >>> words = llm.model.train_tokenizer(["tea"], 270)
        >>> words.decode(token_ids(words, ["a<|endoftext|>b"], prompts=False)[0], skip_special_tokens=True)
        'a<|endoftext|>b'
    """
    return tokenizer(list(texts), add_special_tokens=prompts, split_special_tokens=True).input_ids


def encode(
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_completion_tokens: int,
    skip_long: bool = False,
    places: Sequence[str] = (),
) -> Encoded:
    """Rows of any kind with `prompt_ids`, and `completion_ids` of their k completions.

    A long prompt loses the end of its text, never its instruction, and its `prompt` says what is left.
    Every completion ends with end-of-sequence, unless its `completion_ids` came with the row: a sample
    that was cut off has none.

    Args:
        rows: of `load_rows`.
        tokenizer: of the model.
        max_prompt_tokens, max_completion_tokens: limits, the second with end-of-sequence.
        skip_long: leave rows with longer completions out and say so in the result.
        places: where each row comes from, for messages.

    Raises:
        ValueError: a completion is longer than `max_completion_tokens` and `skip_long` is false, or an
            instruction alone is longer than `max_prompt_tokens`.
    """
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    spelled_out = re.compile("|".join(map(re.escape, special)) or "(?!)")
    cut, long, spelled = [], [], []

    def encode_batch(columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        batch = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        answers = iter(token_ids(tokenizer, [y for row in batch for y in completions_of(row)], prompts=False))
        kept = []
        for i, row, ids in zip(
            numbers, batch, token_ids(tokenizer, columns["prompt"], prompts=True), strict=True
        ):
            where = places[i] if places else f"row {i}"
            own = [[*next(answers), tokenizer.eos_token_id] for _ in completions_of(row)]
            own = row.get("completion_ids") or own
            if (longest := max(map(len, own))) > max_completion_tokens:
                long.append(f"{where}: a completion of {longest} tokens")
                continue
            if found := spelled_out.search("\0".join([row["prompt"], *completions_of(row)])):
                spelled.append(f"{where}: {found.group()} is read as text")
            if len(ids) > max_prompt_tokens:
                cut.append(where)
                try:
                    row["prompt"] = truncate_prompt(row["prompt"], tokenizer, max_prompt_tokens)
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from error
                ids = token_ids(tokenizer, [row["prompt"]], prompts=True)[0]
            kept.append({**row, "prompt_ids": ids, "completion_ids": own})
        names = [*columns, *({"prompt_ids", "completion_ids"} - columns.keys())]
        return {name: [row[name] for row in kept] for name in names}

    how: dict[str, Any] = {"batched": True, "with_indices": True, "desc": "encoding"}
    how["new_fingerprint"] = generate_random_fingerprint()  # nothing is looked up in a cache
    found = rows.map(encode_batch, remove_columns=rows.column_names, keep_in_memory=True, **how)
    if long and not (skip_long and len(found)):
        raise ValueError(
            f"completions must have at most {max_completion_tokens} tokens with end-of-sequence, but "
            f"{len(long)} of {len(rows)} rows have more, the first is {long[0]}; raise the limit, or "
            "leave them out with skip_long=True"
        )
    return Encoded(found, len(cut), tuple(long), tuple(spelled))


def truncate_prompt(prompt: str, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> str:
    """The prompt with the end of its text cut off, so that at most `max_tokens` tokens are left.

    What comes before a post or an article stays, and so does a short last paragraph such as "TL;DR:".

    Raises:
        ValueError: these alone are too long.
    """
    head, text, tail = _parts(prompt)

    def count(text: str) -> int:
        return len(token_ids(tokenizer, [text], prompts=True)[0])

    plain = {"add_special_tokens": False, "split_special_tokens": True}
    ends = [end for _, end in tokenizer(text, return_offsets_mapping=True, **plain).offset_mapping]
    room = min(max_tokens - count(head + tail), len(ends))
    while room > 0 and (kept := text[: ends[room - 1]].rstrip()):
        excess = count(head + kept + tail) - max_tokens
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


def lengths_of(rows: Dataset) -> Tensor:
    """Tokens of each prompt with each of its completions, (N, k)."""
    ids = zip(rows["prompt_ids"], rows["completion_ids"], strict=True)
    return torch.tensor([[len(x) + len(y) for y in answers] for x, answers in ids])


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
    k = (len(rows), sizes[0])
    return {
        "prompts": prompts,
        "prompt_mask": prompt_mask,
        "completions": completions.unflatten(0, k),
        "completion_mask": completion_mask.unflatten(0, k),
    }


def pad(sequences: Sequence[Sequence[int]], *, left: bool = False) -> tuple[Tensor, Tensor]:
    """Token ids (N, T) with zeros behind (or before) each sequence, and the mask of what is real.

    Example:
        >>> tokens, mask = pad([[5], [6, 7]])
        >>> tokens.tolist(), mask.tolist()
        ([[5, 0], [6, 7]], [[True, False], [True, True]])
    """
    ids = [torch.tensor(y, dtype=torch.long) for y in sequences]
    how: dict[str, Any] = {"batch_first": True, "padding_side": "left" if left else "right"}
    return pad_sequence(ids, **how), pad_sequence([torch.ones_like(y, dtype=torch.bool) for y in ids], **how)
