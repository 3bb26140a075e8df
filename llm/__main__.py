"""Train language models by the algorithms of `bandits`, one step a command.

    python -m llm demo --quick --out demo          everything in two minutes, figures included
    python -m llm sft      --data pairs.jsonl --model gpt2 --out sft
    python -m llm reward   --data comparisons.jsonl --model sft/model --out reward
    python -m llm sample   --data pairs.jsonl --model sft/model --reward reward/model --out samples
    python -m llm align    --data samples --model sft/model --algorithm CoPG --beta 0.1 --out copg
    python -m llm evaluate --data valid.jsonl --model copg/model --reference sft/model --out eval

Data are JSON Lines (.jsonl, .jsonl.gz), Parquet, a folder of them, a hub id, or what `sample` wrote, with
the columns `prompt, completion`, or `prompt, chosen, rejected`, or `prompt, completions, rewards`.  Each
command writes one folder, says what it did, and goes on where it was killed when it is given again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, TrainingArguments
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import logging as transformers_logging

from llm import choices, demo, figures
from llm.data import Loaded, Row, demonstration, first, load_rows, preference, scored
from llm.evaluate import Outcome, evaluate, improvement, preferred, sample_table, win_rate
from llm.folder import claim, plain, provenance, read_json, write_json, write_text
from llm.generate import Sampling, read_scored, write_scored
from llm.loss import attach_value
from llm.model import load_config, load_model, load_tokenizer, new_model, train_tokenizer
from llm.pipeline import align, fine_tune, train_reward
from llm.rewards import reward_named
from llm.sizes import size_of
from llm.sources import OnPolicy, Recorded, Source, with_reference_log_probs
from llm.tokens import encode
from llm.train import training_arguments

Options = argparse.Namespace
# What does not change the result
NOT_SETTINGS = {"run", "out", "quiet", "save_every", "log_every", "tensorboard", "held_out", "evaluate_every"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line of explanation for what the user can mend."""
    options = _parser().parse_args(arguments)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    started = time.monotonic()
    try:
        found = options.run(options)
        versions = options.out / "versions.json"
        before = read_json(versions)["minutes"] if versions.exists() else 0.0  # when it was made
        write_json(versions, provenance(before + (time.monotonic() - started) / 60))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*found, sep="\n")
    return 0


def run_demo(options: Options) -> list[str]:
    """The whole pipeline of CoPG's Section 6, its figures and its numbers."""
    size = size_of("quick" if options.quick else options.size)
    tokenizer = None if options.tokenizer is None else load_tokenizer(options.tokenizer)
    metrics = demo.run(
        options.out, size, _text(options), tokenizer, seed=options.seed, progress=not options.quiet
    )
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
    config = load_config(options.model)
    tokenizer = load_tokenizer(options.model, config)
    train, test, said = _comparisons(options, tokenizer)
    arguments, settings = _arguments(options), _settings(options)
    scorer = train_reward(options.out, options.model, tokenizer, train, arguments, settings)
    chosen, rejected = (scorer(test["prompt"], test[column]) for column in ("chosen", "rejected"))
    accuracy = preferred(chosen, rejected)
    write_json(options.out / "metrics.json", {"accuracy": accuracy, "comparisons": len(test)})
    done = f"prefers the chosen one: {accuracy} of {len(test)} held-out comparisons"
    return [*said, done, _picture(options)]


def run_sample(options: Options) -> list[str]:
    """k completions of each prompt, scored, with reference log-probabilities."""
    model, tokenizer = load_model(options.model)
    rows, said = _rows(options.data, demonstration, tokenizer, options)
    sampling = Sampling(options.k, options.max_new_tokens, options.seed, options.shard_size)
    names = {
        name: str(getattr(options, name)) for name in ("model", "data", "reward", "max_prompt_tokens", "rows")
    }
    reward, progress = reward_named(*options.reward), not options.quiet
    found = write_scored(
        options.out, rows, model, tokenizer, reward, sampling, names=names, progress=progress
    )
    total, words = torch.tensor(found["rewards"]), torch.tensor(found["lengths"])
    mean = f"mean reward {total.mean():.3f}, mean length {words.mean():.1f} words"
    return [*said, f"{len(found)} prompts, {options.k} completions each: {mean}"]


def run_align(options: Options) -> list[str]:
    """Train the policy by an algorithm."""
    name, algorithm = options.algorithm, choices.algorithm(options)
    model, tokenizer = load_model(options.model)
    reference, _ = load_model(options.model)
    reference.requires_grad_(False)
    watch = _watch(options, reference, tokenizer)
    if name in choices.OFFLINE:
        rows, said = _recorded(options, tokenizer, reference)
        if name == "DRO" and len(rows[0]["completion_ids"]) == 1:
            raise ValueError("DRO takes V as a mean over completions, and there is 1; train V: DROV")
        if name == "DROV":
            attach_value(model, _mean_reward(rows))
        revision = torch.tensor(
            tokenizer(options.revision, add_special_tokens=False).input_ids, dtype=torch.long
        )
        source: Source = Recorded(revision if name == "SRPO" else None, choices.VALUES.get(name))
    else:
        if _is_sampled(options.data):
            raise ValueError(f"{name} samples as it learns, and --data holds samples; give it prompts")
        rows, said = _rows(options.data, demonstration, tokenizer, options)
        source = OnPolicy(
            algorithm,
            reference,
            tokenizer,
            reward_named(*options.reward),
            options.k,
            options.max_new_tokens,
            options.seed,
            greedy=name == "ReMax",
            reuse=options.reuse,
        )
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable()
    args, settings = _arguments(options, watched=watch is not None), _settings(options)
    run = (options.out, algorithm, source, model, tokenizer, rows, args, settings)
    align(*run, held_out=watch, lora_rank=options.lora_rank)
    done = f"{name}, beta = {options.beta}, on {len(rows)} prompts: {options.out / 'model'}"
    return [*said, done, _picture(options)]


def run_evaluate(options: Options) -> list[str]:
    """Reward, KL, win rates and samples of policies on held-out prompts."""
    reference, tokenizer = load_model(options.reference)
    rows, said = _rows(options.data, demonstration, tokenizer, options)
    policies = {"reference": reference}
    for name in options.model:
        policies[name], own = load_model(name)
        if own.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"the policy {name!r} and the reference must have one tokenizer, but have two")
    look = _look(options, reference, tokenizer, rows)
    outcomes = {name: look(policy) for name, policy in policies.items()}
    claim(options.out, _settings(options))
    found: dict[str, Any] = {name: outcome.estimates() for name, outcome in outcomes.items()}
    for name in options.model:
        one, others = outcomes[name], {other: outcomes[other] for other in outcomes if other != name}
        found[name]["rise_over_reference"] = improvement(one, outcomes["reference"])
        found[name]["win_rate_against"] = {other: win_rate(one, two) for other, two in others.items()}
    metrics = plain(found)
    write_json(options.out / "metrics.json", metrics)
    write_text(options.out / "samples.md", sample_table(rows, outcomes))
    lines = (
        f"{name}: " + ", ".join(f"{key} {value}" for key, value in outcome.estimates().items())
        for name, outcome in outcomes.items()
    )
    short = {(Path(name).parent.name if Path(name).name == "model" else name): name for name in metrics}
    shown = metrics if len(short) < len(metrics) else {label: metrics[name] for label, name in short.items()}
    return [*said, *lines, f"wrote {figures.policies(options.out, shown)}"]


def _text(options: Options) -> demo.Text:
    """Docstrings, or the demonstrations that were named."""
    if options.data is None:
        packages = choices.QUICK_PACKAGES if options.quick else choices.PACKAGES
        return demo.docstrings(options.out / "text", packages, progress=not options.quiet)
    if options.held_out is None:
        raise ValueError("--data needs --held-out: text that nothing is trained on, to be measured on")
    train, held_out = (load_rows(path, demonstration).rows for path in (options.data, options.held_out))
    return demo.Text(train, held_out, {"name": f"{options.data}, held out {options.held_out}"})


def _comparisons(options: Options, tokenizer: Tokenizer) -> tuple[Dataset, Dataset, list[str]]:
    """Comparisons to train on and to test on, which share no prompt; and what was cut or left out."""
    if not 0 < options.test_share < 1:
        raise ValueError(f"test-share must lie between 0 and 1, but is {options.test_share}")
    if _is_sampled(options.data):
        pairs = [
            {"prompt": row["prompt"], "chosen": row["reference"], "rejected": y}
            for row in read_scored(options.data).to_list()
            for y in row["completions"]
            if y.strip()
        ]
        loaded = Loaded(Dataset.from_list(pairs), ())
    else:
        loaded = load_rows(options.data, preference, skip_bad=options.skip_bad)
    rows, said = _encoded(loaded, tokenizer, options)
    prompts = sorted(set(rows["prompt"]))
    if len(prompts) < 2:
        raise ValueError("comparisons of at least 2 prompts are needed, one of them to test on")
    order = np.random.default_rng(options.seed).permutation(len(prompts))
    size = min(max(round(options.test_share * len(prompts)), 1), len(prompts) - 1)
    test = {prompts[i] for i in order[:size]}
    held = np.array([prompt in test for prompt in rows["prompt"]])
    return rows.select(np.flatnonzero(~held)), rows.select(np.flatnonzero(held)), said


def _is_sampled(data: str) -> bool:
    return (Path(data) / "shards").is_dir()


def _recorded(
    options: Options, tokenizer: Tokenizer, reference: PreTrainedModel
) -> tuple[Dataset, list[str]]:
    """What `sample` wrote as it is; other scores or comparisons with reference log-probabilities computed."""
    if _is_sampled(options.data):
        rows = read_scored(options.data)
        if tokenizer(rows[0]["prompt"]).input_ids != rows[0]["prompt_ids"]:
            raise ValueError(
                f"{options.data} was sampled with another tokenizer than that of {options.model}"
            )
        return rows if options.rows is None else first(rows, options.rows), []

    def recorded(row: Row) -> dict[str, Any]:
        found = scored(row) if "completions" in row else preference(row)
        return {name: value for name, value in found.items() if name != "reference_log_probs"}

    rows, said = _rows(options.data, recorded, tokenizer, options)
    return with_reference_log_probs(rows, reference), said


def _mean_reward(rows: Dataset) -> float:
    if "rewards" not in rows.column_names:
        raise ValueError("DROV learns from rewards, but the rows hold comparisons; use DPO, IPO or SRPO")
    return float(torch.tensor(rows["rewards"]).mean())


def _watch(
    options: Options, reference: PreTrainedModel, tokenizer: Tokenizer
) -> Callable[[PreTrainedModel], dict[str, float]] | None:
    """What is looked at during training, if held-out prompts are given."""
    if options.held_out is None:
        return None
    rows, _ = _rows(options.held_out, demonstration, tokenizer, options)
    look = _look(options, reference, tokenizer, rows)
    return lambda policy: {name: found.mean for name, found in look(policy).estimates().items()}


def _look(
    options: Options, reference: PreTrainedModel, tokenizer: Tokenizer, rows: Dataset
) -> Callable[[PreTrainedModel], Outcome]:
    reward, longest, seed = reward_named(*options.reward), options.max_new_tokens, options.seed
    return lambda policy: evaluate(
        policy, reference, rows, tokenizer, reward, max_new_tokens=longest, seed=seed
    )


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


def _rows(
    source: str, kind: Callable[[Row], dict[str, Any]], tokenizer: Tokenizer, options: Options
) -> tuple[Dataset, list[str]]:
    return _encoded(load_rows(source, kind, skip_bad=options.skip_bad), tokenizer, options)


def _encoded(loaded: Loaded, tokenizer: Tokenizer, options: Options) -> tuple[Dataset, list[str]]:
    """Token ids within the limits, at most `--rows` of them, and what was cut or left out."""
    rows = loaded.rows
    if options.rows is not None:
        rows = first(rows, options.rows)
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


def _settings(options: Options) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name not in NOT_SETTINGS}


def _arguments(options: Options, *, watched: bool = False) -> TrainingArguments:
    names = ["steps", "batch_size", "learning_rate", "seed", "accumulation", "log_every", "save_every"]
    names += ["bf16", "tensorboard"] + ["evaluate_every"] * watched
    given = {name: getattr(options, name) for name in names}
    given |= {"warmup": max(options.steps // 20, 1), "progress": not options.quiet}
    return training_arguments(options.out, **given)


def _picture(options: Options) -> str:
    return f"wrote {figures.along_training(options.out)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for run, options, explanation in (
        (run_demo, choices.DEMO, "the whole pipeline on text that needs no download, with figures"),
        (run_sft, choices.SFT, "fine-tune a model on prompts and completions"),
        (run_reward, choices.REWARD, "train a reward model on comparisons"),
        (run_sample, choices.SAMPLE, "sample completions and score them"),
        (run_align, choices.ALIGN, "train a policy by an algorithm of bandits"),
        (run_evaluate, choices.EVALUATE, "measure policies on held-out prompts"),
    ):
        name = run.__name__.removeprefix("run_")
        command = commands.add_parser(name, help=explanation, description=explanation.capitalize() + ".")
        command.set_defaults(run=run)
        out, meaning = Path("runs") / name, "folder for everything it makes"
        command.add_argument("--out", type=Path, default=out, metavar="FOLDER", help=f"{meaning} [{out}]")
        choices.add_options(command, {**choices.COMMON, **options})
    return parser


if __name__ == "__main__":
    sys.exit(main())
