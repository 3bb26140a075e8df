"""How objects show themselves: shortly at a prompt, as a table in a notebook, never as somebody's markup."""

from __future__ import annotations

import functools
import inspect
from html.parser import HTMLParser

import numpy as np
import pytest

import bandits as b
from bandits import ALGORITHMS, Bandit, CoPG, Dataset, Offline, OnPolicy, Pairs, Solution, Trace
from rows import every_row

RNG = np.random.default_rng(0)
NAMES = ("<script>good</script>", "fair & square", "poor")
WORLD = Bandit([2.5, 2.0, 1.0], reference=[0.5, 0.3, 0.2], names=NAMES, length=[3, 1, 2])
MU = Offline([0.2, 0.3, 0.5])


class Page(HTMLParser):
    """The rows of cells of a page and the tags that were met; everything that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows, self.tags, self.open = [], set(), []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag != "br":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def trace() -> Trace:
    return b.simulate(
        CoPG(0.5),
        WORLD,
        MU,
        steps=20,
        batch_size=2,
        learning_rate=0.1,
        rng=np.random.default_rng(0),
        record=1,
    )


def many(arms: int = 1000, contexts: int = 50) -> dict[str, object]:
    """Objects of many arms and contexts."""
    policies = RNG.dirichlet(np.ones(arms), size=contexts)
    return {
        "Bandit": Bandit(RNG.normal(size=(contexts, arms)), reference=policies),
        "game": Bandit(preference=np.full((30, 30), 0.5)),
        "Offline": Offline(policies, policies),
        "Pairs": Pairs(np.full((7, 30, 30), 1 / 900)),
        "Dataset": Dataset(np.stack([np.arange(200), np.arange(200) + 1], axis=-1)),
        "Solution": Solution(log_policy=np.log(policies), residual=np.zeros(contexts), stable=True),
        "Trace": Trace(np.arange(99), np.broadcast_to(policies[0], (99, 4, 5, arms))),
    }


@functools.cache
def few() -> dict[str, object]:
    end = b.fixed_point(CoPG(0.5), WORLD, MU)
    return {
        "Bandit": WORLD,
        "game": Bandit(preference=[[0.5, 0.9], [0.1, 0.5]], names=["a", "b"]),
        "Offline": MU,
        "two samplers": Offline([0.2, 0.8], [0.5, 0.5]),
        "Pairs": Pairs(np.full((2, 2), 0.25)),
        "Dataset": Dataset([(0, 1), (1, 0), (0, 1)]),
        "OnPolicy": OnPolicy(),
        "Solution": end,
        "some stable": Solution(
            log_policy=np.log([[0.5, 0.5]] * 2), residual=np.zeros(2), stable=np.array([True, None])
        ),
        "no policy": Solution(log_policy=None, residual=0.0, message="a < b"),
        "face": Solution(log_policy=np.array([0.0, -np.inf]), residual=0.0, face=np.array([True, False])),
        "Trace": trace(),
        "Report": b.report(CoPG(0.5), WORLD, MU),
        "Comparison": b.compare([CoPG(0.5)], WORLD, MU),
        **{f"{name}, set": row.make(0.5) for name, row in every_row().items()},
    }


@pytest.mark.parametrize(("name", "thing"), [*many().items(), *few().items()])
def test_everything_has_a_short_line_and_a_page(name, thing):
    """One line of at most 400 letters; a page of at most seven columns of arms, six rows and one more."""
    line = repr(thing)
    assert "\n" not in line and len(line) <= 400 and line.startswith(type(thing).__name__)
    assert " at 0x" not in line
    page = Page(thing._repr_html_())
    assert page.tags <= {"p", "br", "table", "tr", "th", "td", "ul", "li"}
    assert len({len(row) for row in page.rows}) <= 1, "rows of one length"
    assert len(thing._repr_html_()) < 12_000


@pytest.mark.parametrize("name", ["Bandit", "Solution", "Trace", "Report"])
def test_names_of_arms_are_shown_and_never_as_markup(name):
    page = few()[name]._repr_html_()
    assert "<script>" not in page and "fair &amp; square" in page
    assert "<script>good</script>" in Page(page).text


def test_the_policy_comes_first_under_the_names_of_its_arms():
    """In a `Solution` and a `Trace`: heads are names, cells the numbers to three digits."""
    end = b.fixed_point(CoPG(0.5), WORLD, MU)
    heads, row = Page(end._repr_html_()).rows
    assert heads[:3] == list(NAMES)
    np.testing.assert_allclose([float(cell) for cell in row[:3]], end.policy, rtol=5e-3)  # three digits
    assert heads[3:] == ["residual", "stable"] and row[4] == "yes"
    run = trace()
    heads, *rows = Page(run._repr_html_()).rows
    assert heads == ["step", *NAMES] and [int(row[0]) for row in rows] == [0, 1, 2, 18, 19, 20]
    shown = [[float(cell) for cell in row[1:]] for row in rows]
    np.testing.assert_allclose(shown, run.policies[[0, 1, 2, 18, 19, 20], 0], rtol=5e-3)
    assert "fair & square" in str(end)


def test_nothing_that_is_stored_is_rounded():
    end = b.fixed_point(CoPG(0.5), WORLD, MU)
    before = end.policy.tobytes(), WORLD.reward.tobytes()
    for thing in (end, WORLD):
        repr(thing), str(thing), thing._repr_html_()
    assert (end.policy.tobytes(), WORLD.reward.tobytes()) == before
    np.testing.assert_allclose(end.policy, WORLD.optimal_policy(0.5), rtol=1e-14)


def test_names_travel_from_the_world_to_what_is_found_in_it():
    """Also into a report and back out of its JSON; without names nothing changes."""
    ends = b.fixed_points(b.PolicyGradient(0.5, 5.0), WORLD, MU)
    assert [one.names for one in ends] == [NAMES] * 3 and trace().names == NAMES
    assert b.fixed_point(b.GRPO(0.5), WORLD, OnPolicy()).names == NAMES
    assert b.fixed_point(CoPG(0.5), Bandit([1.0, 0.0]), [0.5, 0.5]).names is None
    card = b.report(CoPG(0.5), Bandit(WORLD.reward, reference=WORLD.reference, names=["a", "<b>", "c"]), MU)
    again = b.Report.from_json(card.to_json())
    assert again.rows[0].names == ("a", "<b>", "c")
    assert "a .81, <b> .18, c .02" in str(again)  # e^5 / 2, .3 e^4, .2 e^2 over their sum


def test_the_figures_of_verdicts_are_pictures_where_pyplot_was_never_used():
    """A fresh formatter knows no figures: pyplot's backend is what teaches the one of a notebook."""
    from IPython.core.formatters import DisplayFormatter

    for verdict in (b.report(CoPG(0.5), WORLD, MU), b.compare([CoPG(0.5)], WORLD, MU)):
        shown, _ = DisplayFormatter().format(verdict.draw())
        assert shown["image/png"].startswith(b"\x89PNG")


def test_the_figure_of_a_report_has_the_names_at_the_corners_and_under_the_bars():
    corners = {text.get_text() for text in b.report(CoPG(0.5), WORLD, MU).draw().axes[0].texts}
    assert corners == set(NAMES)
    four = Bandit([1.0, 0.0, 0.5, 0.2], names=["a", "b", "c", "d"])
    bars = b.report(CoPG(0.5), four, [0.25] * 4).draw().axes[0]
    assert [text.get_text() for text in bars.get_xticklabels()] == ["a", "b", "c", "d"]


def test_a_matrix_of_preferences_is_read_row_beats_column():
    world = Bandit(preference=[[0.5, 0.9], [0.1, 0.5]], names=["a", "b"])
    heads, first, second = Page(world._repr_html_()).rows
    assert (
        heads[-2:] == ["beats a", "beats b"]
        and first[-2:] == ["0.5", "0.9"]
        and second[-2:] == ["0.1", "0.5"]
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_an_algorithm_shows_its_settings_coefficient_and_end(algorithm):
    made = every_row()[algorithm.__name__].make(0.5)
    heads, cells = Page(made._repr_html_()).rows
    assert heads[:2] == ["coefficient", "ends"] and all(cells)
    first = " ".join(inspect.getdoc(algorithm.update).split("\n\n")[0].split())
    assert first.startswith(cells[0][:40])
