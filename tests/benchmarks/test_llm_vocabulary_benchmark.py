"""A training step of the size of titles, with the vocabulary of GPT-2 and with 4 096: how much is the words?

GPT-2 with 2 layers of width 128, prompts of 128 tokens, 4 completions of 24, batches of 16, float32: CoPG on
recorded completions, and RLOO, which samples them. Of the 6.9 M weights 6.4 M are GPT-2's vocabulary. Each
runs in a process of its own, in turns on one core; the fastest step counts, in seconds of the processor.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

VOCABULARIES, STEPS, ROUNDS = (50257, 4096), 4, 2
AT_LEAST = {"recorded": 4.0, "sampled": 2.0}  # times faster with the small one

PROGRAM = """
import copy, json, sys, tempfile, time, warnings
warnings.simplefilter("ignore")
import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, TrainerCallback
from bandits import CoPG, RLOO
from llm.sources import OnPolicy, Recorded, with_reference_log_probs
from llm.train import AlignmentTrainer
from llm.trainer import training_arguments

V, how, STEPS, P, T, B, k = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), 128, 24, 16, 4
torch.set_num_threads(1)
torch.manual_seed(0)
words = {f"w{i}": i for i in range(V - 1)} | {"</s>": V - 1}
bare = Tokenizer(models.WordLevel(words, unk_token="w0"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="</s>", pad_token="</s>")
size = {"n_layer": 2, "n_embd": 128, "n_head": 4, "n_positions": P + T, "vocab_size": V}
none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
model = GPT2LMHeadModel(GPT2Config(**size, **none, bos_token_id=V - 1, eos_token_id=V - 1))
rng = np.random.default_rng(0)
ids = lambda n: rng.integers(V - 1, size=n).tolist()
rows = Dataset.from_list([{"prompt": "w1", "prompt_ids": ids(P), "completion_ids": [ids(T) for _ in range(k)],
    "rewards": rng.normal(size=k).tolist()} for _ in range(B * STEPS)])

class Clock(TrainerCallback):
    steps, at = [], 0.0
    def on_step_begin(self, *_, **__): self.at = time.process_time()
    def on_step_end(self, *_, **__): self.steps.append(time.process_time() - self.at)

def reward(prompts, completions, references): return np.array([float(len(y) % 7) for y in completions])

if how == "recorded":
    algorithm, source, rows = CoPG(beta=1.0), Recorded(), with_reference_log_probs(rows, model)
else:
    algorithm, rows = RLOO(beta=1.0), rows.remove_columns("rewards")
    reference = copy.deepcopy(model).requires_grad_(False)
    source = OnPolicy(algorithm, reference, tokenizer, reward, k, T, 0)
args = {"steps": STEPS, "batch_size": B, "learning_rate": 1e-5, "seed": 0, "log_every": 1000}
args = training_arguments(tempfile.mkdtemp(), **args)
AlignmentTrainer(model, algorithm, source, args, rows, callbacks=[Clock()]).train()
print(json.dumps(min(Clock.steps[1:])))
"""


def step(vocabulary: int, how: str) -> float:
    """Seconds of the processor of one step, in a process of its own."""
    given = [sys.executable, "-c", PROGRAM, str(vocabulary), how, str(STEPS)]
    done = subprocess.run(given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.mark.benchmark
@pytest.mark.parametrize("how", AT_LEAST)
def test_a_small_vocabulary_makes_a_step_faster(how):
    rounds = [[step(vocabulary, how) for vocabulary in VOCABULARIES] for _ in range(ROUNDS)]
    large, small = (min(seconds) for seconds in zip(*rounds, strict=True))
    print(f"\n{how:8} {large:.2f} and {small:.2f} CPU s a step with {VOCABULARIES} tokens: ", end="")
    print(f"{large / small:.1f} times faster (at least {AT_LEAST[how]})")
    assert large / small >= AT_LEAST[how]
