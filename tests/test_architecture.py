"""The house: who imports whom, what the core never imports, what it never builds, and the public names."""

from __future__ import annotations

import ast
import functools
import inspect
import pickle
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import bandits
from bandits import ALGORITHMS, DRO, IPO, SRPO, Bandit, CoPG, Offline, expected_update, fixed_point
from rows import every_row

PACKAGE = Path(bandits.__file__).parent
FORBIDDEN = {"torch", "transformers", "datasets", "accelerate", "jax", "llm"}


# ---- imports -----------------------------------------------------------------------------------------------


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Name inside the package ("", "bandit", "algorithms.copg", ...) to syntax tree."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


@functools.cache
def imports(name: str) -> set[str]:
    """Modules of the package that a module imports, anywhere in its text."""
    found = set()
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {inner(n) if inner(n) in modules() else inner(node.module) for n in names if ours(n)}
        elif isinstance(node, ast.Import):
            found |= {inner(alias.name) for alias in node.names if ours(alias.name)}
    return found


def ours(name: str) -> bool:
    return name.split(".")[0] == "bandits"


def inner(name: str) -> str:
    """Name inside the package."""
    return name.partition(".")[2]


def listed(room: str) -> list[str]:
    """What the docstring of the package ("") or of a wing lists, in its order; a wing ends in a slash."""
    text = ast.get_docstring(modules()[room]) or ""
    _, _, rest = text.partition("Read in this order")
    block = rest.split("\n\n")[1] if rest else ""
    return [line.split()[0] for line in block.splitlines()]


@functools.cache
def reading_order() -> list[str]:
    """All modules in the order of the package's list, each wing's own list in its place.

    A wing without a list of its own (one file an algorithm, one file a figure) is one place: {wing}.*
    """
    order = []
    for room in listed(""):
        wing = room.rstrip("/")
        inside = listed(wing) if room.endswith("/") else []
        order += [f"{wing}.{each}" for each in inside] or [f"{wing}.*" if room.endswith("/") else wing]
    return order


def place(name: str) -> int:
    """Position of a module in the reading order."""
    wing = name.split(".")[0]
    return reading_order().index(f"{wing}.*" if f"{wing}.*" in reading_order() else name)


def told(name: str) -> bool:
    """Entry points stand outside of the order, and so do the `__init__` of wings, which import nothing."""
    return name not in ("", "__main__") and (name not in wings() or f"{name}.*" in reading_order())


@functools.cache
def wings() -> set[str]:
    return {name.split(".")[0] for name in modules() if "." in name}


def reachable(name: str) -> set[str]:
    """What is imported, directly or through other modules; a package brings its modules."""
    seen, queue = set(), [name]
    while queue:
        for each in imports(queue.pop()):
            if each not in seen:
                seen.add(each)
                queue.append(each)
    return seen


def test_the_reading_orders_name_every_module_and_no_other():
    unlisted = {name.removesuffix(".*") for name in reading_order() if name.endswith(".*")}
    assert {name for name in modules() if told(name) and name.split(".")[0] not in unlisted} == {
        name for name in reading_order() if not name.endswith(".*")
    }


def test_each_module_imports_only_those_above_it():
    above = {name: place(name) for name in modules() if told(name)}
    wrong = [
        f"bandits.{name} imports {each!r}, which the reading order puts below it"
        for name in above
        for each in imports(name)
        if not each or (told(each) and above[each] > above[name])
    ]
    assert not wrong


def test_a_wing_opens_nothing_but_its_list():
    """A wing that people open by its name (`bandits.sequences`) may import its own rooms."""
    closed = [name for name in wings() if not told(name)]
    assert closed and all(each.startswith(f"{name}.") for name in closed for each in imports(name))


def test_the_root_can_be_seen_at_a_glance():
    """Modules, wings, the theory and the mark of types: at most 21, and the rooms that come later."""
    later = {"report", "verdict", "testing", "sequences", "tabular", "teaching", "explorer"}
    later |= {"selection", "estimation", "display"}
    assert len({each.stem for each in PACKAGE.iterdir()} - later - {"__pycache__"}) <= 21


TABULAR_FIGURES = {"quantiles", "representations", "byol_basin", "armac"}


def test_nothing_imports_the_tabular_wing_but_its_own_figures_and_exercises():
    """States are allowed there and only there."""
    users = {name for name in modules() if any(each.split(".")[0] == "tabular" for each in imports(name))}
    allowed = {f"experiments.{name}" for name in TABULAR_FIGURES} | {"experiments", "teaching.neighbours"}
    assert {name for name in users if name.split(".")[0] != "tabular"} <= allowed
    assert not any(each.split(".")[0] == "tabular" for each in imports(""))


def private_names(tree: ast.Module) -> list[str]:
    """What a module takes of others that begins with one underscore: `from m import _x` and `m._x`."""
    found, ours_here = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and ours(node.module or ""):
            ours_here |= {
                a.asname or a.name for a in node.names if inner(f"{node.module}.{a.name}") in modules()
            }
            found += [f"{node.module}.{a.name}" for a in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in ours_here:
            found.append(f"{node.value.id}.{node.attr}")
    return [name for name in found if re.search(r"\._(?!_)\w*$", name)]


def test_no_private_name_crosses_modules():
    """Neither `from m import _x` nor `m._x` of a module of ours."""
    assert not [f"bandits.{name} takes {x}" for name, tree in modules().items() for x in private_names(tree)]
    mine = "from bandits import policy as p\nfrom bandits.exact import _x, y, __z__\np._kl(p.kl, p.__name__)"
    assert private_names(ast.parse(mine)) == ["bandits.exact._x", "p._kl"]  # the law would notice


def test_no_module_imports_itself_in_a_circle():
    assert not [name for name in modules() if name in reachable(name)]


def test_the_import_checks_would_notice():
    """The wrong twin: were `policy` to import what `exact` does, it would import what is below it."""
    below = {each for each in imports("exact") if told(each) and place(each) > place("policy")}
    assert below >= {"bandit", "problem", "sampling.laws", "sampling.rules"}


def test_no_module_of_the_core_imports_torch():
    for name, tree in modules().items():
        nodes = list(ast.walk(tree))
        names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
        assert not {each.split(".")[0] for each in names} & FORBIDDEN, f"bandits.{name}"


def test_the_core_runs_where_torch_cannot_be_imported():
    """Every module imports and an algorithm updates while torch and transformers are blocked."""
    names = [f"bandits.{name}".rstrip(".") for name in modules() if name.split(".")[-1] != "__main__"]
    algorithms = pickle.dumps([every_row()[cls.__name__].make(0.5) for cls in ALGORITHMS])
    script = f"""
import importlib, pickle, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(FORBIDDEN)}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
for name in {names}:
    importlib.import_module(name)
import bandits
world = bandits.Bandit([1.0, 0.2, 0.4], length=[3, 5, 2], desirable=[0.8, 0.3, 0.6])
for algorithm in pickle.loads({algorithms!r}):
    rule = bandits.OnPolicy() if hasattr(algorithm, "needs_on_policy") else bandits.Offline([0.2, 0.3, 0.5])
    bandits.expected_update(algorithm, world, rule, [0.5, 0.3, 0.2])
assert not {{name.split(".")[0] for name in sys.modules}} & set({sorted(FORBIDDEN)})
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# ---- the contract -----------------------------------------------------------------------------------------


def test_the_contract_lists_every_attribute_that_the_package_looks_for():
    """`getattr(algorithm, "x")` and `hasattr(algorithm, "x")` for each x of the table, and for no other."""
    asked = set()
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
                of, name = node.args[:2]
                if ast.unparse(of).split(".")[-1] == "algorithm" and isinstance(name, ast.Constant):
                    asked.add(name.value)
    table = inspect.getdoc(bandits.samples.Algorithm).split("who asks\n")[1]
    listed = set(re.findall(r"^(\w+)(?:\(| {2})", table, re.M))
    assert listed == asked - {"k", "update"}


# ---- memory ------------------------------------------------------------------------------------------------


def _questions_that_need_no_matrix(world: Bandit, mu, policy):
    yield from (world.optimal_policy(1.0), world.optimal_value(1.0), world.value(policy, 1.0))
    yield from (world.regret(policy, 1.0), world.win_rate(policy, mu), world.best_response(mu, 1.0))
    for algorithm in (CoPG(1.0), DRO(1.0), IPO(1.0)):
        yield fixed_point(algorithm, world, Offline(mu)).policy
    yield expected_update(CoPG(1.0), world, Offline(mu), policy)
    yield expected_update(IPO(1.0), world, Offline(mu), policy)


def test_a_reward_bandit_holds_no_matrix_until_asked():
    """4 000 arms: the matrix would take 128 MB; blocks of rows stay below that at all times."""
    rng, arms = np.random.default_rng(0), 4_000
    world = Bandit(rng.normal(size=arms), reference=rng.dirichlet(np.ones(arms) * 5))
    mu, policy = rng.dirichlet(np.ones(arms) * 5, size=2)
    tracemalloc.start()
    try:
        for _ in _questions_that_need_no_matrix(world, mu, policy):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 90e6
    assert "preference" not in vars(world)
    assert world.preference.nbytes == 8 * arms**2
    assert "preference" in vars(world)


# ---- the public names --------------------------------------------------------------------------------------

STATE = "value=None, revision_policy=None"  # what is trained beside the policy
MOST = "max_groups=10000000"  # groups of arms that a sum may visit
SIGNATURES = {
    "Bandit": "(reward=None, *, preference=None, reference=None, length=None, desirable=None, names=None)",
    "Bandit.optimal_policy": "(self, beta)",
    "Bandit.optimal_value": "(self, beta)",
    "Bandit.value": "(self, policy, beta)",
    "Bandit.regret": "(self, policy, beta)",
    "Bandit.win_rate": "(self, policy, opponent)",
    "Bandit.best_response": "(self, opponent, beta)",
    "Bandit.nash_policy": "(self, beta)",
    "Bandit.duality_gap": "(self, policy, beta)",
    "CoPG": "(beta, k=2)",
    "IPO": "(beta)",
    "PsiPO": "(beta, psi=identity)",
    "DPO": "(beta, smoothing=0.0, margin=None)",
    "PolicyGradient": "(beta, baseline=0.0, k=1)",
    "RLOO": "(beta, k=2)",
    "ReMax": "(beta)",
    "DRO": "(beta)",
    "DROV": "(beta)",
    "NashMD": "(beta, mixture=0.0)",
    "OnlineIPO": "(beta)",
    "SRPO": "(beta, alpha=0.5)",
    "ALoL": "(clip=0.9)",
    "AsymRE": "(beta=0.0, baseline=0.0, k=1)",
    "TOPR": "(baseline=0.0, k=1)",
    "CISPO": "(cap=2.0, baseline=None, k=2)",
    "GOLD": "(floor=0.1)",
    "RLoL": "(clip=0.9)",
    "PPO": "(beta, clip=0.2, baseline=0.0, k=1, upper_clip=None)",
    "GRPO": "(beta, k=2, clip=0.2, spread=standard_deviation, upper_clip=None)",
    "ImportanceWeighted": "(algorithm, clip=inf)",
    "Offline": "(*behaviors)",
    "Pairs": "(joint)",
    "Dataset": "(pairs)",
    "OnPolicy": "()",
    "expected_update": f"(algorithm, bandit, sampling, policy, *, {STATE}, {MOST})",
    "expected_loss": f"(algorithm, bandit, sampling, policy, *, {STATE}, {MOST})",
    "update_covariance": f"(algorithm, bandit, sampling, policy, *, {STATE}, label_noise=True, {MOST})",
    "fixed_point": f"(algorithm, bandit, sampling, start=None, *, {MOST})",
    "report": "(algorithm, bandit=None, sampling=None, *, beta=None)",
    "compare": "(algorithms, bandit=None, sampling=None)",
    "fixed_points": f"(algorithm, bandit, sampling, start=None, *, starts=20, rng=None, {MOST})",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_public_names_keep_their_signatures(name):
    thing = bandits
    for part in name.split("."):
        thing = getattr(thing, part)
    assert name.split(".")[0] in bandits.__all__
    assert _signature(thing) == SIGNATURES[name]


def _signature(thing) -> str:
    """Names and defaults, without types; functions as defaults by their names."""
    parameters = []
    for parameter in inspect.signature(thing).parameters.values():
        default = parameter.default
        if inspect.isfunction(default):
            default = type(default.__name__, (), {"__repr__": lambda _, n=default.__name__: n})()
        parameters.append(parameter.replace(annotation=parameter.empty, default=default))
    return str(inspect.Signature(parameters))


def test_all_names_are_there_and_sorted():
    assert all(hasattr(bandits, name) for name in bandits.__all__)
    assert sorted(bandits.__all__) == list(bandits.__all__)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_an_algorithm_is_a_frozen_record_with_update_and_k(algorithm):
    """Hyper-parameters only, no base class; `k`, `update(samples)` and, where it has one, `loss(samples)`."""
    assert algorithm.__mro__ == (algorithm, object)
    assert algorithm.__dataclass_params__.frozen
    assert every_row()[algorithm.__name__].make(0.5).k >= 1
    assert list(inspect.signature(algorithm.update).parameters) == ["self", "samples"]
    if hasattr(algorithm, "loss"):
        assert list(inspect.signature(algorithm.loss).parameters) == ["self", "samples"]


def test_a_readers_algorithm_needs_only_k_and_update():
    """No subclassing: a plain object runs through every public function."""

    class Mine:
        k = 1

        def update(self, samples):
            return bandits.Update(log_prob=samples.regularized_reward(0.7))

    world, policy = Bandit([1.0, -0.5, 0.25]), np.array([0.2, 0.5, 0.3])
    theirs = bandits.PolicyGradient(0.7)
    for sampling in (bandits.OnPolicy(), Offline([0.3, 0.3, 0.4])):
        np.testing.assert_array_equal(
            expected_update(Mine(), world, sampling, policy), expected_update(theirs, world, sampling, policy)
        )
        end, known = (fixed_point(a, world, sampling) for a in (Mine(), theirs))
        np.testing.assert_allclose(end.policy, known.policy, atol=1e-9)


# ---- the style of the house --------------------------------------------------------------------------------


def test_each_module_begins_with_its_theory():
    """A docstring, of at most 25 lines (the map of the package may be longer)."""
    for name, tree in modules().items():
        text = ast.get_docstring(tree)
        assert text, f"bandits.{name} has no docstring"
        assert name == "" or len(text.splitlines()) <= 25, f"bandits.{name}"


def test_each_module_asks_its_question_first():
    """In its first line; but a file of an algorithm, a command and the package say what they are."""
    for name, tree in modules().items():
        first = ast.get_docstring(tree).splitlines()[0]
        wing, _, leaf = name.rpartition(".")
        says = name == "" or leaf == "__main__" or (wing == "algorithms" and leaf != "linear")
        assert says or "?" in first, f"bandits.{name} begins with {first!r}: begin with its question"


FILE, FUNCTION = 250, 35  # lines of code: no docstrings; of a file, neither blank lines nor comments


def docstring_lines(node: ast.AST) -> set[int]:
    """Line numbers of the docstrings of a module, its classes and functions."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(each):
            found |= set(range(each.body[0].lineno, each.body[0].end_lineno + 1))
    return found


def too_long(name: str, text: str) -> list[str]:
    """Of a file's text: the file itself or functions (signature and all) of more lines than they may have."""
    tree = ast.parse(text)
    said = docstring_lines(tree)
    lines = enumerate(text.splitlines(), 1)
    sizes = {name: sum(bool(x.strip()) and x.strip()[0] != "#" and i not in said for i, x in lines)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            own = set(range(node.lineno, node.end_lineno + 1)) - said
            sizes[f"{name}:{node.name}"] = max(len(own), sizes.get(f"{name}:{node.name}", 0))
    most = {key: FUNCTION if ":" in key else FILE for key in sizes}
    return [f"{key} has {size} lines, at most {most[key]}" for key, size in sizes.items() if size > most[key]]


@pytest.mark.parametrize("room", ["bandits", "llm"])
def test_files_and_functions_are_short(room):
    """At most 250 and 35 lines of code."""
    root = PACKAGE.parent
    paths = sorted((root / room).rglob("*.py"))
    assert len(paths) > 40
    longer = [too_long(str(path.relative_to(root)), path.read_text(encoding="utf-8")) for path in paths]
    assert not sum(longer, [])


def test_the_law_of_lengths_sees_what_is_too_long():
    """Docstrings are free; signatures, blank lines inside a function and the 251st line are not."""
    body = "    x = 1\n" * 33
    fits = 'def f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n' + body[:-10]
    assert not too_long("m.py", fits)
    assert too_long("m.py", f"def f(\n    a,\n):\n{body}") == ["m.py:f has 36 lines, at most 35"]
    assert too_long("m.py", "x = 1\n\n# why\n" * 251) == ["m.py has 251 lines, at most 250"]


def test_functions_take_no_open_keywords():
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.args.kwarg is None, f"bandits.{name}.{node.name} takes **{node.args.kwarg.arg}"


@pytest.mark.parametrize("name", bandits.__all__)
def test_public_names_say_what_they_are(name):
    """A docstring of its own for every public name and every public method."""
    thing = getattr(bandits, name)
    methods = vars(thing).items() if inspect.isclass(thing) else []
    public = {key: value for key, value in methods if inspect.isfunction(value) and key[0] != "_"}
    for key, value in {name: thing, **public}.items():
        assert not callable(value) or value.__doc__, f"{name}.{key} has no docstring"
        assert not str(value.__doc__).startswith(f"{key}("), f"{key} has only the docstring of its dataclass"


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_each_algorithm_cites_its_theory_and_its_source(algorithm):
    """A tag of the theory in the module and in `update`; a paper or the wrapped algorithm's as the source."""
    module = sys.modules[algorithm.__module__]
    assert "(T" in module.__doc__ and "(T" in algorithm.update.__doc__
    assert "arXiv:" in module.__doc__ or algorithm is bandits.ImportanceWeighted
    assert "sample" in module.__doc__


def test_srpo_is_the_only_algorithm_that_needs_the_matrix_of_a_reward():
    """Its answer is a policy for each arm to revise: A^2 numbers by nature."""
    world = Bandit([1.0, -0.5, 0.25])
    fixed_point(SRPO(1.0), world, Offline([0.3, 0.3, 0.4]))
    assert "preference" in vars(world)
