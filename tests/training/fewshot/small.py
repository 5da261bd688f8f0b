"""Settings of a small few-shot learner."""

from training.params import Adapter, Memory, Optimiser, Stage3


def settings(**changes: object) -> Stage3:
    optimiser = Optimiser(steps=3, warmup=1, batch=4, lr=0.001, weight_decay=0.0, betas=(0.9, 0.95), clip_norm=1.0)
    memory = Memory(rows=6, width=5, controller=7, heads=2, decay=0.9, key_strength=10.0)
    values: dict[str, object] = {
        **{"way": 3, "instances": 4, "windows": 1, "feature_grid": 2, "adapter": Adapter(8, 9), "embedding": 6},
        **{"embedding_scale": 4.0, "class_loss": 0.5, "class_scale": 16.0},
        **{"memory": memory, "optimiser": optimiser, "seed": 0},
    }
    return Stage3(**(values | changes))  # type: ignore[arg-type]
