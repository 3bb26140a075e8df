"""What is written of it?  One record a row, and a table that is made of the records."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import bandits as b
from bandits.algorithms.table import card
from bandits.sequences import Averaged
from verdicts.ends import GATHERS, NOT_YET, End, innermost
from verdicts.judged import Judged, Row

NOTE = {
    "run": "the trainer itself is run: its class, its config, its scoring and its loss",
    "function": "its loss function is called on the log-probabilities of the model",
    "formula": "its loss is written out here, from the file and line",
}
LATE = (NOT_YET, *GATHERS)  # ends that are the policy of a late time
HEAD = "| loss | says it is | gradient | what that optimises | end | notes |\n|---|---|---|---|---|---|"


def record(row: Row, seen: Judged, company: str, end: End) -> dict[str, Any]:
    """A row of figures/verdicts.json: exact numbers to what is the same on every machine."""
    found = seen.agreements
    first = found[0] if row.against is not None else None
    named = found[-1] if row.named is not None else None
    return {
        "library": row.library,
        "name": row.name,
        "source": row.source,
        "how": row.how,
        "shown": row.kind + (", of another policy" if row.stale else ""),
        "claim": row.claim,
        "against": text(row.against) if row.against is not None else None,
        "in_bandits": in_bandits(row.against),
        "why": why(row),
        "agreement": first.word if first else None,
        "scale": round(first.scale, 5) if first else None,
        "error": rounded(first.error) if first else None,
        "named": text(row.named) if row.named is not None else None,
        "named_agreement": named.word if named else None,
        "named_error": float(f"{named.error:.2g}") if named else None,
        "confirmed": None if seen.confirmed is None else rounded(seen.confirmed),
        "batch": company,
        "optimises": ends(row.against),
        "end": end.word,
        "policy": None if end.policy is None else [round(x, 6) + 0.0 for x in end.policy.tolist()],
        "distance": None if end.distance is None else rounded(end.distance, 4),
        "rests_within": None if end.pull is None else rounded(end.pull),
        "notes": row.notes,
    }


def rounded(x: float, digits: int = 0) -> float:
    """Up to a power of ten below 1e-4, where it is rounding; else so many digits, at least two."""
    if x <= 1e-4:
        return 10.0 ** max(math.ceil(math.log10(x)), -12) if x > 0 else 0.0
    return float(f"{x:.{max(digits, 2)}g}")


def text(thing: Any) -> str:
    """An algorithm with what is set in it, functions by their names."""
    if isinstance(getattr(thing, "name", None), str):
        return str(thing.name)
    if is_dataclass(thing) and not isinstance(thing, type):
        given = [
            text(getattr(thing, each.name))
            if is_dataclass(getattr(thing, each.name))
            else f"{each.name}={text(getattr(thing, each.name))}"
            for each in fields(thing)
            if each.init and getattr(thing, each.name) != each.default
        ]
        return f"{type(thing).__name__}({', '.join(given)})"
    if callable(thing):
        return str(thing.__qualname__.partition(".")[0])
    return repr(thing)


def in_bandits(algorithm: Any) -> bool:
    """Whether the package has it, up to wrappers."""
    return algorithm is not None and type(innermost(algorithm)).__module__.startswith("bandits")


def why(row: Row) -> str:
    """Why no algorithm of the package is named; "" where one is."""
    if in_bandits(row.against) or row.why:
        return row.why
    first = (type(innermost(row.against)).__doc__ or "").partition("\n")[0]
    return f"not in bandits: {first.rstrip('.')}"


def ends(algorithm: Any) -> str:
    """Where its class says that it ends; "" where it is none of the list."""
    if isinstance(algorithm, Averaged) and type(algorithm.algorithm) in b.ALGORITHMS:
        inside = type(algorithm.algorithm).__name__
        return f"log pi/ref is |y| times that of {inside}, plus a multiple of |y| (T4.6)"
    kind = type(algorithm)
    return card(kind).ends if kind in b.ALGORITHMS else ""


# ---- the table ---------------------------------------------------------------------------------------------


def markdown(found: dict[str, Any]) -> str:
    """figures/verdicts.md, of figures/verdicts.json alone."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        "# What trainers train",
        "",
        f"Written by `make verdicts` ({versions}) from `figures/verdicts.json`.  {found['world']}",
    ]
    for library in dict.fromkeys(row["library"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["library"] == library]
        lines += [
            "",
            f"## {library}",
            "",
            "; ".join(dict.fromkeys(NOTE[row["how"]] for row in rows)) + ".",
            "",
        ]
        lines += [HEAD, *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    cells = (
        f"{row['name']} (`{row['source']}`)",
        row["claim"],
        _gradient(row),
        row["optimises"],
        _end(row),
        "; ".join(filter(None, [row["notes"], row["batch"], row["why"]])),
    )
    return "| " + " | ".join(_prose(cell) for cell in cells) + " |"


def _gradient(row: dict[str, Any]) -> str:
    words = "no algorithm of bandits" if row["against"] is None else f"{row['against']}, {row['agreement']}"
    words += "" if row["scale"] in (None, 1) else f", times {row['scale']:g}"
    if row["named"]:
        words += f"; {row['named']}: {row['named_agreement']} (off by {row['named_error']:g})"
    if row["confirmed"] is not None:
        words += f"; a second program finds the same to {row['confirmed']:.0e}"
    return words


def _end(row: dict[str, Any]) -> str:
    if row["distance"] is None:
        mass = f" ({max(row['policy']):.3g} of the mass at time 1000)" if row["end"] in LATE else ""
        return row["end"] + mass
    away = "" if row["end"] == "pi*" else f", {row['distance']:.3g} from pi*"
    rest = (
        ""
        if row["rests_within"] is None
        else f"; its gradient there is {row['rests_within']:.0e} of a group's"
    )
    return row["end"] + away + rest


def _prose(words: str) -> str:
    return words.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "\\<")
