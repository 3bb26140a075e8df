"""How wrong is this answer?  It is compared with the exact solver now, and with what people get wrong."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from bandits.checks import Floats, shown
from bandits.teaching import (
    baselines,
    clipping,
    dpo_and_kin,
    games,
    goodhart,
    honest,
    neighbours,
    one_bandit,
    own_algorithm,
    tokens,
    which_kl,
    who_sampled,
)
from bandits.teaching.exercise import Exercise
from bandits.teaching.feedback import Feedback
from bandits.teaching.patience import OutOfTime, limited

COURSE: dict[str, Exercise] = {
    **one_bandit.EXERCISES,
    **baselines.EXERCISES,
    **who_sampled.EXERCISES,
    **dpo_and_kin.EXERCISES,
    **games.EXERCISES,
    **clipping.EXERCISES,
    **which_kl.EXERCISES,
    **goodhart.EXERCISES,
    **own_algorithm.EXERCISES,
    **tokens.EXERCISES,
    **honest.EXERCISES,
    **neighbours.EXERCISES,
}
PATIENCE = 20.0  # seconds of the processor that an answer may take; the slowest right one takes 3
QUOTED = 300  # characters of an error that a message quotes


def exercises() -> list[str]:
    """The exercises of the course, "<notebook>.<number>", in its order.

    Example:
        >>> exercises()[0]
        '01.1'
    """
    return sorted(COURSE)


def check(exercise: str, answer: Any) -> Feedback:
    """How far an answer is from the truth, which is computed now, and a hint.  It never raises.

    Args:
        exercise: "<notebook>.<number>", as in "01.2".
        answer: what the exercise asks for: a number, an array, a policy, a word, a function, an algorithm.

    Returns:
        `ok`, `distance` (infinite where there is nothing to compare) and a `message` of a sentence or two.

    Example:
        >>> check("01.1", [0.5, 0.3, 0.2]).ok
        False
        >>> check("01.1", None)
        ✗ 01.1 waits for your answer: it wants 3 probabilities that sum to one (logits as `Logits([...])`).
    """
    if not (issubclass(type(exercise), str) and exercise in COURSE):
        return Feedback(False, np.inf, f"No exercise {shown(exercise)}; there are {', '.join(exercises())}.")
    asked = COURSE[exercise]
    if answer is None:
        return Feedback(False, np.inf, f"{exercise} waits for your answer: it wants {asked.kind.asks}.")
    with warnings.catch_warnings():  # of the learner's arithmetic: what comes out is judged, not how
        warnings.simplefilter("ignore")
        try:
            with limited(PATIENCE):
                given = asked.kind.read(answer)
        except OutOfTime:
            told = f"yours was stopped after {PATIENCE:g} seconds. Look for a loop that does not end."
            return Feedback(False, np.inf, f"{exercise}: {told}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the answer's own code raises
            text = f"{exercise} wants {asked.kind.asks}. {_told(error)}"
            return Feedback(False, np.inf, text)
        return _marked(exercise, asked, given)


def _marked(name: str, asked: Exercise, given: Floats) -> Feedback:
    truth = asked.kind.read(asked.truth())
    off = difference(given, truth)
    distance = float(off.max())
    if close(given, truth, asked.tolerance):
        return Feedback(True, distance, f"{name}: right{_exactly(distance)}.")
    hints = (each.hint for each in asked.mistakes if _made(asked, each.answer(), given))
    return Feedback(False, distance, f"{name}: {_how_far(asked, off)} {next(hints, asked.hint)}")


def _made(asked: Exercise, mistaken: Any, given: Floats) -> bool:
    return close(given, asked.kind.read(mistaken), asked.tolerance)


def difference(one: Floats, other: Floats) -> Floats:
    """Entry by entry, absolute; what is infinite in both does not differ."""
    both = np.isinf(one) & np.isinf(other)
    return np.abs(np.where(both, 0.0, one) - np.where(both, 0.0, other))


def close(one: Floats, other: Floats, tolerance: float) -> bool:
    """Whether no entry differs by more than `tolerance`, relative to the largest of `other` if beyond one."""
    size = float(np.abs(other[np.isfinite(other)]).max(initial=1.0))
    return bool(difference(one, other).max() <= tolerance * size)


def _exactly(distance: float) -> str:
    return f", off by {distance:.1g}" if distance else ""


def _how_far(asked: Exercise, off: Floats) -> str:
    distance = float(off.max())
    if np.isinf(distance):
        return "on a world where one of the two comes to rest, the other does not."
    if hasattr(asked.kind, "options"):
        return "not so."
    where = f" (most at entry {int(off.argmax())})" if off.ndim == 1 and off.size > 1 else ""
    return f"off by {distance:.2g} {asked.kind.unit}".rstrip() + f"{where}."


def _told(error: BaseException) -> str:
    """What went wrong, on one line, whatever the error is."""
    try:
        text = " ".join(str(error).split())[:QUOTED].rstrip(".")
    except Exception:  # noqa: BLE001 - a reader's __str__
        text = "an error that cannot be printed"
    kind = "Yours: " if type(error) is ValueError else f"Yours raised {type(error).__name__}: "
    return f"{kind}{text}."
