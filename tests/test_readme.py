"""Every command of README.md runs, in its order, in a copy of the checkout.

`STAND_INS` lists all that is replaced: what a reader has and a test has not (songs, a dataset,
GPUs, a second machine, the network, an hour). A new line of the README runs as it stands; if it
names something that is not there, it fails, and STAND_INS needs a row.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from bsrnn import audio, cli
from bsrnn.common import ROOT
from bsrnn.data import toyband

README = (ROOT / "README.md").read_text(encoding="utf-8")
OURS = "course|separate|train|evaluate|sweep|cost"  # commands that the text names without python
STAND_INS = [  # (what stands in the README, what runs), regular expressions, one after the other
    (r"^python3 -m venv \.venv$", "python -m venv --without-pip .venv"),
    (r"^\.venv/bin/", ""),
    (r"^pip install ", "pip install -q --dry-run --no-index --no-build-isolation "),  # is there
    (rf"^({OURS}) ", r"python -m bsrnn \1 "),
    (r"(course submit|course board)$", r"\1 --help"),  # named, without a submission
    (r"seed 0,1,2 -p steps 200", "seed 0 -p steps 2 -p songs 1"),
    (r"(?<=bsrnn )train (?=--plan)", "train ... "),
    (r"(?<=bsrnn )train \.\.\.", "train tiny --dataset songs --steps 2"),
    (r"(?<=bsrnn )train (small|compact)", "train tiny"),
    (r"--estimates \S+ --estimates \S+", "--estimates songs/test"),  # the stems themselves
    (r"--minutes 60|--steps 4000", "--steps 2"),
    (r"/data/musdb18hq|\bROOT\b|(?<=--dataset )toy", "songs"),  # a toy set in MUSDB18-HQ layout
    (r"--model bandit-v2-multi", "--model scenes"),  # the same stems, embedded
    (r"\bcost paper --measure", "cost tiny --measure --seconds 0.5 --threads 1 --repeats 1"),
    (r"benchmark\(\)", "benchmark(1)"),
    (r"threads=2\)", "threads=1, seconds=1, repeats=1)"),
    (r"\bSUBMISSIONS\b", "notebooks/assignments/release/a1"),
    (r"jupyter lab .*", r"\g<0> --show-config"),  # the browser tests start it
    (r"-m pytest .*", r"\g<0> --collect-only -q tests/audio/test_stft.py"),  # it is running
    (r"--nproc-per-node 4(?=.* -m bsrnn)", "--nproc-per-node 1"),
    (r"--standalone --nproc-per-node 1", "--standalone --nproc-per-node 2"),
    (r"\bHOST\b", "127.0.0.1"),
]
PROGRAMS = {
    "python": [sys.executable],
    "pip": [sys.executable, "-m", "pip"],
    "jupyter": [sys.executable, "-m", "jupyter"],
    "torchrun": [sys.executable, "-m", "torch.distributed.run"],
    "srun": None,  # no SLURM here: only the command behind it is read
}


def without_blocks(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def commands(text: str = README) -> list[str]:
    """The commands of the bash blocks and those in running text, in the README's order."""
    found = []
    pattern = r"```bash\n(.*?)```|(?<!`)`([^`]+)`(?!`)|```\w+\n.*?```"
    for block, inline in re.findall(pattern, text, re.DOTALL):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            found += re.sub(r"\s+#\s.*$", "", line).split(" && ")
        words = " ".join(inline.split())
        if re.match(rf"\.venv/bin/|(python3?|pip|torchrun|srun|{OURS}) ", words):
            found.append(words)
    return list(dict.fromkeys(filter(None, map(str.strip, found))))


def stood_in(command: str) -> str:
    for pattern, instead in STAND_INS:
        command = re.sub(pattern, instead, command)
    return command


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The checkout as a reader has it, with songs; of the lessons those that commands name, cut to
    their parameters: test_notebooks runs them whole."""
    folder = tmp_path_factory.mktemp("readme") / "bsrnn"
    leave = shutil.ignore_patterns(
        ".git", ".venv", ".*_cache", ".hypothesis", "generated", "runs", "figures", "golden",
        "__pycache__",
    )  # fmt: skip
    shutil.copytree(ROOT, folder, ignore=leave)
    named = re.findall(r"\b(\d\d)(?=[_ ])", " ".join(commands()))
    for lesson in folder.glob("notebooks/[0-9]*.ipynb"):
        if lesson.stem[:2] not in named:
            lesson.unlink()
            continue
        notebook = nbformat.read(lesson, as_version=4)
        notebook.cells = notebook.cells[:3]
        nbformat.write(notebook, lesson)
    toyband.make(folder / "songs", train=3, test=1, seconds=3.0)
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 44100)).astype(np.float32)
    (folder / "albums").mkdir()
    for name in ("song.mp3", "song.m4a", "albums/one.wav"):
        audio.write(folder / name, sound, 44100)
    return folder


def environment(clone) -> dict:
    """Without the traces of the test's own process; toy data of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SLURM"))}
    return {**kept, "OMP_NUM_THREADS": "1", "BSRNN_DATA": str(clone / "data" / "toy")}


def run(words, clone):
    return subprocess.Popen(
        words, cwd=clone, env=environment(clone), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize("command", commands(), ids=str)
def test_command(command, clone):
    words = shlex.split(stood_in(command))
    assert words[0] in PROGRAMS, f"{words[0]!r} is no program that this test knows: add it"
    if words[0] == "srun":
        assert cli.parser().parse_args(words[words.index("bsrnn") + 1 :]).run
        return
    words = PROGRAMS[words[0]] + words[1:]
    running = [run(words, clone)]
    if "--node-rank" in words:  # the other machine
        other = list(words)
        other[words.index("--node-rank") + 1] = "1"
        running.append(run(other, clone))
    for one in running:
        said, _ = one.communicate(timeout=300)
        assert one.returncode == 0, f"{shlex.join(words)}\n{said[-2000:]}"
        assert "does not provide the extra" not in said, said


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_block(block, clone):
    given = (
        "import numpy as np\nsample_rate = 44100\n"
        "mixture = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 44100)).astype(np.float32)\n"
        "reference = 0.5 * mixture\n"
    )
    done = run([sys.executable, "-c", given + block], clone)
    said, _ = done.communicate(timeout=120)
    assert done.returncode == 0, said[-2000:]


def test_every_block_is_known():
    kinds = re.findall(r"^```(\w*)$", README, re.MULTILINE)
    assert set(kinds) <= {"", "bash", "python"}, "a block that no test runs"
    assert kinds.count("bash") + kinds.count("python") == kinds.count(""), "a block without a kind"


def test_options_in_running_text_exist():
    known = set(re.findall(r"--[a-z][\w-]+", " ".join(commands())))
    pages = [cli.parser()]
    for parser in pages:
        for action in parser._actions:
            known |= set(action.option_strings)
            pages += (action.choices or {}).values() if hasattr(action, "add_parser") else ()
    spans = re.findall(r"`([^`]+)`", without_blocks(README))
    named = {option for span in spans for option in re.findall(r"(?<!\S)--[a-z][\w-]+", span)}
    assert named <= known, f"no such option: {sorted(named - known)}"


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)
    paths = re.findall(r"`((?:tests|data|notebooks|figures|bsrnn)/[\w./]*)`", README)
    assert not [path for path in paths if not Path(ROOT, path).exists()]
