"""Is the input usable?  If not, one `ValueError` names argument, rule, first bad entry and remedy.

Everything that the public functions take passes through here once.  Arrays are copied to float64
and made read-only, so that a caller's array is never mutated and a stored one never changes.
"""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SUM_TOLERANCE = 1e-8  # how far probabilities may be from summing to one before we refuse them


def reject_first(bad: NDArray[np.bool_], values: NDArray, name: str, rule: str, remedy: str) -> None:
    """Raise for the first True of `bad`, quoting its index and value.

    Raises:
        ValueError: any entry of `bad` is True.
    """
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f"{name}[{', '.join(map(str, index))}]" if index else name
        raise ValueError(f"{name} must be {rule}, but {where} = {values[index]!s}; {remedy}")


def floats(values: ArrayLike, name: str) -> Floats:
    """A private, read-only float64 copy; NaN and infinities are refused.

    Raises:
        ValueError: `values` is not numeric, or an entry is not finite.
    """
    try:
        array = np.array(values)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"its type is {array.dtype}")
        array = array.astype(np.float64, copy=False)  # np.array copied already
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of real numbers, but {error}") from error
    reject_first(~np.isfinite(array), array, name, "finite", "replace NaN and infinite entries")
    array.flags.writeable = False
    return array


def arms(values: ArrayLike, name: str) -> Floats:
    """`floats` with at least one axis, the last of them (the arms) not empty."""
    array = floats(values, name)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"{name} must have the arms as its last axis, but its shape is {array.shape}")
    return array


def distribution(values: ArrayLike, name: str) -> Floats:
    """Probabilities along the last axis: not negative, summing to one.

    Raises:
        ValueError: an entry is negative, or a sum is further than 1e-8 from one.
    """
    array = arms(values, name)
    reject_first(array < 0, array, name, "non-negative", "probabilities lie in [0, 1]")
    total = np.asarray(array.sum(axis=-1))
    bad = np.abs(total - 1) > SUM_TOLERANCE
    reject_first(bad, total, f"sum of {name}", "1", "divide by the sum to normalise")
    return array


def positive(value: float, name: str, remedy: str = "choose a positive number") -> float:
    """A finite number > 0.

    Raises:
        ValueError: the number is not finite, or not positive.
    """
    if not isinstance(value, Real) or not math.isfinite(value) or not value > 0:
        raise ValueError(f"{name} must be a positive, finite number, but {name} = {value!r}; {remedy}")
    return float(value)


def number(value: float, name: str) -> float:
    """A finite real number.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, but {name} = {value!r}")
    return float(value)


def fraction(value: float, name: str) -> float:
    """A number in [0, 1].

    Raises:
        ValueError: the number lies outside [0, 1].
    """
    if not 0 <= number(value, name) <= 1:
        raise ValueError(f"{name} must lie in [0, 1], but {name} = {value!r}")
    return float(value)


def count(value: int, name: str, least: int = 1) -> int:
    """An integer of at least `least`.

    Raises:
        ValueError: not an integer, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, but {name} = {value!r}")
    return int(value)


def same_arms(a: NDArray, b: NDArray, name_a: str, name_b: str) -> None:
    """Two arrays agree in their number of arms, and their contexts broadcast.

    Raises:
        ValueError: they do not.
    """
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"{name_a} and {name_b} must have the same number of arms (last axis), "
            f"but they have {a.shape[-1]} and {b.shape[-1]}"
        )
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError as error:
        raise ValueError(
            f"the contexts of {name_a} and {name_b} must broadcast, "
            f"but their shapes are {a.shape} and {b.shape}"
        ) from error
