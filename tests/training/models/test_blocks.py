"""Attention and blocks against torch's own attention and against sums by hand."""

import pytest
import torch
from torch import nn

from tests.training.models.tiny import randomise
from training.models.blocks import Attention, Block, FactorisedBlock, initialise

DIM, HEADS, TIMES, SPACE = 12, 3, 4, 5


def tokens(batch: int = 2, count: int = 7, *, requires_grad: bool = False) -> torch.Tensor:
    values = torch.randn(batch, count, DIM, generator=torch.Generator().manual_seed(0))
    return values.requires_grad_(requires_grad)


# Attention


@pytest.mark.parametrize("bias", ["full", "none"])
def test_attention_equals_torchs(bias):
    layer = Attention(DIM, HEADS, bias)
    randomise(layer)
    reference = nn.MultiheadAttention(DIM, HEADS, bias=True, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(layer.qkv.weight)
        reference.in_proj_bias.copy_(layer.qkv.bias if bias == "full" else torch.zeros(3 * DIM))
        reference.out_proj.load_state_dict(layer.proj.state_dict())
    expected, weights = reference(tokens(), tokens(), tokens(), average_attn_weights=False)
    assert torch.allclose(layer(tokens()), expected, atol=1e-6)
    assert torch.allclose(layer.weights(tokens()), weights, atol=1e-6)


def test_bias_without_key_equals_a_full_bias_with_zeros_for_the_key():
    layer, full = Attention(DIM, HEADS, "no_key"), Attention(DIM, HEADS, "full")
    randomise(layer)
    with torch.no_grad():
        full.qkv.weight.copy_(layer.qkv.weight)
        full.qkv.bias.copy_(torch.cat([layer.q_bias, torch.zeros(DIM), layer.v_bias]))
        full.proj.load_state_dict(layer.proj.state_dict())
    assert torch.allclose(layer(tokens()), full(tokens()), atol=1e-6)
    assert torch.allclose(layer.weights(tokens()), full.weights(tokens()), atol=1e-6)


def test_local_attention_by_hand():
    """Three tokens, one head: a token does not attend to itself, scores are scaled by the learned temperature."""
    layer = Attention(4, 1, "none", local=True)
    with torch.no_grad():
        layer.temperature.fill_(0.7)
    sequence = torch.randn(1, 3, 4)
    q, k, v = (sequence[0] @ layer.qkv.weight.T).split(4, 1)
    scores = 0.7 * q @ k.T
    rows = []
    for token in range(3):
        others = [other for other in range(3) if other != token]
        shares = torch.softmax(scores[token, others], 0)
        rows.append(sum(share * v[other] for share, other in zip(shares, others, strict=True)))
    assert torch.allclose(layer(sequence)[0], layer.proj(torch.stack(rows)), atol=1e-6)


@pytest.mark.parametrize("local", [False, True])
def test_attention_weights_sum_to_one_and_give_the_output(local):
    layer = Attention(DIM, HEADS, "full", local=local)
    randomise(layer)
    weights = layer.weights(tokens())
    assert torch.allclose(weights.sum(3), torch.ones(2, HEADS, 7))
    assert (weights.diagonal(dim1=2, dim2=3) == 0).all() == local
    values = layer.qkv(tokens())[..., 2 * DIM :].unflatten(2, (HEADS, -1)).transpose(1, 2)
    assert torch.allclose(layer.proj((weights @ values).transpose(1, 2).flatten(2)), layer(tokens()), atol=1e-6)


def test_local_attention_starts_at_the_usual_scale():
    layer = Attention(DIM, HEADS, "full", local=True)
    assert torch.allclose(layer.temperature, torch.tensor((DIM / HEADS) ** -0.5))


def test_width_that_does_not_divide_into_the_heads_is_an_error():
    with pytest.raises(ValueError, match="a width of 12 does not divide into 5 heads"):
        Attention(12, 5, "full")


# Block


def test_block_equals_torchs_pre_norm_encoder_layer():
    block = Block(DIM, HEADS, mlp_ratio=2.0, eps=1e-5).eval()
    randomise(block)
    reference = nn.TransformerEncoderLayer(
        DIM, HEADS, 2 * DIM, dropout=0.0, activation="gelu", norm_first=True, batch_first=True
    ).eval()
    with torch.no_grad():
        reference.self_attn.in_proj_weight.copy_(block.attn.qkv.weight)
        reference.self_attn.in_proj_bias.copy_(block.attn.qkv.bias)
        pairs = [(reference.self_attn.out_proj, block.attn.proj), (reference.norm1, block.norm1)]
        pairs += [
            (reference.norm2, block.norm2),
            (reference.linear1, block.mlp.fc1),
            (reference.linear2, block.mlp.fc2),
        ]
        for theirs, ours in pairs:
            theirs.load_state_dict(ours.state_dict())
        assert torch.allclose(block(tokens()), reference(tokens()), atol=1e-5)


def test_stochastic_depth_drops_whole_branches_of_whole_samples_in_training_only():
    torch.manual_seed(0)
    block = Block(DIM, HEADS, drop_path=0.5)
    inputs = tokens(batch=1).expand(64, -1, -1)
    whole = block.eval()(inputs)
    assert torch.equal(whole[0], whole[1])
    outputs = block.train()(inputs)
    kept_as_is = [bool(torch.equal(out, given)) for out, given in zip(outputs, inputs, strict=True)]
    assert 4 < sum(kept_as_is) < 32  # both branches dropped: a quarter of the samples
    assert len({tuple(out.flatten().tolist()) for out in outputs}) == 4  # each branch dropped or not


# Factorised attention


def factorised(*, time: bool = True, space: bool = True) -> FactorisedBlock:
    """A block without MLP, and without attention along time or space unless asked for."""
    block = FactorisedBlock(Block(DIM, HEADS), TIMES, DIM, HEADS).eval()
    randomise(block)
    switched_off = [block.space.mlp.fc2] + [block.time.proj] * (not time) + [block.space.attn.proj] * (not space)
    with torch.no_grad():
        for layer in switched_off:
            layer.weight.zero_()
            layer.bias.zero_()
    return block


def influence(block: FactorisedBlock) -> torch.Tensor:
    """Which input tokens change output token (time 1, space 2): (TIMES, SPACE) bool."""
    inputs = tokens(batch=1, count=TIMES * SPACE, requires_grad=True)
    block(inputs).reshape(TIMES, SPACE, DIM)[1, 2].sum().backward()
    return inputs.grad.abs().sum(2).reshape(TIMES, SPACE) > 0


def test_time_attention_sees_its_own_space_patch_only():
    expected = torch.zeros(TIMES, SPACE, dtype=torch.bool)
    expected[:, 2] = True
    assert torch.equal(influence(factorised(space=False)), expected)


def test_space_attention_sees_its_own_time_patch_only():
    expected = torch.zeros(TIMES, SPACE, dtype=torch.bool)
    expected[1] = True
    assert torch.equal(influence(factorised(time=False)), expected)


def test_time_and_space_attention_together_see_everything():
    assert influence(factorised()).all()


def test_factorised_block_equals_attention_over_rows_and_columns_by_hand():
    block, inputs = factorised(), tokens(count=TIMES * SPACE)
    grid = inputs.reshape(2, TIMES, SPACE, DIM)
    after_time = torch.empty_like(grid)
    for space in range(SPACE):
        line = grid[:, :, space]
        after_time[:, :, space] = line + block.time(block.norm(line))
    expected = torch.stack([block.space(after_time[:, time]) for time in range(TIMES)], 1)
    assert torch.allclose(block(inputs), expected.reshape(2, -1, DIM), atol=1e-6)


# Initialisation


def test_linear_layers_start_xavier_uniform_with_zero_bias():
    torch.manual_seed(0)
    block = Block(96, 3)
    initialise(block)
    for layer in (layer for layer in block.modules() if isinstance(layer, nn.Linear)):
        bound = (6 / sum(layer.weight.shape)) ** 0.5
        assert 0.95 * bound < layer.weight.abs().max() <= bound
        assert (layer.bias == 0).all()
