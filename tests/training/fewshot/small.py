"""Settings of small few-shot learners."""

from training.params import (
    Adapter,
    ClassText,
    EndToEnd,
    GradientSteps,
    InContextTransformer,
    Memory,
    Optimiser,
    ShortEpisodes,
    StackedLSTM,
    Stage3,
    TemporalAlignment,
    TemporalRelations,
)


def settings(**changes: object) -> Stage3:
    optimiser = Optimiser(steps=3, warmup=1, batch=4, lr=0.001, weight_decay=0.0, betas=(0.9, 0.95), clip_norm=1.0)
    values: dict[str, object] = {
        **{
            "methods": ("mann_pretrained",),
            "way": 3,
            "instances": 4,
            "windows": 2,
            "features": "change",
            "feature_grid": 2,
        },
        **{"adapter": Adapter(8, 9, 0.1), "embedding": 6, "class_scale": 16.0, "label_smoothing": 0.0},
        **{"validation_classes": 0, "label_share": 1.0, "views": 2, "embedding_scale": 4.0},
        "memory": Memory(6, 5, 7, 2, 0.9, "shared", "sharpened", 10.0),
        **{"lstm": StackedLSTM(7, 2), "transformer": InContextTransformer(8, 1, 2)},
        **{name: GradientSteps(5, 2, 0.5, "fixed", "second") for name in ("maml", "anil")},
        **{"otam": TemporalAlignment(0.1), "trx": TemporalRelations(5, (2,))},
        **{"embedding_optimiser": optimiser, "optimiser": optimiser, "seed": 0},
        "text": ClassText(encoder=None, ngrams=(3, 4), words=2, buckets=64),
        "short_episodes": ShortEpisodes(instances=2, share=0.0),
        "end_to_end": EndToEnd(instances=2, micro_batch=None, class_weight=1.0, finetuned=optimiser, scratch=optimiser),
    }
    return Stage3(**(values | changes))  # type: ignore[arg-type]
