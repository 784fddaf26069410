"""The simulated market (tests/market) as a server of one test."""

import json
import sys
import urllib.parse
import urllib.request

from servers import Process

from .case import REPO


class Market(Process):
    """`with Market(directory) as market:` market.env has the addresses as the pipelines want them.

    flags    of tests/market/market.py, e.g. "--speed", "60"
    """

    name = "market"

    def __init__(self, directory, *flags):
        super().__init__(directory)
        self._flags = flags
        self._journal = self.directory / "journal.jsonl"
        self.env = {}
        self.start()

    def argv(self):
        return [sys.executable, str(REPO / "tests" / "market" / "market.py"), "--journal", str(self._journal), *self._flags]

    def ready(self):
        line = self.log_path.read_text()
        if not line.endswith("\n"):
            return False
        at = json.loads(line)
        self.env = {"COINGECKO_URL": at["coingecko"], "COINPAPRIKA_URL": at["coinpaprika"], "ETH_RPC_URL": at["rpc"]}
        self._at = at
        return True

    def _get(self, service, path):
        with urllib.request.urlopen(self._at[service] + path, timeout=10) as answer:
            return json.load(answer)

    def fault(self, service, kind, count=1, **more):
        """The next `count` requests (-1: all) meet the fault; kinds are in tests/market/faults.py."""
        self._get(service, "/_fault?" + urllib.parse.urlencode({"kind": kind, "count": count} | more))

    def requests(self, service):
        """How many requests came so far."""
        return self._get(service, "/_state")["requests"][service]

    def price(self, pair):
        """Where the market is now, as a float."""
        return self._get("coingecko", "/_state")["market"][pair]

    def round_id(self, pair):
        """The newest round of the pair's feed, whether anybody has asked for it or not."""
        return int(self._get("rpc", "/_state")["rounds"][pair]["round_id"])

    def journal(self, service=None):
        """Every value served so far, in order: {service, at, fault, pair, price, source_ts} (rpc: a round's fields)."""
        with open(self._journal, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file if line.endswith("\n")]
        return [row for row in rows if service in (None, row["service"])]
