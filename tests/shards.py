"""One of the processes that train a model of which each holds a part: see tests/llm/test_sharded.py."""

from __future__ import annotations

import os

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from bandits import DROV, CoPG, Samples
from llm.beside import attach_value, prompt_values
from llm.log_probs import sequence_log_probs
from llm.loss import alignment_loss, every_choice


def policy() -> GPT2LMHeadModel:
    """Two layers over 11 tokens in float64, with a value."""
    torch.manual_seed(5)
    config = GPT2Config(vocab_size=11, n_layer=2, n_embd=8, n_head=2, n_positions=24, initializer_range=0.5)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    config.bos_token_id = config.eos_token_id = 0
    model = GPT2LMHeadModel(config).double()
    attach_value(model, 0.25)
    return model


def train(model: torch.nn.Module, rows: slice, steps: int = 3) -> None:
    """Descent on CoPG's and DRO-V's losses of some rows of one batch of 4 prompts with 2 completions."""
    rng = torch.Generator().manual_seed(1)
    x, y = torch.randint(1, 11, (4, 5), generator=rng), torch.randint(1, 11, (4, 2, 3), generator=rng)
    reference = torch.randn(4, 2, generator=rng, dtype=torch.float64) - 7
    reward = torch.randn(4, 2, generator=rng, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(steps):
        samples = Samples(
            value=prompt_values(model, x[rows], torch.ones_like(x[rows])),
            log_prob=sequence_log_probs(model, x[rows], y[rows]),
            reference_log_prob=reference[rows],
            reward=reward[rows],
        )
        singles = every_choice(samples, 1)
        (alignment_loss(CoPG(beta=0.5), samples) + alignment_loss(DROV(beta=0.5), singles)).backward()
        optimizer.step()
        optimizer.zero_grad()


def sharded(out: str, rank: int, port: int) -> None:
    """Shard, train on half of the batch, gather."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.fsdp import fully_shard

    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    place = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    model = policy()
    for block in model.transformer.h:
        fully_shard(block)
    fully_shard(model)
    train(model, slice(2 * rank, 2 * rank + 2))
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: dict[str, Tensor] = get_model_state_dict(model, options=options)
    if rank == 0:
        save_file({name: tensor.clone() for name, tensor in weights.items()}, out)
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads abort in torch's own clean-up at the end of the interpreter
