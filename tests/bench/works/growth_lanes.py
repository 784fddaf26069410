"""1 to 1,000 feeds, each a lane of its own, 1,000 keys, from the generate plugin through the reference script to a file."""

from support.growth import COLUMNS, judge_flat, point   # noqa: F401 (the harness reads COLUMNS)

RECORDS = 500_000
PAIRS = 3
BASELINE = "1 lane"
judge = judge_flat(BASELINE)


def subjects(ctx):
    return [point(ctx, f"{n} lane" + "s" * (n > 1), "growth_lanes", env={"LANES": n}) for n in (1, 10, 100, 1000)]
