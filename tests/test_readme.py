"""What the README shows runs, and its numbers are those of the committed records."""

import re
from pathlib import Path

from benchmarks.gradients import compare
from benchmarks.gradients.config import Config
from benchmarks.gradients.report import markdown_table
from benchmarks.results import read_records
from rnnjax.cells import summary

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


def test_python_blocks_run(capsys):
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert re.fullmatch(r"dL/dc halves every \d+\.\d steps\n", capsys.readouterr().out)


def test_tables_are_those_of_the_records():
    tables = re.findall(r"<!-- table: (\S+) lag (\d+) -->\n(.*?)<!-- end of table -->", README, re.DOTALL)
    assert len(tables) >= 2
    for path, lag, table in tables:
        records = read_records(REPOSITORY / path)
        config = Config(**records[0]["config"])
        assert table == markdown_table(records, config, int(lag))
        assert "+changes" not in records[0]["environment"]["commit"]


def test_comparison_is_that_of_the_records():
    ((path, table),) = re.findall(r"<!-- comparison: (\S+) -->\n(.*?)<!-- end of table -->", README, re.DOTALL)
    records = read_records(REPOSITORY / path)
    assert table == compare.markdown_table(records)
    assert "+changes" not in records[0]["environment"]["commit"]


def test_cells_are_those_of_the_registry():
    (table,) = re.findall(r"<!-- cells -->\n(.*?)<!-- end of table -->", README, re.DOTALL)
    assert table == summary.markdown_table(), "update it: python -m rnnjax.cells.summary"


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (REPOSITORY / target).exists(), target
