"""The commands of `python -m llm`: options in, one folder and a few lines out.

Data are read before models, which take longer; a folder that is finished is told of, and nothing is loaded.
"""

from __future__ import annotations

import argparse
import difflib
import os
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, TrainingArguments
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import logging as transformers_logging

from llm import choices, demo, figures
from llm.algorithms import Needs, algorithm, needs
from llm.corpus import TRAINING, VALIDATION
from llm.data import Loaded, Row, demonstration, first, load_rows, preference, scored
from llm.evaluate import Outcome, evaluate, improvement, preferred, sample_table, win_rate
from llm.files import write_json, write_text
from llm.generate import Sampling, read_scored, write_scored
from llm.loss import attach_value
from llm.model import load_config, load_model, load_tokenizer, new_model, train_tokenizer
from llm.pipeline import align, fine_tune, train_reward
from llm.rewards import Reward, reward_named
from llm.run_folder import claimed, finish, made, source
from llm.sizes import size_of
from llm.sources import OnPolicy, Recorded, mean_reward, trained_value
from llm.tokens import encode
from llm.trainer import training_arguments

Options = argparse.Namespace
PACKAGES = {"training": TRAINING, "validation": VALIDATION}
QUICK_PACKAGES = {"training": ("python", "numpy"), "validation": ("networkx",)}
READ = ("data", "model", "reference", "reward", "tokenizer", "size")  # names of what is read
# What does not change the result
NOT_SETTINGS = {"out", "quiet", "save_every", "log_every", "tensorboard", "held_out", "evaluate_every"}
SAMPLED = ("prompt_ids", "completion_ids", "reference_log_probs")  # what `sample` adds to scored rows


def perform(options: Options) -> list[str]:
    """Run a command, unless its folder is finished; what there is to say.

    Raises:
        ValueError, OSError: something that the user can mend.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    started = time.monotonic()
    said = made(options.out, _settings(options))
    if said is None:
        said = RUN[options.command](options)
        if int(os.environ.get("RANK", "0")):  # the first of several processes tells
            return []
        finish(options.out, said, (time.monotonic() - started) / 60)
    return said


def run_demo(options: Options) -> list[str]:
    """The whole pipeline of CoPG's Section 6, its figures and its numbers."""
    size = size_of("quick" if options.quick else options.size)
    tokenizer = None if options.tokenizer is None else load_tokenizer(options.tokenizer)
    settings, progress = _settings(options), not options.quiet
    text = _text(options)
    metrics = demo.run(options.out, size, text, tokenizer, settings, seed=options.seed, progress=progress)
    pictures = figures.write_all(options.out, metrics)
    return [*figures.table(metrics), "", *(f"wrote {path}" for path in pictures)]


def run_sft(options: Options) -> list[str]:
    """Supervised fine-tuning of a model, or of a new one."""
    loaded = load_rows(options.data, demonstration, skip_bad=options.skip_bad)
    model, tokenizer = _policy(options, loaded.rows)
    rows, said = _encoded(loaded, tokenizer, options)
    fine_tune(options.out, model, tokenizer, rows, _arguments(options), _settings(options))
    return [*said, f"fine-tuned on {len(rows)} pairs: {options.out / 'model'}", _picture(options)]


def run_reward(options: Options) -> list[str]:
    """A Bradley-Terry reward model from comparisons, or from what people wrote against samples."""
    if not 0 < options.test_share < 1:
        raise ValueError(f"test_share must lie between 0 and 1, but is {options.test_share}")
    loaded = _comparisons(options)
    tokenizer = load_tokenizer(options.model, load_config(options.model))
    rows, said = _encoded(loaded, tokenizer, options)
    train, test = _split(rows, options)
    arguments, settings = _arguments(options), _settings(options)
    scorer = train_reward(options.out, options.model, tokenizer, train, arguments, settings)
    chosen, rejected = (scorer(test["prompt"], test[column]) for column in ("chosen", "rejected"))
    accuracy = preferred(chosen, rejected)
    write_json(options.out / "metrics.json", {"accuracy": accuracy, "comparisons": len(test)})
    done = f"prefers the chosen one: {accuracy} of {len(test)} held-out comparisons"
    return [*said, done, _picture(options)]


def run_sample(options: Options) -> list[str]:
    """k completions of each prompt, scored, with reference log-probabilities."""
    loaded = load_rows(options.data, demonstration, skip_bad=options.skip_bad)
    reward = _reward(options)
    model, tokenizer = load_model(options.model)
    rows, said = _encoded(loaded, tokenizer, options)
    sampling = Sampling(options.k, options.max_new_tokens, options.seed, options.shard_size)
    settings, progress = _settings(options), not options.quiet
    found = write_scored(
        options.out, rows, model, tokenizer, reward, sampling, names=settings, progress=progress
    )
    total, words = torch.tensor(found["rewards"]), torch.tensor(found["lengths"])
    mean = f"mean reward {total.mean():.3f}, mean length {words.mean():.1f} words"
    return [*said, f"{len(found)} prompts, {options.k} completions each: {mean}"]


def run_align(options: Options) -> list[str]:
    """Train the policy by an algorithm, on recorded rows or sampling as it learns."""
    online = _is_online(options)
    chosen = algorithm(options, online=online)
    asked = needs(chosen)
    loaded = _prompts(options, asked) if online else _recorded(options, asked)
    watched = None if options.held_out is None else load_rows(options.held_out, demonstration)
    reward: Any = _reward(options) if online or watched else None
    model, tokenizer = load_model(options.model)
    rows, said = _encoded(loaded, tokenizer, options)
    reference = deepcopy(model).requires_grad_(False) if reward else None
    look = None
    if watched is not None:
        look = _means(_look(options, reward, reference, tokenizer, _encoded(watched, tokenizer, options)[0]))
    if online:
        longest, greedy = options.max_new_tokens, "greedy_reward" in asked.fields
        drawn = (chosen, reference, tokenizer, reward, options.k, longest, options.seed)
        completions: Any = OnPolicy(*drawn, greedy=greedy, reuse=options.reuse)
    else:
        completions = _recorded_source(options, asked, model, tokenizer, rows)
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable()
    args, settings = _arguments(options, watched=look is not None), _settings(options)
    run = (options.out, chosen, completions, model, tokenizer, rows, args, settings)
    align(*run, held_out=look, lora_rank=options.lora_rank)
    done = f"{options.algorithm}, beta = {options.beta}, on {len(rows)} prompts: {options.out / 'model'}"
    return [*said, done, _picture(options)]


def run_evaluate(options: Options) -> list[str]:
    """Reward, KL, win rates and samples of policies on held-out prompts."""
    loaded = load_rows(options.data, demonstration, skip_bad=options.skip_bad)
    reward = _reward(options)
    reference, tokenizer = load_model(options.reference)
    rows, said = _encoded(loaded, tokenizer, options)
    policies = {"reference": reference}
    for name in options.model:
        policies[name], own = load_model(name)
        if own.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"the policy {name!r} and the reference must have one tokenizer, but have two")
    look = _look(options, reward, reference, tokenizer, rows)
    outcomes = {name: look(policy) for name, policy in policies.items()}
    found: dict[str, Any] = {name: outcome.estimates() for name, outcome in outcomes.items()}
    for name in options.model:
        one, others = outcomes[name], {other: outcomes[other] for other in outcomes if other != name}
        found[name]["rise_over_reference"] = improvement(one, outcomes["reference"])
        found[name]["win_rate_against"] = {other: win_rate(one, two) for other, two in others.items()}
    with claimed(options.out, _settings(options)):
        write_json(options.out / "metrics.json", found)
        write_text(options.out / "samples.md", sample_table(rows, outcomes))
        picture = figures.policies(options.out)
    lines = (
        f"{name}: " + ", ".join(f"{key} {value}" for key, value in outcome.estimates().items())
        for name, outcome in outcomes.items()
    )
    return [*said, *lines, f"wrote {picture}"]


RUN: dict[str, Callable[[Options], list[str]]] = {
    "demo": run_demo,
    "sft": run_sft,
    "reward": run_reward,
    "sample": run_sample,
    "align": run_align,
    "evaluate": run_evaluate,
}


def _settings(options: Options) -> dict[str, Any]:
    """What decides the result: options, and what is in the files that they name."""

    def setting(name: str, value: Any) -> Any:
        if name not in READ or value is None:
            return value
        return [_source(each) for each in value] if isinstance(value, list) else _source(value)

    found = {name: setting(name, value) for name, value in vars(options).items() if name not in NOT_SETTINGS}
    if options.command == "demo":
        found["held_out"] = setting("data", options.held_out)
    return found


def _source(name: str) -> str:
    term, equals, weight = name.partition("=")
    return name if term in choices.REWARDS else source(term) + equals + weight


def _text(options: Options) -> demo.Text:
    """Docstrings, or the demonstrations that were named."""
    if options.data is None:
        packages = QUICK_PACKAGES if options.quick else PACKAGES
        return demo.docstrings(options.out / "text", packages, progress=not options.quiet)
    if options.held_out is None:
        raise ValueError("--data needs --held-out: text that nothing is trained on, to be measured on")
    train, held_out = (load_rows(path, demonstration).rows for path in (options.data, options.held_out))
    return demo.Text(train, held_out, {"name": f"{options.data}, held out {options.held_out}"})


def _comparisons(options: Options) -> Loaded:
    """Comparisons as they are, or of what people wrote with what was sampled."""
    if not _is_sampled(options.data):
        return load_rows(options.data, preference, skip_bad=options.skip_bad)
    rows = _with_columns(read_scored(options.data), ["reference"], options.data)
    pairs = [
        {"prompt": row["prompt"], "chosen": row["reference"], "rejected": y}
        for row in rows.to_list()
        for y in row["completions"]
        if y.strip()
    ]
    if not pairs:
        raise ValueError(f"{options.data} holds empty completions only, which cannot be compared")
    return Loaded(Dataset.from_list(pairs), ())


def _split(rows: Dataset, options: Options) -> tuple[Dataset, Dataset]:
    """Comparisons to train on and to test on, which share no prompt."""
    prompts = sorted(set(rows["prompt"]))
    if len(prompts) < 2:
        raise ValueError("comparisons of at least 2 prompts are needed, one of them to test on")
    order = np.random.default_rng(options.seed).permutation(len(prompts))
    size = min(max(round(options.test_share * len(prompts)), 1), len(prompts) - 1)
    test = {prompts[i] for i in order[:size]}
    held = np.array([prompt in test for prompt in rows["prompt"]])
    return rows.select(np.flatnonzero(~held)), rows.select(np.flatnonzero(held))


def _is_sampled(data: str) -> bool:
    return (Path(data) / "shards").is_dir()


def _with_columns(rows: Dataset, columns: list[str] | tuple[str, ...], data: str) -> Dataset:
    missing = [name for name in columns if name not in rows.column_names]
    if missing:
        raise ValueError(
            f"the shards in {data} have no column {missing[0]!r}; sample again into a new folder"
        )
    return rows


def _is_online(options: Options) -> bool:
    """Whether it samples as it learns: by its name, or a reader's own where the rows hold nothing sampled."""
    if ":" not in options.algorithm:
        return options.algorithm in choices.ONLINE
    if _is_sampled(options.data):
        return False
    try:
        load_rows(options.data, _any_recorded, skip_bad=True)
    except ValueError:
        return True
    return False


def _any_recorded(row: Row) -> dict[str, Any]:
    """Scores or comparisons; what they have as log-probabilities of a reference is not taken."""
    found = scored(row) if "completions" in row else preference(row)
    return {name: value for name, value in found.items() if name != "reference_log_probs"}


def _prompts(options: Options, asked: Needs) -> Loaded:
    """Prompts to sample completions of."""
    name = options.algorithm
    if _is_sampled(options.data):
        raise ValueError(f"{name} samples as it learns, and --data holds samples; give it prompts")
    if "population" in asked.fields and options.k < 2:
        raise ValueError(
            f"{name}'s baseline is the mean over k samples; with k = 1 nothing is left, take k >= 2"
        )
    return load_rows(options.data, demonstration, skip_bad=options.skip_bad)


def _recorded(options: Options, asked: Needs) -> Loaded:
    """What `sample` wrote, scores of others, or comparisons."""
    if _is_sampled(options.data):
        loaded = Loaded(_with_columns(read_scored(options.data), SAMPLED, options.data), ())
    else:
        loaded = load_rows(options.data, _any_recorded, skip_bad=options.skip_bad)
    if "reward" in asked.fields and "rewards" not in loaded.rows.column_names:
        raise ValueError(
            f"{options.algorithm} learns from rewards, but the rows hold comparisons; use DPO, IPO or SRPO"
        )
    return loaded


def _recorded_source(
    options: Options, asked: Needs, model: PreTrainedModel, tokenizer: Tokenizer, rows: Dataset
) -> Recorded:
    """Rows with what else the algorithm reads: a reviser, a V that is trained or the mean reward."""
    revision = value = None
    if "revision_log_prob" in asked.fields:
        ids = tokenizer(options.revision, add_special_tokens=False).input_ids
        revision = torch.tensor(ids, dtype=torch.long)
    if "value" in asked.fields:
        value = trained_value if asked.trains_value else mean_reward
    if asked.trains_value:
        attach_value(model, float(np.mean(rows["rewards"])))
    return Recorded(revision, value)


def _reward(options: Options) -> Reward:
    for term in options.reward:
        name = term.partition("=")[0]
        if name not in choices.REWARDS and "/" not in name and source(name) == name:
            known = ", ".join(choices.REWARDS)
            near = difflib.get_close_matches(name, choices.REWARDS, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"reward must be {known}, or the folder of a model, but is {name!r}{meant}")
    return reward_named(*options.reward)


def _look(
    options: Options, reward: Any, reference: PreTrainedModel | None, tokenizer: Tokenizer, rows: Dataset
) -> Callable[[PreTrainedModel], Outcome]:
    longest, seed = options.max_new_tokens, options.seed
    return lambda policy: evaluate(
        policy, reference, rows, tokenizer, reward, max_new_tokens=longest, seed=seed
    )


def _means(look: Callable[[PreTrainedModel], Outcome]) -> Callable[[PreTrainedModel], dict[str, float]]:
    return lambda policy: {name: found.mean for name, found in look(policy).estimates().items()}


def _policy(options: Options, rows: Dataset) -> tuple[PreTrainedModel, Tokenizer]:
    """A model by name, or a new GPT-2 with a given or a trained tokenizer."""
    if options.model is not None:
        return load_model(options.model, tokenizer_name=options.tokenizer)
    if options.tokenizer is not None:
        tokenizer = load_tokenizer(options.tokenizer)
    else:
        texts = [row["prompt"] + row["completion"] for row in rows.to_list()]
        tokenizer = train_tokenizer(texts, options.vocabulary)
    size = {name: getattr(options, name) for name in ("layers", "width", "heads", "seed")}
    context = 2 * (options.max_prompt_tokens + options.max_completion_tokens)
    return new_model(tokenizer, context=context, **size), tokenizer


def _encoded(loaded: Loaded, tokenizer: Tokenizer, options: Options) -> tuple[Dataset, list[str]]:
    """Token ids within the limits, at most `--rows` of them, and what was cut or left out."""
    rows = loaded.rows if options.rows is None else first(loaded.rows, options.rows)
    if "prompt_ids" in rows.column_names:  # of `sample`
        if tokenizer(rows[0]["prompt"]).input_ids != rows[0]["prompt_ids"]:
            raise ValueError(
                f"{options.data} was sampled with another tokenizer than that of {options.model}"
            )
        return rows, []
    found = encode(
        rows,
        tokenizer,
        max_prompt_tokens=options.max_prompt_tokens,
        max_completion_tokens=options.max_completion_tokens,
        skip_long=options.skip_long,
    )
    said = (
        (len(loaded.skipped), "rows were left out: they are bad"),
        (len(found.skipped), "rows were left out: a completion is too long"),
        (found.truncated, f"prompts were cut to {options.max_prompt_tokens} tokens"),
    )
    counts = [f"{count} {what}" for count, what in said if count]
    return found.rows, [*loaded.skipped, *counts]


def _arguments(options: Options, *, watched: bool = False) -> TrainingArguments:
    names = ["steps", "batch_size", "learning_rate", "seed", "accumulation", "log_every", "save_every"]
    names += ["bf16", "tensorboard"] + ["evaluate_every"] * watched
    given = {name: getattr(options, name) for name in names}
    given |= {"warmup": max(options.steps // 20, 1), "progress": not options.quiet}
    return training_arguments(options.out, **given)


def _picture(options: Options) -> str:
    return f"wrote {figures.along_training(options.out)}"
