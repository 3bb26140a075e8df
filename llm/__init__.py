"""Language models trained by the objects that `bandits` verifies.

A completion is an arm, its log-probability a sum over tokens, and an algorithm the same object as in
`bandits`: no coefficient is written down here.  Read in this order:

    log_probs    log pi(y|x) of k completions behind one prompt, in one forward pass
    exact        a model small enough to enumerate is a bandit
    model        loading a model and its tokenizer
    data         rows of text in the public layouts
    tokens       rows of text as padded token ids
    corpus       real text that needs no download
    rewards      what is good, and how long it is
    loss         an algorithm of `bandits` as a loss
    decode       sampling, caches on; Nash-MD's opponent
    generate     scored data sets, shard by shard
    sources      recorded or fresh completions as `Samples`
    train        `transformers.Trainer` with that loss
    evaluate     reward, KL and win rates with intervals
    folder       one folder a run
    pipeline     the steps, each resumed where it was killed
    demo         all of it on a laptop; figures draws it
"""

from llm.exact import as_bandit, enumerate_completions
from llm.log_probs import sequence_log_probs
from llm.loss import alignment_loss
from llm.model import load_model

__all__ = ["alignment_loss", "as_bandit", "enumerate_completions", "load_model", "sequence_log_probs"]
