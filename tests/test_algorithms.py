"""The laws that every coefficient obeys, and the wrong twins that each law rejects.

Four routes to one number:
    the formula           `answer_key`, written from the papers, one group at a time
    enumeration           `expected_update`, against the same formula summed over all groups by hand
    finite difference     of `expected_loss` along the logits, the sampler held fixed
    autograd              the same algorithm object over torch tensors in float64: `loss` and `update`
and, where an algorithm has no loss, the gradient of the objective that it climbs on-policy.
"""

from __future__ import annotations

from dataclasses import fields, replace

import answer_key
import numpy as np
import pytest
import torch
import twins
from answer_key import Case
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import root
from scipy.special import log_softmax, softmax

import bandits as b
import strategies
from bandits import ALGORITHMS, expected_loss, expected_update

EXAMPLES = settings(max_examples=12)
TORCH_EXAMPLES = settings(max_examples=6)
FEW_EXAMPLES = settings(max_examples=2)


def _square(p):
    return p**2


def _a_fifth_of_the_reward(samples):
    return 0.2 * samples.reward


# Every algorithm at its defaults, and the variants that its hyper-parameters open.
VARIANTS = {cls.__name__: cls for cls in ALGORITHMS} | {
    "PolicyGradient(1.5)": lambda beta: b.PolicyGradient(beta, baseline=1.5),
    "PolicyGradient(policy_reward)": lambda beta: b.PolicyGradient(beta, baseline=b.policy_reward),
    "PolicyGradient(policy_value)": lambda beta: b.PolicyGradient(beta, baseline=b.policy_value),
    "PolicyGradient(behavior_value)": lambda beta: b.PolicyGradient(beta, baseline=b.behavior_value),
    "PolicyGradient(greedy, k=2)": lambda beta: b.PolicyGradient(beta, baseline=b.greedy, k=2),
    "RLOO(k=3)": lambda beta: b.RLOO(beta, k=3),
    "CoPG(k=3)": lambda beta: b.CoPG(beta, k=3),
    "PsiPO(square)": lambda beta: b.PsiPO(beta, psi=_square),
    "DPO(smoothing, margin)": lambda beta: b.DPO(beta, smoothing=0.1, margin=_a_fifth_of_the_reward),
    "NashMD(0.3)": lambda beta: b.NashMD(beta, mixture=0.3),
    "SRPO(0.2)": lambda beta: b.SRPO(beta, alpha=0.2),
    "ImportanceWeighted(RLOO)": lambda beta: b.ImportanceWeighted(b.RLOO(beta)),
    "ImportanceWeighted(PolicyGradient, clip)": lambda beta: b.ImportanceWeighted(
        b.PolicyGradient(beta), 1.2
    ),
}
WITH_LOSS = [
    "CoPG",
    "CoPG(k=3)",
    "IPO",
    "OnlineIPO",
    "PsiPO",
    "PsiPO(square)",
    "DPO",
    "DPO(smoothing, margin)",
]
WITH_LOSS += ["DRO", "SRPO", "SRPO(0.2)"]

every_algorithm = pytest.mark.parametrize("name", VARIANTS)
every_loss = pytest.mark.parametrize("name", WITH_LOSS)


@st.composite
def cases(
    draw,
    algorithm,
    min_arms: int = 2,
    max_arms: int = 4,
    smallest: float = 1e-3,
    value: float | None = None,
    listed: bool = True,
) -> Case:
    """A world with rewards and unrelated preferences, a sampling rule that fits the algorithm, a policy.

    With two arms Nash-MD's opponent makes no difference, and a finite list of pairs may say "a > b" as
    often as "b > a", so that labels make none: no world to catch a mistake in.
    """
    world = draw(strategies.bandits_with_both(min_arms, max_arms, smallest=smallest))
    arms = world.arms
    rules = [strategies.offline(arms, 1), strategies.offline(arms, algorithm.k)]
    if algorithm.k == 2:
        rules += [strategies.joints(arms).map(b.Pairs)] + [strategies.datasets(arms)] * listed
    if getattr(algorithm, "needs_on_policy", False):
        rules = [st.just(b.OnPolicy())]
    revision = draw(strategies.policies(arms, (arms,), smallest)) if isinstance(algorithm, b.SRPO) else None
    return Case(
        bandit=world,
        sampling=draw(st.one_of(rules)),
        policy=draw(strategies.policies(arms, smallest=smallest)),
        value=value,
        revision=revision,
    )


# ---- the laws: `algorithm` is on trial, `right` is what it claims to be ------------------------------------


def coefficients_follow_the_formula(algorithm, right, case: Case) -> None:
    """Tolerance: a coefficient is a difference of at most 2k terms R or h/beta, each rounded to 1e-16."""
    _, arms, samples = answer_key.stacked(right, case)
    by_formula = [answer_key.coefficients(right, s) for _, _, s in answer_key.groups(right, case)]
    assert_close(algorithm.update(samples).log_prob, np.array(by_formula), 1e-12, _size(right, case))


def expectation_is_the_sum_over_all_groups(algorithm, right, case: Case) -> None:
    """Tolerance: as the coefficients; the sum of probabilities times them adds no more."""
    by_hand = answer_key.expected_by_hand(right, case)
    assert_close(_expected_update(algorithm, case), by_hand, 1e-12, _size(right, case))


def expectation_descends_the_loss(algorithm, right, case: Case) -> None:
    """-d expected loss / d logits, extrapolated: truncation (4e-3)^4 / 100, cancellation 1e-16 / 4e-3."""
    if isinstance(case.sampling, b.OnPolicy):
        weights = answer_key.stacked(right, case)[0]  # the sampler stays where it is

        def loss(logits):
            moved = replace(case, policy=softmax(logits))
            return weights @ algorithm.loss(_with_log_prob(right, case, moved))
    else:

        def loss(logits):
            return _expected_loss(algorithm, replace(case, policy=softmax(logits)))

    slope = _gradient(loss, np.log(case.policy))
    scale = abs(loss(np.log(case.policy))) + _size(right, case)
    assert_close(-slope, _expected_update(algorithm, case), 1e-9, scale)


def coefficients_differentiate_the_loss(algorithm, right, case: Case) -> None:
    """Autograd of the loss of each group in log pi(y_i): exact up to rounding."""
    _, _, samples = answer_key.stacked(right, case)
    found = algorithm.update(samples).log_prob
    leaves = twins.to_torch(samples)
    leaves.log_prob.requires_grad_()
    (slope,) = torch.autograd.grad(algorithm.loss(leaves).sum(), leaves.log_prob)
    assert_close(found, -slope.numpy(), 1e-12, _size(right, case))


def torch_trains_as_numpy_expects(algorithm, right, case: Case) -> None:
    """-d/dlogits of -sum c.detach() log pi over torch tensors: the same object, the same update."""
    weights, arms, samples = answer_key.stacked(right, case)
    logits = torch.tensor(np.log(case.policy), requires_grad=True)
    log_prob = torch.log_softmax(logits, 0)[torch.as_tensor(arms)]
    c = algorithm.update(replace(twins.to_torch(samples), log_prob=log_prob)).log_prob
    assert c.dtype == torch.float64
    surrogate = (torch.as_tensor(weights)[:, None] * c.detach() * log_prob).sum()
    (ascent,) = torch.autograd.grad(surrogate, logits)
    assert_close(ascent.numpy(), _expected_update(right, case), 1e-12, _size(right, case))


def on_policy_it_climbs(algorithm, right, case: Case) -> None:
    """E[update] on the policy's own samples = scale * grad of the objective, by autograd in float64.

    The opponent of a preference objective is held fixed (that is what "self-play" differentiates).
    """
    case = replace(case, sampling=b.OnPolicy())
    scale, score = ON_POLICY[type(right)](right, case)
    logits = torch.tensor(np.log(case.policy), requires_grad=True)
    log_pi = torch.log_softmax(logits, 0)
    h = log_pi - torch.as_tensor(np.log(case.bandit.reference))
    value = (log_pi.exp() * (torch.tensor(score) - right.beta * h)).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    assert_close(
        _expected_update(algorithm, case), scale * gradient.numpy(), 1e-12, scale * _size(right, case)
    )


def it_rests_where_theory_says(algorithm, right, case: Case) -> None:
    """The expected update vanishes at the closed form, and nowhere near it."""
    case = replace(case, policy=TARGET[type(right)](right, case))
    size = _size(right, case)
    assert_close(_expected_update(algorithm, case), np.zeros(case.bandit.arms), 1e-11, size)
    away = replace(case, policy=softmax(np.log(case.policy) + np.linspace(0, 1, case.bandit.arms) ** 2))
    assert np.abs(_expected_update(algorithm, away)).max() > 1e-7


# Where theory gives the on-policy objective E_pi[score] - beta KL: its score, and the factor of the update.
ON_POLICY = {
    b.PolicyGradient: lambda a, c: (1, c.bandit.reward),  # T2.1
    b.RLOO: lambda a, c: (1, c.bandit.reward),  # T2.2
    b.ReMax: lambda a, c: (1, c.bandit.reward),  # T2.4
    b.CoPG: lambda a, c: (a.k * (a.k - 1), c.bandit.reward),  # T3.7
    b.DRO: lambda a, c: (a.beta, c.bandit.reward),  # T8.1, V = E_pi[R]
    b.DROV: lambda a, c: (1, c.bandit.reward),  # T8.1
    b.NashMD: lambda a, c: (1, c.bandit.preference @ answer_key.place_laws(a, c)[1]),  # T6.5
    b.IPO: lambda a, c: (4 / a.beta, c.bandit.preference @ c.policy),  # T6.6: 2/beta times CoPG's 2
    b.OnlineIPO: lambda a, c: (4 / a.beta, c.bandit.preference @ c.policy),  # T6.6
    b.PsiPO: lambda a, c: (2, a.psi(c.bandit.preference) @ c.policy),  # T4.1
}
CLIMBING = [name for name in VARIANTS if type(VARIANTS[name](beta=1.0)) in ON_POLICY]


def _optimum(a, c: Case):
    """T1.1."""
    return softmax(np.log(c.bandit.reference) + c.bandit.reward / a.beta)


def _ranking(a, c: Case):
    """T4.3: L h = flow, by dense least squares on the incidence of the pairs."""
    rows, target = [], []
    for weight, (y, z), s in answer_key.groups(a, c):
        row = np.zeros(c.bandit.arms)
        row[y] += np.sqrt(weight)
        row[z] -= np.sqrt(weight)
        rows.append(row)
        target.append(np.sqrt(weight) * (s.preference[0, 1] - 0.5) / a.beta)
    h = np.linalg.lstsq(np.array(rows), np.array(target), rcond=None)[0]
    return softmax(np.log(c.bandit.reference) + h)


def _answer_to_mixture(a, c: Case):
    """T6.4 by a general root finder on z = log pi/ref."""
    log_reference, weight = np.log(c.bandit.reference), getattr(a, "mixture", 0.0)

    def miss(z):
        return z - (c.bandit.preference - 0.5) @ softmax(log_reference + (1 - weight) * z) / a.beta

    found = root(miss, np.zeros(c.bandit.arms), tol=1e-14)
    assert np.abs(miss(found.x)).max() < 1e-11
    return softmax(log_reference + found.x)


def _psi_tilt(a, c: Case):
    """T4.1 with the law of the third sample."""
    score = a.psi(c.bandit.preference) @ answer_key.place_laws(a, c)[2]
    return softmax(np.log(c.bandit.reference) + score / a.beta)


TARGET = {
    b.CoPG: _optimum,  # T3.3
    b.RLOO: _optimum,  # T3.1: CoPG's coefficients
    b.DRO: _optimum,  # T8.1
    b.DROV: _optimum,
    b.IPO: _ranking,
    b.PsiPO: _psi_tilt,
    b.NashMD: _answer_to_mixture,
    b.OnlineIPO: _answer_to_mixture,  # T6.6
}
RESTING = [name for name in VARIANTS if type(VARIANTS[name](beta=1.0)) in TARGET]


# ---- the algorithms obey ----------------------------------------------------------------------------------


@every_algorithm
@EXAMPLES
@given(data=st.data())
def test_coefficients_follow_the_formula(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    case = data.draw(cases(algorithm, smallest=1e-12))
    coefficients_follow_the_formula(algorithm, algorithm, case)


@every_algorithm
@EXAMPLES
@given(data=st.data())
def test_expectation_is_the_sum_over_all_groups(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    case = data.draw(cases(algorithm, smallest=1e-12))
    expectation_is_the_sum_over_all_groups(algorithm, algorithm, case)


@every_algorithm
@FEW_EXAMPLES
@given(data=st.data())
def test_many_arms_are_no_different(name, data):
    """50 arms where groups are single samples, 30 in pairs (900 groups), 8 in triples."""
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    arms = {1: 50, 2: 30, 3: 8}[algorithm.k]
    case = data.draw(cases(algorithm, min_arms=arms, max_arms=arms, smallest=1e-12))
    expectation_is_the_sum_over_all_groups(algorithm, algorithm, case)


@every_loss
@EXAMPLES
@given(data=st.data())
def test_expectation_descends_the_loss(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas(0.05, 20)))
    expectation_descends_the_loss(algorithm, algorithm, data.draw(cases(algorithm, smallest=1e-2)))


@every_loss
@TORCH_EXAMPLES
@given(data=st.data())
def test_coefficients_differentiate_the_loss(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    value = data.draw(st.floats(-2, 2)) if name == "DRO" else None
    coefficients_differentiate_the_loss(algorithm, algorithm, data.draw(cases(algorithm, value=value)))


@every_algorithm
@TORCH_EXAMPLES
@given(data=st.data())
def test_torch_trains_as_numpy_expects(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    torch_trains_as_numpy_expects(algorithm, algorithm, data.draw(cases(algorithm)))


@pytest.mark.parametrize("name", CLIMBING)
@TORCH_EXAMPLES
@given(data=st.data())
def test_on_policy_it_climbs(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    on_policy_it_climbs(algorithm, algorithm, data.draw(cases(algorithm)))


@pytest.mark.parametrize("name", RESTING)
@EXAMPLES
@given(data=st.data())
def test_it_rests_where_theory_says(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas(0.3, 30)))
    it_rests_where_theory_says(algorithm, algorithm, _resting_case(data, algorithm))


def _resting_case(data, algorithm) -> Case:
    """A case whose sampling graph is connected."""
    case = data.draw(cases(algorithm, smallest=1e-2))
    if isinstance(case.sampling, b.Dataset):
        case = replace(case, sampling=data.draw(strategies.connected_datasets(case.bandit.arms)))
    return case


# ---- each law rejects the wrong twins ---------------------------------------------------------------------

WITH_REFERENCE = [name for name in VARIANTS if "clip" not in name]
WITHOUT_WEIGHTS = [name for name in VARIANTS if "Importance" not in name]  # large weights, wide tolerance
WITH_LABEL = ["IPO", "OnlineIPO", "DPO", "PsiPO", "NashMD", "SRPO"]
IN_GROUPS = [name for name in VARIANTS if VARIANTS[name](beta=1.0).k > 1]
REJECTED = [
    (coefficients_follow_the_formula, twins.flipped_sign, list(VARIANTS)),
    (coefficients_follow_the_formula, twins.average_for_sum, IN_GROUPS),
    (coefficients_follow_the_formula, twins.swapped_kl, list(VARIANTS)),
    (coefficients_follow_the_formula, twins.wrong_reference, WITH_REFERENCE),
    (coefficients_follow_the_formula, twins.dropped_detach, list(VARIANTS)),
    (coefficients_follow_the_formula, twins.flipped_label, WITH_LABEL),
    (expectation_is_the_sum_over_all_groups, twins.flipped_sign, list(VARIANTS)),
    (expectation_is_the_sum_over_all_groups, twins.average_for_sum, IN_GROUPS),
    (expectation_is_the_sum_over_all_groups, twins.swapped_kl, list(VARIANTS)),
    (expectation_is_the_sum_over_all_groups, twins.swapped_mixture, ["NashMD", "NashMD(0.3)"]),
    (expectation_is_the_sum_over_all_groups, twins.flipped_label, WITH_LABEL),
    (expectation_descends_the_loss, twins.flipped_sign, WITH_LOSS),
    (expectation_descends_the_loss, twins.average_for_sum, ["CoPG", "CoPG(k=3)", "IPO", "DPO", "SRPO"]),
    (expectation_descends_the_loss, twins.dropped_detach, WITH_LOSS),
    (coefficients_differentiate_the_loss, twins.flipped_sign, WITH_LOSS),
    (coefficients_differentiate_the_loss, twins.average_for_sum, ["CoPG", "CoPG(k=3)", "IPO", "DPO", "SRPO"]),
    (coefficients_differentiate_the_loss, twins.dropped_detach, WITH_LOSS),
    (torch_trains_as_numpy_expects, twins.flipped_sign, list(VARIANTS)),
    (torch_trains_as_numpy_expects, twins.single_precision, WITHOUT_WEIGHTS),
    (on_policy_it_climbs, twins.flipped_sign, CLIMBING),
    (on_policy_it_climbs, twins.average_for_sum, [n for n in CLIMBING if n in IN_GROUPS]),
    (on_policy_it_climbs, twins.swapped_kl, CLIMBING),
    (on_policy_it_climbs, twins.wrong_reference, CLIMBING),
    (on_policy_it_climbs, twins.dropped_detach, CLIMBING),
    (on_policy_it_climbs, twins.swapped_mixture, ["NashMD", "NashMD(0.3)"]),
    (it_rests_where_theory_says, twins.swapped_kl, RESTING),
    (it_rests_where_theory_says, twins.wrong_reference, RESTING),
    (it_rests_where_theory_says, twins.dropped_detach, RESTING),
    (it_rests_where_theory_says, twins.flipped_label, [n for n in RESTING if n in WITH_LABEL]),
    (it_rests_where_theory_says, twins.swapped_mixture, ["NashMD", "NashMD(0.3)"]),
]
PAIRINGS = [
    pytest.param(law, twin, name, id=f"{law.__name__}-{twin.__name__}-{name}")
    for law, twin, names in REJECTED
    for name in names
]


@pytest.mark.parametrize(("law", "twin", "name"), PAIRINGS)
@FEW_EXAMPLES
@given(data=st.data())
def test_the_law_rejects_the_wrong_twin(law, twin, name, data):
    right = VARIANTS[name](beta=data.draw(strategies.betas(0.3, 3)))
    case = data.draw(cases(right, min_arms=3, smallest=1e-2, listed=False))
    with pytest.raises(AssertionError):
        law(twin(right), right, case)


# ---- what every algorithm keeps ---------------------------------------------------------------------------


@every_algorithm
def test_batch_axes_do_not_mix(name):
    """A batch of groups in any shape gives each group what it gets alone."""
    algorithm = VARIANTS[name](beta=0.7)
    case = _one_case(algorithm)
    _, _, samples = answer_key.stacked(algorithm, case)
    together = algorithm.update(samples).log_prob
    alone = [algorithm.update(s).log_prob for _, _, s in answer_key.groups(algorithm, case)]
    assert_allclose(together, np.stack(alone), rtol=0, atol=1e-14)


@every_algorithm
def test_samples_are_not_written_to(name):
    """Read-only arrays pass through every algorithm: nothing is computed in place."""
    algorithm = VARIANTS[name](beta=0.7)
    _, _, samples = answer_key.stacked(algorithm, _one_case(algorithm))
    for each in (samples, samples.population):
        for field in fields(each):
            if isinstance(getattr(each, field.name), np.ndarray):
                getattr(each, field.name).flags.writeable = False
    algorithm.update(samples)
    if hasattr(algorithm, "loss"):
        algorithm.loss(samples)


@every_algorithm
def test_hyper_parameters_are_frozen(name):
    algorithm = VARIANTS[name](beta=0.7)
    with pytest.raises(AttributeError):
        algorithm.beta = 1.0
    with pytest.raises(AttributeError):
        algorithm.k = 7


@every_algorithm
def test_equal_hyper_parameters_make_equal_algorithms(name):
    assert VARIANTS[name](beta=0.7) == VARIANTS[name](beta=0.7) != VARIANTS[name](beta=0.8)


@every_algorithm
def test_expected_update_keeps_the_mean_logit(name):
    """sum_y E[sum_i c_i (1{y_i = y} - pi(y))] = 0: softmax does not see a common shift of the logits."""
    algorithm = VARIANTS[name](beta=0.7)
    case = _one_case(algorithm)
    assert_allclose(_expected_update(algorithm, case).sum(), 0, atol=1e-14)


@every_algorithm
def test_contrastive_coefficients_sum_to_zero_and_no_others_do(name):
    """What one answer gains the others lose, so that log Z of the policy never matters.

    SRPO's generative half is contrastive too, but its revision policy moves besides: it does not say so.
    """
    algorithm = VARIANTS[name](beta=0.7)
    _, _, samples = answer_key.stacked(algorithm, _one_case(algorithm))
    sums = np.abs(algorithm.update(samples).log_prob.sum(-1)).max()
    says = getattr(algorithm, "contrastive", False)
    if says or "SRPO" in name:
        assert sums < 1e-13
    elif "ImportanceWeighted(RLOO)" not in name:  # a common weight keeps the sum of RLOO's
        assert sums > 1e-2


@pytest.mark.parametrize("name", [n for n in VARIANTS if hasattr(VARIANTS[n](beta=1.0), "contrastive")])
def test_contrastive_coefficients_see_only_differences_of_log_probabilities(name):
    """The other half of the word: the normaliser of the policy may be left out."""
    algorithm = VARIANTS[name](beta=0.7)
    _, _, samples = answer_key.stacked(algorithm, _one_case(algorithm))
    shifted = replace(samples, log_prob=samples.log_prob + 3.0)
    found, shift_free = (algorithm.update(s).log_prob for s in (samples, shifted))
    assert_allclose(found, shift_free, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["RLOO", "CoPG", "CoPG(k=3)", "DRO", "PolicyGradient(behavior_value)"])
def test_a_constant_reward_offset_changes_nothing(name):
    algorithm = VARIANTS[name](beta=0.7)
    case = _one_case(algorithm)
    shifted = b.Bandit(case.bandit.reward + 5.0, reference=case.bandit.reference)
    moved = _expected_update(algorithm, replace(case, bandit=shifted))
    assert_allclose(moved, _expected_update(algorithm, case), rtol=0, atol=1e-13)


@every_algorithm
def test_a_missing_field_is_named(name):
    algorithm = VARIANTS[name](beta=0.7)
    bare = b.Samples(log_prob=np.log(np.full(algorithm.k, 0.5)))
    with pytest.raises(ValueError, match=r"samples\.\w+ is None, but this algorithm needs it"):
        algorithm.update(bare)


# ---- tools ------------------------------------------------------------------------------------------------


def _one_case(algorithm) -> Case:
    """Three arms, nothing symmetric."""
    world = b.Bandit(
        [0.9, -0.4, 0.3],
        preference=[[0.5, 0.8, 0.35], [0.2, 0.5, 0.9], [0.65, 0.1, 0.5]],
        reference=[0.5, 0.2, 0.3],
    )
    on_policy = getattr(algorithm, "needs_on_policy", False)
    revision = np.array([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.6, 0.15, 0.25]])
    return Case(
        bandit=world,
        sampling=b.OnPolicy() if on_policy else b.Offline([0.6, 0.1, 0.3]),
        policy=np.array([0.25, 0.35, 0.4]),
        revision=revision if isinstance(algorithm, b.SRPO) else None,
    )


def assert_close(actual, desired, tolerance: float, scale: float) -> None:
    """|actual - desired| <= tolerance * scale, entry by entry."""
    assert_allclose(actual, desired, rtol=0, atol=tolerance * scale)


def _size(algorithm, case: Case) -> float:
    """What a coefficient is made of: the terms r, beta h, b (and 1/beta, h for IPO) before they cancel."""
    inner = getattr(algorithm, "algorithm", algorithm)
    h = np.abs(np.log(case.policy / case.bandit.reference)).max()
    if case.revision is not None:
        h += np.abs(np.log(case.revision / case.bandit.reference)).max()
    size = 2 + np.abs(case.bandit.reward).max() + inner.beta * h
    if isinstance(inner, b.IPO | b.OnlineIPO):
        size = 1 / inner.beta + h
    if isinstance(inner, b.DPO | b.DRO | b.SRPO):
        size *= max(1.0, inner.beta) ** (1 if not isinstance(inner, b.DPO) else 2)
    if isinstance(algorithm, b.ImportanceWeighted):
        listed = [s for _, _, s in answer_key.groups(algorithm, case)]
        largest = max(np.exp((s.log_prob - s.behavior_log_prob).sum()) for s in listed)
        size *= max(1.0, min(largest, algorithm.clip))
    return float(4 * algorithm.k * size)


def _state(algorithm, case: Case) -> dict:
    return {"value": case.value, "revision_policy": case.revision}


def _expected_update(algorithm, case: Case):
    return expected_update(algorithm, case.bandit, case.sampling, case.policy, **_state(algorithm, case))


def _expected_loss(algorithm, case: Case) -> float:
    return float(expected_loss(algorithm, case.bandit, case.sampling, case.policy, **_state(algorithm, case)))


def _with_log_prob(algorithm, case: Case, moved: Case) -> b.Samples:
    """The groups of `case` seen with the policy of `moved`."""
    _, arms, samples = answer_key.stacked(algorithm, case)
    return replace(samples, log_prob=np.log(moved.policy)[arms])


def _gradient(function, point, step: float = 4e-3):
    """Central differences at steps h and h/2, extrapolated: the error is of order h^4."""

    def central(h):
        shifts = h * np.eye(len(point))
        return np.array([(function(point + e) - function(point - e)) / (2 * h) for e in shifts])

    return (4 * central(step / 2) - central(step)) / 3


def test_the_finite_difference_is_exact_to_nine_digits():
    """On a function with a known gradient: log-sum-exp, whose gradient is softmax."""
    point = np.array([0.3, -1.2, 0.8])
    found = _gradient(lambda x: -log_softmax(x)[0] + x[0], point)
    assert_allclose(found, softmax(point), rtol=0, atol=1e-10)
