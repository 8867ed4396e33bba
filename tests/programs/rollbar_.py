import os

import rollbar

rollbar.init(os.environ["KEY"], endpoint=os.environ["URL"] + "/api/1/", handler="blocking")


def label(parcel):
    return "%s, %s" % (parcel["name"], parcel["street"])


try:
    label({"name": "Ada"})
except KeyError:
    assert rollbar.report_exc_info(), "nothing was sent"
