import os

import rollbar

exec(os.environ["SNIPPET"])


def label(parcel):
    return "%s, %s" % (parcel["name"], parcel["street"])


try:
    label({"name": "Ada"})
except KeyError:
    assert rollbar.report_exc_info(), "nothing was sent"
