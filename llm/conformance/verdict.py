"""Is a loss what it claims to be?  Its gradient is compared with the algorithm's, a difference is named."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from bandits import checks
from bandits.samples import Algorithm, Samples, group_size
from llm.conformance import faults, trials
from llm.conformance.from_loss import FromLoss, Loss, Reduction, from_loss

if TYPE_CHECKING:
    from bandits import Report

Finding: TypeAlias = tuple[str, float, list[str]]  # name of the fault, scale, lines of the message

SECOND_BETA = 0.3  # at beta = 1 its square and its absence look the same
SEED = 0


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Args:
        ok: the gradient is that of the algorithm, up to a positive factor.
        fault: a name of `FAULTS`; None where it is right.
        scale: the factor, gradient of the loss = scale * gradient of the algorithm, or of what the message
            names in its place; NaN where it names nothing.
        error: largest difference of a coefficient, relative to the largest coefficient.
        message: the same in words, a line each.

    Example:
        >>> Verdict(ok=False, fault="flipped sign", scale=-1.0, error=2.0, message="it descends").assert_ok()
        Traceback (most recent call last):
        AssertionError: it descends
    """

    ok: bool
    fault: str | None
    scale: float
    error: float
    message: str

    def assert_ok(self) -> None:
        """Nothing, where it is right.

        Raises:
            AssertionError: it is not; the message says what is found.
        """
        if not self.ok:
            raise AssertionError(self.message)


def identify(
    loss: Loss, inputs: Sequence[str], *, k: int | None = None, reduction: Reduction = "mean"
) -> Report:
    """What does a loss optimise?  The report of `bandits` on `from_loss`: where it ends, how, and its kin.

    Raises:
        ValueError: as `from_loss`.

    Example: a square of the margin is IPO's loss: half of it, at beta = 1/2.

        >>> def mine(chosen, rejected, ref_chosen, ref_rejected):
        ...     return ((chosen - rejected - ref_chosen + ref_rejected - 1) ** 2).mean()
        >>> inputs = ("chosen", "rejected", "reference_chosen", "reference_rejected")
        >>> identify(mine, inputs).kin  # a minute: 32 worlds and laws  # doctest: +SKIP
        'IPO'
    """
    from bandits import report  # here: a verdict does not need it

    return report(from_loss(loss, inputs, k=k, reduction=reduction))


def check_loss(
    loss: Loss,
    inputs: Sequence[str],
    against: Algorithm,
    *,
    tolerance: float = 1e-6,
    k: int | None = None,
    reduction: Reduction = "mean",
) -> Verdict:
    """Whether a torch loss has the gradient of an algorithm, and if not, the name of its fault.

    Args:
        loss, inputs, k, reduction: as for `from_loss`; k is by default that of the algorithm.
        against: what it claims to be: an algorithm of `bandits`, or any object with `k` and `update`.
        tolerance: of a coefficient, relative to the largest; 1e-6 for float32 inside, 2e-2 for bfloat16.

    Raises:
        ValueError: the loss cannot be compared: as `from_loss`, or it draws random numbers, is not
            differentiable or not finite, or k is not that of the algorithm.

    Example:
        >>> import torch
        >>> from bandits import DPO
        >>> def mine(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
        ...     return -torch.nn.functional.logsigmoid(beta * (chosen - rejected)).mean()
        >>> inputs = ("chosen", "rejected", "reference_chosen", "reference_rejected")
        >>> check_loss(mine, inputs, against=DPO(beta=0.1)).fault
        'dropped reference'
    """
    checks.positive(tolerance, "tolerance")
    made = prepared(loss, inputs, group_size(against), k, reduction)
    found = verdict_on(made, against, tolerance=tolerance, seed=SEED)
    if getattr(against, "beta", None) != 1 or not found.ok:
        return found
    return _at_a_second_beta(found, made, against, tolerance)


def prepared(loss: Loss, inputs: Sequence[str], size: int, k: int | None, reduction: Reduction) -> FromLoss:
    """The loss as an algorithm in groups of the other's size.

    Raises:
        ValueError: it takes groups of another size.
    """
    if k is not None and k != size:
        raise ValueError(f"k must be that of against, {size}, but k = {k}; give the algorithm its k")
    grouped = k is not None or "reward" in inputs
    made = from_loss(loss, inputs, k=size if grouped else None, reduction=reduction)
    flat = not made.paired and "label" not in made.inputs
    made = replace(made, k=size) if flat else made  # single answers stand in a row, whatever their groups
    if made.k != size:
        raise ValueError(
            f"against must look at {made.k} samples, as a loss of {', '.join(made.inputs)} does, but "
            f"its k is {size}"
        )
    return made


def verdict_on(made: FromLoss, against: Algorithm, *, tolerance: float, seed: int) -> Verdict:
    """The verdict on random groups of this seed."""
    samples = shown(made, trials.some_groups(made.k, seed))
    trials.reject_chance(made, samples)
    found = trials.coefficients(made, samples)
    notes = _notes(made, samples, against)
    early = _unusable(made, samples, tolerance)
    if early is not None:
        return Verdict(False, early[0], float("nan"), float("nan"), "\n".join([early[1], *notes]))
    return judged(found, faults.Claim(against, samples), tolerance, notes)


def judged(found: Tensor, claim: faults.Claim, tolerance: float, notes: Sequence[str] = ()) -> Verdict:
    """The verdict on coefficients: right, a named fault, another beta, or another objective."""
    right = faults.match("", found, claim.right)
    if right.error <= tolerance:
        words = f"the gradient is that of {claim.against!r}, times {right.scale:.6g}"
        return Verdict(True, None, right.scale, right.error, "\n".join([words, *notes]))
    name, scale, lines = (
        _a_fault(found, claim, tolerance)
        or _another_beta(found, claim, tolerance)
        or _another_objective(found, claim, tolerance)
    )
    return Verdict(False, name, scale, right.error, "\n".join([*lines, *notes]))


def shown(made: FromLoss, samples: Samples) -> Samples:
    """Where an advantage is given and no reference, the KL was charged before: pi = ref."""
    if "advantage" in made.inputs and "reference_log_prob" not in made.inputs:
        return replace(samples, reference_log_prob=samples.log_prob)
    return samples


def _notes(made: FromLoss, samples: Samples, against: Algorithm) -> list[str]:
    ignored = trials.ignored(made, samples)
    notes = [f"it ignores its input {name}" for name in ignored]
    if "advantage" in made.inputs and "reference_log_prob" not in made.inputs and hasattr(against, "beta"):
        notes.append("without reference_log_prob its KL cannot be seen: compared at pi = ref")
    return notes


def _unusable(made: FromLoss, samples: Samples, tolerance: float) -> tuple[str, str] | None:
    """A fault that is no twin's, with its line."""
    mixed = trials.company(made, samples)
    if mixed == "":
        return _line("batch divisor")
    if mixed is not None:
        name, words = _line("mixes the batch")
        return name, f"{words} They change {mixed}."
    trials.reject_other_reduction(made, samples)
    if trials.reads_padding(made, samples):
        return _line("reads padding")
    if trials.goes_token_by_token(made, samples, tolerance):
        return _line("token by token")
    return None


def _line(fault: str) -> tuple[str, str]:
    return fault, f"{fault}: {faults.FAULTS[fault]}"


def _a_fault(found: Tensor, claim: faults.Claim, tolerance: float) -> Finding | None:
    known = faults.named_fault(found, claim, tolerance)
    if known is None:
        return None
    best, synonyms = known
    also = [f"the same function for {claim.against!r}: {', '.join(synonyms)}"] if synonyms else []
    otherwise = f"otherwise it is {claim.against!r}, times {best.scale:.6g}"
    return best.name, best.scale, [_line(best.name)[1], *also, otherwise]


def _another_beta(found: Tensor, claim: faults.Claim, tolerance: float) -> Finding | None:
    fitted = faults.nearest_beta(found, claim.against, claim.samples)
    if fitted is None or fitted[1].error > tolerance:
        return None
    return "another beta", fitted[1].scale, [f"another beta: the gradient is that of {fitted[0]!r}"]


def _another_objective(found: Tensor, claim: faults.Claim, tolerance: float) -> Finding:
    nearest = faults.nearest_objective(found, claim)
    if nearest is not None and nearest[1].error <= tolerance:
        algorithm, fit = nearest
        words = f"another objective: the gradient is that of {algorithm!r}, times {fit.scale:.6g}"
        return "another objective", fit.scale, [words]
    words = f"another objective, which no algorithm of bandits has; it is not that of {claim.against!r}"
    if nearest is not None:
        words += f"; the nearest is {nearest[0]!r} (error {nearest[1].error:.2g})"
    return "another objective", float("nan"), [words]


def _at_a_second_beta(found: Verdict, made: FromLoss, against: Algorithm, tolerance: float) -> Verdict:
    """The loss and the algorithm once more, where beta and its square differ."""
    other, algorithm = _with_beta(made.function, SECOND_BETA), faults.with_beta(against, SECOND_BETA)
    if other is None or algorithm is None:
        unseen = "at beta = 1 a forgotten or squared beta cannot be seen: check it at another beta too"
        return replace(found, message=f"{found.message}\n{unseen}")
    again = verdict_on(replace(made, function=other), algorithm, tolerance=tolerance, seed=SEED)
    where = f"at beta = {SECOND_BETA}, where beta and its square differ:"
    return replace(again, message=f"{where} {again.message}")


def _with_beta(loss: Loss, beta: float) -> Loss | None:
    """The same loss at another beta, where it has one that can be set; else None."""
    if isinstance(loss, functools.partial) and "beta" in loss.keywords:
        return functools.partial(loss.func, *loss.args, **{**loss.keywords, "beta": beta})
    if isinstance(getattr(loss, "beta", None), int | float):
        changed: Any = copy.copy(loss)
        changed.beta = beta
        return changed if callable(changed) else None
    try:
        parameters = inspect.signature(loss).parameters
    except (TypeError, ValueError):
        return None
    settable = "beta" in parameters and parameters["beta"].default is not inspect.Parameter.empty
    return functools.partial(loss, beta=beta) if settable else None


# ---- in somebody else's tests ------------------------------------------------------------------------------


def cases(loss: Loss, inputs: Sequence[str], against: Algorithm) -> list[Any]:
    """A `pytest.param` for each law, each a function without arguments that raises where the law is broken.

    Example:
        @pytest.mark.parametrize("law", cases(my_loss, ("chosen", "rejected"), against=DPO(beta=0.1)))
        def test_my_loss(law):
            law()

    Example: the laws are tried at once here, which pytest does one by one.

        >>> import torch
        >>> from bandits import DPO
        >>> def mine(chosen, rejected, ref_chosen, ref_rejected):
        ...     margin = chosen - rejected - ref_chosen + ref_rejected
        ...     return -torch.nn.functional.logsigmoid(0.1 * margin).mean()
        >>> inputs = ("chosen", "rejected", "reference_chosen", "reference_rejected")
        >>> for law in cases(mine, inputs, against=DPO(beta=0.1)):
        ...     law.values[0]()
    """
    import pytest  # here: a verdict does not need it

    made = prepared(loss, inputs, group_size(against), None, "mean")
    samples = shown(made, trials.some_groups(made.k, SEED))

    def usable() -> None:
        trials.reject_chance(made, samples)
        trials.coefficients(made, samples)

    def alone() -> None:
        early = _unusable(made, samples, 1e-6)
        assert early is None, early and early[1]

    def heeds() -> None:
        unused = trials.ignored(made, samples)
        assert not unused, f"it ignores its input {unused[0]}"

    def agrees() -> None:
        check_loss(loss, inputs, against).assert_ok()

    laws = {
        "it is a finite, differentiable function of its inputs": usable,
        "a group is trained alike in any company, whatever its padding": alone,
        "every input matters": heeds,
        f"its gradient is that of {type(against).__name__}": agrees,
    }
    return [pytest.param(law, id=name.replace(" ", "-")) for name, law in laws.items()]
