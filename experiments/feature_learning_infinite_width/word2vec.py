"""Word vectors by CBOW: finite widths tend to the limit, and on books the limit learns analogies, kernels none."""

import collections
import lzma
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from experiments.feature_learning_infinite_width.config import WordVectorSizes
from experiments.harness import Claim, Context, name_ticks, new_figure, sheet
from jaxlib_methods.infinite_width import cbow_init, cbow_limit_init, cbow_step, negative_samples, shrunk_windows
from jaxlib_methods.runtime import DataError, data_path

TOPICS, WORDS, SENTENCE = 5, 30, 12
DECAY = 0.001
SIMILARITY = ("EN-MEN-TR-3k", "EN-WS-353-ALL", "EN-SIMLEX-999")


def topic_stream(seed: int, sentences: int) -> np.ndarray:
    """Sentences of one topic each, a fifth of their words from anywhere; -1 after each."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(TOPICS, size=(sentences, 1))
    own = topic * (WORDS // TOPICS) + rng.integers(WORDS // TOPICS, size=(sentences, SENTENCE))
    words = np.where(rng.random(own.shape) < 0.2, rng.integers(WORDS, size=own.shape), own)
    return np.concatenate([words, np.full((sentences, 1), -1)], 1).ravel().astype(np.int32)


def train(vectors, key, tokens, counts, centers, first, total, *, rate, window, negatives):
    """Steps on the rows of `centers`, the first of them number `first` of `total`; the rate falls linearly."""

    def step(vectors, inputs):
        i, here = inputs
        near, noise = jax.random.split(jax.random.fold_in(key, i))
        context = shrunk_windows(near, tokens, here, window=window)
        word = tokens[here][:, None]
        drawn = negative_samples(noise, counts, (len(here), negatives))
        targets = jnp.concatenate([word, jnp.where((drawn == word) | (word < 0), -1, drawn)], 1)
        context = jnp.where(word < 0, -1, context)
        now = rate * jnp.maximum(1 - (first + i) / total, 1e-4)
        return cbow_step(vectors, context, targets, now, weight_decay=DECAY)

    return jax.lax.scan(step, vectors, (jnp.arange(len(centers)), centers))


def convergence(sizes: WordVectorSizes, context: Context, key) -> np.ndarray:
    """Root mean square difference of all logits from the limit's, by width, over seeds."""
    tokens = topic_stream(0, sizes.steps // SENTENCE + 1)
    words = tokens >= 0
    counts = jnp.asarray(np.bincount(tokens[words], minlength=WORDS), jnp.float32)
    centers = jnp.asarray(np.flatnonzero(words)[: sizes.steps, None])
    run = jax.jit(
        lambda v: train(
            v, key, jnp.asarray(tokens), counts, centers, 0, sizes.steps, rate=sizes.rate, window=3, negatives=5
        )[0]
    )
    logits = lambda v: np.einsum("vn,wn->vw", v.outer, v.inner)
    limit = logits(run(cbow_limit_init(WORDS)))
    gaps = []
    for n in context.progress(sizes.widths, "widths"):
        starts = [cbow_init(jax.random.fold_in(key, 1000 * n + seed), WORDS, n) for seed in range(sizes.seeds)]
        gaps.append(np.sqrt(np.mean([(logits(run(start)) - limit) ** 2 for start in starts])))
    return np.array(gaps)


def books(sizes: WordVectorSizes, directory) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Vocabulary by falling count, the counts, and the tokens that are in it.

    Raises:
      DataError: if the file is not there.
    """
    with lzma.open(data_path("books", "books.txt.xz", directory)) as file:
        tokens = re.findall("[a-z]+", file.read(sizes.megabytes * 10**6).decode(errors="ignore").lower())
    counted = [(word, n) for word, n in collections.Counter(tokens).most_common() if n >= sizes.min_count]
    index = {word: i for i, (word, _) in enumerate(counted)}
    stream = np.array([index[word] for word in tokens if word in index], np.int32)
    return list(index), np.array([n for _, n in counted]), stream


def analogies(vocabulary: list[str], inner: np.ndarray, directory) -> float:
    """Share of questions answered: the word nearest to b - a + c, other than these."""
    index = {word: i for i, word in enumerate(vocabulary)}
    lines = data_path("words", "questions-words.txt", directory).read_text().lower().splitlines()
    questions = [line.split() for line in lines if not line.startswith(":")]
    known = np.array([[index[w] for w in words] for words in questions if all(w in index for w in words)])
    unit = jnp.asarray(inner / np.maximum(np.linalg.norm(inner, axis=1, keepdims=True), 1e-30))

    @jax.jit
    def right(rows):
        a, b, c, d = rows.T
        scores = (unit[b] - unit[a] + unit[c]) @ unit.T
        near = scores.at[jnp.arange(len(rows))[:, None], rows[:, :3]].set(-jnp.inf)
        return (jnp.argmax(near, 1) == d) & (jnp.max(near, 1) > jnp.min(jnp.where(jnp.isinf(near), jnp.inf, near), 1))

    return float(np.mean(np.concatenate([right(part) for part in np.array_split(known, max(1, len(known) // 256))])))


def similarity(vocabulary: list[str], inner: np.ndarray, directory) -> list[float]:
    """Rank correlations of cosines with the judgements of people, by set."""
    index = {word: i for i, word in enumerate(vocabulary)}
    unit = inner / np.maximum(np.linalg.norm(inner, axis=1, keepdims=True), 1e-30)
    found = []
    for name in SIMILARITY:
        rows = [line.split() for line in data_path("words", f"{name}.txt", directory).read_text().lower().splitlines()]
        pairs = [(index[a], index[b], float(s)) for a, b, s in rows if a in index and b in index]
        cosines = [float(unit[a] @ unit[b]) for a, b, _ in pairs]
        found.append(float(np.asarray(spearmanr(cosines, [s for *_, s in pairs]))[0]))
    return found


def book_vectors(sizes: WordVectorSizes, context: Context, key) -> dict[str, np.ndarray] | str:
    """Accuracy on analogies, then rank correlations with similarities, by width; or why there are none."""
    if not sizes.epochs:
        return "needs the preset full"
    try:
        vocabulary, counts, stream = books(sizes, context.data_directory)
        data_path("words", "questions-words.txt", context.data_directory)
    except DataError as error:
        return str(error)
    threshold = sizes.subsampling * len(stream)
    keep = (np.sqrt(counts / threshold) + 1) * threshold / counts
    total = int(sizes.epochs * (np.minimum(keep, 1) * counts).sum() / sizes.batch)
    noise = jnp.asarray(counts, jnp.float32)
    options: Any = dict(rate=sizes.book_rate, window=sizes.window, negatives=sizes.negatives)
    run = jax.jit(
        lambda vectors, at, tokens, part, done: train(vectors, at, tokens, noise, part, done, total, **options),
        donate_argnums=0,
    )
    v = len(vocabulary)
    starts = {str(n): lambda n=n: cbow_init(key, v, n) for n in sizes.book_widths} | {
        "limit": lambda: cbow_limit_init(v)
    }
    found = {
        "GP and NTK": np.array([analogies(vocabulary, np.eye(v, dtype=np.float32), context.data_directory), 0, 0, 0])
    }
    for name in context.progress(starts, "books"):
        vectors, done = starts[name](), 0
        if context.mesh is not None:
            rows = jax.NamedSharding(context.mesh, jax.P("model" if "model" in context.mesh.axis_names else None))
            vectors = jax.device_put(vectors, rows)
        for epoch in range(sizes.epochs):
            rng = np.random.default_rng(epoch)
            tokens = stream[rng.random(len(stream)) < keep[stream]]
            order = rng.permutation(len(tokens))
            rows = order[: len(order) // sizes.batch * sizes.batch].reshape(-1, sizes.batch)
            for part in np.array_split(rows, max(1, len(rows) // 1000)):
                at = jax.random.fold_in(key, done)
                vectors, _ = run(vectors, at, jnp.asarray(tokens), jnp.asarray(part), jnp.float32(done))
                done += len(part)
        inner = np.asarray(vectors.inner)
        right = analogies(vocabulary, inner, context.data_directory)
        found[name] = np.array([right, *similarity(vocabulary, inner, context.data_directory)])
    return found


def word_vector_claims(sizes: WordVectorSizes, gaps: np.ndarray, found: dict[str, np.ndarray] | str) -> list[Claim]:
    claim, table = sheet("reproduction quick (d)"), sheet("headline results, table 3", "paper")
    answered = found if isinstance(found, str) else {name: float(values[0]) for name, values in found.items()}
    kernels = answered if isinstance(answered, str) else answered["GP and NTK"]
    order = [str(n) for n in sizes.book_widths] + ["limit"]
    steps = np.log(np.divide(sizes.widths[1:], sizes.widths[:-1])) / np.log(4)
    return [
        claim(
            Claim.close,
            "word-vectors-converge",
            "Logits of word vectors tend to the limit's as the root of the width: ratio for four times the width.",
            expected=np.full(len(steps), 0.5),
            measured=(gaps[1:] / gaps[:-1]) ** (1 / steps),
            tolerance=0.08,
        ),
        table(
            Claim.ordering,
            "word-vectors-analogies",
            "On books the accuracy on analogies grows with the width up to the limit.",
            expected=order,
            measured=answered,
        ),
        table(
            Claim.at_most,
            "word-vectors-kernels",
            "The GP and NTK limits, whose vectors do not move, answer no analogy.",
            expected=0.001,
            measured=kernels,
        ),
    ]


def convergence_figure(sizes: WordVectorSizes, gaps: np.ndarray):
    figure, axes = new_figure("width n", "rms difference of logits from the limit's", log=True)
    axes.plot(sizes.widths, gaps, "o-", label="word vectors of topics")
    axes.plot(sizes.widths, gaps[0] * (sizes.widths[0] / np.array(sizes.widths)) ** 0.5, "--", label=r"$n^{-1/2}$")
    name_ticks(axes, sizes.widths)
    axes.legend()
    return figure


def analogy_figure(sizes: WordVectorSizes, found: dict[str, np.ndarray]):
    figure, axes = new_figure("width n", "analogies answered", log="x")
    axes.plot(sizes.book_widths, [found[str(n)][0] for n in sizes.book_widths], "o-", label="finite width")
    axes.axhline(found["limit"][0], linestyle="--", label="limit")
    axes.axhline(found["GP and NTK"][0], color="C1", linestyle=":", label="GP and NTK")
    name_ticks(axes, sizes.book_widths)
    axes.legend()
    return figure
