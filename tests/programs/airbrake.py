import os

import pybrake

notifier = pybrake.Notifier(host=os.environ["URL"], project_id=1, project_key=os.environ["KEY"], remote_config=False)


def refund(order):
    return order["paid"] / order["items"]


try:
    refund({"paid": 5, "items": 0})
except ZeroDivisionError as error:
    notice = notifier.notify_sync(error)
    assert notice.get("id"), notice.get("error")
