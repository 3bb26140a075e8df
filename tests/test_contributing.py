"""CONTRIBUTING.md says what is so: its files are there, its templates fit the contract and the rows."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import tomllib
from pathlib import Path

import bandits
from bandits.samples import Algorithm
from rows import Row

ROOT = Path(bandits.__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = [ast.parse(block) for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)]


def test_every_path_exists():
    paths = set(re.findall(r"(?:bandits|tests|llm|notebooks|figures)/[\w/.]+\w/?", TEXT))
    assert len(paths) > 5
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_the_template_of_an_algorithm_has_only_what_the_contract_lists():
    """`k` and `update`, and of the optional ones those in the table of `Algorithm`."""
    [made] = [node for tree in BLOCKS for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    methods = {node.name for node in made.body if isinstance(node, ast.FunctionDef)} - {"__post_init__"}
    optional = set(re.findall(r"^(\w+)\(", inspect.getdoc(Algorithm) or "", re.MULTILINE))
    assert "update" in methods and methods - {"update"} <= optional and len(methods) > 2


def test_the_template_of_a_row_has_only_fields_of_a_row():
    calls = [node for tree in BLOCKS for node in ast.walk(tree) if isinstance(node, ast.Call)]
    [row] = [call for call in calls if ast.unparse(call.func) == "Row"]
    fields, missing = dataclasses.fields(Row), dataclasses.MISSING
    required = {each.name for each in fields if each.default is missing and each.default_factory is missing}
    named = {keyword.arg for keyword in row.keywords}
    assert required <= named <= {each.name for each in fields}


def test_what_the_benchmarks_compare_with_is_installed_by_make_and_pinned():
    """Whatever a benchmark skips without is in the extra `peers`, which `make benchmark` installs."""
    modules = {"pyspiel": "open_spiel"}
    skipped = set()
    for path in (ROOT / "tests" / "benchmarks").glob("*.py"):
        skipped |= set(re.findall(r"(?:importorskip|find_spec)\(\"(\w+)\"", path.read_text(encoding="utf-8")))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    peers = {re.split(r"[<>=]", each)[0] for each in extras["peers"]}
    assert skipped and {modules.get(name, name) for name in skipped} == peers
    pins = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert peers <= pins
    [recipe] = re.findall(r"^benchmark: (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe == "$(PEERS)/.all" and ",peers]'" in (ROOT / "Makefile").read_text()
