"""Mistyped commands are answered with the one that was meant, to copy."""

import shlex

import pytest
from command_line import run_i2i
from PIL import Image

from i2icli.cli.mistyped import next_command
from i2icli.errors import I2IError


@pytest.mark.parametrize(
    ("words", "wrong", "right"),
    [
        ("trian --preset cut", "'trian'", "train --preset cut"),
        ("train --presett cut", "--presett", "train --preset cut"),
        ("train --presett=cut --steps 2", "--presett", "train --preset=cut --steps 2"),
        ("train --preset cutt --steps 2", "'cutt'", "train --preset cut --steps 2"),
        ("train --preset=cutt", "'cutt'", "train --preset=cut"),
        ("presets shw cut", "'shw'", "presets show cut"),
        ("presets show cutt", "'cutt'", "presets show cut"),
        ("weights get vgg19", "'vgg19'", "weights get vgg16"),
        ("data get hors2zebra", "'hors2zebra'", "data get horse2zebra"),
        ("cache clean feature", "'feature'", "cache clean features"),
        (
            "train --preset cut --set method.num_patchs=3",
            "method.num_patchs",
            "train --preset cut --set method.num_patches=3",
        ),
        (
            "train --preset cut --set data.direction=a2 --set data.batchsize=2",
            "2 faults",
            "train --preset cut --set data.direction=a2b --set data.batch_size=2",
        ),
    ],
)
def test_a_command_that_was_mistyped_is_answered_with_the_right_one(
    words, wrong, right, monkeypatch, capsys
):
    assert run_i2i(monkeypatch, *shlex.split(words)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert wrong in said
    assert "did you mean" in said
    assert said.endswith(f"Type `i2i {right}`.")


def test_no_command_is_given_that_would_fail_again(monkeypatch, capsys):
    words = ["train", "--preset", "cut", "--set", "data.direction=a2", "--set", "data.crop=no"]
    assert run_i2i(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert "did you mean" in said
    assert "Type" not in said


def test_a_mistake_in_a_file_is_to_be_corrected_there(tmp_path, monkeypatch, capsys):
    file = tmp_path / "my.toml"
    file.write_text('[method]\nname = "cut"\nnum_patchs = 3\n', encoding="utf-8")
    assert run_i2i(monkeypatch, "train", "--preset", file) == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith(f"Correct it in {file}, then type `i2i train --preset {file}`.")


def test_a_folder_of_a_nearly_right_name_is_named_as_it_would_be_typed(
    picture_root, tmp_path, monkeypatch, capsys
):
    (tmp_path / "horses").symlink_to(picture_root)
    monkeypatch.chdir(tmp_path)
    assert run_i2i(monkeypatch, "train", "--preset", "cut", "--set", "data.root=hores") == 3
    said = capsys.readouterr().err.strip()
    assert f"did you mean {tmp_path / 'horses'}?" in said
    assert said.endswith(f"Type `i2i train --preset cut --set data.root={tmp_path / 'horses'}`.")


def test_words_of_other_meaning_stay(monkeypatch):
    monkeypatch.setattr("sys.argv", ["i2i", "eval", "runs/a=b", "--set", "x.device=cpu"])
    assert next_command(I2IError("", meant={"cpuu": "cpu"})) == ""
    monkeypatch.setattr("sys.argv", ["i2i", "train", "--device", "cpuu", "--set", "x=a=b"])
    meant = {"runtime.device=cpuu": "runtime.device=cpu"}
    right = "i2i train --device cpu --set x=a=b"
    assert next_command(I2IError("", meant=meant)) == f" Type `{right}`."


def _pictures(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (40, 32)).save(folder / name)


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ("translate run p/a1.png p/a2.png p/b.png out", "'p/*.png'"),
        ("translate run p/a1.png p/a2.png out", "'p/a*.png'"),
        ("viz-attention run p/a1.png p/a2.png p/b.png out --json", "'p/*.png'"),
        ("translate run p/b.png q/b.png out", "'**/*.png'"),
    ],
)
def test_a_pattern_without_quotes_is_answered_with_how_to_quote_it(
    words, pattern, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    _pictures(tmp_path / "p", "a1.png", "a2.png", "b.png", "c.jpg")
    _pictures(tmp_path / "q", "b.png")
    verb, run, *rest = words.split()
    assert run_i2i(monkeypatch, *words.split()) == 2
    said = capsys.readouterr().err.strip()
    after = [word for word in rest if not word.endswith(".png")]
    assert said.endswith(f"Quote it: `{' '.join(['i2i', verb, run, pattern, *after])}`.")
