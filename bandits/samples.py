"""What may an algorithm see and say?  The contract: it turns `Samples` into an `Update`.

Every sequence-level alignment algorithm moves a policy by `c(y) * grad log pi(y)` for each sampled
answer y, so the algorithm *is* its coefficient c.  An algorithm is any object with `k`, how many samples
it looks at together, and `update(samples) -> Update`, the coefficient of each of them; `Algorithm` lists
what else it may have.  It must use array operators and the array API only: the same object then runs over
NumPy arrays (every arm enumerated) and over torch tensors (a transformer).

Axes: `...` are batch axes (contexts, runs, groups), `k` is the sample within its group, and `A`
are all the arms.  Nothing here looks into the batch axes.  Each field declares which of its axes are samples.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from numbers import Real
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace

from bandits import checks

Array = Any  # a NumPy array or a torch tensor: whatever array_api_compat understands

# What a field has a number for, said once, here: whatever slices, permutes, stacks or weighs samples asks
# `sample_axes`.
GROUP, SAMPLE, PAIR = 0, 1, 2  # of its last axes, so many are the samples of a group
EVERYONE = "population"  # a `Samples` of its own, whose one sample axis are all the arms


def _per(axes: int | str, default: Any = MISSING, tokens: int = 0) -> Any:
    return field(default=default, metadata={"axes": axes, "tokens": tokens})


def _per_token(default: Any = MISSING) -> Any:
    return _per(SAMPLE, default, tokens=1)  # one more axis, last: the tokens of each answer


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What an algorithm may look at: k answers to one prompt.  Absent fields are None.

    Attributes:
        log_prob: log pi(y), summed over tokens, under the policy in training, in nats, (..., k).
        reference_log_prob: the same under the reference, (..., k).
        reward: r(y), in its own units, (..., k).
        preference: p(y_i beats y_j) at [..., i, j], a probability or a 0/1 label, (..., k, k).
        behavior_log_prob: the same as `log_prob` under whoever produced the samples, (..., k).
        arm: index of the arm, integers, (..., k); None for language models.
        length: tokens of the answer, for length-normalised losses, (..., k).
        desirable: P(label 1) of the answer alone, or a 0/1 label, for KTO, (..., k).
        population: all answers to the prompt as one group, (..., A): what exact expectations run over.
        greedy_reward: r(argmax pi), for ReMax, in units of reward, (...).
        value: a trained baseline V, for DRO, in units of reward, (...).
        revision_log_prob: log pi'(y_i | y_j) at [..., i, j], for SRPO, in nats, (..., k, k).
        reference_revision_log_prob: the same under the reference, (..., k, k).

    Example: a pair; h = log pi/ref is log 2 and -log 2 (in units of log 2), R = r - beta h.

        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.125]), reference_log_prob=np.log([0.25, 0.25]),
        ...                reward=np.array([1.0, 0.0]))
        >>> pair.log_ratio / np.log(2.0)
        array([ 1., -1.])
        >>> pair.regularized_reward(beta=1 / np.log(2.0))
        array([0., 1.])
    """

    log_prob: Array = _per(SAMPLE)
    reference_log_prob: Array | None = _per(SAMPLE, default=None)
    reward: Array | None = _per(SAMPLE, default=None)
    preference: Array | None = _per(PAIR, default=None)
    behavior_log_prob: Array | None = _per(SAMPLE, default=None)
    arm: Array | None = _per(SAMPLE, default=None)
    length: Array | None = _per(SAMPLE, default=None)
    desirable: Array | None = _per(SAMPLE, default=None)
    population: Samples | None = _per(EVERYONE, default=None)
    greedy_reward: Array | None = _per(GROUP, default=None)
    value: Array | None = _per(GROUP, default=None)
    revision_log_prob: Array | None = _per(PAIR, default=None)
    reference_revision_log_prob: Array | None = _per(PAIR, default=None)

    @property
    def log_ratio(self) -> Array:
        """h(y) = log pi(y) / ref(y), shape (..., k)."""
        return self.log_prob - need(self, "reference_log_prob")

    def regularized_reward(self, beta: float) -> Array:
        """R(y) = r(y) - beta h(y), shape (..., k)."""
        return need(self, "reward") - beta * self.log_ratio


@dataclass(frozen=True, kw_only=True)
class Update:
    """Ascent coefficients: the parameters move by `sum_i log_prob[i] * grad log pi(y_i)`.

    Attributes:
        log_prob: c_i, the coefficient of each sample, in units of reward, (..., k).
        value: the ascent step on DRO's V, (...); None where no V is trained.
        revision_log_prob: coefficients of SRPO's log pi'(y_i | y_j) at [..., i, j], (..., k, k); else None.

    Example: what an algorithm of your own returns.

        >>> import numpy as np
        >>> Update(log_prob=np.array([0.75, -0.75])).log_prob
        array([ 0.75, -0.75])
    """

    log_prob: Array = _per(SAMPLE)
    value: Array | None = _per(GROUP, default=None)
    revision_log_prob: Array | None = _per(PAIR, default=None)


@dataclass(frozen=True, kw_only=True)
class TokenSamples(Samples):
    """Samples whose answers are made of tokens: what token-wise algorithms look at  (T10.1).

    `token_log_prob[..., i, t]` is log pi(y_t | y_<t) of token t of sample i, zero where `mask` is zero:
    behind the end of an answer, or where a trainer leaves a token out.  `log_prob` is its sum over t.
    """

    token_log_prob: Array = _per_token()  # (..., k, T)
    mask: Array = _per_token()  # (..., k, T)  1 where there is a token, 0 where there is none
    token_reference_log_prob: Array | None = _per_token(default=None)  # (..., k, T)
    token_behavior_log_prob: Array | None = _per_token(default=None)  # (..., k, T)

    @property
    def token_log_ratio(self) -> Array:
        """h_t = log pi(y_t | y_<t) / ref(y_t | y_<t), shape (..., k, T)."""
        return self.token_log_prob - need(self, "token_reference_log_prob")


@dataclass(frozen=True, kw_only=True)
class TokenUpdate:
    """Coefficients of tokens: the parameters move by `sum_it token_log_prob[i, t] grad log pi(y_it | y_i<t)`.

    A whole-answer algorithm is the case where all tokens of an answer share its coefficient  (T10.1).
    """

    token_log_prob: Array = _per_token()  # (..., k, T)


Contract = Samples | Update | TokenUpdate  # a class of fields that declare their axes


@cache
def sample_axes(of: type) -> dict[str, int]:
    """How many axes are samples of the group, for each field but the population: the last, or before tokens.

    Example:
        >>> sample_axes(Update)
        {'log_prob': 1, 'value': 0, 'revision_log_prob': 2}
    """
    return {each.name: axes for each in fields(of) if (axes := each.metadata["axes"]) != EVERYONE}


@cache
def token_axes(of: type) -> dict[str, int]:
    """How many axes behind those of the samples are tokens, 0 or 1, for each field but the population."""
    return {each.name: each.metadata["tokens"] for each in fields(of) if each.metadata["axes"] != EVERYONE}


def present(of: Contract) -> dict[str, Array]:
    """The fields that are there, but the population."""
    kind: type = type(of)
    found = {name: getattr(of, name) for name in sample_axes(kind)}
    return {name: array for name, array in found.items() if array is not None}


def choose(samples: Samples, places: Array) -> Samples:
    """Some samples of each group, in some order: places (..., k) among its K samples, integers.

    Places (k,) permute or cut the groups; with places (n, k) each group becomes n groups, on a new axis.

    Example:
        >>> import numpy as np
        >>> three = Samples(log_prob=np.array([1.0, 2.0, 3.0]), value=np.array(7.0))
        >>> pairs = choose(three, np.array([[0, 1], [2, 0]]))
        >>> pairs.log_prob.tolist(), pairs.value.tolist()
        ([[1.0, 2.0], [3.0, 1.0]], [7.0, 7.0])
    """
    kind: type = type(samples)
    new = places.shape[:-1]
    which = {SAMPLE: (places,), PAIR: (places[..., :, None], places[..., None, :])}
    chosen = {}
    for name, array in present(samples).items():
        axes, tokens = sample_axes(kind)[name], (slice(None),) * token_axes(kind)[name]
        chosen[name] = array[(..., *which[axes], *tokens)] if axes in which else _repeated(array, new)
    everyone = samples.population
    return replace(samples, **chosen, population=everyone and _with_batch_axes(everyone, len(new)))


def _repeated(array: Array, new: tuple[int, ...]) -> Array:
    """A number of each group for all groups that are made of it, (..., *new)."""
    xp = array_namespace(array)
    return xp.broadcast_to(array[(..., *(None for _ in new))], (*array.shape, *new))


def _with_batch_axes(everyone: Samples, count: int) -> Samples:
    """The same population for all groups that are made of one: (..., 1, ..., 1, A)."""
    kind: type = type(everyone)
    axes, new = sample_axes(kind), (None,) * count
    arrays = present(everyone).items()
    return replace(everyone, **{name: x[(..., *new, *[slice(None)] * axes[name])] for name, x in arrays})


_TOKEN_FIELDS = frozenset(TokenSamples.__dataclass_fields__) - frozenset(Samples.__dataclass_fields__)


def need(samples: Samples, field: str) -> Array:
    """The field, or a `ValueError` that says which algorithm input is missing.

    Raises:
        ValueError: the field is None.
    """
    if not isinstance(samples, Samples):
        raise ValueError(f"samples must be Samples, but samples = {checks.shown(samples)}")
    found = getattr(samples, field, None)
    if found is None and field in _TOKEN_FIELDS:
        raise ValueError(
            f"samples.{field} is missing, but this algorithm looks at tokens; take it to a world whose "
            f"answers are made of tokens: bandits.sequences.TokenTable"
        )
    if found is None:
        raise ValueError(
            f"samples.{field} is None, but this algorithm needs it; fill the field "
            f"(on a bandit: give the Bandit what it is derived from, e.g. a reward)"
        )
    return found


def fitting(values: Array, like: Array, name: str) -> Array:
    """What a reader's function gave for each sample of an array (..., k): numbers (..., k) or (..., 1).

    Raises:
        ValueError: it is something else.
    """
    shape = getattr(values, "shape", None)
    if shape is not None and tuple(shape[-1:]) in ((), (1,), tuple(like.shape[-1:])):
        return values
    if isinstance(values, Real):
        return array_namespace(like).full_like(like, float(values))
    what = checks.shown(values) if shape is None else f"an array of shape {tuple(shape)}"
    raise ValueError(
        f"{name} must return numbers that broadcast to {tuple(like.shape)}, one for each sample, "
        f"but it returns {what}"
    )


def _functions_of(array: Array) -> Any:
    """Its library: what training asks a hundred thousand times is not looked up for NumPy's own arrays."""
    return np if type(array) is np.ndarray else array_namespace(array)


def stack(*columns: Array) -> Array:
    """Columns (...) of one group, side by side on a new last axis: (..., k); their batch axes broadcast."""
    xp = _functions_of(columns[0])
    if any(column.shape != columns[0].shape for column in columns):
        columns = xp.broadcast_arrays(*columns)
    return xp.stack(columns, axis=-1)


def log_sigmoid(x: Array) -> Array:
    """log sigma(x) = -log(1 + exp(-x)), without overflow."""
    xp = _functions_of(x)
    return -xp.logaddexp(xp.zeros_like(x), -x)


def group_size(algorithm: Any) -> int:
    """k of an algorithm.

    Raises:
        ValueError: it is none: a class, or an object without `update` or `k`.
    """
    name = type(algorithm).__name__
    if isinstance(algorithm, type):
        name = algorithm.__name__
        raise ValueError(f"algorithm must be an object, but it is the class {name}; write {name}(...)")
    if not callable(getattr(algorithm, "update", None)):
        raise ValueError(
            f"algorithm must have a method update(samples), but {name} has none; "
            f"the order of arguments is algorithm, bandit, sampling"
        )
    if getattr(algorithm, "k", None) is None:
        raise ValueError(
            f"algorithm must say how many samples it looks at together (k = 1 for plain policy gradient), "
            f"but {name} has no attribute k"
        )
    return checks.count(algorithm.k, f"{name}.k", most=checks.MOST_SAMPLES)


def bradley_terry(reward: Array) -> Array:
    """p(y_i beats y_j) = sigma(r_i - r_j), (..., k, k): preferences that a score explains  (T0.2).

    Example:
        >>> import numpy as np
        >>> bradley_terry(np.log([3.0, 1.0])).round(12).tolist()
        [[0.5, 0.75], [0.25, 0.5]]
    """
    return array_namespace(reward).exp(log_sigmoid(reward[..., :, None] - reward[..., None, :]))


class Algorithm(Protocol):
    """What an algorithm has to have: `k` and `update`.  Everything else is optional, and found by its name:

    attribute                        what it promises                                     who asks
    loss(samples)                    -d loss / d log_prob is the coefficient, (...)       exact, llm
    linear(bandit, law)              the expected update on a law that stays, as          problem, exact
                                     `algorithms.linear.Linear`; None: it is not linear
    expected_coefficient(bandit,     E[c] of each arm, (..., A); log_ratio is known up    exact
        law, log_ratio)              to a constant, so only for contrastive algorithms
    closed_form(bandit, sampling,    the end as a `Solution`, beyond what `linear` says;  fixed_point
        log_start)                   None: it has to be searched for
    attractors(bandit, law,          every stable end on a law that stays, one context;   fixed_point
        log_start)                   None: unknown
    opponent(log_policy,             log of who gives the last sample on-policy, not      sampling, llm
        log_reference)               normalised, over arms or over tokens
    log_revision_policy(bandit,      log pi', trained beside the policy, at its optimum   exact
        law)
    needs_on_policy                  True: takes OnPolicy() only                          sampling
    contrastive                      True: the coefficients of a group sum to zero, and   simulation
                                     see only differences of log_prob
    weighted                         True: multiplies by pi/mu itself                     importance
    algorithm                        what it is built around, if it is a wrapper          importance
    beta                             what multiplies its KL to the reference; 0: none     verdict
    """

    @property
    def k(self) -> int:
        """How many samples it looks at together."""

    def update(self, samples: Samples) -> Update:
        """The ascent coefficient of each sample."""


class TokenAlgorithm(Protocol):
    """An algorithm with a coefficient for each token, for worlds of tokens (`bandits.sequences`)."""

    @property
    def k(self) -> int:
        """How many samples it looks at together."""

    def update(self, samples: TokenSamples) -> TokenUpdate:
        """The ascent coefficient of each token."""
