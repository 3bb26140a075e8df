"""What is judged, and against which algorithm?  A line or two a loss; the settings of each library first."""

from __future__ import annotations

from verdicts.rows_alone import ALONE
from verdicts.rows_formulas import FORMULAS
from verdicts.rows_groups import GROUPS
from verdicts.rows_pairs import PAIRS
from verdicts.settings import BETA

__all__ = ["BETA", "ROWS"]

ROWS = [*PAIRS, *GROUPS, *ALONE, *FORMULAS]
