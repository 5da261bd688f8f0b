"""The named models. `create_model` looks a name up here and replaces the fields it is given."""

from dataclasses import replace

from training.models.config import ModelConfig

# 2,720,378 parameters: the paper's 2.7 M, with a head for TinyVIRAT's 26 classes.
_PAPER_CLASSIFIER = ModelConfig(
    num_frames=10,
    image_size=64,
    tubelet=1,
    patch=4,
    dim=192,
    depth=9,
    heads=12,
    mlp_ratio=2.0,
    bias="none",
    tokenizer="spt",
    class_token=True,
    final_norm=False,
    classes=26,
    pooling="class_token",
)
# 3,109,008 parameters: the paper's end-to-end model. The paper gives the total; how it splits into parts is our choice.
_PAPER_AUTOENCODER = replace(
    _PAPER_CLASSIFIER,
    classes=None,
    pooling="mean",
    positions="separable",
    decoder_dim=192,
    decoder_depth=1,
    decoder_heads=12,
    decoder_positions="shared",
    decoder_norm=False,
)
_VIDEOMAE_BASE = ModelConfig(
    num_frames=16,
    image_size=224,
    tubelet=2,
    patch=16,
    dim=768,
    depth=12,
    heads=12,
    bias="no_key",
    positions="sincos_1d",
    decoder_dim=384,
    decoder_depth=4,
    decoder_heads=6,
    decoder_positions="sincos_1d",
    decoder_bias=False,
    target="per_channel",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
# The large, huge and giant models of VideoMAE V2 are pre-trained with a decoder of 4 blocks.
_VIDEOMAE_V2 = replace(_VIDEOMAE_BASE, decoder_dim=512, decoder_depth=4, decoder_heads=8)
# The encoder is as published; V-JEPA 2 reconstructs no pixels, so the decoder is a small one without weights.
_VJEPA2_LARGE = ModelConfig(
    num_frames=64,
    image_size=256,
    tubelet=2,
    patch=16,
    dim=1024,
    depth=24,
    heads=16,
    positions="rotary_3d",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
_VJEPA2_GIANT = replace(_VJEPA2_LARGE, dim=1408, depth=40, heads=22, mlp_ratio=48 / 11)

PRESETS: dict[str, ModelConfig] = {
    "paper_small": _PAPER_AUTOENCODER,
    "paper_small_classifier": _PAPER_CLASSIFIER,
    # An eighth of the paper's tokens: small enough to train on a CPU.
    "small_2x8x8": ModelConfig(
        num_frames=16, image_size=64, tubelet=2, patch=8, dim=192, depth=6, heads=6, bias="none"
    ),
    "videomae_small": replace(_VIDEOMAE_BASE, dim=384, heads=6, decoder_dim=192, decoder_heads=3),
    "videomae_base": _VIDEOMAE_BASE,
    "videomae_large": replace(
        _VIDEOMAE_BASE, dim=1024, depth=24, heads=16, decoder_dim=512, decoder_depth=12, decoder_heads=8
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
    "videomae_v2_small": replace(_VIDEOMAE_BASE, dim=384, heads=6, decoder_dim=192, decoder_heads=3),
    "videomae_v2_base": _VIDEOMAE_BASE,
    "videomae_v2_large": replace(_VIDEOMAE_V2, dim=1024, depth=24, heads=16),
    "videomae_v2_huge": replace(_VIDEOMAE_V2, dim=1280, depth=32, heads=16),
    "videomae_v2_giant": replace(_VIDEOMAE_V2, patch=14, dim=1408, depth=40, heads=16, mlp_ratio=48 / 11),
    "vjepa2_vitl": _VJEPA2_LARGE,
    "vjepa2_vith": replace(_VJEPA2_LARGE, dim=1280, depth=32),
    "vjepa2_vitg": _VJEPA2_GIANT,
    "vjepa2_vitg_384": replace(_VJEPA2_GIANT, image_size=384),
}
