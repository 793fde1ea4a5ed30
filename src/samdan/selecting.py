"""Which documents are worth training on: selection methods as specs.

A method says what makes a document good and how many tokens are kept; ``samdan.data.selection``
measures and chooses. To add one: write a class here with a ``kind`` and name it in ``Select``, and
add its functions to ``MEASURES`` and ``SCORES`` there; a test holds that the three agree.

Percentile ranks are ``(documents below + half of the equal ones) / documents``. Logarithms are
natural unless written otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from samdan.spec import Count, Positive, Share, Spec, Whole

Sampling = Literal["hard", "soft"]


def _task_text(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _day(value: Any) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"found {value!r}, expected a date such as 2024-03-01") from None


class TextFile(Spec):
    """Texts in a file: a ``.txt`` or ``.md`` file is one text, other files hold one in each row."""

    path: str
    """A file, a folder or a glob, relative to the recipe's folder."""
    columns: tuple[str, ...] = ()
    """Columns that make up a text; default ``text``, or else everything in the row that is text."""


# Written as a path, or as a mapping where columns are to be named.
Texts = Annotated[
    TextFile, BeforeValidator(_task_text, json_schema_input_type=str | TextFile)
]
Day = Annotated[date, BeforeValidator(_day, json_schema_input_type=str)]


class Quota(Spec):
    """No single source, author, year ... may fill the selection."""

    by: str = "source"
    """``source``, ``year``, or another field of the document's metadata, such as ``license``."""
    at_most: Annotated[float, Field(strict=True, gt=0, le=1)]
    """Share of the budget that one value gets; never exceeded."""


class TfIdf(Spec):
    """Hashed TF-IDF: needs no model.

    Term t of document d weighs ``(1 + ln tf(t, d)) * (ln((1 + n) / (1 + df(t))) + 1)``. A hash
    sends each term to one of ``dimensions`` places and gives it a sign (Weinberger et al. 2009),
    which keeps inner products in expectation; the vector is divided by its length.
    """

    kind: Literal["tfidf"] = "tfidf"
    units: Literal["auto", "morphemes", "characters"] = "auto"
    """Morphemes with their tags, or character 2- and 3-grams; ``auto``: whichever is installed."""
    dimensions: Count = 1024


class HiddenStates(Spec):
    """The mean over a document's tokens of a causal model's last hidden states."""

    kind: Literal["hidden_states"] = "hidden_states"
    path: str
    """A folder in Hugging Face layout, or a Hub id."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""
    max_tokens: Count = 1024
    """Only so many tokens of a document are read, from its start."""


class SentenceModel(Spec):
    """The mean over a document's tokens of an encoder's last hidden states."""

    kind: Literal["sentence_model"] = "sentence_model"
    path: str
    """A folder in Hugging Face layout, or a Hub id."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""
    max_tokens: Count = 512
    """Only so many tokens of a document are read, from its start."""


Embedding = Annotated[TfIdf | HiddenStates | SentenceModel, Field(discriminator="kind")]


class Surrogate(Spec):
    """The small model whose perplexity tells what is new; best of the family that is trained."""

    path: str
    """A folder in Hugging Face layout, or a Hub id."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""
    max_length: Count = 1024
    """Tokens that the model reads at once; longer documents are read in pieces."""
    max_tokens: Count | None = None
    """Only so many tokens of a document are read, from its start."""


class Selection(Spec):
    """What every method shares."""

    tokens: Count | None = None
    """Budget in tokens."""
    share: Annotated[float, Field(strict=True, gt=0, le=1)] | None = None
    """Budget as a share of the tokens of all documents; FinPythia's is 0.1."""
    quota: Quota | None = None
    min_tokens: Whole = 0
    """Shorter documents are left out: their statistics are unstable."""

    @model_validator(mode="after")
    def _one_budget(self) -> Selection:
        if (self.tokens is None) == (self.share is None):
            raise ValueError("expected exactly one of 'tokens' and 'share'")
        return self

    def budget(self, total: int) -> float:
        """Tokens to keep of ``total``."""
        return float(self.tokens) if self.tokens is not None else float(self.share or 0) * total


class Ets(Selection):
    """Similarity to the task: ``cos(e(d), mean of e(t) over the task's texts t)``.

    FinPythia's ETS-DACP (Xie, Aggarwal and Ahmad 2024, arXiv 2311.08545). Soft weights are the
    scores scaled to [0, 1].
    """

    kind: Literal["ets"] = "ets"
    tasks: tuple[Texts, ...] = Field(min_length=1)
    """Files with text of the task: unlabelled questions, examples of what the model shall do."""
    embedding: Embedding = TfIdf()
    sampling: Sampling = "hard"
    """``hard``: the best first. ``soft``: drawn without replacement, weighted by the score."""


class _Novelty(Selection):
    """What the two methods with perplexity share."""

    surrogate: Surrogate | None = None
    trim: tuple[Share, Share] = (0.05, 0.95)
    """Percentile ranks of perplexity between which a document may lie: beyond is mostly noise."""
    min_tokens: Whole = 100
    """Shorter documents are left out: their perplexity and entropy are unstable."""
    sampling: Sampling = "hard"
    """``hard``: the best first. ``soft``: drawn without replacement, weighted by the score."""

    @model_validator(mode="after")
    def _trims_something(self) -> _Novelty:
        if not self.trim[0] < self.trim[1]:
            raise ValueError(f"trim: found {list(self.trim)}, expected [low, high] with low < high")
        return self


class Eta(_Novelty):
    """Novelty and diversity, without any text of the task.

    ``ppl = exp(mean of -ln p(x_i | x_<i))`` of the surrogate; ``ent = -sum of f_k log2 f_k``, f_k
    the share of part of speech k among the morphemes that hold a letter. FinPythia's ETA-DACP-ppl
    and -ent (arXiv 2311.08545); with both, the mean of the two percentile ranks. Soft weights are
    the scores scaled to [0, 1].
    """

    kind: Literal["eta"] = "eta"
    use: tuple[Literal["ppl", "ent"], ...] = ("ppl", "ent")

    @model_validator(mode="after")
    def _measures(self) -> Eta:
        if not self.use or len(set(self.use)) < len(self.use):
            raise ValueError("use: expected 'ppl', 'ent' or both, each once")
        if "ppl" in self.use and self.surrogate is None:
            raise ValueError("'ppl' needs a 'surrogate': {path: a small model}")
        if "ppl" not in self.use and self.surrogate is not None:
            raise ValueError("a 'surrogate' has no effect unless 'use' names 'ppl'")
        return self


class EtsCom(_Novelty):
    """The mean of the percentile ranks of similarity, perplexity and entropy.

    FinPythia's ETS-DACP-com (arXiv 2311.08545). Soft weights are the scores scaled to [0, 1].
    """

    kind: Literal["ets_com"] = "ets_com"
    tasks: tuple[Texts, ...] = Field(min_length=1)
    """Files with text of the task: unlabelled questions, examples of what the model shall do."""
    embedding: Embedding = TfIdf()
    surrogate: Surrogate


class Dsir(Selection):
    """Importance of hashed n-grams: ``sum over the n-grams g of d of ln(p_task(g) / p_corpus(g))``.

    Words and pairs of words, hashed into buckets; p is a bucket's share, with 1e-8 added. Soft:
    Gumbel noise is added and the largest are kept, which resamples without replacement (DSIR, Xie
    et al. 2023, arXiv 2302.03169). The paper cuts its texts to 128 words, since the sum grows with
    the length; here a document's sum is scaled to the n-grams of ``scale_to_words`` words.
    """

    kind: Literal["dsir"] = "dsir"
    tasks: tuple[Texts, ...] = Field(min_length=1)
    """Files with text like that which is wanted."""
    units: Literal["words", "morphemes"] = "words"
    """Runs of letters and of punctuation as in the paper, or a tagger's morphemes."""
    buckets: Count = 10_000
    scale_to_words: Annotated[int, Field(strict=True, ge=2)] | None = 128
    """None: the plain sum, which is right where all documents have one length."""
    sampling: Sampling = "soft"
    """``soft`` as in the paper. ``hard``: the largest weights first."""


class Recency(Selection):
    """New before old: ``weight = 2 ** (-age in days / half_life_days)``.

    A date that names no day (2021, 2021-03) stands for the last day that it may mean.
    """

    kind: Literal["recency"] = "recency"
    half_life_days: Positive
    as_of: Day | None = None
    """Ages are counted from here; default the newest document. What is newer has age 0."""
    not_before: Day | None = None
    """Older documents are left out."""
    not_after: Day | None = None
    """Newer documents are left out: what the evaluation asks about must not be read before."""
    undated: Literal["drop", "oldest", "median"] = "drop"
    """Left out, or as old as the oldest or the median of the dated documents."""
    sampling: Sampling = "soft"
    """``soft``: drawn without replacement by weight. ``hard``: the newest first."""

    @model_validator(mode="after")
    def _cutoffs(self) -> Recency:
        if self.not_before and self.not_after and self.not_before > self.not_after:
            raise ValueError(f"not_before {self.not_before} is later than not_after")
        if self.undated != "drop" and (self.not_before or self.not_after):
            raise ValueError(
                f"undated '{self.undated}' with a cut-off: nobody knows on which side such a "
                f"document lies; use 'drop'"
            )
        return self


class Quality(Selection):
    """Probability of being good, by a classifier trained on your own good and bad samples.

    Character 2- to 5-grams, hashed, and logistic regression. The report says how well it tells
    samples apart that it has not seen (area under the ROC curve). Soft weights are the
    probabilities.
    """

    kind: Literal["quality"] = "quality"
    good: tuple[Texts, ...] = Field(min_length=1)
    """Files with texts as they should be."""
    bad: tuple[Texts, ...] = Field(min_length=1)
    """Files with texts as they should not be."""
    sampling: Sampling = "hard"
    """``hard``: the best first. ``soft``: drawn without replacement, weighted by the score."""


class Random(Selection):
    """Every document is as good as any other: what the other methods must beat."""

    kind: Literal["random"] = "random"


Select = Annotated[
    Ets | Eta | EtsCom | Dsir | Recency | Quality | Random, Field(discriminator="kind")
]


def is_soft(spec: Select) -> bool:
    """Whether documents are drawn; ``random`` sorts by the draw alone."""
    return not isinstance(spec, Random) and spec.sampling == "soft"


def text_files(spec: Select) -> Mapping[str, tuple[TextFile, ...]]:
    """The files that a method reads besides the corpus, by key: part of what it depends on."""
    if isinstance(spec, Ets | EtsCom | Dsir):
        return {"tasks": spec.tasks}
    return {"good": spec.good, "bad": spec.bad} if isinstance(spec, Quality) else {}


def read_paths(spec: Select) -> tuple[str, ...]:
    """Everything on disk that a method reads besides the corpus: files of text, and models."""
    files = [file.path for group in text_files(spec).values() for file in group]
    models = [getattr(spec, name, None) for name in ("embedding", "surrogate")]
    named = [m.path for m in models if isinstance(m, HiddenStates | SentenceModel | Surrogate)]
    return (*files, *named)
