"""What is expected of an update?  Expectations of any algorithm, by enumeration of every group of arms.

The expected ascent direction on the logits of pi = softmax(theta) is

    g(z) = E[ sum_i c_i (1{y_i = z} - pi(z)) ],

the expectation running over all A^k groups with the law that produced them; the sampler is not
differentiated.  Any object with `k` and `update` will do.  Where the algorithm knows E[c] of each arm in
closed form (`expected_coefficient`: CoPG, IPO, DPO; `linear`: DRO, SRPO) that route is taken: O(A) instead
of O(A^k) for independent samples (T3.2).

What is trained beside the policy are keywords: `value` is DRO's V (eliminated by default, V = E_mu[R]),
`revision_policy` SRPO's pi', (..., A, A) with [..., y1, y2] = pi'(y2 | y1) (its optimum by default).
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import log_policy_of, log_ratio, normalised
from bandits.problem import MAX_GROUPS, Problem, bind
from bandits.samples import Algorithm, Samples
from bandits.sampling import groups
from bandits.sampling.coefficients import (
    Numbers,
    drawn_labels,
    finite_coefficients,
    labellings,
    sources,
    steps_of,
    sum_by_arm,
    update_of,
)
from bandits.sampling.groups import Evaluation, Groups
from bandits.sampling.laws import Arms, Law, Product
from bandits.sampling.observation import State, samples_of
from bandits.sampling.rules import Sampling
from bandits.solvers.motions import Motions

BLOCK = 2**15  # samples that are held at a time, over all contexts: their fields stay in the cache


def expected_update(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    policy: ArrayLike,
    *,
    value: ArrayLike | None = None,
    revision_policy: ArrayLike | None = None,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Expected ascent direction on the logits, E[sum_i c_i (e_{y_i} - pi)], (..., A)  (T0.1).

    Args:
        max_groups: groups of arms that the sum may visit: A^k ordered ones, or C(A + k - 1, k) where they are
            drawn from one distribution and their order does not matter to `update`, which is tried out.

    Raises:
        ValueError: the sampling does not fit, the world lacks what the algorithm needs, the policy
            is zero on an arm that the sampler produces (log pi/ref is infinite there), `update` mixes the
            groups of a batch, or there are more groups than `max_groups`.

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> expected_update(CoPG(beta=1.0), Bandit([1.0, 0.0]), Offline([0.5, 0.5]), [0.5, 0.5])
        array([ 0.5, -0.5])
    """
    problem = bind(algorithm, bandit, sampling, policy, "policy", max_groups)
    found = update_at(problem, _state(problem, value, revision_policy))
    bad = ~np.isfinite(found)
    remedy = f"take a smaller beta, or look at {sources(algorithm)}"
    checks.reject_first(bad, found, "expected update", "finite", remedy)
    return _in_each_context(problem, found, axes=1)


def expected_loss(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    policy: ArrayLike,
    *,
    value: ArrayLike | None = None,
    revision_policy: ArrayLike | None = None,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Expected loss of an algorithm that has one, (...)  (T0.1).

    Raises:
        ValueError: as `expected_update`, or the algorithm has no loss.

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> float(expected_loss(CoPG(beta=1.0), Bandit([1.0, 0.0]), Offline([0.5, 0.5]), [0.5, 0.5]))
        0.25
    """
    problem = bind(algorithm, bandit, sampling, policy, "policy", max_groups)
    if not hasattr(algorithm, "loss"):
        raise ValueError(f"algorithm must have a loss, but {problem.name} has no loss; use expected_update")
    law = problem.law()
    state = completed(problem, law, _state(problem, value, revision_policy))

    def loss_of_group(samples: Samples) -> Floats:
        return np.asarray(algorithm.loss(samples))[..., None]

    total: Floats = np.zeros(())
    for arms, weight in summed_groups(problem, law, state, loss_of_group, "loss"):
        with np.errstate(invalid="ignore", over="ignore"):
            loss = weight * algorithm.loss(samples_of(bandit, law, state, arms))
        total = total + np.where(weight > 0, loss, 0.0).sum(-1)
    bad = ~np.isfinite(total)
    checks.reject_first(bad, np.asarray(total), "expected loss", "finite", f"look at {sources(algorithm)}")
    return _in_each_context(problem, total, axes=0)


def update_covariance(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    policy: ArrayLike,
    *,
    value: ArrayLike | None = None,
    revision_policy: ArrayLike | None = None,
    label_noise: bool = True,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Covariance of one group's step on the logits, sum_i c_i (e_{y_i} - pi), (..., A, A)  (T0.1).

    Its trace is the gradient variance that papers compare.

    Args:
        label_noise: a pair's preference is a 0/1 label drawn with probability P, and so is whether a single
            answer is desirable; False shows the probabilities themselves.  Groups of k != 2, and the pairs
            of a `Dataset`, have no preference to draw.
        max_groups: as for `expected_update`.

    Raises:
        ValueError: as `expected_update`.

    Example:
        >>> from bandits import Bandit, OnPolicy, RLOO
        >>> update_covariance(RLOO(beta=1.0), Bandit([1.0, 0.0]), OnPolicy(), [0.5, 0.5]).round(4)
        array([[ 0.0625, -0.0625],
               [-0.0625,  0.0625]])
    """
    label_noise = checks.flag(label_noise, "label_noise")
    problem = bind(algorithm, bandit, sampling, policy, "policy", max_groups)
    law = problem.law()
    state = completed(problem, law, _state(problem, value, revision_policy))
    drawn = drawn_labels(algorithm, bandit, law, state) if label_noise else frozenset()
    mean: Floats = np.zeros(())
    second: Floats = np.zeros(())
    for arms, weight in summed_groups(problem, law, state, update_of(algorithm), held=bandit.arms):
        samples = samples_of(bandit, law, state, arms)
        for share, labelled in labellings(samples, drawn):
            w = weight * share
            steps = steps_of(finite_coefficients(algorithm, labelled, w), arms, state.log_policy)
            weighted = w[..., None] * steps
            mean = mean + weighted.sum(axis=-2)
            second = second + np.swapaxes(weighted, -1, -2) @ steps
    return _in_each_context(problem, second - mean[..., :, None] * mean[..., None, :], axes=2)


def _in_each_context(problem: Problem, found: Floats, axes: int) -> Floats:
    """The same numbers for all contexts where none of what was summed has any."""
    there, own = found.shape[: found.ndim - axes], found.shape[found.ndim - axes :]
    if there == problem.contexts:
        return found
    lead = np.broadcast_shapes(problem.contexts, there)
    return found if there == lead else np.broadcast_to(found, (*lead, *own)).copy()


def update_at(problem: Problem, state: State) -> Floats:
    """`expected_update` in log space, where policies below 1e-308 are still told apart, (..., A)."""
    law = problem.law(state.log_policy)
    a = known_coefficient(problem.algorithm, problem.bandit, law, state)
    if a is None:
        whole = completed(problem, law, state)
        found = summed_groups(problem, law, whole, update_of(problem.algorithm))
        a = enumerated_coefficient(problem.algorithm, problem.bandit, law, whole, found)
    return a - np.exp(state.log_policy) * a.sum(axis=-1, keepdims=True)


def enumerated_coefficient(
    algorithm: Algorithm, bandit: Bandit, law: Law, state: State, every: Groups | None = None
) -> Floats:
    """a(z) = E[sum_i c_i 1{y_i = z}], (..., A), over `every` group with its weight; else all ordered ones."""
    total: Floats = np.zeros(bandit.arms)
    for arms, weight in every or law.tuples(_block(bandit, law, state)):
        c = weight[..., None] * finite_coefficients(algorithm, samples_of(bandit, law, state, arms), weight)
        total = total + sum_by_arm(c, arms, bandit.arms)
    return total


# ---------------------------------------------------------------- which groups


def summed_groups(
    problem: Problem, law: Law, state: State, numbers: Numbers, what: str = "update", held: int = 1
) -> Groups:
    """Groups whose weighted sum of `numbers` is the expectation: every ordered one, or every multiset.

    Once for a problem it is tried out whether `numbers` mixes groups, and whether order matters to it.

    Args:
        what: what messages call `numbers`.
        held: entries held for each group beside its samples.

    Raises:
        ValueError: a group's numbers depend on the other groups of its batch, or there are more groups than
            `problem.max_groups`.
    """

    def company_matters() -> bool:
        return groups.company_matters(_evaluation(problem.bandit, law, _elsewhere(state), numbers), law)

    def contexts_matter() -> bool:
        return bool(problem.contexts) and _contexts_matter(problem, law, state, numbers)

    def order_matters() -> bool:
        places = [_last(problem.bandit, law, each) for each in (state, _elsewhere(state))]
        return any(groups.order_matters(_evaluation(*place, numbers), place[1]) for place in places)

    about = (what, state.value is None, state.log_revision is None)
    if problem.found(("company", *about), company_matters) or problem.found(
        ("contexts", problem.contexts, *about), contexts_matter
    ):
        raise ValueError(_mixes(problem, what))
    block = max(1, _block(problem.bandit, law, state) // held)
    name = f"{problem.name}.{what}"
    return groups.every_group(
        law, block, problem.max_groups, name, lambda: problem.found(("order", *about), order_matters)
    )


def _last(bandit: Bandit, law: Law, state: State) -> tuple[Bandit, Law, State]:
    """World, law and state of the last of all contexts: thousands of groups are looked at in one."""
    lead = _contexts(bandit, law, state)
    if not lead:
        return bandit, law, state
    last = tuple(size - 1 for size in lead)
    behavior = np.broadcast_to(law.behavior, (*lead, bandit.arms))[last]
    return bandit.at(last, lead), Product((behavior,) * law.k), state.at(last, lead)


def _evaluation(bandit: Bandit, law: Law, state: State, numbers: Numbers) -> Evaluation:
    """What `numbers` says of any groups, with training at this state."""

    def evaluate(arms: Arms) -> Floats:
        with np.errstate(all="ignore"):
            found = numbers(samples_of(bandit, law, state, arms))
        return np.broadcast_to(found, (*found.shape[:-1], law.k))

    return evaluate


def _contexts_matter(problem: Problem, law: Law, state: State, numbers: Numbers) -> bool:
    """Whether a context gets other numbers alone than among the others."""
    last, elsewhere = tuple(size - 1 for size in problem.contexts), _elsewhere(state)
    alone = problem.at(last)
    own_law = alone.law(state.at(last, problem.contexts).log_policy)
    arms = groups.some_groups(own_law, groups.COMPANY)
    found = _evaluation(alone.bandit, own_law, elsewhere.at(last, problem.contexts), numbers)(arms)
    if found.shape != arms.shape:  # it knows the contexts itself, say a margin for each of them
        return False
    among = _evaluation(problem.bandit, law, elsewhere, numbers)(arms)
    return groups.differ(np.broadcast_to(among, (*problem.contexts, *arms.shape))[last], found)


def _elsewhere(state: State) -> State:
    """Training at another policy: same support, no two log-probabilities alike, the same at every call."""
    log_policy = state.log_policy
    logits = 2 * np.cos(np.arange(1.0, 1 + log_policy.shape[-1]))
    elsewhere = normalised(np.where(np.isfinite(log_policy), logits, -np.inf))
    return replace(state, log_policy=elsewhere, log_ratio=None)


def _mixes(problem: Problem, what: str) -> str:
    return (
        f"{problem.name}.{what} must look at each group by itself, but a group alone gets other numbers than "
        f"among others: it mixes the groups of a batch, so that no expectation over single groups is what "
        f"training does; normalise within the group (the last axis), or by a number given to the algorithm"
    )


def _state(problem: Problem, value: ArrayLike | None, revision_policy: ArrayLike | None) -> State:
    """Where training stands: the problem's policy, and what is given of that which is trained beside it."""
    log_revision = None if revision_policy is None else _log_revision(problem, revision_policy)
    V = None if value is None else checks.floats(value, "value")
    if V is not None:
        checks.same_contexts(V.shape, problem.contexts, "value", "the bandit")
    return State(problem.log_start, V, log_revision)


def _log_revision(problem: Problem, revision_policy: ArrayLike) -> Floats:
    """log pi'(y2 | y1), (..., A, A), within the reference's support."""
    revision, bandit = checks.distribution(revision_policy, "revision_policy"), problem.bandit
    if revision.shape[-2:] != (bandit.arms, bandit.arms):
        raise ValueError(
            f"revision_policy must have shape (..., {bandit.arms}, {bandit.arms}), "
            f"[y1, y2] = pi'(y2 | y1), but its shape is {revision.shape}"
        )
    checks.same_contexts(revision.shape[:-2], problem.contexts, "revision_policy", "the bandit")
    checks.inside(revision, bandit.reference[..., None, :], "revision_policy")
    shape = np.broadcast_shapes(revision.shape[:-2], problem.contexts)
    return np.broadcast_to(log_policy_of(revision), (*shape, bandit.arms, bandit.arms))


def completed(problem: Problem, law: Law, state: State) -> State:
    """The state with the algorithm's optimal revision policy where it takes one and none is given."""
    if state.log_revision is None and hasattr(problem.algorithm, "log_revision_policy"):
        return replace(state, log_revision=problem.algorithm.log_revision_policy(problem.bandit, law))
    return state


def known_coefficient(algorithm: Algorithm, bandit: Bandit, law: Law, state: State) -> Floats | None:
    """E[c] of each arm where the algorithm has a formula for it and nothing else is being trained."""
    if state.value is not None or state.log_revision is not None:
        return None
    h = state.log_ratio
    if h is None:
        h = log_ratio(state.log_policy, bandit.log_reference)
    if (known := getattr(algorithm, "expected_coefficient", None)) is not None:
        return known(bandit, law, h)
    linear = algorithm.linear(bandit, law) if hasattr(algorithm, "linear") else None
    return None if linear is None else linear.expected_coefficient(h)


def _block(bandit: Bandit, law: Law, state: State) -> int:
    """Groups to enumerate at a time, so that memory does not grow with the number of contexts."""
    return max(1, BLOCK // (prod(_contexts(bandit, law, state)) * law.k))


def _contexts(bandit: Bandit, law: Law, state: State) -> tuple[int, ...]:
    """Leading axes of what is summed."""
    return np.broadcast_shapes(law.behavior.shape[:-1], state.log_policy.shape[:-1], bandit.contexts)


# ---------------------------------------------------------------- the expected update as a field


def motions_of(problem: Problem, rows: NDArray[np.intp] | None = None) -> Motions:
    """The flows of the contexts `rows`, counted in C order, on one axis; by default of all."""
    shape = problem.contexts or (1,)
    some = np.arange(prod(shape)) if rows is None else rows
    return _motions(problem.at(np.unravel_index(some, shape), shape))


def _motions(problem: Problem) -> Motions:
    """The flows of a problem whose contexts are one axis, (m,)."""

    def update(log_policy: Floats, log_ratio: Floats) -> Floats:
        return update_at(problem, State(log_policy, log_ratio=log_ratio))

    def behavior(log_policy: Floats) -> Floats:
        return problem.law(log_policy).behavior

    def those(rows: NDArray[np.intp]) -> Motions:
        return _motions(problem.at((rows,), (len(problem.log_start),)))

    return Motions(problem.log_start, problem.bandit.log_reference, update, behavior, those)
