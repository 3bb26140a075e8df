"""Write figures/verdicts.json and figures/verdicts.md:  python -m verdicts [words of some rows]

With words, the rows that hold one of them are judged anew, and the others stay as they are written.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.append(str(Path(__file__).parents[1]))

import torch

from verdicts.ends import end_of
from verdicts.functions import ALONE
from verdicts.judged import company, judged
from verdicts.report import markdown, record
from verdicts.rows import BETA, ROWS
from verdicts.world import World

FIGURES = Path(__file__).parents[2] / "figures"
WORLD = (
    "One prompt of a GPT-2 with seven completions of one or two tokens; every group by itself, at a policy "
    f"that is neither the reference nor, for stale groups, the sampler; beta = {BETA:g} where there is one."
)

PRINTED = (
    "agreement",
    "scale",
    "error",
    "named_error",
    "confirmed",
    "batch",
    "end",
    "distance",
    "rests_within",
)


def main(words: list[str]) -> int:
    """Judge the rows, those that hold one of the words."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    path = FIGURES / "verdicts.json"
    kept = {key(each): each for each in json.loads(path.read_text())["rows"]} if words else {}
    world = World()
    for row in ROWS:
        if not words or any(word in f"{row.library} {row.name}" for word in words):
            seen = judged(world, row)
            found = record(row, seen, company(world, row), end_of(world, row, seen.size, BETA))
            kept[key(found)] = found
            print(*key(found), {name: found[name] for name in PRINTED}, flush=True)
    sys.path.append(str(ALONE))
    versions = {name: version(name) for name in ("trl", "openrlhf", "verl", "torch", "transformers")}
    rows = [kept[row.library, row.name] for row in ROWS]
    whole = {"versions": versions, "world": WORLD, "rows": rows}
    path.write_text(a_row_a_line(whole), encoding="utf-8")
    (FIGURES / "verdicts.md").write_text(markdown(whole), encoding="utf-8")
    return 0


def a_row_a_line(whole: dict[str, Any]) -> str:
    """JSON, in which a row is a line."""
    rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in whole["rows"])
    head = json.dumps({name: value for name, value in whole.items() if name != "rows"}, ensure_ascii=False)
    return f'{head[:-1]},\n "rows": [\n  {rows}\n ]}}\n'


def key(found: dict[str, Any]) -> tuple[str, str]:
    """What no two rows share."""
    return found["library"], found["name"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
