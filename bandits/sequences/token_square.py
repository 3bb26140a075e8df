"""What if each token has its own square?  A ratio-free regression whose log-ratios do not add up.

    c_it = r_i - V - beta h_it,      h_it = log pi(y_t | y_<t) / ref(y_t | y_<t),

ascends E_mu[(r - V) log pi(y) - (beta / 2) sum_t h_t^2] (V held).  The whole-answer form has (sum_t h_t)^2
and is PMD-mean's; here each prefix obeys a law of PMD-mean's type by itself, with the one V of all (T13.4):
with nu the sampler's law of the next token behind x, q = E_mu[r - V | xv] and x_v = pi(v | x) / nu(v),

    nu (q - beta log x) = pi E_nu[q - beta log x].

V = E_mu[r] (`behavior_mean`) is exact; a number may be given.  Samples of the reference, mu = ref.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from bandits import checks
from bandits.samples import TokenSamples, TokenUpdate, need


@dataclass(frozen=True)
class TokenSquare:
    """Regression of r - V on each token's own log-ratio: not the whole answer's objective  (T13.4).

    Args:
        beta: strength of each token's square.
        value: V, a number; None is E_mu[r], the mean reward of who sampled.

    Example: 1 - 1/4 - 0.5 log 2 at either token.

        >>> import numpy as np
        >>> from bandits.samples import TokenSamples
        >>> half = np.log([[0.5, 0.5]])  # one answer of two tokens
        >>> one = TokenSamples(log_prob=half.sum(-1), reference_log_prob=2 * half.sum(-1),
        ...                    token_log_prob=half, token_reference_log_prob=2 * half,  # h = log 2 a token
        ...                    token_behavior_log_prob=half, mask=np.ones((1, 2)), reward=np.array([1.0]))
        >>> TokenSquare(beta=0.5, value=0.25).update(one).token_log_prob.round(4)
        array([[0.4034, 0.4034]])
    """

    beta: float
    value: float | None = None
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        if self.value is not None:
            object.__setattr__(self, "value", checks.number(self.value, "value"))

    def update(self, samples: TokenSamples) -> TokenUpdate:
        """c_it = r_i - V - beta h_it  (T13.4)."""
        V = self.value
        if V is None:
            everyone = need(samples, "population")
            law = array_namespace(samples.log_prob).exp(need(everyone, "behavior_log_prob"))
            V = (law * need(everyone, "reward")).sum(-1)[..., None]
        residual = (need(samples, "reward") - V)[..., None] - self.beta * samples.token_log_ratio
        return TokenUpdate(token_log_prob=samples.mask * residual)
