"""The masked autoencoder: its loss, what it predicts, and the way back to a video."""

import pytest
import torch
from torch import Generator

from tests.training.models.tiny import autoencoder, random_video, randomise
from training.models.masking import Masking, random_mask, running_cells
from training.models.tubelets import gather_tokens, patchify

MEAN, STD = 0.45, 0.225  # of the model, every colour


def half_mask(model, seed: int = 0) -> torch.Tensor:
    return random_mask(2, model.config.grid, 0.5, Generator().manual_seed(seed))


def expected_target(video: torch.Tensor, kind: str) -> torch.Tensor:
    """The target of every tubelet, (B, N, 2 * 8 * 8 * 3), written out."""
    tubelets = patchify(video * STD + MEAN if kind == "per_channel" else video, 2, 8)
    if kind == "per_patch":
        return (tubelets - tubelets.mean(2, keepdim=True)) / (tubelets.var(2, keepdim=True) + 1e-6).sqrt()
    if kind == "per_channel":
        colours = tubelets.reshape(2, -1, 128, 3)
        colours = (colours - colours.mean(2, keepdim=True)) / (colours.var(2, keepdim=True).sqrt() + 1e-6)
        return colours.reshape(2, -1, 384)
    return tubelets


def error(prediction: torch.Tensor, target: torch.Tensor, loss: str) -> torch.Tensor:
    apart = (prediction - target).abs()
    return {"mse": apart**2, "l1": apart, "smooth_l1": torch.where(apart < 1, apart**2 / 2, apart - 0.5)}[loss]


# Loss


@pytest.mark.parametrize("loss", ["mse", "l1", "smooth_l1"])
@pytest.mark.parametrize("target", ["pixels", "per_channel", "per_patch"])
def test_loss_is_the_mean_error_over_masked_tokens(loss, target):
    model, video = autoencoder(loss=loss, target=target).eval(), random_video()
    mask = half_mask(model)
    out = model(video, mask)
    truth = expected_target(video, target)[mask].reshape(2, -1, 384)
    assert out.loss.item() == pytest.approx(error(out.prediction, truth, loss).mean().item(), rel=1e-4)


def test_prediction_has_one_row_per_masked_token_in_ascending_order():
    """Each masked token is predicted as if it were decoded alone with the others in any order."""
    model, video = autoencoder().eval(), random_video()
    randomise(model)
    mask = half_mask(model)
    out = model(video, mask)
    split = model.encoder.split_tokens(video, mask)
    assert out.prediction.shape == (2, 128, 384)
    assert out.loss.ndim == 0
    tokens, class_token = model.encoder(video, split)
    backwards = split.masked.flip(1)
    reordered = model.decoder(tokens, class_token, split.visible, backwards, model.encoder.positions())
    assert torch.allclose(reordered.flip(1), out.prediction, atol=1e-5)


def test_prediction_depends_on_visible_pixels_only():
    model, video = autoencoder().eval(), random_video()
    mask = half_mask(model)
    other = random_video(seed=5)
    pixels = mask.reshape(2, 1, 4, 8, 8).repeat_interleave(2, 2).repeat_interleave(8, 3).repeat_interleave(8, 4)
    mixed = torch.where(pixels, other, video)
    assert torch.equal(model(mixed, mask).prediction, model(video, mask).prediction)
    assert not torch.equal(model(mixed, mask).loss, model(video, mask).loss)


@pytest.mark.parametrize(
    "config",
    [
        {"decoder_positions": "shared", "decoder_dim": 48},
        {"decoder_positions": "separable"},
        {"decoder_positions": "joint"},
        {"class_token": True},
        {"class_token": True, "class_position": True, "decoder_class_token": "own"},
        {"tokenizer": "spt"},
        {"local_attention": True},
        {"decoder_norm": False, "decoder_bias": False, "final_norm": False},
    ],
)
def test_every_parameter_of_every_variant_gets_a_gradient(config):
    model = autoencoder(**config)
    model(random_video(), half_mask(model)).loss.backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    zero = [
        name for name, parameter in model.named_parameters() if parameter.grad is not None and not parameter.grad.any()
    ]
    assert unused == []
    assert zero == []


def test_a_few_clips_can_be_learned_by_heart():
    torch.manual_seed(0)
    model = autoencoder(num_frames=2, image_size=32, decoder_dim=48)
    video = torch.randn(8, 3, 1, 2, 2).repeat_interleave(2, 2).repeat_interleave(16, 3).repeat_interleave(16, 4)
    mask = random_mask(8, model.config.grid, 0.5, Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(100):
        loss = model(video, mask).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_half_precision_and_compiled_models_agree_with_the_plain_one(backend):
    torch.manual_seed(0)
    model, video = autoencoder().eval(), random_video()
    mask = half_mask(model)
    with torch.no_grad():
        plain = model(video, mask)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(video, mask)
        compiled = torch.compile(model, backend=backend)(video, mask)
    assert half.loss.item() == pytest.approx(plain.loss.item(), rel=2e-2)
    assert (half.prediction.float() - plain.prediction).abs().max() < 0.05 * plain.prediction.abs().max()
    assert torch.allclose(compiled.prediction, plain.prediction, atol=1e-5)
    assert compiled.loss.item() == pytest.approx(plain.loss.item(), rel=1e-5)


# Decoder mask


def test_decoder_mask_leaves_out_its_tokens_and_the_loss_is_over_masked_ones():
    model, video = autoencoder().eval(), random_video()
    grid, generator = model.config.grid, Generator().manual_seed(1)
    mask, decoder_mask = random_mask(2, grid, 0.75, generator), running_cells(2, grid, 0.5, generator)
    decoded = ~decoder_mask
    assert (mask & decoded).sum(1).unique().numel() == 2  # the rows differ in masked tokens that are decoded
    out = model(video, mask, decoder_mask)
    assert out.prediction.shape == (2, 128, 384)
    truth = patchify(video, 2, 8)[decoded].reshape(2, 128, 384)
    per_token = (out.prediction - truth).square().mean(2)
    counted = mask[decoded].reshape(2, 128)
    assert out.loss.item() == pytest.approx(per_token[counted].mean().item(), rel=1e-5)


def test_decoder_mask_that_hides_nothing_of_the_mask_gives_the_usual_loss():
    """Decoding exactly the masked tokens, by a decoder mask that is the opposite of the mask."""
    model, video = autoencoder().eval(), random_video()
    mask = half_mask(model)
    plain, masked = model(video, mask), model(video, mask, ~mask)
    assert torch.allclose(masked.prediction, plain.prediction, atol=1e-6)
    assert masked.loss.item() == pytest.approx(plain.loss.item(), rel=1e-6)


def test_loss_is_zero_and_finite_if_no_masked_token_is_decoded():
    model = autoencoder()
    mask = half_mask(model)
    loss = model(random_video(), mask, mask).loss
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_masking_object_supplies_both_masks():
    model, masking = autoencoder(), Masking("tube", 0.9, decoder_ratio=0.5)
    generator = Generator().manual_seed(0)
    mask = masking(2, model.config.grid, generator)
    out = model(random_video(), mask, masking.decoder_mask(2, model.config.grid, generator))
    assert out.prediction.shape[1] == 128
    out.loss.backward()


# Reconstruction


@pytest.mark.parametrize("target", ["pixels", "per_channel", "per_patch"])
def test_reconstruction_keeps_visible_pixels_and_fills_in_predictions(target):
    model, video = autoencoder(target=target).eval(), random_video()
    mask = half_mask(model)
    found = patchify(model.reconstruct(video, mask), 2, 8)
    before = patchify(video, 2, 8)
    assert torch.allclose(found[~mask], before[~mask], atol=1e-5)
    predicted = model(video, mask).prediction.flatten(0, 1)
    truth = before[mask]
    if target == "per_patch":
        predicted = predicted * (truth.var(1, keepdim=True) + 1e-6).sqrt() + truth.mean(1, keepdim=True)
    elif target == "per_channel":
        colours = truth.reshape(-1, 128, 3)
        predicted = predicted.reshape(-1, 128, 3) * colours.std(1, keepdim=True) + colours.mean(1, keepdim=True)
        predicted = predicted.flatten(1)
    assert torch.allclose(found[mask], predicted, atol=1e-4)


@pytest.mark.parametrize("target", ["pixels", "per_channel", "per_patch"])
def test_perfect_prediction_reconstructs_the_video(target, monkeypatch):
    model, video = autoencoder(target=target).eval(), random_video()
    mask = half_mask(model)
    masked = model.encoder.split_tokens(video, mask).masked
    perfect = gather_tokens(expected_target(video, target), masked)
    monkeypatch.setattr(model.decoder, "forward", lambda *_: perfect)
    assert torch.allclose(model.reconstruct(video, mask), video, atol=1e-4)
    assert model(video, mask).loss.item() < 1e-8


def test_reconstruction_passes_gradients_to_the_decoder():
    model = autoencoder()
    model.reconstruct(random_video(), half_mask(model)).square().mean().backward()
    assert model.decoder.head.weight.grad.any()


# Fewer predicted frames (MAE-ST)


def test_every_other_frame_is_predicted_from_the_first_to_the_last():
    assert autoencoder(num_frames=16, target_frames=8).target_frames().tolist() == [0, 2, 4, 6, 8, 10, 12, 15]
    assert autoencoder().target_frames().tolist() == list(range(8))


def test_target_tubelets_are_of_the_predicted_frames():
    model, video = autoencoder(target_frames=4), random_video()
    assert model.target_frames().tolist() == [0, 2, 4, 7]
    assert torch.equal(model.target_tubelets(video), patchify(video[:, :, [0, 2, 4, 7]], 1, 8))


def test_reconstruction_of_fewer_frames_has_those_frames():
    model, video = autoencoder(target_frames=4).eval(), random_video()
    mask = half_mask(model)
    out = model(video, mask)
    assert out.prediction.shape == (2, 128, 8 * 8 * 3)
    found = model.reconstruct(video, mask)
    assert found.shape == (2, 3, 4, 64, 64)
    before = patchify(video[:, :, [0, 2, 4, 7]], 1, 8)
    assert torch.allclose(patchify(found, 1, 8)[~mask], before[~mask], atol=1e-6)
    assert torch.allclose(patchify(found, 1, 8)[mask], out.prediction.flatten(0, 1), atol=1e-6)


# Encoding and errors


def test_encode_gives_all_tokens_of_the_unmasked_video():
    model = autoencoder().eval()
    assert torch.equal(model.encode(random_video()), model.encoder(random_video())[0])


def test_masks_that_do_not_fit_are_errors():
    model, video = autoencoder(), random_video()
    mask = half_mask(model)
    uneven = mask.clone()
    uneven[0, mask[0].nonzero()[0]] = False
    for wrong, message in (
        (uneven, "every row must mask the same number"),
        (mask[:, :5], r"must be \(2, 256\)"),
        (mask[:1], r"must be \(2, 256\)"),
        (mask.float(), "torch.float32"),
        (torch.ones_like(mask), "hides 256 of 256"),
        (torch.zeros_like(mask), "hides 0 of 256"),
    ):
        with pytest.raises(ValueError, match=message):
            model(video, wrong)
        with pytest.raises(ValueError, match=message):
            model(video, mask, wrong)
        with pytest.raises(ValueError, match=message):
            model.reconstruct(video, wrong)
