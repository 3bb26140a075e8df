"""Laws of the demo's text and size: read once, kept, and never taken for another's."""

from __future__ import annotations

import json

import pytest

from llm.demo.corpus import docstrings
from llm.demo.sizes import SIZES, size_of

PACKAGES = {"training": ("fsspec",), "validation": ("joblib",)}


def test_docstrings_are_read_once_and_kept(tmp_path, monkeypatch):
    first = docstrings(tmp_path, PACKAGES, progress=False)
    monkeypatch.setattr("llm.demo.corpus.docstring_corpus", None)  # a second reading would fail
    again = docstrings(tmp_path, PACKAGES, progress=False)
    assert again.train.to_list() == first.train.to_list() and len(first.train) > 50
    assert again.held_out.to_list() == first.held_out.to_list() and again.origin == first.origin


def test_the_text_of_other_packages_is_not_taken(tmp_path):
    docstrings(tmp_path, PACKAGES, progress=False)
    with pytest.raises(ValueError, match=r"was made with training = \['fsspec'\], not \['fsspec', 'PIL'\]"):
        docstrings(tmp_path, PACKAGES | {"training": ("fsspec", "PIL")}, progress=False)


def test_a_size_is_a_name_or_a_file_of_changes(tmp_path):
    (tmp_path / "size.json").write_text(json.dumps({"layers": 5, "betas": [0.1, 2]}))
    found = size_of(str(tmp_path / "size.json"))
    assert (found.layers, found.betas, found.width) == (5, (0.1, 2), SIZES["full"].width)
    assert size_of("quick") is SIZES["quick"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": "3"}, "layers must be a positive integer, but is '3'"),
        ({"k": 2.5}, "k must be a positive integer, but is 2.5"),
        ({"k": 1}, "k must be at least 2, but is 1"),
        ({"watched": 0}, "watched must be a positive integer, but is 0"),
        ({"betas": [0.1, -1]}, r"betas must be positive, but is \(0.1, -1\)"),
        ({"width": 30}, "width must be a multiple of the 4 heads, but is 30"),
        ({"depth": 3}, "depth"),
    ],
)
def test_a_bad_size_is_refused(tmp_path, changes, message):
    (tmp_path / "size.json").write_text(json.dumps(changes))
    with pytest.raises(ValueError, match=message):
        size_of(str(tmp_path / "size.json"))
