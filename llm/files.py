"""How is a file kept?  Whole or not at all, on the disk before it counts, and known by what it holds.

A folder is complete when `complete.json` says so, which is written last: size and SHA-256 of every file.
What cannot be written is an OSError that says how much room there is, and what was there before still is.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from shutil import disk_usage
from typing import Any

COMPLETE = "complete.json"


def write_whole(path: str | Path, data: bytes) -> None:
    """A file, whole or not at all: written beside its place, synced, then renamed."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json_lines(path: str | Path, rows: Iterable[Any]) -> None:
    """Rows as JSON Lines, gzipped if the name ends with .gz; a ValueError if one holds NaN or infinity."""
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()
    write_whole(path, gzip.compress(text, mtime=0) if Path(path).suffix == ".gz" else text)


def write_json(path: str | Path, content: Any) -> None:
    """One JSON document, whole or not at all."""
    write_json_lines(path, [plain(content)])


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object that a file holds; a ValueError if it holds none."""
    try:
        found = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        told = f"{path} is corrupt: it is not JSON ({error}); delete it or bring it back"
        raise ValueError(told) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is corrupt: it must hold a JSON object, but holds {found!r:.40}")
    return found


def plain(value: Any) -> Any:
    """What JSON can hold: records as objects, paths as text, numbers of NumPy as numbers, NaN as text."""

    def other(x: Any) -> Any:
        if is_dataclass(x) and not isinstance(x, type):
            return asdict(x)
        return dict(x) if isinstance(x, Mapping) else x.item() if hasattr(x, "item") else str(x)

    return json.loads(json.dumps(value, default=other), parse_constant=str)


def cannot_write(path: str | Path, error: Exception) -> OSError:
    """What to say when something cannot be written, which PyTorch does not say of a full disk."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    place = next(folder for folder in Path(path).resolve().parents if folder.exists())
    free = f"{disk_usage(place).free / 1e6:.3g} MB are free there"
    return OSError(f"cannot write {path}: {reason}; make room, or choose another folder ({free})")


def sync(path: Path) -> None:
    """Wait until a file, or which names a folder holds, would survive a loss of power."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # folders on Windows
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def content(path: str | Path) -> str:
    """What tells a file, or the files of a folder, from any other content: 16 hexadecimal digits."""
    path = Path(path)
    one = path if path.is_file() else path / COMPLETE
    if one.is_file():
        return digest(one)[:16]
    inside = path / "shards" if (path / "shards").is_dir() else path
    files = sorted(p for p in inside.glob("[!.]*") if p.is_file())
    if not files:
        raise ValueError(f"the folder {path} holds no files; check the path")
    return sha256("".join(f"{p.name} {digest(p)}\n" for p in files).encode()).hexdigest()[:16]


def mark_complete(folder: Path) -> None:
    """Sync every file of a folder, and write down size and hash of each."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != COMPLETE)
    for path in files:
        sync(path)
    write_json(folder / COMPLETE, {path.relative_to(folder).as_posix(): _known_by(path) for path in files})


def damage(folder: Path) -> str | None:
    """The first file of a complete folder that is not as it was written, and what is wrong with it."""
    try:
        for name, was in read_json(folder / COMPLETE).items():
            if _known_by(folder / name) != was:
                return f"{folder / name} holds something else than was written"
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except (OSError, ValueError) as error:
        return f"{folder / COMPLETE} cannot be read ({error})"
    return None


def _known_by(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": digest(path)}
