"""samdan (삼단, three tiers): one recipe, three stages, evidence after each.

>>> import samdan
>>> recipe = samdan.load_recipe("recipe.yaml")
>>> for step in samdan.plan(recipe):
...     print(step.name)
>>> outcome = samdan.run(recipe, "runs/first")
>>> outcome.report["stages"][0]["metrics"]
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load_recipe", "plan", "run"]

if TYPE_CHECKING:
    from samdan.run.api import evaluate, load_recipe, plan, run


class _CallableModule(ModuleType):
    """``samdan.plan`` and ``samdan.run`` are modules, and the functions of the same name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from samdan.run import api

        return getattr(api, self.__name__.rpartition(".")[2])(*args, **options)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        """Importing a submodule binds it here: the two become callable, whoever imports them."""
        if name in ("plan", "run") and isinstance(value, ModuleType):
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Loads the functions when they are first used: ``import samdan`` stays quick."""
    if name in ("plan", "run"):
        return importlib.import_module(f"samdan.{name}")
    if name in __all__:
        from samdan.run import api

        return getattr(api, name)
    raise AttributeError(f"module 'samdan' has no attribute '{name}'")
