"""Weights to and from files: complete, strict, and fitted to other grids."""

import errno
import hashlib
import re
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, nn

from common.errors import WorkError
from tests.training.models.published import DIM, PUBLISHED
from tests.training.models.tiny import autoencoder, classifier, random_video, randomise
from training.models import export_pretrained, load_pretrained
from training.models.masking import random_mask
from training.models.positions import interpolate_positions, sinusoid_1d
from training.models.pretrained import FORMAT, read_checkpoint

# Fields with which `transformers`' VideoMAE has an equivalent of the model
HUGGINGFACE = {"bias": "no_key", "positions": "sincos_1d", "decoder_positions": "sincos_1d", "decoder_bias": False}


@pytest.fixture(params=PUBLISHED)
def published(request):
    return PUBLISHED[request.param]


def write_published(published, path: Path, **changes: torch.Tensor | None) -> Path:
    """Write the checkpoint as its publisher nests it; `changes` replace weights, None removes one."""
    weights = published.weights() | changes
    torch.save(published.wrap({key: value for key, value in weights.items() if value is not None}), path)
    return path


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


# Published checkpoints


def test_published_checkpoint_is_loaded_completely(published, tmp_path):
    model = load_pretrained(published.model(), write_published(published, tmp_path / "published.pth"))
    before = torch.cat([value.flatten() for value in published.weights().values()])
    after = torch.cat([value.flatten() for value in model.state_dict().values()])
    assert torch.equal(before.sort().values, after.sort().values)


def key_of_second_block(published) -> str:
    """The output projection of the encoder's second block, as the publisher names it."""
    pattern = re.compile(r"(^|encoder\.|layer\.)(blocks\.)?1\.(attn\.proj|attention\.output\.dense)\.weight")
    return next(key for key in published.weights() if pattern.search(key) and "decoder" not in key)


@pytest.mark.parametrize("encoder_only", [False, True])
def test_missing_key_is_named(published, tmp_path, encoder_only):
    path = write_published(published, tmp_path / "damaged.pth", **{key_of_second_block(published): None})
    with pytest.raises(
        WorkError, match=r"damaged.pth does not fit the model: missing (encoder\.)?blocks.1.attn.proj.weight$"
    ):
        load_pretrained(published.model(), path, encoder_only=encoder_only)


@pytest.mark.parametrize("encoder_only", [False, True])
def test_key_of_another_shape_is_named_with_both_shapes(published, tmp_path, encoder_only):
    changes = {key_of_second_block(published): torch.zeros(3, 3)}
    path = write_published(published, tmp_path / "damaged.pth", **changes)
    message = r"model: (encoder\.)?blocks.1.attn.proj.weight is \(3, 3\), the model has \(48, 48\)$"
    with pytest.raises(WorkError, match=message):
        load_pretrained(published.model(), path, encoder_only=encoder_only)


def test_unexpected_key_is_named(published, tmp_path):
    path = write_published(published, tmp_path / "damaged.pth", **{"something.else": torch.zeros(3)})
    with pytest.raises(WorkError, match=r"damaged.pth does not fit the model: unexpected something.else$"):
        load_pretrained(published.model(), path)


def test_every_wrong_key_is_named(tmp_path):
    export_pretrained(autoencoder(depth=3), tmp_path / "deep.pt")
    with pytest.raises(WorkError) as caught:
        load_pretrained(autoencoder(depth=2), tmp_path / "deep.pt")
    block = [key for key in autoencoder(depth=3).state_dict() if key.startswith("encoder.blocks.2.")]
    assert len(block) > 8
    assert all(f"unexpected {key}" in str(caught.value) for key in block)


def test_model_is_unchanged_after_an_error(tmp_path):
    model, reference = autoencoder(), autoencoder()
    reference.load_state_dict(model.state_dict())
    export_pretrained(autoencoder(depth=3, image_size=128), tmp_path / "deep.pt")
    with pytest.raises(WorkError):
        load_pretrained(model, tmp_path / "deep.pt")
    assert same_weights(model, reference)
    assert model.config == reference.config
    assert torch.equal(model.encode(random_video()), reference.encode(random_video()))


# The encoder alone


def test_pretrained_encoder_loads_into_a_classifier_and_leaves_its_head(tmp_path):
    published = PUBLISHED["VideoMAE"]
    path = write_published(published, tmp_path / "a.pth")
    model = published.model(classes=7)
    head = model.head.weight.clone()
    load_pretrained(model, path, encoder_only=True)
    weights = published.weights()
    assert torch.equal(model.encoder.blocks[0].attn.qkv.weight, weights["encoder.blocks.0.attn.qkv.weight"])
    assert torch.equal(model.encoder.blocks[1].mlp.fc2.bias, weights["encoder.blocks.1.mlp.fc2.bias"])
    assert torch.equal(model.head.weight, head)


def test_pretrained_encoder_loads_into_an_autoencoder_and_leaves_its_decoder(tmp_path):
    source, model = autoencoder(), autoencoder()
    randomise(source)
    decoder = {key: value.clone() for key, value in model.decoder.state_dict().items()}
    export_pretrained(source, tmp_path / "a.pt")
    load_pretrained(model, tmp_path / "a.pt", encoder_only=True)
    assert same_weights(model.encoder, source.encoder)
    assert all(torch.equal(value, decoder[key]) for key, value in model.decoder.state_dict().items())


# Files of our own


@pytest.mark.parametrize("make", [autoencoder, classifier])
def test_exported_model_is_loaded_the_same(tmp_path, make):
    model, other = make(), make()
    randomise(model)
    export_pretrained(model, tmp_path / "model.pt")
    assert load_pretrained(other, tmp_path / "model.pt") is other
    assert same_weights(model, other)
    assert torch.equal(other.eval().encode(random_video()), model.eval().encode(random_video()))


@pytest.mark.parametrize(("layout", "file"), [("own", "a.pt"), ("huggingface", "a/model.safetensors")])
@pytest.mark.parametrize("limit", [0, 1000, 100_000])
def test_export_where_a_file_cannot_grow_names_the_file_and_leaves_nothing(tmp_path, layout, file, limit):
    path, model = tmp_path / file.partition("/")[0], autoencoder(**HUGGINGFACE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            export_pretrained(model, path, layout=layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / file))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_exported_file_has_format_config_and_weights(tmp_path):
    export_pretrained(autoencoder(), tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert content["format"] == FORMAT
    assert content["config"]["dim"] == 48
    assert content["model"].keys() == autoencoder().state_dict().keys()
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_checkpoint_of_any_module_is_loaded_into_it(tmp_path):
    """As training writes them: weights beside other state, no config."""
    source, other = (nn.ModuleDict({"model": nn.Linear(3, 2)}) for _ in range(2))
    content = {
        "format": FORMAT,
        "model": source.state_dict(),
        "generator": torch.zeros(8, dtype=torch.uint8),
        "step": 3,
    }
    torch.save(content, tmp_path / "run.pt")
    assert same_weights(load_pretrained(other, tmp_path / "run.pt"), source)


def test_folder_written_by_transformers_is_loaded_with_either_kind_of_weights(tmp_path):
    model = autoencoder(**HUGGINGFACE)
    export_pretrained(model, tmp_path / "folder", layout="huggingface")
    assert same_weights(load_pretrained(autoencoder(**HUGGINGFACE), tmp_path / "folder"), model)
    torch.save(load_file(tmp_path / "folder/model.safetensors"), tmp_path / "folder/pytorch_model.bin")
    (tmp_path / "folder/model.safetensors").unlink()
    assert same_weights(load_pretrained(autoencoder(**HUGGINGFACE), tmp_path / "folder"), model)


# Positions of other grids


@pytest.mark.parametrize("size", [{"image_size": 64}, {"num_frames": 8}, {"image_size": 64, "num_frames": 24}])
def test_mae_sts_learned_positions_are_interpolated(tmp_path, size):
    published = PUBLISHED["MAE-ST, published"]
    path = write_published(published, tmp_path / "a.pth")
    model = load_pretrained(published.model(**size, target_frames=size.get("num_frames", 16) // 2), path).eval()
    config, weights = model.config, published.weights()
    new = (config.grid.time_patches, config.grid.side)
    expected = {
        "space": interpolate_positions(weights["pos_embed_spatial"][0], (1, 14), (1, new[1])),
        "time": interpolate_positions(weights["pos_embed_temporal"][0], (8, 1), (new[0], 1)),
    }
    for name, table in expected.items():
        assert torch.equal(getattr(model.encoder.positions, name), table)
    table = interpolate_positions(weights["decoder_pos_embed"][0, 1:], (8, 14), new)
    assert torch.equal(model.decoder.positions.table, table)
    video = torch.randn(1, 3, config.num_frames, config.image_size, config.image_size)
    assert model(video, random_mask(1, config.grid, 0.5, Generator().manual_seed(0))).loss.isfinite()


@pytest.mark.parametrize("size", [{"image_size": 64}, {"num_frames": 8}, {"image_size": 64, "num_frames": 24}])
def test_videomaes_fixed_positions_are_interpolated_and_stay_so(tmp_path, size):
    published = PUBLISHED["VideoMAE"]
    path = write_published(published, tmp_path / "a.pth")
    model = load_pretrained(published.model(**size), path).eval()
    config = model.config
    new = (config.grid.time_patches, config.grid.side)
    assert config.pretrained_grid == (8, 14)
    assert torch.equal(model.encoder.positions(), interpolate_positions(sinusoid_1d(1568, DIM), (8, 14), new))
    assert torch.equal(model.decoder.positions(), interpolate_positions(sinusoid_1d(1568, 24), (8, 14), new))
    export_pretrained(model, tmp_path / "own.pt")
    again = load_pretrained(published.model(**size), tmp_path / "own.pt").eval()
    assert again.config == config
    video = torch.randn(1, 3, config.num_frames, config.image_size, config.image_size)
    assert torch.equal(again.encode(video), model.encode(video))


def test_videomae_at_its_published_size_keeps_its_positions(tmp_path):
    published = PUBLISHED["VideoMAE"]
    model = load_pretrained(published.model(), write_published(published, tmp_path / "a.pth"))
    assert model.config.pretrained_grid is None
    assert torch.equal(model.encoder.positions(), sinusoid_1d(1568, DIM))


def test_positions_follow_the_file_not_the_models_pretrained_grid(tmp_path):
    """Weights trained on the model's own grid need its own table, whatever the model was made for."""
    source = autoencoder()
    export_pretrained(source, tmp_path / "own.pt")
    model = load_pretrained(autoencoder(pretrained_grid=(8, 14)), tmp_path / "own.pt")
    assert model.config.pretrained_grid is None
    assert torch.equal(model.encoder.positions(), source.encoder.positions())
    assert torch.equal(model.eval().encode(random_video()), source.eval().encode(random_video()))


def test_folder_of_transformers_says_on_which_grid_it_was_trained(tmp_path):
    """Not the published 16 frames of 224 pixels: `config.json` has 8 frames of 64."""
    source = autoencoder(**HUGGINGFACE).eval()
    export_pretrained(source, tmp_path / "folder", layout="huggingface")
    model = load_pretrained(autoencoder(**HUGGINGFACE), tmp_path / "folder").eval()
    assert model.config.pretrained_grid is None
    assert torch.equal(model.encode(random_video()), source.encode(random_video()))


@pytest.mark.parametrize(
    ("key", "table", "message"),
    [
        (
            "pos_embed_spatial",
            torch.zeros(1, 195, DIM),
            r"encoder.positions.space is \(195, 48\), the model has \(16, 48\)",
        ),
        ("pos_embed_temporal", torch.zeros(1, 8, 24), r"encoder.positions.time is \(4, 24\), the model has \(4, 48\)"),
        ("pos_embed_spatial", torch.zeros(DIM), r"encoder.positions.space is \(48,\), the model has \(16, 48\)"),
        ("pos_embed_temporal", torch.tensor(0.0), r"encoder.positions.time is \(\), the model has \(4, 48\)"),
        ("pos_embed_temporal", torch.zeros(1, 0, DIM), r"encoder.positions.time is \(0, 48\), the model has \(4, 48\)"),
        (
            "decoder_pos_embed",
            torch.zeros(1, 1567, 24),
            r"decoder.positions.table is \(1566, 24\), the model has \(64, 24\)",
        ),
        ("decoder_pos_embed", torch.zeros(1), r"decoder.positions.table is \(1,\), the model has \(64, 24\)"),
        ("blocks.1.attn.q.weight", torch.zeros(3, 3), "missing encoder.blocks.1.attn.qkv.weight"),
        ("blocks.1.attn.k.weight", torch.zeros(()), "missing encoder.blocks.1.attn.qkv.weight"),
    ],
)
def test_tables_that_are_of_no_grid_and_parts_that_do_not_fit_are_named(tmp_path, key, table, message):
    published = PUBLISHED["MAE-ST, published"]
    path = write_published(published, tmp_path / "a.pth", **{key: table})
    with pytest.raises(WorkError, match=message):
        load_pretrained(published.model(image_size=64, num_frames=8, target_frames=4), path)


@pytest.mark.parametrize("shape", [(), (1568,), (1, 1568, 47)])
def test_position_table_of_videomae_of_another_shape_is_named(tmp_path, shape):
    published = PUBLISHED["VideoMAE"]
    path = write_published(published, tmp_path / "a.pth", **{"encoder.pos_embed": torch.zeros(shape)})
    with pytest.raises(WorkError, match=r"unexpected encoder\.pos_embed"):
        load_pretrained(published.model(), path)


# Files that cannot be loaded


def damaged_files(folder: Path) -> dict[str, str]:
    """Write files that are no checkpoints; their names and the error of each."""
    model = autoencoder()
    export_pretrained(model, folder / "own.pt")
    whole = (folder / "own.pt").read_bytes()
    (folder / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "page.pt").write_text("<html>not found</html>")
    (folder / "bad.safetensors").write_bytes(b"\xff" * 100)
    (folder / "folder").mkdir()
    torch.save({"model": {"resnet.conv1.weight": torch.zeros(3)}}, folder / "other.pt")
    torch.save([1, 2], folder / "list.pt")
    torch.save({"epoch": 3}, folder / "weightless.pt")
    torch.save({"format": FORMAT, "model": None}, folder / "hollow.pt")
    torch.save({"format": FORMAT, "config": {"dim": 3}, "model": model.state_dict()}, folder / "config.pt")
    nan = model.state_dict() | {"encoder.norm.weight": torch.full((48,), torch.nan)}
    torch.save({"model": nan}, folder / "nan.pt")
    return {
        "truncated.pt": "truncated.pt is damaged: ",
        "empty.pt": "empty.pt is damaged: ",
        "page.pt": "page.pt is not a checkpoint of plain tensors and values",
        "bad.safetensors": "bad.safetensors is damaged: ",
        "folder": "folder has neither model.safetensors nor pytorch_model.bin",
        "other.pt": "other.pt has a layout that is not supported: its keys are resnet.conv1.weight",
        "list.pt": "list.pt is a list: a checkpoint must be a dict",
        "weightless.pt": "weightless.pt has a layout that is not supported: its keys are epoch",
        "hollow.pt": "hollow.pt has a layout that is not supported: its keys are format, model",
        "config.pt": "config.pt has an invalid config: ",
        "nan.pt": "nan.pt does not fit the model: encoder.norm.weight has NaN or infinite values",
        "absent.pt": "absent.pt is not here",
    }


def test_file_that_is_no_checkpoint_is_an_error_that_says_what_it_is(tmp_path):
    for name, message in damaged_files(tmp_path).items():
        with pytest.raises(WorkError) as caught:
            load_pretrained(autoencoder(), tmp_path / name)
        assert message in str(caught.value), name
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config", ["", "{}", '{"num_frames": 8, "tubelet_size": 0, "image_size": 64, "patch_size": 8}']
)
def test_folder_with_a_broken_config_is_an_error(tmp_path, config):
    export_pretrained(autoencoder(**HUGGINGFACE), tmp_path / "folder", layout="huggingface")
    (tmp_path / "folder/config.json").write_text(config)
    with pytest.raises(WorkError, match=r"config.json is not a config of transformers' VideoMAE"):
        load_pretrained(autoencoder(**HUGGINGFACE), tmp_path / "folder")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class RunsCode:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"model": RunsCode()}, tmp_path / "code.pt")
    with pytest.raises(WorkError, match="not a checkpoint of plain tensors and values: other content is not loaded"):
        load_pretrained(autoencoder(), tmp_path / "code.pt")
    with pytest.raises(WorkError):
        read_checkpoint(tmp_path / "code.pt")
    assert not (tmp_path / "ran").exists()


def test_digest_of_a_local_file_is_checked(tmp_path):
    export_pretrained(autoencoder(), tmp_path / "model.pt")
    digest = hashlib.sha256((tmp_path / "model.pt").read_bytes()).hexdigest()
    load_pretrained(autoencoder(), tmp_path / "model.pt", sha256=digest)
    load_pretrained(autoencoder(), tmp_path / "model.pt", sha256=digest.upper())
    with pytest.raises(WorkError, match=f"has sha256 {digest}, not {'0' * 64}"):
        load_pretrained(autoencoder(), tmp_path / "model.pt", sha256="0" * 64)


def test_weights_are_loaded_onto_the_models_device_and_type(tmp_path):
    export_pretrained(autoencoder(), tmp_path / "model.pt")
    model = load_pretrained(autoencoder().double(), tmp_path / "model.pt")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
