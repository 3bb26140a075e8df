"""What do the answers look like?  Some prompts, with every method's answer at its chosen beta, as Markdown.

They are chosen by rule: of all prompts of the report, in the order of how much the methods' rewards rose over
the reference's on average, the first, those at the quarters, and the last.
"""

from __future__ import annotations

import numpy as np

from llm.experiment.record import Policy, Record

PLACES = 5


def examples(record: Record) -> list[str]:
    """Lines of Markdown: prompts with what people wrote, the reference's answer and every method's."""
    chosen = {
        name: ends[place]
        for name, ends in record.methods.items()
        if (place := record.chosen(name)) is not None
    }
    ends = {name: end for name, end in chosen.items() if end is not None}
    rise = np.mean([end.reward for end in ends.values()], axis=0) - record.reference
    order = np.argsort(rise, kind="stable")
    places = np.linspace(0, len(order) - 1, min(PLACES, len(order))).round().astype(int)
    told = ", ".join(str(i + 1) for i in places)
    lines = [
        "# Answers to read",
        "",
        f"Seed {record.seed}, {len(order)} held-out prompts: {told} in the order of the methods' mean rise "
        "over the reference, from the smallest.",
    ]
    for i in order[places]:
        asked = record.asked[i]
        lines += [
            "",
            f"## Mean rise {rise[i]:+.2f}",
            "",
            *(f"> {line}" for line in asked["prompt"].splitlines()),
        ]
        lines += ["", f"- **people**: {one_line(asked['completion'])}"]
        lines.append(f"- **reference** (reward {record.reference[i]:+.2f}): {one_line(asked['reference'])}")
        lines += [_answer(name, end, int(i)) for name, end in ends.items()]
    return lines


def one_line(text: str) -> str:
    """A text in which nothing begins a new line.

    Example:
        >>> one_line(" two\\n words ")
        'two words'
    """
    return " ".join(text.split())


def _answer(name: str, end: Policy, i: int) -> str:
    """A method's answer to a prompt, with what it is worth, and how much more often it says so."""
    told = f"β = {end.beta:g}, reward {end.reward[i]:+.2f}, log π/ref {end.log_ratio[i]:+.2f}"
    return f"- **{name}** ({told}): {one_line(end.texts[i])}"
