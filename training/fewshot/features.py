"""What the few-shot stages see of a clip: how the tokens of the frozen encoder change over time."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from training.data.in_memory import Resident
from training.models import MAE

_BATCH = 32
_GRID = 4  # places along each side that are kept


@torch.no_grad()
def extract(model: MAE, data: Resident, windows: int) -> Tensor:
    """Features of `windows` windows of every clip, `(clips, windows, times, 16 * D)`, half precision, on the host.

    Tokens are averaged over a 4x4 grid of places, and a clip's mean over time is taken away: what stays the same (the
    scene, the clothes) says nothing of the action.
    """
    model.eval()
    grid = model.config.grid
    side = round(grid.places**0.5)
    out = []
    for index in tqdm(torch.arange(len(data)).split(_BATCH), desc="encode", unit="batch", disable=None):
        views = []
        for number in range(windows):
            tokens = model.encode(data.even(index, number, windows)).float()
            maps = tokens.reshape(len(index) * grid.times, side, side, -1).permute(0, 3, 1, 2)
            pooled = F.adaptive_avg_pool2d(maps, min(_GRID, side)).reshape(len(index), grid.times, -1)
            change = pooled - pooled.mean(1, keepdim=True)
            views.append((change / (change.std((1, 2), keepdim=True) + 1e-6)).half().cpu())
        out.append(torch.stack(views, 1))
    return torch.cat(out)


class TemporalAdapter(nn.Module):
    """Features `(B, times, F)` -> embeddings `(B, E)` of unit length: a look at each moment, then at how they follow."""

    def __init__(self, features: int, times: int, embedding: int, width: int = 128) -> None:
        super().__init__()
        self.moment = nn.Sequential(nn.Linear(features, width), nn.GELU())
        self.over_time = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.out = nn.Sequential(
            nn.LayerNorm(times * width), nn.Linear(times * width, 256), nn.GELU(), nn.Linear(256, embedding)
        )

    def forward(self, features: Tensor) -> Tensor:
        """One embedding a clip."""
        moments = self.moment(features.float()).transpose(1, 2)
        for layer in self.over_time:
            moments = moments + F.gelu(layer(moments))
        return F.normalize(self.out(moments.flatten(1)), dim=1)
