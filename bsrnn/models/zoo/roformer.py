"""The RoFormer families: BS-RoFormer and Mel-Band RoFormer in the checkpoint-compatible open form.

What their files call the weights and the settings. The two differ in more than the bands: where
the norms stand, how mask depth is counted, what a single stem looks like.

References: Lu et al. 2023, arXiv 2309.02612; Wang et al. 2023, arXiv 2310.01809; names and settings
as in github ZFTurbo/Music-Source-Separation-Training. Lesson 14.
"""

import re

from bsrnn.audio.stft import StftConfig
from bsrnn.common import UsageError
from bsrnn.models.blocks import MaskConfig, RoformerBlock, SplitConfig
from bsrnn.models.config import ModelConfig
from bsrnn.models.zoo.layouts import (
    Entry,
    Family,
    grid_of,
    mask_plan,
    numbered,
    pair,
    rms,
    scheme_of,
    split_plan,
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


def _config(given: dict, scheme, hidden_layers: int, **differences) -> ModelConfig:
    n_fft = given.get("stft_n_fft", 2048)
    window = given.get("stft_win_length", n_fft)
    count = given.get("num_stems", 1)
    named = given.get("target_instrument") or given.get("instruments") or ()
    named = [named] if isinstance(named, str) else named
    stems = stems_of(given, [str(stem).lower() for stem in named], count)  # some write Vocals
    if len(stems) != count:
        raise UsageError(f"the checkpoint has {count} stems: name as many, not {list(stems)}")
    return ModelConfig(
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
        channel_handling="joint",
        norm_eps=1e-12,
        features=given["dim"],
        repeats=given["depth"],
        split=SplitConfig(norm="rms"),
        block=RoformerBlock(
            transformer_heads=given.get("heads", 8),
            head_features=given.get("dim_head", 64),
            time_depth=given.get("time_transformer_depth", 2),
            band_depth=given.get("freq_transformer_depth", 2),
            linear_depth=given.get("linear_transformer_depth", 0),
            position="pope" if given.get("use_pope") else "rotary",
            skip=given.get("skip_connection", False),
        ),
        mask=MaskConfig(
            norm="none",
            hidden=given["dim"] * given.get("mlp_expansion_factor", 4),
            hidden_layers=hidden_layers,
            zero_dc=given.get("zero_dc", True),
        ),
    ).replace(**differences)


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
    """The settings that shapes tell, in its words."""
    channels, n_fft = grid_of(state, "band_split.to_features.{}.0.gamma")
    widths = widths_of(state, "band_split.to_features.{}.0.gamma", 2 * channels)
    bands = {"freqs_per_bands": widths, "stereo": channels == 2, "stft_n_fft": n_fft}
    return {**roformer_sizes(state), **bands}


def bs_config(given: dict, state) -> ModelConfig:
    """BS-RoFormer's settings (`given`, in its words) and shapes as a ModelConfig."""
    given = flat(given)
    widths, rate = tuple(given["freqs_per_bands"]), given.get("sample_rate", 44100)
    scheme, _ = scheme_of(widths, ("bs-roformer",), given.get("stft_n_fft", 2048), (rate,))
    depth = given.get("mask_estimator_depth", given.get("linears", 2))
    return _config(given, scheme, depth - 1, last_norm=True)


def mel_config(given: dict, state) -> ModelConfig:
    """Mel-Band RoFormer's settings (`given`, in its words) and shapes as a ModelConfig."""
    given = {"stereo": True, **flat(given)}
    depth = given.get("mask_estimator_depth", given.get("linears", 2) - 1)
    scheme = f"mel-roformer{given['num_bands']}"
    return _config(given, scheme, depth, axis_norm=True, overlap="mean")


def roformer_plan(config: ModelConfig):
    """Where each weight of ours stands in the RoFormers' files."""
    features = "band_split.to_features.{k}"
    yield from split_plan(config, f"{features}.0", f"{features}.1", order="bcp")
    depths = {"time": config.block.time_depth, "band": config.block.band_depth}
    if config.block.linear_depth:
        depths = {"linear": config.block.linear_depth, **depths}
    for r in range(config.repeats):
        for place, (axis, depth) in enumerate(depths.items()):
            yield from _transformer(config, axis, depth, f"sequence.{r}.{axis}", (r, place))
    if config.block.last_norm:
        yield from rms("sequence.last_norm", "final_norm")
    for number, stem in enumerate(config.stems):
        head = f"mask_estimators.{number}.to_freqs.{{k}}.0"
        layers = [f"{head}.{2 * place}" for place in range(config.mask.hidden_layers + 1)]
        yield from mask_plan(config, stem, layers, "gbcp")


def _transformer(config, axis, depth, ours, number):
    theirs = "layers.{}.{}".format(*number)
    for layer in range(depth):
        attention, name = f"{ours}.steps.{2 * layer}", f"{theirs}.layers.{layer}.0"
        yield from rms(f"{attention}.norm", f"{name}.norm")
        if axis == "linear":
            yield Entry(f"{attention}.temperature", f"{name}.temperature")
            yield Entry(f"{attention}.qkv.weight", f"{name}.to_qkv.0.weight")
            yield Entry(f"{attention}.out.weight", f"{name}.to_out.1.weight")
        else:
            yield Entry(f"{attention}.qkv.weight", f"{name}.to_qkv.weight")
            yield Entry(f"{attention}.out.weight", f"{name}.to_out.0.weight")
            yield from pair(f"{attention}.gate", f"{name}.to_gates")
            yield from _position(config, f"sequence.positions.{axis}", name)
        forward, name = f"{ours}.steps.{2 * layer + 1}", f"{theirs}.layers.{layer}.1.net"
        yield from rms(f"{forward}.0", f"{name}.0")
        yield from pair(f"{forward}.1", f"{name}.1")
        yield from pair(f"{forward}.3", f"{name}.4")
    if config.block.axis_norm:
        yield from rms(f"{ours}.norm", f"{theirs}.norm")


def _position(config, ours, theirs):
    """One object per axis, listed under every attention. Older files lack the frequencies."""
    frequencies = "rotary_embed.freqs"
    if config.block.position == "pope":
        frequencies = "pope_embed.inv_freqs"
        yield Entry(f"{ours}.angle", f"{theirs}.pope_embed.bias")
    yield Entry(f"{ours}.frequencies", f"{theirs}.{frequencies}", optional=True)


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
    roformer_plan,
    aliases=("bs_roformer", "BSRoformer"),
    unbuilt=UNBUILT,
)
MEL_ROFORMER = Family(
    "mel-roformer",
    ("band_split.to_features.", "layers.0.0.norm."),
    roformer_sizes,
    mel_config,
    roformer_plan,
    aliases=("mel_band_roformer", "MelBandRoformer"),
    unbuilt=UNBUILT,
)
