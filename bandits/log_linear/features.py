"""Which weights of a policy pi = ref exp(Phi w) / Z matter, and by how much?

Directions of w along which Phi is constant on the support change no policy.  `chart` leaves them out: with
B (d, r) an orthonormal basis of the others, w = w_0 + B z and log pi = log ref + Phi w_0 + D z - log Z,
D = Phi B.

An ascent direction g of the logits becomes D' g in z.  Near the border of the class, where arms have
masses of 1e-20, that is as small as they are.  The natural direction u does not fade: F_z = Cov_pi[D] is
Fisher's matrix, and u = F_z^-1 D' g is the slope of the regression of g / pi on D with weights pi.  It is
solved by a QR factorisation with sorted rows, whose error is relative to each row (Cox & Higham 1998), so
that rows of 1e-10 beside rows of 1 keep their digits.

Axes: one context; features (A, d), weights (d,), coordinates (r,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import qr, solve_triangular
from scipy.special import log_softmax

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats

RANK = 1e-12  # singular values below this share of the largest count as zero


@dataclass(frozen=True, eq=False)
class Chart:
    """Coordinates z of the policies around the weights `origin`."""

    log_reference: Floats  # (A,)
    features: Floats  # (A, d)
    origin: Floats  # (d,)
    basis: Floats  # (d, r)

    def weights(self, z: Floats) -> Floats:
        """w = w_0 + B z, (..., d)."""
        return self.origin + np.matvec(self.basis, z)

    def log_policy(self, z: Floats) -> Floats:
        """log pi, (..., A)."""
        return log_policy_at(self.log_reference, self.features, self.weights(z))

    def pulled_back(self, log_policy: Floats, g: Floats) -> Floats:
        """D' g, the ascent direction on z, (r,)."""
        return g @ self._contrast(log_policy)

    def natural(self, log_policy: Floats, g: Floats) -> Floats:
        """F_z^-1 D' g, the natural ascent direction on z, (r,)."""
        contrast, root = self._contrast(log_policy), np.exp(log_policy / 2)
        rows, seen = np.column_stack([np.ones(len(root)), contrast]), root > 1e-150
        return _solved(root[seen, None] * rows[seen], g[seen] / root[seen])[1:]

    def _contrast(self, log_policy: Floats) -> Floats:
        """D less that of the likeliest arm, (A, r): g sums to zero, and has lost digits on that arm."""
        design = self.features @ self.basis
        return design - design[log_policy.argmax()]

    def fisher(self, log_policy: Floats) -> Floats:
        """F_z = Cov_pi[D], (r, r)."""
        design, policy = self.features @ self.basis, np.exp(log_policy)
        centred = design - policy @ design
        return centred.T @ (policy[:, None] * centred)


def chart(bandit: Bandit, features: Floats, origin: Floats) -> Chart:
    """The coordinates of one context, centred at weights `origin`."""
    supported = features[np.isfinite(bandit.log_reference)]
    _, sizes, rows = np.linalg.svd(supported - supported.mean(axis=0), full_matrices=False)
    return Chart(bandit.log_reference, features, origin, rows[sizes > RANK * np.max(sizes, initial=0.0)].T)


def log_policy_at(log_reference: Floats, features: Floats, weights: Floats) -> Floats:
    """log of ref exp(Phi w) / Z, (..., A)."""
    return log_softmax(log_reference + np.matvec(features, weights), axis=-1)


def checked_features(features: ArrayLike, bandit: Bandit) -> Floats:
    """Phi, (..., A, d).

    Raises:
        ValueError: an entry is not finite, or the shape does not fit.
    """
    checks.instance(bandit, Bandit, "bandit", "look at the order of arguments")
    Phi = checks.floats(features, "features")
    if Phi.ndim < 2 or 0 in Phi.shape:
        raise ValueError(f"features must have shape (..., A, d), arms before features, but have {Phi.shape}")
    world = np.broadcast_to(0.0, (*bandit.contexts, bandit.arms))
    checks.same_arms(Phi[..., 0], world, "features (without their last axis)", "the bandit")
    return Phi


def checked_weights(weights: ArrayLike, features: Floats, name: str) -> Floats:
    """w, (..., d).

    Raises:
        ValueError: an entry is not finite, or the shape does not fit.
    """
    w, d = checks.floats(weights, name), features.shape[-1]
    if w.ndim == 0 or w.shape[-1] != d:
        raise ValueError(f"{name} must have one entry for each of the {d} features, but have shape {w.shape}")
    checks.same_contexts(w.shape[:-1], features.shape[:-2], name, "features")
    return w


def _solved(rows: Floats, values: Floats) -> Floats:
    """argmin |rows x - values|^2, with an error relative to each row."""
    order = np.argsort(-np.abs(rows).max(axis=1, initial=0.0), kind="stable")
    Q, R, columns = qr(rows[order], mode="economic", pivoting=True)
    rank = np.count_nonzero(np.diag(R))  # zeros: too few arms above 1e-300
    x = np.zeros(rows.shape[1])
    x[columns[:rank]] = solve_triangular(R[:rank, :rank], (Q.T @ values[order])[:rank])
    return x
