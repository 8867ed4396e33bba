"""Flawless's own server, of its package, without its sockets.

`flawless_server.py lists CFG`: posts the forms on stdin ([[page, form], ...] as JSON) to its pages, which keep its lists.
`flawless_server.py mails CFG`: records the reports on stdin (a list of RecordErrorRequest as JSON), one after the other,
and prints for each whom it mails and what stands on top of the mail: [[[address, ...], top] or null, ...].
`flawless_server.py settings CFG`: prints its settings as it has read them.
"""

import configparser
import email
import inspect
import json
import subprocess
import sys
import urllib.parse

# It was written for a Python that still had these.
inspect.getargspec = inspect.getfullargspec
configparser.SafeConfigParser = configparser.ConfigParser

import flawless.lib.config  # noqa: E402

flawless.lib.config.init_config(sys.argv[2])

from flawless.server import service, webapp  # noqa: E402
from flawless.server.api import ttypes  # noqa: E402


class AtOnce:
    """A thread that is no thread; the one that saves every five minutes never begins."""

    def __init__(self, target, args=()):
        self.run = (lambda: target(*args)) if args else lambda: None

    def start(self):
        self.run()


class Mailbox:
    """The mail server."""

    sent = []

    def __init__(self, host, port):
        pass

    def sendmail(self, sender, recipients, text):
        top = email.message_from_string(text).get_payload(decode=True).decode().split("<br />")[0]
        self.sent.append([recipients, top])

    def starttls(self):
        pass

    def login(self, user, password):
        pass

    def quit(self):
        pass


class Forgetful(dict):
    """Instead of the memory for which two mails about one line in five minutes are one."""

    def __contains__(self, key):
        return False


def git(arguments, **pipes):
    # Bytes are more than it can read.
    return subprocess.Popen(arguments, text=True, **pipes)


def request(report):
    report["traceback"] = [ttypes.StackLine(**line) for line in report["traceback"]]
    return ttypes.RecordErrorRequest(**report)


if sys.argv[1] == "settings":
    json.dump(vars(flawless.lib.config.get()), sys.stdout)
elif sys.argv[1] == "lists":
    pages = webapp.FlawlessWebServiceHandler()
    for page, form in json.load(sys.stdin):
        getattr(pages, page)(urllib.parse.urlencode(form))
else:
    server = service.FlawlessThriftServiceHandler(
        thread_cls=AtOnce, open_process_func=git, smtp_client_cls=Mailbox
    )
    server.emailed_errors_cache = Forgetful()
    answers = []
    for report in json.load(sys.stdin):
        before = len(Mailbox.sent)
        server.record_error(request(report))
        answers.append(Mailbox.sent[before] if len(Mailbox.sent) > before else None)
    json.dump(answers, sys.stdout)
