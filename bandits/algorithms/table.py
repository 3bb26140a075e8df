"""Which algorithms are there, and what does each do?  One line an algorithm, read off its docstrings.

    coefficient   the first line of `update`
    ends          the paragraph of the class that begins with "Ends"
    source        the arXiv numbers of the module, after "Source:"
    test          tests/test_<module>.py

Nothing is written twice: whoever adds an algorithm to `ALGORITHMS` has added its line.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bandits import display
from bandits.samples import Algorithm

HOME = "notebooks/book/algorithms.md"  # where the table is kept
BEGIN = f"<!-- python -m bandits algorithms --into {HOME} writes from here -->"
END = "<!-- to here -->"
HEAD = "| algorithm | coefficient | ends | theory | source | test |\n|---|---|---|---|---|---|"
TAGS = re.compile(r"\s*\((T\d[^)]*)\)\.?")


@dataclass(frozen=True)
class Card:
    """What the docstrings of one algorithm say."""

    name: str
    module: str  # the last part: copg
    coefficient: str
    ends: str
    theory: str  # tags: T3.1, T3.3
    sources: tuple[str, ...]  # arXiv numbers, without a version


def card(algorithm: type[Algorithm]) -> Card:
    """The card of one class."""
    paragraphs = inspect.cleandoc(algorithm.__doc__ or "").split("\n\n")
    ends = next((" ".join(p.split()) for p in paragraphs if p.startswith("Ends ")), "")
    formula = (algorithm.update.__doc__ or "").split("\n\n")[0]
    tags = ", ".join(TAGS.findall(formula) + TAGS.findall(ends)).split(", ")
    _, _, source = (inspect.getdoc(inspect.getmodule(algorithm)) or "").partition("Source:")
    papers = re.findall(r"arXiv:(\d+\.\d+)", source)
    return Card(
        name=algorithm.__name__,
        module=algorithm.__module__.rpartition(".")[2],
        coefficient=TAGS.sub("", " ".join(formula.split())).rstrip("."),
        ends=TAGS.sub("", ends).removeprefix("Ends ").rstrip("."),
        theory=", ".join(dict.fromkeys(tags)),
        sources=tuple(dict.fromkeys(papers)),
    )


def shown_in_notebooks(algorithm: type[Any]) -> None:
    """Give a class its line at a prompt, its page in a notebook and its formula in `help`.

    From outside, as an algorithm has no base; the formula is that of `update`, which is written once.

    Example:
        >>> from bandits import CoPG, PolicyGradient, policy_value
        >>> PolicyGradient(beta=0.5, baseline=policy_value)
        PolicyGradient(beta=0.5, baseline=policy_value, k=1)
        >>> CoPG(beta=0.5)._repr_html_()[:38]
        '<p>CoPG(beta=0.5, k=2)</p><table><tr><'
    """
    algorithm.__repr__ = display.record  # type: ignore[assignment]
    algorithm._repr_html_ = html
    first, _, rest = inspect.cleandoc(algorithm.__doc__ or "").partition("\n\n")
    formula = inspect.cleandoc(algorithm.update.__doc__ or "").partition("\n\n")[0]
    algorithm.__doc__ = f"{first}\n\nCoefficient: {formula}\n\n{rest}"


def html(algorithm: Any) -> str:
    """Settings, coefficient, end and source of one algorithm, read off its docstrings."""
    of = card(type(algorithm))
    papers = ", ".join(f"arXiv:{number}" for number in of.sources)
    cells = {"coefficient": of.coefficient, "ends": of.ends, "theory": of.theory, "source": papers}
    known = {name: text for name, text in cells.items() if text}
    return display.page([display.record(algorithm)], [*known], [[*known.values()]], [])


def plain(algorithms: Iterable[type[Algorithm]]) -> str:
    """A paragraph an algorithm, for a terminal."""
    cards = [card(each) for each in algorithms]
    return "\n".join(
        f"{c.name}\n    {c.coefficient}\n    ends {c.ends}\n    {c.theory}"
        + "".join(f"; arXiv:{number}" for number in c.sources)
        for c in cards
    )


def markdown(algorithms: Iterable[type[Algorithm]]) -> str:
    """A row an algorithm, with links from `HOME`."""
    return "\n".join([HEAD, *(_row(card(each)) for each in algorithms)])


def into(text: str, algorithms: Iterable[type[Algorithm]]) -> str:
    """The text with the rows between its two marks renewed.

    Raises:
        ValueError: there are no such marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the text must hold the marks {BEGIN!r} and {END!r}; put them where the rows go")
    return f"{before}{BEGIN}\n\n{markdown(algorithms)}\n\n{END}{after}"


def _row(c: Card) -> str:
    name = f"[{c.name}](../../bandits/algorithms/{c.module}.py)"
    papers = " ".join(f"[{number}](https://arxiv.org/abs/{number})" for number in c.sources)
    test = f"[test](../../tests/test_{c.module}.py)"
    cells = (_prose(c.coefficient), _prose(c.ends), c.theory, papers, test)
    return "| " + " | ".join((name, *cells)) + " |"


def _prose(text: str) -> str:
    """Asterisks, underscores and bars as they are, not as marks."""
    return re.sub(r"([*_|<])", r"\\\1", text)
