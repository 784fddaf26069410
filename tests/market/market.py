#!/usr/bin/env python3
"""The simulated market: CoinGecko, Coinpaprika and an Ethereum node with Chainlink's feeds, on loopback.

Prints one JSON line with the addresses when ready:
    {"coingecko": "http://127.0.0.1:P", "coinpaprika": "http://127.0.0.1:P", "rpc": "http://127.0.0.1:P"}
Ends at SIGTERM or SIGINT; with --with-stdin also when its standard input ends, so that it never outlives its parent.
On each port GET /_fault sets a fault (faults.py) and GET /_state tells requests, prices and rounds so far.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import apis
import chain
import faults
import walk

MAX_BODY = 1 << 20
HISTORY_HEARTBEATS = 2     # how long the market has been going when the simulation starts
SERVICES = ("coingecko", "coinpaprika", "rpc")


class Market:
    """Everything behind the three ports; one lock around it."""

    def __init__(self, args):
        now = time.time()
        history = max(60.0, HISTORY_HEARTBEATS * args.heartbeat / args.speed)
        begun = (now - history) // 3600 * 3600     # a second start within the hour goes on along the same path
        self._walks = {pair: walk.Walk(args.seed, pair, begun, args.speed) for pair in walk.PAIRS}
        volumes = {pair: shape["volume"] for pair, shape in walk.PAIRS.items()}
        self._apis = {
            "coingecko": apis.CoinGecko(args.seed, self._walks, volumes, args.speed, args.coingecko_key),
            "coinpaprika": apis.Coinpaprika(args.seed, self._walks, volumes, args.speed, args.coinpaprika_key),
        }
        self._chain = chain.Chain(args.seed, self._walks, begun, args.speed, args.deviation / 100,
                                  args.heartbeat, args.delay)
        self._rpc = chain.Rpc(self._chain)
        self._chain.advance(now)
        self._faults = faults.Faults()
        self._requests = dict.fromkeys(SERVICES, 0)
        self._journal = open(args.journal, "a", encoding="utf-8") if args.journal else None
        self._lock = threading.Lock()

    def set_fault(self, service, ask):
        """-> (status, body) of the admin request."""
        kind = ask.get("kind", "")
        if kind != "none" and kind not in faults.kinds(service):
            return 400, json.dumps({"error": f"no fault '{kind}'", "kinds": faults.kinds(service)})
        with self._lock:
            if kind in faults.SWITCH:
                self._chain.advance(time.time())
                self._chain.frozen = kind == "freeze"
            else:
                self._faults.set(service, faults.Fault(kind, int(ask.get("count", 1)), ask.get("retry_after"),
                                                       float(ask.get("seconds", faults.SLOW_S))))
        return 200, json.dumps({"service": service, "kind": kind})

    def state(self):
        now = time.time()
        with self._lock:
            self._chain.advance(now)
            return 200, json.dumps({"requests": self._requests, "rounds": self._chain.truth(),
                                    "market": {pair: w.at(now) for pair, w in self._walks.items()}})

    def get(self, service, path, query, headers):
        """-> (status, body, rows, fault) for a GET of one of the price APIs."""
        api = self._apis[service]
        with self._lock:
            self._requests[service] += 1
            fault = self._faults.take(service)
            kind = fault.kind if fault else None
            refused = api.refused(headers)
            if refused:
                return *refused, [], None
            if kind in faults.STATUS:
                return *faults.STATUS[kind], [], fault
            status, body, served = api.answer(path, query, time.time(), drop=kind == faults.MISSING)
            body = faults.spoil(body, served, kind)
        rows = [{"pair": pair, "price": price, "source_ts": stamp} for pair, price, stamp in served]
        return status, body, rows, fault

    def post(self, service, body):
        with self._lock:
            self._requests[service] += 1
            fault = self._faults.take(service)
            kind = fault.kind if fault else None
            if kind in faults.STATUS:
                return *faults.STATUS[kind], [], fault
            return *self._rpc.answer(body, time.time(), kind), fault

    def record(self, service, rows, fault):
        """Write what was served; after the answer was sent, so that the journal claims nothing too much."""
        if self._journal is None or not rows:
            return
        at = time.time()
        with self._lock:
            for row in rows:
                line = {"service": service, "at": at, "fault": fault.kind if fault else None, **row}
                self._journal.write(json.dumps(line) + "\n")
            self._journal.flush()

    def close(self):
        if self._journal is not None:
            self._journal.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def _send(self, status, body, retry_after=None):
        raw = body.encode()
        self.send_response(status)
        kind = "application/json; charset=utf-8" if raw[:1] in (b"{", b"[") else "text/html; charset=utf-8"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(raw)

    def _answer(self, status, body, rows, fault):
        service = self.server.service
        if fault and fault.kind in faults.TRANSPORT:
            faults.send_badly(self, fault, body)
        else:
            self._send(status, body, fault.retry_after if fault else None)
        self.server.market.record(service, rows, fault)

    def do_GET(self):
        url, market, service = urlsplit(self.path), self.server.market, self.server.service
        if url.path == "/_fault":
            self._send(*market.set_fault(service, {k: v[-1] for k, v in parse_qs(url.query).items()}))
        elif url.path == "/_state":
            self._send(*market.state())
        elif service == "rpc":
            self._send(405, "405 method not allowed: POST JSON-RPC here")
        else:
            self._answer(*market.get(service, url.path, url.query, self.headers))

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.server.service != "rpc" or not 0 < length <= MAX_BODY:
            self.close_connection = True
            self._send(405 if self.server.service != "rpc" else 413, "not accepted")
            return
        self._answer(*self.server.market.post("rpc", self.rfile.read(length)))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, market, service, port):
        self.market, self.service = market, service
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request, client_address):
        """A client that goes away in the middle is everyday; anything else is a defect worth its traceback."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, ValueError)):
            super().handle_error(request, client_address)


def parse(argv):
    known = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    add = known.add_argument
    add("--seed", default="1", help="the same seed walks the same path")
    add("--speed", type=float, default=1.0, help="market seconds in a wall second (default 1)")
    add("--deviation", type=float, default=0.5, help="percent the market moves before the contract updates")
    add("--heartbeat", type=float, default=3600, help="market seconds after which the contract updates anyway")
    add("--delay", type=float, default=12, help="market seconds between observation and publication")
    for service in SERVICES:
        add(f"--{service}-port", type=int, default=0, help="default: a free one")
    add("--coingecko-key", help="refuse requests without this key")
    add("--coinpaprika-key", help="refuse requests without this key")
    add("--journal", metavar="FILE", help="append every value served, as JSON lines")
    add("--with-stdin", action="store_true", help="end when standard input ends")
    args = known.parse_args(argv)
    if not (args.speed > 0 and args.deviation > 0 and args.heartbeat > 0 and args.delay >= 0):
        known.error("--speed, --deviation and --heartbeat must be above zero")
    return args


def start(args):
    """-> (servers, addresses): each service on its own port and thread."""
    market = Market(args)
    servers = [Server(market, name, getattr(args, f"{name}_port")) for name in SERVICES]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return servers, {s.service: f"http://127.0.0.1:{s.server_address[1]}" for s in servers}


def main(argv=None):
    args = parse(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    _, addresses = start(args)
    print(json.dumps(addresses), flush=True)
    if args.with_stdin:
        def wait():
            while os.read(0, 4096):
                pass
            ended.set()
        threading.Thread(target=wait, daemon=True).start()
    ended.wait()


if __name__ == "__main__":
    main()
