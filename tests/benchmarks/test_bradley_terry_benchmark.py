"""The Bradley-Terry fit against SciPy's L-BFGS-B with the analytic gradient, 1000 arms, side by side.

The preferences are not Bradley-Terry: normal log-odds around those of normal strengths.  L-BFGS-B starts at
zero, evaluates one sigmoid a pair, and stops where the loss no longer improves; the better of two memory
lengths counts.  Runs alternate and the fastest counts, so that a change of load favours nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit, log_expit

from bandits.solvers.bradley_terry import fit

ARMS = 1000


def uniform(rng: np.random.Generator) -> np.ndarray:
    return np.full(ARMS, 1 / ARMS)


def skewed(rng: np.random.Generator) -> np.ndarray:
    return rng.dirichlet(np.ones(ARMS))


def general_wins(rng: np.random.Generator, behavior: np.ndarray, spread: float) -> np.ndarray:
    """W * P with W = mu x mu, without the diagonal, of total weight 1."""
    noise = spread * np.triu(rng.normal(size=(ARMS, ARMS)), 1)
    strength = spread * rng.normal(size=ARMS)
    wins = np.outer(behavior, behavior) * expit(noise - noise.T + strength[:, None] - strength)
    np.fill_diagonal(wins, 0)
    return wins / wins.sum()


def quasi_newton(wins: np.ndarray, memory: int) -> OptimizeResult:
    """L-BFGS-B until a step no longer lowers the loss beyond its rounding."""
    total, won = wins + wins.T, wins.sum(axis=1)

    def loss_and_gradient(x):
        beats = expit(x[:, None] - x)
        return -np.vdot(wins, np.log(beats)), np.einsum("ij,ij->i", total, beats) - won

    options = {
        "maxcor": memory,
        "ftol": np.finfo(float).eps,
        "gtol": 1e-16,
        "maxiter": 10_000,
        "maxfun": 10_000,
    }
    return minimize(loss_and_gradient, np.zeros(ARMS), jac=True, method="L-BFGS-B", options=options)


def timed(solve: Callable):
    started = time.perf_counter()
    result = solve()
    return time.perf_counter() - started, result


def residual(wins: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Largest net flow of an arm, absolute and relative to its gross flow; by the definition."""
    flow = wins * expit(x - x[:, None])
    net, gross = flow.sum(axis=1) - flow.sum(axis=0), flow.sum(axis=1) + flow.sum(axis=0)
    return float(np.abs(net).max()), float(np.abs(net / gross).max())


def loss(wins: np.ndarray, x: np.ndarray) -> float:
    return -float(np.vdot(wins, log_expit(x[:, None] - x)))


@pytest.mark.benchmark
@pytest.mark.parametrize("spread", [1.0, 3.0])
@pytest.mark.parametrize("behavior", [uniform, skewed])
def test_ten_times_faster_than_lbfgs_on_general_preferences(behavior, spread):
    rng = np.random.default_rng(0)
    wins = general_wins(rng, behavior(rng), spread)
    ours, theirs = [], []
    for memory in (10, 30, 10, 30, 10, 30):
        ours += [timed(lambda: fit(wins)) for _ in range(5)]
        if len(theirs) < 2 or theirs[-1][0] < 1:  # seconds-long runs are not repeated
            theirs.append(timed(lambda memory=memory: quasi_newton(wins, memory)))
    seconds, found = min(ours, key=lambda run: run[0])
    rival, reached = min(theirs, key=lambda run: run[0])
    absolute, relative = residual(wins, found.strength)
    rival_absolute, rival_relative = residual(wins, reached.x)
    print(
        f"\n{behavior.__name__:>8} W, spread {spread:g}  fit {1e3 * seconds:4.0f} ms"
        f", {found.iterations} steps, residual {absolute:.0e} ({relative:.0e} an arm)"
        f"  |  L-BFGS-B {1e3 * rival:6.0f} ms"
        f", {reached.nfev:4d} gradients, {rival_absolute:.0e} ({rival_relative:.0e} an arm)"
        f"  |  {rival / seconds:5.1f} x",
        end="",
    )
    assert found.exists and found.residual <= 1e-13 and relative <= 2e-13
    assert loss(wins, found.strength) <= reached.fun + 1e-15 * ARMS  # the same optimum; sums are rounded
    assert rival >= 10 * seconds
