"""The Omniglot benchmark on drawn characters: reading, turning, augmenting, and all of it in a few steps."""

import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import omniglot
from benchmarks.characters import ConvEmbedding, augment, read_alphabets, with_mirrored, with_turns
from benchmarks.jitter import Jitter

CHARACTERS, DRAWINGS = 5, 10


def drawing(seed, jitter):
    """Three strokes, black on white, 105 x 105, as PNG."""
    points = np.random.default_rng(seed).integers(20, 85, (3, 2, 2)) + np.random.default_rng(jitter).integers(
        -3, 4, (3, 2, 2)
    )
    picture = np.full((105, 105), 255, np.uint8)
    for start, end in points.tolist():
        cv2.line(picture, start, end, 0, 3)
    return cv2.imencode(".png", picture)[1].tobytes()


def write_archive(path: Path, alphabets):
    with zipfile.ZipFile(path, "w") as archive:
        for alphabet in alphabets:
            for character in range(CHARACTERS):
                for number in range(DRAWINGS):
                    name = f"images/{alphabet}/character{character:02}/{number:02}.png"
                    archive.writestr(name, drawing([ord(alphabet), character], number))
        archive.writestr(f"__MACOSX/images/{alphabets[0]}/character00/._00.png", b"not a picture")


@pytest.fixture
def archives(tmp_path):
    (tmp_path / "omniglot").mkdir()
    write_archive(tmp_path / "omniglot/one.zip", "CA")
    write_archive(tmp_path / "omniglot/two.zip", "AB")  # A is in both
    return sorted((tmp_path / "omniglot").glob("*.zip"))


def test_alphabets_come_by_name_once_with_white_ink(archives):
    alphabets = read_alphabets(archives)
    assert list(alphabets) == ["A", "B", "C"]
    assert all(characters.shape == (CHARACTERS, DRAWINGS, 28, 28) for characters in alphabets.values())
    picture = cv2.imdecode(np.frombuffer(drawing([ord("B"), 2], 7), np.uint8), cv2.IMREAD_GRAYSCALE)
    expected = cv2.resize(255 - picture, (28, 28), interpolation=cv2.INTER_AREA)
    assert np.array_equal(alphabets["B"][2, 7], expected)


def test_a_character_turned_by_90_degrees_is_another_class(archives):
    alphabets = list(read_alphabets(archives).values())
    found = with_turns(alphabets[:2])
    assert found.images.shape == (2 * CHARACTERS * 4 * DRAWINGS, 28, 28)
    assert found.classes.bincount().tolist() == [DRAWINGS] * (2 * CHARACTERS * 4)
    upright, turned = found.images[found.classes == 1], found.images[found.classes == 1 + CHARACTERS]
    assert torch.equal(upright, alphabets[0][1])
    assert torch.equal(turned.rot90(-1, (1, 2)), upright)


def test_the_mirror_image_of_a_character_is_another_class(archives):
    turned = with_turns(list(read_alphabets(archives).values())[:1])
    found, number = with_mirrored(turned), len(turned.images)
    assert torch.equal(found.images[:number], turned.images)
    assert torch.equal(found.classes[:number], turned.classes)
    assert np.array_equal(found.images[number:].numpy(), turned.images.numpy()[:, :, ::-1])
    assert torch.equal(found.classes[number:], turned.classes + CHARACTERS * 4)


def test_augmented_drawings_are_shifted_and_turned_a_little():
    images = torch.zeros(50, 28, 28, dtype=torch.uint8)
    images[:, 12:16, 12:16] = 255
    found = augment(images, torch.Generator().manual_seed(0)).double()
    places = torch.arange(28.0, dtype=torch.float64)
    ink = found.sum((1, 2))
    rows, columns = (found.sum(2) * places).sum(1) / ink, (found.sum(1) * places).sum(1) / ink
    assert found.shape == images.shape
    for centre in (rows, columns):
        assert (centre - 13.5).abs().max() < 28 * 0.1 * 1.3  # a tenth of the side, by the turned axes
        assert float(centre.std()) > 0.5
    assert torch.equal(augment(images, torch.Generator().manual_seed(0)).double(), found)


def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    model, images = ConvEmbedding(16, channels=8), torch.randint(0, 256, (600, 28, 28), dtype=torch.uint8)
    embedded = model.of_all(images)
    assert embedded.shape == (600, 16)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(600))
    torch.testing.assert_close(embedded[:3], model.of_all(images[:3]), atol=1e-5, rtol=1e-4)


def test_averaged_embeddings_are_the_means_over_a_drawing_and_its_copies():
    torch.manual_seed(0)
    model, images = ConvEmbedding(16, channels=8), torch.randint(0, 256, (20, 28, 28), dtype=torch.uint8)
    alone = model.averaged(images, torch.Generator().manual_seed(0), copies=0)
    torch.testing.assert_close(alone, model.of_all(images))
    found = model.averaged(images, torch.Generator().manual_seed(0), copies=2)
    generator = torch.Generator().manual_seed(0)
    jitter = Jitter(angle=0.1, shift=0.05, scale=0.05, stretch=0.05, shear=0.1)
    copies = [model.of_all(jitter(images[:, None], generator)[:, 0]) for _ in range(2)]
    mean = (alone + copies[0] + copies[1]) / 3
    torch.testing.assert_close(found, mean / mean.norm(dim=1, keepdim=True))


def test_targets_compare_errors_with_the_published_ones_and_the_lstm_s():
    mann, lstm = torch.full((10,), 0.95), torch.full((10,), 0.8)
    targets = list(omniglot.targets(mann, lstm))
    assert [target.met for target in targets] == [
        True,
        True,
        True,
        True,
        False,
    ]  # 2nd, LSTM, 3rd, 5th (94.9%), 10th (98.1%)
    assert targets[1].ratio == pytest.approx(0.25)


def test_the_table_of_a_run_in_a_few_steps_and_a_second_run_that_trains_nothing(archives, monkeypatch, capsys):
    folder = archives[0].parent.parent
    monkeypatch.setenv("SHARED_DATA", str(folder))
    options = "--embedding-steps 3 --steps 2 --two-step-steps 2 --round-steps 2 --episodes 4"
    monkeypatch.setattr(sys, "argv", ["omniglot", "--folder", str(folder / "networks"), *options.split()])
    omniglot.main()
    printed = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| ") and "---" not in line]
    assert rows[1:3] == ["MANN, Santoro et al. 2016", "LSTM, Santoro et al. 2016"]
    assert rows[3:5] == ["prototypes"] * 2
    assert rows[5:13] == ["MANN", "LSTM", "MANN", "LSTM", "transformer", "MANN", "LSTM", "ruling out labels alone"]
    assert "held out: B, C" in printed
    assert printed.splitlines()[-1].startswith("targets: ")
    monkeypatch.setattr(omniglot, "_loss_and_accuracy", None)  # a step would fail
    omniglot.main()
    assert capsys.readouterr().out == printed


def test_without_the_archives_it_says_so(here, monkeypatch):
    monkeypatch.setenv("SHARED_DATA", "absent")
    monkeypatch.setattr(sys, "argv", ["omniglot"])
    with pytest.raises(SystemExit, match="absent/omniglot has no"):
        omniglot.main()
