"""Capstone submissions: a good one is valid, each planted fault is found, the board is right."""

import json
import os
import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import bsrnn
from bsrnn import cli, common, data, evaluation, models, plots
from bsrnn.common import UsageError
from bsrnn.course import capstone
from bsrnn.course.capstone import checks, ranking
from bsrnn.data import toyband
from bsrnn.models.zoo import checkpoints

LIMITS = capstone.Limits(("vocals",), parameters=200_000, macs_per_s=1e9)
CARD = dict.fromkeys(capstone.CARD, "said in a few plain words")
WORDS = "these are more than eight plain words of text below a heading\n"
PLAN = "".join(f"## {heading}\n\n{WORDS}\n" for heading in capstone.PLAN)
REPORT = "".join(f"## {heading}\n\n{WORDS}\n" for heading in capstone.REPORT)
CONFIG = models.presets()["tiny"].replace(stems=("vocals",), features=8, hidden=8)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """A small toy set: 2 songs to train, 4 to test."""
    return data.open(
        toyband.make(tmp_path_factory.mktemp("songs") / "toy", 2, 4, seconds=3.0, seed=1)
    )


@pytest.fixture(scope="module")
def test_songs(songs):
    return songs.subset("test")


def network(songs, seed=0, gain=1.0, config=CONFIG, **trained):
    """An untrained network whose passport says that it was trained on `songs`."""
    torch.manual_seed(seed)
    made = models.BandSplitSeparator(config)
    for weights in made.masks.parameters():
        weights.data *= gain
    facts = {"rung": songs.rung, "split_hash": songs.split_hash, "valid_songs": 0}
    made.passport = {"trained": facts | trained}
    return made.eval()


@pytest.fixture(scope="module")
def packed(songs, test_songs, tmp_path_factory):
    """(folder, its scores) of a good submission."""
    made = network(songs)
    scores = evaluation.evaluate(made, test_songs, ("vocals",), metrics=("usdr",), progress=False)
    folder = tmp_path_factory.mktemp("packed") / "good"
    return capstone.pack(folder, made, CARD, PLAN, REPORT, scores, trained_on=songs), scores


@pytest.fixture
def good(packed, tmp_path):
    """A copy of the good submission, to be spoilt."""
    folder = tmp_path / "good"
    folder.mkdir()
    for path in packed[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def faults(folder, songs, limits=LIMITS) -> dict:
    """check -> the lines of its faults."""
    found = {}
    for fault in capstone.validate(folder, limits, songs).faults:
        assert "\n" not in fault.words and fault.check in capstone.CHECKS
        found.setdefault(fault.check, []).append(fault.words)
    return found


def edit(folder, **changes):
    """Change fields of the card; None removes one."""
    path = folder / "card.json"
    card = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in card.items() if v is not None}))


# One submission


def test_a_good_submission_is_valid_and_says_what_it_costs(good, packed, test_songs):
    verdict = capstone.validate(good, LIMITS, test_songs)
    assert verdict.valid and not verdict.notes, verdict.text()
    built = sum(weight.numel() for weight in bsrnn.load(good / "model.safetensors").parameters())
    assert verdict.price[0] == built
    one = bsrnn.cost.cost(replace(CONFIG, channels=2), 6.0)
    assert verdict.price[1] == one.macs / 6.0
    assert verdict.digests["plan.md"] == capstone.digest(good / "plan.md")
    scored = verdict.scores.pivot("usdr")["model", "vocals"]
    fresh = packed[1].pivot("usdr")["model", "vocals"]  # a loaded one computes in another order
    assert np.allclose(scored, fresh, rtol=0, atol=1e-4), "dB: a claim may miss 0.05"
    assert "good: valid" in verdict.text() and "GMAC per second" in verdict.text()


def test_all_faults_are_listed_at_once(good, test_songs):
    edit(good, licence="", claims={"songs_hash": "x", "median_usdr_db": {}})
    (good / "plan.md").write_text("## Question\n\nToo short.\n")
    (good / "run.sh").write_text("rm -rf /")
    found = faults(good, test_songs, replace(LIMITS, stems=("vocals", "drums"), parameters=1000))
    assert set(found) == {"card", "texts", "files", "stems", "cost"}
    assert len(found["texts"]) == 4, "one word too few, three headings missing"
    assert "no output for drums, only vocals" in found["stems"][0]
    assert "at most 1,000" in found["cost"][0]


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def rewrite(folder, change=lambda state: None, keep=True, **settings):
    """The model file again, with other weights or another configuration inside, or none."""
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    change(state)
    config = json.loads(json.loads(metadata["configs"])[0])
    stft = config["stft"] | settings.pop("stft", {})
    configs = json.dumps([json.dumps(config | settings | {"stft": stft})])
    save_file(state, path, metadata | {"configs": configs} if keep else None)


def masks(value):
    """Fill the weights of the masks."""

    def change(state):
        for name, tensor in state.items():
            if name.startswith("masks"):
                tensor.fill_(value)

    return change


def linked(name):
    """A file of the submission becomes a link to a copy outside."""

    def spoil(folder):
        outside, path = folder.parent / "outside", folder / name
        outside.write_bytes(path.read_bytes() if path.exists() else b"x")
        path.unlink(missing_ok=True)
        path.symlink_to(outside)

    return spoil


def another_rate(folder):
    torch.manual_seed(0)
    made = models.BandSplitSeparator(replace(CONFIG, sample_rate=22050))
    models.save(made, folder / "model.safetensors")


MODEL, NO_MODEL = "model.safetensors", "no complete safetensors file of bsrnn.save"


@pytest.mark.parametrize(
    "spoil, check, words",
    [
        (lambda f: edit(f, question=None), "card", "no question"),
        (lambda f: edit(f, limitations=["a", "b"]), "card", "no limitations"),
        (lambda f: (f / "card.json").write_text("{"), "card", "no fields by name (Expecting"),
        (lambda f: (f / "card.json").write_text("[1]"), "card", "no fields by name"),
        (lambda f: edit(f, claims=None), "claims", "none with the ladder"),
        (lambda f: (f / "report.md").unlink(), "files", "no report.md"),
        (lambda f: (f / "model.pt").write_bytes(b"x"), "files", "model.pt is no part"),
        (lambda f: (f / "inner").mkdir(), "files", "inner is a link or a folder"),
        (lambda f: (f / "plan.md").write_text("x" * 2_000_000), "files", "shorten"),
        (lambda f: (f / "plan.md").write_bytes(b"\xff\xfe" * 9), "texts", "no heading"),
        (linked(MODEL), "files", "model.safetensors is a link"),
        (linked("card.json"), "files", "card.json is a link"),
        (linked("report.md"), "files", "report.md is a link"),
        (linked("picture.png"), "files", "picture.png is a link"),
        (lambda f: (f / MODEL).write_bytes(pickle.dumps(Bomb())), "model", NO_MODEL),
        (lambda f: torch.save({"state_dict": Bomb()}, f / MODEL), "model", NO_MODEL),
        (lambda f: os.truncate(f / MODEL, 10_000), "model", NO_MODEL),
        (lambda f: rewrite(f, keep=False), "model", NO_MODEL),
        (lambda f: rewrite(f, masks(float("nan"))), "model", "not finite"),
        (lambda f: rewrite(f, masks(1e30)), "sound", "NaN or infinite samples"),
        (lambda f: rewrite(f, masks(0.0)), "sound", "vocals is silent"),
        (another_rate, "stems", "works at 22050 Hz, the songs have 44100"),
    ],
)
def test_each_fault_is_told(good, test_songs, monkeypatch, tmp_path, spoil, check, words):
    monkeypatch.chdir(tmp_path)
    spoil(good)
    found = faults(good, test_songs)
    assert words in found[check][0]
    assert set(found) <= {check, "claims"}
    assert not (tmp_path / "exploded").exists(), "nothing of a submission is run"


def test_attachments_for_readers_are_welcome(good, test_songs):
    (good / "curve.png").write_bytes(b"not opened")
    (good / ".DS_Store").write_bytes(b"")
    assert capstone.validate(good, LIMITS, test_songs).valid


def test_a_folder_that_is_a_link_or_an_archive_is_refused(good, test_songs, tmp_path):
    (tmp_path / "link").symlink_to(good)
    (tmp_path / "archive.zip").write_bytes(b"PK")
    for name, hint in (("link", "check the path"), ("archive.zip", "unpack"), ("none", "check")):
        with pytest.raises(UsageError, match=f"no plain folder: .*{hint}"):
            capstone.validate(tmp_path / name, LIMITS, test_songs)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"features": 99_999}, "where its settings want"),
        ({"repeats": 2}, "where its settings want"),
        ({"stft": {"n_fft": 2**40}}, "n_fft is 1099511627776"),
        ({"scheme": "v99"}, "v99"),
        ({"featurs": 8}, "featurs"),
        ({"features": "many"}, "features is 'many'"),
        ({"block": {"kind": "rnn", "hidden": "many"}}, "hidden is many"),
        ({"block": {"kind": "rnn", "hidden": -8}}, "hidden is -8"),
        ({"stft": {"hop": None}}, "hop"),
        ({"repeats": 10**9}, "repeats is 1000000000"),
        ({"model": "d3net"}, "unknown field of D3NetConfig"),
    ],
)
def test_configurations_are_judged_before_anything_is_built(
    good, test_songs, monkeypatch, settings, words
):
    rewrite(good, **settings)
    monkeypatch.setattr(checkpoints, "build", lambda *_: pytest.fail("this must not be built"))
    assert words in faults(good, test_songs)["model"][0]


def test_the_cost_of_several_networks_is_their_sum(songs, good, test_songs):
    bag = models.SeparatorBag(
        [network(songs), network(songs, config=replace(CONFIG, stems=("drums",)))]
    )
    models.save(bag, good / "model.safetensors", network(songs).passport)
    one, two = capstone.price([CONFIG], 2), capstone.validate(good, LIMITS, test_songs).price
    assert two[0] == 2 * one[0] and two[1] == pytest.approx(2 * one[1])
    assert two[0] == sum(weight.numel() for weight in bag.parameters())
    assert capstone.price([CONFIG], 1)[1] == pytest.approx(one[1] / 2, rel=0.01)


# Claims and songs


@pytest.mark.parametrize(
    "system, claimed, words",
    [
        ("model", {"vocals": 30.0}, "vocals of model: 30.0 claimed"),
        ("mixture", {"vocals": -30.0}, "vocals of mixture: -30.0 claimed"),
        ("model", {"vocals": "high"}, "vocals of model: 'high' claimed"),
        ("model", {"vocals": True}, "vocals of model: True claimed"),
        ("model", {"vocals": None}, "vocals of model: None claimed"),
        ("ideal ratio mask", None, "ideal ratio mask: 'nothing' claimed"),
    ],
)
def test_claims_must_be_reproduced_with_their_ladder(packed, system, claimed, words):
    said = capstone.claims(packed[1])
    told = said | {"median_usdr_db": said["median_usdr_db"] | {system: claimed}}
    (line,) = checks._claims({"claims": told}, packed[1], LIMITS)
    assert words in line


def test_a_claim_is_about_these_songs_and_may_miss_by_the_tolerance(packed):
    said = capstone.claims(packed[1])
    (line,) = checks._claims({"claims": said | {"songs_hash": "0"}}, packed[1], LIMITS)
    assert "are about other songs" in line
    said["median_usdr_db"]["model"]["vocals"] += 0.04
    assert not [*checks._claims({"claims": said}, packed[1], LIMITS)]
    assert [*checks._claims({"claims": said}, packed[1], replace(LIMITS, tolerance_db=0.01))]


def test_scores_without_ladder_cannot_be_packed(packed, songs, tmp_path):
    bare = evaluation.Report(packed[1].frame.query("system == 'model'"), packed[1].card)
    with pytest.raises(UsageError, match="with the ladder"):
        capstone.pack(tmp_path / "x", network(songs), CARD, PLAN, REPORT, bare)
    with pytest.raises(UsageError, match="unknown field 'nam'"):
        capstone.pack(tmp_path / "x", network(songs), {"nam": "x"}, PLAN, REPORT, packed[1])
    assert not (tmp_path / "x").exists()
    with pytest.raises(UsageError, match="part of a dataset"):
        capstone.split_lines(songs.subset("test"))


def as_rung(songs, rung, subsets=None):
    """The songs as if they were of another rung, and in other subsets."""
    from bsrnn.data import splits

    moved = [replace(s, subset=(subsets or {}).get(s.name, s.subset)) for s in songs.songs]
    lines = "\n".join(sorted(f"{song.subset}/{song.name}" for song in moved))
    return replace(songs, songs=moved, rung=rung, split_hash=splits.digest(lines))


def test_test_songs_that_were_learnt_from(good, songs):
    real = as_rung(songs, "musdb18")
    learnt = as_rung(real, "musdb18-hq", {real.subset("test").songs[0].name: "train"})

    def found(trained_on, listed=None, **facts):
        models.save(network(trained_on, **facts), good / "model.safetensors")
        edit(good, split=capstone.split_lines(listed) if listed else None)
        return faults(good, real.subset("test")).get("songs", [""])[0]

    assert found(real) == "", "the same split needs no list"
    assert "does not list the split" in found(learnt)
    assert "does not list the split" in found(learnt, real), "a list with another hash"
    assert "was learnt from and is scored" in found(learnt, learnt)
    chosen = as_rung(real, "folder", {real.subset("test").songs[0].name: "valid"})
    assert found(chosen, chosen) == "", "no validation took place"
    assert "was learnt from" in found(chosen, chosen, valid_songs=1)
    assert found(as_rung(learnt, "toy")) == "", "generated songs are none of these"
    assert found(as_rung(learnt, "dnr")) == "", "another set has other songs"


def test_scoring_training_songs_is_found_without_a_list(good, songs):
    models.save(network(songs), good / "model.safetensors")
    found = faults(good, songs.subset("train"))
    assert "was learnt from and is scored" in found["songs"][0]


def test_an_unknown_past_is_a_note(good, songs, test_songs):
    made = network(songs)
    made.passport = {}
    models.save(made, good / "model.safetensors")
    verdict = capstone.validate(good, LIMITS, test_songs)
    assert verdict.valid and "does not say which songs" in verdict.notes[0]


# The board


@pytest.fixture(scope="module")
def submissions(songs, test_songs, packed, tmp_path_factory):
    """Four that are valid, two of them the same file, and two that are not."""
    folder = tmp_path_factory.mktemp("submissions")
    quiet, large = network(songs, 1, gain=0.3), CONFIG.replace(features=16, hidden=16)
    for name, made in {
        "anna": network(songs), "berta": quiet, "carl": quiet, "dora": network(songs, config=large),
    }.items():  # fmt: skip
        scores = evaluation.evaluate(
            made, test_songs, ("vocals",), metrics=("usdr",), progress=False
        )
        capstone.pack(folder / name, made, CARD, PLAN, REPORT, scores)
    (folder / "emil").mkdir()
    (folder / "archive.zip").write_bytes(b"PK")
    capstone.pack(folder / "silence", quiet, CARD, PLAN, REPORT, packed[1])
    return folder


def test_the_board_ranks_on_hidden_songs_beside_the_ladder(submissions, test_songs, tmp_path):
    hidden = data.open(toyband.make(tmp_path / "hidden", 1, 4, seconds=3.0, seed=77), "test")
    watched = []
    board = capstone.rank(
        submissions, test_songs, LIMITS, hidden, cache=tmp_path / "kept", watch=watched.append
    )
    assert [v.submission for v in watched] == sorted(path.name for path in submissions.iterdir())
    assert set(board.refused) == {"emil", "archive.zip", "silence"}
    assert "belongs to the ladder" in board.refused["silence"].text()
    frame = board.frame
    assert set(frame.index) == {*capstone.LADDER, "anna", "berta", "carl", "dora"}
    assert frame.index[0] == "ideal ratio mask"
    assert frame["score_db"].is_monotonic_decreasing
    entries = frame[frame["kind"] == "system"]
    assert frame.loc[list(capstone.LADDER), "rank"].isna().all()
    alone = {}
    for name in entries.index:
        separator = bsrnn.load(submissions / name / "model.safetensors")
        scores = evaluation.evaluate(
            separator, hidden, ("vocals",), metrics=("usdr",), progress=False
        )
        alone[name] = scores.pivot()["model", "vocals"].median()
        assert frame.loc[name, "score_db"] == pytest.approx(alone[name], abs=1e-9)
        assert frame.loc[name, "parameters"] == sum(w.numel() for w in separator.parameters())
    assert list(entries.index) == sorted(alone, key=lambda n: (-round(alone[n], 2), n))
    assert "toy data" in board.text() and "emil: 4 faults" in board.text()


def test_equal_systems_share_a_rank_and_cheap_ones_come_first():
    """A leaderboard of made-up scores: ties, the front, and who is tied with the first."""
    values = {
        "best": [5.0, 6, 7, 8], "twin": [5.001, 6, 7, 8], "near": [4.9, 6.1, 6.8, 7.8],
        "far": [1.0, 2, 3, 4], "silence": [0.0] * 4, "ideal ratio mask": [9.0] * 4,
    }  # fmt: skip
    songs = pd.DataFrame(values)
    costs = {
        name: {"parameters": parameters, "macs_per_second": macs}
        for name, parameters, macs in (
            ("best", 10, 9.0), ("twin", 10, 8.0), ("near", 5, 2.0), ("far", 4, 3.0),
        )
    }  # fmt: skip
    frame = evaluation.leaderboard(songs, costs)
    assert list(frame.index) == ["ideal ratio mask", "twin", "best", "near", "far", "silence"]
    assert frame["rank"].dropna().to_dict() == {"twin": 1, "best": 1, "near": 3, "far": 4}
    ahead = {name for name in costs if frame.loc[name, "tied"]}
    assert ahead == {"best", "twin", "near"} and frame.loc["far", "behind_low_db"] > 3
    assert {name for name in costs if frame.loc[name, "front"]} == {"near", "twin"}
    small = evaluation.leaderboard(songs, {name: costs[name] for name in ("near", "far")})
    assert "best" not in small.index and small.loc["near", "rank"] == 1, "who is not asked for"
    assert small.loc["near", "behind_db"] == 0 and small.loc["silence", "kind"] == "ladder"
    by_size = evaluation.leaderboard(songs, costs, cost="parameters")
    assert {n for n in costs if by_size.loc[n, "front"]} == {"best", "twin", "near", "far"}
    over_seeds = evaluation.leaderboard(songs, costs, over="seeds")
    assert over_seeds.loc["far", "score_db"] == 2.5 and over_seeds.loc["far", "seeds"] == 4
    low, high = evaluation.student_interval([1.0, 2, 3, 4])
    assert tuple(over_seeds.loc["far", ["low_db", "high_db"]]) == (low, high)
    nobody = evaluation.leaderboard(songs, {})
    assert list(nobody.index) == ["ideal ratio mask", "silence"]
    for board in (frame, by_size, nobody):
        assert plots.score_over_cost(board, limit=5).png()
    said = evaluation.readable(frame)
    assert said.loc["twin", "parameters"] == "10" and said.loc["silence", "rank"] == ""


def test_a_stem_that_a_song_lacks_does_not_count():
    values = [("a", "vocals", 3.0), ("a", "drums", np.nan), ("b", "vocals", 5.0)]
    frame = pd.DataFrame(values, columns=["song", "stem", "value_db"])
    frame = frame.assign(system="x", metric="usdr")
    report = evaluation.Report(frame, {"protocol": {"stems": ["vocals", "drums"]}})
    assert report.songs()["x"].to_dict() == {"a": 3.0, "b": 5.0}


def test_a_second_look_computes_nothing(submissions, test_songs, tmp_path, monkeypatch):
    first = capstone.rank(submissions, test_songs, LIMITS, cache=tmp_path)
    real = bsrnn.separate
    looked = []

    def separate(separator, mixture, *args, **how):
        looked.append(mixture.shape[-1])
        return real(separator, mixture, *args, **how)

    for place in (bsrnn, bsrnn.separation):  # a lazy name is kept where it was first asked for
        monkeypatch.setattr(place, "separate", separate)
    second = capstone.rank(submissions, test_songs, LIMITS, cache=tmp_path)
    assert second.frame.equals(first.frame)
    scene = round(checks.SCENE_S * 44100)
    assert looked.count(scene) == len(looked) == 5, "only the generated scene is separated again"


def test_another_file_is_another_score(good, test_songs, songs, tmp_path):
    capstone.validate(good, LIMITS, test_songs, tmp_path)
    models.save(network(songs, 5), good / "model.safetensors")
    assert "claimed" in str(capstone.validate(good, LIMITS, test_songs, tmp_path).faults)


def test_wrong_limits_and_places_are_refused(test_songs, tmp_path):
    with pytest.raises(UsageError, match="limit parameters is 0"):
        capstone.Limits(parameters=0)
    with pytest.raises(UsageError, match="no stem 'flute'"):
        capstone.rank(tmp_path.parent, test_songs, capstone.Limits(("flute",)))
    with pytest.raises(UsageError, match="no submissions"):
        capstone.rank(tmp_path, test_songs, LIMITS)


def test_whatever_a_file_says_is_one_printable_line(good, test_songs):
    told = json.loads((good / "card.json").read_text())["claims"]
    told["median_usdr_db"]["model"]["vocals"] = "high\n\x1b[2J" + "!" * 1000
    edit(good, claims=told)
    (line,) = faults(good, test_songs)["claims"]
    assert line.isprintable() and len(line) <= 300
    path = good / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    for passport in ("[1]", '{"trained": "no"}', '{"trained": {"split_hash": 1, "rung": []}}', "{"):
        save_file(load_file(path), path, metadata | {"passport": passport})
        verdict = capstone.validate(good, LIMITS, test_songs)
        assert not verdict.valid and all(words.isprintable() for _, words in verdict.faults)


def test_one_that_fails_on_hidden_songs_does_not_stop_the_board(
    submissions, test_songs, tmp_path, monkeypatch
):
    hidden, real = as_rung(test_songs, "folder"), ranking.score

    def score(separator, songs, *more):
        if separator is not None and songs is hidden and "dora" in str(separator.passport):
            raise UsageError("song 'x': NaN")
        return real(separator, songs, *more)

    monkeypatch.setattr(ranking, "score", score)
    dora = bsrnn.load(submissions / "dora" / "model.safetensors")
    models.save(dora, submissions / "dora" / "model.safetensors", {"name": "dora"})
    board = capstone.rank(submissions, test_songs, LIMITS, hidden, cache=tmp_path)
    assert "song 'x': NaN" in board.refused["dora"].text() and "dora" not in board.frame.index
    assert set(board.costs) == {"anna", "berta", "carl"}, "no rung of the ladder has a price"


# The commands and the words


def test_rubric_words_and_headings_are_those_of_assignment_a8():
    notebooks = common.NOTEBOOKS
    a8 = (notebooks / "assignments/source/a8/a8.ipynb").read_text(encoding="utf-8")
    lesson = (notebooks / "15_capstone.ipynb").read_text(encoding="utf-8")
    rows = re.findall(r"\| B(\d) ([^|]*?) \((\d+)\) \| ([^|]*\|[^|]*\|[^|]*) \|", a8)
    assert [name.capitalize() for _, name, _, _ in rows] == [
        "Question and protocol", "Results", "Listening and errors", "What it does not show",
    ] == list(capstone.REPORT)  # fmt: skip
    for _, _, points, words in rows:
        assert f"({points}) | {words} |" in lesson, "the rubric of lesson 15 has other words"
    rubric = re.findall(r"\| \w+ \((\d+)\) \|", lesson)
    assert len(rubric) == 7 and sum(map(int, rubric)) == 50, "fifty points in seven rows"


def test_commands_in_guide_and_lesson_are_understood():
    guide = (common.NOTEBOOKS / "assignments/README.md").read_text(encoding="utf-8")
    lesson = json.loads((common.NOTEBOOKS / "15_capstone.ipynb").read_text(encoding="utf-8"))
    prose = "\n".join("".join(cell["source"]) for cell in lesson["cells"])
    for text in (guide, prose):
        text = text.replace("\\\n", "")  # a command over two lines
        found = re.findall(r"python -m bsrnn (course (?:submit|board) [^`\n]+)", text)
        assert len(found) == 2
        for command in found:
            assert cli.parser().parse_args(command.split()).run


def call(capsys, *words):
    code = cli.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_commands_validate_and_rank(capsys, packed, good, songs, submissions, tmp_path):
    rules = ["--dataset", songs.root, "--stems", "vocals", "--max-parameters", "2e5"]
    code, out, err = call(capsys, "course", "submit", packed[0], *rules)
    assert code == 0 and "good: valid" in out and "digest of the plan" in out
    edit(good, licence=None)
    code, out, err = call(capsys, "course", "submit", good, *rules)
    assert (
        code == 1
        and "no licence" in out
        and "good is not valid" in err
        and "good: 1 fault\n" in out
    )
    code, out, err = call(capsys, "course", "submit", tmp_path / "none", *rules)
    assert code == 2 and err.count("\n") == 1
    csv = tmp_path / "board.csv"
    code, out, err = call(capsys, "course", "board", submissions, *rules, "--out", csv)
    assert code == 1 and "not on the board: archive.zip, emil, silence" in err
    assert csv.read_text().startswith("system,kind,rank,score_db")
    code, out, err = call(
        capsys, "course", "board", packed[0].parent, *rules, "--hidden", songs.root
    )
    assert code == 0 and "good" in out and "ideal ratio mask" in out
    code, out, err = call(capsys, "course", "board", submissions, *rules, "--out", "board.txt")
    assert code == 2 and "ending of --out" in err
