import json

from i2icli.system.manifest import Manifest


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_entries_come_back_by_name_and_the_latest_counts(tmp_path):
    manifest = Manifest(tmp_path, key="shard")
    manifest.append({"shard": "a", "samples": 1})
    manifest.append({"shard": "b", "samples": 2})
    manifest.append({"shard": "a", "samples": 3})
    assert {name: entry["samples"] for name, entry in manifest.read().items()} == {"a": 3, "b": 2}
    assert len(lines(manifest.path)) == 3
    manifest.merge()
    assert [entry["shard"] for entry in lines(manifest.path)] == ["a", "b"]


def test_half_a_line_is_passed_over_and_the_next_one_is_whole(tmp_path):
    manifest = Manifest(tmp_path, key="shard")
    manifest.append({"shard": "a"})
    with manifest.path.open("ab") as file:
        file.write(b'{"shard": "b", "sam\xff')
    assert list(manifest.read()) == ["a"]
    manifest.append({"shard": "c"})
    assert list(manifest.read()) == ["a", "c"]


def test_names_that_are_no_unicode_survive(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    manifest = Manifest(tmp_path, key="path")
    manifest.append({"path": name})
    manifest.merge()
    assert list(manifest.read()) == [name]


def test_ranks_write_files_of_their_own_and_the_last_merge_is_complete(tmp_path):
    ranks = [Manifest(tmp_path, key="shard", rank=rank, count=2) for rank in range(2)]
    for number in range(4):
        ranks[number % 2].append({"shard": f"s{number}"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest-0.jsonl",
        "manifest-1.jsonl",
    ]
    assert len(Manifest(tmp_path, key="shard").read()) == 4  # before any merge
    ranks[0].merge()
    assert (tmp_path / "manifest-1.jsonl").is_file()  # more may come to it
    ranks[1].append({"shard": "s5"})
    ranks[1].merge()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]
    assert [entry["shard"] for entry in lines(ranks[0].path)] == ["s0", "s1", "s2", "s3", "s5"]


def test_what_a_larger_run_left_is_taken_over(tmp_path):
    Manifest(tmp_path, key="shard", rank=7, count=8).append({"shard": "old"})
    (tmp_path / ".manifest.jsonl.0123.partial").write_text("half")
    Manifest(tmp_path, key="shard").merge()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]
    assert [entry["shard"] for entry in lines(tmp_path / "manifest.jsonl")] == ["old"]
