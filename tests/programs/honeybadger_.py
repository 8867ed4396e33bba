from honeybadger import honeybadger

honeybadger.configure(environment="production", force_sync=True)


def total(cart):
    return sum(item.price for item in cart)


try:
    total([None])
except AttributeError as error:
    honeybadger.notify(error)
