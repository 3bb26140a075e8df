"""And the neighbours that have states: where do they end, how noisily, and can they collapse?

Other updates that look like a gradient and are none, as exact objects on a table (chapter T12).  Nothing
else imports this wing but the experiments of its own figures.

Read in this order; each imports only those above it.

    rewards          which laws may the rewards of a chain have?
    chains           what is a chain with rewards worth?
    motion           where is a motion in continuous time?
    td               where does temporal-difference learning end, and how noisily?
    quantile_td      and quantile temporal-difference learning?
    self_predictive  why does a representation that predicts itself not collapse, and where does it end?
    byol             when does a target that moves along collapse: on one mode, on matrices, on a graph?
    trees            what is a game in extensive form worth?
    best_response    how much could each player gain alone?
    games            which games have exact answers to compare with?
    armac            how do regrets make policies, and is ARMAC CFR?
"""
