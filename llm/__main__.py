"""Train language models by the algorithms of `bandits`, one step a command.

    python -m llm demo --quick --out demo          everything in two minutes, figures included
    python -m llm sft      --data pairs.jsonl --model gpt2 --out sft
    python -m llm reward   --data comparisons.jsonl --model sft/model --out reward
    python -m llm sample   --data pairs.jsonl --model sft/model --reward reward/model --out samples
    python -m llm align    --data samples --model sft/model --algorithm CoPG --beta 0.1 --out copg
    python -m llm evaluate --data valid.jsonl --model copg/model --reference sft/model --out eval

Data are JSON Lines (.jsonl, .jsonl.gz), Parquet, a folder of them or a hub id, with the columns
`prompt, completion`, or `prompt, chosen, rejected`.  Each command writes one folder, says what it did,
and goes on where it was killed when it is given again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from transformers import logging as transformers_logging

from bandits import RLOO, NashMD
from llm import choices, demo, figures
from llm.choices import OFFLINE, ONLINE, REWARDS
from llm.data import demonstration, load_rows, preference
from llm.evaluate import evaluate, improvement, sample_table, win_rate
from llm.folder import claim, provenance, write_json
from llm.generate import Sampling, read_scored, write_scored
from llm.model import load_config, load_model, load_tokenizer, new_model, train_tokenizer
from llm.pipeline import align, fine_tune, train_reward
from llm.rewards import Reward, load_scorer
from llm.sizes import size_of
from llm.sources import OnPolicy, Recorded, Source, with_reference_log_probs
from llm.tokens import encode
from llm.train import training_arguments

NOT_SETTINGS = (
    "run",
    "out",
    "quiet",
    "save_every",
    "log_every",
    "tensorboard",
)  # they do not change the result


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line of explanation for what the user can mend."""
    options = _parser().parse_args(arguments)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    started = time.monotonic()
    try:
        found = options.run(options)
        write_json(options.out / "versions.json", provenance((time.monotonic() - started) / 60))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in found:
        print(line)
    return 0


def run_demo(options: argparse.Namespace) -> list[str]:
    """The whole pipeline of CoPG's Section 6, its figures and its numbers."""
    size = size_of("quick" if options.quick else options.size)
    tokenizer = None if options.tokenizer is None else load_tokenizer(options.tokenizer)
    metrics = demo.run(
        options.out, size, _text(options), tokenizer, seed=options.seed, progress=not options.quiet
    )
    pictures = figures.write_all(options.out, metrics)
    return [*figures.table(metrics), "", *(f"wrote {path}" for path in pictures)]


def _text(options: argparse.Namespace) -> demo.Text:
    """Docstrings, or the demonstrations that were named."""
    if options.data is None:
        packages = choices.QUICK_PACKAGES if options.quick else choices.PACKAGES
        return demo.docstrings(options.out / "text", packages, progress=not options.quiet)
    if options.held_out is None:
        raise ValueError("--data needs --held-out: text that nothing is trained on, to be measured on")
    train, held_out = (load_rows(path, demonstration).rows for path in (options.data, options.held_out))
    return demo.Text(train, held_out, {"name": f"{options.data}, held out {options.held_out}"})


def run_sft(options: argparse.Namespace) -> list[str]:
    """Supervised fine-tuning of a model, or of a new one."""
    loaded = load_rows(options.data, demonstration, skip_bad=options.skip_bad)
    model, tokenizer = _policy(options, loaded.rows)
    rows, said = _encoded(loaded.rows, tokenizer, options)
    settings = _settings(options)
    fine_tune(options.out, model, tokenizer, rows, _arguments(options, options.out), settings)
    return [*said, *loaded.skipped, f"fine-tuned on {len(rows)} pairs: {options.out / 'model'}"]


def run_reward(options: argparse.Namespace) -> list[str]:
    """A Bradley-Terry reward model from comparisons, or from what people wrote against samples."""
    path = Path(options.data)
    if (path / "shards").is_dir():
        sampled = read_scored(path).to_list()
        rows = Dataset.from_list(
            [
                {"prompt": row["prompt"], "chosen": row["reference"], "rejected": y}
                for row in sampled
                for y in row["completions"]
                if y.strip()
            ]
        )
    else:
        rows = load_rows(options.data, preference, skip_bad=options.skip_bad).rows
    config = load_config(options.model)
    tokenizer = load_tokenizer(options.model, config)
    context = int(getattr(config, "max_position_embeddings", options.max_prompt_tokens))
    kept = rows.train_test_split(test_size=options.test_share, seed=options.seed)
    scorer = train_reward(
        options.out,
        options.model,
        tokenizer,
        kept["train"],
        _arguments(options, options.out),
        _settings(options),
        context=context,
    )
    test = kept["test"]
    chosen = scorer(test["prompt"], test["chosen"])
    rejected = scorer(test["prompt"], test["rejected"])
    accuracy = float((chosen > rejected).mean())
    write_json(options.out / "metrics.json", {"accuracy": accuracy, "comparisons": len(test)})
    return [f"prefers the chosen one in {accuracy:.1%} of {len(test)} held-out comparisons"]


def run_sample(options: argparse.Namespace) -> list[str]:
    """k completions of each prompt, scored, with reference log-probabilities."""
    model, tokenizer = load_model(options.model)
    loaded = load_rows(options.data, demonstration, skip_bad=options.skip_bad)
    rows, said = _encoded(loaded.rows, tokenizer, options)
    sampling = Sampling(options.k, options.max_new_tokens, options.seed, options.shard_size)
    names = {
        name: str(getattr(options, name)) for name in ("model", "data", "reward", "max_prompt_tokens", "rows")
    }
    reward = _reward(options.reward)
    scored = write_scored(
        options.out, rows, model, tokenizer, reward, sampling, names=names, progress=not options.quiet
    )
    total, words = torch.tensor(scored["rewards"]), torch.tensor(scored["lengths"])
    mean = f"mean reward {total.mean():.3f}, mean length {words.mean():.1f} words"
    return [*said, f"{len(scored)} prompts, {options.k} completions each: {mean}"]


def run_align(options: argparse.Namespace) -> list[str]:
    """Train the policy by an algorithm."""
    model, tokenizer = load_model(options.model)
    reference, _ = load_model(options.model)
    if options.algorithm in OFFLINE:
        algorithm = OFFLINE[options.algorithm](beta=options.beta)
        rows = _recorded(options, tokenizer, reference)
        revision = torch.tensor(tokenizer(options.revision, add_special_tokens=False).input_ids)
        source: Source = Recorded(revision if options.algorithm == "SRPO" else None)
    else:
        algorithm = _online(options)
        loaded = load_rows(options.data, demonstration, skip_bad=options.skip_bad)
        rows, _ = _encoded(loaded.rows, tokenizer, options)
        source = OnPolicy(
            algorithm,
            reference.to("cuda" if torch.cuda.is_available() else "cpu").requires_grad_(False),
            tokenizer,
            _reward(options.reward),
            options.k,
            options.max_new_tokens,
            options.seed,
            greedy=options.algorithm == "ReMax",
        )
    args = _arguments(options, options.out)
    settings = _settings(options)
    align(
        options.out,
        algorithm,
        source,
        model,
        tokenizer,
        rows,
        args,
        settings,
        lora_rank=options.lora_rank,
    )
    return [f"{options.algorithm}, beta = {options.beta}, on {len(rows)} prompts: {options.out / 'model'}"]


def run_evaluate(options: argparse.Namespace) -> list[str]:
    """Reward, KL, win rates and samples of policies on held-out prompts."""
    reference, tokenizer = load_model(options.reference)
    loaded = load_rows(options.data, demonstration, skip_bad=options.skip_bad)
    rows, _ = _encoded(loaded.rows, tokenizer, options)
    reward = _reward(options.reward)
    policies = {"reference": reference} | {name: load_model(name)[0] for name in options.model}
    outcomes = {
        name: evaluate(
            policy,
            reference,
            rows,
            tokenizer,
            reward,
            max_new_tokens=options.max_new_tokens,
            seed=options.seed,
        )
        for name, policy in policies.items()
    }
    claim(options.out, _settings(options))
    metrics: dict[str, Any] = {name: asdict_of(o.estimates()) for name, o in outcomes.items()}
    for name in options.model:
        metrics[name]["rise_over_reference"] = asdict(improvement(outcomes[name], outcomes["reference"]))
        metrics[name]["win_rate_against"] = asdict_of(
            {other: win_rate(outcomes[name], outcomes[other]) for other in outcomes if other != name}
        )
    write_json(options.out / "metrics.json", metrics)
    (options.out / "samples.md").write_text(sample_table(rows, outcomes))
    return [
        f"{name}: " + ", ".join(f"{key} {value}" for key, value in outcome.estimates().items())
        for name, outcome in outcomes.items()
    ]


def asdict_of(estimates: Mapping[str, Any]) -> dict[str, Any]:
    """Estimates as objects of JSON."""
    return {name: asdict(found) for name, found in estimates.items()}


def _online(options: argparse.Namespace) -> Any:
    if options.algorithm == "RLOO":
        return RLOO(beta=options.beta, k=options.k)
    if options.algorithm == "NashMD":
        return NashMD(beta=options.beta, mixture=options.mixture)
    return ONLINE[options.algorithm](beta=options.beta)


def _recorded(
    options: argparse.Namespace, tokenizer: PreTrainedTokenizerBase, reference: PreTrainedModel
) -> Dataset:
    """Scored shards as they are, or comparisons with their reference log-probabilities computed."""
    if (Path(options.data) / "shards").is_dir():
        return read_scored(options.data)
    loaded = load_rows(options.data, preference, skip_bad=options.skip_bad)
    rows, _ = _encoded(loaded.rows, tokenizer, options)
    return with_reference_log_probs(rows, reference)


def _policy(options: argparse.Namespace, rows: Dataset) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model by name, or a new GPT-2 with a given or a trained tokenizer."""
    if options.model is not None:
        return load_model(options.model, tokenizer_name=options.tokenizer)
    if options.tokenizer is not None:
        tokenizer = load_tokenizer(options.tokenizer)
    else:
        texts = [row["prompt"] + row["completion"] for row in rows.to_list()]
        tokenizer = train_tokenizer(texts, options.vocabulary)
    context = 2 * (options.max_prompt_tokens + options.max_completion_tokens)
    layers, width, heads = options.layers, options.width, options.heads
    return (
        new_model(tokenizer, layers=layers, width=width, heads=heads, context=context, seed=options.seed),
        tokenizer,
    )


def _reward(name: str) -> Reward:
    return REWARDS[name] if name in REWARDS else load_scorer(name)


def _encoded(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, options: argparse.Namespace
) -> tuple[Dataset, list[str]]:
    """Token ids within the limits, at most `--rows` of them, and what the limits did."""
    chosen = rows if options.rows is None else rows.select(range(min(options.rows, len(rows))))
    found = encode(
        chosen,
        tokenizer,
        max_prompt_tokens=options.max_prompt_tokens,
        max_completion_tokens=options.max_completion_tokens,
        skip_long=options.skip_long,
    )
    said = (
        [f"{found.truncated} prompts were cut to {options.max_prompt_tokens} tokens"]
        if found.truncated
        else []
    )
    if found.skipped:
        said.append(f"{len(found.skipped)} rows were left out: a completion is too long")
    return found.rows, said


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name not in NOT_SETTINGS}


def _arguments(options: argparse.Namespace, folder: Path) -> TrainingArguments:
    return training_arguments(
        folder,
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        accumulation=options.accumulation,
        warmup=max(options.steps // 20, 1),
        log_every=options.log_every,
        save_every=options.save_every,
        bf16=options.bf16,
        tensorboard=options.tensorboard,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    one = _command(
        commands, "demo", run_demo, "the whole pipeline on text that needs no download, with figures"
    )
    choices.add_demo(one)
    choices.add_sft(_command(commands, "sft", run_sft, "fine-tune a model on prompts and completions"))
    choices.add_reward(_command(commands, "reward", run_reward, "train a reward model on comparisons"))
    choices.add_sample(_command(commands, "sample", run_sample, "sample completions and score them"))
    choices.add_align(_command(commands, "align", run_align, "train a policy by an algorithm of bandits"))
    choices.add_evaluate(_command(commands, "evaluate", run_evaluate, "measure policies on held-out prompts"))
    return parser


def _command(commands: Any, name: str, run: Callable, explanation: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=explanation,
        description=explanation.capitalize() + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--out", type=Path, default=Path("runs") / name, help="folder for everything it makes"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bits")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


if __name__ == "__main__":
    sys.exit(main())
