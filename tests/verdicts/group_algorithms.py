"""Which algorithms of groups stand here, because `bandits` has none of them?

As in `pair_algorithms`: variants that trainers have, most of them token by token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from array_api_compat import array_namespace

from bandits import Update
from bandits.samples import Array, TokenSamples, TokenUpdate, need
from bandits.sequences.clipping import token_log_weight
from verdicts.pair_algorithms import exp, sigmoid


@dataclass(frozen=True)
class OwnKL:
    """A token-wise GRPO without its KL, and beta w_t h_t in its place, w_t = pi/mu of the token.

    The gradient of w k3(h) in log pi is w (k3 + 1 - e^-h) = w h: each token's own share of the KL, without
    that of the tokens it leads to  (T10.1).
    """

    grpo: Any
    beta: float

    @property
    def k(self) -> int:
        return self.grpo.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        push = NoKL(self.grpo).update(samples).token_log_prob
        pull = self.beta * exp(token_log_weight(samples)) * samples.token_log_ratio
        pull = samples.mask * pull / self.grpo.divisor(samples.mask)
        return TokenUpdate(token_log_prob=push - pull)


def advantage(grpo: Any, samples: TokenSamples) -> Array:
    """GRPO's advantages, (..., k)."""
    reward = need(samples, "reward")
    centred, spread = reward - reward.mean(-1)[..., None], grpo.spread(reward)
    return centred / array_namespace(reward).where(spread > 0, spread, 1 + 0 * spread)


@dataclass(frozen=True)
class TokenCISPO:
    """sg(clip(w_it, floor, cap)) a_i of each token over a divisor, w = pi/mu of the token; no KL."""

    cap: float
    grpo: Any  # a `TokenGRPO`: its advantages and its divisor
    floor: float = 0.0
    no_kl: ClassVar[bool] = True

    @property
    def k(self) -> int:
        return self.grpo.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        log_w = token_log_weight(samples)
        w = array_namespace(log_w).clip(exp(log_w), self.floor, self.cap)
        c = w * advantage(self.grpo, samples)[..., None] / self.grpo.divisor(samples.mask)
        return TokenUpdate(token_log_prob=samples.mask * c)


@dataclass(frozen=True)
class Gated:
    """SAPO: f'(w) w a of each token, f(w) = 4/t sigma(t (w - 1)), one t for gains and one for losses."""

    grpo: Any
    up: float = 1.0
    down: float = 1.05
    no_kl: ClassVar[bool] = True

    @property
    def k(self) -> int:
        return self.grpo.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        a, w = advantage(self.grpo, samples)[..., None], exp(token_log_weight(samples))
        t = self.down + (self.up - self.down) * (a > 0)
        gate = sigmoid(t * (w - 1))
        c = 4 * gate * (1 - gate) * w * a / self.grpo.divisor(samples.mask)
        return TokenUpdate(token_log_prob=samples.mask * c)


@dataclass(frozen=True)
class AnswerRatio:
    """clipped(w_i a_i) / D, one ratio w = (pi/mu)^(1/|y|) an answer, D that of tokens; without a KL.

    D = k |y| is GSPO, k LUSPO; the tokens of the group, what GSPO's loss is where it is averaged over tokens.
    """

    grpo: Any  # of whole answers
    divisor: Any
    no_kl: ClassVar[bool] = True

    @property
    def k(self) -> int:
        return self.grpo.k

    def update(self, samples: TokenSamples) -> Update:
        length = need(samples, "length")
        behavior = samples.behavior_log_prob
        mean = replace(
            samples,
            log_prob=samples.log_prob / length,
            behavior_log_prob=None if behavior is None else behavior / length,
            reference_log_prob=samples.log_prob / length,
        )
        push = self.grpo.update(mean).log_prob * self.k
        return Update(log_prob=push / (self.divisor(samples.mask)[..., 0] + 0 * length))


@dataclass(frozen=True)
class Residual:
    """a_i - beta log pi/mu over the group's tokens or answers: a regression held to the sampler.

    Args:
        whole: whether the log-ratio is that of the answer, as DRO and Kimi have it, or of each token.
    """

    beta: float
    grpo: Any
    whole: bool

    @property
    def k(self) -> int:
        return self.grpo.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        log_w = token_log_weight(samples)
        log_w = log_w.sum(-1)[..., None] + 0 * log_w if self.whole else log_w
        c = advantage(self.grpo, samples)[..., None] - self.beta * log_w
        return TokenUpdate(token_log_prob=samples.mask * c / self.grpo.divisor(samples.mask))


@dataclass(frozen=True)
class VESPO:
    """w^k e^(l (1 - w)) a_i of each token, w = pi/mu of the answer; k and l for gains, others for losses."""

    grpo: Any
    gains: tuple[float, float] = (2.0, 3.0)
    losses: tuple[float, float] = (3.0, 2.0)
    no_kl: ClassVar[bool] = True

    @property
    def k(self) -> int:
        return self.grpo.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        log_w, a = token_log_weight(samples).sum(-1), advantage(self.grpo, samples)
        up = 1.0 * (a >= 0)
        power, decay = (lost + up * (won - lost) for won, lost in zip(self.gains, self.losses, strict=True))
        phi = exp(decay + power * log_w - decay * exp(log_w))
        c = (phi * a)[..., None] / self.grpo.divisor(samples.mask)
        return TokenUpdate(token_log_prob=samples.mask * c)


@dataclass(frozen=True)
class NoKL:
    """An algorithm whose KL is left out: it is shown the policy as the reference."""

    algorithm: Any
    no_kl: ClassVar[bool] = True

    @property
    def k(self) -> int:
        return self.algorithm.k

    def update(self, samples: TokenSamples) -> Any:
        shown: dict[str, Any] = {"reference_log_prob": samples.log_prob}
        if isinstance(samples, TokenSamples):
            shown["token_reference_log_prob"] = samples.token_log_prob
        return self.algorithm.update(replace(samples, **shown))


@dataclass(frozen=True)
class WithDualClip:
    """A token-wise GRPO that drops tokens of bad answers with pi/mu > c  (dual clip, 1912.09729)."""

    grpo: Any
    most: float = 3.0

    @property
    def k(self) -> int:
        return self.grpo.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        bad = advantage(self.grpo, samples)[..., None] < 0
        dropped = bad & (exp(token_log_weight(samples)) > self.most)
        c = self.grpo.update(samples).token_log_prob
        return TokenUpdate(token_log_prob=array_namespace(c).where(dropped, 0 * c, c))


def total_variation(log_p: Array, log_old: Array) -> Array:
    """|p - old| of a token against all others."""
    return abs(exp(log_p) - exp(log_old))


def binary_kl(log_p: Array, log_old: Array) -> Array:
    """KL(old || p) of a token against all others."""
    others = array_namespace(log_p).log1p
    old, rest, old_rest = exp(log_old), others(-exp(log_p)), others(-exp(log_old))
    return old * (log_old - log_p) + (1 - old) * (old_rest - rest)


@dataclass(frozen=True)
class TrustRegion:
    """DPPO: sg(min(w, cap)) a of each token, but none where a pushes on what has moved beyond `most`."""

    grpo: Any
    distance: Callable[[Array, Array], Array]  # of log pi and log mu of a token
    most: float = 0.2
    cap: float = 3.0
    no_kl: ClassVar[bool] = True

    @property
    def k(self) -> int:
        return self.grpo.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        log_w, a = token_log_weight(samples), advantage(self.grpo, samples)[..., None]
        log_p = samples.token_log_prob
        left = (self.distance(log_p, log_p - log_w) > self.most) & (a * log_w > 0)
        xp = array_namespace(log_w)
        c = xp.where(left, 0 * log_w, xp.clip(exp(log_w), max=self.cap)) * a
        return TokenUpdate(token_log_prob=samples.mask * c / self.grpo.divisor(samples.mask))


@dataclass(frozen=True)
class GeometricMean:
    """GMPO: the geometric mean of the tokens' pi/mu, each stopped e^+-clip from 1 on the side a pushes to."""

    grpo: Any
    clip: float = 0.2
    no_kl: ClassVar[bool] = True

    @property
    def k(self) -> int:
        return self.grpo.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        log_w, a = token_log_weight(samples), advantage(self.grpo, samples)[..., None]
        sign = array_namespace(a).sign(a)
        stopped = sign * log_w > self.clip
        kept = array_namespace(log_w).where(stopped, sign * self.clip, log_w)
        mean = exp((samples.mask * kept).sum(-1)[..., None] / samples.mask.sum(-1)[..., None])
        c = a * mean * (1 - 1.0 * stopped) * samples.mask
        return TokenUpdate(token_log_prob=c / self.grpo.divisor(samples.mask))
