"""Tasks for tests/pipeline/test_sandbox.py: each frame is an order, and most are bad for the child."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator


def open_task(settings: bytes) -> Callable[[Iterator[bytes]], bytes]:
    """The answer of a group is what its frames answered, joined by commas."""
    if settings == b"bad settings":
        raise ValueError("these settings are bad")

    def obey_all(frames: Iterator[bytes]) -> bytes:
        orders = list(map(obey, frames))
        if b"poison" in orders:  # a crash after the last frame, like one in a prediction for the whole group
            os.kill(os.getpid(), signal.SIGSEGV)
        return b",".join(orders)

    return obey_all


def obey(frame: bytes) -> bytes:
    order, _, argument = frame.partition(b" ")
    match order:
        case b"raise":
            raise ValueError("told to\x1b")
        case b"loop":
            while True:
                pass
        case b"backtrack":
            re.match(r"(a+)+$", "a" * 40 + "b")
        case b"signal":
            os.kill(os.getpid(), int(argument))
        case b"memory":
            return bytes(len(bytearray(int(argument))))
        case b"exit":
            os._exit(int(argument))
        case b"sleep":
            time.sleep(float(argument))
        case b"print":
            print("noise" * 10_000)
            os.write(1, b"noise" * 10_000)
            os.write(2, b"noise")
        case b"burn":
            end = time.process_time() + float(argument)
            while time.process_time() < end:
                pass
        case b"import":
            return os.fsencode(__import__(argument.decode()).__file__ or "")
        case b"environment":
            return os.environ.get(argument.decode(), "unset").encode()
        case b"path":
            return os.pathsep.join(sys.path).encode()
        case b"pid":
            return str(os.getpid()).encode()
        case b"length":
            return str(len(argument)).encode()
        case b"once":  # dies the first time only
            if not os.path.exists(argument):  # noqa: PTH110
                os.close(os.open(argument, os.O_CREAT))
                os.kill(os.getpid(), signal.SIGSEGV)
    return frame
