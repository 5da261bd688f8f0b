"""The file name extensions of videos, the same on every host: a host's own list of MIME types is not consulted."""

import re
from collections.abc import Mapping

# Most are those under which FFmpeg registers its demuxers of video, with the usual variants of cameras, recorders and
# conformance suites. A container that may hold video or sound alone (.ogg, .asf, .rm) is in the list: a file without
# video then fails as `no_video_stream`. Left out are sound, still pictures (FFmpeg shows them as videos of one frame),
# subtitles, playlists, disc images, and extensions that mostly mean something else (.dat, .bin, .raw, .sub).
_GROUPS = {
    "ISO base media, QuickTime": (
        "mp4 m4v m4s mp4v mpg4 mpeg4 mov qt movie 3gp 3g2 3gpp 3gp2 f4v f4p mj2 ism ismv cmfv k3g skm amc insv lrv 360"
    ),
    "Matroska, Ogg, NUT, IVF": "mkv mk3d webm ogg ogv ogm ogx nut ivf",
    "AVI, ASF, Flash, RealMedia": "avi divx xvid amv asf wmv wm dvr-ms wtv flv swf kux rm rmvb rv ivr",
    "MPEG program and transport streams": (
        "mpg mpeg mpe mpeg1 mpeg2 m1v m2v mp2v mpv mpv2 m2p vob vro evo mod tod ts tp trp m2t m2ts mts ty ty+ pva"
    ),
    "elementary streams": (
        "h261 h263 h264 h26l 26l 264 avc jsv jvt h265 hevc 265 bit h266 vvc 266 av1 obu evc apv vc1 rcv avs avs2 "
        "avs3 cavs drc dirac mjpg mjpeg mjp m4e xesc ipu"
    ),
    "professional and surveillance recorders": (
        "mxf mxg gxf dv dif r3d braw dav imx lvf ifv ser nuv nsv viv vivo pdv pmp trec"
    ),
    "animations, raw pictures in a row": "gif apng webp fli flc y4m yuv yuv10 v210 cdg cdxl xl anm flm",
    "games": (
        "4xm bfi bik bk2 bmv c93 cak cin cmv cpk dfa dxa fmv h4m hnm hns jv mm mods moflex mtv mv mve mvi nsp paf "
        "psxstr rl2 roq rpl san sdr2 seq sga smk str tgq tgv thp tmv txd usm vb vid vmd vp6 vp7 vqa wve xmv yop "
        "znm"
    ),
}
VIDEO = frozenset(word for words in _GROUPS.values() for word in words.split())
HIDDEN, NO_EXTENSION = "hidden", "no extension"


def extension(name: str) -> str:
    """The extension of a file name in lower case and without its dot; empty if there is none, as in `Dr. No`, `take 2.5`."""
    stem, _, last = name.rpartition(".")
    last = last.lower()
    is_extension = last in VIDEO or re.fullmatch(r"(?=.*[a-z])[a-z0-9_+-]{1,12}", last)
    return last if stem and is_extension else ""


def other_kind(path: str) -> str | None:
    """The kind of a file that is not a video by its path below a source's root: `.txt`, `hidden`; None for a video.

    Files without extension in a class folder count as videos, those at the top level do not (LICENSE, Makefile).
    """
    parts = path.split("/")
    if any(part.startswith(".") for part in parts):
        return HIDDEN
    found = extension(parts[-1])
    if not found:
        return NO_EXTENSION if len(parts) == 1 else None
    return None if found in VIDEO else f".{found}"


def kinds_text(counts: Mapping[str, int], limit: int = 8) -> str:
    """Numbers of files by kind as text, the most frequent first: `9 .txt, 3 .json, 5 of 4 other kinds`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count:,} {kind}" for kind, count in ordered[:limit]]
    rest = [count for _, count in ordered[limit:]]
    return ", ".join([*parts, *([f"{sum(rest):,} of {len(rest):,} other kinds"] if rest else [])])
