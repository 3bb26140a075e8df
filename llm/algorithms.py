"""Which algorithm, and what does it read?

An algorithm is one of `bandits` by name, or a reader's own as module:Class.  Its hyper-parameters are the
fields of its dataclass.  What has to be there for it is asked of itself: it is shown one group of samples,
and the fields that it looks at are written down.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from importlib import import_module
from math import prod
from typing import Any, ClassVar, NamedTuple

import torch

import bandits
from bandits import sequences
from bandits.samples import Samples, TokenSamples, sample_axes, token_axes
from bandits.sampling.observation import fields_read


class OnlineDPO(bandits.DPO):
    """DPO on the policy's own pairs."""

    needs_on_policy: ClassVar[bool] = True


@dataclass(frozen=True)
class GroupQRPO(bandits.QRPO):
    """QRPO on ranks among k completions that the reference sampled, 1/k + (1 - 1/k) F on average  (T13.5).

    A language model's answers cannot all be ranked; the more of them, the nearer: `--set k=8`.
    """

    quantile: Callable[[Samples], Any] = bandits.group_quantile
    k: int = 2
    needs_reference_samples: ClassVar[bool] = True


TOKEN_WISE = (
    sequences.TokenPPO,
    sequences.TokenGRPO,
    sequences.TokenSquare,
    sequences.KLInLoss,
    sequences.KLInReward,
)

# Where the name is not that of the class of `bandits`, or the class is not all
MADE: dict[str, Callable[..., Any]] = {
    "OnlineDPO": OnlineDPO,
    "QRPO": GroupQRPO,
    "PPO": partial(bandits.PPO, baseline=bandits.behavior_value),
}


def algorithm(options: argparse.Namespace, *, online: bool) -> Any:
    """The algorithm that was chosen, with the hyper-parameters that it has and that were given."""
    made: Any = MADE.get(options.algorithm) or _class(options.algorithm)
    names = [field.name for field in fields(getattr(made, "func", made)) if field.init]
    usual = ["beta", "clip", "mixture", *["k"] * online]  # recorded rows have the k that they have
    given = {name: getattr(options, name) for name in usual if name in names}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set must be name=value, but is {text!r}")
        if name not in names:
            has = f"it has {', '.join(names)}"
            raise ValueError(f"{options.algorithm} has no hyper-parameter {name!r}; {has}")
        given[name] = _value(value)
    try:
        found = made(**{name: value for name, value in given.items() if value is not None})
    except TypeError as error:
        raise ValueError(f"{options.algorithm}: {error}; give it by --set name=value") from error
    return sequences.Averaged(found) if options.average else found


def _value(text: str) -> Any:
    """A number, or what `bandits` has under this name (a baseline, a divisor), or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return getattr(bandits, text, getattr(sequences, text, text))


def _class(name: str) -> Any:
    ours = {each.__name__: each for each in (*bandits.ALGORITHMS, *TOKEN_WISE)}
    if name in ours:
        return ours[name]
    module, colon, wanted = name.partition(":")
    if not colon:
        known = ", ".join(dict.fromkeys([*ours, *MADE]))
        raise ValueError(f"algorithm must be one of {known}, or your own as module:Class, but is {name!r}")
    try:
        found = getattr(import_module(module), wanted)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"algorithm {name!r} cannot be imported: {error}") from error
    if not (hasattr(found, "__dataclass_fields__") and callable(getattr(found, "update", None))):
        raise ValueError(f"algorithm {name!r} must be a dataclass with k and update(samples) -> Update")
    return found


class Needs(NamedTuple):
    """What an algorithm reads, whether it trains a value V(x), and whose samples it takes."""

    fields: frozenset[str]
    trains_value: bool
    own_samples: bool  # those of the policy in training alone
    reference_samples: bool = False  # those of the reference alone


def needs(algorithm: Any) -> Needs:
    """What an algorithm looks at, shown one group of samples.

    Example:
        >>> from bandits import ReMax
        >>> sorted(needs(ReMax(beta=1.0)).fields), needs(ReMax(beta=1.0)).own_samples
        (['greedy_reward', 'log_prob', 'reference_log_prob', 'reward'], True)
    """
    axes, tokens = sample_axes(TokenSamples), token_axes(TokenSamples)
    sizes = {name: (algorithm.k,) * axes[name] + (2,) * tokens[name] for name in axes if name != "arm"}
    group = {name: torch.linspace(0.2, 0.8, prod(size)).view(size) for name, size in sizes.items()}
    read, update = fields_read(algorithm, TokenSamples(**group, population=TokenSamples(**group)))
    own = getattr(algorithm, "needs_on_policy", False) or "greedy_reward" in read
    reference = getattr(algorithm, "needs_reference_samples", False)
    return Needs(read, getattr(update, "value", None) is not None, own, reference)
