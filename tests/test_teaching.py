"""Exercises that check themselves: every solution passes, every mistake gets its own hint, nothing raises."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bandits
from bandits import Bandit, CoPG, Offline, Update, fixed_point
from bandits.teaching import Feedback, Logits, check, exercises, marking
from bandits.teaching.__main__ import main
from bandits.teaching.answers import Array, Choice, Function, Number, Policy
from bandits.teaching.exercise import TOLERANCE
from bandits.teaching.handout import POINTS, handed_out
from bandits.teaching.marking import COURSE, difference
from bandits.teaching.trials import Ends, Updates, off_policy_pairs

NOTEBOOKS = Path(bandits.__file__).parent.parent / "notebooks"
HEADING = re.compile(r"### Exercise (\d\d\.\d) · (warm-up|core|stretch) · (\d+) minutes\n\n\S")


@cache
def cells(number: str) -> list[dict]:
    """Of the notebook with this number, each with its text as `source` and its tags."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        {**cell, "source": "".join(cell["source"]), "tags": cell["metadata"].get("tags", [])}
        for cell in found
    ]


def cells_of(exercise: str) -> list[dict]:
    """Question, stub and solution."""
    every = cells(exercise[:2])
    (at,) = [i for i, cell in enumerate(every) if f"### Exercise {exercise} " in cell["source"]]
    return every[at : at + 3]


def numbers() -> list[str]:
    return sorted({each[:2] for each in exercises()})


# ---- the notebooks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", numbers())
def test_a_notebook_asks_three_to_five_exercises_in_order_and_no_others(number):
    headings = [HEADING.match(cell["source"]) for cell in cells(number) if "### Exercise" in cell["source"]]
    assert all(headings), "level and minutes: '### Exercise 01.1 · warm-up · 5 minutes', then the question"
    asked = [heading[1] for heading in headings]
    assert asked == [each for each in exercises() if each.startswith(number)]
    assert asked == [f"{number}.{i + 1}" for i in range(len(asked))]
    assert 3 <= len(asked) <= 5


@pytest.mark.parametrize("number", numbers())
def test_a_notebook_opens_with_what_it_gives_and_takes(number):
    opening, *rest = cells(number)
    assert "**You will know**" in opening["source"] and "**You need**" in opening["source"]
    assert next(cell for cell in rest if cell["cell_type"] == "code")["tags"] == ["setup"]


def test_the_fields_questions_stand_as_headings_where_they_are_answered():
    asked = {
        "02": "Do I need importance weights?",
        "04": "Why do both log-probabilities fall?",
        "06": "Why is k = 2 GRPO special?|Why is my loss zero at the start?",
        "07": "Which KL estimator?",
        "10": "Sum or average?",
    }
    for number, questions in asked.items():
        lines = "\n".join(cell["source"] for cell in cells(number) if cell["cell_type"] == "markdown")
        for question in questions.split("|"):
            assert re.search(rf"^##+ (\d\. )?{re.escape(question)}$", lines, re.M), question


@pytest.mark.parametrize("number", numbers())
def test_a_notebook_is_stored_as_it_ran(number):
    """From a clean kernel, in order, without errors or addresses; no function is longer than five lines."""
    code = [cell for cell in cells(number) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [i + 1 for i in range(len(code))]
    outputs = [out for cell in code for out in cell["outputs"]]
    assert not any(out["output_type"] == "error" for out in outputs)
    results = json.dumps([out for out in outputs if out["output_type"] == "execute_result"])
    assert " at 0x" not in results, "an object without a name: end the line in a semicolon"
    for cell in code:
        for body in re.findall(r"^ *def .*\n((?:    .*\n|\n)*)", cell["source"] + "\n", re.M):
            assert len([line for line in body.splitlines() if line.strip()]) <= 5, body


@pytest.mark.parametrize("number", numbers())
def test_stubs_run_and_wait_and_solutions_pass(number):
    """Of a clean namespace: the cell of imports, then each stub, then its solution."""
    import matplotlib.pyplot as plt

    setup = next(cell["source"] for cell in cells(number) if cell["tags"] == ["setup"])
    with plt.rc_context():
        for exercise in [each for each in exercises() if each.startswith(number)]:
            _, stub, solution = cells_of(exercise)
            assert stub["tags"] == ["exercise"] and solution["tags"] == ["solution", "hide-cell"]
            assert solution["metadata"]["jupyter"] == {"source_hidden": True}
            space: dict = {}
            exec(setup, space)
            *given_, last = stub["source"].splitlines()
            exec("\n".join(given_), space)
            waiting = eval(last, space)
            assert type(waiting) is Feedback and not waiting.ok and waiting.message.startswith(exercise)
            argument = re.fullmatch(rf'check\("{exercise}", (.+)\)', last)[1]
            *written, last = solution["source"].splitlines()
            assert last == f'assert check("{exercise}", {argument}).ok'
            exec("\n".join(written), space)
            found = eval(f'check("{exercise}", {argument})', space)
            assert found.ok, found.message


# ---- mistakes ----------------------------------------------------------------------------------------------

MISTAKES = [(name, i) for name in exercises() for i in range(len(COURSE[name].mistakes))]


@pytest.mark.parametrize("name", exercises())
def test_the_truth_is_right_to_the_last_digit(name):
    found = check(name, COURSE[name].truth())
    assert found.ok and found.distance == 0.0 and found.message == f"{name}: right."


@pytest.mark.parametrize(("name", "i"), MISTAKES)
def test_each_mistake_gets_its_own_hint(name, i):
    mistake = COURSE[name].mistakes[i]
    found = check(name, mistake.answer())
    assert not found.ok and found.distance > 0
    assert found.message.endswith(mistake.hint)


@pytest.mark.parametrize("name", exercises())
def test_mistakes_are_far_from_the_truth_and_from_one_another(name):
    """Ten tolerances apart, so that neither rounding nor the order of the list decides who hears what."""
    exercise = COURSE[name]
    answers = [exercise.truth(), *(each.answer() for each in exercise.mistakes)]
    read = [exercise.kind.read(each) for each in answers]
    size = np.abs(read[0][np.isfinite(read[0])]).max(initial=1.0)
    for i, one in enumerate(read):
        for other in read[:i]:
            assert difference(one, other).max() >= 10 * exercise.tolerance * size
    assert len(exercise.mistakes) >= 2
    assert len({exercise.hint, *(each.hint for each in exercise.mistakes)}) == len(exercise.mistakes) + 1


# ---- right answers in other forms -------------------------------------------------------------------------


def other_forms(kind, answer):
    if isinstance(kind, Choice):
        return [f"  {answer.upper()} "]
    if isinstance(kind, Updates | Ends):

        class Mine:
            k = answer.k
            update = staticmethod(answer.update)

        return [Mine(), Mine]
    if isinstance(kind, Function):
        return [lambda *point: np.asarray(answer(*point), dtype=np.float32)]
    plain = kind.read(answer)
    forms = [
        plain.tolist(),
        plain.astype(np.float32),
        torch.tensor(plain, requires_grad=True),
        plain.round(4),
    ]
    if isinstance(kind, Policy):
        forms += [tuple(plain), Logits(np.log(np.maximum(plain, 1e-300)) + 3.0)]
    return forms


@pytest.mark.parametrize("name", exercises())
def test_a_right_answer_in_another_form_passes(name):
    exercise = COURSE[name]
    answer = exercise.truth()
    if isinstance(answer, type):
        answer = answer()
    for form in other_forms(exercise.kind, answer):
        assert check(name, form).ok, form


def test_a_solution_stands_for_its_policy():
    world = Bandit([1.4, 0.2, 0.6], reference=[0.1, 0.6, 0.3])
    assert check("01.1", fixed_point(CoPG(0.5), world, Offline([0.2, 0.3, 0.5]))).ok


def test_the_distance_is_the_largest_difference():
    """pi* less 0.25 on one arm and 0.05 on another, by hand."""
    truth = COURSE["01.1"].truth()
    found = check("01.1", truth + [-0.25, 0.2, 0.05])
    np.testing.assert_allclose(found.distance, 0.25, rtol=1e-12)
    assert "off by 0.25 of probability (most at entry 0)" in found.message
    assert check("01.1", truth + [TOLERANCE / 2, -TOLERANCE / 2, 0]).ok
    assert not check("01.1", truth + [2 * TOLERANCE, -2 * TOLERANCE, 0]).ok


def test_an_algorithm_that_never_rests_is_told_so():
    class RunsAway:
        k = 2

        def update(self, samples):
            return Update(log_prob=samples.reward - samples.reward[..., ::-1])

    rests, runs = (Ends(off_policy_pairs).read(each) for each in (CoPG(0.5), RunsAway))
    assert np.isfinite(rests).all() and np.isinf(runs).all()


# ---- nonsense ----------------------------------------------------------------------------------------------


class Hostile:
    """Raises at whatever it is asked."""

    def __getattribute__(self, name):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")

    __len__ = __iter__ = __array__ = __float__ = __call__ = __eq__ = __bool__ = __repr__


class Breaks(Exception):
    def __str__(self):
        raise RuntimeError("no")


class Fails:
    k = 2

    def update(self, samples):
        raise Breaks


class Leaves(Fails):
    def update(self, samples):
        sys.exit(1)


class Returns(Fails):
    what = None

    def update(self, samples):
        return self.what


class ReturnsAnArray(Returns):
    what = np.ones(2)


class ReturnsNaN(Returns):
    def update(self, samples):
        return Update(log_prob=samples.log_prob * np.nan)


class Needs:
    def __init__(self, argument):
        self.argument = argument


NONSENSE = [
    *(
        "",
        "right",
        b"0.5",
        3j,
        np.nan,
        np.inf,
        -17.3,
        10**400,
        [],
        {},
        set(),
        [1.0, "a"],
        [[0.5], [0.5, 0.1]],
    ),
    *([np.nan] * 3, [0.5, 0.6, 0.7], [-0.5, 0.5, 1.0], np.zeros((3, 3)), np.array([object()] * 3)),
    *(np.ma.masked_array([1.0, 2.0, 3.0], [1, 0, 0]), Logits(None), Logits("a"), Hostile(), Hostile),
    *(
        Fails(),
        Leaves(),
        Returns(),
        ReturnsAnArray(),
        ReturnsNaN(),
        Needs,
        CoPG,
        Update(log_prob=np.zeros(2)),
    ),
    *(None, object(), type, len, np, lambda: 1 / 0, lambda *x: x),
]


@pytest.mark.parametrize("name", exercises())
def test_nonsense_gets_a_sentence(name):
    for answer in NONSENSE:
        found = check(name, answer)
        assert type(found) is Feedback and not found.ok, found
        assert found.message.startswith(name) and found.message[-1] in ".?" and len(found.message) < 700
        assert found.distance > 0


def test_an_endless_loop_is_stopped_and_told(monkeypatch):
    """Even one that catches what it can; the clock is off afterwards, and a thread has none."""

    class Endless(Fails):
        def update(self, samples):
            while True:
                with contextlib.suppress(Exception):
                    sum(range(100))

    monkeypatch.setattr(marking, "PATIENCE", 0.2)
    found = check("01.4", Endless())
    assert found.message == "01.4: yours was stopped after 0.2 seconds. Look for a loop that does not end."
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGPROF) is signal.SIG_DFL
    heard: list[Feedback] = []
    thread = threading.Thread(target=lambda: heard.append(check("01.1", COURSE["01.1"].truth())))
    thread.start(), thread.join()
    assert heard[0].ok


def test_an_unknown_exercise_names_those_that_there_are():
    for exercise in ["", "1.1", "01.9", None, 1.1, [], Hostile(), Hostile, np.nan]:
        found = check(exercise, 1.0)
        assert not found.ok and all(each in found.message for each in exercises())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(name=st.sampled_from(exercises()) | anything, answer=anything)
def test_check_never_raises(name, answer):
    found = check(name, answer)
    assert type(found) is Feedback and isinstance(found.message, str)
    assert found.ok or found.distance > 0


@settings(max_examples=30)
@given(update=anything)
def test_check_never_raises_whatever_an_update_returns(update):
    class Mine:
        k = 2

        def update(self, samples):
            return update

    assert not check("01.4", Mine()).ok


# ---- what is shown -----------------------------------------------------------------------------------------


def test_feedback_is_escaped_and_is_its_verdict():
    found = Feedback(False, 0.5, "01.1: <script>alert('&')</script>")
    assert "<script>" not in found._repr_html_() and "&lt;script&gt;" in found._repr_html_()
    assert not found and Feedback(True, 0.0, "01.1: right.")
    assert repr(found).startswith("✗ 01.1") and repr(Feedback(True, 0.0, "01.1: right.")) == "✓ 01.1: right."


def test_kinds_say_what_they_want():
    kinds = [
        Number(),
        Array((2, 3)),
        Policy(4),
        Choice(("a", "b")),
        Function("x", points=list),
        Updates(list),
    ]
    wants = [
        "one number",
        "shape (2, 3)",
        "4 probabilities",
        "'a', 'b'",
        "a function of x",
        "`k` and `update(",
    ]
    assert all(want in kind.asks for want, kind in zip(wants, kinds, strict=True))


def test_a_function_is_compared_at_its_points():
    kind = Function("a number", points=lambda: [(1.0,), (2.0,)])
    np.testing.assert_array_equal(kind.read(lambda x: 2 * x), [2.0, 4.0])
    with pytest.raises(ValueError, match="cannot be called"):
        kind.read(3.0)


def test_exercises_need_neither_torch_nor_hypothesis():
    """The core installs without them."""
    script = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "hypothesis", "pytest", "transformers", "IPython"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
from bandits.teaching import check
assert not check("01.4", None)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# ---- handing out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", numbers())
def test_what_is_handed_out_holds_no_solution_and_all_else(number):
    """A graded cell for each exercise, in order, with the solution's assertion; stubs as they are."""
    given = {"cells": cells(number)}
    before = json.dumps(given)
    out = handed_out(given)["cells"]
    assert json.dumps(given) == before
    graded = [cell for cell in out if "nbgrader" in cell["metadata"]]
    asked = [each for each in exercises() if each.startswith(number)]
    assert [cell["metadata"]["nbgrader"]["grade_id"] for cell in graded] == [
        f"exercise-{each.replace('.', '-')}" for each in asked
    ]
    for exercise, cell in zip(asked, graded, strict=True):
        question, stub, solution = cells_of(exercise)
        assert cell["source"] == solution["source"].splitlines()[-1]
        assert cell["metadata"]["nbgrader"]["points"] == POINTS[HEADING.match(question["source"])[2]]
        assert stub["source"] in [each["source"] for each in out]
    rest = [cell["source"] for cell in out if "nbgrader" not in cell["metadata"]]
    assert rest == [cell["source"] for cell in given["cells"] if "solution" not in cell["tags"]]
    assert not any(cell.get("outputs") for cell in out)


def test_the_folders_are_as_nbgrader_wants_them(tmp_path):
    """source/<notebook>/<notebook>.ipynb, and submitted/<learner>/<notebook>/<notebook>.ipynb."""
    (path,) = NOTEBOOKS.glob("01_*.ipynb")
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "ada" / path.name).write_text("{}")
    main([str(tmp_path), str(path), "--handed-in", str(tmp_path / "in")])
    source = json.loads((tmp_path / "source" / path.stem / path.name).read_text(encoding="utf-8"))
    assert len([cell for cell in source["cells"] if "nbgrader" in cell["metadata"]]) == 5
    assert (tmp_path / "submitted" / "ada" / path.stem / path.name).read_text() == "{}"
