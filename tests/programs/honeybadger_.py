import os

from honeybadger import honeybadger

honeybadger.configure(
    api_key=os.environ["KEY"], endpoint=os.environ["URL"], environment="production", force_sync=True
)


def total(cart):
    return sum(item.price for item in cart)


try:
    total([None])
except AttributeError as error:
    honeybadger.notify(error)
