"""What blanking masked patches before Shifted Patch Tokenization's shift is worth: the same autoencoder with and without.

Trained on the dataset that is here (`make dataset`), on the training classes; then, on classes it has not seen, the loss when
masked patches truly cannot be seen, and 5-way 5-shot accuracy of the nearest class mean on its latents.
"""

import argparse

import torch
from torch import Generator

from benchmarks.measure import describe_machine, markdown_table
from training.clips import Clips
from training.data.in_memory import InMemoryClips
from training.engine.batches import reconstruction_loss
from training.engine.checkpoints import Run
from training.engine.loop import train
from training.engine.statistics import mean_ci95
from training.models import MAE, create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.spt import ShiftedPatchTokenization
from training.params import Optimiser

_SHAPE = {"num_frames": 8, "patch": 8, "depth": 3, "heads": 4}
_STRIDE, _BATCH, _WAY, _SHOT = 2, 16, 5, 5
_MASKING = Masking("random", 0.8)


def main() -> None:
    """Train both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--episodes", type=int, default=400)
    arguments = parser.parse_args()
    clips = Clips()
    sides = [
        InMemoryClips(clips, clips.select(split=side), frames=8, stride=_STRIDE, device=torch.device("cpu"))
        for side in ("train", "test")
    ]
    lines = []
    for blanked in (True, False):
        torch.manual_seed(0)
        model = create_model("paper_small", **_SHAPE, spt_zero_masked=blanked)
        assert isinstance(model, MAE)
        compute = reconstruction_loss(model, sides[0], _MASKING, _BATCH)
        run = Run(f"leak/{blanked}", "", 0)
        losses = train(run, model, _optimiser(arguments.steps), compute, save=False)["loss"]
        blind, accuracy = _judge(model, sides[1], arguments.episodes)
        name = "blanked before the shift" if blanked else "not blanked"
        lines.append([name, f"{sum(losses[-20:]) / 20:.4f}", f"{blind:.4f}", f"{accuracy[0]:.1%} ± {accuracy[1]:.1%}"])
    print(f"{describe_machine()}, {arguments.steps} steps of {_BATCH} clips, {arguments.episodes} episodes\n")
    print(
        markdown_table(
            ["masked patches", "training loss", "loss, patches truly hidden", "5-way 5-shot, nearest mean"], lines
        )
    )


def _optimiser(steps: int) -> Optimiser:
    return Optimiser(
        steps=steps,
        warmup=steps // 10,
        batch=_BATCH,
        lr=1e-3,
        weight_decay=0.005,
        betas=(0.9, 0.95),
        clip_norm=1.0,
    )


@torch.no_grad()
def _judge(model: MAE, data: InMemoryClips, episodes: int) -> tuple[float, tuple[float, float]]:
    """The loss on unseen classes with masked patches blanked, and few-shot accuracy of the latents with its interval."""
    assert isinstance(model.encoder.embed, ShiftedPatchTokenization)
    model.encoder.embed.zero_masked_patches = True  # whatever it was trained with
    model.eval()
    generator = Generator().manual_seed(0)
    losses, latents = [], []
    for index in data.batches(32):
        video = preprocess(data.even_windows(index, 0, 1), model.config)
        losses.append(model(video, _MASKING(len(index), model.config.grid, generator)).loss * len(index))
        latents.append(model.encode(video).mean(1))
    points = torch.nn.functional.normalize(torch.cat(latents), dim=1)
    members: dict[int, list[int]] = {}
    for place, row in enumerate(data.rows):
        members.setdefault(row.class_id, []).append(place)
    usable = sorted(number for number, places in members.items() if len(places) > _SHOT)
    hits = []
    for _ in range(episodes):
        chosen = torch.randperm(len(usable), generator=generator)[:_WAY].tolist()
        support, query = [], []
        for number in chosen:
            places = torch.tensor(members[usable[number]])
            order = places[torch.randperm(len(places), generator=generator)]
            support.append(points[order[:_SHOT]].mean(0))
            query.append(points[order[_SHOT]])
        guess = (torch.stack(query) @ torch.stack(support).T).argmax(1)
        hits.append((guess == torch.arange(_WAY)).float().mean())
    return float(torch.stack(losses).sum() / len(data)), mean_ci95(torch.stack(hits))


if __name__ == "__main__":
    main()
