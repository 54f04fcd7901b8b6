from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2icli.errors import ConfigError
from i2icli.translation.sources import Source
from i2icli.translation.targets import plan_outputs


def outputs(*names, **options):
    sources = [Source(Path("in") / name, Path(name)) for name in names]
    plan = plan_outputs(sources, Path("out"), **options)
    return [job.target.relative_to("out").as_posix() for job in plan.jobs]


@pytest.mark.parametrize(
    ("names", "options", "wanted"),
    [
        (["a.jpg", "b/c.PNG"], {}, ["a.png", "b/c.png"]),
        (["a.JPG", "b.webp"], {"format": "keep"}, ["a.JPG", "b.webp"]),
        (["a.gif"], {"format": "keep"}, ["a.png"]),
        (["a.png"], {"format": "webp", "suffix": "_zebra"}, ["a_zebra.webp"]),
        (["a.b.c.png"], {"format": "jpg"}, ["a.b.c.jpg"]),
        (["photo", "scan.0001"], {}, ["photo.png", "scan.0001.png"]),
    ],
)
def test_outputs_mirror_their_sources(names, options, wanted):
    assert outputs(*names, **options) == wanted


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a.png", "a.tif"], ["a.png", "a.tif.png"]),
        (["a.jpg", "a.tif"], ["a.jpg.png", "a.tif.png"]),
        (["a.png", "a.tif", "a.tif.png"], ["a.png", "a.tif-2.png", "a.tif.png"]),
        (["A.png", "a.png"], ["A.png", "a.png.png"]),
        (["a.tif", "A.jpg", "x/a.tif"], ["a.tif.png", "A.jpg.png", "x/a.png"]),
        (["\u00e9.png", "e\u0301.png"], ["\u00e9.png", "e\u0301.png.png"]),
        (["stra\u00dfe.png", "STRASSE.jpg"], ["stra\u00dfe.png", "STRASSE.jpg.png"]),
    ],
)
def test_outputs_that_would_collide_keep_the_suffix_of_their_source(names, wanted):
    assert outputs(*names) == wanted


ENDS = st.lists(st.sampled_from([".png", ".tif", ".PNG"]), min_size=1, max_size=3).map("".join)
NAMES = st.builds("{}{}".format, st.sampled_from("aAb"), ENDS)


@given(st.lists(NAMES, unique=True, max_size=30), st.sampled_from(["png", "keep", "tif"]))
def test_every_source_has_an_output_of_its_own(names, format):
    targets = outputs(*names, format=format)
    assert len({target.casefold() for target in targets}) == len(names)


def test_contact_sheets_hold_eight_pictures_and_collide_with_no_output():
    names = ["grid-001.png", *(f"{i}.png" for i in range(8))]
    sources = [Source(Path("in") / name, Path(name)) for name in names]
    plan = plan_outputs(sources, Path("out"), with_grids=True)
    assert [grid.name for grid in plan.grids] == ["grid-001.png", "grid-002.png"]
    assert plan.jobs[0].target.name == "grid-001.png.png"


def test_a_file_as_output_names_its_sheet_after_itself():
    source = Source(Path("in/a.jpg"), Path("a.jpg"))
    plan = plan_outputs([source], Path("out/b.webp"), is_file=True, with_grids=True)
    assert (plan.jobs[0].target, plan.grids) == (Path("out/b.webp"), (Path("out/b-grid-001.png"),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "gif"}, "pictures are not written as 'gif': use keep, bmp, jpeg, jpg, png"),
        ({"format": "../x"}, "pictures are not written as"),
        ({"suffix": "/x"}, "--suffix '/x' must not hold a path separator"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        outputs("a.png", **options)


def test_an_output_that_cannot_be_written_is_refused_as_a_file_too():
    with pytest.raises(ConfigError, match="pictures are not written as 'gif'"):
        plan_outputs([Source(Path("a.png"), Path("a.png"))], Path("b.gif"), is_file=True)


@pytest.mark.parametrize("through_link", [False, True])
def test_an_output_that_would_replace_an_input_is_refused(tmp_path, through_link):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"x")
    out = tmp_path
    if through_link:
        out = tmp_path / "link"
        out.symlink_to(tmp_path)
    sources = [
        Source(tmp_path / "b.png", Path("b.png")),
        Source(tmp_path / "a.png", Path("x/a.png")),
    ]
    with pytest.raises(ConfigError, match=r"would replace the input .*b\.png: .* --suffix"):
        plan_outputs(sources, out)
    assert len(plan_outputs(sources, out, suffix="_t").jobs) == 2
