"""stats: the funnel from annotated to in shards, by source, and the losses by stage and reason."""

from pipeline.tools import funnel


def main() -> None:
    """Print what the manifests that exist so far say."""
    tables = funnel.read()
    by_source = funnel.steps(tables)
    lines = dict(by_source)
    if len(lines) > 1:
        lines["all"] = [sum(column) for column in zip(*by_source.values(), strict=True)]
    width = max(map(len, lines), default=0)
    print(" ".join([" " * width, *(f"{name:>10}" for name in funnel.STEPS)]))
    for source, counts in lines.items():
        print(" ".join([f"{source:<{width}}", *(f"{count:>10,}" for count in counts)]))
    lost = funnel.losses(tables)
    if lost:
        print("\nlost, by stage and reason, each with one example:")
    for loss in lost:
        example = f"{loss.example['clip_id']}: {loss.example['error_detail']}"
        print(f"  {loss.clips:>6,}  {loss.stage:<9} {loss.source:<12} {loss.error:<20} {example}")
