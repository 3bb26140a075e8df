"""What does the command line offer?

bandits report CoPG --beta 0.5      the verdict on an algorithm, also on yours: my_file:MyAlgorithm
bandits compare CoPG IPO --beta 1   the verdicts on several
bandits solve CoPG --beta 0.5 --reward 2.5 2 1    one fixed point
bandits algorithms                  what each algorithm does; --into FILE renews the table there
bandits figures                     regenerate the figures, their numbers, and the table of claims; --list
bandits figures copg_toy --beta 0.3 what if?  One figure with other numbers than the papers', in what_if/

`python -m bandits` is the same command.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib
from joblib import Parallel, delayed

import bandits
from bandits.algorithms import ALGORITHMS, table
from bandits.experiments import EXPERIMENTS, what_if
from bandits.experiments.record import Claim, as_json, caption, captions, question, write
from bandits.experiments.record import table as table_of_claims
from bandits.plots.style import svg_bytes
from bandits.solution import NotConverged
from bandits.verdict import commands as verdicts

KNOWN = {experiment.__name__.rpartition(".")[2]: experiment for experiment in EXPERIMENTS}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 if every claim holds, 1 if one fails, 2 for bad arguments."""
    parser = _parser()
    options, words = parser.parse_known_args(arguments)
    if words and options.command != "figures":
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    if options.command == "algorithms":
        return _algorithms(options.into)
    if options.command == "figures":
        return _what_if(options, words) if words else _figures(options)
    try:
        return verdicts.run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _algorithms(into: Path | None) -> int:
    """Say what each algorithm does, or renew the table of a file."""
    if into is None:
        print(table.plain(ALGORITHMS))
        return 0
    try:
        write(into, table.into(into.read_text(encoding="utf-8"), ALGORITHMS).encode())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _figures(options: argparse.Namespace) -> int:
    """Regenerate the figures that were asked for, and say which claims hold."""
    if options.list:
        each = KNOWN.items()
        print("\n".join(f"{name}: {question(found)}\n    {what_if.options(found)}" for name, found in each))
        return 0
    if _unknown(options.names):
        return 2
    chosen, folder = options.names or list(KNOWN), options.folder or Path("figures")
    alone = len(chosen) == 1  # several share the cores, and have no bars
    try:
        results = Parallel(n_jobs=1 if alone else -1)(
            delayed(_regenerate)(name, folder, alone and not options.quiet) for name in chosen
        )
        if not options.names:
            write(folder / "README.md", captions(EXPERIMENTS).encode())
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table_of_claims([claim for claims in results for claim in claims]))
    failed = sum(not claim.ok for claims in results for claim in claims)
    print(f"\n{len(chosen)} figures in {folder}/, {failed} failed claims")
    return 1 if failed else 0


def _what_if(options: argparse.Namespace, words: list[str]) -> int:
    """Draw one figure with the numbers that were asked for; no claims are checked."""
    if _unknown(options.names):
        return 2
    if len(options.names) != 1:
        print(
            f"{words[0]!r} is asked of one figure, named first: figures copg_toy --beta 0.3", file=sys.stderr
        )
        return 2
    matplotlib.use("Agg")
    experiment, folder = KNOWN[options.names[0]], options.folder or Path("what_if")
    try:
        numbers = what_if.asked(experiment, words)
        path = what_if.drawn(experiment, numbers, folder, not options.quiet)
    except (ValueError, NotConverged, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}; no claims were checked, as they are about the numbers of the papers")
    return 0


def _unknown(names: list[str]) -> bool:
    """Whether a name is no figure's, which is said."""
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        print(f"no figure is called {unknown[0]!r}; choose from: {', '.join(KNOWN)}", file=sys.stderr)
    return bool(unknown)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bandits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"alignment-bandits {bandits.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    verdicts.add_commands(commands)
    figures = commands.add_parser(
        "figures", help="regenerate pictures and numbers, check the claims", allow_abbrev=False
    )
    figures.add_argument("names", nargs="*", help="which figures; all by default")
    figures.add_argument("--folder", type=Path, help="where to write (figures, or what_if)")
    figures.add_argument("--list", action="store_true", help="only their names, questions and numbers")
    figures.add_argument("--quiet", action="store_true", help="no progress bars")
    known = commands.add_parser("algorithms", help="what each algorithm does, where it ends, by whom")
    known.add_argument("--into", type=Path, metavar="FILE", help="renew the table between the marks of FILE")
    return parser


def _regenerate(name: str, folder: Path, progress: bool) -> list[Claim]:
    """Run one experiment and write its picture and its numbers."""
    matplotlib.use("Agg")
    experiment = KNOWN[name]
    print(f"{name}: {question(experiment)}", file=sys.stderr)
    result = experiment.run(progress=progress)
    claims = experiment.claims(result)
    write(
        folder / f"{name}.svg", svg_bytes(experiment.draw(result), question(experiment), caption(experiment))
    )
    write(folder / f"{name}.json", as_json(result, claims).encode())
    return claims


if __name__ == "__main__":
    sys.exit(main())
