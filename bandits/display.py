"""How does an object show itself?  A line at a prompt, a table in a notebook.

Digits are chosen here, at display; what is stored keeps all of its own.  Of many arms, contexts or records
the first few are shown, and how many there are is said.  What others named (arms, worlds, algorithms) is
shown as it is, never as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from html import escape
from typing import Any

import numpy as np

from bandits.checks import Floats

MOST = 6  # arms, contexts or pairs that are shown
LONGEST = 24  # letters of a name that are shown


def digits(value: float | None) -> str:
    """Three significant digits; a dash where there is no number.

    Example:
        >>> digits(0.15249), digits(1.2e-17), digits(None)
        ('0.152', '1.2e-17', '-')
    """
    if value is None:
        return "-"
    if value != 0 and abs(value) < 1e-4:
        return f"{value:.2g}"
    return f"{value:.3g}"


def shares(policy: Any, names: Sequence[str] | None = None) -> str:
    """Probabilities to two digits, of many arms the first six; behind the arms' names, if there are some.

    Example:
        >>> shares([0.125, 0.875])
        '.12 .88'
        >>> shares([0.125, 0.875], ["poor", "good"])
        'poor .12, good .88'
    """
    cells = [f"{p:.2f}".removeprefix("0") for p in policy[:MOST]]
    more = ["..."] * (len(policy) > MOST)
    if names is None:
        return " ".join(cells + more)
    return ", ".join([f"{short(name)} {cell}" for name, cell in zip(names, cells, strict=False)] + more)


def short(text: str) -> str:
    """A name on one line, not too long.

    Example:
        >>> short("a whole answer, word for word"), short("fair")
        ('a whole answer, word fo…', 'fair')
    """
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def numbers(array: Any) -> str:
    """An array on one line, four significant digits; of a longer or deeper one the beginning and the shape.

    Example:
        >>> numbers(np.array([1 / 3, 2.0])), numbers(np.zeros((2, 3))), numbers(np.arange(7))
        ('[0.3333 2]', '[[0 0 0] ...] (2, 3)', '[0 1 2 3 4 5 ...] (7,)')
    """
    array = np.asarray(array)
    if array.ndim == 0:
        return f"{array.item():.4g}"
    row = array if array.ndim == 1 else array.reshape(-1, array.shape[-1])[0]
    text = " ".join([f"{x:.4g}" for x in row[:MOST]] + ["..."] * (len(row) > MOST))
    if array.ndim > 1:
        return f"[[{text}] ...] {array.shape}"
    return f"[{text}]" + (f" {array.shape}" if len(row) > MOST else "")


def call(kind: str, parts: Mapping[str, str]) -> str:
    """A line such as Offline(mu=[0.2 0.8]): what is there, by name.

    Example:
        >>> call("Bandit", {"reward": "[1 0]", "reference": "[0.5 0.5]"})
        'Bandit(reward=[1 0], reference=[0.5 0.5])'
    """
    return f"{kind}({', '.join(f'{name}={text}' for name, text in parts.items())})"


def record(thing: Any) -> str:
    """A frozen record of settings as the call that makes it; functions by their names.

    Example:
        >>> from dataclasses import make_dataclass
        >>> record(make_dataclass("Clipped", ["beta", "spread"])(0.5, np.std))
        'Clipped(beta=0.5, spread=std)'
    """
    values = {each.name: getattr(thing, each.name) for each in fields(thing) if each.repr}
    return call(type(thing).__name__, {name: value_of(value) for name, value in values.items()})


def value_of(value: Any) -> str:
    """A setting: a function by its name, anything else as Python writes it."""
    name = getattr(value, "__name__", None)
    return name if callable(value) and isinstance(name, str) else repr(value)


def arms(count: int, names: Sequence[str] | None) -> list[str]:
    """Heads of the columns of the arms that are shown, and of one for the others.

    Example:
        >>> arms(2, None), arms(2, ("good", "poor"))
        (['arm 0', 'arm 1'], ['good', 'poor'])
    """
    each = [short(name) for name in names[:MOST]] if names else [f"arm {y}" for y in range(min(count, MOST))]
    return each + [f"... of {count}"] * (count > MOST)


def cells(row: Any, show: Callable[[float], str] = digits) -> list[str]:
    """One row of an array over the arms, under the heads of `arms`."""
    return [show(float(x)) for x in row[:MOST]] + ["..."] * (len(row) > MOST)


def contexts(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The contexts that are shown, the first ones.

    Example:
        >>> contexts((2,)), contexts(())
        ([(0,), (1,)], [()])
    """
    count = min(int(np.prod(shape)), MOST)
    return [tuple(int(i) for i in np.unravel_index(flat, shape)) for flat in range(count)]


def rest(shape: tuple[int, ...], what: str = "contexts") -> list[str]:
    """What is said of those that are not shown."""
    count = int(np.prod(shape))
    return [f"the first {MOST} of {count} {what}, {shape}"] if count > MOST else []


def page(
    above: Iterable[str], names: Sequence[str], rows: Sequence[Sequence[str]], below: Iterable[str]
) -> str:
    """Lines, a table and remarks as HTML; every text is escaped.

    Example:
        >>> page(["a < b"], ["arm"], [["<b>"]], [])
        '<p>a &lt; b</p><table><tr><th>arm</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in rows
    )
    notes = "".join(f"<li>{escape(line)}</li>" for line in below)
    first = "<br>".join(escape(line) for line in above)
    whole = f"<p>{first}</p>" + (f"<table><tr>{heads}</tr>{lines}</table>" if names else "")
    return whole + (f"<ul>{notes}</ul>" if notes else "")


def policies(array: Floats, names: Sequence[str] | None) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of numbers of each arm, (..., A), the first contexts.

    Example:
        >>> policies(np.array([[0.5, 0.5], [1.0, 0.0]]), ("good", "poor"))
        (['context', 'good', 'poor'], [['0', '0.5', '0.5'], ['1', '1', '0']])
    """
    shape = array.shape[:-1]
    heads = ["context"] * bool(shape) + arms(array.shape[-1], names)
    return heads, [[", ".join(map(str, at))] * bool(shape) + cells(array[at]) for at in contexts(shape)]
