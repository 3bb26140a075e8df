"""What does a learner get?  The notebook without its solutions; what was checked there is graded.

A notebook's cells are told by their tags (`notebooks/grading.md`).  A solution shrinks to its last line, the
assertion that the answer is right, and becomes a cell that nbgrader locks, runs and gives points for;
everything else stays as it is, without outputs.  Who hands out, collects, runs and keeps marks is nbgrader.
"""

from __future__ import annotations

import copy
import re
from typing import Any

POINTS = {"warm-up": 1, "core": 2, "stretch": 3}
HEADING = re.compile(r"### Exercise (?P<exercise>\d\d\.\d) · (?P<level>[\w-]+) · \d+ minutes")


def handed_out(notebook: dict[str, Any]) -> dict[str, Any]:
    """The learner's version of a notebook, as read from its file by `json`; the argument stays as it is.

    Example: one exercise of two points.

        >>> text = "### Exercise 01.4 · core · 8 minutes"
        >>> head = {"cell_type": "markdown", "metadata": {}, "source": [text]}
        >>> tags = {"tags": ["solution", "hide-cell"]}
        >>> code = {"cell_type": "code", "metadata": tags, "source": "x = 1\\nassert check('01.4', x).ok"}
        >>> graded = handed_out({"cells": [head, code]})["cells"][1]
        >>> graded["source"], graded["metadata"]["nbgrader"]["points"]
        ("assert check('01.4', x).ok", 2)
    """
    given, exercise = copy.deepcopy(notebook), ("", "")
    for cell in given["cells"]:
        cell["source"] = "".join(cell["source"])
        if heading := HEADING.match(cell["source"]):
            exercise = (heading["exercise"], heading["level"])
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        if "solution" in cell["metadata"].get("tags", []):
            cell["source"] = cell["source"].rstrip().splitlines()[-1]
            cell["metadata"] = {"nbgrader": _graded(*exercise)}
    return given


def _graded(exercise: str, level: str) -> dict[str, Any]:
    """What nbgrader calls an autograder-test cell."""
    return {
        "schema_version": 3,
        "cell_type": "code",
        "grade_id": f"exercise-{exercise.replace('.', '-')}",
        "points": POINTS[level],
        "grade": True,
        "locked": True,
        "solution": False,
        "task": False,
    }
