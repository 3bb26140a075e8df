"""What TAB, help() and the docstrings show: the public names, each with its meaning and an example."""

from __future__ import annotations

import importlib
import inspect
import pydoc
import re
from dataclasses import fields

import pytest

import bandits
from bandits import ALGORITHMS, Samples, Solution, Trace, Update

WINGS = ("bandits", "bandits.sequences", "bandits.selection", "bandits.estimation", "bandits.plots")
WINGS += ("bandits.explorer", "bandits.teaching", "llm", "llm.conformance")


def shown(thing: object) -> object:
    """What a name's help is about: of an object of settings (`k1`, `logistic`), its class."""
    return thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)


PUBLIC = [
    pytest.param(getattr(importlib.import_module(wing), name), id=f"{wing}.{name}")
    for wing in WINGS
    for name in importlib.import_module(wing).__all__
]


@pytest.mark.parametrize("thing", PUBLIC)
def test_every_public_name_has_an_example(thing):
    """In its own docstring; plain tuples and dictionaries of others need none."""
    of = shown(thing)
    if of not in (tuple, dict):
        assert ">>> " in (inspect.getdoc(of) or ""), f"{of} has no example"


@pytest.mark.parametrize("wing", WINGS)
def test_tab_shows_public_names_and_no_others(wing):
    module = importlib.import_module(wing)
    extra = {"conformance", "frontier"} if wing == "llm" else set()  # opened by their names
    assert set(dir(module)) == set(module.__all__) | extra
    assert all(hasattr(module, name) and name[0] != "_" for name in dir(module))


@pytest.mark.parametrize("record", [Samples, Update, Solution, Trace])
def test_each_field_is_told_in_help_with_its_meaning_and_shape(record):
    """One entry a field, in the order of the fields; arrays say their axes in brackets."""
    text = pydoc.plain(pydoc.render_doc(record))
    block = text.partition("Attributes:")[2].partition("Example:")[0]
    entries = re.findall(r"^ \|\s{6,12}(\w+): (.+(?:\n \|\s{10,}\S.*)*)", block, re.M)
    assert [name for name, _ in entries] == [each.name for each in fields(record)]
    for (name, meaning), each in zip(entries, fields(record), strict=True):
        assert len(meaning) > 10, name
        if "Array" in str(each.type) or "Floats" in str(each.type):
            assert re.search(r"\((\.\.\.|records)[^)]*\)", meaning), f"{name} does not say its shape"


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_help_of_an_algorithm_shows_its_formula(algorithm):
    """What `update` is, in symbols, near the top and not behind all methods."""
    text = pydoc.plain(pydoc.render_doc(algorithm))
    formula = " ".join(inspect.getdoc(algorithm.update).split("\n\n")[0].split())
    assert f"Coefficient: {formula}" in " ".join(inspect.getdoc(algorithm).split())
    assert text.index("Coefficient:") < text.index("Methods defined here")


def test_a_name_without_an_example_would_be_noticed():
    def bare() -> None:
        """It does."""

    with pytest.raises(AssertionError, match="has no example"):
        test_every_public_name_has_an_example(bare)
    assert "numpy" not in dir(bandits) and "algorithms" not in dir(bandits)
