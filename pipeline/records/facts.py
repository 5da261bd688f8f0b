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
        url: the dataset's page, or that of its publication.
        license_url: the licence of what its authors license, such as the annotations.
        collection: how its videos were collected, a sentence.
        annotation: how its labels were made, a sentence.
        biases: what it is known to favour, a sentence.
        people: who is seen in the videos, a sentence.
    """

    title: str
    citation: str
    terms: str
    multi_label: bool = False
    youtube_videos: bool = False
    hosted: bool = True
    url: str | None = None
    license_url: str | None = None
    collection: str = "Not known."
    annotation: str = "Not known."
    biases: str = "Not known."
    people: str = "Not known: the videos may show people."
