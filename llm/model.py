"""The policy: a causal language model and its tokenizer, loaded so that nothing goes wrong in silence.

What is seen to, whatever the hub id or folder holds:

dropout off         log pi(y|x) is a function of the parameters; policy = reference at step 0
GELU in one kernel  GPT-2's own takes six: a seventh of a training step on a CPU
padding safe        GPT-2 has no padding token: end-of-sequence stands in, and masks tell them apart
tokenizer fits      the same vocabulary and the same end-of-sequence token
nothing at random   a weight that the checkpoint lacks is an error, not a fresh start; nor is one infinite,
                    nor one of a reward model left over; files are those that were written
no foreign code     safetensors only, and code that comes with a model is never run
"""

import os
from collections.abc import Callable, Iterable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from llm.files import COMPLETE, damage

HEADS = ("score", "classifier", "qa_outputs")  # of models that judge


class Diverged(ValueError):
    """A number is not finite any more."""


def load_model(
    name: str,
    *,
    tokenizer_name: str | None = None,
    dtype: torch.dtype = torch.float32,
    attention: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer, by hub id ("gpt2") or folder of `save_pretrained`.

    Attention "sdpa" or "eager" lets completions share a prompt; None takes the best that there is.

    Raises:
        ValueError: nothing can be loaded under the name, weights are missing, damaged or another kind of
            model's, the tokenizer does not fit the model, or it keeps no keys and values (state-space and
            recurrent models: Mamba, RWKV).

    Example: by name, as far as the machine has it or may fetch it.

        >>> model, tokenizer = load_model("gpt2")  # doctest: +SKIP
    """
    config = load_config(name)
    tokenizer = load_tokenizer(tokenizer_name or name, config)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {name!r} has no end-of-sequence token; completions end with it")
    model = load_weights(AutoModelForCausalLM, name, config, dtype=dtype, attention=attention)
    if not {"attention_mask", "past_key_values"} <= signature(model.forward).parameters.keys():
        raise ValueError(
            f"{name!r} is a {type(model).__name__}, which keeps no keys and values of what it has read; "
            "policies must be causal models of attention"
        )
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def load_config(name: str) -> PreTrainedConfig:
    """The configuration of a model whose files are those that were written, as all of them are trained."""
    if (Path(name) / COMPLETE).exists() and (wrong := damage(Path(name))):
        raise ValueError(f"{name} is damaged: {wrong}; make it again")
    config = _load(lambda: AutoConfig.from_pretrained(name, trust_remote_code=False), "a model", name)
    _settle(config)
    return config


def _settle(config: PreTrainedConfig) -> None:
    """No dropout, and GPT-2's GELU as one kernel."""
    for field, value in list(vars(config).items()):
        if "drop" in field and isinstance(value, float):
            setattr(config, field, 0.0)
    if getattr(config, "activation_function", None) == "gelu_new":
        config.activation_function = "gelu_pytorch_tanh"  # the same function


def load_tokenizer(name: str, config: PreTrainedConfig | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer that fits the model, if one is given; it pads with end-of-sequence if with nothing else."""
    read = partial(AutoTokenizer.from_pretrained, name, trust_remote_code=False)
    tokenizer = _load(read, "a tokenizer", name)
    if problem := _load(partial(_misfit, tokenizer, config), "a tokenizer", name):
        remedy = "use the tokenizer that was saved with the model"
        raise ValueError(f"the tokenizer {name!r} does not fit the model: {problem}; {remedy}")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _misfit(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig | None) -> str | None:
    """Why a tokenizer cannot be used, if so."""
    end, expected = tokenizer.eos_token_id, getattr(config, "eos_token_id", None)
    if config is not None and len(tokenizer) > config.vocab_size:
        return f"it has {len(tokenizer)} tokens, the model {config.vocab_size}"
    if None not in (end, expected) and end not in (expected if isinstance(expected, list) else [expected]):
        return f"its end-of-sequence token is {end}, the model's {expected}"
    if not tokenizer.is_fast:
        return "it is a slow one, which does not say where in the text its tokens are"
    if not tokenizer("words of a prompt", add_special_tokens=False).input_ids:
        return "it turns text into no tokens, as one made from a vocabulary file alone does"
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        return "it has neither a padding nor an end-of-sequence token"
    return None


def load_weights(
    architecture: Any,
    name: str,
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype = torch.float32,
    attention: str | None = None,
    new_weights: tuple[str, ...] = (),
) -> PreTrainedModel:
    """Weights from safetensors, on the GPU if there is one; those in `new_weights` may start at random."""
    read = partial(architecture.from_pretrained, name, use_safetensors=True, trust_remote_code=False)
    how = {"config": config, "dtype": dtype, "attn_implementation": attention, "output_loading_info": True}
    model, info = _load(partial(read, **how), "safetensors weights", name)
    missing = sorted(set(info["missing_keys"]) - set(new_weights))
    if missing:
        raise ValueError(
            f"{name!r} has no weights for {missing[0]!r} and {len(missing) - 1} more, which would be random; "
            f"is it the checkpoint of another model than {type(model).__name__}?"
        )
    heads = sorted(key for key in info["unexpected_keys"] if key.split(".")[0] in HEADS)
    if heads and "CausalLM" in architecture.__name__:
        raise ValueError(f"{name!r} is a model that judges ({heads[0]!r}), say a reward, and no policy")
    if wrong := not_finite(model):
        raise ValueError(f"{name!r} is damaged: {wrong} is not finite; it is of a training that went wrong")
    if (config.model_type, model.config._attn_implementation, dtype) == ("gpt_neox", "eager", torch.float64):
        raise ValueError(
            "GPT-NeoX's eager attention takes its softmax in float32, where a mask of float64 is infinite "
            "and padding gives NaN; use attention='sdpa', or float32"
        )
    return model.to(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")


def _load(read: Callable[[], Any], what: str, name: str) -> Any:
    try:
        return read()
    except Exception as error:  # what a file makes others' code raise is without limit
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise ValueError(
            f"cannot load {what} from {name!r}: {reason}  Give a folder written by save_pretrained (with "
            "safetensors), or a hub id that exists, with the network up or the files in the local cache"
        ) from error


def not_finite(model: torch.nn.Module) -> str | None:
    """The first weight with an entry that is not finite; None if all are."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            return f"the weight {name!r}"
    return None


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer like GPT-2's, trained on the texts, with its own padding token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>", pad_token="<|padding|>")


def new_model(
    tokenizer: PreTrainedTokenizerBase, *, layers: int, width: int, heads: int, context: int, seed: int
) -> GPT2LMHeadModel:
    """A GPT-2 with random weights for the tokenizer's vocabulary, without dropout."""
    config = GPT2Config(
        vocab_size=len(tokenizer), n_layer=layers, n_embd=width, n_head=heads, n_positions=context
    )
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    _settle(config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)
