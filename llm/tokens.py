"""Rows of text in, padded token ids out.

    B prompts of P columns, k completions each of T columns: demonstrations have k = 1, preferences
    k = 2 with the chosen one first, scored samples the k of their file

Nothing acts in silence: prompts that were cut, rows that were left out for their length and texts in which
a special token is spelled out are told.  Such text stays text: "<|endoftext|>" in a post ends nothing.
Masks are made here, from lengths: afterwards padding may be any token.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from datasets.fingerprint import generate_random_fingerprint  # else a cache is looked into
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from llm.layouts import Row, completions_of

LONGEST_INSTRUCTION = 20  # words in the last paragraph of a prompt, up to which it is never cut
IDS = ("prompt_ids", "completion_ids")


class Encoded(NamedTuple):
    """Rows with `prompt_ids` and `completion_ids`, and what was done to them."""

    rows: Dataset
    truncated: int  # how many of them had the text of their prompt cut
    skipped: tuple[str, ...]  # which were left out for a long completion, and how long it is
    spelled: tuple[str, ...] = ()  # where a special token is spelled out, and which


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, prompts: bool) -> list[list[int]]:
    """Token ids of texts, in which a special token that is spelled out is text like other text.

    Prompts begin as the model's texts begin, if they begin with a token of their own; completions do not.

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
    """Rows of `load_rows`, of any kind, with `prompt_ids`, and `completion_ids` of their k completions.

    A long prompt loses the end of its text, never its instruction, and its `prompt` says what is left.
    Every completion ends with end-of-sequence, which counts, unless its `completion_ids` came with the
    row: a sample that was cut off has none.  Rows with longer completions may be skipped, and are told;
    `places` says where each row comes from.

    Raises:
        ValueError: a completion is longer than `max_completion_tokens` and `skip_long` is false, or an
            instruction alone is longer than `max_prompt_tokens`.
    """
    cut, long, spelled = [], [], []
    special_token = _special_token(tokenizer)
    place = places.__getitem__ if places else "row {}".format

    def encode_batch(columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        kept = []
        for where, row in zip(map(place, numbers), _with_ids(columns, tokenizer), strict=True):
            if (longest := max(map(len, row["completion_ids"]))) > max_completion_tokens:
                long.append(f"{where}: a completion of {longest} tokens")
                continue
            if found := special_token.search("\0".join([row["prompt"], *completions_of(row)])):
                spelled.append(f"{where}: {found.group()} is read as text")
            if len(row["prompt_ids"]) > max_prompt_tokens:
                cut.append(where)
                row |= _cut(row["prompt"], tokenizer, max_prompt_tokens, where)
            kept.append(row)
        return {name: [row[name] for row in kept] for name in dict.fromkeys([*columns, *IDS])}

    how = {"batched": True, "with_indices": True, "keep_in_memory": True, "remove_columns": rows.column_names}
    found = rows.map(encode_batch, new_fingerprint=generate_random_fingerprint(), desc="encoding", **how)
    if long and not (skip_long and len(found)):
        raise ValueError(
            f"completions must have at most {max_completion_tokens} tokens with end-of-sequence, but "
            f"{len(long)} of {len(rows)} rows have more, the first is {long[0]}; go on with skip_long=True"
        )
    return Encoded(found, len(cut), tuple(long), tuple(spelled))


def _special_token(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return re.compile("|".join(map(re.escape, special)) or "(?!)")


def _with_ids(columns: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Rows with their token ids, those of samples as they were drawn."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    answers = iter(token_ids(tokenizer, [y for row in rows for y in completions_of(row)], prompts=False))
    for row, ids in zip(rows, token_ids(tokenizer, columns["prompt"], prompts=True), strict=True):
        own = [[*next(answers), tokenizer.eos_token_id] for _ in completions_of(row)]
        row |= {"prompt_ids": ids, "completion_ids": row.get("completion_ids") or own}
    return rows


def _cut(prompt: str, tokenizer: PreTrainedTokenizerBase, max_tokens: int, where: str) -> dict[str, Any]:
    try:
        text = truncate_prompt(prompt, tokenizer, max_tokens)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return {"prompt": text, "prompt_ids": token_ids(tokenizer, [text], prompts=True)[0]}


def truncate_prompt(prompt: str, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> str:
    """The prompt with the end of its text cut off, so that at most `max_tokens` tokens are left.

    What comes before a post or an article stays, and so does a short last paragraph such as "TL;DR:".

    Raises:
        ValueError: these alone are too long.
    """
    start = re.match(r"SUBREDDIT:.*?\n\nPOST:|Article:", prompt, re.DOTALL)
    head = start.group() if start else ""
    text, blank, last = prompt[len(head) :].rpartition("\n\n")
    tail = blank + last
    if not blank or len(last.split()) > LONGEST_INSTRUCTION:
        text, tail = prompt[len(head) :], ""

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


def lengths_of(rows: Dataset) -> Tensor:
    """Tokens of each prompt with each of its completions, (N, k)."""
    ids = zip(rows["prompt_ids"], rows["completion_ids"], strict=True)
    return torch.tensor([[len(x) + len(y) for y in answers] for x, answers in ids])


def collate(rows: Sequence[Row]) -> dict[str, Tensor]:
    """A batch of encoded rows with the same k: `prompts` (B, P), `completions` (B, k, T), a mask of each."""
    sizes = [len(row["completion_ids"]) for row in rows]
    for i, size in enumerate(sizes):
        if size != sizes[0]:
            raise ValueError(f"row {i} of a batch has {size} completions, row 0 {sizes[0]}: k must not vary")
    prompts, prompt_mask = pad([row["prompt_ids"] for row in rows])
    completions, completion_mask = pad([y for row in rows for y in row["completion_ids"]])
    groups = {"completions": completions, "completion_mask": completion_mask}
    groups = {name: tensor.unflatten(0, (len(rows), sizes[0])) for name, tensor in groups.items()}
    return {"prompts": prompts, "prompt_mask": prompt_mask, **groups}


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
