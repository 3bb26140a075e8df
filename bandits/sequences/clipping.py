"""What if each token has its own likelihood ratio, and which divisor?  PPO and GRPO as trainers run them.

    c_it = D_i clipped(w_it a_i),      w_it = pi(y_t | y_<t) / mu(y_t | y_<t),

clipped as in `bandits.algorithms.ppo`, one token at a time: the product of the ratios before and behind a
token, which importance weights of whole answers hold, is left out.  Samples frozen, mu fixed.  GRPO adds the
gradient of its k3 loss, beta (rho_it - 1), to each token.  The divisor D decides what a long answer counts
(T13.12):

    by_answer        D_i = 1 / (k |y_i|)            GRPO (Shao 2024, Eq. 3): every answer alike
    by_group         D_i = 1 / sum_j |y_j|          DAPO (Yu 2025, arXiv:2503.14476, Eq. 8): every token alike
    by_constant(n)   D_i = 1 / (k n)                Dr. GRPO (Liu 2025, arXiv:2503.20783): the sum over tokens

GSPO (Zheng 2025, arXiv:2507.18071) clips (pi/mu)^(1/|y|) of whole answers: `Averaged(PPO(...))`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms.grpo import GRPO, Spread, standard_deviation
from bandits.algorithms.policy_gradient import Baseline, PolicyGradient
from bandits.algorithms.ppo import clipped, upper_clip_or_none
from bandits.samples import Array, TokenSamples, TokenUpdate, need

Divisor = Callable[[Array], Array]  # mask (..., k, T) to what divides each answer's sum, (..., k, 1)


def by_answer(mask: Array) -> Array:
    """k |y_i|: each answer counts alike, each token of a long one less, (..., k, T) to (..., k, 1).

    Example: two answers, of two tokens and of one.

        >>> import numpy as np
        >>> mask = np.array([[1.0, 1.0], [1.0, 0.0]])
        >>> by_answer(mask)
        array([[4.],
               [2.]])
    """
    return mask.shape[-2] * mask.sum(-1)[..., None]


def by_group(mask: Array) -> Array:
    """sum_j |y_j|: each token of the group counts alike, (..., k, T) to (..., k, 1).

    Example: three tokens in all, whoever has them.

        >>> import numpy as np
        >>> mask = np.array([[1.0, 1.0], [1.0, 0.0]])
        >>> by_group(mask)
        array([[3.],
               [3.]])
    """
    lengths = mask.sum(-1)[..., None]
    return 0 * lengths + mask.sum(-1).sum(-1)[..., None, None]


def by_constant(tokens: float = 1.0) -> Divisor:
    """k n: sums over tokens, whatever the lengths  (the number n is a learning rate).

    Example: k n = 2 times 10, whatever the lengths.

        >>> import numpy as np
        >>> mask = np.array([[1.0, 1.0], [1.0, 0.0]])
        >>> by_constant(10.0)(mask)
        array([[20.],
               [20.]])
    """
    n = checks.positive(tokens, "tokens")

    def divisor(mask: Array) -> Array:
        return 0 * mask[..., :1] + n * mask.shape[-2]

    return divisor


@dataclass(frozen=True)
class TokenPPO:
    """PPO with a likelihood ratio and a clip for each token  (T9.5, T10.1).

    Args:
        beta: strength of the KL to the reference, charged to the reward of the whole answer.
        clip: eps, how far a token's pi/mu may go from 1; infinite for no clipping.
        baseline: b, as for `PolicyGradient`.
        k: samples in one update.
        divisor: what divides an answer's sum over tokens.
        upper_clip: how far a token's pi/mu may rise above 1, where that is not `clip`.

    Example: all ratios are 1: R / |y| at either token, R = 1 - 0.5 (2 log 2).

        >>> import numpy as np
        >>> from bandits.samples import TokenSamples
        >>> half = np.log([[0.5, 0.5]])  # one answer of two tokens
        >>> one = TokenSamples(log_prob=half.sum(-1), reference_log_prob=2 * half.sum(-1),
        ...                    token_log_prob=half, token_reference_log_prob=2 * half,  # h = log 2 a token
        ...                    token_behavior_log_prob=half, mask=np.ones((1, 2)), reward=np.array([1.0]))
        >>> TokenPPO(beta=0.5).update(one).token_log_prob.round(4)
        array([[0.1534, 0.1534]])
    """

    beta: float
    clip: float = 0.2
    baseline: float | Baseline = 0.0
    k: int = 1
    divisor: Divisor = by_answer
    upper_clip: float | None = None
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "clip", checks.positive_or_infinite(self.clip, "clip"))
        object.__setattr__(self, "upper_clip", upper_clip_or_none(self.upper_clip))
        plain = self._whole  # its checks are ours
        for name in ("beta", "baseline", "k"):
            object.__setattr__(self, name, getattr(plain, name))
        checks.function(self.divisor, "divisor", "mask")

    def update(self, samples: TokenSamples) -> TokenUpdate:
        """c_it = clipped(w_it (R_i - b)) / D, Eq. (7), Schulman 2017, token by token."""
        advantage = self._whole.update(samples).log_prob * self.k
        a = advantage[..., None] + 0 * need(samples, "mask")
        c = clipped(a, token_log_weight(samples), self.clip, self.upper_clip)
        return TokenUpdate(token_log_prob=samples.mask * c / self.divisor(samples.mask))

    @cached_property
    def _whole(self) -> PolicyGradient:
        """What gives a whole answer its advantage."""
        return PolicyGradient(beta=self.beta, baseline=self.baseline, k=self.k)


@dataclass(frozen=True)
class TokenGRPO:
    """GRPO as published: ratio, clip and k3 of each token, and a divisor  (T9.5, T13.12).

    Args:
        beta: strength of the k3 loss of each token; zero is not taken.
        k: samples in a group.
        clip: eps, how far a token's pi/mu may go from 1; infinite for no clipping.
        spread: what divides the advantages, `standard_deviation` or `unit_spread`.
        divisor: `by_answer` (GRPO), `by_group` (DAPO), `by_constant(n)` (Dr. GRPO).
        upper_clip: how far a token's pi/mu may rise above 1, where that is not `clip` (DAPO's clip-higher).

    Example: advantages +-1 / sqrt 2, over k |y| = 4.

        >>> import numpy as np
        >>> from bandits.samples import TokenSamples
        >>> half, whole = np.log(np.full((2, 2), 0.5)), np.log([0.25, 0.25])  # two answers of two tokens
        >>> pair = TokenSamples(log_prob=whole, reference_log_prob=whole, behavior_log_prob=whole,
        ...                     token_log_prob=half, token_reference_log_prob=half,
        ...                     token_behavior_log_prob=half, mask=np.ones((2, 2)),
        ...                     reward=np.array([1.0, -1.0]))
        >>> TokenGRPO(beta=0.5).update(pair).token_log_prob.round(4)
        array([[ 0.1768,  0.1768],
               [-0.1768, -0.1768]])
    """

    beta: float
    k: int = 2
    clip: float = 0.2
    spread: Spread = standard_deviation
    divisor: Divisor = by_answer
    upper_clip: float | None = None
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        plain = self._whole  # its checks are ours
        for name in ("beta", "k", "clip", "upper_clip"):
            object.__setattr__(self, name, getattr(plain, name))
        checks.function(self.divisor, "divisor", "mask")

    def update(self, samples: TokenSamples) -> TokenUpdate:
        """c_it = (clipped(w_it a_i) + beta (rho_it - 1)) / D, Eq. (3), Shao 2024, arXiv:2402.03300."""
        advantage = self._whole.advantage(samples)
        a = advantage[..., None] + 0 * need(samples, "mask")
        push = clipped(a, token_log_weight(samples), self.clip, self.upper_clip)
        rho = array_namespace(push).exp(-samples.token_log_ratio)
        return TokenUpdate(
            token_log_prob=samples.mask * (push + self.beta * (rho - 1)) / self.divisor(samples.mask)
        )

    @cached_property
    def _whole(self) -> GRPO:
        """What gives a whole answer its advantage."""
        return GRPO(self.beta, self.k, self.clip, self.spread, self.upper_clip)


def token_log_weight(samples: TokenSamples) -> Array:
    """log pi/mu of each token, (..., k, T); zero, on-policy, where the samples do not say who drew them."""
    if samples.token_behavior_log_prob is None:
        return 0 * samples.token_log_prob
    return samples.token_log_prob - samples.token_behavior_log_prob
