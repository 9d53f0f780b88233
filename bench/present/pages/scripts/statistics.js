// Paired comparisons with the intervals of bench/statistics: Student's t over parts of windows, and for medians of times the same
// resamples, from the same generator.
const statistics = (() => {
  if (!DATA) return null;
  const { resamples, tails, least } = DATA.resampling;
  const TWO_32 = 2 ** 32;

  // PCG64 (XSL RR 128/64) as numpy has it: 32 bits at a time, the low half of a number first.
  const generator = () => {
    const multiplier = 0x2360ed051fc65da44385df649fccf645n, increment = BigInt(DATA.resampling.increment);
    let number = BigInt(DATA.resampling.state), high = null;
    return () => {
      if (high !== null) {
        const kept = high;
        high = null;
        return kept;
      }
      number = BigInt.asUintN(128, number * multiplier + increment);
      const mixed = BigInt.asUintN(64, (number >> 64n) ^ number), turn = number >> 122n;
      const drawn = BigInt.asUintN(64, (mixed >> turn) | (mixed << ((64n - turn) & 63n)));
      high = Number(drawn >> 32n);
      return Number(drawn & 0xffffffffn);
    };
  };

  // Indices of the units of every resample, by Lemire's method as numpy's Generator.integers draws them.
  const drawn = new Map();
  const draws = (n) => {
    if (!drawn.has(n)) {
      const next = generator(), unfair = (TWO_32 - n) % n, indices = new Uint16Array(resamples * n);
      for (let i = 0; i < indices.length; i++) {
        let product;
        do product = next() * n;
        while (product % TWO_32 < unfair);
        indices[i] = Math.floor(product / TWO_32);
      }
      drawn.set(n, indices);
    }
    return drawn.get(n);
  };

  const median = (values) => {
    const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  };
  const percentile = (sorted, share) => {
    const place = share * (sorted.length - 1), below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
  };

  // {value, low, high} of a mean over parts of windows; of: how many comparisons share the 5 % that may be wrong (Bonferroni).
  const { shares, contrasts, quantiles } = DATA.layout;
  const average = (values, of = 1) => {
    const value = values.reduce((sum, x, i) => sum + shares[i] * x, 0);
    if (!quantiles.length) return { value, low: null, high: null };
    const deviation = (row) => row.reduce((sum, x, i) => sum + x * values[i], 0);
    const reach = quantiles[of - 1] * Math.sqrt(contrasts.reduce((sum, row) => sum + deviation(row) ** 2, 0));
    return { value, low: value - reach, high: value + reach };
  };

  // {value, low, high} of a median; too few units have no interval, and none at all no value.
  const estimate = (values, reduce) => {
    const n = values.length, value = n ? reduce(values) : NaN;
    if (n < least) return { value, low: null, high: null };
    const indices = draws(n), found = new Float64Array(resamples), chosen = new Float64Array(n);
    for (let i = 0; i < resamples; i++) {
      for (let j = 0; j < n; j++) chosen[j] = values[indices[i * n + j]];
      found[i] = reduce(chosen);
    }
    found.sort();
    return { value, low: percentile(found, tails[n]), high: percentile(found, 1 - tails[n]) };
  };
  const map = (e, f) => ({ value: f(e.value), low: e.low === null ? null : f(e.low), high: e.high === null ? null : f(e.high) });
  const excludes = (e, value) => (e.low === null ? null : !(e.low <= value && value <= e.high));
  const differences = (before, after) => after.map((value, i) => value - before[i]);

  return {
    excludes,
    total: (values) => values.reduce((sum, x, i) => sum + shares[i] * x, 0),
    // relative change of perplexity, PPL(after) / PPL(before) - 1
    perplexity: (before, after, of) => map(average(differences(before.nll, after.nll), of), (x) => Math.exp(x) - 1),
    // KL(after) - KL(before) in nats; null where one of them was not compared with the reference
    divergence: (before, after, of) => before.kl && after.kl && average(differences(before.kl, after.kl), of),
    // median of seconds(after) / seconds(before), over passes of one sitting
    time: (before, after) =>
      estimate(after.seconds.map((s, i) => s / before.seconds[i]).filter((_, i) => before.sittings[i] === after.sittings[i]), median),
    // what a paired change allows to say, in the words of bench/statistics/verdicts.py
    verdict: (change) => {
      const shown = excludes(change, 0);
      if (shown === null) return `too few windows for an interval (${least} are needed)`;
      return shown ? (change.value < 0 ? "better" : "worse") : "no difference shown";
    },
    timeVerdict: (ratio) => {
      if (Number.isNaN(ratio.value)) return "not measured in one sitting";
      if (ratio.low === null) return `too few passes for an interval (${least} are needed)`;
      if (excludes(ratio, 1)) return ratio.value > 1 ? "slower" : "faster";
      const wide = ratio.high - ratio.low;
      return wide > 0.1 ? `too noisy to say (interval ${(100 * wide).toFixed(0)} points wide)` : "no difference shown";
    },
  };
})();

// Figures as bench/core/formats.py writes them.
const text = (() => {
  const signed = (value, digits) => (value < 0 ? "" : "+") + value.toFixed(digits);
  const scientific = (value) => value.toExponential(1).replace(/e([+-])(\d)$/, "e$10$2");
  return {
    percent: (ratio) => `${signed(100 * ratio, 1)}%`,
    divergence: (value) => (value >= 0.001 ? value.toFixed(4) : scientific(value)),
    divergenceChange: (value) =>
      Math.abs(value) >= 0.001 || value === 0 ? signed(value, 4) : `${value < 0 ? "" : "+"}${scientific(value)}`,
    withInterval: (e, form) => {
      if (Number.isNaN(e.value)) return "–";
      return e.low === null ? form(e.value) : `${form(e.value)} [${form(e.low)}, ${form(e.high)}]`;
    },
  };
})();
