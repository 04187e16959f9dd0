"""Songs without stems: the 30 dB rule, which examples are drawn, when the student teaches."""

import dataclasses

import numpy as np
import pytest
import tones
import torch
from tones import CONSTANT, RATE, TINY, ToneSong, equal, last, songs, steps, train, weights

from bsrnn import audio, models
from bsrnn.common import DataError, UsageError
from bsrnn.data import mixing
from bsrnn.training import teacher
from bsrnn.training.teacher import CLEAN_RESIDUAL, CLEAN_TARGET, PSEUDO, HalfLabelled, label


def pair(target_db, residual_db, seed=0):
    """A mixture (1, 1, L) and an estimate (1, 1, 1, L): target and residual so far below it."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((1000, 2)))  # orthogonal: energies add up
    target, residual = (
        torch.from_numpy(10 ** (-db / 20) * basis[:, i])
        for i, db in enumerate((target_db, residual_db))
    )
    whole = target + residual
    return whole[None, None].float(), target[None, None, None].float()


@pytest.mark.parametrize(
    ("target_db", "residual_db", "kind"),
    [
        (0, 0, PSEUDO), (0, 29.9, PSEUDO), (29.9, 0, PSEUDO),
        (0, 30.1, CLEAN_TARGET), (30.1, 0, CLEAN_RESIDUAL), (60, 0, CLEAN_RESIDUAL),
    ],
)  # fmt: skip
def test_the_30_db_rule(target_db, residual_db, kind):
    mixture, estimate = pair(target_db, residual_db)
    targets, kinds = label(mixture, estimate)
    assert kinds.tolist() == [[kind]]
    expected = {PSEUDO: estimate, CLEAN_TARGET: mixture[:, None], CLEAN_RESIDUAL: 0 * estimate}
    assert torch.equal(targets, expected[kind])


def test_the_rule_judges_every_item_and_stem_for_itself():
    pairs = [pair(0, 40, 1), pair(40, 0, 2), pair(0, 0, 3)]
    mixture = torch.cat([m for m, _ in pairs])  # (3, 1, L)
    estimates = torch.cat([e for _, e in pairs])  # (3, 1, 1, L)
    both = torch.cat([estimates, mixture[:, None] - estimates], dim=1)  # target, residual
    _, kinds = label(mixture, both)
    assert kinds.tolist() == [[CLEAN_TARGET, CLEAN_RESIDUAL], [CLEAN_RESIDUAL, CLEAN_TARGET],
                              [PSEUDO, PSEUDO]]  # fmt: skip
    silence = torch.zeros(1, 1, 100)
    targets, kinds = label(silence, silence[None])
    assert kinds.tolist() == [[PSEUDO]] and not targets.any()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three mixtures without stems, one of them too short."""
    root = tmp_path_factory.mktemp("unlabelled")
    for number, seconds in enumerate((1.5, 1.0, 0.1)):
        mixture = sum(ToneSong(50 + number, seconds=1.5).sources().values())
        audio.write(root / f"{number}.wav", mixture[:, : int(seconds * RATE)], RATE)
    return root


def half(folder, share=0.5, **options):
    samples = int(0.3 * RATE)
    mixer = mixing.RandomMixer(
        songs(valid=0), ("vocals",), samples, mixing.recipe("paper"), seed=3, **options
    )
    return HalfLabelled(mixer, folder, share)


def test_examples_are_half_labelled_and_stateless(folder):
    mixer, again = half(folder), half(folder)
    assert [path.name for path in mixer.files] == ["0.wav", "1.wav"]
    items = [mixer[index] for index in range(60)]
    unlabelled = [item["unlabelled"] for item in items]
    assert 18 < sum(unlabelled) < 42
    for index in (7, 3, 59):
        assert np.array_equal(again[index]["mixture"], items[index]["mixture"])
    for index, item in enumerate(items):
        (pick,) = mixer.picks(index) if item["unlabelled"] else [None]
        if pick:
            path = list(mixer.files)[pick.song]
            assert mixer.describe(pick) == f"{path}, from {pick.start / RATE:.2f} s"
            expected, _ = audio.read(path, pick.start, mixer.mixer.samples)
            assert np.array_equal(item["mixture"], expected) and not item["targets"].any()
        else:
            assert np.array_equal(item["mixture"], mixer.mixer[index]["mixture"])
    assert half(folder, channels=1)[unlabelled.index(True)]["mixture"].shape == (1, 13230)


def test_the_teacher_fills_in_what_is_missing_only(folder):
    separator = models.BandSplitSeparator(TINY)
    one = teacher.Teacher(separator)
    batch = torch.utils.data.default_collate([half(folder)[index] for index in range(6)])
    targets = one.complete(batch)
    missing = batch["unlabelled"]
    assert 0 < missing.sum() < 6
    assert torch.equal(targets[~missing], batch["targets"][~missing])
    with torch.no_grad():
        expected, _ = label(batch["mixture"][missing], one.separator(batch["mixture"][missing]))
    assert torch.equal(targets[missing], expected) and expected.any()
    assert not targets.requires_grad and not any(
        p.requires_grad for p in one.separator.parameters()
    )


def test_the_student_teaches_when_validation_improves(tmp_path, folder, monkeypatch):
    tones.scored(monkeypatch, (1.0, 0.5, 2.0))
    taught = []
    learn = teacher.Teacher.learn_from

    def watch(one, student):
        learn(one, student)
        taught.append(weights(one.separator))

    monkeypatch.setattr(teacher.Teacher, "learn_from", watch)
    base = models.BandSplitSeparator(TINY)
    result = train(tmp_path, model=None, data=songs(), initial=base, unlabelled=folder)
    assert len(taught) == 1 and equal(taught[0], last(tmp_path))  # at step 4, not at step 2
    assert result.card["best_step"] == 4 and not equal(taught[0], weights(base))


def test_a_student_that_never_improves_leaves_the_first_teacher(tmp_path, folder, monkeypatch):
    tones.scored(monkeypatch, (1.0, 1.0, 1.0))
    base = models.BandSplitSeparator(TINY)
    result = train(tmp_path, model=None, data=songs(), initial=base, unlabelled=folder)
    assert equal(weights(result.separator), weights(base))
    assert result.card["best_step"] == 0 and result.card["best_valid_usdr_db"] == 1.0


def test_a_stage_resumes_bit_for_bit(tmp_path, folder, monkeypatch):
    """The student of step 1 is the teacher from then on; the cut comes after step 2."""
    base = models.BandSplitSeparator(TINY)
    options = {"model": None, "data": songs(), "initial": base, "unlabelled": folder}
    config = dataclasses.replace(CONSTANT, lr=3e-2, optimizer="adam", checkpoint_every=1)
    tones.scored(monkeypatch, (1.0, 2.0, 0.5, 0.5, 0.5))
    train(tmp_path / "through", config, **options)
    tones.scored(monkeypatch, (1.0, 2.0, 0.5))
    train(tmp_path / "cut", steps(config, 2), **options)
    tones.scored(monkeypatch, (0.5, 0.5))
    train(tmp_path / "cut", config, resume=True, **options)
    one, two = tones.state(tmp_path / "through"), tones.state(tmp_path / "cut")
    assert equal(one["separator"], two["separator"]) and equal(one["teacher"], two["teacher"])
    assert not equal(one["teacher"], weights(base))
    assert not equal(one["teacher"], one["separator"])


def test_bad_requests_are_one_line(tmp_path, folder):
    base = models.BandSplitSeparator(TINY)
    with pytest.raises(UsageError, match="need a trained teacher: give initial=PATH"):
        train(tmp_path, data=songs(), unlabelled=folder)
    other = dataclasses.replace(TINY, stems=("drums",))
    with pytest.raises(UsageError, match=r"teacher \(masks.drums is new\)"):
        train(tmp_path, model=other, data=songs(), initial=base, unlabelled=folder)
    with pytest.raises(UsageError, match="no validation songs to tell student from teacher"):
        train(tmp_path, model=None, initial=base, unlabelled=folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no audio files"):
        half(tmp_path / "empty")
    audio.write(tmp_path / "slow.wav", np.zeros((1, 9000), np.float32), 8000)
    with pytest.raises(DataError, match="8000 Hz, not 44100: resample"):
        half([tmp_path / "slow.wav"])
    with pytest.raises(DataError, match="shorter than 0.30 s"):
        half([folder / "2.wav"])
    with pytest.raises(UsageError, match="share is 1.0: give a number from 0.01"):
        half(folder, share=1.0)
