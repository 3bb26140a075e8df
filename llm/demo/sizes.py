"""How large is the demo?  Three sizes that were tried, and whatever a reader wants instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from llm.files import read_json

Of = TypeVar("Of", bound="Size")


@dataclass(frozen=True)
class Size:
    """How much of everything; the defaults take 7 minutes on 2 cores."""

    vocabulary: int = 2000  # of a tokenizer that is trained
    layers: int = 3
    width: int = 64
    heads: int = 4
    prompt_tokens: int = 64
    completion_tokens: int = 28
    fine_tuning_steps: int = 500
    fine_tuning_rate: float = 2e-3
    comparisons: int = 1024
    reward_steps: int = 80
    prompts: int = 1024
    k: int = 4
    betas: tuple[float, ...] = (0.05, 0.2, 1.0)
    offline_steps: int = 64
    online_steps: int = 48
    batch: int = 16
    learning_rate: float = 1e-3
    held_out: int = 400
    frontier: int = 64  # completions of the reference for each of them: what could have been had at most
    watched: int = 80  # held-out prompts that are looked at during training

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "bool":
                if type(value) is not bool:
                    raise ValueError(f"{field.name} must be true or false, but is {value!r:.99}")
                continue
            grid = field.type.startswith("tuple")
            if isinstance(value, tuple) != grid:
                rule = "a list of numbers" if grid else "one number"
                raise ValueError(f"{field.name} must be {rule}, but is {value!r:.99}")
            several = value if isinstance(value, tuple) else (value,)
            kinds = (int,) if field.type == "int" else (int, float)
            if not several or any(type(x) not in kinds or not 0 < x < 1e9 for x in several):
                rule = "a positive integer" if field.type == "int" else "positive"
                raise ValueError(f"{field.name} must be {rule}, but is {value!r:.99}")
        for name in ("k", "held_out", "frontier", "watched", "judged"):
            if getattr(self, name, 2) < 2:
                raise ValueError(f"{name} must be at least 2, but is {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of the {self.heads} heads, but is {self.width}")

    @property
    def shape(self) -> dict[str, int]:
        """Options of a new model."""
        return {"layers": self.layers, "width": self.width, "heads": self.heads}


SIZES = {
    "full": Size(),
    "quick": Size(  # 2 minutes
        vocabulary=1000,
        layers=2,
        width=48,
        prompt_tokens=32,
        completion_tokens=20,
        fine_tuning_steps=150,
        comparisons=512,
        reward_steps=40,
        prompts=256,
        betas=(0.1, 1.0),
        offline_steps=24,
        online_steps=16,
        held_out=192,
        frontier=16,  # enough for the best of 4
        watched=48,
    ),
    "titles": Size(  # an hour: a vocabulary of 50 000 tokens costs more than the rest of the model
        layers=2,
        width=128,
        prompt_tokens=128,
        completion_tokens=24,
        fine_tuning_steps=1200,
        comparisons=3072,
        reward_steps=288,
        prompts=512,
        learning_rate=3e-4,
    ),
}


def size_of(name: str) -> Size:
    """One of `SIZES`, or the defaults with the fields of a JSON file changed."""
    return among(SIZES, Size(), name)


def among(sizes: Mapping[str, Of], usual: Of, name: str) -> Of:
    """A size by name, or the usual one with the fields of a JSON file changed."""
    if name in sizes:
        return sizes[name]
    try:
        return changed(usual, read_json(name))
    except (OSError, ValueError, TypeError) as error:
        known = ", ".join(field.name for field in fields(usual))
        raise ValueError(
            f"size must be one of {', '.join(sizes)}, or a JSON file with some of {known}; {name!r}: {error}"
        ) from error


def changed(size: Of, values: Mapping[str, Any]) -> Of:
    """A size with some fields as JSON has them."""
    given: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in values.items()}
    return replace(size, **given)
