"""Draw one short video for each of many containers and codecs, by the ffmpeg binary of imageio-ffmpeg.

`python -m benchmarks.formats FOLDER`, then `python -m benchmarks.agreement FOLDER`.
"""

import argparse
import shlex
import subprocess
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe
from tqdm import tqdm

_SECONDS = 3

# Codec: options of the encoder, and the file name extensions of the containers to put it in. `raw` is the codec's own
# elementary stream.
_CODECS = {
    "h264": ("-c:v libx264 -bf 3", "mkv mp4 mov flv ts m2ts avi asf 3gp mxf nut raw"),
    "h264-interlaced": ("-c:v libx264 -x264-params tff=1", "mp4 ts raw"),
    "h264-fragments": ("-c:v libx264 -bf 3 -movflags frag_keyframe+empty_moov -g 20", "mp4"),
    "h264-open-gop": ("-c:v libx264 -x264-params open-gop=1:keyint=15", "ts mkv"),
    "h264-vfr": ("-c:v libx264 -fps_mode vfr -vf select=not(mod(n\\\\,7))+not(mod(n\\\\,3))", "mkv mp4"),
    "h264-late": ("-c:v libx264 -output_ts_offset 1000", "ts mkv"),
    "hevc": ("-c:v libx265 -x265-params log-level=none", "mp4 mkv ts flv raw"),
    "hevc-radl": ("-c:v libx265 -x265-params log-level=none:radl=2:keyint=20:min-keyint=20", "mkv ts"),
    "vvc": ("-c:v libvvenc -preset faster", "mp4 mkv ts raw"),
    "vp8": ("-c:v libvpx", "webm ivf avi"),
    "vp9": ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8", "webm ivf mp4"),
    "av1": ("-c:v libsvtav1 -preset 12", "mp4 webm ivf flv raw"),
    "mpeg1video": ("-c:v mpeg1video -bf 2", "mpg ts vob mkv avi raw"),
    "mpeg2video": ("-c:v mpeg2video -bf 2", "mpg ts vob mkv avi mxf mov wtv raw"),
    "mpeg2video-interlaced": ("-c:v mpeg2video -flags +ildct+ilme", "ts mpg"),
    "mpeg4": ("-c:v mpeg4 -bf 2", "avi mp4 mkv asf ts mov nut 3gp raw"),
    "msmpeg4v2": ("-c:v msmpeg4v2", "avi"),
    "msmpeg4v3": ("-c:v msmpeg4", "avi asf"),
    "wmv1": ("-c:v wmv1", "wmv avi"),
    "wmv2": ("-c:v wmv2", "wmv avi"),
    "h261": ("-c:v h261", "raw"),
    "h263": ("-c:v h263", "3gp avi raw"),
    "h263p": ("-c:v h263p", "avi"),
    "flv1": ("-c:v flv", "flv swf"),
    "rv10": ("-c:v rv10", "rm"),
    "rv20": ("-c:v rv20", "rm"),
    "theora": ("-c:v libtheora", "ogv mkv"),
    "dirac": ("-c:v vc2", "mkv mov raw"),
    "mjpeg": ("-c:v mjpeg", "avi mov mkv swf raw"),
    "jpegls": ("-c:v jpegls", "avi"),
    "jpeg2000": ("-c:v jpeg2000", "mov mxf"),
    "dnxhr": ("-c:v dnxhd -profile:v dnxhr_sq -s 320x240 -pix_fmt yuv422p", "mov mxf"),
    "dvvideo": ("-c:v dvvideo -s 720x576 -r 25", "dv avi mov"),
    "prores": ("-c:v prores_ks", "mov"),
    "prores4444": ("-c:v prores_ks -pix_fmt yuva444p10le", "mov"),
    "cfhd": ("-c:v cfhd", "mov"),
    "ffv1": ("-c:v ffv1", "mkv avi"),
    "huffyuv": ("-c:v huffyuv", "avi"),
    "ffvhuff": ("-c:v ffvhuff", "mkv"),
    "utvideo": ("-c:v utvideo", "avi"),
    "magicyuv": ("-c:v magicyuv", "avi"),
    "snow": ("-c:v snow -strict -2", "avi"),
    "svq1": ("-c:v svq1", "mov"),
    "cinepak": ("-c:v cinepak", "mov avi"),
    "qtrle": ("-c:v qtrle", "mov"),
    "rpza": ("-c:v rpza", "mov"),
    "smc": ("-c:v smc", "mov"),
    "png": ("-c:v png", "mov avi"),
    "apng": ("-f apng -plays 1", "apng"),
    "gif": ("", "gif"),
    "asv1": ("-c:v asv1", "avi"),
    "asv2": ("-c:v asv2", "avi"),
    "zmbv": ("-c:v zmbv", "avi"),
    "flashsv": ("-c:v flashsv", "flv nut"),
    "flashsv2": ("-c:v flashsv2", "flv"),
    "msvideo1": ("-c:v msvideo1", "avi"),
    "rawvideo": ("-c:v rawvideo", "avi nut"),
    "y4m": ("", "y4m"),
    "v210": ("-c:v v210", "mov"),
    "r210": ("-c:v r210", "mov"),
    "hap": ("-c:v hap", "mov"),
    "dxv": ("-c:v dxv", "mov"),
    "speedhq": ("-c:v speedhq", "mov"),
}
_RAW = {
    **{
        "h264": "h264",
        "h264-interlaced": "h264",
        "hevc": "hevc",
        "vvc": "vvc",
        "av1": "obu",
        "mpeg1video": "mpeg1video",
    },
    **{"mpeg2video": "mpeg2video", "mpeg4": "m4v", "h261": "h261", "h263": "h263", "dirac": "dirac", "mjpeg": "mjpeg"},
}  # FFmpeg's name of the elementary stream


def main() -> None:
    """Draw all files that are missing in a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(codec, extension) for codec, (_, extensions) in _CODECS.items() for extension in extensions.split()]
    for codec, extension in tqdm(wanted, unit="file", disable=None):
        path = folder / f"{codec}.{extension}"
        if not path.exists():
            _draw(path, _CODECS[codec][0], ["-f", _RAW[codec]] if extension == "raw" else [])


def _draw(path: Path, options: str, container: list[str]) -> None:
    source = f"testsrc2=size=176x144:rate=30:duration={_SECONDS}"
    command = [get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", source, "-threads", "1"]
    part = path.with_name(f"part-{path.name}")
    subprocess.run([*command, *shlex.split(options), *container, str(part)], check=True, capture_output=True)
    part.rename(path)


if __name__ == "__main__":
    main()
