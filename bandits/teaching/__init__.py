"""How far off is my answer?  Exercises that check themselves against the exact solvers.

Read in this order (how to add an exercise stands in `exercise`):

    feedback       what does a learner hear back?
    exercise       what is an exercise?
    answers        how does an answer become numbers?
    trials         how are two algorithms compared?
    one_bandit     what is the optimum, and what is an algorithm?          01
    baselines      what does a baseline do?                                02
    who_sampled    who sampled, and does it matter?                        03
    dpo_and_kin    what do labelled pairs fit, and when is there no fit?   04
    games          what is best where there is no score?                   05
    clipping       what do clips and groups do?                            06
    which_kl       which KL, estimated how?                                07
    goodhart       when is it too much of a good thing?                    08
    own_algorithm  is my algorithm what I claim?                           09
    tokens         what changes when answers are made of tokens?           10
    honest         what does an honest comparison need?                    11
    neighbours     and where do the neighbours with states end?            12
    patience       how long may an answer take?
    marking        how wrong is this answer?
    handout        what does a learner get?
    __main__       in which folders?
"""

from bandits.teaching.answers import Logits
from bandits.teaching.feedback import Feedback
from bandits.teaching.marking import check, exercises

__all__ = ["Feedback", "Logits", "check", "exercises"]


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return __all__
