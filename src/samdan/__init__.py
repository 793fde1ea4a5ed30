"""samdan (삼단, three tiers): one recipe, three stages, evidence after each.

>>> import samdan
>>> recipe = samdan.load_recipe("recipe.yaml")
>>> for step in samdan.plan(recipe):
...     print(step.name)
>>> outcome = samdan.run(recipe, "runs/first")
>>> outcome.report["stages"][0]["metrics"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load_recipe", "plan", "run"]

if TYPE_CHECKING:
    from samdan.run.api import evaluate, load_recipe, plan, run


def __getattr__(name: str) -> Any:
    """Loads the functions when they are first used: ``import samdan`` stays quick."""
    if name in __all__:
        from samdan.run import api

        return getattr(api, name)
    raise AttributeError(f"module 'samdan' has no attribute '{name}'")
