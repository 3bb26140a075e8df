"""Laws of rewards: each equals its definition on a case done by hand, and comes with a length."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPTNeoXConfig,
    GPTNeoXForSequenceClassification,
)

from llm.judges import CutOff, Scorer, classified, load_entailment, load_scorer
from llm.model import train_tokenizer
from llm.rewards import (
    coverage,
    density,
    fragments,
    length,
    reward_named,
    rouge_l,
    score,
    weighted_sum,
)
from llm.train import comparison_batch

PROMPTS = ["the cat sat on the mat today", "rain fell all day"]
ANSWERS = [" the cat sat today", " it rained"]
WORDS = st.lists(st.sampled_from("abc"), max_size=7)


def common_subsequence(left: list[str], right: list[str]) -> int:
    """The textbook recursion."""
    if not left or not right:
        return 0
    if left[0] == right[0]:
        return 1 + common_subsequence(left[1:], right[1:])
    return max(common_subsequence(left[1:], right), common_subsequence(left, right[1:]))


@given(target=WORDS, text=WORDS)
def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence(target, text):
    common = common_subsequence(target, text)
    expected = 2 * common / (len(target) + len(text)) if common else 0.0
    found = rouge_l([""], [" ".join(text)], [" ".join(target)])
    np.testing.assert_allclose(found, [expected], rtol=1e-12)


def test_coverage_and_density_of_a_summary_done_by_hand():
    """'the cat sat' and 'today' are copied: 3 + 1 of 4 words, (9 + 1) / 4; of 'it rained' nothing is."""
    np.testing.assert_allclose(coverage(PROMPTS, ANSWERS, None), [1.0, 0.0])
    np.testing.assert_allclose(density(PROMPTS, ANSWERS, None), [2.5, 0.0])


def greedy_matching(source: list[str], summary: list[str]) -> list[int]:
    """Figure 3 of Grusky 2018 as it is printed, with indices i and j."""
    found, i, j = [], 0, 0
    while i < len(summary):
        best = 0
        while j < len(source):
            if summary[i] == source[j]:
                i2, j2 = i, j
                while i2 < len(summary) and j2 < len(source) and summary[i2] == source[j2]:
                    i2, j2 = i2 + 1, j2 + 1
                best, j = max(best, i2 - i), j2
            else:
                j += 1
        i, j = i + max(best, 1), 0
        found += [best] if best else []
    return found


@given(source=WORDS, summary=WORDS)
def test_fragments_are_disjoint_pieces_of_the_summary_that_stand_in_the_source(source, summary):
    """At least as long as the printed program's, whose jump to j2 passes over overlapping matches."""
    sizes = fragments(source, summary)
    copied = sum(word in source for word in summary)
    assert sum(sizes) == copied == sum(greedy_matching(source, summary))
    assert sum(n**2 for n in sizes) >= sum(n**2 for n in greedy_matching(source, summary))
    assert density([" ".join(source)], [" ".join(summary)], None) <= max([*sizes, 0])


def test_reward_and_length_come_together():
    """Four words of 7 and 4 in order; and 'rained', stemmed, is the 'rain' of four words and two."""
    found = score(rouge_l, PROMPTS, ANSWERS, references=PROMPTS)
    np.testing.assert_allclose(found.reward, [2 * 4 / (7 + 4), 2 * 1 / (4 + 2)])
    np.testing.assert_allclose(found.length, [4, 2])


def test_any_callable_is_a_reward_and_a_weighted_sum_is_the_sum():
    def runs(prompts, completions, references):
        return [float(text.strip().isidentifier()) for text in completions]

    both = weighted_sum((2.0, runs), (-0.5, length))
    np.testing.assert_allclose(score(both, ["", ""], [" x", " 1 + x"]).reward, [2 - 0.5, -1.5])


@pytest.mark.parametrize(
    ("reward", "references", "message"),
    [
        (lambda *_: [1.0, np.nan], None, r"rewards\[1\] = nan for ' it rained'"),
        (lambda *_: [1.0], None, r"one number a text \(2,\), but gave \(1,\)"),
        (lambda *_: [[1.0, 2.0]], None, r"but gave \(1, 2\)"),
        (rouge_l, None, "compares with references"),
        (length, ["one"], r"references must be as many as prompts \(2\), but are 1"),
        (weighted_sum((1.0, lambda *_: [0.0, np.inf])), None, r"rewards\[1\] = inf"),
    ],
)
def test_a_reward_that_is_none_is_refused(reward, references, message):
    with pytest.raises(ValueError, match=message):
        score(reward, PROMPTS, ANSWERS, references)


@pytest.fixture(scope="module")
def scorer_folder(tmp_path_factory, tokenizer):
    """A reward model on GPT-2, with weights so large that padding would show."""
    folder = tmp_path_factory.mktemp("scorer")
    config = GPT2Config(
        vocab_size=300, n_layer=1, n_embd=8, n_head=2, n_positions=48, initializer_range=0.5, num_labels=1
    )
    config.bos_token_id = config.eos_token_id = 0
    with torch.random.fork_rng():
        torch.manual_seed(4)
        GPT2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_score_does_not_depend_on_the_batch_it_is_in(scorer_folder, tokenizer, batch_size):
    """One text at a time, the state of its end times the score weights: float32, hence 1e-5.

    The last one was cut off: it has no end, and its last token is what is judged.
    """
    scorer = replace(load_scorer(str(scorer_folder)), batch_size=batch_size)
    found = scorer([*PROMPTS, "x"], [*ANSWERS, CutOff(" y")])
    ended = [x + y + "<|endoftext|>" for x, y in zip(PROMPTS, ANSWERS, strict=True)]
    for value, text in zip(found, [*ended, "x y"], strict=True):
        ids = tokenizer(text, return_tensors="pt").input_ids
        state = scorer.model.transformer(ids).last_hidden_state[0, -1]
        np.testing.assert_allclose(value, (state @ scorer.model.score.weight[0]).item(), rtol=1e-5)


def test_each_text_has_its_own_score_whatever_stands_beside_it(scorer_folder):
    """Of more texts than a batch holds, of any lengths in any order: as scored alone."""
    scorer = load_scorer(str(scorer_folder))
    prompts = [
        "word " * int(n) for n in np.random.default_rng(0).integers(1, 9, size=2 * scorer.batch_size + 3)
    ]
    found = scorer(prompts, [" y"] * len(prompts))
    alone = {text: scorer([text], [" y"])[0] for text in set(prompts)}
    np.testing.assert_allclose(found, [alone[text] for text in prompts], rtol=1e-5)
    assert len(set(found.round(6))) > 4


def fresh_scorer(family, model_folder, tokenizer):
    """A judge of one of the families whose completions share a prompt."""
    if family == "gpt2":
        return load_scorer(str(model_folder), fresh=True)
    config = GPTNeoXConfig(
        vocab_size=300, num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=8
    )
    config.num_labels, config.pad_token_id = 1, 0
    return Scorer(GPTNeoXForSequenceClassification(config).eval(), tokenizer)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
@pytest.mark.parametrize("size", [1, 7, 32])
def test_answers_to_one_prompt_are_scored_together_as_alone(model_folder, tokenizer, family, size):
    """Any number of them behind each prompt, prompts that come back, an answer without a token."""
    rng = np.random.default_rng(size)
    scorer = replace(fresh_scorer(family, model_folder, tokenizer), batch_size=size)
    scorer.model.score.weight.data.normal_(std=5.0, generator=torch.Generator().manual_seed(size))
    prompts = [f"word {i % 5} " * (1 + i % 4) for i in range(9) for _ in range(rng.integers(1, 7))]
    answers = [" y" * int(rng.integers(0, 9)) for _ in prompts]
    answers = [CutOff(y) if rng.integers(2) else y for y in answers]
    answers[3] = CutOff("")
    alone = [scorer([x], [y])[0] for x, y in zip(prompts, answers, strict=True)]
    np.testing.assert_allclose(scorer(prompts, answers), alone, rtol=1e-4, atol=1e-5)
    for place in (0, len(prompts) - 1):  # and as transformers has it
        end = "" if isinstance(answers[place], CutOff) else "<|endoftext|>"
        ids = scorer.tokenizer(prompts[place] + answers[place] + end, return_tensors="pt").input_ids
        state = scorer.model.base_model(ids).last_hidden_state[0, -1]
        np.testing.assert_allclose(alone[place], scorer.model.score(state).item(), rtol=1e-4, atol=1e-5)


def test_left_padding_tokenizers_and_tokenizers_without_padding_score_alike(scorer_folder):
    expected = load_scorer(str(scorer_folder))(PROMPTS, ANSWERS)
    scorer = load_scorer(str(scorer_folder))
    scorer.tokenizer.padding_side = "left"
    np.testing.assert_allclose(scorer(PROMPTS, ANSWERS), expected, rtol=1e-6)
    scorer.tokenizer.pad_token = scorer.tokenizer.eos_token
    scorer.model.config.pad_token_id = scorer.tokenizer.eos_token_id
    np.testing.assert_allclose(scorer(PROMPTS, ANSWERS), expected, rtol=1e-6)


def test_finished_and_cut_off_score_differently_even_where_padding_is_the_end(scorer_folder):
    """With GPT-2's habit of padding with end-of-sequence, transformers itself would look past the end."""
    scorer = load_scorer(str(scorer_folder))
    finished = scorer(PROMPTS, ANSWERS)
    cut_off = scorer(PROMPTS, [CutOff(y) for y in ANSWERS])
    assert (abs(finished - cut_off) > 1e-2).all()
    scorer.tokenizer.pad_token = scorer.tokenizer.eos_token
    scorer.model.config.pad_token_id = scorer.tokenizer.eos_token_id
    np.testing.assert_allclose(scorer(PROMPTS, ANSWERS), finished, rtol=1e-6)
    np.testing.assert_allclose(scorer(PROMPTS, [CutOff(y) for y in ANSWERS]), cut_off, rtol=1e-6)


def test_a_policy_cannot_write_its_own_end(scorer_folder):
    """The spelling of end-of-sequence inside an answer is judged as the characters that it is."""
    scorer = load_scorer(str(scorer_folder))
    ended, spelled = scorer(["x", "x"], [" y", CutOff(" y<|endoftext|>")])
    assert abs(ended - spelled) > 1e-2


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_a_reward_model_learns_from_texts_with_their_ends(model_folder, tokenizer, family):
    """What the Trainer sees of a comparison is what the scorer sees of both its texts; one was cut off."""
    scorer = fresh_scorer(family, model_folder, tokenizer)
    end = tokenizer.eos_token_id
    rows = [
        {"prompt_ids": tokenizer(x).input_ids, "completion_ids": [[*tokenizer(y).input_ids, end], [5, 6]]}
        for x, y in zip(PROMPTS, ANSWERS, strict=True)
    ]
    found = classified(scorer.model, **comparison_batch(rows))[:, 0].detach().numpy()
    expected = [scorer(PROMPTS, ANSWERS), scorer(PROMPTS, [CutOff(tokenizer.decode([5, 6]))] * 2)]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5)


def test_a_fresh_scorer_starts_from_a_language_model_and_a_trained_one_from_a_scorer(model_folder, tmp_path):
    fresh = load_scorer(str(model_folder), fresh=True)
    assert fresh(PROMPTS, ANSWERS).shape == (2,)
    with pytest.raises(ValueError, match="a reward model must have 1 output, but .* has 2"):
        load_scorer(str(model_folder))
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    GPT2Config.from_pretrained(model_folder, num_labels=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has no weights for 'score\.weight'"):
        load_scorer(str(tmp_path))


def test_a_text_that_a_reward_cannot_read_is_refused(scorer_folder):
    with pytest.raises(
        ValueError,
        match=r"text .*at most the model's context of 48 tokens, but is \d+ at \[1\]; shorten the prompts",
    ):
        replace(load_scorer(str(scorer_folder)), batch_size=1)(["a", "a " * 60], [" b", " b"])


def entailment_folder(folder, labels):
    words = train_tokenizer(PROMPTS, 270)
    words.save_pretrained(folder)
    config = BertConfig(
        vocab_size=270,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=64,
        initializer_range=0.5,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder), words


def test_entailment_is_the_log_probability_of_its_label_for_the_pair(tmp_path):
    folder, words = entailment_folder(tmp_path, ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"])
    judge = replace(load_entailment(folder), batch_size=2)
    found = judge(PROMPTS, ANSWERS)
    for value, premise, hypothesis in zip(found, PROMPTS, ANSWERS, strict=True):
        logits = judge.model(**words(premise, hypothesis, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(value, logits.log_softmax(-1)[2].item(), rtol=1e-5)


def test_rewards_are_named_weighed_and_added_up(tmp_path, scorer_folder):
    """Names, the folder of a reward model and that of a model of inference, each with its weight."""
    folder, _ = entailment_folder(tmp_path, ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"])
    found = reward_named("length=-0.5", str(scorer_folder), f"{folder}=3")(PROMPTS, ANSWERS, None)
    each = [length(PROMPTS, ANSWERS, None), load_scorer(str(scorer_folder))(PROMPTS, ANSWERS)]
    expected = -0.5 * each[0] + each[1] + 3 * load_entailment(folder)(PROMPTS, ANSWERS)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="'length=much'; the weight is no number"):
        reward_named("length=much")
    with pytest.raises(ValueError, match="cannot load a model from './nothing'"):
        reward_named("./nothing")


def test_a_model_that_knows_no_entailment_is_refused(tmp_path):
    folder, _ = entailment_folder(tmp_path, ["good", "bad"])
    with pytest.raises(ValueError, match=r"one label 'entailment', but has \['bad', 'good'\]"):
        load_entailment(folder)(PROMPTS, ANSWERS)
