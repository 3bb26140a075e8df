"""What may be set?  Three arms and all that moves on them, in one dictionary that JSON can hold.

    rewards           r, three numbers
    cycle             c: p(y beats y') = sigmoid(r(y) - r(y') + c) for (0, 1), (1, 2) and (2, 0)
    reference         ref, three probabilities
    sampling          who samples: a word of SAMPLING
    behavior          mu, of the one sampler, or of the first of two
    second_behavior   mu2, of the second
    data              comparisons (winner, loser): who samples, and what p is, if `sampling` is "data set"
    beta              what multiplies the KL to the reference
    baseline          b, of the algorithms that take a number
    clip              of the algorithms that clip
    algorithm         the one that is looked at: a name of `offered.OFFERED`
    beside            others whose flow and end are shown beside it

What a state does not say is as in DEFAULT.  A link carries all of it behind "state=".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from bandits import checks
from bandits.checks import Floats
from bandits.explorer.offered import OFFERED
from bandits.sampling.rules import Dataset

State = dict[str, Any]

ARMS = 3
SAMPLING = ("one sampler", "two samplers", "on-policy", "data set")
RANGES = {  # all inclusive
    "rewards": (-4.0, 4.0),
    "cycle": (-3.0, 3.0),
    "reference": (0.01, 0.98),
    "behavior": (0.0, 1.0),
    "second_behavior": (0.0, 1.0),
    "beta": (0.05, 10.0),
    "baseline": (-4.0, 4.0),
    "clip": (0.05, 0.95),
}
MOST_BESIDE = 4
MOST_COMPARISONS = 100

DEFAULT: State = {
    "rewards": [2.5, 2.0, 1.0],
    "cycle": 0.0,
    "reference": [1 / 3, 1 / 3, 1 / 3],
    "sampling": "two samplers",
    "behavior": [0.1, 0.2, 0.7],
    "second_behavior": [0.05, 0.05, 0.9],
    "data": [[0, 1], [1, 2], [0, 2]],
    "beta": 0.5,
    "baseline": 0.0,
    "clip": 0.2,
    "algorithm": "PG",
    "beside": ["CoPG", "DPO", "IPO"],
}


def checked(state: Mapping[str, Any] | None) -> State:
    """The whole state, of plain numbers, lists and words, with the defaults where nothing is said.

    Raises:
        ValueError: an entry is unknown, of a wrong kind, or out of its range; the first of them is named.

    Example:
        >>> checked({"beta": 2})["beta"], checked({})["sampling"]
        (2.0, 'two samplers')
    """
    if not isinstance(state, Mapping | None):
        raise ValueError(
            f"state must be a dictionary, but state = {checks.shown(state)}; {{}} is the default"
        )
    given = dict(state or {})
    for key in given:
        if key not in DEFAULT:
            known = ", ".join(DEFAULT)
            raise ValueError(f"state must have no entries but {known}, but it has {key!r}; leave it out")
    whole = DEFAULT | given
    return {
        "rewards": _numbers(whole, "rewards").tolist(),
        **{name: _number(whole, name) for name in ("cycle", "beta", "baseline", "clip")},
        **{name: _policy(whole, name) for name in ("reference", "behavior", "second_behavior")},
        "sampling": one_of(whole["sampling"], SAMPLING, "sampling"),
        "data": _comparisons(whole["data"]),
        "algorithm": one_of(whole["algorithm"], tuple(OFFERED), "algorithm"),
        "beside": _names(whole["beside"]),
    }


def one_of(word: Any, words: tuple[str, ...], name: str) -> str:
    """One of these words.

    Raises:
        ValueError: it is none of them.
    """
    if not isinstance(word, str) or word not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, but {name} = {checks.shown(word)}")
    return word


def link(state: Mapping[str, Any] | None, page: str = "") -> str:
    """An address that carries a state, to be opened or sent.

    Raises:
        ValueError: the state is none, or the page no string.

    Example:
        >>> link({}, "explorer.html")[:36]
        'explorer.html#state=%7B%22rewards%22'
    """
    if not isinstance(page, str):
        raise ValueError(f"page must be a string, but page = {checks.shown(page)}; '' is this page")
    return f"{page}#state={quote(json.dumps(checked(state), separators=(',', ':')), safe='')}"


def from_link(address: str) -> State:
    """The state that an address carries behind `state=`, in its fragment or query; the default without one.

    Raises:
        ValueError: what it carries is no state.

    Example:
        >>> from_link(link({"beta": 2.0}, "explorer.html"))["beta"], from_link("explorer.html")["beta"]
        (2.0, 0.5)
    """
    if not isinstance(address, str):
        raise ValueError(f"address must be a string, but address = {checks.shown(address)}; see link(state)")
    _, found, carried = address.partition("state=")
    if not found:
        return checked({})
    try:
        read = json.loads(unquote(carried.partition("&")[0]))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"address must carry JSON behind 'state=', but {error}; make one by link(state)"
        ) from error
    return checked(read)


def rebalanced(policy: list[float], arm: int, share: float, low: float = 0.0) -> list[float]:
    """The distribution in which one arm has this share, and the others keep their odds, none below `low`.

    Example:
        >>> rebalanced([0.2, 0.2, 0.6], 0, 0.6)
        [0.6, 0.1, 0.3]
    """
    share = min(max(share, low), 1 - (ARMS - 1) * low)
    others = [y for y in range(ARMS) if y != arm]
    weight = sum(policy[y] for y in others)
    first = policy[others[0]] / weight if weight > 0 else 1 / 2
    left = 1 - share
    first = min(max(first * left, low), left - low)
    new = dict(zip([arm, *others], [share, first, left - first], strict=True))
    return [round(new[y], 15) for y in range(ARMS)]


def _numbers(state: State, name: str) -> Floats:
    """Three numbers within their range."""
    values = checks.arms(state[name], name)
    if values.shape != (ARMS,):
        raise ValueError(
            f"{name} must hold {ARMS} numbers, one for each arm, but its shape is {values.shape}"
        )
    low, high = RANGES[name]
    checks.reject_first(
        (values < low) | (values > high), values, name, f"in [{low:g}, {high:g}]", "bring it back"
    )
    return values


def _number(state: State, name: str) -> float:
    value, (low, high) = checks.number(state[name], name), RANGES[name]
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], but {name} = {value!r}; bring it back")
    return value


def _policy(state: State, name: str) -> list[float]:
    return checks.distribution(_numbers(state, name), name).tolist()


def _comparisons(pairs: Any) -> list[list[int]]:
    try:
        found = Dataset(pairs).pairs
    except ValueError as error:
        raise ValueError(f"data must be a list of comparisons: {error}") from error
    checks.reject_first(found >= ARMS, found, "data", f"arms below {ARMS}", "count arms from 0")
    if len(found) > MOST_COMPARISONS:
        raise ValueError(
            f"data must hold at most {MOST_COMPARISONS} comparisons, but it holds {len(found)}; drop some"
        )
    return found.tolist()


def _names(beside: Any) -> list[str]:
    if not isinstance(beside, list | tuple) or len(beside) > MOST_BESIDE:
        raise ValueError(
            f"beside must be a list of at most {MOST_BESIDE} names, but beside = {checks.shown(beside)}"
        )
    return list(dict.fromkeys(one_of(name, tuple(OFFERED), "beside") for name in beside))
