"""10 to 1,000,000 distinct keys for each of which a script holds the last value."""

from support.growth import COLUMNS, judge_flat, point   # noqa: F401

RECORDS = 1_000_000
PAIRS = 3
BASELINE = "10 keys"
judge = judge_flat(BASELINE)


def subjects(ctx):
    return [point(ctx, f"{n:,} keys", "growth_keys", given={"keys": n}) for n in (10, 1000, 100_000, 1_000_000)]
