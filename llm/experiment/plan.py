"""How much of everything does a fair comparison take, and which methods are in it?

A method of `METHODS` is an algorithm of `bandits` with its data. Its grid of beta is that of the plan; where
the share of answers that one beats, in [0, 1], has the place of the reward (IPO, T4.1; games; SRPO), it is a
lower one. All have as many updates and scored completions, but for PPO, which updates four times on each
batch: a quarter of the completions. Methods with "-off" learn from samples of another policy, which was
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
    reward_rate: float = 1e-3
    prompts: int = 5760  # steps times batch: no prompt is seen twice
    betas: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0)
    lower: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.4)  # of methods whose reward is a share
    rates: tuple[float, ...] = (3e-4, 1e-3)  # learning rates
    steps: int = 360
    spoiling: int = 120  # steps by which the other policy is made worse
    held_out: int = 400  # each: for the learning rate, for beta, for the report
    frontier: int = 256  # completions of the reference: enough for the best of 64, some 3 nats
    judged: int = 100  # prompts of the report at which the frontier is looked for
    bf16: bool = False


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
    "gpt2": Plan(  # GPT-2's smallest, from scratch, for a GPU: the grids of CoPG's paper (section 6)
        vocabulary=50257,
        layers=12,
        width=768,
        heads=12,
        prompt_tokens=256,
        completion_tokens=32,
        fine_tuning_steps=6000,
        fine_tuning_rate=6e-4,
        comparisons=8192,
        reward_steps=1024,
        reward_rate=3e-5,
        prompts=36000,
        betas=(0.01, 0.03, 0.06, 0.1, 0.3, 1.0),
        lower=(0.003, 0.01, 0.03, 0.06, 0.1, 0.3),
        rates=(1e-5, 3e-5),
        steps=1500,
        batch=24,
        bf16=True,
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
    share: bool = False  # the share of answers that one beats has the place of the reward
    options: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""  # what sets it apart, if at equal KL it is an exception


RANKED = {"ranked": True}
MEAN = {"set": ["baseline=behavior_value"]}
METHODS = {
    "CoPG": Method("CoPG"),
    "DPO": Method("DPO", options=RANKED),
    "IPO": Method("IPO", share=True, options=RANKED),
    "RLOO": Method("RLOO", "prompts", why="samples as it learns"),
    "DRO": Method("DRO"),
    "KTO": Method("KTO", options=RANKED),
    "GRPO": Method("GRPO", "prompts"),
    "PPO": Method("PPO", "prompts", options={"reuse": 4}),
    "OAPL": Method("OAPL"),
    "SRPO": Method("SRPO", share=True, options=RANKED),
    "OnlineIPO": Method("OnlineIPO", "prompts", share=True, options=RANKED),
    "NashMD": Method("NashMD", "prompts", share=True, options=RANKED),
    "CoPG-off": Method("CoPG", "others"),
    "DPO-off": Method("DPO", "others", options=RANKED),
    "IPO-off": Method("IPO", "others", share=True, options=RANKED),
    "PG0-off": Method(
        "PolicyGradient", "others", options={"set": ["baseline=0"]}, why="b = 0 has another end, T2.5"
    ),
    "PGmean-off": Method("PolicyGradient", "others", options=MEAN),
}
FIRST = ("CoPG", "DPO", "IPO", "RLOO")


def betas_of(plan: Plan, method: str) -> list[float]:
    """Its grid, from the smallest."""
    return sorted(plan.lower if METHODS[method].share else plan.betas)
