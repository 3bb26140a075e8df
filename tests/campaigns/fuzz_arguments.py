"""Arguments of wrong kinds: every public name, every parameter, a zoo of wrong values, one at a time.

    python tests/campaigns/fuzz_arguments.py --calls 5000 --seed 0        # minutes; all of them: --calls 0

Each call starts from good arguments, of which one is replaced.  It must end, within SECONDS and without a
warning, in one of three ways:

    a result                 without NaN
    an answer that raises    `NoFixedPoint` or `NotConverged`
    a refusal                one `ValueError` or `TypeError` whose message names the argument

and leave every array that it was given as it was.  What does not is printed, and the exit status is 1.
`tests/test_fuzz_arguments.py` runs a few hundred of the same calls.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

import bandits as b
from bandits import explorer

SECONDS = 10.0  # of one call, of processor time: a busy machine is no hang; the slowest good one takes 2
Arguments = dict[str, Any]


# ---- good arguments: for each public name, a few sets of them ----

REWARD = [1.0, -0.5, 0.25]
CYCLE = [[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]]
REFERENCE, POLICY, MU = [0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.6, 0.1, 0.3]
FEATURES = [[1.0, 0.0], [0.0, 1.0], [0.5, -1.0]]
JOINT = (np.arange(1.0, 10.0) / 45).reshape(3, 3)


def world() -> b.Bandit:
    return b.Bandit(
        np.array(REWARD),
        preference=np.array(CYCLE),
        reference=np.array(REFERENCE),
        length=np.array([3.0, 1.0, 2.0]),
        desirable=np.array(POLICY),
    )


def samples() -> b.Samples:
    """One pair, and everybody."""
    everyone = b.Samples(
        log_prob=np.log(POLICY),
        reference_log_prob=np.log(REFERENCE),
        reward=np.array(REWARD),
        behavior_log_prob=np.log(MU),
    )
    return dataclasses.replace(
        everyone, preference=np.array(CYCLE), population=everyone, greedy_reward=np.array(0.25)
    )


def problem(algorithm: Any, sampling: Any) -> Arguments:
    """The three that nearly every function takes."""
    return {"algorithm": algorithm, "bandit": world(), "sampling": sampling}


def problems() -> list[Arguments]:
    return [
        problem(b.CoPG(0.5), b.Offline(np.array(MU))),
        problem(b.RLOO(0.5, k=3), b.OnPolicy()),
        problem(b.DPO(0.5), b.Dataset([(0, 1), (1, 2), (2, 0)])),
        problem(b.IPO(0.5), b.Pairs(JOINT)),
        problem(b.PolicyGradient(0.5, 0.3), b.Offline(np.array(MU))),
        problem(b.PsiPO(0.5), b.Offline(np.array(MU))),
        problem(b.NashMD(0.5, 0.3), b.OnPolicy()),
    ]


def with_loss() -> list[Arguments]:
    return [one for one in problems() if hasattr(one["algorithm"], "loss")]


def affine() -> list[Arguments]:
    return [problems()[0], problem(b.CoPG(0.5), b.Pairs(JOINT))]


def extended(many: list[Arguments], **more: Any) -> list[Arguments]:
    return [{**one, **more} for one in many]


def beside() -> Arguments:
    """DRO's V."""
    return {**problem(b.DRO(0.5), b.Offline(np.array(MU))), "value": np.array(0.25)}


def revising() -> Arguments:
    """SRPO's revision policy."""
    return {
        **problem(b.SRPO(0.5), b.Offline(np.array(MU))),
        "revision_policy": np.array([POLICY, MU, REFERENCE]),
    }


def at_policy(many: list[Arguments]) -> list[Arguments]:
    return extended([*many, beside(), revising()], policy=np.array(POLICY))


def training() -> list[Arguments]:
    common = {"steps": 3, "batch_size": 2, "learning_rate": 0.01, "start": np.array(POLICY), "runs": 2}
    more = {"optimizer": b.Adam(), "reward_noise": 0.1, "record": [1, 3], "progress": False}
    rng = np.random.default_rng(1)
    return [
        *extended(problems(), **common, rng=rng, label_noise=True),
        {**problems()[0], **common, **more, "rng": rng, "data_size": 4},
        {**beside(), **common, "rng": rng},
    ]


def square(x: float) -> float:
    return x * x


def constant(samples: b.Samples, beta: float) -> np.ndarray:
    return 0.0 * samples.reward


METHODS: dict[str, Arguments] = {
    "optimal_policy": {"beta": 0.5},
    "optimal_value": {"beta": 0.5},
    "value": {"policy": np.array(POLICY), "beta": 0.5},
    "regret": {"policy": np.array(POLICY), "beta": 0.5},
    "win_rate": {"policy": np.array(POLICY), "opponent": np.array(MU)},
    "best_response": {"opponent": np.array(MU), "beta": 0.5},
    "nash_policy": {"beta": 0.5},
    "duality_gap": {"policy": np.array(POLICY), "beta": 0.5},
}


def of_algorithms() -> dict[str, list[Arguments]]:
    """Those of beta = 1/2 and defaults; whoever takes functions, or more, has an entry of its own below."""
    found = {}
    for cls in (cls for cls in b.ALGORITHMS if "beta" in inspect.signature(cls).parameters):
        made = cls(beta=0.5)
        found[cls.__name__] = [{field.name: getattr(made, field.name) for field in dataclasses.fields(made)}]
    return found


def of_explorer() -> dict[str, list[Arguments]]:
    """Of a state each entry is an argument, of which `explorer.checked` takes all together."""
    state = {"state": dict(explorer.DEFAULT)}
    found = {f"explorer.{name}": [dict(state)] for name in ("compute", "explore")}
    return {
        **found,
        "explorer.checked": [dict(explorer.DEFAULT)],
        "explorer.moved": [state | {"name": "CoPG"}],
        "explorer.link": [state | {"page": "page.html"}],
        "explorer.from_link": [{"address": explorer.link({})}],
    }


def good_arguments() -> dict[str, list[Arguments]]:
    """Sets of good arguments of every public name that can be called."""
    start, times = np.array(POLICY), np.array([0.0, 0.5])
    solution = b.Solution(log_policy=np.log(POLICY), residual=0.0)
    noise = {"batch_size": 2, "reward_noise": 0.1, "label_noise": False}
    features, few = {"features": np.array(FEATURES)}, {"max_groups": 1000}
    return {
        "Bandit": [
            {
                "reward": np.array(REWARD),
                "preference": np.array(CYCLE),
                "reference": np.array(REFERENCE),
                "length": np.array([3.0, 1.0, 2.0]),
                "desirable": np.array(POLICY),
                "names": ["a", "b", "c"],
            }
        ],
        **{f"Bandit.{name}": [arguments] for name, arguments in METHODS.items()},
        **of_algorithms(),
        **of_explorer(),
        "ALoL": [{"clip": 0.9}],
        "BestOfN": [{"k": 3}],
        "AsymRE": [{"beta": 0.0, "baseline": 0.3, "k": 2}, {"beta": 0.5, "baseline": 0.3, "k": 2}],
        "TOPR": [{"baseline": 0.1, "k": 2}],
        "CISPO": [{"cap": 1.5, "baseline": 0.1, "k": 2}],
        "GOLD": [{"floor": 0.1}],
        "RLoL": [{"clip": 0.9}],
        "KTO": [{"beta": 0.5, "desirable_weight": 1.0, "undesirable_weight": 1.2, "reference_point": 0.1}],
        "XPO": [{"beta": 0.5, "alpha": 0.02}],
        "ORPO": [{"weight": 0.3, "average": True}],
        "CoPG": [{"beta": 0.5, "k": 3}],
        "RLOO": [{"beta": 0.5, "k": 3}],
        "DPO": [{"beta": 0.5, "smoothing": 0.1, "margin": lambda answers: 0.1 * answers.reward}],
        "ConvexLoss": [{"beta": 0.5, "f": b.exponential}],
        "MarginLoss": [{"value": np.negative, "slope": b.logistic.slope, "convex": True}],
        "RobustDPO": [{"beta": 0.5, "flips": 0.2}],
        "CalDPO": [{"beta": 0.5, "weight": 1.5}],
        "EXO": [{"beta": 0.5, "smoothing": 0.2}],
        "PsiPO": [{"beta": 0.5, "psi": np.sqrt}],
        "PolicyGradient": [{"beta": 0.5, "baseline": constant, "k": 2}],
        "PPO": [{"beta": 0.5, "clip": 0.2, "baseline": 0.1, "k": 2, "upper_clip": 0.3}],
        "GRPO": [{"beta": 0.5, "k": 2, "clip": 0.2, "spread": b.unit_spread, "upper_clip": 0.3}],
        "ImportanceWeighted": [{"algorithm": b.RLOO(0.5), "clip": 3.0}],
        "WithKLReward": [{"algorithm": b.RLOO(0.5), "estimator": b.k3}],
        "WithKLLoss": [{"algorithm": b.RLOO(0.5), "estimator": b.k3, "weighted": True}],
        "PMDMean": [{"beta": 0.5, "k": 2, "leave_one_out": True}],
        "QRPO": [{"beta": 0.5, "quantile": b.group_quantile, "value": constant, "k": 2}],
        "NashMD": [{"beta": 0.5, "mixture": 0.3}],
        "SRPO": [{"beta": 0.5, "alpha": 0.3}],
        "Offline": [{"mu": np.array(MU)}],
        "Pairs": [{"joint": JOINT.copy()}],
        "Dataset": [{"pairs": np.array([(0, 1), (1, 2)])}],
        "OnPolicy": [{}],
        "SGD": [{}],
        "Adam": [{"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}],
        "Samples": [{"log_prob": np.log(POLICY), "reward": np.array(REWARD)}],
        "Update": [{"log_prob": np.log(POLICY)}],
        "Solution": [{"log_policy": np.log(POLICY), "residual": 0.0, "unique": True}],
        "Trace": [{"steps": np.arange(2), "policies": np.array([[POLICY], [MU]])}],
        "NoFixedPoint": [{"message": "none", "solution": solution}],
        "NotConverged": [{"message": "not yet", "solution": solution}],
        **dict.fromkeys(
            (
                "policy_reward",
                "policy_value",
                "behavior_value",
                "greedy",
                "continuous_value",
                "reference_value",
            ),
            [{"samples": samples(), "beta": 0.5}],
        ),
        **dict.fromkeys(("reference_quantile", "group_quantile"), [{"samples": samples()}]),
        **dict.fromkeys(("standard_deviation", "unit_spread"), [{"reward": np.array(REWARD)}]),
        "expected_update": extended(at_policy(problems()), **few),
        "expected_loss": extended(at_policy(with_loss()), **few),
        "update_covariance": extended(at_policy(problems()), label_noise=False, **few),
        "fixed_point": extended(problems(), start=start, **few),
        "fixed_points": extended(problems(), start=start, starts=1, rng=np.random.default_rng(0), **few),
        "iterated": extended(problems()[:4], rounds=1, moving=True, start=start, **few),
        "flow": extended(problems(), times=times, start=start, **few),
        "flow_error": extended(problems()[:2], times=times, start=start, **few),
        "natural_flow": extended(problems()[:3], times=times, start=start, **few),
        "descent": extended(problems(), learning_rate=0.01, steps=[0, 3], start=start, **few),
        "convergence_rate": extended(problems(), start=start, **few),
        "largest_stable_step": extended(problems(), start=start, **few),
        "sgd_moments": extended(affine(), learning_rate=0.1, steps=[0, 2], start=start, **noise),
        "stationary_covariance": extended(affine(), learning_rate=0.1, **noise),
        "difficulty_weight": [{"algorithm": b.GRPO(0.5, k=3), "success": np.array(POLICY)}],
        "report": [{**problem(b.CoPG(0.5), b.Offline(np.array(MU))), "beta": 0.7}],
        "compare": [
            {"algorithms": [b.CoPG(0.5)], "bandit": world(), "sampling": b.Offline(np.array(MU))},
        ],
        "Comparison": [{}],
        "Report": [{}],  # `report` makes it, and `Report.from_json`
        "log_linear_policy": [{"bandit": world(), **features, "weights": np.array([0.5, -0.2])}],
        "log_linear_flow": extended(problems()[:2], **features, times=times, start=np.array([0.1, 0.2])),
        "log_linear_fixed_point": extended(problems()[:2], **features, start=np.array([0.1, 0.2])),
        "simulate": training(),
        "sweep": [
            {"function": square, "settings": [{"x": 2.0}], "folder": None, "jobs": 1, "progress": False}
        ],
    }


# ---- wrong values ----


class Empty:
    """An object that has nothing."""


class Rude:
    """An object that answers no question."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class NoUpdate:
    k = 1


class NoK:
    def update(self, samples: b.Samples) -> b.Update:
        return b.Update(log_prob=samples.log_prob)


class NothingUpdate:
    k = 1

    def update(self, samples: b.Samples) -> None:
        return None


def zoo() -> dict[str, Callable[[], Any]]:
    """Values that some parameter, somewhere, does not take."""
    nan, inf = float("nan"), float("inf")
    plain: dict[str, Any] = {
        "None": None,
        "text": "a little",
        "empty text": "",
        "bytes": b"abc",
        "True": True,
        "object": Empty(),
        "rude object": Rude(),
        "class": b.CoPG,
        "class of sampling": b.OnPolicy,
        "class of number": float,
        "module": np,
        "ellipsis": ...,
        "not implemented": NotImplemented,
        "zero": 0,
        "one": 1,
        "minus one": -1,
        "minus a half": -0.5,
        "a half": 0.5,
        "seven": 7.0,
        "nan": nan,
        "inf": inf,
        "minus inf": -inf,
        "1e-320": 1e-320,
        "1e-300": 1e-300,
        "1e300": 1e300,
        "10**400": 10**400,
        "-10**400": -(10**400),
        "10**5000": 10**5000,
        "2**63": 2**63,
        "2**64": 2**64,
        "complex": 1j,
        "fraction": Fraction(1, 3),
        "float32": np.float32(0.1),
        "float16": np.float16(0.1),
        "longdouble": np.longdouble(0.1),
        "int64": np.int64(3),
        "0-d array": np.array(0.5),
        "empty list": [],
        "empty tuple": (),
        "list of nothing": [[]],
        "no contexts": np.zeros((0, 3)),
        "no arms": np.zeros((3, 0)),
        "one arm": [1.0],
        "two arms": [0.5, 0.5],
        "four arms": [0.25, 0.25, 0.25, 0.25],
        "flat list": [0.2, 0.5, 0.3],
        "sum of .999": [0.3, 0.3, 0.399],
        "negative list": [0.5, 0.7, -0.2],
        "nan list": [0.5, nan, 0.5],
        "inf list": [0.5, inf, 0.5],
        "huge list": [1e308, -1e308, 0.0],
        "tiny list": [5e-324, 0.5, 0.5],
        "ragged": [[0.5], [0.2, 0.3]],
        "nested": [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]],
        "deep": [[[[[[0.2, 0.5, 0.3]]]]]],
        "other contexts": np.full((2, 4, 3), 1 / 3),
        "square": [[0.5, 0.9], [0.1, 0.5]],
        "list of text": ["a", "b", "c"],
        "list of None": [None, None, None],
        "list of huge": [10**400, 1, 2],
        "list of bool": [True, False, False],
        "complex array": np.array([1j, 0.5, 0.5]),
        "object array": np.array([0.2, "x", None], dtype=object),
        "text array": np.array(["a", "b"]),
        "dates": np.array(["2024-01-01"], dtype="datetime64[D]"),
        "record array": np.zeros(3, dtype=[("a", float)]),
        "uint64 pairs": np.array([[2**63, 1]], dtype=np.uint64),
        "masked": np.ma.array([0.2, 0.5, 0.3], mask=[False, True, False]),
        "list with masked": [0.2, np.ma.masked, 0.3],
        "masked inside": [np.ma.array([0.2, 0.5, 0.3], mask=[False, True, False])],
        "dict": {"a": 1},
        "empty dict": {},
        "set": {0.2, 0.8},
        "range": range(3),
        "negative steps": [-1, 2],
        "steps that fall": [3, 1],
        "a huge step": [0, 2**63],
        "iterator of text": "abc".__iter__,
        "no arguments": lambda: 0.5,
        "five arguments": lambda a, b, c, d, e: 0.5,
        "gives None": lambda *_: None,
        "gives text": lambda *_: "x",
        "gives nan": lambda *_: np.array([nan]),
        "gives another shape": lambda *_: np.zeros(17),
        "builtin": len,
        "algorithm": b.CoPG(0.5),
        "weighted algorithm": b.PPO(0.5),
        "algorithm with an opponent": b.OnlineIPO(0.5),
        "no update": NoUpdate(),
        "no k": NoK(),
        "update of nothing": NothingUpdate(),
        "sampling": b.OnPolicy(),
        "sampling of two arms": b.Offline([0.5, 0.5]),
        "three behaviours": b.Offline(MU, MU, MU),
        "data out of range": b.Dataset([(0, 7)]),
        "solution": b.Solution(log_policy=np.log(POLICY), residual=0.0),
        "empty solution": b.Solution(log_policy=None, residual=0.0),
        "trace": b.Trace(np.arange(1), np.array([[POLICY]])),
        "samples": samples(),
        "random state": np.random.RandomState(0),  # noqa: NPY002
        "optimizer": b.Adam(),
    }
    fresh: dict[str, Callable[[], Any]] = {key: lambda value=value: value for key, value in plain.items()}
    fresh["world"] = world
    fresh["world of two arms"] = lambda: b.Bandit([1.0, 0.0])
    fresh["world of preferences"] = lambda: b.Bandit(preference=CYCLE)
    fresh["world of contexts"] = lambda: b.Bandit(np.eye(3))
    fresh["generator"] = lambda: (x for x in (0.2, 0.5, 0.3))
    fresh["iterator"] = lambda: iter([0.2, 0.5, 0.3])
    return fresh | _tensors()


def _tensors() -> dict[str, Callable[[], Any]]:
    """Of torch, where it is installed."""
    try:
        import torch
    except ImportError:
        return {}
    return {
        "tensor": lambda: torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
        "tensor of float32": lambda: torch.softmax(torch.tensor([0.1, -2.0, 0.7]), dim=0),
        "tensor with gradient": lambda: torch.tensor([0.2, 0.5, 0.3], requires_grad=True),
        "list of tensors with gradient": lambda: [torch.tensor(0.5, requires_grad=True)] * 2,
        "tensor of bfloat16": lambda: torch.tensor([0.25, 0.5, 0.25], dtype=torch.bfloat16),
        "number of torch": lambda: torch.tensor(0.5, requires_grad=True),
        "sparse tensor": lambda: torch.tensor([0.0, 1.0, 0.0]).to_sparse(),
    }


# ---- one call ----


class Call(NamedTuple):
    """A public name, which set of its good arguments, and which of them is replaced by what."""

    name: str
    case: int
    parameter: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}[{self.case}]({self.parameter} = {self.value})"


RECORDS = {
    "Samples",
    "Update",
    "Solution",
    "Trace",
    "Report",
    "Comparison",
    "NoFixedPoint",
    "NotConverged",
}  # hold what they are given
SYNONYMS = {
    "algorithm": r"algorithm|\.update|\.k\b",  # what is said of an algorithm's own parts
    "sampling": r"sampling|mu\d?\b|pairs|joint|sampler",
    "preference": r"preferences?\b",
    "settings": r"settings?\b",
    "spread": r"spread|reward",
}


class TooSlow(BaseException):
    """A call did not end in time."""


def every_call() -> list[Call]:
    """All of them, in a fixed order."""
    cases, values = good_arguments(), list(zoo())
    return [
        Call(name, case, parameter, value)
        for name, sets in cases.items()
        for case, arguments in enumerate(sets)
        for parameter in arguments
        for value in values
    ]


def some_calls(count: int, seed: int) -> list[Call]:
    """`count` of them, drawn without replacement; all for 0."""
    calls = every_call()
    if not 0 < count < len(calls):
        return calls
    return [calls[i] for i in np.random.default_rng(seed).permutation(len(calls))[:count]]


def complaint(call: Call, seconds: float = SECONDS) -> str | None:
    """What is wrong with how the call ended, or None."""
    arguments = good_arguments()[call.name][call.case]
    wrong = arguments | {call.parameter: zoo()[call.value]()}
    before = _bytes(wrong)
    try:
        with warnings.catch_warnings(), _limit(seconds):
            warnings.simplefilter("error")
            result = _ended(call, wrong)
    except (b.NoFixedPoint, b.NotConverged):
        result = None
    except (ValueError, TypeError) as error:
        if not _names(error, call, wrong[call.parameter]):
            return f"does not name {call.parameter}: {error!r}"
        result = None
    except TooSlow:
        return f"did not end within {seconds:g} seconds"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
        return f"ends in {error!r}"
    if call.name not in RECORDS and _has_nan(result):
        return f"gives NaN: {result!r}"
    return None if _bytes(wrong) == before else "changed its arguments"


def _names(error: Exception, call: Call, value: Any) -> bool:
    """Whether the message names the argument, or, of an algorithm, its class."""
    words = SYNONYMS.get(call.parameter, rf"\b{call.parameter}\b")
    if call.parameter == "algorithm":
        words += rf"|\b{type(value).__name__}\b"
    return re.search(words, str(error), re.IGNORECASE) is not None


def _ended(call: Call, arguments: Arguments) -> Any:
    """The result; what algorithms and laws do with their parts shows in a first use."""
    if call.name == "Offline":
        return _used(b.Offline(arguments["mu"]))
    if call.name.startswith("Bandit."):
        return getattr(world(), call.name.removeprefix("Bandit."))(**arguments)
    if call.name == "explorer.checked":
        return explorer.checked(arguments)
    return _used(attrgetter(call.name)(b)(**arguments))


def _used(made: Any) -> Any:
    """An algorithm or a law at work; anything else as it is."""
    if isinstance(made, b.Offline | b.Pairs) or (isinstance(made, b.Dataset) and made.pairs.max() < 3):
        return b.expected_update(b.IPO(0.5), world(), made, POLICY)
    if hasattr(made, "update") and hasattr(made, "k") and made.k <= 3:  # a dictionary has `update`
        sampling = b.OnPolicy() if hasattr(made, "needs_on_policy") else b.Offline(MU)
        return b.expected_update(made, world(), sampling, POLICY)
    return made


class _limit:
    """A limit on the processor time of a block of code, in the main thread."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.old = signal.signal(signal.SIGPROF, self._ring)
        signal.setitimer(signal.ITIMER_PROF, self.seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self.old)

    @staticmethod
    def _ring(*_: object) -> None:
        raise TooSlow


def _leaves(value: Any) -> Iterator[Any]:
    """Arrays and numbers inside containers and records."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _leaves(getattr(value, field.name))
    elif isinstance(value, np.ndarray | np.floating | float):
        yield value


def _has_nan(result: Any) -> bool:
    return any(np.isnan(leaf).any() for leaf in _leaves(result) if np.asarray(leaf).dtype.kind in "fc")


def _bytes(arguments: Arguments) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in _leaves(arguments)]


def unnamed() -> set[str]:
    """Public names that the campaign forgets, and parameters that no set of good arguments has."""
    cases = good_arguments()
    names = {name for name in b.__all__ if callable(getattr(b, name))}
    names |= {f"explorer.{name}" for name in explorer.__all__ if callable(getattr(explorer, name))}
    missing = names - set(cases)
    for name in names & set(cases) - RECORDS - {"Offline", "explorer.checked"}:
        wanted = set(inspect.signature(attrgetter(name)(b)).parameters)
        missing |= {f"{name}({p})" for p in wanted - {p for one in cases[name] for p in one}}
    return missing


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign; 1 if a call ended wrongly."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000, help="how many; 0 for all (5000)")
    parser.add_argument("--seed", type=int, default=0, help="which (0)")
    options = parser.parse_args(arguments)
    calls = some_calls(options.calls, options.seed)
    bad = 0
    for call in calls:
        wrong = complaint(call)
        if wrong is not None:
            bad += 1
            print(f"{call} {wrong}", flush=True)
    print(f"{len(calls)} calls of {len({call.name for call in calls})} names: {bad} ended wrongly")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
