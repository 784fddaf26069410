"""anvil: a real Ethereum node for tests, from npm. It says that it is mainnet (chain id 1)."""

import contextlib
import http.client
import itertools
import json
import pathlib
import platform
import time

from .cache import npm_packages
from .process import Process, ServerError, free_port, wait_until

HERE = pathlib.Path(__file__).resolve().parent


class RpcError(Exception):
    """The node answered a request with a JSON-RPC error; .code and .data hold it."""

    def __init__(self, method, error):
        super().__init__(f"{method}: {error.get('message')} (code {error.get('code')})")
        self.code, self.data = error.get("code"), error.get("data")


class Anvil(Process):
    """`with Anvil(directory) as node: node.url`.

    timestamp    the first block's time, Unix seconds; the default is now. The node's clock runs on from there
    block_time   mine a block every so many seconds; the default is a block for each transaction
    chain_id     1 is mainnet
    finalized    how many blocks behind the newest the tag "finalized" is: twice this number
    The chain is kept in the directory by an orderly stop(); after kill() it is as of the last orderly stop.
    """

    name = "anvil"
    start_seconds = 20

    def __init__(self, directory, timestamp=None, block_time=None, chain_id=1, finalized=1, options=()):
        super().__init__(directory)
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            raise ServerError("anvil's npm package is locked for Linux on x86-64 only; "
                              f"this is {platform.system()} on {platform.machine()}")
        self._binary = npm_packages(HERE / "npm") / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._state = self.directory / "chain.json"
        self._timestamp = int(time.time()) if timestamp is None else timestamp
        self._options = ["--chain-id", str(chain_id), "--slots-in-an-epoch", str(finalized), *options]
        if block_time is not None:
            self._options += ["--block-time", str(block_time), "--mixed-mining"]
        self._ids = itertools.count(1)
        self._open_block = None   # within one_block(): the transactions sent so far

    def argv(self):
        first = [] if self._state.exists() else ["--timestamp", str(self._timestamp)]
        return [str(self._binary), "--host", "127.0.0.1", "--port", str(self.port), "--state", str(self._state),
                "--preserve-historical-states", *first, *self._options]

    def ready(self):
        try:
            return self.rpc("eth_chainId", timeout=5) is not None
        except OSError:
            return False

    def rpc(self, method, *params, timeout=30):
        """One JSON-RPC call; the result as parsed JSON. Raises RpcError, or OSError where there is no answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(link):
            body = json.dumps({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params})
            link.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.load(link.getresponse())
        if "error" in answer:
            raise RpcError(method, answer["error"])
        return answer["result"]

    def block(self, which="latest"):
        """{number, timestamp, hash, parentHash} of a block, given by number or tag."""
        found = self.rpc("eth_getBlockByNumber", hex(which) if isinstance(which, int) else which, False)
        return {"number": int(found["number"], 16), "timestamp": int(found["timestamp"], 16),
                "hash": found["hash"], "parentHash": found["parentHash"]}

    def mine(self, count=1, timestamp=None):
        """Mine blocks; `timestamp` is the first one's time (it must be later than the newest block's)."""
        if timestamp is not None:
            self.rpc("evm_setNextBlockTimestamp", timestamp)
        for _ in range(count):
            self.rpc("evm_mine")
        return self.block()

    @contextlib.contextmanager
    def one_block(self, timestamp=None):
        """All transactions sent within the `with` go into one block, mined at its end."""
        self.rpc("evm_setAutomine", False)
        self._open_block = []
        try:
            yield
            self.mine(timestamp=timestamp)
            for transaction in self._open_block:
                self.receipt(transaction)
        finally:
            self._open_block = None
            self.rpc("evm_setAutomine", True)

    def reorg(self, depth):
        """Replace the newest `depth` blocks by as many empty ones: what they did is undone."""
        self.rpc("anvil_reorg", depth, [])

    def send(self, to, data, sender=None):
        """Send a transaction from an account of the node and wait until it is mined (within one_block(): at its end).

        Returns its hash; ServerError when it failed."""
        sender = sender or self.account()
        transaction = self.rpc("eth_sendTransaction", {"from": sender, "to": to, "data": data, "gas": hex(1_000_000)})
        if self._open_block is None:
            self.receipt(transaction)
        else:
            self._open_block.append(transaction)
        return transaction

    def receipt(self, transaction):
        """The receipt of a transaction, once it is mined; ServerError when it failed."""
        found = wait_until(lambda: self.rpc("eth_getTransactionReceipt", transaction), 20,
                           f"transaction {transaction} is mined")
        if int(found["status"], 16) != 1:
            raise ServerError(f"transaction {transaction} failed: {found}")
        return found

    def account(self):
        """The first account that the node can sign for."""
        return self.rpc("eth_accounts")[0]
