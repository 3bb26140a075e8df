"""What does a learner hear back?  Right or not, how far off, and a sentence."""

from __future__ import annotations

import html
from dataclasses import dataclass

BLUE, ORANGE = "#0072b2", "#d55e00"  # told apart by everybody, on light paper and on dark


@dataclass(frozen=True)
class Feedback:
    """The verdict on one answer; as a truth value it is `ok`, so that `assert check(...)` does what it says.

    Args:
        ok: the answer is right.
        distance: largest difference from the truth, in the unit of the answer; infinite where there is
            nothing to compare, as for an answer of the wrong shape.
        message: one or two sentences.

    Example:
        >>> Feedback(False, 0.25, "01.2: off by 0.25. That is the other KL.")
        ✗ 01.2: off by 0.25. That is the other KL.
    """

    ok: bool
    distance: float
    message: str

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"{'✓' if self.ok else '✗'} {self.message}"

    def _repr_html_(self) -> str:
        color, mark = (BLUE, "✓") if self.ok else (ORANGE, "✗")
        return (
            f'<div style="border-left: 4px solid {color}; padding: 0.3em 0.8em">'
            f"<strong>{mark}</strong> {html.escape(self.message)}</div>"
        )
