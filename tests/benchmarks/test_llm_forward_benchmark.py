"""Forward and backward of `sequence_log_probs`: k completions behind one prompt, or one by one.

Prompt 256, completions 32, GPT-2 with 4 layers of width 256, vocabulary 5 000, float32.  The tokens
that are read set the limit: k (256 + 32) / (256 + 32 k), which is 1.8 for k = 2 and 3 for k = 4.
"One by one" is two programs: the plain path, and the very code of the shared prefix with k = 1.  The
faster of them is what counts.  All take turns on one core, and the fastest round of each is taken, in
seconds of the processor: on an idle machine those are seconds, on a busy one they still compare.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from llm.log_probs import sequence_log_probs

PROMPT, COMPLETION, VOCABULARY, PROMPTS, ROUNDS = 256, 32, 5000, 4, 4
AT_LEAST = {2: 1.6, 4: 2.2}


def fastest(programs: dict[str, Callable[[], torch.Tensor]], model: torch.nn.Module) -> dict[str, float]:
    """Seconds of the fastest round of each, after one round to warm up."""
    seconds = {name: [] for name in programs}
    for _ in range(ROUNDS + 1):
        for name, program in programs.items():
            start = time.process_time()
            program().sum().backward()
            seconds[name].append(time.process_time() - start)
            model.zero_grad()
    return {name: min(times[1:]) for name, times in seconds.items()}


@pytest.mark.benchmark
def test_a_shared_prompt_is_faster_than_separate_sequences():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_layer=4,
        n_embd=256,
        n_head=4,
        n_positions=512,
        bos_token_id=0,
        eos_token_id=0,
    )
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    model = GPT2LMHeadModel(config)
    print("\n k   shared    plain  same code  speed-up  needed  limit   (CPU seconds)")
    for k in (1, 2, 4):
        x = torch.randint(VOCABULARY, (PROMPTS, PROMPT))
        y = torch.randint(VOCABULARY, (PROMPTS, k, COMPLETION))
        x_each, y_each = x.repeat_interleave(k, dim=0), y.flatten(0, 1)[:, None]
        times = fastest(
            {
                "shared": lambda x=x, y=y: sequence_log_probs(model, x, y),
                "plain": lambda x=x, y=y: sequence_log_probs(model, x, y, shared_prefix=False),
                "same code": lambda x=x_each, y=y_each: sequence_log_probs(model, x, y),
            },
            model,
        )
        speedup = min(times["plain"], times["same code"]) / times["shared"]
        limit = k * (PROMPT + COMPLETION) / (PROMPT + k * COMPLETION)
        print(
            f"{k:>2} {times['shared']:>8.3f} {times['plain']:>8.3f} {times['same code']:>10.3f} "
            f"{speedup:>9.2f} {AT_LEAST.get(k, '-'):>7} {limit:>6.2f}"
        )
        assert speedup >= AT_LEAST.get(k, 0.0)
