"""Rows of text in the public layouts, each checked before anything is trained on it.

Three kinds of rows, with the columns of the layouts that are read as each:

    demonstration   prompt, completion             or prompt, label
    preference      prompt, chosen, rejected       or info, summaries, choice (human comparisons)
    scored          prompt, completions, rewards   k of each, the same k in every row

They come from JSON Lines (.jsonl, .jsonl.gz), Parquet, a folder of such files, or a hub id.  A bad
row is refused with its file, line and remedy, or on request skipped and counted.  Completions begin
with one space and carry no end-of-sequence token.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError

Row = Mapping[str, Any]
LARGEST = 1e30  # single precision holds it and its sums
JSON_LINES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


class Loaded(NamedTuple):
    """Rows of one kind, and a line for each row that was skipped: where it is and what is wrong."""

    rows: Dataset
    skipped: tuple[str, ...]


def load_rows(
    source: str | Path,
    kind: Callable[[Row], dict[str, Any]],
    *,
    split: str = "train",
    subset: str | None = None,
    skip_bad: bool = False,
) -> Loaded:
    """The rows of a source, each checked and brought to the columns of its kind.

    Args:
        source: a file, a folder of files, or a hub id.
        kind: `demonstration`, `preference` or `scored`.
        split, subset: of a data set on the hub.
        skip_bad: leave bad rows out and say so in the result, instead of refusing the source.

    Raises:
        ValueError: the source cannot be read, holds no rows or holds bad ones.
    """
    good: list[dict[str, Any]] = []
    bad: list[str] = []
    for where, row in _read(str(source), split, subset):
        try:
            if isinstance(row, ValueError):
                raise row
            good.append(kind(row))
            if good[-1].keys() != good[0].keys():
                columns = sorted(good.pop().keys() ^ good[0].keys())
                raise ValueError(f"it and the rows before it do not have the same columns: {columns}")
            k, first = (len(completions_of(some)) for some in (good[-1], good[0]))
            if k != first:
                good.pop()
                raise ValueError(f"it has {k} completions, the rows before it {first}: k must not vary")
        except ValueError as error:
            bad.append(f"{where}: {error}")
    if bad and not skip_bad:
        count = f"{len(bad)} of {len(bad) + len(good)} rows are bad"
        raise ValueError(f"{count}, the first is {bad[0]}; mend them, or leave them out with skip_bad=True")
    if not good:
        raise ValueError(f"{source} holds no good rows{': ' + bad[0] if bad else ''}; is it the right file?")
    return Loaded(Dataset.from_list(good), tuple(bad))


def demonstration(row: Row) -> dict[str, str]:
    """`prompt, completion` from a row with the column `completion` or `label`."""
    column = "label" if "label" in row and "completion" not in row else "completion"
    return {"prompt": _text(row, "prompt"), "completion": _completion(row, column)}


def preference(row: Row) -> dict[str, str]:
    """`prompt, chosen, rejected`, also from the nested record of a human comparison.

    Example:
        >>> post = {"subreddit": "tea", "title": "Cold", "post": "It cooled.", "article": None}
        >>> answers = [{"text": " Bad tea."}, {"text": " Tea cooled."}]
        >>> preference({"info": post, "summaries": answers, "choice": 1})["chosen"]
        ' Tea cooled.'
    """
    if "summaries" not in row:
        chosen, rejected = _completion(row, "chosen"), _completion(row, "rejected")
        return {"prompt": _text(row, "prompt"), "chosen": chosen, "rejected": rejected}
    info, answers, choice = row.get("info"), _list(row, "summaries"), row.get("choice")
    if not isinstance(info, Mapping) or len(answers) != 2:
        raise ValueError("a comparison must have a record info and two summaries")
    if isinstance(choice, bool) or choice not in (0, 1):
        raise ValueError(f"choice must be 0 or 1, but is {choice!r}")
    chosen, rejected = (_completion(answers[i], "text") for i in (choice, 1 - choice))
    return {"prompt": tldr_prompt(info), "chosen": chosen, "rejected": rejected}


def scored(row: Row) -> dict[str, Any]:
    """`prompt, completions, rewards`: k sampled answers, kept as they are, and a finite reward each.

    An answer may be empty if its `completion_ids` say what was sampled: end-of-sequence at once.
    """
    completions, rewards = _list(row, "completions"), _list(row, "rewards")
    if len(completions) != len(rewards):
        raise ValueError(f"it has {len(completions)} completions and {len(rewards)} rewards")
    for i, (completion, reward) in enumerate(zip(completions, rewards, strict=True)):
        if "completion_ids" not in row or not isinstance(completion, str):
            _text({"completion": completion}, "completion")
        _number(reward, f"rewards[{i}]")
    for column in ("behavior_log_probs", "reference_log_probs", "lengths"):
        for i, x in enumerate(_beside(row, column, completions)):
            _number(x, f"{column}[{i}]")
    for i, ids in enumerate(_beside(row, "completion_ids", completions)):
        if not isinstance(ids, list) or not ids or any(type(token) is not int for token in ids):
            raise ValueError(f"completion_ids[{i}] must be a list of token ids that is not empty")
    return {**row, "prompt": _text(row, "prompt"), "rewards": [float(x) for x in rewards]}


def _beside(row: Row, column: str, completions: list[Any]) -> list[Any]:
    """A column with an entry for each completion, if there is one."""
    found = _list(row, column) if column in row else []
    if column in row and len(found) != len(completions):
        raise ValueError(f"it has {len(completions)} completions and {len(found)} {column}")
    return found


def _number(x: Any, name: str) -> None:
    if isinstance(x, bool) or not isinstance(x, int | float) or not abs(x) < LARGEST:
        raise ValueError(f"{name} must be a finite number, but is {x!r:.40}")


def tldr_prompt(info: Row) -> str:
    """The prompt of the TL;DR data sets for a Reddit post, or for a news article.

    Stiennon 2020, arXiv:2009.01325, Appendix B.
    """
    if info.get("post"):
        head = f"SUBREDDIT: r/{info.get('subreddit') or ''}\n\nTITLE: {info.get('title') or ''}\n\n"
        return f"{head}POST: {_text(info, 'post').strip()}\n\nTL;DR:"
    return f"Article: {_text(info, 'article').strip()}\n\nTL;DR:"


def _text(row: Row, column: str) -> str:
    if column not in row:
        raise ValueError(f"column {column!r} is missing; the columns are {sorted(row)}")
    if not isinstance(row[column], str) or not row[column].strip():
        raise ValueError(f"column {column!r} must be text that is not empty, but is {row[column]!r:.60}")
    return row[column]


def _list(row: Row, column: str) -> list[Any]:
    if not isinstance(row.get(column), list) or not row[column]:
        raise ValueError(f"column {column!r} must be a list that is not empty, but is {row.get(column)!r}")
    return row[column]


def _completion(row: Row, column: str) -> str:
    return " " + _text(row, column).strip()


def _read(source: str, split: str, subset: str | None) -> Iterator[tuple[str, Row | ValueError]]:
    """(where, row) of each row; of a line that is no row, what is wrong with it."""
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.name.endswith((*JSON_LINES, ".parquet")))
        if not files:
            raise ValueError(f"the folder {source} holds no {', '.join(JSON_LINES)} or .parquet file")
        for file in files:
            yield from _read(str(file), split, subset)
    elif path.is_file() and source.endswith(JSON_LINES):
        yield from _read_lines(path)
    elif path.is_file() and not source.endswith(".parquet"):
        raise ValueError(f"{source} must end with {', '.join(JSON_LINES)} or .parquet")
    elif not path.exists() and (source.endswith((*JSON_LINES, ".parquet")) or source.startswith((".", "/"))):
        raise ValueError(f"there is no file or folder {source}; check the path")
    else:
        yield from _read_table(source, split, subset)


def _read_lines(path: Path) -> Iterator[tuple[str, Row | ValueError]]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}:{number}", _parsed(line)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is corrupt after line {number} ({error}); make it again") from error


def _parsed(line: bytes) -> Row | ValueError:
    try:
        row = json.loads(line)
    except ValueError as error:  # or not UTF-8
        return ValueError(f"the line is not JSON ({error})")
    return row if isinstance(row, dict) else ValueError(f"the line is not a JSON object, but {row!r:.40}")


def _read_table(source: str, split: str, subset: str | None) -> Iterator[tuple[str, Row]]:
    try:
        if source.endswith(".parquet"):
            table = load_dataset("parquet", data_files=source, split="train")
        else:
            table = load_dataset(source, subset, split=split)
    except (OSError, ValueError, RuntimeError, DatasetGenerationError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ValueError(
            f"cannot load {source!r}: {reason}  Give a file or folder that exists, or the hub id of a data "
            "set (and its subset and split), with the network up or the files in the local cache"
        ) from error
    for i, row in enumerate(table):
        yield f"{source}, row {i}", row


def first(rows: Dataset, count: int) -> Dataset:
    """So many rows, or all if there are fewer."""
    return rows.select(range(min(count, len(rows))))


def completions_of(row: Row) -> list[str]:
    """The k completions of a row of any kind; of a preference, the chosen one first."""
    if "completions" in row:
        return list(row["completions"])
    return [row["chosen"], row["rejected"]] if "chosen" in row else [row["completion"]]
