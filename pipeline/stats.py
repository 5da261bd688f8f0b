"""stats: the funnel from annotated to in shards, by source, and the losses by stage and reason."""

from collections import Counter

from pipeline import manifests
from pipeline.manifests import Row

_FUNNEL = ("annotated", "wanted", "downloaded", "decoded", "composite", "in shards")


def main() -> None:
    """Print what the manifests that exist so far say."""
    tables = {name: manifests.read(name) for name in _STAGES if manifests.path_of(name).exists()}
    if "download" not in tables:
        manifests.read("download")  # says what to do
    _print_funnel(tables)
    _print_losses(tables)


_STAGES = ("download", "trim", "resample", "resize", "clips", "shards")


def _print_funnel(tables: dict[str, list[Row]]) -> None:
    def ok(name: str) -> Counter[str]:
        return Counter(row["source"] for row in tables.get(name, []) if row["status"] == "ok")

    download = tables["download"]
    columns = [
        Counter(row["source"] for row in download),
        Counter(row["source"] for row in download if row["status"] != "spare"),
        *(ok(name) for name in ("download", "resize", "clips", "shards")),
    ]
    sources = list(columns[0])
    width = max(len(name) for name in (*sources, "all"))
    print(" ".join([" " * width, *(f"{name:>10}" for name in _FUNNEL)]))
    for source in sources:
        print(" ".join([f"{source:<{width}}", *(f"{column[source]:>10,}" for column in columns)]))
    if len(sources) > 1:
        print(" ".join([f"{'all':<{width}}", *(f"{column.total():>10,}" for column in columns)]))


def _print_losses(tables: dict[str, list[Row]]) -> None:
    """Every failure once, at the stage where it first appears, with one clip as an example."""
    known: set[str] = set()
    lines = []
    for name in _STAGES:
        fresh = [row for row in tables.get(name, []) if row["status"] == "failed" and row["clip_id"] not in known]
        known |= {row["clip_id"] for row in fresh}
        by_reason: dict[tuple[str, str], list[Row]] = {}
        for row in fresh:
            by_reason.setdefault((row["source"], row["error"]), []).append(row)
        stage = "merge" if name == "clips" else name
        for (source, error), rows in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
            example = min(rows, key=lambda row: str(row["clip_id"]))
            lines.append(
                f"  {len(rows):>6,}  {stage:<9} {source:<12} {error:<20} {example['clip_id']}: {example['error_detail']}"
            )
    if lines:
        print("\nlost, by stage and reason, each with one example:")
        print("\n".join(lines))
