"""Long-lag tasks, and their registry: a new task is one file here and one line in `TASKS`."""

from rnnjax.registry import Registry
from rnnjax.tasks.adding import Adding1997, AddingArjovsky, AddingBai, AddingPascanu
from rnnjax.tasks.base import Batch, ClassificationTask, RegressionTask, Task
from rnnjax.tasks.copy_memory import CopyMemory
from rnnjax.tasks.temporal_order import TemporalOrder6a, TemporalOrder6b

TASKS: Registry[type[Task]] = Registry(
    "task",
    {
        "adding-1997": Adding1997,
        "adding-pascanu": AddingPascanu,
        "adding-arjovsky": AddingArjovsky,
        "adding-bai": AddingBai,
        "copy-memory": CopyMemory,
        "temporal-order-6a": TemporalOrder6a,
        "temporal-order-6b": TemporalOrder6b,
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
    "CopyMemory",
    "RegressionTask",
    "Task",
    "TemporalOrder6a",
    "TemporalOrder6b",
]
