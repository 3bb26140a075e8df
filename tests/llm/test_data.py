"""Laws of rows of text: every public layout arrives, and nothing is lost silently."""

from __future__ import annotations

import errno
import gzip
import inspect
import json
from importlib import metadata
from pathlib import Path

import datasets
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from llm.data import load_rows
from llm.demo.corpus import (
    TRAINING,
    VALIDATION,
    docstring_corpus,
    docstring_pairs,
    package_folder,
    split_docstring,
)
from llm.files import write_json_lines
from llm.layouts import completions_of, demonstration, preference, scored, tldr_prompt
from llm.tokens import collate, encode, pad, truncate_prompt

POST = {"subreddit": "tea", "title": "Cold again", "post": "It stood there.\n\nAll day.", "article": None}
USER, SAID = {"role": "user", "content": "Say it."}, {"role": "assistant", "content": "Said."}
NO = {"role": "assistant", "content": "No."}
PAIR = {"prompt": "Say it.", "chosen": " Said.", "rejected": " No."}
TURNS = "\n\nHuman: Say it.\n\nAssistant: What?\n\nHuman: That.\n\nAssistant:"
LAYOUTS = {
    "messages": (
        demonstration,
        {"messages": [USER, SAID], "prompt_id": "7"},
        {"prompt": "Say it.", "completion": " Said."},
    ),
    "messages of many turns": (
        demonstration,
        {"messages": [{"role": "system", "content": "Be brief."}, USER, NO, USER, SAID]},
        {
            "prompt": "System: Be brief.\n\nUser: Say it.\n\nAssistant: No.\n\nUser: Say it.\n\nAssistant:",
            "completion": " Said.",
        },
    ),
    "conversational prompt, completion": (
        demonstration,
        {"prompt": [USER], "completion": [SAID]},
        {"prompt": "Say it.", "completion": " Said."},
    ),
    "conversational preference": (preference, {"prompt": [USER], "chosen": [SAID], "rejected": [NO]}, PAIR),
    "conversations that begin alike": (preference, {"chosen": [USER, SAID], "rejected": [USER, NO]}, PAIR),
    "conversations beside their prompt": (
        preference,
        {"prompt": "Say it.", "chosen": [USER, SAID], "rejected": [USER, NO], "score_chosen": 7.0},
        PAIR,
    ),
    "texts of turns that begin alike": (
        preference,
        {"chosen": f"{TURNS} So it is.", "rejected": f"{TURNS} So what."},
        {"prompt": TURNS, "chosen": " So it is.", "rejected": " So what."},
    ),
    "texts that begin alike": (
        preference,
        {"chosen": "Say it. Said.", "rejected": "Say it. Sad."},
        {"prompt": "Say it.", "chosen": " Said.", "rejected": " Sad."},
    ),
    "conversational scored samples": (
        scored,
        {"prompt": [USER], "completions": [[SAID], [NO]], "rewards": [1, 0]},
        {"prompt": "Say it.", "completions": ["Said.", "No."], "rewards": [1.0, 0.0]},
    ),
    "prompt, completion": (
        demonstration,
        {"prompt": "Say it.", "completion": " Said."},
        {"prompt": "Say it.", "completion": " Said."},
    ),
    "prompt, label": (
        demonstration,
        {"prompt": "Say it.", "label": "Said. "},
        {"prompt": "Say it.", "completion": " Said."},
    ),
    "prompt, chosen, rejected": (
        preference,
        {"prompt": "Say it.", "chosen": "Said.", "rejected": " No.", "margin": 2},
        {"prompt": "Say it.", "chosen": " Said.", "rejected": " No."},
    ),
    "nested comparison of posts": (
        preference,
        {
            "info": POST,
            "summaries": [{"text": " Tea.", "policy": "a"}, {"text": " Cold tea.", "policy": "b"}],
            "choice": 1,
        },
        {"prompt": tldr_prompt(POST), "chosen": " Cold tea.", "rejected": " Tea."},
    ),
    "nested comparison of articles": (
        preference,
        {
            "info": {"post": None, "title": None, "article": "Long news. "},
            "summaries": [{"text": "News."}, {"text": "Old."}],
            "choice": 0,
        },
        {"prompt": "Article: Long news.\n\nTL;DR:", "chosen": " News.", "rejected": " Old."},
    ),
    "scored samples": (
        scored,
        {"prompt": "Say it.", "completions": [" A", ""] and [" A", " B "], "rewards": [0.5, -1], "seed": 3},
        {"prompt": "Say it.", "completions": [" A", " B "], "rewards": [0.5, -1.0], "seed": 3},
    ),
}


def write(path: Path, rows: list[dict]) -> Path:
    """The rows as a file, in the format that its name says, by other code than ours."""
    if path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture(autouse=True)
def cache_in_tmp(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_arrives_from_every_format(tmp_path, layout, ending):
    kind, row, expected = LAYOUTS[layout]
    loaded = load_rows(write(tmp_path / f"rows{ending}", [row, row]), kind)
    assert loaded.rows.to_list() == [expected, expected] and loaded.skipped == ()


def test_completions_are_left_as_they_are_on_request_and_told_if_not(tmp_path):
    texts = ["Said. ", " Said.", "  def f():"]
    path = write(tmp_path / "rows.jsonl", [{"prompt": "p", "completion": text} for text in texts])
    changed, kept = load_rows(path, demonstration), load_rows(path, demonstration, as_is=True)
    assert list(changed.rows["completion"]) == [" Said.", " Said.", " def f():"] and changed.spaced == 2
    assert list(kept.rows["completion"]) == texts and kept.spaced == 0


def test_what_cannot_stand_in_one_column_is_a_bad_row(tmp_path):
    """Types, numbers and characters that Arrow has not, each with its line, behind a thousand good rows."""
    good = {"prompt": "p", "completions": ["a"], "rewards": [1], "seed": 3}
    for value in ("text", 10**30, {"a": 1}, "\ud800"):
        path = tmp_path / "rows.jsonl"
        rows = [good] * 1200 + [good | {"seed": value}, good | {"seed": 2.5}]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(ValueError, match=r"rows.jsonl:1201: column 'seed' has not the type of the first"):
            load_rows(path, scored)
        assert len(load_rows(path, scored, skip_bad=True).rows) == 1201


def test_a_type_that_changes_between_a_thousand_rows_and_the_next_is_a_bad_row(tmp_path):
    good = {"prompt": "p", "completions": ["a"], "rewards": [1], "seed": 3}
    path = write(tmp_path / "rows.jsonl", [good] * 1000 + [good | {"seed": "text"}] * 1000)
    with pytest.raises(ValueError, match=r"1000 of 2000 .*/rows.jsonl:1001: column 'seed' has not the type"):
        load_rows(path, scored)
    assert list(load_rows(path, scored, skip_bad=True).rows["seed"]) == [3] * 1000


def test_a_folder_is_read_file_by_file_in_order(tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz", "c.parquet"):
        write(tmp_path / name, [{"prompt": name, "completion": "x"}])
    (tmp_path / "notes.txt").write_text("not data")
    rows = load_rows(tmp_path, demonstration).rows
    assert list(rows["prompt"]) == ["a.jsonl.gz", "b.jsonl", "c.parquet"]


def test_a_loader_that_swaps_chosen_and_rejected_would_be_seen():
    row = LAYOUTS["nested comparison of posts"][1]
    assert preference({**row, "choice": 0})["chosen"] == preference(row)["rejected"] == " Tea."


GOOD = {"prompt": "p", "completion": "c"}
BAD_LINES = [
    (
        demonstration,
        '{"prompt": "p"}',
        r"rows.jsonl:2: column 'completion' is missing; the columns are \['prompt'\]",
    ),
    (
        demonstration,
        '{"prompt": "p", "completion": " "}',
        r":2: column 'completion' must be text that is not empty",
    ),
    (
        demonstration,
        '{"prompt": null, "completion": "c"}',
        r":2: column 'prompt' must be text .* but is None",
    ),
    (demonstration, '{"prompt": "p", "compl', r":2: the line is not JSON"),
    (demonstration, "[1, 2]", r":2: the line is not a JSON object, but \[1, 2\]"),
    (preference, '{"prompt": "p", "chosen": "c"}', r":2: column 'rejected' is missing"),
    (
        preference,
        '{"info": {"post": "p"}, "summaries": [{"text": "a"}], "choice": 0}',
        ":2: .* two summaries",
    ),
    (
        preference,
        '{"info": {"post": "p"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2}',
        ":2: choice must be 0 or 1, but is 2",
    ),
    (
        scored,
        '{"prompt": "p", "completions": ["a", "b"], "rewards": [1, NaN]}',
        r":2: rewards\[1\] .* is nan",
    ),
    (
        scored,
        '{"prompt": "p", "completions": ["a", "b"], "rewards": [1]}',
        ":2: it has 2 completions and 1 rewards",
    ),
    (
        scored,
        '{"prompt": "p", "completions": ["a", "b"], "rewards": [1, 2], "behavior_log_probs": [-1]}',
        ":2: it has 2 completions and 1 behavior_log_probs",
    ),
    (
        scored,
        '{"prompt": "p", "completions": ["a", "b"], "rewards": [1, 2], "completion_ids": [[1], ["x"]]}',
        r":2: completion_ids\[1\] must be a list of token ids",
    ),
    (
        scored,
        '{"prompt": "p", "completions": ["a", "b"], "rewards": [1, 2], "lengths": [1, 2]}',
        r":2: it and the rows before it do not have the same columns: \['lengths'\]",
    ),
    (
        scored,
        '{"prompt": "p", "completions": ["a", ""], "rewards": [1, 2]}',
        ":2: column 'completion' must be",
    ),
    (scored, '{"prompt": "p", "completions": [], "rewards": []}', ":2: column 'completions' must be a list"),
    (
        scored,
        '{"prompt": "p", "completions": ["a"], "rewards": [1]}',
        ":2: it has 1 .* before it 2: k must not vary",
    ),
]
FIRST = {
    demonstration: GOOD,
    preference: {"prompt": "p", "chosen": "c", "rejected": "r"},
    scored: {"prompt": "p", "completions": ["a", "b"], "rewards": [1, 2]},
}


@pytest.mark.parametrize(("kind", "line", "message"), BAD_LINES)
def test_a_bad_line_is_refused_with_its_place_and_skipped_on_request_with_the_count(
    tmp_path, kind, line, message
):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(FIRST[kind])}\n{line}\n\n")
    with pytest.raises(
        ValueError, match=r"1 of 2 rows are bad, the first is .*" + message + ".*skip_bad=True"
    ):
        load_rows(path, kind)
    loaded = load_rows(path, kind, skip_bad=True)
    assert len(loaded.rows) == len(loaded.skipped) == 1


def test_bytes_that_are_no_text_are_a_bad_line(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(
        json.dumps(GOOD).encode() + b'\n{"prompt": "\xff\xfe", "completion": "c"}\n'
    )
    with pytest.raises(ValueError, match=r"rows.jsonl:2: the line is not JSON"):
        load_rows(tmp_path / "rows.jsonl", demonstration)


def test_a_shard_that_is_cut_off_is_corrupt(tmp_path):
    path = write(tmp_path / "rows.jsonl.gz", [{"prompt": str(i), "completion": "c"} for i in range(2000)])
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"rows.jsonl.gz is corrupt after line [1-9]\d+ .*make it again"):
        load_rows(path, demonstration)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(ValueError, match="rows.jsonl.gz is corrupt after line 0"):
        load_rows(path, demonstration, skip_bad=True)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="cannot load .*rows.parquet"):
        load_rows(tmp_path / "rows.parquet", demonstration)


def test_a_source_that_is_not_there_is_refused_at_once(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,completion\n")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "folder").mkdir()
    for source, message in [
        (tmp_path / "none.jsonl", "there is no file or folder .*none.jsonl"),
        ("nobody/nothing", "cannot load 'nobody/nothing': .*hub id"),
        (tmp_path / "rows.csv", "rows.csv must end with .jsonl"),
        (tmp_path / "empty.jsonl", "holds no good rows; is it the right file"),
        (tmp_path / "folder", "folder holds no .jsonl"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_rows(source, demonstration)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_written_rows_come_back_and_the_bytes_are_the_same_each_time(tmp_path, ending):
    rows = [{"prompt": "ü\n", "completions": [" a", " b"], "rewards": [0.1, 2.0]}] * 3
    first, second = tmp_path / f"first{ending}", tmp_path / f"second{ending}"
    write_json_lines(first, rows)
    write_json_lines(second, iter(rows))
    assert first.read_bytes() == second.read_bytes()
    assert load_rows(first, scored).rows.to_list() == rows


def test_a_full_disk_leaves_the_old_file_and_no_half_of_a_new_one(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    write_json_lines(path, [GOOD])
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    said = r"cannot write .*rows.jsonl: .*No space left on device.*; make room"
    with monkeypatch.context() as patch, pytest.raises(OSError, match=said):
        patch.setattr("os.fsync", full)
        write_json_lines(path, [GOOD, GOOD])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_lines(path, [{"reward": float("nan")}])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_k_completions_of_every_kind():
    assert completions_of(GOOD) == ["c"]
    assert completions_of(FIRST[preference]) == ["c", "r"]
    assert completions_of(FIRST[scored]) == ["a", "b"]


TLDR = "SUBREDDIT: r/tea\n\nTITLE: Cold\n\nPOST: " + "The kettle sang on the stove. " * 20 + "\n\nTL;DR:"


@given(limit=st.integers(60, 400))
def test_truncation_takes_the_end_of_the_post_and_nothing_else(tokenizer, limit):
    short = truncate_prompt(TLDR, tokenizer, limit)
    assert len(tokenizer(short).input_ids) <= limit
    head, tail = TLDR[: TLDR.index("POST:") + 5], "\n\nTL;DR:"
    assert short.startswith(head) and short.endswith(tail)
    kept = short[len(head) : -len(tail)]
    assert kept and TLDR[len(head) :].startswith(kept)
    # and no more than was needed: two more tokens of the post would not have fitted
    ids = tokenizer(TLDR[len(head) : -len(tail)], return_offsets_mapping=True).offset_mapping
    following = [end for _, end in ids if end > len(kept) + 1][:3]
    if following[2:]:
        longer = head + TLDR[len(head) :][: following[2]] + tail
        assert len(tokenizer(longer).input_ids) > limit


def test_a_prompt_without_an_instruction_loses_its_end(tokenizer):
    text = "The kettle sang on the stove while rain fell over the harbour and more rain fell behind it all."
    short = truncate_prompt(text, tokenizer, 12)
    assert text.startswith(short) and len(tokenizer(short).input_ids) <= 12


def test_a_post_inside_other_text_is_text(tokenizer):
    text = "It sends an HTTP POST: first the headers, then whatever is left. " * 5
    short = truncate_prompt(f"{text}\n\nTL;DR:", tokenizer, 40)
    assert short.endswith("\n\nTL;DR:") and text.startswith(short[: -len("\n\nTL;DR:")])


def test_an_instruction_that_leaves_no_room_is_refused(tokenizer):
    with pytest.raises(ValueError, match="max_prompt_tokens = 5 leaves no room for text beside .*SUBREDDIT"):
        truncate_prompt(TLDR, tokenizer, 5)


def test_encoded_rows_end_and_their_limits_are_reported(tokenizer):
    rows = Dataset.from_list(
        [
            {"prompt": TLDR, "chosen": " Tea.", "rejected": " Cold tea."},
            {"prompt": "Short.\n\nTL;DR:", "chosen": " The kettle sang" * 9, "rejected": " No."},
            {"prompt": "Short.\n\nTL;DR:", "chosen": " Rain.", "rejected": " No."},
        ]
    )
    limits = {"max_prompt_tokens": 60, "max_completion_tokens": 20}
    with pytest.raises(
        ValueError, match=r"at most 20 tokens .* 1 of 3 rows have more, the first is row 1: .*skip_long"
    ):
        encode(rows, tokenizer, **limits)
    encoded = encode(rows, tokenizer, **limits, skip_long=True)
    first, last = encoded.rows
    assert (len(encoded.rows), encoded.truncated, len(encoded.skipped)) == (
        2,
        1,
        1,
    )
    assert len(first["prompt_ids"]) <= 60
    assert tokenizer.decode(first["prompt_ids"]) == first["prompt"] != TLDR
    assert last["prompt"] == "Short.\n\nTL;DR:"
    end = tokenizer.eos_token_id
    assert [tokenizer.decode(ids) for ids in last["completion_ids"]] == [
        " Rain.<|endoftext|>",
        " No.<|endoftext|>",
    ]
    assert all(
        ids.count(end) == 1 and ids[-1] == end for row in encoded.rows for ids in row["completion_ids"]
    )


def test_a_sample_that_was_cut_off_gets_no_end(tokenizer):
    rows = Dataset.from_list(
        [{"prompt": "p", "completions": [" a"], "rewards": [1.0], "completion_ids": [[7, 8]]}]
    )
    encoded = encode(rows, tokenizer, max_prompt_tokens=9, max_completion_tokens=9)
    assert encoded.rows[0]["completion_ids"] == [[7, 8]]


def test_the_spelling_of_a_special_token_is_text_and_told_with_its_line(tokenizer):
    """Prompt, cut prompt and completion: nothing ends, nothing is lost, and the place is named."""
    spelled = "It writes <|endoftext|> where a text ends, and <|padding|> behind it."
    rows = Dataset.from_list(
        [
            {"prompt": "Plain.\n\nTL;DR:", "completion": " Plain."},
            {"prompt": f"{spelled}\n\nTL;DR:", "completion": f" {spelled}"},
            {"prompt": f"{spelled * 9}\n\nTL;DR:", "completion": " Long."},
        ]
    )
    limits = {"max_prompt_tokens": 90, "max_completion_tokens": 90}
    found = encode(rows, tokenizer, **limits, places=["f:1", "f:4", "f:9"])
    end = tokenizer.eos_token_id
    assert found.spelled == tuple(f"f:{i}: <|endoftext|> is read as text" for i in (4, 9))
    assert found.truncated == 1
    for row in found.rows:
        assert tokenizer.decode(row["prompt_ids"]) == row["prompt"] and end not in row["prompt_ids"]
        (ids,) = row["completion_ids"]
        assert tokenizer.decode(ids[:-1]) == row["completion"] and ids.index(end) == len(ids) - 1


def test_a_batch_holds_the_tokens_where_the_masks_say():
    rows = [
        {"prompt_ids": [1, 2, 3], "completion_ids": [[4], [5, 6]]},
        {"prompt_ids": [7], "completion_ids": [[8, 9, 10], [11]]},
    ]
    batch = collate(rows)
    assert batch["prompts"].shape == (2, 3) and batch["completions"].shape == (2, 2, 3)
    for i, row in enumerate(rows):
        assert batch["prompts"][i][batch["prompt_mask"][i]].tolist() == row["prompt_ids"]
        for j, ids in enumerate(row["completion_ids"]):
            assert batch["completions"][i, j][batch["completion_mask"][i, j]].tolist() == ids
    with pytest.raises(ValueError, match="row 1 of a batch has 1 completions, row 0 2"):
        collate([rows[0], {"prompt_ids": [1], "completion_ids": [[4]]}])


def test_padding_stands_where_it_is_asked_for():
    tokens, mask = pad([[5], [6, 7]], left=True)
    assert torch.equal(tokens, torch.tensor([[0, 5], [6, 7]])) and mask.tolist() == [
        [False, True],
        [True, True],
    ]


LONG = "It walks along the list once, keeps what it has seen in a set, and returns it."
SOURCES = {
    "alpha": f'"""Remove what occurs more than once.\n\n{LONG}\n"""\n',
    "beta": (
        f'class A:\n    """Remove what occurs more than once.\n\n    {LONG} Really.\n    """\n'
        f'    def f(self):\n        """Return the sorted list of names.\n\n        {LONG} Then sorts it.\n\n'
        '        Examples\n        --------\n        >>> f()\n        """\n'
        f'    def g(self):\n        """Say one more thing here.\n\n        {LONG}\n        """\n'
    ),
    "broken": "def f(:\n",
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Packages whose import would be noticed."""
    for name, source in SOURCES.items():
        (tmp_path / name / "tests").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text(
            source + ("" if name == "broken" else "\nraise SystemExit\n")
        )
        (tmp_path / name / "tests" / "test_a.py").write_text(SOURCES["beta"].replace("sorted", "tested"))
    monkeypatch.syspath_prepend(tmp_path)


def test_the_corpus_is_parsed_deduplicated_and_split_by_package(installed):
    corpus = docstring_corpus(("beta", "broken", "absent"), ("alpha",), progress=False)
    assert corpus.held_out.to_list() == [
        {
            "prompt": f"{LONG}\n\nTL;DR:",
            "completion": " Remove what occurs more than once.",
            "package": "alpha",
        }
    ]
    assert corpus.train.to_list() == [
        {
            "prompt": f"{LONG} Then sorts it.\n\nTL;DR:",
            "completion": " Return the sorted list of names.",
            "package": "beta",
        }
    ]
    assert corpus.origin["duplicates"] == 2  # one summary and one description that validation has
    assert corpus.origin["missing"] == ["absent"] and set(corpus.origin["versions"]) == {
        "alpha",
        "beta",
        "broken",
    }


def test_pairs_are_what_people_wrote():
    """A docstring of the standard library, as it is printed to those who ask for help."""
    pairs = {summary: text for text, summary in docstring_pairs(package_folder("python") / "json")}
    summary, _, rest = inspect.getdoc(json.dumps).partition("\n\n")
    assert rest.startswith(pairs[summary]) and len(pairs[summary].split()) > 100


def test_real_packages_give_distinct_pairs_and_their_versions():
    corpus = docstring_corpus(("fsspec",), ("joblib",), progress=False)
    assert len(corpus.train) > 80 and len(corpus.held_out) > 40
    assert corpus.origin["versions"] == {name: metadata.version(name) for name in ("fsspec", "joblib")}
    for column in ("prompt", "completion"):
        texts = [*corpus.train[column], *corpus.held_out[column]]
        assert len(set(texts)) == len(texts)


@pytest.mark.benchmark
def test_the_default_corpus_has_over_15_000_pairs():
    """About a minute: every docstring of some twenty packages."""
    corpus = docstring_corpus(progress=False)
    print(
        f"\n{len(corpus.train)} training and {len(corpus.held_out)} validation pairs, "
        f"{corpus.origin['duplicates']} duplicates dropped, missing {corpus.origin['missing']}"
    )
    assert len(corpus.train) > 15_000 and len(corpus.held_out) > 1_000
    assert set(corpus.origin["versions"]) | set(corpus.origin["missing"]) == {*TRAINING, *VALIDATION}


@pytest.mark.parametrize(
    "docstring",
    [
        "Too short.",
        f"Two\nlines of summary here.\n\n{LONG}",
        f"One of the following:\n\n{LONG}",
        "Say what it does.\n\n>>> f()",
    ],
)
def test_what_is_no_summary_with_a_description_is_left_out(docstring):
    assert split_docstring(docstring) is None


def test_a_corpus_without_text_or_with_a_leak_is_refused(installed):
    with pytest.raises(ValueError, match="both have 'alpha'"):
        docstring_corpus(("alpha", "beta"), ("alpha",), progress=False)
    with pytest.raises(ValueError, match="validation packages must hold docstrings"):
        docstring_corpus(("alpha",), ("broken",), progress=False)
