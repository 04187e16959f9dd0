"""Pictures of loudness: short-term loudness of stems and mix, integrated loudness of both sides.

Lesson 12.
"""

import numpy as np

from bsrnn.common import UsageError
from bsrnn.plots import style

FLOOR_LUFS = -60.0  # below this nothing is drawn: silence


def loudness_over_time(curves: dict, integrated: dict, title="Loudness", window=None):
    """Loudness over time, and integrated loudness before and after a change.

    curves: name -> (times_s, lufs) as `bsrnn.loudness.over_time` gives them. integrated: name ->
    (before, after) in LUFS, -inf for silence; the last name is the mix. window: (start_s, stop_s)
    to shade, such as what the players play.
    """
    if not curves or not integrated:
        raise UsageError(
            "nothing to draw: give name -> (times_s, lufs) and name -> (before, after)"
        )
    picture, (left, right) = style.figure(title, 1, 2, width=9, height=3.4, width_ratios=(5, 2))
    mix = list(integrated)[-1]
    top = max((float(np.max(y)) for _, y in curves.values()), default=FLOOR_LUFS)
    for name, (times_s, lufs) in curves.items():
        line = {"color": "#000000", "lw": 2} if name == mix else {"color": style.stem_colour(name)}
        left.plot(times_s, np.where(lufs > FLOOR_LUFS, lufs, np.nan), label=name, **line)
    left.set_xlim(0, max((x[0] + x[-1] for x, _ in curves.values() if len(x)), default=1.0))
    if window:
        left.axvspan(*window, color="#dddddd", alpha=0.6, lw=0, zorder=0)
    left.set(xlabel="time (s); shaded: what the players play" if window else "time (s)")
    left.set(ylabel="short-term loudness (LUFS)", ylim=(FLOOR_LUFS, max(top, -20) + 10))
    style.legend(left, loc="upper center", ncols=len(curves))
    words = []
    for place, (name, pair) in enumerate(integrated.items()):
        before, after = np.maximum(pair, FLOOR_LUFS)
        colour = "#000000" if name == mix else style.stem_colour(name)
        right.plot([before, after], [place, place], color=colour, lw=1)
        right.plot(before, place, "o", mfc="white", mec=colour, ms=8)
        right.plot(after, place, "o", color=colour, ms=5)
        levels = [f"{x:.1f}" if x > FLOOR_LUFS else "silent" for x in pair]
        words.append(f"{name} {' to '.join(dict.fromkeys(levels))}")
    right.set_yticks(range(len(integrated)), list(integrated))
    right.set(title="hollow: before, full: after", xlabel="integrated (LUFS)")
    right.set(xlim=(FLOOR_LUFS - 2, max(top, -20) + 5), ylim=(len(integrated) - 0.5, -0.5))
    return style.describe(picture, f"{title}. Integrated loudness in LUFS: {', '.join(words)}.")
