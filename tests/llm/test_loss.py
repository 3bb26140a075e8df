"""Laws of the bridge between an algorithm's coefficients and a loss."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bandits import DPO, DRO, IPO, RLOO, SRPO, CoPG, NashMD, Samples, Update
from llm.beside import revision_log_probs
from llm.log_probs import sequence_log_probs
from llm.loss import alignment_loss, every_choice


def groups(*shape: int, seed: int = 0) -> Samples:
    """Random samples of any batch shape, everything filled in."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=rng, dtype=torch.float64)

    k = shape[-1]
    p = torch.rand(*shape, k, generator=rng, dtype=torch.float64)
    return Samples(
        log_prob=normal(*shape).requires_grad_(),
        reference_log_prob=normal(*shape),
        reward=normal(*shape),
        preference=(p + 1 - p.mT) / 2,
        value=normal(*shape[:-1]).requires_grad_(),
        revision_log_prob=normal(*shape, k).requires_grad_(),
        reference_revision_log_prob=normal(*shape, k),
    )


@pytest.mark.parametrize("algorithm", [CoPG(beta=0.4), IPO(beta=0.4), DPO(beta=0.4), SRPO(beta=0.4)], ids=str)
def test_the_gradient_is_that_of_the_algorithms_own_loss(algorithm):
    """Two routes: coefficients through `alignment_loss`, and autograd through `algorithm.loss`."""
    samples = groups(3, 5, 2)
    trained = [samples.log_prob] + ([samples.revision_log_prob] if isinstance(algorithm, SRPO) else [])
    ours = torch.autograd.grad(alignment_loss(algorithm, samples), trained)
    theirs = torch.autograd.grad(algorithm.loss(samples).mean(), trained)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_dro_trains_its_value_too():
    samples = groups(4, 1)
    trained = [samples.log_prob, samples.value]
    ours = torch.autograd.grad(alignment_loss(DRO(beta=0.4), samples), trained)
    theirs = torch.autograd.grad(DRO(beta=0.4).loss(samples).mean(), trained)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_a_weight_stands_for_repetitions():
    once = groups(3, 2)
    index = torch.tensor([0, 1, 1, 2, 2, 2])
    repeated = Samples(
        log_prob=once.log_prob[index],
        reference_log_prob=once.reference_log_prob[index],
        reward=once.reward[index],
    )
    weight = torch.tensor([1, 2, 3], dtype=torch.float64) / 6
    algorithm = CoPG(beta=0.3)
    ours = torch.autograd.grad(alignment_loss(algorithm, once, weight=weight), once.log_prob)
    theirs = torch.autograd.grad(alignment_loss(algorithm, repeated), once.log_prob)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_the_coefficient_is_not_differentiated_but_the_log_probability_is():
    """Nash-MD's opponent has coefficient zero: no gradient reaches it, although its log_prob is there."""
    samples = groups(6, 2)
    (gradient,) = torch.autograd.grad(alignment_loss(NashMD(beta=0.4), samples), samples.log_prob)
    coefficient = NashMD(beta=0.4).update(samples).log_prob.detach()
    torch.testing.assert_close(gradient, -coefficient / 6, rtol=1e-13, atol=0)
    assert (gradient[:, 1] == 0).all() and (gradient[:, 0] != 0).all()


def test_rloo_on_all_pairs_of_k_is_rloo_on_k():
    """T2.2: RLOO_k is the average of RLOO_2 over pairs."""
    samples = groups(3, 5)
    all_pairs = alignment_loss(RLOO(beta=0.7), every_choice(samples, 2))
    (ours,) = torch.autograd.grad(all_pairs, samples.log_prob)
    (theirs,) = torch.autograd.grad(alignment_loss(RLOO(beta=0.7, k=5), samples), samples.log_prob)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_every_choice_keeps_what_belongs_together():
    samples = groups(2, 4)
    chosen = every_choice(samples, 3)
    assert chosen.log_prob.shape == (2, 4, 3) and chosen.preference.shape == (2, 4, 3, 3)
    last = [1, 2, 3]
    torch.testing.assert_close(chosen.reward[:, 3], samples.reward[:, last])
    for i, a in enumerate(last):
        for j, b in enumerate(last):
            torch.testing.assert_close(chosen.preference[:, 3, i, j], samples.preference[:, a, b])
            torch.testing.assert_close(
                chosen.revision_log_prob[:, 3, i, j], samples.revision_log_prob[:, a, b]
            )
    torch.testing.assert_close(chosen.value, samples.value[:, None].expand(2, 4))


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_a_revision_is_a_completion_of_prompt_answer_and_instruction(make_model, family):
    """One at a time, without padding: log pi'(y_i | x, y_j) = log pi(y_i | x y_j instruction)."""
    model = make_model(family)
    prompts = torch.tensor([[3, 4, 0], [5, 6, 7]])
    completions = torch.tensor([[[1, 2, 0], [8, 0, 0]], [[2, 2, 0], [9, 3, 1]]])
    prompt_mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    completion_mask = torch.tensor([[[1, 1, 0], [1, 0, 0]], [[1, 1, 1], [1, 1, 1]]]).bool()
    instruction = torch.tensor([10, 9])
    found = revision_log_probs(
        model,
        prompts,
        completions,
        instruction=instruction,
        prompt_mask=prompt_mask,
        completion_mask=completion_mask,
    )
    assert found.shape == (2, 2, 2)
    for b in range(2):
        x = prompts[b][prompt_mask[b]]
        y = [completions[b, i][completion_mask[b, i]] for i in range(2)]
        for i in range(2):
            for j in range(2):
                asked = torch.cat([x, y[j], instruction])
                expected = sequence_log_probs(model, asked[None], y[i][None, None], shared_prefix=False)
                torch.testing.assert_close(found[b, i, j], expected[0, 0], rtol=1e-10, atol=0)


@dataclass
class Exploding:
    """An algorithm with an infinite coefficient."""

    k: int = 2

    def update(self, samples: Samples) -> Update:
        return Update(log_prob=samples.reward / 0 * samples.log_prob.new_tensor([0.0, 1.0]))


BAD = [
    (Exploding(), groups(2, 2), {}, r"coefficients of log_prob must be finite, but one is nan at \[0, 0\]"),
    (
        CoPG(beta=1.0),
        groups(2, 2),
        {"weight": torch.ones(3)},
        r"weight must have the shape of the groups \(2,\).*\(3,\)",
    ),
    (
        CoPG(beta=1.0),
        Samples(log_prob=torch.zeros(1, 2), reference_log_prob=torch.zeros(1, 2)),
        {},
        "samples.reward is None",
    ),
    (
        SRPO(beta=1.0),
        Samples(
            log_prob=torch.zeros(1, 2), reference_log_prob=torch.zeros(1, 2), preference=torch.ones(1, 2, 2)
        ),
        {},
        "samples.revision_log_prob is None",
    ),
]


@pytest.mark.parametrize(("algorithm", "samples", "more", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(algorithm, samples, more, message):
    with pytest.raises(ValueError, match=message):
        alignment_loss(algorithm, samples, **more)


def test_too_few_samples_are_refused():
    with pytest.raises(
        ValueError, match="looks at k = 3 completions of a prompt, but there are 2; sample more"
    ):
        every_choice(groups(1, 2), 3)
