"""The commands of `python -m llm`: options in, one folder and a few lines out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, TrainingArguments
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import logging as transformers_logging

from llm import figures, inputs
from llm.algorithms import Needs, algorithm, needs
from llm.beside import attach_value
from llm.corpus import TRAINING, VALIDATION
from llm.data import load_rows
from llm.demo import Demo, Text, docstrings
from llm.evaluate import Outcome, evaluate, improvement, preferred, sample_table, win_rate
from llm.files import write_json, write_whole
from llm.generate import Sampling, against_samples, texts_of, write_scored
from llm.inputs import Options, settings_of
from llm.layouts import demonstration
from llm.model import load_config, load_model, load_tokenizer
from llm.pipeline import align, fine_tune, train_reward
from llm.rewards import Reward
from llm.run_folder import claimed, finish, made
from llm.sizes import size_of
from llm.sources import OnPolicy, Recorded, mean_reward, trained_value
from llm.tokens import token_ids
from llm.trainer import training_arguments

PACKAGES = {"training": TRAINING, "validation": VALIDATION}
QUICK_PACKAGES = {"training": ("python", "numpy"), "validation": ("networkx",)}


def perform(options: Options) -> list[str]:
    """Run a command, unless its folder is finished; what there is to say.

    Raises:
        ValueError, OSError: something that the user can mend.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    started = time.monotonic()
    said = made(options.out, settings_of(options))
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
    settings, text = settings_of(options), _text(options)
    metrics = Demo(options.out, size, text, tokenizer, options.seed, not options.quiet).run(settings)
    pictures = figures.write_all(options.out, metrics)
    return [*figures.table(metrics), "", *(f"wrote {path}" for path in pictures)]


def run_sft(options: Options) -> list[str]:
    """Supervised fine-tuning of a model, or of a new one."""
    loaded = inputs.demonstrations(options)
    model, tokenizer = inputs.policy(options, loaded.rows)
    rows, said = inputs.encoded(loaded, tokenizer, options)
    fine_tune(options.out, model, tokenizer, rows, _arguments(options), settings_of(options))
    return [*said, f"fine-tuned on {len(rows)} pairs: {options.out / 'model'}", _picture(options)]


def run_reward(options: Options) -> list[str]:
    """A Bradley-Terry reward model from comparisons, or from what people wrote against samples."""
    loaded = inputs.comparisons(options)
    tokenizer = load_tokenizer(options.model, load_config(options.model))
    rows, said = inputs.encoded(loaded, tokenizer, options)
    rows = against_samples(rows, tokenizer) if "completions" in rows.column_names else rows
    train, test = inputs.split(rows, options)
    given = (tokenizer, train, _arguments(options), settings_of(options))
    scorer = train_reward(options.out, options.model, *given)
    answers = [texts_of(ids, tokenizer) for ids in zip(*test["completion_ids"], strict=True)]
    accuracy = preferred(*(scorer(test["prompt"], texts) for texts in answers))
    write_json(options.out / "metrics.json", {"accuracy": accuracy, "comparisons": len(test)})
    done = f"prefers the chosen one: {accuracy} of {len(test)} held-out comparisons"
    return [*said, done, _picture(options)]


def run_sample(options: Options) -> list[str]:
    """k completions of each prompt, scored, with reference log-probabilities."""
    loaded, reward = inputs.demonstrations(options), inputs.reward_of(options)
    model, tokenizer = load_model(options.model)
    rows, said = inputs.encoded(loaded, tokenizer, options)
    sampling = Sampling(options.k, options.max_new_tokens, options.seed, options.shard_size)
    given = (options.out, rows, model, tokenizer, reward, sampling)
    found = write_scored(*given, names=settings_of(options), progress=not options.quiet)
    mean = f"mean reward {np.mean(found['rewards']):.3f}, mean length {np.mean(found['lengths']):.1f} words"
    return [*said, f"{len(found)} prompts, {options.k} completions each: {mean}"]


def run_align(options: Options) -> list[str]:
    """Train the policy by an algorithm, on recorded rows or sampling as it learns."""
    online = inputs.is_online(options)
    chosen = algorithm(options, online=online)
    asked = needs(chosen)
    loaded = (inputs.prompts if online else inputs.recorded)(options, asked)
    held_out = inputs.demonstrations(options, options.held_out) if options.held_out else None
    reward: Any = inputs.reward_of(options) if online or held_out else None
    model, tokenizer = load_model(options.model)
    rows, said = inputs.encoded(loaded, tokenizer, options)
    reference: Any = deepcopy(model).requires_grad_(False) if reward else None
    look = None
    if held_out is not None:
        asked_of, _ = inputs.encoded(held_out, tokenizer, options)
        measured = _look(options, reward, reference, tokenizer, asked_of)
        look = lambda policy: {name: x.mean for name, x in measured(policy).estimates().items()}  # noqa: E731
    if online:
        drawn = (chosen, reference, tokenizer, reward, options.k, options.max_new_tokens, options.seed)
        source: Any = OnPolicy(*drawn, greedy="greedy_reward" in asked.fields, reuse=options.reuse)
    else:
        source = _recorded(options, asked, model, tokenizer, rows)
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable()
    given = (chosen, source, model, tokenizer, rows, _arguments(options, watched=look is not None))
    align(options.out, *given, settings_of(options), held_out=look, lora_rank=options.lora_rank)
    done = f"{options.algorithm}, beta = {options.beta}, on {len(rows)} prompts: {options.out / 'model'}"
    return [*said, done, _picture(options)]


def run_evaluate(options: Options) -> list[str]:
    """Reward, KL, win rates and samples of policies on held-out prompts."""
    loaded, reward = inputs.demonstrations(options), inputs.reward_of(options)
    reference, tokenizer = load_model(options.reference)
    rows, said = inputs.encoded(loaded, tokenizer, options)
    policies = {"reference": reference}
    for name in options.model:
        policies[name], own = load_model(name)
        if own.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"the policy {name!r} and the reference must have one tokenizer, but have two")
    look = _look(options, reward, reference, tokenizer, rows)
    outcomes = {name: look(policy) for name, policy in policies.items()}
    found: dict[str, Any] = {name: outcome.estimates() for name, outcome in outcomes.items()}
    lines = [f"{name}: " + ", ".join(f"{key} {x}" for key, x in each.items()) for name, each in found.items()]
    for name in options.model:
        one, others = outcomes[name], {other: outcomes[other] for other in outcomes if other != name}
        against = {other: win_rate(one, two) for other, two in others.items()}
        rise = improvement(one, outcomes["reference"])
        found[name] |= {"rise_over_reference": rise, "win_rate_against": against}
    with claimed(options.out, settings_of(options)):
        write_json(options.out / "metrics.json", found)
        write_whole(options.out / "samples.md", sample_table(rows, outcomes).encode())
        picture = figures.policies(options.out)
    return [*said, *lines, f"wrote {picture}"]


COMMANDS = (run_demo, run_sft, run_reward, run_sample, run_align, run_evaluate)
RUN = {run.__name__.removeprefix("run_"): run for run in COMMANDS}


def _text(options: Options) -> Text:
    """Docstrings, or the demonstrations that were named."""
    if options.data is None:
        packages = QUICK_PACKAGES if options.quick else PACKAGES
        return docstrings(options.out / "text", packages, progress=not options.quiet)
    if options.held_out is None:
        raise ValueError("--data needs --held-out: text that nothing is trained on, to be measured on")
    sides = (options.data, options.held_out)
    train, held_out = (load_rows(path, demonstration).rows for path in sides)
    return Text(train, held_out, {"name": f"{options.data}, held out {options.held_out}"})


def _recorded(
    options: Options, asked: Needs, model: PreTrainedModel, tokenizer: Tokenizer, rows: Dataset
) -> Recorded:
    """Rows with what else the algorithm reads: a reviser, a V that is trained or the mean reward."""
    revision = value = None
    if "revision_log_prob" in asked.fields:
        (ids,) = token_ids(tokenizer, [options.revision], prompts=False)
        revision = torch.tensor(ids, dtype=torch.long)
    if "value" in asked.fields:
        value = trained_value if asked.trains_value else mean_reward
    if asked.trains_value:
        attach_value(model, float(np.mean(rows["rewards"])))
    return Recorded(revision, value)


def _look(
    options: Options, reward: Reward, reference: PreTrainedModel, tokenizer: Tokenizer, rows: Dataset
) -> Callable[[PreTrainedModel], Outcome]:
    given, longest = (reference, rows, tokenizer, reward), options.max_new_tokens
    return lambda policy: evaluate(policy, *given, max_new_tokens=longest, seed=options.seed)


def _arguments(options: Options, *, watched: bool = False) -> TrainingArguments:
    names = ["steps", "batch_size", "learning_rate", "seed", "accumulation", "log_every", "save_every"]
    names += ["bf16", "tensorboard"] + ["evaluate_every"] * watched
    given = {name: getattr(options, name) for name in names}
    given |= {"warmup": max(options.steps // 20, 1), "progress": not options.quiet}
    return training_arguments(options.out, **given)


def _picture(options: Options) -> str:
    return f"wrote {figures.along_training(options.out)}"
