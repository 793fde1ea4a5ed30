"""A classifier of good and bad texts, trained on the user's samples on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from samdan.data.selection.hashing import Float, document_id
from samdan.records import DataError, EnvironmentFailure

FEATURES = 1 << 18
MAX_CHARS = 5_000  # read of a text, from its start
MIN_SAMPLES = 10
HELD_OUT_EVERY = 5  # one sample of five is held out for the measure
EPOCHS = 20


@dataclass(frozen=True)
class Classifier:
    """Logistic regression on hashed character 2- to 5-grams."""

    weights: Float  # [FEATURES]
    bias: float
    auc: float  # on samples that were held out; the classifier itself then saw all of them
    good: int
    bad: int

    def probabilities(self, texts: Sequence[str]) -> Float:
        """[n]: the probability of being good."""
        logits = _vectorizer().transform([t[:MAX_CHARS] for t in texts]) @ self.weights + self.bias
        return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))


def train_classifier(
    good: Sequence[str], bad: Sequence[str], seed: int, where: str = "select"
) -> Classifier:
    """Raises DataError when there are too few samples or one text is called both good and bad."""
    kept = {"good": _distinct(good), "bad": _distinct(bad)}
    for name, texts in kept.items():
        if len(texts) < MIN_SAMPLES:
            raise DataError(
                f"{where}.{name}: found {len(texts)} different texts, "
                f"expected {MIN_SAMPLES} or more"
            )
    both = set(kept["good"]) & set(kept["bad"])
    if both:
        raise DataError(f"{where}.bad: {min(both)[:60]!r} is among the good samples too")
    texts = kept["good"] + kept["bad"]
    labels = np.asarray([1] * len(kept["good"]) + [0] * len(kept["bad"]))
    held = np.concatenate(
        [np.arange(len(kept[name])) % HELD_OUT_EVERY == 0 for name in ("good", "bad")]
    )
    matrix = _vectorizer().transform([text[:MAX_CHARS] for text in texts])
    trial = _fitted(matrix[~held], labels[~held], seed)
    auc = area_under_curve(trial.decision_function(matrix[held]), labels[held])
    final = _fitted(matrix, labels, seed)
    return Classifier(
        final.coef_[0].astype(np.float64),
        float(final.intercept_[0]),
        auc,
        len(kept["good"]),
        len(kept["bad"]),
    )


def area_under_curve(scores: Float, labels: Any) -> float:
    """The chance that a good text scores above a bad one; an equal score counts half."""
    good, bad = scores[labels == 1], scores[labels == 0]
    ordered = np.sort(bad)
    below = np.searchsorted(ordered, good, side="left")
    at_most = np.searchsorted(ordered, good, side="right")
    return float(((below + at_most) / 2).sum() / (len(good) * len(bad)))


def _distinct(texts: Sequence[str]) -> list[str]:
    """In the order of a hash: which samples are held out does not depend on the files' order."""
    return sorted(set(texts), key=lambda text: (document_id(text), text))


def _fitted(matrix: Any, labels: Any, seed: int) -> Any:
    model = _library("sklearn.linear_model").SGDClassifier(
        loss="log_loss",
        alpha=1e-5,
        max_iter=EPOCHS,
        tol=None,
        average=True,
        class_weight="balanced",
        random_state=int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big"),
    )
    return model.fit(matrix, labels)


def _vectorizer() -> Any:
    return _library("sklearn.feature_extraction.text").HashingVectorizer(
        analyzer="char", ngram_range=(2, 5), n_features=FEATURES, lowercase=False, norm="l2"
    )


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise EnvironmentFailure(
            "select: kind 'quality' needs scikit-learn: pip install 'samdan[corpus]'"
        ) from None
