"""bandits: what an alignment algorithm really converges to, computed exactly on finitely many arms.

Read in this order; each room imports only those above it, and a wing (/) lists its own rooms.

    checks         is the input usable?
    display        how does an object show itself?
    policy         how does one compute with log-probabilities?
    solution       what did a solver find, and how sure is it?
    samples        what may an algorithm see and say?
    solvers/       which numbers solve the equations?           bare arrays
    selection/     which policy is made by choosing among samples?  bare arrays
    bandit         what is the world?
    sampling/      who produced the samples?
    algorithms/    which coefficient, why, where does it end?   one file an algorithm
    problem        do algorithm, world, samples and start fit together?
    exact          what is expected of an update?
    fixed_point    where does it end?
    examples       which worlds are the papers'?
    dynamics/      how does it get there, and how fast?
    log_linear/    and in a class that misses the optimum?
    estimation/    and if N comparisons are all that is known?
    simulation/    and with sampled data?
    sequences/     and if answers are made of tokens?
    tabular/       and the neighbours that have states?         nothing imports it but its figures
    plots/         how is it drawn?
    verdict/       what is the verdict on any algorithm?        behind `report`
    explorer/      what if?                                     three arms to play with
    testing/       is my algorithm what I claim?                laws, random worlds, wrong twins
    experiments/   what does each figure ask?                   one file a figure
    teaching/      how far off is my answer?                    exercises of the notebooks

A tag such as (T2.5) is a statement of `theory.md`, in this folder: assumptions, proof or source, numbers.

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

from bandits import algorithms
from bandits.algorithms import *  # noqa: F403  the names of its __all__, which mypy follows
from bandits.bandit import Bandit
from bandits.dynamics.difficulty import difficulty_weight
from bandits.dynamics.flow import descent, flow, flow_error, natural_flow
from bandits.dynamics.moments import sgd_moments, stationary_covariance
from bandits.dynamics.rates import convergence_rate, largest_stable_step
from bandits.dynamics.rounds import iterated
from bandits.exact import expected_loss, expected_update, update_covariance
from bandits.fixed_point import fixed_point, fixed_points
from bandits.log_linear.fixed_point import log_linear_fixed_point, log_linear_flow, log_linear_policy
from bandits.sampling.rules import Dataset, Offline, OnPolicy, Pairs
from bandits.simulation.optimizers import SGD, Adam
from bandits.simulation.simulate import simulate
from bandits.simulation.sweep import sweep
from bandits.simulation.trace import Trace
from bandits.solution import NoFixedPoint, NotConverged, Solution
from bandits.verdict.card import Report
from bandits.verdict.comparison import Comparison, compare
from bandits.verdict.report import report

__version__ = "0.1.0"

__all__ = [
    "Adam",
    "Bandit",
    "Comparison",
    "Dataset",
    "NoFixedPoint",
    "NotConverged",
    "Offline",
    "OnPolicy",
    "Pairs",
    "Report",
    "SGD",
    "Solution",
    "Trace",
    "compare",
    "convergence_rate",
    "descent",
    "difficulty_weight",
    "expected_loss",
    "expected_update",
    "fixed_point",
    "fixed_points",
    "flow",
    "flow_error",
    "iterated",
    "largest_stable_step",
    "log_linear_fixed_point",
    "log_linear_flow",
    "log_linear_policy",
    "natural_flow",
    "report",
    "sgd_moments",
    "simulate",
    "stationary_covariance",
    "sweep",
    "update_covariance",
]
__all__ += algorithms.__all__
__all__.sort()


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return __all__
