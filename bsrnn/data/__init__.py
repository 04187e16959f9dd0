"""Songs with stems, from any rung of the data ladder, through one call.

    from bsrnn import data
    songs = data.open("toy")                       # generated, seeded, offline
    songs = data.open("/data/musdb18hq", "train")  # or .stem.mp4, DnR, any folder song/<stem>.wav
    vocals = songs[0].read("vocals", start=44100, samples=88200)   # (C, L)

Lesson 01.
"""

from bsrnn.data.stems import Dataset, DataWarning, Song, home, open

__all__ = ["DataWarning", "Dataset", "Song", "home", "open"]
