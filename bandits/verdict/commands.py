"""How is a verdict asked for on the command line?

report CoPG --beta 0.5              a known algorithm, in our worlds
report my_file:MyAlgorithm          one of yours: my_file.py here, or a module that can be imported
report GRPO --beta 0.5 --set k=4    other hyper-parameters
report IPO --beta 0.5 --reward 1 0.4 0 --reference 0.2 0.5 0.3 --behavior 0.6 0.3 0.1
compare CoPG IPO DPO --beta 0.5
solve CoPG --beta 0.5 --reward 2.5 2 1 --behavior 0.1 0.2 0.7
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bandits import algorithms as known
from bandits.bandit import Bandit
from bandits.fixed_point import fixed_point
from bandits.sampling.rules import Offline, OnPolicy
from bandits.solution import NoFixedPoint, NotConverged
from bandits.verdict.comparison import compare
from bandits.verdict.report import report


def add_commands(commands: Any) -> None:
    """`report`, `compare` and `solve`, with their options."""
    card = commands.add_parser("report", help="the verdict on one algorithm: a known one, or file:Name")
    card.add_argument("algorithm", help="CoPG, or my_file:MyAlgorithm")
    several = commands.add_parser("compare", help="the verdicts on several, side by side")
    several.add_argument("algorithms", nargs="+", metavar="algorithm", help="as for report")
    solve = commands.add_parser("solve", help="one fixed point, from rewards on the command line")
    solve.add_argument("algorithm", help="as for report")
    for parser in (card, several, solve):
        parser.add_argument("--beta", type=float, help="strength of the KL to the reference")
        parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="k=4, clip=0.1")
        reward = parser.add_argument("--reward", type=float, nargs="+", help="of each arm: a world of yours")
        reward.required = parser is solve
        parser.add_argument("--reference", type=float, nargs="+", help="probabilities; uniform by default")
        parser.add_argument("--behavior", type=float, nargs="+", help="who sampled; by default see below")
        parser.add_argument("--json", action="store_true", help="print JSON with all digits")
    for parser in (card, several):
        parser.add_argument("--draw", type=Path, metavar="FILE", help="write the figure: .svg, .png, .pdf")


def run(options: argparse.Namespace) -> int:
    """Run one of the three; 0, or 1 where `solve` finds no fixed point.

    Raises:
        ValueError: an option does not fit.
    """
    if options.command == "solve":
        return _solve(options)
    world, sampling = _world(options), _sampling(options)
    if options.command == "report":
        found: Any = report(algorithm_of(options.algorithm, options.beta, options.set), world, sampling)
    else:
        several = [algorithm_of(name, options.beta, options.set) for name in options.algorithms]
        found = compare(several, world, sampling)
    print(found.to_json() if options.json else found)
    if options.draw is not None:
        found.draw().savefig(options.draw)
    return 0


def _solve(options: argparse.Namespace) -> int:
    algorithm = algorithm_of(options.algorithm, options.beta, options.set)
    world = _world(options)
    assert world is not None  # --reward is required
    try:
        found = fixed_point(algorithm, world, _sampling(options) or OnPolicy())
    except (NoFixedPoint, NotConverged) as error:
        print(json.dumps({"error": str(error)}) if options.json else error)
        return 1
    numbers = {"policy": found.policy.tolist(), "residual": float(np.max(found.residual))}
    print(json.dumps({**numbers, "unique": found.unique, "method": found.method}) if options.json else found)
    return 0


def _world(options: argparse.Namespace) -> Bandit | None:
    if options.reward is None and (options.reference or options.behavior):
        raise ValueError("--reference and --behavior belong to a world of yours: give its --reward too")
    return None if options.reward is None else Bandit(options.reward, reference=options.reference)


def _sampling(options: argparse.Namespace) -> Offline | None:
    return None if options.behavior is None else Offline(options.behavior)


def algorithm_of(name: str, beta: float | None, settings: list[str]) -> Any:
    """An algorithm by its name: a known class, or file:Name, a class or an object of yours.

    Raises:
        ValueError: there is none of this name, or it cannot be made from these settings.

    Example:
        >>> algorithm_of("GRPO", 0.5, ["k=4"]).k
        4
    """
    place, _, last = name.rpartition(":")
    found = getattr(_module(place), last, None) if place else _known(last)
    if found is None:
        raise ValueError(f"algorithm must be there, but {place} has no {last}; look at its spelling")
    given = dict(_setting(each) for each in settings)
    if not isinstance(found, type):
        if given or beta is not None:
            raise ValueError(f"--beta and --set make an algorithm of a class, but {name} is an object")
        return found
    parameters = inspect.signature(found).parameters
    if beta is not None and "beta" in parameters:
        given["beta"] = beta
    elif beta is not None and not place:
        raise ValueError(f"beta must be left out: {name} has none; it takes {', '.join(parameters)}")
    try:
        return found(**given)
    except TypeError as error:
        raise ValueError(
            f"algorithm must be made by {name}({', '.join(parameters)}), but {error}; use --beta and --set"
        ) from error


def _known(name: str) -> Any:
    by_name = {each.__name__: each for each in known.ALGORITHMS}
    if name not in by_name:
        raise ValueError(
            f"algorithm must be one of {', '.join(by_name)}, or file:Name, but algorithm = {name!r}"
        )
    return by_name[name]


def _module(place: str) -> ModuleType:
    """The file of this name (with or without .py) in the current folder, or the module."""
    path = Path(place if place.endswith(".py") else f"{place}.py")
    if path.is_file():
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None  # it ends in .py
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    try:
        return importlib.import_module(place)
    except ImportError as error:
        raise ValueError(f"algorithm must be in a file or a module, but {path} is none: {error}") from error


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"--set must read NAME=VALUE, but it reads {text!r}; say k=4")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"--set {name} must be a number or a text in quotes, but it is {value!r}") from error
