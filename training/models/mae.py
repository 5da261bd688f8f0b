"""Masked auto-encoder for video: encode the visible tokens, decode all, compare the masked ones with their pixels."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.blocks import Block, initialise
from training.models.config import ModelConfig
from training.models.encoder import Encoder
from training.models.masking import masked_index, visible_index
from training.models.positions import positions
from training.models.preprocess import standardise, unstandardise
from training.models.targets import to_pixels, to_target
from training.models.tubelets import cut, paste, pick

_LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}


class MAEOutput(NamedTuple):
    """The mean loss over the masked tokens, and their prediction (B, N_masked, patch_dim) in ascending order."""

    loss: Tensor
    prediction: Tensor


class MAE(nn.Module):
    """`out = model(video, mask)`: video (B, 3, T, H, W) normalised floats, mask (B, N) bool, True = masked."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, video: Tensor, mask: Tensor, skip: Tensor | None = None) -> MAEOutput:
        """Reconstruct the masked tokens, or those of them that `skip` (B, N) leaves: the decoder never sees the others.

        Raises:
            ValueError: shapes do not fit the model, or the rows of the mask hide different numbers of tokens, or none.
        """
        if mask.shape != (len(video), self.config.grid.tokens):
            raise ValueError(f"a mask of shape {tuple(mask.shape)}: must be ({len(video)}, {self.config.grid.tokens})")
        mask = mask.to(video.device)
        visible, hidden = visible_index(mask), masked_index(mask if skip is None else mask & ~skip.to(video.device))
        tokens, first = self.encoder(video, mask)
        prediction = self.decoder(tokens, first, visible, hidden, self.encoder.positions())
        target = to_target(pick(self.target_cubes(video), hidden), self.config.target)
        return MAEOutput(_LOSSES[self.config.loss](prediction.float(), target.float()), prediction)

    def encode(self, video: Tensor) -> Tensor:
        """All tokens of an unmasked video, (B, N, D)."""
        tokens: Tensor = self.encoder(video)[0]
        return tokens

    def reconstruct(self, video: Tensor, mask: Tensor, *, visible: bool = True) -> Tensor:
        """The video (B, 3, T', H, W) with its masked cubes as predicted, T' the predicted frames; standardised as `video` is.

        A normalised target leaves mean and deviation of a cube open: those are the true ones. Without `visible` the
        cubes that the encoder saw are left black.
        """
        cubes = self.target_cubes(video)
        hidden = masked_index(mask.to(video.device))
        predicted = to_pixels(self(video, mask).prediction.to(cubes.dtype), pick(cubes, hidden), self.config.target)
        filled = (cubes if visible else self.target_cubes(self._black(video))).to(predicted.dtype)
        filled = filled.scatter(1, hidden.unsqueeze(2).expand_as(predicted), predicted)
        grid = self.config.grid
        tubelet = self.config.target_tubelet
        video = paste(filled, type(grid)(tubelet * grid.times, grid.image_size, tubelet, grid.patch))
        if self.config.target == "per_channel":  # its cubes are in [0, 1]
            video = standardise(video, self.config.mean, self.config.std)
        return video

    def _black(self, video: Tensor) -> Tensor:
        return standardise(torch.zeros_like(video), self.config.mean, self.config.std)

    def target_frames(self, device: torch.device | str = "cpu") -> Tensor:
        """Which frames are predicted, (T',): all, or evenly spread ones from the first to the last (MAE-ST)."""
        count = self.config.target_tubelet * self.config.grid.times
        return torch.linspace(0, self.config.num_frames - 1, count, device=device).long()

    def target_cubes(self, video: Tensor) -> Tensor:
        """Pixels of every cube of the predicted frames, (B, N, patch_dim); VideoMAE's are in [0, 1]."""
        frames = video if self.config.target_frames is None else video[:, :, self.target_frames(video.device)]
        if self.config.target == "per_channel":
            frames = unstandardise(frames, self.config.mean, self.config.std)
        return cut(frames, self.config.target_tubelet, self.config.patch)


class Decoder(nn.Module):
    """A narrow transformer over visible tokens and mask tokens; predicts the cubes of the masked ones."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.decoder_dim
        self.embed = nn.Linear(config.dim, dim, bias=config.decoder_bias)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        shared = config.decoder_positions == "shared"
        origin = config.pretrained_grid
        self.positions = None if shared else positions(config.decoder_positions, config.grid, dim, origin)
        own = config.class_token and config.decoder_class == "own"
        self.class_token = nn.Parameter(torch.zeros(dim)) if own else None
        self.class_position = nn.Parameter(torch.zeros(dim)) if config.class_position else None
        self.blocks = nn.ModuleList(
            Block(dim, config.decoder_heads, mlp_ratio=config.mlp_ratio, bias=config.bias, eps=config.eps)
            for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=config.last_eps) if config.decoder_norm else nn.Identity()
        self.head = nn.Linear(dim, config.target_tubelet * config.patch * config.patch * 3)
        initialise(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self, tokens: Tensor, first: Tensor | None, visible: Tensor, hidden: Tensor, encoder_table: Tensor
    ) -> Tensor:
        """Tokens (B, K, D) of the places `visible` (B, K), class token (B, D) or None -> (B, M, patch_dim) for `hidden` (B, M)."""
        table = encoder_table if self.positions is None else self.positions()
        seen = self.embed(tokens)
        # Order does not matter to a transformer: the visible tokens come first, and the last N - K are the answer.
        sequence = [seen + table[visible], (self.mask_token + table[hidden]).to(seen.dtype)]
        if first is not None:
            leading = self.embed(first.unsqueeze(1))
            if self.class_token is not None:
                leading = self.class_token.expand_as(leading)
            sequence.insert(0, leading if self.class_position is None else leading + self.class_position)
        everything = torch.cat(sequence, 1)
        for block in self.blocks:
            everything = block(everything)
        out: Tensor = self.head(self.norm(everything[:, -hidden.shape[1] :]))
        return out
