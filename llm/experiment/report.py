"""What does the experiment say?  In numbers, in figures, and in a table of paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm.experiment import figures
from llm.experiment.plan import METHODS
from llm.experiment.record import Record, records
from llm.experiment.run import MADE, run_seeds
from llm.experiment.sentences import OF, sentences
from llm.experiment.summary import Summary, mean_rise, summary
from llm.experiment.texts import examples
from llm.files import write_json, write_whole
from llm.inputs import Options

HEADING = "# Which method is better?"
METRICS, TABLE, TEXTS = "metrics.json", "table.md", "texts.md"


def run_experiment(options: Options) -> list[str]:
    """Run what was asked for, or join what is there; then numbers, table, examples of texts and figures."""
    if options.merge:
        folders = [Path(each) for each in options.merge]
        folders += [options.out] if any(options.out.glob("seed-*")) else []
    else:
        run_seeds(options)
        folders = [options.out]
    seeds = records(folders)
    found = summary(seeds)
    lines, texts = [HEADING, "", *sentences(found), "", *table(found)], examples(seeds[0])
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / METRICS, found)
    for name, text in ((TABLE, lines), (TEXTS, texts)):
        write_whole(options.out / name, "\n".join([*text, ""]).encode())
    drawn = [f"wrote {path}" for path in figures.write_all(options.out, found)]
    return [*lines, "", *left_out(folders, seeds), *drawn]


def left_out(folders: Sequence[Path], seeds: Sequence[Record]) -> list[str]:
    """Seeds that are not whole, and methods that are not in every seed, one a line."""
    unfinished = [path for folder in folders for path in sorted(folder.glob("seed-*"))]
    lines = [f"left out, as it is not finished: {path}" for path in unfinished if not (path / MADE).exists()]
    for name in METHODS:
        having = [each.seed for each in seeds if name in each.methods]
        if 0 < len(having) < len(seeds):
            lines.append(f"left out, as only seeds {', '.join(map(str, having))} have it: {name}")
    return lines


def table(found: Summary) -> list[str]:
    """Methods with their grids, then every pair at every KL, as Markdown."""
    head = ["method", "learning rate", "beta chosen, seed by seed", "of the grid", "reward", "KL"]
    head += ["rise, smallest to largest beta", "diverged", "below the reference"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [_row(name, each, found["reference"]) for name, each in found["methods"].items()]
    for key, what in OF.items():
        if found.get(key):
            lines += ["", f"At equal KL, {what}:", ""]
            lines += [
                "| KL | methods | difference, 95 % | half-width | p, Holm | |",
                "|---|---|---|---|---|---|",
            ]
            lines += [_pair(each) for each in found[key]]
    return lines


def _row(name: str, method: dict[str, Any], reference: list[float]) -> str:
    points = {p["beta"]: p for p in method["points"]}
    chosen, seeds = method["chosen"], range(len(method["chosen"]))
    ends = [(i, points[chosen[i]]) for i in seeds if chosen[i] is not None]
    reward, kl = (", ".join(f"{end[name][i]:.2f}" for i, end in ends) for name in ("reward", "kl"))
    betas = ", ".join("none" if beta is None else f"{beta:g}" for beta in chosen)
    edge = f"at its edge in {method['at_edge']} of {len(chosen)}" if method["at_edge"] else "inside"
    edge = edge if len(points) > 1 else "its only one"
    lost = sum(p["diverged"] for p in method["points"])
    rates = ", ".join("none" if rate is None else f"{rate:g}" for rate in method["rates"])
    runs = [(x, its) for p in points.values() for x, its in zip(p["reward"], reference, strict=True)]
    collapsed = sum(x is not None and x < its for x, its in runs)
    each = [mean_rise(p["reward"], reference) for p in points.values()]
    rises = ["–" if rise is None else f"{rise:+.2f}" for rise in each]
    told = f"| {name} | {rates} | {betas} | {edge} | {reward} | {kl} | {', '.join(rises)}"
    return f"{told} | {lost} of {len(runs)} | {collapsed} of {len(runs) - lost} |"


def _pair(each: dict[str, Any]) -> str:
    d = each["difference"]
    interval = f"{d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
    half, p = (d["high"] - d["low"]) / 2, each["corrected"]
    what = f"{each['one']} − {each['other']}"
    return f"| {each['kl']:g} | {what} | {interval} | {half:.3f} | {p:.2g} | {each['verdict']} |"
