"""1 to 4 workers of the reference script, by pair, 100 keys, file to file; and 1 and 2 of a script that does many times
its work (growth_workers.lua), where the script and not reading and writing is what costs."""

from support.growth import COLUMNS, point   # noqa: F401

RECORDS = 1_000_000
PAIRS = 5
BASELINE = "1 worker"
HEAVY = "{}, 48 times the deviations"


def named(workers):
    return f"{workers} worker" + "s" * (workers > 1)


def subjects(ctx):
    def words(n):
        found = [f"transforms.deviation.workers={n}", *(["transforms.deviation.by=pair"] if n > 1 else [])]
        return [word for setting in found for word in ("--set", setting)]
    found = [point(ctx, named(n), "file_lua_file", words(n), given={"keys": 100}) for n in (1, 2, 3, 4)]
    # 10,000 keys fall evenly on the workers.
    return found + [point(ctx, HEAVY.format(named(n)), "growth_workers", share=0.1, env={"WORKERS": n},
                          given={"keys": 10_000}) for n in (1, 2)]


def judge(by_name):
    def ratio(name):
        return by_name[name.format(named(2))]["rate"] / by_name[name.format(named(1))]["rate"]
    return [("two workers at least 1.7 times one (where two cores are free)", f"{ratio('{}'):.2f} times", ratio("{}") >= 1.7),
            ("the same where the script is what costs", f"{ratio(HEAVY):.2f} times", ratio(HEAVY) >= 1.7)]
