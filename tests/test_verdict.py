"""The verdict: is what the card says of an algorithm what theory says of it?"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bandits as b
import worlds
from bandits import Report, report
from bandits.testing.enumeration import Case
from bandits.verdict.worlds import adversarial_worlds
from rows import every_row

OFFLINE = b.Offline(worlds.BEHAVIOR)


class Mine:
    """A plain object around an update, perhaps scaled: nothing of it is known."""

    def __init__(self, algorithm, scale: float = 1.0) -> None:
        self.algorithm, self.k, self.scale = algorithm, algorithm.k, scale

    def update(self, samples):
        return b.Update(log_prob=self.scale * self.algorithm.update(samples).log_prob)


# ---- the record --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_a_readers_dpo() -> Report:
    return report(Mine(b.DPO(0.7)), [worlds.RARE, worlds.GAME], [OFFLINE, b.OnPolicy()])


def test_a_report_goes_to_json_and_back_bit_by_bit(of_a_readers_dpo):
    text = of_a_readers_dpo.to_json()
    again = Report.from_json(text)
    assert again.to_json() == text and str(again) == str(of_a_readers_dpo)
    for row, read in zip(of_a_readers_dpo.rows, again.rows, strict=True):
        assert_array_equal(row.policy, read.policy)
        assert (row.regret, row.residual) == (read.regret, read.residual)


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"rows": [{}]}'])
def test_text_that_is_no_report_is_refused(text):
    with pytest.raises(ValueError, match="text must be what"):
        Report.from_json(text)


def test_a_report_is_frozen_and_its_arrays_are_read_only(of_a_readers_dpo):
    with pytest.raises(AttributeError):
        of_a_readers_dpo.end = "optimum"
    with pytest.raises(ValueError, match="read-only"):
        of_a_readers_dpo.rows[0].policy[0] = 1.0


# ---- whose kin ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 3.5, -1.0])
def test_a_planted_copy_is_recognised_with_its_scale(scale):
    found = report(Mine(b.IPO(0.7), scale), worlds.MIXED, OFFLINE, beta=0.7)
    assert (found.kin, found.agreement) == ("IPO", "equal" if scale == 1 else "proportional")
    assert_allclose(found.scale, scale, rtol=1e-12)


# ---- bad input ---------------------------------------------------------------------------------------------


def test_a_world_too_large_is_refused_before_anything_is_allocated():
    many = b.Bandit(np.zeros(100_000))
    with pytest.raises(ValueError, match=r"100000 arms, 5e\+09 different groups .* k = 2.* fewer arms"):
        report(b.IPO(1.0), many)


# ---- every algorithm of the package ------------------------------------------------------------------------

BETA = 0.5
FIRST = adversarial_worlds()[0].bandit  # Bradley-Terry of log 1, 2, 6; uneven reference and lengths
SKEWED = b.Offline([0.6, 0.25, 0.15])
EXACT_DATA = b.Dataset([(1, 0)] * 2 + [(0, 1)] + [(2, 0)] * 6 + [(0, 2)] + [(2, 1)] * 3 + [(1, 2)])


def laws_for(algorithm) -> list:
    """On-policy, a skewed sampler, and data whose shares are those of Bradley-Terry, as far as they fit."""
    if getattr(algorithm, "needs_on_policy", False):
        return [b.OnPolicy()]
    return [b.OnPolicy(), SKEWED] + [EXACT_DATA] * (algorithm.k == 2)


@pytest.mark.parametrize(("name", "row"), every_row().items(), ids=every_row())
def test_the_card_says_what_theory_says(name, row):
    """Ends, targets, bias, blindness, loss and kin, all from the algorithm's own row."""
    algorithm = row.make(BETA)
    rules = laws_for(algorithm)
    card = report(algorithm, FIRST, rules, beta=BETA)
    for rule, found in zip(rules, card.rows, strict=True):
        known = row.ends["on-policy" if rule.on_policy else "elsewhere"]
        assert found.end in ((known,) if isinstance(known, str) else known)
        _check_the_end(algorithm, row, rule, found)
    assert card.blind["relabelling of arms"]
    assert card.loss_agrees == (True if row.has_loss else None)
    if row.reads("reward"):
        assert card.blind["shifts of the reward"] == (not row.sees_offset)
    if getattr(algorithm, "contrastive", False):
        assert card.blind["shifts of a prompt's log-probabilities"]
    assert (card.kin, card.agreement) == (type(algorithm).__name__, "equal")
    assert_allclose(card.scale, 1.0, rtol=1e-12)


def _check_the_end(algorithm, row, rule, found) -> None:
    """Its policy where the row has a formula, its residual, and its bias against grad J."""
    if found.end.startswith("none"):
        assert not found.unique and not found.attractors
        return
    if found.residual is not None:
        assert found.residual < 1e-10
    if row.target is not None and not rule.on_policy:
        case = Case(bandit=FIRST, sampling=rule, policy=found.policy)
        assert found.unique
        assert_allclose(found.policy, row.target(algorithm, case), rtol=0, atol=1e-8)
    if row.climbs is not None and rule.on_policy:
        case = Case(bandit=FIRST, sampling=rule, policy=worlds.POLICY)
        climbs_reward = row.climbs(algorithm, case)[1] is FIRST.reward
        assert (found.bias < 1e-12) == climbs_reward
    assert_allclose(found.kl, (found.policy * safe_log(found.policy / FIRST.reference)).sum(), atol=1e-12)
    if row.ends["on-policy"] == found.end == "optimum":
        assert found.regret < 1e-15


def safe_log(x):
    """log, with 0 for 0: 0 log 0 = 0."""
    return np.log(np.where(x > 0, x, 1.0))
