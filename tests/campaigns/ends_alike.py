"""A campaign: do the verdict's card and `fixed_point` say the same of every wrong twin?

    python tests/campaigns/ends_alike.py 3              three random uneven worlds for each
    python tests/campaigns/ends_alike.py 3 CoPG IPO     of these rows alone; about ten seconds a row and world

For every row of the algorithms' tests, every twin of tests/test_wrong_twins.py and both who sample, the
policy and somebody else: the end on the card and `fixed_point` from the reference.  Both rest, at the same
policy, or neither does, for the same reason.  What takes longer than SECONDS of processor time is counted as
left.  Prints a line for each row; exits 1 if anything differs.  CoPG's run among the tests.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import bandits as b
from bandits.testing import twins
from bandits.verdict.ends import end_of
from bandits.verdict.worlds import Trial
from rows import every_row

TWINS = (
    twins.flipped_sign,
    twins.divided_by_k,
    twins.swapped_kl,
    twins.dropped_kl,
    twins.wrong_reference,
    twins.dropped_detach,
    twins.flipped_label,
    twins.swapped_mixture,
)
SECONDS = 60
NEAR = 1e-5  # policies of one end, and not of two


def trials(seed: int, arms: int = 3) -> list[Trial]:
    """A random uneven world, sampled by somebody else and by the policy."""
    rng = np.random.default_rng(seed)
    world = b.Bandit(
        rng.normal(size=arms),
        reference=rng.dirichlet(np.full(arms, 3.0)),
        length=rng.integers(1, 6, arms).astype(float),
        desirable=rng.uniform(0.1, 0.9, arms),
    )
    mu = b.Offline(rng.dirichlet(np.full(arms, 3.0)))
    return [Trial("random", "fixed", world, mu), Trial("random", "on-policy", world, b.OnPolicy())]


def differ(algorithm: Any, trial: Trial) -> str:
    """What the card says and what the solver says, where these are two things; else ""."""
    card = end_of(algorithm, trial)
    try:
        found = b.fixed_point(algorithm, trial.bandit, trial.sampling)
    except b.NotConverged as error:
        return "" if card.reason == error.reason else f"{card.reason} / {error.reason}"
    if card.reason != "rests" or card.policy is None:
        return f"{card.reason} / rests"
    far = float(np.abs(card.policy - found.policy).max())
    return "" if far < NEAR else f"rests {far:.1e} apart"


def main(seeds: int, names: list[str]) -> int:
    """Print a line for each row."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGVTALRM, _stop)
    mistaken = 0
    for name, row in every_row().items():
        if names and name not in names:
            continue
        seen: Counter[str] = Counter()
        for twin in TWINS:
            wrong = twin(row.make(0.7))
            for trial in [one for seed in range(seeds) for one in trials(seed)] if wrong is not None else []:
                said = _timed(wrong, trial)
                seen[said] += 1
                if said not in ("", "left", "refused"):
                    print(f"    {name} {twin.__name__} {trial.law}: {said}", flush=True)
        mistaken += sum(count for said, count in seen.items() if said not in ("", "left", "refused"))
        print(f"{name}: {seen['']} alike, {seen['left']} left, {seen['refused']} refused", flush=True)
    print(f"{mistaken} differ")
    return int(mistaken > 0)


class _TooLong(BaseException):
    """SECONDS are over."""


def _stop(*_: Any) -> None:
    raise _TooLong


def _timed(wrong: Any, trial: Trial) -> str:
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        return differ(wrong, trial)
    except _TooLong:
        return "left"
    except ValueError:  # it takes no such samples
        return "refused"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
