"""One folder a run: what it was asked, what it did, and nothing half-written.

settings.json   what decides the result: a folder made with other settings is refused
versions.json   of the packages that made it, the hardware and the minutes
log.jsonl       numbers along training
metrics.json    numbers at the end
model/          weights (safetensors) and tokenizer
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm.data import write_json_lines, write_whole

SETTINGS = "settings.json"
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "numpy")


def claim(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Write down what a folder will hold, or check that what is there was made with the same settings.

    Raises:
        ValueError: it was made with others, or its settings cannot be read.
        OSError: it cannot be written to.
    """
    path = Path(folder) / SETTINGS
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = plain(settings)
    if not path.exists():
        write_json_lines(path, [settings])
        return
    try:
        there = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is corrupt ({error}); choose another folder") from error
    for name in sorted(there.keys() | settings.keys()):
        if there.get(name) != settings.get(name):
            raise ValueError(
                f"{folder} was made with {name} = {there.get(name)!r}, not {settings.get(name)!r}; choose "
                "another folder, or the same settings"
            )


def write_json(path: str | Path, content: Any) -> None:
    """One JSON document, whole or not at all."""
    write_json_lines(path, [plain(content)])


def write_text(path: str | Path, text: str) -> None:
    """A text, whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode()))


def read_json(path: str | Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(Path(path).read_text())


def write_log(folder: str | Path, history: Sequence[Mapping[str, Any]]) -> None:
    """The Trainer's history as JSON Lines; what a resumed run logged again is there once."""
    unique = {json.dumps(plain(entry), sort_keys=True): entry for entry in history}
    write_json_lines(Path(folder) / "log.jsonl", [plain(entry) for entry in unique.values()])


def save_model(
    folder: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Weights (the model's if none are given) and tokenizer in `folder`/model: written, then renamed."""
    final, temporary = Path(folder) / "model", Path(folder) / f".model.{os.getpid()}"
    model.save_pretrained(temporary, state_dict=weights)
    tokenizer.save_pretrained(temporary)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    return final


def provenance(minutes: float) -> dict[str, Any]:
    """Versions, hardware and minutes."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}{gpu}",
        "minutes": round(minutes, 1),
    }


def plain(value: Any) -> Any:
    """What JSON can hold: records as objects, paths as text, numbers of NumPy as numbers, if finite."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    value = value.item() if hasattr(value, "item") else value
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
