"""The whole pipeline on a laptop: CoPG's Section 6 (Flet-Berliac 2024, arXiv:2406.19185) in small.

    text          descriptions and one-line summaries from installed documentation, split by package, or
                  any demonstrations: abstracts and titles, posts and summaries
    fine-tuning   a small GPT-2 from scratch: the reference
    reward        Bradley-Terry, trained to tell what people wrote from what the reference samples;
                  from then on it is the ground truth, as in the paper
    samples       k completions of each training prompt, scored; the preferences of DPO and IPO are
                  Bradley-Terry of the same rewards
    alignment     CoPG, DPO and IPO on these samples, RLOO on its own, each for several beta
    evaluation    one sample of each held-out prompt, from text that nothing was trained on

Everything is resumed where it was killed, and a result that is there is not made again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from bandits import DPO, IPO, RLOO, CoPG
from llm.corpus import docstring_corpus
from llm.data import demonstration, first, load_rows
from llm.evaluate import Estimate, Outcome, evaluate, improvement, preferred, sample_table, win_rate
from llm.files import read_json, write_json, write_json_lines, write_text
from llm.generate import Sampling, write_scored
from llm.model import load_model, new_model, train_tokenizer
from llm.pipeline import align, fine_tune, train_reward
from llm.rewards import Reward, length, score
from llm.run_folder import claimed, provenance
from llm.sizes import HEADS, Size
from llm.sources import OnPolicy, Recorded, Source
from llm.tokens import Encoded, encode
from llm.trainer import training_arguments

METHODS = {"CoPG": CoPG, "DPO": DPO, "IPO": IPO, "RLOO": RLOO}
ONLINE = ("RLOO",)
TOKENIZER_TEXTS = 4000  # from which a tokenizer is trained


@dataclass(frozen=True)
class Text:
    """Demonstrations to learn from, others to be asked about, and what they are."""

    train: Dataset
    held_out: Dataset
    origin: dict[str, Any]


def docstrings(folder: str | Path, packages: Mapping[str, Sequence[str]], *, progress: bool) -> Text:
    """The corpus of installed documentation, read once and kept in the folder.

    Raises:
        ValueError: the folder holds the text of other packages.
    """
    folder = Path(folder)
    paths = [folder / "train.jsonl", folder / "held_out.jsonl"]
    with claimed(folder, packages):
        if not (folder / "origin.json").exists():
            corpus = docstring_corpus(**packages, progress=progress)
            for path, rows in zip(paths, (corpus.train, corpus.validation), strict=True):
                write_json_lines(path, rows)
            found = {"duplicates": corpus.duplicates, "versions": corpus.versions, "missing": corpus.missing}
            write_json(folder / "origin.json", {"name": "docstrings of installed packages", **found})
    train, held_out = (load_rows(path, demonstration).rows for path in paths)
    return Text(train, held_out, read_json(folder / "origin.json"))


@dataclass(frozen=True)
class Task:
    """What is fixed before alignment starts."""

    folder: Path
    size: Size
    seed: int
    tokenizer: PreTrainedTokenizerBase
    train: Dataset
    held_out: Dataset
    reference: PreTrainedModel
    reward: Reward
    scored: Dataset

    def outcome(self, model: PreTrainedModel, prompts: int) -> Outcome:
        """The policy's numbers on the first held-out prompts, always with the same noise."""
        rows = first(self.held_out, prompts)
        longest, seed = self.size.completion_tokens, self.seed + 1
        return evaluate(
            model, self.reference, rows, self.tokenizer, self.reward, max_new_tokens=longest, seed=seed
        )

    @cached_property
    def watched_reference(self) -> Outcome:
        """The reference on what is looked at during training."""
        return self.outcome(self.reference, self.size.watched)

    def watch(self) -> Callable[[PreTrainedModel], dict[str, float]]:
        """What is looked at during training: means, and the rise of the reward with its interval."""

        def held_out(model: PreTrainedModel) -> dict[str, float]:
            outcome = self.outcome(model, self.size.watched)
            rise = improvement(outcome, self.watched_reference)
            means = {name: found.mean for name, found in outcome.estimates().items()}
            return means | {"rise": rise.mean, "rise_low": rise.low, "rise_high": rise.high}

        return held_out


def run(
    folder: str | Path,
    size: Size,
    text: Text,
    tokenizer: PreTrainedTokenizerBase | None,
    settings: Mapping[str, Any],
    *,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """The whole demo; what `metrics.json` holds.

    Args:
        folder: of everything that is made.
        size: how much of everything.
        text: what to learn from; `docstrings` needs no download.
        tokenizer: trained on the text if it is None.
        settings: what decides the result, with the content of what was read.
        seed: of everything that is drawn.
        progress: say what is being done.

    Raises:
        ValueError: the folder holds a demo of other settings.
    """
    started, folder = time.monotonic(), Path(folder)

    def say(what: str) -> None:
        if progress:
            print(f"{(time.monotonic() - started) / 60:5.1f} min  {what}", file=sys.stderr, flush=True)

    with claimed(folder, settings):
        metrics = _measured(folder, size, text, tokenizer, seed, say)
        metrics |= provenance((time.monotonic() - started) / 60)
        write_json(folder / "metrics.json", metrics)
    return metrics


def _measured(
    folder: Path,
    size: Size,
    text: Text,
    tokenizer: PreTrainedTokenizerBase | None,
    seed: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Every policy, and every number of it."""
    task, made = prepare(folder, size, text, tokenizer, seed, say)
    reference = task.outcome(task.reference, size.held_out)
    outcomes = {"reference": reference}
    runs: list[dict[str, Any]] = []
    for name in METHODS:
        for beta in size.betas:
            say(f"{name}, beta = {beta}")
            outcome = task.outcome(train(task, name, beta), size.held_out)
            outcomes[_label(name, beta)] = outcome
            runs.append({"method": name, "beta": beta} | report(outcome, reference))
    best = {name: max((r for r in runs if r["method"] == name), key=_mean_reward) for name in METHODS}
    chosen = {name: outcomes[_label(name, run["beta"])] for name, run in best.items()}
    read = {"reference": reference} | {_label(n, r["beta"]): chosen[n] for n, r in best.items()}
    write_text(folder / "samples.md", sample_table(task.held_out, read))
    return {
        "text": text.origin | made | _numbers({"people_preferred_to_reference": _preferred(task, reference)}),
        "reference": _numbers(reference.estimates()),
        "runs": runs,
        "best_beta": {name: run["beta"] for name, run in best.items()},  # on these same prompts
        "best_against_each_other": _numbers(
            {f"{a} against {b}": win_rate(chosen[a], chosen[b]) for a in chosen for b in chosen if a != b}
        ),
        "seed": seed,
        "size": asdict(size),
    }


def prepare(
    folder: Path,
    size: Size,
    text: Text,
    tokenizer: PreTrainedTokenizerBase | None,
    seed: int,
    say: Callable[[str], None],
) -> tuple[Task, dict[str, Any]]:
    """Tokenizer, reference, reward and scored samples; and the numbers that tell of them."""
    learned, asked = text.train.shuffle(seed=seed), text.held_out.shuffle(seed=seed)
    if tokenizer is None:
        some = first(learned, TOKENIZER_TEXTS).to_list()
        tokenizer = train_tokenizer([row["prompt"] + row["completion"] for row in some], size.vocabulary)
    train, held_out = _encoded(learned, tokenizer, size), _encoded(asked, tokenizer, size)
    say(f"fine-tuning on {len(train.rows)} pairs")
    args = _arguments(folder / "sft", size.fine_tuning_steps, 2 * size.batch, size.fine_tuning_rate, seed)
    fresh = new_model(
        tokenizer, layers=size.layers, width=size.width, heads=HEADS, context=_context(size), seed=seed
    )
    reference = fine_tune(folder / "sft", fresh, tokenizer, train.rows, args, {"step": "sft", "seed": seed})
    say("reward model")
    reward = ground_truth(folder, size, seed, tokenizer, train.rows, reference)
    say("samples")
    prompts = first(train.rows, size.prompts)
    sampling, names = Sampling(size.k, size.completion_tokens, seed), {"model": "sft", "reward": "learned"}
    scored = write_scored(
        folder / "samples", prompts, reference, tokenizer, reward, sampling, names=names, progress=False
    )
    task = Task(folder, size, seed, tokenizer, prompts, held_out.rows, reference, reward, scored)
    return task, {
        "pairs": len(train.rows),
        "prompts_cut": train.truncated,
        "pairs_left_out_for_length": len(train.skipped),
        "parameters": reference.num_parameters(),
    }


def ground_truth(
    folder: Path,
    size: Size,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset,
    reference: PreTrainedModel,
) -> Reward:
    """A reward model that prefers what people wrote to what the reference samples."""
    rows = train.select(range(len(train) - min(size.comparisons, len(train)), len(train)))
    sampling = Sampling(1, size.completion_tokens, seed + 2)
    sampled = write_scored(
        folder / "comparisons", rows, reference, tokenizer, length, sampling, progress=False
    )
    pairs = [
        {"prompt": row["prompt"], "chosen": row["reference"], "rejected": row["completions"][0]}
        for row in sampled
    ]
    args = _arguments(folder / "reward", size.reward_steps, 2 * size.batch, 1e-3, seed)
    start, settings = folder / "sft" / "model", {"step": "reward", "seed": seed}
    return train_reward(folder / "reward", start, tokenizer, Dataset.from_list(pairs), args, settings)


def train(task: Task, name: str, beta: float) -> PreTrainedModel:
    """One method at one beta."""
    size, folder = task.size, task.folder / f"{name}-{beta}"
    model, _ = load_model(str(task.folder / "sft" / "model"))
    if name in ONLINE:
        algorithm: Any = RLOO(beta=beta, k=size.k)
        asked = (task.reference, task.tokenizer, task.reward, size.k, size.completion_tokens, task.seed)
        source: Source = OnPolicy(algorithm, *asked)
        rows, steps = task.train, size.online_steps
    else:
        algorithm, source = METHODS[name](beta=beta), Recorded()
        rows, steps = task.scored, size.offline_steps
    args = _arguments(folder, steps, size.batch, size.learning_rate, task.seed, looks=6)
    settings = {"step": "align", "method": name, "beta": beta, "seed": task.seed}
    return align(
        folder, algorithm, source, model, task.tokenizer, rows, args, settings, held_out=task.watch()
    )


def _preferred(task: Task, reference: Outcome) -> Estimate:
    """How often what people wrote has a higher reward than what the reference samples."""
    rows = first(task.held_out, task.size.held_out)
    people = score(task.reward, list(rows["prompt"]), list(rows["completion"])).reward
    return preferred(people, reference.reward)


def report(outcome: Outcome, reference: Outcome) -> dict[str, Any]:
    """Every number of a run, with its interval; the rise of the reward over the reference is paired."""
    against = {
        "rise_over_reference": improvement(outcome, reference),
        "win_rate_against_reference": win_rate(outcome, reference),
    }
    return _numbers(outcome.estimates() | against)


def _numbers(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: asdict(found) for name, found in estimates.items()}


def _encoded(rows: Dataset, tokenizer: PreTrainedTokenizerBase, size: Size) -> Encoded:
    limits = {"max_prompt_tokens": size.prompt_tokens, "max_completion_tokens": size.completion_tokens}
    return encode(rows, tokenizer, **limits, skip_long=True)


def _context(size: Size) -> int:
    """Twice what is needed: sampled text may take more tokens when it is read again."""
    return 2 * (size.prompt_tokens + size.completion_tokens)


def _arguments(
    folder: Path, steps: int, batch: int, rate: float, seed: int, looks: int | None = None
) -> TrainingArguments:
    return training_arguments(
        folder,
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        seed=seed,
        warmup=max(steps // 20, 1),
        log_every=max(steps // 12, 1),
        evaluate_every=None if looks is None else max(steps // looks, 1),
        save_every=max(steps // 2, 1),
    )


def _label(name: str, beta: float) -> str:
    return f"{name}, beta = {beta}"


def _mean_reward(run: dict[str, Any]) -> float:
    return run["reward"]["mean"]
