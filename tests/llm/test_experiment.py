"""Laws of the experiment: what is planted is found, seeds are joined only if alike, and a run goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm.__main__ import main
from llm.choices import parser
from llm.experiment import compare, figures, steps
from llm.experiment.compare import at_edge, gap, pairs, rise
from llm.experiment.plan import FIRST, METHODS, PLANS, Plan, betas_of, plan_of
from llm.experiment.record import Policy, Record
from llm.experiment.report import HEADING, table
from llm.experiment.run import DIVERGED, best_rate
from llm.experiment.sentences import sentences
from llm.experiment.steps import Seed
from llm.experiment.summary import summary
from llm.experiment.texts import examples
from llm.files import read_json, write_json

BETAS = (0.25, 0.5, 1.0, 2.0, 4.0)
FIGURES = Path(__file__).parents[2] / "figures"
COMMITTED = {  # seeds at least, methods, figures
    "llm_experiment": (5, FIRST, {"plane", "gap", "training", "overdone", "wins", "pairs"}),
    "llm_experiment_all": (1, (*FIRST, "KTO", "PG0-off"), {"plane", "gap", "off_policy", "wins"}),
    "llm_experiment_rule": (3, (*FIRST, "CoPG-off"), {"plane", "pairs", "pairs_off", "pairs_data"}),
    "llm_experiment_off": (5, ("CoPG-off", "PG0-off", "PGmean-off"), {"plane", "pairs_off"}),
    "llm_experiment_games": (1, ("SRPO", "OnlineIPO", "NashMD"), {"revisions", "wins"}),
}
PROMPTS = 300
TEXTS = [f" answer\n{i}" for i in range(PROMPTS)]
ASKED = {"prompt": "What?", "completion": " That.", "reference": " This."}
COUPLES = [("CoPG", "DPO"), ("CoPG", "IPO"), ("DPO", "IPO")]
GRID = {"CoPG": 1.0, "DPO": 0.7, "IPO": 1.4}  # how much KL each takes at the same beta


def curve(kl: np.ndarray) -> np.ndarray:
    """The most reward at a KL, of normal rewards: reward^2 / 2."""
    return np.sqrt(2 * kl)


def planted(seed: int, below: dict[str, float], spread: float = 0.05) -> Record:
    """A seed whose methods lie so far below the curve, with what seeds, prompts and samples bring."""
    rng, shared = np.random.default_rng([seed, 7]), np.random.default_rng(99).normal(size=PROMPTS)
    grid = np.linspace(0.0, 9.0, 60)
    methods: dict[str, list[Policy | None]] = {}
    for name, much in GRID.items():
        ends: list[Policy | None] = []
        for beta in betas_of(Plan(betas=BETAS), name):
            kl = much * 2.0 / (beta * (10 if METHODS[name].share else 1))
            log_ratio = kl + rng.normal(0, np.sqrt(2 * kl), PROMPTS)
            noise = spread * rng.normal() + 0.3 * rng.normal(size=PROMPTS)
            reward = curve(np.array(kl)) - below.get(name, 0.0) + shared + noise
            ends.append(Policy(beta, 1e-3, reward, log_ratio, None, float(reward.mean()), [], texts=TEXTS))
        methods[name] = ends
    line = {"kl": [*grid, None], "reward": [*(curve(grid) + shared.mean()), None]}
    possible = {"frontier": line | {"beta": [*np.arange(60.0, 0, -1), None]}}
    possible["best_of_n"] = line | {"n": [*range(1, 61), None]}
    made = {"minutes": 1.0}
    usual = (seed, Plan(betas=BETAS), "rule", "same", shared, None, PROMPTS, possible, methods, made)
    return Record(*usual, asked=[ASKED] * PROMPTS)


SEEDS = [planted(seed, {}) for seed in range(5)]


def test_methods_on_one_curve_are_not_told_apart_and_one_below_it_is():
    """At every KL that both have: what is planted lies in the interval, and Holm finds what is large."""
    same = pairs(SEEDS, COUPLES)
    assert len(same) >= 6 and {each.verdict for each in same} <= {"equal", "not resolved"}
    worse = pairs([planted(seed, {"IPO": 0.6}) for seed in range(5)], COUPLES)
    for each in worse:
        planted_ = 0.6 * ((each.other == "IPO") - (each.one == "IPO"))
        slack = 0.02  # of 19 intervals one may miss
        assert each.difference.low - slack < planted_ < each.difference.high + slack
        assert (each.verdict == "differ") == (planted_ != 0)


def test_the_gap_is_what_a_method_lies_below_the_frontier():
    """Its interval covers what was planted, at every beta; where pi* is not known against the best of n."""
    below = [planted(seed, {"DPO": 0.5}) for seed in range(5)]
    for name, much in (("CoPG", 0.0), ("DPO", 0.5)):
        for place in range(len(BETAS)):
            found = gap(below, name, place)
            assert found is not None and found.low - 0.02 < much < found.high + 0.02
    short = {"kl": [0.1, None], "reward": [0.4 + below[0].reference.mean(), None], "beta": [1.0, 0.5]}
    known = [replace(each, possible=each.possible | {"frontier": short}) for each in below]
    assert gap(known, "DPO", 0) == gap(below, "DPO", 0)
    of_few = [0.0, 0.2, 0.6], [0.0, 0.6, 1.0]
    worse = {"best_of_n": {"n": [1, 2, 4], "kl": of_few[0], "reward": of_few[1]}, "frontier": short}
    none = [replace(each, possible=worse) for each in below]
    assert gap(none, "DPO", 0) is None


def test_one_seed_has_a_gap_over_prompts_and_no_pairs():
    found = gap(SEEDS[:1], "CoPG", 1)
    end, (kl, rises) = SEEDS[0].methods["CoPG"][1], compare.frontier_of(SEEDS[0].possible)
    assert end is not None and found is not None
    expected = np.interp(end.log_ratio.mean(), kl, rises) - (end.reward - SEEDS[0].reference).mean()
    assert found.mean == pytest.approx(expected, abs=1e-12) and found.low < found.mean < found.high
    assert "pairs" not in summary(SEEDS[:1])


def test_examples_are_those_at_the_quarters_of_the_mean_rise():
    """By sorting again: each method's own answer at its chosen beta, on one line."""
    one = SEEDS[0]
    ends = {name: one.methods[name][one.chosen(name) or 0] for name in GRID}
    rise = np.mean([end.reward - one.reference for end in ends.values() if end], axis=0)
    said = examples(one)
    for place in (0, 75, 150, 224, 299):
        i = int(np.flatnonzero(rise == np.sort(rise)[place])[0])
        at = said.index(f"## Mean rise {rise[i]:+.2f}")
        assert said[at + 4] == "- **people**: That." and said[at + 5].endswith("): This.")
        for line, (name, end) in zip(said[at + 6 :], ends.items(), strict=False):
            assert end is not None and line.startswith(f"- **{name}** (β = {end.beta:g}, ")
            assert line.endswith(f": answer {i}")


def test_sentences_say_what_the_numbers_say():
    """Counts by counting again; of one seed nothing is compared."""
    worse = summary([planted(seed, {"IPO": 0.6}) for seed in range(5)])
    said = " ".join(sentences(worse))
    differ = [each for each in worse["pairs"] if each["verdict"] == "differ"]
    assert f"of {len(worse['pairs'])} differences between two methods" in said
    assert f"{len(differ)} are more than chance ({differ[0]['one']} − {differ[0]['other']} at " in said
    largest = max(abs(each["difference"]["mean"]) for each in worse["pairs"])
    assert f"{largest:+.2f} [" in said or f"{-largest:+.2f} [" in said
    for name in GRID:
        rises = [np.mean(p["reward"]) - np.mean(worse["reference"]) for p in worse["methods"][name]["points"]]
        assert f"{name} {min(rises):+.2f} to {max(rises):+.2f}" in said
    against = {"others": {"mean": 0.73, "low": 0.68, "high": 0.77}}
    against["reference"] = {"mean": 0.616, "low": 0.568, "high": 0.661}
    told = " ".join(sentences(worse | {"accuracy": [{"accuracy_against": against}] * 5}))
    assert (
        "wrote to a sample of the reference in 62% [57, 66], 62%" in told and "The learned reward" not in said
    )
    assert "CoPG in 5" in said and "At equal KL" not in " ".join(sentences(summary(SEEDS[:1])))
    assert "Words of an answer: the reference 1.0, CoPG 2.0, DPO 2.0, IPO 2.0." in said
    assert "none is more than chance" in " ".join(sentences(summary(SEEDS)))


def test_what_was_learned_from_a_bad_policy_is_compared_by_itself(tmp_path, monkeypatch):
    """Never with what was learned from other data; the method that was planted low is named."""
    worse = [planted(seed, {"DPO": 0.6}) for seed in range(5)]
    off = [{"CoPG-off": each.methods["CoPG"], "PG0-off": each.methods["DPO"]} for each in worse]
    found = summary([replace(each, methods=each.methods | its) for each, its in zip(worse, off, strict=True)])
    assert {(x["one"], x["other"]) for x in found["pairs_off"]} == {("CoPG-off", "PG0-off")}
    assert not any("-off" in x["one"] + x["other"] for x in found["pairs"])
    assert {(x["one"], x["other"], x["difference"]["mean"], x["verdict"]) for x in found["pairs_data"]} == {
        ("CoPG", "CoPG-off", 0.0, "equal")
    }
    said = next(each for each in sentences(found) if "between two methods on samples of a bad policy" in each)
    kls = [f"{x['kl']:g}" for x in found["pairs_off"]]
    told = f"CoPG-off − PG0-off at {', '.join(kls)} nats; PG0-off: b = 0 has another end, T2.5"
    assert f"{len(kls)} are more than chance ({told})" in said
    low = [np.mean(p["reward"]) - np.mean(found["reference"]) for p in found["methods"]["PG0-off"]["points"]]
    told = next(each for each in sentences(found) if "The same learned from" in each)
    assert f"PG0-off {min(low):+.2f} to {max(low):+.2f}." in told
    alone = summary([replace(each, methods=its) for each, its in zip(worse, off, strict=True)])
    assert sentences(alone)[0].startswith(
        "- What a method's grid of β does (rise over the reference, mean of 5"
    )
    monkeypatch.setattr(figures, "written", lambda path, draw: (draw(), path)[1])
    paths = {path.stem for path in figures.write_all(tmp_path, alone)}
    assert paths == {"plane", "gap", "training", "wins", "pairs_off"}


def test_a_method_that_diverged_is_said_to_have_and_the_edge_is_told():
    """Its other policies count; the rise is that of what is left."""
    lost = replace(SEEDS[0], methods=SEEDS[0].methods | {"CoPG": [None, *SEEDS[0].methods["CoPG"][1:]]})
    joined = [lost, *SEEDS[1:]]
    found = summary(joined)
    assert found["methods"]["CoPG"]["points"][0]["diverged"] == 1
    assert found["methods"]["CoPG"]["chosen"][:2] == [0.5, 0.25]
    assert at_edge(joined, "CoPG") == 4 and at_edge(SEEDS, "CoPG") == 5
    said = "\n".join(table(found))
    assert "| 1 of 25 |" in said and "at its edge in 4 of 5" in said
    none = replace(SEEDS[0], methods={"CoPG": [None] * len(BETAS), "DPO": SEEDS[0].methods["DPO"]})
    assert none.chosen("CoPG") is None and rise([none]) > 0
    of_two = summary([none, SEEDS[1]])
    assert of_two["methods"]["CoPG"]["rates"] == [None, 1e-3]
    said = next(line for line in table(of_two) if line.startswith("| CoPG"))
    end = SEEDS[1].methods["CoPG"][SEEDS[1].chosen("CoPG") or 0]
    assert (
        end is not None
        and f"| {end.reward.mean():.2f} | {end.log_ratio.mean():.2f} | –" in said
        and "| 5 of 10 |" in said
    )


def test_what_is_no_chance_is_equal_only_if_the_interval_lies_within_a_quarter_of_the_rise():
    """Of seeds that spread much, of some that agree, of a large difference that three seeds leave open."""
    seen = set()
    spread = [planted(seed, {}, spread=0.5) for seed in range(3)]
    below = [planted(seed, {"IPO": 0.9}, spread=0.25) for seed in range(3)]
    for joined in (spread, SEEDS, below):
        quarter = rise(joined) / 4
        for each in pairs(joined, COUPLES):
            d = each.difference
            expected = "equal" if -quarter <= d.low and d.high <= quarter else "not resolved"
            assert each.verdict == ("differ" if each.corrected < 0.05 else expected)
            narrow_and_far = (d.high - d.low) / 2 <= quarter and expected == "not resolved"
            seen.add("far" if narrow_and_far and each.corrected >= 0.05 else each.verdict)
    assert {"equal", "not resolved", "far"} <= seen


def test_every_figure_is_drawn_from_the_numbers_in_the_file(tmp_path, monkeypatch):
    """Of one seed all but the differences."""
    write_json(tmp_path / "m.json", summary(SEEDS))
    paths = figures.write_all(tmp_path, read_json(tmp_path / "m.json"))
    assert {path.stem for path in paths} == {"plane", "gap", "training", "wins", "pairs"}
    assert all(path.read_bytes().startswith(b"<?xml") for path in paths)
    monkeypatch.setattr(figures, "written", lambda path, draw: path)
    lost = summary([replace(each, methods=each.methods | {"DPO": [None] * 5}) for each in SEEDS])
    for draw in (figures.plane, figures.gap, figures.training, figures.wins):
        assert draw(lost, list(GRID)).get_suptitle()
    alone = figures.write_all(tmp_path, summary(SEEDS[:1]))
    assert {path.stem for path in alone} == {"plane", "gap", "training", "wins"}


def test_what_a_rule_thinks_is_drawn_beside_a_learned_reward():
    """Its title says by how much both change, in the end that went furthest; what diverged is left out."""
    one = SEEDS[0]
    judged: dict[str, list[Policy | None]] = {
        name: [end and replace(end, rule=-2 * end.reward) for end in ends]
        for name, ends in one.methods.items()
    }
    learned = replace(
        one, truth="learned", reference_rule=-2 * one.reference, methods=judged | {"DPO": [None] * 5}
    )
    found = summary([learned])
    furthest = [max(ends, key=lambda end: end.log_ratio.mean() if end else 0) for ends in judged.values()]
    rise = np.mean([end.reward.mean() for end in (furthest[0], furthest[2]) if end]) - one.reference.mean()
    figure = figures.overdone(found, list(GRID))
    assert figure.get_suptitle().endswith(f"by {rise:+.2f}, what a rule thinks by {-2 * rise:+.2f}")


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_is_fair(name):
    """No prompt is learned from twice, the same number of scored completions for all, and all lines parse."""
    plan = plan_of(name)
    assert plan.prompts == plan.steps * plan.batch
    to = Seed(Path("x"), plan, 3, "learned")
    lanes = [*steps.reference(to), *steps.data(to, list(METHODS))]
    lanes += [[steps.aligned(to, m, b, r)] for m in METHODS for b in betas_of(plan, m) for r in plan.rates]
    lanes += [
        steps.measured(to, m, [Path("runs/a")], on) for m in METHODS for on in ("rate", "beta", "report")
    ]
    parse = parser().parse_args
    parsed = [parse(line) for lane in lanes for line in lane]
    runs = [each for each in parsed if each.command == "align" and each.out.name != "spoiled"]
    assert {each.steps for each in runs} == {plan.steps} and {each.k for each in runs} == {plan.k}
    assert {each.seed for each in parsed} == {3, 5}  # the samples that judge the reference are others
    assert {each.batch_size for each in runs} == {plan.batch}
    assert {each.bf16 for each in parsed if "bf16" in each} == {plan.bf16}


TINY = {"vocabulary": 300, "layers": 1, "width": 16, "prompt_tokens": 24, "completion_tokens": 6}
TINY |= {"fine_tuning_steps": 2, "comparisons": 8, "reward_steps": 2, "prompts": 8, "k": 2, "batch": 4}
TINY |= {
    "judged": 4,
    "betas": [1.0, 4.0],
    "bf16": True,
    "rates": [1e-3],
    "steps": 2,
    "held_out": 6,
    "watched": 2,
    "frontier": 4,
}


def written(folder: Path, plan: dict[str, object], pairs: int = 24) -> list[str]:
    """Arguments of a very small experiment on made-up text."""
    rows = [
        {"prompt": f"Item {i} {'abc'[i % 3]}.\n\nTL;DR:", "completion": f" Item {i}."}
        for i in range(2 * pairs)
    ]
    for name, some in (("train", rows[::2]), ("held", rows[1::2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    write_json(folder / "plan.json", plan)
    given = {"size": "plan.json", "data": "train.jsonl", "held-out": "held.jsonl"}
    return [
        "--quiet",
        "--jobs",
        "1",
        *(x for name, at in given.items() for x in (f"--{name}", str(folder / at))),
    ]


def test_an_experiment_from_text_to_table_and_on(tmp_path, capsys, monkeypatch):
    """Given again nothing is trained; with a seed from elsewhere it is joined; three sets of prompts."""
    monkeypatch.setattr(figures, "write_all", lambda folder, found: [])
    usual = ["experiment", *written(tmp_path, TINY), "--methods", "CoPG", "--truth", "rule"]
    given = [*usual, "--out", str(tmp_path / "e")]
    assert main(given) == 0
    said = capsys.readouterr().out
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "e").rglob("model/*.safetensors")}
    assert len(kept) == 1 + 2 and "| CoPG | 0.001 |" in said
    told = tmp_path / "e/seed-0/runs/CoPG-1-0.001/versions.json"
    write_json(told, read_json(told) | {"minutes": 70.0})  # as if that run had been a long one
    assert main(given) == 0 and capsys.readouterr().out == said
    assert 70 <= read_json(tmp_path / "e" / "metrics.json")["made"][0]["command_minutes"] < 75
    assert kept == {p: p.stat().st_mtime_ns for p in (tmp_path / "e").rglob("model/*.safetensors")}
    parts = [
        (tmp_path / "e/seed-0/data" / f"{name}.jsonl").read_text() for name in ("rate", "beta", "report")
    ]
    rows = [set(part.splitlines()) for part in parts]
    assert [len(each) for each in rows] == [6, 6, 6] and len(set.union(*rows)) == 18
    shutil.rmtree(tmp_path / "e" / "seed-0" / "possible")  # looked for again, at other prompts
    write_json(tmp_path / "plan.json", TINY | {"judged": 3})
    assert main(given) == 0 and capsys.readouterr().out == said
    moved(tmp_path, "elsewhere", 1, {"seed": 1})
    joined = ["--merge", str(tmp_path / "elsewhere"), str(tmp_path / "e"), "--out", str(tmp_path / "joined")]
    assert main([*usual, *joined]) == 0 and "| CoPG | 0.001, 0.001 |" in capsys.readouterr().out
    texts = (tmp_path / "joined" / "texts.md").read_text()
    assert "\nSeed 0, 6 held-out prompts: 1, 2, 3, 5, 6" in texts and texts.count("- **CoPG** (β = ") == 5
    bad_joins(tmp_path, usual, capsys)


def test_what_diverges_is_counted_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    """One learning rate too large, in sampling or in learning; betas that no folder's name holds exactly."""
    monkeypatch.setattr(figures, "write_all", lambda folder, found: [])
    plan = TINY | {"rates": [1e-3, 1e8], "betas": [1 / 3, 5e-5]}
    usual = ["experiment", *written(tmp_path, plan), "--truth", "rule", "--out", str(tmp_path / "e")]
    assert main([*usual, "--methods", "CoPG", "RLOO"]) == 0
    said, runs = capsys.readouterr().out, tmp_path / "e" / "seed-0" / "runs"
    for name in ("CoPG", "RLOO"):
        assert (runs / f"{name}-0.333333-1e+08" / DIVERGED).exists()
        row = next(line for line in said.splitlines() if line.startswith(f"| {name} | 0.001 |"))
        assert "| 0 of 2 |" in row and "–" not in row
    for rate in ("0.001", "1e+08"):  # as if both rates were too large for this one
        (runs / f"DPO-0.333333-{rate}").mkdir()
        write_json(runs / f"DPO-0.333333-{rate}" / DIVERGED, {"said": "the loss is nan"})
    assert main([*usual, "--methods", "DPO"]) == 0
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("| DPO | none | none |"))
    assert "| 2 of 2 |" in row and "| CoPG | 0.001 |" in said
    shutil.rmtree(tmp_path / "e" / "seed-0" / "report")
    assert main([*usual, "--merge", str(tmp_path / "e")]) == 2
    assert "must have a policy that did not diverge; lower the rates" in capsys.readouterr().err


def moved(folder: Path, name: str, seed: int, changes: dict[str, object]) -> None:
    """The seed once more, in another folder and with other settings."""
    shutil.copytree(folder / "e" / "seed-0", folder / name / f"seed-{seed}")
    settings = folder / name / f"seed-{seed}" / "settings.json"
    write_json(settings, read_json(settings) | changes)


def bad_joins(folder: Path, usual: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A seed that is there twice, another plan, no seed, half a seed, other methods: one line, and nothing
    is written; a seed that is not finished and a method that not all have are said to be left out."""
    moved(folder, "copy", 0, {})
    moved(folder, "half", 3, {"seed": 3})
    (folder / "half" / "seed-3" / "beta" / "CoPG" / "prompts.json").unlink()
    moved(folder, "dpo", 4, {"seed": 4})
    for part in ("report", "beta"):
        (folder / "dpo" / "seed-4" / part / "CoPG").rename(folder / "dpo" / "seed-4" / part / "DPO")
    plan = read_json(folder / "e" / "seed-0" / "settings.json")["plan"]
    moved(folder, "other", 2, {"seed": 2, "plan": plan | {"steps": 9}})
    (folder / "none").mkdir()
    bad = {
        "copy": "seed 0 is there twice",
        "other": "differ in plan",
        "none": "there must be a finished seed",
    }
    bad |= {"nowhere": "there must be a finished seed", "half": "must be whole, but has no "}
    bad |= {"dpo": "seeds must have a method in common, but have 0: CoPG; 4: DPO"}
    for name, told in bad.items():
        both = [str(folder / "e"), str(folder / name)]
        assert main([*usual, "--merge", *both, "--out", str(folder / "bad")]) == 2
        assert told in capsys.readouterr().err and not (folder / "bad").exists()
    (folder / "elsewhere" / "seed-1" / "made.json").rename(folder / "kept.json")
    for part in ("report", "beta"):
        shutil.copytree(folder / "e" / "seed-0" / part / "CoPG", folder / "e" / "seed-0" / part / "DPO")
    moved(folder, "more", 5, {"seed": 5})
    shutil.rmtree(folder / "e" / "seed-0" / "report" / "DPO")
    both = [str(folder / name) for name in ("e", "elsewhere", "more")]
    assert main([*usual, "--merge", str(folder / "elsewhere"), "--out", str(folder / "bad")]) == 2
    (folder / "more" / "seed-6").mkdir()
    both = [str(folder / name) for name in ("e", "more")]
    assert main([*usual, "--merge", *both, "--out", str(folder / "joined")]) == 0
    said = capsys.readouterr().out
    assert f"left out, as it is not finished: {folder / 'more' / 'seed-6'}" in said
    assert "left out, as only seeds 5 have it: DPO" in said


def test_the_learning_rate_is_that_of_the_highest_value(tmp_path):
    """r - h at the middle beta, also where one has more reward, and one of the rates has diverged."""
    to = Seed(tmp_path, Plan(betas=(0.5, 1.0, 2.0), rates=(1e-4, 1e-3, 1e-2)), 0, "rule")
    (tmp_path / "rate" / "IPO").mkdir(parents=True)
    runs = {rate: str(to.run("IPO", 0.1, rate) / "model") for rate in to.plan.rates[:2]}
    numbers = {runs[1e-4]: {"reward": [1.0, 2.0], "log_ratio": [0.5, 0.5]}}
    numbers[runs[1e-3]] = {"reward": [2.0, 3.0], "log_ratio": [1.0, 3.0]}
    write_json(tmp_path / "rate" / "IPO" / "prompts.json", numbers)
    assert best_rate(to, "IPO") == 1e-4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"--methods": "CoPGG"}, "methods must be of CoPG, DPO"),
        ({"--truth": "people"}, "truth must be learned or rule, but is 'people'"),
        ({"--size": "huge"}, "size must be one of demo, titles"),
        ({"betas": 0.5}, "betas must be a list of numbers, but is 0.5"),
        ({"steps": [2, 3]}, "steps must be one number, but is (2, 3)"),
        ({"judged": 1}, "judged must be at least 2, but is 1"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, changes, told):
    plan = {name: value for name, value in changes.items() if not name.startswith("--")}
    options = [x for name, value in changes.items() if name not in plan for x in (name, value)]
    given = ["experiment", *written(tmp_path, TINY | plan), "--out", str(tmp_path / "e"), *options]
    assert main(given) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "e").exists()


def test_too_little_held_out_text_is_told(tmp_path, capsys):
    usual = written(tmp_path, TINY | {"held_out": 9})
    assert main(["experiment", *usual, "--truth", "rule", "--out", str(tmp_path / "e")]) == 2
    assert "held-out text must have three times 9 pairs, but has 24" in capsys.readouterr().err


def test_the_first_methods_are_the_issues_and_all_have_an_algorithm():
    assert FIRST == ("CoPG", "DPO", "IPO", "RLOO") and set(FIRST) <= set(METHODS)
    assert betas_of(Plan(), "IPO") == [0.02, 0.05, 0.1, 0.2, 0.4]


def test_wins_are_shares_of_prompts_and_of_one_another():
    """Counted by hand at the chosen beta; two that are set against each other share what there is."""
    share = compare.wins(SEEDS, "CoPG", "DPO")
    better = []
    for record in SEEDS:
        one, other = (record.methods[name][record.chosen(name)] for name in ("CoPG", "DPO"))
        better.append((one.reward > other.reward).mean())
    by_hand = np.mean(better)
    assert share is not None and share.mean == pytest.approx(by_hand) and share.low < share.mean < share.high
    assert not hasattr(share, "p")  # against one half it would be another one than a difference's
    other = compare.wins(SEEDS, "DPO", "CoPG")
    assert other is not None and other.mean + share.mean == pytest.approx(1)


@pytest.mark.parametrize("name", COMMITTED)
def test_the_committed_experiment_says_what_its_numbers_say(name):
    """Table and sentences are made of the numbers again, and the pages quote them word by word."""
    found = read_json(FIGURES / f"{name}.json")
    said = sentences(found)
    assert (FIGURES / f"{name}.md").read_text() == "\n".join([HEADING, "", *said, "", *table(found), ""])
    page = " ".join((FIGURES.parent / "notebooks" / "book" / "models.md").read_text().split())
    for sentence in said:
        assert " ".join(sentence.removeprefix("- ").split()) in page
    seeds, methods, needed = COMMITTED[name]
    assert set(methods) <= set(found["methods"]) and len(found["seeds"]) >= seeds
    assert needed <= {path.stem.removeprefix(f"{name}_") for path in FIGURES.glob(f"{name}_*.svg")}
