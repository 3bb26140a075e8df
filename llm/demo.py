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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from bandits import DPO, IPO, RLOO, CoPG
from llm.corpus import docstring_corpus
from llm.data import first, load_rows
from llm.evaluate import Outcome, evaluate, improvement, preferred, sample_table, win_rate
from llm.files import plain, read_json, write_json, write_json_lines, write_whole
from llm.generate import Sampling, against_samples, write_scored
from llm.layouts import demonstration
from llm.model import load_model, new_model, train_tokenizer
from llm.pipeline import align, fine_tune, train_reward
from llm.rewards import Scorer, length, score
from llm.run_folder import claimed, provenance
from llm.sizes import HEADS, Size
from llm.sources import OnPolicy, Recorded
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


@dataclass(frozen=True, eq=False)
class Demo:
    """The demo in a folder: each step is made when it is first asked for, or taken from where it was left.

    Args:
        folder: of everything that is made.
        size: how much of everything.
        text: what to learn from; `docstrings` needs no download.
        given_tokenizer: trained on the text if it is None.
        seed: of everything that is drawn.
        progress: say what is being done.
    """

    folder: Path
    size: Size
    text: Text
    given_tokenizer: PreTrainedTokenizerBase | None
    seed: int
    progress: bool

    def run(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """All of it; what `metrics.json` holds.

        Raises:
            ValueError: the folder holds a demo of other settings.
        """
        started = time.monotonic()
        with claimed(self.folder, settings):
            metrics = plain(self._measured()) | provenance((time.monotonic() - started) / 60)
            write_json(self.folder / "metrics.json", metrics)
        return metrics

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

    @cached_property
    def reference(self) -> PreTrainedModel:
        size, folder = self.size, self.folder / "sft"
        self._say(f"fine-tuning on {len(self.learned.rows)} pairs")
        context = 2 * (size.prompt_tokens + size.completion_tokens)  # samples read again may be longer
        shape = {"layers": size.layers, "width": size.width, "heads": HEADS, "context": context}
        fresh = new_model(self.tokenizer, **shape, seed=self.seed)
        args = self._arguments(folder, size.fine_tuning_steps, 2 * size.batch, size.fine_tuning_rate)
        settings = {"step": "sft", "seed": self.seed}
        return fine_tune(folder, fresh, self.tokenizer, self.learned.rows, args, settings)

    @cached_property
    def reward(self) -> Scorer:
        """The ground truth: it prefers what people wrote to what the reference samples."""
        rows, size, folder = self.learned.rows, self.size, self.folder / "reward"
        rows = rows.select(range(len(rows) - min(size.comparisons, len(rows)), len(rows)))
        sampling, reference = Sampling(1, size.completion_tokens, self.seed + 2), self.reference
        self._say("reward model")
        sampled = write_scored(
            self.folder / "comparisons", rows, reference, self.tokenizer, length, sampling, progress=False
        )
        pairs = against_samples(sampled, self.tokenizer)
        args = self._arguments(folder, size.reward_steps, 2 * size.batch, 1e-3)
        start, settings = self.folder / "sft" / "model", {"step": "reward", "seed": self.seed}
        return train_reward(folder, start, self.tokenizer, pairs, args, settings)

    @cached_property
    def prompts(self) -> Dataset:
        return first(self.learned.rows, self.size.prompts)

    @cached_property
    def scored(self) -> Dataset:
        sampling = Sampling(self.size.k, self.size.completion_tokens, self.seed)
        drawn = (self.prompts, self.reference, self.tokenizer, self.reward, sampling)
        self._say("samples")
        names = {"model": "sft", "reward": "learned"}
        return write_scored(self.folder / "samples", *drawn, names=names, progress=False)

    def train(self, name: str, beta: float) -> PreTrainedModel:
        """One method at one beta."""
        size, folder = self.size, self.folder / f"{name}-{beta}"
        self._say(f"{name}, beta = {beta}")
        model, _ = load_model(str(self.folder / "sft" / "model"))
        if name in ONLINE:
            algorithm: Any = RLOO(beta=beta, k=size.k)
            drawn = (self.reference, self.tokenizer, self.reward, size.k, size.completion_tokens, self.seed)
            source: Any = OnPolicy(algorithm, *drawn)
            rows, steps = self.prompts, size.online_steps
        else:
            algorithm, source = METHODS[name](beta=beta), Recorded()
            rows, steps = self.scored, size.offline_steps
        args = self._arguments(folder, steps, size.batch, size.learning_rate, looks=6)
        settings = {"step": "align", "method": name, "beta": beta, "seed": self.seed}
        run = (folder, algorithm, source, model, self.tokenizer, rows, args, settings)
        return align(*run, held_out=self.watched)

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

    def _measured(self) -> dict[str, Any]:
        """Every policy, and every number of it; the best beta is chosen on the same prompts."""
        everyone = [(name, beta) for name in METHODS for beta in self.size.betas]
        asked = self.size.held_out
        reference, people = self.outcome(self.reference, asked), first(self.asked, asked)
        outcomes = {run: self.outcome(self.train(*run), asked) for run in everyone}
        best = {
            name: max(self.size.betas, key=lambda beta: outcomes[name, beta].reward.mean())
            for name in METHODS
        }
        chosen = {f"{name}, beta = {beta}": outcomes[name, beta] for name, beta in best.items()}
        write_whole(
            self.folder / "samples.md",
            sample_table(self.asked, {"reference": reference} | chosen).encode(),
        )
        written = score(self.reward, list(people["prompt"]), list(people["completion"])).reward
        return {
            "text": self.text.origin
            | {
                "pairs": len(self.learned.rows),
                "prompts_cut": self.learned.truncated,
                "pairs_left_out_for_length": len(self.learned.skipped),
                "parameters": self.reference.num_parameters(),
                "people_preferred_to_reference": preferred(written, reference.reward),
            },
            "reference": reference.estimates(),
            "runs": [_report(*run, outcome, reference) for run, outcome in outcomes.items()],
            "best_beta": best,
            "best_against_each_other": {
                f"{a} against {b}": win_rate(outcomes[a, best[a]], outcomes[b, best[b]])
                for a in best
                for b in best
                if a != b
            },
            "seed": self.seed,
            "size": asdict(self.size),
        }

    def _say(self, what: str) -> None:
        if self.progress:
            print(f"{time.strftime('%H:%M:%S')}  {what}", file=sys.stderr, flush=True)

    def _encoded(self, rows: Dataset) -> Encoded:
        x, y = self.size.prompt_tokens, self.size.completion_tokens
        given = (rows.shuffle(seed=self.seed), self.tokenizer)
        return encode(*given, max_prompt_tokens=x, max_completion_tokens=y, skip_long=True)

    def _arguments(
        self, folder: Path, steps: int, batch: int, rate: float, looks: int | None = None
    ) -> TrainingArguments:
        return training_arguments(
            folder,
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
    against = {
        "rise_over_reference": improvement(outcome, reference),
        "win_rate_against_reference": win_rate(outcome, reference),
    }
    return {"method": name, "beta": beta, **outcome.estimates(), **against}
