"""Kill -9 at random: every command, started again until it ends, leaves the bytes of an undisturbed run.

PYTHONPATH=. python tests/llm/kill_campaign.py 20               so many kills of each command
PYTHONPATH=. python tests/llm/kill_campaign.py 20 reward align  only of these
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
ROWS = [{"prompt": f"Item {i} is here.\n\nTL;DR:", "completion": f" Item {i}."} for i in range(24)]
SHORT = [
    "--steps",
    "40",
    "--batch-size",
    "4",
    "--save-every",
    "4",
    "--log-every",
    "3",
    "--learning-rate",
    "1e-3",
]
SMALL = ["--max-prompt-tokens", "40", "--quiet"]


def commands(folder: Path) -> dict[str, list[str]]:
    """What is killed; each takes what an undisturbed one before it has made."""
    pairs, policy, samples = (str(folder / name) for name in ("pairs.jsonl", "sft/model", "sample"))
    small = ["--layers", "1", "--width", "16", "--heads", "2", "--vocabulary", "300"]
    return {
        "sft": ["sft", "--data", pairs, *small, *SHORT],
        "sample": ["sample", "--data", pairs, "--model", policy, "--k", "2", "--shard-size", "2"],
        "reward": ["reward", "--data", samples, "--model", policy, *SHORT],
        "align": ["align", "--data", samples, "--model", policy, "--algorithm", "CoPG", *SHORT],
        "online": ["align", "--data", pairs, "--model", policy, "--algorithm", "RLOO", "--reward", "length"]
        + ["--max-new-tokens", "6", *SHORT],
    }


def start(command: list[str], out: Path) -> subprocess.Popen:
    arguments = [sys.executable, "-m", "llm", *command, "--out", str(out), *SMALL]
    return subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def made(folder: Path) -> dict[str, bytes]:
    """The bytes of the result; not the log's timings, nor who made it."""
    files = [*folder.glob("model/*"), *folder.glob("shards/*"), *folder.glob("metrics.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def main(kills: int, *names: str) -> None:
    """Each command undisturbed, then killed and started again, or only those of these names.

    Raises:
        AssertionError: an end is another, or with another status than 0.
    """
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        for name, command in commands(folder).items():
            began = time.monotonic()
            whole = start(command, folder / name)
            assert whole.wait() == 0, whole.stderr.read()
            took, done = time.monotonic() - began, 0
            if names and name not in names:
                continue
            while True:
                run = start(command, folder / f"{name} killed")
                if done < kills:
                    time.sleep(rng.uniform(0.3, 1) * took)
                    run.send_signal(signal.SIGKILL)
                    done += 1
                said = run.communicate()[1]
                assert run.returncode in (0, -signal.SIGKILL), said
                if run.returncode == 0:
                    break
            wanted, found = made(folder / name), made(folder / f"{name} killed")
            other = [path for path in {*wanted, *found} if wanted.get(path) != found.get(path)]
            assert not other, f"{name}: {other}"
            print(f"{name}: {done} kills, the same bytes", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, *sys.argv[2:])
