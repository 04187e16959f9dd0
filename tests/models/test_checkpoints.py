"""Checkpoint files of others: read without running their code, understood from their shapes."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, Fixture, draw

import bsrnn
from bsrnn import models
from bsrnn.common import DataError, UsageError
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


NO_CHECKPOINTS = [  # (file, what is in it, words of the answer)
    ("empty.pt", b"", "not a readable|no plain torch file"),
    ("song.ckpt", b"RIFF" + bytes(100), "not a readable|no plain torch file"),
    ("bad.safetensors", b"{}", "not a complete safetensors file"),
    ("page.ckpt", b"<!DOCTYPE html><title>Google Drive - Virus scan warning</title>", "a web page"),
    ("missing.ckpt", b"  <HTML><body>404", "a web page"),
    ("pointer.ckpt", b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n", "Git LFS"),
    ("none.pt", {"epoch": 3}, "holds no weights, only epoch"),
    ("other.pt", {"encoder.weight": torch.zeros(3)}, "no known network has weights named encoder"),
]


@pytest.mark.parametrize(("name", "content", "words"), NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_one_line(tmp_path, name, content, words):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(DataError, match=words) as caught:
        models.load(path)
    assert "\n" not in str(caught.value)


def test_half_a_file_and_none_at_all(tmp_path):
    whole = (GOLDEN / "bandit_lightning_vox7.ckpt").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a readable|no plain torch file"):
        models.load(tmp_path / "half.ckpt")
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


# ---- what people's training code wraps around weights


class Mark:
    """A class of somebody's training code; reading the file must not need it."""

    def __init__(self):
        self.words = "kept for nobody"


def wrapped(state) -> dict:
    """How somebody's code saves `state` -> the content of its file."""
    import argparse
    import collections
    import datetime
    import functools

    def named(prefix):
        return {f"{prefix}{name}": x for name, x in state.items()}

    average = {f"ema_model.{name}": 2 * x for name, x in state.items()}
    return {
        "plain": state,
        "compile of DDP": named("_orig_mod.module."),
        "DDP of compile": named("module._orig_mod."),
        "net": named("net."),
        "model of module": {"state_dict": named("model.module.")},
        "nested": {"epoch": 3, "checkpoint": {"model": {"weights": state}}},
        "deep": {"a": {"b": {"c": {"state": state}}}},
        "averages beside": named("model.") | average,
        "averages only": {f"ema_model.{name}": x for name, x in state.items()},
        "optimizer": {"model": state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(9**6)}}}},
        "loss window": named("model.") | {"loss_fn.window": torch.ones(512)},
        "counters": state | {"n_averaged": torch.tensor(3), "step": torch.tensor(7)},
        "numpy": {"state_dict": state, "best": np.float64(3.5), "all": np.arange(3)},
        "namespace": {"state_dict": state, "args": argparse.Namespace(lr=1e-3, out="x")},
        "path": {
            "state_dict": state,
            "out": Path("runs"),
            "day": datetime.date(2026, 1, 1),
        },
        "functional": {"state_dict": state, "loss": torch.nn.functional.l1_loss},
        "partial": {"state_dict": state, "loss": functools.partial(torch.sub, alpha=2)},
        "defaultdict": {"state_dict": collections.defaultdict(list, state)},
        "own class": {"state_dict": state, "config": Mark(), "marks": [Mark(), {1: Mark()}]},
        "parameters": {name: torch.nn.Parameter(x) for name, x in state.items()},
    }


@pytest.mark.parametrize("how", wrapped({}))
def test_weights_are_found_however_they_were_wrapped(tmp_path, how):
    from bsrnn.models.zoo import checkpoints

    generator = torch.Generator().manual_seed(0)
    names = ("band_split.norm.weight", "separator.0.rnn.weight", "mask.0.bias")
    state = {name: torch.randn(4, 3, generator=generator) for name in names}
    torch.save(wrapped(state)[how], tmp_path / "model.ckpt")
    read = checkpoints.read(tmp_path / "model.ckpt")[0]
    assert list(read) == list(names)
    assert all(torch.equal(read[name], state[name]) for name in names)


def test_a_file_cannot_declare_more_numbers_than_it_holds(tmp_path):
    """The pickle says 10^9 numbers, the storage holds 12: no gigabytes are taken."""
    import zipfile

    torch.save({"w": torch.zeros(12)}, tmp_path / "small.pt")
    with (
        zipfile.ZipFile(tmp_path / "small.pt") as old,
        zipfile.ZipFile(tmp_path / "big.pt", "w") as new,
    ):
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                data = data.replace(b"K\x0ct", b"J\x00\xca\x9a\x3bt", 1)
                assert b"J\x00\xca\x9a\x3b" in data
            new.writestr(entry.filename, data)
    with pytest.raises(DataError, match="declares .* bytes of weights where it holds 48"):
        bsrnn.load(tmp_path / "big.pt")


@pytest.mark.parametrize("name", ["model.yaml.txt", "config (1).yaml", "config_model.yaml"])
def test_the_only_settings_beside_a_file_are_used(tmp_path, name):
    from bsrnn.models.zoo import checkpoints

    (tmp_path / name).write_text("model:\n  dim: 8\n")
    assert checkpoints.settings_beside(tmp_path / "model.ckpt") == {"model": {"dim": 8}}
    (tmp_path / "other.yaml").write_text("model:\n  dim: 9\n")
    assert checkpoints.settings_beside(tmp_path / "model.ckpt") == {}, "two: nobody can tell"
