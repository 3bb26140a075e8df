"""Every figure regenerates: its claims hold, its numbers are the committed ones, its bytes do not vary."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from bandits.__main__ import main
from bandits.experiments import EXPERIMENTS, robustness
from bandits.experiments.record import Claim, as_json, caption, captions, question, table, write
from bandits.plots import simplex, style
from grey import alike_in_grey

FIGURES = Path(__file__).parents[1] / "figures"
NAMES = [experiment.__name__.rpartition(".")[2] for experiment in EXPERIMENTS]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=NAMES)
def test_claims_hold_numbers_are_the_committed_ones_and_curves_differ_in_grey(experiment) -> None:
    result = experiment.run()
    claims = experiment.claims(result)
    wrong = [claim for claim in claims if not claim.ok]
    assert claims and not wrong, table(claims)
    found = json.loads(as_json(result, claims))
    committed = json.loads((FIGURES / f"{experiment.__name__.rpartition('.')[2]}.json").read_text())
    # Six digits are kept; quantities that are zero in theory differ in their rounding between machines.
    assert_same(found["result"], committed["result"])
    assert [c["text"] for c in found["claims"]] == [c["text"] for c in committed["claims"]]
    assert not alike_in_grey(experiment.draw(result))
    plt.close("all")


def test_curves_that_differ_in_colour_alone_are_seen() -> None:
    figure, axes = plt.subplots()
    axes.plot([0, 1], color=style.BLUE, label="a")
    axes.plot([1, 0], color=style.ORANGE, label="b")
    axes.plot([1, 1], color=style.ORANGE, linestyle=(0, (4, 4)), label="c")
    axes.plot([0, 0], color=style.BLUE, marker="o", label="d")
    assert alike_in_grey(figure) == [
        "'b' looks like 'a'",
        "'c' takes its dashes (4, 4) from elsewhere than style.LINES",
    ]
    plt.close("all")


def assert_same(found, committed, where: str = "result") -> None:
    """Two JSON records agree in shape, and in numbers to 1e-4."""
    if isinstance(committed, dict):
        assert found.keys() == committed.keys(), where
        for key in committed:
            assert_same(found[key], committed[key], f"{where}.{key}")
    elif isinstance(committed, list):
        np.testing.assert_allclose(found, committed, rtol=1e-4, atol=1e-6, err_msg=where)
    else:
        assert found == pytest.approx(committed, rel=1e-4, abs=1e-6), where


def test_the_page_of_captions_is_the_docstrings() -> None:
    assert (FIGURES / "README.md").read_text(encoding="utf-8") == captions(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=NAMES)
def test_a_picture_says_what_it_asks_and_shows(experiment) -> None:
    """To a screen reader: `<title>` and `<desc>` of the committed SVG."""
    svg = ElementTree.parse(FIGURES / f"{experiment.__name__.rpartition('.')[2]}.svg").getroot()
    said = [svg.findtext(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("title", "desc")]
    assert said == [question(experiment), caption(experiment)]


def test_numbers_behind_the_twelfth_decimal_are_not_written() -> None:
    """They are rounding, which differs between processors; six digits of everything else are kept."""
    claims = [Claim("a", 1.23456789e-5, 1.23456789e-8, 0), Claim("b", -4e-16, 123456.789, 0)]
    first, second = json.loads(as_json(claims[0], claims))["claims"]
    assert (first["computed"], first["expected"]) == (1.23457e-5, 1.2346e-8)
    assert str(second["computed"]) == "0.0" and second["expected"] == 123457.0


def test_a_changed_number_is_noticed() -> None:
    record = {"policy": {"IPO": [0.25, 0.75]}, "beta": 0.5}
    with pytest.raises(AssertionError):
        assert_same({"policy": {"IPO": [0.2503, 0.7497]}, "beta": 0.5}, record)
    with pytest.raises(AssertionError):
        assert_same(record | {"beta": 0.5001}, record)


@pytest.mark.parametrize("name", NAMES)
def test_committed_figures_are_complete(name: str) -> None:
    svg = (FIGURES / f"{name}.svg").read_text()
    record = json.loads((FIGURES / f"{name}.json").read_text())
    assert svg.startswith("<?xml") and svg.rstrip().endswith("</svg>")
    assert all(claim["ok"] for claim in record["claims"])
    assert set(record["versions"]) == {"numpy", "scipy", "matplotlib"}


def test_equal_results_give_equal_bytes_and_leave_the_callers_style_alone() -> None:
    before = dict(mpl.rcParams)
    result = robustness.run()
    first, second = (style.svg_bytes(robustness.draw(result)) for _ in range(2))
    plt.close("all")
    assert first == second
    assert dict(mpl.rcParams) == before


def test_what_the_first_figure_turns_on_stays_on() -> None:
    """Jupyter's backend is loaded by the first figure, and shows later ones only if `interactive` stays."""
    with mpl.rc_context():
        mpl.interactive(False)
        with style.house_style():
            mpl.interactive(True)
        assert mpl.is_interactive()
        with style.house_style():
            assert mpl.rcParams["font.size"] == style.RC["font.size"]
        assert mpl.is_interactive()


def test_command_line_writes_picture_and_numbers(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["figures", "robustness", "--folder", str(tmp_path), "--quiet"]) == 0
    plt.close("all")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["robustness.json", "robustness.svg"]
    printed = capsys.readouterr().out
    assert "claim" in printed and " NO" not in printed


def test_a_false_claim_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = robustness.claims
    monkeypatch.setattr(
        robustness, "claims", lambda result: [replace(honest(result)[0], expected=0.5), *honest(result)[1:]]
    )
    assert main(["figures", "robustness", "--folder", str(tmp_path), "--quiet"]) == 1
    plt.close("all")
    assert " NO" in capsys.readouterr().out


def test_unknown_figure_and_unwritable_folder_are_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["figures", "no_such"]) == 2
    assert "no_such" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    assert main(["figures", "robustness", "--folder", str(tmp_path / "file" / "inside"), "--quiet"]) == 2
    plt.close("all")
    assert "cannot write" in capsys.readouterr().err


def test_nothing_is_half_written(tmp_path: Path) -> None:
    target = tmp_path / "figure.svg"
    write(target, b"whole")
    target.with_name("figure.svg.part").mkdir()  # the temporary file cannot be made
    with pytest.raises(OSError, match="cannot write"):
        write(target, b"half")
    assert target.read_bytes() == b"whole"


def test_claims_judge_by_their_tolerance() -> None:
    assert Claim("near", 1.01, 1.0, 0.02).ok
    assert not Claim("far", 1.03, 1.0, 0.02).ok
    assert not Claim("not a number", float("nan"), 1.0, 0.02).ok


def test_the_triangle_refuses_what_it_cannot_show() -> None:
    with pytest.raises(ValueError, match="three arms"):
        simplex.project(np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="non-negative"):
        simplex.project(np.array([1.2, -0.1, -0.1]))


def test_triangle_grid_lies_inside_the_simplex() -> None:
    policies = simplex.grid(9)
    np.testing.assert_allclose(policies.sum(axis=1), 1, rtol=1e-14)
    assert (policies > 0).all() and len(policies) == 45
