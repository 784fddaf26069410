"""1 to 4 workers of the reference script, by pair, 100 keys, file to file."""

from support.growth import COLUMNS, point   # noqa: F401

RECORDS = 1_000_000
PAIRS = 5
BASELINE = "1 worker"


def subjects(ctx):
    def words(n):
        found = [f"transforms.deviation.workers={n}", *(["transforms.deviation.by=pair"] if n > 1 else [])]
        return [word for setting in found for word in ("--set", setting)]
    return [point(ctx, f"{n} worker" + "s" * (n > 1), "file_lua_file", words(n), given={"keys": 100}) for n in (1, 2, 3, 4)]


def judge(by_name):
    ratio = by_name["2 workers"]["rate"] / by_name[BASELINE]["rate"]
    return [("two workers at least 1.7 times one (where two cores are free)", f"{ratio:.2f} times", ratio >= 1.7)]
