"""How good written texts are, beside all that they might have been."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from benchmarks.results import Record
from rnnjax.tasks.pairs import PairCorpus


def measure(corpus: PairCorpus, written: Sequence[str], targets: Sequence[tuple[str, ...]]) -> Record:
    """The scores that go with a corpus: "exact" and "error" from 0 to 1, "bleu-1" to "bleu-4" from 0 to 100."""
    scores: Record = {}
    if "exact" in corpus.scores:
        scores["exact"] = float(np.mean([text in own for text, own in zip(written, targets, strict=True)]))
    if "error" in corpus.scores:
        scores["error"] = _error(corpus, written, targets)
    if "bleu" in corpus.scores:
        most = max(map(len, targets))
        references: Any = [[own[place] if place < len(own) else None for own in targets] for place in range(most)]
        for order in range(1, 5):
            bleu = BLEU(max_ngram_order=order).corpus_score(list(written), references)
            scores[f"bleu-{order}"] = float(bleu.score)
    return scores


def _error(corpus: PairCorpus, written: Sequence[str], targets: Sequence[tuple[str, ...]]) -> float:
    """Edits from the nearest target, over the symbols of these."""
    symbols = corpus.target_unit.symbols
    found = []
    for text, own in zip(written, targets, strict=True):
        found.append(min((edits(symbols(text), symbols(target)), len(symbols(target))) for target in own))
    return sum(number for number, _ in found) / sum(length for _, length in found)


def edits(a: Sequence[Any], b: Sequence[Any]) -> int:
    """The Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a):
        before, row[0] = row[0], i + 1
        for j, right in enumerate(b):
            before, row[j + 1] = row[j + 1], min(row[j] + 1, row[j + 1] + 1, before + (left != right))
    return row[-1]
