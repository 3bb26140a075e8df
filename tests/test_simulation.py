"""Laws of sampled training: what it does on average, with which noise, and that nothing else moves it."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import bandits as b
import worlds
from bandits import Bandit, CoPG, Dataset, Offline, OnPolicy, Pairs, Samples, Update
from bandits.dynamics.rates import largest_stable_step
from bandits.examples import copg_toy
from bandits.sampling.observation import State, samples_of
from bandits.simulation import batches
from bandits.simulation.optimizers import SGD, Adam
from bandits.simulation.simulate import simulate
from bandits.testing.reading import reads
from rows import every_row

Floats = NDArray[np.float64]

REWARD = np.array([1.0, 0.3, -0.6])
REFERENCE = np.array([0.2, 0.5, 0.3])
START = np.array([0.5, 0.15, 0.35])
MU1, MU2 = np.array([0.6, 0.3, 0.1]), np.array([0.15, 0.25, 0.6])
JOINT = np.array([[0.05, 0.2, 0.1], [0.05, 0.0, 0.3], [0.2, 0.05, 0.05]])
WORLD = Bandit(
    REWARD, preference=worlds.WHEEL, reference=REFERENCE, length=worlds.LENGTH, desirable=worlds.LABELS
)
ERRORS = 5.0  # standard errors that a mean may be off: once in two million draws

EVERY_ALGORITHM = [row.make(0.7) for row in every_row().values()]


def laws(algorithm: Any) -> list:
    """The sampling rules that suit an algorithm."""
    if getattr(algorithm, "needs_on_policy", False):
        return [OnPolicy()]
    pairs = [Offline(MU1, MU2), Pairs(JOINT), Dataset([(0, 1), (1, 2), (2, 0), (0, 1)])]
    return [Offline(MU1), OnPolicy()] + (pairs if algorithm.k == 2 else [])


CASES = [(algorithm, sampling) for algorithm in EVERY_ALGORITHM for sampling in laws(algorithm)]


def name_of(case: Any) -> str:
    return type(case).__name__


def train(algorithm: Any, sampling: Any, world: Bandit = WORLD, seed: int = 3, **changes: Any) -> Floats:
    """Policies (records, runs, ..., A) of a short training."""
    setting: dict[str, Any] = {
        "steps": 12,
        "batch_size": 3,
        "learning_rate": 0.1,
        "runs": 4,
        "record": 4,
        "start": START if world is WORLD else None,
    }
    setting |= changes
    return simulate(algorithm, world, sampling, rng=np.random.default_rng([seed, 11]), **setting).policies


def centred(policies: Floats) -> Floats:
    """Logits with mean zero: what a policy determines of them."""
    logits = np.log(policies)
    return logits - logits.mean(axis=-1, keepdims=True)


# ---------------------------------------------------------------- the mean step


@pytest.mark.parametrize("algorithm, sampling", CASES, ids=name_of)
def test_one_step_is_the_expected_update_on_average(algorithm: Any, sampling: Any) -> None:
    """E[theta_1 - theta_0] = eta g; the variance of the mean over runs is that of one group / (runs n)."""
    runs, n, eta = 4000, 5, 0.3
    path = train(algorithm, sampling, runs=runs, batch_size=n, steps=1, learning_rate=eta, record=1)
    step = (centred(path[1]) - centred(path[0])) / eta
    revision = {}
    if "revision_log_prob" in reads(algorithm):  # trained too, from the reference
        revision = {"revision_policy": np.broadcast_to(REFERENCE, (3, 3))}
    labels = algorithm.k == 2 and not isinstance(sampling, Dataset)
    expected = b.expected_update(algorithm, WORLD, sampling, START, **revision)
    covariance = b.update_covariance(algorithm, WORLD, sampling, START, label_noise=labels, **revision)
    error = np.sqrt(np.diag(covariance) / (runs * n))
    assert (np.abs(step.mean(axis=0) - expected) <= ERRORS * error + 1e-12).all()
    assert np.abs(step - expected).max() > 0.1 * error.max() * np.sqrt(runs)  # and it is noisy


def test_srpo_trains_its_revision_policy_down_the_loss() -> None:
    """The revision logits move by minus the gradient of the expected loss, found by finite differences."""
    algorithm, sampling, eta, runs = b.SRPO(0.7, alpha=0.3), Offline(MU1, MU2), 1e-2, 20000
    trace = simulate(
        algorithm,
        WORLD,
        sampling,
        steps=1,
        batch_size=20,
        learning_rate=eta,
        rng=np.random.default_rng(5),
        runs=runs,
        start=START,
        label_noise=False,
    )
    assert trace.revision_policies is not None
    step = (centred(trace.revision_policies[1]) - centred(trace.revision_policies[0])) / eta
    logits = np.log(np.broadcast_to(REFERENCE, (3, 3)))

    def loss(change: Floats) -> float:
        revision = np.exp(logits + change)
        revision = revision / revision.sum(axis=-1, keepdims=True)
        return float(b.expected_loss(algorithm, WORLD, sampling, START, revision_policy=revision))

    h, gradient = 1e-5, np.empty((3, 3))
    for cell in np.ndindex(3, 3):
        bump = np.zeros((3, 3))
        bump[cell] = h
        gradient[cell] = -(loss(bump) - loss(-bump)) / (2 * h)
    error = step.std(axis=0) / np.sqrt(runs)
    assert (np.abs(step.mean(axis=0) - gradient) <= ERRORS * error + 1e-8).all()


def test_a_given_value_is_trained_beside_the_policy_and_an_eliminated_one_is_not() -> None:
    """V moves by eta times the mean of r - V - beta h; its variance is that of one sample / (runs n)."""
    beta, V, eta, runs, n = 0.7, 0.4, 0.1, 5000, 4
    trace = simulate(
        b.DRO(beta),
        WORLD,
        Offline(MU1),
        steps=1,
        batch_size=n,
        learning_rate=eta,
        rng=np.random.default_rng(2),
        runs=runs,
        start=START,
        value=V,
    )
    assert trace.values is not None and trace.values.shape == (2, runs)
    np.testing.assert_array_equal(trace.values[0], V)
    residual = REWARD - V - beta * np.log(START / REFERENCE)
    mean = MU1 @ residual
    error = np.sqrt((MU1 @ residual**2 - mean**2) / (runs * n))
    assert abs((trace.values[1] - V).mean() / eta - mean) <= ERRORS * error
    eliminated = simulate(
        b.DRO(beta),
        WORLD,
        Offline(MU1),
        steps=1,
        batch_size=1,
        learning_rate=eta,
        rng=np.random.default_rng(2),
    )
    assert eliminated.values is None


def test_dro_with_a_trained_value_ends_at_the_optimum_and_its_value() -> None:
    """(pi*, J*) is where every sample's residual vanishes, so constant steps arrive exactly  (T8.1)."""
    trace = simulate(
        b.DRO(0.7),
        WORLD,
        Offline(MU1),
        steps=20000,
        batch_size=1,
        learning_rate=0.2,
        rng=np.random.default_rng(2),
        value=0.0,
    )
    assert trace.values is not None
    np.testing.assert_allclose(trace.values[-1, 0], WORLD.optimal_value(0.7), rtol=1e-10)
    np.testing.assert_allclose(trace.policies[-1, 0], WORLD.optimal_policy(0.7), rtol=1e-10)


# ---------------------------------------------------------------- the whole path, for CoPG (T3.5)


def exact_moments(law: Floats, eta: float, beta: float, noise: float, steps: list[int]) -> list:
    """Mean and covariance of theta - theta* after each of the steps, by T3.5's recursions, pair by pair."""
    target = np.log(REFERENCE) + REWARD / beta
    m = centred(START) - (target - target.mean())
    S = np.outer(m, m)
    found = []
    for step in range(max(steps) + 1):
        if step in steps:
            found.append((m, S - np.outer(m, m)))
        next_m, next_S = np.zeros(3), np.zeros((3, 3))
        for (i, j), w in np.ndenumerate(law):
            d = np.eye(3)[i] - np.eye(3)[j]
            shrink = np.eye(3) - eta * beta * np.outer(d, d)
            next_m += w * shrink @ m
            next_S += w * (shrink @ S @ shrink + 2 * noise**2 * eta**2 * np.outer(d, d))
        m, S = next_m, next_S
    return found


@pytest.mark.parametrize("noise", [0.0, 0.8])
def test_copg_runs_have_the_exact_mean_and_covariance(noise: float) -> None:
    """10^5 runs, one pair a step: means within 5 exact standard errors, covariances within 5 of their own."""
    runs, eta, beta, steps = 100_000, 0.3, 0.7, [1, 3, 10, 30]
    path = train(
        CoPG(beta),
        Pairs(JOINT),
        runs=runs,
        batch_size=1,
        steps=30,
        learning_rate=eta,
        record=steps,
        reward_noise=noise,
    )
    target = np.log(REFERENCE) + REWARD / beta
    distance = centred(path[1:]) - (target - target.mean())
    for x, (mean, covariance) in zip(distance, exact_moments(JOINT, eta, beta, noise, steps), strict=True):
        error = np.sqrt(np.diag(covariance) / runs)
        assert (np.abs(x.mean(axis=0) - mean) <= ERRORS * error).all()
        products = (x - mean)[:, :, None] * (x - mean)[:, None, :]
        error = products.std(axis=0) / np.sqrt(runs)
        assert (np.abs(products.mean(axis=0) - covariance) <= ERRORS * error + 1e-15).all()


def test_ipo_with_labels_follows_descent_in_the_mean() -> None:
    """The update is linear in the logits, so their mean takes the expected update of the mean  (T4.3)."""
    algorithm, eta, runs = b.IPO(0.7), 0.08, 30_000
    path = train(algorithm, Offline(MU1, MU2), runs=runs, batch_size=1, steps=15, learning_rate=eta, record=5)
    mean = centred(START)
    for step in range(1, 16):
        policy = np.exp(mean) / np.exp(mean).sum()
        mean = mean + eta * b.expected_update(algorithm, WORLD, Offline(MU1, MU2), policy)
        if step % 5 == 0:
            x = centred(path[step // 5])
            assert (np.abs(x.mean(axis=0) - mean) <= ERRORS * x.std(axis=0) / np.sqrt(runs)).all()


NOISELESS = [
    (algorithm, sampling)
    for algorithm in (CoPG(0.7), b.RLOO(0.7), CoPG(0.7, k=4))
    for sampling in laws(algorithm)
    if not isinstance(sampling, Dataset)
]


@pytest.mark.parametrize("algorithm, sampling", NOISELESS, ids=name_of)
def test_constant_steps_reach_the_optimum_exactly_without_noise_in_the_rewards(
    algorithm: Any, sampling: Any
) -> None:
    """Every pair agrees at pi*: the noise dies with the distance  (T3.5)."""
    path = train(algorithm, sampling, batch_size=1, steps=3000, learning_rate=0.15, record=3000)
    np.testing.assert_allclose(path[-1], np.broadcast_to(WORLD.optimal_policy(0.7), (4, 3)), rtol=1e-11)


def test_a_huge_batch_is_descent() -> None:
    """With n = 10^6 pairs a step the noise, of order 1/1000 a step, is all that separates the two."""
    algorithm, sampling, eta, n = b.DPO(0.7), Offline(MU1, MU2), 0.5, 10**6
    path = train(algorithm, sampling, runs=1, batch_size=n, steps=6, learning_rate=eta, record=1)[:, 0]
    logits, spread = np.log(START), 0.0
    for step in range(1, 7):
        policy = np.exp(logits) / np.exp(logits).sum()
        covariance = b.update_covariance(algorithm, WORLD, sampling, policy, label_noise=True)
        spread += eta * np.sqrt(np.trace(covariance) / n)  # triangle inequality: descent contracts here
        logits = logits + eta * b.expected_update(algorithm, WORLD, sampling, policy)
        assert np.linalg.norm(centred(path[step]) - (logits - logits.mean())) <= ERRORS * spread


def test_nash_md_plays_the_mixture() -> None:
    """Its mean policy after long training is the equilibrium with the mixture, not the one without."""
    algorithm = b.NashMD(beta=0.5, mixture=0.5)
    path = train(algorithm, OnPolicy(), runs=40, batch_size=64, steps=1500, learning_rate=0.1, record=1500)
    mean = path[-1].mean(axis=0)
    error = path[-1].std(axis=0) / np.sqrt(40)
    right, wrong = (b.fixed_point(b.NashMD(0.5, m), WORLD, OnPolicy()).policy for m in (0.5, 0.0))
    assert (np.abs(mean - right) <= ERRORS * error + 1e-3).all()  # 1e-3: the curvature of softmax times noise
    assert np.abs(mean - wrong).max() > 10 * error.max()


# ---------------------------------------------------------------- what may not matter


@pytest.mark.parametrize("algorithm, sampling", CASES, ids=name_of)
def test_the_same_state_of_the_generator_gives_the_same_bits(algorithm: Any, sampling: Any) -> None:
    rng = np.random.default_rng(8)
    state = rng.bit_generator.state
    once, twice, later = (
        simulate(
            algorithm,
            WORLD,
            sampling,
            steps=10,
            batch_size=2,
            learning_rate=0.1,
            runs=3,
            rng=generator,
            start=START,
            reward_noise=0.1,
        ).policies
        for generator in (rng, _at(state), rng)
    )
    np.testing.assert_array_equal(once, twice)
    assert (once[-1] != later[-1]).any()  # the generator moved on
    assert len(np.unique(once[-1], axis=0)) > 1  # and runs are not copies of each other


def _at(state: Any) -> np.random.Generator:
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    return rng


@pytest.mark.parametrize("data_size", [None, 10])
def test_neither_records_nor_blocks_nor_later_steps_change_a_path(
    data_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"data_size": data_size, "reward_noise": 0.3, "steps": 30}
    for algorithm in (CoPG(0.7), b.IPO(0.7), b.PolicyGradient(0.7, k=2), CoPG(0.7, k=7)):
        path = train(algorithm, Offline(MU1), **same, record=1)
        np.testing.assert_array_equal(
            train(algorithm, Offline(MU1), **same, record=[7, 30]), path[[0, 7, 30]]
        )
        shorter = train(algorithm, Offline(MU1), **{**same, "steps": 13}, record=13)
        np.testing.assert_array_equal(shorter, path[[0, 13]])
        with monkeypatch.context() as patch:
            patch.setattr(batches, "SAMPLES", 100)
            np.testing.assert_array_equal(train(algorithm, Offline(MU1), **same, record=1), path)


@dataclass(frozen=True)
class Plain:
    """The same algorithm, without saying that it is contrastive."""

    right: Any

    @property
    def k(self) -> int:
        return self.right.k

    @property
    def opponent(self) -> Any:
        return self.right.opponent

    def update(self, samples: Samples) -> Update:
        return self.right.update(samples)


@pytest.mark.parametrize("optimizer", [SGD(), Adam(epsilon=1e-2)], ids=name_of)
@pytest.mark.parametrize(
    "algorithm, sampling", [case for case in CASES if getattr(case[0], "contrastive", False)], ids=name_of
)
def test_the_short_road_of_contrastive_algorithms_leads_to_the_same_place(
    algorithm: Any, sampling: Any, optimizer: Any
) -> None:
    """Skipping the softmax changes rounding only.

    On-policy the draws could amplify it, and do not here.  Adam with a small epsilon would: it turns an arm's
    gradient of 1e-17, which the long road leaves where nothing was sampled, into a whole step.
    """
    for data_size in (None, 9):
        if data_size is not None and sampling.on_policy:
            continue
        setting = {"optimizer": optimizer, "data_size": data_size, "steps": 40, "record": 10}
        short = train(algorithm, sampling, **setting)
        long = train(Plain(algorithm), sampling, **setting)
        np.testing.assert_allclose(short, long, rtol=1e-9)


def is_contrastive(algorithm: Any) -> bool:
    """Adding a constant to log pi changes no coefficient, and they sum to zero; nothing else is trained."""
    rng = np.random.default_rng(4)
    arms = rng.integers(3, size=(50, algorithm.k))
    law = (OnPolicy() if getattr(algorithm, "needs_on_policy", False) else Offline(MU1)).law(
        algorithm, WORLD, np.log(START)
    )
    revision = np.log(rng.dirichlet(np.ones(3), size=3))
    here, there = (
        algorithm.update(samples_of(WORLD, law, State(np.log(START) + shift, None, revision), arms))
        for shift in (0.0, 1.3)
    )
    unmoved = np.abs(here.log_prob - there.log_prob).max() < 1e-12
    balanced = np.abs(here.log_prob.sum(axis=-1)).max() < 1e-12
    return bool(unmoved and balanced and here.value is None and here.revision_log_prob is None)


@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM, ids=name_of)
def test_an_algorithm_calls_itself_contrastive_if_and_only_if_it_is(algorithm: Any) -> None:
    assert getattr(algorithm, "contrastive", False) == is_contrastive(algorithm)


@pytest.mark.parametrize("sampling", [Offline(MU1), OnPolicy()], ids=name_of)
@pytest.mark.parametrize("algorithm", [b.IPO(0.7), b.PolicyGradient(0.7, b.behavior_value)], ids=name_of)
def test_contexts_side_by_side_are_separate_worlds(algorithm: Any, sampling: Any) -> None:
    """The mean over each context's runs is that of training it alone, within 5 errors of the difference."""
    rewards = np.array([REWARD, [-0.5, 0.1, 2.0]])
    references = np.array([REFERENCE, [0.6, 0.3, 0.1]])
    setting = {"runs": 4000, "batch_size": 2, "steps": 10, "record": 10, "learning_rate": 0.2}
    together = train(algorithm, sampling, Bandit(rewards, reference=references), **setting)[-1]
    assert together.shape == (4000, 2, 3)
    for context in range(2):
        world = Bandit(rewards[context], reference=references[context])
        alone = train(algorithm, sampling, world, seed=9, **setting)[-1]
        here = together[:, context]
        error = np.sqrt((here.var(axis=0) + alone.var(axis=0)) / 4000)
        assert (np.abs(here.mean(axis=0) - alone.mean(axis=0)) <= ERRORS * error).all()
        np.testing.assert_allclose(here.std(axis=0), alone.std(axis=0), rtol=0.08)  # 5 / sqrt(4000)
    crossed = np.cov(together[:, 0, 0], together[:, 1, 0])
    assert abs(crossed[0, 1]) <= ERRORS * np.sqrt(crossed[0, 0] * crossed[1, 1] / 4000)  # independent


# ---------------------------------------------------------------- what an algorithm is shown


@dataclass
class Spy:
    """A reader's own algorithm: looks at everything, keeps it, and moves a little."""

    k: int = 2
    seen: list[dict[str, Any]] = field(default_factory=list)

    def update(self, samples: Samples) -> Update:
        self.seen.append({f.name: getattr(samples, f.name) for f in fields(samples)})
        return Update(log_prob=0.1 * samples.reward)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("contexts", [(), (2,), (3, 2)], ids=str)
@pytest.mark.parametrize("moving", [False, True], ids=["offline", "on policy"])
def test_training_shows_what_enumeration_shows(k: int, contexts: tuple[int, ...], moving: bool) -> None:
    """Every field of every step equals `samples_of` the same arms and policies, which `exact` is built on."""
    rng = np.random.default_rng(k)
    cyclic = np.broadcast_to(worlds.WHEEL, (*contexts[1:], 3, 3))
    world = Bandit(
        rng.normal(size=(*contexts, 3)),
        preference=cyclic if k == 2 else None,
        reference=rng.dirichlet(np.ones(3), size=contexts[:1]) if len(contexts) == 1 else REFERENCE,
        length=1.0 + rng.integers(9, size=(*contexts[1:], 3)),
        desirable=rng.random((*contexts[:1], *[1] * len(contexts[1:]), 3)),
    )
    sampling = OnPolicy() if moving else Offline(rng.dirichlet(np.ones(3), size=contexts[1:]))
    spy, setting = Spy(k), {"label_noise": False, "record": 1, "steps": 3, "batch_size": 4, "runs": 2}
    path = train(spy, sampling, world, **setting)
    for policy, seen in zip(path[:-1], spy.seen[1:], strict=True):  # the first look is a rehearsal
        assert seen["arm"].shape == (2, *contexts, 4, k)
        law = sampling.law(spy, world, np.log(policy))
        expected = samples_of(world, law, State(np.log(policy)), seen["arm"])
        for f in fields(Samples):
            truth = getattr(expected, f.name)
            if isinstance(truth, Samples):
                for g in fields(Samples):
                    _same(getattr(seen[f.name], g.name), getattr(truth, g.name), f.name + "." + g.name)
            else:
                _same(seen[f.name], truth, f.name)


def _same(seen: Any, truth: Any, name: str) -> None:
    assert (seen is None) == (truth is None), name
    if truth is not None:
        shape = np.broadcast_shapes(np.shape(seen), np.shape(truth))
        np.testing.assert_allclose(
            np.broadcast_to(seen, shape), np.broadcast_to(truth, shape), rtol=1e-12, atol=1e-14, err_msg=name
        )


def test_an_epoch_shows_every_group_of_a_runs_own_data_once_with_its_label_and_noise() -> None:
    """N = 10 in batches of 4: steps of 4, 4 and 2 groups, then the same groups in another order."""
    spy = Spy()
    train(spy, Offline(MU1, MU2), data_size=10, batch_size=4, steps=7, reward_noise=1.0, runs=3, record=7)
    sizes = [look["arm"].shape[1] for look in spy.seen[1:]]
    assert sizes == [4, 4, 2, 4, 4, 2, 4]
    epochs = []
    for first in (1, 4):
        looks = spy.seen[first : first + 3]
        epochs.append(
            np.concatenate(
                [
                    np.concatenate([s["arm"], s["reward"], s["preference"][..., 0, 1:]], axis=-1)
                    for s in looks
                ],
                axis=1,
            )
        )
    first, second = (np.stack([run[np.lexsort(run.T)] for run in epoch]) for epoch in epochs)
    np.testing.assert_array_equal(first, second)
    assert (epochs[0] != epochs[1]).any()
    assert (first[0] != first[1]).any()  # each run owns its data
    assert set(np.unique(first[..., 4])) == {0.0, 1.0}


def test_rows_of_a_data_set_are_drawn_with_replacement_with_their_own_labels() -> None:
    """Shares 2/3 and 1/3, in 18 000 rows, within 5 standard deviations of a binomial."""
    spy = Spy()
    train(spy, Dataset([(0, 1), (2, 1), (0, 1)]), runs=2000, batch_size=9, steps=1, record=1)
    arms, p = spy.seen[1]["arm"], spy.seen[1]["preference"]
    assert {tuple(pair) for pair in arms.reshape(-1, 2)} == {(0, 1), (2, 1)}
    assert (p[..., 0, 1] == 1).all() and (p[..., 1, 0] == 0).all()
    share = (arms[..., 0] == 0).mean()
    assert abs(share - 2 / 3) <= ERRORS * np.sqrt(2 / 9 / 18000)


def test_labels_win_as_often_as_the_preference_says() -> None:
    spy = Spy()
    train(spy, Offline(MU1, MU2), runs=2000, batch_size=20, steps=1, record=1)
    arms, won = spy.seen[1]["arm"], spy.seen[1]["preference"][..., 0, 1]
    for i, j in np.ndindex(3, 3):
        among = won[(arms[..., 0] == i) & (arms[..., 1] == j)]
        p = worlds.WHEEL[i, j]
        assert abs(among.mean() - p) <= ERRORS * np.sqrt(p * (1 - p) / among.size)
    both = spy.seen[1]["preference"]
    np.testing.assert_array_equal(both[..., 1, 0], 1 - both[..., 0, 1])


def test_single_answers_are_desired_as_often_as_the_world_says() -> None:
    """Labels 0 and 1, with the probability of the arm, drawn once for the runs that own their data."""
    spy, chance = Spy(), np.array([0.1, 0.45, 0.8])
    world = Bandit(np.zeros(3), reference=REFERENCE, desirable=chance)
    train(spy, Offline(MU1, MU2), world, runs=500, data_size=40, batch_size=20, steps=4, record=4)
    looks = [np.stack([seen["arm"], seen["desirable"]], axis=-1) for seen in spy.seen[1:]]
    for arm, p in enumerate(chance):
        label = looks[0][looks[0][..., 0] == arm][:, 1]
        assert set(np.unique(label)) == {0.0, 1.0}
        assert abs(label.mean() - p) <= ERRORS * np.sqrt(p * (1 - p) / label.size)
    epochs = [np.concatenate(looks[i : i + 2], axis=1).reshape(500, 40, 4) for i in (0, 2)]
    first, second = (np.stack([run[np.lexsort(run.T)] for run in epoch]) for epoch in epochs)
    np.testing.assert_array_equal(first, second)


# ---------------------------------------------------------------- optimizers


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.8)])
def test_adam_is_torchs_adam(betas: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(60, 4)) * np.array([1e-6, 1e-2, 1.0, 1e3])
    adam = Adam(*betas, epsilon=1e-7)
    ours, memory = np.zeros(4), adam.start(np.zeros(4))
    theirs = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theirs], lr=0.05, betas=betas, eps=1e-7, maximize=True)
    for gradient in gradients:
        direction, memory = adam.direction(gradient, memory)
        ours = ours + 0.05 * direction
        theirs.grad = torch.from_numpy(gradient)
        optimizer.step()
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12)


def test_training_with_adam_is_adam_on_the_batch_means() -> None:
    """Replayed from the arms that were shown: coefficients by hand, torch's softmax and Adam."""
    spy = Spy()
    path = train(spy, Offline(MU1, MU2), optimizer=Adam(), runs=1, record=1, learning_rate=0.05)
    theta = torch.tensor(np.log(START), requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.05)
    for policy, seen in zip(path[1:, 0], spy.seen[1:], strict=True):
        optimizer.zero_grad()
        arms, reward = (
            torch.from_numpy(np.array(seen["arm"][0])),
            torch.from_numpy(np.array(seen["reward"][0])),
        )
        log_prob = torch.log_softmax(theta, -1)[arms]
        (-(0.1 * reward * log_prob).sum(-1).mean()).backward()
        optimizer.step()
        np.testing.assert_allclose(policy, torch.softmax(theta, -1).detach().numpy(), rtol=1e-10)


# ---------------------------------------------------------------- the toy of Section 5 (T3.8)


def toy_regret(algorithm: Any, epochs: int) -> Floats:
    """Mean regret of 5 seeds at the end of every epoch, printed setting."""
    bandit, sampling = copg_toy()
    trace = simulate(
        algorithm,
        bandit,
        sampling,
        steps=20 * epochs,
        batch_size=512,
        learning_rate=1e-3,
        optimizer=Adam(),
        rng=np.random.default_rng(2024),
        runs=5,
        data_size=10_000,
        record=20,
    )
    return bandit.regret(trace.policies, 0.5).mean(axis=1)


def test_the_papers_toy_has_the_regret_computed_before() -> None:
    """Bands: half the last printed digit, and four standard deviations over seeds of the mean of five."""
    regret = toy_regret(CoPG(0.5), 150)
    for epoch, value in {
        0: 0.29187,
        1: 0.281,
        10: 0.200,
        25: 0.118,
        50: 0.059,
        75: 0.031,
        100: 0.013,
    }.items():
        np.testing.assert_allclose(regret[epoch], value, atol=0.0015)
    assert 140 <= np.argmax(regret < 1e-3) <= 152  # 146


def test_the_toys_baselines_end_where_they_must() -> None:
    """A data set of 10^4 pairs moves the ends: by .003 for PG b = 0, by .006 for IPO with its labels."""
    without = toy_regret(b.PolicyGradient(0.5, k=2), 120)
    assert abs(without[-1] - 0.638) < 0.012 and without[10] > without[0]  # it rises
    assert abs(toy_regret(b.IPO(0.5), 120)[-1] - 0.1525) < 0.02


# ---------------------------------------------------------------- the border


BAD: list[tuple[dict[str, Any], str]] = [
    ({"steps": 0}, "steps must be an integer of at least 1, but steps = 0"),
    ({"steps": 2.5}, "steps must be an integer"),
    ({"batch_size": -1}, "batch_size must be an integer of at least 1"),
    ({"runs": 0}, "runs must be an integer of at least 1"),
    ({"learning_rate": 0.0}, "learning_rate must be a positive, finite number"),
    ({"learning_rate": np.nan}, "learning_rate must be a positive, finite number"),
    ({"rng": None}, r"rng must be a numpy.random.Generator, but rng = None; pass"),
    ({"rng": np.random.RandomState(0)}, "rng must be a numpy.random.Generator"),  # noqa: NPY002
    ({"record": 21}, "record must not go beyond the run of 20 steps, but record = 21"),
    ({"record": [0, 5, 21]}, r"record must be at most 20, .* record\[2\] = 21"),
    ({"record": [5, 3]}, r"record must be increasing, but record\[1\] = 3"),
    ({"record": [5, 5]}, "record must be increasing"),
    ({"record": [-1, 5]}, "record must be steps, 0 or more"),
    ({"record": [0.5]}, "record must be a number of steps or a sequence"),
    ({"record": 0}, "record must be an integer of at least 1"),
    ({"data_size": 2, "batch_size": 3}, "data_size must be at least batch_size = 3, but data_size = 2"),
    ({"data_size": 0}, "data_size must be an integer"),
    ({"data_size": 9, "sampling": OnPolicy()}, "OnPolicy.. samples from the moving policy"),
    ({"reward_noise": -0.1}, "reward_noise must be a standard deviation"),
    ({"reward_noise": np.inf}, "reward_noise must be finite"),
    ({"reward_noise": 0.1, "bandit": Bandit(preference=worlds.WHEEL), "algorithm": b.IPO(0.7)}, "no reward"),
    ({"bandit": Bandit(preference=worlds.WHEEL)}, "has preferences but no reward"),
    ({"start": [0.5, 0.5]}, "same number of arms"),
    ({"start": [0.5, 0.6, 0.1]}, "sum of start must be 1"),
    ({"start": [0.5, 0.5, 0.0]}, "positive where the sampler has mass"),
    ({"value": 0.0}, "value is V in training, but CoPG trains none"),
    ({"sampling": Offline([0.5, 0.5])}, "same number of arms"),
    ({"learning_rate": 50.0}, "diverges at learning_rate = 50.0.* largest stable step .* is 3.50589"),
]


@pytest.mark.parametrize("changes, message", BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input_is_named(changes: dict[str, Any], message: str) -> None:
    setting: dict[str, Any] = {
        "algorithm": CoPG(0.7),
        "bandit": WORLD,
        "sampling": Offline(MU1),
        "steps": 20,
        "batch_size": 2,
        "learning_rate": 0.1,
        "rng": np.random.default_rng(0),
    }
    setting |= changes
    positional = [setting.pop(name) for name in ("algorithm", "bandit", "sampling")]
    with pytest.raises(ValueError, match=message):
        simulate(*positional, **setting)


def test_an_update_of_the_wrong_shape_is_named() -> None:
    @dataclass(frozen=True)
    class OneForTwo:
        k: int = 2

        def update(self, samples: Samples) -> Update:
            return Update(log_prob=samples.reward.sum(axis=-1)[..., None])

    with pytest.raises(ValueError, match="one coefficient for each of the 2 samples"):
        train(OneForTwo(), Offline(MU1))


@pytest.mark.parametrize("algorithm", [CoPG(0.7), b.IPO(0.7), b.DRO(0.7)], ids=name_of)
def test_the_largest_stable_step_is_the_border(algorithm: Any) -> None:
    largest = float(largest_stable_step(algorithm, WORLD, Offline(MU1)))
    train(algorithm, Offline(MU1), learning_rate=0.99 * largest)
    with pytest.raises(ValueError, match=f"the largest stable step of expected descent is {largest:.6g}"):
        train(algorithm, Offline(MU1), learning_rate=1.01 * largest)
    path = train(algorithm, Offline(MU1), learning_rate=3 * largest, optimizer=Adam())
    assert np.isfinite(path).all()  # Adam's steps are bounded


@pytest.mark.parametrize("data_size", [None, 20])
def test_divergence_is_noticed_in_the_run_where_it_is_not_known_before(data_size: int | None) -> None:
    with pytest.raises(ValueError, match="diverges at learning_rate = 9.0: the logits explode within"):
        train(b.PolicyGradient(0.7, 0.3), Offline(MU1), learning_rate=9.0, steps=4000, data_size=data_size)
    with pytest.raises(ValueError, match="diverges at learning_rate = 9.0: .* largest stable step"):
        train(CoPG(0.7), Offline(MU1), learning_rate=9.0, steps=4000, data_size=20)


def test_nothing_of_the_callers_is_mutated() -> None:
    start, record, before = START.copy(), [0, 2], (REWARD.copy(), MU1.copy())
    train(CoPG(0.7), Offline(MU1), start=start, record=record)
    np.testing.assert_array_equal(start, START)
    assert record == [0, 2]
    np.testing.assert_array_equal(WORLD.reward, before[0])
    np.testing.assert_array_equal(MU1, before[1])


def test_arms_outside_the_reference_stay_at_zero() -> None:
    beside = {"length": [2.0, 1.0, 3.0, 5.0], "desirable": [0.8, 0.4, 0.5, 0.3]}
    world = Bandit([1.0, 0.2, 3.0, -0.5], reference=[0.4, 0.35, 0.0, 0.25], **beside)
    behavior = [0.3, 0.3, 0.0, 0.4]
    for algorithm in EVERY_ALGORITHM:
        for sampling in (
            [OnPolicy()] if hasattr(algorithm, "needs_on_policy") else [Offline(behavior), OnPolicy()]
        ):
            for optimizer in (SGD(), Adam()):
                path = train(algorithm, sampling, world, optimizer=optimizer, steps=30, record=30)
                assert (path[..., 2] == 0).all()
                np.testing.assert_allclose(path.sum(axis=-1), 1, rtol=1e-12)


def test_memory_does_not_grow_with_the_steps() -> None:
    def peak(steps: int) -> int:
        tracemalloc.start()
        train(CoPG(0.7), Offline(MU1), steps=steps, runs=500, record=steps)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(200)  # imports and caches
    assert peak(4000) < 1.1 * peak(400)


def test_the_start_is_the_first_record_and_the_end_the_last() -> None:
    trace = simulate(
        CoPG(0.7),
        WORLD,
        Offline(MU1),
        steps=10,
        batch_size=1,
        learning_rate=0.1,
        rng=np.random.default_rng(0),
    )
    np.testing.assert_array_equal(trace.steps, [0, 10])
    np.testing.assert_allclose(trace.policies[0, 0], REFERENCE, rtol=1e-15)
    assert trace.policies.shape == (2, 1, 3)
    assert train(CoPG(0.7), Offline(MU1), record=5).shape[0] == 3  # steps 0, 5, 10 of 12
    np.testing.assert_array_equal(train(CoPG(0.7), Offline(MU1), record=[3, 12]).shape, (3, 4, 3))


def test_regret_and_kl_along_a_training_are_sums_over_the_arms():
    """T1.2, in two contexts with uneven references: J* - J and E_pi[log pi/ref], written out."""
    rng = np.random.default_rng(7)
    world = Bandit(rng.normal(size=(2, 3)), reference=rng.dirichlet(np.ones(3), size=2))
    rule = Offline(rng.dirichlet(np.ones(3)))
    found = simulate(
        CoPG(0.7), world, rule, steps=6, batch_size=2, learning_rate=0.2, rng=rng, runs=4, record=3
    )
    assert found.policies.shape == (3, 4, 2, 3)
    value = (found.policies * (world.reward - 0.7 * np.log(found.policies / world.reference))).sum(-1)
    np.testing.assert_allclose(found.regret(world, 0.7), world.optimal_value(0.7) - value, atol=1e-14)
    away = (found.policies * np.log(found.policies / world.reference)).sum(-1)
    np.testing.assert_allclose(found.kl(world), away, atol=1e-14)
    assert found.kl(world)[0].max() < 1e-30 < 1e-3 < found.kl(world)[-1].min()
    with pytest.raises(ValueError, match="bandit must be a Bandit"):
        found.regret(0.7, world)
    with pytest.raises(ValueError, match="policies and the bandit .* same number of arms.* 3 and 2"):
        found.kl(Bandit([1.0, 0.0]))


def test_a_value_that_no_step_brings_down_is_named():
    with pytest.raises(ValueError, match=r"logits explode within .* from value = 9.22"):
        b.simulate(
            b.DRO(0.5),
            b.Bandit([1.0, 0.0]),
            b.Offline([0.5, 0.5]),
            steps=50,
            batch_size=2,
            learning_rate=0.01,
            rng=np.random.default_rng(0),
            value=2.0**63,
        )
