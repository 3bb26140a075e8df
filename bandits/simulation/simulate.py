"""How do many runs train at once on sampled data?

Where `bandits.exact` takes expectations, this draws.  At each step every run and context gets a batch of n
groups of arms, the algorithm's own `update` turns them into coefficients, and the logits move up

    (1/n) sum over groups of sum_i c_i (e_{y_i} - pi)

with SGD or Adam.  Two kinds of noise: which groups (and labels, and rewards) come up, and with a finite
`data_size` which data set a run owns.  Without noise in rewards constant-step SGD on CoPG still ends at pi*
exactly, for every pair then agrees  (T3.5).

Pieces: `batches` draws the groups, `training` takes one step, `trace` keeps the records; `sweep` spreads
many simulations over processes.

Axes: records, runs, contexts, and the arms last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.rates import largest_stable_step
from bandits.problem import Problem, bind
from bandits.samples import Algorithm, Samples
from bandits.sampling.laws import Law
from bandits.sampling.observation import State, fields_read, samples_of
from bandits.sampling.rules import Sampling
from bandits.simulation.batches import Block, Sampler, streams
from bandits.simulation.optimizers import SGD, Optimizer
from bandits.simulation.step import Ascent, Exploded, Training
from bandits.simulation.trace import Recorder, Trace, recorded_steps

SMALL = 256  # logits of a world up to which the largest stable step is found beforehand
MOST_DRAWS = 2**40  # of one number in `simulate`: beyond, no memory holds them
ROUNDING = 1e-9  # relative; the largest stable step itself is allowed


def simulate(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
    runs: int = 1,
    optimizer: Optimizer = SGD(),  # noqa: B008 - frozen and empty
    start: ArrayLike | None = None,
    data_size: int | None = None,
    reward_noise: float = 0.0,
    label_noise: bool = True,
    value: ArrayLike | None = None,
    record: int | Sequence[int] | None = None,
    progress: bool | None = None,
) -> Trace:
    """Sampled training of `runs` independent policies, (records, runs, ..., A).

    Args:
        algorithm: any object with `k` and `update`.  Its update is called once beforehand, on one group, to
            see which fields of `Samples` it reads: no others are filled.  One that says `contrastive = True`
            (it reads log-probabilities through differences only, and its coefficients sum to zero) costs
            O(k) for each group under SGD instead of O(A).
        bandit: the world.
        sampling: who produces the samples; `Dataset` rows are drawn with replacement, with their labels.
        steps: updates of each policy.
        batch_size: groups of k samples that each run and context sees in one step; their mean is the step.
        learning_rate: eta.
        rng: source of all chance; the same state gives the same bits.
        runs: independent policies, the axis after the records.
        optimizer: `SGD()` or `Adam()`, or any object with their two functions.
        start: initial policy (..., A), the same in every run; the reference by default.
        data_size: None draws new groups at every step.  N: each run and context draws N groups once (with
            their labels and noise) and visits them in shuffled epochs of ceil(N / batch_size) steps, the
            last step of an epoch taking the groups that remain.
        reward_noise: standard deviation of gaussian noise on each sampled reward.
        label_noise: a pair's preference is a 0/1 label drawn with probability p; False shows p itself.
            Groups of k != 2, and the pairs of a `Dataset`, have no labels to draw.
        value: initial V of DRO, (...), then trained beside the policy with the same optimizer and rate; by
            default V is eliminated, V = E_mu[R].  SRPO's revision policy is always trained, from the
            reference.
        record: n records steps 0, n, 2n, ...; an increasing sequence records those steps (and 0); by
            default the start and the end.
        progress: show a progress bar; by default on a terminal, if the work takes more than two seconds.

    Raises:
        ValueError: an argument is out of range or does not fit the others, or training diverges (the message
            gives the largest stable step where it is known).

    Example:
        >>> from bandits import CoPG, Offline
        >>> trace = simulate(CoPG(beta=1.0), Bandit([np.log(3.0), 0.0]), Offline([0.9, 0.1]), steps=500,
        ...                  batch_size=1, learning_rate=0.25, rng=np.random.default_rng(1))
        >>> trace.policies[-1].round(4)  # no noise in the rewards: pi* to the last digit
        array([[0.75, 0.25]])
    """
    problem = bind(algorithm, bandit, sampling, start)
    rate, noise = _checked_numbers(steps, batch_size, learning_rate, rng, runs, reward_noise, bandit)
    _check_kinds(optimizer, label_noise, progress)
    recorder = Recorder(recorded_steps(record, steps))
    _check_data_size(data_size, batch_size, problem.sampling)
    law = problem.law()
    if data_size is None and value is None and isinstance(optimizer, SGD):
        _check_step(problem, rate)
    shape = (runs, *problem.contexts)
    training, reads = _begin(problem, law, shape, value, lambda x: Ascent(x, optimizer, rate))
    sampler = Sampler(bandit, shape, reads, noise, label_noise, streams(rng))
    blocks = _blocks(sampler, training, problem.sampling, law, steps, batch_size, data_size)
    try:
        return replace(_train(training, blocks, recorder, steps, progress), names=bandit.names)
    except Exploded as error:
        raise _too_long(rate, _stable_step(problem), f"{error}{_from(value)}") from None


def _train(
    training: Training, blocks: Iterator[Block], recorder: Recorder, steps: int, progress: bool | None
) -> Trace:
    """Take every step of every block; the trace of those to be recorded.

    Raises:
        Exploded: a logit is not finite, or too large for float64 to resolve.
    """
    step, hidden = 0, None if progress is None else not progress
    with tqdm(total=steps, disable=hidden, delay=0 if progress else 2, unit="step") as bar, _quiet():
        recorder.note(0, training)
        for block in blocks:
            for t in range(block.steps):
                training.step(block, t)
                step += 1
                if step == recorder.next:
                    recorder.note(step, training)
            training.check(step, block.index[-1])
            bar.update(block.steps)
    return recorder.trace()


def _quiet() -> np.errstate:
    """Diverging runs overflow before they are noticed: our message is to come first, not NumPy's."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def _begin(
    problem: Problem,
    law: Law,
    shape: tuple[int, ...],
    value: ArrayLike | None,
    ascent: Callable[[Floats], Ascent],
) -> tuple[Training, frozenset[str]]:
    """Every run at the start, and the fields that the algorithm reads.

    Raises:
        ValueError: the world lacks what the algorithm reads, its update has not one coefficient a sample,
            or a V is given to an algorithm that trains none.
    """
    algorithm, bandit = problem.algorithm, problem.bandit
    V = None if value is None else checks.within(checks.floats(value, "value"), shape, "value")
    reads, update = fields_read(algorithm, _one_group(problem, law, V))
    found: Any = getattr(update, "log_prob", None)
    if np.shape(found)[-1:] != (law.k,):
        raise ValueError(
            f"{problem.name}.update must return one coefficient for each of the {law.k} samples "
            f"of a group, but its shape is {np.shape(found)}"
        )
    if V is not None and update.value is None:
        raise ValueError(f"value is V in training, but {problem.name} trains none; leave it out")
    size = bandit.arms
    revision = None
    if update.revision_log_prob is None:
        reads -= {"revision_log_prob", "reference_revision_log_prob"}
    else:
        revision = ascent(np.broadcast_to(bandit.log_reference[..., None, :], (*shape, size, size)))
    logits = ascent(np.broadcast_to(problem.log_start, (*shape, size)))
    return Training(algorithm, bandit, reads, logits, None if V is None else ascent(V), revision), reads


def _one_group(problem: Problem, law: Law, V: Floats | None) -> Samples:
    """One group that may occur, k times the arm sampled most: (contexts..., 1, k)."""
    favourite = np.broadcast_to(law.behavior.argmax(axis=-1), problem.contexts)
    arms = np.repeat(favourite[..., None, None], law.k, axis=-1)
    state = State(problem.log_start, None if V is None else V[0])
    nothing = np.zeros((*arms.shape, law.k))
    samples = samples_of(problem.bandit, law, state, arms)
    return replace(samples, revision_log_prob=nothing, reference_revision_log_prob=nothing)


def _blocks(
    sampler: Sampler,
    training: Training,
    sampling: Sampling,
    law: Law,
    steps: int,
    batch_size: int,
    data_size: int | None,
) -> Iterator[Block]:
    """The batches of all steps, in blocks."""
    if sampling.on_policy:
        return sampler.on_policy(
            lambda: sampling.law(training.algorithm, training.bandit, training.log_policy), steps, batch_size
        )
    if data_size is None:
        return sampler.fresh(law, steps, batch_size)
    return sampler.epochs(law, steps, batch_size, data_size)


# ---------------------------------------------------------------- the border


def _checked_numbers(
    steps: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
    runs: int,
    reward_noise: float,
    bandit: Bandit,
) -> tuple[float, float]:
    checks.count(steps, "steps")
    checks.count(batch_size, "batch_size", most=MOST_DRAWS)
    checks.count(runs, "runs", most=MOST_DRAWS)
    checks.generator(rng)
    noise = checks.deviation(reward_noise, "reward_noise")
    if noise > 0:
        bandit.needed_reward()
    return checks.positive(learning_rate, "learning_rate"), noise


def _check_kinds(optimizer: Optimizer, label_noise: bool, progress: bool | None) -> None:
    if isinstance(optimizer, type) or not all(
        callable(getattr(optimizer, name, None)) for name in ("start", "direction")
    ):
        raise ValueError(
            f"optimizer must be an object with start and direction, such as SGD() or Adam(), "
            f"but optimizer = {checks.shown(optimizer)}"
        )
    checks.flag(label_noise, "label_noise")
    if progress is not None:
        checks.flag(progress, "progress")


def _check_data_size(data_size: int | None, batch_size: int, sampling: Sampling) -> None:
    if data_size is None:
        return
    checks.count(data_size, "data_size", most=MOST_DRAWS)
    if sampling.on_policy:
        raise ValueError(
            "OnPolicy() samples from the moving policy: no fixed data set exists; leave out data_size"
        )
    if data_size < batch_size:
        raise ValueError(
            f"data_size must be at least batch_size = {batch_size}, but data_size = {data_size}; "
            f"draw a larger data set or make the batch smaller"
        )


def _check_step(problem: Problem, learning_rate: float) -> None:
    """Refuse a rate at which the mean of linearly moving logits is sure to run away  (T3.4)."""
    stable = _stable_step(problem)
    if stable is not None and learning_rate > stable * (1 + ROUNDING):
        raise _too_long(learning_rate, stable, "the expected logits run away")


def _stable_step(problem: Problem) -> float | None:
    """Largest stable step of expected descent; None if it is not linear, or the world is large."""
    if problem.bandit.arms * math.prod(problem.bandit.contexts) > SMALL or problem.linear() is None:
        return None
    return float(largest_stable_step(problem.algorithm, problem.bandit, problem.sampling).min())


def _from(value: ArrayLike | None) -> str:
    return "" if value is None else f" from value = {checks.shown(value)}"


def _too_long(learning_rate: float, stable: float | None, what: str) -> ValueError:
    remedy = "choose a smaller one"
    if stable is not None:
        remedy = f"the largest stable step of expected descent is {stable:.6g} (less for small batches)"
    return ValueError(f"training diverges at learning_rate = {learning_rate!r}: {what}; {remedy}")
