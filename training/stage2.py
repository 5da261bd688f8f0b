"""stage 2: the small ViT with Shifted Patch Tokenization, from scratch, on TinyVIRAT's 26 classes (first label).

A masked autoencoder is pre-trained on the TinyVIRAT clips, its encoder then fine-tuned with a classification head, once
seeing everything and once seeing a fifth of the patches.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from common.errors import ParamError, WorkError
from common.files import write_json
from training import params
from training.clips import Clip, Clips
from training.data.in_memory import Resident
from training.engine.loop import METRICS, Run, data_fingerprint, fingerprint, pick_device, train
from training.engine.statistics import mean_ci95
from training.models import MAE, Classifier, create_model
from training.models.masking import MASKS
from training.params import Stage2

_BATCH = 32


def main() -> None:
    """Read the shards, write checkpoints/stage2/ and metrics/stage2.json."""
    settings = params.load().stage2
    clips = Clips()
    labelled = [clip for clip in clips.rows if clip.tinyvirat_labels]
    if not labelled:
        raise WorkError("stage2 needs TinyVIRAT clips: list a source of kind tinyvirat in params.yaml")
    names = sorted({clip.tinyvirat_labels[0] for clip in labelled})
    torch.manual_seed(settings.seed)
    autoencoder = create_model(settings.model, **settings.overrides).to(pick_device())
    if not isinstance(autoencoder, MAE):
        raise ParamError(f"params.yaml: stage2.model is {settings.model}, a classifier: must be a masked autoencoder")
    frames = autoencoder.config.num_frames
    train_rows = [clip for clip in labelled if clip.official_split != "test"]
    test_rows = [clip for clip in labelled if clip.official_split == "test"]
    data, test = (
        Resident(clips, rows, frames=frames, stride=settings.stride, device=pick_device())
        for rows in (train_rows, test_rows)
    )
    print_of = fingerprint(settings, data_fingerprint())

    def reconstruct(generator: Generator) -> Tensor:
        index = torch.randint(len(data), (settings.pretrain.batch,), generator=generator)
        mask = MASKS["random"](len(index), autoencoder.config.grid, settings.ratio, generator)
        loss: Tensor = autoencoder(data.random(index, generator), mask).loss
        return loss

    train(Run("stage2/autoencoder", print_of, settings.seed), autoencoder, settings.pretrain, reconstruct)
    results: dict[str, object] = {"classes": len(names), "train_clips": len(data), "test_clips": len(test)}
    for masked in (False, True):
        name = "masked" if masked else "unmasked"
        results[name] = _classify(name, autoencoder, data, test, names, settings, masked=masked, print_of=print_of)
    write_json(METRICS / "stage2.json", results)


def _classify(
    name: str,
    autoencoder: MAE,
    data: Resident,
    test: Resident,
    names: list[str],
    settings: Stage2,
    *,
    masked: bool,
    print_of: str,
) -> dict[str, float]:
    torch.manual_seed(settings.seed)
    model = create_model(settings.model, **(dict(settings.overrides) | {"classes": len(names)})).to(pick_device())
    assert isinstance(model, Classifier)
    learnt = autoencoder.encoder.state_dict()
    model.encoder.load_state_dict({key: learnt[key] for key in model.encoder.state_dict()})
    truth = _labels(data.rows, names)

    def loss_of(generator: Generator) -> Tensor:
        index = torch.randint(len(data), (settings.finetune.batch,), generator=generator)
        video = data.random(index, generator)
        mask = MASKS["random"](len(index), model.config.grid, settings.ratio, generator) if masked else None
        target = truth[index].to(video.device)
        return F.cross_entropy(model(video, mask), target, label_smoothing=settings.label_smoothing)

    train(Run(f"stage2/{name}", print_of, settings.seed), model, settings.finetune, loss_of)
    scores = _score(model, test, _labels(test.rows, names), settings, masked=masked)
    print(f"stage2: {name}: top-1 {scores['top1']:.1%} +- {scores['top1_ci95']:.1%}, top-5 {scores['top5']:.1%}")
    return scores


@torch.no_grad()
def _score(model: Classifier, test: Resident, truth: Tensor, settings: Stage2, *, masked: bool) -> dict[str, float]:
    generator = Generator().manual_seed(settings.seed)
    logits = []
    for index in torch.arange(len(test)).split(_BATCH):
        mask = MASKS["random"](len(index), model.config.grid, settings.ratio, generator) if masked else None
        logits.append(model(test.even(index, 0, 1), mask).float().cpu())
    ranked = torch.cat(logits).argsort(1, descending=True)
    hit = ranked == truth[:, None]
    top1, top1_ci95 = mean_ci95(hit[:, 0])
    top5, top5_ci95 = mean_ci95(hit[:, :5].any(1))
    scores = {"top1": top1, "top1_ci95": top1_ci95, "top5": top5, "top5_ci95": top5_ci95}
    return scores | {"macro_f1": _macro_f1(ranked[:, 0], truth)}


def _macro_f1(guess: Tensor, truth: Tensor) -> float:
    """F1 averaged over the classes that occur in the truth."""
    values = []
    for number in truth.unique():
        right = ((guess == number) & (truth == number)).sum()
        values.append(2 * right / ((guess == number).sum() + (truth == number).sum()))
    return float(torch.stack(values).mean())


def _labels(rows: tuple[Clip, ...], names: list[str]) -> Tensor:
    return torch.tensor([names.index(clip.tinyvirat_labels[0]) for clip in rows])
