"""Do trainers in the field do what their names say?  Their own code, on a model small enough to enumerate.

    make verdicts        writes figures/verdicts.json and figures/verdicts.md

Every group of completions is shown to the trainer by itself, and the gradient of its loss in the model's
parameters is laid beside what an algorithm of `bandits` gives for the same group.  Read in this order:

    world          which model, which groups, who samples, and with what probability?
    judged         what is a row, and how is a trainer's gradient compared?
    settings       which hyper-parameters do all rows share?
    formulas       which losses are written out here, because their libraries are not run?
    pair_algorithms, group_algorithms
                   which algorithms stand here, because `bandits` has none of them?
    functions      which loss functions of OpenRLHF and verl are called alone?
    trl_pairs      how are TRL's DPO, KTO, CPO and ORPO trainers called on given pairs?
    trl_online     how is TRL's Online DPO trainer called on given pairs?
    trl_singles    how is TRL's A*-PO trainer called on given answers?
    trl_groups     how are TRL's GRPO and RLOO trainers called on given groups?
    ends           where does it end, and does the trainer rest there?
    rows_pairs, rows_groups, rows_alone, rows_formulas; rows
                   what is judged, and against which algorithm?
    report         what is written of it?

`formulas` needs the environment of the tests alone; the rest that of `make benchmark`.
"""
