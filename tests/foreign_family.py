"""Losses of the family as their trainers write them, right and wrong: no line of them comes from the package.

Beside those of `foreign_losses`: preference losses after DPO, regressions, selection, groups and ratios,
estimators of the KL.  A wrong loss is a right one with the slip that its name says.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

import bandits as b
from foreign_losses import (
    BETA,
    GROUP,
    KTO_POINT,
    MASKED,
    OLD,
    ONE_BY_ONE,
    PAIR,
    Foreign,
    k2,
    k3,
    kto,
    means,
    out,
    rloo,
    sums,
    with_kl_loss,
    with_kl_reward,
)

BARE = ("chosen", "rejected", "chosen_mask", "rejected_mask")
CLONED = ("log_prob", "reward")
SAMPLED = ("log_prob", "old_log_prob", "reward")
TOKENS = (*SAMPLED, "mask")
STEEP = 0.7  # a hinge at the margin 1 should bind now and then


# ---- pairs -------------------------------------------------------------------------------------------------


def ratios(chosen, rejected, ref_chosen, ref_rejected):
    return chosen - ref_chosen, rejected - ref_rejected


def exponential(*x, beta=BETA):
    won, lost = ratios(*x)
    return (beta * lost - beta * won).exp().mean()


def hinge(*x, beta=STEEP):
    won, lost = ratios(*x)
    logits = beta * (won - lost)
    return torch.maximum(1 - logits, torch.zeros_like(logits)).mean()


def robust(*x, beta=BETA, eps=0.1):
    won, lost = ratios(*x)
    logits = beta * (won - lost)
    losses = -(1 - eps) * F.logsigmoid(logits) + eps * F.logsigmoid(-logits)
    return (losses / (1 - 2 * eps)).mean()


def calibrated(*x, beta=BETA, lost_too=1.0):
    won, lost = ratios(*x)
    half = torch.tensor(0.5 / beta, dtype=won.dtype)
    calibration = F.mse_loss(won, half.expand_as(won)) + lost_too * F.mse_loss(lost, -half.expand_as(lost))
    return F.softplus(lost - won).mean() + 0.5 * calibration


def exo(*x, beta=BETA, eps=0.1):
    log_q = torch.log_softmax(beta * torch.stack(ratios(*x), dim=-1), dim=-1)
    log_p = torch.tensor([1 - eps, eps], dtype=log_q.dtype).log()
    return F.kl_div(log_p.expand_as(log_q), log_q, log_target=True, reduction="batchmean")


def exo_forward(*x, beta=BETA, eps=0.1):
    log_q = torch.log_softmax(beta * torch.stack(ratios(*x), dim=-1), dim=-1)
    log_p = torch.tensor([1 - eps, eps], dtype=log_q.dtype).log()
    return F.kl_div(log_q, log_p.expand_as(log_q), log_target=True, reduction="batchmean")


def nca(*x, beta=BETA):
    good, bad = (beta * h for h in ratios(*x))
    return -(F.logsigmoid(good) + 0.5 * F.logsigmoid(-good) + 0.5 * F.logsigmoid(-bad)).mean()


def sppo(*x, target=0.5 / BETA):
    a, b_ = ratios(*x)
    return ((a - target) ** 2 + (b_ + target) ** 2).mean()


def chi(*x, beta=BETA):
    good, bad = (h.exp() + h for h in ratios(*x))
    return -F.logsigmoid(beta * (good - bad)).mean()


def simpo(chosen, rejected, chosen_mask, rejected_mask, beta=STEEP, gamma=0.3):
    logits = means(chosen, chosen_mask) - means(rejected, rejected_mask)
    return -F.logsigmoid(beta * (logits - gamma / beta)).mean()


def simpo_with_reference(c, r, rc, rr, cm, rm):
    """The mean log-ratio for the mean log-probability."""
    return simpo(c - rc, r - rr, cm, rm)


def orpo(chosen, rejected, chosen_mask, rejected_mask, weight=0.1):
    chosen, rejected = means(chosen, chosen_mask), means(rejected, rejected_mask)
    log_odds = chosen - rejected - (torch.log1p(-chosen.exp()) - torch.log1p(-rejected.exp()))
    return -chosen.mean() - weight * F.logsigmoid(log_odds).mean()


# ---- regressions and selection -----------------------------------------------------------------------------


def oapl(log_prob, ref, reward, beta=BETA):
    value = beta * ((reward / beta).logsumexp(-1, keepdim=True) - math.log(reward.shape[-1]))
    return F.mse_loss(beta * (log_prob - ref), reward - value)


def rebel(log_prob, ref, reward):
    h = log_prob - ref
    return F.mse_loss(BETA * (h[:, 0] - h[:, 1]), reward[:, 0] - reward[:, 1])


def qrpo(log_prob, ref, reward, sign=1.0):
    """The quantile among the group's own, and Z of a uniform one."""
    quantile = (reward.unsqueeze(-1) >= reward.unsqueeze(-2)).double().mean(-1)
    log_z = math.log(BETA) + math.log(math.expm1(1 / BETA))
    return (quantile - BETA * log_z - sign * BETA * (log_prob - ref)).square().mean()


def asymre(log_prob, reward, baseline=0.2):
    return ((baseline - reward) * log_prob).mean()


def topr(log_prob, old, reward, baseline=0.1, taper=1.0):
    A = reward - baseline
    taken = torch.exp(taper * (log_prob - old)).clamp(max=1.0).detach()
    return -(torch.where(A >= 0, A, A * taken) * log_prob).mean()


def gold(log_prob, reward, floor=0.1):
    weight = torch.clamp(log_prob.exp(), min=floor).detach()
    return -(weight * reward * log_prob).mean()


def best(log_prob, reward):
    return -log_prob.gather(-1, reward.argmax(-1, keepdim=True)).mean()


# ---- groups and ratios -------------------------------------------------------------------------------------


def whitened(reward):
    return (reward - reward.mean(-1, keepdim=True)) / reward.std(-1, keepdim=True)


def cispo(log_prob, old, reward, cap=2.0):
    weight = torch.exp(log_prob - old).clamp(max=cap)
    return -(weight.detach() * whitened(reward) * log_prob).mean()


def cispo_undetached(log_prob, old, reward):
    return -(torch.exp(log_prob - old).clamp(max=2.0) * whitened(reward) * log_prob).mean()


def gspo(log_prob, old, reward, mask, eps=0.05):
    s, A = means(log_prob - old, mask).exp(), whitened(reward)
    return -torch.minimum(s * A, s.clamp(1 - eps, 1 + eps) * A).mean()


def gspo_unclipped(log_prob, old, reward, mask):
    return -(means(log_prob - old, mask).exp() * whitened(reward)).mean()


def dr_grpo(log_prob, old, ref, reward, beta=BETA, whiten=False):
    A = whitened(reward) if whiten else reward - reward.mean(-1, keepdim=True)
    w = (log_prob - old).exp()
    return (beta * k3(log_prob, ref) - torch.min(w * A, w.clamp(0.8, 1.2) * A)).mean()


def dapo(log_prob, old, reward, mask, minimum=True):
    """Clip-higher, and the tokens of the group for a divisor."""
    w, A = sums(log_prob - old, mask).exp(), whitened(reward)
    held = w.clamp(0.8, 1.28) * A
    objective = torch.min(w * A, held) if minimum else held
    return -(objective.sum(-1) / mask.sum((-2, -1))).mean()


def max_rl(log_prob, old, reward):
    """Who passes, over how many of the group do, less one."""
    passed = (reward > 0).double()
    rate = passed.mean(-1, keepdim=True)
    A = torch.where(rate > 0, passed / rate.clamp(min=1e-9) - 1, torch.zeros_like(rate))
    w = (log_prob - old).exp()
    return -torch.min(w * A, w.clamp(0.8, 1.2) * A).mean()


def kl_with_ratio(log_prob, old, ref, reward):
    """Leave-one-out, and pi/mu times the third estimator, the ratio differentiated."""
    kl = torch.exp(log_prob - old) * k3(log_prob, ref)
    return -(out(reward) * log_prob).mean() + BETA * kl.mean()


K = 4
KTO = b.KTO(BETA, undesirable_weight=4 / 3, reference_point=KTO_POINT / BETA)
EXPONENTIAL, EXO = b.ConvexLoss(BETA, b.exponential), b.EXO(BETA, smoothing=0.1)
SLIC, SIMPO = b.SLiC(STEEP), b.SimPO(STEEP, margin=0.3)
OAPL, QRPO = b.OAPL(BETA, k=K), b.QRPO(BETA, quantile=b.group_quantile, k=K)
GSPO, DR_GRPO, DAPO = b.GSPO(k=K, clip=0.05), b.DrGRPO(BETA, k=K), b.DAPO(k=K)
CISPO, MAX_RL = b.CISPO(k=K), b.MaxRL(k=K)
RLOO = b.RLOO(BETA, k=K)
K2_LOSS, K3_REWARD = b.WithKLLoss(RLOO), b.WithKLReward(RLOO, b.k3)

RIGHT = {
    "exponential": Foreign(exponential, PAIR, EXPONENTIAL),
    "a maximum with zero": Foreign(hinge, PAIR, SLIC),
    "robust": Foreign(robust, PAIR, b.RobustDPO(BETA)),
    "calibrated by squares": Foreign(calibrated, PAIR, b.CalDPO(BETA)),
    "EXO as torch's KL": Foreign(exo, PAIR, EXO),
    "NCA's pair": Foreign(nca, PAIR, b.NCA(BETA)),
    "SPPO, hard": Foreign(sppo, PAIR, b.SPPO(BETA)),
    "chi-squared": Foreign(chi, PAIR, b.ChiPO(BETA)),
    "means of tokens and a target": Foreign(simpo, BARE, SIMPO),
    "odds": Foreign(orpo, BARE, b.ORPO()),
    "log-sum-exp of the group": Foreign(oapl, GROUP, OAPL),
    "relative rewards": Foreign(rebel, GROUP, b.REBEL(BETA)),
    "quantiles of the group": Foreign(qrpo, GROUP, QRPO),
    "a low baseline": Foreign(asymre, CLONED, b.AsymRE(baseline=0.2)),
    "tapered": Foreign(topr, SAMPLED, b.TOPR(baseline=0.1)),
    "weighed by its own probability": Foreign(gold, CLONED, b.GOLD()),
    "the best of four": Foreign(best, CLONED, b.BestOfN(K)),
    "capped and detached": Foreign(cispo, SAMPLED, CISPO),
    "a mean log-ratio": Foreign(gspo, TOKENS, GSPO),
    "Dr. GRPO whole": Foreign(dr_grpo, OLD, DR_GRPO),
    "clip-higher over tokens": Foreign(dapo, TOKENS, DAPO),
    "who passes": Foreign(max_rl, SAMPLED, MAX_RL),
    "KTO of the package": Foreign(kto, ONE_BY_ONE, KTO),
    "k2 beside": Foreign(with_kl_loss(k2), GROUP, K2_LOSS),
    "k3 beside": Foreign(with_kl_loss(k3), GROUP, b.WithKLLoss(RLOO, b.k3)),
    "k3 beside, with its ratio": Foreign(kl_with_ratio, OLD, b.WithKLLoss(RLOO, b.k3, weighted=True)),
    "k3 charged": Foreign(with_kl_reward(k3), GROUP, K3_REWARD),
    "k1 charged": Foreign(rloo, GROUP, b.WithKLReward(RLOO)),
}

WRONG = {
    "exponential, columns exchanged": Foreign(
        lambda c, r, rc, rr: exponential(r, c, rr, rc), PAIR, EXPONENTIAL, "flipped label"
    ),
    "hinge, beta left out": Foreign(lambda *x: hinge(*x, beta=1.0), PAIR, SLIC, "forgotten beta"),
    "robust without reference": Foreign(
        lambda c, r, rc, rr: robust(c, r, 0 * rc, 0 * rr), PAIR, b.RobustDPO(BETA), "dropped reference"
    ),
    "robust, another rate of flips": Foreign(
        lambda *x: robust(*x, eps=0.2), PAIR, b.RobustDPO(BETA), "another objective"
    ),
    "calibrated, loser detached": Foreign(
        lambda c, r, rc, rr: calibrated(c, r.detach(), rc, rr), PAIR, b.CalDPO(BETA), "stopped loser"
    ),
    "calibrated, winner alone": Foreign(
        lambda *x: calibrated(*x, lost_too=0.0), PAIR, b.CalDPO(BETA), "another objective"
    ),
    "EXO, references exchanged": Foreign(
        lambda c, r, rc, rr: exo(c, r, rr, rc), PAIR, EXO, "swapped reference"
    ),
    "EXO, the other KL": Foreign(exo_forward, PAIR, EXO, "another objective"),
    "NCA, columns exchanged": Foreign(
        lambda c, r, rc, rr: nca(r, c, rr, rc), PAIR, b.NCA(BETA), "flipped label"
    ),
    "SPPO, a target of one half": Foreign(
        lambda *x: sppo(*x, target=0.5), PAIR, b.SPPO(BETA), "forgotten beta"
    ),
    "SPPO, winner detached": Foreign(
        lambda c, r, rc, rr: sppo(c.detach(), r, rc, rr), PAIR, b.SPPO(BETA), "stopped winner"
    ),
    "chi-squared, policy for reference": Foreign(
        lambda c, r, rc, rr: chi(rc, rr, c, r), PAIR, b.ChiPO(BETA), "exchanged reference"
    ),
    "chi-squared, beta twice": Foreign(lambda *x: chi(*x, beta=BETA**2), PAIR, b.ChiPO(BETA), "squared beta"),
    "SimPO with a reference": Foreign(simpo_with_reference, MASKED, SIMPO, "added reference"),
    "ORPO, loser detached": Foreign(
        lambda c, r, cm, rm: orpo(c, r.detach(), cm, rm), BARE, b.ORPO(), "stopped loser"
    ),
    "OAPL, beta left out": Foreign(lambda *x: oapl(*x, beta=1.0), GROUP, OAPL, "forgotten beta"),
    "OAPL, no KL": Foreign(lambda p, q, r: oapl(p, p.detach(), r), GROUP, OAPL, "dropped kl"),
    "REBEL, the sampler for the reference": Foreign(
        lambda p, old, ref, r: rebel(p, old, r), OLD, b.REBEL(BETA), "wrong reference"
    ),
    "QRPO, KL the wrong way": Foreign(lambda *x: qrpo(*x, sign=-1.0), GROUP, QRPO, "exchanged reference"),
    "AsymRE downhill": Foreign(lambda *x: -asymre(*x), CLONED, b.AsymRE(baseline=0.2), "flipped sign"),
    "TOPR, ratio left out": Foreign(
        lambda *x: topr(*x, taper=0.0), SAMPLED, b.TOPR(baseline=0.1), "forgotten ratio"
    ),
    "GOLD, weight not detached": Foreign(
        lambda p, r: -(torch.clamp(p.exp(), min=0.1) * r * p).mean(), CLONED, b.GOLD(), "dropped detach"
    ),
    "the worst of four": Foreign(lambda p, r: best(p, -r), CLONED, b.BestOfN(K), "another objective"),
    "CISPO, weight not detached": Foreign(cispo_undetached, SAMPLED, CISPO, "dropped detach"),
    "CISPO, ratio left out": Foreign(
        lambda p, old, r: cispo(p, p.detach(), r), SAMPLED, CISPO, "forgotten ratio"
    ),
    "GSPO, no clip": Foreign(gspo_unclipped, TOKENS, GSPO, "forgotten clip"),
    "Dr. GRPO, beta left out": Foreign(lambda *x: dr_grpo(*x, beta=1.0), OLD, DR_GRPO, "forgotten beta"),
    "Dr. GRPO, whitened": Foreign(lambda *x: dr_grpo(*x, whiten=True), OLD, DR_GRPO, "another objective"),
    "Dr. GRPO with a KL unasked": Foreign(dr_grpo, OLD, b.DrGRPO(k=K), "another beta"),
    "DAPO, no minimum": Foreign(lambda *x: dapo(*x, minimum=False), TOKENS, DAPO, "clip without minimum"),
    "MaxRL downhill": Foreign(lambda *x: -max_rl(*x), SAMPLED, MAX_RL, "flipped sign"),
    "KTO of the package, labels reversed": Foreign(
        lambda p, q, y: kto(p, q, 1 - y), ONE_BY_ONE, KTO, "flipped label"
    ),
    "k3 for k2 beside": Foreign(with_kl_loss(k3), GROUP, K2_LOSS, "k3 as loss"),
    "k2 for k3 charged": Foreign(with_kl_reward(k2), GROUP, K3_REWARD, "k2 in reward"),
    "k3 charged, no KL": Foreign(with_kl_reward(lambda p, q: 0 * p), GROUP, K3_REWARD, "dropped kl"),
}
