"""The verdicts on real trainers: whole, in step with the code, and what can be had without the trainers anew.

The trainers themselves are run by `make verdicts`, in the environment of the benchmarks.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import bandits as b
from verdicts import formulas
from verdicts.ends import where_it_ends
from verdicts.judged import compared, groups_of, judged, ours, theirs
from verdicts.pair_algorithms import discopop
from verdicts.report import markdown, text, why
from verdicts.rows import BETA, ROWS
from verdicts.world import K, World

ROOT = Path(__file__).parents[2]
FOUND = json.loads((ROOT / "figures" / "verdicts.json").read_text(encoding="utf-8"))
RECORDS = FOUND["rows"]
PAIRED = list(zip(ROWS, RECORDS, strict=True))
SHOWN_ALONE = [each for each in PAIRED if each[0].how == "formula"]
ENDING = [each for each in PAIRED if each[0].kind != "groups" and each[1]["policy"] is not None]


def named(pair: tuple) -> str:
    row, _ = pair
    return f"{row.library} {row.name}"


@cache
def world() -> World:
    return World()


def test_the_record_is_of_the_rows_as_they_are():
    """In their order, with the same algorithms, claims and places; no row stands there twice."""
    assert len({named(each) for each in PAIRED}) == len(PAIRED) > 80
    for row, found in PAIRED:
        for name in ("library", "name", "source", "how", "claim", "notes"):
            assert found[name] == getattr(row, name), named((row, found))
        assert found["against"] == (None if row.against is None else text(row.against))
        assert found["named"] == (None if row.named is None else text(row.named))
        assert found["why"] == why(row)


def test_every_row_names_an_algorithm_of_bandits_or_says_why_not():
    for _, found in PAIRED:
        assert found["in_bandits"] != bool(found["why"]), found["name"]
        assert (found["against"] is None) == (found["agreement"] is None)
    assert sum(found["in_bandits"] for found in RECORDS) > 30


def test_what_agrees_does_so_within_the_rounding_of_its_kind():
    """Float32 inside the trainers; double elsewhere, and a divisor of 1e-8."""
    most = {"run": 1e-4, "function": 1e-6, "formula": 1e-9}
    for row, found in PAIRED:
        if found["agreement"] is not None:
            assert found["agreement"] in ("each group", "in expectation"), found["name"]
            assert found["error"] <= most[row.how] and found["scale"] > 0
        if found["rests_within"] is not None:
            assert found["rests_within"] <= most[row.how], found["name"]


def test_a_difference_from_its_name_is_measured_and_confirmed_by_a_second_program():
    differing = [(row, found) for row, found in PAIRED if found["named"] is not None]
    assert len(differing) >= 9
    for row, found in differing:
        assert found["named_agreement"] == "no" and found["named_error"] > 1e-3, found["name"]
        if row.how != "formula":
            assert found["confirmed"] is not None and found["confirmed"] <= 1e-4, found["name"]


def test_the_versions_are_those_that_are_pinned():
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    assert set(FOUND["versions"]) == {"trl", "openrlhf", "verl", "torch", "transformers"}
    for name, version in FOUND["versions"].items():
        assert version.partition("+")[0] == pins[name]


def test_the_table_is_made_of_the_record():
    assert (ROOT / "figures" / "verdicts.md").read_text(encoding="utf-8") == markdown(FOUND)


@pytest.mark.parametrize("pair", SHOWN_ALONE, ids=named)
def test_formulas_give_today_what_is_written(pair):
    row, written = pair
    found = judged(world(), row)
    for agreement, prefix in zip(found.agreements, ("", "named_"), strict=False):
        assert agreement.word == written[f"{prefix}agreement"]
    if row.against is not None:
        np.testing.assert_allclose(found.agreements[0].scale, written["scale"], rtol=1e-5)
    if row.named is not None:  # written to two digits
        np.testing.assert_allclose(found.agreements[-1].error, written["named_error"], rtol=0.05)


@pytest.mark.parametrize("pair", ENDING, ids=named)
def test_ends_on_pairs_and_labels_are_those_of_bandits_today(pair):
    """The policy that the trainer was put at; six digits are written."""
    row, written = pair
    found = where_it_ends(world(), row, BETA)
    assert found.word == written["end"]
    np.testing.assert_allclose(found.policy, written["policy"], atol=2e-6)


SECONDS = [
    row
    for row, found in PAIRED
    if row.second is not None and row.kind == "groups" and found["agreement"] == "each group"
]


@pytest.mark.parametrize("row", SECONDS, ids=lambda row: row.name)
def test_second_programs_agree_with_the_algorithms_without_any_trainer(row):
    """Loops over tokens and autograd, against coefficients, in some groups; the name's is told apart."""
    w = world()
    groups = w.groups(w.sampler).some(torch.arange(0, 84, 7))
    gradient = row.second(w)
    each = [-gradient(groups.some(torch.tensor([i])), w.policy, w.sampler) for i in range(len(groups))]
    for algorithm, word in ((row.against, "each group"), (row.named, "no")):
        if algorithm is not None:
            known = ours(w, algorithm, groups, w.policy, w.sampler)
            assert compared(groups, torch.stack(each), known, 1e-9).word == word


def test_a_second_program_agrees_in_expectation_without_any_trainer():
    """The KL that each token pays for itself, over all groups of the policy: not the KL of answers."""
    [row] = [row for row in ROWS if row.name.endswith("kl_loss_type=k3+")]
    found = judged(world(), replace(row, loss=row.second, how="formula"))
    assert [each.word for each in found.agreements] == ["in expectation", "no"]


def test_a_wrong_sign_another_beta_and_another_loss_are_no_agreement():
    rows = {row.name: row for row in ROWS if row.how == "formula"}
    right = rows["preference_loss"]
    groups, found = theirs(world(), right, world().policy, world().policy)
    known = ours(world(), b.DPO(BETA), groups, world().policy, world().policy)
    assert compared(groups, found, known, 1e-9).word == "each group"
    assert compared(groups, -found, known, 1e-9).word == "no"
    for other in (b.DPO(2 * BETA), b.IPO(BETA), b.DPO(BETA, smoothing=0.1)):
        assert judged(world(), replace(right, against=other)).agreements[0].word == "no"
    wrong = formulas.of_samples(lambda s: formulas.dpo(BETA)(s) + 1e-3 * s.log_prob.mean())
    assert judged(world(), replace(right, loss=wrong)).agreements[0].word == "no"


def test_discopops_loss_rises_at_the_reference():
    """(log 1/2 + 1) / (4 tau) - 1/2 sigma(0) - 1/2 at tau = 0.05, and by central differences."""
    slope = float(discopop.slope(np.array(0.0)))
    np.testing.assert_allclose(slope, (np.log(0.5) + 1) / 0.2 - 0.75, rtol=1e-12)
    rise = (discopop.value(np.array(1e-5)) - discopop.value(np.array(-1e-5))) / 2e-5
    np.testing.assert_allclose(slope, rise, rtol=1e-6)  # the third derivative is some thousand
    [words] = [row.notes for row in ROWS if "discopop" in row.name]
    assert f"{slope:.3f}" in words


def test_the_world_is_what_it_says():
    """Groups weigh one; policy and sampler differ so that clips bind, on both sides and beyond three."""
    w = world()
    for kind in ("pairs", "answers", "groups"):
        np.testing.assert_allclose(groups_of(w, kind, w.sampler).weight.sum(), 1, rtol=1e-12)
    assert w.groups(w.sampler).arms.shape[1] == K
    ratio = torch.exp(w.table(w.policy) - w.table(w.sampler))[w.mask]
    bad = w.reward < w.reward.mean()
    assert ratio.min() < 0.8 and ratio.max() > 3
    assert np.exp(w.log_policy(w.policy) - w.log_policy(w.sampler))[bad].max() > 3
