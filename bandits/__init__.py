"""bandits: what an alignment algorithm really converges to, computed exactly on finitely many arms.

Read in this order; each module imports only those above it.

    checks         the border    bad input gets one clear error
    policy         the answer    points of the simplex in log space
    solution       the verdict   a policy with its certificate, and the errors that carry one
    equilibrium    the game      Newton's method for the regularised equilibrium
    bandit         the world     rewards, preferences, reference; optimum, regret, win rate
    laplacian      the network   potentials of weighted graphs, to all digits
    graph          the coverage  which arms are sampled together
    bradley_terry  the ranking   maximum likelihood, and when there is none
    surplus        the excess    wins beyond what strengths predict
    off_policy     the lock-in   where policy gradient ends on somebody else's samples
    laws           the chance    laws over groups of arms and their sampling graphs
    sampling       the data      who produced the samples
    algorithms/    the means     one file an algorithm: theory, coefficient, closed form
    observation    the view      what an algorithm sees of the world
    exact          the truth     expected update, loss, covariance, by enumeration
    search         the way       follow the flow to its rest, then polish
    fixed_point    the end       where an algorithm converges, certified
    examples       the classics  named worlds from the papers
    motion         the steps     following a law of motion, discrete or continuous
    relaxation     the decay     the linear motion in closed form
    dynamics       the motion    flow and descent of any algorithm, rates, stable steps
    games          the play      Nash-MD, mirror descent, regret matching, fictitious play
    affine         the pairs     updates that are affine in a pair's log-ratios
    moments        the spread    exact mean and covariance of constant-step SGD
    features       the span      which weights of a log-linear policy matter
    log_linear     the class     fixed points and motion of log-linear policies
    best_in_class  the best      the maximiser of J among them
    optimizers     the gait      SGD and Adam
    draws          the dice      groups of arms drawn from a law
    batches        the lessons   batches for every run and step
    training       the step      what sampled coefficients do to the logits of many runs
    trace          the record    which steps are kept
    simulation     the noise     sampled training, many runs at once
    sweep          the fan       many settings, in many processes, resumable
    plots/         the look      one house style: curves and triangles
    experiments/   the asking    one file a figure: run(), claims(), draw()

Notation, one meaning each:

    y, A     arms, last axis; leading axes are contexts         pi, ref   policy, reference
    mu, W    behaviour policy, joint law of a pair              r         reward
    P        P(y, y') = p(y beats y'), P + P^T = 1              beta      multiplies a KL to ref, always
    h        log pi(y) / ref(y)                                 R         r - beta h
    J        E_pi[r] - beta KL(pi || ref) = E_pi[R]             c         coefficient: a sample moves the
                                                                          policy by c grad log pi(y)
    b        baseline of a reward                               a         advantage: r or R less a baseline
    w        likelihood ratio pi/mu of a sample                 rho       ref/pi, exp(-h)
             (A-LoL: pi/ref)                                    eps       clip: how far w may go from 1
"""

from bandits.algorithms import (
    ALGORITHMS,
    DPO,
    DRO,
    DROV,
    GRPO,
    IPO,
    PPO,
    RLOO,
    SRPO,
    ALoL,
    CoPG,
    ImportanceWeighted,
    NashMD,
    OnlineIPO,
    PolicyGradient,
    PsiPO,
    ReMax,
    Samples,
    Update,
    behavior_value,
    greedy,
    policy_reward,
    policy_value,
    standard_deviation,
    unit_spread,
)
from bandits.bandit import Bandit
from bandits.dynamics import convergence_rate, descent, flow, flow_error, largest_stable_step, natural_flow
from bandits.exact import expected_loss, expected_update, update_covariance
from bandits.fixed_point import fixed_point, fixed_points
from bandits.log_linear import log_linear_fixed_point, log_linear_flow, log_linear_policy
from bandits.moments import sgd_moments, stationary_covariance
from bandits.optimizers import SGD, Adam
from bandits.sampling import Dataset, Offline, OnPolicy, Pairs
from bandits.simulation import Trace, simulate
from bandits.solution import NoFixedPoint, NotConverged, Solution
from bandits.sweep import sweep

__version__ = "0.1.0"

__all__ = [
    "ALGORITHMS",
    "ALoL",
    "Adam",
    "Bandit",
    "CoPG",
    "DPO",
    "DRO",
    "DROV",
    "Dataset",
    "GRPO",
    "IPO",
    "ImportanceWeighted",
    "NashMD",
    "NoFixedPoint",
    "NotConverged",
    "Offline",
    "OnPolicy",
    "OnlineIPO",
    "PPO",
    "Pairs",
    "PolicyGradient",
    "PsiPO",
    "RLOO",
    "ReMax",
    "SGD",
    "SRPO",
    "Samples",
    "Solution",
    "Trace",
    "Update",
    "behavior_value",
    "convergence_rate",
    "descent",
    "expected_loss",
    "expected_update",
    "fixed_point",
    "fixed_points",
    "flow",
    "flow_error",
    "greedy",
    "largest_stable_step",
    "log_linear_fixed_point",
    "log_linear_flow",
    "log_linear_policy",
    "natural_flow",
    "policy_reward",
    "policy_value",
    "sgd_moments",
    "simulate",
    "standard_deviation",
    "stationary_covariance",
    "sweep",
    "unit_spread",
    "update_covariance",
]
