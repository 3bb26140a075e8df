"""How does a verdict read?  Head, one line a world and law, words under the table: for terminals and pages.

Every renderer is fed by the same three; digits are chosen here, the numbers themselves are kept.
Text that others chose (names of worlds, of algorithms) is shown as it is, never as markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import StringIO
from math import exp, log
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bandits.display import digits, page, shares

Card = Any  # a `Report`, whose methods call these
WIDTH = 140  # of the text
COLUMNS = (
    "world",
    "sampling",
    "end",
    "policy",
    "regret",
    "KL",
    "attractors",
    "rate",
    "bias",
    "variance",
    "RLOO's",
    "ESS",
)


def head(card: Card) -> list[str]:
    """What stands above the table."""
    beta = "no beta" if card.beta is None else f"beta = {card.beta:.4g}"
    inferred = " (inferred from where it ends)" if card.inferred else ""
    ends = "the end depends on the world and on who sampled" if card.end == "depends" else card.end
    return [f"{card.algorithm}, {beta}{inferred}", f"ends: {ends}", f"kin: {kin_words(card)}"]


def kin_words(card: Card) -> str:
    """The nearest known algorithm in words."""
    if card.kin is None:
        return "none of the known algorithms can be compared here"
    if card.agreement == "equal":
        also = f" (here {', '.join(card.equals)} as well)" if card.equals else ""
        return f"equal to {card.kin}{also} in expectation"
    if card.agreement == "proportional":
        return f"{card.scale:.6g} times {card.kin} in expectation"
    return f"nearest to {card.kin}, but another algorithm: {card.distance:.2g} of its update is left over"


def lines(card: Card) -> list[list[str]]:
    """The cells of each row, in the order of `COLUMNS`."""
    return [
        [
            row.world,
            row.sampling,
            row.end,
            "-" if row.policy is None else shares(row.policy, row.names),
            digits(row.regret),
            digits(row.kl),
            basins(row),
            digits(row.rate),
            digits(row.bias),
            digits(row.variance),
            digits(row.variance_rloo),
            digits(row.ess),
        ]
        for row in card.rows
    ]


def basins(row: Any) -> str:
    """How many attractors, with the shares of their basins."""
    if row.unique:
        return "unique"
    if not row.attractors:
        return "none isolated" if not row.end.startswith("none") else "-"
    return f"{len(row.attractors)}: " + ", ".join(f"{one.share:.0%}" for one in row.attractors)


def foot(card: Card) -> list[str]:
    """What stands under the table: a line a question, then each note with the rows that it belongs to."""
    notes: dict[str, list[str]] = {}
    for row in card.rows:
        for note in filter(None, row.note.split("; ")):
            notes.setdefault(note, []).append(f"{row.world}, {row.sampling}")
    blind = [name for name, is_blind in card.blind.items() if is_blind]
    sees = [name for name, is_blind in card.blind.items() if not is_blind]
    answers = [
        f"blind to: {', '.join(blind) or 'nothing'}" if card.blind else "",
        f"sees: {', '.join(sees)}" if sees else "",
        steps_words(card),
        f"arms never sampled: {card.unseen_arms}" if card.unseen_arms else "",
        f"can both log-probabilities of a pair fall? {card.both_fall}" if card.both_fall else "",
        {None: "", True: "the loss is the coefficient's", False: "THE LOSS IS NOT THE COEFFICIENT'S"}[
            card.loss_agrees
        ],
    ]
    return [
        *filter(None, answers),
        *(f"{note} ({places[0]}{_more(places)})" for note, places in notes.items()),
    ]


def steps_words(card: Card) -> str:
    """Slowest rate and largest stable step over all rows, and where."""
    moving = [row for row in card.rows if row.rate is not None]
    stepping = [row for row in moving if row.step is not None]
    if not stepping:
        return ""
    slow, short = min(moving, key=lambda row: row.rate), min(stepping, key=lambda row: row.step)
    residuals = [row.residual for row in moving if row.residual is not None]
    largest = digits(max(residuals, default=None))
    return (
        f"largest residual at rest {largest}; "
        f"slowest rate {digits(slow.rate)} ({slow.world}, {slow.sampling}); "
        f"largest stable step {digits(short.step)} ({short.world}, {short.sampling})"
    )


def _more(places: list[str]) -> str:
    return "" if len(places) == 1 else f" and {len(places) - 1} more"


def text(card: Card) -> str:
    """The verdict for a terminal."""
    return _printed(head(card), COLUMNS, lines(card), foot(card))


def html_page(card: Card) -> str:
    """The verdict as HTML; what others named is escaped."""
    return page(head(card), COLUMNS, lines(card), foot(card))


def _printed(above: list[str], names: Sequence[str], rows: list[list[str]], below: list[str]) -> str:
    shown = Table(*names, box=None, pad_edge=False)
    for cells in rows:
        shown.add_row(*(Text(cell) for cell in cells))
    out = StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, legacy_windows=False)
    for each in [*map(Text, above), shown, *map(Text, below)]:
        console.print(each)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


SIDES = (
    "algorithm",
    "beta",
    "end",
    "kin",
    "rows",
    "worst regret",
    "largest bias",
    "noise over RLOO's",
    "blind to",
)


def sides(cards: Sequence[Card]) -> list[list[str]]:
    """One line for each verdict, in the order of `SIDES`."""
    return [
        [
            card.algorithm,
            digits(card.beta),
            card.end,
            kin_words(card),
            _tally(card),
            digits(max((row.regret for row in card.rows if row.regret is not None), default=None)),
            digits(max((row.bias for row in card.rows if row.bias is not None), default=None)),
            digits(_noise(card)),
            ", ".join(name for name, is_blind in card.blind.items() if is_blind),
        ]
        for card in cards
    ]


def _tally(card: Card) -> str:
    """How often it ends where."""
    ends = Counter(row.end for row in card.rows)
    return ", ".join(f"{count} {name}" for name, count in ends.most_common())


def _noise(card: Card) -> float | None:
    """The geometric mean over the rows of the variance over RLOO's."""
    logs = [log(row.variance / row.variance_rloo) for row in card.rows if row.variance and row.variance_rloo]
    return exp(sum(logs) / len(logs)) if logs else None


def side_by_side(cards: Sequence[Card]) -> str:
    """Several verdicts for a terminal."""
    return _printed([], SIDES, sides(cards), [])


def side_by_side_html(cards: Sequence[Card]) -> str:
    """Several verdicts as HTML; what others named is escaped."""
    return page([], SIDES, sides(cards), [])
