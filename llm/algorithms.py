"""Which algorithm, and what does it read?

An algorithm is one of `bandits` by name, or a reader's own as module:Class.  Its hyper-parameters are the
fields of its dataclass.  What has to be there for it is asked of itself: it is shown one group of samples,
and the fields that it looks at are written down.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from importlib import import_module
from math import prod
from typing import Any, NamedTuple

import torch

import bandits
from bandits.samples import Samples, sample_axes
from bandits.sampling.observation import fields_read
from llm.choices import OFFLINE, ONLINE

# Where the name is not that of the class, or the class is not all
MADE: dict[str, Callable[..., Any]] = {
    "OnlineDPO": bandits.DPO,
    "PPO": partial(bandits.PPO, baseline=bandits.behavior_value),
}


def algorithm(options: argparse.Namespace, *, online: bool) -> Any:
    """The algorithm that was chosen, with the hyper-parameters that it has and that were given.

    Raises:
        ValueError: there is none of that name, or it refuses a hyper-parameter.
    """
    made: Any = MADE.get(options.algorithm) or _class(options.algorithm)
    names = [field.name for field in fields(getattr(made, "func", made)) if field.init]
    usual = ["beta", "clip", "mixture", *["k"] * online]  # recorded rows have the k that they have
    given = {name: getattr(options, name) for name in usual if name in names}
    given |= dict(_assigned(text) for text in options.set)
    for name in given:
        if name not in names:
            raise ValueError(
                f"{options.algorithm} has no hyper-parameter {name!r}; it has {', '.join(names)}"
            )
    try:
        return made(**{name: value for name, value in given.items() if value is not None})
    except TypeError as error:
        raise ValueError(f"{options.algorithm}: {error}; give it by --set name=value") from error


def _class(name: str) -> Any:
    ours = {each.__name__: each for each in bandits.ALGORITHMS}
    if name in ours:
        return ours[name]
    module, colon, wanted = name.partition(":")
    if not colon:
        known = ", ".join(dict.fromkeys([*OFFLINE, *ONLINE, *ours]))
        raise ValueError(f"algorithm must be one of {known}, or your own as module:Class, but is {name!r}")
    try:
        found = getattr(import_module(module), wanted)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"algorithm {name!r} cannot be imported: {error}") from error
    if not (hasattr(found, "__dataclass_fields__") and callable(getattr(found, "update", None))):
        raise ValueError(f"algorithm {name!r} must be a dataclass with k and update(samples) -> Update")
    return found


def _assigned(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set must be name=value, but is {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


class Needs(NamedTuple):
    """What an algorithm reads, and whether it trains a value V(x)."""

    fields: frozenset[str]
    trains_value: bool


def needs(algorithm: Any) -> Needs:
    """The fields of `Samples` that its update looks at, and whether it has a coefficient for V.

    Example:
        >>> from bandits import ReMax
        >>> sorted(needs(ReMax(beta=1.0)).fields)
        ['greedy_reward', 'log_prob', 'reference_log_prob', 'reward']
    """
    sizes = {name: (algorithm.k,) * axes for name, axes in sample_axes(Samples).items() if name != "arm"}
    group = {name: torch.linspace(0.2, 0.8, prod(size)).view(size) for name, size in sizes.items()}
    read, update = fields_read(algorithm, Samples(**group, population=Samples(**group)))
    return Needs(read, update.value is not None)
