"""Encoding windows of the sample with a frozen encoder, as stage 3 and evaluate do, against other ways to compute the same.

Processor time on one core. A window is 24 frames of 64x64, 384 tokens of 128 values.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from benchmarks.measure import describe_machine, markdown_table, pin_to_one_core, side_by_side
from training.models import MAE, create_model
from training.models.preprocess import preprocess, standardise

_WINDOWS = 32
_SAMPLE = {"image_size": 64, "num_frames": 24, "tubelet": 4, "dim": 128, "depth": 4, "heads": 4}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    pin_to_one_core()
    torch.set_num_threads(1)
    print(describe_machine())
    times = side_by_side(methods(), rounds=rounds, label="encode")
    print(
        markdown_table(
            ["method", f"{_WINDOWS} windows", "ratio to ours"],
            [[name, f"{1000 * seconds:.0f} ms", f"{seconds / times['ours']:.2f}x"] for name, seconds in times.items()],
        )
    )


def methods() -> dict[str, Callable[[], Tensor]]:
    """Ways to encode the same windows, each to tokens (B, N, D)."""
    torch.manual_seed(0)
    model = create_model("small_2x8x8", **_SAMPLE).eval()
    assert isinstance(model, MAE)
    shape = (_WINDOWS, 24, 64, 64, 3)
    frames = torch.randint(0, 256, shape, generator=Generator().manual_seed(0), dtype=torch.uint8)

    @torch.no_grad()
    def ours() -> Tensor:
        return model.encode(preprocess(frames, model.config))

    @torch.no_grad()
    def out_of_place() -> Tensor:
        config = model.config
        video = standardise(frames.permute(0, 4, 1, 2, 3).float() / 255, config.mean, config.std)
        if not video.isfinite().all():
            raise ValueError("a video has NaN or infinite values")
        return model.encode(video)

    @torch.no_grad()
    def one_at_a_time() -> Tensor:
        return torch.cat([model.encode(preprocess(window, model.config)) for window in frames.split(1)])

    @torch.no_grad()
    def bfloat16() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model.encode(preprocess(frames, model.config))

    return {
        "ours": ours,
        "out of place, every value checked": out_of_place,
        "one window at a time": one_at_a_time,
        "bfloat16": bfloat16,
    }


if __name__ == "__main__":
    main()
