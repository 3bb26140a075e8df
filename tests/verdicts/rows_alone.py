"""What is judged of the loss functions of OpenRLHF and verl, called alone?"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

import bandits as b
from bandits.sequences import KLInLoss, KLInReward, by_answer, by_constant, by_group, k1, k2, k3
from verdicts import formulas, functions
from verdicts import group_algorithms as own
from verdicts.judged import Row
from verdicts.settings import BETA, EPS, grpo, gspo, whole, without_kl
from verdicts.world import TOKENS, K

PLUS = 1e-6  # what verl adds to the standard deviation
SHARED = BETA * K / (K - 1)
OWN_KL = "each token pays for its own KL, not for that of the tokens it leads to (T10.1)"
DUAL = "a dual clip is on by default: tokens of bad answers with pi/mu > 3 are dropped"
CENTRED = "advantages are the caller's: centred here"


def by_hand(term: Any, divisor: Any, plus: float | None) -> Any:
    """A second program for a loss of groups."""
    return formulas.of_samples(formulas.token_by_token(term, divisor, plus))


# ---- OpenRLHF ----------------------------------------------------------------------------------------------

openrlhf = partial(Row, library="openrlhf", how="function")
LOSSES = "openrlhf/models/loss.py"


def centred(reward: Tensor) -> Tensor:
    """Reward less the group's mean."""
    return reward - reward.mean(-1, keepdim=True)


def openrlhf_pairs(name: str, line: int, claim: str, against: Any, **settings: Any) -> Row:
    """`DPOLoss` at beta = 1/2."""
    loss = formulas.of_samples(functions.openrlhf_dpo(BETA, **settings))
    return openrlhf(
        name=name, source=f"{LOSSES}:{line}", kind="pairs", claim=claim, loss=loss, against=against
    )


def openrlhf_policy(name: str, line: int, claim: str, against: Any, **settings: Any) -> Row:
    """`PolicyLoss` on centred rewards."""
    return openrlhf(
        name=name,
        source=f"{LOSSES}:{line}",
        kind="groups",
        claim=claim,
        loss=formulas.of_samples(functions.openrlhf_policy(centred, **settings)),
        against=without_kl(against),
        stale=True,
        notes=CENTRED,
    )


OPENRLHF = [
    openrlhf_pairs("DPOLoss", 355, "DPO 2305.18290", b.DPO(BETA)),
    openrlhf_pairs(
        "DPOLoss, label_smoothing=0.1", 355, "cDPO", b.DPO(BETA, smoothing=EPS), label_smoothing=EPS
    ),
    openrlhf_pairs("DPOLoss, ipo=True", 352, "IPO 2310.12036", b.IPO(BETA), ipo=True),
    openrlhf_policy("PolicyLoss", 205, "PPO 1707.06347", grpo(by_group, None)),
    openrlhf_policy(
        "PolicyLoss, token_level_loss=False",
        205,
        "PPO 1707.06347",
        grpo(by_answer, None),
        token_level_loss=False,
    ),
    openrlhf_policy(
        "PolicyLoss, dual_clip=3",
        210,
        "dual clip 1912.09729",
        own.WithDualClip(grpo(by_group, None)),
        dual_clip=3.0,
    ),
    openrlhf_policy(
        "PolicyLoss, policy_loss_type=gspo",
        189,
        "GSPO 2507.18071",
        gspo(None),
        policy_loss_type="gspo",
    ),
]

# ---- verl --------------------------------------------------------------------------------------------------

CORE = "verl/trainer/ppo/core_algos.py"
SUMS, MEANS, TOKEN_MEAN = "seq-mean-token-sum", "seq-mean-token-mean", "token-mean"
UNDIVIDED: dict[str, Any] = {"norm_adv_by_std_in_grpo": False}


def verl(name: str, estimator: str, mode: str, line: int, claim: str, against: Any, **more: Any) -> Row:
    """A policy loss of verl on the advantages of one of its estimators, perhaps with a KL loss."""
    loss, penalty = (
        functions.verl_policy(name, estimator, mode, **more.pop("given", {})),
        more.pop("kl", None),
    )
    if penalty is not None:
        loss = functions.added(loss, BETA, functions.verl_kl(penalty, mode))
    return Row(
        **{
            "library": "verl",
            "how": "function",
            "kind": "groups",
            "name": f"{name}, {estimator}, {mode}" + (f", kl_loss_type={penalty}" if penalty else ""),
            "source": f"{CORE}:{line}",
            "claim": claim,
            "loss": formulas.of_samples(loss),
            "against": against if penalty else without_kl(against),
            "stale": penalty is None,
            **more,
        }
    )


def verl_kl(penalty: str, line: int, against: Any, **more: Any) -> Row:
    """REINFORCE on centred rewards with one of verl's KL losses, on its own samples."""
    claim = f"policy gradient, {penalty} as a loss"
    return verl("gpg", "grpo", SUMS, line, claim, against, kl=penalty, given=UNDIVIDED, **more)


def dppo(name: str, line: int, distance: Any, by_coins: Any) -> Row:
    """A trust region of tokens' probabilities."""
    return verl(
        name,
        "grpo",
        TOKEN_MEAN,
        line,
        "DPPO 2602.04879",
        own.TrustRegion(grpo(by_group, PLUS), distance),
        second=by_hand(formulas.trusted(by_coins), formulas.of_group, PLUS),
        notes="clip_ratio = 0.2 is the distance; pi/mu is capped at clip_ratio_c, by default 3, where its "
        "code recommends a large one and falls back on 20",
    )


def unjudged(name: str, line: int, why: str, settings: dict[str, float]) -> Row:
    """A loss whose tokens are chosen by the whole batch: no group has a gradient of its own."""
    loss = functions.verl_policy(
        name, "grpo", TOKEN_MEAN, config={"policy_loss": functions.Actor(**settings)}
    )
    return Row(
        library="verl",
        how="function",
        kind="groups",
        name=f"{name}, grpo, {TOKEN_MEAN}",
        source=f"{CORE}:{line}",
        claim="covariance of log pi and advantage 2505.22617",
        loss=formulas.of_samples(loss),
        why=why,
        stale=True,
        ends_as=None,
    )


COVARIANCE = "product (log pi - mean)(a - mean) over the batch"
SQUARE = by_hand(formulas.less_square(BETA, "ref"), formulas.of_size(1), None)
DUALLY = own.WithDualClip(grpo(by_answer, PLUS))
VERL = [
    verl(
        "vanilla",
        "grpo",
        MEANS,
        1286,
        "GRPO 2402.03300",
        DUALLY,
        named=own.NoKL(grpo(by_answer, PLUS)),
        second=by_hand(formulas.dually_clipped, formulas.of_answer, PLUS),
        notes=DUAL,
    ),
    verl(
        "vanilla",
        "grpo",
        TOKEN_MEAN,
        1286,
        "DAPO 2503.14476",
        own.WithDualClip(grpo(by_group, PLUS)),
        notes=DUAL,
    ),
    verl(
        "vanilla",
        "grpo",
        "seq-mean-token-sum-norm",
        1286,
        "Dr. GRPO 2503.20783",
        own.WithDualClip(grpo(by_constant(TOKENS), None)),
        given=UNDIVIDED,
        notes=DUAL,
    ),
    verl(
        "vanilla",
        "rloo",
        SUMS,
        588,
        "RLOO 2402.14740",
        b.RLOO(BETA, k=K),
        stale=False,
        notes="on its own samples; a KL is the caller's",
    ),
    verl("gspo", "grpo", MEANS, 1546, "GSPO 2507.18071", gspo(PLUS)),
    verl(
        "gspo",
        "grpo",
        TOKEN_MEAN,
        1546,
        "GSPO 2507.18071",
        own.AnswerRatio(whole(PLUS), by_group),
        named=gspo(PLUS),
        second=formulas.of_samples(formulas.gspo_over_tokens(PLUS)),
        notes="the divisor is that of loss_agg_mode, as its code says; GSPO's is seq-mean-token-mean",
    ),
    verl(
        "cispo",
        "grpo",
        TOKEN_MEAN,
        2048,
        "CISPO 2506.13585",
        own.TokenCISPO(1.2, grpo(by_group, PLUS), 0.8),
        named=own.NoKL(own.TokenCISPO(1.2, grpo(by_group, PLUS))),
        second=by_hand(formulas.capped(0.8, 1.2), formulas.of_group, PLUS),
        notes="pi/mu is also raised to 1 - clip_ratio_low = 0.8; clip_ratio_low=1 caps it from above alone",
    ),
    verl(
        "geo_mean",
        "grpo",
        MEANS,
        1929,
        "GMPO 2507.20673",
        own.GeometricMean(grpo(by_answer, PLUS)),
        second=formulas.of_samples(formulas.geometric_mean(PLUS)),
        notes="clipped in log pi/mu, at e^0.2 and e^-0.2; loss_agg_mode is not read",
    ),
    dppo("dppo_tv", 1380, own.total_variation, formulas.between),
    dppo("dppo_kl", 1461, own.binary_kl, formulas.coins_kl),
    unjudged(
        "clip_cov",
        1744,
        f"PPO, but tokens drawn at random among those whose {COVARIANCE} is between 1 and 5 are not trained",
        {"clip_cov_ratio": 2e-4, "clip_cov_lb": 1.0, "clip_cov_ub": 5.0},
    ),
    unjudged(
        "kl_cov",
        1849,
        f"policy gradient without a clip, and |log pi/mu| for the tokens whose {COVARIANCE} is largest",
        {"kl_cov_ratio": 2e-4, "ppo_kl_coef": 1.0},
    ),
    verl("sapo", "grpo", MEANS, 1623, "SAPO 2511.20347", own.Gated(grpo(by_answer, PLUS))),
    verl(
        "dro",
        "grpo",
        SUMS,
        2015,
        "a quadratic penalty of the log-ratio",
        own.Residual(BETA, grpo(by_constant(1), None), whole=False),
        named=own.Residual(BETA, grpo(by_constant(1), None), whole=True),
        second=by_hand(formulas.less_square(BETA, "mu"), formulas.of_size(1), None),
        given={**UNDIVIDED, "config": {"policy_loss": functions.Actor(dro_beta=BETA)}},
        ends_as=None,
        notes="the square is that of each token's log-ratio, not of the answer's (T13.4)",
    ),
    verl_kl("low_var_kl", 2239, KLInLoss(SHARED, k3)),
    verl_kl("k1", 2228, KLInLoss(SHARED, k1), notes="its mean gradient is zero: no KL (T9.6)"),
    verl_kl("k2", 2234, KLInLoss(SHARED, k2), named=KLInReward(SHARED), second=SQUARE, notes=OWN_KL),
    verl_kl("k3+", 2211, KLInLoss(SHARED, k2), named=KLInReward(SHARED), second=SQUARE, notes=OWN_KL),
]

ALONE = [*OPENRLHF, *VERL]
