import pytest

import rnnjax
from rnnjax.registry import Registry, UnknownName


@pytest.fixture
def pets():
    return Registry("pet", {"cat": 1, "dog": 2})


def test_registry_is_a_mapping(pets):
    assert dict(pets) == {"cat": 1, "dog": 2}
    assert len(pets) == 2
    assert "cow" not in pets
    assert pets.get("cow") is None


def test_registry_is_read_only(pets):
    with pytest.raises(TypeError):
        pets["cow"] = 3


def test_registry_keeps_a_copy():
    entries = {"cat": 1}
    pets = Registry("pet", entries)
    entries["cow"] = 3
    assert list(pets) == ["cat"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dgo", "unknown pet 'dgo': did you mean 'dog'? Known: cat, dog"),
        ("c", "unknown pet 'c': did you mean 'cat'? Known: cat, dog"),
        ("zebra", "unknown pet 'zebra'. Known: cat, dog"),
    ],
)
def test_unknown_name(pets, name, message):
    with pytest.raises(UnknownName) as error:
        pets[name]
    assert str(error.value) == message
    assert isinstance(error.value, KeyError)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("registry", "name", "near"),
    [(rnnjax.CELLS, "ltsm", "lstm"), (rnnjax.tasks.TASKS, "adding-pascanou", "adding-pascanu")],
)
def test_the_packages_registries_suggest_and_list(registry, name, near):
    with pytest.raises(UnknownName) as error:
        registry[name]
    assert f"did you mean {near!r}?" in str(error.value)
    assert str(error.value).endswith(", ".join(registry))
