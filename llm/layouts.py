"""What columns a row may have: the public layouts, each as one kind of row.

    demonstration   prompt, completion             or prompt, label, or messages, the last one the answer
    preference      prompt, chosen, rejected       or chosen, rejected that begin with the same prompt,
                                                   or info, summaries, choice (human comparisons)
    scored          prompt, completions, rewards   k of each, the same k in every row
    judged          prompt, completion, label      the answer is desirable, 1, or not, 0;
                                                   or a preference, whose chosen is and rejected is not

A text may be a conversation, messages of a role and a content.  As a prompt, a single message is its
content, and several become paragraphs "Role: content" that end with what asks for the answer,
"Assistant:".  As an answer it is one message of the assistant.  Chat templates are applied beforehand by
who wants them: a base model knows none.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

Row = Mapping[str, Any]
LARGEST = 1e30  # single precision holds it and its sums
BESIDE = ("rewards", "behavior_log_probs", "reference_log_probs", "lengths", "completion_ids")  # k of each
TURN = "\n\nAssistant:"  # after it an answer begins


def demonstration(row: Row) -> dict[str, str]:
    """`prompt, completion` from a row with `completion`, `label` or `messages`.

    Example:
        >>> said = [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "Said."}]
        >>> demonstration({"messages": said})
        {'prompt': 'Say it.', 'completion': 'Said.'}
    """
    if row.get("messages") is not None and row.get("completion") is None:
        messages = _list(row, "messages")
        row = {"prompt": messages[:-1], "completion": messages[-1:]}
    column = "label" if "label" in row and "completion" not in row else "completion"
    return {"prompt": _prompt(row), "completion": _answer(row, column)}


def preference(row: Row) -> dict[str, str]:
    """`prompt, chosen, rejected`, also where both answers repeat the prompt, or of a human comparison.

    Example:
        >>> preference({"chosen": "Q: Tea? A: Yes", "rejected": "Q: Tea? A: No"})
        {'prompt': 'Q: Tea? A:', 'chosen': ' Yes', 'rejected': ' No'}
    """
    if "summaries" in row:
        row = _of_comparison(row)
    elif row.get("prompt") is None or (isinstance(row.get("chosen"), list) and len(row["chosen"]) > 1):
        row = _of_pair(row)
    return {"prompt": _prompt(row), "chosen": _answer(row, "chosen"), "rejected": _answer(row, "rejected")}


def _of_comparison(row: Row) -> Row:
    info, answers, choice = row.get("info"), _list(row, "summaries"), row.get("choice")
    if not isinstance(info, Mapping) or len(answers) != 2 or not all(isinstance(y, Mapping) for y in answers):
        raise ValueError("a comparison must have a record info and two summaries")
    if isinstance(choice, bool) or choice not in (0, 1):
        raise ValueError(f"choice must be 0 or 1, but is {choice!r:.40}")
    chosen, rejected = (_text(answers[i], "text") for i in (choice, 1 - choice))
    return {"prompt": tldr_prompt(info), "chosen": chosen, "rejected": rejected}


def _of_pair(row: Row) -> Row:
    """What chosen and rejected have in common is the prompt: turns, or text up to an answer or a word."""
    one: Any = row.get("chosen")
    other: Any = row.get("rejected")
    if not isinstance(one, str | list) or type(one) is not type(other):
        raise ValueError(
            f"without a prompt, chosen and rejected must begin with it, two texts or two lists of messages, "
            f"but are {one!r:.40} and {other!r:.40}; the columns are {sorted(row)!s:.200}"
        )
    shared = alike(one, other)
    if isinstance(one, list):
        shared = min(shared, len(one) - 1, len(other) - 1)
    else:
        turn, word = one.rfind(TURN, 0, shared), max(one.rfind(" ", 0, shared), one.rfind("\n", 0, shared))
        shared = turn + len(TURN) if turn >= 0 else word
    if shared < 1:
        raise ValueError("chosen and rejected do not begin with the same prompt; give it as column 'prompt'")
    return {"prompt": one[:shared], "chosen": one[shared:], "rejected": other[shared:]}


def alike(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two sequences have in common where they begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def scored(row: Row) -> dict[str, Any]:
    """`prompt, completions, rewards`: k sampled answers, kept as they are, and a finite reward each.

    An answer may be empty if its `completion_ids` say what was sampled: end-of-sequence at once.
    """
    completions = _list(row, "completions")
    for column in (name for name in BESIDE if name in row or name == "rewards"):
        found, right, rule = _list(row, column), _is_number, "a finite number"
        if column == "completion_ids":
            right, rule = _are_ids, "a list of token ids that is not empty"
        if len(found) != len(completions):
            raise ValueError(f"it has {len(completions)} completions and {len(found)} {column}")
        for i, x in enumerate(found):
            if not right(x):
                raise ValueError(f"{column}[{i}] must be {rule}, but is {x!r:.40}")
    if "completion_ids" not in row or not all(isinstance(y, str) for y in completions):
        completions = [_answer({"completion": y}, "completion") for y in completions]
    rewards = [float(x) for x in row["rewards"]]
    return {**row, "prompt": _prompt(row), "completions": completions, "rewards": rewards}


def judged(row: Row) -> dict[str, Any]:
    """`prompt, completion, labels`: an answer, and whether it is desirable; of a preference both, 1 and 0.

    Example:
        >>> judged({"prompt": "Tea?", "completion": " Yes.", "label": True})
        {'prompt': 'Tea?', 'completion': ' Yes.', 'labels': [1.0]}
    """
    if "label" not in row and {"chosen", "summaries"} & row.keys():
        return preference(row) | {"labels": [1.0, 0.0]}
    label = row.get("label")
    if not isinstance(label, bool | int | float) or label not in (0, 1):
        raise ValueError(f"label must be 0 or 1, whether the completion is desirable, but is {label!r:.40}")
    return {"prompt": _prompt(row), "completion": _answer(row, "completion"), "labels": [float(label)]}


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < LARGEST


def _are_ids(x: Any) -> bool:
    return isinstance(x, list) and bool(x) and all(type(token) is int for token in x)


def completions_of(row: Row) -> list[str]:
    """The k completions of a row of any kind; of a preference, the chosen one first."""
    if "completions" in row:
        return list(row["completions"])
    return [row["chosen"], row["rejected"]] if "chosen" in row else [row["completion"]]


def tldr_prompt(info: Row) -> str:
    """The prompt of the TL;DR data sets for a Reddit post, or for a news article.

    Stiennon 2020, arXiv:2009.01325, Appendix B.
    """
    if info.get("post"):
        head = f"SUBREDDIT: r/{info.get('subreddit') or ''}\n\nTITLE: {info.get('title') or ''}\n\n"
        return f"{head}POST: {_text(info, 'post').strip()}\n\nTL;DR:"
    return f"Article: {_text(info, 'article').strip()}\n\nTL;DR:"


def _prompt(row: Row) -> str:
    messages = row.get("prompt")
    if not isinstance(messages, list) or not messages:
        return _text(row, "prompt")
    turns = [_message(message, f"prompt[{i}]") for i, message in enumerate(messages)]
    if len(turns) == 1:
        return turns[0][1]
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in turns) + TURN


def _answer(row: Row, column: str) -> str:
    messages = row.get(column)
    if not isinstance(messages, list):
        return _text(row, column)
    if len(messages) != 1 or _message(messages[0], f"{column}[0]")[0] != "assistant":
        raise ValueError(f"column {column!r} must be one message of the assistant, but is {messages!r:.60}")
    return _message(messages[0], f"{column}[0]")[1]


def _message(message: Any, name: str) -> tuple[str, str]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ValueError(f"{name} must be a message with role and content, but is {message!r:.60}")
    return message["role"], _text(message, "content")


def _text(row: Row, column: str) -> str:
    if column not in row:
        raise ValueError(f"column {column!r} is missing; the columns are {sorted(row)!s:.200}")
    if not isinstance(row[column], str) or not row[column].strip():
        raise ValueError(f"column {column!r} must be text that is not empty, but is {row[column]!r:.60}")
    return row[column]


def _list(row: Row, column: str) -> list[Any]:
    found = row.get(column)
    if not isinstance(found, list) or not found:
        raise ValueError(f"column {column!r} must be a list that is not empty, but is {found!r:.60}")
    return found
