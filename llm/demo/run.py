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

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase as Tokenizer

from llm.commands import Settings
from llm.data import first
from llm.demo import figures
from llm.demo.corpus import Text
from llm.demo.lines import line, performed, training
from llm.demo.parts import PACKAGES, shuffled, text_of, to_learn, told_of, write_parts
from llm.demo.sizes import Size, size_of
from llm.figures import FRONTIER
from llm.files import read_json, write_json
from llm.inputs import Options
from llm.model import load_tokenizer
from llm.run_folder import claimed, provenance

METHODS = ("CoPG", "DPO", "IPO", "RLOO")
QUICK_PACKAGES = {"training": ("python", "numpy"), "validation": ("networkx",)}


def run_demo(options: Options, settings: Settings) -> list[str]:
    """The whole pipeline, its figures and its numbers."""
    started, folder = time.monotonic(), options.out
    size = size_of("quick" if options.quick else options.size)
    tokenizer = None if options.tokenizer is None else load_tokenizer(options.tokenizer)
    packages = QUICK_PACKAGES if options.quick else PACKAGES
    text = text_of(options, folder / "text", packages)
    with claimed(folder, settings):
        told = _written(folder, size, text, tokenizer, options.seed)
        for command in commands(folder, size, options.seed):
            performed(command, quiet=options.quiet)
        metrics = _numbers(folder, size, told) | {"seed": options.seed, "size": asdict(size)}
        metrics |= provenance((time.monotonic() - started) / 60)
        write_json(folder / "metrics.json", metrics)
    pictures = figures.write_all(folder, metrics)
    return [*figures.table(metrics), "", *(f"wrote {path}" for path in pictures)]


def _written(folder: Path, size: Size, text: Text, tokenizer: Tokenizer | None, seed: int) -> dict[str, Any]:
    """What there is to say of the text, once what the commands read of it is in data/ and tokenizer/."""
    learned, asked = shuffled(folder, size, text, tokenizer, seed)
    looked = {"held_out": first(asked.rows, size.held_out), "watched": first(asked.rows, size.watched)}
    write_parts(folder, to_learn(learned.rows, size) | looked)
    return text.origin | told_of(learned)


def commands(folder: Path, size: Size, seed: int) -> Iterator[list[str]]:
    """The command lines, one after another."""
    data, reference, judge = folder / "data", folder / "sft" / "model", folder / "reward" / "model"
    limits = {"max-prompt-tokens": size.prompt_tokens, "max-completion-tokens": size.completion_tokens}
    usual = {"seed": seed} | limits
    sampled = {"model": reference, "max-new-tokens": size.completion_tokens} | usual
    scored = sampled | {"reward": judge}
    shape = size.shape | {"tokenizer": folder / "tokenizer"}
    tuned = training(size.fine_tuning_steps, 2 * size.batch, size.fine_tuning_rate)
    yield line("sft", folder / "sft", data / "train.jsonl", usual | shape | tuned)
    one = {"k": 1, "reward": "length", "seed": seed + 2}
    yield line("sample", folder / "comparisons", data / "comparisons.jsonl", sampled | one)
    judged = {"model": reference, "test-share": 0} | training(size.reward_steps, 2 * size.batch, 1e-3)
    yield line("reward", folder / "reward", folder / "comparisons", usual | judged)
    yield line("sample", folder / "samples", data / "prompts.jsonl", scored | {"k": size.k})
    for method, beta in runs(size):
        steps = size.online_steps if method == "RLOO" else size.offline_steps
        source = data / "prompts.jsonl" if method == "RLOO" else folder / "samples"
        chosen = {"algorithm": method, "beta": beta, "k": size.k}
        looks = {"held-out": data / "watched.jsonl", "evaluate-every": max(steps // 6, 1)}
        trained = chosen | looks | training(steps, size.batch, size.learning_rate)
        yield line("align", folder / f"{method}-{beta}", source, scored | trained)
    policies = [folder / f"{method}-{beta}/model" for method, beta in runs(size)]
    measured = scored | {"model": policies, "reference": reference, "frontier": size.frontier}
    yield line("evaluate", folder / "evaluation", data / "held_out.jsonl", measured)


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
