"""What do the options of a command name?  Rows, rewards and models, read and checked; data before models.

What is not there, cannot be read or does not fit the command is one ValueError.
"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from llm.algorithms import Needs
from llm.choices import REWARDS
from llm.data import Loaded, first, load_rows
from llm.generate import read_scored
from llm.layouts import Row, demonstration, judged, preference, scored
from llm.model import load_model, load_tokenizer, new_model, train_tokenizer
from llm.rewards import Reward, name_and_weight, reward_named
from llm.run_folder import source
from llm.tokens import encode, token_ids

Options = argparse.Namespace
READ = ("data", "model", "reference", "reward", "tokenizer", "size")  # names of what is read
# What does not change the result
NOT_SETTINGS = {"out", "quiet", "save_every", "log_every", "tensorboard", "held_out", "evaluate_every"}


def settings_of(options: Options) -> dict[str, Any]:
    """What decides the result: options, and what is in the files that they name."""

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(each) for each in value]
        name, weight = name_and_weight(value or "")
        return value if not name or name in REWARDS else source(name) + f"={weight}" * bool(weight)

    given = {name: value for name, value in vars(options).items() if name not in NOT_SETTINGS}
    if options.command == "demo":  # it learns from the one as it is measured on the other
        given["held_out"] = named(options.held_out)
    return given | {name: named(given[name]) for name in READ if name in given}


def reward_of(options: Options) -> Reward:
    """The sum of what `--reward` names."""
    for term in options.reward:
        name, _ = name_and_weight(term)
        if name not in REWARDS and "/" not in name and source(name) == name:
            near = difflib.get_close_matches(name, REWARDS, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            known = ", ".join(REWARDS)
            raise ValueError(f"reward must be {known}, or the folder of a model, but is {name!r}{meant}")
    return reward_named(*options.reward)


def loaded(options: Options, kind: Any = demonstration, data: str | None = None) -> Loaded:
    """The rows of `--data`, or of another source, by default prompts with completions."""
    return load_rows(data or options.data, kind, skip_bad=options.skip_bad, as_is=options.as_is)


def sampled(options: Options, *columns: str) -> Loaded | None:
    """The rows with at least these columns, if `sample` wrote them; None if somebody else did."""
    if not (Path(options.data) / "shards").is_dir():
        return None
    rows = read_scored(options.data)
    for name in columns:
        if name not in rows.column_names:
            remedy = "sample into a new folder"
            raise ValueError(f"the shards in {options.data} have no column {name!r}; {remedy}")
    return Loaded(rows, ())


def to_align(options: Options, asked: Needs) -> tuple[Loaded, bool]:
    """Rows to align on, and whether they are prompts, at which the policy samples as it learns.

    Rows of scores or comparisons are learned from as they are.  At prompts it samples, if rewards alone say
    what is good; an algorithm that takes its own samples only is given nothing else.
    """
    name, read = options.algorithm, asked.fields
    found = sampled(options, "prompt_ids", "completion_ids", "reference_log_probs")
    if found and asked.own_samples:
        raise ValueError(f"{name} samples as it learns, and --data holds samples; give it prompts")
    if found and "desirable" in read and not options.ranked:
        remedy = "give it rows of prompt, completion, label, or --ranked"
        raise ValueError(f"{name} learns from labels, and --data holds samples without; {remedy}")
    if not found and "desirable" in read:
        found = loaded(options, judged)
    if not found:
        rewarded = "reward" in read and "value" not in read
        found = loaded(options, demonstration if asked.own_samples else _any if rewarded else _recorded)
    columns = set(found.rows.column_names)
    fresh = not columns & {"completions", "chosen", "labels"}
    if fresh and asked.reference_samples:
        drawn = "and a policy in training draws others; sample from the reference first, and give it those"
        raise ValueError(f"{name} ranks rewards among completions of the reference, {drawn}")
    if fresh and "population" in read and options.k < 2:
        nothing = "with k = 1 nothing is left, take k >= 2"
        raise ValueError(f"{name}'s baseline is the mean over k samples; {nothing}")
    if not fresh and "reward" in read and "rewards" not in columns:
        raise ValueError(f"{name} learns from rewards, but the rows hold comparisons; use DPO, IPO or SRPO")
    if not fresh and "token_behavior_log_prob" in read:
        raise ValueError(f"{name} reads who sampled each token, which no row holds; give it prompts")
    if not fresh and "behavior_log_prob" in read and "behavior_log_probs" not in columns:
        raise ValueError(f"{name} reads who sampled, which the rows do not hold; take what `sample` wrote")
    return found, fresh


def _recorded(row: Row) -> dict[str, Any]:
    """Scores or comparisons; what they have as log-probabilities of a reference is not taken."""
    found = scored(row) if "completions" in row else preference(row)
    return {name: value for name, value in found.items() if name != "reference_log_probs"}


def _any(row: Row) -> dict[str, Any]:
    others = {"completions", "chosen", "summaries"} & row.keys()
    return _recorded(row) if others else demonstration(row)


def split(rows: Dataset, options: Options) -> tuple[Dataset, Dataset]:
    """Comparisons to train on and to test on, which share no prompt."""
    if not options.test_share:
        return rows, rows.select([])
    asked = sorted(set(rows["prompt"]))
    if len(asked) < 2:
        raise ValueError("comparisons of at least 2 prompts are needed, one of them to test on")
    order = np.random.default_rng(options.seed).permutation(len(asked))
    size = min(max(round(options.test_share * len(asked)), 1), len(asked) - 1)
    test = {asked[i] for i in order[:size]}
    held = np.array([prompt in test for prompt in rows["prompt"]])
    return rows.select(np.flatnonzero(~held)), rows.select(np.flatnonzero(held))


def policy(options: Options, rows: Dataset) -> tuple[PreTrainedModel, Tokenizer]:
    """A model by name, or a new GPT-2 with a given or a trained tokenizer."""
    if options.model is not None:
        return load_model(options.model, tokenizer_name=options.tokenizer)
    if options.tokenizer is not None:
        tokenizer = load_tokenizer(options.tokenizer)
    else:
        texts = (row["prompt"] + row["completion"] for row in rows)
        tokenizer = train_tokenizer(texts, options.vocabulary)
    size = {name: getattr(options, name) for name in ("layers", "width", "heads", "seed")}
    context = 2 * (options.max_prompt_tokens + options.max_completion_tokens)
    return new_model(tokenizer, context=context, **size), tokenizer


def encoded(loaded: Loaded, tokenizer: Tokenizer, options: Options) -> tuple[Dataset, list[str]]:
    """Token ids within the limits, at most `--rows` of them, and what was cut or left out."""
    rows = loaded.rows if options.rows is None else first(loaded.rows, options.rows)
    if "prompt_ids" in rows.column_names:  # of `sample`
        if token_ids(tokenizer, [rows[0]["prompt"]], prompts=True)[0] != rows[0]["prompt_ids"]:
            told = f"{options.data} was sampled with another tokenizer than that of {options.model}"
            raise ValueError(told)
        return rows, []
    limits = {name: getattr(options, name) for name in ("max_prompt_tokens", "max_completion_tokens")}
    found = encode(rows, tokenizer, **limits, skip_long=options.skip_long, places=loaded.places)
    spelled = f"rows spell out a special token, read as text; the first is {next(iter(found.spelled), '')}"
    said = (
        (len(loaded.skipped), "rows were left out: they are bad"),
        (loaded.spaced, "rows had completions given one space in front and none behind (--as-is: not)"),
        (len(found.spelled), spelled),
        (len(found.skipped), "rows were left out: a completion is too long"),
        (found.truncated, f"prompts were cut to {options.max_prompt_tokens} tokens"),
    )
    return found.rows, [*loaded.skipped, *(f"{count} {what}" for count, what in said if count)]
