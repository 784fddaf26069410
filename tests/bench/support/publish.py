"""Puts results into docs/benchmarks.md, between <!-- bench: NAME --> and <!-- end -->."""

import re

from .context import REPO
from .measure import BenchError
from .table import markdown

PAGE = REPO / "docs" / "benchmarks.md"


def lines_below(result):
    """What stands below a table: promises kept or not, and what was skipped."""
    found = [f"- {'kept' if p['kept'] else '**not kept**'}: {p['promise']}: {p['measured']}" for p in result["promises"]]
    return found + [f"- not measured: {s['subject']} ({s['reason']})" for s in result["skipped"]]


def into_docs(result):
    machine = result["machine"]
    text = [f"{machine['date']}, revision `{machine['revision']}`; {result['records']:,} records, median of "
            f"{result['pairs']}; load when it began: {machine['load']:.1f}.", "", markdown(result), "",
            *lines_below(result)]
    page = PAGE.read_text()
    block = re.compile(rf"(<!-- bench: {result['work']} -->\n).*?(<!-- end -->)", re.S)
    if not block.search(page):
        raise BenchError(f"{PAGE}: there is no place marked <!-- bench: {result['work']} -->")
    PAGE.write_text(block.sub(lambda m: m[1] + "\n".join(text).rstrip() + "\n" + m[2], page))
