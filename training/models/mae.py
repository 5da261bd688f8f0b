"""Masked autoencoder for video: encode the visible tokens, reconstruct the pixels of the masked ones."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.blocks import Block, initialise
from training.models.config import ModelConfig
from training.models.encoder import ENCODER_LAYERS, Encoder, LayerPatterns
from training.models.positions import DistanceBias, create_positions, positions_at
from training.models.preprocess import standardise, unstandardise
from training.models.targets import to_pixels, to_target
from training.models.tubelets import TokenSplit, gather_tokens, patchify, unpatchify

_LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}


class MAEOutput(NamedTuple):
    """The mean loss over the masked tokens, and the prediction (B, M, patch_dim) in ascending order of tokens.

    M is the number of masked tokens, or with a decoder mask, of the tokens that it leaves to the decoder.
    """

    loss: Tensor
    prediction: Tensor


class MAE(nn.Module):
    """`out = model(video, mask)`: video (B, 3, T, H, W) standardised floats, mask (B, N) bool, True = masked."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(
        self, video: Tensor, mask: Tensor | TokenSplit, decoder_mask: Tensor | TokenSplit | None = None
    ) -> MAEOutput:
        """Reconstruct the masked tokens.

        Args:
            video: (B, 3, T, H, W), standardised.
            mask: (B, N) bool, True = hidden from the encoder; or its split, see `Encoder.split_tokens`. So is `decoder_mask`.
            decoder_mask: (B, N) bool, True = not reconstructed, which saves time. As in VideoMAE V2 (arXiv 2303.16727)
                the decoder predicts all other tokens, and the loss is over those of them that are in `mask`.

        Raises:
            ValueError: the video or a mask does not fit the model; see `Encoder.forward` and `Encoder.split_tokens`.
        """
        split = self.encoder.split_tokens(video, mask)
        if decoder_mask is None:
            decoded, weight = split.masked, None
        else:
            if not isinstance(decoder_mask, TokenSplit):
                decoder_mask = TokenSplit.of(decoder_mask, len(video), self.config.grid).to(video.device)
            decoded = decoder_mask.visible
            weight = split.mask.gather(1, decoded)
        prediction = self._predict(video, split, decoded)
        target = to_target(gather_tokens(self.target_tubelets(video), decoded), self.config.target)
        return MAEOutput(self._loss(prediction.float(), target.float(), weight), prediction)

    def group_matcher(self, *, coarse: bool = False) -> LayerPatterns:  # noqa: ARG002 (timm passes it)
        """The layers of parameters, for timm's layer decay; parameters that match none belong to the decoder."""
        return ENCODER_LAYERS

    def encode(self, video: Tensor) -> Tensor:
        """All tokens of an unmasked video, (B, N, D)."""
        tokens: Tensor = self.encoder(video)[0]
        return tokens

    def reconstruct(self, video: Tensor, mask: Tensor | TokenSplit) -> Tensor:
        """The video with its masked tubelets replaced by predictions.

        Of `target_frames` frames if the config sets it: (B, 3, T', H, W), standardised as `video` is. Predictions of a
        normalised target get the mean and deviation of the true tubelet.

        Raises:
            ValueError: as `forward`.
        """
        split = self.encoder.split_tokens(video, mask)
        tubelets = self.target_tubelets(video)
        prediction = self._predict(video, split, split.masked).to(tubelets.dtype)
        pixels = to_pixels(prediction, gather_tokens(tubelets, split.masked), self.config.target)
        filled = tubelets.to(pixels.dtype).scatter(1, split.masked.unsqueeze(2).expand_as(pixels), pixels)
        result = unpatchify(filled, self.config.target_grid)
        if self.config.target == "per_channel":  # its tubelets are in [0, 1]
            return standardise(result, self.config.mean, self.config.std)
        return result

    def target_frames(self, device: torch.device | str = "cpu") -> Tensor:
        """Numbers of the predicted frames, (T',): all, or evenly spread from the first to the last (MAE-ST)."""
        last = self.config.num_frames - 1
        return torch.linspace(0, last, self.config.target_grid.num_frames, device=device).long()

    def target_tubelets(self, video: Tensor) -> Tensor:
        """Pixels of every tubelet of the predicted frames, (B, N, patch_dim); in [0, 1] for target `per_channel`."""
        frames = video if self.config.target_frames is None else video[:, :, self.target_frames(video.device)]
        if self.config.target == "per_channel":
            frames = unstandardise(frames, self.config.mean, self.config.std)
        return patchify(frames, self.config.target_grid.tubelet, self.config.patch)

    def _predict(self, video: Tensor, split: TokenSplit, decoded: Tensor) -> Tensor:
        tokens, class_token = self.encoder(video, split)
        positions = None if self.encoder.positions is None else self.encoder.positions()
        prediction: Tensor = self.decoder(tokens, class_token, split.visible, decoded, positions)
        return prediction

    def _loss(self, prediction: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        loss = _LOSSES[self.config.loss]
        if weight is None:
            return loss(prediction, target)
        per_token = loss(prediction, target, reduction="none").mean(2)
        return (per_token * weight).sum() / weight.sum().clamp(min=1)


class Decoder(nn.Module):
    """A narrow transformer over the encoded tokens and mask tokens; predicts the targets of the mask tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.decoder_dim
        self.embed = nn.Linear(config.dim, dim, bias=config.decoder_bias)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.positions = (
            None
            if config.decoder_positions == "shared"
            else create_positions(config.decoder_positions, config.grid, dim, config.pretrained_grid)
        )
        own_class_token = config.class_token and config.decoder_class_token == "own"
        self.class_token = nn.Parameter(torch.zeros(dim)) if own_class_token else None
        self.class_position = nn.Parameter(torch.zeros(dim)) if config.class_position else None
        self.blocks = nn.ModuleList(
            Block(dim, config.decoder_heads, mlp_ratio=config.mlp_ratio, bias=config.bias, eps=config.eps)
            for _ in range(config.decoder_depth)
        )
        self.distance = None if config.distance_bias == "none" else DistanceBias(config.grid, config.decoder_heads)
        self.norm = nn.LayerNorm(dim, eps=config.head_norm_eps) if config.decoder_norm else nn.Identity()
        self.head = nn.Linear(dim, config.target_grid.tubelet_values)
        initialise(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self,
        tokens: Tensor,
        class_token: Tensor | None,
        visible: Tensor,
        decoded: Tensor,
        encoder_positions: Tensor | None,
    ) -> Tensor:
        """Predict the targets of the tokens `decoded`.

        Args:
            tokens: (B, K, D), encoded.
            class_token: (B, D), encoded, or None.
            visible: (B, K), the token numbers of `tokens`.
            decoded: (B, M), the token numbers to predict.
            encoder_positions: (N, D), used if the config shares them; None if the encoder's are rotary.

        Returns:
            (B, M, patch_dim)
        """
        positions: Tensor | None = encoder_positions if self.positions is None else self.positions()
        if positions is None:  # the config's checks rule it out
            raise ValueError("the decoder shares the encoder's positions, and these are rotary")
        embedded = self.embed(tokens)
        # Attention does not depend on order: mask tokens go last, where their predictions are read.
        masked = self.mask_token + positions_at(positions, decoded)
        sequence = [embedded + positions_at(positions, visible), masked.to(embedded.dtype)]
        if class_token is not None:
            first = self.embed(class_token.unsqueeze(1))
            if self.class_token is not None:
                first = self.class_token.expand_as(first)
            sequence.insert(0, first if self.class_position is None else first + self.class_position)
        hidden = torch.cat(sequence, 1)
        if self.distance is None:
            for block in self.blocks:
                hidden = block(hidden)
            predicted = hidden[:, -decoded.shape[1] :]
        else:
            predicted = self._by_distance(hidden, torch.cat([visible, decoded], 1))[:, visible.shape[1] :]
        out: Tensor = self.head(self.norm(predicted))
        return out

    def _by_distance(self, hidden: Tensor, numbers: Tensor) -> Tensor:
        """The blocks with a bias by the distances of the tokens `numbers` (B, K): (B, K, D) -> (B, K, D)."""
        assert self.distance is not None
        # Where all tokens are there, their ascending order gives every clip the same bias.
        order = numbers.argsort(1)
        complete = numbers.shape[1] == len(self.distance.time)
        bias = self.distance(None if complete else numbers.gather(1, order))
        hidden = gather_tokens(hidden, order)
        for block in self.blocks:
            hidden = block(hidden, None, bias)
        return gather_tokens(hidden, order.argsort(1))
