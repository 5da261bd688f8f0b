"""A small Kinetics mirror in its host's layout, by hand."""

import gzip
import io
import tarfile

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


def put(path, data):
    """Write `data` to `path`, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def pack(path, members, *, cut=None):
    """A tar.gz of (name, bytes or TarInfo)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in members:
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if not isinstance(data, tarfile.TarInfo):
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    packed = gzip.compress(raw.getvalue(), 1, mtime=0)
    path.write_bytes(packed[:cut] if cut else packed)


def kinetics(project, rows, parts, *, clips, reserve=0):
    """Point the project to a mirror with one train list and the given parts; `parts` are lists of members."""
    root = project.root / "mirror/kinetics/400"
    text = HEADER + "".join(f"{label},{video},{start},{start + 10},train,0\n" for label, video, start in rows)
    put(root / "annotations/train.csv", text.encode())
    host = "https://s3.amazonaws.com/kinetics/400/train"
    put(root / "train/k400_train_path.txt", "".join(f"{host}/part_{n}.tar.gz\n" for n in range(len(parts))).encode())
    for number, part in enumerate(parts):
        pack(root / f"train/part_{number}.tar.gz", part["members"], cut=part.get("cut"))
    return project.set(
        corpus="mirror",
        sources={"kinetics400": {"kind": "kinetics400"}},
        download__kinetics_splits=["train"],
        download__kinetics_clips=clips,
        download__reserve_per_class=reserve,
    )


def member(video, start):
    return f"{video}_{start:06d}_{start + 10:06d}.mp4"


def ids(*letters):
    return [letter * 11 for letter in letters]
