"""Where completions come from: a batch of rows becomes `Samples`.

    Recorded     a scored or compared data set     CoPG, DPO, IPO, DRO, A-LoL, SRPO
    OnPolicy     the policy in training            RLOO, ReMax, PPO, GRPO, online IPO and DPO, Nash-MD

Preferences are the data's labels, or Bradley-Terry of the rewards (T0.2).  A V is one of three: in training
(`trained_value`, DRO's, also for k = 1), the mean reward of a prompt's completions (`mean_reward`, A-LoL's,
for completions of the reference), or eliminated, as the mean of R over the completions (DRO, k > 1).
SRPO's reviser is the model itself, and its revision reference the reference.

Fresh samples may be reused for some steps: the policy then moves away from mu, who drew them, and what
clips pi/mu acts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bandits.samples import Samples, bradley_terry
from llm.beside import prompt_values, revision_log_probs
from llm.decode import Decoded, greedy_completions, sample_completions, token_opponents, uniform_noise
from llm.generate import sampled_ids, texts_of
from llm.head import unwrapped
from llm.layouts import Row
from llm.log_probs import sequence_log_probs
from llm.rewards import Reward, score
from llm.tokens import collate, pad

Batch = dict[str, Any]
NUMBER = "number"  # the column with the number of a row, which its noise depends on


class Source(Protocol):
    """Where completions come from; their `completion_mask` is put into the batch."""

    def __call__(self, model: nn.Module, batch: Batch) -> Samples: ...


def trained_value(model: nn.Module, batch: Batch) -> Tensor:
    """V(x) in training, (B,), of a model with `attach_value`."""
    return prompt_values(model, batch["prompts"], batch["prompt_mask"])


def mean_reward(model: nn.Module, batch: Batch) -> Tensor:
    """Mean reward of the completions of each prompt, (B,).

    Raises:
        ValueError: there is one completion a prompt.
    """
    if batch["rewards"].shape[-1] < 2:
        raise ValueError("the mean over one completion is that completion itself; sample at least k = 2")
    return batch["rewards"].mean(-1)


@dataclass(frozen=True)
class Recorded:
    """Samples of a data set, whose reference log-probabilities are cached.

    Args:
        revision: token ids of the instruction to revise, (I,): SRPO needs it, others leave it None.
        value: V of a batch, for DRO (`trained_value`) and A-LoL (`mean_reward`).
    """

    revision: Tensor | None = None
    value: Callable[[nn.Module, Batch], Tensor] | None = None

    def __call__(self, model: nn.Module, batch: Batch) -> Samples:
        x, y = batch["prompts"], batch["completions"]
        masks = {"prompt_mask": batch["prompt_mask"], "completion_mask": batch["completion_mask"]}
        samples = with_preferences(
            Samples(
                value=None if self.value is None else self.value(model, batch),
                log_prob=sequence_log_probs(model, x, y, **masks),
                reference_log_prob=batch["reference_log_probs"],
                reward=batch.get("rewards"),
                behavior_log_prob=batch.get("behavior_log_probs"),
            )
        )
        if self.revision is None:
            return samples
        revised = revision_log_probs(model, x, y, instruction=self.revision.to(x.device), **masks)
        reference = batch["reference_log_probs"][..., :, None].expand_as(revised)
        return replace(samples, revision_log_prob=revised, reference_revision_log_prob=reference)


class Drawn(NamedTuple):
    """Completions of one batch, and what stays as it is while they are used."""

    step: int
    inputs: dict[str, Tensor]  # of `sequence_log_probs`
    scores: dict[str, Tensor]  # fields of `Samples`


@dataclass(frozen=True)
class OnPolicy:
    """Samples of the policy, scored; half of them by the algorithm's opponent if it brings one.

    Args:
        algorithm: for its `opponent` (Nash-MD: mixed token by token).
        reference: a frozen copy of the model.
        tokenizer: of both.
        reward: of texts, see `llm.rewards`.
        k: completions sampled for each prompt.
        max_new_tokens: longest completion.
        seed: the noise is a function of it, of the step and of the prompt's number.
        greedy: also score the greedy completion (ReMax).
        reuse: steps that use the same samples.  They are drawn at steps that are multiples of it; the
            prompts of the other steps are passed over.
    """

    algorithm: Any
    reference: nn.Module
    tokenizer: PreTrainedTokenizerBase
    reward: Reward
    k: int
    max_new_tokens: int
    seed: int
    greedy: bool = False
    reuse: int = 1
    kept: deque[Drawn] = field(default_factory=deque, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.reuse < 1:
            raise ValueError(f"reuse must be at least 1, but is {self.reuse}; 1 draws at every step")
        if hasattr(self.algorithm, "opponent") and self.k % 2:
            raise ValueError(
                f"k must be even, half of them the opponent's, but is {self.k}; choose {self.k + 1}"
            )

    @property
    def only_own(self) -> bool:
        """Whether all samples are the policy's of this very step."""
        return self.reuse == 1 and not hasattr(self.algorithm, "opponent")

    def __call__(self, model: nn.Module, batch: Batch) -> Samples:
        fresh = batch["step"] % self.reuse == 0
        drawn = self._draw(unwrapped(model), batch) if fresh else self.kept.popleft()
        log_prob = sequence_log_probs(model, **drawn.inputs)
        batch["completion_mask"] = drawn.inputs["completion_mask"]
        drawn.scores.setdefault("behavior_log_prob", log_prob.detach())
        if fresh and self.kept and self.kept[0].step != drawn.step:
            self.kept.clear()
        self.kept.append(drawn)  # batches come in the same order again
        found = {"log_prob": log_prob, **drawn.scores}
        if hasattr(self.algorithm, "opponent"):  # pairs of the policy's and the opponent's, (B, k / 2, 2)
            found = {name: x.unflatten(-1, (2, -1)).mT for name, x in found.items()}
        return with_preferences(Samples(**found))

    @torch.no_grad()
    def _draw(self, model: nn.Module, batch: Batch) -> Drawn:
        training = model.training
        model.eval()  # gradient checkpointing knows no key-value cache
        decoded = self._decoded(model, batch)
        x, x_real = batch["prompts"], batch["prompt_mask"]
        inputs = {"prompts": x, "completions": decoded.tokens}
        inputs |= {"prompt_mask": x_real, "completion_mask": decoded.mask}
        reference = sequence_log_probs(self.reference, **inputs)
        scores = {"reference_log_prob": reference, "reward": self._rewards(batch, decoded).to(x.device)}
        if self.greedy:
            end, longest = self.tokenizer.eos_token_id, self.max_new_tokens
            best = greedy_completions(model, x, x_real, max_new_tokens=longest, eos_token_id=end)
            scores["greedy_reward"] = self._rewards(batch, best)[:, 0].to(x.device)
        model.train(training)
        return Drawn(batch["step"], inputs, scores)

    def _decoded(self, model: nn.Module, batch: Batch) -> Decoded:
        x, x_real, end = batch["prompts"], batch["prompt_mask"], self.tokenizer.eos_token_id
        noise = uniform_noise([self.seed, batch["step"]], batch["numbers"], self.k, self.max_new_tokens)
        if not hasattr(self.algorithm, "opponent"):
            return sample_completions(model, x, x_real, noise, eos_token_id=end)
        half = self.k // 2
        own = sample_completions(model, x, x_real, noise[:, :half], eos_token_id=end)
        mixture = self.algorithm.opponent
        other = token_opponents(mixture, model, self.reference, x, x_real, noise[:, half:], eos_token_id=end)
        return Decoded(*(torch.cat(pair, dim=1) for pair in zip(own, other, strict=True)))

    def _rewards(self, batch: Batch, decoded: Decoded) -> Tensor:
        k = decoded.tokens.shape[1]
        ids = [y for row in sampled_ids(decoded) for y in row]
        prompts = [text for text in batch["texts"] for _ in range(k)]
        references = None
        if batch["references"] is not None:
            references = [text for text in batch["references"] for _ in range(k)]
        found = score(self.reward, prompts, texts_of(ids, self.tokenizer), references).reward
        return torch.from_numpy(found).float().view(-1, k)


def with_preferences(samples: Samples) -> Samples:
    """Preferences within each group, and the group as the population that expectations run over.

    Bradley-Terry where there are rewards; else the data's order, the first completion having won.
    """
    log_prob, size = samples.log_prob, samples.log_prob.shape[-1]
    if samples.reward is None:
        first_won = torch.ones(size, size).triu(1) + torch.eye(size) / 2
        preference = first_won.to(log_prob).expand(*log_prob.shape, size)
    else:
        preference = bradley_terry(samples.reward.double()).to(log_prob)
    uniform = torch.full_like(log_prob, -math.log(size))
    everyone = Samples(
        log_prob=log_prob,
        reference_log_prob=samples.reference_log_prob,
        reward=samples.reward,
        behavior_log_prob=uniform,
    )
    return replace(samples, preference=preference, population=everyone)


def collate_rows(rows: Sequence[Row]) -> Batch:
    """A batch of encoded rows with whatever numbers, texts and references they carry."""
    if "completion_ids" in rows[0]:
        batch: Batch = dict(collate(rows))
    else:
        batch = dict(zip(("prompts", "prompt_mask"), pad([row["prompt_ids"] for row in rows]), strict=True))
    for name in ("rewards", "reference_log_probs", "behavior_log_probs"):
        if name in rows[0]:
            batch[name] = torch.tensor([row[name] for row in rows])
    batch["numbers"] = [row[NUMBER] for row in rows]
    batch["texts"] = [row["prompt"] for row in rows]
    batch["references"] = [row["completion"] for row in rows] if "completion" in rows[0] else None
    return batch


@torch.no_grad()
def with_reference_log_probs(rows: Dataset, reference: PreTrainedModel, batch_size: int = 16) -> Dataset:
    """The same encoded rows with `reference_log_probs`, for data that came without them."""
    found: list[list[float]] = []
    for start in range(0, len(rows), batch_size):
        batch = collate(rows.select(range(start, min(start + batch_size, len(rows)))).to_list())
        inputs = {name: tensor.to(reference.device) for name, tensor in batch.items()}
        found += sequence_log_probs(reference, **inputs).double().tolist()
    return rows.add_column("reference_log_probs", found)
