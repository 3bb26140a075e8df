"""How does it read?  What `compute` found, as words and a table of HTML: all that the picture shows."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import Any

SAID = {  # of the ends of `bandits.verdict`
    "optimum": "ends at the optimum",
    "equilibrium": "ends at the equilibrium",
    "reference": "ends at the reference",
    "behavior tilt": "ends at the tilted sampler",
    "best-of-n": "ends at a best of n",
    "face": "ends on an edge",
    "vertex": "ends on one arm",
    "other": "ends elsewhere",
    "none: runs away": "runs away: no end",
    "none: circles": "circles: no end",
    "none: slides": "slides along a jump: no end",
    "none: refused": "does not fit here",
    "none yet": "has not come to rest",
}

STRANGE = 0.5  # kin further away than this are none


def said(end: str) -> str:
    """The end as a verb.

    Example:
        >>> said("other")
        'ends elsewhere'
    """
    return SAID.get(end, end)


def html(found: dict[str, Any]) -> str:
    """The card: the verdict on the chosen algorithm, then a row for each that is shown."""
    card, name = found["card"], found["state"]["algorithm"]
    sentences = [
        f"<b>{escape(name)} {said(card['end'])}</b>",
        escape(card["words"]),
        _basins(found),
        _kin(card),
    ]
    head = "".join(
        f'<th scope="col">{title}</th>' for title in ("algorithm", "end", "policy", "regret", "KL to ref")
    )
    rows = "".join(_row(each, end) for each, end in found["ends"].items())
    text = ". ".join(filter(None, sentences))
    return f"<p>{text}.</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def image(png: bytes, words: str) -> str:
    """The picture, with words for those who cannot see it."""
    data, look = b64encode(png).decode(), "width:100%;max-width:60rem;height:auto"
    size = 'width="960" height="500"'
    return f'<img alt="{escape(words)}" {size} style="{look}" src="data:image/png;base64,{data}">'


def _row(name: str, end: dict[str, Any]) -> str:
    policy = "–" if end["policy"] is None else ", ".join(f"{p:.3f}" for p in end["policy"])
    cells = [escape(said(end["end"])), policy, _digits(end["regret"]), _digits(end["kl"])]
    return f'<tr><th scope="row">{escape(name)}</th>' + "".join(f"<td>{x}</td>" for x in cells) + "</tr>"


def _digits(value: float | None) -> str:
    return "–" if value is None else "0" if abs(value) < 5e-13 else f"{value:.3g}"


def _basins(found: dict[str, Any]) -> str:
    card, basins = found["card"], found["basins"]
    if card["unique"]:
        return "Every start ends here"
    count = len(basins["attractors"])
    if count > 1:
        return f"{count} ends attract: the start decides"
    return ""


def _kin(card: dict[str, Any]) -> str:
    """Whose mean update it has, under this law."""
    if card["kin"] is None:
        return ""
    factor = "" if abs(card["scale"] - 1) < 1e-6 else f"{card['scale']:.3g} times "
    if card["distance"] > STRANGE:
        return "Under this law no other algorithm on record moves alike"
    if card["agreement"] == "near":
        return f"Kin under this law: {escape(card['kin'])}, {card['distance']:.0%} away"
    return f"Under this law its mean update is {factor}that of {escape(card['kin'])}"
