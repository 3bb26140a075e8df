"""The whole pipeline on a laptop: CoPG's Section 6 (Flet-Berliac 2024, arXiv:2406.19185) in small.

    corpus        descriptions and one-line summaries from installed documentation, split by package
    fine-tuning   a small GPT-2 from scratch: the reference
    reward        Bradley-Terry, trained to tell what people wrote from what the reference samples;
                  from then on it is the ground truth, as in the paper
    samples       k completions of each training prompt, scored; the preferences of DPO and IPO are
                  Bradley-Terry of the same rewards
    alignment     CoPG, DPO and IPO on these samples, RLOO on its own, each for several beta
    evaluation    one sample of each held-out prompt, from packages that nothing was trained on

Everything is resumed where it was killed, and a result that is there is not made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bandits import DPO, IPO, RLOO, CoPG
from llm.corpus import TRAINING, VALIDATION, docstring_corpus
from llm.evaluate import Outcome, evaluate, improvement, sample_table, win_rate
from llm.folder import claim, provenance, write_json
from llm.generate import Sampling, write_scored
from llm.model import load_model, new_model, train_tokenizer
from llm.pipeline import align, fine_tune, train_reward
from llm.rewards import Reward, length
from llm.sources import OnPolicy, Recorded, Source
from llm.tokens import encode
from llm.train import training_arguments

METHODS = {"CoPG": CoPG, "DPO": DPO, "IPO": IPO, "RLOO": RLOO}
ONLINE = ("RLOO",)


@dataclass(frozen=True)
class Size:
    """How much of everything; the full demo takes under 20 minutes on 2 cores, the quick one 2."""

    training: tuple[str, ...] = TRAINING
    validation: tuple[str, ...] = VALIDATION
    vocabulary: int = 2000
    layers: int = 3
    width: int = 64
    prompt_tokens: int = 64
    completion_tokens: int = 28
    fine_tuning_steps: int = 500
    comparisons: int = 1024
    reward_steps: int = 80
    prompts: int = 1024
    k: int = 4
    betas: tuple[float, ...] = (0.05, 0.2, 1.0)
    offline_steps: int = 64
    online_steps: int = 48
    batch: int = 16
    learning_rate: float = 1e-3
    held_out: int = 400
    watched: int = 80  # held-out prompts that are looked at during training


QUICK = Size(
    training=("python", "numpy"),
    validation=("networkx",),
    vocabulary=1000,
    layers=2,
    width=48,
    prompt_tokens=32,
    completion_tokens=20,
    fine_tuning_steps=150,
    comparisons=512,
    reward_steps=40,
    prompts=256,
    k=4,
    betas=(0.1, 1.0),
    offline_steps=24,
    online_steps=16,
    batch=16,
    learning_rate=1e-3,
    held_out=192,
    watched=48,
)


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

    def outcome(self, model: PreTrainedModel, rows: Dataset) -> Outcome:
        """The policy's numbers on held-out prompts, always with the same noise."""
        longest = self.size.completion_tokens
        return evaluate(
            model,
            self.reference,
            rows,
            self.tokenizer,
            self.reward,
            max_new_tokens=longest,
            seed=self.seed + 1,
        )

    def watch(self) -> Callable[[PreTrainedModel], dict[str, float]]:
        """What is looked at during training."""
        rows = self.held_out.select(range(self.size.watched))

        def held_out(model: PreTrainedModel) -> dict[str, float]:
            estimates = self.outcome(model, rows).estimates()
            return {name: found.mean for name, found in estimates.items()}

        return held_out


def run(folder: str | Path, size: Size, seed: int = 0, *, progress: bool = True) -> dict[str, Any]:
    """The whole demo; what `metrics.json` holds.

    Raises:
        ValueError: the folder holds a demo of another size or seed.
    """
    started, folder = time.monotonic(), Path(folder)
    claim(folder, {"command": "demo", "seed": seed} | asdict(size))
    say = print if progress else _silent
    task = prepare(folder, size, seed, say=say, progress=progress)
    reference = task.outcome(task.reference, task.held_out)
    outcomes = {"reference": reference}
    runs: list[dict[str, Any]] = []
    for name in METHODS:
        for beta in size.betas:
            say(f"{name}, beta = {beta}: {(time.monotonic() - started) / 60:.1f} minutes so far")
            model = train(task, name, beta)
            outcome = task.outcome(model, task.held_out)
            outcomes[f"{name}, beta = {beta}"] = outcome
            runs.append({"method": name, "beta": beta} | report(outcome, reference))
    best = {name: max((r for r in runs if r["method"] == name), key=_mean_reward) for name in METHODS}
    metrics = {
        "reference": {name: asdict(x) for name, x in reference.estimates().items()},
        "runs": runs,
        "best_beta": {name: r["beta"] for name, r in best.items()},
        "best_against_each_other": _tournament(outcomes, best),
        "seed": seed,
        "size": asdict(size),
        **provenance((time.monotonic() - started) / 60),
    }
    write_json(folder / "metrics.json", metrics)
    chosen = {"reference": reference} | {
        f"{n}, beta = {r['beta']}": outcomes[f"{n}, beta = {r['beta']}"] for n, r in best.items()
    }
    (folder / "samples.md").write_text(sample_table(task.held_out, chosen))
    return metrics


def prepare(folder: Path, size: Size, seed: int, *, say: Callable[..., Any], progress: bool) -> Task:
    """Corpus, tokenizer, reference, reward and scored samples."""
    say("reading docstrings")
    corpus = docstring_corpus(size.training, size.validation, progress=progress)
    write_json(
        folder / "corpus.json",
        {
            "train": len(corpus.train),
            "validation": len(corpus.validation),
            "duplicates": corpus.duplicates,
            "versions": corpus.versions,
            "missing": corpus.missing,
        },
    )
    texts = [row["prompt"] + row["completion"] for row in corpus.train.shuffle(seed=seed)][:4000]
    tokenizer = train_tokenizer(texts, size.vocabulary)
    limits = {"max_prompt_tokens": size.prompt_tokens, "max_completion_tokens": size.completion_tokens}
    train = encode(corpus.train.shuffle(seed=seed), tokenizer, **limits, skip_long=True).rows
    held_out = encode(corpus.validation.shuffle(seed=seed), tokenizer, **limits, skip_long=True).rows
    say(f"fine-tuning on {len(train)} pairs")
    args = _arguments(folder / "sft", size, seed, size.fine_tuning_steps, 2 * size.batch, 2e-3)
    context = 2 * (size.prompt_tokens + size.completion_tokens)  # sampled text may take more tokens when read
    fresh = new_model(tokenizer, layers=size.layers, width=size.width, heads=4, context=context, seed=seed)
    reference = fine_tune(folder / "sft", fresh, tokenizer, train, args, {"step": "sft", "seed": seed})
    say("training the reward model")
    reward = ground_truth(folder, size, seed, tokenizer, train, reference, progress=progress)
    say("sampling")
    asked = train.select(range(min(size.prompts, len(train))))
    sampling = Sampling(size.k, size.completion_tokens, seed)
    names = {"model": "sft", "reward": "learned"}
    scored = write_scored(
        folder / "samples", asked, reference, tokenizer, reward, sampling, names=names, progress=progress
    )
    held_out = held_out.select(range(min(size.held_out, len(held_out))))
    return Task(folder, size, seed, tokenizer, asked, held_out, reference, reward, scored)


def ground_truth(
    folder: Path,
    size: Size,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset,
    reference: PreTrainedModel,
    *,
    progress: bool,
) -> Reward:
    """A reward model that prefers what people wrote to what the reference samples."""
    rows = train.select(range(len(train) - min(size.comparisons, len(train)), len(train)))
    sampling = Sampling(1, size.completion_tokens, seed + 2)
    sampled = write_scored(
        folder / "comparisons", rows, reference, tokenizer, length, sampling, progress=progress
    )
    pairs = [
        {"prompt": row["prompt"], "chosen": row["reference"], "rejected": row["completions"][0]}
        for row in sampled
    ]
    args = _arguments(folder / "reward", size, seed, size.reward_steps, 2 * size.batch, 1e-3)
    context = 2 * (size.prompt_tokens + size.completion_tokens)  # sampled text may take more tokens when read
    settings = {"step": "reward", "seed": seed}
    start = folder / "sft" / "model"
    return train_reward(
        folder / "reward", start, tokenizer, Dataset.from_list(pairs), args, settings, context=context
    )


def train(task: Task, name: str, beta: float) -> PreTrainedModel:
    """One method at one beta."""
    size, folder = task.size, task.folder / f"{name}-{beta}"
    online = name in ONLINE
    algorithm = RLOO(beta=beta, k=size.k) if online else METHODS[name](beta=beta)
    model, _ = load_model(str(task.folder / "sft" / "model"))
    source: Source = Recorded()
    if online:
        source = OnPolicy(
            algorithm, task.reference, task.tokenizer, task.reward, size.k, size.completion_tokens, task.seed
        )
    steps = size.online_steps if online else size.offline_steps
    args = _arguments(folder, size, task.seed, steps, size.batch, size.learning_rate, looks=6)
    rows = task.train if online else task.scored
    settings = {"step": "align", "method": name, "beta": beta, "seed": task.seed}
    return align(
        folder, algorithm, source, model, task.tokenizer, rows, args, settings, held_out=task.watch()
    )


def report(outcome: Outcome, reference: Outcome) -> dict[str, Any]:
    """Every number of a run, with its interval; the rise of the reward over the reference is paired."""
    found = {name: asdict(x) for name, x in outcome.estimates().items()}
    found["rise_over_reference"] = asdict(improvement(outcome, reference))
    found["win_rate_against_reference"] = asdict(win_rate(outcome, reference))
    return found


def _tournament(outcomes: dict[str, Outcome], best: dict[str, Any]) -> dict[str, Any]:
    """Win rates between the best runs of two methods."""
    chosen = {name: outcomes[f"{name}, beta = {r['beta']}"] for name, r in best.items()}
    return {
        f"{a} against {b}": asdict(win_rate(chosen[a], chosen[b])) for a in chosen for b in chosen if a != b
    }


def _arguments(
    folder: Path, size: Size, seed: int, steps: int, batch: int, rate: float, looks: int | None = None
):
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


def _mean_reward(run: dict[str, Any]) -> float:
    return run["reward"]["mean"]


def _silent(*_: Any) -> None:
    return None
