"""A grammar of damaged and hostile archives: small tars, gzips and zips of clips with one to three structural changes."""

import bz2
import functools
import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

BLOCK = 512
_CONTENT = random.Random(0)
KINETICS = {
    f"{'abcdefghijk'[n:]}{'-' * n}_{10 * n:06d}_{10 * n + 10:06d}.mp4": _CONTENT.randbytes(400 * n + 300)
    for n in range(4)
}
TINYVIRAT = {f"VIRAT_{n // 2}/{n}.mp4": _CONTENT.randbytes(300 * n + 200) for n in range(4)}
HUGE = (1 << 31, (1 << 32) - 1, 1 << 32, (1 << 33) - 1, 100 << 30, (1 << 62) + 5, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


@dataclass(frozen=True)
class Mutant:
    """One archive.

    Attributes:
        change: what was changed, for messages.
        whole: every clip has to be read.
        exact: a clip that is read has to have its true bytes; else those that Python's own module reads are right too.
    """

    change: str
    data: bytes
    whole: bool = False
    exact: bool = False


# Tar


def tar_header(name: bytes, size: int | bytes = 0, kind: bytes = b"0", **fields: bytes) -> bytes:
    """One header block with a right checksum; `fields` are mode, uid, gid, mtime, checksum, linkname, magic, uname, prefix."""
    size_field = b"%011o\0" % size if isinstance(size, int) else size
    parts = [
        *((name, 100), (fields.get("mode", b"0000644\0"), 8), (fields.get("uid", b"0000000\0"), 8)),
        *((fields.get("gid", b"0000000\0"), 8), (size_field, 12), (fields.get("mtime", b"00000000000\0"), 12)),
        *((b" " * 8, 8), (kind, 1), (fields.get("linkname", b""), 100), (fields.get("magic", b"ustar  \0"), 8)),
        *((fields.get("uname", b""), 32), (fields.get("gname", b""), 32), (b"", 16), (fields.get("prefix", b""), 167)),
    ]
    header = b"".join(value[:length].ljust(length, b"\0") for value, length in parts)
    checksum = fields.get("checksum", b"%06o\0 " % sum(header))
    return header[:148] + checksum[:8].ljust(8, b"\0") + header[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def tar_member(name: bytes, data: bytes, **fields: bytes) -> bytes:
    return tar_header(name, len(data), **fields) + padded(data)


def base256(number: int) -> bytes:
    return b"\x80" + number.to_bytes(11, "big") if number >= 0 else (number + (1 << 96)).to_bytes(12, "big")


def pax_record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return tar_member(b"PaxHeader", records, kind=kind)


def tar_parts() -> list[bytes]:
    """The members of a valid tar, without its end mark."""
    members = [tar_member(name.encode(), data) for name, data in KINETICS.items()]
    return [tar_header(b"part/", kind=b"5"), *members[:2], tar_member(b"README", b"no clip"), *members[2:]]


END = bytes(2 * BLOCK)


def number_field(rng: random.Random, width: int) -> bytes:
    """A wrong number, as octal digits, base-256, or neither."""
    digits = width - 1
    return rng.choice(
        [
            b"%0*o\0" % (digits, rng.choice((0, 1, 511, 512, 513, 4096, 1 << 20, 8**digits - 1))),
            b"%*o " % (digits, rng.randrange(4096)),
            base256(rng.choice((*HUGE, 0, 1, 700, 10**11, -1, -512, -513, -1024, -(1 << 40), -(1 << 63))))[-width:],
            b"\x80" + rng.randbytes(width - 1),
            b"\xff" + rng.randbytes(width - 1),
            rng.choice(
                (b"-1", b"-0001000", b"0x10", b"1e3", b"9999", b"", b" ", b"\0" * 12, b"+7", b"1_0", b"7 7", b"\xb2")
            ),
            rng.randbytes(width),
        ]
    )


def any_name(rng: random.Random, watched: str) -> bytes:
    """A name that is odd, or another clip's."""
    clip = rng.choice(list(KINETICS)).encode()
    return rng.choice(
        [
            *(clip, b"./" + clip, b"part/" + clip, b"../" * rng.randrange(1, 9) + clip, watched.encode() + b"/" + clip),
            *(
                clip + b"\0x",
                clip[:20],
                clip + b"\n",
                clip.upper(),
                b"",
                b".",
                b"..",
                b"/",
                b"\\",
                b"a" * 100,
                b"\xff\xfe.mp4",
            ),
            *(
                "é.mp4".encode(),
                "é.mp4".encode("latin-1"),
                b"\xed\xa0\x80.mp4",
                b"C:\\a.mp4",
                b"-rf",
                b"$(id)",
                b"a\nb\r",
            ),
            rng.randbytes(rng.randrange(1, 101)),
        ]
    )


def any_records(rng: random.Random, watched: str) -> bytes:
    """Records of an extended header, some of them invalid."""
    number = rng.choice(
        (b"0", b"1", b"512", b"-1", b"-512", b"1e9", b"9" * 30, b"9" * 5000, b"x", b"", b"\xb2", b"1.5")
    )
    keys = (b"size", b"path", b"linkpath", b"mtime", b"uid", b"hdrcharset", b"GNU.sparse.major", b"GNU.sparse.minor")
    keys += (b"GNU.sparse.size", b"GNU.sparse.realsize", b"GNU.sparse.name", b"GNU.sparse.map", b"GNU.sparse.offset")
    keys += (
        b"GNU.sparse.numbytes",
        b"GNU.sparse.numblocks",
        b"SCHILY.xattr.a",
        b"comment",
        b"type",
        b"name",
        b"sparse",
    )
    values = (
        number,
        any_name(rng, watched),
        b"BINARY",
        b"0,5",
        b"0,512,1024," + number,
        b"1",
        b"0",
        b"\0",
        b"a\nb",
        b"=",
    )
    records = b"".join(pax_record(rng.choice(keys), rng.choice(values)) for _ in range(rng.choice((1, 1, 2, 5, 40))))
    if rng.random() < 0.15:
        records = pax_record(b"GNU.sparse.major", b"1") + pax_record(b"GNU.sparse.minor", b"0") + records
    if rng.random() < 0.3:
        at = rng.randrange(len(records))
        broken = (
            b"",
            b"0 a=b\n",
            b"9999999 path=x\n",
            b"-5 a=b\n",
            b"5 a\n",
            b"\xff" * 40,
            b"\0" * 8,
            b"%d a=" % rng.choice(HUGE),
        )
        records = records[:at] + rng.choice(broken) + records[at:]
    if rng.random() < 0.05:
        records += b"".join(pax_record(b"k%d" % n, b"") for n in range(6000))
    return records


def sparse_member(rng: random.Random) -> bytes:
    """A member in the old GNU format for sparse files, with odd maps and chains of them."""
    pairs = [b"%011o\0%011o\0" % (rng.randrange(1 << 20), rng.randrange(2000)) for _ in range(4)]
    if rng.random() < 0.4:
        pairs[rng.randrange(4)] = number_field(rng, 12) + number_field(rng, 12)
    links = rng.choice((0, 0, 1, 3, 50, 3000))
    real = b"%011o\0" % rng.choice((0, 300, 5000, 200 << 20, 8 << 30)) if rng.random() < 0.7 else number_field(rng, 12)
    prefix = bytes(41) + b"".join(pairs) + bytes([links > 0]) + real  # from byte 345 on
    chain = b"".join((pairs[0] * 21).ljust(504, b"\0")[:504] + bytes([n < links - 1]) + bytes(7) for n in range(links))
    name = rng.choice(list(KINETICS)).encode()
    return tar_header(name, 300, b"S", prefix=prefix) + chain + padded(_CONTENT_OF_SPARSE)


_CONTENT_OF_SPARSE = b"s" * 300


def change_member(rng: random.Random, parts: list[bytes], watched: str) -> str:
    """Change a header of one member, with a right checksum or a wrong one."""
    at, name = rng.randrange(len(parts)), rng.choice(list(KINETICS))
    data, bad_checksum = KINETICS[name], rng.random() < 0.1
    extra = {"checksum": number_field(rng, 8)} if bad_checksum else {}
    kind = rng.randrange(5)
    if kind == 0:
        parts[at] = tar_header(name.encode(), number_field(rng, 12), **extra) + padded(data)
        return "size"
    if kind == 1:
        width = {"mode": 8, "uid": 8, "gid": 8, "mtime": 12}
        key = rng.choice(list(width))
        parts[at] = tar_member(name.encode(), data, **{key: number_field(rng, width[key])}, **extra)
        return key
    if kind == 2:
        size = b"%011o\0" % rng.choice((0, len(data), 10**6))
        parts[at] = tar_header(
            name.encode(), size, bytes([rng.randrange(256)]), linkname=watched.encode(), **extra
        ) + padded(data)
        return "type"
    if kind == 3:
        parts[at] = tar_member(
            any_name(rng, watched), data, prefix=rng.choice((b"", b"..", any_name(rng, watched))), **extra
        )
        return "name"
    magic = rng.choice((b"", b"ustar\x0000", b"ustar  \0", b"GNUtar \0", b"ustar\0\xff\xff", rng.randbytes(8)))
    parts[at] = tar_member(name.encode(), data, magic=magic, **extra)
    return "magic"


def add_extended_headers(rng: random.Random, parts: list[bytes], watched: str) -> str:
    """Put extended headers before one member."""
    kind = rng.randrange(4)
    if kind == 0:
        header = pax(any_records(rng, watched), rng.choice((b"x", b"x", b"g", b"X")))
        headers, text = header * rng.choice((1, 1, 2, 20, 400)), "pax"
    elif kind == 1:
        value = rng.choice(
            (any_name(rng, watched), any_name(rng, watched) + b"\0", b"a" * 5000, b"/" * 70_000, bytes(600))
        )
        header = tar_member(b"././@LongLink", value, kind=rng.choice((b"L", b"K")))
        headers, text = header * rng.choice((1, 1, 2, 30, 1200 if len(header) < 2048 else 50)), "long name"
    elif kind == 2:
        size = rng.choice((base256(rng.choice(HUGE)), base256(-512), b"%011o\0" % (1 << 20), number_field(rng, 12)))
        headers, text = tar_header(b"x", size, rng.choice((b"x", b"g", b"L", b"K"))), "size of an extended header"
    else:
        headers, text = sparse_member(rng), "sparse"
    parts.insert(rng.randrange(len(parts) + 1), headers)
    return text


def change_layout(rng: random.Random, parts: list[bytes], watched: str) -> str:
    """Repeat, drop, move, cut or fill up blocks of the archive."""
    at = rng.randrange(len(parts))
    kind = rng.randrange(6)
    if kind == 0:
        parts.insert(rng.randrange(len(parts)), parts[at])
        return "member twice"
    if kind == 1:
        parts.insert(at, bytes(BLOCK * rng.choice((1, 2, 8, 40))))
        return "zeros between members"
    if kind == 2:
        parts[at] = parts[at][BLOCK:] if rng.random() < 0.5 else parts[at][: BLOCK * rng.randrange(1, 4)]
        return "block missing"
    if kind == 3:
        parts[:] = [*parts, END, *parts]
        return "two tars"
    if kind == 4:
        parts[at] = parts[at][:-BLOCK] + rng.randbytes(rng.randrange(1, BLOCK))
        return "unaligned"
    rng.shuffle(parts)
    return "order"


def keep_valid(rng: random.Random, parts: list[bytes], watched: str) -> str:
    """Add what ordinary programs write: the clips have to be read."""
    additions = [
        tar_header(b"l.mp4", kind=b"2", linkname=watched.encode()),
        tar_header(b"h.mp4", kind=b"1", linkname=b"../../x"),
        tar_header(b"d", kind=b"3"),
        pax(pax_record(b"comment", b"x" * 300), b"g"),
        pax(pax_record(b"mtime", b"1.5")) + tar_member(b"other", b"1"),
        tar_member(b"././@LongLink", b"n" * 200 + b"\0", kind=b"L") + tar_member(b"n" * 100, b"long"),
        tar_member(b"\xff\xfe", b"not UTF-8"),
        tar_member(b"README", b"again"),
    ]
    parts.insert(rng.choice((0, 1, 4)), rng.choice(additions))  # a global header has to precede a member
    return "valid"


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Change, remove or repeat a few bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, count = rng.randrange(len(changed)), rng.choice((1, 4, 50, 512))
        change = rng.randrange(4)
        if change < 2:
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, changed[at] ^ 1 << rng.randrange(8)))
        elif change == 2 and len(changed) > 1000:
            del changed[at : at + count]
        else:
            changed[at:at] = changed[at : at + count]
    return bytes(changed)


def tar_mutant(rng: random.Random, watched: str) -> Mutant:
    """A tar with changed members, blocks or bytes, plain or gzipped."""
    parts, changes, whole = tar_parts(), [], False
    kind = rng.randrange(10)
    if kind == 0:
        changes, whole = [keep_valid(rng, parts, watched)], True
    else:
        for _ in range(rng.choice((1, 1, 2))):
            changes.append(rng.choice((change_member, add_extended_headers, change_layout))(rng, parts, watched))
    end = rng.choice((END, END, END + bytes(8192)))
    if not whole and rng.random() < 0.15:
        end = rng.choice(
            (b"", bytes(BLOCK), bytes(700), END + b"x" * 512, END + bytes(3 << 20), bytes(BLOCK) + tar_parts()[1])
        )
        changes.append(f"end of {len(end)} bytes")
    data = b"".join(parts) + end
    if not whole and rng.random() < 0.1:
        data, changes = mutate_bytes(rng, data), [*changes, "bytes"]
    if not whole and rng.random() < 0.1:
        data = data[: rng.choice((rng.randrange(len(data)), BLOCK * rng.randrange(len(data) // BLOCK)))]
        changes.append("cut")
    if rng.random() < 0.5:
        data, changes = gzip.compress(data, rng.choice((0, 1))), [*changes, "in gzip"]
    return Mutant("tar: " + ", ".join(changes), data, whole)


# Gzip


def raw_deflate(data: bytes, level: int = 1) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def gzip_member(
    data: bytes, flags: int = 0, fields: bytes = b"", *, packed: bytes | None = None, trailer: bytes = b""
) -> bytes:
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + fields
    body = raw_deflate(data) if packed is None else packed
    return head + body + (trailer or struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))


@functools.cache
def tar_bomb(count: int, size: int) -> bytes:
    """A tar of `count` clips of `size` zeros, gzipped."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(
        packer.compress(tar_header(name.encode(), size)) + packer.compress(bytes(size))
        for name in list(KINETICS)[:count]
    )
    return data + packer.compress(END) + packer.flush()


@functools.cache
def zeros_after_end(size: int) -> bytes:
    return gzip.compress(b"".join(tar_parts()) + END + bytes(size), 9)


def gzip_mutant(rng: random.Random, watched: str) -> Mutant:
    """A valid tar in an odd, damaged or hostile gzip file."""
    tar = b"".join(tar_parts()) + END
    cut = rng.randrange(len(tar))
    fields = (b"\x05\0extra" * 1, b"name\0", b"comment\0")
    endless = b"a" * rng.choice((1000, 70_000, 3 << 20))
    crc = struct.pack("<H", zlib.crc32(b"\x1f\x8b\x08\x02" + bytes(6)) & 0xFFFF)
    empty, stored = gzip_member(b""), b"\0\0\0\xff\xff"
    short = bytes.fromhex("010000ffff")
    valid: list[tuple[str, Callable[[], bytes]]] = [
        ("all fields", lambda: gzip_member(tar, 4 + 8 + 16, b"".join(fields))),
        ("header checksum", lambda: gzip_member(tar, 2, crc)),
        ("text flag", lambda: gzip_member(tar, 1)),
        ("two members", lambda: gzip_member(tar[:cut]) + gzip_member(tar[cut:])),
        ("many members", lambda: b"".join(gzip_member(tar[n : n + 400]) for n in range(0, len(tar), 400))),
        ("empty members", lambda: empty * rng.choice((1, 1000)) + gzip_member(tar) + empty * 1000),
        ("empty blocks", lambda: gzip_member(tar, packed=stored * 5000 + raw_deflate(tar))),
        ("zeros after it", lambda: gzip_member(tar) + bytes(rng.choice((1, 512, 10_240)))),
        ("stored", lambda: gzip.compress(tar, 0)),
    ]
    hostile: list[tuple[str, Callable[[], bytes]]] = [
        ("name without end", lambda: gzip_member(b"", 8, endless, packed=b"", trailer=b"a")),
        ("comment without end", lambda: gzip_member(b"", 8 + 16, b"n\0" + endless, packed=b"", trailer=b"a")),
        ("long name", lambda: gzip_member(tar, 8, endless + b"\0")),
        (
            "extra field too long",
            lambda: gzip_member(tar, 4, struct.pack("<H", rng.randrange(65536)) + b"x" * rng.randrange(99)),
        ),
        (
            "extra fields of many members",
            lambda: gzip_member(b"", 4, b"\xff\xff" + bytes(65535)) * 40 + gzip_member(tar),
        ),
        ("reserved flags", lambda: gzip_member(tar, rng.choice((0x20, 0x40, 0x80, 0xE0)))),
        ("flags", lambda: gzip_member(tar, rng.randrange(256))),
        ("method", lambda: b"\x1f\x8b" + rng.randbytes(1) + gzip_member(tar)[3:]),
        ("header checksum", lambda: gzip_member(tar, 2, rng.randbytes(2))),
        ("checksum", lambda: gzip_member(tar, trailer=rng.randbytes(8))),
        (
            "length",
            lambda: gzip_member(tar, trailer=struct.pack("<II", zlib.crc32(tar), rng.choice((0, len(tar) + 1)))),
        ),
        ("reserved block", lambda: gzip_member(tar, packed=b"\x07" + rng.randbytes(50))),
        ("no last block", lambda: gzip_member(tar, packed=stored * rng.choice((10, 300_000)))),
        ("random blocks", lambda: gzip_member(tar, packed=rng.randbytes(rng.randrange(1, 300)))),
        ("100,000 empty members", lambda: empty * 100_000 + gzip_member(tar)),
        ("members of one byte", lambda: gzip_member(tar) + gzip_member(b"\0") * rng.choice((100, 100_000))),
        ("3 MB of zeros after it", lambda: gzip_member(tar) + bytes(3 << 20)),
        ("garbage after it", lambda: gzip_member(tar) + rng.randbytes(rng.choice((1, 100)))),
        ("tar after it", lambda: gzip_member(tar) + tar),
        ("gzip in gzip", lambda: gzip.compress(gzip.compress(tar))),
        ("cut", lambda: gzip_member(tar)[: rng.randrange(2, len(tar) // 2)]),
        ("bytes", lambda: mutate_bytes(rng, gzip_member(tar))),
        ("dictionary before the start", lambda: gzip_member(tar, packed=b"\x03\x02\0" + rng.randbytes(9))),
        ("empty block last", lambda: gzip_member(tar, packed=short)),
        ("bomb of clips", lambda: tar_bomb(rng.randrange(1, 5), rng.choice((40 << 20, 200 << 20)))),
        ("bomb after the end", lambda: zeros_after_end(rng.choice((900_000, 2 << 20, 100 << 20)))),
    ]
    if rng.random() < 0.25:
        text, make = rng.choice(valid)
        return Mutant(f"gzip: {text}", make(), whole=True, exact=True)
    text, make = rng.choice(hostile)
    # What follows a whole member or is not covered by its checksum may be taken or not.
    return Mutant(f"gzip: {text}", make(), exact="bomb of" not in text)


# Zip


@dataclass(frozen=True)
class Entry:
    """A zip member as its two headers describe it; `local` and `central` replace values in one of them."""

    name: bytes
    packed: bytes
    size: int
    crc: int
    method: int = 8
    flags: int = 0
    extra: bytes = b""
    comment: bytes = b""
    after: bytes = b""  # a data descriptor
    local: dict[str, int | bytes] = field(default_factory=dict)
    central: dict[str, int | bytes] = field(default_factory=dict)


def zip_entry(name: bytes, data: bytes, method: int = 8) -> Entry:
    packers = {0: bytes, 8: lambda data: raw_deflate(data, 9), 12: bz2.compress, 14: _zip_lzma}
    return Entry(name, packers[method](data), len(data), zlib.crc32(data), method)


def _zip_lzma(data: bytes) -> bytes:
    with zipfile.ZipFile(raw := io.BytesIO(), "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", data)
    return raw.getvalue()[31 : raw.getvalue().index(b"PK\1\2")]


def write_zip(
    entries: list[Entry],
    *,
    comment: bytes = b"",
    before: bytes = b"",
    end: dict[str, int] | None = None,
    zip64: dict[str, int] | None = None,
) -> bytes:
    """A zip file; `end` and `zip64` replace values of its end records."""
    out, directory, end = bytearray(before), bytearray(), end or {}
    for entry in entries:
        values = {
            "version": 20, "flags": entry.flags, "method": entry.method, "time": 0, "date": 33, "crc": entry.crc,
            "packed": len(entry.packed), "size": entry.size, "name": entry.name, "extra": entry.extra,
        }  # fmt: skip
        local = values | entry.local
        offset = len(out)
        out += _pack("<4sHHHHHIIIHH", b"PK\3\4", local) + local["name"] + local["extra"] + entry.packed + entry.after
        rest = {"comment": entry.comment, "disk": 0, "internal": 0, "external": 0, "offset": offset}
        central = values | rest | entry.central
        row = _numbers(central, "version", "version", "flags", "method", "time", "date", "crc", "packed", "size")
        lengths = [central.get("name_length", len(central["name"])), len(central["extra"]), len(central["comment"])]
        directory += struct.pack("<4sHHHHHHIIIHHH", b"PK\1\2", *row, *lengths)
        directory += struct.pack("<HHII", *_numbers(central, "disk", "internal", "external", "offset"))
        directory += central["name"] + central["extra"] + central["comment"]
    start = len(out)
    out += directory
    if zip64 is not None:
        at = len(out)
        values = {
            "entries": len(entries),
            "size": len(directory),
            "offset": start,
            "disk": 0,
            "record": 44,
            "at": at,
        } | zip64
        out += struct.pack(
            "<4sQHHIIQQQQ",
            b"PK\6\6",
            values["record"],
            45,
            45,
            values["disk"],
            0,
            values["entries"],
            values["entries"],
            values["size"],
            values["offset"],
        )
        out += struct.pack("<4sIQI", b"PK\6\7", values["disk"], values["at"], 1)
    values = {
        "disk": 0,
        "start_disk": 0,
        "entries": min(len(entries), 65535),
        "total": min(len(entries), 65535),
        "size": len(directory),
        "offset": start,
        "comment": len(comment),
    } | end
    row = [values[key] for key in ("disk", "start_disk", "entries", "total", "size", "offset", "comment")]
    return bytes(out + struct.pack("<4sHHHHIIH", b"PK\5\6", *row) + comment)


def _numbers(values: dict, *keys: str) -> list[int]:
    return [values[key] for key in keys]


def _pack(form: str, signature: bytes, values: dict) -> bytes:
    lengths = [values.get("name_length", len(values["name"])), len(values["extra"])]
    return struct.pack(
        form,
        signature,
        *_numbers(values, "version", "flags", "method", "time", "date", "crc", "packed", "size"),
        *lengths,
    )


ROOT = "TinyVIRAT"


def tiny_list(tubes: object = None) -> bytes:
    """The annotation list of the train split."""
    if tubes is None:
        tubes = [{"id": n, "path": path, "label": ["walk"], "dim": [20, 20]} for n, path in enumerate(TINYVIRAT)]
    return json.dumps({"tubes": tubes}).encode()


def zip_entries(methods: tuple[int, ...] = (8,)) -> list[Entry]:
    """A valid list and its clips."""
    names = [f"{ROOT}/videos/train/{path}" for path in TINYVIRAT]
    clips = [
        zip_entry(name.encode(), TINYVIRAT[path], methods[n % len(methods)])
        for n, (name, path) in enumerate(zip(names, TINYVIRAT, strict=True))
    ]
    return [zip_entry(f"{ROOT}/tiny_train.json".encode(), tiny_list()), *clips]


@functools.cache
def zip_bomb(size: int, method: int) -> Entry:
    return zip_entry(b"", bytes(size), method)


WIDTHS = {"version": 16, "flags": 16, "method": 16, "time": 16, "date": 16, "crc": 32, "packed": 32, "size": 32}


def change_field(rng: random.Random, entries: list[Entry], watched: str) -> str:
    """Let one or both headers of a member lie about one value."""
    at = rng.randrange(len(entries))
    entry, where = entries[at], rng.choice(("local", "central", "both"))
    key = rng.choice((*WIDTHS, "offset", "disk", "external", "name_length"))
    width = WIDTHS.get(key, 32 if key in ("offset", "external") else 16)
    true = {"packed": len(entry.packed), "size": entry.size}.get(key, 0)
    values = (
        0,
        1,
        true + 1,
        max(0, true - 1),
        2 * true,
        5000,
        8,
        12,
        14,
        99,
        (1 << width) - 1,
        rng.randrange(1 << width),
    )
    value = min(rng.choice(values), (1 << width) - 1)
    change = {key: value}
    entries[at] = replace(
        entry,
        local=change if where != "central" and key not in ("offset", "disk", "external") else {},
        central=change if where != "local" else {},
    )
    return f"{key} in {where}"


def change_name(rng: random.Random, entries: list[Entry], watched: str) -> str:
    """Give a member an odd name, in one or both headers, and flags that say how it is encoded."""
    at = rng.randrange(len(entries))
    other = rng.choice(entries).name
    names = (
        other,
        b"../" * 4 + other,
        watched.encode() + b"/x.mp4",
        b"/" + other,
        other.replace(b"/", b"\\"),
        other + b"\0x",
        b"",
    )
    names += (
        b"\xff\xfe",
        "é.mp4".encode(),
        "é.mp4".encode("cp437"),
        b"\xed\xa0\x80",
        b"a" * 65535,
        b"TinyVIRAT/tiny_test.json",
        b"a\nb",
    )
    name, where = rng.choice(names), rng.choice(("local", "central", "both"))
    flags = rng.choice((0, 0x800))
    local = {"name": name, "flags": flags} if where != "central" else {}
    entries[at] = replace(entries[at], local=local, central={"name": name, "flags": flags} if where != "local" else {})
    return f"name in {where}"


def change_extra(rng: random.Random, entries: list[Entry], watched: str) -> str:
    """Extra fields: zip64 sizes, a second name, other lengths than they have."""
    at = rng.randrange(len(entries))
    entry, huge = entries[at], rng.choice((*HUGE, 0, 5))
    zip64 = struct.pack("<HHQQ", 1, rng.choice((16, 16, 8, 0, 28, 65535)), huge & ((1 << 64) - 1), len(entry.packed))
    extra = rng.choice(
        (
            zip64,
            b"\1\0",
            b"\1\0\4\0abcd",
            struct.pack("<HH", 0x7075, 9) + b"\1" + bytes(8),
            rng.randbytes(20),
            bytes(60_000),
            zip64 * 40,
        )
    )
    central: dict[str, int | bytes] = {"extra": extra}
    if rng.random() < 0.5:
        central |= {"size": 0xFFFFFFFF, "packed": rng.choice((0xFFFFFFFF, len(entry.packed)))}
    if rng.random() < 0.2:
        central |= {"offset": 0xFFFFFFFF}
    entries[at] = replace(
        entry,
        extra=extra if rng.random() < 0.5 else b"",
        central=central,
        comment=rng.randbytes(rng.choice((0, 9, 60_000))),
    )
    return "extra"


def change_entries(rng: random.Random, entries: list[Entry], watched: str) -> str:
    """Members that overlap, are repeated, encrypted, or otherwise odd."""
    at = rng.randrange(len(entries))
    entry, kind = entries[at], rng.randrange(8)
    if kind == 0:
        offset = rng.choice((0, 1, 30, rng.randrange(5000)))
        for n in range(len(entries)):
            entries[n] = replace(entries[n], central={"offset": offset})
        return "one offset"
    if kind == 1:
        entries += [replace(entry, central={"offset": 0}, packed=b"", local={"packed": 0})] * rng.choice((2, 300, 3000))
        return "many entries for one member"
    if kind == 2:
        entries.insert(rng.randrange(len(entries)), entry)
        return "member twice"
    if kind == 3:
        del entries[at]
        return "member missing"
    if kind == 4:
        entries[at] = replace(entry, flags=rng.choice((1, 0x40, 0x20, 0x41, 0x2000)))
        return "encrypted or patched"
    if kind == 5:
        entries[at] = replace(
            entry,
            packed=rng.choice(
                (b"", entry.packed[:-1], entry.packed + b"x", mutate_bytes(rng, (entry.packed or b"x") * 9))
            ),
        )
        return "content"
    if kind == 6:
        around = [e.packed for e in entries]
        entries[at] = replace(entry, packed=b"".join(around), central={"packed": len(b"".join(around))})
        return "content of all members"
    entries[at] = replace(entry, method=rng.choice((1, 6, 9, 12, 14, 93, 95, 97, 99)))
    return "method"


ODD_JSON = (
    "[]", "{}", "null", "5", '"x"', "[null]", "[5]", "[[]]", '{"tubes": {}}', '{"tubes": 5}', "{", "", "[" * 200_000, "NaN",
    '[{"id": 1}]', '[{"id": 1, "path": 5, "label": ["a"]}]', '[{"id": 1, "path": "a", "label": "a"}]',
    '[{"id": [], "path": [], "label": [[]]}]', '[{"id": 1e999, "path": "VIRAT_0/0.mp4", "label": ["a"]}]',
    '[{"id": "\\ud800", "path": "VIRAT_0/0.mp4", "label": ["a"]}]', '[{"id": 0, "path": "../../../x", "label": ["a"]}]',
    '[{"id": "../../x", "path": "VIRAT_0/0.mp4", "label": []}]', '[{"id": 0, "path": "VIRAT_0/0.mp4", "label": ["a", 5]}]',
    "9" * 5000, '{"tubes": [{"id": ' + "9" * 5000 + ', "path": "a"}]}', "\ufeff[]", "[" + "1e400," * 9 + "1]",
)  # fmt: skip


@functools.cache
def long_list(text: str, size: int) -> Entry:
    return zip_entry(f"{ROOT}/tiny_train.json".encode(), b"[" + (text * (size // len(text))).encode() + b"1]")


def change_list(rng: random.Random, entries: list[Entry], watched: str) -> str:
    """Replace the annotation list."""
    if rng.random() < 0.02:
        entries[0] = long_list(
            rng.choice(("[],", "{},", '"",', "1.5,", '{"a":[]},')),
            rng.choice((10 << 20, 30 << 20, 60 << 20, 100 << 20)),
        )
        return "long list"
    name = f"{ROOT}/tiny_train.json".encode()
    if rng.random() < 0.5:
        entries[0] = zip_entry(name, rng.choice(ODD_JSON).encode())
    else:
        entries[0] = zip_entry(name, mutate_bytes(rng, tiny_list() * rng.choice((1, 3))))
    return "list"


def add_bomb(rng: random.Random, entries: list[Entry], watched: str) -> str:
    """Replace a clip by zeros that unpack to many times their size."""
    method = rng.choice((8, 8, 8, 12, 14))
    bomb = zip_bomb(rng.choice((100_000, 20 << 20, 100 << 20)), method)
    for at in rng.sample(range(1, len(entries)), rng.randrange(1, 4)):
        entries[at] = replace(bomb, name=entries[at].name)
        if rng.random() < 0.3:
            entries[at] = replace(entries[at], central={"size": rng.choice((1000, 5000))})
        elif rng.random() < 0.2:
            entries[at] = replace(entries[at], central={"packed": 50 << 20})
    return f"bomb, method {method}"


def zip_mutant(rng: random.Random, watched: str) -> Mutant:
    """A zip file of the layout of TinyVIRAT with changed members, headers, end records or bytes."""
    entries, options, changes = zip_entries((8,) if rng.random() < 0.7 else (0, 8)), {}, []
    if rng.random() < 0.1:
        kind = rng.randrange(5)
        if kind == 0:
            entries.insert(1, zip_entry(f"{ROOT}/videos/".encode(), b"", 0))
        elif kind == 1:
            options = {"comment": b"c" * rng.choice((1, 65535))}
        elif kind == 2:
            entries = [
                replace(
                    e,
                    flags=8,
                    local={"crc": 0, "packed": 0, "size": 0},
                    after=struct.pack("<4sIII", b"PK\7\x08", e.crc, len(e.packed), e.size),
                )
                for e in entries
            ]
        elif kind == 3:
            options = {"zip64": {}, "end": {"entries": 65535, "total": 65535, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF}}
        else:
            entries = [replace(e, comment=b"c", extra=struct.pack("<HHI", 0x5455, 4, 0)) for e in entries]
        return Mutant(f"zip: valid, variant {kind}", write_zip(entries, **options), whole=True, exact=True)
    changers = (change_field, change_field, change_name, change_extra, change_entries, change_list)
    changes += [rng.choice(changers)(rng, entries, watched) for _ in range(rng.choice((1, 1, 2, 3))) if entries]
    if rng.random() < 0.03 and len(entries) > 3:
        changes.append(add_bomb(rng, entries, watched))
    if rng.random() < 0.25:
        key = rng.choice(("disk", "start_disk", "entries", "total", "size", "offset", "comment"))
        bits = 32 if key in ("size", "offset") else 16
        options["end"] = {key: rng.choice((0, 1, 2, 100, (1 << bits) - 1, rng.randrange(1 << bits)))}
        changes.append(f"end {key}")
    if rng.random() < 0.1:
        key = rng.choice(("entries", "size", "offset", "disk", "record", "at"))
        value = rng.choice((*HUGE, 0, 5, 1000)) & ((1 << (32 if key == "disk" else 64)) - 1)
        options["zip64"] = {key: value}
        if rng.random() < 0.7:
            options["end"] = {"entries": 65535, "total": 65535, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
        changes.append(f"zip64 {key}")
    if rng.random() < 0.05:
        options["comment"] = rng.choice(
            (b"PK\5\6" + bytes(18), b"PK\5\6" * 9, rng.randbytes(65535), b"PK\6\7" + bytes(16))
        )
        changes.append("comment")
    if rng.random() < 0.05:
        options["before"] = rng.choice((b"PK\7\x08", b"MZ" * 99, rng.randbytes(5000)))
        changes.append("bytes before it")
    data = write_zip(entries, **options)
    if rng.random() < 0.15:
        data, changes = mutate_bytes(rng, data), [*changes, "bytes"]
    if rng.random() < 0.08:
        data, changes = data[: rng.randrange(len(data))], [*changes, "cut"]
    if rng.random() < 0.05:
        data, changes = data + rng.choice((b"x", bytes(70_000), data)), [*changes, "bytes after it"]
    return Mutant("zip: " + ", ".join(changes), data)


def make_mutant(seed: str, watched: str) -> Mutant:
    """The mutant of a seed; `watched` is a folder that names in the archive point to."""
    rng = random.Random(seed)
    return rng.choices((tar_mutant, gzip_mutant, zip_mutant), (40, 20, 40))[0](rng, watched)
