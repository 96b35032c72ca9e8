"""Runs a task on untrusted records in a supervised child process, and says which record brought it down.

The child (pipeline/sandbox_child.py) is spawned, never forked, and fed over a pipe: a whole group of frames,
for which it gives one answer. It announces each frame before it starts on it. When it dies, the announced
frame is tried alone in a fresh child, and only if that dies too is the frame set aside: the decision depends
on the frame, not on what ran before it. The other frames of the group are run again without it.

Limits are on CPU time and memory. There is none on wall-clock time, so a loaded machine sets nothing aside;
only a child that for `idle_seconds` neither used CPU time nor asked for any counts as hung (needs /proc, so
Linux).

What a task answers must not depend on how frames are grouped. This protects a run from bad records and from
the bugs of libraries, with an environment that holds no credentials; it is no wall against code made to
break out. A child costs its imports when it starts (0.3 s with pyarrow), a group 0.1 ms, a frame 10 us.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pipeline.sandbox_child import ANSWER, EXIT_MEMORY, LENGTH, POSITION, READY

_CHILD = Path(__file__).with_name("sandbox_child.py")
_TICK_SECONDS = 1.0  # how often a silent child is looked at
_READ_BYTES = 1 << 20
_MAX_DETAIL = 200
# Everything else in the environment stays here: credentials are none of the child's business.
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "NUMBA_CACHE_DIR")
_PASSED_ON += ("SLUICE_CACHE", "NUMBA_BOUNDSCHECK")  # which machine code of ours to load, or where to put it
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one frame may take."""

    cpu_seconds: float = 20.0
    memory_bytes: int = 4 << 30  # address space above that of the idle child
    idle_seconds: float = 300.0  # without CPU time and without asking for any


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a frame has no answer.

    Reasons: sandbox_cpu, sandbox_memory, sandbox_hung, sandbox_signal_<number>, sandbox_exit_<status>; a task
    that raises is sandbox_exit_1, and `detail` says what it raised (at most 200 characters).
    """

    reason: str
    detail: str = ""


@dataclass(slots=True)
class _Exchange:
    """One group on its way: what has been sent, said and announced."""

    request: memoryview
    said: bytearray = field(default_factory=bytearray)
    announced: bytearray = field(default_factory=bytearray)

    def answer(self) -> tuple[bytes, bytes] | None:
        """(kind, content) once it is complete."""
        head = 1 + LENGTH.size
        if len(self.said) < head:
            return None
        end = head + LENGTH.unpack_from(self.said, 1)[0]
        return (bytes(self.said[:1]), bytes(self.said[head:end])) if len(self.said) >= end else None

    def position(self) -> int | None:
        """The frame that was announced last."""
        start = len(self.announced) - POSITION.size
        return POSITION.unpack_from(self.announced, start)[0] if start >= 0 else None


class Sandbox:
    """A child process that runs `task` ("package.module:function") and is started again when it dies.

    The child calls function(settings), which returns the task: an iterator of frames in, bytes out. Raises
    RuntimeError if that fails: it is no frame's fault. `environment` is added to the child's. For one thread.
    """

    def __init__(
        self, task: str, settings: bytes, *, limits: Limits, environment: Mapping[str, str] | None = None
    ) -> None:
        self._task, self._settings, self._limits = task, settings, limits
        self._environment = _child_environment() | dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._announce = -1
        self._is_fresh = False
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child; safe to call twice."""
        if self._child is None:
            return
        child, self._child = self._child, None
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            assert pipe
            pipe.close()
        os.close(self._announce)

    def run(self, frames: list[bytes]) -> list[tuple[list[int], bytes] | tuple[int, Failure]]:
        """Answers for groups of frames and failures of single ones, in order; each index occurs once."""
        answers: list[tuple[list[int], bytes] | tuple[int, Failure]] = []
        pending = [list(range(len(frames)))] if frames else []  # a stack
        while pending:
            indexes = pending.pop()
            was_fresh = self._is_fresh
            died = self._run_group([frames[index] for index in indexes])
            if isinstance(died, bytes):
                answers.append((indexes, died))
                continue
            failure, position = died
            if len(indexes) == 1:
                if was_fresh:
                    answers.append((indexes[0], failure))
                else:
                    pending.append(indexes)
            elif position is None or position >= len(indexes):  # outside all frames: none is accused
                middle = len(indexes) // 2
                pending += [indexes[middle:], indexes[:middle]]
            else:
                others = (indexes[position + 1 :], indexes[:position])
                pending += [group for group in others if group]
                pending.append([indexes[position]])  # at once, while the child is fresh
        return sorted(answers, key=lambda answer: answer[0] if isinstance(answer[0], int) else answer[0][0])

    def _run_group(self, group: list[bytes]) -> bytes | tuple[Failure, int | None]:
        if self._child is None:
            self._start()
        self._is_fresh = False
        lengths_and_frames = [part for frame in group for part in (LENGTH.pack(len(frame)), frame)]
        exchange = _Exchange(memoryview(b"".join([LENGTH.pack(len(group)), *lengths_and_frames])))
        is_hung = self._exchange(exchange)
        answer = exchange.answer()
        if answer and answer[0] == ANSWER:
            return answer[1]
        failure = Failure("sandbox_hung") if is_hung else _explain(self._end(), answer)
        self.close()
        self._start()
        return failure, exchange.position()

    def _start(self) -> None:
        announce, child_announce = os.pipe()
        limits = self._limits
        arguments = [self._task, str(child_announce), repr(limits.cpu_seconds), str(limits.memory_bytes)]
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(_CHILD), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                env=self._environment,
                pass_fds=(child_announce,),
                start_new_session=True,  # Ctrl-C at the terminal must not look like a record's crash
            )
        except OSError:
            os.close(announce)
            raise
        finally:
            os.close(child_announce)
        self._announce = announce
        assert self._child.stdin and self._child.stdout
        for pipe in (self._child.stdin.fileno(), self._child.stdout.fileno(), announce):
            os.set_blocking(pipe, False)
        exchange = _Exchange(memoryview(LENGTH.pack(len(self._settings)) + self._settings))
        is_hung = self._exchange(exchange)
        answer = exchange.answer()
        if answer is None or answer[0] != READY:
            failure = Failure("sandbox_hung") if is_hung else _explain(self._end(), answer)
            self.close()
            raise RuntimeError(f"{self._task} does not start: {failure.reason} {failure.detail}")
        self._is_fresh = True

    def _exchange(self, exchange: _Exchange) -> bool:
        try:
            is_hung = self._converse(exchange)
            _receive(self._announce, exchange.announced)  # not sooner: to wake up for each frame costs 40 us
            return is_hung
        except BaseException:  # Ctrl-C, say: the pipes are in the middle of a group and no use any more
            self.close()
            raise

    def _converse(self, exchange: _Exchange) -> bool:
        """Send and receive until the answer is complete or the child is dead (False) or hung (True)."""
        child = self._child
        assert child and child.stdin and child.stdout
        requests, answers = child.stdin.fileno(), child.stdout.fileno()
        poll = select.poll()
        poll.register(requests, select.POLLOUT)
        poll.register(answers, select.POLLIN)
        idle, last_seen, seen_at = 0.0, None, time.monotonic()
        tick = min(_TICK_SECONDS, self._limits.idle_seconds / 4)
        while not exchange.answer():
            for ready, _ in poll.poll(tick * 1000):
                if ready == requests:
                    exchange.request = _send(requests, exchange.request)
                    if not exchange.request:
                        poll.unregister(requests)
                elif not _receive(answers, exchange.said):
                    return False
            now = time.monotonic()
            if now - seen_at < tick:
                continue
            _receive(self._announce, exchange.announced)  # 16,000 frames fill the pipe and block the child
            if child.poll() is not None:  # its own children may hold the pipes open
                _receive(answers, exchange.said)
                return False
            seen = _look_at(child.pid)
            # Time in which this process itself did not run (a stopped job) is not counted against the child.
            idle = idle + min(now - seen_at, 2 * tick) if seen is not None and seen == last_seen else 0.0
            last_seen, seen_at = seen, now
            if idle >= self._limits.idle_seconds:
                return True
        return False

    def _end(self) -> int:
        """Status of a child that has closed its pipes, which it does by dying."""
        assert self._child
        try:
            return self._child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()


def _send(pipe: int, rest: memoryview) -> memoryview:
    try:
        return rest[os.write(pipe, rest[:_READ_BYTES]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:  # dead; the other pipes tell the rest
        return memoryview(b"")


def _receive(pipe: int, received: bytearray) -> bool:
    """Append what the pipe holds; False at its end."""
    try:
        while chunk := os.read(pipe, _READ_BYTES):
            received += chunk
    except BlockingIOError:
        return True
    return False


def _look_at(pid: int) -> tuple[bytes, bytes] | None:
    """(user, system) CPU ticks of a waiting process; None if it runs, wants to, reads a disk or is unseen."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    state, user, system = after_name[0], after_name[11], after_name[12]
    return None if state in (b"R", b"D") else (user, system)


def _explain(status: int, answer: tuple[bytes, bytes] | None) -> Failure:
    detail = answer[1].decode("utf-8", "replace")[:_MAX_DETAIL] if answer else ""
    if status in (-signal.SIGPROF, -signal.SIGXCPU):
        return Failure("sandbox_cpu", detail)
    if status == EXIT_MEMORY:
        return Failure("sandbox_memory", detail)
    return Failure(f"sandbox_signal_{-status}" if status < 0 else f"sandbox_exit_{status}", detail)


def _child_environment() -> dict[str, str]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # An empty entry means the folder that the user stands in: it goes. A relative one is made whole.
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    search = os.pathsep.join(str(Path(entry).absolute()) for entry in entries if entry)
    # Arrow's own pool reserves a GiB of address space when it first grows, which may be all that is left.
    fixed = {"PYTHONPATH": search, "PYTHONHASHSEED": "0", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    return environment | dict.fromkeys(_ONE_THREAD, "1") | fixed
