"""What do the gallery and the reference of names say?  They are read off the experiments and the packages."""

from __future__ import annotations

import inspect
from importlib import import_module
from types import ModuleType

import bandits
from bandits.algorithms import ALGORITHMS
from bandits.experiments import EXPERIMENTS
from bandits.experiments.record import caption, escaped, question
from plain_docstrings import markdown

NOTEBOOKS = ("bandits.teaching", "bandits.plots", "bandits.examples")
# Page, its title, and the packages whose public names it documents.
PAGES = (
    ("bandits", "bandits: worlds, ends and ways there", ("bandits",)),
    ("testing", "bandits.testing: laws, random worlds, wrong twins", ("bandits.testing",)),
    ("sequences", "bandits.sequences: answers of tokens", ("bandits.sequences",)),
    ("selection", "bandits.selection: choosing among samples", ("bandits.selection",)),
    ("estimation", "bandits.estimation: from N comparisons", ("bandits.estimation",)),
    ("tabular", "bandits.tabular: neighbours with states", ("bandits.tabular",)),
    ("notebooks", "What notebooks call: exercises, pictures, worlds", NOTEBOOKS),
    ("llm", "llm: the same objects train language models", ("llm", "llm.conformance", "llm.frontier")),
)


def gallery() -> str:
    """Every figure with its caption, the docstring of its experiment."""
    parts = [
        "# Gallery",
        "Every figure, the question it answers and what to see. `make figures` draws all of them.",
    ]
    for experiment in EXPERIMENTS:
        name = experiment.__name__.rpartition(".")[2]
        parts += [
            f"({name.replace('_', '-')})=\n## `{name}`",
            f"[![{escaped(question(experiment))}](figures/{name}.svg)](figures/{name}.svg)",
            f"**{escaped(question(experiment))}**",
            markdown(caption(experiment)),
            f"Its numbers and claims: [`{name}.json`](figures/{name}.json); its code: "
            f"[`{name}.py`](bandits/experiments/{name}.py).",
        ]
    return "\n\n".join(parts) + "\n"


def public_names(package: str) -> list[str]:
    """The full names that a package opens: its `__all__`, else its own public names or its rooms'.

    >>> public_names("bandits.selection")[:2]
    ['bandits.selection.above', 'bandits.selection.acceptance_rates']
    """
    module = import_module(package)
    if hasattr(module, "__all__"):
        return [f"{package}.{name}" for name in module.__all__]
    if not hasattr(module, "__path__"):
        return own_names(module)
    return [full for room in rooms(module) for full in own_names(import_module(f"{package}.{room}"))]


def rooms(package: ModuleType) -> list[str]:
    """The modules that the docstring of a package lists, in its reading order."""
    _, _, rest = (inspect.getdoc(package) or "").partition("Read in this order")
    lines = rest.split("\n\n")[1].splitlines()
    return [line.split()[0] for line in lines]


def own_names(module: ModuleType) -> list[str]:
    """Public classes and functions that a module itself defines, in the order of its text."""
    return [
        f"{module.__name__}.{name}"
        for name, thing in vars(module).items()
        if name[0] != "_"
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__ == module.__name__
    ]


def api_page(title: str, packages: tuple[str, ...]) -> str:
    """One page of the reference: the packages' docstrings, then every public name."""
    parts = [f"# {title}"]
    for package in packages:
        parts.append(markdown(inspect.getdoc(import_module(package)) or ""))
        parts += [entry(name) for name in public_names(package)]
    return "\n\n".join(parts) + "\n"


def entry(full: str) -> str:
    """A name's documentation; that of an algorithm is on its own page."""
    home, _, name = full.rpartition(".")
    thing = getattr(import_module(home), name)
    if thing in ALGORITHMS:
        return f"[`{name}`](../algorithms/{name}.md)"
    if inspect.isclass(thing):
        return f"```{{eval-rst}}\n.. autoclass:: {full}\n   :members:\n```"
    if callable(thing):
        return f"```{{eval-rst}}\n.. autofunction:: {full}\n```"
    return f"```{{eval-rst}}\n.. py:data:: {full}\n```"


def api_index() -> str:
    """The first page of the reference."""
    names = "\n".join(name for name, _, _ in PAGES)
    return f"# Reference\n\n{markdown(inspect.getdoc(bandits) or '')}\n\n```{{toctree}}\n\n{names}\n```\n"


def documented_ids() -> set[str]:
    """The id that each public name must have somewhere in the built book."""
    return {name for _, _, packages in PAGES for package in packages for name in public_names(package)}
