"""What becomes of an algorithm that is trained on sampled data?

Read in this order; each imports only those above it.

    optimizers  how does a gradient become a step?
    draws       how are groups of arms drawn from a law?
    batches     which samples does each run and step see?
    step        what does a batch do to the logits of many runs?
    trace       which steps are kept?
    simulate    how do many runs train at once?
    sweep       how are many settings run, and resumed?
"""
