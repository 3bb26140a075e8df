"""`llm.conformance`: right losses pass in any style, wrong ones are named, unusable ones are refused."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import foreign_family
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import bandits as b
import foreign_losses
import worlds
from bandits.testing import laws
from bandits.testing.enumeration import Case
from bandits.testing.twins import TWINS
from foreign_losses import (
    GROUP,
    MASKED,
    PAIR,
    SURROGATE,
    FrozenKTO,
    IPOLoss,
    dpo,
    kto_of_the_batch,
    labelled,
    ppo,
    rloo,
)
from llm.conformance import FAULTS, INPUTS, cases, check_loss, from_loss, identify

RIGHT = {**foreign_losses.RIGHT, **foreign_family.RIGHT}
WRONG = {**foreign_losses.WRONG, **foreign_family.WRONG}
ROOT = Path(b.__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def verdict(foreign):
    return check_loss(
        foreign.loss,
        foreign.inputs,
        foreign.against,
        tolerance=foreign.tolerance,
        k=foreign.k,
        reduction=foreign.reduction,
    )


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_loss_passes_in_any_style(name):
    found = verdict(RIGHT[name])
    assert found.ok and found.fault is None, found.message
    assert found.error <= RIGHT[name].tolerance
    found.assert_ok()


def test_ktos_reference_point_of_a_batch_is_said_to_mix_the_batch():
    found = check_loss(kto_of_the_batch, ("log_prob", "reference_log_prob", "label"), FrozenKTO())
    assert not found.ok and found.fault == "mixes the batch"


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_loss_is_named(name):
    found = verdict(WRONG[name])
    assert not found.ok and found.fault in FAULTS
    same = [line for line in found.message.splitlines() if line.startswith("the same function")]
    assert WRONG[name].fault in [found.fault, *", ".join(same).rpartition(": ")[2].split(", ")], found.message
    with pytest.raises(AssertionError, match=found.fault):
        found.assert_ok()


def test_there_are_as_many_as_was_asked_for():
    assert len(RIGHT) == len(foreign_losses.RIGHT) + len(foreign_family.RIGHT) >= 40
    assert len(WRONG) == len(foreign_losses.WRONG) + len(foreign_family.WRONG) >= 80
    assert {each.fault for each in WRONG.values()} <= set(FAULTS)
    told = {each.fault for each in WRONG.values()}
    assert {make.__name__.replace("_", " ") for make in TWINS} - told == {
        "divided by k",  # a constant
        "k1 in reward",  # right, where it is the algorithm's own
        "swapped mixture",  # of an opponent, whom no loss is shown
    }


def test_a_positive_factor_is_no_fault_but_the_scale():
    found = check_loss(lambda *x: 3.5 * dpo(*x), PAIR, b.DPO(0.1))
    assert found.ok and found.scale == pytest.approx(3.5, rel=1e-12)
    assert check_loss(rloo, GROUP, b.RLOO(0.1, k=4)).scale == pytest.approx(1, rel=1e-12)


def test_what_is_another_objective_is_named_as_what_it_optimises():
    found = check_loss(IPOLoss(tau=0.25, reduction="mean"), PAIR, b.DPO(0.1))
    assert found.fault == "another objective" and found.scale == pytest.approx(1)
    assert "IPO(beta=0.25)" in found.message
    found = check_loss(lambda *x: dpo(*x, beta=0.37), PAIR, b.DPO(0.1))
    assert found.fault == "another beta" and "DPO(beta=0.37," in found.message
    found = check_loss(lambda c, r, *_: torch.relu(1 - c + r).mean(), PAIR, b.DPO(0.1))
    assert found.fault == "another objective" and np.isnan(found.scale) and "the nearest is" in found.message


# ---- beta = 1 ----------------------------------------------------------------------------------------------


def without_beta(c, r, rc, rr, beta=1.0):
    return dpo(c, r, rc, rr, beta=1.0)


class Squared(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.beta = 1.0

    def forward(self, *x):
        return dpo(*x, beta=self.beta**2)


@pytest.mark.parametrize(
    ("loss", "fault"),
    [
        (without_beta, "forgotten beta"),
        (functools.partial(lambda *x, beta: dpo(*x, beta=beta**2), beta=1.0), "squared beta"),
        (Squared(), "squared beta"),
        (functools.partial(dpo, beta=1.0), None),
    ],
    ids=["default", "partial", "module", "right"],
)
def test_at_beta_one_a_second_beta_is_tried(loss, fault):
    found = check_loss(loss, PAIR, b.DPO(1.0))
    assert found.fault == fault and "at beta = 0.3" in found.message


def test_at_beta_one_what_cannot_be_seen_is_said():
    found = check_loss(lambda *x: dpo(*x, beta=1.0), PAIR, b.DPO(1.0))
    assert found.ok and "a forgotten or squared beta cannot be seen" in found.message


# ---- a loss as an algorithm --------------------------------------------------------------------------------

WORLD = b.Bandit(
    worlds.MIXED.reward,
    preference=worlds.MIXED.preference,
    reference=worlds.MIXED.reference,
    length=[5, 2, 9],
    desirable=[0.9, 0.2, 0.6],
)


ELSEWHERE = {
    "bfloat16": "rounded",
    "float32": "rounded",
    **dict.fromkeys(
        ("GRPO whole", "capped and detached", "a mean log-ratio", "clip-higher over tokens"),
        "nan where all rewards of a group are equal",
    ),
    "the best of four": "of several that are best it takes the first",
}


@pytest.mark.parametrize("name", [name for name in RIGHT if name not in ELSEWHERE])
def test_on_a_world_it_is_the_algorithm(name):
    """The expected update over all groups, labels as probabilities: exact up to rounding and the scale."""
    foreign = RIGHT[name]
    k = foreign.against.k if "reward" in foreign.inputs else None
    made = from_loss(foreign.loss, foreign.inputs, k=k, reduction=foreign.reduction)
    if made.k != foreign.against.k:
        return  # single answers of a group, whose size the loss does not say
    world = WORLD
    if "reference_log_prob" not in foreign.inputs and "chosen" not in foreign.inputs:
        world = b.Bandit(WORLD.reward, reference=worlds.POLICY)  # its KL is not in the loss
    where = (b.Offline(worlds.BEHAVIOR), worlds.POLICY)
    expected = b.expected_update(foreign.against, world, *where)
    found = b.expected_update(made, world, *where)
    scale = found @ expected / (expected @ expected)
    assert scale > 0
    np.testing.assert_allclose(found, scale * expected, rtol=0, atol=1e-12 * np.abs(found).max())


def test_it_keeps_the_laws_of_algorithms():
    made, case = from_loss(dpo, PAIR), Case(WORLD, b.Offline(worlds.BEHAVIOR), worlds.POLICY)
    laws.never_mutates(made, case)
    laws.does_not_mix_the_batch(made, case)
    laws.descends_its_loss(made, case)


def test_its_loss_is_that_of_each_group():
    losses = {"mean": dpo, "none": IPOLoss()}
    for reduction, loss in losses.items():
        right = b.DPO(0.1) if reduction == "mean" else b.IPO(0.1)
        made = from_loss(loss, PAIR, reduction=reduction)
        where = (WORLD, b.Offline(worlds.BEHAVIOR), worlds.POLICY)
        np.testing.assert_allclose(b.expected_loss(made, *where), b.expected_loss(right, *where), rtol=1e-12)


def test_identify_is_the_report_of_the_loss_as_an_algorithm(monkeypatch):
    asked = []
    monkeypatch.setattr(b, "report", lambda algorithm: asked.append(algorithm) or "its report")
    assert identify(IPOLoss(), PAIR, reduction="none") == "its report"
    assert asked == [from_loss(asked[0].function, PAIR, reduction="none")]


def test_a_report_knows_a_loss_by_its_kin_and_infers_its_beta():
    found = b.report(from_loss(dpo, PAIR), worlds.REWARDS, b.Offline(worlds.BEHAVIOR))
    assert found.beta == pytest.approx(0.1, rel=1e-6)  # from where it ends
    assert (found.kin, found.agreement) == ("DPO", "equal")
    assert found.rows[0].unique


def test_torch_in_torch_out():
    made = from_loss(rloo, GROUP, k=3)
    arrays = dict(zip(GROUP, np.random.default_rng(0).normal(size=(3, 5, 3)), strict=True))
    numbers = made.update(b.Samples(**arrays)).log_prob
    tensors = made.update(b.Samples(**{n: torch.tensor(x) for n, x in arrays.items()})).log_prob
    assert isinstance(numbers, np.ndarray) and torch.is_tensor(tensors)
    np.testing.assert_array_equal(numbers, tensors.numpy())


# ---- bad input: one error, or a line of the verdict --------------------------------------------------------


def dropout(c, r, rc, rr):
    return dpo(F.dropout(c, 0.5), r, rc, rr)


def into_numpy(c, r, rc, rr):
    return torch.as_tensor(np.asarray(dpo(c, r, rc, rr).detach()))


REFUSED = {
    "random": (dropout, PAIR, {}, "two calls gave .* it draws random numbers"),
    "not differentiable": (into_numpy, PAIR, {}, "must be differentiable in chosen and rejected"),
    "compares": (lambda c, r, *_: (c > r).double().mean(), PAIR, {}, "leave out detach"),
    "item": (lambda *x: dpo(*x).item(), PAIR, {}, "must return a tensor, but it returned .*item"),
    "detached": (
        lambda c, r, rc, rr: dpo(c.detach(), r.detach(), rc, rr) * torch.ones(1, requires_grad=True),
        PAIR,
        {},
        "no gradient reaches it",
    ),
    "zero": (lambda *x: 0 * dpo(*x), PAIR, {}, "it is zero everywhere"),
    "infinite": (lambda c, *_: (c - c).log().mean(), PAIR, {}, "must be finite, but .* it is -inf"),
    "vector": (IPOLoss(), PAIR, {}, r"one number under reduction='mean', but its shape is \(48,\)"),
    "sum": (lambda *x: 48 * dpo(*x) if len(x[0]) == 48 else len(x[0]) * dpo(*x), PAIR, {}, "'sum'"),
    "mean": (dpo, PAIR, {"reduction": "sum"}, "takes their mean; pass reduction='mean'"),
    "reduction": (dpo, PAIR, {"reduction": "batchmean"}, "must be one of mean, sum, none"),
    "unnamed": (dpo, ("chosen", "rejected"), {}, "missing a required argument: 'ref_chosen'"),
    "too many": (lambda c, r: (r - c).mean(), PAIR, {}, "too many positional arguments"),
    "unknown": (dpo, ("chosen", "rejected", "ref", "refs"), {}, "one is 'ref'; choose of chosen, rejected"),
    "a string": (dpo, "chosen", {}, "must be a sequence of names"),
    "twice": (dpo, ("chosen", "rejected", "chosen"), {}, "'chosen' stands there twice"),
    "mixed": (dpo, ("chosen", "rejected", "reward"), {}, "those of pairs, .* or those of answers"),
    "untrained": (dpo, ("reference_log_prob", "reward"), {}, "or those of answers, with log_prob"),
    "half a mask": (dpo, ("chosen", "rejected", "chosen_mask"), {}, "both masks of a pair or none"),
    "k": (dpo, PAIR, {"k": 3}, "k must be that of against, 2, but k = 3"),
    "no function": (0.5, PAIR, {}, "must be a function of tensors, but loss = 0.5"),
    "tolerance": (dpo, PAIR, {"tolerance": 0}, "tolerance must be a positive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_error(name):
    loss, inputs, given, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        check_loss(loss, inputs, b.DPO(0.1), **given)


def test_groups_of_another_size_are_refused():
    with pytest.raises(ValueError, match="must look at 2 samples"):
        check_loss(dpo, PAIR, b.PolicyGradient(0.1))
    with pytest.raises(ValueError, match="must look at 1 sample"):
        check_loss(labelled, ("log_prob", "reference_log_prob", "label"), b.RLOO(0.1))
    with pytest.raises(ValueError, match="k must be 2 for pairs"):
        from_loss(dpo, PAIR, k=3)
    with pytest.raises(ValueError, match="labelled one by one"):
        from_loss(labelled, ("log_prob", "reference_log_prob", "label"), k=2)


def test_what_against_lacks_is_its_own_error():
    with pytest.raises(ValueError, match=r"samples\.population is None"):
        check_loss(lambda p, q, r: -(r * p).mean(), GROUP, b.DRO(0.1))
    with pytest.raises(ValueError, match="CoPG"):
        check_loss(dpo, PAIR, b.CoPG)


def test_an_ignored_input_is_a_line_of_the_verdict():
    found = check_loss(lambda c, r, rc, rr: dpo(c, r, 0 * rc, 0 * rr), PAIR, b.DPO(0.1))
    assert "it ignores its input reference_chosen" in found.message
    right = check_loss(lambda *x: dpo(*x[:4]), MASKED[:4], b.DPO(0.1))
    assert "ignores" not in right.message


def test_a_mixed_batch_is_a_line_of_the_verdict():
    found = check_loss(lambda c, r, *_: F.softplus(-(c - r) / (c - r).std()).mean(), PAIR, b.DPO(0.1))
    assert found.fault == "mixes the batch" and np.isnan(found.scale)


def test_every_input_is_shown_as_it_is_said_to_be():
    """Shapes and types, by the names."""
    seen = {}

    def watch(names):
        def loss(*tensors):
            seen.update(zip(names, tensors, strict=True))
            return sum(x.sum() for x in tensors)

        return loss

    samples = {n: np.random.default_rng(1).normal(size=(5, 3)) for n in (*GROUP, "behavior_log_prob")}
    samples["length"] = np.array([[1.0, 2, 3]] * 5)
    answers = ("log_prob", "old_log_prob", "reference_log_prob", "reward", "advantage", "mask")
    from_loss(watch(answers), answers, k=3).update(b.Samples(**samples))
    assert {n: tuple(x.shape) for n, x in seen.items()} == {
        "log_prob": (5, 3, 3),
        "old_log_prob": (5, 3, 3),
        "reference_log_prob": (5, 3, 3),
        "mask": (5, 3, 3),
        "reward": (5, 3),
        "advantage": (5, 3),
    }
    assert all(x.dtype == torch.float64 for x in seen.values())
    torch.testing.assert_close(seen["advantage"].mean(-1), torch.zeros(5, dtype=torch.float64))
    sums = (seen["log_prob"] * seen["mask"]).sum(-1)
    np.testing.assert_allclose(sums.detach(), samples["log_prob"], rtol=1e-14)
    assert set(answers) | set(MASKED) | {"label"} == set(INPUTS)
    flat = b.Samples(**{n: x[:, :2] for n, x in samples.items()})
    from_loss(watch(SURROGATE), SURROGATE).update(flat)
    assert tuple(seen["log_prob"].shape) == (10,)


# ---- the confusion matrix, a sample of it ------------------------------------------------------------------


def test_every_twin_is_called_by_its_name():
    """One seed of all claims; all of it: python tests/campaigns/confusion.py 200."""
    sys.path.insert(0, str(ROOT / "tests" / "campaigns"))
    try:
        import confusion
    finally:
        sys.path.pop(0)
    counts = {name: confusion.verdicts(name, range(7, 8)) for name in confusion.CLAIMS}
    assert {name: mistaken for name, (_, mistaken) in counts.items() if mistaken} == {}
    assert sum(count for count, _ in counts.values()) > 250


# ---- with torch alone, and as a reader would ---------------------------------------------------------------

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("transformers", "datasets", "accelerate", "tokenizers", "hypothesis"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""

ALONE = (
    BLOCKED
    + """
import torch
from bandits import DPO, Samples
from llm import alignment_loss
from llm.conformance import check_loss, from_loss

def dpo(c, r, rc, rr):
    return -torch.nn.functional.logsigmoid(0.1 * (c - r - rc + rr)).mean()

inputs = ("chosen", "rejected", "reference_chosen", "reference_rejected")
check_loss(dpo, inputs, against=DPO(beta=0.1)).assert_ok()
assert check_loss(lambda *x: -dpo(*x), inputs, against=DPO(beta=0.1)).fault == "flipped sign"
zeros = torch.zeros(2, dtype=torch.float64)
alignment_loss(DPO(0.1), Samples(log_prob=zeros.requires_grad_(), reference_log_prob=zeros.detach(),
                                 preference=torch.tensor([[0.5, 1.0], [0.0, 0.5]])))
try:
    from llm import load_model
except ImportError as error:
    assert "llm.load_model needs" in str(error) and "alignment-bandits[llm]" in str(error), error
else:
    raise AssertionError("it was not blocked")
"""
)


def test_with_torch_alone_losses_are_checked():
    run = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, env=ENVIRONMENT)
    assert run.returncode == 0, run.stderr


def readme_example() -> str:
    """The complete example for authors of trainers."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    [example] = [block for block in blocks if "llm.conformance" in block]
    return example


def test_the_readmes_example_runs_in_a_folder_outside_the_repository(tmp_path):
    """It passes; with a slip in its loss it fails, and the report of the test has the fault's name."""
    right = readme_example()
    assert len(right.splitlines()) <= 15
    (tmp_path / "test_my_loss.py").write_text(right)
    wrong = right.replace("chosen - rejected", "rejected - chosen")
    assert wrong != right
    (tmp_path / "test_my_wrong_loss.py").write_text(wrong)
    command = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", "-pno:nbmake"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
    assert "1 failed, 7 passed" in run.stdout, run.stdout
    assert "test_my_wrong_loss.py" in run.stdout


@pytest.mark.parametrize("slip", ["usable", "company", "inputs", "gradient"])
def test_each_law_of_cases_catches_its_own(slip):
    losses = {
        "usable": (dropout, PAIR, "random numbers"),
        "company": (lambda c, r, *_: F.softplus((r - c) / c.std()).mean(), PAIR, "mixes the batch"),
        "inputs": (lambda c, r, *_: dpo(c, r, 0, 0), PAIR, "ignores its input reference_chosen"),
        "gradient": (lambda *x: -dpo(*x), PAIR, "flipped sign"),
    }
    loss, inputs, words = losses[slip]
    broken = []
    for each in cases(loss, inputs, against=b.DPO(0.1)):
        (law,) = each.values
        try:
            law()
        except (AssertionError, ValueError) as error:
            broken.append(str(error))
    assert any(words in message for message in broken)
    for each in cases(ppo, SURROGATE, against=b.PPO(0.1)):
        each.values[0]()


def test_every_fault_says_what_it_is():
    assert all(len(meaning) > 10 for meaning in FAULTS.values())
    assert [name for name in FAULTS if "_" in name] == []
