"""What do the folders of the seeds say?  Every policy's numbers at every prompt, and what was possible.

Read from whatever folders hold `seed-*`, made here or elsewhere; they must be of one plan and one truth, and
have been asked about the same prompts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bandits.checks import Floats
from llm.commands import REVISIONS
from llm.demo.sizes import changed
from llm.evaluate import PROMPTS, each_of
from llm.experiment.plan import METHODS, Plan, betas_of
from llm.experiment.run import MADE, lost
from llm.experiment.steps import RULE, Seed
from llm.figures import FRONTIER, Log, log_of
from llm.files import content, read_json
from llm.rewards import reward_named, score
from llm.run_folder import SETTINGS, VERSIONS


@dataclass(frozen=True, eq=False)
class Policy:
    """A method at one beta in one seed, on the prompts of the report, (P,) each; None: not asked."""

    beta: float
    rate: float
    reward: Floats
    log_ratio: Floats
    rule: Floats | None
    chosen_by: float  # mean reward on the prompts that beta is chosen on
    log: Log
    revisions: list[float] = field(default_factory=list)  # mean rewards of its answers and their revisions
    texts: list[str] = field(default_factory=list)  # its answers


@dataclass(frozen=True, eq=False)
class Record:
    """One seed."""

    seed: int
    plan: Plan
    truth: str
    prompts: str  # what tells them from others
    reference: Floats  # (P,)  reward
    reference_rule: Floats | None
    judged: int  # of the prompts, the first so many, where the frontier was looked for
    possible: dict[str, Any]
    methods: dict[str, list[Policy | None]]  # along each method's grid; None has diverged
    made: dict[str, Any]  # versions, hardware, minutes, and those of its commands one by one
    accuracy: dict[str, Any] | None = None  # of a learned reward, on held-out comparisons
    asked: list[dict[str, str]] = field(default_factory=list)  # prompt, people's and the reference's answers

    def chosen(self, method: str) -> int | None:
        """Where in its grid the beta of most reward on the prompts for that is; None: all diverged."""
        of = {i: each.chosen_by for i, each in enumerate(self.methods[method]) if each is not None}
        return max(of, key=lambda i: of[i]) if of else None


def records(folders: Sequence[Path]) -> list[Record]:
    """Every finished seed in these folders, by its number.

    Raises:
        ValueError: a folder has none, a seed is there twice, two are not of one experiment, or no method is
            in all of them.
    """
    found = sorted((record(path) for folder in folders for path in _seeds(folder)), key=lambda x: x.seed)
    for one, other in zip(found, found[1:], strict=False):
        if one.seed == other.seed:
            raise ValueError(f"seed {one.seed} is there twice; name the folder of only one of them")
        for name in ("plan", "truth", "prompts"):  # the plan has how the frontier was looked for, too
            if getattr(one, name) != getattr(other, name):
                raise ValueError(
                    f"seeds must be of one experiment, but {one.seed} and {other.seed} differ in {name}; "
                    "join those that are alike"
                )
    if not set.intersection(*(set(each.methods) for each in found)):
        told = "; ".join(f"{each.seed}: {', '.join(each.methods)}" for each in found)
        raise ValueError(f"seeds must have a method in common, but have {told}; run what is missing")
    return found


def _seeds(folder: Path) -> list[Path]:
    """Those that are whole; ValueError if there is none."""
    whole = [path.parent for path in sorted(folder.glob(f"seed-*/{MADE}"))]
    if not whole:
        raise ValueError(f"there must be a finished seed, seed-0 or another, in {folder}; run the experiment")
    return whole


def record(folder: Path) -> Record:
    """What one seed's folder says; ValueError if it lacks something, or if nothing is left of any method."""
    try:
        return _record(folder)
    except FileNotFoundError as error:
        lacks = error.filename
        raise ValueError(f"{folder} must be whole, but has no {lacks}; run its seed again") from error


def _record(folder: Path) -> Record:
    settings, possible = read_json(folder / SETTINGS), read_json(folder / "possible" / FRONTIER)
    judged = len(each_of(folder / "possible")["reference"]["reward"])
    looked = {"frontier": possible["samples"], "judged": judged}
    plan = changed(Plan(), settings["plan"] | looked)
    to = Seed(folder, plan, settings["seed"], settings["truth"])
    measured = [name for name in METHODS if (folder / "report" / name / PROMPTS).exists()]
    if not measured:
        raise ValueError(f"{folder} must have a policy that did not diverge; lower the rates of its plan")
    nothing: dict[str, list[Policy | None]] = {
        name: [None] * len(betas_of(plan, name)) for name in METHODS if lost(to, name)
    }
    reference = each_of(folder / "report" / measured[0])["reference"]
    rows = [json.loads(line) for line in (folder / "data" / "report.jsonl").read_text().splitlines()]
    answered = zip(rows, reference["completion"], strict=True)
    asked = [row["prompt"] for row in rows] if settings["truth"] == "learned" else None
    return Record(
        seed=settings["seed"],
        plan=plan,
        truth=settings["truth"],
        prompts=content(folder / "data" / "report.jsonl"),
        reference=reference["reward"],
        reference_rule=_by_rule(asked, reference["completion"]),
        judged=judged,
        possible=possible,
        methods={name: _policies(to, name, asked) for name in measured} | nothing,
        made=read_json(folder / MADE) | {"command_minutes": _minutes(folder)},
        accuracy=read_json(told) if (told := folder / "reward" / "metrics.json").exists() else None,
        asked=[row | {"reference": str(text)} for row, text in answered],
    )


def _minutes(folder: Path) -> float:
    """Of all commands one after another: also of those that another process made before it was killed."""
    return round(sum(read_json(path)["minutes"] for path in folder.rglob(VERSIONS)), 1)


def _by_rule(asked: list[str] | None, texts: Sequence[str]) -> Floats | None:
    """What the rule, which nobody trained on, thinks of answers to these prompts."""
    return None if asked is None else score(reward_named(RULE), asked, texts, None).reward


def _policies(to: Seed, method: str, asked: list[str] | None) -> list[Policy | None]:
    """Along the grid; its runs are those that were measured for the report."""
    grid = betas_of(to.plan, method)
    report, chosen = (each_of(to.folder / name / method) for name in ("report", "beta"))
    again = _revisions(to.folder / "report" / method)
    found: dict[float, Policy] = {}
    for beta, rate in product(grid, to.plan.rates):
        name = to.run(method, beta, rate).name
        if name not in report:
            continue
        numbers = report[name]
        found[beta] = Policy(
            beta=beta,
            rate=rate,
            reward=numbers["reward"],
            log_ratio=numbers["log_ratio"],
            rule=_by_rule(asked, numbers["completion"]),
            chosen_by=float(chosen[name]["reward"].mean()),
            log=log_of(to.folder / "runs" / name),
            revisions=again.get(name, []),
            texts=numbers["completion"].tolist(),
        )
    return [found.get(beta) for beta in grid]


def _revisions(folder: Path) -> dict[str, list[float]]:
    """Mean rewards of answers and of their revisions, of each run by the name of its folder."""
    found = read_json(folder / REVISIONS) if (folder / REVISIONS).exists() else {}
    return {Path(key).parent.name: np.mean(rewards, axis=1).tolist() for key, rewards in found.items()}
