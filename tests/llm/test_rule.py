"""Laws of the rule: more of the source is better, more words are worse, and nothing counts twice."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.choices import REWARDS
from llm.judges import CutOff
from llm.rewards import NAMED, reward_named, score
from llm.rule import FUNCTION_WORDS, content_words, rule

CONTENT = [f"{a}{b}oom" for a in "bcdfghjklm" for b in "rlt"]  # thirty content words
OTHER = ["zebra", "quartz", "onyx"]
EMPTY_ONES = [*sorted(FUNCTION_WORDS)[:8], "a", "of", "I"]
SOURCES = st.lists(st.sampled_from(CONTENT + EMPTY_ONES), min_size=1, max_size=40)
SUMMARIES = st.lists(st.sampled_from(CONTENT + OTHER + EMPTY_ONES), max_size=40)


def one(source: list[str] | str, summary: list[str] | str) -> float:
    x, y = (text if isinstance(text, str) else " ".join(text) for text in (source, summary))
    return float(rule([x], [y], None)[0])


def in_words(source: list[str], summary: list[str]) -> float:
    """The formula again, by lists alone."""
    content = [w for w in source if len(w) > 2 and w not in FUNCTION_WORDS]
    counts = sorted((content.count(w) for w in set(content)), reverse=True)
    most, named = sum(counts[:10]), sum(w in set(summary) for w in content)
    return (min(named, most) / most if most else 0.0) - len(summary) / (len(summary) + 40)


@given(source=SOURCES, summary=SUMMARIES)
def test_it_is_its_formula_and_bounded(source, summary):
    found = one(source, summary)
    np.testing.assert_allclose(found, in_words(source, summary), rtol=1e-12, atol=1e-15)
    assert -1 < found < 1


@given(source=SOURCES, summary=SUMMARIES, word=st.sampled_from(CONTENT))
def test_naming_one_word_more_in_the_place_of_an_empty_one_is_better(source, summary, word):
    """Until ten words' worth is named, when it is no worse."""
    source, summary = [*source, word], [each for each in summary if each != word]
    found, before = one(source, [*summary, word]), one(source, [*summary, "the"])
    whole = one(source, summary) + len(summary) / (len(summary) + 40) > 1 - 1e-12
    assert (found == before) if whole else (found > before)


@given(source=SOURCES, summary=SUMMARIES, word=st.sampled_from(OTHER + EMPTY_ONES))
def test_every_word_that_names_nothing_costs(source, summary, word):
    assert one(source, [*summary, word]) < one(source, summary)


@given(source=SOURCES, summary=SUMMARIES.filter(bool))
def test_a_word_said_again_costs_and_earns_nothing(source, summary):
    assert one(source, [*summary, summary[0]]) < one(source, summary)


@given(source=SOURCES, summary=SUMMARIES, seed=st.integers(0, 99))
def test_order_case_and_marks_do_not_matter(source, summary, seed):
    moved = [
        w.upper() + ("," if i % 3 else "!")
        for i, w in enumerate(np.random.default_rng(seed).permutation(summary))
    ]
    assert one(source, summary) == one(source, moved)


def test_frequent_words_of_the_source_are_worth_more():
    source = "broom broom broom croom"
    assert one(source, "broom") == pytest.approx(3 / 4 - 1 / 41, rel=1e-12)
    assert one(source, "croom") == pytest.approx(1 / 4 - 1 / 41, rel=1e-12)


def test_nothing_said_is_worth_nothing_and_so_is_a_source_without_content():
    assert one("broom croom", "") == one("broom croom", "  ") == 0
    assert one("of the and", "of the and") == -3 / 43
    assert one("", "") == 0


def test_what_asks_for_the_summary_is_no_content():
    """TL;DR: has no word of three letters; underscores join no words."""
    assert content_words("\n\nTL;DR:") == {}
    assert content_words("max_new_tokens") == {"max": 1, "new": 1, "tokens": 1}


def test_it_is_taken_by_its_name_beside_the_others():
    """`--reward rule`, with a weight; a completion that ran out of room is text as any other."""
    assert set(NAMED) == set(REWARDS)
    x, y = ["broom and croom", "broom"], [" broom", CutOff(" croom")]
    expected = 5 * np.array([1 / 2 - 1 / 41, -1 / 41])
    np.testing.assert_allclose(reward_named("rule=5")(x, y, None), expected, rtol=1e-12)
    assert score(NAMED["rule"], x, y).length.tolist() == [1, 1]


def test_the_function_words_are_words_that_the_rule_could_read():
    assert all(re.fullmatch("[a-z]{3,}", word) for word in FUNCTION_WORDS) and len(FUNCTION_WORDS) > 100
