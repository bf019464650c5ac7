"""Checkpoints by orbax: written whole or not at all, read back bit for bit or refused."""

import hashlib
import shutil
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from rnnjax.checks import check_size

T = TypeVar("T")


class CheckpointError(Exception):
    """A checkpoint that cannot be used, and why; it is left as it is."""


class Checkpoints:
    """The checkpoints of one run in a folder, the last `keep` of them.

    Each is a folder named by its step, that appears once it is complete: a pytree of arrays, typed random keys among
    them, and JSON data, with a digest of the arrays and what the run is (`identity`, JSON too). What is not a readable
    checkpoint of this run is never deleted.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any], *, keep: int = 3):
        self.folder = Path(folder).absolute()
        self.identity = identity
        self.keep = check_size("keep", keep)

    @property
    def steps(self) -> list[int]:
        """The steps of all that looks like a checkpoint, the newest last."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def save(self, step: int, state: Any, data: dict[str, Any]) -> None:
        """Writes a checkpoint, then deletes the oldest beyond `keep`; a step that is there already is kept as it is."""
        if step in self.steps:
            return
        arrays = _plain(state)
        about = {"identity": self.identity, "digest": digest(arrays), "data": data}
        items = ocp.args.Composite(state=ocp.args.StandardSave({"tree": arrays}), about=ocp.args.JsonSave(about))
        with _checkpointer() as checkpointer:
            checkpointer.save(self.folder / str(step), args=items)
        mine = [each for each in self.steps if self._is_mine(each)]
        for old in mine[: -self.keep]:
            shutil.rmtree(self.folder / str(old))

    def restore(self, like: T) -> tuple[T, dict[str, Any]]:
        """The newest checkpoint: arrays in the structure of `like`, and the JSON data.

        Raises:
            CheckpointError: there is none; it is of another run; it cannot be read, or its arrays are not those that
                were saved.
        """
        if not self.steps:
            raise CheckpointError(f"no checkpoint in {self.folder}")
        folder = self.folder / str(self.steps[-1])
        advice = "it is left as it is; move it away to go on from the one before"
        try:
            about = _read(folder, about=ocp.args.JsonRestore())
            identity, wanted, data = about["identity"], about["digest"], about["data"]
        except Exception as error:
            raise CheckpointError(
                f"{folder} is not a checkpoint of rnnjax, or damaged ({_line(error)}): {advice}"
            ) from None
        for name in sorted(identity.keys() | self.identity.keys()):
            there, here = identity.get(name), self.identity.get(name)
            if there != here:
                raise CheckpointError(f"{folder} is of another run: {name} is {there!r} there and {here!r} here")
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _plain(like))
        try:
            arrays = _read(folder, state=ocp.args.StandardRestore({"tree": target}))["tree"]
        except Exception as error:
            raise CheckpointError(f"{folder} cannot be read ({_line(error)}): {advice}") from None
        if digest(arrays) != wanted:
            raise CheckpointError(f"{folder} is damaged, its arrays are not those that were saved: {advice}")
        return jax.tree.map(_typed, like, arrays), data

    def _is_mine(self, step: int) -> bool:
        try:
            identity: dict[str, Any] = _read(self.folder / str(step), about=ocp.args.JsonRestore())["identity"]
        except Exception:  # whatever orbax raises: the folder is something else, or damaged
            return False
        return identity == self.identity


def digest(tree: Any) -> str:
    """SHA-256 over the bytes of all leaves, with their places, shapes and dtypes."""
    whole = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        whole.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype};".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler())


def _read(folder: Path, **item: Any) -> Any:
    """One item of a checkpoint, given by its name and what orbax reads it with."""
    with _checkpointer() as checkpointer:
        return checkpointer.restore(folder, args=ocp.args.Composite(**item))[next(iter(item))]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(tree: Any) -> Any:
    """Typed random keys as the numbers they are made of."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _typed(like: Any, array: Any) -> Any:
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like)) if _is_key(like) else array


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
