"""How a run is watched: bars on a terminal, one plain line per lesson elsewhere."""

import sys

from bsrnn.experiments.runner import Result, Watch


class Lines(Watch):
    """One line per lesson, for logs and pipes."""

    def done(self, result: Result) -> None:
        print(line(result), flush=True)


class Bars(Watch):
    """One bar over the lessons, one over the cells of the current lesson (a terminal)."""

    def start(self, lessons) -> None:
        from tqdm import tqdm

        self._all = tqdm(total=len(lessons), desc="lessons", unit="lesson", position=0)
        self._cells = tqdm(total=1, unit="cell", position=1, leave=False)

    def lesson(self, name: str, cells: int) -> None:
        self._cells.reset(total=cells)
        self._cells.set_description(name)

    def cell(self, index: int) -> None:
        self._cells.update(index - self._cells.n)

    def done(self, result: Result) -> None:
        self._all.write(line(result))
        self._all.update()

    def close(self) -> None:
        self._cells.close()
        self._all.close()


def line(result: Result) -> str:
    """`ok    04_band_schemes  23 s` or `FAIL  04_band_schemes  cell 7 (claim-1): ...`."""
    state = f"FAIL  {result.lesson}  {result.error}" if result.error else f"ok    {result.lesson}"
    return f"{state}  {result.seconds:.0f} s  {result.note}".rstrip()


def watcher() -> Watch:
    """Bars if a person watches the terminal, plain lines otherwise."""
    return Bars() if sys.stderr.isatty() and sys.stdout.isatty() else Lines()
