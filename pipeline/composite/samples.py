"""A sample of a WebDataset shard: the members of one clip, and their bytes in the tar."""

import json
import tarfile

from pipeline.records.rows import CompositeRow, Split


def description(clip: CompositeRow, split: Split, fps: int) -> bytes:
    """The content of the clip's `.json` member."""
    values = {
        "clip_id": clip.clip_id,
        "source": clip.source,
        "class_id": clip.class_id,
        "class_name": clip.class_name,
        "split": split,
        "official_split": clip.official_split,
        "labels": clip.labels,
        "tinyvirat_labels": clip.tinyvirat_labels,
        "valid_frames": clip.valid_frames,
        "fps": fps,
    }
    return json.dumps(values, ensure_ascii=False).encode()


def class_member(class_id: int) -> bytes:
    """The content of the `.cls` member of a clip of this class."""
    return str(class_id).encode()


def tar_member(name: str, content: bytes) -> bytes:
    """A member as it is in a shard: a header without time and owner, the content, and zeros up to a whole block."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    return entry.tobuf() + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def tar_end(size: int) -> bytes:
    """The zeros at the end of a tar whose members have `size` bytes together."""
    return bytes(2 * tarfile.BLOCKSIZE + -(size + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)
