"""Where the time of a training step goes: reading programs and traces."""

import json
import sys

import pytest

from benchmarks.commandline import run_alone
from benchmarks.speed import profile
from benchmarks.speed.config import Shape

PROGRAM = """HloModule jit_step, is_scheduled=true

%arithmetic (parameter: f32[4]) -> f32[4] {
  %parameter = f32[4]{0} parameter(0)
  ROOT %tanh.1 = f32[4]{0} tanh(%parameter)
}

%moves (parameter.1: f32[4]) -> f32[2,4] {
  %parameter.1 = f32[4]{0} parameter(0)
  ROOT %broadcast.7 = f32[2,4]{1,0} broadcast(%parameter.1), dimensions={1}
}

ENTRY %main (x: f32[4]) -> f32[4,4] {
  %x = f32[4]{0} parameter(0)
  %fusion.1 = f32[4]{0} fusion(%x), kind=kLoop, calls=%arithmetic
  %copy_fusion = f32[2,4]{1,0} fusion(%fusion.1), kind=kLoop, calls=%moves
  %while.2 = (s32[], f32[2,4]{1,0}) while(%tuple), condition=%cond, body=%body
  ROOT %dot.3 = f32[4,4]{1,0} dot(%copy_fusion, %copy_fusion), lhs_contracting_dims={0}, rhs_contracting_dims={0}
}
"""


def test_what_instructions_are_for():
    found = profile.instructions(PROGRAM)
    named = {name: found[name] for name in ("fusion.1", "copy_fusion", "while.2", "dot.3")}
    assert named == {"fusion.1": "arithmetic", "copy_fusion": "moves", "while.2": "loops", "dot.3": "products"}


def test_time_inside_an_event_is_not_its_own():
    """Two loops one after the other, the first with two products in it, one of which has a copy in it."""
    events = [(70, 5, "loop 2"), (0, 60, "loop"), (10, 20, "product"), (12, 3, "copy"), (40, 20, "product")]
    found = sorted(profile.by_themselves(events))
    assert found == [("copy", 3), ("loop", 20), ("loop 2", 5), ("product", 17), ("product", 20)]


BAD_INPUT = {
    "": "Parameter FILE requires an argument.",
    "{}/none/out.jsonl": "FILE: cannot write to ",
    "{}/out.jsonl --cells gruu": "--cells: unknown cell 'gruu'",
    "{}/out.jsonl --shapes 3x4": "--shapes: '3x4' is not TIMExBATCHxHIDDEN",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, tmp_path, capsys):
    assert run_alone("profile", profile.command, arguments.format(tmp_path).split()) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(BAD_INPUT[arguments])
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_help_is_no_file(capsys):
    assert run_alone("profile", profile.command, ["--help"]) == 0
    assert "File of records to append to" in capsys.readouterr().out


@pytest.mark.slow
def test_products_take_time(tmp_path):
    """In a step that has little else, even without optimisation; a second run adds to the file."""
    path = tmp_path / "profile.jsonl"
    for _ in range(2):
        profile.command(path, cells=("rnn",), shapes=("4x256x512",))
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["cell"], record["shape"]) for record in records] == [("rnn", "4x256x512")] * 2
    for record in records:
        assert record["environment"]["platform"] == "cpu"
        assert set(record["seconds"]) == set(profile.PURPOSES)
        assert record["seconds"]["products"] > 0.3 * sum(record["seconds"].values())


@pytest.mark.peers
def test_products_beside_those_of_pytorch():
    """As many floating-point operations a second as a processor may have, in every library, both ways."""
    products = pytest.importorskip("benchmarks.speed.products")
    found = products.rates(profile.gates("gru"), Shape(1, 16, 64))
    assert set(found) == {"forward", "backward"}
    for rates in found.values():
        assert set(rates) == {"xla", "xla, batch behind", "torch"}
        assert all(0.01 < rate < 10_000 for rate in rates.values())


def test_gates_are_those_of_the_recurrent_weights():
    assert [profile.gates(name) for name in ("rnn", "lstm", "gru")] == [1, 4, 3]


def test_pytorch_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "benchmarks.speed.products", None)
    assert run_alone("profile", profile.command, [str(tmp_path / "out.jsonl"), "--compare", "torch"]) == 2
    assert capsys.readouterr().err.startswith("--compare torch: PyTorch is not installed; the extra rnnjax[peers]")
    assert list(tmp_path.iterdir()) == []
