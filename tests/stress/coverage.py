"""How often intervals hold, and verdicts of a table together: `nox -s stress -- coverage`.

Texts are made with known truth and cut into windows as the program cuts them; its own functions then give intervals and verdicts. Tokens are
correlated (first order, within a document), documents differ, tails are as heavy as those of published runs, and kinds of
prompt come in turn as the prompt set has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from bench.statistics.estimates import LEVEL, Estimate, Scale, mean_of
from bench.statistics.layout import Layout
from bench.statistics.verdicts import shown

WINDOW = 2048
WINDOWS = (6, 8, 16, 32)

#: Mean NLL of the F16 default model by kind, and mean KL divergence of its IQ2_XXS file, rounded from the published run.
_NLL = (2.1, 2.1, 3.7, 3.5, 3.9, 3.3, 3.9, 4.3, 4.0)
_KL = (3.0, 3.0, 2.1, 2.6, 1.9, 2.1, 2.0, 2.1, 2.0)


@dataclass(frozen=True)
class Population:
    """Where texts come from. kinds: what each document of a round is of; length: tokens of a document, on average; uneven: how many times more
    documents of the first kind differ from each other than others do; tail: sigma of the logarithm of a token's KL divergence; rho:
    correlation of neighbouring tokens."""

    about: str
    kinds: tuple[int, ...] = (0, 0, 1, 2, 3, 4, 5, 6, 7)
    length: int = 1080
    uneven: float = 1.0
    tail: float = 1.0
    rho: float = 0.2
    named: bool = True


POPULATIONS = (
    Population("the prompt set: 8 kinds in turn"),
    Population("8 kinds, code varies 3 times as much", uneven=3.0),
    Population("8 kinds, heavy correlated tails", tail=2.0, rho=0.7),
    Population("2 kinds in turn", kinds=(0, 1), length=2048),
    Population("one kind", kinds=(3,), named=False),
    Population("one kind, heavy correlated tails", kinds=(3,), tail=2.0, rho=0.7, named=False),
    Population("one kind, documents longer than 2 windows", kinds=(3,), length=5000, named=False),
)


@dataclass(frozen=True)
class Text:
    """Tokens in windows. document, kind: indices of the scored tokens; window: of each."""

    population: Population
    document: NDArray[np.int64]
    kind: NDArray[np.int64]
    window: NDArray[np.int64]

    @classmethod
    def of(cls, population: Population, windows: int, rng: np.random.Generator) -> Text:
        n, lengths, order = windows * WINDOW, [], population.kinds
        while sum(lengths) < n + WINDOW:
            lengths.append(max(int(population.length * rng.uniform(0.9, 1.1)), 1))
        document = np.repeat(np.arange(len(lengths)), lengths)[:n]
        at = np.arange(n)
        scored = at % WINDOW > WINDOW // 2
        kinds = np.array([order[i % len(order)] for i in range(len(lengths))])
        return cls(population, document[scored], kinds[document[scored]], at[scored] // WINDOW)

    def layout(self) -> tuple[Layout, NDArray[np.int64]]:
        """As the program makes it of records, and the part of each token."""
        kind = self.kind if self.population.named else np.zeros_like(self.kind)
        keys, part, counts = np.unique(self.window * 100 + kind, return_inverse=True, return_counts=True)
        return Layout.of_parts(list(keys // 100), [f"{k % 100}" for k in keys], list(counts)), part

    def correlated(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Standard normal values of tokens, correlated with their neighbours."""
        from scipy.signal import lfilter

        rho, noise = self.population.rho, rng.standard_normal(len(self.kind))
        noise[1:] *= np.sqrt(1 - rho**2)
        found: NDArray[np.float64] = lfilter([1.0], [1.0, -rho], noise)
        return found

    def of_documents(self, spread: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """An effect of each document with this standard deviation, by token."""
        effects = rng.standard_normal(self.document.max() + 1) * spread
        wide = np.where(self.kind == 0, self.population.uneven, 1.0)
        found: NDArray[np.float64] = effects[self.document] * wide
        return found

    def mixed(self, by_kind: NDArray[np.float64]) -> float:
        """What a mean over such texts of this mixture is in truth, from that of each kind."""
        return float(by_kind[self.kind].mean())


#: A quantity: its scale, and values of tokens with the true mean.
Draw = Callable[[Text, np.random.Generator], tuple[NDArray[np.float64], float]]
_KIND_NLL = np.array([_NLL[i] for i in (0, 2, 3, 4, 5, 6, 7, 8)])
_KIND_KL = np.array([_KL[i] for i in (0, 2, 3, 4, 5, 6, 7, 8)])


def _nll(text: Text, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    from scipy.special import log_ndtr

    tokens = _KIND_NLL[text.kind] + text.of_documents(0.3, rng)
    return tokens * -log_ndtr(text.correlated(rng)), text.mixed(_KIND_NLL)


def _ratio(text: Text, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    true = -0.4 - 0.1 * (np.arange(8) == 0)
    return true[text.kind] + text.of_documents(0.08, rng) + 1.36 * text.correlated(rng), text.mixed(true)


def _wide(text: Text) -> NDArray[np.float64]:
    """Mean of exp(effect) of documents by kind, to divide by."""
    uneven = np.where(np.arange(8) == 0, text.population.uneven, 1.0)
    found: NDArray[np.float64] = np.exp((0.1 * uneven) ** 2 / 2)
    return found


def _kl(text: Text, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    tail = text.population.tail
    documents = np.exp(text.of_documents(0.1, rng)) / _wide(text)[text.kind]
    return _KIND_KL[text.kind] * documents * np.exp(tail * text.correlated(rng) - tail**2 / 2), text.mixed(_KIND_KL)


def _kl_change(text: Text, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    tail, kl = text.population.tail, _KIND_KL
    before = kl[text.kind] * np.exp(tail * text.correlated(rng) - tail**2 / 2)
    after = 0.75 * before * np.exp(0.5 * text.correlated(rng) - 0.125)
    return after - before + text.of_documents(0.1, rng), text.mixed(-0.25 * kl)


def _share(text: Text, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    from scipy.special import ndtr

    # E Phi(a + s z) = Phi(a / sqrt(1 + s^2))
    at, spread = np.linspace(-0.6, 0.2, 8), 0.15
    uneven = np.where(np.arange(8) == 0, text.population.uneven, 1.0)
    true = ndtr(at / np.sqrt(1 + (spread * uneven) ** 2))
    return (text.correlated(rng) < at[text.kind] + text.of_documents(spread, rng)).astype(float), text.mixed(true)


QUANTITIES: dict[str, tuple[Scale, Draw]] = {
    "ln PPL": ("plain", _nll),
    "ln PPL ratio": ("plain", _ratio),
    "KL": ("logarithm", _kl),
    "KL change": ("plain", _kl_change),
    "same top": ("odds", _share),
}


def estimated(text: Text, tokens: NDArray[np.float64], scale: Scale) -> Estimate:
    layout, part = text.layout()
    return mean_of(np.bincount(part, tokens) / np.bincount(part), layout, scale)


@dataclass(frozen=True)
class Coverage:
    """How often an interval held its truth, of `tries`, and how wide it was, half of it, in the median, on the plain scale."""

    population: str
    windows: int
    quantity: str
    held: float
    half_width: float
    tries: int


def coverage(tries: int, seed: int) -> Iterator[Coverage]:
    for population in POPULATIONS:
        for windows in WINDOWS:
            rng = np.random.default_rng([seed, windows, POPULATIONS.index(population)])
            held: Counter[str] = Counter()
            widths: dict[str, list[float]] = {name: [] for name in QUANTITIES}
            for _ in range(tries):
                text = Text.of(population, windows, rng)
                for name, (scale, draw) in QUANTITIES.items():
                    tokens, true = draw(text, rng)
                    e = estimated(text, tokens, scale)
                    held[name] += e.excludes(true) is False
                    widths[name].append(((e.high or 0) - (e.low or 0)) / 2)
            for name in QUANTITIES:
                yield Coverage(
                    population.about, windows, name, held[name] / tries, float(np.median(widths[name])), tries
                )


@dataclass(frozen=True)
class Family:
    """Tables of paired rows. alone: share of tables of nothing that show a difference by some row's own interval; false: the same of
    verdicts that hold together; needed_alone, needed: the change of perplexity that is shown in 80 % of rows, by either."""

    rows: int
    windows: int
    alone: float
    false: float
    needed_alone: float
    needed: float
    tries: int


def families(tries: int, seed: int) -> Iterator[Family]:
    """Rows share their windows: half of what documents and tokens do to a row, they do to all rows."""
    population = POPULATIONS[0]
    for rows in (5, 10, 25, 105):
        for windows in WINDOWS:
            rng = np.random.default_rng([seed, rows, windows])
            false = alone = 0
            needed: dict[float, list[float]] = {LEVEL: [], LEVEL / rows: []}
            for _ in range(tries):
                nothing = _rows_of_nothing(Text.of(population, windows, rng), rows, rng)
                alone += any(e.excludes(0) for e in nothing)
                false += any(shown(nothing))
                # added to a value, what moves its whole interval away from zero, in the first step of Holm's procedure
                for level, found in needed.items():
                    found += [-e.at(level)[0] for e in nothing if e.at]
            least = [float(np.expm1(np.percentile(found, 80))) for found in needed.values()]
            yield Family(rows, windows, alone / tries, false / tries, least[0], least[1], tries)


def _rows_of_nothing(text: Text, rows: int, rng: np.random.Generator) -> list[Estimate]:
    layout, part = text.layout()
    count = np.bincount(part)

    def noise() -> NDArray[np.float64]:
        tokens = text.of_documents(0.08, rng) + 1.36 * text.correlated(rng)
        found: NDArray[np.float64] = np.bincount(part, tokens) / count
        return found

    common = noise()
    return [mean_of(np.sqrt(0.5) * (common + noise()), layout) for _ in range(rows)]


def measure(tries: int, seed: int) -> dict[str, object]:
    """Both tables, ready for JSON."""
    found: list[Coverage] = []
    for c in coverage(tries, seed):
        found.append(c)
        if c.quantity == list(QUANTITIES)[-1]:
            of_text = [x for x in found if (x.population, x.windows) == (c.population, c.windows)]
            held = ", ".join(f"{x.quantity} {100 * x.held:.1f}" for x in of_text)
            print(f"  {c.population}, {c.windows} windows: {held}", flush=True)
    return {
        "coverage": [asdict(c) for c in found],
        "families": [asdict(f) for f in families(max(tries // 4, 1), seed)],
    }
