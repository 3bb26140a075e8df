"""Laws of the log-probability of completions, and of loading a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    Gemma2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
)

from llm import head, shared_prefix
from llm.log_probs import sequence_log_probs
from llm.model import load_config, load_model, load_weights, new_model, train_tokenizer

PROMPT_LENGTHS = torch.tensor([5, 3, 1])
COMPLETION_LENGTHS = torch.tensor([[4, 2, 1], [1, 4, 3], [3, 3, 2]])
WEIGHTS = torch.tensor([[0.3, -1.1, 0.7], [1.9, 0.2, -0.4], [-0.8, 0.5, 1.3]], dtype=torch.float64)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def ragged_batch(prompts_left: bool = True, completions_left: bool = False) -> dict[str, torch.Tensor]:
    """Three prompts of 1 to 5 tokens, three completions each of 1 to 4, padded on the chosen sides.

    The real tokens are the same whatever the sides are.
    """
    rng = torch.Generator().manual_seed(2)
    ids = [torch.randint(11, (3, 5), generator=rng), torch.randint(11, (3, 3, 4), generator=rng)]
    masks = []
    for i, (lengths, left) in enumerate(
        [(PROMPT_LENGTHS, prompts_left), (COMPLETION_LENGTHS, completions_left)]
    ):
        width = ids[i].shape[-1]
        if left:
            ids[i] = torch.stack(
                [
                    row.roll(width - n)
                    for row, n in zip(ids[i].view(-1, width), lengths.flatten(), strict=True)
                ]
            ).view_as(ids[i])
        start = width - lengths[..., None] if left else torch.zeros_like(lengths)[..., None]
        column = torch.arange(width)
        masks.append((column >= start) & (column < start + lengths[..., None]))
    return {"prompts": ids[0], "completions": ids[1], "prompt_mask": masks[0], "completion_mask": masks[1]}


def separate_sequences(batch: dict[str, torch.Tensor]) -> Iterator[tuple[int, int, torch.Tensor, int]]:
    """(i, j, the unpadded sequence, the number of prompt tokens) of every completion."""
    for i, (x, x_real) in enumerate(zip(batch["prompts"], batch["prompt_mask"], strict=True)):
        for j, (y, y_real) in enumerate(
            zip(batch["completions"][i], batch["completion_mask"][i], strict=True)
        ):
            yield i, j, torch.cat([x[x_real], y[y_real]])[None], int(x_real.sum())


def separate_passes(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The definition: one pass a completion, without padding, the log softmax of all its logits."""
    found = torch.zeros(batch["completions"].shape[:2], dtype=model.dtype)
    for i, j, ids, n in separate_sequences(batch):
        logits = model(ids).logits[0, n - 1 : -1]
        found[i, j] = logits.log_softmax(-1).gather(-1, ids[0, n:, None]).sum()
    return found


def gradients(model: torch.nn.Module, log_prob: torch.Tensor) -> list[torch.Tensor]:
    loss = (log_prob * WEIGHTS.to(log_prob.dtype)).sum()
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.fixture
def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-NeoX's eager attention asks for a float32 softmax whatever the dtype; here it gets its own."""
    softmax = torch.nn.functional.softmax
    monkeypatch.setattr(
        torch.nn.functional, "softmax", lambda scores, dim, dtype=None: softmax(scores, dim=dim)
    )


@pytest.mark.parametrize("sides", [(True, False), (False, False), (True, True), (False, True)])
@pytest.mark.parametrize("shared_prefix", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_log_probs_and_gradients_are_those_of_separate_passes(
    make_model, exact_softmax, family, attention, dtype, shared_prefix, sides
):
    """sum_t log pi(y_t | x, y_<t), to round-off of the dtype over a handful of tokens."""
    model, batch = make_model(family, attention, dtype), ragged_batch(*sides)
    found = sequence_log_probs(model, **batch, shared_prefix=shared_prefix, chunk=5)
    expected = separate_passes(model, batch)
    tight = {"rtol": 0, "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(found, expected, **tight)
    for ours, theirs in zip(gradients(model, found), gradients(model, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("few", [1, 2, 3, 5])
def test_many_completions_fall_into_rows_in_their_order(make_model, monkeypatch, few):
    """However many share a copy of the prompt, also where the last row is not full: one law."""
    model, batch = make_model("gpt2", "sdpa"), ragged_batch()
    expected = separate_passes(model, batch)
    monkeypatch.setattr(shared_prefix, "FEW", few)
    monkeypatch.setattr(shared_prefix, "TIMES", 0)
    rows = []
    right = shared_prefix.one_sequence
    monkeypatch.setattr(shared_prefix, "one_sequence", lambda *a: rows.append(a[2].shape) or right(*a))
    found = sequence_log_probs(model, **batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[torch.float64])
    for ours, theirs in zip(gradients(model, found), gradients(model, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    (B, k, _), ((b, together, _),) = batch["completions"].shape, rows
    assert together == min(few, k) and b == B * -(-k // together)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_log_prob_is_minus_the_models_own_loss_times_the_tokens(make_model, family, attention):
    """The loss of transformers is a mean over labelled tokens, taken in float32: hence 1e-5."""
    model, batch = make_model(family, attention), ragged_batch()
    found = sequence_log_probs(model, **batch)
    for i, j, ids, n in separate_sequences(batch):
        labels = ids.clone()
        labels[:, :n] = -100
        own = model(ids, labels=labels).loss * (ids.shape[1] - n)
        torch.testing.assert_close(found[i, j], -own.double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("twin", ["completions see each other", "positions go on", "boolean mask", "no mask"])
def test_the_law_rejects_wrong_twins(make_model, monkeypatch, twin):
    right = shared_prefix.one_sequence

    def wrong(*arguments):
        inputs = right(*arguments)
        mask, size = inputs["attention_mask"], inputs["input_ids"].shape[1]
        if twin == "completions see each other":
            causal = torch.ones(size, size, dtype=torch.bool).tril()
            inputs["attention_mask"] = mask.masked_fill(
                causal & (inputs["position_ids"] > 0)[:, None, None], 0
            )
        elif twin == "positions go on":
            inputs["position_ids"] = torch.arange(size).expand_as(inputs["position_ids"])
        elif twin == "boolean mask":
            inputs["attention_mask"] = mask == 0
        else:
            del inputs["attention_mask"]
        return inputs

    model, batch = make_model("gpt2", "eager"), ragged_batch()
    monkeypatch.setattr(shared_prefix, "one_sequence", wrong)
    difference = sequence_log_probs(model, **batch) - separate_passes(model, batch)
    assert difference.abs().max() > 1e-2


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_padding_may_be_any_token_even_none(make_model, shared_prefix):
    """Masks, not ids, say what is real: other ids under the mask change no bit."""
    model, batch = make_model("gpt2"), ragged_batch()
    found = sequence_log_probs(model, **batch, shared_prefix=shared_prefix)
    for name in ("prompts", "completions"):
        real = batch[f"{name[:-1]}_mask"]
        batch[name] = torch.where(real, batch[name], torch.tensor(-100))
    assert torch.equal(found, sequence_log_probs(model, **batch, shared_prefix=shared_prefix))


def test_without_masks_every_token_is_real(make_model):
    model, batch = make_model("gpt_neox"), ragged_batch()
    full = {name: batch[name] for name in ("prompts", "completions")}
    masks = {f"{name[:-1]}_mask": torch.ones_like(ids) for name, ids in full.items()}
    assert torch.equal(sequence_log_probs(model, **full), sequence_log_probs(model, **full, **masks))


def test_the_average_is_the_sum_over_the_number_of_tokens(make_model):
    model, batch = make_model("gpt2"), ragged_batch()
    average = sequence_log_probs(model, **batch, average=True)
    torch.testing.assert_close(average * COMPLETION_LENGTHS, sequence_log_probs(model, **batch))


class LargestLogits(TorchDispatchMode):
    """Watches every tensor that is made: the most rows of any with the vocabulary as its last axis.

    But for the output embedding itself, whose transpose is (16, 11).
    """

    rows = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.shape[-1:] == (11,) and tensor.shape != (16, 11):
                self.rows = max(self.rows, tensor[..., 0].numel())
        return result


@pytest.mark.parametrize("chunk", [1, 4, 1024])
def test_logits_exist_only_a_chunk_at_a_time(make_model, chunk):
    """Forward and backward; 23 completion tokens in all, and never the 51 columns of the sequences."""
    model, batch = make_model("gpt_neox"), ragged_batch()
    with LargestLogits() as watch:
        found = sequence_log_probs(model, **batch, chunk=chunk)
        gradients(model, found)
    assert watch.rows == min(chunk, int(COMPLETION_LENGTHS.sum()))
    torch.testing.assert_close(found, sequence_log_probs(model, **batch), rtol=0, atol=1e-12)


def test_by_default_so_many_logits_exist_as_suit_the_device_and_the_vocabulary(make_model, monkeypatch):
    """Room for 7 tokens of a vocabulary of 11, then for less than one: one at a time."""
    model, batch = make_model("gpt_neox"), ragged_batch()
    for room, rows in ((80, 7), (5, 1)):
        monkeypatch.setitem(head.LOGITS, "cpu", room)
        with LargestLogits() as watch, torch.no_grad():
            sequence_log_probs(model, **batch)
        assert watch.rows == rows


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_gradient_checkpointing_changes_nothing(make_model, family):
    model, batch = make_model(family), ragged_batch()
    expected = gradients(model, sequence_log_probs(model, **batch))
    model.activation_checkpointing_enable()
    model.train()
    for ours, theirs in zip(gradients(model, sequence_log_probs(model, **batch)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_bf16_autocast_keeps_two_digits_and_sums_in_float32(make_model, family, attention):
    """bfloat16 has 8 bits: a relative error near 2^-8 in each of the at most 4 tokens of about 3 nats."""
    model, batch = make_model(family, attention, torch.float32), ragged_batch()
    expected = sequence_log_probs(model, **batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sequence_log_probs(model, **batch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.2)
    assert all(gradient.isfinite().all() for gradient in gradients(model, found))


def test_a_data_parallel_wrapper_changes_nothing(make_model):
    model, batch = make_model("gpt2"), ragged_batch()
    expected = gradients(model, sequence_log_probs(model, **batch))
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        for _ in range(2):  # a second step fails where the first one's reduction was never prepared
            (sequence_log_probs(wrapped, **batch) * WEIGHTS).sum().backward()
            for parameter, gradient in zip(model.parameters(), expected, strict=True):
                torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-12)
            model.zero_grad()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # peft's own call
def test_a_low_rank_adapter_is_trained_through_it(make_model):
    peft = pytest.importorskip("peft")
    batch = ragged_batch()
    expected = sequence_log_probs(make_model("gpt_neox"), **batch)
    adapted = peft.get_peft_model(
        make_model("gpt_neox"), peft.LoraConfig(r=2, target_modules=["query_key_value"])
    )
    found = sequence_log_probs(adapted, **batch)
    torch.testing.assert_close(found, expected)  # an adapter starts at nothing
    found.sum().backward()
    trained = {
        name for name, p in adapted.named_parameters() if p.grad is not None and p.grad.abs().max() > 0
    }
    assert trained and all("lora" in name for name in trained)


SMALL = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
ARCHITECTURES = {
    "positions from the 2-D mask": OPTConfig(**SMALL, ffn_dim=8, word_embed_proj_dim=8, dropout=0.0),
    "distances from the 2-D mask": BloomConfig(vocab_size=11, hidden_size=8, n_layer=1, n_head=2),
    "logits capped after the head": Gemma2Config(
        **SMALL, intermediate_size=8, num_key_value_heads=1, head_dim=4, final_logit_softcapping=0.5
    ),
    "rotary, grouped heads": LlamaConfig(**SMALL, intermediate_size=8, num_key_value_heads=1),
}


@pytest.mark.parametrize("which", ARCHITECTURES)
def test_other_architectures_take_the_plain_path(which):
    """Whatever a mask means to them, and whatever they do to their logits (float32 norms inside: 1e-5)."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(ARCHITECTURES[which])
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    assert not shared_prefix.takes_shared_prefix(model)
    for sides in [(True, False), (False, True)]:
        batch = ragged_batch(*sides)
        found = sequence_log_probs(model, **batch)
        torch.testing.assert_close(found, separate_passes(model, batch), rtol=0, atol=1e-5)


def spoil(name: str, index: tuple[int, ...], value: int) -> dict[str, torch.Tensor]:
    batch = ragged_batch(prompts_left=False)
    batch[name] = batch[name].clone()
    batch[name][index] = value
    return batch


BAD_BATCHES = [
    (spoil("prompts", (1, 2), 11), r"token id of a prompt must be in \[0, 11\), but is 11 at \[1, 2\]"),
    (spoil("completions", (0, 1, 0), -3), r"completion must be in \[0, 11\), but is -3 at \[0, 1, 0\]"),
    (spoil("prompt_mask", (2,), 0), r"prompt length must be at least 1, but is 0 at \[2\]"),
    (spoil("completion_mask", (1, 0), 0), r"completion length must be at least 1, but is 0 at \[1, 0\]"),
    ({**ragged_batch(), "prompt_mask": torch.ones(3, 4)}, r"prompt_mask must have the shape .*\(3, 5\)"),
    ({**ragged_batch(), "completions": torch.ones(3, 4, dtype=int)}, r"completions \(B, k, T\)"),
    (
        {"prompts": torch.ones(1, 20, dtype=int), "completions": torch.ones(1, 2, 5, dtype=int)},
        r"at most the model's context of 24 tokens, but is 25 at \[0, 0\]",
    ),
]


@pytest.mark.parametrize(("batch", "message"), BAD_BATCHES)
def test_a_bad_batch_is_refused_with_its_place(make_model, batch, message):
    with pytest.raises(ValueError, match=message):
        sequence_log_probs(make_model("gpt2"), **batch)


def test_a_loaded_model_has_no_dropout_and_a_padding_token(tmp_path):
    """From a folder in GPT-2's own manner: dropout .1, no padding token, and a GELU of six kernels.

    That is the same function, as transformers' own model says, in one.
    """
    tokenizer = train_tokenizer(["a kettle sang"], 260)
    tokenizer.pad_token = None
    model = new_model(tokenizer, layers=1, width=8, heads=2, context=32, seed=0)
    model.config.resid_pdrop = model.config.embd_pdrop = model.config.attn_pdrop = 0.1
    model.config.activation_function = "gelu_new"
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, words = load_model(str(tmp_path))
    loaded.train()
    assert words.pad_token_id == words.eos_token_id == loaded.config.pad_token_id
    ids = words("a kettle sang", return_tensors="pt").input_ids
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    its = GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    assert type(its.transformer.h[0].mlp.act) is not type(loaded.transformer.h[0].mlp.act)
    torch.testing.assert_close(loaded(ids).logits, its(ids).logits, rtol=1e-5, atol=1e-6)


def test_a_gpt_neox_folder_loads(tmp_path, make_model, tokenizer):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=384,  # rounded up, as Pythia's is
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout=0.1,
        attention_dropout=0.1,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, words = load_model(str(tmp_path), attention="eager")
    model.train()
    ids = words("a kettle", return_tensors="pt").input_ids
    assert torch.equal(model(ids).logits, model(ids).logits)
    assert words.decode(ids[0]) == "a kettle"


def test_a_new_model_is_a_function_of_its_seed(tokenizer):
    before = torch.random.get_rng_state()
    first, again, other = (
        new_model(tokenizer, layers=1, width=8, heads=2, context=32, seed=seed).lm_head.weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_trained_tokenizer_returns_every_text(tokenizer, tmp_path):
    text = " Ünïcödé, tabs\t and\nlines: 你好"
    tokenizer.save_pretrained(tmp_path)
    for words in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert words.decode(words(text).input_ids) == text


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return to


def test_an_unknown_name_is_refused_at_once():
    with pytest.raises(ValueError, match=r"cannot load a model from 'nobody/nothing': .*hub id that exists"):
        load_model("nobody/nothing")


def test_pickled_weights_are_refused(model_folder, tmp_path):
    folder = copied(model_folder, tmp_path)
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="cannot load safetensors weights"):
        load_model(str(folder))


def test_corrupt_weights_are_refused(model_folder, tmp_path):
    folder = copied(model_folder, tmp_path)
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{truncated")
    with pytest.raises(ValueError, match="cannot load safetensors weights"):
        load_model(str(folder))


def test_the_checkpoint_of_another_model_is_refused(model_folder, tmp_path):
    """One more layer in the configuration than in the weights: transformers would start it at random."""
    folder = copied(model_folder, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_layer": 2}))
    with pytest.raises(
        ValueError, match=r"has no weights for 'transformer\.h\.1\..*checkpoint of another model"
    ):
        load_model(str(folder))


def test_a_tokenizer_with_too_many_tokens_is_refused(model_folder, tmp_path):
    train_tokenizer([f"{i} kettles" for i in range(999)], 500).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not fit the model: it has .* tokens, the model 300"):
        load_model(str(model_folder), tokenizer_name=str(tmp_path))


def test_a_tokenizer_with_another_end_is_refused(model_folder, tmp_path):
    words = train_tokenizer(["a kettle"], 270)
    words.eos_token = "a"
    words.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="its end-of-sequence token is .*, the model's 0"):
        load_model(str(model_folder), tokenizer_name=str(tmp_path))


def test_an_empty_tokenizer_is_refused(model_folder, tmp_path):
    """What a tokenizer class makes of a vocabulary file that it was not asked to read."""
    empty = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token="<|endoftext|>")
    empty.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="turns text into no tokens"):
        load_model(str(model_folder), tokenizer_name=str(tmp_path))


def test_a_tokenizer_without_an_end_is_refused(model_folder, tmp_path):
    words = train_tokenizer(["a kettle"], 270)
    words.eos_token = None
    words.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no end-of-sequence token"):
        load_model(str(model_folder), tokenizer_name=str(tmp_path))
    words.pad_token = None
    words.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="neither a padding nor an end-of-sequence token"):
        load_model(str(model_folder), tokenizer_name=str(tmp_path))


def test_code_that_comes_with_a_model_is_not_run(model_folder, tmp_path):
    folder = copied(model_folder, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    evil = {**config, "model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(evil))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(ValueError, match="cannot load a model"):
        load_model(str(folder))
    assert not (tmp_path / "ran").exists()


def test_float64_with_an_attention_that_would_give_nan_is_refused(make_model, tmp_path):
    make_model("gpt_neox").save_pretrained(tmp_path)
    config = load_config(str(tmp_path))
    with pytest.raises(ValueError, match="padding gives NaN; use attention='sdpa', or float32"):
        load_weights(AutoModelForCausalLM, str(tmp_path), config, dtype=torch.float64, attention="eager")
