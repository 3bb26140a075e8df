"""The verdict: is what the card says of an algorithm what theory says of it?"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bandits as b
import worlds
from bandits import Report, report

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
