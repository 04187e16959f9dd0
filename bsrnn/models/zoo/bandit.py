"""The BandIt families: BandIt (v1), its dedicated encoders, BandIt v2 and Banquet.

What their files call the weights and the settings.

References: Watcharasupat et al. 2024, arXiv 2309.02539 (BandIt, v1: code at kwatcharasupat/bandit);
2024, arXiv 2407.07275 (BandIt v2); Watcharasupat and Lerch 2024, arXiv 2406.18747 (Banquet).
Lessons 06 and 12.
"""

import re
from dataclasses import replace
from functools import partial

from bsrnn.common import UsageError, choose
from bsrnn.models.blocks import PlaneConvBlock, RNNBlock, TransformerBlock
from bsrnn.models.config import ModelConfig
from bsrnn.models.presets import presets
from bsrnn.models.zoo.layouts import (
    TORCH_NORM,
    Family,
    heads,
    rnn_of,
    scheme_of,
    stems_of,
    widths_of,
)

PERCEPTUAL = ("tribark", "bark", "erb", "musical", "mel")  # looked for in this order
TABLES = {"vocals": "v7-bandit", "drums": "drums-bandit", "bass": "bass-bandit"}
ACTIVATIONS = {
    "Tanh": "tanh", "ReLU": "relu", "ELU": "elu", "GELU": "gelu", "LeakyReLU": "leaky-relu",
}  # fmt: skip
# What torch's activations take, and the value that changes nothing.
NEUTRAL = {"inplace": None, "approximate": "none"}
COMPUTED = ("window", "freq_weights/", "query_encoder.", "metrics.", "fader.")


def _scheme(given: dict, stem: str | None) -> str:
    """The name of our scheme for their band_specs, band_specs_map or band_type."""
    wanted = given.get("band_specs") or given.get("band_type") or given.get("band_specs_map")
    if not wanted and "scheme" in given:
        return given["scheme"]
    if not wanted:
        raise UsageError("the settings do not name the bands: add band_specs, such as 'musical'")
    if given.get("band_specs_map") == "musdb:all":
        return TABLES.get(stem, "other-bandit")
    if re.fullmatch(r"(dnr:speech|dnr:vox7(:\w+)?|musdb:vocals|musdb:vox7)", wanted):
        return "v7-bandit"
    for name in PERCEPTUAL:
        if name in wanted:
            return f"{name}{given['n_bands']}"
    raise UsageError(f"unknown bands {wanted!r} in the settings")


NAMED = [*TABLES.values(), *(f"{family}{k}" for family in PERCEPTUAL for k in (48, 64, 32))]


def bandit_sizes(state) -> dict:
    """The settings that shapes tell, in BandIt's words; bands as `scheme`."""
    prefix = "bsrnn." if any(name.startswith("bsrnn.") for name in state) else ""
    combined = f"{prefix}band_split.norm_fc_modules.0.combined.0.weight" in state
    before, linear = ("combined.0", "combined.1") if combined else ("norm", "fc")
    split = f"{prefix}band_split.norm_fc_modules.{{}}."
    features, _ = state[f"{split.format(0)}{linear}.weight"].shape
    head = next(name for name in state if ".norm_mlp.0.hidden.0.weight" in name)
    out = state[head.replace("hidden", "output")].shape[0]
    stems = [name.split(".")[-5] for name in state if name.endswith(".norm_mlp.0.norm.weight")]
    sizes = {
        "emb_dim": features,
        "mlp_dim": state[head].shape[0],
        "complex_mask": out == 2 * state[f"{split.format(0)}{before}.weight"].shape[0],
        "heads": [] if stems == ["mask_estim"] or "mask_estim" not in head else stems,
    }
    for channels in (1, 2):
        widths = widths_of(state, f"{split}{before}.weight", 2 * channels)
        names = [name for name in NAMED if name.endswith(("-bandit", str(len(widths))))]
        # Musical bands have one width at all rates: that of the published files goes first.
        rates = (48000, 44100) if combined else (44100, 48000)
        scheme, rate = scheme_of(widths, names, 2048, rates, partition=False)
        if scheme:
            sizes |= {"in_channel": channels, "scheme": scheme, "fs": rate}
            break
    rnn = f"{prefix}tf_model.seqband.0.rnn."
    if f"{rnn}weight_hh_l0" in state:
        found = rnn_of(state, rnn)
        count = sum(".seqband." in name and name.endswith("weight_hh_l0") for name in state)
        sizes |= {"rnn_type": found["kind"], "rnn_dim": found["units"]}
        sizes |= {"bidirectional": found["two"], "n_sqm_modules": count // 2}
    return sizes


def _activation(given: dict) -> dict:
    """Settings of the hidden layers of the masks. An option that is not built is refused."""
    name = choose(given.get("hidden_activation") or "Tanh", ACTIVATIONS, "hidden_activation")
    options = dict(given.get("hidden_activation_kwargs") or {})
    made = {"activation": ACTIVATIONS[name]}
    if name == "LeakyReLU" and "negative_slope" in options:
        made["slope"] = options.pop("negative_slope")
    if name == "ELU" and "alpha" in options:
        made["alpha"] = options.pop("alpha")
    for option, value in options.items():
        if option not in NEUTRAL or NEUTRAL[option] not in (None, value):
            raise UsageError(
                f"hidden_activation_kwargs {{{option}: {value}}} of {name} is not built here: the "
                "output would be another one"
            )
    return made


def _film(given: dict, state) -> dict:
    """Settings of Banquet's FiLM: its settings' words are of two layers with an ELU between."""
    parts = {ours: f"film.{t}." for ours, t in (("gain", "gamma"), ("offset", "beta"))}
    there = [o for o, name in parts.items() if any(key.startswith(name) for key in state)]
    if not (there or given.get("film_depth") or "film.gn.weight" in state):
        return {}
    depth, activation = given.get("film_depth") or 2, given.get("film_activation") or "ELU"
    if (depth, activation) != (2, "ELU"):
        raise UsageError(f"film_depth {depth} with {activation} is not built here, 2 with ELU is")
    return {"query": 768, "film": there[0] if len(there) == 1 else None}


def bandit_config(given: dict, state, preset="bandit") -> ModelConfig:
    given = {**given, **given.get("model", {}).get("kwargs", {})}
    stems = stems_of(given, _stems_named(given) or given.get("heads"))
    channels = given.get("in_channel") or given.get("in_channels") or 1
    both = given.get("bidirectional", True)
    block = RNNBlock(given.get("rnn_type", "GRU").lower(), given["rnn_dim"], both, norm="layer")
    if any(".tf.self_attn." in name for name in state):
        block = TransformerBlock(given["rnn_dim"])
    elif any(".seqband.0.conv." in name for name in state):
        block = PlaneConvBlock(given["rnn_dim"])
    handling = "joint" if given.get("treat_channel_as_feature", True) else "shared"
    base = presets()[preset]
    mask = replace(
        base.mask,
        hidden=given["mlp_dim"],
        parts="complex" if given.get("complex_mask", True) else "real",
        overlap="weights" if given.get("use_freq_weights", True) else "sum",
        **_activation(given),
    )
    return replace(
        base,
        stems=tuple(stem for stem in stems if stem != "mne:+"),
        scheme=_scheme(given, stems[0]),
        sample_rate=given["fs"],
        channels=channels,
        channel_handling="independent" if channels == 1 else handling,
        features=given["emb_dim"],
        repeats=given["n_sqm_modules"],
        block=block,
        mask=mask,
        **_film(given, state),
    )


def _stems_named(given):
    """dnr:vox7:speech names its stem; other maps several."""
    wanted = given.get("band_specs_map") or ""
    last = wanted.split(":")[-1]
    return last if wanted.count(":") == 2 else None


def bandit_names(config, before="", step=1, split=("norm", "fc"), head=".{stem}", copies=()):
    """Rules for names: `before` all of them, `step` from layer to layer, the two layers of the
    `split`, how a `head` is named, and `copies` of its layers."""
    core, mask = f"{before}tf_model", f"{before}mask_estim{'' if config.query else head}"
    numbered = [
        (rf"^sequence\.{r}\.{axis}", f"{core}.seqband.{(2 * r + place) * step}")
        for r in range(config.repeats)
        for place, axis in enumerate(("time", "band"))
    ]
    layers = {"norms": "norm", "hidden": "hidden.0", "out": "output.0"}
    return [
        (r"^split\.norms\.(\d+)", rf"{before}band_split.norm_fc_modules.\1.{split[0]}"),
        (r"^split\.linears\.(\d+)", rf"{before}band_split.norm_fc_modules.\1.{split[1]}"),
        *numbered,
        (r"^sequence\.first_norm", f"{core}.norm"),
        (r"(seqband\.\d+)\.(self_attn|linear\d|norm\d)", r"\1.tf.\2"),
        (r"(seqband\.\d+)\.linear\.", r"\1.fc."),
        (r"(seqband\.\d+)\.conv\.", r"\1.conv.0."),
        (r"^film\.norm", "film.gn"),
        (r"^film\.gain\.(?=\d)", "film.gamma."),
        (r"^film\.offset\.(?=\d)", "film.beta."),
        *heads(config, mask),
        *(
            (rf"\.{ours}\.(\d+)(\.0)?\.(?=\w+$)", [rf".norm_mlp.\1.{name}." for name in names])
            for ours, *names in zip(layers, layers.values(), *copies, strict=True)
        ),
        *TORCH_NORM,
    ]


def stems_apart(state) -> dict:
    """bsrnn.<stem>.band_split... -> {stem: {bsrnn.band_split...: tensor}}."""
    found: dict[str, dict] = {}
    for name, tensor in state.items():
        match = re.match(r"bsrnn\.([^.]+)\.(band_split|tf_model|mask_estim)\.", name)
        stem, rest = (match[1], name.split(".", 2)[2]) if match else ("", name)
        found.setdefault(stem, {})[f"bsrnn.{rest}" if match else rest] = tensor
    return found


COMBINED = ("combined.0", "combined.1.0", "combined.2.0")  # a head's layers, once more
SPLIT = "band_split.norm_fc_modules.0"

BANDIT = Family(
    "bandit",
    ("bsrnn.band_split.",),
    bandit_sizes,
    bandit_config,
    partial(bandit_names, before="bsrnn."),
    out="gcbp",
    computed=COMPUTED,
    aliases=("BandIt",),
)
DEDICATED = replace(
    BANDIT,
    name="bandit-dedicated",
    marks=("bsrnn.",),
    names=partial(bandit_names, before="bsrnn.", head=""),
    aliases=(),
    dedicated=stems_apart,
)
BANQUET = replace(
    BANDIT,
    name="banquet",
    marks=(f"{SPLIT}.norm.",),
    configure=partial(bandit_config, preset="bandit-v2"),
    names=bandit_names,
    aliases=("query-bandit (Banquet)",),
)
BANDIT2 = replace(  # transposes stand between its layers
    BANQUET,
    name="bandit-v2",
    marks=(f"{SPLIT}.combined.",),
    names=partial(bandit_names, step=2, split=("combined.0", "combined.1"), copies=(COMBINED,)),
    split="cbp",
    aliases=(),
)
