"""Rows of text in the public layouts, each checked before anything is trained on it.

Three kinds of rows, with the columns of the layouts that are read as each:

    demonstration   prompt, completion             or prompt, label, or messages, the last one the answer
    preference      prompt, chosen, rejected       or chosen, rejected that begin with the same prompt,
                                                   or info, summaries, choice (human comparisons)
    scored          prompt, completions, rewards   k of each, the same k in every row

A prompt or an answer is a text, or a conversation of messages with a role and a content (`llm.layouts`).
They come from JSON Lines (.jsonl, .jsonl.gz), Parquet, a folder of such files, or a hub id, row by row: in
memory are Arrow columns, about as large as the text.  A bad row is refused with its file, line and remedy,
or on request skipped and counted.  Completions carry no end-of-sequence token, and begin with one space
unless they are to be left as they are.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError

from llm.layouts import Row, completions_of

JSON_LINES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
CHUNK = 1000  # rows that exist as Python objects at one time
NOT_FOR_ARROW = (pa.ArrowException, OverflowError, UnicodeError, RecursionError)


class Loaded(NamedTuple):
    """Rows of one kind, and what was done to them."""

    rows: Dataset
    skipped: tuple[str, ...]  # a line for each bad row: where it is and what is wrong
    places: tuple[str, ...] = ()  # where each good row is
    spaced: int = 0  # rows with a completion that was stripped or given a leading space


def load_rows(
    source: str | Path,
    kind: Callable[[Row], dict[str, Any]],
    *,
    split: str = "train",
    subset: str | None = None,
    skip_bad: bool = False,
    as_is: bool = False,
) -> Loaded:
    """The rows of a source, each checked and brought to the columns of its kind.

    Args:
        source: a file, a folder of files, or a hub id.
        kind: `demonstration`, `preference` or `scored`.
        split, subset: of a data set on the hub.
        skip_bad: leave bad rows out and say so in the result, instead of refusing the source.
        as_is: leave completions as they are, instead of giving each one space in front and none behind.

    Raises:
        ValueError: the source cannot be read, holds no rows or holds bad ones.
    """
    table, bad, spaced = _Table(), [], 0
    for where, row in _read(str(source), split, subset):
        try:
            found = kind(_row(row))
            changed = {} if as_is else _spaced(found)
            table.add(where, found | changed)
            spaced += bool(changed)
        except ValueError as error:
            bad.append(f"{where}: {error}")
    rows, bad = table.rows(), bad + table.unfit
    if bad and not skip_bad:
        count = f"{len(bad)} of {len(bad) + len(rows)} rows are bad"
        remedy = "mend them, or leave them out with skip_bad=True"
        raise ValueError(f"{count}, the first is {bad[0]}; {remedy}")
    if not len(rows):
        raise ValueError(f"{source} holds no good rows{': ' + bad[0] if bad else ''}; is it the right file?")
    return Loaded(rows, tuple(bad), tuple(table.places), spaced)


class _Table:
    """Rows that become Arrow columns a thousand at a time, all with the columns and the k of the first."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self.unfit: list[str] = []  # a line for each row that Arrow cannot hold beside the first
        self._first: Row | None = None
        self._waiting: list[tuple[str, Row]] = []
        self._done: list[pa.Table] = []

    def add(self, where: str, row: Row) -> None:
        """One more row, or what is wrong with it if that shows at once."""
        first = self._first = self._first or row
        if row.keys() != first.keys():
            columns = sorted(row.keys() ^ first.keys())
            raise ValueError(f"it and the rows before it do not have the same columns: {columns}")
        k, before = len(completions_of(row)), len(completions_of(first))
        if k != before:
            raise ValueError(f"it has {k} completions, the rows before it {before}: k must not vary")
        self._waiting.append((where, row))
        if len(self._waiting) == CHUNK:
            self._store()

    def _store(self) -> None:
        fit, self._waiting = self._waiting, []
        try:
            table = pa.Table.from_pylist([row for _, row in fit])
        except NOT_FOR_ARROW:
            fit = [(where, row) for where, row in fit if self._fits(where, row)]
            table = pa.Table.from_pylist([row for _, row in fit])
        self._done.append(table)
        self.places += [where for where, _ in fit]

    def _fits(self, where: str, row: Row) -> bool:
        for name in row:
            try:
                pa.array([(self._first or row)[name], row[name]])
            except NOT_FOR_ARROW as error:
                self.unfit.append(f"{where}: column {name!r} has not the type of the first row's ({error})")
                return False
        return True

    def rows(self) -> Dataset:
        """All of them."""
        self._store()
        return Dataset(pa.concat_tables(self._done, promote_options="permissive"))


def _row(row: Row | ValueError) -> Row:
    if isinstance(row, ValueError):
        raise row
    return row


def _spaced(row: Row) -> dict[str, str]:
    """Completions that people wrote, where they do not begin with one space and end with none."""
    texts = {name: row[name] for name in ("completion", "chosen", "rejected") if name in row}
    return {name: " " + text.strip() for name, text in texts.items() if text != " " + text.strip()}


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
    elif path.is_file() and source.endswith(".parquet"):
        yield from _read_parquet(path)
    elif path.is_file():
        raise ValueError(f"{source} must end with {', '.join(JSON_LINES)} or .parquet")
    elif source.endswith((*JSON_LINES, ".parquet")) or source.startswith((".", "/")):
        raise ValueError(f"there is no file or folder {source}; check the path")
    else:
        yield from _read_hub(source, split, subset)


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
    except (ValueError, RecursionError) as error:  # or not UTF-8, or nested without end
        return ValueError(f"the line is not JSON ({error})")
    return row if isinstance(row, dict) else ValueError(f"the line is not a JSON object, but {row!r:.40}")


def _read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        batches = pq.ParquetFile(path).iter_batches(batch_size=CHUNK)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from ((f"{path}, row {i}", row) for i, row in enumerate(rows))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"cannot load {str(path)!r}: {error}; it is corrupt, make it again") from error


def _read_hub(source: str, split: str, subset: str | None) -> Iterator[tuple[str, Row]]:
    try:
        table = load_dataset(source, subset, split=split)
    except (OSError, ValueError, RuntimeError, DatasetGenerationError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ValueError(
            f"cannot load {source!r}: {reason}  Give a file or folder that exists, or the hub id of a data "
            "set (and its subset and split), with the network up or the files in the local cache"
        ) from error
    yield from ((f"{source}, row {i}", row) for i, row in enumerate(table))


def first(rows: Dataset, count: int) -> Dataset:
    """So many rows, or all if there are fewer."""
    return rows.select(range(min(count, len(rows))))
