"""Language models trained by the objects that `bandits` verifies.

A completion is an arm, its log-probability a sum over tokens, and an algorithm the same object as in
`bandits`: no coefficient is written down here.  Read in this order:

    padding      which columns of a batch are real
    head         the logits of a large vocabulary, a chunk at a time
    log_probs    log pi(y|x) of whole completions
    shared_prefix  the same in one forward pass for all completions of a prompt
    exact        a model small enough to enumerate is a bandit
    files        whole or not at all
    run_folder   one folder a run
    model        loading a model and its tokenizer
    layouts      rows of text in the public layouts
    data         files of them, read and checked
    tokens       rows of text as padded token ids
    rule         a truth that is known
    negatives    answers of people that are hard to tell from right ones
    judges       models that say what is good
    rewards      what is good, and how long it is
    loss         an algorithm of `bandits` as a loss
    groups       every group of completions, and how likely it is
    conformance/ a loss of somebody else's as an algorithm, and its verdict
    beside       what is trained beside the policy
    decode       sampling, caches on; Nash-MD's opponent
    generate     scored data sets, shard by shard
    sources      recorded or fresh completions as `Samples`
    memory       why a step waits for the kernel, and need not
    trainer      a Trainer that stops where it would go wrong in silence
    train        with the loss of an algorithm
    intervals    how sure a mean over prompts is, or a share of them
    evaluate     reward, KL and win rates
    revise       whether an answer gets better if it is revised
    frontier/    what a policy can have at most
    chains       completions that change, and stay what the model says
    possible     the best that could have been, on the same prompts
    paired       whether one method is better than another
    pipeline     the steps, each resumed where it was killed
    algorithms   one by name, and what it reads
    figures      what a run logged, where policies end
    demo         all of it on a laptop
    commands     python -m llm; choices, inputs and __main__ say how it is called
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm.exact import as_bandit, enumerate_completions, trace_of
    from llm.groups import every_group
    from llm.log_probs import sequence_log_probs
    from llm.loss import alignment_loss
    from llm.model import load_model

if find_spec("torch") is None:
    raise ImportError("llm needs torch: pip install 'alignment-bandits[llm]'")

_HOME = {  # the module of each public name
    "alignment_loss": "loss",
    "as_bandit": "exact",
    "enumerate_completions": "exact",
    "every_group": "groups",
    "load_model": "model",
    "sequence_log_probs": "log_probs",
    "trace_of": "exact",
}
__all__ = ["alignment_loss", "as_bandit", "enumerate_completions", "every_group"]
__all__ += ["load_model", "sequence_log_probs", "trace_of"]


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return [*__all__, "conformance", "frontier"]


def __getattr__(name: str) -> Any:
    """Each public name from its module, when it is first asked for: losses need torch alone."""
    if name in ("conformance", "frontier"):
        return import_module(f"llm.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'llm' has no attribute {name!r}")
    try:
        return getattr(import_module(f"llm.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(f"llm.{name} needs {error.name}: pip install 'alignment-bandits[llm]'") from error
