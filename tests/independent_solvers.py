"""Fixed points a second time, from the theory alone: what `fixed_point` is compared with.

Nothing here calls the package's solvers, laws or algorithms: only the arrays of a sampling rule and of a
bandit are read.

    pair_law, first_wins       W(y, y') of a rule, and how often the first of a pair wins
    least_squares              min sum W (t - (h - h'))^2 by a QR factorisation of the weighted differences
    logistic, of_scores        DPO's and SimPO's loss by SciPy's `root` on the gradient; the policy of scores
    margins                    any loss of the margin, by SciPy's `root` on the gradient
    hinge                      SLiC's as the linear programme that it is
    singly                     losses of one answer: where the update by hand vanishes
    srpo                       both policies of SRPO in one linear least-squares problem
    game                       ref exp(P(y beats mixture) / beta) / Z by SciPy's `root`, along a path in beta
    tilted                     ref exp(score / beta) / Z in 60-digit arithmetic
    reachable                  who beat whom, however indirectly, by powers of a matrix

Axes: one context; arms (A,), pairs (A, A).
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
from numpy.typing import NDArray
from scipy import integrate, optimize
from scipy.special import expit, log_softmax, logsumexp, softmax

from bandits import Bandit, Dataset, Offline, Pairs

Floats = NDArray[np.float64]


def pair_law(sampling: Offline | Pairs | Dataset, arms: int) -> Floats:
    """W(y, y'): how often the first of a pair is y and the second y'."""
    if isinstance(sampling, Offline):
        return np.outer(sampling.behaviors[0], sampling.behaviors[-1])
    if isinstance(sampling, Pairs):
        return sampling.joint
    counts = np.zeros((arms, arms))
    for winner, loser in sampling.pairs:
        counts[winner, loser] += 1
    return counts / counts.sum()


def preferences(bandit: Bandit) -> Floats:
    """P, Bradley-Terry of the reward unless given."""
    if bandit.given_preference is not None:
        return bandit.given_preference
    return expit(bandit.reward[:, None] - bandit.reward)


def first_wins(sampling: Offline | Pairs | Dataset, bandit: Bandit) -> Floats:
    """Probability that the first of an ordered pair wins: certain in a data set."""
    if isinstance(sampling, Dataset):
        return np.ones((bandit.arms, bandit.arms))
    return preferences(bandit)


def connected(symmetric: Floats) -> NDArray[np.bool_]:
    """Whether two arms are linked, however indirectly, (A, A)."""
    return reachable(symmetric + symmetric.T)


def reachable(arrows: Floats) -> NDArray[np.bool_]:
    """Whether a path of arrows leads from one arm to another (or they are the same), (A, A)."""
    size = len(arrows)
    reach = (arrows > 0) | np.eye(size, dtype=bool)
    for _ in range(size.bit_length()):
        reach = (reach.astype(float) @ reach) > 0
    return reach


def least_squares(weight: Floats, target: Floats, start: Floats) -> Floats:
    """h minimising sum_ij W_ij (t_ij - (h_i - h_j))^2, each component keeping the mean of `start`, (A,)."""
    i, j = np.nonzero((weight > 0) & ~np.eye(len(weight), dtype=bool))
    rows, root = np.arange(len(i)), np.sqrt(weight[i, j])
    matrix = np.zeros((len(i), len(weight)))
    matrix[rows, i], matrix[rows, j] = root, -root
    scale = _unit_columns(matrix)
    h = scale * np.linalg.lstsq(matrix * scale, root * target[i, j], rcond=1e-13)[0]
    linked = connected(weight).astype(float)
    return h + (linked @ (start - h)) / linked.sum(axis=1)


def _unit_columns(matrix: Floats) -> Floats:
    """What to multiply columns by so that rare arms count like the others; 1 for those that never occur."""
    norm = np.linalg.norm(matrix, axis=0)
    return 1 / np.where(norm > 0, norm, 1.0)


def logistic(weight: Floats, wins: Floats, margin: float = 0.0) -> Floats:
    """x minimising -sum_ij W_ij (p_ij log sigma(x_i - x_j) + (1 - p_ij) log sigma(x_j - x_i)), mean zero.

    With a margin, it is taken off every difference of winner and loser.
    """
    won = weight * wins + (weight * (1 - wins)).T
    scale = (won + won.T).sum(axis=1)

    def gradient(x: Floats) -> tuple[Floats, Floats]:
        gap = x[:, None] - x
        flow = won * expit(margin - gap) - won.T * expit(margin + gap)
        link = won * _bump(margin - gap) + won.T * _bump(margin + gap)
        slope = link - np.diag(link.sum(axis=1))
        return flow.sum(axis=1) / scale + x.mean(), slope / scale[:, None] + 1 / len(x)

    found = optimize.root(gradient, np.zeros(len(won)), jac=True, method="hybr", tol=1e-15)
    x = found.x
    for _ in range(3):
        value, slope = gradient(x)
        x = x - np.linalg.solve(slope, value)
    return x - x.mean()


def _bump(x: Floats) -> Floats:
    """sigma'."""
    return expit(x) * expit(-x)


def beaten_by_all(weight: Floats, wins: Floats) -> bool:
    """Ford's condition: chains of wins lead from every arm to every other."""
    return bool(reachable(weight * wins + (weight * (1 - wins)).T).all())


def of_scores(log_policy_at: Callable[[float], Floats]) -> Floats:
    """The policy whose scores are known up to a constant, by SciPy's root of sum pi = 1."""
    reach = 1.0
    while logsumexp(log_policy_at(-reach)) > 0 or logsumexp(log_policy_at(reach)) < 0:
        reach *= 2
    root = optimize.brentq(lambda c: logsumexp(log_policy_at(c)), -reach, reach, xtol=1e-15, rtol=1e-15)
    return softmax(log_policy_at(root))


def wins_of(sampling: Offline | Pairs | Dataset, bandit: Bandit) -> Floats:
    """N(y, y'): how often y is shown with y' and wins."""
    weight, p = pair_law(sampling, bandit.arms), first_wins(sampling, bandit)
    return weight * p + (weight * (1 - p)).T


def margins(wins: Floats, slope: Callable[[Floats], Floats]) -> Floats:
    """x with sum_j N_ij f'(x_i - x_j) = sum_j N_ji f'(x_j - x_i) for every i, mean zero."""
    scale = (wins + wins.T).sum(axis=1)

    def gradient(x: Floats) -> Floats:
        charge = wins * slope(x[:, None] - x)
        return (charge.sum(axis=1) - charge.sum(axis=0)) / scale + x.mean()

    x = _root(gradient, np.zeros(len(wins)))
    return x - x.mean()


def hinge(wins: Floats) -> tuple[Floats, float]:
    """u and least sum_ij N_ij max(0, 1 - (u_i - u_j)), as a programme in u and what each pair lacks."""
    size = len(wins)
    pairs = np.argwhere(wins > 0)
    lacks = np.zeros((len(pairs), size + len(pairs)))
    rows = np.arange(len(pairs))
    lacks[rows, pairs[:, 0]] -= 1
    lacks[rows, pairs[:, 1]] += 1
    lacks[rows, size + rows] = -1
    price = np.concatenate([np.zeros(size), wins[pairs[:, 0], pairs[:, 1]]])
    bounds = [(0, 0)] + [(None, None)] * (size - 1) + [(0, None)] * len(pairs)
    found = optimize.linprog(price, lacks, -np.ones(len(pairs)), bounds=bounds)
    return found.x[:size], found.fun


def singly(slopes: Callable[[Floats], Floats], log_reference: Floats, start: Floats) -> Floats:
    """log of a policy with slopes(h) in proportion to itself, h = log pi/ref, from the logits `start`."""

    def update(logits: Floats) -> Floats:
        log_policy = log_softmax(logits)
        pull = -slopes(log_policy - log_reference)
        return pull - np.exp(log_policy) * pull.sum() + logits.mean()

    def of_each(logits: Floats) -> Floats:
        return (update(logits) - logits.mean()) / np.exp(log_softmax(logits)) + logits.mean()

    # From afar its steps can run off to where probabilities vanish: the flow leads near.
    flow = integrate.solve_ivp(lambda _, x: update(x) - x.mean(), (0, 300), start - start.mean(), "LSODA")
    return log_softmax(_root(of_each, flow.y[:, -1]))


def _root(function: Callable[[Floats], Floats], start: Floats) -> Floats:
    """A zero, by SciPy's `root` and Newton steps with central differences."""
    x = optimize.root(function, start, method="hybr", tol=1e-14).x
    for _ in range(4):
        shifts = 1e-5 * np.eye(len(x))
        slope = np.stack([(function(x + e) - function(x - e)) / 2e-5 for e in shifts], axis=-1)
        x = x - np.linalg.lstsq(slope, function(x))[0]  # singular where labels are sure and all is flat
    return x


def srpo(
    sampling: Offline | Pairs | Dataset, bandit: Bandit, beta: float, alpha: float
) -> tuple[Floats, Floats]:
    """log pi, (A,), and log pi', (A, A) with [y1, y2] = log pi'(y2 | y1), minimising T7.3 together.

    Linear in h and h' as long as h'(. | y) may be off by a constant Z(y); L_gen only sees h - Z, so that the
    normalisation is made up for afterwards.
    """
    size, W, p = bandit.arms, pair_law(sampling, bandit.arms), first_wins(sampling, bandit)
    outcomes = W * p + (W * (1 - p)).T  # [winner, loser]

    def revised(to: int, of: int) -> int:
        return size + of * size + to

    matrix, target = [], []
    for w, l in np.argwhere((outcomes > 0) & ~np.eye(size, dtype=bool)):  # noqa: E741
        a, b = np.sqrt(outcomes[w, l] * alpha), np.sqrt(outcomes[w, l] * (1 - alpha))
        terms = (
            (a / 2, {revised(w, l): a, revised(l, l): -a}),
            (a / 2, {revised(w, w): a, revised(l, w): -a}),
            (b, {revised(w, l): b, w: b, revised(l, w): -b, l: -b}),
        )
        for value, row in terms:
            matrix.append(np.zeros(size + size**2))
            target.append(value)
            for column, entry in row.items():
                matrix[-1][column] = beta * entry
    rows = np.stack(matrix)
    scale = _unit_columns(rows)
    solution = scale * np.linalg.lstsq(rows * scale, np.array(target), rcond=1e-13)[0]
    revision = bandit.log_reference + solution[size:].reshape(size, size)
    policy = bandit.log_reference + solution[:size] - logsumexp(revision, axis=-1)
    return log_softmax(policy), log_softmax(revision, axis=-1)


def game(preference: Floats, log_reference: Floats, beta: float, mixture: float = 0.0) -> Floats:
    """log of the policy pi = ref exp(P(y beats pi^(1-eps) ref^eps / Z) / beta) / Z, (A,)."""
    payoff, keep = preference - 0.5, 1 - mixture

    def gap(z: Floats, beta: float) -> tuple[Floats, Floats]:
        mix = softmax(log_reference + keep * z)
        covariance = np.diag(mix) - np.outer(mix, mix)
        return z - payoff @ mix / beta, np.eye(len(z)) - keep * payoff @ covariance / beta

    z, path = np.zeros(len(log_reference)), max(beta, 1.0)
    while True:
        z = optimize.root(gap, z, args=(path,), jac=True, method="hybr", tol=1e-15).x
        if path == beta:
            break
        path = max(beta, path / 1.5)
    for _ in range(3):
        value, slope = gap(z, beta)
        z = z - np.linalg.solve(slope, value)
    return log_softmax(log_reference + z)


def tilted(log_reference: Floats, score: Floats, beta: float) -> Floats:
    """ref exp(score / beta) / Z with 60 digits, (A,)."""
    with mpmath.workdps(60):
        exponents = [
            mpmath.mpf(float(r)) / mpmath.mpf(float(beta)) + mpmath.mpf(float(q))
            for r, q in zip(score, log_reference, strict=True)
        ]
        top = max(exponents)
        weights = [mpmath.exp(e - top) for e in exponents]
        total = mpmath.fsum(weights)
        return np.array([float(w / total) for w in weights])
