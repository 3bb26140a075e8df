"""What does each command of `python -m llm` do?  Options in, one folder and a few lines out.

What the user can mend is a ValueError or an OSError.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, TrainingArguments
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import logging as transformers_logging

from llm import figures, inputs
from llm.algorithms import Needs, algorithm, needs
from llm.beside import attach_value
from llm.choices import TRAINING
from llm.evaluate import PROMPTS, Outcome, evaluate, improvement, sample_table, win_rate
from llm.files import write_json, write_whole
from llm.generate import Sampling, against_samples, texts_of, write_scored
from llm.inputs import Options, settings_of
from llm.intervals import preferred
from llm.judges import load_scorer
from llm.layouts import preference
from llm.memory import keep_freed
from llm.model import load_config, load_model, load_tokenizer
from llm.padding import check_context
from llm.pipeline import align, trained
from llm.possible import annealed, beta_of, possible, reference_rewards, regret_of
from llm.revise import revisions
from llm.rewards import Reward, score
from llm.run_folder import claimed, finish, made
from llm.sources import Mismatched, OnPolicy, Recorded, Source, mean_reward, trained_value
from llm.tokens import lengths_of, token_ids
from llm.train import RewardTrainer, comparison_batch, fine_tuning_batch
from llm.trainer import CheckedTrainer, training_arguments

Settings = dict[str, Any]
REVISIONS = "revisions.json"  # rewards of answers and of their revisions


def perform(options: Options, run: Callable[[Options, Settings], list[str]]) -> list[str]:
    """Run a command, unless its folder is finished; what there is to say."""
    keep_freed()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if options.quiet:
        datasets.disable_progress_bars()
    started, settings = time.monotonic(), settings_of(options)
    said = made(options.out, settings)
    if said is None:
        said = run(options, settings)
        if int(os.environ.get("RANK", "0")):  # the first of several processes tells
            return []
        finish(options.out, said, (time.monotonic() - started) / 60)
    return said


def run_sft(options: Options, settings: Settings) -> list[str]:
    """Supervised fine-tuning of a model, or of a new one."""
    loaded = inputs.loaded(options)
    model, tokenizer = inputs.policy(options, loaded.rows)
    rows, said = inputs.encoded(loaded, tokenizer, options)

    def trainer() -> CheckedTrainer:
        check_context(model.config, lengths_of(rows))
        how = {"args": _arguments(options), "train_dataset": rows, "data_collator": fine_tuning_batch}
        return CheckedTrainer(model=model, **how)

    found = trained(options.out, settings, tokenizer, trainer, seed=options.seed)
    return [*said, f"fine-tuned on {len(rows)} pairs: {found}", _picture(options)]


def run_reward(options: Options, settings: Settings) -> list[str]:
    """A Bradley-Terry reward model from comparisons, or from what people wrote against samples."""
    if not 0 <= options.test_share < 1:
        raise ValueError(f"test_share must lie between 0 and 1, but is {options.test_share}")
    written = inputs.sampled(options, "reference", "prompt_ids", "completion_ids")
    loaded = written or inputs.loaded(options, preference)
    tokenizer = load_tokenizer(options.model, load_config(options.model))
    rows, said = inputs.encoded(loaded, tokenizer, options)
    rows = against_samples(rows, tokenizer, options.others or 0) if written else rows
    train, test = inputs.split(rows, options)

    def trainer() -> CheckedTrainer:
        model = load_scorer(str(options.model), fresh=True).model
        check_context(model.config, lengths_of(train))
        how = {"args": _arguments(options), "train_dataset": train, "data_collator": comparison_batch}
        made = RewardTrainer(model=model, **how)
        made.model_accepts_loss_kwargs = False  # a mean over the batch: divide it accumulating
        return made

    found = trained(options.out, settings, tokenizer, trainer, seed=options.seed)
    scorer = load_scorer(str(found))
    if len(test):
        found_there = _accuracy(scorer, tokenizer, test)
        write_json(options.out / "metrics.json", found_there | {"comparisons": len(test)})
        told = f"prefers the chosen one: {found_there['accuracy']} of {len(test)} held-out comparisons"
        said += [
            told,
            *(f"against {who}: {share}" for who, share in found_there.get("accuracy_against", {}).items()),
        ]
    return [*said, _picture(options)]


def _accuracy(scorer: Any, tokenizer: Tokenizer, test: datasets.Dataset) -> Settings:
    """How often the chosen one has the higher reward: in all, and by whose the rejected one is."""
    answers = [texts_of(ids, tokenizer) for ids in zip(*test["completion_ids"], strict=True)]
    chosen, rejected = (scorer(test["prompt"], texts) for texts in answers)
    whose = np.array(test["rejected_of"] if "rejected_of" in test.column_names else [])
    each = {name: preferred(chosen[whose == name], rejected[whose == name]) for name in sorted(set(whose))}
    return {"accuracy": preferred(chosen, rejected)} | ({"accuracy_against": each} if len(each) > 1 else {})


def run_sample(options: Options, settings: Settings) -> list[str]:
    """k completions of each prompt, scored, with reference log-probabilities."""
    loaded, reward = inputs.loaded(options), inputs.reward_of(options)
    model, tokenizer = load_model(options.model)
    reference = None if options.reference is None else load_model(options.reference)[0]
    rows, said = inputs.encoded(loaded, tokenizer, options)
    sampling = Sampling(options.k, options.max_new_tokens, options.seed, options.shard_size)
    given = (options.out, rows, model, tokenizer, reward, sampling)
    found = write_scored(*given, reference=reference, names=settings, progress=not options.quiet)
    mean = f"mean reward {np.mean(found['rewards']):.3f}, mean length {np.mean(found['lengths']):.1f} words"
    return [*said, f"{len(found)} prompts, {options.k} completions each: {mean}"]


def run_align(options: Options, settings: Settings) -> list[str]:
    """Train the policy by an algorithm, on recorded rows or sampling as it learns."""
    asked = needs(algorithm(options, online=True))
    loaded, fresh = inputs.to_align(options, asked)
    chosen = algorithm(options, online=fresh)
    held_out = inputs.loaded(options, data=options.held_out) if options.held_out else None
    reward: Any = inputs.reward_of(options) if fresh or held_out else None
    model, tokenizer = load_model(options.model)
    rows, said = inputs.encoded(loaded, tokenizer, options)
    per_token = "token_reference_log_prob" in asked.fields
    frozen = reward or per_token or {"value", "desirable"} <= asked.fields
    reference: Any = deepcopy(model).requires_grad_(False) if frozen else None
    look = None
    if held_out:
        held_out_rows, _ = inputs.encoded(held_out, tokenizer, options)
        look = _along(_look(options, reward, reference, tokenizer, held_out_rows), reference)
    if fresh:
        drawn = (chosen, reference, tokenizer, reward, options.k, options.max_new_tokens, options.seed)
        greedy = "greedy_reward" in asked.fields
        source: Source = OnPolicy(*drawn, greedy=greedy, reuse=options.reuse, ranked=options.ranked)
    else:
        source = _recorded(options, asked, tokenizer, reference)
        if asked.trains_value:
            attach_value(model, float(np.mean(rows["rewards"])))
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable()
    given = (chosen, source, model, tokenizer, rows, _arguments(options, watched=look is not None), settings)
    found = align(options.out, *given, held_out=look, lora_rank=options.lora_rank)
    done = f"{options.algorithm}, beta = {options.beta}, on {len(rows)} prompts: {found}"
    return [*said, done, _picture(options)]


def run_evaluate(options: Options, settings: Settings) -> list[str]:
    """Reward, KL, win rates and samples of policies on held-out prompts."""
    loaded, reward = inputs.loaded(options), inputs.reward_of(options)
    reference, tokenizer = load_model(options.reference)
    rows, said = inputs.encoded(loaded, tokenizer, options)
    policies = {"reference": reference}
    for name in options.model:
        policies[name], own = load_model(name)
        if own.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"the policy {name!r} and the reference must have one tokenizer, but have two")
    drawn, chains = _of_the_reference(options, reward, reference, tokenizer, rows)
    look = _look(options, reward, reference, tokenizer, rows)
    outcomes = {name: look(policy) for name, policy in policies.items()}
    found: Settings = {name: outcome.estimates() for name, outcome in outcomes.items()}
    lines = [f"{name}: " + ", ".join(f"{key} {x}" for key, x in each.items()) for name, each in found.items()]
    for name in options.model:
        found[name] |= _against(name, outcomes)
    people = score(reward, list(rows["prompt"]), list(rows["completion"]), list(rows["completion"])).reward
    found["reference"]["people_preferred_to_reference"] = preferred(people, outcomes["reference"].reward)
    found["reference"]["parameters"] = reference.num_parameters()
    for name in options.model if drawn is not None else []:
        beta = beta_of(name)
        found[name] |= {} if beta is None else {"regret": regret_of(drawn, beta, outcomes[name], chains)}
    revised = _revised(options, reward, policies, tokenizer, rows)
    lines += [f"{name}, revised: {_course(rewards)}" for name, rewards in revised.items()]
    with claimed(options.out, settings):
        write_json(options.out / "metrics.json", found)
        write_json(options.out / PROMPTS, {name: each.each() for name, each in outcomes.items()})
        if revised:
            write_json(options.out / REVISIONS, {name: each.tolist() for name, each in revised.items()})
        if drawn is not None:
            write_json(options.out / figures.FRONTIER, possible(drawn, chains))
        write_whole(options.out / "samples.md", sample_table(rows, outcomes).encode())
        picture = figures.policies(options.out)
    return [*said, *lines, f"wrote {picture}"]


def _against(name: str, outcomes: dict[str, Outcome]) -> Settings:
    """A policy beside the others: its rise over the reference, and how often it wins."""
    one = outcomes[name]
    wins = {other: win_rate(one, two) for other, two in outcomes.items() if other != name}
    return {"rise_over_reference": improvement(one, outcomes["reference"]), "win_rate_against": wins}


def _revised(
    options: Options, reward: Reward, policies: Settings, tokenizer: Tokenizer, rows: Any
) -> Settings:
    """Rewards of every policy's answers and of their `--revisions`; empty if nobody asked."""
    if options.revisions is None:
        return {}
    sampling = Sampling(1, options.max_new_tokens, options.seed + 1)
    asked: Settings = {"instruction": options.revision, "count": options.revisions, "sampling": sampling}
    return {name: revisions(each, rows, tokenizer, reward, **asked) for name, each in policies.items()}


def _course(rewards: np.ndarray) -> str:
    """Mean rewards of answers and of their revisions, one after another."""
    return " → ".join(f"{mean:.3f}" for mean in rewards.mean(axis=1))


COMMANDS = (run_sft, run_reward, run_sample, run_align, run_evaluate)
RUN = {run.__name__.removeprefix("run_"): run for run in COMMANDS}


def _recorded(
    options: Options, asked: Needs, tokenizer: Tokenizer, reference: PreTrainedModel | None
) -> Recorded:
    """Rows with what else the algorithm reads: a reviser, a trained V, the mean reward, KTO's point."""
    revision: Tensor | None = None
    value: Callable[..., Tensor] | None = None
    if "revision_log_prob" in asked.fields:
        (ids,) = token_ids(tokenizer, [options.revision], prompts=False)
        revision = torch.tensor(ids, dtype=torch.long)
    if "value" in asked.fields:
        value = trained_value if asked.trains_value else mean_reward
        if reference is not None and "desirable" in asked.fields:
            value = Mismatched(reference)
    per_token = reference if "token_reference_log_prob" in asked.fields else None
    return Recorded(revision, value, per_token, options.ranked)


def _look(
    options: Options, reward: Reward, reference: PreTrainedModel, tokenizer: Tokenizer, rows: Any
) -> Callable[[PreTrainedModel], Outcome]:
    """A policy's numbers on rows, always with the same noise, which is not that of training."""
    given, longest = (reference, rows, tokenizer, reward), options.max_new_tokens
    return lambda policy: evaluate(policy, *given, max_new_tokens=longest, seed=options.seed + 1)


def _of_the_reference(
    options: Options, reward: Reward, reference: PreTrainedModel, tokenizer: Tokenizer, rows: Any
) -> tuple[Any, Any]:
    """Rewards of `--frontier` completions of the reference at each prompt, and chains with `--anneal` moves.

    The chains are led to the betas of the policies too; None is what nobody asked for.
    """
    given, longest = (reference, rows, tokenizer, reward), {"max_new_tokens": options.max_new_tokens}
    if options.frontier is None:
        if options.anneal is not None:
            raise ValueError(
                "anneal needs frontier, but frontier is None; give --frontier 64 beside --anneal"
            )
        return None, None
    drawn = reference_rewards(*given, samples=options.frontier, seed=options.seed + 2, **longest)
    if options.anneal is None:
        return drawn, None
    betas = [beta for name in options.model if (beta := beta_of(name)) is not None]
    return drawn, annealed(*given, moves=options.anneal, seed=options.seed + 3, betas=betas, **longest)


def _along(
    look: Callable[[PreTrainedModel], Outcome], reference: PreTrainedModel
) -> Callable[[PreTrainedModel], dict[str, float]]:
    """What is logged of a policy in training: means, and the rise of the reward with its interval."""
    start = look(reference)

    def watched(policy: PreTrainedModel) -> dict[str, float]:
        outcome = look(policy)
        rise = improvement(outcome, start)
        means = {name: found.mean for name, found in outcome.estimates().items()}
        return means | {"rise": rise.mean, "rise_low": rise.low, "rise_high": rise.high}

    return watched


def _arguments(options: Options, *, watched: bool = False) -> TrainingArguments:
    names = [name.replace("-", "_") for name in (*TRAINING, "seed", *["evaluate-every"] * watched)]
    given = {name: getattr(options, name) for name in names}
    given |= {"warmup": max(options.steps // 20, 1), "progress": not options.quiet}
    return training_arguments(options.out, **given)


def _picture(options: Options) -> str:
    return f"wrote {figures.along_training(options.out)}"
