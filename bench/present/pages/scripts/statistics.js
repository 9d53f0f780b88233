// Paired comparisons with the intervals of bench/statistics: Student's t over parts of windows.
const statistics = (() => {
  if (!DATA) return null;
  const { least } = DATA;

  // {value, low, high} of a mean over parts of windows; of: how many comparisons share the 5 % that may be wrong (Bonferroni).
  const { shares, contrasts, quantiles } = DATA.layout;
  const average = (values, of = 1) => {
    const value = values.reduce((sum, x, i) => sum + shares[i] * x, 0);
    if (!quantiles.length) return { value, low: null, high: null };
    const deviation = (row) => row.reduce((sum, x, i) => sum + x * values[i], 0);
    const reach = quantiles[of - 1] * Math.sqrt(contrasts.reduce((sum, row) => sum + deviation(row) ** 2, 0));
    return { value, low: value - reach, high: value + reach };
  };

  const map = (e, f) => ({ value: f(e.value), low: e.low === null ? null : f(e.low), high: e.high === null ? null : f(e.high) });
  // whether a change is no larger than what computing the same otherwise does (bench/measures/windows/floor.py)
  const isWithinFloor = (e, value) => e.floor > 0 && Math.abs(e.value - value) <= e.floor;
  const excludes = (e, value) => (e.low === null ? null : !(e.low <= value && value <= e.high) && !isWithinFloor(e, value));
  const floored = (change, before, after, of) => change && { ...change, floor: Math.max(before.floor[of], after.floor[of]) };
  const differences = (before, after) => after.map((value, i) => value - before[i]);

  return {
    excludes,
    total: (values) => values.reduce((sum, x, i) => sum + shares[i] * x, 0),
    // relative change of perplexity, PPL(after) / PPL(before) - 1
    perplexity: (before, after, of) =>
      floored(map(average(differences(before.nll, after.nll), of), (x) => Math.exp(x) - 1), before, after, "ppl"),
    // KL(after) - KL(before) in nats; null where one of them was not compared with the reference
    divergence: (before, after, of) =>
      before.kl && after.kl && floored(average(differences(before.kl, after.kl), of), before, after, "kl"),
    // seconds(after) / seconds(before), as it was computed for the page
    time: (before, after) => {
      const [x, y] = [before, after].map((file) => DATA.files.indexOf(file));
      if (x === y) return { value: 1, low: null, high: null };
      const [value = NaN, low = null, high = null] = DATA.times[Math.max(x, y)][Math.min(x, y)] || [];
      return x < y ? { value, low, high } : { value: 1 / value, low: high && 1 / high, high: low && 1 / low };
    },
    // what a paired change allows to say, in the words of bench/statistics/verdicts.py
    verdict: (change) => {
      if (isWithinFloor(change, 0)) return "within the measurement floor";
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
