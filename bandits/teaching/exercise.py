"""What is an exercise?  What it asks for, the truth, and what people get wrong, all computed when asked.

    Kind        what an answer looks like, and how it becomes numbers
    Mistake     an answer that is often given, and what to say to it
    Exercise    a kind, the truth and the mistakes

The truth and the mistakes are functions without arguments that return *answers*, and they are read by the
same kind as the learner's: no number is stored, and nobody is compared with anything but the exact solver.

To add one: an `Exercise` in the `EXERCISES` of its notebook's file (a new file also goes into `COURSE` of
`marking` and into the list of the package) and its three cells (notebooks/grading.md); nothing else.
`tests/test_teaching.py` runs every solution, mistake and stub.  A hint does not give the answer away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bandits.checks import Floats

# An answer may be read off a print of four decimals (which err by 5e-5) or come as float32 (by 1e-7).
# Relative to the largest entry of the truth where that is beyond one; mistakes are ten times further off.
TOLERANCE = 1e-4


class Kind(Protocol):
    """What an answer looks like: of the file `answers`, or for algorithms of `trials`."""

    @property
    def asks(self) -> str:
        """What is wanted, after the words "it wants"."""

    @property
    def unit(self) -> str:
        """What the difference between two answers is, after the words "off by 0.25"; may be empty."""

    def read(self, answer: Any) -> Floats:
        """The answer as numbers to compare; infinite entries where an algorithm does not come to rest.

        Raises:
            ValueError: it is no such answer; the message says why.
        """


@dataclass(frozen=True)
class Mistake:
    """An answer that is often given, and the sentence that it gets.

    Args:
        answer: makes the mistaken answer.
        hint: says what was probably done, and what to look at; not the answer.
    """

    answer: Callable[[], Any]
    hint: str


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One exercise.

    Args:
        kind: what an answer looks like.
        truth: makes a right answer, by the exact solver.
        mistakes: at least two.
        hint: for answers that are wrong in another way.
        tolerance: how far off is still right, relative to the largest entry of the truth if that exceeds 1.
    """

    kind: Kind
    truth: Callable[[], Any]
    mistakes: tuple[Mistake, ...]
    hint: str
    tolerance: float = TOLERANCE
