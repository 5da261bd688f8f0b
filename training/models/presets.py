"""The named models. Each preset is a plain config; `create_model` in the package fills in overrides."""

from training.models.config import ModelConfig

_PAPER_ENCODER = {
    **{"num_frames": 10, "image_size": 64, "tubelet": 1, "patch": 4},
    **{"dim": 192, "depth": 9, "heads": 12, "mlp_ratio": 2.0, "bias": "none"},
    **{"tokenizer": "spt", "class_token": True, "final_norm": False},
}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_VIDEOMAE = {
    **_IMAGENET,
    **{"num_frames": 16, "image_size": 224, "tubelet": 2, "patch": 16, "bias": "no_key", "positions": "sincos_1d"},
    **{"decoder_positions": "sincos_1d", "decoder_depth": 4, "decoder_bias": False, "target": "per_channel"},
}

PRESETS: dict[str, ModelConfig] = {
    # 3,109,008 parameters, as the paper counts its end-to-end model; the decomposition is ours, not the only one.
    "paper_small": ModelConfig(
        **_PAPER_ENCODER,  # type: ignore[arg-type]
        positions="separable",
        decoder_dim=192,
        decoder_depth=1,
        decoder_heads=12,
        decoder_positions="shared",
        decoder_norm=False,
    ),
    # 2,720,378 parameters, the paper's 2.7M with a head for TinyVIRAT's 26 classes.
    "paper_small_classifier": ModelConfig(
        **_PAPER_ENCODER,  # type: ignore[arg-type]
        positions="sincos_3d",
        classes=26,
        pooling="class_token",
    ),
    # The same idea at an eighth of the tokens: what a processor without a GPU can train.
    "small_2x8x8": ModelConfig(
        num_frames=16, image_size=64, tubelet=2, patch=8, dim=192, depth=6, heads=6, bias="none"
    ),
    "videomae_small": ModelConfig(
        **_VIDEOMAE,  # type: ignore[arg-type]
        dim=384,
        depth=12,
        heads=6,
        decoder_dim=192,
        decoder_heads=3,
    ),
    "videomae_base": ModelConfig(
        **_VIDEOMAE,  # type: ignore[arg-type]
        dim=768,
        depth=12,
        heads=12,
        decoder_dim=384,
        decoder_heads=6,
    ),
    "videomae_large": ModelConfig(
        **(_VIDEOMAE | {"decoder_depth": 12}),  # type: ignore[arg-type]
        dim=1024,
        depth=24,
        heads=16,
        decoder_dim=512,
        decoder_heads=8,
    ),
    "mae_st_large": ModelConfig(
        num_frames=16,
        image_size=224,
        tubelet=2,
        patch=16,
        dim=1024,
        depth=24,
        heads=16,
        positions="separable",
        class_token=True,
        class_position=True,
        decoder_dim=512,
        decoder_depth=4,
        decoder_heads=16,
        decoder_positions="joint",
        target="per_patch",
        target_frames=8,
    ),
}
