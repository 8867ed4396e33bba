import os

import pybrake

notifier = eval(os.environ["SNIPPET"])


def refund(order):
    return order["paid"] / order["items"]


try:
    refund({"paid": 5, "items": 0})
except ZeroDivisionError as error:
    notice = notifier.notify_sync(error)
    assert notice.get("id"), notice.get("error")
