"""The house: which room may use which, how large each may be, what the front door offers.

A room is a folder of the package. Data flows downwards: a room uses rooms above it in `ROOMS`.
"""

import ast
import pkgutil
from pathlib import Path

import pytest

import bsrnn

PACKAGE = Path(bsrnn.__file__).parent
ROOMS = ("common", *bsrnn.ROOMS)
OUTER = ("explore", "experiments", "course", "cli")  # what stands around the signal path
# The plan's numbers are 21,500, 14,500 and 14,000; until they are reached nothing may grow.
LINES, INNER_LINES, TEST_LINES = 29_000, 18_900, 19_160


def room_of(name: str) -> str:
    """The room that a dotted name of the package lives in; "" for the front door itself.

    >>> room_of("bsrnn.models.cost"), room_of("bsrnn.cost")
    ('models', 'models')
    """
    place = name.split(".")[1] if "." in name else ""
    return bsrnn.DOORS.get(place, place).split(".")[0]


def imported(path: Path) -> list[str]:
    """Dotted names of this package that the file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "bsrnn":
            names += [f"bsrnn.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return [name for name in names if name.partition(".")[0] == "bsrnn"]


def lines(folder: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_uses_rooms_above_it_only(path):
    room = path.relative_to(PACKAGE).parts[0]
    for name in imported(path):
        used = room_of(name)
        if used in ROOMS:
            assert ROOMS.index(used) <= ROOMS.index(room), f"{room} uses {name}, a room below it"


def test_every_folder_is_a_room():
    assert {m.name for m in pkgutil.iter_modules([str(PACKAGE)]) if m.ispkg} == set(bsrnn.ROOMS)


def test_the_house_stays_within_its_budget(capsys):
    rooms = {room: lines(PACKAGE / room) for room in bsrnn.ROOMS}
    total, tests = lines(PACKAGE), lines(Path(__file__).parent)
    inner = total - sum(rooms[room] for room in OUTER)
    with capsys.disabled():
        shown = ", ".join(f"{room} {count}" for room, count in rooms.items())
        print(f"\nlines: {shown}; package {total}, of it signal path {inner}, tests {tests}")
    assert total <= LINES, f"the package has {total} lines, {LINES} are the budget"
    assert inner <= INNER_LINES, f"the signal path has {inner} lines, {INNER_LINES} are the budget"
    assert tests <= TEST_LINES, f"the tests have {tests} lines, {TEST_LINES} are the budget"


PUBLIC = (
    "bands.names", "bands.scheme", "bands.from_edges_hz", "bands.BandScheme",
    "models.ModelConfig", "models.BandSplitSeparator", "models.presets",
    "models.published.from_state_dict", "cost.cost", "load", "separate", "separate_file",
    "metrics.usdr", "metrics.csdr", "metrics.si_sdr", "metrics.score", "masks.oracle",
    "masks.band_oracle", "losses.loss", "data.open", "training.fit", "evaluation.evaluate",
    "plots.spectrogram", "listen.players", "explore.stem_mixer",
)  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_stand_where_users_expect_them(name):
    place = bsrnn
    for part in name.split("."):
        assert part in dir(place), f"{part} is not listed by dir()"
        place = getattr(place, part)


def test_a_door_is_the_very_module_of_its_room():
    import bsrnn.cost
    from bsrnn.metrics import usdr

    assert bsrnn.cost is bsrnn.models.cost and bsrnn.cost.__spec__.name == "bsrnn.models.cost"
    assert usdr is bsrnn.evaluation.metrics.usdr
