"""What if each token pays for its own KL?  Estimators per token, in the reward or as a loss.

With h_t = log pi(y_t | y_<t) / ref(y_t | y_<t) and samples of the policy, a token's estimate of the KL is

    k1 = h,     k2 = h^2 / 2,     k3 = e^(-h) - 1 + h            (T9.6)

In the reward, a token of an answer is credited with r(y) less beta times the estimates of

    whole_cost    all tokens: with k1 this is policy gradient on R, whose end is pi*
    future_cost   itself and the tokens behind it: the same on average, another noise
    own_cost      itself alone: it is not charged for the KL of the tokens that it leads to

As a loss, each token's estimate is differentiated in its own log-probability: k1's gradient vanishes on
average, k2's is that of own_cost, k3's pulls towards KL(ref || pi) of each prefix that the policy meets.

Where a token forgets the future (own_cost with k1, k2 as a loss) the end is, from the last token backwards,

    pi(v | x) = ref(v | x) exp(Q(x, v) / beta) / Z(x),     Q(x, v) = E_pi[r | xv],

with the plain mean of the reward where the optimum has a soft one (`soft_values`)  (T10.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace
from numpy.typing import ArrayLike
from scipy.special import softmax

from bandits import checks
from bandits.algorithms.kl_estimators import Estimator
from bandits.algorithms.kl_estimators import k1 as k1
from bandits.algorithms.kl_estimators import k2 as k2
from bandits.algorithms.kl_estimators import k3 as k3
from bandits.checks import Floats
from bandits.samples import Array, TokenSamples, TokenUpdate, need
from bandits.sequences.soft_values import backward
from bandits.sequences.table import TokenTable

Cost = Callable[[Array], Array]  # estimates of each token (..., k, T) to what each is charged, (..., k, T)


def whole_cost(estimate: Array) -> Array:
    """Every token is charged for all tokens of its answer, (..., k, T).

    Example: 3 + 1 for every token.

        >>> import numpy as np
        >>> whole_cost(np.array([3.0, 1.0]))
        array([4., 4.])
    """
    return 0 * estimate + estimate.sum(-1)[..., None]


def future_cost(estimate: Array) -> Array:
    """Every token is charged for itself and the tokens behind it, (..., k, T).

    Example: 3 + 1 for the first token, 1 for the last.

        >>> import numpy as np
        >>> future_cost(np.array([3.0, 1.0]))
        array([4., 1.])
    """
    xp = array_namespace(estimate)
    return xp.flip(xp.cumulative_sum(xp.flip(estimate, axis=-1), axis=-1), axis=-1)


def own_cost(estimate: Array) -> Array:
    """Every token is charged for itself alone, (..., k, T).

    Example: each its own.

        >>> import numpy as np
        >>> own_cost(np.array([3.0, 1.0]))
        array([3., 1.])
    """
    return estimate


@dataclass(frozen=True)
class KLInReward:
    """On-policy gradient whose reward is charged an estimate of the KL, not differentiated  (T9.6, T10.1).

    Ends at pi* with k1 and `whole_cost`.

    Args:
        beta: strength of the KL.
        estimator: `k1`, `k2` or `k3`.
        cost: which tokens' estimates a token is charged for: `whole_cost`, `future_cost` or `own_cost`.

    Example: the answer pays for both of its tokens: 1 - 0.5 (log 2 + log 2).

        >>> import numpy as np
        >>> from bandits.samples import TokenSamples
        >>> half = np.log([[0.5, 0.5]])  # one answer of two tokens
        >>> one = TokenSamples(log_prob=half.sum(-1), reference_log_prob=2 * half.sum(-1),
        ...                    token_log_prob=half, token_reference_log_prob=2 * half,  # h = log 2 a token
        ...                    token_behavior_log_prob=half, mask=np.ones((1, 2)), reward=np.array([1.0]))
        >>> KLInReward(beta=0.5).update(one).token_log_prob.round(4)
        array([[0.3069, 0.3069]])
    """

    beta: float
    estimator: Estimator = k1
    cost: Cost = whole_cost
    k: ClassVar[int] = 1
    needs_on_policy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        _checked(self.estimator)
        checks.function(self.cost, "cost", "estimate")

    def update(self, samples: TokenSamples) -> TokenUpdate:
        """c_it = r_i - beta cost(k(h_i))_t."""
        estimate = samples.mask * self.estimator.value(samples.token_log_ratio)
        credit = need(samples, "reward")[..., None] - self.beta * self.cost(estimate)
        return TokenUpdate(token_log_prob=samples.mask * credit)


@dataclass(frozen=True)
class KLInLoss:
    """On-policy gradient of the plain reward, less beta times that of each token's estimate  (T9.6).

    Args:
        beta: strength of the KL.
        estimator: `k1`, `k2` or `k3`.

    Example: k2 has the slope h: 1 - 0.5 log 2 at either token.

        >>> import numpy as np
        >>> from bandits.samples import TokenSamples
        >>> half = np.log([[0.5, 0.5]])  # one answer of two tokens
        >>> one = TokenSamples(log_prob=half.sum(-1), reference_log_prob=2 * half.sum(-1),
        ...                    token_log_prob=half, token_reference_log_prob=2 * half,  # h = log 2 a token
        ...                    token_behavior_log_prob=half, mask=np.ones((1, 2)), reward=np.array([1.0]))
        >>> KLInLoss(beta=0.5).update(one).token_log_prob.round(4)
        array([[0.6534, 0.6534]])
    """

    beta: float
    estimator: Estimator = k2
    k: ClassVar[int] = 1
    needs_on_policy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        _checked(self.estimator)

    def update(self, samples: TokenSamples) -> TokenUpdate:
        """c_it = r_i - beta k'(h_it)."""
        pull = self.beta * self.estimator.slope(samples.token_log_ratio)
        return TokenUpdate(token_log_prob=samples.mask * (need(samples, "reward")[..., None] - pull))


def forgetful_optimum(table: TokenTable, reward: ArrayLike, beta: float) -> Floats:
    """log of where own_cost with k1, and k2 as a loss, end: answers (A,), by backward induction  (T10.1).

    Raises:
        ValueError: as `soft_optimum`.
    """
    beta = checks.positive(beta, "beta")

    def mean(log_ref: Floats, Q: Floats) -> float:
        return float(softmax(log_ref + Q / beta) @ Q)

    logits, _ = backward(table, reward, mean, beta)
    return table.log_prob(logits)


def _checked(estimator: Estimator) -> None:
    if not isinstance(estimator, Estimator):
        raise ValueError(f"estimator must be k1, k2 or k3, but estimator = {checks.shown(estimator)}")
