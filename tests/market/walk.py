"""One seeded random-walk price for each pair: the market that every simulated source looks at.

The path depends on the seed and on the number of steps only, never on when somebody looks: two runs with one
seed walk the same path. Times are seconds since 1970 (float); prices are US dollars (float).
"""

import math
import random

YEAR_S = 365.25 * 86400
STEP_S = 0.5       # wall seconds between two steps of the walk
KEEP_STEPS = 40_000  # how far back a price can still be asked for

# Rough figures of 2022 and after: start price, yearly volatility, 24 h volume.
PAIRS = {
    "ETH-USD": {"price": 2415.4, "volatility": 0.75, "volume": 1.3e10},
    "LINK-USD": {"price": 13.71, "volatility": 0.95, "volume": 4.1e8},
    "BTC-USD": {"price": 76975.0, "volatility": 0.55, "volume": 3.2e10},
}
JUMPS_PER_HOUR = 1.5   # sudden moves: what makes a contract lag behind its own band
JUMP_SIZE = 0.006      # standard deviation of one, as a fraction of the price


class Walk:
    """A geometric random walk with jumps, advanced on demand."""

    def __init__(self, seed, pair, start, speed=1.0):
        """`start`: time of the first step. `speed`: market seconds in one wall second."""
        shape = PAIRS[pair]
        self._random = random.Random(f"{seed}/walk/{pair}")
        self._start = start
        self._first = 0                     # index of the oldest price still kept
        self._prices = [shape["price"]]
        market_s = STEP_S * speed
        self._sigma = shape["volatility"] * math.sqrt(market_s / YEAR_S)
        self._jump_chance = min(0.5, JUMPS_PER_HOUR * market_s / 3600)

    def _step(self):
        move = self._random.gauss(0.0, self._sigma)
        if self._random.random() < self._jump_chance:
            move += self._random.gauss(0.0, JUMP_SIZE)
        self._prices.append(self._prices[-1] * math.exp(move))

    def at(self, when):
        """The price in force at `when`; before the first kept step, that step's price."""
        index = int((when - self._start) / STEP_S)
        while self._first + len(self._prices) <= index:
            self._step()
        if len(self._prices) > 2 * KEEP_STEPS:
            self._first += len(self._prices) - KEEP_STEPS
            self._prices = self._prices[-KEEP_STEPS:]
        return self._prices[max(0, index - self._first)]
