"""Checkpoint files of others: read without running their code, understood from their shapes."""

import hashlib
import http.server
import json
import os
import pickle
import threading
import zipfile

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, Fixture, draw

from bsrnn import models
from bsrnn.common import DataError, UsageError
from bsrnn.models.zoo import registry
from bsrnn.models.zoo.published import from_state_dict

FILES = [  # (file, expected output, arguments)
    ("magronp_lightning_bass.ckpt", "output", {}),
    ("amanteur_lightning_small.ckpt", "output", {}),
    ("amanteur_lightning_small.ckpt", "output_ema", {"average": True}),
    ("amanteur_plain_small.pt", "output", {"stems": ["vocals"], "config": {"hop": 128}}),
    ("bandit_lightning_vox7.ckpt", "output", {}),
]


@pytest.mark.parametrize(("name", "key", "arguments"), FILES)
def test_genuine_files_load_and_give_the_originals_output(name, key, arguments):
    with np.load(GOLDEN / f"{name.split('.')[0]}_expected.npz") as arrays:
        meta, expected = json.loads(str(arrays["meta"])), arrays[key]
    separator = models.load(GOLDEN / name, **arguments)
    assert list(separator.stems) == meta["stems"] and separator.sample_rate == 44100
    assert separator.passport["file"] == name and not separator.training
    mixture = 0.1 * draw(meta["seed"], "mix", meta["input_shape"])
    with torch.inference_mode():
        found = separator(torch.from_numpy(mixture.astype(np.float32))).numpy()[..., ::16]
    error = np.abs(found[..., : expected.shape[-1]] - expected).max() / np.abs(expected).max()
    assert error < meta["tolerance"]["max_abs_error_over_peak"]


class Bomb:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "ran"
    bomb = {"state_dict": {"BN.0.0.weight": torch.zeros(2)}, "x": Bomb(f"touch {mark}")}
    for name, write in [
        ("zip.ckpt", lambda path: torch.save(bomb, path)),
        ("old.pt", lambda path: torch.save(bomb, path, _use_new_zipfile_serialization=False)),
        ("plain.pth", lambda path: path.write_bytes(pickle.dumps(bomb["x"]))),
    ]:
        path = tmp_path / name
        write(path)
        with pytest.raises(DataError, match="refused, because"):
            models.load(path)
        assert not mark.exists()
    with pytest.raises(DataError, match="posix.system|nt.system"):
        models.load(tmp_path / "zip.ckpt")


def test_stand_ins_take_the_place_of_harmless_classes_only(tmp_path):
    """A file that names omegaconf's class, but calls another function through it, gets nowhere."""
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(1)}}, path)
    crafted = (
        b"\x80\x02comegaconf.dictconfig\nDictConfig\n(cbuiltins\neval\nX\x03\x00\x00\x001+1tR."
    )
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(name, crafted if name.endswith("data.pkl") else content)
    with pytest.raises(DataError, match="refused, because it wants to run builtins.eval"):
        models.load(path)


def test_files_that_are_no_checkpoints(tmp_path):
    for name, content, hint in [
        ("empty.pt", b"", "not a readable|no plain torch file"),
        ("song.ckpt", b"RIFF" + bytes(100), "not a readable|no plain torch file"),
        ("bad.safetensors", b"{}", "not a complete safetensors file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=hint):
            models.load(tmp_path / name)
    whole = (GOLDEN / "bandit_lightning_vox7.ckpt").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a readable|no plain torch file"):
        models.load(tmp_path / "half.ckpt")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    with pytest.raises(DataError, match="holds no weights, only epoch"):
        models.load(tmp_path / "none.pt")
    torch.save({"encoder.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(DataError, match="no known network has weights named encoder.weight"):
        models.load(tmp_path / "other.pt")
    with pytest.raises(UsageError, match="no such checkpoint"):
        models.load(tmp_path / "nothing.pt")


def test_a_folder_of_files_is_one_separator(tmp_path):
    for stem in ("bass", "drums"):
        fixture = Fixture(GOLDEN / f"magronp_{stem}.npz")
        torch.save({"state_dict": fixture.state, "epoch": 1}, tmp_path / f"{stem}.ckpt")
    separator = models.load(tmp_path)
    assert separator.stems == ("bass", "drums")
    with torch.inference_mode():
        assert fixture.error(separator(fixture.mixture, ["drums"])) <= fixture.limit
    own = models.save(separator, tmp_path / "own" / "two.safetensors")
    again = models.load(own)
    assert again.stems == separator.stems
    for one, two in zip(separator.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_what_cannot_be_known_is_asked_for():
    with pytest.raises(UsageError, match=r"give stems=\["):
        models.load(GOLDEN / "amanteur_plain_small.pt", config={"hop": 128})
    with pytest.raises(UsageError, match="give config=.'hop'"):
        models.load(GOLDEN / "amanteur_plain_small.pt", stems=["vocals"])


def test_settings_beside_the_file(tmp_path):
    fixture = Fixture(GOLDEN / "roformer" / "bs62_1stem_hop441.npz")
    path = tmp_path / "model.ckpt"
    torch.save({f"module.{name}": tensor.half() for name, tensor in fixture.state.items()}, path)
    with pytest.raises(UsageError, match="does not say what it separates|does not tell stft_hop"):
        models.load(path)
    bands = ", ".join(map(str, fixture.meta["config"]["freqs_per_bands"]))
    (tmp_path / "model.yaml").write_text(
        "audio:\n  sample_rate: 44100\n"
        "model:\n  dim: 16\n  depth: 2\n  stft_hop_length: 441\n  sage_attention: true\n"
        f"  freqs_per_bands: !!python/tuple [{bands}]\n"
        "training:\n  instruments: [vocals, other]\n  target_instrument: vocals\n"
    )
    separator = models.load(path)
    assert separator.stems == ("vocals",) and separator.config.stft.hop == 441
    assert next(separator.parameters()).dtype == torch.float32
    (tmp_path / "model.yaml").write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(DataError, match="not a plain YAML file"):
        models.load(path)


INFERRED = [  # (fixture, what the shapes cannot tell)
    ("magronp_vocals", {}),
    ("magronp_gru", {}),
    ("magronp_obsrnn_drums_gamma", {}),
    ("magronp_simo_subtract_last", {}),
    ("magronp_stereo_naive", {}),
    ("magronp_multihead", {}),
    ("magronp_nfft4096", {}),
    ("magronp_legacy_vocals_opt", {}),
    ("amanteur_v7_stereo", {}),
    ("amanteur_transformer", {}),
    ("amanteur_bass_mono", {}),
    ("sahandevs_generic_mtl4", {}),
    ("sahandevs_v7_reduce_size", {}),
    ("bandit_vox7", {}),
    ("bandit_bark64", {}),
    ("bandit_mel48_realmask", {}),
    ("bandit_musical64_48k", {"fs": 48000}),
    ("bandit_single_musdb_all_stereo", {}),
    ("banditv2_musical48_44k", {"fs": 44100}),
    ("banquet_film", {}),
    ("roformer/bs62_1stem_mask3_skip", {"stft_hop_length": 441, "skip_connection": True}),
    ("roformer/bs30_nfft1024_mono", {"stft_hop_length": 256}),
    ("roformer/mel32_linear1", {"stft_hop_length": 441}),
    ("roformer/bs62_1stem_pope", {"stft_hop_length": 441}),
]


@pytest.mark.parametrize(("name", "told"), INFERRED, ids=[name for name, _ in INFERRED])
def test_shapes_tell_the_settings(name, told):
    fixture = Fixture(GOLDEN / f"{name}.npz")
    stems = fixture.meta["stems"]
    given = from_state_dict(fixture.state, config=fixture.meta["config"], stems=stems)
    found = from_state_dict(fixture.state, config=told, stems=stems)
    for one, two in zip(given.modules(), found.modules(), strict=True):
        if isinstance(one, models.BandSplitSeparator):
            assert two.config.bands.ranges == one.config.bands.ranges
            untold, mask = {"scheme": one.config.scheme}, one.config.mask  # a partition has no name
            if mask.width != "fixed" or not mask.hidden_layers:
                untold["mask_hidden"] = mask.hidden  # not used there
            assert two.config.replace(**untold) == one.config


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves `content`, whole or from a byte on; `asked` keeps what was asked for."""

    content, asked = b"", []

    def do_GET(self):
        begin = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
        self.asked.append(begin)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(self.content) - begin))
        self.end_headers()
        self.wfile.write(self.content[begin:])

    def log_message(self, *args):
        pass


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Weights "toy-bass" that a server on this machine offers as a zip."""
    fixture = Fixture(GOLDEN / "magronp_bass.npz")
    torch.save({"state_dict": fixture.state}, tmp_path / "bass.ckpt")
    with zipfile.ZipFile(tmp_path / "toy.zip", "w") as archive:
        archive.write(tmp_path / "bass.ckpt", "toy/bass.ckpt")
        archive.writestr("toy/README", "not a checkpoint")
    Ranges.content, Ranges.asked = (tmp_path / "toy.zip").read_bytes(), []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    passport = {
        "name": "toy-bass",
        "stems": "bass",
        "url": f"http://127.0.0.1:{server.server_port}/toy.zip",
        "file": "toy.zip",
        "bytes": str(len(Ranges.content)),
        "checksum_kind": "md5",
        "checksum": hashlib.md5(Ranges.content).hexdigest(),
        "weight_licence": "not stated",
    }
    monkeypatch.setenv("BSRNN_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "passports", lambda: {"toy-bass": passport})
    yield passport, fixture
    server.shutdown()


def test_weights_by_name_are_fetched_once_and_resumed(published, tmp_path):
    passport, fixture = published
    part = tmp_path / "cache" / "toy-bass" / "toy.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(Ranges.content[:1000])  # an earlier try
    separator = models.load("toy-bass")
    assert Ranges.asked == [1000] and not part.exists()
    assert separator.stems == ("bass",) and separator.passport["weight_licence"] == "not stated"
    with torch.inference_mode():
        assert fixture.error(separator(fixture.mixture)) <= fixture.limit
    models.load("toy-bass")
    assert Ranges.asked == [1000]


def test_a_wrong_checksum_a_missing_network_and_a_misspelt_name(published, tmp_path):
    passport, _ = published
    passport["checksum"] = "0" * 32
    with pytest.raises(DataError, match="checksum differ"):
        models.load("toy-bass")
    assert not list((tmp_path / "cache").rglob("toy.zip*"))
    passport["url"] = "http://127.0.0.1:9/toy.zip"
    with pytest.raises(DataError, match=r"cannot download .* put it at .*toy\.zip"):
        models.load("toy-bass")
    passport["url"] = "https://drive.google.com/some"
    with pytest.raises(DataError, match="no direct address"):
        models.load("toy-bass")
    with pytest.raises(UsageError, match="did you mean toy-bass"):
        models.load("toy-bas")


def test_every_direct_address_is_whole():
    known = registry.passports()
    for name in ("obsrnn", "bandit-dnr-3s-mus64-l1snr", "mel-roformer-kim-vocals"):
        assert registry.address(known[name]).endswith(known[name]["file"])
    assert set(registry.SETTINGS) <= set(known)
    assert registry.address(known["refined-bsrnn-tiny"]) is None
