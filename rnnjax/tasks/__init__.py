"""Long-lag tasks, and their registry: a new task is one file here and one line in `TASKS`."""

from rnnjax.registry import Registry
from rnnjax.tasks.adding import Adding1997, AddingArjovsky, AddingBai, AddingPascanu, Multiplication
from rnnjax.tasks.base import Batch, ClassificationTask, RegressionTask, Task
from rnnjax.tasks.copy_memory import CopyMemory, SelectiveCopying, VariableCopy
from rnnjax.tasks.long_lag import LongLag2a, LongLag2b, LongLag2c, RandomPermutation
from rnnjax.tasks.mnist import Digits, PermutedMNIST, SequentialMNIST, load_digits
from rnnjax.tasks.parity import Parity
from rnnjax.tasks.reber import ContinualEmbeddedReber, EmbeddedReber, legal_successors
from rnnjax.tasks.temporal_order import TemporalOrder6a, TemporalOrder6b
from rnnjax.tasks.two_sequence import TwoSequence3a, TwoSequence3b, TwoSequence3c

TASKS: Registry[type[Task]] = Registry(
    "task",
    {
        "adding-1997": Adding1997,
        "adding-pascanu": AddingPascanu,
        "adding-arjovsky": AddingArjovsky,
        "adding-bai": AddingBai,
        "multiplication": Multiplication,
        "copy-memory": CopyMemory,
        "variable-copy": VariableCopy,
        "selective-copying": SelectiveCopying,
        "temporal-order-6a": TemporalOrder6a,
        "temporal-order-6b": TemporalOrder6b,
        "embedded-reber": EmbeddedReber,
        "continual-embedded-reber": ContinualEmbeddedReber,
        "long-lag-2a": LongLag2a,
        "long-lag-2b": LongLag2b,
        "long-lag-2c": LongLag2c,
        "two-sequence-3a": TwoSequence3a,
        "two-sequence-3b": TwoSequence3b,
        "two-sequence-3c": TwoSequence3c,
        "random-permutation": RandomPermutation,
        "parity": Parity,
        "sequential-mnist": SequentialMNIST,
        "permuted-mnist": PermutedMNIST,
    },
)

__all__ = [
    "TASKS",
    "Adding1997",
    "AddingArjovsky",
    "AddingBai",
    "AddingPascanu",
    "Batch",
    "ClassificationTask",
    "ContinualEmbeddedReber",
    "CopyMemory",
    "Digits",
    "EmbeddedReber",
    "LongLag2a",
    "LongLag2b",
    "LongLag2c",
    "Multiplication",
    "Parity",
    "PermutedMNIST",
    "RandomPermutation",
    "RegressionTask",
    "SelectiveCopying",
    "SequentialMNIST",
    "Task",
    "TemporalOrder6a",
    "TemporalOrder6b",
    "TwoSequence3a",
    "TwoSequence3b",
    "TwoSequence3c",
    "VariableCopy",
    "legal_successors",
    "load_digits",
]
