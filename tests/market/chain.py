"""An Ethereum JSON-RPC endpoint with Chainlink's proxies at their mainnet addresses.

The contract publishes as the real one does: when the market has moved by the deviation threshold since the last
round, or when the heartbeat is over. Blocks have fixed times, so each value can be asked for as of any block.
"""

import bisect
import hashlib
import json

CHAIN_ID = 1
BLOCK_S = 12
VERSION = 6            # of the aggregator: startedAt is the time of the off-chain observation
FINAL_DEPTH = 64       # blocks behind the newest one
FIRST_BLOCK = 24_000_000
COUNTED_FROM = 1_790_000_000   # 2026-09-21T14:13:20Z
MAX_BATCH = 1000

FEEDS = {  # pair -> proxy, current phase
    "ETH-USD": ("0x5f4ec3df9cbd43714fe2740f5e3616155c5b8419", 7),
    "BTC-USD": ("0xf4030086522a5beea4988f8ca5b36dbc97bee88c", 7),
    "LINK-USD": ("0x2c1d072e956affc0d435cb7ac38ef18d24d9127c", 6),
}
DECIMALS = 8


class RpcError(Exception):
    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.code, self.data = code, data

    def as_json(self):
        error = {"code": self.code, "message": str(self)}
        return error | ({"data": self.data} if self.data is not None else {})


def revert(reason):
    """Error(string) as a node reports it: code 3, the ABI-encoded reason as data."""
    text = reason.encode()
    padded = text + b"\0" * (-len(text) % 32)
    return RpcError(3, f"execution reverted: {reason}", "0x08c379a0" + word(32) + word(len(text)) + padded.hex())


def word(value):
    """One ABI word of 32 bytes; negative numbers in two's complement."""
    return f"{value % (1 << 256):064x}"


def abi_string(text):
    raw = text.encode()
    return word(32) + word(len(raw)) + (raw + b"\0" * (-len(raw) % 32)).hex()


class Feed:
    """The rounds of one proxy: one a block at most, so a day's run keeps at most some ten thousand."""

    def __init__(self, pair, walk, first):
        """`first`: number of the first round within its phase."""
        self.pair, self._walk, self._first = pair, walk, first
        self.proxy, self.phase = FEEDS[pair]
        self.rounds = []       # (block number, answer, started_at, updated_at)

    def publish(self, number, stamp, delay_s, deviation, heartbeat_s):
        """Look at the market as of `delay_s` before block `number`; add a round when it is due."""
        price = self._walk.at(stamp - delay_s)
        if self.rounds:
            _, answer, _, updated = self.rounds[-1]
            moved = abs(price / (answer / 10**DECIMALS) - 1)
            if moved < deviation and stamp - updated < heartbeat_s:
                return
        self.rounds.append((number, round(price * 10**DECIMALS), stamp - delay_s, stamp))

    def latest(self, block):
        """Index of the newest round as of `block`, or a revert."""
        index = bisect.bisect_right(self.rounds, block, key=lambda r: r[0]) - 1
        if index < 0:
            raise revert("No data present")
        return index

    def round_id(self, index):
        return self.phase << 64 | (self._first + index)

    def find(self, round_id, block):
        """Index of a round by its full id, as of `block`, or a revert as the proxy's."""
        index = (round_id & (1 << 64) - 1) - self._first
        if round_id >> 64 != self.phase or not 0 <= index <= self.latest(block):
            raise revert("No data present")
        return index

    def words(self, index):
        """roundId, answer, startedAt, updatedAt, answeredInRound."""
        _, answer, started, updated = self.rounds[index]
        return [self.round_id(index), answer, started, updated, self.round_id(index)]

    def aggregator(self, phase):
        """The address behind one phase; zero where there was none."""
        if not 0 < phase <= self.phase:
            return 0
        return int(hashlib.sha256(f"{self.proxy}/{phase}".encode()).hexdigest()[:40], 16)


class Chain:
    """Blocks and feeds up to `now`, which the caller passes in; not thread-safe: the caller holds a lock."""

    def __init__(self, seed, walks, start, speed=1.0, deviation=0.005, heartbeat_s=3600, delay_s=12):
        """`start`: time of the first block. Block time and heartbeat shrink with `speed`, to a second at least."""
        self._seed = seed
        self._start = int(start)
        self.block_s = max(1, round(BLOCK_S / speed))
        self.deviation, self.heartbeat_s = deviation, max(2, round(heartbeat_s / speed))
        self.delay_s = max(1, round(delay_s / speed))
        # Blocks and rounds are counted from one fixed instant, so that a later simulation never goes back behind
        # an earlier one that somebody stored.
        passed = max(0, self._start - COUNTED_FROM) // self.block_s
        self.first = FIRST_BLOCK + passed
        self._head = self.first - 1
        self.frozen = False    # no new rounds: the feed goes stale
        self.feeds = {feed.proxy: feed for feed in (Feed(pair, walks[pair], 1 + passed) for pair in FEEDS)}

    def advance(self, now):
        while self.stamp(self._head + 1) <= now:
            self._head += 1
            if self.frozen:
                continue
            for feed in self.feeds.values():
                feed.publish(self._head, self.stamp(self._head), self.delay_s, self.deviation, self.heartbeat_s)

    def stamp(self, number):
        return self._start + (number - self.first) * self.block_s

    def hash(self, number):
        """The number is part of the hash, so that a block can be found by it."""
        return "0x" + hashlib.sha256(f"{self._seed}/{number}".encode()).hexdigest()[:48] + f"{number:016x}"

    def number(self, block):
        """The block number meant by a JSON-RPC block parameter (EIP-1898 objects too)."""
        if isinstance(block, dict):
            if "blockHash" not in block:
                return self.number(block.get("blockNumber"))
            found = self.by_hash(block["blockHash"])
            if found is None:
                raise RpcError(-32001, "header for hash not found")
            return found
        tags = {"latest": self._head, "pending": self._head, "earliest": self.first,
                "safe": max(self.first, self._head - FINAL_DEPTH // 2),
                "finalized": max(self.first, self._head - FINAL_DEPTH)}
        if block in tags:
            return tags[block]
        try:
            number = int(block, 16)
        except (TypeError, ValueError):
            raise RpcError(-32602, f"invalid argument: block {block!r}") from None
        if number > self._head:
            raise RpcError(-32000, "header not found")
        return number

    def by_hash(self, text):
        try:
            number = int(text[-16:], 16)
        except (TypeError, ValueError):
            return None
        return number if self.first <= number <= self._head and self.hash(number) == text else None

    def block(self, number):
        if number is None or not self.first <= number <= self._head:
            return None
        return {
            "number": hex(number), "hash": self.hash(number), "parentHash": self.hash(number - 1),
            "timestamp": hex(self.stamp(number)), "nonce": "0x0000000000000000", "difficulty": "0x0",
            "gasLimit": "0x2255100", "gasUsed": "0x0", "baseFeePerGas": "0x3b9aca00", "size": "0x220",
            "miner": "0x" + "00" * 20, "extraData": "0x", "transactions": [], "uncles": [],
        }

    def call(self, to, data, number, fault=None):
        """-> (hex result, row for the journal or None)."""
        feed = self.feeds.get(str(to).lower())
        if feed is None or fault == "no_code":
            return "0x", None
        if fault == "revert":
            raise revert("Access denied")
        selector, argument = data[2:10], int(data[10:74] or "0", 16)
        if selector in ("feaf968c", "9a6fc8f5"):    # latestRoundData, getRoundData(uint80)
            index = feed.latest(number) if selector == "feaf968c" else feed.find(argument, number)
            return self._round(feed, index, number, fault)
        simple = {
            "313ce567": lambda: word(18 if fault == "decimals" else DECIMALS),
            "7284e416": lambda: abi_string("DOGE / USD" if fault == "description" else feed.pair.replace("-", " / ")),
            "54fd4d50": lambda: word(VERSION),
            "58303b10": lambda: word(feed.phase),
            "245a7bfc": lambda: word(feed.aggregator(feed.phase)),
            "c1597304": lambda: word(feed.aggregator(argument)),
        }
        if selector not in simple:
            raise RpcError(3, "execution reverted", "0x")
        return "0x" + simple[selector](), None

    def _round(self, feed, index, number, fault):
        words = feed.words(index)
        changed = {"unpublished": (3, 0), "zero": (1, 0), "negative": (1, -1), "future": (3, words[3] + 86400)}
        if fault in changed:
            position, value = changed[fault]
            words[position] = value
        result = "0x" + "".join(word(w) for w in words)
        row = {"pair": feed.pair, "round_id": str(words[0]), "phase_id": feed.phase,
               "agg_round": str(words[0] & (1 << 64) - 1), "answer": str(words[1]), "started_at": words[2],
               "updated_at": words[3], "block_number": number, "block_hash": self.hash(number)}
        return result[:66] if fault == "short" else result, row

    def truth(self):
        """The newest round of each feed, for the admin endpoint."""
        return {f.pair: dict(zip(("round_id", "answer", "started_at", "updated_at"), map(str, f.words(len(f.rounds) - 1))))
                for f in self.feeds.values()}


class Rpc:
    """JSON-RPC 2.0 over one Chain: single requests and batches."""

    name = "rpc"

    def __init__(self, chain):
        self.chain = chain

    def answer(self, body, now, fault=None):
        """-> (status, body, journal rows). `fault`: the kind of fault that all its requests meet."""
        self.chain.advance(now)
        try:
            asked = json.loads(body)
        except ValueError:
            return 200, json.dumps(self._failed(None, RpcError(-32700, "parse error"))), []
        batch = asked if isinstance(asked, list) else [asked]
        if not 0 < len(batch) <= MAX_BATCH:
            return 200, json.dumps(self._failed(None, RpcError(-32600, "invalid batch size"))), []
        answers, rows = [], []
        for request in batch:
            answers.append(self._one(request, fault, rows))
        return 200, json.dumps(answers if isinstance(asked, list) else answers[0]), rows

    @staticmethod
    def _failed(ident, error):
        return {"jsonrpc": "2.0", "id": ident, "error": error.as_json()}

    def _one(self, request, fault, rows):
        ident = request.get("id") if isinstance(request, dict) else None
        try:
            if ident is None or not isinstance(request.get("params", []), list):
                raise RpcError(-32600, "invalid request")
            if fault == "limited":
                raise RpcError(-32005, "daily request count exceeded, request rate limited",
                               {"rate": {"backoff_seconds": 0}})
            result, row = self._method(request.get("method"), request.get("params", []), fault)
        except RpcError as error:
            return self._failed(ident, error)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            return self._failed(ident, RpcError(-32602, f"invalid argument: {error}"))
        if row:
            rows.append(row)
        return {"jsonrpc": "2.0", "id": ident, "result": result}

    def _method(self, method, params, fault):
        chain = self.chain
        if method == "eth_chainId":
            return hex(5 if fault == "chain_id" else CHAIN_ID), None
        if method == "net_version":
            return str(CHAIN_ID), None
        if method == "web3_clientVersion":
            return "plumbline-market/1", None
        if method == "eth_blockNumber":
            return hex(chain.number("latest")), None
        if method == "eth_getBlockByNumber":
            try:
                return chain.block(chain.number(params[0])), None
            except RpcError as error:
                if error.code == -32000:     # a block not there yet is null, not an error
                    return None, None
                raise
        if method == "eth_getBlockByHash":
            return chain.block(chain.by_hash(params[0])), None
        if method == "eth_getCode":
            known = str(params[0]).lower() in chain.feeds and fault != "no_code"
            return "0x60806040" if known else "0x", None
        if method == "eth_call":
            call = params[0]
            block = params[1] if len(params) > 1 else "latest"
            return chain.call(call.get("to"), call.get("input") or call.get("data") or "0x", chain.number(block), fault)
        raise RpcError(-32601, f"the method {method} does not exist/is not available")
