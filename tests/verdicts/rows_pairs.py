"""What is judged of TRL on pairs and labelled answers?"""

from __future__ import annotations

from functools import partial
from typing import Any

import bandits as b
from bandits.sequences import Averaged
from verdicts import formulas, trl_pairs
from verdicts import pair_algorithms as own
from verdicts.ends import kto_at_rest
from verdicts.judged import Row
from verdicts.settings import BETA, EPS, GAMMA

trl = partial(Row, library="trl", how="run")
SMOOTHED: dict[str, Any] = {"settings": {"label_smoothing": EPS}, "named_by": f", label_smoothing={EPS}"}
MEANS = "log-ratios are means over tokens where the paper has those of whole answers"
SORTED = "one pair by itself is DPO's; a batch is sorted, and its quantiles are compared"


def dpo(loss_type: str, line: int, claim: str, against: Any, **more: Any) -> Row:
    """A `loss_type` of DPOTrainer at beta = 1/2."""
    settings = {"beta": BETA, **more.pop("settings", {})}
    return trl(
        name=f"DPOTrainer, loss_type={loss_type}{more.pop('named_by', '')}",
        source=f"trl/trainer/dpo_trainer.py:{line}",
        kind="pairs",
        claim=claim,
        loss=trl_pairs.dpo(loss_type, **settings),
        against=against,
        **more,
    )


def divergence(line: int, f: own.Divergence) -> Row:
    """The sigmoid loss with another divergence than the KL."""
    return dpo(
        "sigmoid",
        line,
        "f-DPO 2309.16240",
        own.FDPO(BETA, f),
        settings={"f_divergence_type": f.name},
        named_by=f", f_divergence_type={f.name}",
        notes="it rests where beta f'(pi/ref) is the reward up to a constant",
    )


def kto(loss_type: str, line: int, claim: str, against: Any, **more: Any) -> Row:
    """A `loss_type` of KTOTrainer."""
    return trl(
        name=f"KTOTrainer, loss_type={loss_type}",
        source=f"trl/trainer/kto_trainer.py:{line}",
        kind="answers",
        claim=claim,
        loss=trl_pairs.kto(beta=BETA, loss_type=loss_type),
        against=against,
        **more,
    )


PAIRS = [
    dpo("sigmoid", 1388, "DPO 2305.18290", b.DPO(BETA)),
    divergence(1356, own.forward_kl),
    divergence(1360, own.jensen_shannon),
    divergence(1364, own.half_alpha),
    dpo(
        "sigmoid",
        1526,
        "WPO 2406.11827",
        None,
        why="DPO, each pair weighted by the policy's probabilities of its tokens, not differentiated",
        settings={"use_weighting": True},
        named_by=", use_weighting=True",
        ends_as=b.DPO(BETA),
        notes="weights move no zero of a gradient: under Bradley-Terry it rests where DPO does",
    ),
    dpo(
        "hinge",
        1391,
        "SLiC 2305.10425, RSO 2309.06657",
        b.SLiC(BETA),
        smooth=False,
        notes="it stands at kinks of the hinge",
    ),
    dpo(
        "ipo",
        1404,
        "IPO 2310.12036",
        Averaged(b.IPO(BETA)),
        named=b.IPO(BETA),
        second=formulas.of_samples(formulas.ipo(BETA, formulas.means)),
        notes=MEANS,
    ),
    dpo("exo_pair", 1417, "EXO 2402.00856", b.EXO(BETA, smoothing=EPS), **SMOOTHED),
    dpo("nca_pair", 1422, "NCA 2402.05369", b.NCA(BETA)),
    dpo(
        "robust",
        1431,
        "robust DPO 2403.00409",
        b.RobustDPO(BETA, flips=EPS),
        notes="labels here are not flipped",
        **SMOOTHED,
    ),
    dpo(
        "bco_pair",
        1436,
        "BCO 2404.04656",
        own.OneByOne(own.Labelled(BETA)),
        notes="without the running reward shift of the paper",
    ),
    dpo("sppo_hard", 1443, "SPPO 2405.00675", b.SPPO(BETA)),
    dpo("aot", 1452, "AOT 2406.05882", b.DPO(BETA), ends_as=None, notes=SORTED),
    dpo("aot_unpaired", 1462, "AOT 2406.05882", b.DPO(BETA), ends_as=None, notes=SORTED),
    dpo(
        "apo_zero",
        1473,
        "APO-zero 2408.06266",
        own.OneByOne(b.KTO(BETA, reference_point=0.0)),
        notes="winner liked, loser disliked",
    ),
    dpo(
        "apo_down",
        1481,
        "APO-down 2408.06266",
        own.APODown(BETA),
    ),
    dpo(
        "discopop",
        1491,
        "DiscoPOP 2406.08414",
        b.ConvexLoss(BETA, own.discopop),
        notes="f rises about 0, by a slope of 0.784 there: near the reference the winner loses",
    ),
    dpo(
        "sft", 1498, "imitation of the winners", None, why="cross-entropy of winners, over the batch's tokens"
    ),
    dpo("sigmoid_norm", 1509, "DPO, normalised by length", Averaged(b.DPO(BETA))),
    kto(
        "kto",
        1453,
        "KTO 2402.01306",
        b.KTO(BETA),
        ends_as=partial(kto_at_rest, beta=BETA),
        notes="z is the mean log-ratio of the data's other answers, at least 0; the paper's is KL(pi || ref)",
    ),
    kto("apo_zero_unpaired", 1457, "APO-zero 2408.06266", b.KTO(BETA, reference_point=0.0)),
    trl(
        name="CPOTrainer, loss_type=simpo, cpo_alpha=0",
        source="trl/experimental/cpo/cpo_trainer.py:715",
        kind="pairs",
        claim="SimPO 2405.14734",
        loss=trl_pairs.without_reference(
            "cpo", "CPO", beta=BETA, loss_type="simpo", cpo_alpha=0.0, simpo_gamma=GAMMA
        ),
        against=b.SimPO(BETA, margin=GAMMA),
    ),
    trl(
        name="ORPOTrainer",
        source="trl/experimental/orpo/orpo_trainer.py:693",
        kind="pairs",
        claim="ORPO 2403.07691",
        loss=trl_pairs.without_reference("orpo", "ORPO", beta=BETA),
        named=b.ORPO(weight=BETA),
        second=trl_pairs.orpo_with_prompt(BETA),
        why="the likelihood beside the odds is that of prompt and winner together, as its code says",
    ),
]
