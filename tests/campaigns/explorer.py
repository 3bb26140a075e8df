"""A campaign: does the explorer draw every algorithm where it ends, whatever the state, and in time?

    python tests/campaigns/explorer.py 30              # minutes, on one core
    python tests/campaigns/explorer.py 30 ChiPO        # one algorithm

Each of `explorer.OFFERED` is put into so many random states, with every law of sampling, and what is drawn is
held against others:

    formula       at a drawn end, and at every attractor of the basins, the row's own words, summed over all
                  groups in plain Python, move nothing (as in `ends.py`), in a world built a second time
    fixed_point   it ends there too, to 1e-6, or has no end either
    first look    what a moved slider shows is what its release shows, unless it says that it does not know
    seconds       of the processor, compute and drawing, moved and settled: at 50, 95 and 100 % of the states

Prints one line an algorithm, exits 1 on a disagreement or a 95th percentile beyond its bound.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the rows and the worlds of the tests
sys.path.insert(0, str(Path(__file__).parent))

from ends import held

import bandits as b
from bandits import explorer
from bandits.explorer import card
from bandits.explorer.picture import Picture
from bandits.testing.enumeration import Case
from explorer_states import by_hand, random_state
from rows import row_of

SAME = 1e-6  # what `bandits.verdict` takes for the same end
MOVED, SETTLED = 0.150, 1.5  # seconds, 95th percentile


def judged(found: dict[str, Any]) -> list[str]:
    """What is wrong with the ends of an answer of `compute`."""
    state, end = found["state"], found["card"]
    algorithm, (bandit, law) = case_of(state)
    said = f"{algorithm}, {bandit}, {law}: {{}}"
    truth = _truth(algorithm, bandit, law)
    if end["end"].startswith("none"):
        lost = truth is not None and end["end"] != "none yet"
        return [said.format(f"{end['end']}, yet it ends at {truth}")] if lost else []
    if truth is None or np.abs(truth - end["policy"]).max() > SAME:
        return [said.format(f"drawn at {end['policy']}, fixed_point says {truth}")]
    drawn = [end["policy"], *found["basins"]["attractors"]]
    return [one for policy in drawn for one in _held(algorithm, bandit, law, np.array(policy), said)]


def case_of(state: dict[str, Any]) -> tuple[Any, tuple[b.Bandit, Any]]:
    """The chosen algorithm, and world and law, built a second time."""
    algorithm = explorer.OFFERED[state["algorithm"]].make(state)
    bandit, rules = by_hand(state, algorithm.k)
    own = getattr(algorithm, "needs_on_policy", False)
    return algorithm, (bandit, b.OnPolicy() if own else rules[state["sampling"]])


def _truth(algorithm: Any, bandit: b.Bandit, law: Any) -> np.ndarray | None:
    try:
        return np.asarray(b.fixed_point(algorithm, bandit, law).policy)
    except (b.NoFixedPoint, b.NotConverged, ValueError):
        return None


def _held(algorithm: Any, bandit: b.Bandit, law: Any, policy: np.ndarray, said: str) -> list[str]:
    """Against the row's formula, group by group."""
    with np.errstate(divide="ignore"):
        solution = b.Solution(log_policy=np.log(policy), residual=0.0, unique=False)
    revision = revised(algorithm, bandit) if isinstance(algorithm, b.SRPO) else None
    case = Case(bandit, law, policy, revision=revision)
    return list(held(row_of(algorithm), algorithm, case, solution, said).wrong)


def revised(algorithm: b.SRPO, bandit: b.Bandit) -> np.ndarray:
    """SRPO's revision policy at its end: ref tilted by how often an answer beats the one that is revised."""
    tilted = bandit.reference * np.exp(bandit.preference.T / algorithm.beta)
    return np.asarray(tilted / tilted.sum(axis=-1, keepdims=True))


def at_once(quick: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What a moved slider shows, against what its release shows."""
    end, card_ = quick["end"], found["card"]
    if end["end"].startswith("none") or card_["end"].startswith("none"):
        return []
    off = np.abs(np.subtract(end["policy"], card_["policy"])).max()
    return [f"moved shows {end['policy']}, compute {card_['policy']}"] if off > SAME else []


def main(states: int, only: str = "") -> int:
    """All algorithms; the number of disagreements, and of bounds that are missed."""
    wrong, picture, moved, settled = 0, Picture(), [], []
    for name in (name for name in explorer.OFFERED if only in ("", name)):
        rng = np.random.default_rng([states, *name.encode()])
        words, none, at = [], 0, len(moved)
        for _ in range(states):
            state = explorer.checked(random_state(rng, name))
            begin = time.process_time()
            quick = explorer.moved(state)
            picture.show_moved(name, quick, state["reference"])
            picture.png()
            middle = time.process_time()
            found = explorer.compute(state)
            picture.show(found)
            picture.png()
            card.html(found)
            moved.append(middle - begin)
            settled.append(time.process_time() - middle)
            words += judged(found) + at_once(quick, found)
            none += found["card"]["end"].startswith("none")
        spent = [np.percentile(each[at:], [50, 95, 100]) for each in (moved, settled)]
        seconds = ", ".join(" ".join(f"{s:.3f}" for s in each) for each in spent)
        print(
            f"{name:26s} {states - none} ends, {none} without, {len(words)} wrong; seconds {seconds}",
            flush=True,
        )
        print(*words[:3], sep="\n", end="\n" * bool(words))
        wrong += len(words)
    for what, each, most in (("moved", moved, MOVED), ("settled", settled, SETTLED)):
        half, nearly, longest = np.percentile(each, [50, 95, 100])
        print(f"{what}: half {half:.3f} s, 95% {nearly:.3f} s (at most {most} s), all {longest:.3f} s")
        wrong += int(nearly > most)
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), *sys.argv[2:3]) else 0)
