"""On which groups is a loss tried, and is it usable there?  What it must not do is found here.

A group is k answers whose policy, reference and sampler have little to do with each other: log-ratios of a
few units, likelihood ratios on both sides of a clip, rewards of any sign, one to nine tokens, drawn labels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bandits.samples import Samples, present
from llm.conformance.from_loss import FromLoss, scalar
from llm.conformance.inputs import MASKS, PADDING, TRAINED

GROUPS = 48
SAME = 1e-9  # relative: rounding of double precision, and of a sum over a batch


def some_groups(k: int, seed: int, groups: int = GROUPS) -> Samples:
    """Random groups with a number in every field that a loss can be shown, (groups, k)."""
    rng = torch.Generator().manual_seed(seed)

    def normal(scale: float) -> Tensor:
        return scale * torch.randn(groups, k, generator=rng, dtype=torch.float64)

    log_prob = -1.0 - normal(1.0).abs() * 2
    first_wins = torch.rand(groups, k, k, generator=rng, dtype=torch.float64).gt(0.5).double().triu(1)
    preference = first_wins + (1 - first_wins).mT.tril(-1) + 0.5 * torch.eye(k, dtype=torch.float64)
    return Samples(
        log_prob=log_prob,
        reference_log_prob=log_prob - normal(0.9) - 0.3,
        behavior_log_prob=log_prob - normal(0.4),
        reward=normal(1.3) + 0.4,
        preference=preference,
        desirable=torch.rand(groups, k, generator=rng, dtype=torch.float64).gt(0.4).double(),
        length=torch.randint(1, 10, (groups, k), generator=rng).double(),
    )


def reject_chance(made: FromLoss, samples: Samples) -> None:
    """Refuse a loss that draws random numbers.

    Raises:
        ValueError: two calls on the same tensors gave two numbers.
    """
    with torch.random.fork_rng(devices=[]):
        first, second = (_summed(made, samples) for _ in range(2))
    if not torch.equal(first, second):
        raise ValueError(
            f"loss must be a function of its inputs, but two calls gave {first.item():.6g}, "
            f"{second.item():.6g}: it draws random numbers, or remembers; turn off dropout, pass the draws"
        )
    if not first.isfinite():
        raise ValueError(f"loss must be finite, but on ordinary log-probabilities it is {first.item()}")


def _summed(made: FromLoss, samples: Samples) -> Tensor:
    shown = _leaves(made, samples, PADDING)
    return scalar(made.function(*shown), made).detach()


def coefficients(made: FromLoss, samples: Samples) -> Tensor:
    """What the loss makes of each sample, (n, k).

    Raises:
        ValueError: it has no gradient in what it trains, or one that is not finite.
    """
    try:
        found = made.update(samples).log_prob
    except RuntimeError as error:
        if "appears to not have been used" not in str(error):
            raise
        trained = " and ".join(name for name in made.inputs if name in TRAINED)
        raise ValueError(
            f"loss must be differentiable in {trained}, but no gradient reaches it: detached, or not used"
        ) from error
    if not (found.isfinite().all() and found.any()):
        what = "zero everywhere" if found.isfinite().all() else "not finite"
        raise ValueError(f"loss must have a finite gradient, but on ordinary log-probabilities it is {what}")
    return found


def company(made: FromLoss, samples: Samples) -> str | None:
    """What of a group's coefficients depends on the rest of its batch: "" where only their common size does.

    None: nothing does.  Eight groups are seen with two companies of the same number.
    """
    head = torch.arange(8)
    rest = [torch.arange(8, 24), torch.arange(24, 40)]
    found = [coefficients(made, _some(samples, torch.cat((head, others))))[:8] for others in rest]
    if close(found[0], found[1]):
        return None
    factor = (found[0] * found[1]).sum() / (found[1] ** 2).sum()
    if close(found[0], factor * found[1]):
        return ""
    change = (found[0] - found[1]).abs().max() / found[0].abs().max()
    return f"by {change:.2g} of the largest"


def reject_other_reduction(made: FromLoss, samples: Samples) -> None:
    """Refuse a sum over groups that is said to be a mean, and the reverse.

    Raises:
        ValueError: a batch twice as large makes every coefficient larger or smaller by two.
    """
    whole, half = (coefficients(made, _some(samples, torch.arange(n)))[:8] for n in (48, 24))
    for factor, truth in ((2.0, "sum"), (0.5, "mean")):
        if close(whole, factor * half):
            raise ValueError(
                f"reduction must say how the loss puts groups together, but it is {made.reduction!r}, and "
                f"the loss takes their {truth}; pass reduction={truth!r}"
            )


def _some(samples: Samples, rows: Tensor) -> Samples:
    return replace(samples, **{name: array[rows] for name, array in present(samples).items()})


def close(a: Tensor, b: Tensor, tolerance: float = SAME) -> bool:
    """|a - b| <= tolerance * max |a|, entry by entry."""
    return bool((a - b).abs().max() <= tolerance * a.abs().max())


def reads_padding(made: FromLoss, samples: Samples) -> bool:
    """Whether what stands behind the last token makes a difference."""
    if not any(mask in made.inputs for mask in MASKS):
        return False
    first, second = (_token_slopes(made, samples, padding) for padding in (PADDING, 2 * PADDING))
    same = all(close(a, b) for a, b in zip(first, second, strict=True))
    return not same or any(
        (slope * (1 - mask)).any() for slope, mask in zip(first, _masks(made, samples), strict=True)
    )


def _masks(made: FromLoss, samples: Samples) -> list[Tensor]:
    """The mask of each input that is trained, in their order."""
    shown = _leaves(made, samples, PADDING)
    return [x.detach() for x, name in zip(shown, made.inputs, strict=True) if name in MASKS]


def goes_token_by_token(made: FromLoss, samples: Samples, tolerance: float) -> bool:
    """Whether the tokens of an answer are trained unequally: no coefficient of the answer says it all."""
    if not any(mask in made.inputs for mask in MASKS):
        return False
    for slope, mask in zip(_token_slopes(made, samples, PADDING), _masks(made, samples), strict=True):
        mean = (slope * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)
        if not close(slope * mask, mean * mask, max(tolerance, SAME)):
            return True
    return False


def _token_slopes(made: FromLoss, samples: Samples, padding: float) -> list[Tensor]:
    """Derivatives in the log-probability of each token, zeros where none reaches it."""
    shown = _leaves(made, samples, padding)
    trained = [leaf for leaf in shown if leaf.requires_grad]
    value = scalar(made.function(*shown), made)
    return list(torch.autograd.grad(value, trained, allow_unused=True, materialize_grads=True))


def _leaves(made: FromLoss, samples: Samples, padding: float) -> list[Tensor]:
    """The tensors of a call, those that are trained as leaves."""
    totals = made.totals(samples)
    label = totals.get("label")
    shown = made.shown(totals, None if label is None else label == 1, padding)
    return [x.detach().requires_grad_(name in TRAINED) for name, x in zip(made.inputs, shown, strict=True)]


def ignored(made: FromLoss, samples: Samples) -> list[str]:
    """Inputs whose exchange between the groups changes neither the loss nor its gradient."""
    shown = _leaves(made, samples, PADDING)
    before = _value_and_slopes(made, shown)
    found = []
    for i, name in enumerate(made.inputs):
        other = shown[i].detach().roll(1, 0).requires_grad_(name in TRAINED)
        after = _value_and_slopes(made, [*shown[:i], other, *shown[i + 1 :]])
        if all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
            found.append(name)
    return found


def _value_and_slopes(made: FromLoss, shown: list[Tensor]) -> list[Tensor]:
    value = scalar(made.function(*shown), made)
    trained = [leaf for leaf in shown if leaf.requires_grad]
    slopes = torch.autograd.grad(value, trained, allow_unused=True, materialize_grads=True)
    return [value.detach(), *slopes]
