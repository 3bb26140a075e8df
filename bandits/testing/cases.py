"""On which world, sampled how, at which policy is a law tried?  Random cases that fit an algorithm.

With two arms an opponent may make no difference, and a finite list of pairs may say "a beats b" as often as
"b beats a": a law that is to reject a mistake is tried on three arms and more, and on no list of pairs.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import strategies as st

from bandits.bandit import Bandit
from bandits.samples import Algorithm
from bandits.sampling.rules import OnPolicy, Pairs
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from bandits.testing.reading import reads

ARMS = st.integers(2, 4)  # of the worlds that laws are tried on: A^k groups are summed one at a time


def every_field(arms: st.SearchStrategy[int] = ARMS, smallest: float = 1e-3) -> st.SearchStrategy[Bandit]:
    """Worlds that every algorithm runs on: rewards, unrelated preferences, lengths and labels."""
    return strategies.worlds(
        arms,
        reference=partial(strategies.references, smallest=smallest),
        length=strategies.lengths,
        desirable=strategies.labels,
    )


@st.composite
def cases(
    draw: st.DrawFn,
    algorithm: Algorithm,
    worlds: st.SearchStrategy[Bandit] | None = None,
    *,
    smallest: float = 1e-3,
    value: float | None = None,
    listed: bool = True,
    connected: bool = False,
) -> Case:
    """A world, a sampling rule that fits the algorithm, and a policy.

    Args:
        worlds: by default `every_field`, of two to four arms.
        smallest: probability of an arm under the reference and the policy, about.
        value: DRO's V; None: eliminated.
        listed: also draws finite lists of pairs (`Dataset`).
        connected: draws only lists whose graph is connected; the other rules see every pair of arms.
    """
    world = draw(every_field(smallest=smallest) if worlds is None else worlds)
    arms = world.arms
    rules: list[st.SearchStrategy[Any]] = [strategies.offline(arms, 1), strategies.offline(arms, algorithm.k)]
    if algorithm.k == 2:
        pairs = strategies.connected_datasets(arms) if connected else strategies.datasets(arms)
        rules += [strategies.joints(arms).map(Pairs), pairs][: 1 + listed]
    if getattr(algorithm, "needs_on_policy", False):
        rules = [st.just(OnPolicy())]
    revised = "revision_log_prob" in reads(algorithm)
    revision = draw(strategies.policies(arms, (arms,), smallest)) if revised else None
    return Case(
        bandit=world,
        sampling=draw(st.one_of(rules)),
        policy=draw(strategies.policies(arms, smallest=smallest)),
        value=value,
        revision=revision,
    )
