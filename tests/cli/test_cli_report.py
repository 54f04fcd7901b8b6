import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from run_kit import log_lines, make_run

from i2icli.methods import configure_run
from i2icli.training.session import open_session


@pytest.fixture
def i2i(i2i):
    return lambda *words: i2i("report", *words)


class Text(HTMLParser):
    """The words of a page, styles and scripts left out."""

    def __init__(self, text):
        super().__init__()
        self.words, self._hidden = [], False
        self.feed(text)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)


def words_of(folder, name="report.html"):
    return Text((Path(folder) / name).read_text(encoding="utf-8")).text


def test_a_finished_run_becomes_one_page_beside_it(i2i, tmp_path):
    make_run(tmp_path / "qs-001")
    code, out, err = i2i(tmp_path / "qs-001")
    assert (code, out.strip(), err) == (0, str(tmp_path / "qs-001" / "report.html"), "")
    words = words_of(tmp_path / "qs-001")
    for said in (
        "qs-001",
        "qs-attn , preset qs-attn-global , trained on horses",
        "Finished All 8 steps are done.",
        "Steps 8 of 8",
        "Time training 16.0 s",
        "Best measured 0.125 truth total, at step 8",
        "Training pictures 40 + 50",
        "held-out pictures: truth of 4 pictures.",
        "generator terms",
        "learning rate",
        "Layer 12, 8 x 8 places",
        "Hu et al.",
        "method.generator.width 64 4",
        "i2i train --preset qs-attn-global",
    ):
        assert said in words, said
    assert "Not in this report" not in words


def test_json_says_where_and_what_is_missing(i2i, tmp_path):
    make_run(tmp_path / "run", saved_step=None, steps=())
    out_file = tmp_path / "deep" / "page.html"
    code, out, err = i2i(tmp_path / "run", "--out", out_file, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["report"] == str(out_file)
    assert document["bytes"] == out_file.stat().st_size
    assert document["status"] == "stopped"
    assert [line.partition(":")[0] for line in document["missing"]] == [
        "What the last checkpoint tells",
        "Loss curves",
        "Samples",
    ]
    assert err.count("not in the report: ") == 3
    assert not (tmp_path / "run" / "report.html").exists()


def test_without_a_run_the_newest_is_reported(i2i, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for age, name in ((100, "cut-001"), (50, "cut-003"), (200, "cut-002")):
        folder = make_run(tmp_path / "runs" / name, steps=(2,), saved_step=None)
        for path in (folder.config, folder.metrics):
            os.utime(path, (10**9 - age, 10**9 - age))
    code, out, _ = i2i()
    assert (code, out.strip()) == (0, "runs/cut-003/report.html")


def test_without_any_run_the_command_to_train_is_named(i2i, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = i2i()
    assert (code, out) == (2, "")
    assert "there is no run in runs/" in err
    assert "`i2i train --preset demo`" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pictures",), "is a folder but not a run"),
        (("run", "--out", "pictures"), "name a file"),
        (("run", "--out", "file/page.html"), "cannot be written"),
    ],
)
def test_what_is_no_run_and_no_output_is_refused(i2i, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    Path("file").write_text("")
    make_run(tmp_path / "run", steps=(2,))
    code, _, err = i2i(*words)
    assert code == 2
    assert said in err
    assert ("--out" in err) is ("--out" in words)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"saved_step": 6, "last_step": 20}, "Stopped It ended at step 8 of 20, saved at step 6"),
        ({"saved_step": None}, "Stopped It ended at step 8 of 8 without a checkpoint"),
    ],
)
def test_a_run_that_ended_early_says_where(i2i, tmp_path, parts, said):
    make_run(tmp_path / "run", **parts)
    assert i2i(tmp_path / "run")[0] == 0
    assert said in words_of(tmp_path / "run")


def test_the_last_step_of_a_run_in_epochs_follows_from_its_pictures(i2i, tmp_path):
    folder = make_run(tmp_path / "run", "train.steps=null", "train.epochs=2")
    assert i2i(folder.path)[0] == 0
    assert "at step 8 of 100, saved at step 8" in words_of(folder.path)


def test_a_run_with_a_broken_loss_is_called_diverged(i2i, tmp_path):
    folder = make_run(tmp_path / "run", last_step=20)
    with folder.metrics.open("a") as file:
        file.write('{"step": 10, "epoch": 2, "generator/gan": NaN}\n')
    assert i2i(folder.path)[0] == 0
    assert "Diverged A loss was not finite by step 10 of 20." in words_of(folder.path)


@pytest.mark.skipif(sys.platform == "win32", reason="asking whether a file is locked would lock it")
def test_a_run_in_training_is_called_running_and_not_disturbed(i2i, tmp_path):
    folder = make_run(tmp_path / "run", last_step=20)
    lock = folder.path / ".lock"
    hold = "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.lockf(f, fcntl.LOCK_EX); "
    holder = subprocess.Popen(
        [sys.executable, "-c", hold + "print('held', flush=True); sys.stdin.read()", str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        assert i2i(folder.path)[0] == 0
    finally:
        holder.communicate()
    assert "Running A process is training it: at step 8 of 20" in words_of(folder.path)
    assert lock.read_bytes() == b""


def test_a_killed_run_with_half_a_line_and_half_a_grid_is_reported(i2i, tmp_path):
    folder = make_run(tmp_path / "run", last_step=20, saved_step=4)
    with folder.metrics.open("a") as file:
        file.write('{"step": 10, "epo')
    folder.sample(8).write_bytes(folder.sample(8).read_bytes()[:300])
    (folder.samples / ".step-0000010.png.partial").write_bytes(b"\x89PNG")
    code, _, err = i2i(folder.path)
    assert (code, err) == (0, "")
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert '{"steps": [2, 4, 6],' in page


def test_a_configuration_of_another_i2i_is_shown_without_the_comparison(i2i, tmp_path):
    folder = make_run(tmp_path / "run")
    text = folder.config.read_text().replace("[train]\n", "[train]\nunheard_of = 1\n")
    folder.config.write_text(text)
    code, _, err = i2i(folder.path)
    assert code == 0
    assert "not in the report: The comparison with the paper: " in err
    assert "unheard_of" in err
    assert "Unknown, since the configuration could not be understood." in words_of(folder.path)


def test_a_configuration_that_is_no_toml_leaves_a_report(i2i, tmp_path):
    folder = make_run(tmp_path / "run")
    folder.config.write_text("preset = ")
    code, _, err = i2i(folder.path)
    assert code == 0
    assert "is not valid TOML" in err
    assert "an unknown method" in words_of(folder.path)


def test_a_run_without_its_checkpoints_is_reported(i2i, tmp_path):
    folder = make_run(tmp_path / "run", saved_step=None)
    folder.checkpoints.rmdir()
    code, _, err = i2i(folder.path)
    assert code == 0
    assert "there is no checkpoint at" in err


def test_story_files_that_are_gone_or_broken_are_named(i2i, tmp_path):
    folder = make_run(tmp_path / "run")
    (folder.path / "command.txt").unlink()
    (folder.path / "env.json").write_text("[1]")
    _, _, err = i2i(folder.path)
    assert "command.txt: it is not in the run folder." in err
    assert "env.json is no JSON object." in err


def test_results_of_evaluation_are_shown_with_their_protocol(i2i, tmp_path):
    folder = make_run(tmp_path / "run")
    fid = {
        "value": 72.534,
        "interval": {"low": 66.0, "high": 79.0, "level": 0.95, "method": "jackknife"},
        "counts": {"real": 140, "fake": 120},
        "protocol": {"mode": "clean"},
        "warnings": ["Few pictures."],
    }
    earlier = {"about": {"step": 4}, "metrics": {"fid": {**fid, "value": 90.0}}}
    last = {"about": {"step": 8}, "metrics": {"fid": fid}}
    document = {
        "metrics": {"fid": fid, "kid": None},
        "checkpoint": {"step": 8},
        "checkpoints": [earlier, last],
    }
    (folder.path / "eval.json").write_text(json.dumps(document))
    (folder.path / "eval-2.json").write_text("{}")
    code, _, err = i2i(folder.path)
    assert code == 0
    assert "eval-2.json: it is no result of `i2i eval --json`." in err
    words = words_of(folder.path)
    assert "FID 72.53 66 to 79 (95%, jackknife) Few pictures. N real 140 N fake 120" in words
    assert "mode clean step 8 over training step 4: 90, step 8: 72.53" in words
    assert "From eval.json" in words


def test_alarms_are_shown_those_still_up_first(i2i, tmp_path):
    folder = make_run(tmp_path / "run")
    lines = [
        {"step": 4, "alarm": "collapse", "direction": "a2b", "saw": "alike", "remedy": "anew"},
        {"step": 5, "alarm": "inversion", "direction": "a2b", "saw": "dark", "remedy": "seed"},
        {"step": 6, "cleared": "inversion", "direction": "a2b"},
    ]
    with folder.metrics.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    i2i(folder.path)
    words = words_of(folder.path)
    assert "collapse (a2b) from step 4, still up: alike anew" in words
    assert "inversion (a2b) from step 5 to 6: dark seed" in words
    assert words.index("collapse (a2b)") < words.index("inversion (a2b)")


def test_measurements_of_an_earlier_protocol_are_left_out(i2i, tmp_path):
    folder = make_run(tmp_path / "run", steps=())
    before = [line for line in log_lines((2,)) if "protocol" in line]
    after = [{**line, "protocol": "new"} for line in log_lines((4, 6)) if "protocol" in line]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in before + after))
    i2i(folder.path)
    words = words_of(folder.path)
    assert "held-out pictures: new." in words
    assert "total 0.1667 4 6" not in words
    assert "error against the truth: total 0.1667 6 0.1667" in words


def test_grids_of_an_earlier_i2i_are_cut_by_what_the_data_set_says(i2i, tmp_path, picture_root):
    document = ("data.root=" + str(picture_root), "samples.count=2", "samples.every_steps=1")
    folder = make_run(tmp_path / "run", *document, steps=(2,))
    config = configure_run(
        str(folder.config), ["runtime.device=cpu", "runtime.workers=0", "checkpoint.every_steps=1"]
    )
    session = open_session(config)
    session.drawer.draw(session.method, folder.sample(2), precision=session.precision)
    with Image.open(folder.sample(2)) as grid:
        grid.save(folder.sample(2))  # without what it tells
        assert "i2i-grid" in grid.text
    assert i2i(folder.path)[0::2] == (0, "")
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert page.count('class="knob"') == 2
    assert 'aria-label="Before and after of 00"' in page


def test_grids_that_tell_nothing_are_shown_whole_and_said_to_be(i2i, tmp_path):
    folder = make_run(tmp_path / "run", tells=False)
    code, _, err = i2i(folder.path)
    assert code == 0
    assert "not in the report: Before-and-after sliders: " in err
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert page.count('class="knob"') == 0
    assert 'alt="Sample grid after 8 steps"' in page


def test_a_method_without_attention_has_no_entropy_maps(i2i, tmp_path):
    folder = make_run(tmp_path / "run", preset="cyclegan", names=("a2b one", "b2a two"))
    assert i2i(folder.path)[0::2] == (0, "")
    assert "Entropy of attention" not in words_of(folder.path)
