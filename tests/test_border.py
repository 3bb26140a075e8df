"""Laws of the border, on random uneven instances: what is accepted, as what, and what is refused by name."""

from __future__ import annotations

import dataclasses
import inspect
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bandits as b
from bandits import (
    ALGORITHMS,
    DPO,
    Bandit,
    CoPG,
    Dataset,
    Offline,
    OnPolicy,
    Pairs,
    PsiPO,
    expected_loss,
    expected_update,
    fixed_point,
    fixed_points,
    simulate,
    update_covariance,
)
from bandits.policy import log_policy_of
from bandits.problem import bind
from bandits.sampling.observation import State, samples_of
from bandits.testing.strategies import bandits_with_both, generators, policies

FEW = settings(max_examples=12, deadline=None)
FEWEST = settings(max_examples=2, deadline=None)  # of laws over a table of a hundred calls
WITH_BETA = [cls for cls in ALGORITHMS if "beta" in cls.__dataclass_fields__]
WITHOUT = [b.ALoL, b.RLoL, b.TOPR, b.CISPO, b.GOLD]  # a KL
AROUND = [cls for cls in ALGORITHMS if "algorithm" in cls.__dataclass_fields__]
EVERY = [
    *(lambda cls=cls: cls(0.5) for cls in WITH_BETA),
    *WITHOUT,
    *(lambda cls=cls: cls(b.RLOO(0.5)) for cls in AROUND),
]
NAMES = [cls.__name__ for cls in [*WITH_BETA, *WITHOUT, *AROUND]]


def _refused(call, *words: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  the words are checked one by one
        call()
    missing = [word for word in words if word not in str(refusal.value)]
    assert not missing, f"{missing} not in: {refusal.value}"


# ---- a policy has no mass outside the reference ----


def _hole(rng: np.random.Generator, arms: int) -> tuple[Bandit, np.ndarray, np.ndarray]:
    """A world whose reference leaves some arms out, a policy with mass on one of them, and one within."""
    out = rng.permutation(arms)[: rng.integers(1, arms - 1)]
    reference = rng.dirichlet(np.ones(arms))
    reference[out] = 0
    upper = np.triu(rng.random((arms, arms)), 1)
    P = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(arms)
    world = Bandit(
        rng.normal(size=arms),
        preference=P,
        reference=reference / reference.sum(),
        length=1.0 + rng.permutation(arms),
        desirable=rng.random(arms),
    )
    outside = rng.dirichlet(np.ones(arms))
    inside = np.where(world.reference > 0, outside, 0.0)
    return world, outside, inside / inside.sum()


QUESTIONS = {
    "expected_update": lambda a, w, s, p: expected_update(a, w, s, p),
    "expected_loss": lambda a, w, s, p: expected_loss(a, w, s, p),
    "update_covariance": lambda a, w, s, p: update_covariance(a, w, s, p),
    "fixed_point": lambda a, w, s, p: fixed_point(a, w, s, p),
    "fixed_points": lambda a, w, s, p: fixed_points(a, w, s, p),
    "iterated": lambda a, w, s, p: b.iterated(a, w, s, 1, p),
    "flow": lambda a, w, s, p: b.flow(a, w, s, [0.5], p),
    "flow_error": lambda a, w, s, p: b.flow_error(a, w, s, [0.5], p),
    "natural_flow": lambda a, w, s, p: b.natural_flow(a, w, s, [0.5], p),
    "descent": lambda a, w, s, p: b.descent(a, w, s, 0.1, [1], p),
    "sgd_moments": lambda a, w, s, p: b.sgd_moments(a, w, s, 0.1, [1], p),
    "simulate": lambda a, w, s, p: simulate(
        a, w, s, steps=1, batch_size=1, learning_rate=0.1, rng=np.random.default_rng(0), start=p
    ),
}


@pytest.mark.parametrize("make", EVERY, ids=NAMES)
@pytest.mark.parametrize("question", QUESTIONS)
@FEWEST
@given(generators(), st.integers(3, 6))
def test_no_question_takes_a_policy_with_mass_outside_the_reference(make, question, rng, arms):
    """Whoever samples: log pi/ref is infinite there, and a coefficient NaN or of the wrong sign."""
    world, outside, inside = _hole(rng, arms)
    algorithm, arm = make(), int(np.flatnonzero((world.reference == 0) & (outside > 0))[0])
    for sampling in (OnPolicy(), Offline(inside)):
        if sampling.on_policy or not hasattr(algorithm, "needs_on_policy"):
            _refused(
                lambda sampling=sampling: QUESTIONS[question](algorithm, world, sampling, outside),
                "must be zero where the reference is zero",
                f"[{arm}] = {outside[arm]}"[:12],
                "policy"
                if question in ("expected_update", "expected_loss", "update_covariance")
                else "start",
            )


@FEW
@given(generators(), st.integers(3, 6))
def test_inside_the_reference_every_expectation_is_a_number(rng, arms):
    world, _, inside = _hole(rng, arms)
    for make in EVERY:
        g = expected_update(make(), world, OnPolicy(), inside)
        assert np.isfinite(g).all() and (g[world.reference == 0] == 0).all()


@FEW
@given(generators(), st.integers(3, 6))
def test_a_revision_policy_stays_inside_the_reference_too(rng, arms):
    world, outside, inside = _hole(rng, arms)
    for question in (expected_update, expected_loss, update_covariance):
        _refused(
            lambda q=question: q(
                b.SRPO(0.5), world, Offline(inside), inside, revision_policy=np.tile(outside, (arms, 1))
            ),
            "revision_policy must be zero where the reference is zero",
        )


# ---- numbers are Python's, arrays are float64 ----


def _hyper_parameters(cls: type) -> dict[str, object]:
    """Numbers for every field that takes one, as nobody's Python float: float32 and int64."""
    given: dict[str, object] = {}
    for field in dataclasses.fields(cls):
        if field.type in ("float", "float | Baseline"):
            given[field.name] = np.float32(0.3)
        elif field.type == "int":
            given[field.name] = np.int64(2)
    return given


HOLDERS = [*WITH_BETA, *WITHOUT, b.Adam]


@pytest.mark.parametrize("cls", HOLDERS, ids=lambda cls: cls.__name__)
def test_hyper_parameters_are_pythons_own_numbers(cls):
    """float32 is a value like any other: what is stored is the float64 next to it, exactly."""
    given_ = _hyper_parameters(cls)
    made = cls(**given_)
    assert given_, "a class without hyper-parameters has no place here"
    for name, value in given_.items():
        assert type(getattr(made, name)) is type(value.item())
        assert getattr(made, name) == value.item()


@pytest.mark.parametrize("cls", WITH_BETA, ids=lambda cls: cls.__name__)
@FEW
@given(bandits_with_both(min_arms=3, max_arms=4, smallest=1e-3), st.data(), st.floats(0.2, 2.0))
def test_a_beta_of_float32_or_a_fraction_is_as_good_as_its_float(cls, world, data, beta):
    policy = data.draw(policies(world.arms, smallest=1e-3))
    sampling = OnPolicy() if hasattr(cls, "needs_on_policy") else Offline(data.draw(policies(world.arms)))
    coarse = np.float32(beta)
    wanted = expected_update(cls(float(coarse)), world, sampling, policy)
    for same in (coarse, Fraction(float(coarse)), np.longdouble(coarse)):
        found = expected_update(cls(same), world, sampling, policy)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, wanted)


def test_the_largest_weight_of_importance_weights_is_a_float_too():
    assert type(b.ImportanceWeighted(b.RLOO(0.5), clip=np.float32(3)).clip) is float
    assert type(b.ImportanceWeighted(b.RLOO(0.5), clip=np.float64("inf")).clip) is float


ARRAYS = {
    "reward": lambda x: Bandit(x),
    "reference": lambda x: Bandit(np.zeros(len(x)), reference=x),
    "mu": lambda x: Offline(x),
    "mu2": lambda x: Offline(np.full(len(x), 1 / len(x)), x),
    "sampling": lambda x: fixed_point(CoPG(1.0), Bandit(np.zeros(len(x))), x),
    "start": lambda x: fixed_point(CoPG(1.0), Bandit(np.zeros(len(x))), OnPolicy(), x),
    "policy": lambda x: Bandit(np.zeros(len(x))).value(x, 1.0),
    "opponent": lambda x: Bandit(np.zeros(len(x))).best_response(x, 1.0),
}


@pytest.mark.parametrize("name", ARRAYS)
@FEW
@given(generators(), st.integers(2, 6))
def test_a_mask_is_never_lost_in_silence(name, rng, arms):
    numbers = rng.dirichlet(np.ones(arms))
    masked = np.ma.array(numbers, mask=rng.permutation(arms) == 0)
    for value in (masked, [*numbers[1:], np.ma.masked]):
        _refused(lambda value=value: ARRAYS[name](value), f"{name} must not be masked", "fill or drop")
    ARRAYS[name](np.ma.array(numbers))  # nothing is masked: nothing is lost


def test_masks_of_matrices_and_pairs_are_refused_too():
    half = np.ma.array(np.full((2, 2), 0.5), mask=[[False, True], [False, False]])
    _refused(lambda: Bandit(preference=half), "preference must not be masked")
    _refused(lambda: Pairs(half / 2), "joint must not be masked")
    _refused(lambda: Dataset(np.ma.array([[0, 1]], mask=[[False, True]])), "pairs must not be masked")


@FEW
@given(bandits_with_both(), st.sampled_from([1e-320, 5e-324, 1e-200, 1e200, 10**400, -(10**400), 10**5000]))
def test_a_beta_whose_square_or_reciprocal_is_no_number_is_refused(world, beta):
    for call in (world.nash_policy, world.optimal_policy, world.optimal_value, *WITH_BETA):
        _refused(lambda call=call: call(beta), "beta must", "beta = ")


@FEW
@given(bandits_with_both(min_arms=3, max_arms=4), st.sampled_from([1e-150, 1e-100, 1e100, 1e150]))
def test_the_extreme_betas_that_are_taken_give_numbers(world, beta):
    for answer in (
        world.optimal_policy(beta),
        world.optimal_value(beta),
        world.regret(world.reference, beta),
    ):
        assert not np.isnan(answer).any()


# ---- float32 ----


@pytest.mark.parametrize("arms", [2, 20, 300])
def test_softmaxes_of_float32_are_distributions_and_are_normalised(arms):
    """200 of them, torch's and NumPy's; their sums miss one by up to 1e-6."""
    torch.manual_seed(arms)
    missed = 0
    for scale in np.linspace(0.1, 8.0, 200):
        tensor = torch.softmax(scale * torch.randn(2, arms), dim=-1)
        missed += abs(float(tensor.numpy().astype(float).sum(-1)[0]) - 1) > 1e-8
        for value in (tensor, tensor.numpy()):
            found = Offline(value).behaviors[0]
            np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=1e-15)
            np.testing.assert_allclose(found, tensor.numpy(), rtol=1e-5)
        Bandit(np.zeros(arms), reference=tensor)
        fixed_point(CoPG(1.0), Bandit(np.zeros(arms)), tensor[0], start=tensor[1].numpy())
    assert missed > 20 or arms == 2  # the law is not empty


@FEW
@given(generators(), st.integers(2, 6))
def test_matrices_of_float32_are_taken_as_well(rng, arms):
    upper = np.triu(rng.random((arms, arms)), 1)
    P = (upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(arms)).astype(np.float32)
    taken = Bandit(preference=P).preference
    np.testing.assert_array_equal(taken + taken.T, 1.0)
    np.testing.assert_allclose(taken, P, rtol=0, atol=1e-7)
    joint = rng.dirichlet(np.ones(arms * arms)).reshape(arms, arms).astype(np.float32)
    np.testing.assert_allclose(Pairs(joint).joint.sum(), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_does_not_sum_to_one_in_its_own_precision_is_refused(dtype):
    _refused(lambda: Offline(np.array([0.3, 0.3, 0.399], dtype=dtype)), "sum of mu must be 1", "in float64")
    _refused(lambda: Offline(np.array([0.5, 0.5 + 3e-5])), "sum of mu must be 1")
    if dtype == np.float32:
        _refused(lambda: Offline(np.array([0.5, 0.5 + 3e-5], dtype=dtype)), "sum of mu must be 1")


# ---- kinds ----


def _everything(sampling) -> dict[str, object]:
    """Every public function that takes a sampling rule."""
    world, line = Bandit([1.0, -0.5, 0.25], reference=[0.5, 0.3, 0.2]), [[1.0], [0.0], [-1.0]]
    three, policy = (CoPG(0.5), world, sampling), [0.2, 0.5, 0.3]
    rng = np.random.default_rng(0)
    return {
        "expected_update": lambda: expected_update(*three, policy),
        "expected_loss": lambda: expected_loss(*three, policy),
        "update_covariance": lambda: update_covariance(*three, policy),
        "fixed_point": lambda: fixed_point(*three).policy,
        "fixed_points": lambda: fixed_points(*three)[0].policy,
        "iterated": lambda: b.iterated(*three, 2),
        "flow": lambda: b.flow(*three, [0.5, 1.0]),
        "flow_error": lambda: b.flow_error(*three, [0.5, 1.0]) * 0,
        "natural_flow": lambda: b.natural_flow(*three, [0.5, 1.0]),
        "descent": lambda: b.descent(*three, 0.1, [1, 2]),
        "convergence_rate": lambda: b.convergence_rate(*three),
        "largest_stable_step": lambda: b.largest_stable_step(*three),
        "sgd_moments": lambda: b.sgd_moments(*three, 0.1, [1, 2]).mean,
        "stationary_covariance": lambda: b.stationary_covariance(*three, 0.1, reward_noise=0.5),
        "log_linear_flow": lambda: b.log_linear_flow(*three, line, [0.5]),
        "log_linear_fixed_point": lambda: b.log_linear_fixed_point(*three, line).weights,
        "simulate": lambda: simulate(*three, steps=3, batch_size=2, learning_rate=0.1, rng=rng).policies,
    }


TAKING_SAMPLING = list(_everything(None))


def test_the_table_above_is_whole():
    functions = {name for name in b.__all__ if inspect.isfunction(getattr(b, name))}
    taking = {name for name in functions if "sampling" in inspect.signature(getattr(b, name)).parameters}
    several = {"report", "compare"}  # laws or worlds, or None for a choice of their own: test_verdict
    assert taking - several == set(TAKING_SAMPLING)


@pytest.mark.parametrize("name", TAKING_SAMPLING)
@FEWEST
@given(policies(3, smallest=0.05))
def test_a_flat_list_as_sampling_is_offline(name, mu):
    mu = np.asarray(mu)
    wanted = _everything(Offline(mu))[name]()
    for same in (mu, mu.tolist(), tuple(mu), torch.tensor(mu)):
        np.testing.assert_array_equal(_everything(same)[name](), wanted)


@pytest.mark.parametrize("name", TAKING_SAMPLING)
def test_anything_else_as_sampling_is_refused_with_both_spellings(name):
    nested = ([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], [[0.2, 0.3, 0.5]], [(0, 1), (1, 2)], np.zeros((2, 2, 3)))
    for sampling in (*nested, [[0.2], [0.3, 0.5]], None, 0.5, "mu", {"mu": 1}, object(), iter([0.5, 0.5])):
        spellings = ("sampling must be", "Offline(mu1, mu2)", "Offline([mu1, mu2])")
        _refused(_everything(sampling)[name], *spellings)
    _refused(_everything(OnPolicy)[name], "sampling must be an object", "the class OnPolicy", "OnPolicy(...)")
    _refused(_everything([0.5, 0.6, 0.3])[name], "sum of sampling must be 1")


class _NoUpdate:
    k = 1


@pytest.mark.parametrize("name", TAKING_SAMPLING)
def test_an_algorithm_and_a_world_are_told_from_what_is_none(name):
    function = getattr(b, name)
    world, law = Bandit([1.0, -0.5, 0.25]), Offline([0.2, 0.5, 0.3])
    extra = {
        p.name: {
            "policy": [0.2, 0.5, 0.3],
            "times": [1.0],
            "steps": [3] if name != "simulate" else 3,
            "features": np.eye(3),
        }.get(p.name, 0.1)
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.name not in ("algorithm", "bandit", "sampling")
    }
    for wrong, words in (
        (CoPG, ("algorithm must be an object", "class CoPG", "CoPG(...)")),
        (_NoUpdate(), ("algorithm must have a method update", "_NoUpdate")),
        (None, ("algorithm must have a method update", "NoneType")),
        (world, ("algorithm must have a method update", "order of arguments is algorithm, bandit, sampling")),
    ):
        _refused(lambda wrong=wrong: function(wrong, CoPG(1.0), law, **extra), *words)  # swapped
    for wrong in (CoPG(1.0), Bandit, [1.0, 2.0], None):
        _refused(lambda wrong=wrong: function(CoPG(1.0), wrong, law, **extra), "bandit must be a Bandit")


def _trained(**changes):
    return simulate(
        **{
            "algorithm": CoPG(0.7),
            "bandit": Bandit([1.0, -0.5, 0.25]),
            "sampling": Offline([0.2, 0.5, 0.3]),
            "steps": 4,
            "batch_size": 2,
            "learning_rate": 0.1,
            "rng": np.random.default_rng(0),
            **changes,
        }
    )


WORLD = Bandit([1.0, -0.5, 0.25])
END = fixed_point(CoPG(1.0), WORLD, [0.2, 0.5, 0.3])
ONE_BY_ONE = {
    "optimizer of None": (lambda: _trained(optimizer=None), "optimizer must be", "SGD() or Adam()"),
    "optimizer's class": (lambda: _trained(optimizer=b.Adam), "optimizer must be", "SGD() or Adam()"),
    "seed": (lambda: _trained(rng=0), "rng must be a numpy.random.Generator", "rng = 0"),
    "noise of each arm": (
        lambda: _trained(reward_noise=np.ones(3)),
        "reward_noise must be finite",
        "one number",
    ),
    "labels": (lambda: _trained(label_noise="yes"), "label_noise must be True or False", "'yes'"),
    "a bar of 3": (lambda: _trained(progress=3), "progress must be True or False"),
    "minus one step": (lambda: _trained(steps=-1), "steps must be an integer of at least 1", "steps = -1"),
    "endless steps": (lambda: _trained(steps=10**400), "steps must be an integer of at most"),
    "text record": (lambda: _trained(record="all"), "record must be", "<U3"),
    "value of other runs": (
        lambda: _trained(algorithm=b.DRO(0.5), value=np.zeros(7)),
        "value must broadcast to (1,)",
        "(7,)",
    ),
    "no starts": (
        lambda: fixed_points(b.ReMax(1.0), WORLD, OnPolicy(), starts=-1),
        "starts must be an integer of at least 0",
        "starts = -1",
    ),
    "seed of starts": (
        lambda: fixed_points(CoPG(1.0), WORLD, OnPolicy(), rng=0),
        "rng must be a numpy.random",
    ),
    "negative descent": (
        lambda: b.descent(CoPG(1.0), WORLD, OnPolicy(), 0.1, [-1, 2]),
        "steps must be 0 or more",
    ),
    "solution for a policy": (lambda: WORLD.regret(END, 1.0), "policy must be an array", "pass its .policy"),
    "trace for a policy": (
        lambda: WORLD.regret(_trained(), 1.0),
        "policy must be an array",
        "pass its .policy",
    ),
    "beta of 10**400": (lambda: CoPG(10**400), "beta must be a positive, finite number"),
    "beta of True": (lambda: CoPG(True), "beta must be a positive, finite number", "True"),
    "psi of text": (lambda: PsiPO(1.0, psi="identity"), "psi must be a function of (p)", "'identity'"),
    "psi of two": (lambda: PsiPO(1.0, psi=lambda p, q: p), "psi must be a function of (p)", "(p, q)"),
    "psi of nothing": (
        lambda: fixed_point(PsiPO(1.0, psi=lambda p: None), WORLD, OnPolicy()),
        "psi must return numbers",
        "None",
    ),
    "margin of a number": (lambda: DPO(1.0, margin=0.5), "margin must be a function of (answers)", "0.5"),
    "spread of a number": (lambda: b.GRPO(1.0, spread=1.0), "spread must be a function of (reward)", "1.0"),
    "baseline of one": (
        lambda: b.PolicyGradient(1.0, baseline=lambda s: 0.0),
        "baseline must be a function of (samples, beta)",
    ),
    "baseline's class": (lambda: b.PPO(1.0, baseline=CoPG), "baseline must be a function of (samples, beta)"),
    "baseline of nothing": (
        lambda: expected_update(
            b.PolicyGradient(1.0, baseline=lambda s, beta: None), WORLD, OnPolicy(), WORLD.reference
        ),
        "baseline must return numbers",
        "None",
    ),
    "weights of nothing": (lambda: b.ImportanceWeighted(None), "algorithm must have a method update"),
    "weights of a class": (lambda: b.ImportanceWeighted(b.RLOO), "algorithm must be an object", "RLOO(...)"),
    "gradient": (
        lambda: Bandit(torch.tensor([1.0, 2.0], requires_grad=True)),
        "reward must be an array of real numbers",
        "detach()",
    ),
    "no contexts": (lambda: Bandit(np.zeros((0, 3))), "reward must have the arms", "(0, 3)"),
    "no matrix": (lambda: Bandit(preference=np.zeros((0, 2, 2))), "preference must have shape", "(0, 2, 2)"),
    "group of one": (lambda: b.standard_deviation(np.ones(1)), "reward must be an array (..., k)", "k >= 2"),
    "no samples": (lambda: b.policy_value(None, 1.0), "samples must be Samples", "None"),
}


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_the_argument_is_named(name):
    call, *words = ONE_BY_ONE[name]
    _refused(call, *words)


@FEW
@given(bandits_with_both(min_arms=3, max_arms=4), st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_a_psi_that_gives_no_number_is_named_on_every_route(world, value, data):
    policy = data.draw(policies(world.arms))
    for sampling in (OnPolicy(), Offline(data.draw(policies(world.arms)))):
        for question in (expected_update, expected_loss, update_covariance):
            _refused(
                lambda q=question, s=sampling: q(PsiPO(0.5, psi=lambda p: 0 * p + value), world, s, policy),
                "finite",
                "psi",
            )
        _refused(
            lambda s=sampling: fixed_point(PsiPO(0.5, psi=lambda p: 0 * p + value), world, s),
            "psi(p) must be finite",
        )


def test_the_default_starts_are_always_the_same():
    world = Bandit([1.0, 0.2], reference=[0.7, 0.3])
    one, two = (fixed_points(b.ReMax(0.5), world, Offline([0.3, 0.7]), starts=2) for _ in range(2))
    assert len(one) == len(two)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.policy, second.policy)


def test_a_trace_says_where_the_runs_stood_last():
    trace = _trained(runs=2)
    np.testing.assert_array_equal(trace.policy, trace.policies[-1])
    assert WORLD.regret(trace.policy, 0.7).shape == (2,)


# ---- what a margin may read ----


@st.composite
def _margins(draw, world: Bandit):
    """A table of the arms, something of the reward, something of the reference: with and without contexts."""
    rng = draw(generators())
    table, shape = rng.normal(size=world.arms), (*world.contexts, world.arms)
    wide = rng.normal(size=shape)
    return draw(
        st.sampled_from(
            [
                lambda answers: table[answers.arm],
                lambda answers: 0.3 * answers.reward,
                lambda answers: 0.1 * answers.reference_log_prob + table[answers.arm],
                lambda answers: wide[..., answers.arm] if world.contexts else wide[answers.arm],
                lambda answers: 0.5,
            ]
        )
    )


@pytest.mark.parametrize("contexts", [(), (2,), (2, 3)], ids=str)
@FEW
@given(st.data(), st.floats(0.2, 2.0), st.floats(0.0, 0.4))
def test_a_margin_gives_one_answer_on_every_route(contexts, data, beta, smoothing):
    """The formula of each arm, the enumeration of groups, and the residual of the fixed point."""
    world = data.draw(bandits_with_both(min_arms=2, max_arms=4, contexts=contexts, smallest=1e-3))
    algorithm = DPO(beta, smoothing, data.draw(_margins(world)))
    policy, mu = (data.draw(policies(world.arms, contexts, smallest=1e-2)) for _ in range(2))
    for sampling in (Offline(mu), OnPolicy()):
        problem = bind(algorithm, world, sampling, policy, "policy")
        law, state = problem.law(), State(problem.log_start)
        total = np.zeros((*contexts, world.arms))
        for arms, weight in law.tuples():
            c = weight[..., None] * algorithm.update(samples_of(world, law, state, arms)).log_prob
            for place in range(2):
                for y in range(world.arms):
                    total[..., y] += (c[..., place] * (arms[:, place] == y)).sum(-1)
        # sums of at most 16 terms of size beta |gamma| < 20
        np.testing.assert_allclose(expected_update(algorithm, world, sampling, policy), total, atol=1e-12)


@pytest.mark.parametrize("contexts", [(), (3,)], ids=str)
@FEW
@given(st.data(), st.floats(0.3, 2.0))
def test_the_end_with_a_margin_is_the_tilt_by_reward_less_margin(contexts, data, beta):
    """ref exp((r - Gamma) / beta) under Bradley-Terry, whoever sampled  (T5.4)."""
    both = data.draw(bandits_with_both(min_arms=2, max_arms=4, contexts=contexts, smallest=1e-3))
    world = Bandit(both.reward, reference=both.reference)
    gamma = data.draw(generators()).normal(size=(*contexts, world.arms))
    algorithm = DPO(beta, margin=lambda answers: gamma[..., answers.arm])
    found = fixed_point(algorithm, world, Offline(data.draw(policies(world.arms, contexts, smallest=1e-2))))
    assert found.policy.shape == (*contexts, world.arms)
    wanted = log_policy_of(
        world.reference * np.exp((world.reward - gamma - (world.reward - gamma).max()) / beta)
    )
    np.testing.assert_allclose(found.log_policy, wanted, atol=1e-10)  # logits below 100, of 1e-16 each


@FEWEST
@given(bandits_with_both(min_arms=2, max_arms=4, smallest=1e-3), st.data())
def test_a_margin_may_not_read_what_moves_or_who_sampled(world, data):
    policy, mu = (
        data.draw(policies(world.arms, smallest=1e-2)),
        data.draw(policies(world.arms, smallest=1e-2)),
    )
    forbidden = [f.name for f in dataclasses.fields(b.Samples)] + ["log_ratio", "regularized_reward"]
    for field in sorted(set(forbidden) - {"arm", "reward", "reference_log_prob", "length"}):
        algorithm = DPO(0.5, margin=lambda answers, field=field: getattr(answers, field))
        for question in QUESTIONS:
            if question != "sgd_moments":
                _refused(
                    lambda q=question, a=algorithm: QUESTIONS[q](a, world, Offline(mu), policy),
                    "margin may read arm, reward, reference_log_prob, length",
                    f"reads {field}",
                )


def test_a_margin_with_contexts_that_the_world_lacks_is_refused():
    wide = np.array([[0.1, 0.2, 0.3], [0.5, 0.0, 0.1]])
    algorithm = DPO(0.5, margin=lambda answers: wide[:, answers.arm])
    _refused(
        lambda: fixed_point(algorithm, WORLD, [0.2, 0.5, 0.3]), "margin must broadcast to (3,)", "(2, 3)"
    )
    infinite = DPO(0.5, margin=lambda answers: np.log(answers.arm * 0.0))
    with np.errstate(divide="ignore"):
        _refused(lambda: fixed_point(infinite, WORLD, [0.2, 0.5, 0.3]), "margin must be finite")
