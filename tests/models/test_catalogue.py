"""Every name of the catalogue through the path of a download, and the doors for addresses."""

import functools
import hashlib
import http.server
import io
import re
import threading
import zipfile

import pytest
import torch

import bsrnn
from bsrnn import cli, models
from bsrnn.common import DataError, UsageError
from bsrnn.models.zoo import downloads, registry
from bsrnn.models.zoo.baselines import OpenUnmix
from bsrnn.models.zoo.families import MAGRONP_BANDS
from bsrnn.models.zoo.published import to_published

ROWS = registry.passports()
LOADS = [name for name, row in ROWS.items() if row["loads"] == "name"]
# The heads of files that number several, in the order of the publishers' settings, written anew.
ORDER = {
    "bs-roformer-musdb-msst": "drums bass other vocals",
    "bs-roformer-sw": "bass drums other vocals guitar piano",
    "bs-roformer-sw-fp16": "bass drums other vocals guitar piano",
    "bs-roformer-gilliaaan-drumsother-duality-v1": "drums other",
    "mel-roformer-gilliaaan-monostereo-duality-beta2": "center side",
    "mel-roformer-gilliaaan-monostereo-duality-beta": "center side",
    "mel-roformer-becruily-deux": "vocals instrumental",
    "mel-roformer-becruily-karaoke": "lead_vocals back_vocals",
    "mel-roformer-amane-4-stems-large": "drums bass other vocals",
    "mel-roformer-amane-small": "instrumental vocals",
    "bs-roformer-aufr33-male-female-beta": "male female",
    "bs-roformer-sucial-male-female": "male female",
    "mel-roformer-sucial-dereverb-echo-fused": "dry other",
    "mel-roformer-unwa-duality-v2": "vocals instrumental",
    "mel-roformer-unwa-duality-v1": "vocals instrumental",
}


# ---- A server that can misbehave -----------------------------------------------------------------


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files` (path -> bytes); `asked` keeps (path, first byte); `fault` says how it fails:
    "breaks" off after half once, "breaks always" at once, declares "more" or "less" than it sends,
    sends a "page", "page as file", "no ranges", "another" checksum in the header."""

    files, asked, fault = {}, [], ""

    def do_GET(self):
        content, fault = self.files.get(self.path), type(self).fault
        begin = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
        self.asked.append((self.path, begin))
        if content is None:
            self.send_error(404)
            return
        if "page" in fault:
            content, begin = b"<!DOCTYPE html><title>quota exceeded</title>", 0
        begin = 0 if fault == "no ranges" else begin
        if begin >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        body = content[begin:]
        kind = "text/html" if fault == "page" else "application/octet-stream"
        sent = {"breaks": len(body) // 2, "breaks always": 0, "less": len(body) - 9}
        sent = sent.get(fault, len(body))
        self.send_response(206 if begin else 200)
        self.send_header("Content-Type", kind)
        declared = {"more": len(body) + 9, "less": len(body) - 9}
        self.send_header("Content-Length", str(declared.get(fault, len(body))))
        if fault == "another":
            self.send_header("X-Linked-Etag", f'"{"0" * 64}"')
        self.end_headers()
        self.wfile.write(body[:sent])
        if fault == "breaks":
            type(self).fault = ""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def base():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    Server.files, Server.asked, Server.fault = {}, [], ""
    monkeypatch.setenv("BSRNN_WEIGHTS", str(tmp_path / "cache"))
    return tmp_path / "cache"


# ---- Made-up weights -----------------------------------------------------------------------------

SMALL = {"features": 16, "repeats": 1, "hidden": 16, "mask_hidden": 16}
ROFORMER = {
    "features": 8, "repeats": 1, "mask_hidden": 32, "transformer_heads": 2, "head_features": 4,
}  # fmt: skip


def state_of(config, family):
    return to_published(models.BandSplitSeparator(config), family)


@functools.lru_cache
def roformer(family: str, heads: int):
    """A file with numbered heads: the last biases of head n are n + 1."""
    stems = tuple(f"head{n}" for n in range(heads))
    scheme = {"bs-roformer": "equal8", "mel-roformer": "mel-roformer8"}[family]
    config = models.presets()[family].replace(stems=stems, scheme=scheme, **ROFORMER)
    state = state_of(config, family)
    for name, tensor in state.items():
        last = f"to_freqs.0.0.{2 * config.mask.hidden_layers}.bias"
        if name.endswith(last):
            tensor.fill_(int(name.split(".")[1]) + 1)
    return saved(state)


@functools.lru_cache
def made(family: str, stems: tuple, archive: bool):
    """A small file, or an archive of files, as `family` publishes them."""
    presets = models.presets()
    if family == "magronp":
        small = SMALL | {"scheme": MAGRONP_BANDS["joint" if len(stems) > 1 else stems[0]]}
        state = state_of(presets["magronp"].replace(stems=stems, **small), family)
        return saved({"state_dict": state, "hyper_parameters": {"targets": list(stems)}})
    if family == "open-unmix":
        return saved(OpenUnmix(hidden=8, bins=65, bins_in=40, layers=1).state_dict())
    if family == "hdemucs":
        from test_baselines import small_demucs

        return saved(small_demucs().network.state_dict())
    name = {"bandit-dedicated": "bandit-v7"}.get(family, family)
    scheme = {"scheme": "musical32"} if presets[name].scheme == "musical64" else {}
    config = presets[name].replace(stems=stems, **SMALL, **scheme)
    separator = models.BandSplitSeparator(config, {"family": family})
    if family == "bandit-dedicated":
        separator = models.SeparatorBag([separator])
    return saved({"state_dict": to_published(separator)})


def saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def published(row) -> bytes:
    stems = tuple(row["stems"].split(";"))
    if row["family"].endswith("roformer"):
        return roformer(row["family"], len(row["heads"].split(";")))
    if not row["file"].endswith(".zip"):
        return made(row["family"], stems, False)
    one_each = row["name"] != "obsrnn-simo"
    files = {f"{s}.ckpt": (s,) for s in stems} if one_each else {"separator.ckpt": stems}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, inside in files.items():
            archive.writestr(f"weights/{name}", made(row["family"], inside, True))
        archive.writestr("weights/README.txt", "not a checkpoint")
    return file.getvalue()


def offer(monkeypatch, base, row, **changes):
    """`row` of the catalogue with its addresses on the local server, which has made-up weights."""
    content = published(row)
    row = {**row, "url": f"{base}/{row['file']}", "bytes": str(len(content))}
    if row["checksum_kind"].split()[:1] in (["md5"], ["sha1"], ["sha256"]):
        kind, length = row["checksum_kind"].split()[0], len(row["checksum"])
        row["checksum"] = hashlib.new(kind, content).hexdigest()[:length]
    Server.files[f"/{row['file']}"] = content
    if row["settings"].startswith("http"):
        Server.files["/settings.yaml"] = SETTINGS.format(
            instruments=row["heads"].split(";")
        ).encode()
        row["settings"] = f"{base}/settings.yaml"
    row |= changes
    monkeypatch.setattr(registry, "passports", lambda: {row["name"]: row})
    monkeypatch.setattr("torchaudio.models.hdemucs_high", lambda _: None, raising=False)
    return row, content


SETTINGS = """audio: {{sample_rate: 44100}}
model: {{stft_hop_length: 441, flash_attn: true}}
training: {{instruments: {instruments}, target_instrument: null}}
"""


@pytest.mark.parametrize("name", LOADS)
def test_every_name_loads_with_the_publishers_stems(name, base, monkeypatch):
    row, content = offer(monkeypatch, base, ROWS[name])
    if row["family"] == "hdemucs":
        from test_baselines import small_demucs

        monkeypatch.setattr("torchaudio.models.hdemucs_high", lambda _: small_demucs().network)
    if row["checksum"] and row["checksum_kind"] != "hash in the file name":
        Server.files[f"/{row['file']}"] = content[:-1] + bytes([content[-1] ^ 1])
        with pytest.raises(DataError, match="checksum differs"):
            bsrnn.load(name)
        Server.files[f"/{row['file']}"] = content
    separator = bsrnn.load(name.upper())
    assert separator.passport["source"] == row["source"]
    if not row["heads"]:
        assert set(separator.stems) == set(row["stems"].split(";"))
        return
    order = ORDER.get(name, row["stems"]).split()
    assert list(separator.stems) == order
    for number, stem in enumerate(order):
        assert (separator.masks[stem].out[0].bias == number + 1).all(), f"{stem}: head {number}"


def test_the_table_of_orders_is_of_the_catalogue():
    several = {name for name in LOADS if ";" in ROWS[name]["heads"]}
    assert several == set(ORDER)
    for name, row in ROWS.items():
        assert row["loads"] in ("name", "file", "reference"), name
        assert bool(row["heads"]) == bool(row["heads_source"]), name
        assert not row["heads"] or set(row["heads"].split(";")) == set(row["stems"].split(";"))
        assert row["loads"] != "name" or registry.address(row).startswith("https://"), name


@pytest.mark.parametrize("name", [name for name in ROWS if name not in LOADS])
def test_what_does_not_load_by_name_says_why_and_downloads_nothing(name):
    with pytest.raises(UsageError, match="for reference only|must be got by hand"):
        bsrnn.load(name)
    assert not Server.asked


def test_settings_in_another_order_than_the_catalogue_are_refused(base, monkeypatch):
    row, _ = offer(monkeypatch, base, ROWS["mel-roformer-becruily-deux"])
    other = SETTINGS.format(instruments=["Instrumental", "Vocals"]).encode()
    Server.files["/settings.yaml"] = other
    with pytest.raises(DataError, match="orders? its heads .*instrumental.*, the catalogue"):
        bsrnn.load(row["name"])
    assert [path for path, _ in Server.asked] == ["/settings.yaml"]


# ---- Doors ---------------------------------------------------------------------------------------


@pytest.fixture
def hub(base, monkeypatch):
    """A repository of the hub with a checkpoint and its settings."""
    monkeypatch.setenv("HF_ENDPOINT", base)
    content = roformer("bs-roformer", 2)
    yaml = SETTINGS.format(instruments=["Vocals", "Other"]).encode()
    place = "/me/rofo/resolve/main"
    Server.files = {f"{place}/a/model.ckpt": content, f"{place}/a/config.yaml": yaml}
    return content


def stored(cache):
    return [p for p in cache.rglob("*") if p.suffix in (*downloads.SUFFIXES, ".zip")]


def test_an_address_loads_with_the_settings_beside_it(hub, base, cache):
    separator = bsrnn.load("hf://me/rofo/a/model.ckpt")
    assert separator.stems == ("vocals", "other") and separator.config.stft.hop == 441
    assert separator.passport["checksum"] == hashlib.sha256(hub).hexdigest()
    asked = len(Server.asked)
    again = bsrnn.load("hf://me/rofo@main/a/model.ckpt")
    assert len(Server.asked) == asked and again.passport == separator.passport
    card = registry.card("rofo", separator.passport, separator.stems)
    assert card.startswith("# rofo\n") and "licence of the weights: not known" in card
    (file,) = stored(cache)
    file.write_bytes(hub[:-5])
    with pytest.raises(DataError, match="not as it came: delete it"):
        bsrnn.load("hf://me/rofo/a/model.ckpt")


def test_settings_may_have_an_address_or_lie_here(hub, base, tmp_path):
    del Server.files["/me/rofo/resolve/main/a/config.yaml"]
    url = f"{base}/me/rofo/resolve/main/a/model.ckpt?download=true"
    Server.files["/me/rofo/resolve/main/a/model.ckpt?download=true"] = hub
    with pytest.raises(UsageError, match="does not say what it separates|does not tell"):
        bsrnn.load(url)
    text = SETTINGS.format(instruments=["a", "b"])
    Server.files["/b.yaml"] = text.encode()
    (tmp_path / "c.yaml").write_text(text.replace("441", "512"))
    assert bsrnn.load(url, config=f"{base}/b.yaml").stems == ("a", "b")
    assert bsrnn.load(url, config=tmp_path / "c.yaml").config.stft.hop == 512


def test_what_is_not_built_is_refused_before_its_weights_come(hub):
    place = "/me/rofo/resolve/main/a/config.yaml"
    Server.files[place] = b"model: {num_bands: 60, dim: 8, num_residual_streams: 4}\n"
    with pytest.raises(UsageError, match="num_residual_streams: 4 of its settings is not built"):
        bsrnn.load("hf://me/rofo/a/model.ckpt")
    assert not any(path.endswith(".ckpt") for path, _ in Server.asked)


FAULTS = {  # how the server fails -> what is said at the first try; "": it works all the same
    "breaks": "", "no ranges": "", "more": "",
    "breaks always": "cannot download .*.*: check the address and the network",
    "less": "model.ckpt is incomplete: try again",
    "page": "is a web page, not the file",
    "page as file": "is a web page, not the file",
    "another": "size|checksum differs",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_download_is_whole_or_refused(fault, base, cache):
    content = roformer("bs-roformer", 1)
    Server.files["/model.ckpt"] = content
    target, Server.fault = cache / "model.ckpt", fault
    if FAULTS[fault]:
        with pytest.raises(DataError, match=FAULTS[fault]) as caught:
            downloads.fetch(f"{base}/model.ckpt", target)
        assert "\n" not in str(caught.value) and not target.exists()
        Server.fault = ""
    assert downloads.fetch(f"{base}/model.ckpt", target).read_bytes() == content
    assert not list(cache.glob("*.part"))


@pytest.mark.parametrize("held, asked", [(1000, [1000]), (10**7, [10**7, 0])])
def test_a_part_of_before_is_gone_on_with_or_begun_anew(held, asked, base, cache):
    content = roformer("bs-roformer", 1)
    cache.mkdir()
    (cache / "model.ckpt.part").write_bytes((content * (held // len(content) + 1))[:held])
    Server.files["/model.ckpt"] = content
    path = downloads.fetch(f"{base}/model.ckpt", cache / "model.ckpt")
    assert path.read_bytes() == content and [begin for _, begin in Server.asked] == asked


def test_an_archive_leaves_nothing_half_unpacked(base, monkeypatch, cache):
    row, content = offer(monkeypatch, base, ROWS["obsrnn"], checksum="", checksum_kind="")
    broken = bytearray(content)
    broken[len(content) // 3] ^= 255  # inside a file of it
    Server.files[f"/{row['file']}"] = bytes(broken)
    with pytest.raises(DataError, match="cannot unpack it .*delete it and try again"):
        bsrnn.load("obsrnn")
    assert not list(cache.rglob("*.ckpt"))


def test_without_a_network_one_line_says_the_way(monkeypatch, base):
    row, _ = offer(monkeypatch, base, ROWS["mel-roformer-kim-vocals"])
    row["url"] = "http://127.0.0.1:9/MelBandRoformer.ckpt"
    with pytest.raises(DataError, match=r"cannot download .* put it at .*MelBandRoformer\.ckpt"):
        bsrnn.load(row["name"])


NO_DOORS = {
    "hf://me/model.ckpt": "write hf://owner/repository/file",
    "https://example.org/page": "name a file that ends in",
    "paper": "a preset, a network without weights: .*build.'paper'.*train paper",
    "PAPER": "a preset, a network without weights",
    "mel-roformer-msst-9.9999": "unknown .*mel-roformer-msst",
}


@pytest.mark.parametrize("name", NO_DOORS)
def test_what_is_no_door_says_the_way(name):
    with pytest.raises(UsageError, match=NO_DOORS[name]):
        bsrnn.load(name)


def test_names_build_without_regard_to_case():
    assert models.build("Tiny").config == models.presets()["tiny"]
    assert models.build("hpss").stems == ("drums", "other")
    assert bsrnn.bands.scheme("V7") == bsrnn.bands.scheme("v7")
    with pytest.raises(UsageError, match="did you mean tiny"):
        models.build("tinyy")


@pytest.mark.parametrize("device", ["cuda:1", "cuda:x", "tpu", "mps:3", "cpu:2"])
def test_a_device_that_is_not_here_is_one_line(device, capsys):
    if device == "cuda:1" and torch.cuda.device_count() > 1:
        pytest.skip("it is here")
    with pytest.raises(UsageError, match=f"no device '{device}' here: use .*cpu"):
        bsrnn.load("hpss", device)
    assert cli.main(["cost", "tiny", "--measure", "--device", device]) == 2
    assert re.fullmatch(r"bsrnn: no device .*\n", capsys.readouterr().err)
