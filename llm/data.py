"""Rows of text from files and the hub, each checked before anything is trained on it.

They come from JSON Lines (.jsonl, .jsonl.gz), Parquet, a folder of such files, or a hub id, row by row, in
one of the layouts of `llm.layouts`: in memory are Arrow columns, about as large as the text.  A bad row is
refused with its file, line and remedy, or on request skipped and counted.  Completions carry no
end-of-sequence token, and begin with one space unless they are to be left as they are.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
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


Kind = Callable[[Row], dict[str, Any]]


class Loaded(NamedTuple):
    """Rows of one kind, and what was done to them."""

    rows: Dataset
    skipped: tuple[str, ...]  # a line for each bad row: where it is and what is wrong
    places: tuple[str, ...] = ()  # where each good row is
    spaced: int = 0  # rows with a completion that was stripped or given a leading space


class _Found(NamedTuple):
    where: str
    row: dict[str, Any]
    spaced: bool


def load_rows(
    source: str | Path,
    kind: Kind,
    *,
    skip_bad: bool = False,
    as_is: bool = False,
) -> Loaded:
    """The rows of a source, each checked and brought to the columns of its kind.

    Args:
        source: a file, a folder of files, or a hub id.
        kind: `demonstration`, `preference`, `scored` or `judged`.
        skip_bad: leave bad rows out and say so in the result, instead of refusing the source.
        as_is: leave completions as they are, instead of giving each one space in front and none behind.

    Raises:
        ValueError: the source cannot be read, holds no rows or holds bad ones.
    """
    places: list[str] = []
    bad: list[str] = []
    table, spaced = pa.table({}), 0
    good = _alike(_read(str(source)), kind, as_is, bad)
    for chunk in iter(lambda: list(islice(good, CHUNK)), []):
        table, stored = _stored(table, chunk, bad)
        places += [found.where for found in stored]
        spaced += sum(found.spaced for found in stored)
    if bad and not skip_bad:
        count = f"{len(bad)} of {len(bad) + len(places)} rows are bad"
        remedy = "mend them, or leave them out with skip_bad=True"
        raise ValueError(f"{count}, the first is {bad[0]}; {remedy}")
    if not places:
        raise ValueError(f"{source} holds no good rows{': ' + bad[0] if bad else ''}; is it the right file?")
    return Loaded(Dataset(table), tuple(bad), tuple(places), spaced)


def _alike(rows: Iterator[tuple[str, Any]], kind: Kind, as_is: bool, bad: list[str]) -> Iterator[_Found]:
    """Rows of a kind, all with the columns and the k of the first; what is wrong with others is told."""
    first: Row | None = None
    for where, row in rows:
        try:
            found = kind(row if isinstance(row, Mapping) else _parsed(row))
            first = first or found
            if found.keys() != first.keys():
                columns = sorted(found.keys() ^ first.keys())
                raise ValueError(f"it and the rows before it do not have the same columns: {columns}")
            k, before = len(completions_of(found)), len(completions_of(first))
            if k != before:
                raise ValueError(f"it has {k} completions, the rows before it {before}: k must not vary")
        except ValueError as error:
            bad.append(f"{where}: {error}")
            continue
        changed = {} if as_is else _spaced(found)
        yield _Found(where, found | changed, bool(changed))


def _parsed(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # or not UTF-8, or nested without end
        raise ValueError(f"the line is not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"the line is not a JSON object, but {row!r:.40}")
    return row


def _spaced(row: Row) -> dict[str, str]:
    """Completions that people wrote, where they do not begin with one space and end with none."""
    texts = {name: row[name] for name in ("completion", "chosen", "rejected") if name in row}
    return {name: " " + text.strip() for name, text in texts.items() if text != " " + text.strip()}


def _joined(table: pa.Table, rows: list[Row]) -> pa.Table:
    return pa.concat_tables([table, pa.Table.from_pylist(rows)], promote_options="permissive")


def _stored(table: pa.Table, chunk: list[_Found], bad: list[str]) -> tuple[pa.Table, list[_Found]]:
    """The table with more rows, and which they are; what it cannot hold beside its own is told."""
    try:
        return _joined(table, [found.row for found in chunk]), chunk
    except NOT_FOR_ARROW:
        fit = []
    for found in chunk:
        try:
            for name, value in found.row.items():
                _joined(table.select({name} & {*table.column_names}), [{name: value}])
        except NOT_FOR_ARROW as error:
            bad.append(f"{found.where}: column {name!r} has not the type of the first rows ({error})")
        else:
            table = _joined(table, [found.row])
            fit.append(found)
    return table, fit


def _read(source: str) -> Iterator[tuple[str, Any]]:
    """(where, row) of each row, of JSON Lines as it is written."""
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.name.endswith((*JSON_LINES, ".parquet")))
        if not files:
            raise ValueError(f"the folder {source} holds no {', '.join(JSON_LINES)} or .parquet file")
        for file in files:
            yield from _read(str(file))
    elif path.is_file() and source.endswith(JSON_LINES):
        yield from _read_lines(path)
    elif path.is_file() and source.endswith(".parquet"):
        yield from _read_parquet(path)
    elif path.is_file():
        raise ValueError(f"{source} must end with {', '.join(JSON_LINES)} or .parquet")
    elif source.endswith((*JSON_LINES, ".parquet")) or source.startswith((".", "/")):
        raise ValueError(f"there is no file or folder {source}; check the path")
    else:
        yield from _read_hub(source)


def _read_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}:{number}", line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is corrupt after line {number} ({error}); make it again") from error


def _read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        batches = pq.ParquetFile(path).iter_batches(batch_size=CHUNK)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from ((f"{path}, row {i}", row) for i, row in enumerate(rows))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"cannot load {str(path)!r}: {error}; it is corrupt, make it again") from error


def _read_hub(source: str) -> Iterator[tuple[str, Row]]:
    try:
        table = load_dataset(source, split="train")
    except (OSError, ValueError, RuntimeError, DatasetGenerationError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ValueError(
            f"cannot load {source!r}: {reason}  Give a file or folder that exists, or the hub id of a data "
            "set with a split `train`, with the network up or the files in the local cache"
        ) from error
    yield from ((f"{source}, row {i}", row) for i, row in enumerate(table))


def first(rows: Dataset, count: int) -> Dataset:
    """So many rows, or all if there are fewer."""
    return rows.select(range(min(count, len(rows))))


def slices(rows: Dataset, size: int) -> Iterator[tuple[int, list[Row]]]:
    """So many rows at a time, each time after the number of the first of them."""
    for start in range(0, len(rows), size):
        yield start, rows.select(range(start, min(start + size, len(rows)))).to_list()
