"""Which loss functions of OpenRLHF and verl are called alone?

Their files are imported without the packages around them, which ask for GPUs: empty modules stand for the
packages, and for what the losses do not use.  `ALONE` is where `make verdicts` puts both libraries.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bandits.samples import TokenSamples

ALONE = Path(os.environ.get("VERDICTS_LIBRARIES", Path(__file__).parents[2] / ".venv-peers" / "alone"))


def empty(name: str, **names: Any) -> ModuleType:
    """A module that stands for another, with a few names in it."""
    made = ModuleType(name)
    made.__path__ = [str(ALONE.joinpath(*name.split(".")))]
    made.__dict__.update(names)
    sys.modules[name] = made
    return made


@contextmanager
def standing_in(*names: str) -> Iterator[None]:
    """Empty modules for packages that are not there, taken away again."""
    for name in names:
        empty(name)
    yield
    for name in names:
        del sys.modules[name]


def alone(name: str) -> Any:
    """One module, without what its packages import."""
    if str(ALONE) not in sys.path:
        sys.path.append(str(ALONE))
    parts = name.split(".")
    for i in range(1, len(parts)):
        package = ".".join(parts[:i])
        if package not in sys.modules:
            empty(package)
    return importlib.import_module(name)


@cache
def openrlhf() -> Any:
    """openrlhf/models/loss.py."""
    with standing_in("deepspeed"):
        return alone("openrlhf.models.loss")


@cache
def verl() -> Any:
    """verl/trainer/ppo/core_algos.py."""
    empty("verl.trainer.config", AlgoConfig=type("AlgoConfig", (), {}))
    empty("verl.workers.config", ActorConfig=Actor)
    groupwise = alone("verl.utils.groupwise")
    utils = sys.modules["verl.utils"]
    utils.as_torch_index, utils.group_mean_std = groupwise.as_torch_index, groupwise.group_mean_std
    return alone("verl.trainer.ppo.core_algos")


class Actor(SimpleNamespace):
    """verl's configuration of the policy, with what its losses read of it."""

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def actor(**given: Any) -> Actor:
    """verl's defaults, and what is given."""
    usual = {"clip_ratio": 0.2, "clip_ratio_low": 0.2, "clip_ratio_high": 0.2, "clip_ratio_c": 3.0}
    return Actor(**{**usual, "global_batch_info": {}, "tau_pos": 1.0, "tau_neg": 1.05, **given})


# ---- OpenRLHF ----------------------------------------------------------------------------------------------


def openrlhf_dpo(beta: float, **settings: Any) -> Callable[[TokenSamples], Tensor]:
    """`DPOLoss`, on sums."""

    def loss(s: TokenSamples) -> Tensor:
        columns = (*s.log_prob.unbind(-1), *s.reference_log_prob.unbind(-1))
        return openrlhf().DPOLoss(beta, **settings)(*columns)[0]

    return loss


def openrlhf_policy(
    advantage: Callable[[Tensor], Tensor], **settings: Any
) -> Callable[[TokenSamples], Tensor]:
    """`PolicyLoss`, with advantages of answers at each of their tokens."""

    def loss(s: TokenSamples) -> Tensor:
        a, tokens = rows(advantage(s.reward)[..., None] * s.mask), map(rows, of_tokens(s))
        return openrlhf().PolicyLoss(**settings)(*tokens, a, rows(s.mask))[0]

    return loss


# ---- verl --------------------------------------------------------------------------------------------------


def verl_policy(
    name: str, estimator: str, mode: str, *, config: dict[str, Any] | None = None, **settings: Any
) -> Callable[[TokenSamples], Tensor]:
    """A policy loss of verl's register on the advantages of one of its estimators.

    Args:
        mode: `loss_agg_mode`.
        settings: of the estimator.
    """

    def loss(s: TokenSamples) -> Tensor:
        n, k = s.reward.shape
        last = torch.nn.functional.one_hot(s.length.long() - 1, s.mask.shape[-1]) * s.mask
        scores, mask = rows(s.reward[..., None] * last), rows(s.mask)
        index = np.repeat(np.arange(n), k)
        estimate = verl().get_adv_estimator_fn(estimator)
        a, _ = estimate(token_level_rewards=scores, response_mask=mask, index=index, **settings)
        log_prob, old = map(rows, of_tokens(s))
        made = verl().get_policy_loss_fn(name)
        return made(old, log_prob, a, mask, loss_agg_mode=mode, config=actor(**(config or {})))[0]

    return loss


def verl_kl(penalty: str, mode: str) -> Callable[[TokenSamples], Tensor]:
    """verl's KL loss by itself, `kl_penalty` aggregated by `agg_loss`."""

    def loss(s: TokenSamples) -> Tensor:
        each = verl().kl_penalty(rows(s.token_log_prob), rows(s.token_reference_log_prob), penalty)
        return verl().agg_loss(each, rows(s.mask), mode)

    return loss


def added(first: Any, weight: float, second: Any) -> Callable[[TokenSamples], Tensor]:
    """first + weight second."""
    return lambda s: first(s) + weight * second(s)


# ---- shapes ------------------------------------------------------------------------------------------------


def rows(x: Tensor) -> Tensor:
    """(n, k, T) as trainers hold it, (n k, T)."""
    return x.reshape(-1, x.shape[-1])


def of_tokens(s: TokenSamples) -> tuple[Tensor, Tensor]:
    """log pi and log mu of tokens."""
    return s.token_log_prob, s.token_behavior_log_prob
