"""The child's side of pipeline/sandbox.py: reads a group of frames, works on it under limits, answers.

Started as a script (`python -P pipeline/sandbox_child.py <task> <announce fd> <CPU seconds> <memory
bytes>`), in "/", so that nothing in the folder where the user happens to stand can be imported in place of
the real modules. Standard input and output carry the protocol; both are moved to other descriptors before
any foreign code runs. Linux and macOS; without /proc (macOS) there is no memory limit.
"""

import importlib
import math
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

LENGTH = struct.Struct("<Q")
POSITION = struct.Struct("<I")
READY, ANSWER, ERROR = b"R", b"A", b"E"  # what the child says, before LENGTH and that many bytes
EXIT_ERROR, EXIT_MEMORY = 1, 77  # 77 is this protocol's own
_MAX_ERROR_CHARACTERS = 2000


def main() -> None:
    """Serve one parent until it closes the pipe."""
    task_name, announce, cpu_seconds, memory_bytes = sys.argv[1:]
    requests, answers = _take_over_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        task = _open_task(task_name, _read_frame(requests))
        _limit_memory(int(memory_bytes))
    except BaseException as error:
        _say(answers, ERROR, _describe(error))
        os._exit(EXIT_ERROR)
    _say(answers, READY, b"")
    while header := requests.read(LENGTH.size):
        frames = _read_group(requests, LENGTH.unpack(header)[0])
        _answer_group(task, frames, answers, int(announce), float(cpu_seconds))


def _take_over_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    return open(requests, "rb"), open(answers, "wb")  # noqa: PTH123 (they are descriptors)


def _open_task(name: str, settings: bytes) -> Callable[[Iterator[bytes]], bytes]:
    # The package that the parent uses, also where it is not installed but imported from a checkout.
    root = str(Path(__file__).parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)(settings)


def _limit_memory(memory_bytes: int) -> None:
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    except OSError:
        return
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes)


def _limit(kind: int, soft: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _read_group(requests: BinaryIO, count: int) -> list[bytes]:
    try:
        return [_read_frame(requests) for _ in range(count)]
    except MemoryError:
        os._exit(EXIT_MEMORY)


def _read_frame(requests: BinaryIO) -> bytes:
    length = LENGTH.unpack(_read_exactly(requests, LENGTH.size))[0]
    return _read_exactly(requests, length)


def _read_exactly(requests: BinaryIO, length: int) -> bytes:
    content = requests.read(length)
    if len(content) != length:
        os._exit(0)  # the parent is gone
    return content


def _answer_group(
    task: Callable[[Iterator[bytes]], bytes],
    frames: list[bytes],
    answers: BinaryIO,
    announce: int,
    cpu_seconds: float,
) -> None:
    try:
        answer = task(_announced(frames, announce, cpu_seconds))
        signal.setitimer(signal.ITIMER_PROF, 0)
        _say(answers, ANSWER, answer)
    except MemoryError:
        os._exit(EXIT_MEMORY)
    except BaseException as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _say(answers, ERROR, _describe(error))
        os._exit(EXIT_ERROR)


def _announced(frames: list[bytes], announce: int, cpu_seconds: float) -> Iterator[bytes]:
    """Each frame, after its position has been told and its CPU time has begun to count."""
    for position, frame in enumerate(frames):
        _begin(announce, position, cpu_seconds)
        yield frame
    _begin(announce, len(frames), cpu_seconds)  # what the task does after the last frame


def _begin(announce: int, position: int, cpu_seconds: float) -> None:
    try:
        os.write(announce, POSITION.pack(position))
    except OSError:
        os._exit(0)  # the parent is gone
    # CPU time of all threads; SIGPROF ends the process. RLIMIT_CPU, in whole seconds, is for a task that
    # stops the timer.
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + 2 * cpu_seconds) + 1)


def _say(answers: BinaryIO, kind: bytes, content: bytes) -> None:
    try:
        answers.write(kind + LENGTH.pack(len(content)))
        answers.write(content)
        answers.flush()
    except OSError:
        os._exit(0)  # the parent is gone


def _describe(error: BaseException) -> bytes:
    text = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARACTERS]
    return "".join(character if character.isprintable() else "?" for character in text).encode()


if __name__ == "__main__":
    main()
