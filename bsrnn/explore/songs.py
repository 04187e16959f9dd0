"""Your own song: upload it, separate it, move the faders, download the result.

`song_stems` separates the beginning of a song; `song_view` is the static twin of `song_desk`: the
same words, picture, players and links from fixed settings. Lesson 08.
"""

import base64
import functools
import html
import tempfile
from pathlib import Path
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np

from bsrnn import audio, separation
from bsrnn.common import DataError, UsageError, choose
from bsrnn.explore import mixer
from bsrnn.explore.panel import Panel, choice, row, slider

MAX_S = 30.0  # of a song: seconds of work on any machine
DOWNLOADS = ("nothing", "mix", "mix and stems")
FORMATS = {"flac": (".flac", "PCM_24"), "wav": (".wav", "FLOAT")}
YOURS = "your file"


class SongStems(NamedTuple):
    """A separated song: its stems name -> (C, L), their rate in Hz, and what was done, in words."""

    stems: dict
    sample_rate: int
    words: str


class Links:
    """Download links that hold their files name -> bytes; plain text says names and sizes."""

    def __init__(self, files: dict, kind: str):
        self.text = "\n".join(f"{name}: {len(data) / 1e6:.1f} MB" for name, data in files.items())
        self.html = ""
        for name, data in files.items():
            name, content = html.escape(name), base64.b64encode(data).decode()
            link = f'<a download="{name}" href="data:audio/{kind};base64,{content}">{name}</a>'
            self.html += f"<li>{link} ({len(data) / 1e6:.1f} MB)</li>"

    def _repr_html_(self):
        return f"<ul>{self.html}</ul>"

    def __repr__(self):
        return self.text


def song_stems(source, separator, max_s: float = MAX_S, progress=False) -> SongStems:
    """Separate the first `max_s` seconds of a song.

    source: path of an audio file, or (waveform (C, L), sample rate in Hz). progress: as in
    `separation.separate`. Raises UsageError / DataError of one line for what cannot be read.
    """
    if max_s <= 0:
        raise UsageError(f"max_s {max_s}: give a number of seconds above 0")
    if isinstance(source, tuple):
        mixture, rate = source
        samples = mixture.shape[-1]
    else:
        info = audio.info(source)
        rate, samples = info.sample_rate, info.samples
        mixture, _ = audio.read(source, samples=round(max_s * rate))
    mixture = mixture[:, : round(max_s * rate)]  # (C, L)
    stems = separation.separate(separator, mixture, rate, progress=progress)
    words = (
        f"{mixture.shape[-1] / rate:.1f} of {samples / rate:.1f} s, {len(mixture)} channel(s), "
        f"{rate} Hz; stems: {', '.join(stems)}; {_below(mixture - sum(stems.values()), mixture)}"
    )
    if rate != separator.sample_rate:
        words += f"; resampled to {separator.sample_rate} Hz and back"
    return SongStems(stems, rate, words)


def _below(rest, mixture) -> str:
    power = np.square([rest, mixture], dtype=np.float64).mean(axis=(1, 2))
    if not power.all():
        return "the stems add up to the song" if power[1] else "the song is silent"
    return f"what no stem has is {10 * np.log10(power[0] / power[1]):+.1f} dB beside the song"


def song_view(
    song: SongStems, gains_db=None, mute=(), solo=(), start_s: float = 0.0, view="spectrogram",
    download="nothing", suffix="flac",
) -> list:  # fmt: skip
    """What `song_desk` shows: [words, Picture, Sounds], and Links where a download is asked for.

    song: from `song_stems`; gains_db, mute, solo, view: as in `explore.stem_mix`; start_s: where
    the 6 s begin that are seen and heard. download: one of `DOWNLOADS`; the mix follows the faders,
    the stems are as separated; suffix: "flac" (24 bit) or "wav" (float, keeps peaks above full
    scale). Raises UsageError for unknown names.
    """
    choose(download, DOWNLOADS, "download")
    choose(suffix, FORMATS, "format")
    whole = np.zeros_like(next(iter(song.stems.values())))  # (C, L)
    heard = round(mixer.MAX_S * song.sample_rate)
    first = max(0, min(round(start_s * song.sample_rate), whole.shape[-1] - heard))
    part = {name: x[:, first : first + heard] for name, x in song.stems.items()}  # (C, <= 6 s)
    shown = mixer.stem_mix(part, song.sample_rate, gains_db, mute, solo, view)
    if download == "nothing":
        return [song.words, *shown]
    sounds = {"mix": sum(mixer.faded(song.stems, gains_db or {}, mute, solo).values(), whole)}
    sounds |= song.stems if download == "mix and stems" else {}
    files = {f"{name}.{suffix}": _file(x, song, suffix) for name, x in sounds.items()}
    loud = [name for name, x in sounds.items() if suffix == "flac" and np.abs(x).max() > 1]
    clipped = f"; clipped in flac, wav keeps it: {', '.join(loud)}" if loud else ""
    return [song.words + clipped, *shown, Links(files, suffix)]


def _file(waveform, song: SongStems, suffix: str) -> bytes:
    ending, subtype = FORMATS[suffix]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sound{ending}"
        return audio.write(path, waveform, song.sample_rate, subtype).read_bytes()


def uploaded(value) -> dict:
    """Files of an ipywidgets FileUpload, name -> bytes, in the form of version 7 or of version 8.

    >>> uploaded({"a.wav": {"metadata": {"name": "a.wav"}, "content": b"RIFF"}})  # 7
    {'a.wav': b'RIFF'}
    >>> uploaded(({"name": "a.wav", "content": memoryview(b"RIFF")},))  # 8
    {'a.wav': b'RIFF'}
    """
    if isinstance(value, dict):
        return {name: bytes(file["content"]) for name, file in value.items()}
    return {file["name"]: bytes(file["content"]) for file in value}


def song_desk(models: dict, examples: dict, max_s: float = MAX_S) -> Panel:
    """Upload, faders and downloads as a widget: song, model, faders, downloads.

    models: name -> separator. examples: name -> (waveform (C, L), sample rate) or path: songs to
    choose without an upload. max_s: of a song at most. A file that cannot be separated is reported
    in one line where the picture would be. Upload suits files of some MB: Jupyter loses the
    connection on messages above 10 MB or so. For larger ones give a path that the kernel can read.
    """
    if not models or not examples:
        raise UsageError("nothing to choose: give models and examples, a dict of at least one each")
    songs, taken, status = dict(examples), {}, widgets.HTML()
    plain = _controls(songs, models, max_s)
    stems = list(dict.fromkeys(stem for model in models.values() for stem in model.stems))
    faders = mixer.faders(stems)
    rows = [row(*(faders[name] for name in names)) for names in mixer.rows_of(stems)]

    @functools.lru_cache(maxsize=4)
    def separated(song, model, seconds) -> SongStems:
        return _separated(songs[song], models[model], seconds, status)

    def prepare():
        """A new file becomes the song; only faders of the model's stems are seen."""
        path, files = plain["path"].value.strip(), uploaded(plain["upload"].value)
        arrived = {"path": path and Path(path), "upload": files}
        for way, source in arrived.items():
            if source and source != taken.get(way):
                songs[YOURS] = source
                separated.cache_clear()
                plain["song"].options = list(songs)
                plain["song"].value = YOURS
        taken.update(arrived)
        for stem, part in zip(stems, rows, strict=True):
            known = stem in models[plain["model"].value].stems
            part.layout.display = None if known else "none"

    def view(song, upload, path, model, seconds, start_s, show, download, suffix, **values):
        try:
            made = separated(song, model, seconds)
        except UsageError as error:
            status.value = ""
            return f"{song} was not separated. {error}"
        length_s = next(iter(made.stems.values())).shape[-1] / made.sample_rate
        plain["start_s"].disabled = length_s <= mixer.MAX_S  # all of it is heard
        faded = mixer.setting(made.stems, values)
        return song_view(
            made, **faded, start_s=start_s, view=show, download=download, suffix=suffix
        )

    lines = [list(plain), *rows, status]
    return Panel(view, "Your own song", prepare, rows=lines, **plain, **faders)


def _controls(songs, models, max_s) -> dict:
    """All but the faders, by name."""
    latest = max(0.0, max_s - mixer.MAX_S)
    return {
        "song": choice("song", songs),
        "upload": widgets.FileUpload(description="upload", multiple=False),
        "path": widgets.Text(description="or its path", placeholder="song.mp3"),
        "model": choice("model", models),
        "seconds": slider("first seconds", float(max_s), 1.0, max(max_s, 1.0)),
        "start_s": slider("listen from (s)", 0.0, 0.0, latest),
        "show": choice("view", mixer.VIEWS),
        "download": choice("download", DOWNLOADS),
        "suffix": choice("format", FORMATS),
    }


def _separated(source, separator, seconds, status) -> SongStems:
    """Stems of an example, a path or an uploaded file {name: bytes}; progress into `status`."""
    progress = _Progress(status, seconds)
    with tempfile.TemporaryDirectory() as folder:
        path, name = source, ""
        if isinstance(source, dict):
            ((name, data),) = source.items()
            path = Path(folder) / Path(name.replace("\\", "/")).name
            path.write_bytes(data)
        try:
            stems = song_stems(path, separator, seconds, progress)
        except DataError as error:  # of the name that the user knows
            raise DataError(str(error).replace(str(path), name or str(path))) from error
    status.value = f"separated {progress.done_s:.1f} s"
    return stems


class _Progress:
    """Counts seconds of sound in words on the page, as a tqdm bar would."""

    def __init__(self, status, seconds: float):
        self.status, self.seconds, self.done_s = status, seconds, 0.0
        self.update(0.0)

    def update(self, seconds: float):
        self.done_s += seconds
        self.status.value = f"separating: {self.done_s:.0f} of at most {self.seconds:.0f} s"
