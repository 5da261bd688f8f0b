"""V-JEPA 2 and VideoMAE V2: the weights of every layout give the numbers of `transformers`, and every key is accounted for."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Generator, Tensor

from common.errors import WorkError
from training.models import MAE, Classifier, create_model, load_encoder, load_pretrained
from training.models.layouts import LEFT_OUT, detect, extract_state_dict, to_own
from training.models.masking import random_mask
from training.models.pretrained import load_strict

transformers = pytest.importorskip("transformers")
from transformers import (  # noqa: E402
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
    VJEPA2Model,
)

# Heads of 22 columns: 6 for each axis, 4 not rotated; the published models' 64 are 20 for each axis and 4.
VJEPA2 = {"num_frames": 8, "image_size": 64, "dim": 88, "depth": 3, "heads": 4}
VIDEOMAE_V2 = {"num_frames": 8, "image_size": 56, "dim": 88, "depth": 3, "heads": 4}  # patches of 14 pixels
DECODER = {"decoder_dim": 24, "decoder_depth": 1, "decoder_heads": 3}


def randomised(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=Generator().manual_seed(0)) * 0.05)
    return model.eval()


def their_vjepa2(kind=VJEPA2Model, **changes):
    torch.manual_seed(0)
    settings = {
        "frames_per_clip": 8,
        "crop_size": 64,
        "hidden_size": 88,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "mlp_ratio": 48 / 11,
        "pred_hidden_size": 24,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
        "num_pooler_layers": 1,
    }
    return randomised(kind(VJEPA2Config(**(settings | changes))))


def their_videomae_v2():
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=56,
        patch_size=14,
        num_frames=8,
        hidden_size=88,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=384,
        layer_norm_eps=1e-6,
        use_mean_pooling=True,
        num_labels=5,
    )
    return randomised(VideoMAEForVideoClassification(config))


def meta_weights(model) -> dict[str, Tensor]:
    """The encoder's weights by the names of facebookresearch/vjepa2, as saved in parallel training."""
    theirs, found = model.state_dict(), {}
    for key, value in theirs.items():
        if not key.startswith("encoder."):
            continue
        name = key.removeprefix("encoder.").replace("layer.", "blocks.").replace("attention.", "attn.")
        name = name.replace("embeddings.patch_embeddings.", "patch_embed.").replace("layernorm.", "norm.")
        if ".key." in name or ".value." in name:
            continue
        if ".query." in name:
            parts = [theirs[key.replace("query", part)] for part in ("query", "key", "value")]
            name, value = name.replace("query", "qkv"), torch.cat(parts)
        found[f"module.backbone.{name}"] = value
    return found


def videomae_v2_weights(model) -> dict[str, Tensor]:
    """The weights by the names of OpenGVLab's VideoMAEv2-* on the hub: no head, and the norm of the mean is fc_norm."""
    theirs, found = model.state_dict(), {}
    for key, value in theirs.items():
        name = key.removeprefix("videomae.").replace("encoder.layer.", "blocks.")
        name = name.replace("embeddings.patch_embeddings.projection", "patch_embed.proj")
        for old, new in (
            ("attention.output.dense", "attn.proj"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("attention.attention.query.bias", "attn.q_bias"),
            ("attention.attention.value.bias", "attn.v_bias"),
        ):
            name = name.replace(old, new)
        if name.endswith("attention.attention.query.weight"):
            parts = [theirs[key.replace("query", part)] for part in ("query", "key", "value")]
            name, value = name.replace("attention.attention.query", "attn.qkv"), torch.cat(parts)
        if "attention.attention" not in name and not name.startswith("classifier"):
            found[f"model.{name}"] = value
    return found


@pytest.fixture
def folder(tmp_path) -> Path:
    """V-JEPA 2 as transformers saves it."""
    their_vjepa2().save_pretrained(tmp_path / "vjepa2")
    return tmp_path / "vjepa2"


def our_vjepa2(weights, **changes):
    return load_encoder("vjepa2_vitg", weights, **(VJEPA2 | changes))


def video(frames: int = 8, size: int = 64, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, frames, size, size, generator=Generator().manual_seed(1))


def assert_near(found: Tensor, expected: Tensor):
    """Within 1e-5 of the largest value."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


# V-JEPA 2


def test_vjepa2_equals_transformers(folder):
    their, our = their_vjepa2(), our_vjepa2(folder)
    expected = their(video().transpose(1, 2), skip_predictor=True, output_hidden_states=True)
    assert_near(our.encode(video()), expected.last_hidden_state)
    states = our.hidden_states(video())
    assert len(states) == len(expected.hidden_states) == 4
    for one, other in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        assert_near(one, other)
    assert_near(our.pool(our.encode(video())), expected.last_hidden_state.mean(1))


def test_vjepa2_gradients_equal_transformers(folder):
    their, our = their_vjepa2(), our_vjepa2(folder)
    their(video().transpose(1, 2), skip_predictor=True).last_hidden_state.square().mean().backward()
    our.encode(video()).square().mean().backward()
    theirs = {name: value.grad for name, value in their.named_parameters() if name.startswith("encoder.")}
    gradients, named = to_own(theirs, "vjepa2_huggingface"), dict(our.named_parameters())
    assert {key.removeprefix("encoder.") for key in gradients} == named.keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for key, gradient in gradients.items():
        assert (named[key.removeprefix("encoder.")].grad - gradient).abs().max() <= 1e-5 * largest, key


def test_vjepa2_attends_to_visible_tokens_at_their_own_positions(folder):
    their, our = their_vjepa2(), our_vjepa2(folder)
    split = our.split_tokens(video(), random_mask(2, our.config.grid, 0.75, Generator().manual_seed(2)))
    hidden = their.encoder.embeddings(video().transpose(1, 2))
    hidden = hidden.gather(1, split.visible.unsqueeze(2).expand(-1, -1, 88))
    for layer in their.encoder.layer:
        hidden = layer(hidden, split.visible)[0]
    assert_near(our(video(), split)[0], their.encoder.layernorm(hidden))


@pytest.mark.parametrize(("frames", "size"), [(16, 64), (4, 64), (8, 96), (12, 32)])
def test_vjepa2_on_another_grid_equals_transformers_of_that_grid(folder, frames, size):
    their = their_vjepa2(frames_per_clip=frames, crop_size=size)
    our = our_vjepa2(folder, num_frames=frames, image_size=size)
    expected = their(video(frames, size).transpose(1, 2), skip_predictor=True).last_hidden_state
    assert_near(our.encode(video(frames, size)), expected)


def test_attention_map_of_vjepa2_has_its_positions(folder):
    their = their_vjepa2(attn_implementation="eager")
    expected = their(video().transpose(1, 2), skip_predictor=True, output_attentions=True).attentions
    for layer in range(3):
        assert_near(our_vjepa2(folder).attention_map(video(), layer), expected[layer])


@pytest.mark.parametrize("name", ["encoder", "target_encoder"])
def test_metas_file_of_vjepa2_gives_the_same_numbers(folder, tmp_path, name):
    weights = meta_weights(their_vjepa2()) | {"module.backbone.pos_embed": torch.zeros(1, 64, 88)}
    predictor = {"module.backbone.predictor_embed.weight": torch.zeros(24, 88)}
    torch.save({name: weights, "predictor": predictor, "opt": {"lr": 0.1}, "epoch": 3}, tmp_path / "vitg.pt")
    assert torch.equal(our_vjepa2(tmp_path / "vitg.pt").encode(video()), our_vjepa2(folder).encode(video()))


def test_the_encoder_of_metas_file_is_preferred_to_its_moving_average(folder, tmp_path):
    weights = meta_weights(their_vjepa2())
    average = {key: value * 0.5 for key, value in weights.items()}
    torch.save({"target_encoder": average, "encoder": weights}, tmp_path / "vitg.pt")
    assert torch.equal(our_vjepa2(tmp_path / "vitg.pt").encode(video()), our_vjepa2(folder).encode(video()))


def test_fine_tuned_vjepa2_gives_its_encoder(tmp_path):
    their = their_vjepa2(VJEPA2ForVideoClassification)
    their.save_pretrained(tmp_path / "tuned")
    expected = their.vjepa2(video().transpose(1, 2), skip_predictor=True).last_hidden_state
    assert_near(our_vjepa2(tmp_path / "tuned").encode(video()), expected)


def test_every_key_of_vjepa2_is_loaded_or_left_out_for_a_reason():
    their = their_vjepa2(VJEPA2ForVideoClassification).state_dict()
    left_out = LEFT_OUT["vjepa2_huggingface"]
    kept = {key for key in their if not key.startswith(tuple(left_out))}
    assert all(reason for reason in left_out.values())
    assert all(any(key.startswith(prefix) for key in [*their, "predictor."]) for prefix in left_out)
    assert len(to_own({key: their[key] for key in kept}, "vjepa2_huggingface")) == len(kept) - 4 * 3  # q, k, v fused
    assert to_own(their, "vjepa2_huggingface").keys() == {f"encoder.{key}" for key in our_names()}


def our_names():
    return create_model("vjepa2_vitg", **VJEPA2, **DECODER).encoder.state_dict()


@pytest.mark.parametrize(("classes", "kind"), [(None, MAE), (5, Classifier)])
def test_vjepa2_encoder_trains_in_an_autoencoder_and_a_classifier(folder, classes, kind):
    model = create_model("vjepa2_vitg", **VJEPA2, **DECODER, classes=classes)
    assert isinstance(model, kind)
    load_pretrained(model, folder, encoder_only=True)
    first = to_own(their_vjepa2().state_dict(), "vjepa2_huggingface")["encoder.blocks.0.attn.qkv.weight"]
    assert torch.equal(model.encoder.blocks[0].attn.qkv.weight, first)
    mask = random_mask(2, model.config.grid, 0.75, Generator().manual_seed(0))
    loss = model(video(), mask).loss if classes is None else model(video(), mask).square().mean()
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


# VideoMAE V2


@pytest.mark.parametrize("patch", [14, 16])
def test_giant_and_base_are_the_published_shapes(patch):
    name = {14: "videomae_v2_giant", 16: "videomae_v2_base"}[patch]
    with torch.device("meta"):
        model = create_model(name)
    width, hidden = {14: (1408, 6144), 16: (768, 3072)}[patch]
    assert model.encoder.embed.proj.weight.shape == (width, 2 * patch * patch * 3)
    assert model.encoder.blocks[0].mlp.fc1.weight.shape == (hidden, width)
    assert model.decoder.head.weight.shape == (2 * patch * patch * 3, model.config.decoder_dim)


def test_videomae_v2_of_the_hub_equals_transformers_videomae(tmp_path):
    their = their_videomae_v2()
    save_file(videomae_v2_weights(their), tmp_path / "model.safetensors")
    sizes = {"img_size": 56, "num_frames": 8, "tubelet_size": 2, "patch_size": 14}
    (tmp_path / "config.json").write_text(json.dumps({"model_config": sizes}))
    our = load_encoder("videomae_v2_giant", tmp_path, **VIDEOMAE_V2, head_eps=1e-5)
    expected = their.videomae(video(size=56).transpose(1, 2)).last_hidden_state
    assert_near(our.encode(video(size=56)), expected)
    assert_near(our.pool(our.encode(video(size=56))), their.fc_norm(expected.mean(1)))
    assert our.config.pretrained_grid is None


def test_videomae_v2_fine_tuned_on_our_classes_equals_transformers_logits(tmp_path):
    their = their_videomae_v2()
    weights = videomae_v2_weights(their)
    weights |= {f"model.head.{key}": their.classifier.state_dict()[key] for key in ("weight", "bias")}
    torch.save({"module": {key.removeprefix("model."): value for key, value in weights.items()}}, tmp_path / "k710.pth")
    shape = VIDEOMAE_V2 | {"classes": 5, "head_eps": 1e-5}
    our = create_model("videomae_v2_giant", **shape).eval()
    state = to_own(extract_state_dict(torch.load(tmp_path / "k710.pth", weights_only=True)), "videomae")
    load_strict(our, state, "k710.pth")  # without positions of 16 frames of 224 pixels
    assert_near(our(video(size=56)), their(video(size=56).transpose(1, 2)).logits)
    encoder = load_encoder("videomae_v2_giant", tmp_path / "k710.pth", **VIDEOMAE_V2)
    assert encoder.config.pretrained_grid == (8, 16)


# Checkpoints that do not fit


def encoder_weights() -> dict[str, tuple[str, dict[str, object], Mapping[str, Tensor]]]:
    """The model, its config, and a state dict of each layout."""
    hub = {key.removeprefix("model."): value for key, value in videomae_v2_weights(their_videomae_v2()).items()}
    meta = {key.removeprefix("module.backbone."): value for key, value in meta_weights(their_vjepa2()).items()}
    return {
        "vjepa2_huggingface": ("vjepa2_vitg", VJEPA2, their_vjepa2().state_dict()),
        "vjepa2": ("vjepa2_vitg", VJEPA2, meta),
        "videomae": ("videomae_v2_giant", VIDEOMAE_V2, hub),
    }


@pytest.fixture(params=["vjepa2_huggingface", "vjepa2", "videomae"])
def published(request):
    return request.param, *encoder_weights()[request.param]


def test_layout_is_recognised_by_its_keys(published):
    layout, _, _, weights = published
    assert detect(weights) == layout


def second_norm(weights: Mapping[str, Tensor]) -> str:
    return next(key for key in weights if re.search(r"(^|encoder\.)(blocks|layer)\.1\.norm1\.weight$", key))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "missing blocks.1.norm1.weight"),
        (torch.zeros(3), r"blocks.1.norm1.weight is \(3,\), the model has \(88,\)"),
        (torch.full((88,), torch.nan), "blocks.1.norm1.weight has NaN or infinite values"),
    ],
)
def test_damaged_key_is_named(published, tmp_path, change, message):
    _, name, shape, weights = published
    changed = dict(weights) | {second_norm(weights): change}
    torch.save({key: value for key, value in changed.items() if value is not None}, tmp_path / "bad.pt")
    with pytest.raises(WorkError, match=rf"bad.pt does not fit the model: {message}$"):
        load_encoder(name, tmp_path / "bad.pt", **shape)


@pytest.mark.parametrize("key", ["something.else", "blocks.1.attn.extra", "blocks.7.norm1.weight"])
def test_unexpected_key_is_named(published, tmp_path, key):
    _, name, shape, weights = published
    torch.save(dict(weights) | {key: torch.zeros(3)}, tmp_path / "bad.pt")
    with pytest.raises(WorkError, match=rf"bad.pt does not fit the model: unexpected {re.escape(key)}$"):
        load_encoder(name, tmp_path / "bad.pt", **shape)


def test_learned_positions_of_videomae_are_an_error_and_not_ignored(tmp_path):
    _, shape, weights = encoder_weights()["videomae"]
    torch.save(dict(weights) | {"pos_embed": torch.randn(1, 64, 88)}, tmp_path / "bad.pt")
    with pytest.raises(WorkError, match=r"bad.pt does not fit the model: unexpected pos_embed$"):
        load_encoder("videomae_v2_giant", tmp_path / "bad.pt", **shape)


def test_weights_of_a_deeper_model_are_an_error(folder):
    with pytest.raises(WorkError, match=r"does not fit the model: unexpected blocks.2"):
        our_vjepa2(folder, depth=2)


def test_vjepa2_as_a_whole_autoencoder_is_an_error_that_names_the_missing_decoder(folder):
    with pytest.raises(WorkError, match=r"has an encoder and no decoder: a masked autoencoder needs both$"):
        load_pretrained(create_model("vjepa2_vitg", **VJEPA2, **DECODER), folder)


# Folders of several files, and names on the hub


def test_weights_in_several_files_are_loaded(folder, tmp_path):
    their_vjepa2().save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert torch.equal(our_vjepa2(tmp_path / "shards").encode(video()), our_vjepa2(folder).encode(video()))


def test_a_file_of_several_that_is_absent_is_an_error(tmp_path):
    their_vjepa2().save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    sorted((tmp_path / "shards").glob("*.safetensors"))[1].unlink()
    with pytest.raises(WorkError, match=r"model-00002-of-\d+.safetensors is damaged"):
        our_vjepa2(tmp_path / "shards")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "is damaged"),
        ("[]", "is damaged"),
        ('{"weight_map": {"a": 3}}', "is damaged"),
        ('{"weight_map": {"a": "../secret.safetensors"}}', "not safetensors files of its folder"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "not safetensors files of its folder"),
        ('{"weight_map": {"a": "model.pkl"}}', "not safetensors files of its folder"),
    ],
)
def test_a_broken_index_is_an_error(tmp_path, index, message):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WorkError, match=message) as caught:
        our_vjepa2(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_name_on_the_hub_is_downloaded_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("training.models.remote.CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_ENDPOINT", f"file://{tmp_path}/hub/")
    target = tmp_path / "hub/facebook/vjepa2-vitg-fpc64-256/resolve/main"
    target.parent.mkdir(parents=True)
    folder.rename(target)
    found = our_vjepa2("facebook/vjepa2-vitg-fpc64-256").encode(video())
    (target / "model.safetensors").unlink()
    assert torch.equal(our_vjepa2("facebook/vjepa2-vitg-fpc64-256").encode(video()), found)


def test_a_name_that_the_hub_does_not_have_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("training.models.remote.CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_ENDPOINT", f"file://{tmp_path}")
    with pytest.raises(WorkError, match=r"^facebook/nothing is neither a folder here nor a model on the hub: file://"):
        our_vjepa2("facebook/nothing")


@pytest.mark.parametrize("path", ["checkpoints/model.pt", "a/b.safetensors", "a/b/c", "../b", "here/folder"])
def test_paths_are_not_taken_for_names_on_the_hub(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here/folder").mkdir(parents=True)
    with pytest.raises(WorkError) as caught:
        our_vjepa2(path)
    assert "hub" not in str(caught.value)


# Precision and compilation


def test_vjepa2_in_half_precision_is_near_full_precision(folder):
    our = our_vjepa2(folder)
    with torch.autocast("cpu", torch.bfloat16):
        found = our.encode(video())
    assert (found.float() - our.encode(video())).abs().mean() < 0.02


def test_vjepa2_is_compiled_as_one_graph(folder):
    our = our_vjepa2(folder)
    split = our.split_tokens(video(), random_mask(2, our.config.grid, 0.75, Generator().manual_seed(2)))
    compiled = torch.compile(our, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(video(), split)[0], our(video(), split)[0], atol=1e-5)
