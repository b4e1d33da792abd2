"""The instance id in real files, with real locks: who inherits it, and who must not."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker.edges.kafka.instance import FILE_NAME, Instance, claim

PROCESS_SECONDS_MAX = 30.0
CLAIM_AND_STAY = """
import sys
from pathlib import Path
from worker.edges.kafka.instance import claim
instance = claim(Path(sys.argv[1]))
print(instance.id, instance.is_inherited, flush=True)
sys.stdin.read()
"""


@contextmanager
def other_worker(
    state_dir: Path, preexec: Callable[[], None] | None = None
) -> Iterator[tuple[subprocess.Popen[str], Instance]]:
    """A process that has claimed the identity and lives until it is killed.

    Yields it, and what it was given.
    """
    command = [sys.executable, "-c", CLAIM_AND_STAY, str(state_dir)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec,
    ) as process:
        try:
            assert process.stdout is not None
            instance_id, is_inherited = process.stdout.readline().split()
            yield (
                process,
                Instance(instance_id, is_inherited=is_inherited == "True", locked_file=None),
            )
        finally:
            process.kill()


def left_behind(state_dir: Path) -> str:
    """The id of a predecessor that is gone; its file is in the directory."""
    instance = claim(state_dir)
    instance.release()
    return instance.id


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {record.levelname for record in caplog.records} <= {"WARNING"}
    assert {record.name for record in caplog.records} <= {"worker.kafka"}
    return [record.message for record in caplog.records]


class TestInheriting:
    def test_a_successor_has_the_id_of_the_predecessor(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = claim(tmp_path)
        first.release()
        second = claim(tmp_path)
        assert (first.is_inherited, second.is_inherited) == (False, True)
        assert second.id == first.id
        second.release()
        assert events(caplog) == []

    def test_a_predecessor_that_was_killed_is_inherited_from(self, tmp_path: Path) -> None:
        with other_worker(tmp_path) as (process, predecessor):
            process.kill()
            process.wait(PROCESS_SECONDS_MAX)
            instance = claim(tmp_path)
        assert (instance.id, instance.is_inherited) == (predecessor.id, True)
        instance.release()

    def test_a_chain_of_successors_keeps_the_id(self, tmp_path: Path) -> None:
        assert len({left_behind(tmp_path) for _ in range(5)}) == 1

    def test_without_a_directory_each_id_is_fresh_and_nothing_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.chdir(tmp_path)
        instances = [claim(None), claim(None)]
        assert len({instance.id for instance in instances}) == 2
        assert not any(instance.is_inherited for instance in instances)
        assert list(tmp_path.iterdir()) == []
        assert events(caplog) == []

    def test_an_id_is_short_and_fit_for_a_client_id(self) -> None:
        assert len(claim(None).id) == 16
        assert int(claim(None).id, 16) >= 0


class TestTheLock:
    def test_while_another_process_lives_the_id_is_its_own(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with other_worker(tmp_path) as (_, other):
            instance = claim(tmp_path)
            assert instance.id != other.id
            assert not instance.is_inherited
            assert events(caplog) == ["instance_id_in_use"]
            # Nor does the one that came too late let go of the other's lock, or write over its
            # file.
            instance.release()
            assert claim(tmp_path).id != other.id
        assert left_behind(tmp_path) == other.id

    def test_another_process_is_kept_out_while_this_one_lives(self, tmp_path: Path) -> None:
        instance = claim(tmp_path)
        with other_worker(tmp_path) as (_, other):
            assert other.id != instance.id
            assert not other.is_inherited
        instance.release()

    def test_it_holds_within_one_process_too(self, tmp_path: Path) -> None:
        first, second = claim(tmp_path), claim(tmp_path)
        assert first.id != second.id
        assert not second.is_inherited
        first.release()

    def test_it_outlives_a_forgotten_reference(self, tmp_path: Path) -> None:
        script = (
            "import gc, sys; from pathlib import Path; from worker.edges.kafka.instance "
            "import claim; d = Path(sys.argv[1]);"
        )
        script += "claim(d); gc.collect(); print(claim(d).is_inherited)"
        answer = subprocess.run(
            [sys.executable, "-c", script, tmp_path], capture_output=True, check=True, text=True
        )
        assert answer.stdout.strip() == "False"

    def test_releasing_twice_releases_nobody_elses_file(self, tmp_path: Path) -> None:
        first = claim(tmp_path)
        first.release()
        # It most likely has the very descriptor number that the first one had.
        second = claim(tmp_path)
        first.release()
        assert not claim(tmp_path).is_inherited
        second.release()


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _go_on_too_long(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def _huge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**40)


def _other_host(path: Path) -> None:
    content = path.read_bytes()
    own = socket.gethostname().encode()
    assert content.endswith(own + b"\n")
    path.write_bytes(content.removesuffix(own + b"\n") + own + b"-other\n")


def _other_device(path: Path) -> None:
    instance_id, device, inode, host = path.read_bytes().split(b" ")
    assert int(device) == path.stat().st_dev
    path.write_bytes(b" ".join((instance_id, b"%d" % (int(device) + 1), inode, host)))


def _copied_over(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    copy.replace(path)


class TestContentThatIsNotOurs:
    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda path: path.write_bytes(b"\n"), id="a line end"),
            pytest.param(lambda path: path.write_bytes(b"0123456789abcdef\n"), id="an id alone"),
            pytest.param(lambda path: path.write_bytes(path.read_bytes().upper()), id="capitals"),
            pytest.param(
                lambda path: path.write_bytes(b"\0" * 64), id="zeros, as after a crash of the host"
            ),
            pytest.param(lambda path: path.write_bytes(os.urandom(4096)), id="random bytes"),
            pytest.param(lambda path: path.write_bytes(b"x" * 2_000_000), id="a long line"),
            pytest.param(_huge, id="a terabyte"),
            pytest.param(_cut_short, id="without its last byte"),
            pytest.param(_go_on_too_long, id="with one byte more"),
            pytest.param(_other_host, id="of another host"),
            pytest.param(_other_device, id="of another device"),
            pytest.param(_copied_over, id="a copy put in its place"),
        ],
    )
    def test_a_fresh_id_is_written_in_its_place(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[Path], object]
    ) -> None:
        predecessor = left_behind(tmp_path)
        change(tmp_path / FILE_NAME)
        instance = claim(tmp_path)
        assert not instance.is_inherited
        assert instance.id not in (predecessor, "0123456789abcdef")
        assert events(caplog) == ["instance_id_replaced"]
        instance.release()
        assert left_behind(tmp_path) == instance.id

    def test_no_beginning_of_a_valid_file_is_valid(self, tmp_path: Path) -> None:
        predecessor = left_behind(tmp_path)
        path = tmp_path / FILE_NAME
        content = path.read_bytes()
        for length in range(len(content)):
            path.write_bytes(content[:length])
            instance = claim(tmp_path)
            assert (instance.is_inherited, instance.id == predecessor) == (False, False), length
            instance.release()

    def test_two_workers_with_copies_of_one_directory_have_different_ids(
        self, tmp_path: Path
    ) -> None:
        original = tmp_path / "original"
        original.mkdir()
        instance = claim(original)
        shutil.copytree(original, tmp_path / "copy")
        with other_worker(tmp_path / "copy") as (_, other):
            assert other.id != instance.id
            assert not other.is_inherited
        instance.release()


class TestNoUsableFile:
    @pytest.mark.parametrize(
        "make",
        [
            pytest.param(lambda path: path.mkdir(), id="a directory"),
            pytest.param(lambda path: os.mkfifo(path), id="a FIFO"),
            pytest.param(
                lambda path: path.symlink_to("/dev/zero"), id="a link to an endless device"
            ),
            pytest.param(
                lambda path: path.symlink_to(path.with_name("elsewhere")), id="a link to nothing"
            ),
        ],
    )
    def test_something_else_in_its_place_is_left_alone(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
    ) -> None:
        make(tmp_path / FILE_NAME)
        kind = (tmp_path / FILE_NAME).lstat().st_mode
        assert claim(tmp_path).id != claim(tmp_path).id
        assert not claim(tmp_path).is_inherited
        assert set(events(caplog)) == {"instance_id_not_kept"}
        assert [path.lstat().st_mode for path in tmp_path.iterdir()] == [kind]

    @pytest.mark.parametrize(
        "state_dir",
        [
            pytest.param(lambda path: path / "missing", id="missing"),
            pytest.param(lambda path: path / "file", id="a file"),
            pytest.param(lambda path: Path("/proc/self"), id="unwritable, even for root"),
            pytest.param(lambda path: Path("with\0nul"), id="no path at all"),
            pytest.param(lambda path: path / ("long" * 100), id="too long a name"),
        ],
    )
    def test_a_directory_that_cannot_be_used_costs_only_the_inheritance(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, state_dir: Callable[[Path], Path]
    ) -> None:
        (tmp_path / "file").touch()
        first, second = claim(state_dir(tmp_path)), claim(state_dir(tmp_path))
        assert first.id != second.id
        assert (first.is_inherited, second.is_inherited) == (False, False)
        assert events(caplog) == ["instance_id_not_kept"] * 2
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_a_file_that_cannot_be_written_gives_a_fresh_id_each_time(self, tmp_path: Path) -> None:
        def forbid_writing() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

        given = []
        for _ in range(2):
            with other_worker(tmp_path, forbid_writing) as (process, instance):
                assert not instance.is_inherited
                given.append(instance.id)
                process.kill()
                assert process.stderr is not None
                assert "instance_id_not_kept" in process.stderr.read()
        assert len(set(given)) == 2
        assert left_behind(tmp_path) not in given
