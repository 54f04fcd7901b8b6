"""No command replaces a file that i2i did not make, unless told to."""

import pytest
from echo import save_fresh
from picture_folders import write_noise
from run_kit import make_run

from i2icli.pictures.mark import bears_mark


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_fresh(folder / "checkpoints" / "last.pt")
    return folder


@pytest.fixture
def photos(here):
    """Return two folders with pictures of the same names."""
    for folder in ("a", "b"):
        for number in range(7):
            write_noise(here / folder / f"{number}.png", 9, 8, seed=number)
    return here


@pytest.fixture
def translate(i2i, run):
    return lambda *words: i2i("translate", run, *words, "--device", "cpu")


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_picture_of_a_pattern_is_not_the_output(translate, photos):
    before = bytes_of(photos / "a")
    code, _, err = translate("a/0.png", "a/1.png")
    assert code == 2
    assert "1 file would be replaced that i2i did not make" in err
    assert "a/1.png" in err
    assert "quote it, and name a folder: `i2i translate " in err
    assert "'a/*.png' out" in err
    assert bytes_of(photos / "a") == before


def test_a_second_folder_of_pictures_is_not_the_output(translate, photos):
    before = bytes_of(photos / "b")
    code, _, err = translate("a", "b")
    assert code == 2
    assert "7 files would be replaced" in err
    assert "b/4.png and 2 more" in err
    assert bytes_of(photos / "b") == before


def test_earlier_outputs_are_replaced_and_foreign_files_beside_them_are_not(translate, photos):
    assert translate("a", "out")[0] == 0
    assert all(bears_mark(path) for path in (photos / "out").iterdir())
    assert translate("a", "out")[0] == 0
    write_noise(photos / "out" / "3.png", 9, 8)
    code, _, err = translate("a", "out")
    assert (code, "1 file would be replaced" in err) == (2, True)
    assert translate("a", "out", "--overwrite")[0] == 0
    assert bears_mark(photos / "out" / "3.png")


def test_what_is_skipped_is_not_replaced(translate, photos):
    before = bytes_of(photos / "b")
    assert translate("a", "b", "--skip-existing")[0] == 0
    assert bytes_of(photos / "b") == before


@pytest.mark.parametrize("words", [("--no-mark",), ("--format", "bmp")])
def test_outputs_without_the_mark_count_as_foreign(translate, photos, words):
    assert translate("a", "out", *words)[0] == 0
    assert not any(bears_mark(path) for path in (photos / "out").iterdir())
    assert translate("a", "out", *words)[0] == 2
    assert translate("a", "out", *words, "--overwrite")[0] == 0


def test_contact_sheets_and_a_manifest_are_looked_at_too(translate, photos):
    write_noise(photos / "out" / "grid-001.png", 9, 8)
    (photos / "out" / "manifest.jsonl").write_text('{"mine": 1}\n')
    code, _, err = translate("a", "out", "--grid")
    assert (code, "grid-001.png" in err) == (2, True)
    code, _, err = translate("a", "out", "--nproc", "2")
    assert (code, "manifest.jsonl" in err) == (2, True)
    assert (photos / "out" / "manifest.jsonl").read_text() == '{"mine": 1}\n'


@pytest.mark.parametrize("name", ["zebra.avif", "zebra.pdf", "zebra.jp2", "zebra.heic"])
@pytest.mark.parametrize("source", ["a/0.png", "a"])
def test_an_output_named_like_an_unknown_kind_is_no_folder(translate, photos, name, source):
    code, _, err = translate(source, name)
    assert code == 2
    assert "bmp, jpeg, jpg, png, tif, tiff, webp" in err
    assert not (photos / name).exists()


def test_tar_shards_without_an_entry_or_a_mark_are_left_alone(i2i, translate, photos):
    assert i2i("data", "shard", "a", "shards")[0] == 0
    assert i2i("data", "shard", "b", "out")[0] == 0
    before = bytes_of(photos / "out")
    code, _, err = translate("shards", "out")
    assert (code, "shard-000000.tar" in err) == (2, True)
    assert bytes_of(photos / "out") == before
    assert translate("shards", "new")[0] == 0
    (photos / "new" / "manifest.jsonl").unlink()  # a kill may come before its entry
    assert translate("shards", "new")[0] == 0


def test_a_report_replaces_reports_and_nothing_else(i2i, here):
    run = make_run(here / "run", steps=(2,), saved_step=None).path
    assert i2i("report", run)[0] == 0
    assert i2i("report", run)[0] == 0
    (here / "notes.html").write_text("<p>mine")
    code, _, err = i2i("report", run, "--out", "notes.html")
    assert (code, "notes.html" in err) == (2, True)
    assert (here / "notes.html").read_text() == "<p>mine"
    assert i2i("report", run, "--out", "notes.html", "--overwrite")[0] == 0
    assert i2i("report", run, "--out", "page.pdf")[0] == 2


def test_a_schema_replaces_schemas_and_nothing_else(i2i, here):
    assert i2i("schema", "--out", "own.json")[0] == 0
    assert i2i("schema", "--out", "own.json")[0] == 0
    (here / "mine.json").write_text("{}")
    assert i2i("schema", "--out", "mine.json")[0] == 2
    assert (here / "mine.json").read_text() == "{}"


def test_comparisons_are_numbered_and_a_named_folder_is_used_once(i2i, run, photos):
    words = ("compare", run, "a", "--count", "2", "--device", "cpu")
    for number in (1, 2):
        code, _, err = i2i(*words)
        assert code == 0
        assert f"compare/compare-00{number}/compare.png" in err
    assert bears_mark(photos / "compare/compare-001/compare.png")
    assert i2i(*words, "--out", "named")[0] == 0
    code, _, err = i2i(*words, "--out", "named")
    assert (code, "named holds compare.json already" in err) == (2, True)


def test_attention_replaces_its_own_files_and_no_others(i2i, here):
    run = make_run(here / "run", steps=(2,)).path
    write_noise(here / "horse.png", 40, 40)
    words = ("viz-attention", run, "horse.png", "out", "--html", "--device", "cpu")
    assert i2i(*words)[0] == 0
    assert all(bears_mark(path) for path in (here / "out").iterdir())
    assert i2i(*words)[0] == 0
    (here / "out" / "horse.npz").write_bytes(b"mine")
    code, _, err = i2i(*words)
    assert (code, "out/horse.npz" in err) == (2, True)
    assert (here / "out" / "horse.npz").read_bytes() == b"mine"
    assert i2i(*words, "--overwrite")[0] == 0
