"""The command line: help at once, one-line errors with the right exit code, commands that work."""

import dataclasses
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from bsrnn import benchmark, cli, complexity
from bsrnn.common import ROOT, UsageError
from bsrnn.settings import typed

COMMANDS = [name for name, *_ in cli.COMMANDS]
MODULE = [sys.executable, "-m", "bsrnn"]


def call(capsys, *words):
    """(exit code, stdout, stderr) of a command run in this process."""
    code = cli.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """A toy set in MUSDB-HQ layout, made by the command itself."""
    folder = tmp_path_factory.mktemp("cli") / "songs"
    options = [("seconds", 3), ("train", 3), ("test", 1)]
    words = [str(w) for name, value in options for w in ("-p", name, value)]
    assert cli.main(["toy", str(folder), "--seed", "2", *words]) == 0
    return folder


@pytest.mark.parametrize("name", ["", "course", *COMMANDS])
def test_help_has_an_example_that_the_parser_takes(capsys, name):
    code, out, _ = call(capsys, *name.split(), "--help")
    assert code == 0
    (example,) = re.findall(r"example: python -m bsrnn (.*)", out)
    assert cli.parser().parse_args(example.split()).run


def test_help_is_light():
    code = "import sys; from bsrnn import cli; cli.main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "separate" in done.stdout
    assert not {"numpy", "torch", "yaml", "nbformat"} & set(done.stdout.split("\n")[-2].split())


@pytest.mark.parametrize(
    "words, code, message",
    [
        ([], 2, "required: COMMAND"),
        (["sing"], 2, "invalid choice: 'sing'"),
        (["course", "run", "-p", "seed"], 2, "expected 2 arguments"),
        (["course", "run", "-p", "seed", "1", "-p", "seed", "2"], 2, "given 2 times"),
        (["course", "badge", "--repository", "me"], 2, "owner/name"),
        (["course", "copy", "DATA"], 2, "is there already: name a new folder"),
        (["train", "huge"], 2, "unknown model preset 'huge'"),
        (["train", "no.json"], 2, "no file no.json"),
        (["train", "tiny", "-p", "featurs", "3"], 2, "did you mean features"),
        (["train", "tiny", "-p", "features", "3.5"], 2, "'features' takes int"),
        (["train", "tiny", "--scheme", "v9", "--dataset", "DATA"], 2, "unknown .*scheme 'v9'"),
        (["train", "tiny", "--dataset", "/no/such/folder"], 1, "/no/such/folder"),
        (["train", "tiny", "--stems", "flute", "--dataset", "DATA", "--out", "OUT"], 2, "flute"),
        (["cost", "tiny", "--seconds", "0"], 2, "a number from 0.001"),
        (["train", "tiny", "--seed", "1", "-p", "seed", "2"], 2, "seed is given 2 times"),
        (["bands", "v9"], 2, "v9"),
        (["bands", "--json"], 2, "needs a scheme"),
        (["separate", "no.wav", "--model", "x"], 2, "no file no.wav"),
        (["separate", "SONG", "--model", "x", "--precision", "b16"], 2, "did you mean bf16"),
        (["toy", "DATA"], 2, "not empty"),
        (["toy", "NEW", "-p", "second", "3"], 2, "did you mean seconds"),
        (["evaluate", "no.safetensors", "--dataset", "DATA"], 2, "no.safetensors"),
    ],
)
def test_errors_are_one_line_with_the_fix(capsys, songs, tmp_path, words, code, message):
    places = {"DATA": songs, "OUT": tmp_path / "out", "NEW": tmp_path / "new"}
    places["SONG"] = next(songs.glob("test/*/mixture.wav"))
    got, out, err = call(capsys, *(places.get(word, word) for word in words))
    assert got == code
    assert re.search(message, err) and err.count("\n") == 1 and "Traceback" not in err
    assert out == ""


def test_unforeseen_failure_is_one_line_too(capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("bsrnn.cli.doctor.examine", fail)
    code, _, err = call(capsys, "doctor")
    assert code == 1 and err.startswith("bsrnn: RuntimeError: first second (BSRNN_DEBUG=1")
    monkeypatch.setenv("BSRNN_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.main(["doctor"])


def test_options_are_typed():
    assert typed("lr", "1e-3", 0.1) == 0.001 and typed("lr", 1, 0.1) == 1.0
    assert typed("on", "true", False) is True and typed("name", "7", "v7") == "7"
    assert typed("stems", "[a, b]", ("c",)) == ("a", "b")
    for value, default in (("yes please", False), ("2.5", 1), (True, 1), (None, 1), ("[", ())):
        with pytest.raises(UsageError, match="'x' takes"):
            typed("x", value, default)


def test_cost(capsys):
    from bsrnn import models

    code, out, _ = call(capsys, "cost", "tiny", "-p", "stems", "[vocals, drums]", "--seconds", "3")
    config = dataclasses.replace(models.presets()["tiny"], stems=("vocals", "drums"))
    size = sum(weight.numel() for weight in models.BandSplitSeparator(config).parameters())
    assert code == 0 and out.splitlines()[-1].split()[:2] == ["all", f"{size:,}"]


def test_bands(capsys):
    code, out, _ = call(capsys, "bands")
    assert code == 0 and re.search(r"(?m)^v7 +41 bands", out)
    code, out, _ = call(capsys, "bands", "v7")
    assert code == 0 and len(out.splitlines()) == 42 and "[0, " in out
    code, out, _ = call(capsys, "bands", "v7", "--json")
    assert code == 0 and json.loads(out)["name"] == "v7"


def test_bands_that_do_not_fit_say_so(capsys, tmp_path):
    code, out, _ = call(capsys, "bands", "v7", "--sample-rate", "8000")
    assert code == 0 and "note: 19 edges at or above 4000 Hz dropped" in out
    assert out.splitlines()[22].split()[-1] == "4000.0", "the last band ends at Nyquist"
    code, out, _ = call(capsys, "bands", "v7", "--sample-rate", "96000")
    assert code == 0 and "note: the last band reaches from 20000 to 48000 Hz" in out
    files = {
        "overlap.csv": ("0,1000\n900,22050\n", "overlap between 900 and 1000 Hz"),
        "falling.json": ("[300, 100]", "edge 100 Hz follows 300 Hz"),
        "beyond.json": ("[100, 30000]", "not between 0 and Nyquist"),
        "many.json": (str(list(range(10, 22000, 20))), "no bin between"),
    }
    for name, (text, words) in files.items():
        (tmp_path / name).write_text(text)
        for command in (["bands"], ["train", "tiny", "--out", tmp_path / "run", "--scheme"]):
            code, _, err = call(capsys, *command, tmp_path / name)
            assert code == 2 and words in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()
    for name in ("equal2000", "v7-magronp"):
        code, _, err = call(capsys, "bands", name, "--sample-rate", "8000")
        assert code == 2 and err.count("\n") == 1
    (tmp_path / "own.json").write_text("[500, 4000]")
    code, out, _ = call(capsys, "bands", tmp_path / "own.json")
    assert code == 0 and len(out.splitlines()) == 4


def test_models_lists_presets_and_published_weights(capsys):
    from bsrnn import models
    from bsrnn.models.zoo import registry

    code, out, _ = call(capsys, "models")
    names, embedded, weights = (part.splitlines() for part in out.split("\n\n"))
    assert code == 0 and [line.split()[0] for line in names[1:]] == [*models.presets()]
    assert [line.split()[0] for line in embedded[1:]] == [*registry.EMBEDDED]
    assert [line.split()[0] for line in weights[1:]] == [
        row["name"] for row in registry.passports().values() if row["loads"] == "name"
    ]


def test_published_weights_by_licence_and_task(capsys):
    from bsrnn.models.zoo import registry

    code, out, _ = call(capsys, "models", "--licence", "permissive")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == [
        "weights", "mel-roformer-kim-vocals",
    ]  # fmt: skip
    code, out, _ = call(capsys, "models", "--task", "cinematic", "--licence", "CC-BY-SA-4.0")
    assert code == 0 and len(out.splitlines()) == 8 and "bandit-v2-eng" in out
    unknown = registry.listing("unknown")
    assert unknown and {row["weight_licence"] for row in unknown} == {"", "not stated"}
    code, out, _ = call(capsys, "models", "obsrnn")
    passport = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0 and passport["score_db"] == "9.07" and passport["saw_test"] == "no"
    assert passport["url"].startswith("https://") and len(passport["checksum"]) == 32
    code, out, _ = call(capsys, "models", "music", "--card")
    assert code == 0 and "licence of the weights: research and teaching only" in out
    for words, hint in [
        (["--licence", "permisive"], "did you mean permissive"),
        (["--task", "cinema"], "did you mean cinematic"),
        (["obsrn"], "did you mean obsrnn"),
        (["paper"], "a preset, a network without weights"),
    ]:
        code, _, err = call(capsys, "models", *words)
        assert code == 2 and hint in err and err.count("\n") == 1


def test_train_separate_evaluate(capsys, songs, tmp_path):
    words = ["train", "tiny", "--dataset", songs, "--stems", "vocals,drums", "--out", tmp_path]
    options = ["--steps", "2", "-p", "batch", "1", "-p", "lr", "1e-3", "-p", "features", "8"]
    code, out, err = call(capsys, *words, *options)
    assert code == 0, err
    card = json.loads((tmp_path / "card.json").read_text())
    assert '"lr": 0.001' in json.dumps(card) and '"features": 8' in json.dumps(card)
    code, out, err = call(capsys, *words, *options, "--resume")
    assert code == 0, err
    (song,) = songs.glob("test/*/mixture.wav")
    best = tmp_path / "best.safetensors"
    code, out, err = call(capsys, "separate", song, "--model", best, "--out", tmp_path / "stems")
    assert code == 0, err
    assert [line.rpartition("/")[2] for line in out.splitlines()] == ["vocals.wav", "drums.wav"]
    words = ["--model", best, "--out", tmp_path / "fast", "--precision", "bf16"]
    code, faster, err = call(capsys, "separate", song, *words)
    assert code == 0, err
    vocals, again = (soundfile.read(text.splitlines()[0])[0] for text in (out, faster))
    assert 30 < benchmark.agreement_db(vocals, again) < 80
    code, out, err = call(
        capsys, "evaluate", best, "--dataset", songs, "--out", tmp_path / "report"
    )
    assert code == 0, err
    assert "mixture" in out and "silence" in out
    page = (tmp_path / "report" / "report.html").read_text()
    assert "toy data: direction only" in page
    for words in ("Protocol", "ideal ratio mask", "Worst vocals", "<audio", 'alt="'):
        assert words in page, words
    assert "http://" not in page and "https://" not in page


def test_doctor_works_where_the_package_itself_is_not_installed(capsys, monkeypatch):
    """As after `pip install -r requirements.txt` in a checkout, the README's first command."""

    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", unknown)
    version = importlib.metadata.version
    monkeypatch.setattr(
        "importlib.metadata.version",
        lambda name: unknown(name) if name == "tqdm" else version(name),
    )
    code, out, _ = call(capsys, "doctor")
    assert code == 1 and out.count("wrong   ") == 1
    assert re.search(r"wrong +tqdm - .*: not installed\n", out)


def test_doctor_names_what_is_missing_and_the_fix(capsys, monkeypatch):

    code, out, _ = call(capsys, "doctor")
    assert code == 0 and "wrong  " not in out
    real = importlib.metadata.version

    def version(name):
        if name == "papermill":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "lightning" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    code, out, _ = call(capsys, "doctor")
    assert code == 1
    for words in ("papermill - .*: not installed", "lightning 0.1 .*: outside", "ffprobe is not"):
        assert re.search(words, out)
    (fix,) = re.findall("fix all:  (.*)", out)
    assert "chromium ffmpeg && " in fix and "-m pip install" in fix
    assert " papermill==2" in fix and " lightning==2" in fix and "torch" not in fix


def test_doctor_repairs_a_pair_that_does_not_import(capsys, monkeypatch):
    """torch 2.11.0 with torchaudio 2.11.1: both lie in their ranges, and the import fails."""
    here = {"torch": "2.11.0", "torchaudio": "2.11.1"}
    real = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: here.get(name) or real(name))
    symbol = "OSError: undefined symbol: torch_exception_get_what_without_backtrace"
    failure = subprocess.CompletedProcess([], 1, "", f"Traceback\n{symbol}\n")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: failure)
    code, out, _ = call(capsys, "doctor")
    assert code == 1
    assert f"torch 2.11.0 and torchaudio 2.11.1 do not import together: {symbol}" in out
    (fix,) = re.findall("fix all:  .*(-m pip .*)", out)
    pins = dict(re.findall(r"(\w+)==([\d.]+)", fix))
    assert pins.keys() == here.keys() and pins != here
    constraints = (ROOT / ".ci/constraints.txt").read_text()
    assert all(f"\n{name}=={version}\n" in constraints for name, version in pins.items())


def test_course_run_and_check_report_and_exit(capsys, tmp_path, write_notebook, monkeypatch):
    """From another working directory, with one lesson that fails."""
    parameters = ("parameters", "seed: int = 0  # x\nout_dir: str = ''  # where")
    check = "assert seed == 5 and out_dir.endswith('01_good')"
    good = write_notebook(tmp_path / "01_good.ipynb", [parameters, ("check", check)])
    bad = write_notebook(tmp_path / "02_bad.ipynb", [parameters, ("check", "assert False, 'no'")])
    monkeypatch.chdir("/")
    words = ["course", "run", good, bad, "-p", "seed", "5", "--out", tmp_path / "out"]
    code, out, err = call(capsys, *words)
    assert code == 1 and err.startswith("bsrnn: failed: 02_bad")
    first, second, last = out.splitlines()
    assert re.fullmatch(r"ok    01_good  \d+ s", first)
    assert re.fullmatch(r"FAIL  02_bad  cell 2 \(cell-1\): AssertionError: no  \d+ s", second)
    assert last.startswith("1 of 2 lessons ran in")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "01_good.html", "01_good.ipynb", "02_bad.html", "02_bad.ipynb",
    ]  # fmt: skip
    code, out, err = call(capsys, "course", "check", good)
    assert code == 1 and "01_good: " in out and "problems in 1 lessons" in err


def test_ctrl_c_is_one_line_and_leaves_no_kernel(tmp_path, write_notebook):
    marker = tmp_path / "kernel"
    code = f"import os, time\nopen({str(marker)!r}, 'w').write(str(os.getpid()))\ntime.sleep(300)"
    slow = write_notebook(tmp_path / "01_slow.ipynb", [("", code)])
    words = [*MODULE, "course", "run", str(slow), "--out", str(tmp_path / "out")]
    run = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    _wait(lambda: marker.exists() and marker.read_text())
    time.sleep(0.55)  # when nbclient looks after its kernel: its task saw the end in 4 of 14 runs
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130 and err == "bsrnn: interrupted\n"
    _wait(lambda: not _alive(int(marker.read_text())))


def _wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_output_into_a_closed_pipe_is_quiet():
    words = f"{sys.executable} -m bsrnn bands | head -1"
    done = subprocess.run(words, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("v1") and done.stderr == ""


def test_a_package_built_for_another_torch_names_both_versions_and_the_repair(
    tmp_path, monkeypatch
):
    """As torchaudio, where Hybrid Demucs asks for it."""
    (tmp_path / "torchaudio").mkdir()
    reason = "libtorchaudio.so: undefined symbol: torch_exception_get_what_without_backtrace"
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise OSError({reason!r})")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError) as caught:
        complexity.separator("Hybrid Demucs", "")
    told = str(caught.value)
    assert "does not import with torch 2" in told and reason in told and "\n" not in told
    assert re.search(r"torchaudio 2[\d.]+ .* -m pip install .* torch==2.* torchaudio==2", told)


def test_what_of_a_data_set_is_not_used_is_one_line(tmp_path, capsys):
    from bsrnn import audio

    for song in ("one", "two"):
        for stem in ("a", "b"):
            path = tmp_path / "root" / song / f"{stem}.wav"
            audio.write(path, np.zeros((1, 800), np.float32), 8000)
    (tmp_path / "root" / "three").mkdir()
    code, out, error = call(capsys, "data", "check", str(tmp_path / "root"))
    assert code == 1 and "three: no sound in it" in out
    assert error.count("\n") == 1 and error.startswith("bsrnn: ") and "not used: three" in error
