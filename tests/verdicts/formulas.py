"""Which losses are written out here, because their libraries are not run?

A formula is the mean loss of a batch of groups as `TokenSamples` show them, in the field's words; no line of
it comes from the library whose file and line its row names.  (n, k, T): groups, answers, tokens.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bandits.samples import TokenSamples
from verdicts.judged import Gradient, seen
from verdicts.world import Groups, World

Loss = Callable[[TokenSamples], Tensor]


def of_samples(loss: Loss) -> Callable[[World], Gradient]:
    """A mean loss of a batch, differentiated in the log-probabilities of tokens and the model behind them."""

    def made(world: World) -> Gradient:
        def gradient(groups: Groups, policy: Tensor, sampler: Tensor) -> Tensor:
            table = world.table(policy).clone().requires_grad_()
            tokens = table[groups.arms]
            shown = seen(world, groups, policy, sampler)
            shown = replace(shown, token_log_prob=tokens, log_prob=tokens.sum(-1))
            (slope,) = torch.autograd.grad(loss(shown), table)
            return torch.einsum("at,atp->p", slope, world.jacobian(policy))

        return gradient

    return made


# ---- pairs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """What is computed of a pair: (n,) each."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor

    @property
    def margin(self) -> Tensor:
        """Log-ratio of the winner less that of the loser."""
        return self.chosen - self.rejected - self.ref_chosen + self.ref_rejected


def sums(s: TokenSamples) -> Pair:
    """Log-probabilities of whole answers."""
    return Pair(*s.log_prob.unbind(-1), *s.reference_log_prob.unbind(-1))


def means(s: TokenSamples) -> Pair:
    """The same, averaged over tokens."""
    return Pair(*(s.log_prob / s.length).unbind(-1), *(s.reference_log_prob / s.length).unbind(-1))


def alone(read: Callable[[TokenSamples], Pair]) -> Callable[[TokenSamples], Pair]:
    """The same without a reference."""

    def read_alone(s: TokenSamples) -> Pair:
        pair = read(s)
        return Pair(pair.chosen, pair.rejected, 0 * pair.chosen, 0 * pair.rejected)

    return read_alone


def dpo(beta: float, smoothing: float = 0.0) -> Loss:
    """-(1 - eps) log sigma(beta margin) - eps log sigma(-beta margin)."""

    def loss(s: TokenSamples) -> Tensor:
        x = beta * sums(s).margin
        return -((1 - smoothing) * F.logsigmoid(x) + smoothing * F.logsigmoid(-x)).mean()

    return loss


def hinge(beta: float) -> Loss:
    """max(0, 1 - beta margin)."""
    return lambda s: F.relu(1 - beta * sums(s).margin).mean()


def ipo(tau: float, read: Callable[[TokenSamples], Pair] = sums) -> Loss:
    """(margin - 1 / (2 tau))^2."""
    return lambda s: (read(s).margin - 0.5 / tau).square().mean()


def simpo(beta: float, gamma: float) -> Loss:
    """-log sigma(beta (mean of the winner - mean of the loser) - gamma)."""

    def loss(s: TokenSamples) -> Tensor:
        pair = means(s)
        return -F.logsigmoid(beta * (pair.chosen - pair.rejected) - gamma).mean()

    return loss


def orpo(weight: float, read: Callable[[TokenSamples], Pair] = means) -> Loss:
    """-log p_w - lambda log sigma(log odds of p_w less those of p_l), p the exponential of what is read."""

    def log_odds(log_p: Tensor) -> Tensor:
        return log_p - torch.log(-torch.expm1(log_p))

    def loss(s: TokenSamples) -> Tensor:
        pair = read(s)
        odds = log_odds(pair.chosen) - log_odds(pair.rejected)
        return -(pair.chosen + weight * F.logsigmoid(odds)).mean()

    return loss


def slic(lead: float, weight: float, positions: int) -> Loss:
    """max(0, lead - log pi_w + log pi_l), (n,), and weight times -log pi of the winner's tokens, (n, L).

    Shapes as they are there: tokens stand at the end of L positions, the prompt's among them.
    """

    def loss(s: TokenSamples) -> Tensor:
        pair, tokens = sums(s), s.token_log_prob[:, 0]
        padded = F.pad(tokens, (positions - tokens.shape[-1], 0))
        return (F.relu(lead - pair.chosen + pair.rejected) - weight * padded).mean()

    return loss


def desensitised(beta: float, tail: float) -> Loss:
    """DPO in loops over tokens; those behind the end of the shorter answer count `tail` times."""

    def loss(s: TokenSamples) -> Tensor:
        assert s.length is not None and s.token_reference_log_prob is not None
        total = torch.zeros((), dtype=torch.float64)
        for g, lengths in enumerate(s.length.int().tolist()):
            h = [torch.zeros((), dtype=torch.float64)] * 2
            for i, length in enumerate(lengths):
                for t in range(length):
                    ratio = s.token_log_prob[g, i, t] - s.token_reference_log_prob[g, i, t]
                    h[i] = h[i] + (1.0 if t < min(lengths) else tail) * ratio
            total = total + torch.log1p(torch.exp(-beta * (h[0] - h[1])))
        return total / len(s.length)

    return loss


# ---- single answers ----------------------------------------------------------------------------------------


def kto(beta: float) -> Loss:
    """1 - sigma(+-beta (h - z)) of a liked, of a disliked answer; both weights one."""

    def loss(s: TokenSamples) -> Tensor:
        assert s.desirable is not None and s.value is not None
        gain = beta * (s.log_ratio[:, 0] - s.value)
        return (1 - torch.sigmoid((2 * s.desirable[:, 0] - 1) * gain)).mean()

    return loss


# ---- groups, token by token --------------------------------------------------------------------------------

Term = Callable[[float, Tensor, Tensor, Tensor], Tensor]  # (advantage, log pi, log mu, log ref) of a token


def token_by_token(term: Term, divisor: Callable[[list[int]], float], plus: float | None) -> Loss:
    """Minus the sum of a term of each token over a divisor of the group, in loops over plain numbers.

    Args:
        divisor: the lengths of the group to what divides each of its terms; an answer's own comes last.
        plus: what is added to the standard deviation; None: advantages are not divided.
    """

    def loss(s: TokenSamples) -> Tensor:
        assert s.reward is not None and s.length is not None
        total = torch.zeros((), dtype=torch.float64)
        for g, rewards in enumerate(s.reward.tolist()):
            lengths, mean = [int(n) for n in s.length[g].tolist()], statistics.fmean(rewards)
            spread = 1.0 if plus is None else statistics.stdev(rewards) + plus
            for i, r in enumerate(rewards):
                for t in range(lengths[i]):
                    tokens = s.token_log_prob, s.token_behavior_log_prob, s.token_reference_log_prob
                    value = term((r - mean) / spread, *(x[g, i, t] for x in tokens))
                    total = total - value / divisor([*lengths, lengths[i]])
        return total / len(s.reward)

    return loss


def clipped(a: float, p: Tensor, old: Tensor, ref: Tensor) -> Tensor:
    """PPO's surrogate at eps = 0.2."""
    w = torch.exp(p - old)
    return torch.minimum(w * a, w.clamp(0.8, 1.2) * a)


def dually_clipped(a: float, p: Tensor, old: Tensor, ref: Tensor) -> Tensor:
    """The same, at least 3 a for a bad answer."""
    once = clipped(a, p, old, ref)
    return torch.maximum(once, torch.full_like(once, 3 * a)) if a < 0 else once


def trusted(distance: Callable[[Tensor, Tensor], Tensor]) -> Term:
    """DPPO's: sg(min(w, 3)) a log pi, but nothing more for a token that a has moved by more than 0.2."""

    def term(a: float, p: Tensor, old: Tensor, ref: Tensor) -> Tensor:
        moved, up = float(distance(p.detach().exp(), old.exp())), bool(p > old)
        stopped = moved > 0.2 and up == (a > 0)
        return 0 * p if stopped else torch.exp(p - old).clamp(max=3.0).detach() * a * p

    return term


def between(p: Tensor, old: Tensor) -> Tensor:
    """Total variation of two coins."""
    return torch.stack([p - old, old - p]).abs().sum() / 2


def coins_kl(p: Tensor, old: Tensor) -> Tensor:
    """KL of two coins, the old one first."""
    both = torch.stack([p, 1 - p]), torch.stack([old, 1 - old])
    return F.kl_div(both[0].log(), both[1], reduction="sum")


def capped(floor: float, cap: float) -> Term:
    """CISPO's: the weight is held fixed."""
    return lambda a, p, old, ref: torch.exp(p - old).clamp(floor, cap).detach() * a * p


def less_weighted_k3(beta: float) -> Term:
    """PPO's surrogate less beta w k3, all of it differentiated."""

    def term(a: float, p: Tensor, old: Tensor, ref: Tensor) -> Tensor:
        k3 = torch.exp(ref - p) - 1 - (ref - p)
        return clipped(a, p, old, ref) - beta * torch.exp(p - old) * k3

    return term


def less_square(beta: float, which: str) -> Term:
    """a log pi less beta/2 of the square of log pi/mu ("mu") or log pi/ref ("ref")."""

    def term(a: float, p: Tensor, old: Tensor, ref: Tensor) -> Tensor:
        return a * p - beta / 2 * (p - (old if which == "mu" else ref)).square()

    return term


def of_group(lengths: list[int]) -> float:
    """All tokens of the group."""
    return sum(lengths[:-1])


def of_answer(lengths: list[int]) -> float:
    """The answer's own tokens, times the group's size."""
    return (len(lengths) - 1) * lengths[-1]


def of_size(tokens: float) -> Callable[[list[int]], float]:
    """The group's size times a constant."""
    return lambda lengths: (len(lengths) - 1) * tokens


def gspo_over_tokens(plus: float) -> Loss:
    """GSPO's surrogate of each answer, once for each of its tokens, over the tokens of the group."""

    def loss(s: TokenSamples) -> Tensor:
        assert s.reward is not None and s.length is not None and s.behavior_log_prob is not None
        w = torch.exp((s.log_prob - s.behavior_log_prob) / s.length)
        a = (s.reward - s.reward.mean(1, True)) / (s.reward.std(1, keepdim=True) + plus)
        surrogate = torch.minimum(w * a, w.clamp(0.8, 1.2) * a)
        return -((surrogate * s.length).sum(1) / s.length.sum(1)).mean()

    return loss


def geometric_mean(plus: float, clip: float = 0.2) -> Loss:
    """GMPO's surrogate in loops over answers: prod_t min-clipped(w_t)^(1/|y|) a."""

    def loss(s: TokenSamples) -> Tensor:
        assert s.reward is not None and s.length is not None and s.token_behavior_log_prob is not None
        total = torch.zeros((), dtype=torch.float64)
        for g, rewards in enumerate(s.reward.tolist()):
            mean, spread = statistics.fmean(rewards), statistics.stdev(rewards) + plus
            for i, r in enumerate(rewards):
                a, n = (r - mean) / spread, int(s.length[g, i])
                log_w = s.token_log_prob[g, i, :n] - s.token_behavior_log_prob[g, i, :n]
                kept = log_w.clamp(max=clip) if a > 0 else log_w.clamp(min=-clip)
                total = total - a * torch.exp(kept.mean()) / len(rewards)
        return total / len(s.reward)

    return loss
