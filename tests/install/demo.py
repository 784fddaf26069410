#!/usr/bin/env python3
"""What ./demo does once everything is built: starts the parts, shows the table, stops the parts."""

import argparse
import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import table

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLUMBLINE = os.path.join(ROOT, "build", "plumbline")
LOGS = os.path.join("build", "logs")
# A market that lives 120 times as fast: an hourly heartbeat comes every 30 s, minutes of caching last half a second.
# The contract is slower to publish than the real one, so that it can be seen leaving its band of 0.5 %.
MARKET = ("--speed", "120", "--deviation", "0.4", "--delay", "240", "--seed", "demo")
SERVICES = ("api_producer", "producer", "api_consumer", "consumer", "accuracy")
STOP_S = 15            # how long a part may take to drain
REFRESH_S = 0.5
PLAIN_EVERY_S = 5.0    # without a terminal


class Stop(Exception):
    """Ends the demo with a message (or none) and a status."""

    def __init__(self, status, message=None):
        super().__init__(message)
        self.status, self.message = status, message


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


class Parts:
    """The processes of the demo. Each has a session of its own: Ctrl-C reaches only this program, which stops them."""

    def __init__(self):
        self._running = []

    def start(self, name, command, env, log):
        with open(os.path.join(LOGS, log), "wb") as file:
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                       start_new_session=True)
        self._running.append((name, process, os.path.join(LOGS, log)))

    def market(self, env):
        """Starts the simulated market; `env` learns its addresses. It ends with its standard input, so with us."""
        command = [sys.executable, "tests/market/market.py", "--with-stdin", *MARKET]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._running.append(("the simulated market", process, None))
        ready = process.stdout.readline()
        if not ready:
            raise Stop(1, "the simulated market did not start")
        at = json.loads(ready)
        env.update(COINGECKO_URL=at["coingecko"], COINPAPRIKA_URL=at["coinpaprika"], ETH_RPC_URL=at["rpc"])

    def check(self):
        for name, process, log in self._running:
            if process.poll() is not None:
                raise Stop(1, f"{name} ended with status {process.returncode}\n{tail(log)}")

    def stop(self):
        """The last started first; -> names of those that had to be killed. Not to be interrupted: it takes STOP_S a
        part at most."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        killed = []
        for name, process, _ in reversed(self._running):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    killed.append(name)
        self._running = []
        return killed


def tail(log, lines=25):
    if log is None:
        return ""
    with open(log, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-lines:])


class Sqlite:
    def __init__(self, path):
        self.path = path
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


class Postgres:
    def __init__(self, server):
        self._server = server
        psql = f"psql '{server.dsn}' -c"
        self.path = "database kafka_sink (as long as this demo runs)"
        self.next = (f'{psql} "SELECT * FROM price_deviation ORDER BY at DESC LIMIT 10"',
                     f'{psql} "SELECT * FROM contract_price"', f'{psql} "SELECT * FROM api_price"')

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
            parts.check()
            cells, now = table.rows(store.ask(table.NEWEST), since)
            measured |= now
            lines = [title, "", *table.draw(cells, terminal), "",
                     "Ctrl-C to end." if args.length is None else f"Ends in {max(0, until - time.monotonic()):.0f} s."]
            if terminal:
                if drawn:
                    print(f"\033[{drawn}A", end="")
                print("".join(f"\033[2K{line}\n" for line in lines), end="", flush=True)
                drawn = len(lines)
            elif cells and time.monotonic() - last_plain >= PLAIN_EVERY_S and cells != last_shown:
                print("\n".join([time.strftime("%H:%M:%S"), *table.draw(cells, False), ""]), flush=True)
                last_plain, last_shown = time.monotonic(), cells
            time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        print()
    return measured


def finish(store, measured, killed, wanted):
    counts = store.ask(table.COUNTS)
    if counts:
        print("\nStored so far: " + ", ".join(f"{n} {basis}/{verdict}" for basis, verdict, n in counts))
    print(f"\nWhere to look next: {store.path}, logs in {LOGS}/")
    for line in store.next:
        print("  " + line)
    print("What each column means and how it is computed: README.md; the comparison itself: scripts/accuracy.lua", flush=True)
    if killed:
        raise Stop(1, f"did not end in {STOP_S} s and were killed: {', '.join(killed)}")
    if wanted and measured != set(table.PAIRS):
        missing = ", ".join(sorted(set(table.PAIRS) - measured))
        raise Stop(1, f"no deviation was measured for {missing}; {LOGS}/ may tell why")


def run_one_process(args):
    env = live_environment() if args.live else dict(os.environ, POLL_EVERY="1s")
    name = "live" if args.live else "demo"
    parts, store, killed = Parts(), Sqlite(args.db), []
    try:
        if not args.live:
            parts.market(env)
        env["DEMO_DB"] = args.db
        parts.start("plumbline", [PLUMBLINE, "run", "--data-dir", f"data/{name}", "pipelines/price_accuracy.yaml"], env,
                    f"{name}.log")
        market = "the real market" if args.live else "a simulated market, 120 times as fast"
        measured = show(store, parts, args, f"Chainlink feeds against {market}: build/plumbline run pipelines/price_accuracy.yaml")
    finally:
        killed = parts.stop()
    finish(store, measured, killed, args.length is not None)


def run_services(args):
    """The services topology: Kafka between producers and consumers, PostgreSQL behind them."""
    sys.path.insert(0, os.path.join(ROOT, "tests"))
    import servers
    env = live_environment() if args.live else dict(os.environ, POLL_EVERY="1s")
    parts, killed = Parts(), []
    with contextlib.ExitStack() as stack:
        print("Starting Kafka and PostgreSQL ...", flush=True)
        folder = os.path.join("build", "demo-servers")
        kafka = stack.enter_context(servers.Kafka(os.path.join(folder, "kafka")))
        postgres = stack.enter_context(servers.Postgres(os.path.join(folder, "postgres")))
        store = Postgres(postgres)
        env.update(KAFKA_BROKERS=kafka.bootstrap, PG_DSN=postgres.dsn)
        try:
            if not args.live:
                parts.market(env)
            for name in SERVICES:
                parts.start(name, [PLUMBLINE, "run", "--data-dir", f"data/services/{name}", f"pipelines/{name}.yaml"],
                            env, f"{name}.log")
            measured = show(store, parts, args, f"Five services on Kafka ({kafka.bootstrap}) and PostgreSQL: "
                                                "api_producer, producer, api_consumer, consumer, accuracy")
        finally:
            killed = parts.stop()
        finish(store, measured, killed, args.length is not None)


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
    except Stop as stop:
        if stop.message:
            print(f"./demo: {stop.message}", file=sys.stderr)
        sys.exit(stop.status)
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
