"""The BSRNN families: magronp, amanteur with its fork crlandsc, and Refined BSRNN (sahandevs).

What their files call the weights and the settings. Lessons 05 and 06.
"""

from dataclasses import replace
from functools import partial

from bsrnn.audio.stft import StftConfig
from bsrnn.bands import from_regions
from bsrnn.common import UsageError
from bsrnn.models.blocks import (
    AttentionConfig,
    AttentionLSTMBlock,
    ConvBlock,
    DilatedBlock,
    MixedBlock,
    RNNBlock,
    TacConfig,
)
from bsrnn.models.config import ModelConfig
from bsrnn.models.presets import presets
from bsrnn.models.zoo.layouts import (
    TORCH_NORM,
    Family,
    grid_of,
    heads,
    numbered,
    rnn_of,
    scheme_of,
    stems_of,
    widths_of,
)

# ---- magronp: BSRNN, oBSRNN, SIMO, BSCNN, naive stereo; current and older layouts ---------------

MAGRONP_BANDS = {name: f"{name}-magronp" for name in ("joint", "bass", "drums", "other")}
MAGRONP_BANDS = {"vocals": "v7-magronp", **MAGRONP_BANDS}


def magronp_sizes(state) -> dict:
    """The settings that shapes tell, in magronp's words; no target, hop or group number."""
    net = "separator.0.{}_net.{}"
    conv = any(net.format(axis, "main_layer.0.weight") in state for axis in ("time", "band"))
    if conv or any(".in_layer." in name for name in state):
        return {}  # convolutions do not tell units from directions; BSCNN: settings are needed
    head = "maskers.0.mask.0" if "maskers.0.mask.0.1.weight" in state else "mask.0"
    features = state["BN.0.1.weight"].shape[0]
    own = state[net.format("time", "norm.weight")].shape[0]
    channels, n_fft = grid_of(state, "BN.{}.0.weight")
    widths = widths_of(state, "BN.{}.0.weight", 2 * channels)
    scheme, _ = scheme_of(widths, MAGRONP_BANDS.values(), n_fft, (44100,))
    sizes = {
        "feature_dim": features,
        "num_repeat": numbered(state, "separator.{}."),
        "n_heads": features // own,
        "fac_mask": state[f"{head}.1.weight"].shape[0] // features,
        "n_att_head": numbered(state, "separator.0.attn_block.attn_conv_Q_{}."),
        "n_fft": n_fft,
        "n_hop": n_fft // 4,
        "joint_bandsplit": len(widths) == 57,
        "scheme": scheme,
        "stereo": "naive" if channels == 2 else None,
    }
    for axis in ("time", "band"):
        rnn = rnn_of(state, net.format(axis, "main_layer."))
        sizes[f"{axis}_layer"] = rnn["kind"]
        sizes |= {"fac_sep": rnn["units"] // own, "bidirectional": rnn["two"]}
    if sizes["n_att_head"]:
        name = "separator.0.attn_block.attn_conv_Q_0.0.weight"
        sizes["attn_enc_dim"] = state[name].shape[0]
    tac = "separator.0.tac_module.transform"
    if f"{tac}.0.weight" in state:
        sizes["stereo"], sizes["fac_tac"] = "tac", state[f"{tac}.0.weight"].shape[0] // features
        sizes["act_tac"] = "prelu" if f"{tac}.1.weight" in state else "tanh"
    return sizes


def magronp_config(given: dict, state) -> ModelConfig:
    heads = numbered(state, "maskers.{}.") or 1
    targets = stems_of(given, given.get("targets") or given.get("target"), heads)
    cnn = any(".in_layer." in name for name in state)
    older = any(name.startswith("mask.") for name in state)
    joint = given.get("joint_bandsplit") or len(targets) > 1 or (cnn and not older)
    naive = given.get("stereo") == "naive" or (older and "nb_channels" in given)
    time, band = (_magronp_layer(given, axis) for axis in ("time", "band"))
    tac = TacConfig(given.get("act_tac", "tanh"), given.get("fac_tac", 3))
    attends = given.get("n_att_head", 0)
    attention = AttentionConfig(attends, given.get("attn_enc_dim") or 16)
    base, features = presets()["magronp"], given["feature_dim"]
    hidden = given.get("fac_mask", 4) * features
    known = given.get("scheme") or "joint-magronp"
    one_less = given.get("subtract_last_trgt", len(targets) == heads + 1)
    return replace(
        base,
        stems=targets,
        scheme=MAGRONP_BANDS.get("joint" if joint else targets[0].lower(), known),
        sample_rate=given.get("sample_rate", 44100),
        channels=given.get("nb_channels", 2),
        stft=StftConfig(given.get("n_fft", 2048), given.get("n_hop", 512)),
        channel_handling="joint" if naive else "independent",
        norm_eps=given.get("eps", 1e-7),
        features=features,
        repeats=given["num_repeat"],
        block=time if band == time else MixedBlock(time, band),
        tac=tac if given.get("stereo") == "tac" else None,
        attention=attention if attends else None,
        mask=replace(base.mask, hidden=hidden, context=given.get("mask_ctxt", 0)),
        residual_last=len(targets) > 1 and one_less,
    )


def _magronp_layer(given: dict, axis: str):
    """Settings of the layer along one axis: a name, or what the file says of a dilated one."""
    layer = given.get(f"{axis}_layer", "lstm")
    features, heads = given["feature_dim"], given.get("n_heads") or 1
    if not layer:
        return None
    if isinstance(layer, dict):
        return DilatedBlock(layer["hs_fac"] * features, layer["n_dil_conv"], layer["ks"])
    hidden = given.get("fac_sep", 2) * features // heads
    both = given.get("bidirectional", True)
    groups = given.get("group_num", 1) or max(features // heads // 16, 1)
    if layer == "conv":
        return ConvBlock(hidden * (1 + both), heads, norm_groups=groups)
    return RNNBlock(layer, hidden, both, heads, norm_groups=groups)


def magronp_names(config: ModelConfig) -> list:
    attention = [(r"\.attention\.project", ".attn_block.attn_concat_proj")]
    if config.attention:
        for part in ("query", "key", "value"):
            name = f".attn_block.attn_conv_{part[0].upper()}_"
            each = [f"{name}{head}" for head in range(config.attention.heads)]
            attention.append((rf"\.attention\.{part}", each, "parts"))
    tac = ("transform", "average", "concat")
    return [
        (r"^split\.norms\.(\d+)", r"BN.\1.0"),
        (r"^split\.linears\.(\d+)", r"BN.\1.1"),
        (r"^sequence\.", "separator."),
        (r"\.(time|band)(\.layer)?\.", r".\1_net."),
        (r"_net\.rnn", "_net.main_layer"),
        (r"_net\.conv", "_net.main_layer.0"),
        (r"_net\.linear", "_net.proj"),
        (r"_net\.first", "_net.in_layer"),
        (r"_net\.last", "_net.out_layer"),
        (r"_net\.series", "_net.dil_layers"),
        (r"_net\.joined", "_net.concat_layers"),
        (r"(_layers?(\.\d+)?)\.norm", r"\1.0"),
        (r"(_layers?(\.\d+)?)\.conv", r"\1.1"),
        (r"\.tac\.slope", [f".tac_module.{part}.1.weight" for part in tac]),
        (r"\.tac\.(\w+)", r".tac_module.\1.0"),
        *attention,
        (r"(\.attn_\w+)\.linear", r"\1.0"),
        (r"(\.attn_\w+)\.slope", r"\1.1.weight"),
        (r"(\.attn_\w+)\.gain", r"\1.2.gamma"),
        (r"(\.attn_\w+)\.offset", r"\1.2.beta"),
        *heads(config, "maskers.{number}.mask"),
        (r"mask\.norms\.(\d+)", r"mask.\1.0"),
        (r"mask\.hidden\.(\d+)\.0", r"mask.\1.1"),
        (r"mask\.hidden\.(\d+)\.1", r"mask.\1.3"),
        (r"mask\.out\.(\d+)", r"mask.\1.5"),
        *TORCH_NORM,
    ]


MAGRONP = Family(
    "magronp",
    ("BN.",),
    magronp_sizes,
    magronp_config,
    magronp_names,
    out="cgpb",
    conv=True,
    renames=(("mask.", "maskers.0.mask."), ("masker.mask.", "maskers.0.mask.")),
    aliases=("magronp BSRNN", "magronp BSCNN", "magronp older state-dict layout"),
)

# ---- amanteur and its fork crlandsc ------------------------------------------------------------


def amanteur_sizes(state) -> dict:
    """The settings that shapes tell, in amanteur's words; bands as `scheme`."""
    channels, n_fft = grid_of(state, "bandsplit.layernorms.{}.weight")
    widths = widths_of(state, "bandsplit.layernorms.{}.weight", 2 * channels)
    att = "bandsequence.dptransformers.0.0.linear.weight" in state
    layers = "bandsequence.dptransformers" if att else "bandsequence.bsrnn"
    rnn = rnn_of(state, f"{layers}.0.0.recurrent." if att else f"{layers}.0.0.rnn.")
    scheme, _ = scheme_of(widths, ("v7", "bass", "drums"), n_fft, (44100,))
    return {
        "sr": 44100,
        "n_fft": n_fft,
        "scheme": scheme,
        "is_mono": channels == 1,
        "bottleneck_layer": "att" if att else "rnn",
        "t_timesteps": state["bandsplit.layernorms.0.weight"].shape[1],
        "fc_dim": state["bandsplit.fcs.0.weight"].shape[0],
        "rnn_dim": rnn["units"],
        "rnn_type": rnn["kind"],
        "bidirectional": rnn["two"],
        "num_layers": numbered(state, layers + ".{}."),
        "mlp_dim": state["maskest.mlp.0.mlp.0.weight"].shape[0],
    }


def amanteur_config(given: dict, state, preset="amanteur") -> ModelConfig:
    model = {**given, **given.get("model", {})}
    transform = given.get("featurizer", {}).get("direct_transform", {})
    hop = transform.get("hop_length") or given.get("hop") or given.get("stft", {}).get("hop", 512)
    sample_rate, n_fft, scheme = model["sr"], model["n_fft"], model["scheme"]
    if hop > n_fft:
        raise UsageError(f"n_fft {n_fft} with a hop of {hop}: give config={{'hop': ...}}")
    if "bandsplits" in model:
        regions = [tuple(region) for region in model["bandsplits"]]
        scheme = from_regions(regions, sample_rate, n_fft, name="bandsplits").to_json()
    rnn, both = model.get("rnn_type", "LSTM").lower(), model.get("bidirectional", True)
    block = RNNBlock(rnn, model["rnn_dim"], both, norm_groups="N")
    if model.get("bottleneck_layer") == "att":
        block = AttentionLSTMBlock(model["rnn_dim"], both, norm_groups="N")
    base, output = presets()[preset], "spectrum" if model.get("return_mask") else "mask"
    return replace(
        base,
        stems=stems_of(given, given.get("audio_params", {}).get("target")),
        scheme=scheme,
        sample_rate=sample_rate,
        channels=1 if model["is_mono"] else 2,
        stft=StftConfig(n_fft, hop),
        channel_handling="independent" if model["is_mono"] else "joint",
        frames=model["t_timesteps"],
        features=model["fc_dim"],
        repeats=model["num_layers"],
        block=block,
        mask=replace(base.mask, hidden=model["mlp_dim"], output=output),
    )


def amanteur_names(config: ModelConfig) -> list:
    att = config.block.kind == "attention-lstm"
    return [
        (r"^split\.norms", "bandsplit.layernorms"),
        (r"^split\.linears", "bandsplit.fcs"),
        (r"^sequence", "bandsequence.dptransformers" if att else "bandsequence.bsrnn"),
        (r"\.time\.", ".0."),
        (r"\.band\.", ".1."),
        (r"\.norm\.", ".groupnorm."),
        (r"\.rnn\.", ".recurrent." if att else ".rnn."),
        (r"\.linear\.", ".linear." if att else ".fc."),
        (r"\.attention\.", ".mha."),
        *heads(config, "maskest"),
        (r"^maskest\.norms", "maskest.layernorms"),
        (r"^maskest\.hidden\.(\d+)\.0", r"maskest.mlp.\1.mlp.0"),
        (r"^maskest\.bottleneck\.(\d+)", r"maskest.mlp.\1.mlp.2"),
        (r"^maskest\.out\.(\d+)", r"maskest.mlp.\1.mlp.3.linear"),
        *TORCH_NORM,
    ]


AMANTEUR = Family(
    "amanteur",
    ("bandsplit.layernorms.",),
    amanteur_sizes,
    amanteur_config,
    amanteur_names,
    aliases=("amanteur BandSplitRNN",),
)
# The same names and shapes: only the origin of a file tells that its masks are scrambled.
CRLANDSC = replace(
    AMANTEUR,
    name="crlandsc",
    configure=partial(amanteur_config, preset="crlandsc"),
    aliases=("crlandsc BandSplitRNN",),
)

# ---- Refined BSRNN of sahandevs -----------------------------------------------------------------


def sahandevs_sizes(state) -> dict:
    hidden = [
        state[f"masks.0.layers.{band}.1.weight"].shape[0]
        for band in range(numbered(state, "masks.0.layers.{}."))
    ]
    _, n_fft = grid_of(state, "split.layer_norms.{}.weight")
    widths = widths_of(state, "split.layer_norms.{}.weight", 2)
    return {
        "n_fft": n_fft,
        "generic_bands": scheme_of(widths, ("v7", "tet24"), n_fft, (44100,))[0] != "v7",
        "feature_dim": state["split.layer_fcs.0.weight"].shape[0],
        "num_blstm_layers": numbered(state, "sequence.rnns.{}."),
        "mlp_dim": hidden[0],
        "reduce_size": len(set(hidden)) > 1,
    }


def sahandevs_config(given: dict, state) -> ModelConfig:
    base, n_fft = presets()["refined"], given["n_fft"]
    width = "narrow-for-wide" if given.get("reduce_size") else "fixed"
    return replace(
        base,
        stems=stems_of(given, given.get("parts"), numbered(state, "masks.{}.") or 1),
        scheme="tet24" if given["generic_bands"] else "v7",
        sample_rate=given.get("sample_rate", 44100),
        stft=StftConfig(n_fft, n_fft // 4, window="hamming"),
        frames=state["split.layer_norms.0.weight"].shape[1],
        features=given["feature_dim"],
        repeats=given["num_blstm_layers"],
        block=RNNBlock(hidden=given["feature_dim"], norm_groups="N"),
        mask=replace(base.mask, hidden=given["mlp_dim"], width=width),
    )


def sahandevs_names(config: ModelConfig) -> list:
    return [
        (r"^split\.norms", "split.layer_norms"),
        (r"^split\.linears", "split.layer_fcs"),
        (r"^sequence\.(\d+)\.time\.(\w+)", r"sequence.rnns.\1.\2.0"),
        (r"^sequence\.(\d+)\.band\.(\w+)", r"sequence.rnns.\1.\2.1"),
        (r"\.rnn\.", ".blstm."),
        (r"\.linear\.", ".fc."),
        *heads(config, "masks.{number}.layers"),
        (r"\.layers\.norms\.(\d+)", r".layers.\1.0"),
        (r"\.layers\.hidden\.(\d+)(\.0)?", r".layers.\1.1"),
        (r"\.layers\.out\.(\d+)", r".layers.\1.3"),
        *TORCH_NORM,
    ]


SAHANDEVS = Family(
    "sahandevs",
    ("split.layer_norms.",),
    sahandevs_sizes,
    sahandevs_config,
    sahandevs_names,
    renames=(("mask.layers.", "masks.0.layers."),),
    aliases=("sahandevs BSRNN", "Refined BSRNN"),
)
