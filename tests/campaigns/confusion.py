"""A campaign: is every wrong twin, written as a torch loss, called by its name, and no right loss refused?

    python tests/campaigns/confusion.py 200

For every claim (an algorithm, the tensors that its loss takes) and every seed: random uneven groups, the
gradient of the right loss and of each twin by autograd, and what the verdict calls it.  Prints one line each:
how many verdicts, what was mistaken for what; exits 1 if anything was.  A sample runs among the tests.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the losses that are no tests themselves

from foreign_family import RIGHT as FAMILY

import bandits as b
from bandits.samples import present
from bandits.testing.twins import TWINS
from foreign_losses import GROUP, MASKED, OLD, PAIR, SURROGATE, Labelled, Referenceless
from llm.conformance import faults, trials, verdict
from llm.conformance.inputs import FIELDS

CLAIMS = {
    "DPO": (b.DPO(0.3), PAIR),
    "DPO, masks": (b.DPO(0.1), MASKED),
    "IPO": (b.IPO(0.3), PAIR),
    "IPO, masks": (b.IPO(0.1), MASKED),
    "no reference": (Referenceless(), PAIR),
    "labelled": (Labelled(), ("log_prob", "reference_log_prob", "label")),
    "PolicyGradient": (b.PolicyGradient(0.1), GROUP),
    "PolicyGradient, k = 2": (b.PolicyGradient(0.3, baseline=0.2, k=2), (*GROUP, "mask")),
    "RLOO": (b.RLOO(0.1, k=4), GROUP),
    "RLOO, masks": (b.RLOO(0.3, k=3), (*GROUP, "mask")),
    "CoPG": (b.CoPG(0.3), OLD),
    "PMD-mean": (b.PMDMean(0.3, k=3), GROUP),
    "PPO": (b.PPO(0.3, k=2), OLD),
    "PPO, advantages": (b.PPO(0.3), SURROGATE),
    "GRPO": (b.GRPO(0.1, k=4), OLD),
    "GRPO, masks": (b.GRPO(0.3, k=3), (*OLD, "mask")),
    "Dr. GRPO": (b.GRPO(0.3, k=3, spread=b.unit_spread), OLD),
    "Dr. GRPO, advantages": (b.GRPO(0.3, k=3, spread=b.unit_spread), SURROGATE),
    **{name: (each.against, each.inputs) for name, each in FAMILY.items()},
}


@dataclass(frozen=True)
class Surrogate:
    """The loss of an algorithm, -sum c log pi with c held fixed, of the tensors that `inputs` names."""

    algorithm: Any
    inputs: tuple[str, ...]

    def __call__(self, *tensors: torch.Tensor) -> torch.Tensor:
        samples = self.samples(dict(zip(self.inputs, tensors, strict=True)))
        c = self.algorithm.update(samples).log_prob.detach()
        return -(c * samples.log_prob).sum(-1).mean()

    def samples(self, given: dict[str, torch.Tensor]) -> b.Samples:
        """Pairs have the winner first; answers in a row are groups of k; tokens are added up."""
        k, found = self.algorithm.k, {}
        masks = {name: x for name, x in given.items() if "mask" in name}

        def total(name: str) -> torch.Tensor:
            mask = masks.get(f"{name.rpartition('_')[2]}_mask", masks.get("mask"))
            tokens = mask is not None and name not in ("reward", "advantage", "label")
            return (given[name] * mask).sum(-1) if tokens else given[name]

        if "chosen" in given:
            for field, names in (
                ("log_prob", ("chosen", "rejected")),
                ("reference_log_prob", ("reference_chosen", "reference_rejected")),
            ):
                if names[0] not in given:
                    continue
                found[field] = torch.stack([total(name) for name in names], dim=-1)
            if masks:
                both = [masks[name].sum(-1) for name in ("chosen_mask", "rejected_mask")]
                found["length"] = torch.stack(both, dim=-1)
            label = torch.tensor([[0.5, 1.0], [0.0, 0.5]], dtype=torch.float64)
            return b.Samples(**found, preference=label.expand(len(given["chosen"]), 2, 2))
        for name in given:
            if "mask" not in name:
                found[FIELDS[name]] = total(name).reshape(-1, k)
        if masks:
            found["length"] = masks["mask"].sum(-1).reshape(-1, k)
        found.setdefault("reference_log_prob", found["log_prob"].detach())
        return b.Samples(**found)


def verdicts(name: str, seeds: range) -> tuple[int, Counter]:
    """How many verdicts on a claim, and those that are wrong: (what it was, what it was called)."""
    against, inputs = CLAIMS[name]
    count, mistaken = 0, Counter()
    for seed in seeds:
        made = verdict.prepared(Surrogate(against, inputs), inputs, against.k, None, "mean")
        samples = verdict.shown(made, trials.some_groups(made.k, seed))
        claim = faults.Claim(against, samples)
        for fault, twin in [(None, against), *visible_twins(claim, inputs)]:
            loss = replace(made, function=Surrogate(twin, tuple(inputs)))
            found = verdict.judged(trials.coefficients(loss, samples), claim, 1e-6)
            count += 1
            mistaken[fault, found.fault] += not called(fault, found)
    return count, +mistaken


def visible_twins(claim: faults.Claim, inputs: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Twins that are other functions, of the tensors that the loss is given."""
    shown = {FIELDS[name] for name in inputs} | ({"preference"} if "chosen" in inputs else set())
    shown |= {"reference_log_prob"} if "advantage" in inputs else set()  # its KL was charged before: pi = ref
    hidden = dict.fromkeys(present(claim.samples).keys() - shown)
    seen = replace(claim.samples, **hidden)
    known = {name for name, _ in claim.twins}
    made = [(make.__name__.replace("_", " "), make(claim.against)) for make in TWINS]
    return [
        (name, twin)
        for name, twin in made
        if twin is not None and name in known and faults.coefficients_of(twin, seen) is not None
    ]


def called(fault: str | None, found: verdict.Verdict) -> bool:
    """By its own name, or by that of the same function, which the message lists."""
    if fault == found.fault:
        return found.ok == (fault is None)
    same = [line for line in found.message.splitlines() if line.startswith("the same function")]
    return fault is not None and fault in ", ".join(same).rpartition(": ")[2].split(", ")


def main(seeds: int) -> int:
    failed = 0
    for name in CLAIMS:
        count, mistaken = verdicts(name, range(seeds))
        failed += sum(mistaken.values())
        print(f"{name:32s}{count:7d} verdicts{sum(mistaken.values()):6d} mistaken", flush=True)
        for (fault, called_so), times in mistaken.most_common():
            print(f"    {fault} was called {called_so} {times} times", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
