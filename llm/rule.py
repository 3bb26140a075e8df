"""What is good, if nobody is asked?  A truth to learn that cannot be overdone by mistake: it is this rule.

A completion is to name what its prompt speaks of, in few words:

    r(x, y) = sum of count_x(w) over the different content words w of x that stand in y, at most the whole
              ---------------------------------------------------------------------      -  n / (n + 4 K)
              the same sum over the K = 10 most frequent content words of x

with n the words of y and count_x(w) how often w stands in x. So 1 is what ten well-chosen words can cover;
no word counts twice, and every word costs, the tenth a sixtieth. It lies in (-1, 1), is 0 of an empty
completion, and reads text alone, lower-cased: neither tokens, nor the reference, nor what people wrote.

Content words have three letters or digits at least, and are none of `FUNCTION_WORDS`. To score a summary by
the frequent words of its source is SumBasic: Nenkova & Vanderwende 2005, MSR-TR-2005-101.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from bandits.checks import Floats

ENOUGH = 10  # K: so many words are a good summary
PATIENCE = 4  # at so many times K words half of the reward is gone
WORD = re.compile(r"[^\W_]+")
FUNCTION_WORDS = frozenset(
    """about above after again against all also and any are because been before being below between both
    but can cannot could did does doing down during each either else few for from further had has have
    having here how however into its itself just may might more most must neither nor not now off once
    only other otherwise our out over own same shall should some such than that the their them then
    there these they this those through thus too under until upon very was were what when where whether
    which while who whom whose why will with within without would yet you your""".split()
)


def rule(prompts: Sequence[str], completions: Sequence[str], references: Sequence[str] | None) -> Floats:
    """How much of what the prompts speak of the completions name, less what their words cost, in (-1, 1).

    Example: of "cats", which stands twice, and "chase" and "mice", two of the four; 3 words cost 3/43.

        >>> rule(["Cats chase mice; cats do."], ["The cats run"], None).round(4), round(2 / 4 - 3 / 43, 4)
        (array([0.4302]), 0.4302)
    """
    return np.array([_rule(x, y) for x, y in zip(prompts, completions, strict=True)], dtype=np.float64)


def content_words(text: str) -> Counter[str]:
    """How often each content word stands in a text.

    Example:
        >>> content_words("Cats chase mice; cats do.")
        Counter({'cats': 2, 'chase': 1, 'mice': 1})
    """
    words = (word for word in WORD.findall(text.lower()) if len(word) > 2)
    return Counter(word for word in words if word not in FUNCTION_WORDS)


def _rule(prompt: str, completion: str) -> float:
    source, said = content_words(prompt), set(content_words(completion))
    most = sum(count for _, count in source.most_common(ENOUGH))
    named = min(sum(source[word] for word in said), most) / max(most, 1)
    n = len(completion.split())
    return named - n / (n + PATIENCE * ENOUGH)
