"""A whole training step on preference pairs, beside TRL's `DPOTrainer`: seconds and peak memory.

Both train the same GPT-2 (4 layers of width 256, vocabulary 5 000, float32) by DPO on the same pairs, batches
of 8, reference log-probabilities computed beforehand, evaluation and logging off.  Two shapes: prompt 256
and completions 32, where a prompt that is read once saves most, and 32 and 128, where it saves next to
nothing.  Each runs in a process of its own, in turns on one core; the fastest of the rounds counts, in
seconds of the processor.  Memory is the peak resident set of the process during training, less what it had
when its trainer stood ready.  TRL 1.16; skipped where it is not installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

SHAPES = [(256, 32), (32, 128)]  # tokens of the prompt, of a completion
VOCABULARY, PAIRS, BATCH, STEPS, ROUNDS = 5000, 32, 8, 4, 2
FASTER, MEMORY = 2.5, 0.5

COMMON = f"""
import json, resource, sys, tempfile, time, warnings
warnings.simplefilter("ignore")
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, TrainerCallback
torch.set_num_threads(1)
torch.manual_seed(0)
vocabulary = {{f"w{{i}}": i for i in range({VOCABULARY - 1})}} | {{"</s>": {VOCABULARY - 1}}}
bare = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="</s>", pad_token="</s>")
config = GPT2Config(vocab_size={VOCABULARY}, n_layer=4, n_embd=256, n_head=4, n_positions=512,
    bos_token_id={VOCABULARY - 1}, eos_token_id={VOCABULARY - 1}, pad_token_id={VOCABULARY - 1},
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
model = GPT2LMHeadModel(config)

def words(n, seed):
    rng = torch.Generator().manual_seed(seed)
    return " ".join(f"w{{int(i)}}" for i in torch.randint({VOCABULARY - 1}, (n,), generator=rng))

rows = [{{"prompt": words(PROMPT, 3 * i), "chosen": " " + words(COMPLETION - 1, 3 * i + 1),
    "rejected": " " + words(COMPLETION - 1, 3 * i + 2)}} for i in range({PAIRS})]

class Clock(TrainerCallback):
    steps, at = [], 0.0
    def on_step_begin(self, *_, **__): self.at = time.process_time()
    def on_step_end(self, *_, **__): self.steps.append(time.process_time() - self.at)

def resident(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
def reset_peak(): open("/proc/self/clear_refs", "w").write("5")
def high_water():
    return [int(x.split()[1]) / 1024 for x in open("/proc/self/status") if x.startswith("VmHWM")][0]

def measure(trainer):
    before = resident(); reset_peak()
    trainer.train()
    print(json.dumps({{"seconds": min(Clock.steps[1:]), "megabytes": high_water() - before}}))
"""

OURS = """
from bandits import DPO
from llm.tokens import encode
from llm.sources import Recorded, with_reference_log_probs
from llm.train import AlignmentTrainer
from llm.trainer import training_arguments
longest = {"max_prompt_tokens": PROMPT + 8, "max_completion_tokens": COMPLETION + 8}
encoded = encode(Dataset.from_list(rows), tokenizer, **longest).rows
encoded = with_reference_log_probs(encoded, model)
folder = tempfile.mkdtemp()
args = training_arguments(folder, steps=STEPS, batch_size=BATCH, learning_rate=1e-5, seed=0, log_every=1000)
measure(AlignmentTrainer(model, DPO(beta=0.1), Recorded(), args, encoded, callbacks=[Clock()]))
"""

THEIRS = """
from trl import DPOConfig, DPOTrainer
args = DPOConfig(output_dir=tempfile.mkdtemp(), max_steps=STEPS, per_device_train_batch_size=BATCH,
    learning_rate=1e-5, beta=0.1, max_length=None, precompute_ref_log_probs=True, logging_steps=1000,
    save_strategy="no", report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False,
    disable_tqdm=True, dataloader_pin_memory=False)
measure(DPOTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
    callbacks=[Clock()]))
"""


def one_round(program: str, prompt: int, completion: int) -> dict[str, float]:
    """Seconds and megabytes of one process."""
    sizes = f"STEPS, BATCH, PROMPT, COMPLETION = {STEPS}, {BATCH}, {prompt}, {completion}"
    source = f"{sizes}\n{COMMON}{program}"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.benchmark
@pytest.mark.skipif(find_spec("trl") is None, reason="compares with trl, which is not installed")
@pytest.mark.parametrize(("prompt", "completion"), SHAPES)
def test_a_training_step_is_faster_and_smaller_than_trls(prompt, completion):
    found = {"ours": [], "trl": []}
    for _ in range(ROUNDS):
        found["ours"].append(one_round(OURS, prompt, completion))
        found["trl"].append(one_round(THEIRS, prompt, completion))
    best = {name: {key: min(r[key] for r in rounds) for key in rounds[0]} for name, rounds in found.items()}
    faster = best["trl"]["seconds"] / best["ours"]["seconds"]
    smaller = best["ours"]["megabytes"] / best["trl"]["megabytes"]
    for name, numbers in best.items():
        print(f"\n{name:5} {numbers['seconds']:8.3f} CPU s a step {numbers['megabytes']:8.0f} MB", end="")
    print(
        f"\nprompt {prompt}, completions {completion}: {faster:.2f} times faster (at least {FASTER})", end=""
    )
    print(f", {smaller:.2f} of the memory (at most {MEMORY})")
    assert faster >= FASTER
    assert smaller <= MEMORY
