"""Does a torch loss do what it claims?  For authors of trainers: needs torch, and nothing else of `llm`.

    inputs = ("chosen", "rejected", "reference_chosen", "reference_rejected")
    check_loss(my_loss, inputs, against=DPO(beta=0.1)).assert_ok()

passes, or fails with the name of the fault; `identify` says what a loss optimises, and `cases` is a line of
pytest for each of the laws.  Read in this order:

    inputs       what is a loss given?
    from_loss    how does a loss become an algorithm?
    trials       on which groups is it tried, and is it usable there?
    faults       which known mistake makes the same gradient?
    verdict      is it what it claims to be?
"""

from llm.conformance.faults import FAULTS
from llm.conformance.from_loss import from_loss
from llm.conformance.inputs import INPUTS
from llm.conformance.verdict import Verdict, cases, check_loss, identify

__all__ = ["FAULTS", "INPUTS", "Verdict", "cases", "check_loss", "from_loss", "identify"]


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return __all__
