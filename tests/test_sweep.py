"""Laws of sweeps: order, no dependence on the number of processes, results that survive an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits import DPO, IPO, Bandit, CoPG, Dataset, Offline, OnPolicy, Pairs, fixed_point
from bandits.simulation.simulate import simulate
from bandits.simulation.sweep import sweep

WORLD, DATA = Bandit([1.0, 0.2, -0.5]), Offline([0.2, 0.5, 0.3])
SETTINGS = [{"algorithm": CoPG(beta), "seed": seed, "rate": 0.1} for beta in (0.5, 1.5) for seed in range(3)]
ROOT = Path(__file__).parents[1]


def final_policy(algorithm: CoPG, seed: int, rate: float) -> dict[str, np.ndarray]:
    trace = simulate(
        algorithm,
        WORLD,
        DATA,
        steps=20,
        batch_size=2,
        learning_rate=rate,
        rng=np.random.default_rng([7, seed]),
    )
    return {"steps": trace.steps, "policies": trace.policies}


def square(x: float) -> float:
    return x * x


def count_calls(x: float, log: str) -> float:
    with open(log, "a") as stream:
        stream.write(f"{x}\n")
    return x * x


def text(x: int) -> str:
    return f"x = {x}"


def test_results_come_in_order_and_do_not_depend_on_the_processes_or_the_folder(tmp_path: Path) -> None:
    alone = sweep(final_policy, SETTINGS, jobs=1)
    for other in (
        sweep(final_policy, SETTINGS, jobs=2),
        sweep(final_policy, SETTINGS, jobs=2, folder=tmp_path),
    ):
        for a, b in zip(alone, other, strict=True):
            assert a.keys() == b.keys()
            for name in a:
                np.testing.assert_array_equal(a[name], b[name])
    ends = np.stack([one["policies"][-1, 0] for one in alone])
    assert len(np.unique(ends, axis=0)) == len(SETTINGS)  # every setting has a stream of its own


def test_the_order_is_that_of_the_settings_even_when_later_calls_finish_first() -> None:
    waits = [0.3, 0.0, 0.2, 0.0]
    assert sweep(wait, [{"seconds": s} for s in waits], jobs=2) == waits


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_what_is_finished_is_not_computed_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = [{"x": float(x), "log": str(log)} for x in range(4)]
    first = sweep(count_calls, settings[:3], folder=tmp_path / "out", jobs=1)
    again = sweep(count_calls, settings, folder=tmp_path / "out", jobs=1)
    assert again == [0.0, 1.0, 4.0, 9.0] and first == again[:3]
    assert len(log.read_text().splitlines()) == 4


def test_a_backend_that_gives_no_generators_will_do(tmp_path: Path) -> None:
    """Ray's backend derives from joblib's multiprocessing backend, which refuses `return_as`."""
    with joblib.parallel_config(backend="multiprocessing"):
        assert sweep(square, [{"x": 2.0}, {"x": 3.0}], jobs=2, folder=tmp_path) == [4.0, 9.0]


def test_every_part_of_a_setting_names_the_file(tmp_path: Path) -> None:
    base = SETTINGS[0]
    others = [{**base, "seed": 1}, {**base, "rate": 0.2}, {**base, "algorithm": CoPG(0.5, k=3)}]
    sweep(final_policy, [base, *others], folder=tmp_path, jobs=1)
    assert len(list(tmp_path.glob("*.npz"))) == 4


def shape_of(bandit: Bandit, sampling: object, algorithm: object) -> int:
    return bandit.arms


@pytest.mark.parametrize("seed", range(5))
def test_a_setting_is_known_again_after_it_was_used(tmp_path: Path, seed: int) -> None:
    """What a world, a rule or an algorithm remembers of its use is no part of its name."""
    rng = np.random.default_rng(seed)
    arms = int(rng.integers(2, 6))
    mu, joint = rng.dirichlet(np.ones(arms)), rng.dirichlet(np.ones(arms**2)).reshape(arms, arms)
    ring = np.stack([np.arange(arms), (np.arange(arms) + 1) % arms], axis=-1)
    rules = [Offline(mu), Offline(mu, mu[::-1]), Pairs(joint), Dataset(ring), OnPolicy()]
    settings_ = [
        {"bandit": Bandit(rng.normal(size=arms)), "sampling": rule, "algorithm": algorithm}
        for rule in rules
        for algorithm in (CoPG(0.5), IPO(0.7), DPO(0.4, smoothing=0.1))
    ]
    sweep(shape_of, settings_, folder=tmp_path, jobs=1)
    files = set(tmp_path.iterdir())
    assert len(files) == len(settings_)
    for one in settings_:
        fixed_point(one["algorithm"], one["bandit"], one["sampling"])
        assert one["bandit"].preference.shape == (arms, arms)
    sweep(shape_of, settings_, folder=tmp_path, jobs=1)
    assert set(tmp_path.iterdir()) == files


def named(names: list[str], bare: bool) -> object:
    arrays = {name: np.arange(3.0) + place for place, name in enumerate(names)}
    return np.arange(2.0) if bare else arrays


NAMES = st.text(st.characters(exclude_categories=("C", "Z")), max_size=6)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        NAMES | st.sampled_from(["result", "file", "allow_pickle", "self", "a.npy", "a", "../x"]), unique=True
    ),
    st.booleans(),
)
def test_any_result_comes_back_from_its_folder_as_it_was(
    tmp_path_factory, names: list[str], bare: bool
) -> None:
    """Names that mean something to whoever writes files included; a lone "result" stays a dictionary."""
    folder = tmp_path_factory.mktemp("results")
    setting = {"names": names, "bare": bare}
    wanted = named(**setting)
    for _ in range(2):  # computed, and read again
        (found,) = sweep(named, [setting], folder=folder, jobs=1)
        assert type(found) is type(wanted)
        if isinstance(wanted, dict):
            assert isinstance(found, dict) and list(found) == list(wanted)
            assert all((found[name] == wanted[name]).all() for name in wanted)
        else:
            np.testing.assert_array_equal(found, wanted)


def test_a_result_without_comment_is_read_as_before(tmp_path: Path) -> None:
    """Files of earlier versions: a lone "result" was an array."""
    sweep(square, [{"x": 2.0}], folder=tmp_path, jobs=1)
    (file,) = tmp_path.iterdir()
    np.savez(file, result=np.array(7.0))
    assert sweep(square, [{"x": 2.0}], folder=tmp_path, jobs=1) == [7.0]


def test_an_error_in_one_call_keeps_the_finished_ones(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        sweep(inverse, [{"x": 2.0}, {"x": 0.0}], folder=tmp_path, jobs=1)
    assert len(list(tmp_path.iterdir())) == 1


def inverse(x: float) -> float:
    return 1 / x


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="arrays of numbers, but its result has type <U5"):
        sweep(text, [{"x": 1}], jobs=1)
    with pytest.raises(ValueError, match="give it a name of its own"):
        sweep(lambda x: x, [{"x": 1}], jobs=1, folder=tmp_path)
    with pytest.raises(ValueError, match="give it a name of its own"):
        sweep(square, [{"x": object()}], jobs=1, folder=tmp_path)
    sweep(square, [{"x": 1.0}], jobs=1, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match=f"{file.name} is damaged or not ours"):
        sweep(square, [{"x": 1.0}], jobs=1, folder=tmp_path)


def unnamed(x: float) -> dict:
    return {1: np.array(x)}


BAD = {
    "function": [(3, "function must be callable"), (None, "function must be callable")],
    "settings": [
        (None, "settings must be a list of dictionaries"),
        ({"x": 1.0}, "settings must be a list of dictionaries"),
        ([{"x": 1.0}, 3], r"settings\[1\] = 3"),
        ([{1: 2}], r"settings\[0\] = {1: 2}"),
        ([{"x": 1.0}, {"y": 1.0}], r"settings\[1\] does not fit: missing a required argument: 'x'"),
    ],
    "folder": [(3, "folder must be the path of a folder"), ("", "folder must be the path")],
    "jobs": [(0, "jobs must be -1"), (1.5, "jobs must be -1"), (None, "jobs must be -1")],
    "progress": [("yes", "progress must be True or False")],
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_kinds_are_named_before_anything_is_computed(name: str, tmp_path: Path) -> None:
    for value, message in BAD[name]:
        arguments = {"function": square, "settings": [{"x": 1.0}], "jobs": 1, "folder": tmp_path / "out"}
        with pytest.raises(ValueError, match=message):
            sweep(**{**arguments, name: value})
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ValueError, match="folder must be a folder that can be written to"):
        sweep(square, [{"x": 1.0}], jobs=1, folder=tmp_path / "taken")
    with pytest.raises(ValueError, match="name its arrays by printable text, but one is called 1"):
        sweep(unnamed, [{"x": 1.0}], jobs=1)


SCRIPT = """
    import os, sys, time
    from bandits.simulation.sweep import sweep

    def slow(x, log):
        while x > 2 and not os.path.exists(log + ".go"):  # until then it is interrupted here, however slow
            time.sleep(0.02)
        with open(log, "a") as stream:
            stream.write(f"{x}\\n")
        return x * x

    if __name__ == "__main__":
        folder, log = sys.argv[1:]
        found = sweep(slow, [{"x": x, "log": log} for x in range(8)], folder=folder, jobs=2)
        print([int(x) for x in found])
"""


def test_ctrl_c_leaves_finished_results_and_the_next_call_resumes(tmp_path: Path) -> None:
    script, out, log = tmp_path / "script.py", tmp_path / "out", tmp_path / "log"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), str(out), str(log)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Children of a background shell are born deaf to Ctrl-C: this one is not.
    first = subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.npz"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGINT)  # Ctrl-C reaches the whole foreground group
    _, complaint = first.communicate(timeout=60)
    assert first.returncode != 0 and b"KeyboardInterrupt" in complaint
    assert b"of 8 results are kept in" in complaint

    kept = set(out.glob("*.npz"))
    assert 2 <= len(kept) < 8
    before = {file: file.stat().st_mtime_ns for file in kept}
    for file in kept:  # whole, not half-written
        with np.load(file, allow_pickle=False) as stored:
            assert stored["result"] in np.arange(8) ** 2

    calls = len(log.read_text().splitlines())
    log.with_name("log.go").touch()
    second = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
    assert json.loads(second.stdout) == [x * x for x in range(8)]
    assert {file: file.stat().st_mtime_ns for file in kept} == before
    assert len(log.read_text().splitlines()) - calls == 8 - len(kept)


CLUSTER = """
    import os, signal, sys
    import joblib
    import numpy as np
    from bandits.simulation.sweep import sweep

    def fatal(x, mark):
        if x == 3 and not os.path.exists(mark):  # the first worker to come here dies of it
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"square": np.array([x * x]), "worker": np.array(os.getpid())}

    if __name__ == "__main__":
        from distributed import Client, LocalCluster
        folder, mark = sys.argv[1:]
        workers = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with LocalCluster(**workers) as cluster, Client(cluster), joblib.parallel_config(backend="dask"):
            found = sweep(fatal, [{"x": x, "mark": mark} for x in range(8)], folder=folder)
            workers = {int(one["worker"]) for one in found}
            print([int(one["square"][0]) for one in found], os.getpid() in workers)
"""


def test_a_cluster_of_dask_that_loses_a_worker_gives_whole_results(tmp_path: Path) -> None:
    script, out, mark = tmp_path / "script.py", tmp_path / "out", tmp_path / "mark"
    script.write_text(textwrap.dedent(CLUSTER))
    command = [sys.executable, str(script), str(out), str(mark)]
    run = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,  # usually 8 seconds
        check=False,
    )
    assert run.stdout.split("\n")[0] == f"{[x * x for x in range(8)]} False", run.stderr
    assert mark.exists()  # a worker was killed
    assert len(list(out.glob("*.npz"))) == len(list(out.iterdir())) == 8  # whole, and nothing half-written
