"""What follows from an algorithm's place in `ALGORITHMS`: its line in the table, its colour, its name."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import bandits
from bandits.__main__ import main
from bandits.algorithms import ALGORITHMS, table
from bandits.plots import style

ROOT = Path(bandits.__file__).parent.parent
PAGE = ROOT / table.HOME


def test_the_table_of_the_book_is_current():
    text = PAGE.read_text(encoding="utf-8")
    assert table.into(text, ALGORITHMS) == text, f"renew it: python -m bandits algorithms --into {table.HOME}"


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_every_card_is_complete(algorithm):
    """Coefficient, end, tags, a source unless it wraps another's, and links that lead somewhere."""
    card = table.card(algorithm)
    assert card.coefficient and card.ends and card.theory
    assert card.sources or algorithm is bandits.ImportanceWeighted
    assert (ROOT / "tests" / f"test_{card.module}.py").is_file()
    assert (ROOT / "bandits" / "algorithms" / f"{card.module}.py").is_file()


def test_a_card_by_hand():
    card = table.card(bandits.CoPG)
    assert card.coefficient == "c_i = sum_j (R_i - R_j), Eqs. (18)-(19), Flet-Berliac 2024"
    assert card.ends == "at pi* on every connected law of pairs, whoever sampled"
    assert (card.theory, card.sources) == ("T3.1, T3.3", ("2406.19185",))


def test_the_command_prints_every_algorithm(capsys):
    assert main(["algorithms"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line[:1] != " "] == [cls.__name__ for cls in ALGORITHMS]


def test_the_command_renews_a_table_and_nothing_else(tmp_path):
    file = tmp_path / "algorithms.md"
    file.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    assert main(["algorithms", "--into", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "\nold\n" not in text
    assert table.into(text, ALGORITHMS) == text


def test_a_file_without_marks_is_left_alone(tmp_path, capsys):
    file = tmp_path / "algorithms.md"
    file.write_text("no marks", encoding="utf-8")
    assert main(["algorithms", "--into", str(file)]) == 2
    assert "must hold the marks" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "no marks"
    assert main(["algorithms", "--into", str(tmp_path / "absent.md")]) == 2


# ---- colours and lines -------------------------------------------------------------------------------------


def test_no_two_looks_are_the_same_up_to_seventy_algorithms():
    looks = [style.look(place) for place in range(72)]
    assert len(set(looks)) == 72 and len(set(style.LINES)) == len(style.LINES)
    neighbours = zip(looks, looks[1:], strict=False)
    assert all(a.color != b.color and a.linestyle != b.linestyle for a, b in neighbours)
    assert set(style.LOOKS) == {cls.__name__ for cls in ALGORITHMS}


def channels(color: str) -> list[float]:
    """Linear red, green and blue of a hexadecimal sRGB colour."""
    values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def contrast_on_white(color: str) -> float:
    """WCAG 2.1: (1 + .05) / (luminance + .05)."""
    r, g, blue = channels(color)
    return 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * blue + 0.05)


DEUTERANOPIA = ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969))  # Machado 2009
TABLEAU = ("#1f77b4", "#9467bd", "#2ca02c", "#d62728")  # matplotlib's blue, purple, green and red
PROTANOPIA = ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052))


def seen(color: str, eye) -> list[float]:
    return [sum(weight * value for weight, value in zip(row, channels(color), strict=True)) for row in eye]


@pytest.mark.parametrize("eye", [DEUTERANOPIA, PROTANOPIA], ids=["deuteranopia", "protanopia"])
def test_the_hues_stay_apart_for_colour_blind_readers(eye):
    """Linear colours at least .1 apart after Machado's matrices; matplotlib's own ten are not."""

    def apart(one: str, other: str) -> float:
        return sum((a - b) ** 2 for a, b in zip(seen(one, eye), seen(other, eye), strict=True)) ** 0.5

    assert min(itertools.starmap(apart, itertools.combinations(style.HUES, 2))) > 0.1
    assert min(itertools.starmap(apart, itertools.combinations(TABLEAU, 2))) < 0.1


@pytest.mark.parametrize("color", style.HUES)
def test_every_hue_can_be_seen_on_white(color):
    assert contrast_on_white(color) > 2
