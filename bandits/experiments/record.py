"""What stays of an experiment?  A picture, the numbers drawn, and a table of claims that were checked."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

CAPTIONS = """# The figures

One question a figure; `python -m bandits figures NAME` makes it again, with its numbers, and with others if
they are said: `python -m bandits figures copg_toy --beta 0.3`; `--list` says which. This page is made from
the docstrings in `bandits/experiments/` by `python -m bandits figures`.

Words of all of them: **arms** are the answers to one prompt, and a **policy** pi gives them probabilities.
The **reference** ref is the policy before training, and **beta** the price of leaving it: J(pi) = E\\[r\\] -
beta KL(pi to ref) is to be maximised, which pi\\* = ref exp(r / beta)/Z does, with the value J\\*. The
**regret** is J\\* - J(pi). **mu** is who wrote the samples; on-policy it is the policy itself. An **end**,
or fixed point, is where the expected update is zero. h is log pi/ref, R is r - beta h. **Bradley-Terry**
preferences follow a score: y beats y' with probability sigma(r - r'). T3.3 and the like are tags of [the
answer key](../bandits/theory.md); [algorithms by name](../notebooks/book/algorithms.md)."""
CODE = re.compile(r"(`[^`]+`)")
DIGITS = 6  # significant digits kept in JSON: enough to compare, short enough to read
DECIMALS = 12  # and none behind, where sums end in rounding, which differs between processors


@dataclass(frozen=True)
class Claim:
    """One number that the figure states, and what theory or the paper says it should be."""

    text: str
    computed: float
    expected: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether computed and expected agree within the tolerance (absolute)."""
        return bool(abs(self.computed - self.expected) <= self.tolerance)


def question(experiment: ModuleType) -> str:
    """What an experiment asks: its docstring up to the first question mark."""
    asked, mark, _ = (experiment.__doc__ or "").partition("?")
    return " ".join(f"{asked}{mark}".split())


def caption(experiment: ModuleType) -> str:
    """What is to be seen in its figure: the rest of its docstring."""
    return inspect.cleandoc(experiment.__doc__ or "").partition("?")[2].strip()


def captions(experiments: Sequence[ModuleType]) -> str:
    """A page for a folder of figures: what each asks, the picture, and what is to be seen, in Markdown."""
    parts = [CAPTIONS]
    for experiment in experiments:
        name = experiment.__name__.rpartition(".")[2]
        asked, seen = question(experiment), caption(experiment)
        parts.append(
            f"## {name}: {asked}\n\n![{asked}]({name}.svg)\n\n{escaped(seen)}\n\n[numbers]({name}.json)"
        )
    return "\n\n".join(parts) + "\n"


def escaped(prose: str) -> str:
    """Markdown's marks as the characters that they are, outside of `code`.

    >>> escaped("pi* = `a*b`, |y| < 1")
    'pi\\\\* = `a*b`, \\\\|y\\\\| \\\\< 1'
    """
    marks = re.compile(r"([\\*_|<$#\[\]{}~])")
    return "".join(p if p[:1] == "`" else marks.sub(r"\\\1", p) for p in CODE.split(prose))


def as_json(result: Any, claims: Sequence[Claim], asked: Mapping[str, Any] | None = None) -> str:
    """The result's arrays and parameters, its claims, the versions that computed them; and what was asked."""
    record = ({"asked": _plain(dict(asked))} if asked else {}) | {
        "result": _plain(asdict(result)),
        "claims": [_plain(asdict(claim)) | {"ok": claim.ok} for claim in claims],
        "versions": {name: version(name) for name in ("numpy", "scipy", "matplotlib")},
    }
    return json.dumps(record, indent=1) + "\n"


def table(claims: Sequence[Claim]) -> str:
    """Claim / computed / expected / ok, aligned."""
    width = max(len(claim.text) for claim in claims)
    head = f"{'claim':{width}}  {'computed':>12}  {'expected':>12}  {'within':>8}  ok"
    rows = [
        f"{c.text:{width}}  {c.computed:12.6g}  {c.expected:12.6g}  {c.tolerance:8.1g}  "
        + ("yes" if c.ok else "NO")
        for c in claims
    ]
    return "\n".join([head, "-" * len(head), *rows])


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary file in the same folder, then a rename.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        raise OSError(f"cannot write {path} ({error.strerror}); choose another folder") from error


def _plain(value: Any) -> Any:
    """Arrays as nested lists of rounded numbers, the rest as it is."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    return _rounded(value) if isinstance(value, float) else value


def _rounded(value: float) -> float:
    """Six significant digits, or twelve decimals where these are fewer; never -0."""
    few = abs(value) < 10.0 ** (DIGITS - DECIMALS - 1)
    return round(value, DECIMALS) + 0.0 if few else float(f"{value:.{DIGITS}g}")
