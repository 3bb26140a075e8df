"""Laws of the demo's figures: a method a panel, its beta said to be chosen on the prompts that are shown."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest

from grey import alike_in_grey
from llm.demo import figures
from llm.figures import policies

METRICS = json.loads((Path(__file__).parent / "demo_metrics.json").read_text())  # of a run on titles
LOGS = {  # of watched prompts, 2 looks a run; what else a trainer logs is not drawn
    (run["method"], run["beta"]): [
        {
            "step": step,
            "eval_rise": step * rise,
            "eval_rise_low": step * rise - 1,
            "eval_rise_high": step * rise + 1,
        }
        for step in (0, 10)
        for rise in (run["rise_over_reference"]["mean"],)
    ]
    + [{"step": 5, "reward": 0.0}]
    for run in METRICS["runs"]
}
DRAWN = {
    "training": lambda: figures.training(METRICS, LOGS),
    "comparison": lambda: figures.comparison(METRICS, LOGS),
    "beta": lambda: figures.reward_against_beta(METRICS),
    "frontier": lambda: figures.frontier(METRICS),
    "best": lambda: figures.best_betas(METRICS),
}


@pytest.fixture(autouse=True)
def house_style():
    with figures.style.house_style():
        yield
    plt.close("all")


@pytest.mark.parametrize("name", ["training", "comparison", "beta", "frontier"])
def test_a_panel_shows_one_method_and_no_two_bands(name):
    """The other methods are thin and grey, without a band or bars."""
    figure = DRAWN[name]()
    methods = [axes.get_title("left").partition(",")[0] for axes in figure.axes]
    assert set(methods) == set(METRICS["best_beta"])
    for axes in figure.axes:
        coloured = {line.get_color() for line in axes.lines} & set(figures.style.HUES[1:-1])
        assert len(coloured) == 1 and len(axes.collections) == 1
    assert not alike_in_grey(figure)


@pytest.mark.parametrize("name", ["comparison", "beta", "frontier", "best"])
def test_a_title_says_that_beta_was_chosen_on_the_prompts_shown(name):
    assert "on these very prompts" in DRAWN[name]().get_suptitle()


def test_the_chosen_beta_is_ringed():
    """At the run of the highest final reward of its method, on both axes."""
    for name, x in (("beta", lambda run: run["beta"]), ("frontier", lambda run: run["kl"]["mean"])):
        for axes, method in zip(DRAWN[name]().axes, METRICS["best_beta"], strict=True):
            best = max(
                (r for r in METRICS["runs"] if r["method"] == method), key=lambda r: r["reward"]["mean"]
            )
            rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
            assert [line.get_xydata().tolist() for line in rings] == [[[x(best), best["reward"]["mean"]]]]


def test_bars_count_the_methods_whose_interval_is_above_zero():
    assert DRAWN["best"]().get_suptitle().startswith("Above 0 for 4 of 4 methods")


def test_policies_have_markers_of_their_own(tmp_path, monkeypatch):
    """Nine points, one more than there are hues."""
    run = METRICS["runs"][0]
    found = {f"run{i}": {"kl": run["kl"], "reward": run["reward"]} for i in range(9)}
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    seen = []
    monkeypatch.setattr(
        "llm.figures.with_legend", lambda figure: seen.append(alike_in_grey(figure)) or figure
    )
    assert ElementTree.parse(policies(tmp_path)).getroot() is not None
    assert seen == [[]]
