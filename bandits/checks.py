"""Is the input usable?  If not, one `ValueError` names argument, rule, first bad entry and remedy.

Everything that the public functions take passes through here once.  Arrays are copied to float64
and made read-only, so that a caller's array is never mutated and a stored one never changes; numbers
become Python's `float` and `int`, so that no float32 lowers the precision of what follows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SUM_TOLERANCE = 1e-8  # how far probabilities may be from summing to one before we refuse them
SUM_TOLERANCE_FLOAT32 = 1e-5  # the same for what came as float32: its softmax of 1e4 arms errs by 1e-6
MOST_SAMPLES = 2**16  # that an algorithm may look at together
LARGEST = 1e150  # of any number: squares stay finite, and so do reciprocals
SHOWN = 60  # characters of a bad value that a message quotes


def reject_first(bad: NDArray[np.bool_], values: NDArray[Any], name: str, rule: str, remedy: str) -> None:
    """Raise for the first True of `bad`, quoting its index and value.

    Raises:
        ValueError: any entry of `bad` is True.
    """
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f"{name}[{', '.join(map(str, index))}]" if index else name
        raise ValueError(f"{name} must be {rule}, but {where} = {values[index]!s}; {remedy}")


def floats(values: ArrayLike, name: str) -> Floats:
    """A private, read-only float64 copy; NaN, infinities and what a square would make infinite are refused.

    Raises:
        ValueError: `values` is not numeric, has masked entries, or an entry is not finite or beyond 1e150.
    """
    return _in_float64(as_numbers(values, name), name)


def as_numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    """A copy in whatever type of real number it came.

    Raises:
        ValueError: `values` is not numeric, or has masked entries.
    """
    if _is_masked(values):
        raise ValueError(f"{name} must not be masked, but it has masked entries; fill or drop them")
    try:
        array = np.array(
            values if isinstance(values, list | tuple) else np.asarray(values)
        )  # torch: no copy=
        if array.dtype.kind not in "biuf":
            raise TypeError(f"its type is {array.dtype}")
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # torch: what requires grad
        raise ValueError(f"{name} must be an array of real numbers, but {error}{_hint(values)}") from error
    return array


def _in_float64(array: NDArray[Any], name: str) -> Floats:
    """Finite float64 numbers, read-only; the argument is ours."""
    with np.errstate(over="ignore"):  # longer floats
        array = array.astype(np.float64, copy=False)
    if array.size and not (-LARGEST <= array.min() and array.max() <= LARGEST):  # NaN too
        reject_first(~np.isfinite(array), array, name, "finite", "replace NaN and infinite entries")
        far = np.abs(array) > LARGEST
        reject_first(far, array, name, f"at most {LARGEST:g} in size", "choose another unit")
    array.flags.writeable = False
    return array


def _is_masked(values: Any) -> bool:
    """Whether an entry is masked: NumPy would show what lies under the mask."""
    if isinstance(values, list | tuple):
        return any(map(_is_masked, values))
    return isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values)


def _hint(values: Any) -> str:
    """What was perhaps meant by an object that is no array."""
    for field in ("policy", "policies"):
        if field in dir(values):
            return f"; pass its .{field}"
    return ""


def arms(values: ArrayLike, name: str) -> Floats:
    """`floats` with at least one axis, none of them empty; the last are the arms.

    Raises:
        ValueError: as `floats`, or there are no arms.
    """
    return _with_arms(floats(values, name), name)


def _with_arms(array: Floats, name: str) -> Floats:
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} must have the arms as its last axis, but its shape is {array.shape}")
    return array


def distribution(values: ArrayLike, name: str, axes: int = 1) -> Floats:
    """Probabilities along the last axis, or the last `axes`: not negative, summing to one.

    Sums are 1 within 1e-8, or within 1e-5 for float32 (NumPy's or torch's), which is then normalised.

    Raises:
        ValueError: an entry is negative, or a sum is further from one.
    """
    raw = as_numbers(values, name)
    array = _with_arms(_in_float64(raw, name), name)
    reject_first(array < 0, array, name, "non-negative", "probabilities lie in [0, 1]")
    total = np.asarray(array.sum(axis=tuple(range(-axes, 0))))
    bad = np.abs(total - 1) > sum_tolerance(raw)
    whole = f"sum of {name}" if axes == 1 else f"sum of {name} (all pairs of a context)"
    reject_first(bad, total, whole, "1", "divide by the sum, in float64, to normalise")
    if raw.dtype == np.float32:
        array = array / total.reshape(*total.shape, *(1,) * axes)
        array.flags.writeable = False
    return array


def sum_tolerance(raw: NDArray[Any]) -> float:
    """How far numbers of this type may be from summing to one."""
    return SUM_TOLERANCE_FLOAT32 if raw.dtype == np.float32 else SUM_TOLERANCE


def number(value: float, name: str) -> float:
    """A finite real number, as Python's float.

    Raises:
        ValueError: it is not, or it is beyond 1e150.
    """
    found = _float(value)
    if not abs(found) <= LARGEST:
        beyond = f" of at most {LARGEST:g} in size" if LARGEST < abs(found) < math.inf else ""
        raise ValueError(f"{name} must be a finite number{beyond}, but {name} = {shown(value)}")
    return found


def positive(value: float, name: str, remedy: str = "choose a positive number") -> float:
    """A finite number > 0, as Python's float.

    Raises:
        ValueError: the number is not finite, not positive, or outside [1e-150, 1e150].
    """
    found = _float(value)
    if not 0 < found < math.inf:
        raise ValueError(f"{name} must be a positive, finite number, but {name} = {shown(value)}; {remedy}")
    if not 1 / LARGEST <= found <= LARGEST:
        raise ValueError(
            f"{name} must lie between {1 / LARGEST:g} and {LARGEST:g}, where squares and reciprocals are "
            f"finite, but {name} = {shown(value)}"
        )
    return found


def positive_or_infinite(value: float, name: str, remedy: str = "choose a positive number") -> float:
    """`positive`, or infinity.

    Raises:
        ValueError: the number is neither.
    """
    if _float(value) == math.inf and not isinstance(value, int):
        return math.inf
    return positive(value, name, f"{remedy}, or math.inf for no clipping")


def zero_or_more(value: float, name: str, remedy: str, *, infinite: bool = False) -> float:
    """Zero, or `positive`; or infinity where that is taken.

    Raises:
        ValueError: the number is neither.
    """
    if _float(value) == 0:
        return 0.0
    return (positive_or_infinite if infinite else positive)(value, name, remedy)


def _float(value: Any) -> float:
    """Python's float; NaN for what is no number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an int beyond 1e308
        return math.inf


def fraction(value: float, name: str) -> float:
    """A number in [0, 1], as Python's float.

    Raises:
        ValueError: the number lies outside [0, 1].
    """
    found = number(value, name)
    if not 0 <= found <= 1:
        raise ValueError(f"{name} must lie in [0, 1], but {name} = {shown(value)}")
    return found


def deviation(value: float, name: str) -> float:
    """A standard deviation, 0 or more, as Python's float.

    Raises:
        ValueError: it is no number, or negative.
    """
    found = _float(value)
    if not abs(found) <= LARGEST:
        raise ValueError(f"{name} must be finite, one number, but {name} = {shown(value)}")
    if found < 0:
        raise ValueError(f"{name} must be a standard deviation, 0 or more, but {name} = {shown(value)}")
    return found


def count(value: int, name: str, least: int = 1, most: int = 2**53) -> int:
    """An integer from `least` to `most`, as Python's int.

    Raises:
        ValueError: not an integer, too small, or too large.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, but {name} = {shown(value)}")
    if value > most:
        raise ValueError(f"{name} must be an integer of at most {most}, but {name} = {shown(value)}")
    return int(value)


def flag(value: bool, name: str) -> bool:
    """True or False.

    Raises:
        ValueError: something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, but {name} = {shown(value)}")
    return bool(value)


def generator(value: np.random.Generator, name: str = "rng") -> np.random.Generator:
    """A source of chance.

    Raises:
        ValueError: something else, say a seed.
    """
    if not isinstance(value, np.random.Generator):
        raise ValueError(
            f"{name} must be a numpy.random.Generator, but {name} = {shown(value)}; "
            f"pass np.random.default_rng(seed)"
        )
    return value


def function(value: Callable[..., Any], name: str, *takes: str) -> None:
    """A function that can be called with the arguments named in `takes`.

    Raises:
        ValueError: it is not callable, a class, or takes other arguments.
    """
    wanted = f"{name} must be a function of ({', '.join(takes)})"
    if not callable(value) or isinstance(value, type):
        raise ValueError(f"{wanted}, but {name} = {shown(value)}")
    if isinstance(value, FunctionType) and value.__code__.co_argcount == len(takes):
        if not value.__code__.co_kwonlyargcount:
            return
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some builtins have none
        return
    try:
        signature.bind(*takes)
    except TypeError as error:
        raise ValueError(f"{wanted}, but {name} takes {signature}") from error


def instance(value: Any, kind: type, name: str, remedy: str) -> None:
    """An object of this kind, and not the class itself.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, but {name} = {shown(value)}; {remedy}")


def shown(value: Any) -> str:
    """A bad value as messages quote it: on one line, not too long, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - a reader's __repr__, or an int of too many digits
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def within(array: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """The array broadcast to a shape.

    Raises:
        ValueError: it does not fit.
    """
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:
        raise ValueError(f"{name} must broadcast to {shape}, but its shape is {array.shape}") from error


def same_arms(a: NDArray[Any], b: NDArray[Any], name_a: str, name_b: str) -> None:
    """Two arrays agree in their number of arms, and their contexts broadcast.

    Raises:
        ValueError: they do not.
    """
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"{name_a} and {name_b} must have the same number of arms (last axis), "
            f"but they have {a.shape[-1]} and {b.shape[-1]}"
        )
    same_contexts(a.shape, b.shape, name_a, name_b)


def same_contexts(a: tuple[int, ...], b: tuple[int, ...], name_a: str, name_b: str) -> None:
    """Two shapes broadcast, which are those of contexts, or end in the same number of arms.

    Raises:
        ValueError: they do not.
    """
    try:
        np.broadcast_shapes(a, b)
    except ValueError as error:
        raise ValueError(
            f"the contexts of {name_a} and {name_b} must broadcast, but their shapes are {a} and {b}"
        ) from error


def inside(policy: Floats, reference: Floats, name: str) -> None:
    """Probabilities that are zero where the reference is.

    Raises:
        ValueError: one is not.
    """
    if reference.min() > 0:
        return
    policy, reference = np.broadcast_arrays(policy, reference)
    reject_first(
        (policy > 0) & (reference == 0),
        policy,
        name,
        "zero where the reference is zero",
        "log pi/ref is infinite there: stay inside the reference's support",
    )
