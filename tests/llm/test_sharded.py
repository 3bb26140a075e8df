"""Laws of sharded training: weights of which each process holds a part are trained as whole ones.

`accelerate` 1.15 turns FSDP on for accelerators only: launched on CPUs it trains with plain data
parallelism, whatever it was asked.  Hence torch's own `fully_shard` here, on two CPU processes (gloo), as
`accelerate` calls it.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file

import processes
from shards import policy, sharded, train


def test_two_processes_with_half_of_the_weights_each_are_one(tmp_path: Path) -> None:
    out = tmp_path / "two.safetensors"
    port = 28000 + os.getpid() % 999
    two = [processes.WARM.Process(target=sharded, args=(str(out), rank, port)) for rank in (0, 1)]
    for process in two:
        process.start()
    for process in two:
        process.join(timeout=120)
    assert [process.exitcode for process in two] == [0, 0]
    whole, start = policy(), policy().state_dict()
    train(whole, slice(None))
    found = load_file(out)
    for name, expected in whole.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)
        assert name.endswith("attn.bias") or not torch.equal(expected, start[name])
