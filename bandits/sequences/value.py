"""What does a baseline of its own for each prefix do?  It moves nothing on average, and it calms.

On-policy, c_it = R_i - b(y_i<t) has the expectation of c_i = R_i for every function b of the prefix, since
E[grad log pi(y_t | y_<t)] = 0 behind every prefix.  What it changes is the noise: with

    b(x) = V(x) = E_pi[R | answers that begin with x],      R = r - beta log pi/ref,

the exact value of the prefix, a token is credited with what it changed: a reward that all answers share, or
that the prefix had earned already, adds no noise.  The end is pi* whatever b is (T2.1).  Off-policy b does
not drop out, as for whole answers (T2.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bandits import checks
from bandits.checks import Floats
from bandits.samples import Array, TokenSamples, TokenUpdate, need
from bandits.sequences.table import TokenTable

PrefixBaseline = Callable[[TokenSamples, float], Array]  # samples and beta to b of each token, (..., k, T)


@dataclass(frozen=True)
class PrefixValue:
    """V(x) of the prefix that each token stands behind, exactly: a learned critic's ideal  (T10.1).

    Args:
        table: the answers.

    Example: two answers with even odds, R = 1 and 0 where nothing has moved: V = 1/2 before the first token.

        >>> from bandits.samples import TokenSamples
        >>> table = TokenTable(np.zeros(2), length=1, end=None)
        >>> even = np.log([[0.5, 0.5]])
        >>> everyone = TokenSamples(log_prob=even, reference_log_prob=even, reward=np.array([[1.0, 0.0]]),
        ...                         token_log_prob=even[..., None], mask=np.ones((1, 2, 1)))
        >>> one = TokenSamples(log_prob=even[:, :1], arm=np.array([[0]]), population=everyone,
        ...                    token_log_prob=even[:, :1, None], mask=np.ones((1, 1, 1)))
        >>> PrefixValue(table)(one, beta=1.0).ravel()
        array([0.5])
    """

    table: TokenTable

    def __call__(self, samples: TokenSamples, beta: float) -> Floats:
        """V(y_<t) under the policy in training, (..., k, T)."""
        everyone = need(samples, "population")
        log_policy = np.asarray(everyone.log_prob)[..., 0, :]
        R = np.asarray(everyone.regularized_reward(beta))[..., 0, :]
        return self._of_answers(np.exp(log_policy), R)[..., np.asarray(need(samples, "arm")), :]

    def _of_answers(self, policy: Floats, R: Floats) -> Floats:
        """E_pi[R | prefix] for each token of each answer, (..., A, T)."""
        table = self.table
        behind = table.nodes[:, :, None] == np.arange(len(table.prefixes))  # (A, T, P)
        passes = (behind & (table.mask[..., None] > 0)).any(axis=1).astype(float)  # (A, P)
        value = ((policy * R) @ passes) / np.maximum(policy @ passes, np.finfo(float).tiny)
        return value[..., table.nodes] * table.mask


def no_baseline(samples: TokenSamples, beta: float) -> Array:
    """b = 0, (..., k, T).

    Example: one answer of two tokens.

        >>> import numpy as np
        >>> from bandits.samples import TokenSamples
        >>> half = np.log([[0.5, 0.5]])  # one answer of two tokens
        >>> one = TokenSamples(log_prob=half.sum(-1), reference_log_prob=2 * half.sum(-1),
        ...                    token_log_prob=half, token_reference_log_prob=2 * half,  # h = log 2 a token
        ...                    token_behavior_log_prob=half, mask=np.ones((1, 2)), reward=np.array([1.0]))
        >>> np.abs(no_baseline(one, beta=0.5))
        array([[0., 0.]])
    """
    return 0 * samples.token_log_prob


@dataclass(frozen=True)
class TokenPolicyGradient:
    """On-policy gradient on R with a baseline for each prefix  (T2.1, T10.1).

    Ends at pi* for every baseline.

    Args:
        beta: strength of the KL to the reference.
        baseline: b, a function of samples and beta: `no_baseline`, or `PrefixValue(table)`.

    Example: without a baseline every token gets R = 1 - 0.5 (2 log 2).

        >>> import numpy as np
        >>> from bandits.samples import TokenSamples
        >>> half = np.log([[0.5, 0.5]])  # one answer of two tokens
        >>> one = TokenSamples(log_prob=half.sum(-1), reference_log_prob=2 * half.sum(-1),
        ...                    token_log_prob=half, token_reference_log_prob=2 * half,  # h = log 2 a token
        ...                    token_behavior_log_prob=half, mask=np.ones((1, 2)), reward=np.array([1.0]))
        >>> TokenPolicyGradient(beta=0.5).update(one).token_log_prob.round(4)
        array([[0.3069, 0.3069]])
    """

    beta: float
    baseline: PrefixBaseline = no_baseline
    k: ClassVar[int] = 1
    needs_on_policy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        if not callable(self.baseline):
            raise ValueError(f"baseline must be a function of samples and beta, but it is {self.baseline!r}")

    def update(self, samples: TokenSamples) -> TokenUpdate:
        """c_it = R_i - b(y_i<t)."""
        credit = samples.regularized_reward(self.beta)[..., None] - self.baseline(samples, self.beta)
        return TokenUpdate(token_log_prob=samples.mask * credit)
