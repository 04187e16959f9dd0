"""The network of a package that anybody can install, on the weights of ours: `benchmark` compares.

BS-RoFormer up to 0.4 (later ones add value residuals; none silences bin 0: without `zero_dc` both
agree to 127 dB, with it to the energy of that bin) and openunmix (137 dB). Lesson 11.
"""

from torch import nn
from torch.nn import functional as F

from bsrnn.common import UsageError, optional
from bsrnn.models.zoo.baselines import OpenUnmixSeparator
from bsrnn.models.zoo.published import to_published


def peer(separator) -> dict:
    """Name of the package -> its network on the weights of `separator`: (B, C, L) -> (B, S, C, L).
    Empty where no package has such a network.

    Raises UsageError if the package is not installed, or its network has other layers.
    """
    block = getattr(getattr(separator, "config", None), "block", None)
    if isinstance(separator, OpenUnmixSeparator):
        name, network = "openunmix", _openunmix(separator)
    elif block is not None and block.kind == "roformer" and block.last_norm:
        name, network = "BS-RoFormer", _roformer(separator, separator.config, block)
    else:
        return {}
    return {name: network.eval().to(next(separator.parameters()).device)}


def _roformer(separator, config, block) -> nn.Module:
    network = optional("bs_roformer").BSRoformer(
        dim=config.features,
        depth=config.repeats,
        stereo=config.channels == 2,
        num_stems=len(config.stems),
        time_transformer_depth=block.time_depth,
        freq_transformer_depth=block.band_depth,
        freqs_per_bands=config.bands.widths,
        dim_head=block.head_features,
        heads=block.transformer_heads,
        stft_n_fft=config.stft.n_fft,
        stft_hop_length=config.stft.hop,
        mask_estimator_depth=config.mask.hidden_layers + 1,
    )
    try:
        network.load_state_dict(to_published(separator, "bs-roformer"))
    except RuntimeError:
        raise UsageError('its layers are others now: pip install "BS-RoFormer<0.5"') from None
    return _AsOurs(network)


class _AsOurs(nn.Module):
    """The package drops the axis of a single stem, and samples behind the last whole hop."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, mixture):
        channels, samples = mixture.shape[1:]
        y = self.network(mixture)  # (B, S, C, L or fewer), or (B, C, L or fewer)
        y = y.reshape(len(mixture), -1, channels, y.shape[-1])
        return F.pad(y, (0, samples - y.shape[-1]))  # (B, S, C, L)


def _openunmix(separator) -> nn.Module:
    package, stft = optional("openunmix.model"), separator.stft
    networks = {}
    for stem, ours in separator.networks.items():
        sizes = len(ours.output_mean), 2, ours.fc1.out_features, ours.lstm.num_layers
        networks[stem] = package.OpenUnmix(*sizes, max_bin=len(ours.input_mean))
        networks[stem].load_state_dict(ours.state_dict())
    return package.Separator(networks, niter=1, n_fft=stft.n_fft, n_hop=stft.hop)
