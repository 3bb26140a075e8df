"""Which method is better, at the same KL, and by how much?  A fair comparison, against what is possible.

Every method has a grid of its own, of learning rates and of beta, as many updates and as many scored
completions as the others, and the same truth; each seed trains everything anew, the reference and the reward
too. Held-out prompts are three: for the learning rate, for beta, and for the report. Read in this order:

    plan        how much of everything, and which methods
    steps       one seed as commands of `python -m llm`
    run         all of it, resumed where it was killed
    record      what the folders of the seeds say
    compare     paired differences at equal KL, with intervals; the gap to the frontier
    summary     all of it as numbers for one file
    figures     drawn
    sentences   said, each with its numbers
    texts       some answers to read
    report      all of it, into a folder
"""
