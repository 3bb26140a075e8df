"""A language model small enough to enumerate, so that a prompt is a bandit and a completion an arm.

With V tokens, one of which ends the sequence, and at most T new tokens there are

    A = sum_{t < T} (V-1)^t + (V-1)^T

completions: those that end with end-of-sequence at length 1 ... T, and those that are cut off at T.
Their log-probabilities log pi(y|x) are those that training uses, they sum to one, and they are
differentiable in the parameters: every tool of `bandits` then speaks of this model (T10.2).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import softmax
from torch import Tensor, nn

from bandits.bandit import Bandit
from bandits.sequences import TokenTable
from bandits.sequences.table import count_answers, grown
from bandits.simulation.trace import Trace
from llm.log_probs import sequence_log_probs

LIMIT = 200_000  # completions that we are willing to enumerate
OF_MODEL = -1  # no token
GROUP = 64  # completions behind one copy of the prompt: the attention mask grows as its square


class Completions(NamedTuple):
    """Every completion of one prompt: the arms, in the lexicographic order of their tokens."""

    tokens: Tensor  # (A, T), ending with end-of-sequence where it fits; zeros behind
    lengths: Tensor  # (A,)
    log_prob: Tensor  # (A,), differentiable

    @property
    def mask(self) -> Tensor:
        """Which tokens are real, (A, T)."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]


def enumerate_completions(
    model: nn.Module, prompt: Tensor, max_new_tokens: int, *, eos_token_id: int | None = OF_MODEL
) -> Completions:
    """Every completion of a 1-D prompt with its log-probability, sum_y pi(y|x) = 1.

    A completion ends with its first end-of-sequence token, or at `max_new_tokens` without one; with None all
    have so many tokens.  By default it is what the model's configuration says, if it is in the vocabulary.

    Raises:
        ValueError: the prompt is not one-dimensional, or there are too many completions.

    Example: with two tokens besides end-of-sequence, 1 + 2 + 4 answers of at most two.

        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> size = {"vocab_size": 3, "n_layer": 1, "n_embd": 4, "n_head": 1, "n_positions": 8}
        >>> model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=2, eos_token_id=2)).eval()
        >>> _ = model.lm_head.weight.data.zero_()  # all three tokens are alike
        >>> arms = enumerate_completions(model, torch.tensor([0]), max_new_tokens=2)
        >>> arms.tokens.tolist()[-2:], arms.lengths.tolist()[-2:]
        ([[1, 2], [2, 0]], [2, 1])
        >>> arms.log_prob.exp()[-2:].detach().numpy().round(4)  # 1/9 and 1/3
        array([0.1111, 0.3333], dtype=float32)
    """
    if prompt.ndim != 1 or not len(prompt):
        raise ValueError(f"prompt must be token ids of shape (P,) with P > 0, but has {tuple(prompt.shape)}")
    if eos_token_id == OF_MODEL:
        own = model.config.eos_token_id
        eos_token_id = own if own is not None and own < model.config.vocab_size else None
    tokens, lengths = every_sequence(model.config.vocab_size, max_new_tokens, eos_token_id)
    tokens, lengths = tokens.to(prompt.device), lengths.to(prompt.device)
    arms = Completions(tokens, lengths, torch.zeros(len(tokens)))
    return arms._replace(log_prob=token_log_probs(model, prompt, arms).sum(-1))


def token_log_probs(model: nn.Module, prompt: Tensor, completions: Completions) -> Tensor:
    """log pi(y_t | x, y_<t) of each token of each completion of a 1-D prompt, (A, T), zeros behind."""
    groups = zip(completions.tokens.split(GROUP), completions.mask.split(GROUP), strict=True)
    parts = [
        sequence_log_probs(model, prompt[None], y[None], completion_mask=real[None], per_token=True)[0]
        for y, real in groups
    ]
    return torch.cat(parts)


def every_sequence(
    vocabulary_size: int, max_new_tokens: int, eos_token_id: int | None
) -> tuple[Tensor, Tensor]:
    """Token ids (A, T) and lengths (A,) of all sequences that end with, or never meet, end-of-sequence.

    Raises:
        ValueError: `max_new_tokens` < 1, end-of-sequence is outside the vocabulary, or A is too large.

    Example:
        >>> tokens, lengths = every_sequence(2, 2, eos_token_id=1)
        >>> tokens.tolist(), lengths.tolist()
        ([[0, 0], [0, 1], [1, 0]], [2, 2, 1])
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, but is {max_new_tokens}")
    if eos_token_id is not None and not 0 <= eos_token_id < vocabulary_size:
        raise ValueError(f"eos_token_id must be None or in [0, {vocabulary_size}), but is {eos_token_id}")
    count = count_answers(vocabulary_size, max_new_tokens, eos_token_id)
    if count > LIMIT:
        raise ValueError(
            f"{vocabulary_size} tokens and max_new_tokens = {max_new_tokens} make "
            f"{count} completions, more than {LIMIT}; take fewer tokens"
        )
    _, found = grown(vocabulary_size, max_new_tokens, eos_token_id)
    rows = [y + (0,) * (max_new_tokens - len(y)) for y in found]
    return torch.tensor(rows), torch.tensor([len(y) for y in found])


def as_bandit(
    completions: Completions, reward: ArrayLike | None = None, *, preference: ArrayLike | None = None
) -> Bandit:
    """The bandit whose arms are the completions and whose reference is the model that gave them.

    It takes a reward (A,), a preference (A, A), p(row beats column), or both.

    Example: three answers, of which the model gives the last with 1/2.

        >>> tokens, lengths = every_sequence(3, 1, None)
        >>> arms = Completions(tokens, lengths, torch.tensor([0.25, 0.25, 0.5]).log())
        >>> as_bandit(arms, [1.0, 0.0, 0.5])
        Bandit(reward=[1 0 0.5], reference=[0.25 0.25 0.5], length=[1 1 1])
    """
    lengths = completions.lengths.cpu().numpy()
    return Bandit(reward, preference=preference, reference=policy_of(completions), length=lengths)


def policy_of(completions: Completions) -> np.ndarray:
    """The model's policy on the arms, (A,): what `bandits` takes as `policy`.

    Normalised in float64: the probabilities of a float32 model sum to one only to about 1e-6.
    """
    return softmax(completions.log_prob.detach().double().cpu().numpy())


def trace_of(
    models: Iterable[nn.Module],
    prompt: Tensor,
    max_new_tokens: int,
    *,
    steps: Sequence[int] | None = None,
    eos_token_id: int | None = OF_MODEL,
) -> Trace:
    """What a training of models small enough to enumerate did to one prompt's policy, for `regret` and `kl`.

    Args:
        models: the model at each record, the start first: checkpoints, or a generator that trains one model
            and yields it now and then.
        steps: how many steps had been taken at each record; by default 0, 1, 2, ...

    Returns:
        A `Trace` of one run, with policies (records, 1, A) over the completions of `enumerate_completions`.

    Raises:
        ValueError: there are no models, other numbers of steps than models, or as `enumerate_completions`.

    Example: a model that does not move stays at a KL of zero.

        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> size = {"vocab_size": 3, "n_layer": 1, "n_embd": 4, "n_head": 1, "n_positions": 8}
        >>> model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=2, eos_token_id=2)).eval()
        >>> _ = model.lm_head.weight.data.zero_()  # all three tokens are alike
        >>> trace = trace_of([model, model], torch.tensor([0]), max_new_tokens=1)
        >>> trace.policy.round(4), trace.kl(Bandit([0.0, 0.0, 1.0])).max() < 1e-12
        (array([[0.3333, 0.3333, 0.3333]]), np.True_)
    """
    policies = []
    for model in models:
        with torch.no_grad():
            found = enumerate_completions(model, prompt, max_new_tokens, eos_token_id=eos_token_id)
        policies.append(policy_of(found))
    at = np.arange(len(policies)) if steps is None else np.array(steps)
    if not policies or at.shape != (len(policies),):
        raise ValueError(
            f"models must be at least one, with a number of steps for each, but there are {len(policies)} "
            f"models and steps = {steps}"
        )
    return Trace(steps=at, policies=np.stack(policies)[:, None])


def as_table(completions: Completions, token_log_prob: Tensor) -> TokenTable:
    """The table of next tokens of the model that gave the completions their `token_log_probs`, (A, T).

    Each prefix has a row of its own.
    Its answers are the completions in the same order: token-wise algorithms end on the model where
    `bandits.sequences.table_fixed_point` says  (T10.1).
    """
    tokens, lengths = completions.tokens.cpu().numpy(), completions.lengths.cpu().numpy()
    short = np.flatnonzero(lengths < tokens.shape[1])
    end = int(tokens[short[0], lengths[short[0]] - 1]) if len(short) else None
    of_tokens = token_log_prob.detach().double().cpu().numpy()
    plain = TokenTable(np.zeros(tokens.max() + 1), length=tokens.shape[1], end=end, max_sequences=LIMIT)
    logits = np.zeros(plain.logits.shape)
    here = plain.mask > 0
    logits[plain.nodes[here], plain.tokens[here]] = of_tokens[here]
    return TokenTable(logits, length=plain.length, end=end, max_sequences=LIMIT)
