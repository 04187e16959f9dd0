"""The BSRNN families: magronp, amanteur with its fork crlandsc, and Refined BSRNN (sahandevs).

What their files call the weights and the settings. Lessons 05 and 06.
"""

from bsrnn.audio.stft import StftConfig
from bsrnn.bands import from_regions
from bsrnn.common import UsageError
from bsrnn.models.blocks import (
    AttentionConfig,
    AttentionLSTMBlock,
    ConvBlock,
    DilatedBlock,
    MaskConfig,
    MixedBlock,
    RNNBlock,
    SplitConfig,
    TacConfig,
)
from bsrnn.models.config import ModelConfig
from bsrnn.models.zoo.layouts import (
    CONV,
    CONV2,
    SWAP,
    Entry,
    Family,
    Layout,
    grid_of,
    layer_name,
    mask_plan,
    norm,
    numbered,
    pair,
    rnn_block,
    rnn_of,
    rnn_plan,
    scheme_of,
    split_plan,
    stems_of,
    widths_of,
)

# ---- magronp: BSRNN, oBSRNN, SIMO, BSCNN, naive stereo; current and older layouts ---------------

MAGRONP_BANDS = {name: f"{name}-magronp" for name in ("joint", "bass", "drums", "other")}
MAGRONP_BANDS = {"vocals": "v7-magronp", **MAGRONP_BANDS}


def magronp_sizes(state) -> dict:
    """The settings that shapes tell, in magronp's words; no target, hop or group number."""
    if any(".in_layer." in name for name in state):
        return {}  # BSCNN: its settings are needed
    head = "maskers.0.mask.0" if "maskers.0.mask.0.1.weight" in state else "mask.0"
    features = state["BN.0.1.weight"].shape[0]
    net = "separator.0.{}_net.{}"
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
        "joint_bandsplit": numbered(state, "BN.{}.") == 57,
        "scheme": scheme,
        "stereo": "naive" if channels == 2 else None,
    }
    for axis in ("time", "band"):
        conv = state.get(net.format(axis, "main_layer.0.weight"))
        if conv is not None:
            return {}  # convolutions do not tell units from directions
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
    """Magronp's settings (`given`, in its words) and shapes as a ModelConfig."""
    heads = numbered(state, "maskers.{}.") or 1
    targets = stems_of(given, given.get("targets") or given.get("target"), heads)
    time, band = given.get("time_layer", "lstm"), given.get("band_layer", "lstm")
    cnn = any(".in_layer." in name for name in state)
    older = any(name.startswith("mask.") for name in state)
    features, heads = given["feature_dim"], given.get("n_heads") or 1
    told = given.get("scheme") or "joint-magronp"
    joint = given.get("joint_bandsplit") or len(targets) > 1 or (cnn and not older)
    naive = given.get("stereo") == "naive" or (older and "nb_channels" in given)
    groups = given.get("group_num", 1) or max(features // heads // 16, 1)
    time, band = (_magronp_settings(given, layer, groups) for layer in (time, band))
    tac = given.get("stereo") == "tac"
    attends = given.get("n_att_head", 0)
    return ModelConfig(
        stems=tuple(targets),
        scheme=MAGRONP_BANDS.get("joint" if joint else targets[0].lower(), told),
        sample_rate=given.get("sample_rate", 44100),
        channels=given.get("nb_channels", 2),
        stft=StftConfig(given.get("n_fft", 2048), given.get("n_hop", 512)),
        channel_handling="joint" if naive else "independent",
        norm_eps=given.get("eps", 1e-7),
        features=features,
        repeats=given["num_repeat"],
        block=time if band == time else MixedBlock(time, band),
        tac=TacConfig(given.get("act_tac", "tanh"), given.get("fac_tac", 3)) if tac else None,
        attention=AttentionConfig(attends, given.get("attn_enc_dim") or 16) if attends else None,
        mask=MaskConfig(
            hidden=given.get("fac_mask", 4) * features,
            hidden_layers=2,
            context=given.get("mask_ctxt", 0),
        ),
        residual_last=_one_head_less(given, targets, state),
    )


def _magronp_settings(given: dict, layer, groups: int):
    """Settings of a layer along one axis: a name, or what the file says of a dilated one."""
    features, heads = given["feature_dim"], given.get("n_heads") or 1
    if not layer:
        return None
    if isinstance(layer, dict):
        return DilatedBlock(layer["hs_fac"] * features, layer["n_dil_conv"], layer["ks"])
    hidden = given.get("fac_sep", 2) * features // heads
    both = given.get("bidirectional", True)
    if layer == "conv":
        return ConvBlock(hidden * (1 + both), heads, norm_groups=groups)
    return RNNBlock(layer, hidden, both, heads, norm_groups=groups)


def _one_head_less(given, targets, state) -> bool:
    heads = numbered(state, "maskers.{}.mask") or 1
    return len(targets) > 1 and given.get("subtract_last_trgt", len(targets) == heads + 1)


def magronp_plan(config: ModelConfig):
    """Where each weight of ours stands in magronp's files."""
    naive = config.joint_channels > 1
    yield from split_plan(config, "BN.{k}.0", "BN.{k}.1", conv=CONV)
    for r in range(config.repeats):
        ours, theirs = f"sequence.{r}", f"separator.{r}"
        for axis in ("time", "band"):
            settings = getattr(config.block, axis)
            if settings is not None:
                where = layer_name(config, r, axis)
                yield from MAGRONP_LAYERS[settings.kind](settings, where, f"{theirs}.{axis}_net")
        if config.tac:
            for part in ("transform", "average", "concat"):
                yield from pair(f"{ours}.tac.{part}", f"{theirs}.tac_module.{part}.0")
                if config.tac.activation == "prelu":
                    name = f"{theirs}.tac_module.{part}.1.weight"
                    yield Entry(f"{ours}.tac.slope", name)
        if config.attention:
            yield from _magronp_attention(config, f"{ours}.attention", f"{theirs}.attn_block")
    for m, stem in enumerate(config.heads):
        head = f"maskers.{m}.mask"
        names = [f"{head}.{{k}}.{place}" for place in (0, 1, 3, 5)]
        yield from mask_plan(config, stem, names, "cgpb" if naive else "gcpb", conv=CONV)


def _magronp_rnn(settings, ours, theirs):
    yield from rnn_block(settings, ours, f"{theirs}.", rnn="main_layer", linear="proj")


def _magronp_conv(settings, ours, theirs):
    yield from norm(f"{ours}.norm", f"{theirs}.norm")
    yield from pair(f"{ours}.conv", f"{theirs}.main_layer.0")
    yield from pair(f"{ours}.linear", f"{theirs}.proj")


def _magronp_dilated(settings, ours, theirs):
    names = {"first": "in_layer", "last": "out_layer"}
    for l in range(settings.dilations):
        names |= {f"series.{l}": f"dil_layers.{l}", f"joined.{l}": f"concat_layers.{l}"}
    for own, name in names.items():
        yield from norm(f"{ours}.{own}.norm", f"{theirs}.{name}.0")
        yield from pair(f"{ours}.{own}.conv", f"{theirs}.{name}.1")


MAGRONP_LAYERS = {"rnn": _magronp_rnn, "conv": _magronp_conv, "dilated": _magronp_dilated}


def _magronp_attention(config, ours, theirs):
    # their gain (1, E, 1, K) is our (1, K, E)
    gain = Layout(lambda x: x[:, :, 0].transpose(1, 2), lambda x: x.transpose(1, 2)[:, :, None])
    heads, wanted = config.attention.heads, config.attention.features
    sizes = {"query": wanted, "key": wanted, "value": config.features // heads}
    names = [
        (f"{ours}.{part}", h, size, f"{theirs}.attn_conv_{part[0].upper()}_{h}")
        for part, size in sizes.items()
        for h in range(heads)
    ]
    names.append((f"{ours}.project", 0, config.features, f"{theirs}.attn_concat_proj"))
    for own, h, size, name in names:
        rows = slice(h * size, (h + 1) * size)
        yield from pair(f"{own}.linear", f"{name}.0", CONV2, index=rows)
        yield Entry(f"{own}.slope", f"{name}.1.weight", index=slice(h, h + 1))
        yield Entry(f"{own}.gain", f"{name}.2.gamma", gain, h)
        yield Entry(f"{own}.offset", f"{name}.2.beta", gain, h)


MAGRONP = Family(
    "magronp",
    ("BN.",),
    magronp_sizes,
    magronp_config,
    magronp_plan,
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


def amanteur_config(given: dict, state, mask_order="plain") -> ModelConfig:
    """Amanteur's settings (`given`, in its words) and shapes as a ModelConfig."""
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
    return ModelConfig(
        stems=stems_of(given, given.get("audio_params", {}).get("target")),
        scheme=scheme,
        sample_rate=sample_rate,
        channels=1 if model["is_mono"] else 2,
        stft=StftConfig(n_fft, hop),
        channel_handling="independent" if model["is_mono"] else "joint",
        norm_eps=1e-5,
        frames=model["t_timesteps"],
        features=model["fc_dim"],
        repeats=model["num_layers"],
        split=SplitConfig(norm="frames", standardise=True),
        block=block,
        mask=MaskConfig(
            norm="frames",
            hidden=model["mlp_dim"],
            bottleneck=True,
            order=mask_order,
            output="spectrum" if model.get("return_mask") else "mask",
        ),
    )


def crlandsc_config(given: dict, state) -> ModelConfig:
    """The fork's settings (`given`, in its words) and shapes as a ModelConfig."""
    return amanteur_config(given, state, mask_order="scrambled")


def amanteur_plan(config: ModelConfig):
    """Where each weight of ours stands in amanteur's files."""
    yield from split_plan(config, "bandsplit.layernorms.{k}", "bandsplit.fcs.{k}", norm_layout=SWAP)
    for r in range(config.repeats):
        for place, axis in enumerate(("time", "band")):
            ours = f"sequence.{r}.{axis}"
            if config.block.kind == "rnn":
                theirs = f"bandsequence.bsrnn.{r}.{place}."
                yield from rnn_block(config.block, ours, theirs, "groupnorm")
                continue
            theirs = f"bandsequence.dptransformers.{r}.{place}"
            names = "groupnorm", "recurrent", "linear"
            yield from rnn_block(config.block, ours, f"{theirs}.", *names)
            for part in ("weight", "bias"):
                name = f"in_proj_{part}"
                yield Entry(f"{ours}.attention.{name}", f"{theirs}.mha.{name}")
            yield from pair(f"{ours}.attention.out_proj", f"{theirs}.mha.out_proj")
    mlp = "maskest.mlp.{k}.mlp"
    layers = ["maskest.layernorms.{k}", f"{mlp}.0", f"{mlp}.2", f"{mlp}.3.linear"]
    yield from mask_plan(config, config.stems[0], layers)


AMANTEUR = Family(
    "amanteur",
    ("bandsplit.layernorms.",),
    amanteur_sizes,
    amanteur_config,
    amanteur_plan,
    aliases=("amanteur BandSplitRNN",),
)
# The same names and shapes: only the origin of a file tells that its masks are scrambled.
CRLANDSC = Family(
    "crlandsc",
    ("bandsplit.layernorms.",),
    amanteur_sizes,
    crlandsc_config,
    amanteur_plan,
    aliases=("crlandsc BandSplitRNN",),
)

# ---- Refined BSRNN of sahandevs -----------------------------------------------------------------


def sahandevs_sizes(state) -> dict:
    """The settings that shapes tell, in the original's words."""
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
    """Refined BSRNN's settings (`given`, in its words) and shapes as a ModelConfig."""
    n_fft = given["n_fft"]
    return ModelConfig(
        stems=stems_of(given, given.get("parts"), numbered(state, "masks.{}.") or 1),
        scheme="tet24" if given["generic_bands"] else "v7",
        sample_rate=given.get("sample_rate", 44100),
        channels=1,
        stft=StftConfig(n_fft, n_fft // 4, window="hamming"),
        norm_eps=1e-5,
        frames=state["split.layer_norms.0.weight"].shape[1],
        features=given["feature_dim"],
        repeats=given["num_blstm_layers"],
        split=SplitConfig(norm="frames", standardise=True),
        block=RNNBlock(hidden=given["feature_dim"], norm_groups="N"),
        mask=MaskConfig(
            norm="frames",
            hidden=given["mlp_dim"],
            width="narrow-for-wide" if given.get("reduce_size") else "fixed",
            output="spectrum",
        ),
    )


def sahandevs_plan(config: ModelConfig):
    """Where each weight of ours stands in Refined BSRNN's files."""
    yield from split_plan(config, "split.layer_norms.{k}", "split.layer_fcs.{k}", norm_layout=SWAP)
    for r in range(config.repeats):
        for place, axis in enumerate(("time", "band")):
            ours, theirs = f"sequence.{r}.{axis}", f"sequence.rnns.{r}"
            yield from norm(f"{ours}.norm", f"{theirs}.norm.{place}")
            yield from rnn_plan(f"{ours}.rnn", f"{theirs}.blstm.{place}", True)
            yield from pair(f"{ours}.linear", f"{theirs}.fc.{place}")
    for number, stem in enumerate(config.stems):
        head = f"masks.{number}.layers.{{k}}"
        yield from mask_plan(config, stem, [f"{head}.0", f"{head}.1", f"{head}.3"])


SAHANDEVS = Family(
    "sahandevs",
    ("split.layer_norms.",),
    sahandevs_sizes,
    sahandevs_config,
    sahandevs_plan,
    renames=(("mask.layers.", "masks.0.layers."),),
    aliases=("sahandevs BSRNN", "Refined BSRNN"),
)
