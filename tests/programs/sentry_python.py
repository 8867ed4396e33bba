import os

import sentry_sdk

sentry_sdk.init(dsn=os.environ["DSN"], traces_sample_rate=1.0)


def parse(prices, name):
    return float(prices[name])


with sentry_sdk.start_transaction(op="task", name="prices"):
    parse({"tea": "4.50"}, "coffee")
