"""Stage 2's recipe: a masked autoencoder is pre-trained on labelled clips, then classifiers are trained with its encoder."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from training.clips import Clip, Clips
from training.data.windows import ClipWindows
from training.engine.augmentation import Augmentation
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.checkpoints import History, Run
from training.engine.classification import classification_task, classification_validation, classify, score
from training.engine.device import pick_device
from training.engine.labels import Labels
from training.engine.loop import train
from training.engine.probes import control_scores, logistic_regression, pooled_latents
from training.engine.setup import build_autoencoder, build_masking, load_windows
from training.engine.validation import carve, reconstruction_validation
from training.models import MAE, Classifier
from training.params import Loader, Stage2


class Recognition:
    """The clips and settings of stage 2, on which its networks are trained and measured.

    Args:
        settings: of params.yaml's stage2.
        loader: of params.yaml.
        clips: where the clips are read from.
        rows: the training clips; each has labels.
        test_rows: the clips that are measured; each has labels.

    Raises:
        ParamError: the params are impossible.
        WorkError: there are no clips to train on or to measure, or they cannot be read.
    """

    def __init__(
        self, settings: Stage2, loader: Loader, clips: Clips, rows: Sequence[Clip], test_rows: Sequence[Clip]
    ) -> None:
        self.settings, self._size, self._buffer = settings, clips.size, loader.shuffle
        self.config = self.new_autoencoder().config
        kept, held = carve(rows, settings.validation, settings.seed)
        names = sorted({label for clip in (*rows, *test_rows) for label in clip.tinyvirat_labels})
        self.labels = Labels(names, settings.loss, kept)
        self.masking = build_masking(settings)

        def windows(part: Sequence[Clip]) -> ClipWindows:
            return load_windows(clips, part, self.config, settings, "stage2", loader)

        self.train, self.test = windows(kept), windows(test_rows)
        self.held = windows(held) if held else None

    def new_autoencoder(self) -> MAE:
        """The autoencoder, freshly initialised; the same weights for the same seed."""
        return build_autoencoder(self.settings, "stage2", self._size)

    def pretrain(self, run: Run) -> tuple[MAE, History]:
        """An autoencoder that reconstructs the training clips."""
        stage, model = self.settings, self.new_autoencoder()
        sampler = BatchSampler(
            self.train,
            model.config,
            self.masking,
            stage.pretrain.batch,
            seed=stage.seed,
            buffer=self._buffer,
            augmentation=Augmentation(stage.pretrain_augment, "stage2.pretrain_augment"),
        )
        task = reconstruction_task(model, sampler)
        if self.held is not None:
            task = replace(task, validate=reconstruction_validation(model, self.held, self.masking, stage.seed))
        return model, train(run, model, stage.pretrain, task)

    def finetune(self, run: Run, autoencoder: MAE, *, masked: bool) -> tuple[Classifier, History]:
        """A classifier that starts from the autoencoder's encoder, trained on all tokens, or the visible ones of masked clips."""
        stage = self.settings
        model = build_classifier(autoencoder, self.labels.outputs, stage.seed)
        augmentation = Augmentation(
            stage.finetune_augment,
            "stage2.finetune_augment",
            classes=self.labels.outputs,
            label_smoothing=stage.label_smoothing,
            multi_label=self.labels.multi_label,
        )
        sampler = BatchSampler(
            self.train,
            model.config,
            self.masking,
            stage.finetune.batch,
            seed=stage.seed,
            buffer=self._buffer,
            augmentation=augmentation,
            labels=self.labels.targets(self.train.rows),
        )
        masking = self.masking if masked else None
        validate = None
        if self.held is not None:
            validate = classification_validation(model, self.held, self.labels, masking, stage.seed)
        task = classification_task(model, sampler, augmentation, self.labels, masked=masked, validate=validate)
        return model, train(run, model, stage.finetune, task)

    def score(self, model: Classifier, *, masked: bool) -> dict[str, float]:
        """See `classification.score`; of the test clips."""
        logits = classify(model, self.test, self.masking if masked else None, self.settings.seed)
        return score(logits, self.test.rows, self.labels)

    def controls(self, autoencoder: MAE) -> dict[str, dict[str, float]]:
        """Accuracies of trivial classifiers of the first label: `top1` and `top1_ci95` by name.

        `chance` guesses at random, `most_frequent` guesses the most frequent label in training, and `logistic_regression`
        is trained on the frozen encoder's latents, averaged over tokens.
        """
        classes = len(self.labels.names)
        first, truth = self.labels.first(self.train.rows), self.labels.first(self.test.rows)
        latents, test_latents = (pooled_latents(autoencoder.encoder, part) for part in (self.train, self.test))
        most = torch.full_like(truth, int(first.bincount().argmax()))
        return {
            "chance": {"top1": 1 / classes, "top1_ci95": 0.0},
            "most_frequent": control_scores(most, truth),
            "logistic_regression": control_scores(logistic_regression(latents, first, test_latents, classes), truth),
        }


def build_classifier(autoencoder: MAE, classes: int, seed: int) -> Classifier:
    """A classifier with the autoencoder's encoder and a freshly initialised head, on the training device."""
    torch.manual_seed(seed)
    model = Classifier(replace(autoencoder.config, classes=classes))
    trained = autoencoder.encoder.state_dict()
    model.encoder.load_state_dict({key: trained[key] for key in model.encoder.state_dict()})  # without a final norm
    return model.to(pick_device())
