"""Losses as other trainers write them, right and wrong: no line of them comes from the package.

Each style is its own: summed, per token, chunked, by hand, over two logits, surrogates with ratios.  A wrong
loss is a right one with the slip that its name says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import bandits as b

PAIR = ("chosen", "rejected", "reference_chosen", "reference_rejected")
MASKED = (*PAIR, "chosen_mask", "rejected_mask")
GROUP = ("log_prob", "reference_log_prob", "reward")
OLD = ("log_prob", "old_log_prob", "reference_log_prob", "reward")
SURROGATE = ("log_prob", "old_log_prob", "advantage")
BETA = 0.1
KTO_POINT = 0.2


@dataclass(frozen=True)
class Foreign:
    """A loss, what it takes and what it says that it is; `fault` None: it is right."""

    loss: Callable[..., Any]
    inputs: Sequence[str]
    against: Any
    fault: str | None = None
    k: int | None = None
    reduction: str = "mean"
    tolerance: float = 1e-6


# ---- what is not in the package: claims written out, over NumPy and torch ----------------------------------


class Labelled:
    """-log sigma(+-beta h) of one labelled answer (KTO's family without its reference point)."""

    k = 1
    beta = BETA

    def update(self, samples):
        h, p = samples.log_prob - samples.reference_log_prob, samples.desirable
        return b.Update(log_prob=self.beta * (p - 1 / (1 + np.e ** (-self.beta * h))))


class FrozenKTO:
    """KTO (Ethayarajh 2024, Eq. (8)) with its reference point frozen at z: weights 1 and 4/3.

    lambda_y - v(x, y): the loss 1 - sigma(beta h - z) of a desirable answer, 4/3 (1 - sigma(z - beta h)) of
    another; both have the slope sigma (1 - sigma) beta in size.
    """

    k = 1
    beta = BETA

    def update(self, samples):
        v = self.beta * (samples.log_prob - samples.reference_log_prob) - KTO_POINT
        steep, p = 1 / (2 + np.e**v + np.e**-v), samples.desirable
        return b.Update(log_prob=self.beta * steep * (p - 4 / 3 * (1 - p)))


class Referenceless:
    """-log sigma(beta (log pi(y_w) - log pi(y_l))): SimPO's family, without length and margin."""

    k = 2
    beta = BETA

    def update(self, samples):
        return b.DPO(self.beta).update(
            b.Samples(
                log_prob=samples.log_prob,
                reference_log_prob=0 * samples.log_prob,
                preference=samples.preference,
            )
        )


# ---- right, in other styles --------------------------------------------------------------------------------


def dpo(chosen, rejected, ref_chosen, ref_rejected, beta=BETA):
    chosen_rewards = beta * (chosen - ref_chosen)
    rejected_rewards = beta * (rejected - ref_rejected)
    return -F.logsigmoid(chosen_rewards - rejected_rewards).mean()


def dpo_per_token(chosen, rejected, ref_chosen, ref_rejected, chosen_mask, rejected_mask):
    def seq(logps, mask):
        return (logps * mask).sum(-1)

    pi = seq(chosen, chosen_mask) - seq(rejected, rejected_mask)
    ref = seq(ref_chosen, chosen_mask) - seq(ref_rejected, rejected_mask)
    return torch.nn.BCEWithLogitsLoss()(BETA * (pi - ref), torch.ones_like(pi))


def dpo_chunked(chosen, rejected, ref_chosen, ref_rejected):
    total, n = 0.0, chosen.size(0)
    for start in range(0, n, 7):
        rows = slice(start, start + 7)
        logratio = chosen[rows] - rejected[rows] - ref_chosen[rows] + ref_rejected[rows]
        total = total + F.softplus(-BETA * logratio).sum()
    return total / n


def dpo_by_hand(chosen, rejected, ref_chosen, ref_rejected):
    x = BETA * ((chosen - rejected) - (ref_chosen - ref_rejected))
    return torch.mean(torch.log1p(torch.exp(-x)))


def dpo_cross_entropy(chosen, rejected, ref_chosen, ref_rejected):
    logits = torch.stack([chosen - ref_chosen, rejected - ref_rejected], dim=1) * BETA
    return F.cross_entropy(logits, torch.zeros(len(chosen), dtype=torch.long))


def dpo_bfloat16(chosen, rejected, ref_chosen, ref_rejected):
    c, r, rc, rr = (t.to(torch.bfloat16) for t in (chosen, rejected, ref_chosen, ref_rejected))
    return -F.logsigmoid(BETA * ((c - rc) - (r - rr))).float().mean()


def dpo_float32(chosen, rejected, ref_chosen, ref_rejected):
    return dpo(chosen.float(), rejected.float(), ref_chosen.float(), ref_rejected.float())


def dpo_smoothed(chosen, rejected, ref_chosen, ref_rejected, eps=0.1):
    logits = BETA * ((chosen - ref_chosen) - (rejected - ref_rejected))
    return ((1 - eps) * -F.logsigmoid(logits) - eps * F.logsigmoid(-logits)).mean()


class IPOLoss(torch.nn.Module):
    def __init__(self, tau=BETA, reduction="none"):
        super().__init__()
        self.tau, self.reduction = tau, reduction

    def forward(self, chosen, rejected, ref_chosen, ref_rejected):
        h = (chosen - rejected) - (ref_chosen - ref_rejected)
        losses = torch.square(h - 0.5 / self.tau)
        return losses if self.reduction == "none" else losses.mean()


def rloo(log_prob, ref, reward, kl_coef=BETA):
    with torch.no_grad():
        rlhf_reward = reward - kl_coef * (log_prob - ref)
        k = rlhf_reward.shape[1]
        advantages = torch.zeros_like(rlhf_reward)
        for i in range(k):
            others = [rlhf_reward[:, j] for j in range(k) if j != i]
            advantages[:, i] = rlhf_reward[:, i] - torch.stack(others).mean(0)
    return -(advantages * log_prob).mean()


def rloo_ratio_of_one(log_prob, ref, reward, mask):
    sums = (log_prob * mask).sum(-1)
    R = (reward - BETA * (sums - (ref * mask).sum(-1))).detach()
    A = R - (R.sum(1, keepdim=True) - R) / (R.size(1) - 1)
    per_token = torch.exp(log_prob - log_prob.detach()) * A.unsqueeze(-1)
    return -(per_token * mask).sum(-1).mean()


def reinforce(log_prob, ref, reward):
    shaped = reward - BETA * (log_prob - ref)
    return -(shaped.detach() * log_prob).mean()


def ppo(log_prob, old, advantages, cliprange=0.2):
    ratio = torch.exp(log_prob - old)
    pg_losses = -advantages * ratio
    pg_losses2 = -advantages * torch.clamp(ratio, 1.0 - cliprange, 1.0 + cliprange)
    return torch.max(pg_losses, pg_losses2).mean()


def grpo(log_prob, old, ref, reward, beta=BETA, eps=0.2):
    mean, std = reward.mean(dim=1, keepdim=True), reward.std(dim=1, keepdim=True)
    A = (reward - mean) / std
    w = (log_prob - old).exp()
    kl = torch.exp(ref - log_prob) - (ref - log_prob) - 1
    return -(torch.minimum(w * A, torch.clip(w, 1 - eps, 1 + eps) * A) - beta * kl).mean()


def copg_squared(log_prob, ref, reward):
    R = reward - BETA * (log_prob - ref)
    return ((R[:, 0] - R[:, 1]) ** 2).sum() / (2 * BETA)


def kimi(log_prob, ref, reward):
    residual = reward - reward.mean(-1, keepdim=True) - BETA * (log_prob - ref)
    return residual.pow(2).mean()


def labelled(log_prob, ref, label):
    return F.binary_cross_entropy_with_logits(BETA * (log_prob - ref), label)


def kto(log_prob, ref, label, point=KTO_POINT, desirable=1.0, undesirable=4 / 3):
    reward = BETA * (log_prob - ref)
    good, bad = 1 - (reward - point).sigmoid(), 1 - (point - reward).sigmoid()
    return torch.where(label > 0.5, desirable * good, undesirable * bad).mean()


def kto_of_the_batch(log_prob, ref, label):
    """The published loss: its reference point is the mean log-ratio of the batch, not differentiated."""
    return kto(log_prob, ref, label, point=BETA * (log_prob - ref).mean().clamp(min=0).detach())


def simple_preference(chosen, rejected, ref_chosen, ref_rejected):
    return F.softplus(BETA * (rejected - chosen)).mean()


RIGHT = {
    "summed": Foreign(dpo, PAIR, b.DPO(BETA)),
    "per token": Foreign(dpo_per_token, MASKED, b.DPO(BETA)),
    "chunked": Foreign(dpo_chunked, PAIR, b.DPO(BETA)),
    "log-sigmoid by hand": Foreign(dpo_by_hand, PAIR, b.DPO(BETA)),
    "cross-entropy over two logits": Foreign(dpo_cross_entropy, PAIR, b.DPO(BETA)),
    "bfloat16": Foreign(dpo_bfloat16, PAIR, b.DPO(BETA), tolerance=2e-2),
    "float32": Foreign(dpo_float32, PAIR, b.DPO(BETA)),
    "smoothed labels": Foreign(dpo_smoothed, PAIR, b.DPO(BETA, smoothing=0.1)),
    "a module without reduction": Foreign(IPOLoss(), PAIR, b.IPO(BETA), reduction="none"),
    "leave-one-out in a loop": Foreign(rloo, GROUP, b.RLOO(BETA, k=4)),
    "tokens with a ratio of one": Foreign(rloo_ratio_of_one, (*GROUP, "mask"), b.RLOO(BETA, k=3)),
    "single answers": Foreign(reinforce, GROUP, b.PolicyGradient(BETA)),
    "PPO's two losses": Foreign(ppo, SURROGATE, b.PPO(BETA)),
    "Dr. GRPO's surrogate": Foreign(ppo, SURROGATE, b.GRPO(BETA, k=4, spread=b.unit_spread)),
    "GRPO whole": Foreign(grpo, OLD, b.GRPO(BETA, k=3)),
    "CoPG as a square, summed": Foreign(copg_squared, GROUP, b.CoPG(BETA), reduction="sum"),
    "Kimi's square": Foreign(kimi, GROUP, b.PMDMean(BETA, k=3)),
    "labels one by one": Foreign(labelled, ("log_prob", "reference_log_prob", "label"), Labelled()),
    "KTO, its point frozen": Foreign(kto, ("log_prob", "reference_log_prob", "label"), FrozenKTO()),
    "no reference": Foreign(simple_preference, PAIR, Referenceless()),
}


# ---- wrong, by one slip each -------------------------------------------------------------------------------


def sums(logps, mask):
    return (logps * mask).sum(dim=-1)


def means(logps, mask):
    return (logps * mask).sum(dim=-1) / mask.sum(dim=-1)


def margin(chosen, rejected, ref_chosen, ref_rejected):
    return (chosen - ref_chosen) - (rejected - ref_rejected)


def averaged(c, r, rc, rr, cm, rm, loss):
    return loss(means(c, cm) - means(rc, cm) - means(r, rm) + means(rr, rm))


def half_detached(c, r, rc, rr):
    return -F.logsigmoid(BETA * margin(c, r.detach(), rc, rr)).mean()


def centred_by_batch(c, r, rc, rr):
    x = BETA * margin(c, r, rc, rr)
    return F.softplus(-(x - x.mean())).mean()


def over_all_tokens(c, r, rc, rr, cm, rm):
    x = BETA * margin(sums(c, cm), sums(r, rm), sums(rc, cm), sums(rr, rm))
    return F.softplus(-x).sum() / (cm.sum() + rm.sum())


def over_own_tokens(c, r, rc, rr, cm, rm):
    x = BETA * margin(sums(c, cm), sums(r, rm), sums(rc, cm), sums(rr, rm))
    return (F.softplus(-x) / (cm.sum(-1) + rm.sum(-1))).mean()


def without_mask(c, r, rc, rr, cm, rm):
    x = BETA * margin(c.sum(-1), r.sum(-1), rc.sum(-1), rr.sum(-1))
    return F.softplus(-x).mean()


def out(reward):
    """Reward less the mean of the others."""
    k = reward.shape[-1]
    return reward - (reward.sum(-1, keepdim=True) - reward) / (k - 1)


def with_kl_loss(kl, sign=1.0):
    """Leave-one-out on the reward alone, and an estimator of the KL as a loss."""

    def loss(log_prob, ref, reward):
        policy_loss = -(out(reward).detach() * log_prob).mean()
        return policy_loss + sign * BETA * kl(log_prob, ref).mean()

    return loss


def with_kl_reward(kl):
    def loss(log_prob, ref, reward):
        shaped = reward - BETA * kl(log_prob, ref).detach()
        return -(out(shaped) * log_prob).mean()

    return loss


def k1(p, q):
    return p - q


def k2(p, q):
    return 0.5 * (p - q).square()


def k3(p, q):
    return torch.expm1(q - p) - (q - p)


def rloo_undetached(log_prob, ref, reward):
    return -(out(reward - BETA * (log_prob - ref)) * log_prob).mean()


def rloo_whitened(log_prob, ref, reward):
    R = (reward - BETA * (log_prob - ref)).detach()
    return -(out(R) / reward.std(-1, keepdim=True) * log_prob).mean()


def rloo_counting_itself(log_prob, ref, reward):
    h = (log_prob - ref).detach()
    kl_term = BETA * out(h)
    return -((reward - reward.mean(-1, keepdim=True) - kl_term) * log_prob).mean()


def rloo_token_mean(log_prob, ref, reward, mask):
    R = (reward - BETA * (sums(log_prob, mask) - sums(ref, mask))).detach()
    return -(out(R) * means(log_prob, mask)).mean()


def rloo_group_tokens(log_prob, ref, reward, mask):
    R = (reward - BETA * (sums(log_prob, mask) - sums(ref, mask))).detach()
    per_group = (out(R) * sums(log_prob, mask)).sum(-1) / mask.sum((-2, -1))
    return -per_group.mean()


def surrogate(objective):
    def loss(log_prob, old, advantages):
        return -objective((log_prob - old).exp(), advantages).mean()

    return loss


def ppo_shaped(log_prob, old, ref, reward):
    """The KL is charged to the reward, and nobody stops its gradient."""
    ratio = torch.exp(log_prob - old)
    A = reward - BETA * (log_prob - ref)
    return -torch.min(ratio * A, ratio.clamp(0.8, 1.2) * A).mean()


def ppo_per_token(log_prob, old, advantages, mask):
    ratio = torch.exp(log_prob - old)
    A = advantages.unsqueeze(-1)
    return -(torch.min(ratio * A, ratio.clamp(0.8, 1.2) * A) * mask).sum(-1).mean()


def grpo_kl(kl, beta=BETA):
    def loss(log_prob, old, ref, reward):
        A = (reward - reward.mean(1, keepdim=True)) / reward.std(1, keepdim=True)
        w = torch.exp(log_prob - old)
        clipped = torch.min(w * A, w.clamp(0.8, 1.2) * A)
        return (beta * kl(log_prob, ref) - clipped).mean()

    return loss


def copg_other_reference(log_prob, old, ref, reward):
    R = reward - BETA * (log_prob - old)
    return (R[:, 0] - R[:, 1]).square().mean()


DPO, IPO, RLOO = b.DPO(BETA), b.IPO(BETA), b.RLOO(BETA, k=4)
GRPO, DR_GRPO = b.GRPO(BETA, k=4), b.GRPO(BETA, k=4, spread=b.unit_spread)
ONE_BY_ONE = ("log_prob", "reference_log_prob", "label")

WRONG = {
    "ascent": Foreign(lambda *x: -dpo(*x), PAIR, DPO, "flipped sign"),
    "columns exchanged": Foreign(lambda c, r, rc, rr: dpo(r, c, rr, rc), PAIR, DPO, "flipped label"),
    "references exchanged": Foreign(lambda c, r, rc, rr: dpo(c, r, rr, rc), PAIR, DPO, "swapped reference"),
    "no reference": Foreign(lambda c, r, rc, rr: dpo(c, r, 0 * rc, 0 * rr), PAIR, DPO, "dropped reference"),
    "policy for reference": Foreign(lambda c, r, rc, rr: dpo(rc, rr, c, r), PAIR, DPO, "exchanged reference"),
    "mean over tokens": Foreign(
        lambda *x: averaged(*x, lambda m: F.softplus(-BETA * m).mean()), MASKED, DPO, "average for sum"
    ),
    "beta left out": Foreign(lambda *x: dpo(*x, beta=1.0), PAIR, DPO, "forgotten beta"),
    "beta twice": Foreign(lambda *x: dpo(*x, beta=BETA**2), PAIR, DPO, "squared beta"),
    "beta doubled": Foreign(lambda *x: dpo(*x, beta=2 * BETA), PAIR, DPO, "another beta"),
    "loser detached": Foreign(half_detached, PAIR, DPO, "stopped loser"),
    "winner detached": Foreign(lambda c, r, rc, rr: dpo(c.detach(), r, rc, rr), PAIR, DPO, "stopped winner"),
    "centred by the batch": Foreign(centred_by_batch, PAIR, DPO, "mixes the batch"),
    "divided by all tokens": Foreign(over_all_tokens, MASKED, DPO, "batch divisor"),
    "divided by its tokens": Foreign(over_own_tokens, MASKED, DPO, "divided by group tokens"),
    "mask unused": Foreign(without_mask, MASKED, DPO, "reads padding"),
    "smoothing unasked": Foreign(dpo_smoothed, PAIR, DPO, "another objective"),
    "IPO for DPO": Foreign(IPOLoss(reduction="mean"), PAIR, DPO, "another objective"),
    "IPO averaged": Foreign(
        lambda *x: averaged(*x, lambda m: (m - 1 / (2 * BETA)).square().mean()),
        MASKED,
        IPO,
        "average for sum",
    ),
    "IPO without tau": Foreign(lambda *x: (margin(*x) - 0.5).square().mean(), PAIR, IPO, "forgotten beta"),
    "IPO to the loser": Foreign(
        lambda *x: (margin(*x) + 0.5 / BETA).square().mean(), PAIR, IPO, "flipped label"
    ),
    "IPO's other target": Foreign(
        lambda *x: (margin(*x) - 1 / BETA).square().mean(), PAIR, IPO, "another beta"
    ),
    "k1 as loss": Foreign(with_kl_loss(k1), GROUP, RLOO, "k1 as loss"),
    "k2 as loss": Foreign(with_kl_loss(k2), GROUP, RLOO, "k2 as loss"),
    "k3 as loss": Foreign(with_kl_loss(k3), GROUP, RLOO, "k3 as loss"),
    "k2 in the reward": Foreign(with_kl_reward(k2), GROUP, RLOO, "k2 in reward"),
    "k3 in the reward": Foreign(with_kl_reward(k3), GROUP, RLOO, "k3 in reward"),
    "no KL": Foreign(with_kl_reward(lambda p, q: 0 * p), GROUP, RLOO, "dropped kl"),
    "KL the wrong way": Foreign(with_kl_reward(lambda p, q: q - p), GROUP, RLOO, "swapped kl"),
    "advantage not detached": Foreign(rloo_undetached, GROUP, RLOO, "dropped detach"),
    "whitened by the group": Foreign(rloo_whitened, GROUP, RLOO, "varying divisor"),
    "baseline counts itself": Foreign(rloo_counting_itself, GROUP, RLOO, "leave one in"),
    "mean of its tokens": Foreign(rloo_token_mean, (*GROUP, "mask"), RLOO, "divided by length"),
    "tokens of the group": Foreign(rloo_group_tokens, (*GROUP, "mask"), RLOO, "divided by group tokens"),
    "RLOO downhill": Foreign(lambda *x: -rloo(*x), GROUP, RLOO, "flipped sign"),
    "no clip": Foreign(surrogate(lambda w, A: w * A), SURROGATE, DR_GRPO, "forgotten clip"),
    "clipped above": Foreign(
        surrogate(lambda w, A: torch.min(w * A, w.clamp(max=1.2) * A)),
        SURROGATE,
        DR_GRPO,
        "clipped above only",
    ),
    "clipped below": Foreign(
        surrogate(lambda w, A: torch.min(w * A, w.clamp(min=0.8) * A)),
        SURROGATE,
        DR_GRPO,
        "clipped below only",
    ),
    "no minimum": Foreign(
        surrogate(lambda w, A: w.clamp(0.8, 1.2) * A), SURROGATE, DR_GRPO, "clip without minimum"
    ),
    "ratio left out": Foreign(lambda p, old, A: -(p * A).mean(), SURROGATE, DR_GRPO, "forgotten ratio"),
    "KL not detached": Foreign(ppo_shaped, OLD, b.PPO(BETA), "undetached reward"),
    "ratios of tokens": Foreign(ppo_per_token, (*SURROGATE, "mask"), DR_GRPO, "token by token"),
    "GRPO with k1": Foreign(grpo_kl(k1), OLD, GRPO, "k1 as loss"),
    "GRPO with k2": Foreign(grpo_kl(k2), OLD, GRPO, "k2 as loss"),
    "GRPO beta left out": Foreign(grpo_kl(k3, beta=1.0), OLD, GRPO, "forgotten beta"),
    "GRPO beta twice": Foreign(grpo_kl(k3, beta=BETA**2), OLD, GRPO, "squared beta"),
    "the sampler for the reference": Foreign(copg_other_reference, OLD, b.CoPG(BETA), "wrong reference"),
    "a reference too many": Foreign(dpo, PAIR, Referenceless(), "added reference"),
    "labels reversed": Foreign(
        lambda p, q, y: labelled(p, q, 1 - y), ONE_BY_ONE, Labelled(), "flipped label"
    ),
    "KTO, labels reversed": Foreign(
        lambda p, q, y: kto(p, q, 1 - y), ONE_BY_ONE, FrozenKTO(), "flipped label"
    ),
    "KTO without reference": Foreign(
        lambda p, q, y: kto(p, 0 * q, y), ONE_BY_ONE, FrozenKTO(), "dropped reference"
    ),
    "KTO with its weights exchanged": Foreign(
        lambda p, q, y: kto(p, q, y, desirable=4 / 3, undesirable=1.0),
        ONE_BY_ONE,
        FrozenKTO(),
        "another objective",
    ),
    "labelled without reference": Foreign(
        lambda p, q, y: labelled(p, 0 * q, y), ONE_BY_ONE, Labelled(), "dropped reference"
    ),
}
