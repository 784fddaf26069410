#!/usr/bin/env python3
"""What ./demo does once everything is built: starts the parts, shows the table, stops the parts."""

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import sys
import tempfile
import time

import table

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from servers import Kafka, Postgres, Process, ServerError  # noqa: E402 (found beside this folder)

PLUMBLINE = os.path.join(ROOT, "build", "plumbline")
LOGS = os.path.join(ROOT, "build", "logs")
# A market that lives 120 times as fast: an hourly heartbeat comes every 30 s, minutes of caching last half a second.
# The contract is slower to publish than the real one, so that it can be seen leaving its band of 0.5 %.
MARKET = ("--speed", "120", "--deviation", "0.4", "--delay", "240", "--seed", "demo")
SERVICES = ("api_producer", "producer", "api_consumer", "consumer", "accuracy")
REFRESH_S = 0.5
PLAIN_EVERY_S = 5.0    # without a terminal


class Stop(Exception):
    """Ends the demo with a message and a status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def duration(text):
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration; write 20s, 5m or 1h")
    return float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[match[2] or "s"]


def parse():
    known = argparse.ArgumentParser(prog="./demo", add_help=False, allow_abbrev=False)
    known.add_argument("--for", dest="length", type=duration)
    known.add_argument("--live", action="store_true")
    known.add_argument("--kafka", action="store_true")
    known.add_argument("--db")
    args = known.parse_args()
    if args.kafka and args.db:
        known.error("--db is for SQLite; --kafka stores in PostgreSQL")
    args.db = args.db or ("live.sqlite" if args.live else "demo.sqlite")
    return args


def dotenv():
    """KEY=VALUE lines of .env, below what the environment already says."""
    found = {}
    with contextlib.suppress(FileNotFoundError), open(".env", encoding="utf-8") as file:
        for line in file:
            match = re.match(r"\s*([A-Z][A-Z0-9_]*)=(.*?)\s*$", line)
            if match and match[2]:
                found[match[1]] = match[2].strip("'\"")
    return found


def live_environment():
    env = {**dotenv(), **os.environ}
    if not env.get("ETH_RPC_URL"):
        raise Stop(2, "--live needs an Ethereum mainnet node: put ETH_RPC_URL=https://... into .env (see .env.example) "
                      "or into the environment. Any provider's HTTPS endpoint will do.")
    env.setdefault("POLL_EVERY", "60s")
    return env


class Part(Process):
    """One process of the demo. Its session is its own: Ctrl-C reaches only this program, which ends the parts in order;
    should this program be killed, they end with it."""

    stop_seconds = 15

    def __init__(self, name, argv, env):
        self.name, self._argv, self._env = name, argv, env
        super().__init__(ROOT)             # where it runs
        self.log_path = pathlib.Path(LOGS, f"{name}.log")
        self.log_path.unlink(missing_ok=True)

    def argv(self):
        return self._argv

    def environment(self):
        return self._env

    def ready(self):
        return True

    def check(self):
        if not self.running():
            raise Stop(1, f"{self.name} ended by itself; its last lines:\n{self.log_tail()}")


class Market(Part):
    """The simulated market; once it runs, its addresses are in `env`."""

    def __init__(self, env):
        super().__init__("market", [sys.executable, "tests/market/market.py", *MARKET], env)

    def ready(self):
        line = self.log_path.read_text()
        if not line.endswith("\n"):
            return False
        at = json.loads(line)
        self._env.update(COINGECKO_URL=at["coingecko"], COINPAPRIKA_URL=at["coinpaprika"], ETH_RPC_URL=at["rpc"])
        return True


class Sqlite:
    def __init__(self, path):
        self.path, self.where = path, f"{path}; "
        self.next = (f'sqlite3 {path} "SELECT pair, at, deviation_pct, ref_spread_pct, verdict FROM price_deviation\n'
                     f"      WHERE basis = 'update' ORDER BY at DESC LIMIT 10\"   # each new round as of its update",
                     f'sqlite3 {path} "SELECT pair, count(*), avg(abs(deviation_pct)), max(abs(deviation_pct)),\n'
                     "      100.0 * sum(verdict = 'over_band') / count(*) AS over_band_pct\n"
                     "      FROM price_deviation WHERE basis = 'now' AND n_sources > 1 GROUP BY pair\"")

    def ask(self, sql):
        """Rows of a query; none while the file or its tables are not there yet."""
        if not os.path.exists(self.path):
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=2)) as base:
            try:
                return base.execute(sql).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error) or "locked" in str(error):
                    return []
                raise


class Tables:
    def __init__(self, server):
        self._server = server
        psql = f"psql '{server.dsn}' -c"
        self.where, self.next = "", ()     # the database goes with the demo, so the questions to ask it are told at its start
        print("While this runs, ask from another terminal:")
        for line in (f'{psql} "SELECT * FROM price_deviation ORDER BY at DESC LIMIT 10"',
                     f'{psql} "SELECT * FROM contract_price"', f'{psql} "SELECT * FROM api_price"'):
            print("  " + line)
        print(flush=True)

    def ask(self, sql):
        present = self._server.sql("SELECT count(*) FROM pg_class WHERE relname IN ('price_deviation', 'contract_price')"
                                   " AND relkind = 'r'")
        return self._server.sql(sql) if present[0][0] == "2" else []


def show(store, parts, args, title):
    """Refreshes the table until the time is over or Ctrl-C; -> pairs that were measured."""
    terminal = sys.stdout.isatty()
    since, until = time.time(), time.monotonic() + (args.length or float("inf"))
    measured, drawn, last_plain = set(), 0, 0.0
    last_shown = None
    try:
        while time.monotonic() < until:
            for part in parts:
                part.check()
            cells, now = table.rows(store.ask(table.NEWEST), since)
            measured |= now
            lines = [*title.split("\n"), "", *table.draw(cells, terminal), "",
                     "Ctrl-C to end." if args.length is None else f"Ends in {max(0, until - time.monotonic()):.0f} s."]
            if terminal:
                # without wrapping (?7l), or a narrow window would make more lines than the cursor goes up
                up = f"\033[{drawn}A" if drawn else ""
                print(up + "\033[?7l" + "".join(f"\033[2K{line}\n" for line in lines) + "\033[?7h", end="", flush=True)
                drawn = len(lines)
            elif cells and time.monotonic() - last_plain >= PLAIN_EVERY_S and cells != last_shown:
                print("\n".join([time.strftime("%H:%M:%S"), *table.draw(cells, False), ""]), flush=True)
                last_plain, last_shown = time.monotonic(), cells
            time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        print()
    return measured


def stop(parts):
    """The last started first. Not to be interrupted; it takes Part.stop_seconds a part at most."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for part in reversed(parts):
        part.stop()


def finish(store, measured, wanted):
    counts = store.ask(table.COUNTS)
    if counts:
        print("\nStored so far: " + ", ".join(f"{n} {basis}/{verdict}" for basis, verdict, n in counts))
    print(f"\nWhere to look next: {store.where}logs in build/logs/")
    for line in store.next:
        print("  " + line)
    print("What each column means: README.md; how it is computed: scripts/accuracy.lua", flush=True)
    if wanted is not None and measured != set(table.PAIRS):
        missing = ", ".join(sorted(set(table.PAIRS) - measured))
        raise Stop(1, f"no deviation was measured for {missing} in {wanted:g} s (the first come after about "
                      "five); build/logs/ may tell why")


def run(args, store, env, commands, title):
    """Starts the market (unless it is the real one) and `commands` {name: arguments of plumbline}; shows the table."""
    parts = []
    try:
        if not args.live:
            parts.append(Market(env).start())
        for name, words in commands.items():
            parts.append(Part(name, [PLUMBLINE, "run", *words], env).start())
        measured = show(store, parts, args, title)
    finally:
        stop(parts)
    finish(store, measured, args.length)


def environment(args):
    # How often the APIs and the chain are asked, how long a value waits for the chain, how long for a silent source.
    quick = {"POLL_EVERY": "1s", "CHAIN_EVERY": "1s", "SETTLE": "3s", "IDLE": "5s"}
    return live_environment() if args.live else dict(os.environ, **quick)


def run_one_process(args):
    name = "live" if args.live else "demo"
    market = "the real market" if args.live else "a simulated market, 120 times as fast"
    run(args, Sqlite(args.db), environment(args) | {"DEMO_DB": args.db},
        {name: ["--data-dir", f"data/{name}", "pipelines/price_accuracy.yaml"]},
        f"Chainlink feeds against {market}\nbuild/plumbline run pipelines/price_accuracy.yaml -> {args.db}")


def run_services(args):
    """The services topology: Kafka between producers and consumers, PostgreSQL behind them."""
    env = environment(args)
    with contextlib.ExitStack() as stack:
        print("Starting Kafka and PostgreSQL ...", flush=True)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-demo-"))
        kafka = stack.enter_context(Kafka(os.path.join(folder, "kafka")))
        postgres = stack.enter_context(Postgres(os.path.join(folder, "postgres")))
        env |= {"KAFKA_BROKERS": kafka.bootstrap, "PG_DSN": postgres.dsn}
        run(args, Tables(postgres), env,
            {name: ["--data-dir", os.path.join(folder, name), f"pipelines/{name}.yaml"] for name in SERVICES},
            f"Five services on Kafka ({kafka.bootstrap}) and PostgreSQL\n{', '.join(SERVICES)}")


def main():
    def terminated(*_):
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, terminated)
    args = parse()
    os.chdir(ROOT)
    os.makedirs(LOGS, exist_ok=True)
    try:
        (run_services if args.kafka else run_one_process)(args)
    except Stop as stopped:
        print(f"./demo: {stopped}", file=sys.stderr)
        sys.exit(stopped.status)
    except ServerError as error:
        sys.exit(f"./demo: {error}")
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
