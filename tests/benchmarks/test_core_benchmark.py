"""A million arms for the price of a softmax; preferences without their matrix; DPO against L-BFGS-B.

Side by side in one run: the contestants take turns, and the fastest turn of each counts, so that what else
runs on the machine does not decide.  Memory is what Python's allocators held at most (`tracemalloc`).
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

import bandits as b
from worlds import ClippedPairs

pytestmark = pytest.mark.benchmark

MILLION = 10**6


def fastest(contestants: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Seconds of the fastest of some turns of each."""
    best = dict.fromkeys(contestants, np.inf)
    for _ in range(turns):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def held(run: Callable[[], object]) -> int:
    """Bytes held at most while it ran, beyond what there was."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_million_arms_cost_a_few_softmaxes():
    """At most 5 times one log_softmax of the rewards, and at most 8 arrays of that size in memory: O(A)."""
    rng = np.random.default_rng(0)
    reward = rng.normal(size=MILLION)
    mu, nu, reference, policy = (rng.dirichlet(np.ones(MILLION)) for _ in range(4))
    world, one, two = b.Bandit(reward, reference=reference), b.Offline(mu), b.Offline(mu, nu)
    runs = {
        "log_softmax": lambda: log_softmax(reward),
        "optimal_policy": lambda: world.optimal_policy(0.5),
        "optimal_value": lambda: world.optimal_value(0.5),
        "CoPG fixed point, mu": lambda: b.fixed_point(b.CoPG(0.5), world, one),
        "CoPG fixed point, mu1 mu2": lambda: b.fixed_point(b.CoPG(0.5), world, two),
        "DRO fixed point": lambda: b.fixed_point(b.DRO(0.5), world, one),
        "CoPG expected_update, mu": lambda: b.expected_update(b.CoPG(0.5), world, one, policy),
        "CoPG expected_update, mu1 mu2": lambda: b.expected_update(b.CoPG(0.5), world, two, policy),
    }
    seconds = fastest(runs, turns=15)
    arrays = {name: held(run) / (8 * MILLION) for name, run in runs.items()}
    print(f"\n{'A = 1 000 000':32s}{'ms':>8s}{'x softmax':>11s}{'arrays':>8s}")
    for name, t in seconds.items():
        print(f"{name:32s}{1e3 * t:8.1f}{t / seconds['log_softmax']:11.1f}{arrays[name]:8.1f}")
    assert max(seconds.values()) <= 5 * seconds["log_softmax"]
    assert max(arrays.values()) <= 8


def test_ipo_never_holds_the_matrix_of_preferences():
    """20 000 arms: P would be 3.2 GB, the fixed point is found and certified with less than 1/100 of that."""
    arms = 20_000
    rng = np.random.default_rng(0)
    world = b.Bandit(rng.normal(size=arms), reference=rng.dirichlet(np.ones(arms)))
    sampling = b.Offline(rng.dirichlet(np.ones(arms)))
    found: list[b.Solution] = []
    started = time.perf_counter()
    peak = held(lambda: found.append(b.fixed_point(b.IPO(0.5), world, sampling)))
    seconds = time.perf_counter() - started
    matrix = 8 * arms**2
    print(f"\nIPO, A = 20 000: {seconds:.1f} s, {peak / 1e6:.0f} MB held; P alone has {matrix / 1e6:.0f} MB")
    assert found[0].residual <= 1e-10
    assert peak < matrix / 100


def test_dpo_on_any_preferences_is_fitted_ten_times_faster_than_by_lbfgs():
    """A = 1000, P without any structure, from the world to the certified `Solution`; residual at most 1e-13.

    L-BFGS-B has the analytic gradient, its factors computed once, and stops at 1e-9: four digits earlier.
    """
    arms, beta = 1000, 0.5
    rng = np.random.default_rng(0)
    upper = np.triu(rng.random((arms, arms)), 1)
    P = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(arms)
    world = b.Bandit(preference=P, reference=rng.dirichlet(np.full(arms, 3.0)))
    mu = rng.dirichlet(np.full(arms, 3.0))
    W = np.outer(mu, mu)
    wins = 2 * W * P

    def loss(x):
        chance = expit(x[:, None] - x)
        with np.errstate(divide="ignore"):
            value = -np.vdot(wins, np.log(chance))
        return value, -2 * (W * (P - chance)).sum(axis=1)

    def rival():
        options = {"ftol": 1e-16, "gtol": 1e-9, "maxiter": 10_000, "maxcor": 20}
        return minimize(loss, np.zeros(arms), jac=True, method="L-BFGS-B", options=options)

    ours, theirs = b.fixed_point(b.DPO(beta), world, b.Offline(mu)), rival()
    seconds = fastest(
        {"fixed_point": lambda: b.fixed_point(b.DPO(beta), world, b.Offline(mu)), "L-BFGS-B": rival}, turns=5
    )
    h = theirs.x / beta
    difference = np.abs(np.exp(log_softmax(world.log_reference + h)) - ours.policy).max()
    print(f"\n{'DPO, A = 1000, any P':24s}{'ms':>8s}{'max |gradient|':>16s}")
    print(f"{'fixed_point':24s}{1e3 * seconds['fixed_point']:8.1f}{ours.residual:16.1e}")
    print(f"{'L-BFGS-B':24s}{1e3 * seconds['L-BFGS-B']:8.1f}{np.abs(theirs.jac).max():16.1e}")
    assert ours.residual <= 1e-13
    assert difference <= 1e-5  # the rival's own error
    assert seconds["L-BFGS-B"] >= 10 * seconds["fixed_point"]


def test_a_readers_own_algorithm_of_fifty_arms_is_solved_in_seconds():
    """No closed form: flow and Newton on 2500 enumerated pairs; the flow costs a few hundred evaluations."""
    rng = np.random.default_rng(0)
    world = b.Bandit(rng.normal(size=50), reference=rng.dirichlet(np.full(50, 3.0)))
    sampling = b.Offline(rng.dirichlet(np.full(50, 3.0)))

    found: list[b.Solution] = []
    seconds = fastest(
        {
            "fixed point": lambda: found.append(b.fixed_point(ClippedPairs(), world, sampling)),
            "one expected update": lambda: b.expected_update(
                ClippedPairs(), world, sampling, world.reference
            ),
        },
        turns=2,
    )
    print(f"\nclipped pairs, A = 50: {seconds['fixed point']:.2f} s, {found[0]}")
    assert found[0].residual <= 1e-10
    assert seconds["fixed point"] <= 5000 * seconds["one update"]


def test_a_thousand_prompts_without_a_closed_form_are_solved_in_ten_seconds():
    """Eight arms, clipped pairs, one core; each of the thousand equals its solution alone to 1e-10."""
    rng = np.random.default_rng(0)
    reference, mu = rng.dirichlet(np.full(8, 3.0), size=(2, 1000))
    world, sampling = b.Bandit(rng.normal(size=(1000, 8)), reference=reference), b.Offline(mu)

    started = time.process_time()
    found = b.fixed_point(ClippedPairs(), world, sampling)
    seconds = time.process_time() - started
    alone = [
        b.fixed_point(ClippedPairs(), world.at((i,)), sampling.at((i,), (1000,))).policy for i in range(1000)
    ]
    apart = np.abs(np.stack(alone) - found.policy).max()
    residual = found.residual.max()
    print(
        f"\n1000 prompts of 8 arms: {seconds:.1f} s of one core, residual {residual:.1e}, apart {apart:.1e}"
    )
    assert apart <= 1e-10 and residual <= 1e-10
    assert seconds < 10
