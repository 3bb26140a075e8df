"""What is in the folder of a run?  What it was asked, what it did, and nothing half-written.

settings.json   what decides the result, with the content of what was read: a folder with results of other
                settings is refused, one without any is taken
versions.json   written last: what was said, the packages that made it, the hardware and the minutes
log.jsonl       numbers along training
metrics.json    numbers at the end
model/          weights (safetensors) and tokenizer
.lock           held by the one process that writes here

Other settings, settings that cannot be read and a damaged model are a ValueError; a folder that is in use or
cannot be written to, an OSError.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from llm import files

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SETTINGS, VERSIONS, OWNER = "settings.json", "versions.json", ".owner.json"
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "numpy")
RESULTS = (".json", ".jsonl", ".safetensors")  # checkpoints too
HELD_BY = "read as"  # between the name of what was read and its content


@contextmanager
def claimed(folder: str | Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Write in a folder alone, whose results are all of these settings."""
    folder = Path(folder)
    same = check(folder, settings)
    if int(os.environ.get("RANK", "0")):  # of several processes of one run the first claims
        yield
        return
    lock, read_only = FileLock(folder / ".lock", timeout=0), False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OSError(f"{folder} is in use by {_owner(folder)}; wait, or choose another") from error
    except OSError as error:
        read_only = same  # it may have everything already
        if not read_only:
            raise files.cannot_write(folder, error) from error
    try:
        if not same:
            files.write_json(folder / SETTINGS, settings)
        if not read_only:
            owner = {
                "process": os.getpid(),
                "command": " ".join(sys.argv),
                "since": time.strftime("%H:%M:%S"),
            }
            files.write_json(folder / OWNER, owner)
        yield
    finally:
        if not read_only:
            (folder / OWNER).unlink(missing_ok=True)
            lock.release()


def _owner(folder: Path) -> str:
    try:
        found = files.read_json(folder / OWNER)
        return f"process {found['process']} ({found['command']}), since {found['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def check(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the folder has these settings already, or more; without results it may have any."""
    results = any(Path(name).suffix in RESULTS for name in _made_there(folder))
    if not results or not (folder / SETTINGS).exists():
        return False
    there = files.read_json(folder / SETTINGS)
    for name, now in sorted(files.plain(settings).items()):
        was = there.get(name)
        if _content(was) != _content(now):
            told = f"{folder} was made with {name} = {was!r}, not {now!r}"
            raise ValueError(f"{told}; choose another folder, or the same settings")
    return True


def _made_there(folder: Path) -> list[str]:
    """Files beside settings and versions, nothing hidden."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    ours = (path for path in found if path.name not in (SETTINGS, VERSIONS))
    return sorted(path.as_posix() for path in ours if not any(part.startswith(".") for part in path.parts))


def _content(setting: Any) -> Any:
    """What is compared: of what was read not the name."""
    if isinstance(setting, list):
        return [_content(each) for each in setting]
    return re.sub(rf".*\({HELD_BY} ", "", setting) if isinstance(setting, str) else setting


def source(name: str) -> str:
    """The name of a file or folder that is read, with its content; a hub id with its commit, if here."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if Path(name).exists():
        return f"{name} ({HELD_BY} {files.content(name)})"
    for kind in ("models", "datasets"):
        commit = Path(HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}" / "refs" / "main"
        if commit.is_file():
            return f"{name} ({HELD_BY} {commit.read_text().strip()[:16]})"
    return name


def made(folder: Path, settings: Mapping[str, Any]) -> list[str] | None:
    """What was said when the folder was finished with these settings; None if it is not finished."""
    if not check(folder, settings) or not (folder / VERSIONS).exists():
        return None
    wrong = files.damage(folder / "model") if (folder / "model" / files.COMPLETE).exists() else None
    if wrong:
        raise ValueError(f"{folder} was finished, but {wrong}; delete {folder / 'model'}, to be made again")
    found = files.read_json(folder / VERSIONS)
    said, names, there = found.get("said"), found.get("files"), _made_there(folder)
    if not (isinstance(said, list) and isinstance(names, list) and all(name in there for name in names)):
        return None
    before = f"{folder} was already there, made in {found.get('minutes')} minutes; nothing was done"
    return [before, *(f"then: {line}" for line in said)]


def finish(folder: Path, said: Sequence[str], minutes: float) -> None:
    """Write down that everything is there, what was said, and how long it took with what came before."""
    path = folder / VERSIONS
    before = files.read_json(path).get("minutes") if path.exists() else 0.0
    minutes += before if isinstance(before, int | float) else 0.0
    made_here = [name for name in _made_there(folder) if not name.startswith("checkpoint-")]
    files.write_json(path, {"said": said, "files": made_here} | provenance(minutes))


def provenance(minutes: float) -> dict[str, Any]:
    """Versions, hardware and minutes."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}{gpu}",
        "minutes": round(minutes, 1),
    }


def write_log(folder: str | Path, history: Sequence[Mapping[str, Any]]) -> None:
    """The Trainer's history as JSON Lines; what a resumed run logged again is there once."""
    unique = {json.dumps(entry, sort_keys=True): entry for entry in files.plain(history)}
    files.write_json_lines(Path(folder) / "log.jsonl", unique.values())


def save_model(
    folder: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: Mapping[str, Tensor],
) -> None:
    """Weights and tokenizer in `folder`/model: written, then renamed."""
    final, temporary = Path(folder) / "model", Path(folder) / ".model"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)
        files.mark_complete(temporary)
        temporary.replace(final)
    except Exception as error:  # safetensors has its own for a full disk
        told = files.cannot_write(final, error)
        shutil.rmtree(temporary, ignore_errors=True)
        raise told from error
