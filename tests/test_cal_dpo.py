"""Cal-DPO: DPO with calibrated log-ratios; an end for any labels, which is nobody's optimum (T13.13)."""

from __future__ import annotations

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize, root
from scipy.special import expit, log_softmax, logsumexp

import answer_key
import bandits as b
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row, size_of_rewards

EXAMPLES = settings(max_examples=20)

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: b.CalDPO, s: b.Samples) -> list[float]:
    """T13.13: by label, sigma(-dh) + 2w (1/(2 beta) - h) of the winner, -sigma(-dh) - 2w (1/(2 beta) + h)."""
    h, p = answer_key.log_ratio(s), float(s.preference[0, 1])
    half = 1 / (2 * a.beta)

    def by_label(won: int, lost: int) -> list[float]:
        pull = 1 / (1 + np.exp(h[won] - h[lost]))
        c = [0.0, 0.0]
        c[won] = pull + 2 * a.weight * (half - h[won])
        c[lost] = -pull - 2 * a.weight * (half + h[lost])
        return c

    return [p * x + (1 - p) * y for x, y in zip(by_label(0, 1), by_label(1, 0), strict=True)]


def size(a: b.CalDPO, case: Case) -> float:
    h = np.abs(np.log(case.policy / case.bandit.reference)).max()
    return 2 + 2 * a.weight * (1 / a.beta + 2 * h) ** 2 + size_of_rewards(a, case)


def slopes(beta: float, weight: float, wins: np.ndarray):
    """d/dh of the expected loss."""
    shown, lead = wins.sum(axis=1) + wins.sum(axis=0), wins.sum(axis=1) - wins.sum(axis=0)

    def of(h: np.ndarray) -> np.ndarray:
        pull = wins * expit(h - h[:, None])
        return 2 * weight * (shown * h - lead / (2 * beta)) - pull.sum(axis=1) + pull.sum(axis=0)

    return of


def free(beta: float, weight: float, wins: np.ndarray) -> np.ndarray:
    """The least h, normalised or not: SciPy's."""
    of = slopes(beta, weight, wins)
    shown = wins.sum(axis=1) + wins.sum(axis=0)
    return root(lambda h: of(h) / shown, np.zeros(len(wins)), tol=1e-14).x


def rest(a: b.CalDPO, case: Case) -> np.ndarray:
    """SciPy's root of the update by hand, from the least h."""
    wins = second.wins_of(case.sampling, case.bandit)
    h = free(a.beta, a.weight, wins)
    found = second.singly(
        slopes(a.beta, a.weight, wins), case.bandit.log_reference, h + case.bandit.log_reference
    )
    return np.exp(found)


ROWS = {
    "CalDPO": Row(
        make=b.CalDPO,
        formula=formula,
        size=size,
        target=rest,
        ends={"on-policy": "other", "elsewhere": "other"},  # T13.13
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10), weight=strategies.betas(0.1, 3))
def test_with_the_reference_as_sampler_the_end_is_unique_and_the_least_among_policies(data, beta, weight):
    """T13.13: E_ref[h0] = 0, so sum ref e^h0 >= 1; no policy costs less: SciPy's descent from elsewhere."""
    world = data.draw(strategies.bandits_with_preference(2, 5, smallest=1e-2))
    law, algorithm = b.Offline(world.reference), b.CalDPO(beta, weight)
    wins = second.wins_of(law, world)
    h = free(beta, weight, wins)
    assert_allclose(world.reference @ h, 0, atol=1e-12 * (1 + np.abs(h).max()))
    assert logsumexp(world.log_reference + h) >= -1e-12
    found = b.fixed_point(algorithm, world, law)
    assert found.unique and found.stable and found.residual <= 1e-10

    def loss(logits):
        h = log_softmax(logits) - world.log_reference
        contrast = (wins * np.logaddexp(0, h - h[:, None])).sum()
        squares = wins.sum(axis=1) @ (h - 0.5 / beta) ** 2 + wins.sum(axis=0) @ (h + 0.5 / beta) ** 2
        return contrast + weight * squares

    least = loss(found.log_policy)
    start = np.log(data.draw(strategies.policies(world.arms, smallest=1e-2)))
    assert minimize(loss, start, method="BFGS").fun >= least - 1e-9 * (1 + abs(least))
    assert_allclose(b.expected_loss(algorithm, world, law, found.policy), least, rtol=1e-9)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.2, 5))
def test_certain_labels_have_an_end_where_dpo_has_none(data, beta):
    """T13.13: the squares hold every arm that is shown."""
    world = data.draw(strategies.bandits_with_reward(3, 5, smallest=5e-2))
    order = np.argsort(-world.reward)
    pairs = [(order[i], order[j]) for i in range(world.arms) for j in range(i + 1, world.arms)]
    with pytest.raises(b.NoFixedPoint):
        b.fixed_point(b.DPO(beta), world, b.Dataset(pairs))
    found = b.fixed_point(b.CalDPO(beta), world, b.Dataset(pairs))
    assert found.stable and found.residual <= 1e-10 and found.face is None


def test_two_arms_by_hand():
    """mu = ref = 1/2: h = +-v plus the normaliser's share; sigma(-2v)-terms and squares balance."""
    p, beta, weight = 0.8, 0.5, 0.5
    world = b.Bandit(preference=[[0.5, p], [1 - p, 0.5]])
    found = b.fixed_point(b.CalDPO(beta, weight), world, b.Offline([0.5, 0.5]))
    h = found.log_policy - np.log(0.5)
    wins = np.array([[0.25, 0.5 * p], [0.5 * (1 - p), 0.25]])
    slope = slopes(beta, weight, wins)(h)
    assert_allclose(slope / slope.sum(), found.policy, rtol=1e-10)
    assert slope.sum() < 0  # kappa > 0: the least h would weigh too much


def test_it_depends_on_who_sampled_and_on_the_weight_and_is_not_the_optimum():
    """Also under Bradley-Terry, and of no other beta."""
    world = b.Bandit(np.log([1.0, 2.0, 6.0]), reference=[0.6, 0.3, 0.1])
    one, two = b.Offline([0.6, 0.25, 0.15]), b.Offline([0.4, 0.3, 0.3])
    ends = [
        b.fixed_point(algorithm, world, law).policy
        for algorithm, law in ((b.CalDPO(0.5), one), (b.CalDPO(0.5), two), (b.CalDPO(0.5, 2.0), one))
    ]
    assert min(np.abs(ends[0] - other).max() for other in ends[1:]) > 5e-3
    for end in ends:
        assert min(world.regret(end, beta) for beta in np.geomspace(0.05, 20, 200)) > 1e-5


def test_from_every_start_the_flow_leads_to_the_only_end():
    world, law = b.Bandit([1.0, 0.2, -0.5], reference=[0.2, 0.5, 0.3]), b.Offline([0.2, 0.5, 0.3])
    starts = np.random.default_rng(2).dirichlet(np.ones(3), size=6)
    path = b.flow(b.CalDPO(0.4), world, law, [0.0, 1e3], starts)
    assert_allclose(path[-1], np.tile(b.fixed_point(b.CalDPO(0.4), world, law).policy, (6, 1)), atol=1e-7)


def test_where_the_best_log_ratios_weigh_too_little_the_flow_decides():
    """A reference that hardly knows the arms that are shown and win: no claim of uniqueness."""
    world, law = b.Bandit([2.0, 0.0, -2.0], reference=[0.02, 0.03, 0.95]), b.Offline([0.4, 0.3, 0.3])
    wins = second.wins_of(law, world)
    assert logsumexp(world.log_reference + free(0.5, 0.5, wins)) < 0
    found = b.fixed_point(b.CalDPO(0.5), world, law)
    assert found.method.startswith("flow") and found.stable and found.unique is None
    assert found.residual <= 1e-10
