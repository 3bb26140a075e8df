"""Where completions come from: a batch of rows becomes `Samples`.

    Recorded     a scored, compared or judged      CoPG, DPO, IPO, DRO, A-LoL, SRPO, SimPO, ORPO, KTO
                 data set
    OnPolicy     the policy in training            RLOO, ReMax, PPO, GRPO, online IPO and DPO, Nash-MD

They are `TokenSamples`: an algorithm of whole answers looks at the sums, a token-wise one at their terms.

Preferences are the data's labels, or made of the rewards: Bradley-Terry (T0.2), or their order.  A V is one
of three: in training (`trained_value`, DRO's, also for k = 1), the mean reward of a prompt's completions
(`mean_reward`, A-LoL's, for completions of the reference), or eliminated, as the mean of R over the
completions (DRO, k > 1).  KTO's reference point goes in the same place: `Mismatched`.
SRPO's reviser is the model itself, and its revision reference the reference.

Fresh samples may be reused for some steps: the policy then moves away from mu, who drew them, and what
clips pi/mu acts.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bandits.samples import Samples, TokenSamples, bradley_terry
from llm.beside import prompt_values, revision_log_probs
from llm.data import slices
from llm.decode import Decoded, greedy_completions, sample_completions, token_opponents, uniform_noise
from llm.generate import score_groups, texts_of
from llm.head import unwrapped
from llm.layouts import Row
from llm.log_probs import sequence_log_probs
from llm.rewards import Reward
from llm.tokens import collate

Batch = dict[str, Any]
NUMBER = "number"  # the column with the number of a row, which its noise depends on


def trained_value(model: nn.Module, batch: Batch) -> Tensor:
    """V(x) in training, (B,), of a model with `attach_value`."""
    return prompt_values(model, batch["prompts"], batch["prompt_mask"])


def mean_reward(model: nn.Module, batch: Batch) -> Tensor:
    """Mean reward of the completions of each prompt, (B,), if there are several."""
    if batch["rewards"].shape[-1] < 2:
        raise ValueError("the mean over one completion is that completion itself; sample at least k = 2")
    return batch["rewards"].mean(-1)


@dataclass(frozen=True)
class Mismatched:
    """KTO's estimate of KL(pi || ref): mean log pi/ref of each prompt with the next one's completion, (B,).

    Section 3.2, Ethayarajh 2024, arXiv:2402.01306: the whole batch shares it, and nothing is trained through
    it; where it is negative the algorithm takes 0  (T9.4).
    """

    reference: nn.Module  # a frozen copy of the model

    @torch.no_grad()
    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        size = len(batch["prompts"])
        if size < 2:
            raise ValueError("KTO's point needs another prompt's completion; take a batch of at least 2")
        inputs = {name: batch[name] for name in ("prompts", "prompt_mask")}
        inputs |= {name: batch[name].roll(1, dims=0) for name in ("completions", "completion_mask")}
        log_ratio = sequence_log_probs(model, **inputs) - sequence_log_probs(self.reference, **inputs)
        return log_ratio.mean().expand(size)


def _desirable(batch: Batch, ranked: bool) -> Tensor | None:
    """The data's labels; of rewards, if they are `ranked`, whether one is above the mean of its prompt."""
    if ranked and "rewards" in batch:
        return (batch["rewards"] > batch["rewards"].mean(-1, keepdim=True)).to(batch["rewards"])
    labels: Tensor | None = batch.get("labels")
    return labels


@dataclass(frozen=True)
class Recorded:
    """Samples of a data set, whose reference log-probabilities are cached."""

    revision: Tensor | None = None  # token ids of the instruction to revise, (I,), for SRPO
    value: Callable[[nn.Module, Batch], Tensor] | None = None  # `trained_value`, `mean_reward`, `Mismatched`
    reference: nn.Module | None = None  # for algorithms that look at log ref of each token: a frozen copy
    ranked: bool = False  # preferences are the order of the rewards

    def __call__(self, model: nn.Module, batch: Batch) -> Samples:
        x, y = batch["prompts"], batch["completions"]
        masks = {"prompt_mask": batch["prompt_mask"], "completion_mask": batch["completion_mask"]}
        samples = with_preferences(
            TokenSamples(
                **of_tokens(sequence_log_probs(model, x, y, **masks, per_token=True), batch),
                token_reference_log_prob=self._token_reference(x, y, masks),
                value=None if self.value is None else self.value(model, batch),
                reference_log_prob=batch["reference_log_probs"],
                reward=batch.get("rewards"),
                desirable=_desirable(batch, self.ranked),
                behavior_log_prob=batch.get("behavior_log_probs"),
            ),
            self.ranked,
        )
        if self.revision is None:
            return samples
        revised = revision_log_probs(model, x, y, instruction=self.revision.to(x.device), **masks)
        reference = batch["reference_log_probs"][..., :, None].expand_as(revised)
        return replace(samples, revision_log_prob=revised, reference_revision_log_prob=reference)

    @torch.no_grad()
    def _token_reference(self, x: Tensor, y: Tensor, masks: dict[str, Tensor]) -> Tensor | None:
        return self.reference and sequence_log_probs(self.reference, x, y, **masks, per_token=True)


class Drawn(NamedTuple):
    """Completions of one batch, and what stays as it is while they are used."""

    step: int
    inputs: dict[str, Tensor]  # of `sequence_log_probs`
    scores: dict[str, Tensor]  # fields of `Samples`


@dataclass(frozen=True)
class OnPolicy:
    """Samples of the policy, scored; half of them by the algorithm's opponent if it brings one.

    They are drawn at steps that are multiples of `reuse`; the prompts of the other steps are passed over.
    """

    algorithm: Any  # for its `opponent` (Nash-MD: mixed token by token)
    reference: nn.Module  # a frozen copy of the model
    tokenizer: PreTrainedTokenizerBase
    reward: Reward
    k: int  # completions sampled for each prompt
    max_new_tokens: int
    seed: int  # the noise is a function of it, of the step and of the prompt's number
    greedy: bool = False  # also score the greedy completion (ReMax)
    reuse: int = 1  # steps that use the same samples
    ranked: bool = False  # preferences are the order of the rewards
    kept: deque[Drawn] = field(default_factory=deque, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.reuse < 1:
            raise ValueError(f"reuse must be at least 1, but is {self.reuse}; 1 draws at every step")
        if self._opponent and self.k % 2:
            raise ValueError(
                f"k must be even, half of them the opponent's, but is {self.k}; choose {self.k + 1}"
            )

    @property
    def _opponent(self) -> Any:
        return getattr(self.algorithm, "opponent", None)

    @property
    def only_own(self) -> bool:
        """Whether all samples are the policy's of this very step."""
        return self.reuse == 1 and self._opponent is None

    def __call__(self, model: nn.Module, batch: Batch) -> Samples:
        fresh = batch["step"] % self.reuse == 0
        drawn = self._draw(unwrapped(model), batch) if fresh else self.kept.popleft()
        batch["completion_mask"] = drawn.inputs["completion_mask"]
        found = of_tokens(sequence_log_probs(model, **drawn.inputs, per_token=True), batch)
        drawn.scores.setdefault("behavior_log_prob", found["log_prob"].detach())
        drawn.scores.setdefault("token_behavior_log_prob", found["token_log_prob"].detach())
        if fresh and self.kept and self.kept[0].step != drawn.step:
            self.kept.clear()
        self.kept.append(drawn)  # batches come in the same order again
        found |= drawn.scores
        if self._opponent:  # pairs of the policy's and the opponent's, (B, k / 2, 2)
            found = {name: x.unflatten(1, (2, -1)).transpose(1, 2) for name, x in found.items()}
        return with_preferences(TokenSamples(**found), self.ranked)

    @torch.no_grad()
    def _draw(self, model: nn.Module, batch: Batch) -> Drawn:
        training = model.training
        model.eval()  # gradient checkpointing knows no key-value cache
        x, end = (batch["prompts"], batch["prompt_mask"]), {"eos_token_id": self.tokenizer.eos_token_id}
        noise = uniform_noise([self.seed, batch["step"]], batch["numbers"], self.k, self.max_new_tokens)
        if self._opponent is None:
            decoded = sample_completions(model, *x, noise, **end)
        else:
            mine, its = noise.chunk(2, dim=1)
            own = sample_completions(model, *x, mine, **end)
            other = token_opponents(self._opponent, model, self.reference, *x, its, **end)
            decoded = Decoded(*(torch.cat(pair, dim=1) for pair in zip(own, other, strict=True)))
        inputs = {name: batch[name] for name in ("prompts", "prompt_mask")}
        inputs |= {"completions": decoded.tokens, "completion_mask": decoded.mask}
        reference = sequence_log_probs(self.reference, **inputs, per_token=True)
        scores = {"reference_log_prob": reference.sum(-1), "token_reference_log_prob": reference}
        scores["reward"] = self._rewards(batch, decoded)
        if self.greedy:
            best = greedy_completions(model, *x, max_new_tokens=self.max_new_tokens, **end)
            scores["greedy_reward"] = self._rewards(batch, best)[:, 0]
        model.train(training)
        return Drawn(batch["step"], inputs, scores)

    def _rewards(self, batch: Batch, decoded: Decoded) -> Tensor:
        texts = [texts_of(ids, self.tokenizer) for ids in decoded.ids]
        found = score_groups(self.reward, batch["texts"], texts, batch["references"]).reward
        return torch.from_numpy(found).float().to(decoded.tokens.device)


Source = Recorded | OnPolicy


def of_tokens(token_log_prob: Tensor, batch: Batch) -> dict[str, Tensor]:
    """What is seen of the tokens, (B, k, T), zero behind the last, and of their sums and numbers, (B, k)."""
    length = batch["completion_mask"].sum(-1).to(token_log_prob)
    mask = torch.arange(token_log_prob.shape[-1], device=length.device) < length[..., None]
    found = {"log_prob": token_log_prob.sum(-1), "token_log_prob": token_log_prob}
    return found | {"mask": mask.to(token_log_prob), "length": length}


def with_preferences(samples: Samples, ranked: bool = False) -> Samples:
    """Preferences within each group, and the group as the population that expectations run over.

    Where there are rewards Bradley-Terry of them, or, `ranked`, 1 for the higher and 1/2 for a tie; else the
    data's order, the first completion having won.
    """
    log_prob, size = samples.log_prob, samples.log_prob.shape[-1]
    if samples.reward is None:
        first_won = torch.ones(size, size).triu(1) + torch.eye(size) / 2
        preference = first_won.to(log_prob).expand(*log_prob.shape, size)
    else:
        of_rewards = order if ranked else bradley_terry
        preference = of_rewards(samples.reward.double()).to(log_prob)
    uniform = torch.full_like(log_prob, -math.log(size))
    everyone = Samples(
        log_prob=log_prob,
        reference_log_prob=samples.reference_log_prob,
        reward=samples.reward,
        behavior_log_prob=uniform,
    )
    return replace(samples, preference=preference, population=everyone)


def order(reward: Tensor) -> Tensor:
    """P(y_i beats y_j) of one who always takes the higher reward, (..., k, k)."""
    return 0.5 + 0.5 * (reward[..., :, None] - reward[..., None, :]).sign()


def collate_rows(rows: Sequence[Row]) -> Batch:
    """A batch of encoded rows with whatever numbers, texts and references they carry."""
    batch: Batch = dict(collate(rows))
    for name in ("rewards", "labels", "reference_log_probs", "behavior_log_probs"):
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
    for _, batch in slices(rows, batch_size):
        inputs = {name: tensor.to(reference.device) for name, tensor in collate(batch).items()}
        found += sequence_log_probs(reference, **inputs).double().tolist()
    return rows.add_column("reference_log_probs", found)
