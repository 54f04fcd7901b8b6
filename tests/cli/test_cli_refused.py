"""What the system refuses is a sentence with the path, the reason and what to type next."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from echo import save_fresh
from picture_folders import write_noise

from i2icli.cli import schema as schema_command
from i2icli.errors import I2IError
from i2icli.pictures import encode
from i2icli.runs.checkpoint import CheckpointState, save_checkpoint
from i2icli.runs.folder import RunFolder, create_folder
from i2icli.system import files
from i2icli.system.faults import advice, is_out_of_memory, refusal
from i2icli.training import samples

FULL, READ_ONLY = errno.ENOSPC, errno.EROFS
linux = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def fault(number, path=None):
    return OSError(number, os.strerror(number), None if path is None else str(path))


def test_a_refusal_names_path_reason_and_what_next(tmp_path):
    said = refusal(fault(FULL, tmp_path / "a.png"))
    assert said == (
        f"{tmp_path / 'a.png'}: No space left on device. Make room, then type the same "
        "command again."
    )
    assert refusal(fault(FULL), path=Path("run"), again="`i2i resume run`").endswith(
        "Make room, then `i2i resume run`."
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (READ_ONLY, "Name another path"),
        (errno.EACCES, "Name another path"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
        (errno.ENOMEM, "ulimit -v"),
        (errno.EIO, "When that is mended, type the same command again."),
    ],
)
def test_advice_fits_the_reason(number, words):
    assert words in advice(fault(number, "/somewhere/a"))


def test_a_home_that_cannot_be_written_is_named_by_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("I2I_HOME", str(tmp_path))
    assert "I2I_HOME" in advice(fault(READ_ONLY, tmp_path / "datasets"))
    assert "I2I_HOME" not in advice(fault(READ_ONLY, tmp_path.parent))


@pytest.mark.parametrize(
    "words",
    ["[enforce fail] can't allocate memory", "failed to map segment from shared object"],
)
def test_memory_that_ran_out_is_known_in_all_words(words):
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError("shapes differ"))


class TestAnyCommand:
    """Faults that no command expects."""

    @pytest.fixture
    def raising(self, i2i, monkeypatch):
        def call(raised):
            def show(_document):
                raise raised

            monkeypatch.setattr(schema_command, "show_document", show)
            return i2i("schema")

        return call

    def test_the_system_s_refusal_is_no_traceback(self, raising):
        code, _, err = raising(fault(FULL, "/x/y"))
        assert (code, err) == (
            1, "error: /x/y: No space left on device. Make room, then type the same command "
            "again.\n",
        )  # fmt: skip

    @pytest.mark.parametrize(
        "raised", [MemoryError(), RuntimeError("can't allocate memory: 8 bytes")]
    )
    def test_too_little_memory_is_no_traceback(self, raising, raised):
        code, _, err = raising(raised)
        assert (code, "there is not enough memory" in err) == (1, True)

    def test_a_fault_of_ours_stays_one(self, raising):
        with pytest.raises(RuntimeError, match="shapes differ"):
            raising(RuntimeError("shapes differ"))


def run_i2i(words, redirections, cwd=None):
    command = f'exec "$0" -m i2icli {words} {redirections}'
    made = subprocess.run(
        ["sh", "-c", command, sys.executable], capture_output=True, text=True, cwd=cwd, check=False
    )
    return made.returncode, made.stdout, made.stderr


@linux
class TestStandardStreams:
    def test_a_full_output_is_a_sentence(self):
        code, _, err = run_i2i("presets list", ">/dev/full")
        assert code == 1
        assert err.startswith("error: standard output: No space left on device.")
        assert err.count("\n") == 1

    def test_a_closed_output_and_a_closed_pipe_are_quiet(self):
        assert run_i2i("presets list", ">&-") == (0, "", "")
        code, out, err = run_i2i("presets list", "| head -1")
        assert (code, out.count("\n"), err) == (0, 1, "")

    @pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full"])
    def test_messages_that_cannot_be_written_stop_nothing(self, tmp_path, stream):
        save_fresh(tmp_path / "run" / "checkpoints" / "last.pt")
        write_noise(tmp_path / "a.png", 9, 8)
        code, _, _ = run_i2i("translate run a.png b.png --device cpu", stream, tmp_path)
        assert code == 0
        assert (tmp_path / "b.png").is_file()

    def test_a_closed_input_lists_nothing(self, tmp_path):
        save_fresh(tmp_path / "run" / "checkpoints" / "last.pt")
        code, _, err = run_i2i("translate run - out --device cpu", "<&-", tmp_path)
        assert (code, "no pictures in -" in err) == (3, True)


class TestDisk:
    """A disk that is full or cannot be written, where it is met."""

    @pytest.fixture
    def refuse(self, monkeypatch):
        """Let no file be finished."""

        def call(number):
            def finish(self):
                raise fault(number, self._path)

            monkeypatch.setattr(files.WholeFile, "finish", finish)

        return call

    @pytest.mark.parametrize(
        ("number", "wanted"), [(FULL, "Make room"), (READ_ONLY, "Name another")]
    )
    def test_a_checkpoint_that_is_no_run_s_does_not_speak_of_resuming(
        self, refuse, tmp_path, number, wanted
    ):
        refuse(number)
        state = CheckpointState(config={}, weights={}, step=0, epoch=1)
        with pytest.raises(I2IError) as caught:
            save_checkpoint(tmp_path / "g.pt", state)
        assert wanted in str(caught.value)
        assert "resume" not in str(caught.value)

    def test_a_run_s_checkpoint_does(self, refuse, tmp_path):
        folder = create_folder(tmp_path / "run", preset="cut")
        folder.write_config({})
        refuse(FULL)
        with pytest.raises(I2IError, match=f"Make room, then `i2i resume {folder.path}`"):
            save_checkpoint(folder.last, CheckpointState(config={}, weights={}, step=0, epoch=1))

    @pytest.mark.parametrize("words", [("data", "demo", "d", "--size", "32", "--count", "1"),
                                       ("data", "prepare", "a", "b", "--out", "d", "--copy"),
                                       ("data", "prepare", "a", "b", "--out", "d", "--resize", "8"),
                                       ("data", "shard", "a", "d")])  # fmt: skip
    def test_commands_that_make_a_folder_name_it_and_leave_nothing(
        self, i2i, here, monkeypatch, words
    ):
        for name in "ab":
            write_noise(here / name / "0.png", 9, 8)
            write_noise(here / name / "1.png", 9, 8)
        replace = Path.rename

        def rename(self, target):
            if Path(target).name == "d":
                raise fault(FULL, self)
            return replace(self, target)

        monkeypatch.setattr(Path, "rename", rename)
        code, _, err = i2i(*words)
        assert (code, "d: No space left on device. Make room" in err) == (1, True)
        assert sorted(entry.name for entry in here.iterdir()) == ["a", "b"]

    def test_a_picture_that_is_not_written_is_named(self, monkeypatch, tmp_path):
        def refuse(path, *_, **__):
            raise fault(READ_ONLY, path)

        monkeypatch.setattr(encode, "write_whole", refuse)
        with pytest.raises(I2IError, match=r"cannot write .*a\.png: Read-only file system\. Name"):
            encode.write_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))


def test_a_run_whose_first_sample_finds_no_room_says_how_to_go_on(
    i2i, here, monkeypatch, picture_root
):
    def refuse(path, *_, **__):
        raise fault(FULL, path)

    monkeypatch.setattr(samples, "write_whole", refuse)
    small = (
        "method.generator.width=4",
        "method.generator.blocks=2",
        "method.discriminator.width=4",
    )
    words = [f"--set={setting}" for setting in (*small, "data.resize=36", "data.crop=32")]
    code, _, err = i2i(
        "train", "--preset", "cyclegan", "--data", picture_root, "--run-dir", "run", "--steps", "1",
        "--device", "cpu", "--set=runtime.workers=0", *words,
    )  # fmt: skip
    assert code == 1
    assert err.endswith("No space left on device. Make room, then `i2i resume run`.\n")


def test_a_run_that_cannot_be_written_is_to_be_copied(tmp_path, monkeypatch):
    folder = create_folder(tmp_path / "run", preset="cut")

    def refuse(*_args, **_options):
        raise fault(READ_ONLY)

    monkeypatch.setattr(Path, "open", refuse)
    said = r"copy it .*`cp -r .*`, then `i2i resume FOLDER/run`"
    with pytest.raises(I2IError, match=said), folder.locked():
        pass


def test_a_folder_of_a_run_that_never_began_is_taken_up(tmp_path, said):
    for parent in (None, tmp_path):
        made = create_folder(tmp_path / "run" if parent is None else None, preset="cut",
                             parent=tmp_path)  # fmt: skip
        with made.locked():
            pass
        os.utime(made.path, (0, 0))
        again = create_folder(tmp_path / "run" if parent is None else None, preset="cut",
                              parent=tmp_path)  # fmt: skip
        assert again.path == made.path
        assert any("taking up" in message for message in said)


def test_a_folder_of_a_run_at_work_is_not(tmp_path):
    first = create_folder(None, preset="cut", parent=tmp_path)
    assert create_folder(None, preset="cut", parent=tmp_path).path != first.path
    assert RunFolder(tmp_path / "cut-002").samples.is_dir()
