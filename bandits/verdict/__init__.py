"""What is the verdict on an algorithm?  The wing behind `bandits.report` and `bandits.compare`.

A wing of its own, since the front `report` is a function of that name, and a file would be too long.

Read in this order; each imports only those above it.

    worlds    which worlds and samplers put an algorithm on trial?
    claims    may an algorithm be taken at its word?
    ends      where does every start end?
    targets   which target is that?
    kin       which known algorithm is it nearest to?
    noise     how biased and how noisy is an update?
    how       how does it get there?
    blind     what makes no difference to it?
    picture   which flows are drawn?
    portrait  how does a verdict look?
    table     how does a verdict read?
    card      what does a verdict hold?
    report    what is the verdict?
    comparison  how do several compare?
    commands  how is it asked for on the command line?
"""
