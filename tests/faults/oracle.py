"""The judge of the fault tests: what was sent, what arrived, and nothing else decides.

It shares no code with the runtime. A record carries its number `n`, given in the order of sending, so within a lane (a
key, a partition) the numbers of the records that arrive for the first time must grow.

    found = oracle.of_topic(kafka.read(topic))            # [(lane, n), ...], each lane in its own order
    verdict = oracle.judge(found, range(200_000))
    verdict.lost, verdict.duplicated, verdict.reordered, verdict.strange
"""

import json
import typing


class Verdict(typing.NamedTuple):
    sent: int
    lost: int          # sent, and nowhere
    duplicated: int    # copies beyond the first
    reordered: int     # first copies behind one that was sent later, in the same lane
    strange: int       # what nobody sent: torn, or of a number that was not given
    example: str       # one of each, for the message

    def __str__(self):
        return (f"of {self.sent} sent: {self.lost} lost, {self.duplicated} duplicated, {self.reordered} reordered, "
                f"{self.strange} strange; {self.example or 'none'}")


def judge(found, sent):
    """`found`: (lane, n) pairs, those of a lane in its order; n is None for what could not be read. `sent`: the numbers."""
    expected = sent if isinstance(sent, range) else set(sent)
    seen, newest, examples = set(), {}, {}
    duplicated = reordered = strange = 0
    for lane, n in found:
        if n is None or n not in expected:
            strange += 1
            examples.setdefault("strange", f"{n} in lane {lane}")
        elif n in seen:
            duplicated += 1
            examples.setdefault("duplicated", f"{n} in lane {lane}")
        else:
            seen.add(n)
            if n < newest.get(lane, -1):
                reordered += 1
                examples.setdefault("reordered", f"{n} after {newest[lane]} in lane {lane}")
            newest[lane] = max(n, newest.get(lane, -1))
    lost = len(expected) - len(seen)
    if lost:
        missing = next(n for n in expected if n not in seen)
        examples["lost"] = f"{missing}"
    said = ", ".join(f"{word}: {example}" for word, example in examples.items())
    return Verdict(len(expected), lost, duplicated, reordered, strange, said)


def number(text):
    """The `n` of a record's JSON text; None where it has none."""
    try:
        n = json.loads(text)["n"]
    except (TypeError, ValueError, KeyError):
        return None
    return n if isinstance(n, int) else None


def of_topic(records, lane="partition"):
    """Of what servers.Kafka.read() gave. `lane`: "partition" or "key"."""
    return [(record[lane], number(record["payload"])) for record in records]


def of_lines(*files, lane=None):
    """Of the lines of files, whole ones only: a line that a SIGKILL cut was not acknowledged. `lane`: the field that
    names it; without it every file is one."""
    found = []
    for path in files:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            continue
        for line in text.split(b"\n")[:-1]:
            n = number(line)
            found.append((path if lane is None or n is None else json.loads(line).get(lane), n))
    return found


def of_table(rows):
    """Of rows whose first column is `n`. A table has no order, so every row is a lane of its own."""
    return [(at, int(row[0])) for at, row in enumerate(rows)]
