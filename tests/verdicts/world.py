"""Which model, which groups, who samples, and with what probability?

One prompt, a GPT-2 over three tokens that writes at most two of them, the second of which ends an answer:
seven completions of one or two tokens, the arms.  Three policies: the reference, the one in training, and the
one that sampled; each is a setting of the same model's parameters.

    pairs      every (winner, loser), with the law of the pairs times Bradley-Terry
    answers    every answer with each label, a law of counts
    groups     every multiset of three answers, with its multinomial probability
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, combinations_with_replacement
from math import factorial, prod

import numpy as np
import torch
from enumerable import PROMPT, tiny_model
from torch import Tensor

from bandits import Bandit
from bandits.checks import Floats
from llm.exact import Completions, as_bandit, every_sequence, token_log_probs

VOCABULARY, TOKENS, END, K = 3, 2, 2, 3
ARMS = 7
COUNTS = (5, 1, 4, 2, 3, 1, 4)  # of 20: who sampled single answers


@dataclass(frozen=True)
class Groups:
    """Groups of arms (n, k), their probabilities (n,), and a 0/1 label of each where there is one."""

    arms: Tensor
    weight: Tensor
    label: Tensor | None = None

    def __len__(self) -> int:
        return len(self.arms)

    def some(self, rows: Tensor) -> Groups:
        return Groups(self.arms[rows], self.weight[rows], None if self.label is None else self.label[rows])


class World:
    """The model, its completions, and what they are worth."""

    def __init__(self) -> None:
        self.model = tiny_model("gpt2", vocabulary=VOCABULARY)
        self.origin = vector(self.model)
        self._tables: dict[bytes, tuple[Tensor, Tensor]] = {}
        self.tokens, self.lengths = every_sequence(VOCABULARY, TOKENS, END)
        rng = np.random.default_rng(5)
        self.reward = np.round(64 * rng.normal(0, 0.8, ARMS)) / 64  # exact in float32
        self.joint = rng.dirichlet(np.full(ARMS**2, 0.6)).reshape(ARMS, ARMS)
        self.desirable = np.array([0.9, 0.6, 0.8, 0.7, 0.95, 0.65, 0.75])
        mu1, away, aside = rng.normal(0, 0.6, (3, ARMS))
        self.reference = self.parameters(self.log_policy(self.origin) + mu1)
        log_reference = self.log_policy(self.reference)
        self.policy = self.parameters(log_reference + 1.2 * away)
        aside[ARMS - 1] = -1.6  # a bad answer that the policy has come to like: pi/mu beyond three
        self.sampler = self.parameters(log_reference + 1.2 * away + 1.5 * aside)

    @cached_property
    def mask(self) -> Tensor:
        """Which tokens are real, (A, T)."""
        return torch.arange(TOKENS) < self.lengths[:, None]

    @cached_property
    def bandit(self) -> Bandit:
        """The arms, with the reference that the model has."""
        log_prob = torch.from_numpy(self.log_policy(self.reference))
        made = as_bandit(Completions(self.tokens, self.lengths, log_prob), self.reward)
        return Bandit(made.reward, reference=made.reference, length=made.length, desirable=self.desirable)

    # ---- the model -----------------------------------------------------------------------------------------

    def token_log_prob(self) -> Tensor:
        """log pi(y_t | y_<t), (A, T), differentiable; zero behind the end."""
        return token_log_probs(self.model, PROMPT, Completions(self.tokens, self.lengths, self.lengths))

    def log_policy(self, parameters: Tensor) -> Floats:
        """log pi of every answer there, (A,)."""
        return self.table(parameters).sum(-1).numpy()

    def table(self, parameters: Tensor) -> Tensor:
        """log pi(y_t | y_<t) there, (A, T)."""
        return self._known(parameters)[0]

    def jacobian(self, parameters: Tensor) -> Tensor:
        """d log pi(y_t | y_<t) / d parameters, (A, T, P)."""
        return self._known(parameters)[1]

    def _known(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        key = parameters.numpy().tobytes()
        if key not in self._tables:
            load(self.model, parameters)
            table = self.token_log_prob()
            rows = torch.stack([flat_gradient(x, self.model) for x in table.reshape(-1)])
            self._tables[key] = table.detach(), rows.reshape(*table.shape, -1)
        return self._tables[key]

    def parameters(self, log_policy: Floats) -> Tensor:
        """Parameters at which the model has this policy, to 1e-13: Newton's method from where it is."""
        model = copy.deepcopy(self.model)
        load(model, self.origin)
        goal = torch.log_softmax(torch.as_tensor(log_policy), -1)
        for _ in range(100):
            table = token_log_probs(model, PROMPT, Completions(self.tokens, self.lengths, self.lengths))
            gap = goal - table.sum(-1).detach()
            if gap.abs().max() < 1e-13:
                return vector(model)
            rows = torch.stack([flat_gradient(x, model) for x in table.sum(-1)])
            step = torch.linalg.pinv(rows, rtol=1e-9) @ gap
            load(model, vector(model) + step * min(1.0, 1.0 / float(gap.abs().max())))
        raise AssertionError(f"the model does not reach the policy: {gap.abs().max():.1e} away")

    # ---- the groups ----------------------------------------------------------------------------------------

    @cached_property
    def pairs(self) -> Groups:
        """(winner, loser), both arms different; a pair of twins moves nothing in a contrastive loss."""
        wins = self.joint * self.bandit.preference
        ordered = wins + (self.joint * (1 - self.bandit.preference)).T
        first, second = np.nonzero(~np.eye(ARMS, dtype=bool))
        weight = ordered[first, second]
        return Groups(torch.from_numpy(np.stack([first, second], 1)), torch.from_numpy(weight / weight.sum()))

    @cached_property
    def answers(self) -> Groups:
        """Each arm liked, then each disliked."""
        arms = torch.arange(ARMS).repeat(2)[:, None]
        law = torch.tensor(COUNTS, dtype=torch.float64) / sum(COUNTS)
        liked = torch.from_numpy(self.desirable)
        label = torch.arange(2 * ARMS) < ARMS
        return Groups(arms, torch.cat([law * liked, law * (1 - liked)]), label.double())

    def own_pairs(self, sampler: Tensor) -> Groups:
        """Two answers drawn by the sampler, the one of more reward first: it has won."""
        law, best_first = np.exp(self.log_policy(sampler)), np.argsort(-self.reward).tolist()
        arms = list(combinations(best_first, 2))
        weight = torch.tensor([2 * law[i] * law[j] for i, j in arms])
        return Groups(torch.tensor(arms), weight / weight.sum())

    def own_answers(self, sampler: Tensor) -> Groups:
        """One answer drawn by the sampler."""
        return Groups(torch.arange(ARMS)[:, None], torch.from_numpy(np.exp(self.log_policy(sampler))))

    @cached_property
    def certain(self) -> Bandit:
        """The arms, where the one of more reward always wins."""
        wins = (np.sign(self.reward[:, None] - self.reward) + 1) / 2
        known = self.bandit
        return Bandit(known.reward, preference=wins, reference=known.reference, length=known.length)

    def groups(self, sampler: Tensor) -> Groups:
        """Multisets of K answers, each drawn by the sampler: no loss here looks at their order."""
        law = np.exp(self.log_policy(sampler))
        arms = list(combinations_with_replacement(range(ARMS), K))
        orders = [factorial(K) / prod(factorial(group.count(y)) for y in set(group)) for group in arms]
        weight = [n * prod(law[y] for y in group) for n, group in zip(orders, arms, strict=True)]
        return Groups(torch.tensor(arms), torch.tensor(weight, dtype=torch.float64))


# ---- parameters as one vector ------------------------------------------------------------------------------


def vector(model: torch.nn.Module) -> Tensor:
    """All parameters, (P,)."""
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def load(model: torch.nn.Module, parameters: Tensor) -> None:
    """Put a model of the same make there."""
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(parameters, model.parameters())


def flat_gradient(value: Tensor, model: torch.nn.Module) -> Tensor:
    """d value / d parameters, (P,), in double precision."""
    found = torch.autograd.grad(
        value, list(model.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([each.reshape(-1).double() for each in found])
