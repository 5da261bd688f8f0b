"""The sections of params.yaml that shape the experiments; params.yaml explains each value and gives its source."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from common.params import Count, Fraction, Positive, Range, read
from common.sections import SECTIONS

Storage = Literal["auto", "memory", "decode", "stream"]
Compile = Literal["auto", "always", "never"]
Scale = Annotated[float, Range(0.0, 1000.0)]
FeatureKind = Literal["mean", "change"]
HeadName = Literal[
    "mann",
    "lstm",
    "transformer",
    "maml",
    "anil",
    "prototypes",
    "otam",
    "trx",
    "linear",
    "nearest_mean",
]
EncoderName = Literal["pretrained", "random", "finetuned", "scratch"]
END_TO_END: tuple[EncoderName, ...] = ("finetuned", "scratch")
"""Encoders that are trained, together with the head, from episodes; the others are frozen."""
UNTRAINED = "untrained"
"""The method of which nothing is trained but the encoder."""


@dataclass(frozen=True)
class Optimiser:
    """AdamW with linear warm-up and a cosine down to zero.

    Args:
        accumulate: parts of a batch whose gradients are computed one after the other, to save memory.
        layer_decay: factor on the learning rate from layer to layer towards the input.
        ema: decay of the moving average of the weights, which is the result of the run.
        validations: measurements on held-out clips, evenly spread over the steps.
        patience: validations without a lower loss after which the run ends, with the best weights.
    """

    steps: Positive
    warmup: Count
    batch: Positive
    lr: Annotated[float, Range(0.0, 10.0)]
    weight_decay: Fraction
    betas: tuple[Fraction, ...]
    clip_norm: Annotated[float, Range(1e-6)]
    accumulate: Positive = 1
    layer_decay: Annotated[float, Range(0.01, 1.0)] | None = None
    ema: Annotated[float, Range(0.0, 0.99999)] | None = None
    validations: Count = 0
    patience: Positive | None = None

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or max(self.betas) >= 1:
            raise ValueError(f"betas is {list(self.betas)}: must be two numbers from 0 to below 1")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate is {self.accumulate}: must divide batch, {self.batch}")
        if self.validations > self.steps:
            raise ValueError(f"validations is {self.validations}: must be at most steps, {self.steps}")
        if self.patience is not None and not self.validations:
            raise ValueError(f"patience is {self.patience}: must be null without validations")


@dataclass(frozen=True)
class Loader:
    """How clips are read.

    Args:
        storage: `memory`, `decode` (by offset, when they are needed) or `stream` (shard by shard); `auto` chooses by free
            memory and by where the shards are.
        shuffle: clips in the shuffle buffer.
        shards: folder or fsspec URL below which the shards are read; None: the project folder.
    """

    storage: Storage
    shuffle: Positive
    shards: str | None = None


@dataclass(frozen=True)
class Train:
    """How runs compute their steps.

    Args:
        compile: torch.compile of the steps; `auto`: on a GPU.
    """

    compile: Compile


@dataclass(frozen=True)
class ClipAugmentation:
    """Random changes of training clips by timm's definitions, the same in all frames of a clip. None: no such change.

    Args:
        crop_scale: bounds of the area of a random crop, as a fraction of the frame's; the crop is resized to the frame's size.
        crop_ratio: bounds of its width divided by its height.
        flip: probability of a horizontal flip; clips with a left or right in their labels are never flipped.
        rand_augment: timm's config string, such as rand-m7-mstd0.5-inc1.
    """

    crop_scale: tuple[Fraction, ...] | None = None
    crop_ratio: tuple[Annotated[float, Range(0.01, 100.0)], ...] = (3 / 4, 4 / 3)
    flip: Fraction | None = None
    rand_augment: str | None = None

    def __post_init__(self) -> None:
        for name, bounds in (("crop_scale", self.crop_scale), ("crop_ratio", self.crop_ratio)):
            if bounds is not None and not (len(bounds) == 2 and 0 < bounds[0] <= bounds[1]):
                raise ValueError(f"{name} is {list(bounds)}: must be two rising numbers above 0")


@dataclass(frozen=True)
class LabelledAugmentation(ClipAugmentation):
    """Random changes for training a classifier.

    Args:
        erase: share of the clips in which a random rectangle is replaced by noise.
        mixup: alpha, of the Beta distribution by which pairs of clips are added.
        cutmix: alpha, of the Beta distribution of the area of a rectangle taken from another clip.
        mix_probability: share of the batches that are mixed; with both mixup and cutmix, by one or the other.
    """

    erase: Fraction | None = None
    mixup: Annotated[float, Range(0.0, 100.0)] | None = None
    cutmix: Annotated[float, Range(0.0, 100.0)] | None = None
    mix_probability: Fraction = 1.0


@dataclass(frozen=True)
class Autoencoder:
    """A masked autoencoder, the windows that it takes and how they are masked."""

    model: str
    overrides: dict[str, Any]
    stride: Positive
    masking: Literal["random", "tube", "frame"]
    ratio: Annotated[float, Range(0.01, 0.99)]
    decoder_ratio: float | None
    seed: Count

    def __post_init__(self) -> None:
        if self.decoder_ratio not in (None, 0.25, 0.5, 0.75):
            raise ValueError(f"decoder_ratio is {self.decoder_ratio}: must be 0.25, 0.5, 0.75 or null")


@dataclass(frozen=True)
class Pretrain(Autoencoder):
    """Pre-training of the autoencoder of stages 1 and 3.

    Args:
        sources: of the training clips; None: all.
        validation: share of the clips that is not trained on, but measured `validations` times.
        augment: of the training clips.
    """

    sources: tuple[str, ...] | None
    validation: Annotated[float, Range(0.0, 0.5)]
    augment: ClipAugmentation
    optimiser: Optimiser

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimiser.validations and not self.validation:
            raise ValueError("validation is 0: must be above 0 for optimiser.validations")


@dataclass(frozen=True)
class Stage1:
    """Fine-tuning for reconstruction. Windows and masks are those of `Pretrain`.

    Args:
        weights: path, URL or hub name of published weights to start from; None: those that `pretrain` has trained.
        model: the named model of `weights`.
        overrides: of its config.
        drop_path: of the model that is fine-tuned, whatever its weights.
        augment: of the training clips.
        validation: share of the training clips that is not trained on, but measured `validations` times.
        test_clips: clips of the held-out classes that are measured, evenly spread; None: all.
    """

    weights: str | None
    model: str
    overrides: dict[str, Any]
    drop_path: Annotated[float, Range(0.0, 0.99)]
    augment: ClipAugmentation
    validation: Annotated[float, Range(0.0, 0.5)]
    test_clips: Positive | None
    optimiser: Optimiser
    seed: Count

    def __post_init__(self) -> None:
        if self.optimiser.validations and not self.validation:
            raise ValueError("validation is 0: must be above 0 for optimiser.validations")


@dataclass(frozen=True)
class Stage2(Autoencoder):
    """A masked autoencoder on TinyVIRAT's training clips, and classifiers with its encoder.

    Args:
        loss: `cross_entropy` on a clip's first label; `bce`, binary cross entropy of each label; or `label_sets`, cross
            entropy on the sets of labels that occur in training (label powerset).
        label_smoothing: probability that is spread over all classes; with `bce` targets move towards 0.5 by half of it.
        validation: share of the training clips that is not trained on, but measured `validations` times.
        pretrain_augment: of the autoencoder's clips.
        finetune_augment: of the classifiers' clips.
    """

    loss: Literal["cross_entropy", "bce", "label_sets"]
    label_smoothing: Fraction
    validation: Annotated[float, Range(0.0, 0.5)]
    pretrain: Optimiser
    pretrain_augment: ClipAugmentation
    finetune: Optimiser
    finetune_augment: LabelledAugmentation

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, optimiser in (("pretrain", self.pretrain), ("finetune", self.finetune)):
            if optimiser.validations and not self.validation:
                raise ValueError(f"validation is 0: must be above 0 for {name}.validations")


@dataclass(frozen=True)
class Adapter:
    """The network that embeds a clip's features.

    Args:
        width: channels of the convolution over space and time.
        hidden: width of the layer before the embedding.
    """

    width: Positive
    hidden: Positive
    dropout: Annotated[float, Range(0.0, 0.9)]


@dataclass(frozen=True)
class Memory:
    """The memory-augmented network.

    Args:
        write: `shared`: every head writes to all least-used rows, as published; `per_head`: to one of its own.
        softmax: of the read weights: `plain`, as published, or `sharpened` by a learned key strength.
    """

    rows: Positive
    width: Positive
    controller: Positive
    heads: Positive
    decay: Fraction
    write: Literal["shared", "per_head"]
    softmax: Literal["plain", "sharpened"]
    key_strength: Scale

    def __post_init__(self) -> None:
        if self.heads > self.rows:
            raise ValueError(f"heads is {self.heads}: must be at most rows, {self.rows}")


@dataclass(frozen=True)
class StackedLSTM:
    units: Positive
    layers: Positive


@dataclass(frozen=True)
class InContextTransformer:
    width: Positive
    depth: Positive
    heads: Positive

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads is {self.heads}: must divide width, {self.width}")


@dataclass(frozen=True)
class GradientSteps:
    """MAML and ANIL.

    Args:
        hidden: width between the two layers.
        steps: on the support of an episode.
        inner_lr: their learning rate.
        rate: `fixed`; or learned, a `scalar` or `per_weight`.
        order: of the gradient through the steps.
    """

    hidden: Positive
    steps: Positive
    inner_lr: Scale
    rate: Literal["fixed", "scalar", "per_weight"]
    order: Literal["first", "second"]


@dataclass(frozen=True)
class EndToEnd:
    """Training of encoder, embedding and head together; a step takes `batch` episodes.

    Args:
        instances: clips of each class in a training episode; at most those of `Stage3`.
        micro_batch: windows that are encoded at a time, whose activations memory must hold; None: all of a step, which saves a
            second forward pass.
        class_weight: factor on the loss of classifying the episodes' clips into the training classes.
        finetuned: optimiser of an encoder that is pre-trained.
        scratch: optimiser of an encoder that is not.
    """

    instances: Annotated[int, Range(2, 100)]
    micro_batch: Positive | None
    class_weight: Annotated[float, Range(0.0, 100.0)]
    finetuned: Optimiser
    scratch: Optimiser


@dataclass(frozen=True)
class TemporalAlignment:
    """The head `otam`; gamma: of the relaxed minimum."""

    gamma: Annotated[float, Range(0.001, 100.0)]


@dataclass(frozen=True)
class TemporalRelations:
    """The head `trx`.

    Args:
        width: of keys and values.
        cardinalities: frames of a tuple, in order; distances of several are added.
    """

    width: Positive
    cardinalities: tuple[Annotated[int, Range(2, 4)], ...]

    def __post_init__(self) -> None:
        if not self.cardinalities or len(set(self.cardinalities)) < len(self.cardinalities):
            raise ValueError(f"cardinalities is {list(self.cardinalities)}: must hold at least one, and none twice")


@dataclass(frozen=True)
class Stage3:
    """Few-shot learners on features of an encoder.

    Args:
        methods: that are trained and evaluated, each HEAD_ENCODER or `untrained`.
        windows: of each clip; its embedding is the mean of theirs.
        features: of a window: `mean`, the mean of all tokens; `change`, how the tokens of each place change over time.
        feature_grid: places along each side that are kept of `change`.
        validation_classes: of the training classes, left out of training and measured instead.
        label_share: of the clips of the other training classes that have labels.
        views: embeddings of each training clip, with dropout, that the heads train on.
        embedding_optimiser: of the embedding, which classifies the training classes; a step takes `batch` clips.
        optimiser: of the heads; a step takes `batch` episodes.
    """

    methods: tuple[str, ...]
    way: Annotated[int, Range(2, 100)]
    instances: Annotated[int, Range(2, 100)]
    windows: Positive
    features: FeatureKind
    feature_grid: Positive
    adapter: Adapter
    embedding: Positive
    class_scale: Scale
    label_smoothing: Fraction
    validation_classes: Count
    label_share: Annotated[float, Range(1e-6, 1.0)]
    views: Positive
    embedding_scale: Scale
    memory: Memory
    lstm: StackedLSTM
    transformer: InContextTransformer
    maml: GradientSteps
    anil: GradientSteps
    otam: TemporalAlignment
    trx: TemporalRelations
    embedding_optimiser: Optimiser
    optimiser: Optimiser
    end_to_end: EndToEnd
    seed: Count

    def __post_init__(self) -> None:
        if self.embedding_optimiser.validations:
            raise ValueError("embedding_optimiser.validations is not 0: must be 0, an embedding has none")
        for name, optimiser in (
            ("optimiser", self.optimiser),
            ("end_to_end.finetuned", self.end_to_end.finetuned),
            ("end_to_end.scratch", self.end_to_end.scratch),
        ):
            if optimiser.validations and not self.validation_classes:
                raise ValueError(f"validation_classes is 0: must be above 0 for {name}.validations")
        if self.end_to_end.instances > self.instances:
            raise ValueError(
                f"end_to_end.instances is {self.end_to_end.instances}: must be at most instances, {self.instances}"
            )
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods is {list(self.methods)}: must name at least one, and none twice")
        heads, encoders = get_args(HeadName), get_args(EncoderName)
        known = {UNTRAINED, *(f"{head}_{encoder}" for head in heads for encoder in encoders)}
        unknown = next((name for name in self.methods if name not in known), None)
        if unknown is not None:
            raise ValueError(
                f"methods has {unknown}: must be {UNTRAINED} or HEAD_ENCODER, HEAD one of {', '.join(heads)}, "
                f"ENCODER one of {', '.join(encoders)}"
            )
        tuples = next((name for name in self.methods if name.startswith("trx_")), None)
        if tuples is not None and self.features == "mean":
            raise ValueError(f"methods has {tuples}: must be without trx where features is mean, one vector a window")


@dataclass(frozen=True)
class Evaluate:
    episodes: Positive
    seed: Count


@dataclass(frozen=True)
class Ablation:
    """What the ablation changes in stage 3 and `evaluate`: every arm is trained for every seed and share of labels.

    Args:
        seeds: number of seeds, counted up from that of stage 3.
        label_shares: of the training clips.
        windows: of each clip, as in `Stage3`; so are the optimisers and `end_to_end`.
        episodes: of the evaluation.
    """

    seeds: Positive
    label_shares: tuple[Annotated[float, Range(1e-6, 1.0)], ...]
    windows: Positive
    embedding_optimiser: Optimiser
    optimiser: Optimiser
    end_to_end: EndToEnd
    episodes: Positive

    def __post_init__(self) -> None:
        if not self.label_shares or sorted(set(self.label_shares)) != list(self.label_shares):
            raise ValueError(f"label_shares is {list(self.label_shares)}: must be rising and not empty")


@dataclass(frozen=True)
class TrainingParams:
    """All sections that the training stages use."""

    loader: Loader
    train: Train
    pretrain: Pretrain
    stage1: Stage1
    stage2: Stage2
    stage3: Stage3
    evaluate: Evaluate
    ablation: Ablation


def load() -> TrainingParams:
    """Read and check params.yaml in the current folder.

    Raises:
        ParamError: naming the key, the value and what is allowed.
    """
    file = read(SECTIONS)
    return TrainingParams(
        loader=file.section("loader", Loader),
        train=file.section("train", Train),
        pretrain=file.section("pretrain", Pretrain),
        stage1=file.section("stage1", Stage1),
        stage2=file.section("stage2", Stage2),
        stage3=file.section("stage3", Stage3),
        evaluate=file.section("evaluate", Evaluate),
        ablation=file.section("ablation", Ablation),
    )
