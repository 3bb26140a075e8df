"""How does an algorithm get to its end, how fast, and how noisily?

Read in this order; each imports only those above it.

    linear      what is the linear motion in closed form?
    gradient    which way does an algorithm move the logits?
    rates       how fast does it approach its end, and how long may a step be?
    flow        where is it at each time, or after each step?
    sketch      where does it lead, roughly, for a picture?
    games       how do two players learn against themselves?
    pairs       which updates are affine in the log-ratios of a pair?
    difficulty  which prompts does it weigh, where answers are right or wrong?
    moments     what are the mean and the spread of constant-step SGD?
    rounds      where do rounds lead, each from the end of the last, with a reference that moves?
"""
