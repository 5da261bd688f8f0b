"""The training runs of all stages: their checkpoints' names, and fingerprints of everything that shapes their weights."""

from dataclasses import asdict, replace
from pathlib import Path

from training.engine.checkpoints import Run, data_fingerprint, fingerprint
from training.engine.weights import weights_digest
from training.params import END_TO_END, NAMED_HEADS, LabelledAugmentation, TrainingParams

# Raise a stage's version when its code gives other weights for the same params and data: what older code has trained is then
# trained again. tests/training/test_golden.py fails when losses change and the version does not.
VERSIONS = {"pretrain": 3, "stage1": 3, "stage2": 4, "stage3": 5}


def pretrain_run(settings: TrainingParams) -> Run:
    """The autoencoder of stages 1 and 3."""
    digest = fingerprint(VERSIONS["pretrain"], settings.pretrain, settings.loader.shuffle, data_fingerprint())
    return Run("pretrain", digest, settings.pretrain.seed, settings.train.compile)


def stage1_run(settings: TrainingParams) -> Run:
    """The autoencoder fine-tuned for reconstruction; its fingerprint holds the digest of published weights.

    Raises:
        WorkError: published weights cannot be read or downloaded.
    """
    stage, own = settings.stage1, settings.pretrain
    if stage.weights is None:
        start = pretrain_run(settings).fingerprint
    else:
        windows = own.stride, own.masking, own.ratio, own.decoder_ratio
        start = fingerprint(weights_digest(stage.weights), windows, settings.loader.shuffle, data_fingerprint())
    shaping = replace(stage, weights=None, test_clips=None)
    return Run("stage1", fingerprint(VERSIONS["stage1"], start, shaping), stage.seed, settings.train.compile)


def stage2_run(settings: TrainingParams, network: str) -> Run:
    """A network of stage 2: `autoencoder`, or the classifier `unmasked` or `masked`."""
    stage, version = settings.stage2, VERSIONS["stage2"]
    shaping = stage
    if network == "autoencoder":  # which the classifiers' settings do not shape
        shaping = replace(
            stage, finetune=stage.pretrain, finetune_augment=LabelledAugmentation(), loss="bce", label_smoothing=0.0
        )
    digest = fingerprint(version, shaping, settings.loader.shuffle, data_fingerprint())
    return Run(f"stage2/{network}", digest, settings.stage2.seed, settings.train.compile)


def stage3_run(settings: TrainingParams, name: str) -> Run:
    """A run of stage 3: a method, or an embedding."""
    stage = settings.stage3
    # Neither the list of methods changes any of them nor, on a frozen encoder, training end to end, nor vectors of class names
    # those that are not told any.
    shaping = asdict(replace(stage, methods=("untrained",)))
    if not name.endswith(END_TO_END):
        del shaping["end_to_end"]
    if not name.startswith(NAMED_HEADS):
        del shaping["text"]
    elif (
        stage.text.encoder is not None and Path(stage.text.encoder).is_dir()
    ):  # not told by name: it may hold other weights
        shaping["text"]["encoder"] = weights_digest(stage.text.encoder)
    digest = fingerprint(VERSIONS["stage3"], pretrain_run(settings).fingerprint, shaping)
    return Run(f"stage3/{name}", digest, stage.seed, settings.train.compile)


def ablation_settings(settings: TrainingParams, seed: int, share: float) -> TrainingParams:
    """The params of the ablation's arms with a seed, counted from 0, and a share of labels."""
    changes = settings.ablation
    stage = replace(
        settings.stage3,
        seed=settings.stage3.seed + seed,
        label_share=share,
        windows=changes.windows,
        views=changes.views,
        embedding_optimiser=changes.embedding_optimiser,
        optimiser=changes.optimiser,
        end_to_end=changes.end_to_end,
    )
    return replace(settings, stage3=stage)


def ablation_run(settings: TrainingParams, seed: int, share: float, name: str) -> Run:
    """A run of the ablation: a method, or an embedding."""
    run = stage3_run(ablation_settings(settings, seed, share), name)
    return replace(run, name=f"ablation/labels_{share:g}/seed_{seed}/{name}")
