"""Output of `bench sensitivity`: a table of every tensor, the accuracy of the cheap estimate, and a map as a plot."""

from __future__ import annotations

import re
from collections.abc import Sequence

import gguf
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.choose.additivity import ALL, Together
from bench.choose.sensitivities import Sensitivities
from bench.choose.sensitivity import Sensitivity, rank_correlation
from bench.core.formats import MISSING, divergence_text, markdown
from bench.measures.frames import interval
from bench.recipes.kinds import kind_of
from bench.statistics.layout import MIN_FOR_INTERVAL
from bench.statistics.verdicts import with_interval

KEY = """\
Key
- KL: mean divergence from the reference, nats, when only this tensor is quantized
- per MB: the same for each MB (10^6 bytes) that the probe type saves against the reference
- sum alone: of the divergences of these tensors, each quantized alone; together: of all of them at once, on the same windows
- together/sum: 1 where damages add up, as choices of types assume at first; more where they strengthen each other; its 95 % interval is over windows
- rank correlation: Spearman's, of the relative weighted error with the measured divergence, over tensors"""

#: Tensors that the summary lists.
_LISTED = 20


class SensitivityReport:
    """Tables of measured sensitivities."""

    def __init__(self, found: Sensitivities) -> None:
        self.model, self.text, self.tokens = found.model, found.text, found.tokens
        self.measured, self.errors, self.together = found.measured, found.errors, found.together

    def frame(self) -> pd.DataFrame:
        """One row for a tensor and the type it was measured in; KL in nats, sizes in bytes."""
        tensors = {t.name: t for t in self.model.tensors}
        rows = []
        for s in self.measured:
            for name, kl in s.kl.items():
                probe, tensor = s.probes[name], tensors[name]
                block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[probe]]
                layer = re.match(r"^blk\.(\d+)\.", name)
                rows.append(
                    {
                        "tensor": name,
                        "layer": int(layer[1]) if layer else None,
                        "kind": kind_of(name),
                        "weights": tensor.n_weights,
                        "measured_in": s.label,
                        "type": probe,
                        "saved_bytes": tensor.n_bytes - tensor.n_weights // block * size,
                        "weighted_error": self.errors[name][probe],
                        "kl": float(kl.mean()) if kl.size else None,
                    }
                )
        return pd.DataFrame(rows)

    def correlations(self) -> pd.DataFrame:
        """How well the relative weighted error orders tensors, for every type."""
        rows = [
            {
                "Measured in": s.label,
                "Types": ", ".join(sorted(set(s.probes.values()))),
                "Rank correlation": f"{rank_correlation(s, self.errors):.2f}",
                "Of layers' tensors only": f"{rank_correlation(_layers_only(s), self.errors):.2f}",
            }
            for s in self.measured
        ]
        return pd.DataFrame(rows)

    def additivity_frame(self) -> pd.DataFrame:
        """One row for tensors that were quantized together, in a type; KL in nats."""
        return additivity_frame(self.together)

    def additivity(self) -> pd.DataFrame:
        """The same as text."""

        def mean(kl: NDArray[np.float64]) -> str:
            return divergence_text(float(kl.mean())) if kl.size else MISSING

        return pd.DataFrame(
            [
                {
                    "Measured in": t.measured_in,
                    "Tensors": "all" if t.group == ALL else t.group,
                    "Number": str(t.tensors),
                    "Sum alone": mean(t.alone),
                    "Together": mean(t.joint),
                    "Together/sum [95 %]": with_interval(t.ratio, "{:.2f}".format),
                }
                for t in self.together
            ]
        )

    def few_windows(self) -> list[str]:
        """That there are too few windows for intervals, if so."""
        n = max(len(t.alone) for t in self.together)
        if n >= MIN_FOR_INTERVAL:
            return []
        return [
            f"An interval takes {MIN_FOR_INTERVAL} windows, and {n} {'was' if n == 1 else 'were'} measured: --windows {MIN_FOR_INTERVAL} measures as many"
        ]

    def by_kind(self) -> pd.DataFrame:
        frame = self.frame()
        frame["per_mb"] = frame["kl"] / frame["saved_bytes"] * 1e6
        rows = []
        for (measured_in, types, kind), group in frame.groupby(["measured_in", "type", "kind"], sort=False):
            rows.append(
                {
                    "Measured in": measured_in,
                    "Kind": kind,
                    "Type": types,
                    "Tensors": str(len(group)),
                    "Median KL": divergence_text(group["kl"].median()),
                    "Largest KL": divergence_text(group["kl"].max()),
                    "Median KL per MB": divergence_text(group["per_mb"].median()),
                }
            )
        return pd.DataFrame(rows)

    def most_sensitive(self) -> pd.DataFrame:
        frame = self.frame()
        frame["per_mb"] = frame["kl"] / frame["saved_bytes"] * 1e6
        first = frame[frame["measured_in"] == self.measured[0].label].nlargest(_LISTED, "per_mb")
        return pd.DataFrame(
            {
                "Tensor": first["tensor"],
                "Type": first["type"],
                "KL": first["kl"].map(divergence_text),
                "KL per MB": first["per_mb"].map(divergence_text),
                "Weighted error": first["weighted_error"].map("{:.4f}".format),
            }
        )

    def markdown(self) -> str:
        first = self.measured[0].label
        return (
            "\n\n".join(
                [
                    f"# Sensitivity of {self.model.name}",
                    f"- Measured on {self.tokens:,} tokens of {self.text}, {len(self.measured[0].kl)} tensors",
                    "## What the weighted error predicts",
                    markdown(self.correlations()),
                    "## Do damages add up?",
                    markdown(self.additivity()),
                    *(f"- {said}" for said in self.few_windows()),
                    "## By kind of tensor",
                    markdown(self.by_kind()),
                    f"## The {_LISTED} most sensitive tensors for their size ({first})",
                    markdown(self.most_sensitive()),
                    KEY,
                ]
            )
            + "\n"
        )


def additivity_frame(together: Sequence[Together]) -> pd.DataFrame:
    """One row for tensors that were quantized together, in a type; KL in nats."""
    return pd.DataFrame(
        [
            {
                "measured_in": t.measured_in,
                "group": t.group,
                "tensors": t.tensors,
                "windows": max(len(t.alone), len(t.joint)),
                "sum_kl": float(t.alone.mean()) if t.alone.size else None,
                "joint_kl": float(t.joint.mean()) if t.joint.size else None,
                **interval("ratio", t.ratio),
            }
            for t in together
        ]
    )


def _layers_only(s: Sensitivity) -> Sensitivity:
    """Without embeddings and output, whose inputs are of another kind."""
    return Sensitivity(s.probes, {n: kl for n, kl in s.kl.items() if n.startswith("blk.")})


def outside_layers(frame: pd.DataFrame) -> dict[str, tuple[float, str]]:
    """(divergence in nats, type) of tensors outside the layers, embeddings and output, by name."""
    rows = frame[frame["layer"].isna() & frame["kl"].notna()]
    return {str(r["tensor"]).removesuffix(".weight"): (float(r["kl"]), str(r["type"])) for r in rows.to_dict("records")}


def layer_map(frame: pd.DataFrame) -> pd.DataFrame:
    """Divergence by layer (rows) and kind (columns); tensors of one kind in one layer are summed."""
    in_layers = frame[frame["layer"].notna()]
    table = in_layers.pivot_table(index="layer", columns="kind", values="kl", aggfunc="sum", sort=False)
    return table.sort_index().astype(np.float64)
