"""What a stage reads: data locations, what is held out of them, and the mix at a stage's end."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from samdan.cleaning import Cleaning
from samdan.filters import Filters
from samdan.infilling import Fim
from samdan.personal import PersonalData
from samdan.selecting import Select
from samdan.spec import Count, Positive, Share, Spec

# Names become folders of the run directory and parts of metric names.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9가-힣][A-Za-z0-9가-힣_.-]*$", max_length=64)]


class Source(Spec):
    """One data location with a role and a weight in tokens."""

    path: str | None = None
    """A file, a directory or a glob, relative to the recipe's folder."""
    hub: str | None = None
    """A data set on the Hugging Face Hub; the only thing here that reads the network."""
    revision: str | None = None
    """Branch, tag or commit of ``hub``; the commit it stood for is written into the run."""
    subset: str | None = None
    """Configuration of ``hub``, where it has several."""
    split: str = "train"
    """Split of ``hub``."""
    name: Name | None = None
    """Names the held-out set (``<name>/bpb``); defaults to the file's name."""
    role: Literal["target", "replay", "synthetic"] = "target"
    weight: Positive | None = None
    """Share of the stage's tokens, relative to the other sources' weights."""
    epochs: Positive | None = None
    """Passes over this source in the whole stage, instead of a weight; repeats are counted."""
    format: Literal[
        "auto", "text", "messages", "prompt_completion", "alpaca", "sharegpt", "preference"
    ] = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column name to the file's, for example ``{prompt: Q, completion: A}``."""
    clean: Cleaning | None = Cleaning()
    """What is repaired and left out in the text of documents; null: nothing."""
    personal: PersonalData | None = PersonalData()
    """Personal data and secrets are masked in every record; null: they are not looked for."""
    license: str | None = None
    """Licence of the rows that name none themselves; counted in the data card."""
    filters: Filters = ()
    """Document filters of a CPT source, applied in order; presets are expanded."""
    select: Select | None = None
    """Keep only the documents that are worth a budget of tokens."""
    fim: Fim | None = None
    """Read a share of the documents of a CPT source with the middle last."""
    max_records: Count | None = None
    """Read only so many records, taken from the start."""
    drop_refusals: bool = False
    """Of pairs: leave out those whose chosen answer refuses a prompt that sounds harmless."""

    @model_validator(mode="after")
    def _one_location(self) -> Source:
        if (self.path is None) == (self.hub is None):
            raise ValueError("expected exactly one of 'path' and 'hub'")
        if self.hub is None and (self.revision is not None or self.subset is not None):
            raise ValueError("'revision' and 'subset' belong to 'hub'; a local path has none")
        return self

    @property
    def label(self) -> str:
        """The source's name: as given, or the stem of its file."""
        if self.name:
            return self.name
        location = self.hub or self.path or ""
        stem = PurePath(re.sub(r"[*?\[].*$", "", location).rstrip("/") or "data").name
        return re.sub(r"[^A-Za-z0-9가-힣_-]+", "-", stem.split(".")[0]).strip("-") or "data"


class HeldOut(Spec):
    """Which records are kept from training, for measuring.

    Chosen by a hash of their content and nothing else, so that stages and sources that share a
    record agree about it.
    """

    share: Share = 0.02
    max_records: Count = 200
    """So many of them are measured."""


class Anneal(Spec):
    """A second mix for the end of the stage: the best data while the learning rate decays.

    Reuse, Don't Retrain (2407.07263) switches when the rate has fallen to a fifth of its peak.
    """

    weights: dict[str, Positive] = Field(min_length=1)
    """Source to its share of the tokens, relative to the others; sources not named rest."""
    share: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.2
    """The last share of the stage's tokens that is mixed so."""
