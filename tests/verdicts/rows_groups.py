"""What is judged of TRL on groups of answers?"""

from __future__ import annotations

from typing import Any

import bandits as b
from bandits.sequences import KLInLoss, KLInReward, by_answer, by_constant, by_group, k2
from verdicts import formulas, trl_groups, trl_singles
from verdicts import group_algorithms as own
from verdicts.judged import Row
from verdicts.rows_pairs import trl
from verdicts.settings import BETA, grpo, gspo, whole, without_kl
from verdicts.world import TOKENS, K

PLUS = 1e-4  # what TRL adds to the standard deviation
NONE: dict[str, Any] = {"scale_rewards": "none"}
SEQUENCE: dict[str, Any] = {"importance_sampling_level": "sequence"}
SHARED = BETA * K / (K - 1)  # beta where advantages lose 1/k by counting themselves
VALUE = 0.3  # V* of the prompt, as if estimated
OWN_KL = "each token pays for its own KL, not for that of the tokens it leads to (T10.1)"


def trl_grpo(words: str, line: int, claim: str, against: Any, *, kl: bool = False, **more: Any) -> Row:
    """A setting of GRPOTrainer, with beta = 1/2 where it has a KL and its default 0 else."""
    settings = {"beta": BETA if kl else 0.0, **more.pop("settings", {})}
    return trl(
        **{
            "name": f"GRPOTrainer, {words}",
            "source": f"trl/trainer/grpo_trainer.py:{line}",
            "kind": "groups",
            "claim": claim,
            "loss": trl_groups.grpo(**settings),
            "against": against if kl else without_kl(against),
            "stale": True,
            **more,
        }
    )


def by_hand(term: Any, divisor: Any, plus: float | None = PLUS) -> Any:
    """A second program for a loss of groups."""
    return formulas.of_samples(formulas.token_by_token(term, divisor, plus))


GROUPS = [
    trl(
        name="RLOOTrainer",
        source="trl/trainer/rloo_trainer.py:1832",
        kind="groups",
        claim="RLOO 2402.14740",
        loss=trl_groups.rloo(beta=BETA),
        against=b.RLOO(BETA, k=K),
        notes="on its own samples",
    ),
    trl_grpo(
        "defaults", 3168, "DAPO 2503.14476", grpo(by_group, PLUS), notes="epsilon_high unset: no clip-higher"
    ),
    trl_grpo(
        "epsilon_high=0.28",
        3120,
        "DAPO 2503.14476",
        grpo(by_group, PLUS, upper_clip=0.28),
        settings={"epsilon_high": 0.28},
    ),
    trl_grpo(
        "loss_type=grpo", 3153, "GRPO 2402.03300", grpo(by_answer, PLUS), settings={"loss_type": "grpo"}
    ),
    trl_grpo(
        "loss_type=grpo, beta, use_bias_correction_kl=False",
        3101,
        "GRPO 2402.03300",
        grpo(by_answer, PLUS),
        kl=True,
        settings={"loss_type": "grpo", "use_bias_correction_kl": False},
    ),
    trl_grpo(
        "loss_type=grpo, beta",
        3105,
        "GRPO, KL of 2512.02556",
        own.OwnKL(grpo(by_answer, PLUS), BETA),
        second=by_hand(formulas.less_weighted_k3(BETA), formulas.of_answer),
        kl=True,
        settings={"loss_type": "grpo"},
        notes=OWN_KL,
    ),
    trl_grpo(
        "loss_type=dr_grpo, scale_rewards=none, beta",
        3105,
        "Dr. GRPO, KL of 2512.02556",
        KLInLoss(SHARED, k2),
        kl=True,
        settings={"loss_type": "dr_grpo", **NONE},
        stale=False,
        named=KLInReward(SHARED),
        second=by_hand(formulas.less_weighted_k3(BETA), formulas.of_size(TOKENS), None),
        notes=OWN_KL,
    ),
    trl_grpo(
        "loss_type=bnpo",
        3158,
        "a mean over the batch's tokens",
        grpo(by_group, PLUS),
        settings={"loss_type": "bnpo"},
    ),
    trl_grpo(
        "loss_type=dr_grpo",
        3163,
        "Dr. GRPO 2503.20783",
        grpo(by_constant(TOKENS), PLUS),
        settings={"loss_type": "dr_grpo"},
        named=own.NoKL(grpo(by_constant(TOKENS), None)),
        second=by_hand(formulas.clipped, formulas.of_size(TOKENS)),
        notes="still divides by the standard deviation; Dr. GRPO also takes scale_rewards=none",
    ),
    trl_grpo(
        "loss_type=dr_grpo, scale_rewards=none",
        3163,
        "Dr. GRPO 2503.20783",
        grpo(by_constant(TOKENS), None),
        settings={"loss_type": "dr_grpo", **NONE},
    ),
    trl_grpo(
        "loss_type=cispo, epsilon_high=5",
        3109,
        "CISPO 2506.13585, 2510.13786",
        own.TokenCISPO(5.0, grpo(by_group, PLUS)),
        settings={"loss_type": "cispo", "epsilon_high": 5.0},
    ),
    trl_grpo(
        "loss_type=cispo",
        3109,
        "CISPO 2506.13585",
        own.TokenCISPO(0.2, grpo(by_group, PLUS)),
        settings={"loss_type": "cispo"},
        second=by_hand(formulas.capped(0.0, 0.2), formulas.of_group),
        notes="epsilon_high unset is epsilon = 0.2, here the cap of pi/mu itself: every token that has more "
        "weighs 0.2; its documentation recommends 5",
    ),
    trl_grpo(
        "loss_type=grpo, importance_sampling_level=sequence",
        3087,
        "GSPO 2507.18071",
        gspo(PLUS),
        settings={"loss_type": "grpo", **SEQUENCE},
    ),
    trl_grpo(
        "loss_type=luspo, importance_sampling_level=sequence",
        3175,
        "LUSPO 2602.05261",
        own.AnswerRatio(whole(PLUS), by_constant(1)),
        settings={"loss_type": "luspo", **SEQUENCE},
    ),
    trl_grpo(
        "loss_type=sapo",
        3121,
        "SAPO 2511.20347",
        own.Gated(grpo(by_answer, PLUS)),
        settings={"loss_type": "sapo"},
    ),
    trl_grpo(
        "loss_type=vespo",
        3125,
        "VESPO 2602.10693",
        own.VESPO(grpo(by_group, PLUS)),
        settings={"loss_type": "vespo"},
    ),
    trl_grpo(
        "scale_rewards=batch",
        2774,
        "PPO Lite 2508.08221",
        grpo(by_group, PLUS),
        settings={"scale_rewards": "batch"},
        notes="one group by itself is its own batch",
    ),
    trl(
        name="GMPOTrainer",
        source="trl/experimental/gmpo/gmpo_trainer.py:105",
        kind="groups",
        claim="GMPO 2507.20673",
        loss=trl_groups.gmpo(beta=0.0),
        against=without_kl(own.GeometricMean(grpo(by_answer, PLUS), 0.4)),
        second=formulas.of_samples(formulas.geometric_mean(PLUS, 0.4)),
        stale=True,
        notes="clipped in log pi/mu, at e^0.4 and e^-0.4",
    ),
    trl(
        name="A2POTrainer",
        source="trl/experimental/a2po/a2po_trainer.py:357",
        kind="own answers",
        claim="A*-PO 2505.20686",
        loss=trl_singles.a2po(VALUE, beta2=BETA),
        against=b.PolicyGradient(BETA, VALUE),
        notes="on its own samples V* is a constant baseline: whatever it is estimated at, the end is pi*, "
        "and the noise alone feels it (T2.1)",
    ),
    trl_grpo(
        "delta=3",
        3116,
        "two-sided clipping 2505.07291",
        own.WithDualClip(grpo(by_group, PLUS)),
        second=by_hand(formulas.dually_clipped, formulas.of_group),
        settings={"delta": 3.0},
        notes="of bad answers, tokens with pi/mu > delta are dropped: PPO's dual clip at c = delta",
    ),
]
