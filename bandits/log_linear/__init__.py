"""Where does an algorithm end in a class of policies that misses the optimum?

Read in this order; each imports only those above it.

    features       which weights of a log-linear policy matter?
    fixed_point    where do the weights end, and how do they get there?
    best_in_class  which policy of the class is the best?
"""
