"""The verdict: is what the card says of an algorithm what theory says of it?"""

from __future__ import annotations

import json
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis.errors import HypothesisDeprecationWarning, UnsatisfiedAssumption
from numpy.testing import assert_allclose, assert_array_equal

import bandits as b
import worlds
from bandits import Report, report
from bandits.__main__ import main
from bandits.plots.style import svg_bytes
from bandits.testing.enumeration import Case
from bandits.verdict.blind import blindness
from bandits.verdict.claims import probes
from bandits.verdict.ends import End
from bandits.verdict.how import unseen_arms
from bandits.verdict.worlds import Trial, adversarial_worlds
from campaigns import ends_alike
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


def laws_for(algorithm, settles: bool) -> list:
    """On-policy, a skewed sampler, and data whose shares are those of Bradley-Terry, as far as they fit.

    One fixed law is enough for those that slide: it takes seconds to tell.
    """
    if getattr(algorithm, "needs_on_policy", False):
        return [b.OnPolicy()]
    return [b.OnPolicy(), SKEWED] + [EXACT_DATA] * (algorithm.k == 2 and settles)


@pytest.mark.parametrize(("name", "row"), every_row().items(), ids=every_row())
def test_the_card_says_what_theory_says(name, row):
    """Ends, targets, bias, blindness, loss and kin, all from the algorithm's own row."""
    algorithm = row.make(BETA)
    rules = laws_for(algorithm, row.settles)
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
        _check_the_target(
            row.target, algorithm, Case(bandit=FIRST, sampling=rule, policy=found.policy), found
        )
    if row.climbs is not None and rule.on_policy:
        case = Case(bandit=FIRST, sampling=rule, policy=worlds.POLICY)
        climbs_reward = row.climbs(algorithm, case)[1] is FIRST.reward
        assert (found.bias < 1e-12) == climbs_reward
    assert_allclose(found.kl, (found.policy * safe_log(found.policy / FIRST.reference)).sum(), atol=1e-12)
    if row.ends["on-policy"] == found.end == "optimum":
        assert found.regret < 1e-15


def _check_the_target(target, algorithm, case, found) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", HypothesisDeprecationWarning
            )  # a formula may have its assumptions
            expected = target(algorithm, case)
    except UnsatisfiedAssumption:
        return
    assert found.unique
    assert_allclose(found.policy, expected, rtol=0, atol=1e-8)


def safe_log(x):
    """log, with 0 for 0: 0 log 0 = 0."""
    return np.log(np.where(x > 0, x, 1.0))


# ---- wrong twins and liars ---------------------------------------------------------------------------------


class SwappedReference:
    """DPO with policy and reference exchanged where the loss is taken: log ref/pi for log pi/ref."""

    k, beta = 2, BETA

    def update(self, samples):
        swapped = replace(samples, reference_log_prob=2 * samples.log_prob - samples.reference_log_prob)
        return b.DPO(self.beta).update(swapped)


class NoReference:
    """DPO that forgot its reference: right with a uniform one, wrong here."""

    k, beta = 2, BETA

    def update(self, samples):
        return b.DPO(self.beta).update(replace(samples, reference_log_prob=0 * samples.log_prob))


@pytest.mark.parametrize("twin", [SwappedReference, NoReference])
def test_a_wrong_twin_is_neither_at_the_optimum_nor_equal_to_the_right_one(twin):
    card = report(twin(), FIRST, [b.OnPolicy(), SKEWED])
    assert "optimum" not in {row.end for row in card.rows}
    assert (card.kin, card.agreement) != ("DPO", "equal")


def test_with_a_uniform_reference_the_forgotten_one_passes():
    """Why the worlds are uneven."""
    card = report(NoReference(), b.Bandit([1.0, 0.4, 0.0]), SKEWED)
    assert (card.end, card.kin, card.agreement) == ("optimum", "DPO", "equal")


class Heir(b.CoPG):
    """Inherits CoPG's claims, and changes its update: the reward counts for nothing."""

    def update(self, samples):
        return b.CoPG(self.beta).update(replace(samples, reward=0 * samples.reward))


def test_claims_that_the_update_contradicts_are_not_believed():
    card = report(Heir(BETA), FIRST, SKEWED)
    assert card.end == "reference" and "contradict its update" in card.rows[0].note
    assert card.loss_agrees is False


# ---- the moments -------------------------------------------------------------------------------------------


def test_bias_and_variance_are_those_of_every_group_by_hand():
    """Plain loops over all pairs and labels, for DPO under a skewed law; RLOO's step is as long."""
    algorithm, policies = b.DPO(BETA), probes(FIRST)
    steps = [_steps_by_hand(algorithm, policy) for policy in policies]
    means = np.stack([sum(w * s for w, s in each) for each in steps])
    h = np.log(policies / FIRST.reference)
    R = FIRST.reward - BETA * h
    up = policies * (R - (policies * R).sum(-1, keepdims=True))
    s = (means * up).sum() / (up * up).sum()
    row = report(algorithm, FIRST, SKEWED).rows[0]
    assert_allclose(row.bias, np.linalg.norm(means - s * up) / np.linalg.norm(means), rtol=1e-10)
    spread = sum(w * (s @ s) for w, s in steps[0]) - means[0] @ means[0]
    assert_allclose(row.variance, spread, rtol=1e-10)
    rloo = b.expected_update(b.RLOO(BETA), FIRST, SKEWED, policies[0])
    its_own = np.trace(b.update_covariance(b.RLOO(BETA), FIRST, SKEWED, policies[0]))
    assert_allclose(row.variance_rloo, its_own * (means[0] @ means[0]) / (rloo @ rloo), rtol=1e-10)


def _steps_by_hand(algorithm, policy):
    """(probability, step on the logits) of each pair with its label."""
    mu, found = SKEWED.behaviors[0], []
    for i in range(3):
        for j in range(3):
            x = BETA * (np.log(policy[i] / FIRST.reference[i]) - np.log(policy[j] / FIRST.reference[j]))
            p = 1 / (1 + np.exp(FIRST.reward[j] - FIRST.reward[i]))
            for chance, c in ((p, BETA / (1 + np.exp(x))), (1 - p, -BETA / (1 + np.exp(-x)))):
                found.append((mu[i] * mu[j] * chance, c * (np.eye(3)[i] - np.eye(3)[j])))
    return found


def test_the_effective_sample_size_is_that_of_the_weights():
    """1 / E_mu[(pi/mu)^2] for single weighted samples; 1 where nobody is weighted."""
    row = report(b.ImportanceWeighted(b.PolicyGradient(BETA)), FIRST, SKEWED, beta=BETA).rows[0]
    policy, mu = probes(FIRST)[0], SKEWED.behaviors[0]
    assert_allclose(row.ess, 1 / (policy**2 / mu).sum(), rtol=1e-12)
    assert report(b.PolicyGradient(BETA), FIRST, SKEWED).rows[0].ess == 1.0


def test_an_algorithm_without_beta_gets_the_one_that_fits_its_end():
    card = report(Mine(b.IPO(0.37)), worlds.GAME, b.OnPolicy())
    assert card.inferred and card.end == "equilibrium"
    assert_allclose(card.beta, 0.37, rtol=1e-7)


# ---- what makes no difference ------------------------------------------------------------------------------


class Sees:
    """CoPG, unless told to look at one thing more."""

    k, beta = 2, BETA

    def __init__(self, thing: str) -> None:
        self.thing = thing

    def update(self, samples):
        c = b.CoPG(self.beta).update(samples).log_prob
        more = {
            "shifts of the reward": 0.1 * samples.reward,
            "shifts of a prompt's log-probabilities": 0.1 * samples.log_prob,
            "relabelling of arms": 0.1 * samples.arm,
            "nothing": 0.0,
        }
        return b.Update(log_prob=c + more[self.thing])


PLANTED, AT_REST = Trial("first", "skewed", FIRST, SKEWED), End("rests", FIRST.reference)


@pytest.mark.parametrize(
    "thing", ["shifts of the reward", "shifts of a prompt's log-probabilities", "relabelling of arms"]
)
def test_what_is_planted_is_seen_and_nothing_else(thing):
    blind, planted = (blindness(Sees(each), [PLANTED] * 2, [AT_REST] * 2) for each in ("nothing", thing))
    assert blind[thing] and not planted[thing]
    others = blind.keys() - {thing, "who sampled", "scale"}
    assert all(planted[each] for each in others)


def test_an_arm_that_is_never_sampled():
    stay, pushed = (unseen_arms(each, [FIRST]) for each in (b.IPO(BETA), b.ReMax(BETA)))
    assert stay == "their logits stay where they are" and "fall" in pushed


# ---- what comes to no rest ---------------------------------------------------------------------------------


def test_circles_and_slides_end_in_a_verdict():
    wheel = np.full((3, 3), 0.5)
    for (i, j), margin in {(0, 1): 0.3, (1, 2): 0.475, (2, 0): 0.125}.items():
        wheel[i, j], wheel[j, i] = 0.5 + margin, 0.5 - margin
    game = b.Bandit(preference=wheel, reference=[0.02, 0.02, 0.96])
    circle = report(b.NashMD(0.01, mixture=0.4), game, b.OnPolicy())
    assert circle.end == "none: circles" and "one round takes a time of 957" in circle.rows[0].note
    slide = report(b.PPO(0.5), b.Bandit([1.0, 0.0]), b.Offline([0.5, 0.5]))
    assert slide.end == "none: slides" and "arms 0, 1 at it" in slide.rows[0].note
    assert_allclose(
        slide.rows[0].policy, [0.6, 0.4], rtol=0, atol=5e-3
    )  # w = 1.2, by steps of 1e-2 of a logit


@pytest.mark.parametrize("twin", ends_alike.TWINS, ids=lambda twin: twin.__name__)
def test_the_card_and_the_solver_say_the_same_of_a_wrong_twin(twin):
    """Rests at the same policy, or runs away: logits that go apart like log t, or for ever faster."""
    wrong = twin(b.CoPG(0.5))
    if wrong is not None:
        someone_elses, _ = ends_alike.trials(zlib.crc32(twin.__name__.encode()))
        assert ends_alike.differ(wrong, someone_elses) == ""


def test_arms_that_die_ever_more_slowly_are_no_continuum():
    """KTO uphill: one arm takes all like 1/t; where nothing moves in double precision nothing rests."""
    someone_elses, _ = ends_alike.trials(1)
    assert ends_alike.differ(ends_alike.twins.flipped_sign(b.KTO(0.7)), someone_elses) == ""


def test_basins_are_shares_of_the_simplex():
    """Two arms, far baseline: the lock-in's two attractors part the uniform starts between them."""
    world, sampling = b.Bandit([0.4, 0.0], reference=[0.4, 0.6]), b.Offline([0.3, 0.7])
    row = report(Mine(b.PolicyGradient(1.0, baseline=5.0)), world, sampling, beta=1.0).rows[0]
    assert len(row.attractors) == 2 and not row.unique
    assert_allclose(sum(one.share for one in row.attractors), 1.0)
    assert min(one.share for one in row.attractors) > 0


# ---- how it is shown ---------------------------------------------------------------------------------------


def test_names_from_outside_are_escaped_and_no_markup():
    evil = type("<b>[red]me", (), {"k": 2, "beta": BETA, "update": lambda _, s: b.CoPG(BETA).update(s)})
    card = report(evil(), FIRST, SKEWED)
    page = card._repr_html_()
    assert "&lt;b&gt;[red]me" in page and "<b>" not in page
    assert str(card).startswith("<b>[red]me, beta = 0.5\nends: optimum\n")


def test_a_report_that_was_read_draws_the_same(of_a_readers_dpo):
    figures = [card.draw() for card in (of_a_readers_dpo, Report.from_json(of_a_readers_dpo.to_json()))]
    for figure in figures:
        figure.set_layout_engine("none")  # to solve for the margins takes as long as to draw
    assert svg_bytes(figures[0]) == svg_bytes(figures[1])
    assert len(figures[0].axes) == 4


def test_compare_puts_verdicts_side_by_side():
    found = b.compare([b.CoPG(BETA), b.IPO(BETA)], FIRST, [b.OnPolicy(), SKEWED])
    assert [card.end for card in found.reports] == ["optimum", "depends"]
    assert b.Comparison.from_json(found.to_json()).to_json() == found.to_json()
    assert len(found.draw().axes) == 2 and "1 equilibrium" in str(found)
    with pytest.raises(ValueError, match="algorithms must be a list of at least one"):
        b.compare([])
    with pytest.raises(ValueError, match=r"algorithms\[1\] is no algorithm: .* has none"):
        b.compare([b.CoPG(BETA), 3.0], FIRST)


# ---- the command line --------------------------------------------------------------------------------------

WORLD = ["--reward", "1", "0.4", "0", "--reference", "0.2", "0.5", "0.3", "--behavior", "0.6", "0.3", "0.1"]


def test_the_command_line_reports_an_algorithm_of_a_file(tmp_path, monkeypatch, capsys):
    text = "import bandits\nclass Own(bandits.CoPG):\n    pass\n"
    (tmp_path / "my_file.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "my_file:Own", "--beta", "0.5", *WORLD, "--json", "--draw", "own.svg"]) == 0
    card = Report.from_json(capsys.readouterr().out)
    assert (card.algorithm, card.end, card.kin) == ("Own", "optimum", "CoPG")
    assert (tmp_path / "own.svg").read_bytes().startswith(b"<?xml")


def test_the_command_line_solves_and_lists(capsys):
    assert main(["solve", "CoPG", "--beta", "0.5", "--reward", "2.5", "2", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert_allclose(found["policy"], b.Bandit([2.5, 2, 1]).optimal_policy(0.5), rtol=0, atol=1e-14)
    assert main(["figures", "--list"]) == 0
    assert "copg_toy: Does an off-policy algorithm find the optimum?" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and b.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "NoSuch"], "algorithm must be one of PolicyGradient"),
        (["report", "no_file:Mine"], "algorithm must be in a file or a module"),
        (["report", "ALoL", "--beta", "1"], "beta must be left out"),
        (["report", "CoPG"], "algorithm must be made by"),
        (["report", "CoPG", "--beta", "-1"], "beta must be a positive"),
        (["report", "CoPG", "--beta", "1", "--set", "k"], "--set must read NAME=VALUE"),
        (["compare", "CoPG", "--beta", "1", "--reference", "1"], "give its --reward too"),
    ],
)
def test_bad_arguments_of_the_command_line(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
