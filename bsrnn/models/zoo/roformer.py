"""The RoFormer families: BS-RoFormer and Mel-Band RoFormer in the checkpoint-compatible open form.

What their files call the weights and the settings. The two differ in more than the bands: where
the norms stand, how mask depth is counted, what a single stem looks like.

References: Lu et al. 2023, arXiv 2309.02612; Wang et al. 2023, arXiv 2310.01809; names and settings
as in github ZFTurbo/Music-Source-Separation-Training. Lesson 14.
"""

import re
from dataclasses import replace

from bsrnn.audio.stft import StftConfig
from bsrnn.common import UsageError
from bsrnn.models.config import ModelConfig
from bsrnn.models.presets import presets
from bsrnn.models.zoo.layouts import (
    RMS_NORM,
    Family,
    grid_of,
    heads,
    numbered,
    scheme_of,
    stems_of,
    widths_of,
)


def roformer_sizes(state) -> dict:
    """The settings that shapes tell, in the original's words. Not told: hop, scale of the STFT,
    skip connections, silent DC; they are the defaults of the code, the hop is asked for."""
    first = "layers.0.0.layers.0.0."
    linear = f"{first}temperature" in state
    attention = "layers.0.1.layers.0.0." if linear else first
    heads, dim = state[f"{attention}to_gates.weight"].shape
    places = numbered(state, "mask_estimators.0.to_freqs.0.0.{}.weight", step=2)
    hidden = state["mask_estimators.0.to_freqs.0.0.0.weight"].shape[0]
    return {
        "dim": dim,
        "depth": numbered(state, "layers.{}."),
        "heads": heads,
        "dim_head": state[f"{attention}to_qkv.weight"].shape[0] // 3 // heads,
        "linear_transformer_depth": numbered(state, "layers.0.0.layers.{}.") if linear else 0,
        "time_transformer_depth": numbered(state, f"layers.0.{int(linear)}.layers.{{}}."),
        "freq_transformer_depth": numbered(state, f"layers.0.{1 + linear}.layers.{{}}."),
        "use_pope": f"{attention}pope_embed.bias" in state,
        "num_stems": numbered(state, "mask_estimators.{}."),
        "linears": places,
        "num_bands": numbered(state, "band_split.to_features.{}."),
        "mlp_expansion_factor": hidden // dim if places > 1 else 4,
    }


def _config(given: dict, preset: str, scheme: str, hidden_layers: int) -> ModelConfig:
    n_fft = given.get("stft_n_fft", 2048)
    window = given.get("stft_win_length", n_fft)
    count = given.get("num_stems", 1)
    named = given.get("target_instrument") or given.get("instruments") or ()
    named = [named] if isinstance(named, str) else named
    stems = stems_of(given, [str(stem).lower() for stem in named], count)  # some write Vocals
    if len(stems) != count:
        raise UsageError(f"the checkpoint has {count} stems: name as many, not {list(stems)}")
    base = presets()[preset]
    return replace(
        base,
        stems=stems,
        scheme=scheme,
        sample_rate=given.get("sample_rate", 44100),
        channels=2 if given.get("stereo") else 1,
        stft=StftConfig(
            n_fft,
            given["stft_hop_length"],
            scale="length" if given.get("stft_normalized") else "none",
            win_length=0 if window == n_fft else window,
        ),
        features=given["dim"],
        repeats=given["depth"],
        block=replace(
            base.block,
            transformer_heads=given.get("heads", 8),
            head_features=given.get("dim_head", 64),
            time_depth=given.get("time_transformer_depth", 2),
            band_depth=given.get("freq_transformer_depth", 2),
            linear_depth=given.get("linear_transformer_depth", 0),
            position="pope" if given.get("use_pope") else "rotary",
            skip=given.get("skip_connection", False),
        ),
        mask=replace(
            base.mask,
            hidden=given["dim"] * given.get("mlp_expansion_factor", 4),
            hidden_layers=hidden_layers,
            zero_dc=given.get("zero_dc", True),
        ),
    )


BUILT = {
    "dim", "depth", "stereo", "num_stems", "time_transformer_depth", "freq_transformer_depth",
    "linear_transformer_depth", "freqs_per_bands", "num_bands", "dim_head", "heads", "stft_n_fft",
    "stft_hop_length", "stft_win_length", "stft_normalized", "mask_estimator_depth", "linears",
    "mlp_expansion_factor", "skip_connection", "zero_dc", "use_pope", "sample_rate",
    "target_instrument", "instruments",
}  # fmt: skip
# Without influence on the output: of training, of speed, or accepted and not used.
HARMLESS = re.compile(
    r"(flash|sage)_attn|sage_attention|attn_dropout|ff_dropout|dropout|dim_freqs_in|"
    r"use_torch_checkpoint|match_input_audio_length|multi_stft_\w+|stft_window_fn|model_type|type|"
    r"name|chunk_size|hop_length|n_fft"
)
NEUTRAL = {"num_residual_streams": 1, "num_residual_fracs": 1, "use_shared_bias": False}


def flat(given: dict) -> dict:
    """The `model` and `training` parts of a settings file beside flat settings.

    An option of `model` that is not built is refused: the output would be another one.
    """
    training, model = given.get("training") or {}, given.get("model") or {}
    for option, value in model.items():
        harmless = HARMLESS.fullmatch(option) or value in (None, False, NEUTRAL.get(option))
        if option not in BUILT and not harmless:
            raise UsageError(f"the option {option}: {value} of its settings is not built here")
    named = {key: training[key] for key in ("instruments", "target_instrument") if key in training}
    return {**named, **given, **model}


def bs_sizes(state) -> dict:
    channels, n_fft = grid_of(state, "band_split.to_features.{}.0.gamma")
    widths = widths_of(state, "band_split.to_features.{}.0.gamma", 2 * channels)
    bands = {"freqs_per_bands": widths, "stereo": channels == 2, "stft_n_fft": n_fft}
    return {**roformer_sizes(state), **bands}


def bs_config(given: dict, state) -> ModelConfig:
    given = flat(given)
    widths, rate = tuple(given["freqs_per_bands"]), given.get("sample_rate", 44100)
    scheme, _ = scheme_of(widths, ("bs-roformer",), given.get("stft_n_fft", 2048), (rate,))
    depth = given.get("mask_estimator_depth", given.get("linears", 2))
    return _config(given, "bs-roformer", scheme, depth - 1)


def mel_config(given: dict, state) -> ModelConfig:
    given = {"stereo": True, **flat(given)}
    depth = given.get("mask_estimator_depth", given.get("linears", 2) - 1)
    return _config(given, "mel-roformer", f"mel-roformer{given['num_bands']}", depth)


def roformer_names(config: ModelConfig) -> list:
    """Rules from our names to the RoFormers'. Each axis has one object for positions here, and one
    under every attention there; older files lack its frequencies."""
    block = config.block
    depths = {"linear": block.linear_depth, "time": block.time_depth, "band": block.band_depth}
    depths = {axis: depth for axis, depth in depths.items() if depth or axis != "linear"}
    kept = "pope_embed.inv_freqs" if block.position == "pope" else "rotary_embed.freqs"
    rules = [
        (r"^split\.norms\.(\d+)", r"band_split.to_features.\1.0"),
        (r"^split\.linears\.(\d+)", r"band_split.to_features.\1.1"),
        (r"^sequence\.last_norm", "final_norm"),
        (r"(\.linear\..+)\.qkv", r"\1.to_qkv.0"),
        (r"(\.linear\..+)\.out", r"\1.to_out.1"),
        (r"\.qkv", ".to_qkv"),
        (r"\.out\.weight", ".to_out.0.weight"),
        (r"\.gate", ".to_gates"),
    ]
    for place, (axis, depth) in enumerate(depths.items()):
        layers = [
            f"layers.{r}.{place}.layers.{layer}.0"
            for r in range(config.repeats)
            for layer in range(depth)
        ]
        position = rf"^sequence\.positions\.{axis}"
        rules += [
            (rf"^sequence\.(\d+)\.{axis}", rf"layers.\1.{place}"),
            (rf"{position}\.angle", [f"{layer}.pope_embed.bias" for layer in layers]),
            (rf"{position}\.frequencies", [f"{layer}.{kept}" for layer in layers], "optional"),
        ]
    for layer in range(max(depths.values())):
        rules += [
            (rf"\.steps\.{2 * layer}\.", f".layers.{layer}.0."),
            (rf"\.steps\.{2 * layer + 1}\.", f".layers.{layer}.1.net."),
        ]
    rules += [(r"net\.3\.", "net.4."), *heads(config, "mask_estimators.{number}.to_freqs")]
    for layer in range(config.mask.hidden_layers):
        number = rf"\.{layer}" if config.mask.form == "options" else ""
        rules.append((rf"\.hidden\.(\d+){number}", rf".\1.0.{2 * layer}"))
    last = 2 * config.mask.hidden_layers
    return [*rules, (r"to_freqs\.out\.(\d+)", rf"to_freqs.\1.0.{last}"), *RMS_NORM]


UNBUILT = (
    (".static_alpha", "residual streams (num_residual_streams, the default of BS-RoFormer 1.x)"),
    (".to_value_residual_mix", "value residuals (BS-RoFormer 0.7 and newer)"),
    (".branch.", "the blocks of BS-RoFormer 1.x"),
)
BS_ROFORMER = Family(
    "bs-roformer",
    ("band_split.to_features.", "final_norm."),
    bs_sizes,
    bs_config,
    roformer_names,
    split="bcp",
    out="gbcp",
    aliases=("bs_roformer", "BSRoformer"),
    unbuilt=UNBUILT,
)
MEL_ROFORMER = replace(
    BS_ROFORMER,
    name="mel-roformer",
    marks=("band_split.to_features.", "layers.0.0.norm."),
    sizes=roformer_sizes,
    configure=mel_config,
    aliases=("mel_band_roformer", "MelBandRoformer"),
)
