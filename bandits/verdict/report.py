"""What is the verdict on an algorithm?  Any object with `update`, put on trial, in one call.

For every world and every law of sampling the flow is followed from the reference and from everywhere else;
where it ends is compared with the targets that theory knows, and the expected update with that of every known
algorithm.  Nothing is sampled: all numbers are sums over groups of arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from bandits import checks
from bandits.bandit import Bandit
from bandits.policy import kl, log_policy_of
from bandits.samples import Algorithm
from bandits.verdict.blind import blindness
from bandits.verdict.card import Report, Row
from bandits.verdict.ends import End, end_of, residual
from bandits.verdict.how import both_fall, coverage, loss_agrees, speeds, unseen_arms
from bandits.verdict.kin import kin_of
from bandits.verdict.noise import noise_of
from bandits.verdict.picture import picture_of
from bandits.verdict.targets import end_name, inferred_beta
from bandits.verdict.worlds import Trial, trials


def report(
    algorithm: Algorithm,
    bandit: Bandit | Sequence[Bandit] | None = None,
    sampling: Any = None,
    *,
    beta: float | None = None,
) -> Report:
    """What an algorithm optimises: where it ends, how it gets there, how noisily, and whose kin it is.

    Args:
        algorithm: any object with `k` and `update(samples)`; it need not be registered anywhere.
        bandit: a world or several, one prompt each; by default six worlds made to tell algorithms apart, and
            one in which not all arms are compared.
        sampling: a rule or several; by default five laws for each world, those that the group size allows.
        beta: what multiplies the KL to the reference; by default `algorithm.beta`, else the one that fits
            the ends best.

    Raises:
        ValueError: an argument does not fit, or a world is too large to enumerate.

    Example:
        >>> from bandits import Bandit, CoPG, OnPolicy
        >>> found = report(CoPG(beta=0.5), Bandit([1.0, 0.0], reference=[0.3, 0.7]), OnPolicy())
        >>> found.end, found.kin, found.agreement, found.rows[0].unique
        ('optimum', 'CoPG', 'equal', True)
    """
    given = beta if beta is not None else getattr(algorithm, "beta", None) or None  # 0: it has no KL
    known_beta = None if given is None else checks.positive(given, "beta")
    every = trials(algorithm, bandit, sampling)
    name = type(algorithm).__name__
    ends = [end_of(algorithm, one) for one in tqdm(every, desc=name, unit="row", delay=3, leave=False)]
    beta = inferred_beta(every, ends) if known_beta is None else known_beta
    rows = tuple(_row(algorithm, one, end, beta) for one, end in zip(every, ends, strict=True))
    kin = kin_of(algorithm, every, beta, known_beta is None)
    shared = {row.end for row in rows}
    worlds = list({one.world: one.bandit for one in every}.values())
    return Report(
        algorithm=name,
        beta=beta,
        inferred=known_beta is None and beta is not None,
        rows=rows,
        end=shared.pop() if len(shared) == 1 else "depends",
        kin=kin.name,
        agreement=kin.agreement,
        scale=kin.scale,
        distance=kin.distance,
        equals=kin.equals,
        blind=blindness(algorithm, every, ends),
        unseen_arms=unseen_arms(algorithm, worlds),
        both_fall=both_fall(algorithm, worlds),
        loss_agrees=loss_agrees(algorithm, worlds),
        picture=picture_of(algorithm, every, ends, beta),
    )


def _row(algorithm: Algorithm, trial: Trial, end: End, beta: float | None) -> Row:
    name, note = end_name(algorithm, trial, end, beta)
    world, policy = trial.bandit, end.policy
    rate, step = (
        speeds(algorithm, trial, policy)
        if end.reason == "rests" and policy is not None and not end.at_jump
        else (None, None)
    )
    has_regret = policy is not None and beta is not None and world.reward is not None
    return Row(
        world=trial.world,
        sampling=trial.law,
        end=name,
        policy=policy,
        regret=float(world.regret(policy, beta)) if has_regret else None,  # type: ignore[arg-type]
        kl=None if policy is None else float(kl(log_policy_of(policy), world.log_reference)),
        residual=None if policy is None or end.at_jump else residual(algorithm, trial, policy),
        unique=end.unique,
        attractors=end.attractors,
        rate=rate,
        step=step,
        coverage=coverage(algorithm, trial),
        **noise_of(algorithm, trial, beta)._asdict(),
        note=note,
        names=world.names,
    )
