"""README, the model card and the docs' results say what the metrics files say."""

import re
from pathlib import Path

import pytest
import yaml

from research.reports import pages

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", pages.PAGES)
def test_a_page_says_what_the_metrics_files_say(page):
    text = (ROOT / page).read_text()
    assert pages.REGION.search(text)
    assert pages.written(text, pages.Metrics.read(ROOT / "metrics")) == text, "make scoreboard"


@pytest.mark.parametrize("page", pages.PAGES)
def test_no_result_is_typed_by_hand(page):
    """Neither shares nor percentages outside the regions and the code."""
    text = pages.REGION.sub("", (ROOT / page).read_text())
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S).replace("95%", "")
    assert re.findall(r"(?<![\w.])-?0\.\d+|\d%", text) == []


def test_every_task_of_the_sample_stands_in_the_results():
    text = (ROOT / "docs/results.md").read_text()
    tasks = yaml.safe_load((ROOT / "params.yaml").read_text())["tasks"]
    assert [task for task in tasks if f"| `{task}` " not in text] == []
