"""Facts about a source for later stages and the dataset card, which name no dataset themselves."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """The facts of one entry under `sources` in params.yaml; `pipeline.sources.facts` gives them by name.

    Args:
        title: the dataset's name as its authors write it.
        citation: title, authors and year of its publication.
        terms: the terms under which it may be used.
        multi_label: a clip has several labels, and `merge.class_rule` decides its class; else its one label is its class.
        youtube_videos: `video_id` is a YouTube id, so that clips of several sources may be of one video.
        hosted: it is downloaded; else it is a folder of the user's own.
    """

    title: str
    citation: str
    terms: str
    multi_label: bool = False
    youtube_videos: bool = False
    hosted: bool = True
