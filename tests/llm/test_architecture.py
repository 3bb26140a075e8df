"""`llm` holds no coefficient of its own: what trains is what `bandits` verified."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import llm
from bandits.algorithms import ALGORITHMS, exponential
from bandits.samples import Samples, Update
from llm import algorithms as llm_algorithms
from llm.loss import alignment_loss
from rows import every_row

FILES = sorted(Path(llm.__file__).parent.rglob("*.py"))
HYPER_PARAMETERS = {"beta", "alpha", "mixture", "smoothing", "margin", "baseline"}
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
LINKS = {"sigmoid", "logsigmoid", "log_sigmoid", "softplus", "binary_cross_entropy_with_logits", "expit"}


def names(node: ast.AST) -> set[str]:
    """Last parts of the names and attributes inside a node."""
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return found | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def coefficients(source: str) -> list[int]:
    """Lines that calculate with a hyper-parameter of an algorithm, or call a logistic function."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        arithmetic = isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC)
        text = arithmetic and isinstance(node.right, ast.JoinedStr)  # folder / f"...": a path
        if arithmetic and not text and names(node) & HYPER_PARAMETERS:
            lines.append(node.lineno)
        if isinstance(node, ast.Call) and names(node.func) & LINKS:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_calculates_with_a_hyper_parameter(path):
    assert coefficients(path.read_text()) == []


@pytest.mark.parametrize(
    "twin",
    [
        "loss = -logsigmoid(x)",
        "R = reward - beta * h",
        "target = 1 / (2 * self.beta)",
        "loss = F.softplus(-margin)",
    ],
)
def test_the_law_above_rejects_a_formula(twin):
    assert coefficients(twin)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_the_loss_asks_the_algorithm_and_nothing_else(algorithm, monkeypatch):
    """With `update` replaced by random numbers, the gradient is these numbers: nothing else enters."""
    torch.manual_seed(0)
    one = every_row()[algorithm.__name__].make(0.3)  # made before: some look at what they wrap
    coefficient = torch.randn(5, 2, dtype=torch.float64)
    monkeypatch.setattr(algorithm, "update", lambda self, samples: Update(log_prob=coefficient))
    log_prob = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    alignment_loss(one, Samples(log_prob=log_prob)).backward()
    torch.testing.assert_close(log_prob.grad, -coefficient / 5, rtol=1e-14, atol=0)


@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_the_command_line_knows_every_algorithm_by_its_name(cls):
    """Also those that came yesterday; what takes another algorithm cannot be spelled there, and says so."""
    given = {"beta": 0.3, "clip": 0.5, "mixture": 0.1, "k": 4}
    options = argparse.Namespace(algorithm=cls.__name__, set=[], average=False, **given)
    if "algorithm" in cls.__dataclass_fields__:
        with pytest.raises(ValueError, match=f"{cls.__name__}: .*'algorithm'"):
            llm_algorithms.algorithm(options, online=True)
        return
    made = llm_algorithms.algorithm(options, online=True)
    assert isinstance(made, cls)
    assert all(getattr(made, each.name) == given[each.name] for each in fields(cls) if each.name in given)


def test_a_loss_of_the_margin_is_named_on_the_command_line():
    """`--algorithm ConvexLoss --set f=exponential`: what `bandits` has under this name."""
    given = {"beta": 0.3, "clip": None, "mixture": None, "k": 2, "average": False, "set": ["f=exponential"]}
    options = argparse.Namespace(algorithm="ConvexLoss", **given)
    made = llm_algorithms.algorithm(options, online=False)
    assert made.f is exponential and made.beta == 0.3
    options.set = ["f=cubic"]
    with pytest.raises(ValueError, match="f must be a MarginLoss.*'cubic'"):
        llm_algorithms.algorithm(options, online=False)


def test_bandits_never_imports_llm():
    import bandits

    for path in Path(bandits.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("llm", "torch") for name in modules), path


def test_what_the_benchmarks_import_is_there():
    """Also in programs that they start, which nobody runs where a peer is missing."""
    folder = Path(__file__).parents[1] / "benchmarks"
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    found = re.findall(r"^from ((?:bandits|llm)[\w.]*) import ([\w, ]+)$", text, re.MULTILINE)
    assert ("llm.trainer", "training_arguments") in found
    for module, imported in found:
        for name in imported.split(", "):
            name = name.partition(" as ")[0]
            assert hasattr(importlib.import_module(module), name) or importlib.import_module(
                f"{module}.{name}"
            )
