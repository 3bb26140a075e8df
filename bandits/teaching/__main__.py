"""Lays out a folder as nbgrader wants it: `make handout` and `make grade HANDED_IN=folder` call it.

python -m bandits.teaching COURSE notebooks/0*.ipynb      learners' versions, in COURSE/source
python -m bandits.teaching COURSE --handed-in FOLDER      FOLDER/<learner>/<notebook>.ipynb: .../submitted
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from bandits.teaching.handout import handed_out


def main(arguments: list[str] | None = None) -> None:
    """Write the files; what stands there already is replaced."""
    parser = argparse.ArgumentParser(prog="python -m bandits.teaching", description="folders for nbgrader")
    parser.add_argument("course", type=Path, help="the folder that nbgrader works in")
    parser.add_argument("notebooks", type=Path, nargs="*", help="notebooks to hand out")
    parser.add_argument("--handed-in", type=Path, help="a folder with one folder a learner")
    given = parser.parse_args(arguments)
    for path in given.notebooks:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        target = given.course / "source" / path.stem / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(handed_out(notebook), ensure_ascii=False, indent=1)
        target.write_text(f"{text}\n", encoding="utf-8")
    for path in sorted(given.handed_in.glob("*/*.ipynb")) if given.handed_in else []:
        target = given.course / "submitted" / path.parent.name / path.stem / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


if __name__ == "__main__":
    main()
