"""How is one function run over many settings, in many processes, so that an interruption loses nothing?

A setting is a dictionary of keyword arguments; the function returns an array, or a dictionary of arrays.
`joblib` runs the calls, in local processes by default, and beyond one machine by the backend in force,

    with joblib.parallel_config(backend="dask"):          # after distributed.Client(address); extra `dask`
        sweep(final_regret, settings, folder="results")

    with joblib.parallel_config(backend="ray"):           # after ray.util.joblib.register_ray()
        sweep(final_regret, settings, folder="results")

where every machine must see the folder.  With a folder each finished result is one file, written under
another name and then renamed: it is whole or absent, and what is there is not computed again.

Chance: let a setting hold a `seed`, and the function begin with `rng = np.random.default_rng([2024, seed])`.
These streams are independent (`numpy.random.SeedSequence`), and results depend neither on the number of
processes nor on what was resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bandits import checks

Result = NDArray[Any] | dict[str, NDArray[Any]]
BARE = "result"  # name, within its file, of an array that was returned without one
NAMED = b"a dictionary of arrays"  # comment of a file whose arrays came with names


def sweep(
    function: Callable[..., Any],
    settings: Iterable[Mapping[str, Any]],
    *,
    folder: str | os.PathLike[str] | None = None,
    jobs: int = -1,
    progress: bool | None = None,
) -> list[Result]:
    """[function(**setting) for setting in settings], in that order, computed side by side.

    Args:
        function: returns an array of numbers, or a dictionary of them.
        settings: keyword arguments, one mapping a call.
        folder: where results are kept, one `.npz` file each.  Its name is a digest of the function's name and
            the setting, not of the function's text: empty the folder when the function changes.
        jobs: processes; -1 takes all cores (or all workers of the backend), 1 stays in this one.
        progress: show a progress bar; by default on a terminal, if the work takes more than two seconds.

    Raises:
        ValueError: a result is no array of numbers, a setting cannot name a file, or a file is damaged.
        KeyboardInterrupt: on Ctrl-C; what is finished is in the folder, and the next call goes on from there.

    Example:
        >>> sweep(np.arange, [{"stop": 2}, {"stop": 3}], jobs=1)
        [array([0, 1]), array([0, 1, 2])]
    """
    calls = _checked_calls(function, settings)
    if isinstance(jobs, bool) or not isinstance(jobs, int | np.integer) or not 0 < abs(jobs) <= 2**16:
        raise ValueError(
            f"jobs must be -1 (all cores) or a number of processes, but jobs = {checks.shown(jobs)}"
        )
    if progress is not None:
        checks.flag(progress, "progress")
    if folder is None:
        return _run([joblib.delayed(_call)(function, call) for call in calls], jobs, progress)
    home = _made(folder)
    files = [home / f"{_digest(function, call)}.npz" for call in calls]
    missing = {file: call for file, call in zip(files, calls, strict=True) if not file.exists()}
    work = [joblib.delayed(_call_and_keep)(function, call, file) for file, call in missing.items()]
    try:
        _run(work, jobs, progress)
    except KeyboardInterrupt as interrupt:
        kept = sum(file.exists() for file in files)
        interrupt.add_note(
            f"{kept} of {len(files)} results are kept in {home}; run again to compute the others"
        )
        raise
    return [_load(file) for file in files]


def _checked_calls(
    function: Callable[..., Any], settings: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Keyword arguments of each call, which the function takes."""
    if not callable(function):
        raise ValueError(f"function must be callable, but function = {checks.shown(function)}")
    rule = "settings must be a list of dictionaries of keyword arguments"
    if isinstance(settings, Mapping) or not isinstance(settings, Iterable):
        raise ValueError(f"{rule}, but settings = {checks.shown(settings)}")
    calls = []
    for i, setting in enumerate(settings):
        if not isinstance(setting, Mapping) or not all(isinstance(name, str) for name in setting):
            raise ValueError(f"{rule}, but settings[{i}] = {checks.shown(setting)}")
        calls.append(dict(setting))
        _check_taken(function, calls[-1], i)
    return calls


def _check_taken(function: Callable[..., Any], setting: dict[str, Any], i: int) -> None:
    if inspect.isbuiltin(function):  # what these say of themselves need not be what they take: np.arange
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables say nothing
        return
    try:
        signature.bind(**setting)
    except TypeError as error:
        raise ValueError(
            f"settings must be what function takes, {signature}, but settings[{i}] does not fit: {error}"
        ) from error


def _made(folder: str | os.PathLike[str]) -> Path:
    """The folder, which now exists."""
    if not isinstance(folder, str | os.PathLike) or not str(folder):
        raise ValueError(f"folder must be the path of a folder, but folder = {checks.shown(folder)}")
    home = Path(folder)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"folder must be a folder that can be written to, but {error}") from error
    return home


def _run(work: list[Any], jobs: int, progress: bool | None) -> list[Any]:
    """Results in order; the bar counts the calls as they are handed out, which every backend lets us see."""
    hidden = None if progress is None else not progress
    with tqdm(work, disable=hidden, delay=0 if progress else 2, unit="run", desc="handed out") as handed_out:
        return joblib.Parallel(n_jobs=jobs)(handed_out)


def _call(function: Callable[..., Any], setting: dict[str, Any]) -> Result:
    """The result as arrays of numbers."""
    result = function(**setting)
    if isinstance(result, Mapping):
        for name in result:
            if not isinstance(name, str) or not name.isprintable():
                raise ValueError(
                    f"a swept function must name its arrays by printable text, but one is called {name!r}"
                )
        return {name: _numbers(value, name) for name, value in result.items()}
    return _numbers(result, BARE)


def _call_and_keep(function: Callable[..., Any], setting: dict[str, Any], file: Path) -> None:
    """Write the result to its file, which appears only when it is complete."""
    result = _call(function, setting)
    handle, unfinished = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            archive.comment = NAMED if isinstance(result, dict) else b""
            for name, array in (result if isinstance(result, dict) else {BARE: result}).items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:  # as np.savez, any name
                    np.lib.format.write_array(member, array, allow_pickle=False)
        os.replace(unfinished, file)
    except BaseException:
        os.unlink(unfinished)
        raise


def _load(file: Path) -> Result:
    try:
        with zipfile.ZipFile(file) as archive:
            arrays = {name.removesuffix(".npy"): _read(archive, name) for name in archive.namelist()}
            named = archive.comment == NAMED
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is damaged or not ours ({error}); delete it and run again") from error
    return arrays if named or set(arrays) != {BARE} else arrays[BARE]


def _read(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _numbers(value: Any, name: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise ValueError(
            f"a swept function must return arrays of numbers, but its {name} has type {array.dtype}; "
            f"return a dictionary of arrays, say the fields of a Trace that are wanted"
        )
    return array


def _digest(function: Callable[..., Any], setting: dict[str, Any]) -> str:
    text = json.dumps([_plain(function), setting], default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _plain(value: Any) -> Any:
    """What stands for a value in the name of a file; dataclasses (algorithms, worlds) by their fields."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"type": type(value).__qualname__, **fields}
    name = getattr(value, "__qualname__", None)
    if name is None or "<" in name:  # <lambda>, <locals>: two of them may share a name
        raise ValueError(
            f"with a folder, settings hold numbers, texts, arrays, dataclasses and functions of modules, "
            f"but one holds {value!r}; give it a name of its own"
        )
    return f"{value.__module__}.{name}"
