"""How is the experiment made?  Seed after seed, lane beside lane; given again, it goes on where it was.

A run whose numbers are not finite any more is said to have diverged, in its folder, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from bandits.samples import Samples
from llm.data import first
from llm.demo.corpus import Text
from llm.demo.lines import performed
from llm.demo.parts import PACKAGES, shuffled, text_of, to_learn, told_of, write_parts
from llm.evaluate import each_of
from llm.experiment import steps
from llm.experiment.plan import METHODS, Plan, betas_of, plan_of
from llm.experiment.steps import Lane, Seed
from llm.files import read_json, write_json
from llm.inputs import Options
from llm.model import Diverged, load_tokenizer
from llm.run_folder import claimed, provenance

ORDER = 0  # of the text: all seeds learn from the same, and are asked about the same prompts
LOOKED = ("frontier", "judged")  # how the frontier is looked for: no policy depends on it
DIVERGED, MADE = "diverged.json", "made.json"


def run_seeds(options: Options) -> list[Path]:
    """The folders of the seeds that were asked for, each whole."""
    plan, first_seed = plan_of(options.size), options.seed
    methods = known(options.methods)
    if options.truth not in ("learned", "rule"):
        raise ValueError(f"truth must be learned or rule, but is {options.truth!r}")
    text = text_of(options, options.out / "text", PACKAGES)
    found = []
    for seed in range(first_seed, first_seed + options.seeds):
        folder = options.out / f"seed-{seed}"
        to = Seed(folder, plan, seed, options.truth)
        trained = {name: x for name, x in asdict(plan).items() if name not in LOOKED}
        settings = {"plan": trained, "seed": seed, "truth": options.truth, "text": text.origin["name"]}
        with claimed(folder, settings):
            started = time.monotonic()
            if not (folder / "data" / "told.json").exists():
                _write_text(options, to, text)
            make_seed(to, methods, jobs=options.jobs or -1, quiet=options.quiet)
            before = read_json(folder / MADE)["minutes"] if (folder / MADE).exists() else 0.0
            write_json(folder / MADE, provenance(before + (time.monotonic() - started) / 60))
        found.append(folder)
    return found


def known(methods: Sequence[str]) -> list[str]:
    """Methods of the experiment, each once; ValueError if one is none."""
    for name in methods:
        if name not in METHODS:
            raise ValueError(f"methods must be of {', '.join(METHODS)}, but one is {name!r}")
    return list(dict.fromkeys(methods))


def make_seed(to: Seed, methods: Sequence[str], *, jobs: int, quiet: bool) -> None:
    """All stages of one seed: each command that is not done yet."""
    go = Parallel(n_jobs=jobs, batch_size=1)

    def stage(lanes: Sequence[Lane]) -> None:
        go(delayed(_lane)(lane, quiet) for lane in lanes)

    stage(steps.reference(to))
    stage(steps.data(to, methods))
    at = {name: steps.middle(to, name) for name in methods}
    grids = {name: [(at[name], rate) for rate in to.plan.rates] for name in _slow_first(methods)}
    stage([[steps.aligned(to, name, *each)] for name, grid in grids.items() for each in grid])
    stage([steps.measured(to, name, _whole(to, name, grid), "rate") for name, grid in grids.items()])
    rates = {name: best_rate(to, name) for name in grids if _whole(to, name, grids[name])}
    grids = {name: [(beta, rate) for beta in betas_of(to.plan, name)] for name, rate in rates.items()}
    stage([[steps.aligned(to, name, *each)] for name, grid in grids.items() for each in grid])
    ends = {name: _whole(to, name, grid) for name, grid in grids.items()}
    stage([steps.measured(to, name, ends[name], on) for name in ends for on in ("beta", "report")])


def _lane(lane: Lane, quiet: bool) -> None:
    """Commands one after another; where one diverges it is written down, and given no second time."""
    for command in lane:
        out = Path(command[command.index("--out") + 1])
        if (out / DIVERGED).exists():
            continue
        try:
            performed(command, quiet=quiet)
        except Diverged as error:
            if command[0] != "align":
                raise
            write_json(out / DIVERGED, {"said": str(error)})


def _slow_first(methods: Sequence[str]) -> list[str]:
    """Those that sample as they learn: lanes then end together."""
    return sorted(methods, key=lambda name: METHODS[name].data != "prompts")


def _whole(to: Seed, method: str, grid: Sequence[tuple[float, float]]) -> list[Path]:
    """The runs of a grid that did not diverge."""
    runs = [to.run(method, *each) for each in grid]
    return [run for run in runs if not (run / DIVERGED).exists()]


def lost(to: Seed, method: str) -> bool:
    """Whether it diverged at every learning rate, so that none of its policies is left to be measured."""
    return not _whole(to, method, [(steps.middle(to, method), rate) for rate in to.plan.rates])


def best_rate(to: Seed, method: str) -> float:
    """The learning rate with the highest mean of r - beta log pi/ref, at the middle beta of the plan."""
    beta, of_run, value = middle_of(to.plan), each_of(to.folder / "rate" / method), {}
    for rate in to.plan.rates:
        found = of_run.get(to.run(method, steps.middle(to, method), rate).name)
        if found is not None:
            h = found["log_ratio"]
            drawn = Samples(log_prob=h, reference_log_prob=0 * h, reward=found["reward"])
            value[rate] = float(np.mean(drawn.regularized_reward(beta)))
    return max(value, key=lambda rate: value[rate])


def middle_of(plan: Plan) -> float:
    """The beta in the middle of the plan's."""
    return sorted(plan.betas)[len(plan.betas) // 2]


def _write_text(options: Options, to: Seed, text: Text) -> None:
    """What the commands read, in data/ and tokenizer/; told.json is last."""
    tokenizer = None if options.tokenizer is None else load_tokenizer(options.tokenizer)
    learned, asked = shuffled(to.folder, to.plan, text, tokenizer, ORDER)
    n = to.plan.held_out
    if len(asked.rows) < 3 * n:
        raise ValueError(
            f"held-out text must have three times {n} pairs, but has {len(asked.rows)}; give more, or make "
            "held_out of the size smaller"
        )
    places = {name: range(i * n, (i + 1) * n) for i, name in enumerate(("rate", "beta", "report"))}
    parts = {name: asked.rows.select(place) for name, place in places.items()}
    watched = {"watched": first(parts["beta"], to.plan.watched)}
    write_parts(to.folder, to_learn(learned.rows, to.plan) | parts | watched)
    write_json(to.folder / "data" / "told.json", text.origin | told_of(learned))
