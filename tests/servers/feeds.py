"""Price feeds on a local Ethereum node: our aggregators (tests/contracts/) at the addresses that mainnet's readers use.

    feeds = Feeds(node)                                # ETH/USD, BTC/USD and LINK/USD, phase 1, no rounds yet
    feeds["ETH/USD"].push("1800.12345678")             # a block with one more round; its time is the block's
    feeds["ETH/USD"].push("1801", updated_at=T, started_at=T - 9)
    feeds.push({"ETH/USD": "1802", "BTC/USD": "30001.5"}, at=T)    # several in one block, whose time is T
    feeds["ETH/USD"].latest()                          # {phase_id, agg_round, round_id, answer, started_at, updated_at}
    feeds["ETH/USD"].confirm(version=4)                # a new aggregator behind the same proxy: the phase goes up
    node.reorg(1)                                      # the newest block's rounds are undone
    feeds["ETH/USD"].remove_code()                     # an address without code

Calls are encoded by hand: an argument is one 32-byte word, a text is its length and its padded bytes.
"""

import decimal
import json
import pathlib

from .process import ServerError

CONTRACTS = pathlib.Path(__file__).resolve().parent.parent / "contracts"

# The proxies of Ethereum mainnet, and the version of the aggregator we place behind each (the versions differ in
# what startedAt means, so both are always there).
MAINNET = {
    "ETH/USD": ("0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419", 6),
    "BTC/USD": ("0xF4030086522a5bEEa4988F8cA5B36dbC97BeE88c", 6),
    "LINK/USD": ("0x2c1d072e956AFFC0D435Cb7AC38EF18d24d9127c", 4),
}
ANSWER_UPDATED = "0x0559884fd3a460db3073b7fc896cc77986f16e378210ded43186175bf646fc5f"


def word(value):
    """One ABI word, from an integer (two's complement when negative) or an address."""
    number = int(value, 16) if isinstance(value, str) else value
    return (number % (1 << 256)).to_bytes(32, "big").hex()


def _text(value):
    data = value.encode()
    return word(len(data)) + data.hex() + "00" * (-len(data) % 32)


def _words(data):
    data = data.removeprefix("0x")
    return [int(data[at:at + 64], 16) for at in range(0, len(data), 64)]


def _signed(value):
    return value - (1 << 256) if value >> 255 else value


class _Contract:
    def __init__(self, name):
        found = json.loads((CONTRACTS / f"{name}.json").read_text())
        self.bytecode, self._selectors = found["bytecode"], found["selectors"]

    def call(self, signature, *words):
        return self._selectors[signature] + "".join(words)


_AGGREGATOR, _PROXY = _Contract("Aggregator"), _Contract("FeedProxy")


class Feed:
    """One pair: its proxy, and the aggregator of its newest phase."""

    def __init__(self, feeds, pair, proxy, decimals):
        self._node, self._feeds = feeds.node, feeds
        self.pair, self.proxy, self.decimals = pair, proxy, decimals
        self.aggregator = None    # address, as of the last confirm()

    def _send(self, to, data):
        return self._node.send(to, data, self._feeds.owner)

    def raw(self, price):
        """The price as the integer that the contract stores; exact, or ValueError."""
        with decimal.localcontext(decimal.Context(prec=100)):
            scaled = decimal.Decimal(str(price)).scaleb(self.decimals)
            if scaled != scaled.to_integral_value():
                raise ValueError(f"{self.pair}: {price} has more than {self.decimals} decimals")
            return int(scaled)

    def push(self, price=None, started_at=None, updated_at=None, raw=None):
        """Publish a round; times that are not given are the block's. Returns the transaction's hash.

        `raw` gives the stored integer itself, e.g. 0 or -1. At version 4 startedAt is always updatedAt."""
        answer = self.raw(price) if raw is None else raw
        return self._send(self.aggregator, _AGGREGATOR.call("push(int256,uint256,uint256)", word(answer),
                                                            word(started_at or 0), word(updated_at or 0)))

    def set_latest(self, agg_round, price=None, started_at=0, updated_at=0, raw=None):
        """Write a round as given, without an event, and make it the latest: for unsound data, or to begin at a number."""
        answer = self.raw(price) if raw is None else raw
        return self._send(self.aggregator, _AGGREGATOR.call("setLatest(uint80,int256,uint256,uint256)", word(agg_round),
                                                            word(answer), word(started_at), word(updated_at)))

    def confirm(self, version=6, phase=None, description=None, decimals=None):
        """Put a fresh aggregator behind the proxy: the phase goes up by one, or to `phase`. Rounds begin at 1 again."""
        self.decimals = self.decimals if decimals is None else decimals
        self.aggregator = self._feeds.place(_AGGREGATOR)
        # The text is the third argument: its word is the offset of its length, after three words.
        text = description or f"{self.pair.replace('/', ' / ')}"
        self._send(self.aggregator, _AGGREGATOR.call("initialise(uint8,uint256,string)", word(self.decimals),
                                                     word(version), word(96), _text(text)))
        if phase is None:
            self._send(self.proxy, _PROXY.call("confirmAggregator(address)", word(self.aggregator)))
        else:
            self._send(self.proxy, _PROXY.call("confirmPhase(uint16,address)", word(phase), word(self.aggregator)))
        return self.aggregator

    def _read(self, data, block):
        block = hex(block) if isinstance(block, int) else block
        return self._node.rpc("eth_call", {"to": self.proxy, "data": data}, block)

    @staticmethod
    def _round(data):
        words = _words(data)
        if len(words) != 5:
            raise ServerError(f"a round of {len(words)} words instead of 5")
        identity, answer, started, updated, _ = words
        return {"round_id": identity, "phase_id": identity >> 64, "agg_round": identity & ((1 << 64) - 1),
                "answer": _signed(answer), "started_at": started, "updated_at": updated}

    def latest(self, block="latest"):
        """latestRoundData() through the proxy, as of a block."""
        return self._round(self._read(_PROXY.call("latestRoundData()"), block))

    def round(self, round_id, block="latest"):
        """getRoundData() through the proxy; RpcError where it reverts."""
        return self._round(self._read(_PROXY.call("getRoundData(uint80)", word(round_id)), block))

    def rounds(self):
        """All rounds whose AnswerUpdated is on the chain now, oldest first, of the newest phase's aggregator."""
        logs = self._node.rpc("eth_getLogs", {"address": self.aggregator, "topics": [ANSWER_UPDATED],
                                              "fromBlock": "0x0", "toBlock": "latest"})
        return [{"agg_round": int(log["topics"][2], 16), "answer": _signed(int(log["topics"][1], 16)),
                 "updated_at": int(log["data"], 16), "block_number": int(log["blockNumber"], 16)} for log in logs]

    def phase(self):
        return int(self._read(_PROXY.call("phaseId()"), "latest"), 16)

    def remove_code(self):
        """From now on the proxy's address has no code, as if the address were wrong. (A block is mined.)"""
        self._node.rpc("anvil_setCode", self.proxy, "0x")
        self._node.mine()


class Feeds:
    """The feeds of a node, by pair. Building them mines a few blocks; a reorg must not reach back over those.

    pairs      {pair: (proxy address, aggregator version)}
    decimals   of all of them
    """

    def __init__(self, node, pairs=None, decimals=8):
        self.node, self.owner = node, node.account()
        self._placed = 0
        self._feeds = {}
        for pair, (proxy, version) in (pairs or MAINNET).items():
            feed = self._feeds[pair] = Feed(self, pair, proxy, decimals)
            node.rpc("anvil_setCode", proxy, _PROXY.bytecode)
            node.send(proxy, _PROXY.call("initialise()"), self.owner)
            feed.confirm(version)

    def __getitem__(self, pair):
        return self._feeds[pair]

    def __iter__(self):
        return iter(self._feeds.values())

    def place(self, contract):
        """Put a contract's code at a fresh address."""
        self._placed += 1
        address = f"0x{(0xA66 << 148) + self._placed:040x}"
        self.node.rpc("anvil_setCode", address, contract.bytecode)
        return address

    def push(self, prices, at=None):
        """Publish a round of several pairs in one block, {pair: price}; `at` is the block's time."""
        with self.node.one_block(at):
            for pair, price in prices.items():
                self[pair].push(price)
        return self.node.block()
