import os

import flawless.client
from flawless.client.decorators import wrap_function

exec(os.environ["SNIPPET"])


def count(shelf):
    return int(shelf["books"])


@wrap_function(reraise_exception=False)
def job():
    return count({"books": "many"})


job()
