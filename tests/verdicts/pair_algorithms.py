"""Which algorithms of pairs and single answers stand here, because `bandits` has none of them?

Variants that trainers have and no class of the package is, in the same array operators: a row that is laid
beside one of these says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from array_api_compat import array_namespace

from bandits import MarginLoss, Update
from bandits.samples import Array, TokenSamples, TokenUpdate, log_sigmoid, need


def exp(x: Array) -> Array:
    """e^x."""
    return array_namespace(x).exp(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)."""
    return exp(log_sigmoid(x))


def slope_of_sigmoid(x: Array) -> Array:
    """sigma(x) sigma(-x)."""
    return exp(log_sigmoid(x) + log_sigmoid(-x))


TAU = 0.05  # DiscoPOP's temperature


def discovered(z: Array) -> Array:
    """DiscoPOP's loss of the margin: logistic below zero, exponential above, blended by sigma(z / tau)."""
    m = sigmoid(z / TAU)
    return -(1 - m) * log_sigmoid(z) + m * exp(-z)


def discovered_slope(z: Array) -> Array:
    """Its derivative."""
    m, turn = sigmoid(z / TAU), slope_of_sigmoid(z / TAU) / TAU
    return turn * (log_sigmoid(z) + exp(-z)) - (1 - m) * sigmoid(-z) - m * exp(-z)


discopop = MarginLoss(discovered, discovered_slope)


@dataclass(frozen=True)
class Labelled:
    """-log sigma(+-beta h) of one answer: BCO without its shift."""

    beta: float
    k: ClassVar[int] = 1

    def update(self, samples: TokenSamples) -> Update:
        p = need(samples, "desirable")
        return Update(log_prob=self.beta * (p - sigmoid(self.beta * samples.log_ratio)))


@dataclass(frozen=True)
class OneByOne:
    """An algorithm of single labelled answers on pairs: the winner is liked, the loser is not."""

    algorithm: Any
    k: ClassVar[int] = 2

    def update(self, samples: TokenSamples) -> Update:
        p = need(samples, "preference")[..., 0, 1]
        wins = array_namespace(p).stack([p, 1 - p], axis=-1)
        return self.algorithm.update(replace(samples, desirable=wins))


@dataclass(frozen=True)
class Divergence:
    """f-DPO's score f'(pi/ref) and its derivative in h = log pi/ref."""

    name: str
    score: Callable[[Array], Array]
    slope: Callable[[Array], Array]


forward_kl = Divergence("forward_kl", lambda h: 1 - exp(-h), lambda h: exp(-h))
jensen_shannon = Divergence("js_divergence", lambda h: log_sigmoid(h), lambda h: sigmoid(-h))
half_alpha = Divergence("alpha_divergence", lambda h: 2 * (1 - exp(-h / 2)), lambda h: exp(-h / 2))


@dataclass(frozen=True)
class FDPO:
    """DPO with another f-divergence than the KL: the scores of a pair are f'(pi/ref)."""

    beta: float
    f: Divergence
    k: ClassVar[int] = 2

    def update(self, samples: TokenSamples) -> Update:
        p, h = need(samples, "preference")[..., 0, 1], samples.log_ratio
        score = self.beta * self.f.score(h)
        z = score[..., 0] - score[..., 1]
        c = self.beta * (p * sigmoid(-z) - (1 - p) * sigmoid(z))
        return Update(log_prob=array_namespace(c).stack([c, -c], axis=-1) * self.f.slope(h))


@dataclass(frozen=True)
class APODown:
    """sigma(beta h_w) - sigma(beta (h_w - h_l)): the winner down, the loser further down."""

    beta: float
    k: ClassVar[int] = 2

    def update(self, samples: TokenSamples) -> Update:
        p, u = need(samples, "preference")[..., 0, 1], self.beta * samples.log_ratio
        xp = array_namespace(u)
        contrast = (2 * p - 1) * slope_of_sigmoid(u[..., 0] - u[..., 1])
        wins = xp.stack([p, 1 - p], axis=-1)
        both = xp.stack([contrast, -contrast], axis=-1)
        return Update(log_prob=self.beta * (both - wins * slope_of_sigmoid(u)))


@dataclass(frozen=True)
class WithoutReference:
    """An algorithm whose reference gives every answer the same probability."""

    algorithm: Any

    @property
    def k(self) -> int:
        return self.algorithm.k

    def update(self, samples: TokenSamples) -> Update:
        return self.algorithm.update(replace(samples, reference_log_prob=0 * samples.log_prob))


@dataclass(frozen=True)
class WithImitation:
    """An algorithm of pairs and weight log pi of the winner, over its tokens or over a number of them."""

    algorithm: Any
    weight: float
    tokens: int | None = None  # None: its own

    @property
    def k(self) -> int:
        return self.algorithm.k

    def update(self, samples: TokenSamples) -> Update:
        p = need(samples, "preference")[..., 0, 1]
        wins = array_namespace(p).stack([p, 1 - p], axis=-1)
        divisor = need(samples, "length") if self.tokens is None else self.tokens
        return Update(log_prob=self.algorithm.update(samples).log_prob + self.weight * wins / divisor)


@dataclass(frozen=True)
class AlphaPO:
    """SimPO whose score of an answer is (1 - q^-alpha) / alpha, q its mean probability of a token."""

    beta: float
    alpha: float
    margin: float
    k: ClassVar[int] = 2

    def update(self, samples: TokenSamples) -> Update:
        p, length = need(samples, "preference")[..., 0, 1], need(samples, "length")
        slope = exp(-self.alpha * samples.log_prob / length)
        score = self.beta * (1 - slope) / self.alpha
        z = score[..., 0] - score[..., 1]
        c = self.beta * (p * sigmoid(self.margin - z) - (1 - p) * sigmoid(self.margin + z))
        return Update(log_prob=array_namespace(c).stack([c, -c], axis=-1) * slope / length)


@dataclass(frozen=True)
class Desensitised:
    """LD-DPO: DPO on sums in which tokens behind the end of the shorter answer count `tail` times."""

    beta: float
    tail: float
    k: ClassVar[int] = 2

    def update(self, samples: TokenSamples) -> TokenUpdate:
        p, mask = need(samples, "preference")[..., 0, 1], samples.mask
        shared = (mask[..., :1, :] * mask[..., 1:, :]) + 0 * mask
        weight = mask * (self.tail + (1 - self.tail) * shared)
        h = (weight * samples.token_log_ratio).sum(-1)
        z = self.beta * (h[..., 0] - h[..., 1])
        c = self.beta * (p * sigmoid(-z) - (1 - p) * sigmoid(z))
        return TokenUpdate(token_log_prob=weight * array_namespace(c).stack([c, -c], axis=-1)[..., None])
