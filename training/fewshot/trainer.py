"""Trains the methods of stage 3: embeddings, heads, and learners end to end; a part that several methods share once."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from training.data.windows import ClipWindows
from training.engine.checkpoints import History, Run, load_finished, save_result
from training.engine.device import one_thread
from training.engine.loop import train
from training.engine.statistics import mean_of_last
from training.fewshot.adapter import ClassifiedEmbedding, Embedding, FlatEmbedding
from training.fewshot.classes import split_classes
from training.fewshot.end_to_end import build_end_to_end, end_to_end_task
from training.fewshot.features import extract, feature_shape
from training.fewshot.head import Head
from training.fewshot.heads import Inputs, build_head
from training.fewshot.learner import FewShotLearner
from training.fewshot.methods import Method, build_classifier, build_learner, embedding_run, head_inputs
from training.fewshot.predict import embed_clips, embed_views
from training.fewshot.tasks import class_task, episode_task, validate
from training.fewshot.text import ClassNames, class_names
from training.fewshot.text_prototypes import TextPrototypeHead
from training.models import MAE
from training.models.encoder import Encoder
from training.params import EncoderName, FeatureKind, Stage3

_LAST_STEPS = 50  # that the metrics' last values are means of


class TrainedMethod(NamedTuple):
    """A learner, and the encoder whose features it takes."""

    encoder: Encoder
    learner: FewShotLearner


class FrozenFeatures:
    """Features of all clips by frozen encoders; those of the last encoder asked for are kept.

    Args:
        autoencoders: by the name of their encoder.
        data: windows of the clips.
        windows: of each clip.
        grid: places along each side.
        kind: of the features.
    """

    def __init__(
        self,
        autoencoders: Mapping[EncoderName, MAE],
        data: ClipWindows,
        *,
        windows: int,
        grid: int,
        kind: FeatureKind = "change",
    ) -> None:
        self.autoencoders, self.data = autoencoders, data
        self._windows, self._grid, self._kind = windows, grid, kind
        self._last: tuple[EncoderName, Tensor] | None = None

    def __call__(self, encoder: EncoderName) -> Tensor:
        """(clips, windows, times, places, F) on the host."""
        if self._last is None or self._last[0] != encoder:
            self._last = None  # the memory of the other features is free before these are extracted
            model = self.autoencoders[encoder]
            found = extract(model, self.data, windows=self._windows, grid=self._grid, kind=self._kind)
            self._last = encoder, found
        return self._last[1]


class Trainer:
    """Trains methods on the training classes; what a finished run has trained is loaded.

    Args:
        settings: of stage 3.
        features: of the training clips.
        run: the run of a part by its name.
        fresh: an autoencoder as initialised, for the encoder `scratch`.

    Raises:
        ParamError: too few classes have enough clips for an episode.
    """

    def __init__(
        self, settings: Stage3, features: FrozenFeatures, run: Callable[[str], Run], fresh: Callable[[], MAE]
    ) -> None:
        self._settings, self._features, self._run, self._fresh = settings, features, run, fresh
        self._data = features.data
        self._training, self._measured = split_classes(self._data.rows, settings)
        self._shape = feature_shape(
            features.autoencoders["pretrained"].config, settings.feature_grid, settings.features
        )
        self._embeddings: dict[EncoderName, ClassifiedEmbedding] = {}
        self._views: dict[tuple[EncoderName, Inputs], Tensor] = {}
        self.metrics: dict[str, dict[str, float]] = {}
        """The numbers of each run in metrics/stage3.json."""

    def train(self, method: Method) -> TrainedMethod:
        """Train what the method needs.

        Raises:
            WorkError: a loss, or a feature, is not finite.
        """
        if method.end_to_end:
            return self._train_end_to_end(method)
        encoder = self._features.autoencoders[method.encoder].encoder
        if not method.trained:
            return TrainedMethod(encoder, build_learner(method, self._shape, self._settings).to(self._data.device))
        embedding, head = self._inputs(method), self._head(method)
        if self._measured is not None and method.trains_embedding:
            embedded = embed_clips(embedding, self._features(method.encoder), self._data.device)
            names = self._names if method.named else None
            self._record(method.name, validate(head, embedded, self._measured, self._settings, names))
        return TrainedMethod(encoder, FewShotLearner(embedding, head, self._settings.way))

    def _inputs(self, method: Method) -> Embedding:
        """What turns a frozen encoder's features into the inputs of the method's head."""
        if not method.trains_embedding:
            return FlatEmbedding()
        return head_inputs(self._embedding(method.encoder).embedding, method.inputs)

    def _embedding(self, encoder: EncoderName) -> ClassifiedEmbedding:
        """The embedding of a frozen encoder's features, trained by classifying the training classes."""
        if encoder not in self._embeddings:
            classes, features = self._training, self._features(encoder)
            model = build_classifier(self._shape, len(classes.classes), self._settings)
            model.to(self._data.device)
            task = class_task(model, features, classes.clips, classes.numbers, self._settings)
            name = embedding_run(encoder)
            self.metrics[name] = summarise(train(self._run(name), model, self._settings.embedding_optimiser, task))
            self._embeddings[encoder] = model
        return self._embeddings[encoder]

    def _head(self, method: Method) -> Head:
        """The method's head, trained on embeddings if it is one that learns."""
        settings = self._settings
        head = build_head(method.head, settings).to(self._data.device)
        if not method.trains_head:
            return head
        embedding, key = self._inputs(method), (method.encoder, method.inputs)
        features, device = self._features(method.encoder), self._data.device
        if isinstance(head, TextPrototypeHead):
            self._fit(method, head, embed_clips(embedding, features, device))
            return head
        if key not in self._views:
            self._views[key] = embed_views(embedding, features, device, views=settings.views, seed=settings.seed)
        measured = None
        if settings.optimiser.validations and self._measured is not None:
            measured = self._measured, embed_clips(embedding, features, device)
        task = episode_task(head, self._training.sampler, self._views[key], settings, measured)
        with one_thread():
            history = train(self._run(method.name), head, settings.optimiser, task)
        self._record(method.name, summarise(history))
        return head

    def _fit(self, method: Method, head: TextPrototypeHead, embedded: Tensor) -> None:
        """Learn the head's prior from the names of the training classes and embeddings of all clips, (N, E)."""
        training, names = self._training, self._names
        vectors = names.of_classes(training.clips, training.numbers)
        explained = head.fit(vectors, embedded.cpu()[training.clips], training.numbers)
        save_result(self._run(method.name), head)
        print(
            f"stage3: {method.name}: names of other classes predict {explained:.0%} of the variance between class means; a name "
            f"counts as {head.clips:.2f} clips"
        )

    @cached_property
    def _names(self) -> ClassNames:
        return class_names(self._data.rows, self._settings.text)

    def _train_end_to_end(self, method: Method) -> TrainedMethod:
        """Train encoder, embedding and head together.

        With the encoder `finetuned`, embedding and head start as they were trained on the frozen encoder, so that the first
        steps do not spoil it (Kumar et al. 2022, arXiv 2202.10054).
        """
        settings, device = self._settings, self._data.device
        model = build_end_to_end(method, self._fresh(), self._shape, len(self._training.classes), settings).to(device)
        if method.encoder == "finetuned":
            model.encoder.load_state_dict(self._features.autoencoders["pretrained"].encoder.state_dict())
            frozen = replace(method, encoder="pretrained")
            if method.trains_embedding:
                model.embedding.load_state_dict(self._embedding("pretrained").state_dict())
            model.head.load_state_dict(self._head(frozen).state_dict())
        optimiser = getattr(settings.end_to_end, method.encoder)
        task = end_to_end_task(model, self._data, self._training, self._measured, settings, optimiser.batch)
        self.metrics[method.name] = summarise(train(self._run(method.name), model, optimiser, task))
        if task.validate is not None:
            self._record(method.name, task.validate())
        return TrainedMethod(model.encoder, model.learner(settings.way))

    def _record(self, name: str, measured: Mapping[str, float]) -> None:
        values = {key: value for key, value in measured.items() if key != "loss"}
        self.metrics[name] = self.metrics.get(name, {}) | values


def load_method(
    method: Method,
    autoencoder: MAE,
    classes: int,
    settings: Stage3,
    run: Callable[[str], Run],
) -> TrainedMethod:
    """A method as finished runs have trained it.

    Args:
        method: the method.
        autoencoder: that its encoder is of; the encoder is overwritten if it is one that is trained.
        classes: number of classes that an embedding was trained on.
        settings: of stage 3.
        run: the run of a part by its name.

    Raises:
        WorkError: a run has not finished with these params and data, or its weights are of another model.
    """
    shape = feature_shape(autoencoder.config, settings.feature_grid, settings.features)
    device = next(autoencoder.parameters()).device
    if method.end_to_end:
        model = build_end_to_end(method, autoencoder, shape, classes, settings).to(device)
        load_finished(run(method.name), model)
        return TrainedMethod(model.encoder.eval(), model.learner(settings.way).eval())
    learner = build_learner(method, shape, settings).to(device)
    if method.trains_embedding:
        classifier = build_classifier(shape, classes, settings).to(device)
        load_finished(run(embedding_run(method.encoder)), classifier)
        learner.embedding = head_inputs(classifier.embedding, method.inputs)
    if method.trains_head:
        load_finished(run(method.name), learner.head)
    return TrainedMethod(autoencoder.encoder, learner.eval())


def summarise(history: History) -> dict[str, float]:
    """A run's numbers in metrics/stage3.json."""
    return {
        "steps": len(history["loss"]),
        "loss_first": history["loss"][0],
        "loss_last": mean_of_last(history["loss"], _LAST_STEPS),
        "accuracy_last": mean_of_last(history["accuracy"], _LAST_STEPS),
    }
