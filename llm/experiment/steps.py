"""Which commands make one seed?  Stage after stage; in a stage are lanes that may go side by side.

    reference    sft/, comparisons/, reward/: the reference, and what is true from then on
    data         samples/ of the reference; spoiled/, a policy trained to be bad, and others/, its samples
    rates        runs/<method>-<beta>-<rate>: every learning rate at the middle beta, measured in rate/
    grid         the other betas at the best rate, measured in beta/ and report/; possible/, the frontier

Every policy is measured on the same prompts with the same noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.demo.lines import line, training
from llm.experiment.plan import METHODS, Plan, betas_of

Line = list[str]
Lane = list[Line]
REVISER, REVISIONS = "SRPO", 5
RULE = "rule=8"  # so that its spread at a prompt is that of a learned reward, near 1


@dataclass(frozen=True)
class Seed:
    """One seed of a plan in its folder, with what is true in it: the "learned" reward, or the "rule"."""

    folder: Path
    plan: Plan
    seed: int
    truth: str

    @property
    def reward(self) -> str:
        return RULE if self.truth == "rule" else str(self.folder / "reward" / "model")

    @property
    def usual(self) -> dict[str, Any]:
        limits = {"max-prompt-tokens": self.plan.prompt_tokens}
        return {"seed": self.seed, "max-completion-tokens": self.plan.completion_tokens} | limits

    @property
    def sampling(self) -> dict[str, Any]:
        return self.usual | {"max-new-tokens": self.plan.completion_tokens, "reward": self.reward}

    @property
    def reference(self) -> Path:
        return self.folder / "sft" / "model"

    def training(self, steps: int, batch: int, rate: float) -> dict[str, Any]:
        """Options of a run."""
        return training(steps, batch, rate) | ({"bf16": True} if self.plan.bf16 else {})

    def data(self, name: str) -> Path:
        return self.folder / "data" / f"{name}.jsonl"

    def run(self, method: str, beta: float, rate: float) -> Path:
        return self.folder / "runs" / f"{method}-{beta:g}-{rate:g}"


def reference(to: Seed) -> list[Lane]:
    plan, folder = to.plan, to.folder
    shape = plan.shape | {"tokenizer": folder / "tokenizer"}
    tuned = to.training(plan.fine_tuning_steps, 2 * plan.batch, plan.fine_tuning_rate)
    lane = [line("sft", folder / "sft", to.data("train"), to.usual | shape | tuned)]
    if to.truth == "learned":
        one = to.sampling | {"k": 1, "reward": "length", "seed": to.seed + 2, "model": to.reference}
        lane.append(line("sample", folder / "comparisons", to.data("comparisons"), one))
        judged = {"model": to.reference, "others": plan.others}
        judged |= to.training(plan.reward_steps, 2 * plan.batch, plan.reward_rate)
        lane.append(line("reward", folder / "reward", folder / "comparisons", to.usual | judged))
    return [lane]


def data(to: Seed, methods: Sequence[str]) -> list[Lane]:
    """What these methods learn from, and the samples of the reference that tell the frontier."""
    plan, folder, one = to.plan, to.folder, to.sampling | {"model": to.reference}
    k = {"k": plan.k}
    worse = one | k | {"algorithm": "RLOO", "reward": opposite(to.reward), "beta": 1.0}
    worse |= to.training(plan.spoiling, plan.batch, max(plan.rates))
    most = {"frontier": plan.frontier, "rows": plan.judged}
    their = to.sampling | k | {"model": folder / "spoiled" / "model", "reference": to.reference}
    lanes = [
        [line("sample", folder / "samples", to.data("prompts"), one | k)],
        [_measured(to, "possible", [to.reference], "report", most)],
    ]
    if any(METHODS[name].data == "others" for name in methods):
        spoiled = line("align", folder / "spoiled", to.data("prompts"), worse)
        lanes.append([spoiled, line("sample", folder / "others", to.data("prompts"), their)])
    return lanes


def opposite(reward: str) -> str:
    """The same reward, minus.

    Example:
        >>> opposite("rule=8"), opposite("reward/model")
        ('rule=-8', 'reward/model=-1')
    """
    name, equals, weight = reward.partition("=")
    return f"{name}=-{weight}" if equals else f"{reward}=-1"


def aligned(to: Seed, method: str, beta: float, rate: float) -> Line:
    """A method at one beta and learning rate."""
    plan, how = to.plan, METHODS[method]
    source = {"samples": to.folder / "samples", "others": to.folder / "others"}.get(how.data)
    options = to.sampling | {"model": to.reference, "algorithm": how.algorithm, "beta": beta, "k": plan.k}
    options |= {"held-out": to.data("watched"), "evaluate-every": max(plan.steps // 6, 1)}
    options |= to.training(plan.steps, plan.batch, rate) | dict(how.options)
    return line("align", to.run(method, beta, rate), source or to.data(how.data), options)


def middle(to: Seed, method: str) -> float:
    """The beta at which learning rates are compared."""
    betas = betas_of(to.plan, method)
    return betas[len(betas) // 2]


def measured(to: Seed, method: str, runs: Sequence[Path], prompts: str) -> Lane:
    """These policies of a method on one of the three sets of held-out prompts; nothing if none is left."""
    if not runs:
        return []
    models = [run / "model" for run in runs]
    revised = {"revisions": REVISIONS} if prompts == "report" and method == REVISER else {}
    return [_measured(to, f"{prompts}/{method}", models, prompts, revised)]


def _measured(
    to: Seed, out: str, models: Sequence[Path], prompts: str, options: dict[str, Any] | None = None
) -> Line:
    given = to.sampling | {"model": models, "reference": to.reference} | (options or {})
    return line("evaluate", to.folder / out, to.data(prompts), given)
