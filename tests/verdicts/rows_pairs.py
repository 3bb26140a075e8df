"""What is judged of TRL on pairs and labelled answers?"""

from __future__ import annotations

from functools import partial
from typing import Any

import bandits as b
from bandits.sequences import Averaged
from verdicts import formulas, trl_online, trl_pairs
from verdicts import pair_algorithms as own
from verdicts.ends import kto_at_rest
from verdicts.judged import Row
from verdicts.settings import BETA, EPS, GAMMA, TAIL

trl = partial(Row, library="trl", how="run")
SMOOTHED: dict[str, Any] = {"settings": {"label_smoothing": EPS}, "named_by": f", label_smoothing={EPS}"}
MEANS = "log-ratios are means over tokens where the paper has those of whole answers"
ALONE = "no reference: log pi stands for log pi/ref, as if the reference knew no answer from another"
LIKELY = "the winner's likelihood is a mean over its tokens, in a batch over all of them"
CERTAIN = "two answers of its own; who has more reward has won, by however little"
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


def cpo(words: str, line: int, claim: str, against: Any, *, alpha: float = 0.0, **more: Any) -> Row:
    """A setting of CPOTrainer, without a reference; `alpha` is its `cpo_alpha`."""
    settings = {"beta": BETA, "cpo_alpha": alpha, **more.pop("settings", {})}
    return trl(
        name=f"CPOTrainer, {words}",
        source=f"trl/experimental/cpo/cpo_trainer.py:{line}",
        kind="pairs",
        claim=claim,
        loss=trl_pairs.without_reference("cpo", "CPO", **settings),
        against=against,
        **more,
    )


def online(loss_type: str, line: int, claim: str, against: Any, where: str) -> Row:
    """A `loss_type` of OnlineDPOTrainer."""
    return trl(
        name=f"OnlineDPOTrainer, loss_type={loss_type}",
        source=f"trl/experimental/online_dpo/online_dpo_trainer.py:{line}",
        kind="own pairs",
        claim=claim,
        loss=trl_online.online_dpo(beta=[BETA], loss_type=loss_type),
        against=against,
        notes=f"{CERTAIN}: {where}",
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
    dpo(
        "sigmoid",
        1315,
        "LD-DPO 2409.06411",
        own.Desensitised(BETA, TAIL),
        second=formulas.of_samples(formulas.desensitised(BETA, TAIL)),
        settings={"ld_alpha": TAIL},
        named_by=f", ld_alpha={TAIL}",
    ),
    online("sigmoid", 1250, "online DPO 2402.04792", b.DPO(BETA), "the best answer takes everything (T5.5)"),
    online(
        "ipo", 1252, "online IPO 2403.08635", b.IPO(BETA), "it rests at the equilibrium of these wins (T6.1)"
    ),
    cpo(
        "defaults",
        890,
        "CPO 2401.08417",
        own.WithImitation(own.WithoutReference(b.DPO(BETA)), 1.0),
        alpha=1.0,
        notes=f"{ALONE}; {LIKELY}",
    ),
    cpo(
        "loss_type=sigmoid, cpo_alpha=0",
        725,
        "DPO without a reference",
        own.WithoutReference(b.DPO(BETA)),
        settings={"loss_type": "sigmoid"},
        notes=ALONE,
    ),
    cpo(
        "loss_type=hinge, cpo_alpha=0",
        730,
        "SLiC 2305.10425",
        own.WithoutReference(b.SLiC(BETA)),
        settings={"loss_type": "hinge"},
        smooth=False,
        notes=f"{ALONE}; it stands at kinks of the hinge",
    ),
    cpo(
        "loss_type=ipo, cpo_alpha=0",
        733,
        "IPO 2310.12036",
        Averaged(own.WithoutReference(b.IPO(BETA))),
        named=own.WithoutReference(b.IPO(BETA)),
        second=formulas.of_samples(formulas.ipo(BETA, formulas.alone(formulas.means))),
        settings={"loss_type": "ipo"},
        notes=f"{ALONE}; log-probabilities are means over tokens",
    ),
    cpo(
        "loss_type=simpo",
        719,
        "CPO-SimPO",
        own.WithImitation(b.SimPO(BETA, margin=GAMMA), 1.0),
        alpha=1.0,
        settings={"loss_type": "simpo", "simpo_gamma": GAMMA},
        notes=f"cpo_alpha is 1 unless set; SimPO has 0; {LIKELY}",
    ),
    cpo(
        "loss_type=simpo, cpo_alpha=0, alpha=0.25",
        704,
        "AlphaPO 2501.03884",
        own.AlphaPO(BETA, 0.25, GAMMA),
        settings={"loss_type": "simpo", "simpo_gamma": GAMMA, "alpha": 0.25},
    ),
    kto(
        "kto",
        1453,
        "KTO 2402.01306",
        b.KTO(BETA),
        ends_as=partial(kto_at_rest, beta=BETA),
        notes="z is the mean log-ratio of the data's other answers, at least 0; the paper's is KL(pi || ref)",
    ),
    kto("apo_zero_unpaired", 1457, "APO-zero 2408.06266", b.KTO(BETA, reference_point=0.0)),
    cpo(
        "loss_type=simpo, cpo_alpha=0",
        719,
        "SimPO 2405.14734",
        b.SimPO(BETA, margin=GAMMA),
        settings={"loss_type": "simpo", "simpo_gamma": GAMMA},
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
