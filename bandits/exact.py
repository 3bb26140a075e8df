"""The truth: expectations of any algorithm, by enumeration of every group of arms.

The expected ascent direction on the logits of pi = softmax(theta) is

    g(z) = E[ sum_i c_i (1{y_i = z} - pi(z)) ],

the expectation running over all A^k groups with the law that produced them; the sampler is not
differentiated.  Any object with `k` and `update` will do.  Where the algorithm knows E[c] of each arm in
closed form (`expected_coefficient`: CoPG, IPO) that route is taken: O(A) instead of O(A^2) (T3.2).

What is trained beside the policy are keywords: `value` is DRO's V (eliminated by default, V = E_mu[R]),
`revision_policy` SRPO's pi', (..., A, A) with [..., y1, y2] = pi'(y2 | y1) (its optimum by default).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.algorithms.samples import Samples
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.laws import WON, Arms, Law
from bandits.observation import State, samples_of
from bandits.policy import log_policy_of, log_ratio
from bandits.sampling import Sampling


def expected_update(
    algorithm,
    bandit: Bandit,
    sampling: Sampling,
    policy: ArrayLike,
    *,
    value: ArrayLike | None = None,
    revision_policy: ArrayLike | None = None,
) -> Floats:
    """Expected ascent direction on the logits, E[sum_i c_i (e_{y_i} - pi)], (..., A)  (T0).

    Raises:
        ValueError: the sampling does not fit, the world lacks what the algorithm needs, or the policy
            is zero on an arm that the sampler produces (log pi/ref is infinite there).

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> expected_update(CoPG(beta=1.0), Bandit([1.0, 0.0]), Offline([0.5, 0.5]), [0.5, 0.5])
        array([ 0.5, -0.5])
    """
    state = state_of(algorithm, bandit, policy, value, revision_policy)
    return update_at(algorithm, bandit, sampling, state)


def expected_loss(
    algorithm,
    bandit: Bandit,
    sampling: Sampling,
    policy: ArrayLike,
    *,
    value: ArrayLike | None = None,
    revision_policy: ArrayLike | None = None,
) -> Floats:
    """Expected loss of an algorithm that has one, (...)  (T0).

    Raises:
        ValueError: as `expected_update`, or the algorithm has no loss.

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> float(expected_loss(CoPG(beta=1.0), Bandit([1.0, 0.0]), Offline([0.5, 0.5]), [0.5, 0.5]))
        0.25
    """
    if not hasattr(algorithm, "loss"):
        raise ValueError(f"{type(algorithm).__name__} has no loss; use expected_update")
    state = state_of(algorithm, bandit, policy, value, revision_policy)
    law = sampling.law(algorithm, bandit, state.log_policy)
    check_mass(law, state.log_policy)
    total: Floats = np.zeros(())
    for arms, weight in law.tuples():
        with np.errstate(invalid="ignore", over="ignore"):
            loss = weight * algorithm.loss(samples_of(bandit, law, state, arms))
        total = total + np.where(weight > 0, loss, 0.0).sum(-1)
    return total


def update_covariance(
    algorithm, bandit: Bandit, sampling: Sampling, policy: ArrayLike, *, label_noise: bool = False
) -> Floats:
    """Covariance of one group's step on the logits, sum_i c_i (e_{y_i} - pi), (..., A, A)  (T2.2).

    Its trace is the gradient variance that papers compare.  With `label_noise` the preference within a
    pair is a 0/1 label drawn with probability P, instead of P itself.

    Raises:
        ValueError: as `expected_update`, or `label_noise` with groups that are not pairs.

    Example:
        >>> from bandits import Bandit, OnPolicy, RLOO
        >>> update_covariance(RLOO(beta=1.0), Bandit([1.0, 0.0]), OnPolicy(), [0.5, 0.5]).round(4)
        array([[ 0.0625, -0.0625],
               [-0.0625,  0.0625]])
    """
    state = state_of(algorithm, bandit, policy, None, None)
    law = sampling.law(algorithm, bandit, state.log_policy)
    check_mass(law, state.log_policy)
    mean: Floats = np.zeros(())
    second: Floats = np.zeros(())
    for arms, weight in law.tuples():
        samples = samples_of(bandit, law, state, arms)
        for share, labelled in _labellings(samples, label_noise):
            w = weight * share
            steps = _steps(_coefficients(algorithm, labelled, w), arms, state.log_policy)
            mean = mean + np.einsum("...n,...na->...a", w, steps)
            second = second + np.einsum("...n,...na,...nb->...ab", w, steps, steps, optimize=True)
    return second - mean[..., :, None] * mean[..., None, :]


def state_of(
    algorithm, bandit: Bandit, policy: ArrayLike, value: ArrayLike | None, revision_policy: ArrayLike | None
) -> State:
    """Validated arguments as a `State`."""
    log_revision = None
    if revision_policy is not None:
        log_revision = log_policy_of(checks.distribution(revision_policy, "revision_policy"))
    V = None if value is None else checks.floats(value, "value")
    return complete(algorithm, bandit, State(bandit.checked_log_policy(policy), V, log_revision))


def complete(algorithm, bandit: Bandit, state: State) -> State:
    """The state with the algorithm's optimal revision policy where it takes one and none is given."""
    if state.log_revision is None and hasattr(algorithm, "log_revision_policy"):
        return replace(state, log_revision=algorithm.log_revision_policy(bandit))
    return state


def update_at(algorithm, bandit: Bandit, sampling: Sampling, state: State) -> Floats:
    """`expected_update` in log space, where policies below 1e-308 are still told apart, (..., A)."""
    state = complete(algorithm, bandit, state)
    law = sampling.law(algorithm, bandit, state.log_policy)
    check_mass(law, state.log_policy)
    if hasattr(algorithm, "expected_coefficient"):
        h = log_ratio(state.log_policy, bandit.log_reference)
        a = algorithm.expected_coefficient(bandit, law, h)
    else:
        a = enumerated_coefficient(algorithm, bandit, law, state)
    return a - np.exp(state.log_policy) * a.sum(axis=-1, keepdims=True)


def enumerated_coefficient(algorithm, bandit: Bandit, law: Law, state: State) -> Floats:
    """a(z) = E[sum_i c_i 1{y_i = z}], (..., A), over every group of arms."""
    total: Floats = np.zeros(bandit.arms)
    for arms, weight in law.tuples():
        c = weight[..., None] * _coefficients(algorithm, samples_of(bandit, law, state, arms), weight)
        total = total + _sum_by_arm(c, arms, bandit.arms)
    return total


def check_mass(law: Law, log_policy: Floats) -> None:
    """Refuse a policy that is zero where the sampler has mass.

    Raises:
        ValueError: it is.
    """
    behavior, log_policy = np.broadcast_arrays(law.behavior, log_policy)
    checks.reject_first(
        np.isneginf(log_policy) & (behavior > 0),
        np.exp(log_policy),
        "policy",
        "positive where the sampler has mass",
        "log pi/ref is infinite there: give the arm some mass",
    )


def _coefficients(algorithm, samples: Samples, weight: Floats) -> Floats:
    """The algorithm's coefficients, (..., n, k); groups that never occur count zero, whatever they hold."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        c = np.asarray(algorithm.update(samples).log_prob)
    if c.shape[-1:] != samples.log_prob.shape[-1:]:
        raise ValueError(
            f"{type(algorithm).__name__}.update must return one coefficient for each of the "
            f"{samples.log_prob.shape[-1]} samples, but its shape is {c.shape}"
        )
    return np.where(weight[..., None] > 0, c, 0.0)


def _sum_by_arm(c: Floats, arms: Arms, size: int) -> Floats:
    lead = c.shape[:-2]
    context = np.arange(int(np.prod(lead)))[:, None] * size
    cells = context + arms.reshape(1, -1)
    return np.bincount(cells.ravel(), c.ravel(), minlength=context.size * size).reshape(*lead, size)


def _steps(c: Floats, arms: Arms, log_policy: Floats) -> Floats:
    """sum_i c_i (e_{y_i} - pi) of each group, (..., n, A)."""
    steps = -np.exp(log_policy)[..., None, :] * c.sum(-1)[..., None]
    rows = np.arange(arms.shape[0])
    for i in range(arms.shape[1]):
        steps[..., rows, arms[:, i]] += c[..., i]
    return steps


def _labellings(samples: Samples, label_noise: bool) -> Iterator[tuple[Floats | float, Samples]]:
    """The samples as they are, or once for each outcome of the label, with its probability (..., n)."""
    if not label_noise:
        yield 1.0, samples
        return
    if samples.log_prob.shape[-1] != 2:
        raise ValueError("label_noise needs pairs (k = 2): larger groups have several labels")
    p = samples.preference
    for share, label in ((p[..., 0, 1], WON), (p[..., 1, 0], WON.T)):
        yield share, replace(samples, preference=np.broadcast_to(label, p.shape))
