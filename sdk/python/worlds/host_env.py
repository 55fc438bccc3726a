"""What the entries of the three worlds share: the host behind `pintle.env` and behind the parts of the standard library that would ask
WASI, which is not there; and exceptions that leave their traceback in the plugin's log before the component traps."""

import functools
import io
import os
import random
import sys
import time

from componentize_py_types import Err
from wit_world.imports import env as wit

from pintle import env

LEVELS = {"debug": wit.Level.DEBUG, "info": wit.Level.INFO, "warn": wit.Level.WARN, "error": wit.Level.ERROR}


class Host:
    now = staticmethod(wit.now)
    random = staticmethod(wit.random)
    config = staticmethod(wit.config)

    @staticmethod
    def log(level, message):
        wit.log(LEVELS[level], message)


class Log(io.TextIOBase):
    """What is printed goes to the plugin's log, line by line."""

    def __init__(self, level):
        self.level = level
        self.rest = ""

    def writable(self):
        return True

    def write(self, text):
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            wit.log(self.level, line)
        return len(text)


env.use(Host())
sys.stdout, sys.stderr = Log(wit.Level.INFO), Log(wit.Level.WARN)
os.urandom = wit.random
time.time_ns = time.monotonic_ns = time.perf_counter_ns = wit.now
time.time = time.monotonic = time.perf_counter = lambda: wit.now() / 1e9
# `random` was seeded when the component was built; each instance draws its own seed before its first call.
seeded = False


def seed():
    global seeded
    if not seeded:
        seeded = True
        random.seed(wit.random(32))


def told(export):
    """An export whose exceptions are told before they end the call. `Err` is an answer, not a fault."""

    @functools.wraps(export)
    def call(*args):
        seed()
        try:
            return export(*args)
        except Err:
            raise
        except BaseException as error:
            wit.log(wit.Level.ERROR, told_of(error))
            raise

    return call


def told_of(error):
    """A traceback without source lines: the module `traceback` would look for the files, and there are none."""
    lines = ["Traceback (most recent call last):"]
    at = error.__traceback__.tb_next
    while at is not None:
        code = at.tb_frame.f_code
        # Folders are numbered when the component is built: /0/policy.py.
        file = code.co_filename.lstrip("/").partition("/")[2] or code.co_filename
        lines.append(f"  {file}, line {at.tb_lineno}, in {code.co_name}")
        at = at.tb_next
    return "\n".join([*lines, f"{type(error).__name__}: {error}"])
