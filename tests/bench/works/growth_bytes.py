"""Records of 100 B to 100 kB through the reference script: the same three fields, and one that is as long as need be and
is dropped."""

from support.growth import COLUMNS, point   # noqa: F401

RECORDS = 500_000
PAIRS = 3
BASELINE = "100 B"
TEMPLATE = '{"pair":"{key}","price":"{rand:1000.00..4999.99}","debug":"{pad}"}'


def subjects(ctx):
    sizes = (("100 B", 100, 1), ("1 kB", 1000, 0.5), ("10 kB", 10_000, 0.05), ("100 kB", 100_000, 0.005))
    return [point(ctx, name, "file_lua_file", share=share, given={"template": TEMPLATE, "payload_bytes": size}, size=size)
            for name, size, share in sizes]


def judge(by_name):
    small, large = by_name[BASELINE], by_name["100 kB"]
    return [("a byte of a large record costs less than one of a small record", f"{large['cpu_ns_per_kb']:,.0f} ns per kB "
             f"at 100 kB, {small['cpu_ns_per_kb']:,.0f} at 100 B", large["cpu_ns_per_kb"] < small["cpu_ns_per_kb"])]
