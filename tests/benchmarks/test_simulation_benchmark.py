"""Sampled training of CoPG on three arms, 1000 runs, one pair a step, against the same in torch and JAX.

All take the same step on the same toy.  Counted are run-steps per second of whole calls: with drawing the
arms and setting up for us, with drawing for JAX (compiled before), without either for torch.  JAX's step is
written with autograd, with a scatter, and with one-hot rows.  Two more lines are printed that no claim is
made about: JAX with our own shortcut put in by hand (a contrastive step needs no softmax), with and without
its draws.

Speeds are by the clock; those by the processor's time, all threads together, stand beside them, for JAX
takes a second core where it can.  Short rounds alternate and the fastest counts, so that a change of load
favours nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from bandits import Bandit, CoPG, Offline
from bandits.examples import copg_toy
from bandits.simulation.simulate import simulate

RUNS, BETA, RATE = 1000, 0.5, 0.1
WORLD, DATA = copg_toy()
MU = np.stack(DATA.behaviors)
OURS, SHORTCUT = "bandits.simulate", "one-hot, no softmax"


def ours(steps: int) -> None:
    simulate(
        CoPG(BETA),
        WORLD,
        DATA,
        steps=steps,
        batch_size=1,
        learning_rate=RATE,
        rng=np.random.default_rng(0),
        runs=RUNS,
    )


def drawn_arms(steps: int, runs: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([rng.choice(3, p=mu, size=(steps, runs)) for mu in MU], axis=-1))


def torch_steps(arms: torch.Tensor) -> None:
    """Autograd, all runs in one tensor: arms (steps, runs, 2)."""
    reward, log_reference = (
        torch.from_numpy(WORLD.reward.copy()),
        torch.from_numpy(WORLD.log_reference.copy()),
    )
    theta = torch.zeros(arms.shape[1], 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=RATE)
    for y in arms:
        log_prob = torch.log_softmax(theta, -1).gather(-1, y)
        R = reward[y] - BETA * (log_prob.detach() - log_reference[y])
        c = 2 * R - R.sum(-1, keepdim=True)
        optimizer.zero_grad()
        (-(c * log_prob).sum()).backward()
        optimizer.step()


def jax_scans(steps: int) -> dict[str, Callable[[], object]]:
    """Jitted scans over the step, written four ways; compiled here."""
    jax = pytest.importorskip("jax")
    jnp, nn = jax.numpy, jax.nn
    jax.config.update("jax_enable_x64", True)
    reward, log_reference = jnp.array(WORLD.reward), jnp.array(WORLD.log_reference)
    cumulative, rows = jnp.cumsum(jnp.array(MU), axis=-1), jnp.arange(RUNS)

    def draw(key):
        u = jax.random.uniform(key, (2, RUNS))
        return (u[..., None] > cumulative[:, None, :-1]).sum(-1)

    def coefficient(log_prob, y):
        R = reward[y] - BETA * (log_prob - log_reference[y])
        return R[0] - R[1]

    def autograd(theta, y):
        def loss(theta):
            log_prob = nn.log_softmax(theta, -1)[rows, y]
            c = jax.lax.stop_gradient(coefficient(log_prob, y))
            return -(c * (log_prob[0] - log_prob[1])).sum()

        return theta - RATE * jax.grad(loss)(theta)

    def scatter(theta, y):
        c = RATE * coefficient(nn.log_softmax(theta, -1)[rows, y], y)
        return theta.at[rows, y[0]].add(c).at[rows, y[1]].add(-c)

    def one_hot(theta, scores, y):
        d = nn.one_hot(y[0], 3, dtype=theta.dtype) - nn.one_hot(y[1], 3, dtype=theta.dtype)
        c = (d * (reward - BETA * (scores - log_reference))).sum(-1, keepdims=True)
        return theta + RATE * c * d

    def dense(theta, y):
        return one_hot(theta, nn.log_softmax(theta, -1), y)

    def shortcut(theta, y):
        return one_hot(theta, theta, y)

    def scan(move, given) -> Callable[[], object]:
        run = jax.jit(lambda theta, xs: jax.lax.scan(lambda at, x: (move(at, x), None), theta, xs)[0])
        theta = jnp.zeros((RUNS, 3))
        run(theta, given).block_until_ready()
        return lambda: run(theta, given).block_until_ready()

    keys = jax.random.split(jax.random.PRNGKey(0), steps)
    moves = {"autograd": autograd, "scatter": scatter, "one-hot rows": dense, SHORTCUT: shortcut}
    scans = {
        f"JAX, {name}": scan(lambda at, key, move=move: move(at, draw(key)), keys)
        for name, move in moves.items()
    }
    return scans | {f"JAX, {SHORTCUT}, no draws": scan(shortcut, jax.vmap(draw)(keys))}


Times = dict[str, tuple[float, float]]  # seconds of the processor, seconds on the clock


def fastest(calls: dict[str, Callable[[], object]], rounds: int) -> Times:
    """The best of several alternating rounds."""
    best = dict.fromkeys(calls, (np.inf, np.inf))
    for _ in range(rounds):
        for name, call in calls.items():
            clock, processor = time.perf_counter(), time.process_time()
            call()
            took = time.process_time() - processor, time.perf_counter() - clock
            best[name] = min(best[name][0], took[0]), min(best[name][1], took[1])
    return best


def compare(calls: dict[str, Callable[[], object]], counts: list[int]) -> dict[str, float]:
    """Run-steps per second of the clock; printed with those of the processor."""
    times = fastest(calls, rounds=40)
    speeds = {name: count / times[name][1] for name, count in zip(calls, counts, strict=True)}
    print(f"\n{'run-steps per second':36}{'clock':>10}{'processor':>10}   ours is faster by")
    for (name, speed), count in zip(speeds.items(), counts, strict=True):
        print(f"  {name:34}{speed:10.3g}{count / times[name][0]:10.3g}{speeds[OURS] / speed:12.3g}")
    return speeds


@pytest.mark.benchmark
def test_faster_than_torch() -> None:
    torch.set_num_threads(1)  # more make it slower at this size
    steps, fewer, one_by_one = 1000, 100, 100
    arms, alone = drawn_arms(fewer, RUNS), drawn_arms(one_by_one, 1)
    calls: dict[str, Callable[[], object]] = {
        OURS: lambda: ours(steps),
        "torch autograd, vectorised": lambda: torch_steps(arms),
        "torch autograd, a run at a time": lambda: torch_steps(alone),
    }
    speeds = compare(calls, [steps * RUNS, fewer * RUNS, one_by_one])
    assert speeds[OURS] >= 4 * speeds["torch autograd, vectorised"]
    assert speeds[OURS] >= 1000 * speeds["torch autograd, a run at a time"]


@pytest.mark.benchmark
def test_not_slower_than_a_jitted_jax_scan_over_the_same_update() -> None:
    steps = 1000
    calls = {OURS: lambda: ours(steps)} | jax_scans(steps)
    speeds = compare(calls, [steps * RUNS] * len(calls))
    assert speeds[OURS] >= max(speeds[f"JAX, {name}"] for name in ("autograd", "scatter", "one-hot rows"))


@pytest.mark.benchmark
def test_a_contrastive_step_does_not_pay_for_the_arms() -> None:
    """Cost of 4 000 more steps: start, tables and the two records, which are O(A), drop out.

    The logits, 80 MB at A = 10^4, no longer fit in cache, and every sample is a miss: that is what is left to
    pay, and it depends on what else uses the memory.  All are timed in turn, and the best of each counts.
    """
    rng = np.random.default_rng(1)
    worlds = {
        A: (Bandit(rng.normal(size=A)), Offline(*rng.dirichlet(np.ones(A), size=2))) for A in (3, 10_000)
    }

    def seconds(A: int, steps: int) -> float:
        world, data = worlds[A]
        started = time.process_time()
        simulate(
            CoPG(BETA),
            world,
            data,
            steps=steps,
            batch_size=1,
            learning_rate=RATE,
            rng=np.random.default_rng(0),
            runs=RUNS,
        )
        return time.process_time() - started

    short, long = 500, 4500
    best = {(A, steps): np.inf for A in worlds for steps in (short, long)}
    for _ in range(20):
        best = {of: min(least, seconds(*of)) for of, least in best.items()}
    few, many = ((best[A, long] - best[A, short]) / (long - short) for A in worlds)
    print(f"\nmicroseconds a step of {RUNS} runs: A = 3: {1e6 * few:.1f}, A = 10^4: {1e6 * many:.1f}")
    print(f"A = 10^4 costs {many / few:.2f} times A = 3 (at most 3)")
    assert many <= 3 * few
