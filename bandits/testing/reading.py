"""Which fields of its samples does an algorithm look at?  It is asked, with a group that has them all."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from bandits.samples import Algorithm, Samples
from bandits.sampling.observation import fields_read


def reads(algorithm: Algorithm) -> frozenset[str]:
    """The fields that an algorithm looks at where all of them are filled."""
    return fields_read(algorithm, _filled(algorithm.k))[0]


def _filled(k: int) -> Samples:
    """One group with a number in every field."""
    rng = np.random.default_rng(0)
    arrays = {
        each.name: -rng.exponential(size=(k,) * each.metadata["axes"])
        for each in fields(Samples)
        if isinstance(each.metadata["axes"], int)
    }
    plain = {
        "arm": np.arange(k),
        "length": np.arange(1.0, k + 1),
        "desirable": rng.random(k),
        "preference": np.triu(np.full((k, k), 0.75), 1) + np.tril(np.full((k, k), 0.25)) + 0.25 * np.eye(k),
    }
    logs = np.log(rng.dirichlet(np.ones(k + 2), size=3))
    names = ("log_prob", "reference_log_prob", "behavior_log_prob")
    everyone = Samples(**dict(zip(names, logs, strict=True)), reward=rng.normal(size=k + 2))
    return Samples(**{**arrays, **plain}, population=everyone)
