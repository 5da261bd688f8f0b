"""Class names as vectors: hashed n-grams, and a sentence encoder in the layout of transformers."""

import builtins
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from torch import Generator
from torch.nn import functional as F

from common.errors import WorkError
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.text import class_names, hashed_ngrams, name_vectors, ngrams, vector_length
from training.params import ClassText

BUCKETS = 4096
NAMES = ["waving fast", "waving slowly", "hopping fast", "Entering + activity_carrying"]


def settings(**changes):
    return ClassText(**({"encoder": None, "ngrams": (3, 4), "words": 2, "buckets": BUCKETS} | changes))


def test_ngrams_are_characters_within_words_and_words_in_a_row():
    assert list(ngrams("Big_cat", 3, 4, 2)) == [
        *["<bi", "big", "ig>", "<big", "big>", "<ca", "cat", "at>", "<cat", "cat>"],
        *[" big", " cat", " big cat"],
    ]


def test_no_ngram_spans_two_parts_of_a_name():
    assert " fast kicking" not in set(ngrams("waving fast, kicking slowly", 3, 3, 2))
    assert " kicking slowly" in set(ngrams("waving fast, kicking slowly", 3, 3, 2))
    assert " entering activity" not in set(ngrams("Entering + activity_carrying", 3, 3, 2))


def test_buckets_are_counted_by_a_hash_that_never_changes():
    """`printf "<ab" | b2sum -l 64` prints 8847656425eb3483; for "ab>" 342921624af87e08; for " ab" 21ecf585011ea515.

    The last bit of each is the sign, the twelve before it the bucket of 4,096.
    """
    counts = hashed_ngrams("ab", 3, 3, 1, BUCKETS)
    assert {int(bucket): float(counts[bucket]) for bucket in counts.nonzero()} == {0xA41: -1.0, 0xF04: 1.0, 0x28A: -1.0}
    assert torch.equal(hashed_ngrams("AB", 3, 3, 1, BUCKETS), counts)


def test_names_with_words_in_common_are_similar_and_others_orthogonal():
    vectors = name_vectors(NAMES, settings())
    assert vectors.shape == (4, vector_length(settings())) == (4, BUCKETS)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.3
    assert similarity[0, 2] > 0.2
    assert abs(float(similarity[0, 3])) < 0.25


def test_a_name_without_letters_has_a_zero_vector():
    assert not name_vectors(["+"], settings()).any()


@pytest.mark.parametrize("ngrams", [(4, 3), (3,), (1, 2, 3)])
def test_impossible_ngrams_are_refused(ngrams):
    with pytest.raises(ValueError, match="ngrams is"):
        settings(ngrams=ngrams)


def test_the_names_of_an_episode_are_in_the_order_of_its_labels():
    ids = torch.tensor([7, 3, 9, 1, 4]).repeat_interleave(4)[torch.randperm(20, generator=Generator().manual_seed(1))]
    rows = [SimpleNamespace(class_id=number, class_name=f"class {number}") for number in ids.tolist()]
    names = class_names(rows, settings())
    episodes = EpisodeSampler(ids, 3, 4).draw(20, Generator().manual_seed(0))
    told = names.of(episodes)
    assert told.shape == (20, 3, BUCKETS)
    for number in range(20):
        for clip, label in zip(episodes.clips[number].flatten(), episodes.labels[number].flatten(), strict=True):
            assert torch.equal(told[number, label], name_vectors([rows[int(clip)].class_name], settings())[0])
    clips = torch.isin(ids, torch.tensor([9, 3])).nonzero()[:, 0]
    vectors = names.of_classes(clips, (ids[clips] == 9).long())
    assert torch.equal(vectors, name_vectors(["class 3", "class 9"], settings()))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with a small BERT of random weights, as `transformers` writes it."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("sentences") / "encoder"
    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def tokens_of(folder, name):
    """The last hidden states of a name by itself, (T, D)."""
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(folder).eval()
    tokeniser = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokeniser(name, return_tensors="pt")).last_hidden_state[0]


def test_a_sentence_is_the_mean_of_its_tokens(encoder):
    """A short name is padded beside a long one, which must not change it."""
    names = ["ab", "a much longer name"]
    vectors = name_vectors(names, settings(encoder=str(encoder)))
    assert vectors.shape == (2, vector_length(settings(encoder=str(encoder)))) == (2, 16)
    for name, vector in zip(names, vectors, strict=True):
        expected = F.normalize(tokens_of(encoder, name).mean(0), dim=0)
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=1e-4)


def with_pooling(encoder, tmp_path, config):
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(config)
    return str(folder)


@pytest.mark.parametrize(
    "config", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}]
)
def test_a_sentence_is_its_first_token_where_the_folder_says_so(encoder, tmp_path, config):
    folder = with_pooling(encoder, tmp_path, json.dumps(config))
    vector = name_vectors(["ab"], settings(encoder=folder))[0]
    torch.testing.assert_close(vector, F.normalize(tokens_of(encoder, "ab")[0], dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", ['{"pooling_mode_max_tokens": true}', "{}", "no JSON", "[]"])
def test_another_pooling_is_refused(encoder, tmp_path, config):
    folder = with_pooling(encoder, tmp_path, config)
    with pytest.raises(WorkError, match="is not of the mean or the first token"):
        name_vectors(["ab"], settings(encoder=folder))


def test_weights_that_lack_something_are_refused_by_name(encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    weights["stranger"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WorkError, match=r"missing keys: encoder\.layer\.1\.output\.dense\.weight"):
        name_vectors(["ab"], settings(encoder=str(folder)))


def test_weights_that_hold_something_unknown_are_refused_by_name(encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)
    weights = load_file(folder / "model.safetensors") | {"stranger": torch.zeros(1)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WorkError, match="unexpected keys: stranger"):
        name_vectors(["ab"], settings(encoder=str(folder)))


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(WorkError, match=r"stage3\.text\.encoder is .*nowhere") as caught:
        name_vectors(["ab"], settings(encoder=str(tmp_path / "nowhere")))
    assert "\n" not in str(caught.value)


def test_hashed_names_need_no_package_and_an_encoder_names_the_one_it_needs(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "transformers":
            raise ModuleNotFoundError(name=name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert float(name_vectors(["ab"], settings()).norm()) == pytest.approx(1.0)
    with pytest.raises(ModuleNotFoundError) as caught:
        name_vectors(["ab"], settings(encoder="some/encoder"))
    assert caught.value.name == "transformers"
