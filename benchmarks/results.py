"""A results folder: `config.json`, `environment.json` and `records.jsonl`, written so that nothing is ever lost.

Records are appended one unit of work at a time, in a single write. A run that was stopped is opened again with
`Results.resume`: what a unit had not finished is dropped, and the unit is done again.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.errors import BenchmarkError, UsageError

Record = dict[str, Any]


class Results:
    """One run's folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._records = folder / "records.jsonl"

    @classmethod
    def create(cls, out: Path, benchmark: str, config: Record, environment: Record) -> "Results":
        """Makes the new folder `out/benchmark/<time>/`; never touches one that exists."""
        parent = out / benchmark
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = _new_folder(parent)
            _write_json(folder / "config.json", config)
            _write_json(folder / "environment.json", environment)
        except OSError as error:
            raise UsageError(f"--out: cannot write to {parent}: {error.strerror}") from None
        return cls(folder)

    @classmethod
    def resume(cls, folder: Path, config: Record) -> "Results":
        """Opens the folder of a run with the same configuration."""
        for name, saved in cls.config(folder).items():
            now = _plain(config.get(name))
            if now != saved:
                raise UsageError(
                    f"--resume: {folder} was made with another configuration: {name} is {saved} there and {now} now"
                )
        if not os.access(folder, os.W_OK):
            raise UsageError(f"--resume: cannot write to {folder}")
        return cls(folder)

    @staticmethod
    def config(folder: Path, names: Sequence[str] = ()) -> Record:
        """The configuration that a folder's run was started with, which must hold the settings of these names."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UsageError(f"--resume: {folder} is not a results folder: it has no readable config.json") from None
        if not isinstance(config, dict) or (names and set(config) != set(names)):
            raise UsageError(
                f"--resume: {folder} holds the results of something else: its config.json has other settings"
            )
        return config

    def append(self, records: Iterable[Record]) -> None:
        """Adds the records of one unit of work, all or none."""
        text = "".join(json.dumps(_plain(record)) + "\n" for record in records)
        try:
            with self._records.open("a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BenchmarkError(f"cannot write to {self._records}: {error.strerror}") from None

    def read(self) -> list[Record]:
        """All records; a last line that a crash cut short is not one."""
        return read_records(self._records) if self._records.exists() else []

    def keep(self, records: Iterable[Record]) -> None:
        """Replaces the records by some of them, in one step."""
        partial = self._records.with_suffix(".partial")
        partial.write_text("".join(json.dumps(_plain(record)) + "\n" for record in records), encoding="utf-8")
        partial.replace(self._records)


def read_records(path: Path) -> list[Record]:
    """The records of a JSON-lines file."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def pick(records: Sequence[Record], **wanted: Any) -> list[Record]:
    """The records whose fields have the given values."""
    return [record for record in records if all(record[name] == value for name, value in wanted.items())]


def values(records: Sequence[Record], *path: str) -> np.ndarray:
    """A field of every record, `[seeds, ...]`; `path` leads to a nested one."""

    def get(record: Any) -> Any:
        for name in path:
            record = record[name]
        return [float(item) for item in record] if isinstance(record, list) else float(record)

    return np.array([get(record) for record in records])


def digits(values: Any) -> Any:
    """Numbers as JSON holds them, to 5 significant digits."""
    if np.ndim(values):
        return [digits(value) for value in np.asarray(values).tolist()]
    return float(f"{float(values):.5g}")


def _new_folder(parent: Path) -> Path:
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    for number in range(1, 100):
        folder = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(17, "99 folders of this second exist")


def _write_json(path: Path, content: Record) -> None:
    path.write_text(json.dumps(_plain(content), indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Standard JSON: numbers that it does not have (NaN, infinities) as strings that `float` reads, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
