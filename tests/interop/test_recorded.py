"""What PyTorch and Keras made of small networks with random biases, recorded: holds without either."""

import json
from pathlib import Path

import pytest

from tests.interop.parity import CELLS, LOAD, TOLERANCE, check
from tests.support import relative_error

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))
NETWORKS = [(library, name) for library, cells in CELLS.items() for name in cells]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("library", "name"), NETWORKS)
def test_outputs_states_and_gradients(library, name):
    check(CELLS[library][name], LOAD[library], RECORDED[library][name], TOLERANCE.get((library, name), 1e-12))


def test_every_record_is_used():
    assert {library: sorted(cells) for library, cells in CELLS.items()} == {
        library: sorted(RECORDED[library]) for library in CELLS
    }


@pytest.mark.peers
def test_the_script_still_makes_the_file():
    script = pytest.importorskip("tests.interop.record", reason="make peers installs PyTorch and Keras")
    made = script.records()
    for library, cells in CELLS.items():
        for name in cells:
            got, want = made[library][name], RECORDED[library][name]
            assert sorted(got) == sorted(want)
            for part in want:
                tolerance = TOLERANCE.get((library, name), 1e-12)
                assert relative_error(got[part], want[part]) < tolerance, (library, name, part)
