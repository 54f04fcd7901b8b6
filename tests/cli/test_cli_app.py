"""The command line as a whole: help, errors, exit codes, colours."""

import json
import os
import shlex
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from i2icli import __version__
from i2icli.cli import app as app_module
from i2icli.cli.app import app, main
from i2icli.errors import ConfigError, DataError, DivergedError, I2IError, Interrupted, WeightsError


def i2i(*arguments, **environment):
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "i2icli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def commands(group=None, path=()):
    """Return every command with its path, groups too."""
    group = group or typer.main.get_command(app)
    found = [(path, group)]
    for name, command in getattr(group, "commands", {}).items():
        found += commands(command, (*path, name))
    return found


COMMANDS = commands()


def test_help_imports_no_torch():
    code = (
        "import sys\nfrom i2icli.cli.app import main\nsys.argv = ['i2i', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'torchvision', 'pydantic', 'numpy', 'PIL', 'scipy'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in output.stdout
    assert "train" in output.stdout


@pytest.mark.parametrize(
    "path", [path for path, command in COMMANDS if path], ids=lambda path: " ".join(path)
)
def test_help_of_every_command_answers(path):
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


@pytest.mark.parametrize(
    ("path", "command"),
    [(path, command) for path, command in COMMANDS if not hasattr(command, "commands")],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_help_shows_examples_that_parse(path, command):
    _, _, listed = (command.epilog or "").partition("Examples:\n")
    examples = [line.strip() for line in listed.splitlines() if line.strip()]
    assert 1 <= len(examples) <= 4
    for example in examples:
        words = shlex.split(example)
        assert tuple(words[: len(path) + 1]) == ("i2i", *path)
        # Parses options and arguments as the command would; raises a usage error if it cannot.
        command.make_context(example, words[len(path) + 1 :])


def test_version_is_printed():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"i2i {__version__}\n")


def test_no_arguments_show_the_help():
    output = i2i()
    assert output.returncode == 2
    assert "Commands:" in output.stdout + output.stderr


@pytest.mark.parametrize(
    ("words", "nearest"), [(("trian",), "'train'"), (("presets", "show", "cut", "--ful"), "--full")]
)
def test_unknown_word_exits_2_and_names_the_nearest(words, nearest):
    output = i2i(*words)
    assert output.returncode == 2
    assert nearest in output.stderr
    assert "Traceback" not in output.stderr


def test_configuration_fault_exits_2_with_a_sentence_on_stderr():
    output = i2i("presets", "show", "cutt")
    assert output.returncode == 2
    assert output.stdout == ""
    assert output.stderr == (
        "error: no preset is called 'cutt'; did you mean 'cut'? "
        "`i2i presets list` shows them all. Type `i2i presets show cut`.\n"
    )


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (I2IError, 1),
        (ConfigError, 2),
        (DataError, 3),
        (WeightsError, 4),
        (DivergedError, 5),
        (Interrupted, 75),
        (KeyboardInterrupt, 130),
    ],
)
def test_error_ends_with_its_exit_code(kind, code, monkeypatch, capsys):
    def fail():
        raise kind("a sentence")

    monkeypatch.setattr(app_module, "app", fail)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    if kind is not KeyboardInterrupt:
        expected = "a sentence\n" if kind is Interrupted else "error: a sentence\n"
        assert capsys.readouterr() == ("", expected)


def test_error_of_our_own_is_not_hidden(monkeypatch):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(app_module, "app", fail)
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("no_colour", "is_red"), [("", True), ("1", False)])
def test_error_is_red_on_a_terminal_unless_no_color_is_set(no_colour, is_red):
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_colour, "TERM": "xterm"}
    command = [sys.executable, "-m", "i2icli", "presets", "show", "cutt"]
    subprocess.run(command, stderr=theirs, stdout=theirs, check=False, env=environment)
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert "error: no preset is called 'cutt'" in shown
    assert ("\x1b[31m" in shown) is is_red


def test_closed_pipe_ends_quietly():
    process = subprocess.Popen(
        [sys.executable, "-m", "i2icli", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


def test_python_m_answers_like_the_console_script(tmp_path):
    output = i2i("presets", "list", "--json")
    assert output.returncode == 0
    assert output.stderr == ""
    assert "cut" in [preset["name"] for preset in json.loads(output.stdout)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("no_colour", ["", "1"])
def test_no_escapes_reach_a_terminal_that_wants_none(no_colour, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_colour, "TERM": "xterm"}
    words = ("data", "demo", str(tmp_path / "out"), "--size", "32", "--count", "1")
    command = [sys.executable, "-m", "i2icli", *words]
    subprocess.run(command, stderr=theirs, stdout=theirs, check=True, env=environment)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert ("\x1b" in shown) == (not no_colour)
