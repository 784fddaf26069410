"""Results as a table of text that is Markdown, too."""

# key of a summary, heading, how it is written
COLUMNS = [
    ("rate", "records/s", lambda v: f"{v:,.0f}"),
    ("spread", "lowest to highest", str),
    ("cpu_per_million_s", "CPU s per million", lambda v: f"{v:.2f}"),
    ("peak_rss_kb", "peak RSS MB", lambda v: f"{v / 1024:.0f}"),
    ("speed", "records/s to {}", lambda v: f"{v:.2f}"),
    ("cpu", "CPU to {}", lambda v: f"{v:.2f}"),
]
MORE = {
    "p50_us": ("p50 us", lambda v: f"{v:,.0f}"), "p99_us": ("p99 us", lambda v: f"{v:,.0f}"),
    "max_us": ("max us", lambda v: f"{v:,.0f}"), "start_ms": ("start to first record ms", lambda v: f"{v:,.0f}"),
    "idle_rss_kb": ("idle RSS MB", lambda v: f"{v / 1024:.1f}"),
    "cpu_ns_per_kb": ("CPU ns per kB", lambda v: f"{v:,.0f}"),
    "idle_cpu_ms": ("CPU ms a second", lambda v: f"{v:.1f}"),
    "idle_pss_kb": ("idle PSS MB", lambda v: f"{v / 1024:.1f}"),
    "backlog_rss_kb": ("peak RSS MB", lambda v: f"{v / 1024:.1f}"),
    "over_kb": ("above its memory MB", lambda v: f"{v / 1024:+.1f}"),
}


def rows_of(result):
    """[[heading, ...], [cell, ...], ...]; what only some subjects have is left empty for the others."""
    found = result["subjects"]
    base = next((s for s in found if s["name"] == result["baseline"]), found[0])
    columns = [c for c in COLUMNS if c[0] in result["columns"]]
    columns += [(key, *MORE[key]) for key in MORE if any(key in s for s in found)]
    of = "ours" if base["name"].startswith("plumbline") else base["name"]
    rows = [["subject", *[heading.format(of) for _, heading, _ in columns]]]
    for subject in found:
        cells = dict(subject, spread=f"{subject['rate_min']:,.0f} to {subject['rate_max']:,.0f}",
                     speed=subject["rate"] / base["rate"] if base["rate"] else 0,
                     cpu=subject["cpu_per_million_s"] / base["cpu_per_million_s"] if base["cpu_per_million_s"] else 0)
        rows.append([subject["name"], *[write(cells[key]) if key in cells else "" for key, _, write in columns]])
    rows += [[f["subject"], "failed", *[""] * (len(columns) - 1)] for f in result.get("failed", [])]
    return rows


def markdown(result):
    rows = rows_of(result)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    def line(row):
        return "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) + " |"
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])
