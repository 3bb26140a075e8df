"""Which numbers solve the equations?  Solvers on bare arrays, which know no algorithm and no world.

Read in this order; each imports only those above it.

    laplacian      how are the potentials of a weighted graph found to all digits?
    graph          which arms are sampled together?
    ford           when do comparisons have a fit, and what if they have none?
    bradley_terry  which strengths explain the wins best, and when are there none?
    cuts           which arms can be cut off most cheaply, for what they weigh?
    margins        and if the lead of a winner is charged by any convex loss?
    hinge          and by a hinge, whose kinks hold the scores at integers?
    normalised     where is a convex function least among the log-ratios of policies?
    equilibrium    where does a regularised game come to rest?
    off_policy     where does policy gradient end on somebody else's samples?
    gates          where does imitation end whose weights are held between two bounds?
    projection     which policy is nearest to a point, and where does a constant pull end?
    levels         on which quantity does a jump of the velocity sit?
    sliding        and where the velocity jumps?
    paths          where is a motion at each time, or after each step?
    rest           where do motions end, many side by side?
    motions        how do the policies of many prompts move?
    endings        and what does not come to an isolated rest?
    verdicts       what is said of the end of one prompt's motion?
"""
