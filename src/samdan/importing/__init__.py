"""Configurations of other trainers as a stage of a recipe.

Pure: text in, a stage and three lists out: what was taken over, what has no counterpart and why,
and what the other tool does without saying so. A value that the configuration leaves to the other
tool's default is written out, since samdan's defaults differ.
"""

from samdan.importing.convert import convert
from samdan.importing.flags import read_configuration
from samdan.importing.lists import Imported
from samdan.importing.text import recipe_text
from samdan.importing.tools import TOOLS

__all__ = ["TOOLS", "Imported", "convert", "read_configuration", "recipe_text"]
