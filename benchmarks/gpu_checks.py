"""A device against the CPU: models, augmentation, masks, compiled steps and the loop give the same results."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.utils._pytree import tree_map_only

from benchmarks.drawn import draw_frames
from benchmarks.train import load_loop
from training.data.augment import Augment, AugmentConfig, Mixup, RandomErasing
from training.engine.objective import Objective, compiled, mixed_precision
from training.models import MAE, create_model, model_config
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.presets import PRESETS
from training.models.tubelets import TokenSplit

_FLOAT32, _BFLOAT16 = 1e-3, 5e-2  # relative errors that are allowed
_TINY = {"num_frames": 16, "image_size": 32, "tubelet": 2, "patch": 8, "dim": 48, "depth": 1, "heads": 4}
_TINY |= {"decoder_depth": 1}


class Check(NamedTuple):
    """An error and the largest that is allowed."""

    name: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        """False for an error that is NaN, too."""
        return self.error <= self.limit


def run_checks(device: torch.device, *, quick: bool) -> Iterator[Check]:
    """All checks of a device; the folder holds drawn clips. `quick` takes three small models only."""
    torch.set_float32_matmul_precision("highest")  # TF32 has errors of its own
    names = ("paper_small", "paper_small_classifier", "small_2x8x8") if quick else tuple(PRESETS)
    for name in names:
        yield check_model(name, device)
    yield check_model("small_2x8x8", device, distance_bias="both")
    yield from check_augmentation(device)
    yield check_masks(device)
    yield check_waits(device)
    yield check_compiled(device, graphs=False)
    if device.type == "cuda":
        yield check_compiled(device, graphs=True)
    yield check_loop(device)


def relative_error(ours: list[Tensor], expected: list[Tensor]) -> float:
    """Norm of the difference of all values together, relative to that of the expected ones."""
    pairs = [(a.detach().double().cpu(), b.detach().double().cpu()) for a, b in zip(ours, expected, strict=True)]
    difference = sum(float((a - b).square().sum()) for a, b in pairs)
    return float((difference / sum(float(b.square().sum()) for _, b in pairs)) ** 0.5)


def check_model(name: str, device: torch.device, **overrides: Any) -> Check:
    """Loss and gradients in float32 of a named model with two blocks and 7x7 patches."""
    config = model_config(name)
    small = {"num_frames": min(16, config.num_frames), "image_size": 7 * config.patch, "depth": 2, "decoder_depth": 1}
    torch.manual_seed(0)
    model = create_model(name, **(small | overrides)).eval()
    grid = model.config.grid
    generator = Generator().manual_seed(0)
    video = torch.randn((2, 3, grid.num_frames, grid.image_size, grid.image_size), generator=generator)
    split = TokenSplit.of(Masking("tube", 0.8)(2, grid, generator), 2, grid)
    results = []
    for place in (torch.device("cpu"), device):
        moved = model.to(place)
        moved.zero_grad()
        video_there, split_there = video.to(place), split.to(place)
        loss = moved(video_there, split_there).loss if isinstance(moved, MAE) else moved(video_there).square().mean()
        loss.backward()
        gradients = [parameter.grad.cpu() for parameter in moved.parameters() if parameter.grad is not None]
        results.append([loss.detach().cpu(), *gradients])
    changed = f" with {', '.join(f'{key} {value}' for key, value in overrides.items())}" if overrides else ""
    return Check(f"{name}{changed}: loss and gradients, float32", relative_error(results[1], results[0]), _FLOAT32)


def check_augmentation(device: torch.device) -> Iterator[Check]:
    """Crop, flip and RandAugment of uint8 clips by the same draws; erasing and mixup of floats."""
    generator = Generator().manual_seed(0)
    clips = torch.stack([torch.from_numpy(draw_frames(seed)[::7]) for seed in range(16)])
    augment = Augment(AugmentConfig())
    draws = augment.draw(clips, generator)
    expected = augment.apply(clips, draws)
    ours = augment.apply(clips.to(device), _move(draws, device)).cpu()
    unequal = ((ours.int() - expected.int()).abs() > 1).float().mean()  # one level: sums in another order, rounded
    yield Check("crop, flip and RandAugment: share of values off by more than one level", float(unequal), 1e-3)
    video = preprocess(clips, model_config("small_2x8x8"))
    labels = torch.arange(len(clips)) % 4
    erasing, mixup = RandomErasing(0.5), Mixup(classes=4)
    erased, mixed = erasing.draw(video.shape, generator), mixup.draw(video.shape, generator)
    expected_video, expected_target = mixup.apply(erasing.apply(video, erased), labels, mixed)
    there = erasing.apply(preprocess(clips.to(device), model_config("small_2x8x8")), _move(erased, device))
    our_video, our_target = mixup.apply(there, labels.to(device), _move(mixed, device))
    error = relative_error([our_video, our_target], [expected_video, expected_target])
    yield Check("preprocess, random erasing and mixup, float32", error, 1e-5)


def check_masks(device: torch.device) -> Check:
    """Masks drawn on the device hide the wanted number of tokens in each row, and are split as on the CPU."""
    grid, wrong = model_config("small_2x8x8").grid, 0
    for kind, hidden in (("random", 461), ("tube", 58 * 8), ("frame", 7 * 64)):
        mask = Masking(kind, 0.9)(64, grid, Generator(device).manual_seed(0))  # type: ignore[arg-type]
        wrong += int((mask.sum(1) != hidden).sum())
        there, here = TokenSplit.of(mask, 64, grid), TokenSplit.of(mask.cpu(), 64, grid)
        wrong += sum(int((a.cpu() != b).sum()) for a, b in zip(there, here, strict=True))
    return Check("masks and their splits: wrong tokens", wrong, 0)


def check_compiled(device: torch.device, *, graphs: bool) -> Check:
    """Losses and gradients of compiled steps on batches that follow each other, in the engine's precision, against eager."""
    eager, draw = _tiny_objective(device)
    fast = compiled(eager, draw(), device, graphs=graphs, name="compiled step")
    batches = [draw() for _ in range(4)]
    ours, expected = ([value for batch in batches for value in _step(step, batch, device)] for step in (fast, eager))
    name = f"compiled step{' with CUDA graphs' if graphs else ''}: losses and gradients"
    limit = _BFLOAT16 if device.type == "cuda" else _FLOAT32
    return Check(name, relative_error(ours, expected) if fast is not eager else float("nan"), limit)


def check_waits(device: torch.device) -> Check:
    """An eager step makes the host wait for the GPU nowhere; torch raises where it would."""
    eager, draw = _tiny_objective(device)
    batch, waits = draw(), 0
    _step(eager, batch, device)
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        _step(eager, batch, device)
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        waits = 1
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    return Check("step: waits of the host for the device", waits, 0)


def _tiny_objective(device: torch.device) -> tuple[nn.Module, Callable[[], tuple[Tensor, TokenSplit]]]:
    """The objective of a tiny autoencoder, and a function that draws its batches."""
    torch.manual_seed(0)
    model = create_model("small_2x8x8", **_TINY)
    assert isinstance(model, MAE)
    model.to(device)
    grid, generator = model.config.grid, Generator().manual_seed(0)

    def draw() -> tuple[Tensor, TokenSplit]:
        frames = torch.randint(256, (4, 16, 32, 32, 3), generator=generator, dtype=torch.uint8)
        return frames.to(device), TokenSplit.of(Masking("random", 0.9)(4, grid, generator), 4, grid).to(device)

    def compute(batch: tuple[Tensor, TokenSplit]) -> dict[str, Tensor]:
        return {"loss": model(preprocess(batch[0], model.config), batch[1]).loss}

    return Objective(model, compute), draw


def _step(objective: nn.Module, batch: Any, device: torch.device) -> list[Tensor]:
    """The loss and all gradients."""
    objective.zero_grad()
    torch.compiler.cudagraph_mark_step_begin()
    with mixed_precision(device):
        loss = objective(batch)["loss"]
    loss.backward()
    gradients = [parameter.grad.clone() for parameter in objective.parameters() if parameter.grad is not None]
    return [loss.detach().clone(), *gradients]


def check_loop(device: torch.device) -> Check:
    """The losses of four steps of the loop, on the CPU in float32 and on the device."""
    losses = []
    for place in (torch.device("cpu"), device):
        torch.manual_seed(0)
        model = create_model("small_2x8x8", **(_TINY | {"image_size": 64}))
        assert isinstance(model, MAE)
        losses.append(torch.tensor(load_loop(model.to(place), 8, clips=32).run(4)["loss"]))
    limit = _BFLOAT16 if device.type == "cuda" else _FLOAT32
    return Check("four steps of the loop: losses", relative_error([losses[1]], [losses[0]]), limit)


def _move(draws: Any, device: torch.device) -> Any:
    move: Callable[[Tensor], Tensor] = lambda values: values.to(device)  # noqa: E731
    return tree_map_only(Tensor, move, draws)
