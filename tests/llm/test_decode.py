"""Laws of sampling: the law of the samples is the model's, and nothing but (seed, prompt) decides them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bandits import NashMD
from llm.decode import greedy_completions, inverse_cdf, sample_completions, token_opponents, uniform_noise
from llm.exact import Completions, enumerate_completions

EOS = 0
PROMPT = torch.tensor([7, 2, 9])
STEPS, DRAWS = 2, 20_000


def counts(decoded, completions) -> np.ndarray:
    """How often each enumerated completion was drawn."""
    key = {
        tuple(y[:n]): i
        for i, (y, n) in enumerate(
            zip(completions.tokens.tolist(), completions.lengths.tolist(), strict=True)
        )
    }
    drawn = [
        key[tuple(torch.masked_select(y, real).tolist())]
        for y, real in zip(decoded.tokens.flatten(0, 1), decoded.mask.flatten(0, 1), strict=True)
    ]
    return np.bincount(drawn, minlength=len(key))


def chi_square_excess(observed: np.ndarray, probability: np.ndarray) -> float:
    """(X^2 - its mean) in standard deviations, cells with few expected draws put together."""
    expected = probability * observed.sum()
    rare = expected < 5
    o = np.append(observed[~rare], observed[rare].sum())
    e = np.append(expected[~rare], expected[rare].sum())
    o, e = o[e > 0], e[e > 0]
    degrees = len(o) - 1
    return float((((o - e) ** 2 / e).sum() - degrees) / np.sqrt(2 * degrees))


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_samples_follow_the_models_law(make_model, family):
    """111 completions, 20 000 draws: Pearson's statistic within 5 standard deviations of its mean."""
    model = make_model(family)
    completions = enumerate_completions(model, PROMPT, STEPS, eos_token_id=EOS)
    prompts, mask = PROMPT[None], torch.ones(1, 3, dtype=torch.bool)
    decoded = sample_completions(
        model, prompts, mask, uniform_noise([3], [0], DRAWS, STEPS), eos_token_id=EOS
    )
    observed = counts(decoded, completions)
    assert abs(chi_square_excess(observed, completions.log_prob.detach().exp().numpy())) < 5
    twin = completions.log_prob.detach().exp().sqrt().numpy()  # another temperature
    assert chi_square_excess(observed, twin / twin.sum()) > 50


def two_models(make_model, family):
    policy, reference = make_model(family), make_model(family)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(4)
        for parameter in policy.parameters():
            parameter += 0.4 * torch.randn_like(parameter)
    return policy, reference


def token_wise(mixture, models, completions: Completions) -> tuple[np.ndarray, np.ndarray]:
    """(q, log prod_t Z_t) of every completion, one token and one forward pass at a time."""
    probability, log_mass = [], []
    for y, n in zip(completions.tokens, completions.lengths.tolist(), strict=True):
        logits = [model(torch.cat([PROMPT, y[:n]])[None]).logits[0, len(PROMPT) - 1 : -1] for model in models]
        mixed = mixture(*(x.detach().log_softmax(-1) for x in logits))  # (n, V)
        probability.append(mixed.softmax(-1).gather(-1, y[:n, None]).prod().item())
        log_mass.append(mixed.logsumexp(-1).sum().item())
    return np.array(probability), np.array(log_mass)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_the_mixture_is_token_wise_and_not_that_of_whole_completions(make_model, family):
    """T10.1: q_token(y) = pi^(1-eps) ref^eps / prod_t Z_t, Z_t <= 1; times prod_t Z_t it is that of T6.4."""
    policy, reference = two_models(make_model, family)
    algorithm = NashMD(beta=1.0, mixture=0.4)
    pi = enumerate_completions(policy, PROMPT, STEPS, eos_token_id=EOS)
    ref = enumerate_completions(reference, PROMPT, STEPS, eos_token_id=EOS)
    whole = algorithm.opponent(pi.log_prob, ref.log_prob).detach().softmax(-1).numpy()
    q, log_mass = token_wise(algorithm.opponent, (policy, reference), pi)
    weighted = q * np.exp(log_mass)
    np.testing.assert_allclose(weighted / weighted.sum(), whole, rtol=1e-11)
    assert (log_mass <= 1e-12).all() and log_mass.min() < -0.1
    draws = 5000
    prompts, mask = PROMPT.expand(draws, 3), torch.ones(draws, 3, dtype=torch.bool)
    noise = uniform_noise([6], range(draws), 1, STEPS)
    drawn = token_opponents(algorithm.opponent, policy, reference, prompts, mask, noise, eos_token_id=EOS)
    assert abs(chi_square_excess(counts(drawn, pi), q)) < 5
    assert chi_square_excess(counts(drawn, pi), whole) > 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_token_is_the_one_whose_turn_the_uniform_number_says_it_is(dtype):
    """Against one cumulative sum in float64, at uneven laws over several blocks, some tokens impossible."""
    rng = torch.Generator().manual_seed(1)
    for vocabulary in (2, 11, 256, 257, 1500):
        logits = 6 * torch.randn(200, vocabulary, generator=rng, dtype=dtype)
        logits[torch.rand(logits.shape, generator=rng) < 0.3] = -torch.inf
        logits[:, vocabulary // 2] = 0.0
        uniform = torch.rand(200, generator=rng, dtype=torch.float64)
        found = inverse_cdf(logits, uniform)[:, None]
        probability = logits.double().softmax(-1)
        upper = probability.cumsum(-1)
        near = 1e-5 if dtype == torch.float32 else 1e-12  # rounding of sums over a vocabulary
        assert (uniform[:, None] < upper.gather(-1, found) + near).all()
        assert (uniform[:, None] >= (upper - probability).gather(-1, found) - near).all()


def test_no_rounding_hits_a_token_without_probability():
    """At both ends of the unit interval, with impossible tokens there and between blocks."""
    logits = torch.full((4, 700), -torch.inf)
    logits[:, [3, 300]] = torch.tensor([0.0, -70.0])
    ends = torch.tensor([0.0, 1 - 2**-53, 1.0, 0.5], dtype=torch.float64)
    assert set(inverse_cdf(logits, ends).tolist()) <= {3, 300}


def test_a_completion_depends_on_its_prompt_and_its_number_only(make_model):
    """Alone or in a batch, padded on either side."""
    model = make_model("gpt2")
    prompts = torch.tensor([[7, 2, 9, 0, 0], [0, 0, 0, 4, 4], [1, 2, 3, 4, 5]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [1, 1, 1, 1, 1]]).bool()
    together = sample_completions(
        model, prompts, mask, uniform_noise([9], [10, 11, 12], 3, 6), eos_token_id=EOS
    )
    for b in range(3):
        x = prompts[b][mask[b]][None]
        alone = sample_completions(
            model,
            x,
            torch.ones_like(x, dtype=torch.bool),
            uniform_noise([9], [10 + b], 3, 6),
            eos_token_id=EOS,
        )
        assert torch.equal(alone.tokens[0], together.tokens[b]) and torch.equal(
            alone.mask[0], together.mask[b]
        )


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_greedy_agrees_with_generate(make_model, family):
    """An independent implementation: `transformers`' own greedy search."""
    model = make_model(family)
    prompts = torch.tensor([[7, 2, 9], [3, 3, 1]])
    found = greedy_completions(
        model, prompts, torch.ones_like(prompts).bool(), max_new_tokens=5, eos_token_id=EOS
    )
    theirs = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=5,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=EOS,
    )
    width = theirs.shape[1] - 3
    assert torch.equal(found.tokens[:, 0, :width], theirs[:, 3:])
    assert (found.mask.sum(-1) >= 1).all()


def test_next_token_probabilities_that_are_nan_are_refused(make_model):
    """A policy whose training diverged samples nothing, rather than the last token for ever."""
    model = make_model("gpt2")
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(torch.nan)
    noise = torch.full((1, 1, STEPS), 0.5, dtype=torch.float64)
    mask = torch.ones_like(PROMPT[None], dtype=torch.bool)
    with pytest.raises(ValueError, match="must be finite, but are NaN; training has diverged"):
        sample_completions(model, PROMPT[None], mask, noise, eos_token_id=EOS)
