"""The request of the README, against the running platform."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.running import ROOT, Vigil

README = (ROOT / "README.md").read_text()
pytestmark = pytest.mark.platform


def test_the_request_of_the_readme_gets_the_answer_of_the_readme(platform: Vigil) -> None:
    (command,) = re.findall(r"^curl .*$", README, re.MULTILINE)
    (answer,) = re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    here = command.replace("localhost:8000", platform.url.removeprefix("http://"))
    done = subprocess.run(["bash", "-c", here], capture_output=True, text=True, check=True)
    shown = json.loads(answer)
    received = json.loads(done.stdout)
    assert received.keys() == shown.keys()
    assert received["prediction"] == shown["prediction"]
    assert received["reasons"][0].keys() == shown["reasons"][0].keys()
    named = {reason["feature"] for reason in received["reasons"]}
    assert {reason["feature"] for reason in shown["reasons"]} <= named
