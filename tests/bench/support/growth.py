"""A curve: our own pipeline at several sizes of one thing. What a record costs should not depend on it."""

from .measure import Process, Subject, sample_of

COLUMNS = ["rate", "spread", "cpu_per_million_s", "peak_rss_kb", "cpu"]
FLAT = 0.10


def point(ctx, name, pipeline, words=(), share=1.0, env=None, given=None,
          size=None):
    """One size. `given`: options of the generate plugin for the input file; None: the pipeline makes its own.
    `size`: bytes of a record, where the cost of a byte is of interest."""
    def sample(records):
        variables = {"OUTPUT": ctx.directory / "growth.jsonl", "RECORDS": records} | (env or {})
        if given is not None:
            variables["INPUT"] = ctx.input(records, **given)
        found = Process(ctx, ctx.run_argv(pipeline, *words), variables).finish()
        cpu_ns = (found["user_s"] + found["system_s"]) * 1e9
        return sample_of(found, records, **({"cpu_ns_per_kb": cpu_ns / records / size * 1000} if size else {}))
    return Subject(name, sample, share)


def judge_flat(baseline):
    def judge(by_name):
        base = by_name[baseline]["cpu_per_million_s"]
        worst = max(by_name.values(), key=lambda s: abs(s["cpu_per_million_s"] / base - 1))
        growth = worst["cpu_per_million_s"] / base - 1
        return [(f"CPU per record within {FLAT:.0%} of that at {baseline}", f"{growth:+.0%} at {worst['name']}",
                 abs(growth) <= FLAT)]
    return judge
