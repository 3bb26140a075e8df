"""Which wrong answers are hard to tell?  What people wrote for other prompts, those nearest to each.

A reward that learns to tell people from a model learns how people sound: it prefers a good sentence on
another matter to a clumsy one on this.  So what people wrote for others is rejected too, and of that what
names most of the prompt's rare words: the mean over the text's content words of log(N / n_w) where the
prompt has the word w, which n_w of the N prompts have (Sparck Jones 1972; ties: the first).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from llm.rule import content_words

ROWS = 512  # whose similarity to all others is held at once


def nearest_others(prompts: Sequence[str], texts: Sequence[str], n: int) -> NDArray[np.int64]:
    """Which n texts of other prompts are nearest to each prompt, numbers of rows, (N, n), nearest first.

    A text that equals a prompt's own is none of them.

    Raises:
        ValueError: there are not n other texts.

    Example: the first two speak of cats.

        >>> nearest_others(["cats chase mice", "cats sleep", "a ship"], ["Cats hunt", "Cats rest", "Sea"], 1)
        array([[1],
               [0],
               [0]])
    """
    N, own = len(prompts), {text: number for number, text in enumerate(dict.fromkeys(texts))}
    if len(own) <= n:
        raise ValueError(
            f"there must be more than {n} different texts, but are {len(own)}; take fewer others"
        )
    words: dict[str, int] = {}
    asked, said = (_words(side, words) for side in (prompts, texts))
    asked.resize((N, len(words)))
    rarity = np.log(N / np.maximum(asked.sum(axis=0), 1))
    length = np.maximum(said.sum(axis=1), 1)
    named = np.array([own[text] for text in texts])
    found = np.empty((N, n), dtype=np.int64)
    for start in range(0, N, ROWS):
        part = asked[start : start + ROWS]
        near = ((part * rarity) @ said.T).toarray() / length
        near[named[start : start + ROWS, None] == named] = -np.inf
        found[start : start + ROWS] = np.argsort(-near, axis=1, kind="stable")[:, :n]
    return found


def _words(texts: Sequence[str], numbers: dict[str, int]) -> csr_array:
    """Which content words stand in which text, 0 or 1, (N, W); words get numbers as they come."""
    each = [[numbers.setdefault(word, len(numbers)) for word in content_words(text)] for text in texts]
    ends = np.cumsum([0, *map(len, each)])
    columns = np.array([word for row in each for word in row], dtype=np.int64)
    return csr_array((np.ones(len(columns)), columns, ends), shape=(len(texts), len(numbers)))
