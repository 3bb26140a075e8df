"""A campaign: does every end that the package calls stable attract, and every repeller repel?

    python tests/campaigns/stability.py 10000 100        # about 4 minutes of one quiet core

The first number of random games and worlds is compared with the Jacobian of an independent program (formulas
written out below, complex steps, no line of the package); the second, a part of them, with its long flow by
SciPy's LSODA: from a push of 1e-3 it comes back, or it does not.  Prints one line a kind, exits 1 on a
disagreement.  A sample of it runs among the tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

import bandits as b

ROUNDING = (
    1e-12  # growth rates nearer to zero are the rounding of this program's matrix, whose entries reach 1
)
PUSH = 1e-3  # of a logit


def nash(rng: np.random.Generator) -> tuple:
    """Nash-MD against a mixture on a random or cyclic game."""
    n, beta, mixture = int(rng.integers(2, 6)), 10 ** rng.uniform(-2.5, 0), rng.uniform(0.05, 0.95)
    P = np.triu(rng.random((n, n)), 1)
    P = P + np.tril(1 - P.T, -1) + 0.5 * np.eye(n)
    if n == 3 and rng.random() < 0.7:
        a, c, d = 0.5 + rng.uniform(0.05, 0.5, 3)
        P = np.array([[0.5, a, 1 - d], [1 - a, 0.5, c], [d, 1 - c, 0.5]])
    ref = 0.97 * rng.dirichlet(np.full(n, 0.4)) + 0.03 / n

    def update(theta):
        pi = np.exp(theta) / np.exp(theta).sum()
        m = pi ** (1 - mixture) * ref**mixture
        c = P @ (m / m.sum()) - beta * (np.log(pi) - np.log(ref))
        return pi * (c - pi @ c)

    algorithm, world = b.NashMD(beta, mixture), b.Bandit(preference=P, reference=ref)
    return algorithm.closed_form(world, b.OnPolicy(), world.log_reference), update


def baseline(rng: np.random.Generator) -> tuple:
    """Policy gradient on somebody else's samples with a constant baseline, every attractor (T2.5)."""
    n, beta = int(rng.integers(2, 6)), 10 ** rng.uniform(-1, 0.5)
    r, ref, mu = rng.normal(size=n), rng.dirichlet(np.full(n, 2.0)), rng.dirichlet(np.full(n, 2.0))
    height = rng.normal() * 3

    def update(theta):
        pi = np.exp(theta) / np.exp(theta).sum()
        a = mu * (r - beta * (np.log(pi) - np.log(ref)) - height)
        return a - pi * a.sum()

    ends = b.fixed_points(b.PolicyGradient(beta, height), b.Bandit(r, reference=ref), b.Offline(mu))
    return ends[int(rng.integers(len(ends)))], update


def follower(rng: np.random.Generator) -> tuple:
    """A reader's algorithm without a closed form: the flow finds its end."""
    n, beta = int(rng.integers(2, 5)), 10 ** rng.uniform(-0.5, 0.5)
    r, ref, mu = rng.normal(size=n), rng.dirichlet(np.full(n, 2.0)), rng.dirichlet(np.full(n, 2.0))

    class Bent:
        k = 1

        def update(self, samples):
            return b.Update(log_prob=np.tanh(samples.regularized_reward(beta) + 2))

    def update(theta):
        pi = np.exp(theta) / np.exp(theta).sum()
        a = mu * np.tanh(r - beta * (np.log(pi) - np.log(ref)) + 2)
        return a - pi * a.sum()

    return b.fixed_point(Bent(), b.Bandit(r, reference=ref), b.Offline(mu)), update


KINDS: tuple[Callable, ...] = (nash, baseline, follower)


def growth(update: Callable, policy: np.ndarray) -> tuple[float, float]:
    """Largest real part of the eigenvalues of d update / d theta, constants aside; the largest modulus."""
    n = len(policy)
    theta = np.log(policy).astype(complex)
    J = np.stack([update(theta + 1e-30j * e).imag / 1e-30 for e in np.eye(n)], axis=1)
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:]
    values = np.linalg.eigvals(basis.T @ J @ basis)
    return float(values.real.max()), float(np.abs(values).max())


def returns(update: Callable, policy: np.ndarray, rng: np.random.Generator, rate: float) -> bool:
    """Whether the long flow from a pushed policy comes nearer to it than the push."""
    theta = np.log(policy)
    push = rng.normal(size=len(policy))
    push = PUSH * (push - push.mean()) / np.abs(push - push.mean()).max()
    run = solve_ivp(
        lambda _, y: update(y), (0, 12 / rate), theta + push, method="LSODA", rtol=1e-9, atol=1e-12
    )
    end = run.y[:, -1] - theta
    return bool(np.abs(end - end.mean()).max() < PUSH / 10)


def compared(kind: Callable, count: int, flows: int) -> tuple[int, int, int, int]:
    """Cases compared, repellers among them, flows run, disagreements."""
    seen = repelling = flowed = wrong = 0
    for seed in range(count):
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        try:
            found, update = kind(rng)
        except b.NotConverged:  # a motion that runs away has no end to judge
            continue
        fastest, size = growth(update, found.policy)
        if abs(fastest) < max(ROUNDING, 1e-9 * size):
            continue
        seen, repelling = seen + 1, repelling + (fastest > 0)
        wrong += bool(found.stable) != (fastest < 0)
        if flowed < flows and abs(fastest) > 1e-4 * size:
            flowed += 1
            wrong += returns(update, found.policy, rng, abs(fastest)) != bool(found.stable)
    return seen, repelling, flowed, wrong


def main(count: int, flows: int) -> int:
    """All kinds, a third of the count each; the number of disagreements."""
    total = 0
    for kind in KINDS:
        seen, repelling, flowed, wrong = compared(kind, -(-count // len(KINDS)), -(-flows // len(KINDS)))
        print(f"{kind.__name__:10s} {seen:6d} compared, {repelling:4d} repel, {flowed} flows, {wrong} wrong")
        total += wrong
    return total


if __name__ == "__main__":
    sys.exit(1 if main(*(int(each) for each in sys.argv[1:3])) else 0)
