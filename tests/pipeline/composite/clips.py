"""Builders of clips for tests of merge's logic."""

from pipeline.composite.clip import Clip

MULTI_LABEL, YOUTUBE = {"tubes"}, {"youtube"}


def youtube_clip(
    clip_id: str, label: str = "run", *, video_id: str = "", seconds: tuple[float, float] | None = None, **facts: object
) -> Clip:
    """A clip with one label of a source with YouTube videos; by default its video and content are its own."""
    start_s, end_s = seconds or (None, None)
    values = {"source": "youtube", "sha256": clip_id, "video_id": video_id or clip_id} | facts
    return Clip(clip_id=clip_id, labels=(label,), start_s=start_s, end_s=end_s, **values)


def multi_label_clip(clip_id: str, *labels: str, scene: str = "scene") -> Clip:
    """A clip of a multi-label source, cut from the video `scene`."""
    return Clip(clip_id=clip_id, source="tubes", labels=labels, video_id=scene, sha256=clip_id)
