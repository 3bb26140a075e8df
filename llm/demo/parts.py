"""Which text is for what?  Files of one text that share no row, as the commands read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase as Tokenizer

from llm.data import first, load_rows
from llm.demo.corpus import TRAINING, VALIDATION, Text, docstrings
from llm.demo.sizes import Size
from llm.files import write_json_lines
from llm.inputs import Options
from llm.layouts import demonstration
from llm.model import train_tokenizer
from llm.tokens import Encoded, encode

PACKAGES = {"training": TRAINING, "validation": VALIDATION}
TOKENIZER_TEXTS = 4000  # from which a tokenizer is trained


def text_of(options: Options, folder: Path, packages: Mapping[str, Sequence[str]]) -> Text:
    """The demonstrations that were named, or docstrings of packages, which are kept in the folder."""
    if options.data is None:
        return docstrings(folder, packages, progress=not options.quiet)
    if options.held_out is None:
        raise ValueError("--data needs --held-out: text that nothing is trained on, to be measured on")
    train, held_out = (load_rows(path, demonstration).rows for path in (options.data, options.held_out))
    return Text(train, held_out, {"name": f"{options.data}, held out {options.held_out}"})


def shuffled(
    folder: Path, size: Size, text: Text, tokenizer: Tokenizer | None, seed: int
) -> tuple[Encoded, Encoded]:
    """What is learned from and what is asked about, within the size, in the order of a seed.

    The tokenizer, trained if there is none, goes into the folder.
    """
    train, held_out = (rows.shuffle(seed=seed) for rows in (text.train, text.held_out))
    if tokenizer is None:
        some = first(train, TOKENIZER_TEXTS).to_list()
        tokenizer = train_tokenizer([row["prompt"] + row["completion"] for row in some], size.vocabulary)
    tokenizer.save_pretrained(folder / "tokenizer")
    x, y = size.prompt_tokens, size.completion_tokens
    learned, asked = (
        encode(rows, tokenizer, max_prompt_tokens=x, max_completion_tokens=y, skip_long=True)
        for rows in (train, held_out)
    )
    return learned, asked


def to_learn(rows: Dataset, size: Size) -> dict[str, Dataset]:
    """All for fine-tuning; of these the first are prompts, and the last what comparisons are made of."""
    pairs = len(rows)
    comparisons = rows.select(range(max(pairs - size.comparisons, 0), pairs))
    return {"train": rows, "comparisons": comparisons, "prompts": first(rows, size.prompts)}


def write_parts(folder: Path, parts: Mapping[str, Dataset]) -> None:
    """Each as data/<name>.jsonl."""
    (folder / "data").mkdir(exist_ok=True)
    for name, rows in parts.items():
        write_json_lines(folder / "data" / f"{name}.jsonl", rows.select_columns(["prompt", "completion"]))


def told_of(found: Encoded) -> dict[str, int]:
    """How many pairs there are, and what was done to them."""
    cut, long = found.truncated, len(found.skipped)
    return {"pairs": len(found.rows), "prompts_cut": cut, "pairs_left_out_for_length": long}
