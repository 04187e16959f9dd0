"""The BandIt families: BandIt (v1), its dedicated encoders, BandIt v2 and Banquet.

What their files call the weights and the settings.

References: Watcharasupat et al. 2024, arXiv 2309.02539 (BandIt, v1: code at kwatcharasupat/bandit);
2024, arXiv 2407.07275 (BandIt v2); Watcharasupat and Lerch 2024, arXiv 2406.18747 (Banquet).
Lessons 06 and 12.
"""

import contextlib
import re

from bsrnn.audio.stft import StftConfig
from bsrnn.bands import scheme
from bsrnn.common import UsageError, choose
from bsrnn.models.blocks import MaskConfig, PlaneConvBlock, RNNBlock, SplitConfig, TransformerBlock
from bsrnn.models.config import ModelConfig
from bsrnn.models.zoo.layouts import (
    Entry,
    Family,
    mask_plan,
    norm,
    pair,
    rnn_block,
    rnn_of,
    split_plan,
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


NAMED = tuple(f"{family}{k}" for family in PERCEPTUAL for k in (48, 64, 32))
NAMED = ("v7-bandit", "drums-bandit", "bass-bandit", *NAMED)


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
        scheme, rate = scheme_of_any(widths, (48000, 44100) if combined else (44100, 48000))
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


def scheme_of_any(widths, rates) -> tuple[str, int]:
    """(scheme, rate) of BandIt's bands with these widths at n_fft 2048, or ("", 0). The musical
    bands have one width at all rates: the first rate, that of the published files, is taken."""
    for rate in rates:
        for name in NAMED:
            if name.endswith("-bandit") or name.endswith(str(len(widths))):
                with contextlib.suppress(UsageError):
                    if scheme(name, rate, 2048).widths == tuple(widths):
                        return name, rate
    return "", 0


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


def bandit_config(given: dict, state, padding="constant") -> ModelConfig:
    """BandIt's settings (`given`, in its words) and shapes as a ModelConfig."""
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
    return ModelConfig(
        stems=tuple(stem for stem in stems if stem != "mne:+"),
        scheme=_scheme(given, stems[0]),
        sample_rate=given["fs"],
        channels=channels,
        stft=StftConfig(2048, 512, padding=padding, scale="window"),
        channel_handling="independent" if channels == 1 else handling,
        norm_eps=1e-5,
        features=given["emb_dim"],
        repeats=given["n_sqm_modules"],
        split=SplitConfig(norm="layer"),
        block=block,
        mask=MaskConfig(
            norm="layer",
            hidden=given["mlp_dim"],
            parts="complex" if given.get("complex_mask", True) else "real",
            overlap="weights" if given.get("use_freq_weights", True) else "sum",
            **_activation(given),
        ),
        **_film(given, state),
    )


def _stems_named(given):
    """dnr:vox7:speech names its stem; other maps several."""
    wanted = given.get("band_specs_map") or ""
    last = wanted.split(":")[-1]
    return last if wanted.count(":") == 2 else None


def bandit2_config(given: dict, state) -> ModelConfig:
    """BandIt v2's settings (`given`, in its words) and shapes as a ModelConfig."""
    return bandit_config(given, state, padding="reflect")


def _core(config, prefix, step=1):
    """Entries of the sequence: blocks 2r along time and 2r + 1 across bands."""
    kind = config.block.kind
    if kind == "transformer":
        yield from norm("sequence.first_norm", f"{prefix}.norm")
    for number in range(2 * config.repeats):
        ours = f"sequence.{number // 2}.{('time', 'band')[number % 2]}"
        theirs = f"{prefix}.seqband.{number * step}"
        if kind == "transformer":
            for part in ("weight", "bias"):
                name = f"self_attn.in_proj_{part}"
                yield Entry(f"{ours}.{name}", f"{theirs}.tf.{name}")
            for name in ("self_attn.out_proj", "linear1", "linear2", "norm1", "norm2"):
                yield from pair(f"{ours}.{name}", f"{theirs}.tf.{name}")
        elif kind == "plane-conv":
            for own, name in (("norm", "norm"), ("conv", "conv.0"), ("linear", "fc")):
                yield from pair(f"{ours}.{own}", f"{theirs}.{name}")
        else:
            yield from rnn_block(config.block, ours, f"{theirs}.")


def _heads(config, prefix, names=("norm", "hidden.0", "output.0"), one=False):
    for stem in config.stems:
        head = prefix if one else f"{prefix}.{stem}"
        layers = [f"{head}.norm_mlp.{{k}}.{name}" for name in names]
        yield from mask_plan(config, stem, layers, "gcbp")


def bandit_plan(config: ModelConfig, dedicated=False):
    """Where each weight of ours stands in BandIt's files."""
    split = "bsrnn.band_split.norm_fc_modules.{k}"
    yield from split_plan(config, f"{split}.norm", f"{split}.fc")
    yield from _core(config, "bsrnn.tf_model")
    yield from _heads(config, "bsrnn.mask_estim", one=dedicated)


def dedicated_plan(config: ModelConfig):
    """Where each weight of ours stands in dedicated encoders' files."""
    return bandit_plan(config, dedicated=True)


def bandit2_plan(config: ModelConfig):
    """Where each weight of ours stands in BandIt v2's files."""
    split = "band_split.norm_fc_modules.{k}.combined"
    yield from split_plan(config, f"{split}.0", f"{split}.1", order="cbp")
    yield from _core(config, "tf_model", step=2)  # odd places are transposes
    yield from _heads(config, "mask_estim")
    yield from _heads(config, "mask_estim", ("combined.0", "combined.1.0", "combined.2.0"))


def banquet_plan(config: ModelConfig):
    """Where each weight of ours stands in Banquet's files."""
    split = "band_split.norm_fc_modules.{k}"
    yield from split_plan(config, f"{split}.norm", f"{split}.fc")
    yield from _core(config, "tf_model")
    if config.query:
        yield from norm("film.norm", "film.gn")
        for part, name in (("gain", "gamma"), ("offset", "beta")):
            for place in (0, 2) if config.film in (None, part) else ():
                yield from pair(f"film.{part}.{place}", f"film.{name}.{place}")
    yield from _heads(config, "mask_estim", one=bool(config.query))


def stems_apart(state) -> dict:
    """bsrnn.<stem>.band_split... -> {stem: {bsrnn.band_split...: tensor}}."""
    found: dict[str, dict] = {}
    for name, tensor in state.items():
        match = re.match(r"bsrnn\.([^.]+)\.(band_split|tf_model|mask_estim)\.", name)
        stem, rest = (match[1], name.split(".", 2)[2]) if match else ("", name)
        found.setdefault(stem, {})[f"bsrnn.{rest}" if match else rest] = tensor
    return found


BANDIT = Family(
    "bandit", ("bsrnn.band_split.",), bandit_sizes, bandit_config, bandit_plan, computed=COMPUTED,
    aliases=("BandIt",),
)  # fmt: skip
DEDICATED = Family(
    "bandit-dedicated", ("bsrnn.",), bandit_sizes, bandit_config, dedicated_plan, computed=COMPUTED,
    dedicated=stems_apart,
)  # fmt: skip
BANDIT2 = Family(
    "bandit-v2", ("band_split.norm_fc_modules.0.combined.",), bandit_sizes, bandit2_config,
    bandit2_plan, computed=COMPUTED,
)  # fmt: skip
BANQUET = Family(
    "banquet", ("band_split.norm_fc_modules.0.norm.",), bandit_sizes, bandit2_config,
    banquet_plan, computed=COMPUTED, aliases=("query-bandit (Banquet)",),
)  # fmt: skip
