"""Tiny language models with random weights, and folders in the format of the hub, made on the spot."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported: no test waits for a network

from collections.abc import Callable

import datasets
import matplotlib.pyplot as plt
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from bandits.plots import style
from llm.files import write_json_lines, write_whole
from llm.generate import Sampling, read_scored, write_scored
from llm.model import load_model, new_model, train_tokenizer
from llm.rewards import length
from llm.tokens import encode

datasets.disable_progress_bars()
torch.set_num_threads(1)

TEXTS = [
    "The kettle sang on the stove while rain fell over the harbour.",
    "Nobody reads the manual, yet everybody asks what the manual says.",
    "A ferry crossed at noon; the café opened late, and the gulls complained.",
    "Summaries are short. Descriptions are long, and they wander before they arrive.",
] * 3
WORDS = ["kettle", "manual", "ferry", "summary", "rain", "harbour", "gull", "noon"]
PAIRS = [
    {"prompt": f"The {a} and the {b}.\n\nTL;DR:", "completion": f" A {a}."} for a in WORDS for b in WORDS[:2]
]


def tiny_model(family: str, attention: str = "sdpa", dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    """Two layers over 11 tokens, with weights so large that a wrong mask or position shows at once."""
    if family == "gpt2":
        config = GPT2Config(
            vocab_size=11, n_layer=2, n_embd=8, n_head=2, n_positions=24, initializer_range=0.5
        )
        config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
        config.bos_token_id = config.eos_token_id = 0
        architecture = GPT2LMHeadModel
    else:
        config = GPTNeoXConfig(
            vocab_size=11,
            num_hidden_layers=2,
            hidden_size=16,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=24,
            initializer_range=0.5,
            bos_token_id=0,
            eos_token_id=0,
        )
        architecture = GPTNeoXForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return architecture._from_config(config, attn_implementation=attention, dtype=dtype)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., PreTrainedModel]:
    """`make_model(family, attention="sdpa", dtype=torch.float64)`: the same weights at each call."""
    return tiny_model


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with 300 tokens."""
    return train_tokenizer(TEXTS, 300)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A small GPT-2 with its tokenizer, as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("gpt2")
    new_model(tokenizer, layers=1, width=8, heads=2, context=64, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def policy(model_folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The small model, afresh for each test, and its tokenizer."""
    return load_model(str(model_folder))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 16 prompts and completions."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    write_json_lines(path, PAIRS)
    return path


@pytest.fixture(scope="session")
def prompts(tokenizer: PreTrainedTokenizerFast) -> datasets.Dataset:
    """The same, encoded."""
    rows = datasets.Dataset.from_list(PAIRS)
    return encode(rows, tokenizer, max_prompt_tokens=40, max_completion_tokens=24).rows


@pytest.fixture(scope="session")
def sampled(model_folder: Path, prompts: datasets.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of 16 prompts with 4 scored completions each."""
    folder, sampling = tmp_path_factory.mktemp("scored"), Sampling(4, 6, 0, 8)
    write_scored(folder, prompts, *load_model(str(model_folder)), length, sampling, progress=False)
    return folder


@pytest.fixture
def scored(sampled: Path) -> datasets.Dataset:
    """Their rows."""
    return read_scored(sampled)


@pytest.fixture
def rendered() -> None:
    """For tests that look at the pictures of a run where its module has them `unrendered`."""


@pytest.fixture
def unrendered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of logs are put together and not rendered: that takes longer than the steps they show."""
    if "rendered" not in request.fixturenames:
        monkeypatch.setattr("llm.figures.written", _put_together)


def _put_together(path: Path, draw: Callable[[], plt.Figure]) -> Path:
    with style.house_style():
        plt.close(draw())
    write_whole(path, b"<?xml version='1.0'?><svg/>")
    return path
