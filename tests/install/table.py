"""The newest comparison of each pair, as a table for people."""

import time

PAIRS = ("ETH-USD", "LINK-USD", "BTC-USD")
HEADS = ("pair", "contract", "reference", "deviation", "spread", "verdict", "round age", "measured")
COLOURS = {"ok": "32", "over_band": "31", "stale": "33", "inconclusive": "2"}
# Newest on basis "now" since this start; the round's own time gives its age.
NEWEST = """
SELECT d.pair, d.contract_price, d.ref_price, d.deviation_pct, d.ref_spread_pct, d.verdict, d.at,
       (SELECT c.updated_at FROM contract_price c WHERE c.pair = d.pair AND c.phase_id = d.phase_id
        AND c.agg_round = d.agg_round LIMIT 1)
FROM price_deviation d
JOIN (SELECT pair, max(at) AS at FROM price_deviation WHERE basis = 'now' GROUP BY pair) n
  ON n.pair = d.pair AND n.at = d.at
WHERE d.basis = 'now'
"""
COUNTS = "SELECT basis, verdict, count(*) FROM price_deviation GROUP BY basis, verdict ORDER BY basis, verdict"


def seconds(stamp):
    """Unix seconds of an RFC 3339 text (or a number of seconds); None where there is nothing to read."""
    import datetime
    if isinstance(stamp, (int, float)):
        return float(stamp)
    try:
        text = str(stamp).replace(" ", "T")
        if text[-3:-2] in "+-":          # PostgreSQL writes +00
            text += ":00"
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def price(text):
    """At most two digits more than a cent's worth of reading: 2415.43, 13.7123."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return "-"
    return f"{value:,.2f}" if value >= 100 else f"{value:,.4f}"


def percent(text, sign=False):
    try:
        return f"{float(text):+.3f} %" if sign else f"{float(text):.3f} %"
    except (TypeError, ValueError):
        return "-"


def ago(stamp):
    then = seconds(stamp)
    if then is None:
        return "-"
    gone = max(0, int(time.time() - then))
    return f"{gone} s" if gone < 180 else f"{gone // 60} min" if gone < 10800 else f"{gone // 3600} h"


def rows(found, since):
    """Rows of NEWEST made since `since` -> {pair: cells}, and the pairs that have a number."""
    cells, measured = {}, set()
    for pair, contract, reference, deviation, spread, verdict, at, updated in found:
        if (seconds(at) or 0) < since:
            continue
        cells[pair] = (pair, price(contract), price(reference), percent(deviation, sign=True), percent(spread),
                       verdict or "-", ago(updated), ago(at) + " ago")
        if deviation is not None and str(deviation) != "":
            measured.add(pair)
    return cells, measured


def draw(cells, colour):
    """-> the lines of the table; a pair without a row yet has dashes."""
    lines = [HEADS] + [cells.get(pair, (pair,) + ("-",) * (len(HEADS) - 1)) for pair in PAIRS]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    out = []
    for number, line in enumerate(lines):
        padded = [c.ljust(w) if i in (0, 5) else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        if colour and number:
            padded[5] = f"\033[{COLOURS.get(line[5], '0')}m{padded[5]}\033[0m"
        text = "   ".join(padded).rstrip()
        out.append(f"\033[1m{text}\033[0m" if colour and not number else text)
    return out
