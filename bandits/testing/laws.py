"""Which properties can an algorithm claim, and how is a claim refuted?  Laws that raise `AssertionError`.

Each law takes the algorithm on trial and what it is tried on: one `Case`, a strategy of cases, or nothing,
which is every rule that fits (`cases`).  What breaks it is shrunk, and the error names the law and the
smallest world that does, as a call that makes it again.  A law is a function: it needs no test runner.

    coefficients    follows, is_its_expectation, descends_its_loss, does_not_mix_the_batch, never_mutates
    claims          is_unbiased, rests_at, ends_at, is_blind_to, is_blind_on_average_to
    of a law        rejects: that wrong twins do not pass it

`right` is what the algorithm claims to be, itself by default: the groups are drawn as for it.  `size` is how
large the terms of a coefficient are before they cancel: what rounding is relative to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import softmax

from bandits.checks import Floats
from bandits.exact import expected_loss, expected_update
from bandits.samples import Algorithm, Samples, present
from bandits.sampling.rules import OnPolicy
from bandits.testing.cases import cases
from bandits.testing.enumeration import Case, Formula, expected_by_hand, groups, stacked
from bandits.testing.twins import MakesTwin

Tried: TypeAlias = "Case | st.SearchStrategy[Case] | None"
Change: TypeAlias = Callable[[Samples], Samples]
OfCase: TypeAlias = Callable[[Case], Floats]

SEARCH = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=(Phase.generate, Phase.shrink),
    verbosity=Verbosity.quiet,
    suppress_health_check=list(HealthCheck),
)


# ---- coefficients -----------------------------------------------------------------------------------------


def follows(
    algorithm: Algorithm,
    formula: Formula,
    tried: Tried = None,
    *,
    right: Algorithm | None = None,
    size: float | None = None,
) -> None:
    """The coefficients of every group are those of a formula, (algorithm, samples of one group) -> k numbers.

    Tolerance: a coefficient is a difference of at most 2k terms, each rounded to 1e-16.
    """
    claimed = right or algorithm

    def holds(case: Case) -> None:
        by_formula = [formula(claimed, samples) for _, _, samples in groups(claimed, case)]
        found = algorithm.update(stacked(claimed, case)[2]).log_prob
        _close(found, np.array(by_formula), 1e-12, size or _size(claimed, case))

    _law("its coefficients follow the formula", algorithm, tried, holds)


def is_its_expectation(
    algorithm: Algorithm,
    tried: Tried = None,
    *,
    formula: Formula | None = None,
    right: Algorithm | None = None,
    size: float | None = None,
) -> None:
    """`expected_update`, by whatever shortcut, is the sum over all groups one at a time  (T0.1).

    Tolerance: as for the coefficients; the sum of probabilities times them adds no more.
    """
    claimed = right or algorithm

    def holds(case: Case) -> None:
        by_hand = expected_by_hand(formula or _one_group, claimed, case)
        _close(update_of(algorithm, case), by_hand, 1e-12, size or _size(claimed, case))

    _law("its expected update is the sum over all groups", algorithm, tried, holds)


def descends_its_loss(
    algorithm: Algorithm,
    tried: Tried = None,
    *,
    right: Algorithm | None = None,
    size: float | None = None,
) -> None:
    """-d expected loss / d logits is the expected update, the sampler held fixed  (T0.1).

    By finite differences, extrapolated: truncation (4e-3)^4 / 100, cancellation 1e-16 / 4e-3.
    """
    claimed = right or algorithm

    def holds(case: Case) -> None:
        logits = np.log(case.policy)
        fixed = isinstance(case.sampling, OnPolicy)
        weights = stacked(claimed, case)[0] if fixed else np.ones(1)

        def loss(point: Floats) -> float:
            moved = replace(case, policy=softmax(point))
            if fixed:
                return float(weights @ algorithm.loss(_seen_from(claimed, case, moved)))  # type: ignore[attr-defined]
            return loss_of(algorithm, moved)

        scale = abs(loss(logits)) + (size or _size(claimed, case))
        _close(-gradient(loss, logits), update_of(algorithm, case), 1e-9, scale)

    _law("it descends its loss", algorithm, tried, holds)


def does_not_mix_the_batch(algorithm: Algorithm, tried: Tried = None) -> None:
    """A group gets the same coefficients alone as in a batch, in any order of the batch."""

    def holds(case: Case) -> None:
        samples = stacked(algorithm, case)[2]
        together = np.asarray(algorithm.update(samples).log_prob)
        alone = np.array([algorithm.update(one).log_prob for _, _, one in groups(algorithm, case)])
        _close(together, alone, 1e-13, _size(algorithm, case))

    _law("it does not mix the groups of a batch", algorithm, tried, holds)


def never_mutates(algorithm: Algorithm, tried: Tried = None) -> None:
    """Neither `update` nor `loss` writes to its samples."""

    def holds(case: Case) -> None:
        samples = stacked(algorithm, case)[2]
        parts = [each for each in (samples, samples.population) if each is not None]
        arrays = {f"{i}.{name}": x for i, each in enumerate(parts) for name, x in present(each).items()}
        before = {name: np.array(array) for name, array in arrays.items()}
        algorithm.update(samples)
        if hasattr(algorithm, "loss"):
            algorithm.loss(samples)
        changed = [n for n, x in arrays.items() if not np.array_equal(x, before[n], equal_nan=True)]
        assert not changed, f"it writes to samples.{changed[0].partition('.')[2]}"

    _law("it never writes to its samples", algorithm, tried, holds)


# ---- claims -----------------------------------------------------------------------------------------------


def is_unbiased(
    algorithm: Algorithm,
    tried: Tried = None,
    *,
    scale: float = 1.0,
    score: OfCase | None = None,
    beta: float | None = None,
    size: float | None = None,
) -> None:
    """On its own samples the expected update is scale * grad (E_pi[score] - beta KL(pi || ref))  (T2.1).

    Args:
        scale: what a learning rate may absorb.
        score: of each arm, held fixed; the reward by default, so that the objective is J.
        beta: that of the algorithm by default.
    """
    strength = beta_of(algorithm) if beta is None else beta

    def holds(case: Case) -> None:
        case = replace(case, sampling=OnPolicy())
        r = np.asarray(case.bandit.reward if score is None else score(case))
        R = r - strength * np.log(case.policy / case.bandit.reference)
        climbed = case.policy * (R - case.policy @ R)
        _close(update_of(algorithm, case), scale * climbed, 1e-12, scale * (size or _size(algorithm, case)))

    _law("it is unbiased for the gradient of its objective", algorithm, tried, holds)


def rests_at(
    algorithm: Algorithm,
    target: OfCase,
    tried: Tried = None,
    *,
    size: float | None = None,
) -> None:
    """The expected update vanishes at a policy, and not near it."""

    def holds(case: Case) -> None:
        case = replace(case, policy=np.asarray(target(case)))
        arms = case.bandit.arms
        _close(update_of(algorithm, case), np.zeros(arms), 1e-11, size or _size(algorithm, case))
        away = replace(case, policy=softmax(np.log(case.policy) + np.linspace(0, 1, arms) ** 2))
        assert np.abs(update_of(algorithm, away)).max() > 1e-7, "it also rests away from the target"

    _law("it rests at the target, and only there", algorithm, _connected(algorithm, tried), holds)


def ends_at(
    algorithm: Algorithm,
    target: OfCase,
    tried: Tried = None,
    *,
    size: float | None = None,
) -> None:
    """`rests_at`, and what is near is drawn there: every growth rate of the flow is negative.

    The growth rates are the eigenvalues of the slope of the expected update in the logits, less the one of
    their common constant, which is zero.
    """
    searched = _connected(algorithm, tried)
    rests_at(algorithm, target, searched, size=size)

    def holds(case: Case) -> None:
        def field(logits: Floats) -> Floats:
            return update_of(algorithm, replace(case, policy=softmax(logits)))

        slope = gradient(field, np.log(np.asarray(target(case)))).T
        rates = np.linalg.eigvals(slope)
        fastest = np.delete(rates, np.abs(rates).argmin()).real.max()
        assert fastest < 0, f"a growth rate at the target is {fastest:.3g}: it is pushed away"

    _law("it is drawn to the target", algorithm, searched, holds)


def is_blind_to(algorithm: Algorithm, change: Change, tried: Tried = None) -> None:
    """A change of its samples (and of their population) leaves every coefficient as it is.

    Example: contrastive algorithms do not see the normaliser of the policy.
        >>> from bandits import CoPG
        >>> is_blind_to(CoPG(beta=0.5), lambda s: replace(s, log_prob=s.log_prob + 3.0))
    """

    def holds(case: Case) -> None:
        samples = stacked(algorithm, case)[2]
        changed = _changed(change, samples)
        before, after = (algorithm.update(each).log_prob for each in (samples, changed))
        _close(after, before, 1e-11, _size(algorithm, case))

    _law("it is blind to the change", algorithm, tried, holds)


def is_blind_on_average_to(algorithm: Algorithm, change: Change, tried: Tried = None) -> None:
    """A change of its samples leaves the expected update as it is, though not every coefficient."""

    def holds(case: Case) -> None:
        before = expected_by_hand(_one_group, algorithm, case)
        after = expected_by_hand(lambda a, s: _one_group(a, _changed(change, s)), algorithm, case)
        _close(after, before, 1e-11, _size(algorithm, case))

    _law("on average it is blind to the change", algorithm, tried, holds)


# ---- a law of laws ----------------------------------------------------------------------------------------


def rejects(law: Callable[[Algorithm], None], algorithm: Algorithm, *twins: MakesTwin) -> None:
    """A law that the algorithm passes, and none of its wrong twins (`bandits.testing.twins`).

    Raises:
        AssertionError: the algorithm fails the law, or a twin passes it.
        ValueError: no twin is given, or one cannot be made of this algorithm.

    Example:
        >>> from bandits import RLOO
        >>> from bandits.testing import twins
        >>> rejects(is_unbiased, RLOO(beta=0.5), twins.flipped_sign, twins.swapped_kl)
    """
    if not twins:
        raise ValueError("twins must be at least one of bandits.testing.twins, but none is given")
    law(algorithm)
    for make in twins:
        name, twin = getattr(make, "__name__", repr(make)), make(algorithm)
        if twin is None:
            raise ValueError(f"{name} cannot be made of {algorithm!r}; choose a mistake that it can have")
        try:
            law(twin)
        except AssertionError:
            continue
        raise AssertionError(f"the law does not reject {name} of {algorithm!r}: it tests nothing of it")


# ---- tools ------------------------------------------------------------------------------------------------


def beta_of(claimed: Algorithm) -> float:
    """Strength of the KL of an algorithm, 0 where it has none."""
    return float(getattr(claimed, "beta", 0.0))


def update_of(algorithm: Algorithm, case: Case) -> Floats:
    """The expected update of a case, (A,)."""
    return expected_update(
        algorithm,
        case.bandit,
        case.sampling,
        case.policy,
        value=case.value,
        revision_policy=case.revision,
    )


def loss_of(algorithm: Algorithm, case: Case) -> float:
    """The expected loss of a case."""
    loss = expected_loss(
        algorithm,
        case.bandit,
        case.sampling,
        case.policy,
        value=case.value,
        revision_policy=case.revision,
    )
    return float(loss)


def gradient(function: Callable[[Floats], Any], point: Floats, step: float = 4e-3) -> Floats:
    """Central differences at steps h and h/2, extrapolated: the error is of order h^4."""

    def central(h: float) -> Floats:
        shifts = h * np.eye(len(point))
        return np.array([(function(point + e) - function(point - e)) / (2 * h) for e in shifts])

    return (4 * central(step / 2) - central(step)) / 3


def _law(text: str, algorithm: Algorithm, tried: Tried, holds: Callable[[Case], None]) -> None:
    """Try one case, or search for the smallest that breaks it.

    Raises:
        AssertionError: it breaks, with the law, the numbers and the case.
    """

    def named(case: Case) -> None:
        try:
            holds(case)
        except AssertionError as error:
            detail = str(error).strip()
            raise AssertionError(f"{text}: not so for {algorithm!r}\n{detail}\non {case}") from None

    if isinstance(tried, Case):
        return named(tried)
    try:
        SEARCH(given(cases(algorithm) if tried is None else tried)(named))()
    except AssertionError as error:
        raise AssertionError(str(error)) from None  # without what hypothesis adds: the case is in the text
    return None


def _connected(algorithm: Algorithm, tried: Tried) -> Tried:
    """Cases that lead to a target: a finite list of pairs connects all arms, and no arm is very rare."""
    return cases(algorithm, smallest=1e-2, connected=True) if tried is None else tried


def _close(actual: Any, desired: Any, tolerance: float, size: float) -> None:
    """|actual - desired| <= tolerance * size, entry by entry."""
    assert_allclose(actual, desired, rtol=0, atol=tolerance * size)


def _size(algorithm: Algorithm, case: Case) -> float:
    """What the coefficients of a group are made of, at least: r, beta h, and the coefficients themselves."""
    r = 0.0 if case.bandit.reward is None else np.abs(case.bandit.reward).max()
    h = np.abs(np.log(case.policy / case.bandit.reference)).max()
    c = np.abs(algorithm.update(stacked(algorithm, case)[2]).log_prob).max()
    return float(4 * algorithm.k * (2 + r + (1 + beta_of(algorithm)) * h + c))


def _one_group(algorithm: Algorithm, samples: Samples) -> list[float]:
    """The coefficients of one group by the algorithm itself, without company."""
    return [float(c) for c in np.asarray(algorithm.update(samples).log_prob)]


def _seen_from(algorithm: Algorithm, case: Case, moved: Case) -> Samples:
    """The groups of `case` seen with the policy of `moved`."""
    _, arms, samples = stacked(algorithm, case)
    return replace(samples, log_prob=np.log(moved.policy)[arms])


def _changed(change: Change, samples: Samples) -> Samples:
    """The changed samples.

    Raises:
        AssertionError: the change changes nothing, so that being blind to it means nothing.
    """
    found = change(samples)
    pairs = [(getattr(found, each.name), getattr(samples, each.name)) for each in fields(Samples)]
    same = all(new is old or np.array_equal(new, old) for new, old in pairs)
    assert not same, "the change changes nothing: everything is blind to it"
    if samples.population is not None and found.population is samples.population:
        found = replace(found, population=change(samples.population))
    return found
