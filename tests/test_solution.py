"""Laws of `Solution` and the errors that carry one."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from bandits.solution import NoFixedPoint, NotConverged, Solution


def test_arrays_are_copied_and_read_only():
    log_policy, residual = np.log([0.2, 0.8]), np.array([1e-3])
    solution = Solution(log_policy=log_policy, residual=residual)
    log_policy[0], residual[0] = 0.0, 1.0
    np.testing.assert_array_equal(solution.log_policy, np.log([0.2, 0.8]))
    np.testing.assert_array_equal(solution.residual, [1e-3])
    with pytest.raises(ValueError, match="read-only"):
        solution.log_policy[0] = 0.0


def test_policy_is_the_exponential_and_keeps_zeros():
    solution = Solution(log_policy=np.array([np.log(0.3), -np.inf, np.log(0.7)]), residual=0.0)
    np.testing.assert_allclose(solution.policy, [0.3, 0, 0.7], rtol=1e-15)
    with pytest.raises(ValueError, match="no policy; the logits part"):
        _ = Solution(log_policy=None, residual=np.inf, message="the logits part").policy


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"method": "damped Newton", "iterations": 7}, ["damped Newton", "7 iterations", "2e-12"]),
        ({"stable": np.array([True, False]), "unique": False}, ["not stable", "not unique"]),
        ({"stable": True, "message": "limit of the flow"}, [" stable", "limit of the flow"]),
    ],
)
def test_text_states_method_residual_and_verdict(facts, words):
    text = str(
        Solution(log_policy=np.log([[0.25, 0.75], [0.5, 0.5]]), residual=np.array([1e-12, 2e-12]), **facts)
    )
    assert all(word in text for word in words), text


@pytest.mark.parametrize("error", [NoFixedPoint, NotConverged])
def test_errors_cross_a_process_boundary_with_their_solution(error):
    raised = error("no end", Solution(log_policy=np.log([0.1, 0.9]), residual=0.5))
    copy = pickle.loads(pickle.dumps(raised))
    assert type(copy) is error and str(copy) == "no end"
    np.testing.assert_array_equal(copy.solution.log_policy, raised.solution.log_policy)
