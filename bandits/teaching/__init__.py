"""How far off is my answer?  Exercises that check themselves against the exact solvers.

    >>> from bandits.teaching import check, exercises
    >>> check("01.3", 1.37)
    ✗ 01.3: off by 0.6. Plot the best arm's probability under pi* against beta: where does it cross 0.6?

Read in this order:

    feedback      what does a learner hear back?
    exercise      what is an exercise?
    answers       how does an answer become numbers?
    trials        how are two algorithms compared?
    one_bandit    what is the optimum, and what is an algorithm?          01
    baselines     what does a baseline do?                               02
    marking       how wrong is this answer?

To add one: an `Exercise` in the `EXERCISES` of its notebook's file (a new file also goes into the list above
and into `COURSE` of `marking`), the three cells of its notebook, in `notebooks/grading.md`, and nothing else:
`tests/test_teaching.py` runs every solution, every mistake and every stub.  A mistake is an answer as well,
computed when asked; it gets its own hint, which does not give the answer away.
"""

from bandits.teaching.answers import Logits
from bandits.teaching.feedback import Feedback
from bandits.teaching.marking import check, exercises

__all__ = ["Feedback", "Logits", "check", "exercises"]
