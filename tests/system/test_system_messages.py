"""Messages that are no result: silent from Python until somebody listens."""

import subprocess
import sys

import pytest

SAY = "import logging, i2icli; {}logging.getLogger('i2icli.translation').warning('heard')"


@pytest.mark.parametrize(("listens", "heard"), [("", ""), ("logging.basicConfig(); ", "heard")])
def test_messages_are_printed_only_where_somebody_listens(listens, heard):
    command = [sys.executable, "-c", SAY.format(listens)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert said.stdout == ""
    assert (heard in said.stderr) if heard else said.stderr == ""
