"""Who produced the samples, and what does an algorithm see of them?

Read in this order; each imports only those above it.

    likelihood    how much more often does an arm win than strengths predict?
    laws          how likely is each group of arms?
    groups        which groups are there, and which must be told apart?
    rules         who produced the samples?
    observation   what does an algorithm see of a group?
    coefficients  what does it answer?
"""
