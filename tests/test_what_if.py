"""Every figure answers "what if": its `run` takes the numbers of its question, from the command line too."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest

from bandits.__main__ import KNOWN, main
from bandits.experiments import copg_toy, lock_in, robustness, what_if
from bandits.experiments.record import as_json

FIGURES = Path(__file__).parents[1] / "figures"
# Every keyword at another value than the papers', in sizes that take less than a second.  The other figures
# take more even so: of them only the text is read.
OTHERWISE: dict[str, dict[str, Any]] = {
    "armac": {"iterations": 20},
    "averages": {"beta": 0.8, "seed": 5},
    "best_of_n": {"sizes": (1, 3), "arms": 30, "seed": 1},
    "convergence": {"beta": 0.7, "reward": (0.5, 0.2, 0.6, -0.3, 0.4, -0.9), "bridge": 0.1},
    "copg_toy": {"beta": 0.3, "pairs": 50, "batch_size": 8, "learning_rate": 0.01, "epochs": 3, "seeds": 2},
    "coverage": {"beta": 0.7, "reward": (1.0, 2.4, 2.0)},
    "data_sets": {
        "betas": (0.2, 0.6),
        "beta": 0.7,
        "steps": 400,
        "batch_size": 3,
        "learning_rate": 0.02,
        "seeds": 2,
    },
    "difficulty": {"k": 3},
    "dro_kto": {
        "beta": 0.4,
        "liked": (0.8, 0.7, 0.3, 0.1),
        "reference": (0.2, 0.2, 0.3, 0.3),
        "steps": 500,
    },
    "elo_and_dice": {"beta": 0.2, "mu": (0.5, 0.2, 0.3)},
    "favourites": {"beta": 0.1, "mu": (0.5, 0.3, 0.2)},
    "goodhart": {"worlds": 2, "comparisons": 100, "correlation": 0.5, "width": 1.0},
    "iterative_dpo": {"beta": 0.7, "smoothing": 0.2, "rounds": 2},
    "map_of_ends": {
        "beta": 0.7,
        "reward": (1.0, 0.5, 0.1),
        "reference": (0.3, 0.3, 0.4),
        "mu": (0.2, 0.3, 0.5),
    },
    "misspecified": {"beta": 0.7, "reward": (1.0, 0.9, 0.2, -0.4)},
    "overfitting": {"betas": (0.5, 2.0), "reward": (1.0, 0.5, 0.0), "data_sets": 20},
    "raft_noise": {"noise": (0.0, 0.5), "errors": 5, "runs": 2},
    "representations": {"starts": 5, "pairs": 2, "seed": 4},
    "robustness": {"beta": 0.3},
    "sgd_noise": {
        "beta": 0.7,
        "learning_rate": 0.2,
        "reward": (1.0, 0.8, 0.0),
        "mu": (0.3, 0.3, 0.4),
        "steps": 50,
        "runs": 10,
    },
    "sppo": {"learning_rate": 0.5, "beta": 0.05, "start": (0.4, 0.35, 0.25), "rounds": 40},
    "variance": {"beta": 0.7, "reward": (2.0, 1.5, 1.0)},
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_other_numbers_give_another_record_and_a_picture(name: str) -> None:
    numbers, experiment = OTHERWISE[name], KNOWN[name]
    assert numbers.keys() == what_if.keywords(experiment).keys()
    result = experiment.run(**numbers)
    found = json.loads(as_json(result, []))["result"]
    assert found != json.loads((FIGURES / f"{name}.json").read_text())["result"]
    assert experiment.draw(result).axes
    plt.close("all")


@pytest.mark.parametrize("name", KNOWN)
def test_every_keyword_is_read_documented_and_said_as_the_command_line_takes_it(name: str) -> None:
    experiment = KNOWN[name]
    defaults = what_if.keywords(experiment)
    assert defaults and what_if.asked(experiment, what_if.options(experiment).split()) == defaults
    documented = inspect.cleandoc(experiment.run.__doc__ or "").partition("Args:")[2]
    assert all(f"\n    {keyword}: " in documented for keyword in defaults)
    nodes = ast.walk(ast.parse(inspect.getsource(experiment.run)))
    assert defaults.keys() <= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def test_the_command_line_asks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The numbers arrive, in a file whose name says them; no claims are checked, and that is said."""
    assert main(["figures", "robustness", "--beta", "0.3", "--folder", str(tmp_path), "--quiet"]) == 0
    plt.close("all")
    assert "no claims were checked" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"robustness_beta=0.3.{e}" for e in ("json", "svg")
    ]
    record = json.loads((tmp_path / "robustness_beta=0.3.json").read_text())
    assert record["asked"] == {"beta": 0.3} and record["claims"] == []
    assert record["result"] == json.loads(as_json(robustness.run(beta=0.3), []))["result"]
    svg = ElementTree.parse(tmp_path / "robustness_beta=0.3.svg").getroot()
    assert "What if beta = 0.3?" in svg.findtext("{http://www.w3.org/2000/svg}title", "")


def test_committed_figures_are_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder what was asked goes to what_if/, and in a named one it has a name of its own."""
    monkeypatch.chdir(tmp_path)
    assert main(["figures", "robustness", "--beta=0.3", "--quiet"]) == 0
    plt.close("all")
    assert sorted(path.name for path in Path("what_if").iterdir()) == [
        "robustness_beta=0.3.json",
        "robustness_beta=0.3.svg",
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "what_if"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["copg_toy", "--gamma", "0.3"],
            "'--gamma' is not asked here; copg_toy takes --beta 0.5 --pairs 10000",
        ),
        (["copg_toy", "--beta", "much"], "invalid float value: 'much'"),
        (["copg_toy", "--beta"], "expected one argument"),
        (["copg_toy", "--seeds", "2.5"], "invalid int value: '2.5'"),
        (["copg_toy", "--beta", "-1"], "beta"),
        (["copg_toy", "lock_in", "--beta", "1"], "asked of one figure"),
        (["--beta", "1"], "no figure is called '1'"),
        (["no_such", "--beta", "1"], "no figure is called 'no_such'"),
    ],
)
def test_what_cannot_be_asked_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["figures", *words, "--quiet"]) == 2
    assert said in capsys.readouterr().err


def test_other_commands_take_no_unknown_words(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["algorithms", "--beta", "1"])
    assert "unrecognized arguments: --beta 1" in capsys.readouterr().err


def test_words_are_typed_as_the_defaults() -> None:
    """Underscores as in Python or hyphens as on command lines; negative numbers are numbers."""
    words = ["--learning_rate", "1e-2", "--batch-size", "8"]
    assert what_if.asked(copg_toy, words) == {"batch_size": 8, "learning_rate": 0.01}
    assert what_if.asked(lock_in, ["--reward", "-1", "2", "-.5"]) == {"reward": (-1.0, 2.0, -0.5)}
