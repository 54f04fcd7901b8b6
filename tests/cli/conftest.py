"""A working folder of its own for commands that write into it."""

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a folder of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
