"""Files that lie about what they hold: one line, no gigabytes, nothing built before it is counted.

Many examples of the fuzzing:
    BSRNN_EXAMPLES=10000 python -m pytest --timeout 0 tests/test_damaged_checkpoints.py -k anyhow
"""

import functools
import json
import os
import pickle
import struct
import tempfile
import zipfile

import pytest
import torch
from golden_fill import GOLDEN, Fixture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import bsrnn
from bsrnn import models
from bsrnn.common import DataError, UsageError
from bsrnn.models.zoo import checkpoints

EXAMPLES = int(os.environ.get("BSRNN_EXAMPLES", "40"))
MOST_BYTES = 2**27  # that a network of a few kilobytes may ask for at a time


@pytest.fixture(autouse=True)
def little_memory():
    """No tensor of more than MOST_BYTES is made during the test."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


SMALL = models.presets()["tiny"].replace(features=4, hidden=4, mask_hidden=4, scheme="equal3")


@functools.lru_cache
def whole():
    """(weights, metadata) of a small checkpoint of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = models.save(models.build(SMALL), f"{folder}/small.safetensors", {"name": "small"})
        with safe_open(path, "pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata()


def edited(path, **metadata):
    weights, known = whole()
    save_file(weights, path, {**known, **metadata})
    return path


def settings_with(changes: dict) -> str:
    """The metadata `configs` with values put in by dotted name."""
    values = json.loads(SMALL.to_json())
    for name, value in changes.items():
        *groups, last = name.split(".")
        functools.reduce(dict.__getitem__, groups, values)[last] = value
    return json.dumps([json.dumps(values)])


D3NET = models.D3NetConfig(("vocals",)).to_json()
EDITED = {  # what somebody wrote into the metadata -> words of the answer
    "hidden 300000": ({"configs": settings_with({"mask.hidden": 300000})}, "holds .* numbers"),
    "n_fft": ({"configs": settings_with({"stft.n_fft": 10**9})}, "n_fft is 1000000000"),
    "repeats": ({"configs": settings_with({"repeats": 10**6})}, "repeats is 1000000"),
    "layers": ({"configs": settings_with({"mask.hidden_layers": 10**9})}, "hidden_layers is"),
    "features": ({"configs": settings_with({"features": 4096})}, "holds .* numbers"),
    "bands": ({"configs": settings_with({"scheme": "musical99999999"})}, "at most 4096 bands"),
    "own bands": ({"configs": settings_with({"scheme": json.dumps(
        {"name": "x", "ranges": [[0, 5 * 10**8]], "sample_rate": 44100, "n_fft": 10**9 - 2}
    )})}, "n_fft is 999999998"),
    "stems": ({"configs": settings_with({"stems": [str(n) for n in range(9999)]})}, "numbers"),
    "a dot": ({"configs": settings_with({"stems": ["a.b"]})}, "names without a dot"),
    "text": ({"configs": settings_with({"features": "many"})}, "features is 'many'"),
    "none": ({"configs": settings_with({"stft": None})}, "stft is None"),
    "list": ({"configs": settings_with({"block": []})}, "block is"),
    "unknown": ({"configs": settings_with({"size": 3})}, "unknown field of ModelConfig 'size'"),
    "no kind": ({"configs": settings_with({"block": {"rnn": "gru"}})}, "damaged.*KeyError"),
    "null": ({"configs": "null"}, "damaged"),
    "five": ({"configs": "5"}, "damaged"),
    "empty": ({"configs": "[]"}, "list of settings"),
    "list of null": ({"configs": "[null]"}, "damaged"),
    "list of [null]": ({"configs": '["null"]'}, "settings by name"),
    "no JSON": ({"configs": "{"}, "damaged"),
    "deep": ({"configs": "[" * 100_000}, "damaged"),
    "passport": ({"passport": "[]"}, "an object as `passport`"),
    "d3net": ({"configs": json.dumps([D3NET])}, "numbers|convolutions"),
    "two": ({"kind": "bag", "configs": json.dumps([SMALL.to_json()] * 2)}, "numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITED)
def test_edited_metadata_of_our_own_is_one_line(case, tmp_path):
    metadata, words = EDITED[case]
    with pytest.raises(UsageError, match=words) as caught:
        bsrnn.load(edited(tmp_path / "own.safetensors", **metadata))
    assert "own.safetensors" in str(caught.value) and "\n" not in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**12) | st.floats() | st.text(max_size=9)
    | st.sampled_from(["2N", "group", "lstm", "v7", "mel64", "rms", "frames", "joint", "roformer"]),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=9), x, max_size=3),
    max_leaves=6,
)  # fmt: skip
FIELDS = sorted(bsrnn.settings.settings(SMALL)) + ["new", "block.kind", "scheme"]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=3))
def test_metadata_edited_anyhow_loads_or_is_refused(tmp_path, changes):
    try:
        text = settings_with(dict(sorted(changes.items(), reverse=True)))
    except (TypeError, KeyError):  # a group was overwritten before its field
        return
    path = edited(tmp_path / "own.safetensors", configs=text)
    try:
        separator = bsrnn.load(path)
    except UsageError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert sum(x.numel() for x in separator.parameters()) < 10**5


# ---- Files of others -----------------------------------------------------------------------------


def legacy(path, count: int, held: int):
    """A torch file from before zip that declares `count` numbers and holds `held`."""
    torch.save({"w": torch.zeros(12)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes().replace(b"K\x0cN", b"J" + struct.pack("<i", count) + b"N", 1)
    assert struct.pack("<i", count) in data
    path.write_bytes(data[: len(data) - 4 * (12 - held)])
    return path


def squeezed(path):
    torch.save({"w": torch.zeros(10**5)}, path)
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in parts.items():
            new.writestr(name, content)
    return path


def stretched(path):
    torch.save({"w": torch.zeros(1).expand(10**9)}, path)
    return path


def yaml_beside(text: str):
    def write(path):
        names = ("band_split.to_features.0.0.gamma", "final_norm.gamma")
        torch.save({name: torch.zeros(4) for name in names}, path)
        path.with_suffix(".yaml").write_text(text)
        return path

    return write


def h5(path, **how):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        if "link" in how:
            file["vocals"] = h5py.ExternalLink("other.h5", "/vocals")
        else:
            file.create_dataset("vocals/in_offset", dtype=how.pop("dtype", "f4"), **how)
    return path


FOREIGN = {  # a file -> its maker, words of the answer
    "old.pt": (lambda path: legacy(path, 10**9, 12), "declares 4000000000 bytes of weights"),
    "short.pt": (lambda path: legacy(path, 12, 5), "incomplete|not a readable"),
    "squeezed.ckpt": (squeezed, "compressed weights: save it again"),
    "stretched.ckpt": (stretched, "a tensor of shape .1000000000,. in 1 numbers"),
    "number.pt": (lambda p: p.write_bytes(pickle.dumps(5)) and p, "not a readable|plain torch"),
    "null.ckpt": (yaml_beside("null"), "null.yaml: holds NoneType, not settings by name"),
    "five.ckpt": (yaml_beside("5"), "five.yaml: holds int, not settings"),
    "list.ckpt": (yaml_beside("[]"), "list.yaml: holds list, not settings"),
    "deep.ckpt": (yaml_beside("[" * 20000), "deep.yaml: not a plain YAML"),
    "date.ckpt": (yaml_beside("a: 2024-13-45"), "date.yaml: not a plain YAML"),
    "model.ckpt": (yaml_beside("model: [1, 2]"), "model.ckpt: .*damaged"),
    "external.h5": (
        lambda path: h5(path, shape=(4,), external=[("/etc/passwd", 0, 16)]),
        "external.h5: /vocals/in_offset lies in another file",
    ),
    "linked.h5": (lambda path: h5(path, link=True), "vocals lies in another file"),
    "huge.h5": (
        lambda path: h5(path, shape=(1500, 10**6), chunks=(1, 1000)),
        "declares more numbers than it holds",
    ),
    "text.h5": (lambda path: h5(path, shape=(1,), dtype="S9"), "holds no numbers"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_declares_what_it_does_not_hold_is_one_line(name, tmp_path):
    make, words = FOREIGN[name]
    with pytest.raises((DataError, UsageError), match=words) as caught:
        bsrnn.load(make(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_settings_beside_cannot_ask_for_more_than_the_weights(tmp_path):
    fixture = Fixture(GOLDEN / "magronp_vocals.npz")
    torch.save({"state_dict": fixture.state}, tmp_path / "vocals.ckpt")
    (tmp_path / "vocals.yaml").write_text("feature_dim: 4096\n")
    with pytest.raises(DataError, match=r"vocals.ckpt: .*numbers where its settings want"):
        bsrnn.load(tmp_path / "vocals.ckpt")


def test_an_old_file_gives_the_weights_it_holds(tmp_path):
    state = {"w": torch.randn(3, 4), "half": torch.randn(5).half(), "n": torch.arange(4)}
    state["tied"] = state["w"][1:]
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    read = checkpoints.read(tmp_path / "old.pt")[0]
    assert all(torch.equal(read[name], state[name]) for name in state)
