import os

import sentry_sdk

exec(os.environ["SNIPPET"])


def parse(prices, name):
    return float(prices[name])


with sentry_sdk.start_transaction(op="task", name="prices"):
    parse({"tea": "4.50"}, "coffee")
