"""Heads learn to learn on episodes where class means are always right."""

import pytest
import torch

from tests.training.fewshot.synthetic import EMBEDDING, WAY, accuracy, fit, sequence_accuracy
from training.fewshot.lstm import LSTMMemory
from training.fewshot.mann import MANN
from training.fewshot.protonet import PrototypeHead
from training.fewshot.recurrent import RecurrentHead, TwoStepHead
from training.fewshot.sequential import exclusion_accuracy
from training.fewshot.transformer import TransformerHead

CHANCE = pytest.approx(1 / WAY, abs=0.03)  # 5,000 predictions: five deviations


def mann(head=RecurrentHead):
    return head(MANN(EMBEDDING + WAY, WAY, rows=128, width=40, controller=200, heads=4, decay=0.95), 4.0)


def test_class_means_are_right_from_the_second_instance_on():
    assert accuracy(PrototypeHead())[0] == CHANCE
    assert min(accuracy(PrototypeHead())[1:]) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_memory_network_binds_a_label_to_a_clip_within_600_steps(seed):
    torch.manual_seed(seed)
    head = mann()
    fit(head, steps=600, batch=16, rounds=3, seed=seed)
    by_instance = accuracy(head)
    assert by_instance[0] == CHANCE
    assert by_instance[1] > 0.95
    assert all(share == CHANCE for share in accuracy(head, shuffled=True))


@pytest.mark.slow
@pytest.mark.parametrize(("form", "steps", "second"), [(RecurrentHead, 1000, 0.6), (TwoStepHead, 600, 0.95)])
def test_the_memory_network_learns_from_labels_one_step_late(form, steps, second):
    torch.manual_seed(0)
    head = mann(form)
    fit(head, steps=steps, batch=16, rounds=3, sequences=True)
    by_instance = sequence_accuracy(head)
    # Of the first instance it can rule out labels that have occurred, and no more.
    assert by_instance[0] < float(exclusion_accuracy(WAY)) + 0.03
    assert by_instance[1] > second


@pytest.mark.slow
def test_the_lstm_binds_labels_to_clips_with_its_own_budget():
    torch.manual_seed(0)
    head = RecurrentHead(LSTMMemory(EMBEDDING + WAY, WAY, units=200, layers=2), 4.0)
    fit(head, steps=1000, batch=32, rounds=5)
    by_instance = accuracy(head)
    assert by_instance[0] == CHANCE
    assert by_instance[4] > 0.6
    assert all(share == CHANCE for share in accuracy(head, shuffled=True))


@pytest.mark.slow
def test_the_transformer_binds_labels_to_clips():
    torch.manual_seed(0)
    head = TransformerHead(EMBEDDING, WAY, width=64, depth=2, heads=4, scale=4.0)
    fit(head, steps=1500, batch=32, rounds=3)
    by_instance = accuracy(head)
    assert by_instance[0] == CHANCE
    assert by_instance[1] > 0.95
    assert all(share == CHANCE for share in accuracy(head, shuffled=True))
