"""A whole training step on preference pairs, beside TRL's `DPOTrainer`: seconds and peak memory.

Both train the same GPT-2 (4 layers of width 256, vocabulary 5 000, float32) by DPO on the same pairs, batches
of 8, reference log-probabilities computed beforehand, evaluation and logging off.  Two shapes: prompt 256
and completions 32, where a prompt that is read once saves most, and 32 and 128, where it saves next to
nothing: there the transformer alone, without its output layer, takes 2.3 times less than TRL's step, so
that no output layer could make 2.5.  Each runs in a process of its own, in turns on one core; the fastest of
the rounds counts, in seconds of the processor.  Memory is the peak resident set of the process during
training, less what it had when its trainer stood ready.

On a GPU the same with GPT-2's own shape (12 layers of width 768, vocabulary 50 257) in bfloat16, batches of
32, in seconds by the clock and memory of the device, and with the share of the chip's peak: 6 operations a
weight and token of prompts and completions, each once.  TRL 1.16; skipped where it is not installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

SHAPES = [(256, 32, 2.5, 0.5), (32, 128, 1.5, 0.7)]  # tokens; times faster at least, of the memory at most
STEPS, ROUNDS = 4, 2
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # dense bfloat16, operations a second

COMMON = """
import json, resource, sys, tempfile, time, warnings
warnings.simplefilter("ignore")
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, TrainerCallback
torch.set_num_threads(1)
torch.manual_seed(0)
cuda = torch.cuda.is_available()
LAYERS, WIDTH, HEADS, VOCABULARY, BATCH = (12, 768, 12, 50257, 32) if cuda else (4, 256, 4, 5000, 8)
PAIRS = STEPS * BATCH
vocabulary = {f"w{i}": i for i in range(VOCABULARY - 1)} | {"</s>": VOCABULARY - 1}
bare = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="</s>", pad_token="</s>")
end = VOCABULARY - 1
config = GPT2Config(vocab_size=VOCABULARY, n_layer=LAYERS, n_embd=WIDTH, n_head=HEADS, n_positions=512,
    bos_token_id=end, eos_token_id=end, pad_token_id=end,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
model = GPT2LMHeadModel(config)

def words(n, seed):
    rng = torch.Generator().manual_seed(seed)
    return " ".join(f"w{int(i)}" for i in torch.randint(end, (n,), generator=rng))

rows = [{"prompt": words(PROMPT, 3 * i), "chosen": " " + words(COMPLETION - 1, 3 * i + 1),
    "rejected": " " + words(COMPLETION - 1, 3 * i + 2)} for i in range(PAIRS)]

def now():
    if cuda: torch.cuda.synchronize()
    return time.perf_counter() if cuda else time.process_time()

class Clock(TrainerCallback):
    steps, at = [], 0.0
    def on_step_begin(self, *_, **__): self.at = now()
    def on_step_end(self, *_, **__): self.steps.append(now() - self.at)

def resident():
    if cuda: return torch.cuda.memory_allocated() / 2**20
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
def reset_peak():
    if cuda: return torch.cuda.reset_peak_memory_stats()
    open("/proc/self/clear_refs", "w").write("5")
def high_water():
    if cuda: return torch.cuda.max_memory_allocated() / 2**20
    return [int(x.split()[1]) / 1024 for x in open("/proc/self/status") if x.startswith("VmHWM")][0]

def measure(trainer):
    before = resident(); reset_peak()
    trainer.train()
    tokens = BATCH * (PROMPT + 2 * COMPLETION)
    found = {"seconds": min(Clock.steps[1:]), "megabytes": high_water() - before}
    found["operations"] = 6 * model.num_parameters() * tokens
    print(json.dumps(found | {"device": torch.cuda.get_device_name() if cuda else "cpu"}))
"""

OURS = """
from bandits import DPO
from llm.memory import keep_freed
from llm.model import load_model
from llm.tokens import encode
from llm.sources import Recorded, with_reference_log_probs
from llm.train import AlignmentTrainer
from llm.trainer import training_arguments
start = tempfile.mkdtemp()
model.save_pretrained(start); tokenizer.save_pretrained(start)
model, tokenizer = load_model(start)
longest = {"max_prompt_tokens": PROMPT + 8, "max_completion_tokens": COMPLETION + 8}
encoded = encode(Dataset.from_list(rows), tokenizer, **longest).rows
encoded = with_reference_log_probs(encoded, model)
folder = tempfile.mkdtemp()
args = training_arguments(folder, steps=STEPS, batch_size=BATCH, learning_rate=1e-5, seed=0, log_every=1000,
    bf16=cuda)
keep_freed()  # as every command does; now, so that what was freed before is no memory of this trainer
measure(AlignmentTrainer(model, DPO(beta=0.1), Recorded(), args, encoded, callbacks=[Clock()]))
"""

THEIRS = """
from trl import DPOConfig, DPOTrainer
args = DPOConfig(output_dir=tempfile.mkdtemp(), max_steps=STEPS, per_device_train_batch_size=BATCH,
    learning_rate=1e-5, beta=0.1, max_length=None, precompute_ref_log_probs=True, logging_steps=1000,
    save_strategy="no", report_to=[], use_cpu=not cuda, bf16=cuda, gradient_checkpointing=False,
    disable_tqdm=True, dataloader_pin_memory=False)
measure(DPOTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
    callbacks=[Clock()]))
"""


def one_round(program: str, prompt: int, completion: int) -> dict[str, Any]:
    """Seconds and megabytes of one process."""
    sizes = f"STEPS, PROMPT, COMPLETION = {STEPS}, {prompt}, {completion}"
    source = f"{sizes}\n{COMMON}{program}"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.benchmark
@pytest.mark.skipif(find_spec("trl") is None, reason="compares with trl, which is not installed")
@pytest.mark.parametrize(("prompt", "completion", "at_least", "at_most"), SHAPES)
def test_a_training_step_is_faster_and_smaller_than_trls(prompt, completion, at_least, at_most):
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    for _ in range(ROUNDS):
        found["ours"].append(one_round(OURS, prompt, completion))
        found["trl"].append(one_round(THEIRS, prompt, completion))
    best = {
        name: {key: min(each[key] for each in rounds) for key in rounds[0]} for name, rounds in found.items()
    }
    faster = best["trl"]["seconds"] / best["ours"]["seconds"]
    smaller = best["ours"]["megabytes"] / best["trl"]["megabytes"]
    for name, of in best.items():
        share = [of["operations"] / of["seconds"] / x for chip, x in PEAK.items() if chip in of["device"]]
        told = f"{of['seconds']:8.3f} s a step {of['megabytes']:8.0f} MB on {of['device']}"
        print(f"\n{name:5} {told}{''.join(f', {x:.0%} of its peak' for x in share)}", end="")
    print(
        f"\nprompt {prompt}, completions {completion}: {faster:.2f} times faster (at least {at_least})",
        end="",
    )
    print(f", {smaller:.2f} of the memory (at most {at_most})")
    assert faster >= at_least
    assert smaller <= at_most
