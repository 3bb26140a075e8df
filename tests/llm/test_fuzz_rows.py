"""Rows and files as nobody wants them: read and encoded they are right, or refused in one line.

python tests/llm/test_fuzz_rows.py 5000        a longer campaign, and what it said how often
"""

from __future__ import annotations

import collections
import copy
import gzip
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import PreTrainedTokenizerFast

from llm.data import load_rows
from llm.layouts import completions_of, demonstration, preference, scored
from llm.model import train_tokenizer
from llm.tokens import encode

USER, SAID = {"role": "user", "content": "Is it tea?"}, {"role": "assistant", "content": "It is tea."}
ASKED = "\n\nHuman: Tea?\n\nAssistant:"
NO = {"role": "assistant", "content": "It is not."}
LAYOUTS: list[tuple[Any, dict[str, Any]]] = [
    (demonstration, {"prompt": "Is it tea?\n\nTL;DR:", "completion": " It is."}),
    (demonstration, {"prompt": "Is it tea?", "label": "It is."}),
    (demonstration, {"messages": [USER, SAID]}),
    (demonstration, {"messages": [{"role": "system", "content": "Be brief."}, USER, SAID, USER, NO]}),
    (demonstration, {"prompt": [USER], "completion": [SAID], "id": 4}),
    (preference, {"prompt": "Is it tea?", "chosen": " It is.", "rejected": " No."}),
    (
        preference,
        {"chosen": "\n\nHuman: Tea?\n\nAssistant: Yes.", "rejected": "\n\nHuman: Tea?\n\nAssistant: No."},
    ),
    (preference, {"chosen": [USER, SAID], "rejected": [USER, NO]}),
    (preference, {"prompt": "Is it tea?", "chosen": [USER, SAID], "rejected": [USER, NO], "score": 0.5}),
    (preference, {"prompt": [USER], "chosen": [SAID], "rejected": [NO]}),
    (
        preference,
        {
            "info": {"post": "Tea.", "title": "T"},
            "summaries": [{"text": "a b"}, {"text": "c d"}],
            "choice": 1,
        },
    ),
    (scored, {"prompt": "Tea?", "completions": [" Yes.", " No."], "rewards": [1.0, 0], "seed": 3}),
    (scored, {"prompt": [USER], "completions": [[SAID], [NO]], "rewards": [1, 0]}),
    (
        scored,
        {"prompt": "Tea?", "completions": ["", "a"], "rewards": [0.5, 1], "completion_ids": [[0], [7, 0]]},
    ),
]
HOSTILE: list[Any] = [
    *(None, "", " ", "\n", 0, -1, 3.5, True, [], {}, [[]], [None], [""], {"text": None}, "x" * 3000),
    *("<|endoftext|>", "a <|padding|> b", "\ud800", "\0", "é\u202e你好", 10**30, 10**400, float("nan")),
    *(float("inf"), [1, "a"], {"role": "user"}, [SAID, SAID], [USER], {"a": {"b": [1]}}, "\n\nTL;DR:"),
]
ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Every place inside a row that can hold something else."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, item in items for place in places(item, (*path, key))]


def mutated(rng: np.random.Generator, row: dict[str, Any]) -> dict[str, Any]:
    """The row with a few places removed, replaced or copied to one another."""
    row = copy.deepcopy(row)
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        found = places(row)
        if not found:
            break
        *outer, last = found[rng.integers(len(found))]
        inside = row
        for key in outer:
            inside = inside[key]
        if rng.random() < 0.3:
            del inside[last]
        else:
            inside[last] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])
    return row


def written(rng: np.random.Generator, folder: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in some format, sometimes with bytes that are none."""
    path = folder / f"rows{ENDINGS[rng.integers(len(ENDINGS))]}"
    if path.suffix == ".parquet":
        try:
            pq.write_table(pa.Table.from_pylist(rows), path)
        except (pa.ArrowException, OverflowError, UnicodeError):  # Parquet cannot hold it: JSON can
            path = path.with_suffix(".jsonl")
    if path.suffix != ".parquet":
        lines = [json.dumps(row).encode() for row in rows]
        if rng.random() < 0.1:
            odd = [b"[" * 10**5, b"null", b'"text"', b'{"prompt": "p"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"1"]
            lines.insert(int(rng.integers(len(lines) + 1)), odd[rng.integers(len(odd))])
        text = b"\n".join(lines) + b"\n" * int(rng.integers(3))
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    if rng.random() < 0.15:
        content = bytearray(path.read_bytes())
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(bytes(content[: rng.integers(1, len(content) + 1)]))
    return path


def said(seed: int, tokenizer: PreTrainedTokenizerFast, folder: Path) -> str:
    """What became of a case: "read", or the line that refuses it.  Anything else is an error."""
    rng = np.random.default_rng(seed)
    kind, row = LAYOUTS[rng.integers(len(LAYOUTS))]
    if rng.random() < 0.1:
        kind = LAYOUTS[rng.integers(len(LAYOUTS))][0]
    path = written(rng, folder, [mutated(rng, row) for _ in range(rng.integers(1, 5))])
    skip, short = bool(rng.random() < 0.3), bool(rng.random() < 0.2)
    try:
        loaded = load_rows(path, kind, skip_bad=skip, as_is=bool(rng.random() < 0.3))
        limits = {"max_prompt_tokens": 12 if short else 2000, "max_completion_tokens": 8 if short else 4000}
        encoded = encode(loaded.rows, tokenizer, **limits, skip_long=skip, places=loaded.places)
    except ValueError as error:
        message = str(error)
        assert str(path) in message, message  # the file
        assert len(message) < 700 and "\n" not in message.strip(), message
        where = re.search(
            r"rows\.(jsonl|jsonl\.gz):\d+: |rows\.parquet, row \d+: |is corrupt|cannot load", message
        )
        assert where or "holds no good rows" in message, message  # the line
        assert re.search(r"; \w|is it the right file\?", message), message  # the remedy
        return message
    finally:
        path.unlink()
    for row in encoded.rows.to_list():
        assert row["prompt"].strip() and len(row["completion_ids"]) == len(completions_of(row))
        assert tokenizer.decode(row["prompt_ids"]) == row["prompt"]
        assert tokenizer.eos_token_id not in row["prompt_ids"]
        assert all(tokenizer.eos_token_id not in ids[:-1] for ids in row["completion_ids"])
    return "read"


def test_rows_and_files_are_read_rightly_or_refused_in_one_line(tokenizer, tmp_path):
    """300 of them; the campaign above runs as many as one likes."""
    found = collections.Counter(said(seed, tokenizer, tmp_path) == "read" for seed in range(300))
    assert min(found.values()) > 75  # both happen


@pytest.mark.parametrize("change", [{"prompt": 7}, {"completion": None}])
def test_a_refusal_names_file_line_field_and_remedy(tmp_path, change):
    path = tmp_path / "rows.jsonl"
    good = {"prompt": "p", "completion": "c"}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(good | change)}\n")
    field, value = next(iter(change.items()))
    with pytest.raises(
        ValueError, match=rf"rows.jsonl:2: column '{field}' must .* {value}; mend .*skip_bad=True"
    ):
        load_rows(path, demonstration)


if __name__ == "__main__":
    datasets.disable_progress_bars()
    words = train_tokenizer(["Is it tea? It is not. Human, Assistant: yes or no."], 300)
    with tempfile.TemporaryDirectory() as folder:
        answers = collections.Counter(
            re.sub(r"\S*rows\S*|\d+|'[^']*'|\(.*?\)", "_", said(seed, words, Path(folder)))[:90]
            for seed in range(int(sys.argv[1]))
        )
    for answer, count in answers.most_common():
        print(f"{count:6d}  {answer}")
