"""What if a figure's numbers were others?  The keywords of its `run`, said on the command line: --beta 0.3.

They are read off the signature, and typed as their defaults are; a tuple takes several words.  The picture
goes into a file of its own, whose name says what was asked; claims are about the defaults: none is checked.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib

from bandits.experiments.record import as_json, caption, question, write
from bandits.plots import style

Asked = Mapping[str, Any]


def keywords(experiment: ModuleType) -> dict[str, Any]:
    """The numbers of its question, with their defaults.

    Example:
        >>> from bandits.experiments import robustness
        >>> keywords(robustness)
        {'beta': 0.1}
    """
    parameters = inspect.signature(experiment.run).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


def asked(experiment: ModuleType, words: Sequence[str]) -> dict[str, Any]:
    """What the words of a command line ask of an experiment, by keyword.

    Raises:
        ValueError: a word is none of its keywords, or a value is not of the default's type.

    Example:
        >>> from bandits.experiments import lock_in
        >>> asked(lock_in, ["--beta", "1", "--mu", ".2", ".2", ".6"])
        {'beta': 1.0, 'mu': (0.2, 0.2, 0.6)}
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, default in keywords(experiment).items():
        both = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
        if isinstance(default, tuple):
            parser.add_argument(*both, dest=name, type=type(default[0]), nargs="+")
        else:
            parser.add_argument(*both, dest=name, type=type(default))
    try:
        found, unknown = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ValueError(f"{error}; {_takes(experiment)}") from None
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not asked here; {_takes(experiment)}")
    said = {name: value for name, value in vars(found).items() if value is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}


def options(experiment: ModuleType) -> str:
    """Its keywords with their defaults, as a command line says them.

    Example:
        >>> from bandits.experiments import lock_in
        >>> options(lock_in)
        '--beta 0.5 --reward 2.5 2.0 1.0 --mu 0.2 0.3 0.5'
    """
    return " ".join(
        f"--{name.replace('_', '-')} {' '.join(map(str, default)) if isinstance(default, tuple) else default}"
        for name, default in keywords(experiment).items()
    )


def drawn(experiment: ModuleType, numbers: Asked, folder: Path, progress: bool) -> Path:
    """The picture of an experiment with these numbers, its record beside it.

    Raises:
        ValueError: a number lies outside its range.
        OSError: the folder cannot be written.
    """
    result = experiment.run(progress=progress, **numbers)
    said = [f"{name} = {_value(value)}" for name, value in numbers.items()]
    figure = experiment.draw(result)
    note = f"what if {', '.join(said)}?  Titles say what holds at the papers' numbers."
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # all is in its place: the note comes above, and the picture grows by it
    figure.text(0.01, 1.02, note, fontsize=9, va="bottom")
    short = experiment.__name__.rpartition(".")[2]
    path = folder / "_".join([short, *(text.replace(" ", "") for text in said)])
    title = f"{question(experiment)} What if {', '.join(said)}?"
    svg = path.with_name(f"{path.name}.svg")
    with matplotlib.rc_context({"savefig.bbox": "tight"}):
        write(svg, style.svg_bytes(figure, title, caption(experiment)))
    write(path.with_name(f"{path.name}.json"), as_json(result, [], numbers).encode())
    return svg


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _takes(experiment: ModuleType) -> str:
    return f"{experiment.__name__.rpartition('.')[2]} takes {options(experiment)}"
