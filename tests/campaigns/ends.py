"""A campaign: is every end that the package gives an end, and is it where theory says?

    python tests/campaigns/ends.py 200 20 100        # rows side by side on all cores
    python tests/campaigns/ends.py 200 20 100 KTO    # those of one algorithm

Every row of every algorithm of `bandits` is put into so many random worlds (2 to 8 arms, uneven references;
one skewed sampler and on-policy in turn), and what `fixed_point` answers is held against programs that share
nothing with it:

    formula       the row's own words, summed over all groups in plain Python: at the end it moves the logits
                  of arms that live alike, and lifts none that has died (the conditions of Karush, Kuhn and
                  Tucker), to 1e-9;
                  on a kink, velocities close by have a mean of zero (Filippov)
    slope         what is called stable falls back when pushed, what repels does not: central differences of
                  that sum
    target        theory's end where the row knows it and there is one only, by another road, to 1e-8

and, in the second number of worlds, what `fixed_points` lists against explicit steps of the flow from the
third number of starts, unless its motion slides.  Where there is one end, all starts lead to it; where there
are many, `fixed_points` promises those that its own starts reach, and what others reach beside them counts
as `more` if `fixed_point` from there confirms it.  Where it has no end (it slides, circles or runs away) the
refusal is counted.
Prints one line a row, exits 1 on a disagreement.  A sample of it runs among the tests.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis.errors import HypothesisDeprecationWarning, UnsatisfiedAssumption
from joblib import Parallel, delayed
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the rows of the tests

import bandits as b
from bandits.testing import enumeration
from bandits.testing.enumeration import Case
from rows import Row, every_row

LIVING = 1e-300  # the share that an arm which has died is given back, to see whether it grows
KKT, TARGET = 1e-9, 1e-8
PUSH = 1e-5  # of a logit, for central differences: their error is its square
NEAR = 1e-3  # of a logit: what is further from a rest by one step of Newton's is not there
KINK, AROUND = 1e-9, (100, 2000, 10_000)  # how near to a kink, at so many points, its sides are looked at
SLOW = 1e-6  # rates below this are not told from zero by them
MOST_ARMS = {1: 8, 2: 8, 3: 5, 4: 4}  # by the size of a group: A^k groups in plain Python
STEPS = 5_000  # of the flow
# Their steps jump, and the motion slides where they do: each of many starts takes seconds, and the conditions
# that `judged` checks stand for the limit.
SLIDE = ("PPO", "GRPO", "DrGRPO", "DAPO", "GSPO", "MaxRL", "CISPO", "ReMax", "SLiC", "PolicyGradient(greedy")
LONGEST = 100  # times the first of them


class Count(NamedTuple):
    """What was seen of one row."""

    ends: int = 0
    faces: int = 0
    targets: int = 0
    slopes: int = 0
    refused: int = 0
    starts: int = 0
    more: int = 0
    wrong: tuple[str, ...] = ()


def world(rng: np.random.Generator, algorithm: Any, own: bool) -> tuple[b.Bandit, b.Offline | b.OnPolicy]:
    """A bandit with all that an algorithm may look at, and who samples: the policy itself, or another."""
    n = int(rng.integers(2, MOST_ARMS.get(algorithm.k, 3) + 1))
    P = np.triu(rng.random((n, n)), 1)
    bandit = b.Bandit(
        rng.normal(size=n),
        preference=P + np.tril(1 - P.T, -1) + 0.5 * np.eye(n),
        reference=0.98 * rng.dirichlet(np.full(n, 1.0)) + 0.02 / n,
        length=rng.integers(1, 9, n).astype(float),
        desirable=rng.uniform(0.05, 0.95, n),
    )
    mu = 0.95 * rng.dirichlet(np.full(n, 0.7)) + 0.05 / n
    own = own or getattr(algorithm, "needs_on_policy", False)
    return bandit, b.OnPolicy() if own else b.Offline(mu)


def pull(row: Row, algorithm: Any, case: Case, logits: np.ndarray) -> np.ndarray:
    """The expected update at a policy, from the row's formula, group by group."""
    policy = np.exp(logits - np.logaddexp.reduce(logits))
    return enumeration.expected_by_hand(row.formula, algorithm, replace(case, policy=policy))


def slopes_at(row: Row, algorithm: Any, case: Case) -> np.ndarray:
    """d pull / d logits, by central differences, (A, A)."""
    theta, n = np.log(case.policy), case.bandit.arms
    sides = [[pull(row, algorithm, case, theta + s * PUSH * e) for s in (1, -1)] for e in np.eye(n)]
    return np.stack([(up - down) / (2 * PUSH) for up, down in sides], axis=1)


def growth(row: Row, algorithm: Any, case: Case) -> float:
    """The largest real part of the eigenvalues of d pull / d logits, constants aside."""
    J, n = slopes_at(row, algorithm, case), case.bandit.arms
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:]
    return float(np.linalg.eigvals(basis.T @ J @ basis).real.max())


def judged(name: str, row: Row, seed: int) -> Count:
    """One row in one world: odd seeds are on-policy."""
    rng = np.random.default_rng([seed, *name.encode()])
    algorithm = row.make(float(10 ** rng.uniform(-0.7, 0.7)))
    bandit, sampling = world(rng, algorithm, own=seed % 2 == 1)
    try:
        found = b.fixed_point(algorithm, bandit, sampling)
    except (b.NoFixedPoint, b.NotConverged):
        return Count(refused=1)
    except ValueError:  # it takes no such samples
        return Count()
    revision = None if found.revision_log_policy is None else np.exp(found.revision_log_policy)
    case = Case(bandit, sampling, np.asarray(found.policy), revision=revision)
    said = f"{name} seed {seed}: {{}}\n{algorithm}, {case}"
    return held(row, algorithm, case, found, said)


def held(row: Row, algorithm: Any, case: Case, found: b.Solution, said: str) -> Count:
    """An answer against the three programs."""
    wrong, dead, lifted = [], case.policy == 0, np.maximum(case.policy, LIVING)
    inside = replace(case, policy=lifted / lifted.sum())
    size = max(1.0, 10.0 if dead.any() else row.size(algorithm, inside))
    g = pull(row, algorithm, inside, np.log(inside.policy))
    level = g[~dead].mean()  # zero, unless arms die
    off = max(np.abs(g[~dead] - level).max(initial=0.0), (g[dead] - level).max(initial=0.0))
    if not off <= KKT * size and not (not row.smooth and _between(row, algorithm, inside, size)):
        wrong.append(said.format(f"pulled by {off:.1e} where it is said to end"))
    slopes = 0
    if not dead.any() and found.stable is not None and row.smooth:
        rate = growth(row, algorithm, case)
        slopes = int(abs(rate) > SLOW)
        if slopes and bool(found.stable) != (rate < 0):
            wrong.append(said.format(f"stable = {found.stable}, but what is pushed grows at {rate:.1e}"))
    known = row.target is not None and not isinstance(case.sampling, b.OnPolicy)
    goal = _target(row, algorithm, case) if known else None
    if goal is not None and found.unique and not np.abs(goal - case.policy).max() <= TARGET:
        wrong.append(said.format(f"it ends at {case.policy}, theory says {goal}"))
    return Count(1, int(dead.any()), int(goal is not None), slopes, wrong=tuple(wrong))


def _between(row: Row, algorithm: Any, case: Case, size: float) -> bool:
    """Whether velocities close by, on all sides of a kink, have a mean of zero (Filippov)."""
    rng, theta = np.random.default_rng(0), np.log(case.policy)
    for many in AROUND:  # where several kinks meet, some sides are narrow
        around = theta + KINK * rng.normal(size=(many, len(theta)))
        g = np.stack([pull(row, algorithm, case, each) for each in around])
        weights, _ = nnls(np.vstack([g.T, np.ones(many)]), np.append(np.zeros(len(theta)), 1.0))
        if np.abs(weights @ g).max() <= KKT * size + 10 * KINK and weights.sum() > 0.9:
            return True
    return False


def _target(row: Row, algorithm: Any, case: Case) -> np.ndarray | None:
    """Theory's end; None where the row says that this world is not one of its theorem's."""
    assert row.target is not None
    with warnings.catch_warnings(action="ignore", category=HypothesisDeprecationWarning):
        try:
            return row.target(algorithm, case)
        except UnsatisfiedAssumption:  # what `assume` says, here outside of its tests
            return None


def arrived(name: str, row: Row, seed: int, starts: int) -> Count:
    """`fixed_points` against the flow from many starts, by explicit steps."""
    rng = np.random.default_rng([seed, *name.encode(), 1])
    algorithm = row.make(float(10 ** rng.uniform(-0.5, 0.7)))
    bandit, sampling = world(rng, algorithm, own=False)
    try:
        ends = [np.asarray(each.policy) for each in b.fixed_points(algorithm, bandit, sampling)]
    except (b.NoFixedPoint, b.NotConverged, ValueError):  # none, or a continuum
        return Count(refused=1)
    policy, still = _flow(algorithm, bandit, sampling, rng.normal(0, 1.5, (starts, bandit.arms)))
    far = [p for p in policy[still] if min((np.abs(p - end).max() for end in ends), default=1.0) > 1e-6]
    lost = [p for p in far if _at_rest(row, algorithm, Case(bandit, sampling, p))]
    more = [p for p in lost if len(ends) > 1 and _confirmed(algorithm, bandit, sampling, p)]
    told = f"{name} seed {seed}: {len(lost)} starts end elsewhere than fixed_points says, at {lost[:1]}"
    wrong = (told,) if len(more) < len(lost) else ()
    return Count(starts=int(still.sum()) - len(far) + len(lost), more=len(more), wrong=wrong)


def _confirmed(algorithm: Any, bandit: b.Bandit, sampling: Any, policy: np.ndarray) -> bool:
    """Whether `fixed_point` from there stays there, and calls it stable."""
    found = b.fixed_point(algorithm, bandit, sampling, start=policy)
    return bool(np.abs(np.asarray(found.policy) - policy).max() <= 1e-6 and found.stable)


def _at_rest(row: Row, algorithm: Any, case: Case) -> bool:
    """Whether a step of Newton's is short: where all is flat, it only moves slowly."""
    here = pull(row, algorithm, case, np.log(case.policy))
    step = np.linalg.lstsq(slopes_at(row, algorithm, case), here)[0]
    return bool(np.abs(step).max() <= NEAR)


def _flow(
    algorithm: Any, bandit: b.Bandit, sampling: Any, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the starts (n, A) are when the steps are done, and which of them stand still.

    A step that makes the pull smaller is followed by a longer one, any other by one of half its length.
    """
    least = 0.3 / max(1.0, float(getattr(algorithm, "beta", 1.0)))
    step, before = np.full(len(theta), least), np.full(len(theta), np.inf)
    moving = np.arange(len(theta))
    for _ in range(STEPS):
        logits = theta[moving]
        policy = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        inside = policy.min(axis=1) > 0  # whose arms have died stands nowhere inside
        g = b.expected_update(
            algorithm, bandit, sampling, np.where(inside[:, None], policy, 1 / len(policy.T))
        )
        pull = np.abs(g).max(axis=1)
        step = np.clip(np.where(pull < before, 1.05 * step, 0.5 * step), least, LONGEST * least)
        theta[moving] += step[:, None] * g
        left = (pull >= 1e-10) & inside
        moving, step, before = moving[left], step[left], pull[left]
        if not len(moving):
            break
    policy = np.exp(theta - np.logaddexp.reduce(theta, axis=1, keepdims=True))
    return policy, ~np.isin(np.arange(len(theta)), moving) & (policy.min(axis=1) > 0)


def campaign(name: str, worlds: int, several: int = 0, starts: int = 0) -> Count:
    """One row in so many worlds, and in some of them from many starts."""
    row = every_row()[name]
    counts = [_or_lost(name, seed, judged, row) for seed in range(worlds)]
    on = range(0 if name.startswith(SLIDE) else several)
    counts += [_or_lost(name, seed, arrived, row, starts) for seed in on]
    numbers = [field for field in Count._fields if field != "wrong"]
    sums = {field: sum(getattr(each, field) for each in counts) for field in numbers}
    return Count(**sums, wrong=tuple(said for each in counts for said in each.wrong))


def _or_lost(name: str, seed: int, of: Callable[..., Count], row: Row, *more: int) -> Count:
    """A count; a program that fails is told as a disagreement, and the others go on."""
    try:
        return of(name, row, seed, *more)
    except Exception as error:
        return Count(wrong=(f"{name} seed {seed}: {of.__name__} failed: {error!r:.300}",))


def main(worlds: int, several: int, starts: int, only: str = "") -> int:
    """All rows; the number of disagreements."""
    names = [name for name in every_row() if not only or name.partition("(")[0] == only]
    found = Parallel(n_jobs=-1, return_as="generator")(
        delayed(campaign)(name, worlds, several, starts) for name in names
    )
    wrong = 0
    for name, seen in zip(names, found, strict=True):
        facts = ", ".join(f"{value} {field}" for field, value in seen._asdict().items() if field != "wrong")
        print(f"{name:32s} {facts}, {len(seen.wrong)} wrong", flush=True)
        print(*seen.wrong[:3], sep="\n", end="\n" * bool(seen.wrong))
        wrong += len(seen.wrong)
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main(*(int(each) for each in sys.argv[1:4]), *sys.argv[4:5]) else 0)
