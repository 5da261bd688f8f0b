"""The same weights give the same numbers as `transformers`' VideoMAE: encoder, loss, logits, gradients."""

import pytest
import torch
from torch import Generator

from training.models import create_model, export_pretrained, load_pretrained
from training.models.layouts import to_own
from training.models.masking import tube_mask

transformers = pytest.importorskip("transformers")
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification  # noqa: E402

SHAPES = {
    "videomae_small": {"dim": 384, "heads": 6, "decoder_dim": 192, "decoder_heads": 3},
    "videomae_base": {"dim": 768, "heads": 12, "decoder_dim": 384, "decoder_heads": 6},
}


def their_model(kind, name, **changes):
    """A model of transformers with random weights, biases and norms."""
    shape = SHAPES[name]
    config = VideoMAEConfig(
        image_size=64,
        num_frames=8,
        hidden_size=shape["dim"],
        num_hidden_layers=3,
        num_attention_heads=shape["heads"],
        intermediate_size=4 * shape["dim"],
        decoder_hidden_size=shape["decoder_dim"],
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=shape["decoder_heads"],
        decoder_intermediate_size=4 * shape["decoder_dim"],
        **changes,
    )
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


def our_model(name, **changes):
    shape = {"image_size": 64, "num_frames": 8, "depth": 3, "decoder_depth": 2, "eps": 1e-12, "head_eps": 1e-5}
    return create_model(name, **(shape | changes)).eval()


@pytest.fixture
def video():
    return torch.randn(2, 3, 8, 64, 64, generator=Generator().manual_seed(1))


def assert_near(found, expected):
    """Within 1e-5 of the largest value."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", SHAPES)
def test_pretraining_logits_loss_and_gradients_equal_theirs(name, video):
    their = their_model(VideoMAEForPreTraining, name, use_mean_pooling=False)
    our = our_model(name)
    our.load_state_dict(to_own(their.state_dict(), "huggingface"))
    mask = tube_mask(2, our.config.grid, 0.75, Generator().manual_seed(2))
    expected = their(video.transpose(1, 2), bool_masked_pos=mask)
    found = our(video, mask)
    assert_near(found.prediction, expected.logits)
    assert_near(found.loss, expected.loss)
    expected.loss.backward()
    found.loss.backward()
    gradients = to_own({key: value.grad for key, value in their.named_parameters()}, "huggingface")
    named = dict(our.named_parameters())
    assert gradients.keys() == named.keys()
    for key, gradient in gradients.items():
        assert (named[key].grad - gradient).abs().max() <= 1e-5 * max(1e-3, float(gradient.abs().max())), key


@pytest.mark.parametrize("name", SHAPES)
def test_hidden_states_of_every_layer_equal_theirs(name, video):
    their = their_model(VideoMAEForPreTraining, name, use_mean_pooling=False)
    our = our_model(name)
    our.load_state_dict(to_own(their.state_dict(), "huggingface"))
    expected = their.videomae(video.transpose(1, 2), output_hidden_states=True)
    assert_near(our.encode(video), expected.last_hidden_state)
    for one, other in zip(our.encoder.hidden_states(video), expected.hidden_states, strict=True):
        assert_near(one, other)


@pytest.mark.parametrize("name", SHAPES)
def test_classifier_logits_equal_theirs(name, video):
    their = their_model(VideoMAEForVideoClassification, name, num_labels=7)
    our = our_model(name, classes=7)
    our.load_state_dict(to_own(their.state_dict(), "huggingface"))
    assert_near(our(video), their(video.transpose(1, 2)).logits)


def test_attention_maps_equal_theirs(video):
    their = their_model(VideoMAEForVideoClassification, "videomae_small", num_labels=7, attn_implementation="eager")
    our = our_model("videomae_small", classes=7)
    our.load_state_dict(to_own(their.state_dict(), "huggingface"))
    expected = their(video.transpose(1, 2), output_attentions=True).attentions
    for layer in range(3):
        assert_near(our.encoder.attention_map(video, layer), expected[layer])


@pytest.mark.parametrize("classes", [None, 5])
def test_model_exported_to_transformers_and_loaded_back_gives_the_same_numbers(tmp_path, video, classes):
    our = our_model("videomae_small", classes=classes)
    with torch.no_grad():
        for parameter in our.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    export_pretrained(our, tmp_path / "export", layout="huggingface")
    kind = VideoMAEForPreTraining if classes is None else VideoMAEForVideoClassification
    their, report = kind.from_pretrained(tmp_path / "export", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    mask = tube_mask(2, our.config.grid, 0.75, Generator().manual_seed(2))
    with torch.no_grad():
        if classes is None:
            assert_near(our(video, mask).prediction, their(video.transpose(1, 2), bool_masked_pos=mask).logits)
        else:
            assert_near(our(video), their(video.transpose(1, 2)).logits)
    their.save_pretrained(tmp_path / "theirs")
    again = load_pretrained(our_model("videomae_small", classes=classes), tmp_path / "theirs")
    assert all(torch.equal(value, our.state_dict()[key]) for key, value in again.state_dict().items())
    assert torch.equal(again.encode(video), our.encode(video))
