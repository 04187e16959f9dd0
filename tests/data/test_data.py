"""Opening songs with stems in every layout: what is found, checked, split and read."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import REAL, needs_ffmpeg

from bsrnn import audio, data
from bsrnn.common import DataError, UsageError
from bsrnn.data import sources, splits, stems

needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no real tracks in ../shared/real")
RATE = 8000


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("BSRNN_DATA", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory):
    from bsrnn.data import toyband

    return toyband.make(
        tmp_path_factory.mktemp("toy") / "set", train=5, test=1, seconds=2.0, seed=3
    )


def make_song(folder, samples=RATE, names=("a", "b"), suffix=".wav", rate=RATE, seed=0, channels=2):
    rng = np.random.default_rng(seed)
    made = {n: rng.uniform(-0.3, 0.3, (channels, samples)).astype(np.float32) for n in names}
    for name, waveform in made.items():
        audio.write(folder / f"{name}{suffix}", waveform, rate)
    return made


def make_root(root, songs=5, **options):
    return [make_song(root / f"song {n}", seed=n, **options) for n in range(songs)]


def test_any_folder_of_stems_with_any_names(tmp_path):
    made = make_root(tmp_path / "root", names=("guitar", "piano", "kazoo"))
    songs = data.open(tmp_path / "root")
    assert (len(songs), songs.stems, songs.rung) == (5, ("guitar", "kazoo", "piano"), "folder")
    assert (songs.sample_rate, songs.channels, songs[0].duration_s) == (RATE, 2, 1.0)
    for song, stems_made in zip(songs, made, strict=True):
        assert np.array_equal(song.read("kazoo"), stems_made["kazoo"])
        assert np.array_equal(song.mixture(10, 5), sum(song.sources(10, 5).values()))
        assert np.allclose(song.mixture(), sum(stems_made.values()), atol=1e-6)
    assert songs["song 3"].name == songs[3].name == "song 3" and len(songs[1:3]) == 2
    chosen = data.open(tmp_path / "root", stems=("piano", "guitar"))
    assert chosen.stems == ("piano", "guitar")


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".ogg"])
def test_other_formats_read_at_any_place_as_the_whole(tmp_path, suffix):
    make_root(tmp_path / "root", songs=1, suffix=suffix, samples=30000)
    song = data.open(tmp_path / "root")[0]
    whole = song.read("a")
    assert whole.shape == (2, 30000) == (song.channels, song.samples)
    assert np.array_equal(song.read("a", 17001, 555), whole[:, 17001:17556])
    cached = list((data.home() / "cache").glob("*")) if suffix != ".flac" else []
    assert [path.suffix for path in cached] == [".wav"] * (suffix != ".flac")


def test_cache_follows_a_changed_file(tmp_path):
    make_root(tmp_path / "root", songs=1, suffix=".ogg")
    before = data.open(tmp_path / "root")[0].read("a")
    file = tmp_path / "root" / "song 0" / "a.ogg"
    size = file.stat().st_size
    make_song(file.parent, suffix=".ogg", seed=9)
    file.write_bytes(file.read_bytes()[:size].ljust(size, b"\0"))  # same name, same size
    os.utime(file, ns=(1, 1))
    assert not np.array_equal(data.open(tmp_path / "root")[0].read("a"), before)


def test_reading_beyond_the_end_gives_zeros_and_starts_are_checked(tmp_path):
    make_root(tmp_path / "root", songs=1)
    song = data.open(tmp_path / "root")[0]
    tail = song.read("a", RATE - 10, 50)
    assert tail.shape == (2, 50) and tail[:, :10].any() and not tail[:, 10:].any()
    for start in (-1, RATE):
        with pytest.raises(DataError, match="outside its 8000 samples"):
            song.read("a", start, 5)
    with pytest.raises(UsageError, match="unknown stem 'c'"):
        song.read("c")


def test_mono_stems_join_stereo_ones(tmp_path):
    make_song(tmp_path / "root" / "song", names=("a",))
    made = make_song(tmp_path / "root" / "song", names=("b",), channels=1)
    song = data.open(tmp_path / "root")[0]
    assert np.array_equal(song.read("b"), np.repeat(made["b"], 2, axis=0))


def test_musdb_layout_order_subsets_and_published_mixture(toy_root):
    songs = data.open(toy_root)
    assert songs.stems == ("drums", "bass", "other", "vocals") and songs.rung == "toy"
    counts = {name: len(songs.subset(name)) for name in ("train", "valid", "test")}
    assert counts == {"train": 4, "valid": 1, "test": 1}
    assert data.open(toy_root, "valid").songs == songs.subset("valid").songs
    for song in songs:
        assert np.abs(song.mixture() - song.mixture_file()).max() < 1e-6
    table = songs.table()
    assert list(table.song) == [song.name for song in songs] and set(table.note) == {""}
    assert (table.sum_vs_mixture_db > 120).all()


def test_named_sets_are_generated_once_per_options():
    first = data.open("toy", train=2, test=1, seconds=2.0, seed=1)
    again = data.open("toy", train=2, test=1, seconds=2.0, seed=1)
    other = data.open("toy", train=2, test=1, seconds=2.0, seed=2)
    assert first.songs == again.songs and first.root != other.root
    assert (first.rung, first.split_hash) == ("toy", again.split_hash)
    film = data.open("film", train=1, valid=1, test=1, seconds=2.0)
    assert film.stems == ("speech", "music", "sfx") and film.rung == "film"
    assert [song.subset for song in film] == ["train", "valid", "test"]
    with pytest.raises(UsageError, match="did you mean seconds"):
        data.open("toy", second=3)
    with pytest.raises(UsageError, match="only 'toy' and 'film'"):
        data.open("clip", seconds=3)


def test_clip_is_one_real_song_of_known_levels():
    songs = data.open("clip")
    song = songs[0]
    assert (len(songs), songs.rung, song.subset) == (1, "clip", "test")
    assert (song.samples, song.sample_rate, song.channels) == (round(5.8 * 44100), 44100, 2)
    whole, _ = audio.read(sources.clip(), stream=4)
    assert np.abs(song.read("vocals", 7, 99) - whole[:, 4417:4516]).max() < 2**-15
    found = song.sources()
    assert list(found) == ["drums", "bass", "other", "vocals"]
    levels = {stem: 10 * np.log10(np.mean(x**2)) for stem, x in found.items()}
    expected = {"drums": -21.1, "bass": -20.4, "other": -22.2, "vocals": -23.5}  # dBFS, measured
    assert levels == pytest.approx(expected, abs=0.1)
    row = songs.table().iloc[0]
    assert 20 < row.sum_vs_mixture_db < 25  # AAC codes the mixture and the stems apart


@needs_ffmpeg
def test_musdb_reads_the_toy_set_alike(toy_root):
    import musdb

    tracks = {track.name: track for track in musdb.DB(root=str(toy_root), is_wav=True)}
    songs = data.open(toy_root)
    assert set(tracks) == {song.name for song in songs}
    for song in [songs[0], songs[-1]]:  # musdb decodes 5 files for each
        for stem in song.stems:
            assert np.abs(song.read(stem) - tracks[song.name].targets[stem].audio.T).max() < 1e-6
        assert np.abs(song.mixture() - tracks[song.name].audio.T).max() < 1e-6


@needs_ffmpeg
def test_musdb_reads_stem_files_alike(tmp_path):
    import musdb

    folder = tmp_path / "root" / "test"
    folder.mkdir(parents=True)
    shutil.copy(sources.clip(), folder)
    song = data.open(tmp_path / "root")[0]
    track = musdb.DB(root=str(tmp_path / "root"), subsets="test")[0]
    assert (song.name, song.subset) == (track.name, "test")
    part = slice(4410, 260190)  # the clip's faded end has two samples that ffmpeg's s16 differs in
    for stem in song.stems:
        theirs = track.targets[stem].audio.T
        assert np.abs(song.read(stem) - theirs)[:, part].max() <= 2**-15  # both are 16 bit
    published, theirs = song.mixture_file(), track.audio.T
    assert np.abs(published - theirs)[:, part].max() <= 2**-15
    summed = track.targets["linear_mixture"].audio.T
    assert np.abs(song.mixture() - summed)[:, part].max() <= 2**-13


def test_validation_is_the_official_list_where_it_is_there():
    assert len(splits.MUSDB_VALIDATION) == len(set(splits.MUSDB_VALIDATION)) == 14
    others = [f"Artist {n} - Song" for n in range(86)]
    assert splits.validation([*others, *splits.MUSDB_VALIDATION]) == set(splits.MUSDB_VALIDATION)
    some = splits.MUSDB_VALIDATION[:8]
    assert splits.validation([*others, *some]) == set(some)


@needs_ffmpeg
def test_official_list_equals_musdbs():
    import musdb

    names = musdb.DB.__init__.__globals__["yaml"].safe_load(
        (Path(musdb.__file__).parent / "configs" / "mus.yaml").read_text()
    )["validation_tracks"]
    assert set(names) == set(splits.MUSDB_VALIDATION)


def test_own_songs_split_by_artist_and_repeatably():
    names = [f"Artist {n % 7} - Song {n}" for n in range(40)]
    valid = splits.validation(names)
    assert valid == splits.validation(reversed(names)) and 4 <= len(valid) <= 8
    assert not {splits.artist(n) for n in valid} & {splits.artist(n) for n in set(names) - valid}
    mixed = [*names[:18], *splits.MUSDB_VALIDATION[:2]]
    assert set(splits.MUSDB_VALIDATION[:2]) <= splits.validation(mixed)
    assert len(splits.validation(mixed)) <= 4
    assert len(splits.validation(["a", "b"])) == 1 and splits.validation(["a"]) == set()
    assert len(splits.validation([f"One Band - Song {n}" for n in range(10)])) == 2


@needs_real
def test_real_previews_split_28_to_7_without_shared_artists():
    songs = data.open(REAL / "musdb18-7s-cc")
    train, valid = songs.subset("train"), songs.subset("valid")
    assert (len(train), len(valid), songs.rung) == (28, 7, "musdb7")
    assert not {s.artist for s in train} & {s.artist for s in valid}
    official = {song.name for song in songs} & set(splits.MUSDB_VALIDATION)
    assert len(official) == 3 and official <= {song.name for song in valid}
    row = songs[:1].table().iloc[0]
    assert 21 <= row.sum_vs_mixture_db <= 35 and songs[0].samples == 299891


@needs_real
def test_real_scenes_sum_exactly():
    songs = data.open(REAL / "dnr-scenes")
    assert songs.stems == ("speech", "music", "sfx") and songs.rung == "dnr"
    assert np.isinf(songs.table().sum_vs_mixture_db).all()


def test_dnr_layout_and_split_hash(tmp_path):
    for folder in ("tr", "cv", "tt"):
        make_song(tmp_path / "root" / folder / "17", names=("mix", "speech", "music", "sfx"))
    songs = data.open(tmp_path / "root")
    assert [song.subset for song in songs] == ["train", "valid", "test"] and songs.rung == "dnr"
    assert songs.subset("test").split_hash == songs.split_hash
    shutil.move(tmp_path / "root" / "cv" / "17", tmp_path / "root" / "cv" / "18")
    assert data.open(tmp_path / "root").split_hash != songs.split_hash


def test_a_portion_keeps_so_many_training_seconds_and_all_validation_songs(tmp_path):
    make_root(tmp_path / "root", songs=10, samples=2 * RATE)
    songs = data.open(tmp_path / "root")
    train_s = sum(song.duration_s for song in songs.subset("train"))
    valid = songs.subset("valid").songs
    names, before = set(), songs.split_hash
    for share in (0.05, 0.33, 1.0):
        part = songs.portion(share)
        kept = part.subset("train").songs
        assert sum(song.duration_s for song in kept) == pytest.approx(share * train_s, abs=1e-3)
        assert part.subset("valid").songs == valid
        assert names <= {song.name for song in kept}, "a smaller share lies within a larger one"
        names = {song.name for song in kept}
        assert (part.split_hash == before) == (share == 1.0)
    cut = songs.portion(0.05).subset("train")[0]
    whole = songs[cut.name].read("a")
    assert np.array_equal(cut.read("a"), whole[:, cut.first : cut.first + cut.samples])
    assert abs(2 * cut.first + cut.samples - whole.shape[1]) <= 1, "around its middle"
    for wrong in (0.0, 1.01, -1):
        with pytest.raises(UsageError, match="give more than 0, at most 1"):
            songs.portion(wrong)


def test_table_tells_silence_and_damage(tmp_path):
    make_root(tmp_path / "root", songs=3)
    audio.write(tmp_path / "root" / "song 0" / "a.wav", np.zeros((2, RATE)), RATE)
    for stem in "ab":
        audio.write(tmp_path / "root" / "song 1" / f"{stem}.wav", np.zeros((2, RATE)), RATE)
    songs = data.open(tmp_path / "root")
    table = songs.table()
    assert list(table.note) == ["silent: a", "silent", ""] and table.silence_a[0] == 1
    import soundfile

    soundfile.write(
        tmp_path / "root" / "song 2" / "a.wav", np.full((RATE, 2), np.nan), RATE, "FLOAT"
    )
    assert "NaN" in data.open(tmp_path / "root").table().note[2]
    with pytest.raises(DataError, match="NaN"):
        data.open(tmp_path / "root")[2].read("a")


def text(song):
    song.mkdir(parents=True, exist_ok=True)
    (song / "b.wav").write_text("la la la")


BROKEN = {
    "absent": (lambda root: None, "no such folder"),
    "no songs": (
        lambda root: (root / "train").mkdir(parents=True),
        "no songs found; looked for .*it is empty",
    ),
    "mixtures only": (lambda root: make_root(root, names=("mixture",)), "only mixtures"),
    "no song fits": (lambda root: text(root / "song"), "no song can be used: .*b.wav: not audio"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_roots_give_one_line_with_the_fix(tmp_path, case):
    make, message = BROKEN[case]
    make(tmp_path / "root")
    with pytest.raises(DataError, match=message) as caught:
        data.open(tmp_path / "root")
    assert "\n" not in str(caught.value) and ": " in str(caught.value)


ODD = {  # what happens to the third of five songs
    "missing stem": (lambda song: (song / "b.wav").unlink(), "no stem 'b'"),
    "unequal length": (
        lambda song: make_song(song, names=("b",), samples=RATE - 1000),
        "unequal stems .*a 8000, b 7000",
    ),
    "unequal rate": (
        lambda song: make_song(song, names=("b",), rate=2 * RATE),
        "unequal stems .*a 8000, b 16000 Hz",
    ),
    "rates of songs": (lambda song: make_song(song, rate=2 * RATE), "not the others' 8000 Hz"),
    "not audio": (text, "b.wav: not audio"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_song_is_left_out_and_named(tmp_path, case):
    change, message = ODD[case]
    make_root(tmp_path / "root")
    change(tmp_path / "root" / "song 2")
    with pytest.warns(data.DataWarning, match=f"song 2.*{message}") as told:
        songs = data.open(tmp_path / "root")
    assert len(songs) == 4 and "song 2" not in [song.name for song in songs]
    assert len(told) == 1 and "\n" not in str(told[0].message)
    assert "not used" in repr(songs) and "song 2" in songs.unused[0][0]


def test_ends_a_few_samples_apart_are_filled_with_silence(tmp_path):
    make_root(tmp_path / "root", songs=2)
    made = make_song(tmp_path / "root" / "song 1", names=("b",), samples=RATE - 23)
    song = data.open(tmp_path / "root")[1]
    assert song.samples == RATE
    assert np.array_equal(song.read("b"), np.pad(made["b"], ((0, 0), (0, 23))))
    assert not song.read("b", RATE - 20, 20).any() and song.read("a", RATE - 20, 20).any()
    assert "b ends 23 samples early" in data.open(tmp_path / "root").table().note[1]


def test_a_missing_stem_may_be_silence(tmp_path):
    make_root(tmp_path / "root")
    (tmp_path / "root" / "song 2" / "b.wav").unlink()
    songs = data.open(tmp_path / "root", missing="silence")
    assert len(songs) == 5 and not songs["song 2"].read("b", 5, 70).any()
    assert songs["song 2"].read("b", 5, 70).shape == (2, 70)


STEMS = ("vocals", "drums", "bass", "other")


SYNONYMS = ("Vox", "DRUM", "Bass", "Others", "Full Mix"), ("vocal", "drums", "bass", "rest", "mix")
PLACES = [f"songs/song {n}/{{}}.wav" for n in range(2)]
ROWS = [
    ",".join([f"song {n}", s, *map(PLACES[n].format, STEMS)]) for n, s in enumerate(("tr", "val"))
]
LAYOUTS = {  # folders and the files in them; a CSV beside them; the songs and their subsets
    "by stem": (
        dict.fromkeys(STEMS, ("Ann - One", "Bob - Two", "Cy - Three")), (),
        {"Ann - One": "train", "Bob - Two": "train", "Cy - Three": "valid"},
    ),
    "subset words": (
        dict.fromkeys(("Training/song 0", "val/song 1", "TESTING/song 2"), STEMS), (),
        {"song 0": "train", "song 1": "valid", "song 2": "test"},
    ),
    "album": (
        dict.fromkeys(("Ann/One/stems", "Ann/Two/stems"), STEMS), (),
        {"Ann - One": "train", "Ann - Two": "valid"},
    ),
    "prefixed": (
        {song: [f"{song}_({stem.title()})" for stem in STEMS] for song in ("One", "Two")}, (),
        {"One": "train", "Two": "valid"},
    ),
    "synonyms": (
        dict(zip(("One", "Two"), SYNONYMS, strict=True)), (), {"One": "train", "Two": "valid"},
    ),
    "csv of songs": (
        dict.fromkeys(("songs/song 0", "songs/song 1"), STEMS),
        ["song,subset,vocals,drums,bass,other", *ROWS],
        {"song 0": "train", "song 1": "valid"},
    ),
    "csv of pairs": (
        dict.fromkeys(("songs/song 0", "songs/song 1"), STEMS),
        ["instrum,path", *(f"{stem},{place.format(stem)}" for place in PLACES for stem in STEMS)],
        {"song 0": "train", "song 1": "valid"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS)
@pytest.mark.filterwarnings("error::bsrnn.data.stems.DataWarning")
def test_layouts_that_people_use(tmp_path, case):
    folders, lines, names = LAYOUTS[case]
    for folder, files in folders.items():
        make_song(tmp_path / folder, names=files)
    (tmp_path / "list.csv").write_text("\n".join(lines))
    songs = data.open(tmp_path / "list.csv" if lines else tmp_path)
    assert set(songs.stems) == set(STEMS) and songs.unused == ()
    assert {song.name for song in songs} == set(names)
    if case != "album":  # which of two songs validates, the names decide
        assert {song.subset for song in songs} == set(names.values())


EXTRA = {  # beside four stems
    "instrumental.wav": "a sum of other stems",
    "no_vocals.wav": "a sum of other stems",
    "Minus Drums.wav": "a sum of other stems",
    "vocals (copy).wav": "a copy of a stem",
    "drums (1).wav": "a copy of a stem",
    "vox.wav": "a copy of a stem",
    "bass.flac": "another format",
    "take.rec": "no format that is read here",
}


@pytest.mark.parametrize("name", EXTRA)
def test_what_is_no_stem_does_not_become_one(tmp_path, name):
    root = tmp_path / "root"
    for number in range(3):
        made = make_song(root / f"song {number}", names=STEMS, seed=number)
    path = Path(name)
    if path.suffix == ".rec":
        (root / "song 0" / name).write_bytes(b"x")
    else:
        make_song(root / "song 0", names=(path.stem,), suffix=path.suffix, seed=7)
    with pytest.warns(data.DataWarning, match=EXTRA[name]):
        songs = data.open(root)
    assert set(songs.stems) == set(STEMS) and len(songs) == 3
    assert np.allclose(songs["song 2"].mixture(), sum(made.values()), atol=1e-6)


def test_vocals_and_their_backing_are_two_stems(tmp_path):
    make_root(tmp_path / "root", names=("vocals", "instrumental"))
    assert data.open(tmp_path / "root").stems == ("instrumental", "vocals")


def test_empty_folders_and_what_stands_beside_are_named(tmp_path):
    root = tmp_path / "root"
    make_song(root / "train" / "one", names=STEMS)
    make_song(root / "extra", names=STEMS)
    (root / "train" / "three").mkdir()
    (root / "train" / ".hidden").mkdir()
    (root / "readme.txt").write_text("notes are no songs, nobody misses them")
    with pytest.warns(data.DataWarning, match="extra: beside .*three: no sound in it"):
        songs = data.open(root)
    assert [what for what, _ in songs.unused] == ["extra", "train/three"]


def test_a_stem_of_few_songs_is_named_and_costs_nothing(tmp_path):
    make_root(tmp_path / "root", songs=5)
    make_song(tmp_path / "root" / "song 1", names=("kazoo",))
    with pytest.warns(data.DataWarning, match="stem kazoo: fewer than half"):
        songs = data.open(tmp_path / "root")
    assert songs.stems == ("a", "b") and len(songs) == 5
    with pytest.warns(data.DataWarning, match="4 x|no stem 'kazoo'"):
        assert len(data.open(tmp_path / "root", stems=("a", "kazoo"))) == 1


MIXTURES = {  # what became of the sum of the stems -> what is said of it
    "equal": (lambda x: x, ""),
    "rounded": (lambda x: np.round(x * 2**15) / 2**15, ""),
    "quieter": (lambda x: 0.5 * x, "the sum of the stems, times 0.50"),
    "later": (lambda x: np.pad(x, ((0, 0), (1105, 0)))[:, :RATE], "1105 samples later"),
    "earlier and louder": (
        lambda x: 1.5 * np.pad(x, ((0, 0), (0, 99)))[:, 99:],
        "99 samples earlier and times 1.50",
    ),
    "mastered": (lambda x: np.clip(2 * x, -0.25, 0.25), "mastered"),
    "another": (lambda x: np.random.default_rng(9).uniform(-0.5, 0.5, x.shape), "another song"),
}


@pytest.mark.parametrize("case", MIXTURES)
def test_a_mixture_that_is_not_the_sum_is_told_with_its_likely_cause(tmp_path, case):
    change, words = MIXTURES[case]
    made = make_song(tmp_path / "root" / "song")
    mixture = change(sum(made.values())).astype(np.float32)
    audio.write(tmp_path / "root" / "song" / "mixture.wav", mixture, RATE, "FLOAT")
    note = data.open(tmp_path / "root").table().note[0]
    assert words in note and bool(note) == bool(words)


def test_a_mixture_of_another_rate_or_a_damaged_one_blocks_nothing(tmp_path):
    make_root(tmp_path / "root", songs=2)
    make_song(tmp_path / "root" / "song 0", names=("mixture",), rate=2 * RATE)
    (tmp_path / "root" / "song 1" / "mixture.wav").write_text("la")
    songs = data.open(tmp_path / "root")
    assert len(songs) == 2 and songs[0].mixture_file() is None is songs[1].mixture_file()


def test_a_stem_that_is_the_sum_of_others_is_told(tmp_path):
    made = make_song(tmp_path / "root" / "song", names=("a", "b", "c"))
    audio.write(tmp_path / "root" / "song" / "band.wav", made["a"] + made["c"], RATE, "FLOAT")
    assert data.open(tmp_path / "root").table().note[0] == "band is the sum of a and c"


def _odd_set(root):
    """Ten songs, five of them odd in one way each."""
    make_root(root, songs=10, names=STEMS)
    make_song(root / "song 1", names=("bass",), samples=RATE - 3000, seed=1)
    make_song(root / "song 2", names=STEMS, rate=2 * RATE, samples=2 * RATE)
    make_song(root / "song 3", names=("drums",), suffix=".ogg")
    (root / "song 3" / "drums.wav").unlink()
    (root / "song 4" / "vocals.wav").unlink()
    (root / "song 5" / "other.wav").write_text("la la la")


def test_repair_makes_a_set_that_can_be_used_whole(tmp_path):
    from bsrnn.data import repairing

    _odd_set(tmp_path / "root")
    with pytest.warns(data.DataWarning):
        assert len(data.open(tmp_path / "root")) == 6
    frame = repairing.repair(tmp_path / "root", tmp_path / "out")
    done = {(row.song, row.file): row.action for row in frame.itertuples()}
    assert done["song 1", "bass.wav"] == "padded by 3000 samples"
    assert done["song 2", "bass.wav"] == "resampled from 16000 Hz"
    assert done["song 3", "drums.wav"] == "converted from .ogg"
    assert done["song 4", ""] == "left out: vocals missing or damaged"
    assert done["song 5", ""] == "left out: other missing or damaged"
    songs = data.open(tmp_path / "out")
    assert len(songs) == 8 and songs.unused == () and all(s.mixture().any() for s in songs)
    assert {song.sample_rate for song in songs} == {RATE}
    kept = tmp_path / "root" / "song 0" / "bass.wav"
    assert (tmp_path / "out" / "song 0" / "bass.wav").stat().st_ino == kept.stat().st_ino
    with pytest.raises(UsageError, match="not empty"):
        repairing.repair(tmp_path / "root", tmp_path / "out")
    repairing.repair(tmp_path / "root", tmp_path / "whole", missing="silence")
    assert len(data.open(tmp_path / "whole")) == 10


def test_repair_leaves_whole_songs_only(tmp_path, monkeypatch):
    from bsrnn.data import repairing

    make_root(tmp_path / "root", songs=3, suffix=".ogg")
    real, calls = audio.write, []

    def full(path, *arguments):
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        real(path, *arguments)

    monkeypatch.setattr(audio, "write", full)
    with pytest.raises(OSError, match="No space"):
        repairing.repair(tmp_path / "root", tmp_path / "out")
    assert [song.name for song in data.open(tmp_path / "out")] == ["song 0"]


def test_wrong_names_are_one_line(tmp_path):
    make_root(tmp_path / "root", songs=1)
    with pytest.raises(UsageError, match="unknown subset 'tests': did you mean test"):
        data.open(tmp_path / "root", "tests")
    with pytest.raises(DataError, match=r"no test songs .*\{'train': 1\}"):
        data.open(tmp_path / "root", "test")
    with pytest.raises(UsageError, match="unknown stem 'aa'"):
        data.open(tmp_path / "root", stems=("aa",))


def test_previews_offline_say_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "musdb", None)  # as without ffmpeg
    with pytest.raises(DataError, match="MUSDB18-7-STEMS.zip") as caught:
        data.open("musdb7")
    assert str(data.home() / "musdb7") in str(caught.value) and "\n" not in str(caught.value)
    assert not (data.home() / "musdb7").exists()
    (data.home() / "musdb7" / "train").mkdir(parents=True)
    shutil.copy(sources.clip(), data.home() / "musdb7" / "train")
    assert data.open("musdb7").rung == "musdb7"


def test_home_follows_the_environment_then_the_checkout(monkeypatch, tmp_path):
    assert data.home() == tmp_path / "home"
    monkeypatch.delenv("BSRNN_DATA")
    assert data.home().parts[-2:] == ("data", "generated") or "bsrnn" in str(data.home())


def test_silence_share_counts_frames():
    waveform = np.zeros((1, 3200), np.float32)
    waveform[:, 800:1600] = 0.1
    assert stems.silence_share(waveform, RATE) == pytest.approx(0.75)
