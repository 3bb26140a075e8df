"""Which algorithms can be chosen?  Those that rewards, preferences, beta, a baseline and a clip settle.

One name, one line of words for the menu, and how it is made of a state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bandits import algorithms as known
from bandits.samples import Algorithm


class Offer(NamedTuple):
    """An algorithm on offer."""

    words: str
    make: Callable[[Mapping[str, Any]], Algorithm]
    takes: tuple[str, ...] = ("beta",)  # what of the state it is made of


OFFERED: dict[str, Offer] = {
    "CoPG": Offer("contrastive policy gradient: pairs, rewards", lambda s: known.CoPG(s["beta"])),
    "PG": Offer(
        "policy gradient, the baseline a number",
        lambda s: known.PolicyGradient(s["beta"], s["baseline"]),
        ("beta", "baseline"),
    ),
    "PG, value of the sampler": Offer(
        "policy gradient, b = E_mu[R]", lambda s: known.PolicyGradient(s["beta"], known.behavior_value)
    ),
    "PG, reward of the policy": Offer(
        "policy gradient, b = E_pi[r]", lambda s: known.PolicyGradient(s["beta"], known.policy_reward)
    ),
    "PG, weighted": Offer(
        "policy gradient with importance weights",
        lambda s: known.ImportanceWeighted(known.PolicyGradient(s["beta"], s["baseline"])),
        ("beta", "baseline"),
    ),
    "RLOO": Offer("REINFORCE leave-one-out, pairs", lambda s: known.RLOO(s["beta"])),
    "ReMax": Offer("baseline: the greedy answer", lambda s: known.ReMax(s["beta"])),
    "PPO": Offer(
        "clipped ratio, the baseline a number",
        lambda s: known.PPO(s["beta"], clip=s["clip"], baseline=s["baseline"]),
        ("beta", "baseline", "clip"),
    ),
    "GRPO": Offer(
        "pairs as groups, clipped ratio",
        lambda s: known.GRPO(s["beta"], clip=s["clip"]),
        ("beta", "clip"),
    ),
    "DRO": Offer("direct reward optimisation", lambda s: known.DRO(s["beta"])),
    "REBEL": Offer("regression of reward differences", lambda s: known.REBEL(s["beta"])),
    "DPO": Offer("direct preference optimisation", lambda s: known.DPO(s["beta"])),
    "IPO": Offer("identity preference optimisation", lambda s: known.IPO(s["beta"])),
    "ChiPO": Offer("DPO with a chi-squared penalty", lambda s: known.ChiPO(s["beta"])),
    "OnlineIPO": Offer("IPO on its own samples", lambda s: known.OnlineIPO(s["beta"])),
    "NashMD": Offer("mirror descent to the equilibrium", lambda s: known.NashMD(s["beta"])),
    "SRPO": Offer("self-improving preference optimisation", lambda s: known.SRPO(s["beta"])),
    "SPPO": Offer("self-play preference optimisation", lambda s: known.SPPO(s["beta"])),
    "ALoL": Offer("advantage leftover lunch, clipped", lambda s: known.ALoL(s["clip"]), ("clip",)),
}
