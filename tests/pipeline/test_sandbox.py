import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.sandbox import Failure, Limits, Sandbox

ROOT = Path(__file__).resolve().parents[2]
TASKS = {"PYTHONPATH": str(Path(__file__).parent)}
TASK = "sandbox_tasks:open_task"
LIMITS = Limits(cpu_seconds=0.3, memory_bytes=256 << 20, idle_seconds=1.2)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(TASK, b"", limits=LIMITS, environment=TASKS) as sandbox:
        yield sandbox


def flatten(answers: list) -> dict[int, bytes | str]:
    """Index -> answer or reason; asserts that each index occurs once and in order of groups."""
    found: dict[int, bytes | str] = {}
    for where, answer in answers:
        if isinstance(answer, Failure):
            assert where not in found
            found[where] = answer.reason
            continue
        for index, said in zip(where, answer.split(b","), strict=True):
            assert index not in found
            found[index] = said
    firsts = [where if isinstance(where, int) else where[0] for where, _ in answers]
    assert firsts == sorted(firsts)
    return dict(sorted(found.items()))


def test_healthy_groups_give_one_answer_each(sandbox: Sandbox) -> None:
    assert sandbox.run([]) == []
    assert sandbox.run([b"a", b"", b"c"]) == [([0, 1, 2], b"a,,c")]
    first, second = sandbox.run([b"pid"]), sandbox.run([b"pid"])
    assert first == second


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (b"raise", "sandbox_exit_1"),
        (b"loop", "sandbox_cpu"),
        (b"backtrack", "sandbox_cpu"),
        (b"signal 11", "sandbox_signal_11"),
        (b"signal 9", "sandbox_signal_9"),
        (b"memory 1000000000", "sandbox_memory"),
        (b"exit 3", "sandbox_exit_3"),
        (b"exit 0", "sandbox_exit_0"),
        (b"sleep 1000", "sandbox_hung"),
    ],
)
def test_a_bad_frame_is_set_aside_and_no_other(sandbox: Sandbox, order: bytes, reason: str) -> None:
    assert flatten(sandbox.run([b"a", order, b"b"])) == {0: b"a", 1: reason, 2: b"b"}
    assert sandbox.run([b"after"]) == [([0], b"after")]


def test_bad_frames_at_the_ends_alone_and_together(sandbox: Sandbox) -> None:
    frames = [b"exit 3", b"exit 4", b"a", b"b", b"signal 11", b"c", b"raise"]
    found = flatten(sandbox.run(frames))
    assert found == {
        0: "sandbox_exit_3",
        1: "sandbox_exit_4",
        2: b"a",
        3: b"b",
        4: "sandbox_signal_11",
        5: b"c",
        6: "sandbox_exit_1",
    }
    assert flatten(sandbox.run([b"exit 5"])) == {0: "sandbox_exit_5"}


def test_what_the_task_raised_is_the_detail(sandbox: Sandbox) -> None:
    assert sandbox.run([b"raise"]) == [(0, Failure("sandbox_exit_1", "ValueError: told to?"))]


def test_a_frame_that_dies_only_in_company_is_not_set_aside(sandbox: Sandbox, tmp_path: Path) -> None:
    frames = [b"a", b"once " + os.fsencode(tmp_path / "mark"), b"b"]
    assert flatten(sandbox.run(frames)) == dict(enumerate(frames))


def test_a_crash_after_the_last_frame_is_found_by_halving(sandbox: Sandbox) -> None:
    frames = [b"%d" % number for number in range(9)]
    frames[6] = b"poison"
    assert flatten(sandbox.run(frames)) == dict(enumerate(frames)) | {6: "sandbox_signal_11"}


def test_the_cpu_limit_is_for_each_frame(sandbox: Sandbox) -> None:
    frames = [b"burn 0.15"] * 6  # 0.9 s together, three times the limit
    assert sandbox.run(frames) == [(list(range(6)), b",".join(frames))]


def test_waiting_shorter_than_idle_seconds_is_no_failure(sandbox: Sandbox) -> None:
    assert sandbox.run([b"sleep 0.5"]) == [([0], b"sleep 0.5")]


def test_a_loaded_machine_sets_nothing_aside() -> None:
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    limits = Limits(cpu_seconds=0.2, idle_seconds=0.3)
    try:
        with Sandbox(TASK, b"", limits=limits, environment=TASKS) as sandbox:
            for _ in range(20):
                assert sandbox.run([b"burn 0.06"]) == [([0], b"burn 0.06")]
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def test_prints_do_not_reach_the_protocol(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert sandbox.run([b"print", b"a"]) == [([0, 1], b"print,a")]
    assert capfd.readouterr() == ("", "")


def test_a_big_group_and_many_frames_do_not_block() -> None:
    with Sandbox(TASK, b"", limits=Limits(), environment=TASKS) as sandbox:
        big = b"x" * (16 << 20)
        [(_, answer)] = sandbox.run([big] * 4)
        assert isinstance(answer, bytes) and len(answer) == 4 * len(big) + 3
        many = [b""] * 40_000  # more announcements than a pipe holds
        assert sandbox.run(many) == [(list(range(40_000)), b"," * 39_999)]


def test_a_group_beyond_the_memory_limit_is_divided(sandbox: Sandbox) -> None:
    frames = [b"length " + b"x" * (100 << 20)] * 4
    found = flatten(sandbox.run(frames))
    assert found == dict.fromkeys(range(4), b"%d" % (100 << 20))


def test_settings_that_fail_are_not_blamed_on_a_frame() -> None:
    with pytest.raises(RuntimeError, match="ValueError: these settings are bad"):
        Sandbox(TASK, b"bad settings", limits=LIMITS, environment=TASKS)
    with pytest.raises(RuntimeError, match="no_such_module"):
        Sandbox("no_such_module:open_task", b"", limits=LIMITS)


def test_close_twice_and_work_after_close(sandbox: Sandbox) -> None:
    sandbox.close()
    sandbox.close()
    assert sandbox.run([b"a"]) == [([0], b"a")]


def test_an_interrupted_group_leaves_nothing_behind(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(pid: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pipeline.sandbox._look_at", interrupt)
        sandbox.run([b"sleep 5", b"stale"])
    assert sandbox.run([b"fresh"]) == [([0], b"fresh")]


def test_a_child_killed_between_groups_is_started_again(sandbox: Sandbox) -> None:
    [(_, pid)] = sandbox.run([b"pid"])
    assert isinstance(pid, bytes)
    os.kill(int(pid), signal.SIGKILL)
    assert flatten(sandbox.run([b"a", b"b"])) == {0: b"a", 1: b"b"}


def test_modules_where_the_user_stands_shadow_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pipeline", "model", "train", "json", "resource", "sandbox_tasks"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    with Sandbox(TASK, b"", limits=LIMITS, environment=TASKS) as sandbox:
        [(_, found)] = sandbox.run([b"import pipeline.sandbox", b"import json", b"path"])
    assert isinstance(found, bytes)
    assert str(tmp_path) not in found.decode()
    assert found.decode().startswith(str(ROOT / "pipeline"))


def test_the_child_sees_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Sandbox(TASK, b"", limits=LIMITS, environment=TASKS) as sandbox:
        assert sandbox.run([b"environment AWS_SECRET_ACCESS_KEY"]) == [([0], b"unset")]


def test_the_child_ends_with_its_parent() -> None:
    parent_code = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pipeline.sandbox import Limits, Sandbox\n"
        f"sandbox = Sandbox({TASK!r}, b'', limits=Limits(), environment={TASKS!r})\n"
        "print(sandbox.run([b'pid'])[0][1].decode(), flush=True)\n"
        "sandbox.run([b'sleep 0.5', b'sleep 1000'])\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        time.sleep(0.1)  # the first sleep has begun; the second must not
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
