"""How does the whole pipeline go?  CoPG's Section 6 (Flet-Berliac 2024, arXiv:2406.19185) in small.

    text          descriptions and one-line summaries from installed documentation, split by package, or
                  any demonstrations: abstracts and titles, posts and summaries
    sft           a small GPT-2 from scratch: the reference
    reward        Bradley-Terry, trained to tell what people wrote from what the reference samples;
                  from then on it is the ground truth, as in the paper
    sample        k completions of each training prompt, scored; the preferences of DPO and IPO are
                  Bradley-Terry of the same rewards
    align         CoPG, DPO and IPO on these samples, RLOO on its own, each for several beta
    evaluate      one sample of each held-out prompt, from text that nothing was trained on

Each step is a command of `python -m llm`, said as it is given, and resumed where it was killed.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase as Tokenizer

from llm.choices import parser
from llm.commands import RUN, Settings, perform
from llm.data import first, load_rows
from llm.demo import figures
from llm.demo.corpus import TRAINING, VALIDATION, Text, docstrings
from llm.demo.sizes import HEADS, Size, size_of
from llm.figures import FRONTIER
from llm.files import read_json, write_json, write_json_lines
from llm.inputs import Options
from llm.layouts import demonstration
from llm.model import load_tokenizer, train_tokenizer
from llm.run_folder import claimed, provenance
from llm.tokens import encode

METHODS = ("CoPG", "DPO", "IPO", "RLOO")
PACKAGES = {"training": TRAINING, "validation": VALIDATION}
QUICK_PACKAGES = {"training": ("python", "numpy"), "validation": ("networkx",)}
TOKENIZER_TEXTS = 4000  # from which a tokenizer is trained


def run_demo(options: Options, settings: Settings) -> list[str]:
    """The whole pipeline, its figures and its numbers."""
    started, folder = time.monotonic(), options.out
    size = size_of("quick" if options.quick else options.size)
    tokenizer = None if options.tokenizer is None else load_tokenizer(options.tokenizer)
    text = _text(options)
    with claimed(folder, settings):
        told = _written(folder, size, text, tokenizer, options.seed)
        for command in commands(folder, size, options.seed):
            if not options.quiet:
                print(f"{time.strftime('%H:%M:%S')}  python -m llm {shlex.join(command)}", file=sys.stderr)
            step = parser().parse_args([*command, "--quiet"])
            perform(step, RUN[step.command])
        metrics = _numbers(folder, size, told) | {"seed": options.seed, "size": asdict(size)}
        metrics |= provenance((time.monotonic() - started) / 60)
        write_json(folder / "metrics.json", metrics)
    pictures = figures.write_all(folder, metrics)
    return [*figures.table(metrics), "", *(f"wrote {path}" for path in pictures)]


def _text(options: Options) -> Text:
    """Docstrings, or the demonstrations that were named."""
    if options.data is None:
        packages = QUICK_PACKAGES if options.quick else PACKAGES
        return docstrings(options.out / "text", packages, progress=not options.quiet)
    if options.held_out is None:
        raise ValueError("--data needs --held-out: text that nothing is trained on, to be measured on")
    train, held_out = (load_rows(path, demonstration).rows for path in (options.data, options.held_out))
    return Text(train, held_out, {"name": f"{options.data}, held out {options.held_out}"})


def _written(folder: Path, size: Size, text: Text, tokenizer: Tokenizer | None, seed: int) -> dict[str, Any]:
    """What there is to say of the text, once what the commands read of it is in data/ and tokenizer/."""
    train, held_out = (rows.shuffle(seed=seed) for rows in (text.train, text.held_out))
    if tokenizer is None:
        some = first(train, TOKENIZER_TEXTS).to_list()
        tokenizer = train_tokenizer([row["prompt"] + row["completion"] for row in some], size.vocabulary)
    tokenizer.save_pretrained(folder / "tokenizer")
    x, y = size.prompt_tokens, size.completion_tokens
    learned, asked = (
        encode(rows, tokenizer, max_prompt_tokens=x, max_completion_tokens=y, skip_long=True)
        for rows in (train, held_out)
    )
    pairs = len(learned.rows)
    parts = {
        "train": learned.rows,
        "comparisons": learned.rows.select(range(max(pairs - size.comparisons, 0), pairs)),
        "prompts": first(learned.rows, size.prompts),
        "held_out": first(asked.rows, size.held_out),
        "watched": first(asked.rows, size.watched),
    }
    (folder / "data").mkdir(exist_ok=True)
    for name, rows in parts.items():
        write_json_lines(folder / "data" / f"{name}.jsonl", rows.select_columns(["prompt", "completion"]))
    cut, long = learned.truncated, len(learned.skipped)
    return text.origin | {"pairs": pairs, "prompts_cut": cut, "pairs_left_out_for_length": long}


def commands(folder: Path, size: Size, seed: int) -> Iterator[list[str]]:
    """The command lines, one after another."""
    data, reference, judge = folder / "data", folder / "sft" / "model", folder / "reward" / "model"
    limits = {"max-prompt-tokens": size.prompt_tokens, "max-completion-tokens": size.completion_tokens}
    usual = {"seed": seed} | limits
    sampled = {"model": reference, "max-new-tokens": size.completion_tokens} | usual
    scored = sampled | {"reward": judge}
    shape = {"tokenizer": folder / "tokenizer", "layers": size.layers, "width": size.width, "heads": HEADS}
    tuned = _training(size.fine_tuning_steps, 2 * size.batch, size.fine_tuning_rate)
    yield _line("sft", folder / "sft", data / "train.jsonl", usual | shape | tuned)
    one = {"k": 1, "reward": "length", "seed": seed + 2}
    yield _line("sample", folder / "comparisons", data / "comparisons.jsonl", sampled | one)
    judged = {"model": reference, "test-share": 0} | _training(size.reward_steps, 2 * size.batch, 1e-3)
    yield _line("reward", folder / "reward", folder / "comparisons", usual | judged)
    yield _line("sample", folder / "samples", data / "prompts.jsonl", scored | {"k": size.k})
    for method, beta in runs(size):
        steps = size.online_steps if method == "RLOO" else size.offline_steps
        source = data / "prompts.jsonl" if method == "RLOO" else folder / "samples"
        chosen = {"algorithm": method, "beta": beta, "k": size.k}
        looks = {"held-out": data / "watched.jsonl", "evaluate-every": max(steps // 6, 1)}
        trained = chosen | looks | _training(steps, size.batch, size.learning_rate)
        yield _line("align", folder / f"{method}-{beta}", source, scored | trained)
    policies = [folder / f"{method}-{beta}/model" for method, beta in runs(size)]
    measured = scored | {"model": policies, "reference": reference, "frontier": size.frontier}
    yield _line("evaluate", folder / "evaluation", data / "held_out.jsonl", measured)


def _training(steps: int, batch: int, rate: float) -> dict[str, Any]:
    often = {"log-every": max(steps // 12, 1), "save-every": max(steps // 2, 1)}
    return {"steps": steps, "batch-size": batch, "learning-rate": rate, **often}


def _line(command: str, out: Path, data: Path, options: Mapping[str, Any]) -> list[str]:
    line = [command, "--out", str(out), "--data", str(data)]
    for name, value in options.items():
        line += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return line


def runs(size: Size) -> list[tuple[str, float]]:
    """Every method at every beta."""
    return [(method, beta) for method in METHODS for beta in size.betas]


def _numbers(folder: Path, size: Size, told: dict[str, Any]) -> dict[str, Any]:
    """Every number of every policy; the best beta is chosen on the same prompts."""
    found = read_json(folder / "evaluation" / "metrics.json")
    names = dict(zip(runs(size), list(found)[1:], strict=True))  # behind the reference, in this order
    best = {m: max(size.betas, key=lambda beta: found[names[m, beta]]["reward"]["mean"]) for m in METHODS}
    ends = {method: names[method, beta] for method, beta in best.items()}
    others = [(one, other) for one in METHODS for other in METHODS if one != other]
    wins = {f"{a} against {b}": found[ends[a]]["win_rate_against"][ends[b]] for a, b in others}
    for name in names.values():
        found[name]["win_rate_against_reference"] = found[name].pop("win_rate_against")["reference"]
    reference = found["reference"]
    told |= {name: reference.pop(name) for name in ("parameters", "people_preferred_to_reference")}
    return {
        "text": told,
        "reference": reference,
        "runs": [{"method": m, "beta": beta, **found[name]} for (m, beta), name in names.items()],
        "best_beta": best,
        "best_against_each_other": wins,
        "possible": read_json(folder / "evaluation" / FRONTIER),
    }
