"""How does the whole pipeline go?  CoPG's Section 6 (Flet-Berliac 2024, arXiv:2406.19185) in small.

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

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from bandits import DPO, IPO, RLOO, CoPG
from llm.data import first, load_rows
from llm.demo import figures
from llm.demo.corpus import TRAINING, VALIDATION, Text, docstrings
from llm.demo.sizes import HEADS, Size, size_of
from llm.evaluate import Outcome, evaluate, improvement, preferred, sample_table, win_rate
from llm.files import plain, write_json, write_whole
from llm.generate import Sampling, against_samples, write_scored
from llm.layouts import demonstration
from llm.model import load_model, load_tokenizer, new_model, train_tokenizer
from llm.pipeline import align, fine_tune, train_reward
from llm.rewards import Scorer, length, load_scorer, score
from llm.run_folder import claimed, provenance
from llm.sources import OnPolicy, Recorded, Source
from llm.tokens import Encoded, encode
from llm.trainer import training_arguments

OFFLINE = {"CoPG": CoPG, "DPO": DPO, "IPO": IPO}
METHODS = (*OFFLINE, "RLOO")
PACKAGES = {"training": TRAINING, "validation": VALIDATION}
QUICK_PACKAGES = {"training": ("python", "numpy"), "validation": ("networkx",)}
TOKENIZER_TEXTS = 4000  # from which a tokenizer is trained


def run_demo(options: argparse.Namespace, settings: Mapping[str, Any]) -> list[str]:
    """The whole pipeline, its figures and its numbers.

    Raises:
        ValueError: the folder holds a demo of other settings, or the text is missing.
    """
    started = time.monotonic()
    size = size_of("quick" if options.quick else options.size)
    tokenizer = None if options.tokenizer is None else load_tokenizer(options.tokenizer)
    demo = Demo(options.out, size, _text(options), tokenizer, options.seed, not options.quiet)
    with claimed(options.out, settings):
        metrics = plain(demo.numbers()) | provenance((time.monotonic() - started) / 60)
        write_json(options.out / "metrics.json", metrics)
    pictures = figures.write_all(options.out, metrics)
    return [*figures.table(metrics), "", *(f"wrote {path}" for path in pictures)]


def _text(options: argparse.Namespace) -> Text:
    """Docstrings, or the demonstrations that were named."""
    if options.data is None:
        packages = QUICK_PACKAGES if options.quick else PACKAGES
        return docstrings(options.out / "text", packages, progress=not options.quiet)
    if options.held_out is None:
        raise ValueError("--data needs --held-out: text that nothing is trained on, to be measured on")
    train, held_out = (load_rows(path, demonstration).rows for path in (options.data, options.held_out))
    return Text(train, held_out, {"name": f"{options.data}, held out {options.held_out}"})


@dataclass(frozen=True, eq=False)
class Demo:
    """The demo in a folder: each step is made when it is first asked for, or taken from where it was left."""

    folder: Path
    size: Size
    text: Text
    given_tokenizer: PreTrainedTokenizerBase | None  # None: trained on the text
    seed: int  # of everything that is drawn
    progress: bool  # say what is being done

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        if self.given_tokenizer is not None:
            return self.given_tokenizer
        some = first(self.text.train.shuffle(seed=self.seed), TOKENIZER_TEXTS).to_list()
        return train_tokenizer([row["prompt"] + row["completion"] for row in some], self.size.vocabulary)

    @cached_property
    def learned(self) -> Encoded:
        """What is trained on."""
        return self._encoded(self.text.train)

    @cached_property
    def asked(self) -> Dataset:
        """What nothing is trained on."""
        return self._encoded(self.text.held_out).rows

    def _encoded(self, rows: Dataset) -> Encoded:
        x, y = self.size.prompt_tokens, self.size.completion_tokens
        given = (rows.shuffle(seed=self.seed), self.tokenizer)
        return encode(*given, max_prompt_tokens=x, max_completion_tokens=y, skip_long=True)

    @cached_property
    def reference(self) -> PreTrainedModel:
        """A small GPT-2 that imitates people."""
        size, rows = self.size, self.learned.rows
        self._say(f"fine-tuning on {len(rows)} pairs")
        context = 2 * (size.prompt_tokens + size.completion_tokens)  # samples read again may be longer
        shape = {"layers": size.layers, "width": size.width, "heads": HEADS, "context": context}
        fresh = new_model(self.tokenizer, **shape, seed=self.seed)
        args = self._arguments("sft", size.fine_tuning_steps, 2 * size.batch, size.fine_tuning_rate)
        settings = {"step": "sft", "seed": self.seed}
        return load_model(str(fine_tune(self.folder / "sft", fresh, self.tokenizer, rows, args, settings)))[0]

    @cached_property
    def reward(self) -> Scorer:
        """The ground truth: it prefers what people wrote to what the reference samples."""
        rows, size = self.learned.rows, self.size
        rows = rows.select(range(len(rows) - min(size.comparisons, len(rows)), len(rows)))
        sampling, reference = Sampling(1, size.completion_tokens, self.seed + 2), self.reference
        self._say("reward model")
        drawn = (self.folder / "comparisons", rows, reference, self.tokenizer, length, sampling)
        pairs = against_samples(write_scored(*drawn, progress=False), self.tokenizer)
        args = self._arguments("reward", size.reward_steps, 2 * size.batch, 1e-3)
        start, settings = self.folder / "sft" / "model", {"step": "reward", "seed": self.seed}
        found = train_reward(self.folder / "reward", start, self.tokenizer, pairs, args, settings)
        return load_scorer(str(found))

    @cached_property
    def prompts(self) -> Dataset:
        return first(self.learned.rows, self.size.prompts)

    @cached_property
    def scored(self) -> Dataset:
        """Samples of the reference, with the rewards that the offline methods learn from."""
        sampling = Sampling(self.size.k, self.size.completion_tokens, self.seed)
        drawn = (self.folder / "samples", self.prompts, self.reference, self.tokenizer, self.reward, sampling)
        self._say("samples")
        return write_scored(*drawn, names={"model": "sft", "reward": "learned"}, progress=False)

    def trained(self, name: str, beta: float) -> PreTrainedModel:
        """One method at one beta, on samples of the reference or on its own."""
        size, run = self.size, f"{name}-{beta}"
        self._say(f"{name}, beta = {beta}")
        if name in OFFLINE:
            algorithm: Any = OFFLINE[name](beta=beta)
            source: Source = Recorded()
            rows, steps = self.scored, size.offline_steps
        else:
            algorithm = RLOO(beta=beta, k=size.k)
            drawn = (self.reference, self.tokenizer, self.reward, size.k, size.completion_tokens, self.seed)
            source = OnPolicy(algorithm, *drawn)
            rows, steps = self.prompts, size.online_steps
        model, _ = load_model(str(self.folder / "sft" / "model"))
        args = self._arguments(run, steps, size.batch, size.learning_rate, looks=6)
        settings = {"step": "align", "method": name, "beta": beta, "seed": self.seed}
        given = (algorithm, source, model, self.tokenizer, rows, args, settings)
        return load_model(str(align(self.folder / run, *given, held_out=self.watched)))[0]

    def outcome(self, model: PreTrainedModel, prompts: int) -> Outcome:
        """The policy's numbers on the first held-out prompts, always with the same noise."""
        given = (self.reference, first(self.asked, prompts), self.tokenizer, self.reward)
        return evaluate(model, *given, max_new_tokens=self.size.completion_tokens, seed=self.seed + 1)

    @cached_property
    def watched_reference(self) -> Outcome:
        return self.outcome(self.reference, self.size.watched)

    def watched(self, model: PreTrainedModel) -> dict[str, float]:
        """What is looked at during training: means, and the rise of the reward with its interval."""
        outcome = self.outcome(model, self.size.watched)
        rise = improvement(outcome, self.watched_reference)
        means = {name: found.mean for name, found in outcome.estimates().items()}
        return means | {"rise": rise.mean, "rise_low": rise.low, "rise_high": rise.high}

    def numbers(self) -> dict[str, Any]:
        """Every policy, and every number of it; the best beta is chosen on the same prompts."""
        betas, asked = self.size.betas, self.size.held_out
        reference = self.outcome(self.reference, asked)
        outcomes = {(m, beta): self.outcome(self.trained(m, beta), asked) for m in METHODS for beta in betas}
        best = {m: max(betas, key=lambda beta: outcomes[m, beta].reward.mean()) for m in METHODS}
        chosen = {f"{m}, beta = {beta}": outcomes[m, beta] for m, beta in best.items()}
        table = sample_table(self.asked, {"reference": reference} | chosen)
        write_whole(self.folder / "samples.md", table.encode())
        against = {
            f"{one} against {other}": win_rate(outcomes[one, best[one]], outcomes[other, best[other]])
            for one in METHODS
            for other in METHODS
            if one != other
        }
        return {
            "text": self._told_of_text(reference),
            "reference": reference.estimates(),
            "runs": [_report(*run, outcome, reference) for run, outcome in outcomes.items()],
            "best_beta": best,
            "best_against_each_other": against,
            "seed": self.seed,
            "size": asdict(self.size),
        }

    def _told_of_text(self, reference: Outcome) -> dict[str, Any]:
        people = first(self.asked, self.size.held_out)
        written = score(self.reward, list(people["prompt"]), list(people["completion"]))
        return self.text.origin | {
            "pairs": len(self.learned.rows),
            "prompts_cut": self.learned.truncated,
            "pairs_left_out_for_length": len(self.learned.skipped),
            "parameters": self.reference.num_parameters(),
            "people_preferred_to_reference": preferred(written.reward, reference.reward),
        }

    def _say(self, what: str) -> None:
        if self.progress:
            print(f"{time.strftime('%H:%M:%S')}  {what}", file=sys.stderr, flush=True)

    def _arguments(
        self, run: str, steps: int, batch: int, rate: float, looks: int | None = None
    ) -> TrainingArguments:
        return training_arguments(
            self.folder / run,
            steps=steps,
            batch_size=batch,
            learning_rate=rate,
            seed=self.seed,
            warmup=max(steps // 20, 1),
            log_every=max(steps // 12, 1),
            evaluate_every=None if looks is None else max(steps // looks, 1),
            save_every=max(steps // 2, 1),
        )


def _report(name: str, beta: float, outcome: Outcome, reference: Outcome) -> dict[str, Any]:
    """Every number of a run, with its interval; the rise of the reward over the reference is paired."""
    rise, wins = improvement(outcome, reference), win_rate(outcome, reference)
    against = {"rise_over_reference": rise, "win_rate_against_reference": wins}
    return {"method": name, "beta": beta, **outcome.estimates(), **against}
