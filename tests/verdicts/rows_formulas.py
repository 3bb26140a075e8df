"""What is judged by its formula alone, with the commit and the line where it stands?"""

from __future__ import annotations

from functools import partial

from enumerable import PROMPT

import bandits as b
from bandits.sequences import Averaged
from verdicts import formulas
from verdicts import pair_algorithms as own
from verdicts.judged import Row
from verdicts.settings import BETA, GAMMA
from verdicts.world import TOKENS

formula = partial(Row, how="formula", kind="pairs")
DPO_AT = "trainers.py@f8b8c0f4"
FACTORY = "src/llamafactory/train/dpo/trainer.py@ff6d4d12"

POSITIONS = len(PROMPT) + TOKENS - 1  # that predict a token
FORMULAS = [
    formula(
        library="eric-mitchell/direct-preference-optimization",
        name="preference_loss",
        source=f"{DPO_AT}:82",
        claim="DPO 2305.18290",
        loss=formulas.of_samples(formulas.dpo(BETA)),
        against=b.DPO(BETA),
    ),
    formula(
        library="eric-mitchell/direct-preference-optimization",
        name="preference_loss, ipo=True",
        source=f"{DPO_AT}:79",
        claim="IPO 2310.12036",
        loss=formulas.of_samples(formulas.ipo(BETA)),
        against=b.IPO(BETA),
        notes="log-ratios of whole answers",
    ),
    formula(
        library="ContextualAI/HALOs",
        name="KTOTrainer",
        source="train/trainers.py@48319886:901-910",
        kind="answers",
        claim="KTO 2402.01306",
        loss=formulas.of_samples(formulas.kto(BETA)),
        against=b.KTO(BETA),
        ends_as=None,
        notes="z as in TRL",
    ),
    formula(
        library="ContextualAI/HALOs",
        name="SLiCTrainer",
        source="train/trainers.py@48319886:843-846",
        claim="SLiC 2305.10425",
        loss=formulas.of_samples(formulas.slic(1.0, 0.1, POSITIONS)),
        against=own.WithImitation(own.WithoutReference(b.SLiC(1.0)), 0.1, POSITIONS),
        smooth=False,
        ends_as=None,
        notes="a hinge (n,) and a likelihood (n, L), L positions of the padded sequence, are added: defined "
        "for one pair in a micro-batch, where the likelihood is divided by L, or for L of them, each of "
        "which then goes with one position",
    ),
    formula(
        library="princeton-nlp/SimPO",
        name="SimPOTrainer",
        source="scripts/simpo_trainer.py@1b3e8f35:578-583",
        claim="SimPO 2405.14734",
        loss=formulas.of_samples(formulas.simpo(BETA, GAMMA)),
        against=b.SimPO(BETA, margin=GAMMA),
    ),
    formula(
        library="hiyouga/LLaMA-Factory",
        name="pref_loss=ipo",
        source=f"{FACTORY}:235",
        claim="IPO 2310.12036",
        loss=formulas.of_samples(formulas.ipo(BETA, formulas.means)),
        against=Averaged(b.IPO(BETA)),
        named=b.IPO(BETA),
        notes="log-ratios are means over tokens",
    ),
    formula(
        library="hiyouga/LLaMA-Factory",
        name="pref_loss=simpo",
        source=f"{FACTORY}:160-165",
        claim="SimPO 2405.14734",
        loss=formulas.of_samples(formulas.simpo(BETA, GAMMA)),
        against=b.SimPO(BETA, margin=GAMMA),
    ),
    formula(
        library="hiyouga/LLaMA-Factory",
        name="pref_loss=orpo",
        source=f"{FACTORY}:150-158",
        claim="ORPO 2403.07691",
        loss=formulas.of_samples(formulas.orpo(BETA)),
        against=b.ORPO(weight=BETA),
    ),
]
