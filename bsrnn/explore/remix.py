"""The remixer: faders per stem, and what they do to the loudness of a mix. Lesson 12.

`remix_view` is the static twin: the same picture, words, table and players for fixed settings. What
is louder sounds better; so the remixer measures the loudness before and after (ITU-R BS.1770, see
`bsrnn.loudness`) and can play both at the same.
"""

import textwrap

import ipywidgets as widgets
import numpy as np
import pandas as pd

from bsrnn import listen, loudness, plots
from bsrnn.common import UsageError, choose
from bsrnn.explore import mixer
from bsrnn.explore.panel import Panel, choice, excerpt, slider, tick

MAX_S = 20.0  # of a scene: keeps a change of a control below a second
VIEWS = ("short-term loudness", "waveforms")
STATES = ("after", "before")
AS_IS, AS_BEFORE = "as is", "as before"
# EBU R 128 -23, ATSC A/85 -24, DnR's mixtures -27; -14 to -18 are usual for streams and podcasts
TARGETS = (AS_IS, AS_BEFORE, -14.0, -16.0, -18.0, -23.0, -24.0, -27.0)
VOICES = ("speech", "dialogue", "vocals")


def remix_view(
    stems: dict, sample_rate: int, gains_db=None, mute=(), solo=(), target=AS_IS, matched=False,
    state="after", view=VIEWS[0], start_s: float = 0.0, voice: str | None = None,
) -> list:  # fmt: skip
    """What `remix_desk` shows: [Picture, words, table of before and after, Sounds].

    stems: name -> (C, L), all of one shape, of 0.4 s or more; the first 20 s are used. gains_db,
    mute, solo: as in `explore.stem_mix`. target: "as is", "as before" (that of the untouched mix)
    or LUFS of the remix. matched: the players play both at the loudness of the untouched mix,
    whatever the target; else with one common gain. state: which of "before" and "after" is drawn;
    view: "short-term loudness" or "waveforms". start_s: where the 6 s begin that are played. voice:
    the stem whose distance to the others is told (default: the speech, else the first stem).
    Raises UsageError for unknown names and for a target that is no number. A silent remix stays so.
    """
    choose(view, VIEWS, "view")
    choose(state, STATES, "state")
    stems, gains_db = mixer.checked(stems, gains_db, mute, solo, round(MAX_S * sample_rate))
    voice = voice or next(name for name in (*VOICES, *stems) if name in stems)
    before = sum(stems.values())  # (C, L)
    heard = mixer.faded(stems, gains_db, mute, solo)
    on = ", ".join(f"{name} {gains_db.get(name, 0.0):+.0f} dB" for name in heard) or "nothing"
    heard = dict.fromkeys(stems, np.zeros_like(before)) | heard
    first = loudness.balance(stems, sample_rate, voice)
    master_db = _master_db(target, sum(heard.values()), sample_rate, first)
    heard = {name: x * np.float32(10 ** (master_db / 20)) for name, x in heard.items()}
    after = sum(heard.values())  # (C, L)
    last = loudness.balance(heard, sample_rate, voice)
    length_s = before.shape[1] / sample_rate
    start_s = min(max(0.0, start_s), max(0.0, length_s - mixer.MAX_S))
    title = "Before: all stems untouched" if state == "before" else f"After: {on}"
    title += "; played at one loudness" if matched else ""
    drawn = stems if state == "before" else heard
    drawn = {**drawn, "mix": sum(drawn.values())}
    if view == "waveforms":
        picture = plots.waveforms(drawn, sample_rate, title)
    else:
        sides = {**stems, "mix": before}, {**heard, "mix": after}
        picture = _curves(drawn, sides, sample_rate, title, start_s)
    rows = {
        "integrated loudness (LUFS)": (first.mix_lufs, last.mix_lufs),
        f"{voice} above the rest (LU)": (first.ratio_lu, last.ratio_lu),
        "peak (dBFS)": (first.peak_dbfs, last.peak_dbfs),
    }
    table = pd.DataFrame(rows, index=["before", "after"]).T.round(1)
    sounds = {"before": before, "after": after}
    if matched and np.isfinite([first.mix_lufs, last.mix_lufs]).all():
        gain = np.float32(10 ** ((first.mix_lufs - last.mix_lufs) / 20))
        sounds = {"before": before, "after, matched": after * gain}
    played = listen.ab(sounds, sample_rate, max_s=mixer.MAX_S, start_s=start_s)
    words = _words(first, last, master_db, matched, voice)
    return [picture, textwrap.fill(words, 88), table, played]


def _curves(drawn, sides, sample_rate, title, start_s):
    """Short-term loudness over time; momentary where the scene is too short for it."""
    levels = {
        name: tuple(loudness.integrated(side[name], sample_rate) for side in sides)
        for name in drawn
    }
    length_s = drawn["mix"].shape[1] / sample_rate
    window_s = loudness.SHORT_TERM_S if length_s > loudness.SHORT_TERM_S else loudness.BLOCK_S
    curves = {name: loudness.over_time(x, sample_rate, window_s) for name, x in drawn.items()}
    window = (start_s, min(length_s, start_s + mixer.MAX_S))
    return plots.loudness_over_time(curves, levels, title, window)


def remix_desk(stems: dict, sample_rate: int, voice: str | None = None) -> Panel:
    """The remixer as a widget: solo, mute and gain of each stem, target, matching, view.

    Arguments as in `remix_view`; the first 20 s are used.
    """
    stems = excerpt(stems, round(MAX_S * sample_rate))
    length_s = next(iter(stems.values())).shape[1] / sample_rate
    latest = max(0.0, float(np.floor(length_s - mixer.MAX_S)))
    targets = [(t if isinstance(t, str) else f"{t:.0f} LUFS", t) for t in TARGETS]
    plain = {
        "target": choice("loudness", targets),
        "matched": tick("match loudness to listen"),
        "state": widgets.ToggleButtons(options=STATES, description="draw"),
        "show": choice("view", VIEWS),
        "start_s": slider("listen from (s)", 0.0, 0.0, max(latest, 1.0), disabled=not latest),
    }

    def view(target, matched, state, show, start_s, **values):
        return remix_view(
            stems, sample_rate, **mixer.setting(stems, values), target=target, matched=matched,
            state=state, view=show, start_s=start_s, voice=voice,
        )  # fmt: skip

    rows = [*mixer.rows_of(stems), list(plain)]
    return Panel(view, "Remix desk", rows=rows, **plain, **mixer.faders(stems))


def _master_db(target, mix, sample_rate, first) -> float:
    """Gain in dB of the whole remix (C, L); 0 where it is silent."""
    known = target in (AS_IS, AS_BEFORE)
    if not known and (isinstance(target, str) or not np.isfinite(target)):
        raise UsageError(f"target {target!r}: give 'as is', 'as before' or a number of LUFS")
    if target == AS_IS or not np.isfinite(loudness.integrated(mix, sample_rate)):
        return 0.0
    return loudness.gain_to(mix, sample_rate, first.mix_lufs if known else target)


def _words(first, last, master_db, matched, voice) -> str:
    if not np.isfinite(last.mix_lufs):
        return f"The remix is silent; before it had {first.mix_lufs:.1f} LUFS."
    change = last.mix_lufs - first.mix_lufs
    words = f"{last.mix_lufs:.1f} LUFS, {change:+.1f} LU beside the untouched mix"
    words += f" (master gain {master_db:+.1f} dB). "
    if np.isfinite(last.ratio_lu):
        lies = f"lies {last.ratio_lu:+.1f} LU from the rest, before {first.ratio_lu:+.1f}. "
        words += f"The {voice} {lies}"
    words += f"Peak {last.peak_dbfs:.1f} dBFS. "
    if last.peak_dbfs > 0:
        words += f"WARNING: it clips, by {last.peak_dbfs:.1f} dB: choose a lower loudness. "
    if matched:
        return f"{words}Players: loudness matched, both at {first.mix_lufs:.1f} LUFS."
    words += "Players: one common gain. "
    if abs(change) > 0.5:
        words += "What is louder sounds better: match the loudness before you judge."
    return words.strip()
