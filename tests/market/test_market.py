"""The simulated market keeps the shapes that it claims: python3 -m unittest discover -s tests/market"""

import gzip
import http.client
import json
import os
import sys
import tempfile
import time
import unittest
from urllib.parse import urlsplit

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chain
import faults
import market
import walk

ETH = "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419"
SIMPLE = "/api/v3/simple/price?ids=ethereum,chainlink,bitcoin&vs_currencies=usd"


def call(address, path, body=None, headers=()):
    """-> (status, headers, text) of one request."""
    link = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        link.request("GET" if body is None else "POST", path, body, dict(headers))
        answer = link.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        link.close()


class Running(unittest.TestCase):
    """A market of its own for each class."""

    flags = []

    @classmethod
    def setUpClass(cls):
        cls.journal = tempfile.NamedTemporaryFile("r", suffix=".jsonl")
        cls.servers, cls.at = market.start(market.parse([*cls.flags, "--journal", cls.journal.name]))

    @classmethod
    def tearDownClass(cls):
        for server in cls.servers:
            server.shutdown()
            server.server_close()
        cls.servers[0].market.close()
        cls.journal.close()

    def rpc(self, method, *params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return json.loads(call(self.at["rpc"], "/", body)[2])

    def view(self, data, block="latest", to=ETH):
        return self.rpc("eth_call", {"to": to, "data": "0x" + data}, block)

    def words(self, data, block="latest"):
        result = self.view(data, block)["result"][2:]
        return [int(result[i:i + 64], 16) for i in range(0, len(result), 64)]

    def fault(self, service, **ask):
        query = "&".join(f"{k}={v}" for k, v in ask.items())
        self.assertEqual(call(self.at[service], "/_fault?" + query)[0], 200)


class Walks(unittest.TestCase):
    def test_the_path_depends_on_the_seed_only(self):
        often, once = (walk.Walk("7", "ETH-USD", 1000.0, 60) for _ in range(2))
        for second in range(1000, 1600):
            last = often.at(second)
        self.assertEqual(last, once.at(1599))
        self.assertNotEqual(last, walk.Walk("8", "ETH-USD", 1000.0, 60).at(1599))

    def test_a_year_has_about_its_volatility(self):
        from math import log
        w = walk.Walk("1", "BTC-USD", 0.0, 1.0)
        steps = [w.at(i / 2) for i in range(20000)]
        daily = sum(log(b / a) ** 2 for a, b in zip(steps, steps[1:])) / (10000 / 86400)
        self.assertTrue(0.01 < (daily * 365.25) ** 0.5 < 3)


class Prices(Running):
    def test_coingecko_without_precision_rounds_btc_to_a_dollar(self):
        body = json.loads(call(self.at["coingecko"], SIMPLE)[2])
        self.assertEqual(set(body), {"ethereum", "chainlink", "bitcoin"})
        self.assertIsInstance(body["bitcoin"]["usd"], int)
        self.assertEqual(list(body["bitcoin"]), ["usd"])

    def test_coingecko_full(self):
        asked = SIMPLE + "&include_last_updated_at=true&include_24hr_vol=true&precision=full"
        status, headers, text = call(self.at["coingecko"], asked)
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json; charset=utf-8"))
        coin = json.loads(text)["bitcoin"]
        self.assertEqual(list(coin), ["usd", "usd_24h_vol", "last_updated_at"])
        self.assertGreater(len(str(coin["usd"])), 10)
        self.assertTrue(0 <= time.time() - coin["last_updated_at"] <= 61)

    def test_coingecko_leaves_out_what_it_does_not_know(self):
        path = "/api/v3/simple/price?ids=ethereum,nosuchcoin&vs_currencies=usd"
        self.assertEqual(list(json.loads(call(self.at["coingecko"], path)[2])), ["ethereum"])
        self.assertEqual(call(self.at["coingecko"], "/api/v3/simple/price?ids=x")[0], 422)

    def test_coingecko_is_cached(self):
        path = SIMPLE + "&precision=full"
        # two calls within one hold of 60 s; they differ only when the hold ended in between
        pairs = [(call(self.at["coingecko"], path)[2], call(self.at["coingecko"], path)[2]) for _ in range(2)]
        self.assertTrue(any(a == b for a, b in pairs))

    def test_coinpaprika(self):
        body = json.loads(call(self.at["coinpaprika"], "/v1/tickers/btc-bitcoin?quotes=USD")[2])
        self.assertEqual((body["id"], body["symbol"]), ("btc-bitcoin", "BTC"))
        self.assertRegex(body["last_updated"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertGreater(body["quotes"]["USD"]["price"], 0)
        self.assertEqual(call(self.at["coinpaprika"], "/v1/tickers/no-such")[0], 404)

    def test_both_apis_see_one_market(self):
        gecko = json.loads(call(self.at["coingecko"], SIMPLE + "&precision=full")[2])["ethereum"]["usd"]
        paprika = json.loads(call(self.at["coinpaprika"], "/v1/tickers/eth-ethereum")[2])["quotes"]["USD"]["price"]
        self.assertNotEqual(gecko, paprika)
        self.assertLess(abs(gecko / paprika - 1), 0.05)

    def test_the_journal_has_the_digits_served(self):
        text = call(self.at["coinpaprika"], "/v1/tickers/link-chainlink")[2]
        for _ in range(100):        # the row is written just after the answer
            self.journal.seek(0)
            rows = [json.loads(line) for line in self.journal]
            found = [r for r in rows if r["service"] == "coinpaprika" and r["pair"] == "LINK-USD"]
            if found:
                break
            time.sleep(0.02)
        self.assertIn(f'"price":{found[-1]["price"]},', text)


class Keys(Running):
    flags = ["--coingecko-key", "CG-1", "--coinpaprika-key", "secret"]

    def test_keys(self):
        self.assertEqual(call(self.at["coingecko"], SIMPLE)[0], 401)
        self.assertEqual(call(self.at["coingecko"], SIMPLE, headers={"x-cg-demo-api-key": "CG-1"})[0], 200)
        self.assertEqual(call(self.at["coinpaprika"], "/v1/tickers/btc-bitcoin")[0], 401)
        self.assertEqual(call(self.at["coinpaprika"], "/v1/tickers/btc-bitcoin",
                              headers={"Authorization": "secret"})[0], 200)


class Rpc(Running):
    flags = ["--speed", "60"]

    def test_a_feed_describes_itself(self):
        self.assertEqual(self.rpc("eth_chainId")["result"], "0x1")
        self.assertEqual(self.words("313ce567"), [8])
        self.assertEqual(self.words("54fd4d50"), [6])
        raw = bytes.fromhex(self.view("7284e416")["result"][2:])
        self.assertEqual(raw[64:64 + int.from_bytes(raw[32:64], "big")].decode(), "ETH / USD")
        phase = self.words("58303b10")[0]
        self.assertEqual(self.words("245a7bfc"), self.words("c1597304" + chain.word(phase)))
        self.assertEqual(self.words("c1597304" + chain.word(phase + 1)), [0])

    def test_all_feeds_at_one_block_in_a_batch(self):
        block = self.rpc("eth_getBlockByNumber", "latest", False)["result"]
        self.assertEqual(self.rpc("eth_getBlockByHash", block["hash"], False)["result"], block)
        where = {"blockHash": block["hash"], "requireCanonical": True}
        batch = [{"jsonrpc": "2.0", "id": i, "method": "eth_call", "params": [{"to": to, "data": "0xfeaf968c"}, where]}
                 for i, (to, _) in enumerate(chain.FEEDS.values())]
        answers = json.loads(call(self.at["rpc"], "/", json.dumps(batch))[2])
        self.assertEqual([a["id"] for a in answers], [0, 1, 2])
        for answer in answers:
            self.assertEqual(len(answer["result"]), 2 + 160 * 2)
            self.assertLessEqual(int(answer["result"][2 + 3 * 64:2 + 4 * 64], 16), int(block["timestamp"], 16))

    def test_rounds_follow_one_another(self):
        now = self.words("feaf968c")
        self.assertEqual(now[0] >> 64, self.words("58303b10")[0])
        before = self.words("9a6fc8f5" + chain.word(now[0] - 1))
        self.assertEqual((before[0], before[0] == before[4]), (now[0] - 1, True))
        self.assertLess(before[3], now[3])
        self.assertLess(now[2], now[3])
        self.assertEqual(self.view("9a6fc8f5" + chain.word(now[0] + 1000))["error"]["code"], 3)

    def test_an_old_block_has_the_old_round(self):
        now = self.words("feaf968c")
        block = int(self.rpc("eth_blockNumber")["result"], 16)
        stamp = int(self.rpc("eth_getBlockByNumber", hex(block), False)["result"]["timestamp"], 16)
        old = self.words("feaf968c", hex(block - (stamp - now[3]) - 1))   # one block a second at this speed
        self.assertEqual(old[0], now[0] - 1)

    def test_a_round_comes_by_heartbeat_at_the_latest(self):
        now = self.words("feaf968c")
        before = self.words("9a6fc8f5" + chain.word(now[0] - 1))
        self.assertLessEqual(now[3] - before[3], 60)
        self.assertLess(time.time() - now[3], 62)

    def test_nothing_there(self):
        self.assertEqual(self.view("feaf968c", to="0x" + "11" * 20)["result"], "0x")
        self.assertEqual(self.view("deadbeef")["error"]["code"], 3)
        self.assertEqual(self.rpc("eth_nothing")["error"]["code"], -32601)
        self.assertEqual(self.view("feaf968c", {"blockHash": "0x" + "0" * 64})["error"]["code"], -32001)
        self.assertIsNone(self.rpc("eth_getBlockByNumber", hex(1 << 60), False)["result"])
        self.assertEqual(json.loads(call(self.at["rpc"], "/", "{")[2])["error"]["code"], -32700)

    def test_faults(self):
        for kind, check in {
            "limited": lambda: self.assertEqual(self.view("feaf968c")["error"]["code"], -32005),
            "revert": lambda: self.assertEqual(self.view("feaf968c")["error"]["code"], 3),
            "no_code": lambda: self.assertEqual(self.view("feaf968c")["result"], "0x"),
            "short": lambda: self.assertEqual(len(self.view("feaf968c")["result"]), 66),
            "unpublished": lambda: self.assertEqual(self.words("feaf968c")[3], 0),
            "negative": lambda: self.assertEqual(self.words("feaf968c")[1], 2**256 - 1),
            "chain_id": lambda: self.assertEqual(self.rpc("eth_chainId")["result"], "0x5"),
            "decimals": lambda: self.assertEqual(self.words("313ce567"), [18]),
        }.items():
            with self.subTest(kind):
                self.fault("rpc", kind=kind)
                check()
                self.assertEqual(self.rpc("eth_chainId")["result"], "0x1")

    def test_a_frozen_chain_publishes_nothing(self):
        self.fault("rpc", kind="freeze")
        try:
            before = self.words("feaf968c")
            time.sleep(2.1)
            self.assertEqual(self.words("feaf968c"), before)
        finally:
            self.fault("rpc", kind="thaw")


class Faults(Running):
    def ask(self):
        return call(self.at["coingecko"], SIMPLE + "&precision=full")

    def test_status_and_count(self):
        self.fault("coingecko", kind="429", count=2, retry_after=7)
        for _ in range(2):
            status, headers, _ = self.ask()
            self.assertEqual((status, headers["Retry-After"]), (429, "7"))
        self.assertEqual(self.ask()[0], 200)
        for kind, (status, _) in faults.STATUS.items():
            self.fault("coingecko", kind=kind)
            self.assertEqual(self.ask()[0], status, kind)

    def test_prices(self):
        for kind, written in faults.PRICE.items():
            self.fault("coingecko", kind=kind)
            self.assertIn(f'{{"usd":{written}}}', self.ask()[2], kind)
        self.fault("coingecko", kind="missing_id")
        self.assertEqual(set(json.loads(self.ask()[2])), {"chainlink", "bitcoin"})

    def test_transport(self):
        self.fault("coingecko", kind="truncated")
        with self.assertRaises(ValueError):
            json.loads(self.ask()[2])
        self.fault("coingecko", kind="reset")
        with self.assertRaises((ConnectionError, http.client.HTTPException)):
            self.ask()
        self.fault("coingecko", kind="slow", seconds=0.3)
        begun = time.monotonic()
        json.loads(self.ask()[2])
        self.assertGreaterEqual(time.monotonic() - begun, 0.25)

    def test_a_packed_answer_unpacks_to_very_much(self):
        self.fault("coingecko", kind="bomb")
        link = http.client.HTTPConnection(urlsplit(self.at["coingecko"]).netloc, timeout=10)
        link.request("GET", SIMPLE)
        with link.getresponse() as answer:
            packed = answer.read()
            self.assertEqual(answer.headers["Content-Encoding"], "gzip")
        link.close()
        self.assertLess(len(packed), faults.BOMB_BYTES // 100)
        self.assertEqual(len(gzip.decompress(packed)), faults.BOMB_BYTES)

    def test_endless_ends_with_its_client(self):
        self.fault("coingecko", kind="endless")
        link = http.client.HTTPConnection(urlsplit(self.at["coingecko"]).netloc, timeout=10)
        link.request("GET", SIMPLE)
        answer = link.getresponse()
        self.assertEqual(len(answer.read(1 << 20)), 1 << 20)
        link.close()
        answer.close()
        self.assertEqual(self.ask()[0], 200)

    def test_an_unknown_fault_is_refused(self):
        self.assertEqual(call(self.at["coingecko"], "/_fault?kind=no_code")[0], 400)


if __name__ == "__main__":
    unittest.main()
