"""What 0.1.0 showed in its pages can be imported under the old names for one version."""

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("inference.folder", "translation.folder", ["FolderOptions", "translate_jobs"]),
        ("inference.sources", "translation.sources", ["find_sources"]),
        ("inference.targets", "translation.targets", ["plan_outputs"]),
        ("data.images", "pictures.images", ["Picture", "read_picture"]),
    ],
)
def test_old_names_are_the_new_ones_and_say_so(old, new, names):
    sys.modules.pop(f"i2icli.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"i2icli.{old} is i2icli.{new} now"):
        before = importlib.import_module(f"i2icli.{old}")
    now = importlib.import_module(f"i2icli.{new}")
    assert [getattr(before, name) for name in names] == [getattr(now, name) for name in names]
