"""What a step frees the next one has again, without the kernel clearing it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, torch
from llm.memory import keep_freed
{first}
torch.set_num_threads(1)
heads = torch.nn.ModuleList(torch.nn.Linear(64, 2000) for _ in range(4))
x, wanted = torch.randn(1800, 64), torch.zeros(1800, dtype=torch.long)
def step(): sum(torch.nn.functional.cross_entropy(head(x), wanted) for head in heads).backward()
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_a_step_frees_is_kept_for_the_next():
    """By the kernel's own count of pages that it had to map."""

    def faults(first: str) -> int:
        code = STEPS.format(first=first)
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)

    assert 2 * faults("keep_freed()") < faults("")
