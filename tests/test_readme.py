"""What the README shows runs, and its numbers are those of the committed records."""

import re
from pathlib import Path

import pytest

from benchmarks.readme import TABLES, render
from benchmarks.results import read_records

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


@pytest.mark.slow
def test_python_blocks_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    lines = r"dL/dc halves every \d+\.\d steps\n(\w+: '\w+' for LSTM over 100 steps: .*\n){4}"
    assert re.fullmatch(lines, capsys.readouterr().out)


def test_tables_are_those_of_the_records_and_the_registry():
    kinds = re.findall(r"<!-- table: (\S+)", README)
    assert set(kinds) <= set(TABLES)
    assert len(kinds) == len(re.findall("<!-- end of table -->", README))
    assert render(README) == README, "update it: python -m benchmarks.readme"


def test_records_are_those_of_committed_code():
    for path in (REPOSITORY / "benchmarks" / "reference").glob("*.jsonl"):
        assert all("+changes" not in record["environment"]["commit"] for record in read_records(path))


def test_every_record_has_its_command():
    folder = REPOSITORY / "benchmarks" / "reference"
    listed = re.findall(r"^\| (\S+\.jsonl) \|", (folder / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.jsonl"))


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (REPOSITORY / target).exists(), target
