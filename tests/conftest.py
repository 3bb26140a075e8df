"""Settings of every test: no window opens, and hypothesis draws the same examples on every machine.

`pytest --hypothesis-profile=explore` searches at random and longer instead.
"""

from __future__ import annotations

import gc
import os

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that needs a hub is a test that hangs

# By default hypothesis tries the literals of every module of this repository that is loaded: a digit changed
# anywhere would draw other examples everywhere, and a test alone others than in the whole run.
assert callable(providers._get_local_constants)
NO_LITERALS = providers.Constants()
providers._get_local_constants = lambda: NO_LITERALS

# A slow machine is no failure: neither a deadline nor the speed of drawing may decide.
settings.register_profile(
    "fixed", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fixed")


def pytest_collection_finish() -> None:
    """What is imported by now lives to the end: the collector need not search torch after each test."""
    gc.collect()
    gc.freeze()
