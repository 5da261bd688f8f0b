"""Published checkpoints by name and nest; positions of another grid; URLs; and everything that is not what it should be."""

import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from common.errors import WorkError
from training.models import create_model, export_pretrained, load_pretrained, remote
from training.models.layouts import detect, to_own
from training.models.masking import random_mask
from training.models.positions import sinusoid_1d, stretch

DIM, DEPTH, NARROW, SHALLOW = 48, 2, 24, 1
SMALL = {"dim": DIM, "depth": DEPTH, "heads": 3, "decoder_dim": NARROW, "decoder_depth": SHALLOW, "decoder_heads": 3}


def linear(name: str, out: int, into: int, *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def st_block(stem: str, dim: int) -> dict[str, tuple[int, ...]]:
    found = norm(f"{stem}.norm1", dim) | norm(f"{stem}.norm2", dim)
    for part in ("q", "k", "v", "proj"):
        found |= linear(f"{stem}.attn.{part}", dim, dim)
    return found | linear(f"{stem}.mlp.fc1", 4 * dim, dim) | linear(f"{stem}.mlp.fc2", dim, 4 * dim)


def mae_block(stem: str, dim: int) -> dict[str, tuple[int, ...]]:
    found = norm(f"{stem}.norm1", dim) | norm(f"{stem}.norm2", dim)
    found |= {f"{stem}.attn.q_bias": (dim,), f"{stem}.attn.v_bias": (dim,), f"{stem}.attn.qkv.weight": (3 * dim, dim)}
    found |= linear(f"{stem}.attn.proj", dim, dim)
    return found | linear(f"{stem}.mlp.fc1", 4 * dim, dim) | linear(f"{stem}.mlp.fc2", dim, 4 * dim)


def st_encoder() -> dict[str, tuple[int, ...]]:
    found = {
        "cls_token": (1, 1, DIM),
        "pos_embed_spatial": (1, 196, DIM),
        "pos_embed_temporal": (1, 8, DIM),
        "pos_embed_class": (1, 1, DIM),
        "patch_embed.proj.weight": (DIM, 3, 2, 16, 16),
        "patch_embed.proj.bias": (DIM,),
    }
    for number in range(DEPTH):
        found |= st_block(f"blocks.{number}", DIM)
    return found | norm("norm", DIM)


def pyslowfast() -> dict[str, tuple[int, ...]]:
    """The published K400 checkpoint of MAE-ST: its decoder has PySlowFast's names and one joint position table."""
    found = st_encoder() | {"mask_token": (1, 1, NARROW), "decoder_pos_embed": (1, 1569, NARROW)}
    found |= linear("decoder_embed", NARROW, DIM)
    for number in range(SHALLOW):
        found |= st_block(f"pred_head.transforms.0.{number}", NARROW)
    found |= norm(f"pred_head.transforms.0.{SHALLOW}", NARROW)
    return found | linear("pred_head.projections.0", 768, NARROW)


def mae_st() -> dict[str, tuple[int, ...]]:
    """What facebookresearch/mae_st writes today."""
    found = st_encoder() | {
        "mask_token": (1, 1, NARROW),
        "decoder_cls_token": (1, 1, NARROW),
        "decoder_pos_embed_spatial": (1, 196, NARROW),
        "decoder_pos_embed_temporal": (1, 8, NARROW),
        "decoder_pos_embed_class": (1, 1, NARROW),
    }
    found |= linear("decoder_embed", NARROW, DIM)
    for number in range(SHALLOW):
        found |= st_block(f"decoder_blocks.{number}", NARROW)
    return found | norm("decoder_norm", NARROW) | linear("decoder_pred", 768, NARROW)


def videomae() -> dict[str, tuple[int, ...]]:
    found = {
        "mask_token": (1, 1, NARROW),
        "encoder.patch_embed.proj.weight": (DIM, 3, 2, 16, 16),
        "encoder.patch_embed.proj.bias": (DIM,),
    }
    for number in range(DEPTH):
        found |= mae_block(f"encoder.blocks.{number}", DIM)
    found |= norm("encoder.norm", DIM)
    for number in range(SHALLOW):
        found |= mae_block(f"decoder.blocks.{number}", NARROW)
    found |= norm("decoder.norm", NARROW) | linear("decoder.head", 1536, NARROW)
    return found | linear("encoder_to_decoder", NARROW, DIM, bias=False)


def videomae_tuned() -> dict[str, tuple[int, ...]]:
    found = {"patch_embed.proj.weight": (DIM, 3, 2, 16, 16), "patch_embed.proj.bias": (DIM,)}
    for number in range(DEPTH):
        found |= mae_block(f"blocks.{number}", DIM)
    return found | norm("fc_norm", DIM) | linear("head", 7, DIM)


def st_tuned() -> dict[str, tuple[int, ...]]:
    return st_encoder() | linear("head", 7, DIM)


def hub(old: bool) -> dict[str, tuple[int, ...]]:
    """The files on Hugging Face's hub; older ones have q_bias and v_bias beside the matrices."""
    found = {
        "mask_token": (1, 1, NARROW),
        "videomae.embeddings.patch_embeddings.projection.weight": (DIM, 3, 2, 16, 16),
        "videomae.embeddings.patch_embeddings.projection.bias": (DIM,),
    }
    stems = [(f"videomae.encoder.layer.{n}", DIM) for n in range(DEPTH)]
    stems += [(f"decoder.decoder_layers.{n}", NARROW) for n in range(SHALLOW)]
    for stem, dim in stems:
        inner = f"{stem}.attention.attention"
        for part in ("query", "key", "value"):
            found |= linear(f"{inner}.{part}", dim, dim, bias=False)
        if old:
            found |= {f"{inner}.q_bias": (dim,), f"{inner}.v_bias": (dim,)}
        else:
            found |= {f"{inner}.query.bias": (dim,), f"{inner}.value.bias": (dim,)}
        found |= linear(f"{stem}.attention.output.dense", dim, dim)
        found |= linear(f"{stem}.intermediate.dense", 4 * dim, dim) | linear(f"{stem}.output.dense", dim, 4 * dim)
        found |= norm(f"{stem}.layernorm_before", dim) | norm(f"{stem}.layernorm_after", dim)
    found |= norm("videomae.layernorm", DIM) | norm("decoder.norm", NARROW) | linear("decoder.head", 1536, NARROW)
    return found | linear("encoder_to_decoder", NARROW, DIM, bias=False)


TODAY = {"decoder_class": "own", "decoder_positions": "separable"}
PUBLISHED = {
    "MAE-ST, published": (pyslowfast, "mae_st_large", {}, lambda state: {"model_state": state, "epoch": 400}),
    "MAE-ST, today": (mae_st, "mae_st_large", TODAY, lambda state: {"model": state, "args": None}),
    "MAE-ST, fine-tuned": (st_tuned, "mae_st_large", {"classes": 7}, lambda state: {"model_state": state}),
    "VideoMAE": (videomae, "videomae_base", {}, lambda state: {"model": state, "epoch": 1599}),
    "VideoMAE, parallel": (
        videomae,
        "videomae_base",
        {},
        lambda state: {"module": {f"module.{key}": value for key, value in state.items()}},
    ),
    "VideoMAE, fine-tuned": (videomae_tuned, "videomae_base", {"classes": 7}, lambda state: {"module": state}),
    "hub": (functools.partial(hub, False), "videomae_base", {}, lambda state: state),
    "hub, older": (functools.partial(hub, True), "videomae_base", {}, lambda state: state),
}


@pytest.fixture(params=PUBLISHED)
def published(request, tmp_path):
    """A file as published, its weights, and a model that it fits."""
    sizes, preset, changes, nest = PUBLISHED[request.param]
    torch.manual_seed(0)
    state = {name: torch.randn(size) * 0.02 for name, size in sizes().items()}
    path = tmp_path / "published.pth"
    torch.save(nest(state), path)
    return path, state, lambda **more: create_model(preset, **(SMALL | changes | more)), nest


def test_a_published_checkpoint_loads_completely(published):
    path, state, build, _ = published
    model = load_pretrained(build(), path)
    assert sum(value.numel() for value in model.state_dict().values()) == sum(value.numel() for value in state.values())
    mine = model.state_dict()
    conv = next(value for value in state.values() if value.dim() == 5)
    assert torch.equal(mine["encoder.embed.proj.weight"], conv.permute(0, 2, 3, 4, 1).flatten(1))
    total = sum(float(value.double().sum()) for value in state.values())
    assert sum(float(value.double().sum()) for value in mine.values()) == pytest.approx(total)


@pytest.mark.parametrize("encoder_only", [False, True])
def test_one_missing_or_extra_or_wrong_key_fails_loudly(published, tmp_path, encoder_only):
    _, state, build, nest = published
    inside = next(
        key for key in state if "1" in key and key.endswith(("proj.weight", "dense.weight")) and "pred" not in key
    )
    damages = {
        "missing encoder.blocks.1.attn.proj.weight": {key: value for key, value in state.items() if key != inside},
        "encoder.blocks.1.attn.proj.weight is (3, 3)": state | {inside: torch.zeros(3, 3)},
    }
    if not encoder_only:
        damages["unexpected something.else"] = state | {"something.else": torch.zeros(3)}
    for said, damaged in damages.items():
        torch.save(nest(damaged), tmp_path / "damaged.pth")
        with pytest.raises(WorkError) as caught:
            load_pretrained(build(), tmp_path / "damaged.pth", encoder_only=encoder_only)
        assert said.replace("encoder.", "", 1 if encoder_only else 0) in str(caught.value)


def test_an_encoder_goes_under_a_head(tmp_path):
    torch.manual_seed(0)
    state = {name: torch.randn(size) * 0.02 for name, size in videomae().items()}
    torch.save({"model": state}, tmp_path / "a.pth")
    model = create_model("videomae_base", **SMALL, classes=7)
    head = model.head.weight.clone()
    load_pretrained(model, tmp_path / "a.pth", encoder_only=True)
    assert torch.equal(model.encoder.blocks[0].attn.qkv.weight, state["encoder.blocks.0.attn.qkv.weight"])
    assert torch.equal(model.head.weight, head)


# Positions of another grid


def test_stretching_keeps_what_is_smooth():
    times, side = torch.linspace(0, 1, 8), torch.linspace(-1, 1, 14)
    table = (times[:, None, None] + side[None, :, None] * 2 + side[None, None] * 3).flatten()[:, None]
    small = stretch(table, (8, 14), (4, 7)).reshape(4, 7, 7)
    assert torch.allclose(small.mean(), table.mean(), atol=1e-5)
    assert (small.diff(dim=0) > 0).all()
    assert (small.diff(dim=1) > 0).all()
    assert (small.diff(dim=2) > 0).all()
    assert torch.equal(stretch(table, (8, 14), (8, 14)), table)


@pytest.mark.parametrize("shape", [{"image_size": 64}, {"num_frames": 8}, {"image_size": 64, "num_frames": 24}])
def test_checkpoints_fit_other_sizes(tmp_path, shape):
    changes = shape | ({"target_frames": shape.get("num_frames", 16) // 2})
    for sizes, preset, more in ((pyslowfast, "mae_st_large", changes), (videomae, "videomae_base", shape)):
        torch.manual_seed(0)
        state = {name: torch.randn(size) * 0.02 for name, size in sizes().items()}
        torch.save({"model": state}, tmp_path / "a.pth")
        model = load_pretrained(create_model(preset, **SMALL, **more), tmp_path / "a.pth").eval()
        grid = model.config.grid
        video = torch.randn(1, 3, model.config.num_frames, model.config.image_size, model.config.image_size)
        out = model(video, random_mask(1, grid, 0.5, Generator().manual_seed(0)))
        assert out.loss.isfinite()
        if preset == "mae_st_large":
            continue
        wanted = stretch(sinusoid_1d(1568, DIM), (8, 14), (grid.times, grid.side))
        assert torch.equal(model.encoder.positions(), wanted)
        export_pretrained(model, tmp_path / "own.pt")
        again = load_pretrained(create_model(preset, **SMALL, **more), tmp_path / "own.pt").eval()
        assert torch.equal(again.encode(video), model.encode(video))


# URLs


class _Ranges(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send_head(self):
        self.server.asked.append(self.headers.get("Range"))
        path = self.translate_path(self.path)
        try:
            data = Path(path).read_bytes()
        except OSError:
            self.send_error(404)
            return
        span = self.headers.get("Range")
        begin = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
        end = int(span.split("-")[1] or len(data) - 1) if span else len(data) - 1
        body = data[begin : end + 1]
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        return


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    (tmp_path / "served").mkdir()
    monkeypatch.setattr(remote, "CACHE", tmp_path / "cache")
    handler = functools.partial(_Ranges, directory=str(tmp_path / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, tmp_path / "served", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_checkpoint_comes_from_a_url_once(hosted):
    server, folder, url = hosted
    model = create_model("videomae_base", **SMALL)
    export_pretrained(model, folder / "a.pt")
    for _ in range(2):
        again = load_pretrained(create_model("videomae_base", **SMALL), f"{url}/a.pt")
        assert torch.equal(again.encoder.norm.weight, model.encoder.norm.weight)
        seen = len(server.asked)
    assert len(server.asked) == seen
    with pytest.raises(WorkError, match="has sha256"):
        load_pretrained(create_model("videomae_base", **SMALL), f"{url}/a.pt", sha256="0" * 64)
    with pytest.raises(WorkError, match="is not there"):
        load_pretrained(create_model("videomae_base", **SMALL), f"{url}/none.pt")


def test_a_download_that_broke_carries_on(hosted, monkeypatch):
    server, folder, url = hosted
    data = np.random.default_rng(0).bytes(3 << 20)
    (folder / "a.bin").write_bytes(data)
    written = remote.tqdm.update
    monkeypatch.setattr(remote.tqdm, "update", lambda bar, n: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        remote.local(f"{url}/a.bin")
    monkeypatch.setattr(remote.tqdm, "update", written)
    assert remote.local(f"{url}/a.bin").read_bytes() == data
    assert any(span and not span.startswith("bytes=0-") for span in server.asked)


def test_nobody_answers(hosted):
    with pytest.raises(WorkError, match="cannot be read"):
        remote.local("http://127.0.0.1:1/a.pt")


# What is not what it should be


def test_files_of_other_kinds_are_refused(tmp_path):
    model = create_model("videomae_base", **SMALL)
    torch.save({"model": {"resnet.conv1.weight": torch.zeros(3)}}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    export_pretrained(model, tmp_path / "own.pt")
    whole = (tmp_path / "own.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "folder").mkdir()
    nan = model.state_dict() | {"encoder.norm.weight": torch.full((DIM,), torch.nan)}
    torch.save({"model": nan}, tmp_path / "nan.pt")
    for name, said in {
        "other.pt": "layout that is not known here: it has keys resnet.conv1.weight",
        "list.pt": "holds a list",
        "empty.pt": "layout that is not known here: it has keys epoch",
        "cut.pt": "is damaged",
        "page.pt": "is refused",
        "bad.safetensors": "is damaged",
        "folder": "neither model.safetensors nor",
        "none.pt": "is not here",
        "nan.pt": "encoder.norm.weight holds values that are no numbers",
    }.items():
        with pytest.raises(WorkError) as caught:
            load_pretrained(model, tmp_path / name)
        assert said in str(caught.value), name


def test_layouts_are_told_apart():
    found = {label: detect({name: torch.zeros(1) for name in sizes()}) for label, (sizes, *_) in PUBLISHED.items()}
    assert found == {
        label: "mae_st" if label.startswith("MAE-ST") else "huggingface" if label.startswith("hub") else "videomae"
        for label in PUBLISHED
    }
    assert to_own({"encoder.embed.proj.weight": torch.zeros(1)}, "own")
