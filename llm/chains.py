"""How does a language model renew some tokens of a completion?  What `llm.frontier.moves` asks for.

All chains of all prompts go together: those that end before the window are left alone, those that end inside
are sampled anew from its start on, of the others only the window is sampled, and what is behind it stays.
Only completions that have changed are read again, for their log-probabilities and rewards.  A completion that
is cut off at the largest number of tokens is an answer like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bandits.checks import Floats
from llm.decode import sample_completions
from llm.frontier.moves import Chains
from llm.generate import texts_of
from llm.layouts import Row
from llm.log_probs import sequence_log_probs
from llm.rewards import Reward, score
from llm.tokens import pad

Tokens = NDArray[np.int64]
TOGETHER = 512  # completions that are sampled, and read, in one batch


@dataclass(frozen=True, eq=False)
class Renewal:
    """A model at its prompts, rows of `encode`, and what its completions are worth."""

    model: PreTrainedModel
    rows: Sequence[Row]
    tokenizer: PreTrainedTokenizerBase
    reward: Reward

    def start(self, n: int, max_new_tokens: int, rng: np.random.Generator) -> Chains:
        """n samples of each prompt, one a chain."""
        shape = (len(self.rows), n, max_new_tokens)
        none = Chains(np.full(shape, -1), np.zeros(shape), np.zeros(shape[:2]))
        every = np.arange(shape[0] * n)
        return self._read(
            none, self._sampled(none, every, 0, rng.random((len(every), max_new_tokens))), every
        )

    def __call__(self, chains: Chains, start: int, stop: int, rng: np.random.Generator) -> Chains:
        """The chains with tokens [start, stop) sampled anew, and with them what is behind an end."""
        tokens = flat(chains.tokens)
        noise, length = rng.random(tokens.shape), (tokens >= 0).sum(axis=-1)
        to_the_end = np.flatnonzero((length > start) & (length <= stop))
        inside = np.flatnonzero(length > stop)
        new = tokens.copy()
        new[to_the_end, start:] = self._sampled(chains, to_the_end, start, noise[to_the_end, start:])
        new[inside, start:stop] = self._sampled(chains, inside, start, noise[inside, start:stop])
        ended = np.cumsum(new == self.tokenizer.eos_token_id, axis=-1) > 0
        new[:, 1:][ended[:, :-1]] = -1  # and nothing is behind a new end
        return self._read(chains, new, np.flatnonzero((new != tokens).any(axis=-1)))

    def _sampled(self, old: Chains, which: Tokens, start: int, noise: Floats) -> Tokens:
        """What follows the first `start` tokens of these completions, (rows, noise's tokens), -1 behind."""
        found, tokens = np.full((len(which), noise.shape[-1]), -1), flat(old.tokens)
        for at in slices_of(which):
            prompts = self._prompts(which[at], old)
            x, real = pad([x + y[:start].tolist() for x, y in zip(prompts, tokens[which[at]], strict=True)])
            given = (
                x.to(self.model.device),
                real.to(self.model.device),
                torch.from_numpy(noise[at])[:, None],
            )
            drawn = sample_completions(self.model, *given, eos_token_id=self.tokenizer.eos_token_id)
            found[at] = torch.where(drawn.mask, drawn.tokens, -1)[:, 0].cpu().numpy()
        return found

    def _read(self, old: Chains, new: Tokens, which: Tokens) -> Chains:
        """New completions with log-probabilities and rewards: those of `which` made, others the old ones."""
        log_prob, reward = flat(old.log_prob).copy(), old.reward.ravel().copy()
        for at in slices_of(which):
            rows = which[at]
            log_prob[rows] = self._log_probs(self._prompts(rows, old), new[rows])
        if len(which):
            owners = [self.rows[i // old.tokens.shape[1]] for i in which]
            texts = texts_of([y[y >= 0].tolist() for y in new[which]], self.tokenizer)
            people = [row["completion"] for row in owners] if "completion" in owners[0] else None
            reward[which] = score(self.reward, [row["prompt"] for row in owners], texts, people).reward
        shape = old.tokens.shape
        return Chains(new.reshape(shape), log_prob.reshape(shape), reward.reshape(shape[:2]))

    @torch.no_grad()
    def _log_probs(self, prompts: list[list[int]], y: Tokens) -> Floats:
        """log ref of every token, (rows, T), 0 behind the end."""
        longest, found = int((y >= 0).sum(axis=-1).max()), np.zeros(y.shape)
        x, real = (each.to(self.model.device) for each in pad(prompts))
        tokens = torch.from_numpy(y[:, None, :longest]).to(self.model.device)
        how = {"prompt_mask": real, "completion_mask": tokens >= 0, "per_token": True}
        log_prob = sequence_log_probs(self.model, x, tokens.clamp(min=0), **how)
        found[:, :longest] = log_prob[:, 0].double().cpu().numpy()
        return found

    def _prompts(self, which: Tokens, chains: Chains) -> list[list[int]]:
        """Token ids of the prompts of these chains."""
        return [self.rows[i // chains.tokens.shape[1]]["prompt_ids"] for i in which]


def flat(values: NDArray[Any]) -> NDArray[Any]:
    """All chains of all prompts, (chains, T)."""
    return values.reshape(-1, values.shape[-1])


def slices_of(which: Tokens) -> list[slice]:
    """Batches of so many completions."""
    return [slice(start, start + TOGETHER) for start in range(0, len(which), TOGETHER)]
