"""How much of everything does a fair comparison take, and which methods are in it?

A method of `METHODS` is an algorithm of `bandits` with its data. Its grid of beta is that of the plan times
its `scale`: where the share of answers that one beats, in [0, 1], has the place of the reward (IPO, T4.1;
games; SRPO), it takes ten times less. Methods with "-off" learn from samples of another policy, which was
trained to be bad: CoPG's optimum does not depend on who sampled (T3.3), an uncorrected policy gradient's does
(T2.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm.demo.sizes import Size, among


@dataclass(frozen=True)
class Plan(Size):
    """How much of everything, in one seed."""

    comparisons: int = 4096  # prompts at which people are compared with a sample, and with others' texts
    others: int = 1
    reward_steps: int = 512
    prompts: int = 5760  # steps times batch: no prompt is seen twice
    betas: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0)
    rates: tuple[float, ...] = (3e-4, 1e-3)  # learning rates
    steps: int = 360
    spoiling: int = 120  # steps by which the other policy is made worse
    held_out: int = 400  # each: for the learning rate, for beta, for the report
    frontier: int = 256  # completions of the reference: enough for the best of 64, some 3 nats
    judged: int = 100  # prompts of the report at which the frontier is looked for


PLANS = {
    "demo": Plan(),
    "titles": Plan(
        vocabulary=4096,
        layers=4,
        width=128,
        prompt_tokens=128,
        completion_tokens=24,
        fine_tuning_steps=2400,
        comparisons=8192,
        reward_steps=1024,
    ),
}


def plan_of(name: str) -> Plan:
    """One of `PLANS`, or that of the demo with the fields of a JSON file changed."""
    return among(PLANS, Plan(), name)


@dataclass(frozen=True)
class Method:
    """An algorithm of `bandits`, what it learns from, and its own options."""

    algorithm: str
    data: str = "samples"  # of the reference; "prompts": its own; "others": of a bad policy
    scale: float = 1.0  # of its betas
    options: Mapping[str, Any] = field(default_factory=dict)


RANKED = {"ranked": True}
MEAN = {"set": ["baseline=behavior_value"]}
METHODS = {
    "CoPG": Method("CoPG"),
    "DPO": Method("DPO", options=RANKED),
    "IPO": Method("IPO", scale=0.1, options=RANKED),
    "RLOO": Method("RLOO", "prompts"),
    "DRO": Method("DRO"),
    "KTO": Method("KTO", options=RANKED),
    "GRPO": Method("GRPO", "prompts"),
    "PPO": Method("PPO", "prompts", options={"reuse": 4}),
    "OAPL": Method("OAPL"),
    "SRPO": Method("SRPO", scale=0.1, options=RANKED),
    "OnlineIPO": Method("OnlineIPO", "prompts", scale=0.1, options=RANKED),
    "NashMD": Method("NashMD", "prompts", scale=0.1, options=RANKED),
    "CoPG-off": Method("CoPG", "others"),
    "DPO-off": Method("DPO", "others", options=RANKED),
    "IPO-off": Method("IPO", "others", scale=0.1, options=RANKED),
    "PG0-off": Method("PolicyGradient", "others", options={"set": ["baseline=0"]}),
    "PGmean-off": Method("PolicyGradient", "others", options=MEAN),
}
FIRST = ("CoPG", "DPO", "IPO", "RLOO")


def betas_of(plan: Plan, method: str) -> list[float]:
    """Its grid, from the smallest."""
    return sorted(float(f"{beta_:.12g}") for beta_ in (METHODS[method].scale * each for each in plan.betas))
