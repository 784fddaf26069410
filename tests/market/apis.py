"""CoinGecko's and Coinpaprika's price endpoints in their documented shapes: noisy, cached views of the walk.

CoinGecko:   GET /api/v3/simple/price?ids=..&vs_currencies=usd[&precision=full][&include_last_updated_at=true]
Coinpaprika: GET /v1/tickers/{id}[?quotes=USD]

Both APIs cache: a value stands for a while, then jumps to the market with a small error of its own. Each answer is
(status, body, served), `served` being the (pair, price as written, source time) rows for the journal.
"""

import json
import random
import time
from urllib.parse import parse_qs

GECKO_IDS = {"ethereum": "ETH-USD", "chainlink": "LINK-USD", "bitcoin": "BTC-USD"}
PAPRIKA_IDS = {"eth-ethereum": "ETH-USD", "link-chainlink": "LINK-USD", "btc-bitcoin": "BTC-USD"}
GECKO_CACHE_S = 60       # demo plan
PAPRIKA_CACHE_S = 70     # the price moves about every 70 s ...
PAPRIKA_STAMP_S = 118    # ... while its time stamp moves every 118 s
NOISE = 0.0008           # an API's own error; 2022: the two differ by 0.146% on average


class Cached:
    """A view of one walk that changes every `hold_s` and is off by a slowly wandering error."""

    def __init__(self, seed, name, walk, hold_s, volume):
        self._seed, self._name, self._walk, self._hold_s, self._volume = seed, name, walk, hold_s, volume

    def at(self, now):
        """-> (price, volume, time of that price). The same within one hold, whoever asks."""
        slot = int(now / self._hold_s)
        when = slot * self._hold_s
        chance = random.Random(f"{self._seed}/{self._name}/{slot}")
        price = self._walk.at(when) * (1 + chance.gauss(0.0, NOISE))
        return price, self._volume * (1 + chance.gauss(0.0, 0.01)), when


def utc(when):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


class CoinGecko:
    name = "coingecko"

    def __init__(self, seed, walks, volumes, speed, key=None):
        hold = max(0.5, GECKO_CACHE_S / speed)
        self.key = key
        self._views = {coin: Cached(seed, f"gecko/{coin}", walks[pair], hold, volumes[pair])
                       for coin, pair in GECKO_IDS.items()}

    def refused(self, headers):
        """The answer to a wrong key, or None. The demo and the pro key differ in name only."""
        given = headers.get("x-cg-demo-api-key") or headers.get("x-cg-pro-api-key")
        if self.key and given != self.key:
            return 401, json.dumps({"status": {"error_code": 10002, "error_message": "API Key Missing"}})
        return None

    def answer(self, path, query, now, drop=False):
        """`drop`: leave the first id asked for out of the answer, as the API does with one it does not know."""
        if path != "/api/v3/simple/price":
            return 404, json.dumps({"error": "Incorrect path. Please check https://docs.coingecko.com/"}), []
        ask = {k: v[-1] for k, v in parse_qs(query).items()}
        for needed in ("ids", "vs_currencies"):
            if not ask.get(needed):
                return 422, json.dumps({"error": f"Missing parameter {needed}"}), []
        out, served = {}, []
        for coin in ask["ids"].split(",")[1 if drop else 0:]:
            if coin not in self._views or "usd" not in ask["vs_currencies"].lower().split(","):
                continue
            price, volume, when = self._views[coin].at(now)
            if ask.get("precision") != "full":
                price = round(price) if price >= 10000 else round(price, 2)
            out[coin] = {"usd": price}
            if ask.get("include_24hr_vol") == "true":
                out[coin]["usd_24h_vol"] = volume
            if ask.get("include_last_updated_at") == "true":
                out[coin]["last_updated_at"] = int(when)
            served.append((GECKO_IDS[coin], json.dumps(price), utc(when)))
        return 200, json.dumps(out, separators=(",", ":")), served


class Coinpaprika:
    name = "coinpaprika"

    def __init__(self, seed, walks, volumes, speed, key=None):
        hold = max(0.7, PAPRIKA_CACHE_S / speed)
        self._stamp_s = max(1.0, PAPRIKA_STAMP_S / speed)
        self.key = key
        self._views = {coin: Cached(seed, f"paprika/{coin}", walks[pair], hold, volumes[pair])
                       for coin, pair in PAPRIKA_IDS.items()}

    def refused(self, headers):
        if self.key and headers.get("Authorization") != self.key:
            return 401, json.dumps({"error": "invalid api key"})
        return None

    def answer(self, path, query, now, drop=False):
        prefix = "/v1/tickers/"
        if not path.startswith(prefix) or drop:
            return 404, json.dumps({"error": "id not found" if drop else "not found"}), []
        coin = path[len(prefix):]
        if coin not in self._views:
            return 404, json.dumps({"error": "id not found"}), []
        price, volume, _ = self._views[coin].at(now)
        stamp = utc(int(now / self._stamp_s) * self._stamp_s)
        symbol, name = coin.split("-", 1)
        body = {
            "id": coin, "name": name.title(), "symbol": symbol.upper(), "rank": 1,
            "total_supply": 120000000, "max_supply": 0, "beta_value": 1.02,
            "first_data_at": "2015-08-07T00:00:00Z", "last_updated": stamp,
            "quotes": {"USD": {
                "price": price, "volume_24h": volume, "volume_24h_change_24h": -3.1,
                "market_cap": int(price * 120000000), "market_cap_change_24h": 0.4,
                "percent_change_15m": 0.02, "percent_change_1h": 0.1, "percent_change_24h": 0.4,
                "ath_price": price * 1.9, "ath_date": "2021-11-10T14:24:19Z", "percent_from_price_ath": -47.4,
            }},
        }
        return 200, json.dumps(body, separators=(",", ":")), [(PAPRIKA_IDS[coin], json.dumps(price), stamp)]
