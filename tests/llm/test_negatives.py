"""Laws of hard negatives: never a prompt's own text, and the nearest by the formula, counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llm.negatives import nearest_others
from llm.rule import content_words

WORDS = [
    "ship",
    "harbour",
    "storm",
    "kettle",
    "lemon",
    "cat",
    "mice",
    "engine",
    "paper",
    "river",
    "the",
    "and",
]


def test_the_nearest_are_those_of_the_formula():
    """Random uneven prompts and texts, some of them equal, against the sum in plain Python."""
    rng = np.random.default_rng(0)
    prompts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 12))) for _ in range(40)]
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(0, 4))) for _ in range(40)]
    N, asked = len(prompts), [set(content_words(x)) for x in prompts]
    have = {word: sum(word in x for x in asked) for word in WORDS}

    def near(i: int, j: int) -> float:
        said = set(content_words(texts[j]))
        return sum(math.log(N / have[w]) for w in said & asked[i]) / max(len(said), 1)

    for i, row in enumerate(nearest_others(prompts, texts, 3)):
        others = [j for j in range(N) if texts[j] != texts[i]]
        best = sorted((near(i, j) for j in others), reverse=True)[:3]
        assert set(row) <= set(others) and len(set(row)) == 3
        np.testing.assert_allclose([near(i, j) for j in row], best, rtol=1e-12, atol=1e-12)


def test_there_must_be_others():
    with pytest.raises(ValueError, match="more than 1 different texts, but are 1; take fewer others"):
        nearest_others(["a", "b"], ["same", "same"], 1)
