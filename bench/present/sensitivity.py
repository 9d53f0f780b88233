"""What `bench sensitivity` leaves behind: a table of every tensor, what the cheap estimate is worth, and a map as a plot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pandas as pd

from bench.choose.sensitivity import Sensitivity, rank_correlation
from bench.gguf_files.info import ModelInfo, complete_or_absent
from bench.measures.windows.tables import divergence_text, markdown
from bench.recipes.recipe import kind_of

KEY = """\
Key
- KL: mean divergence from the reference, nats, when only this tensor is quantized
- per MB: the same for each MB (10^6 bytes) that the probe type saves against the reference
- rank correlation: Spearman's, of the relative weighted error with the measured divergence, over tensors"""

#: Tensors that the summary lists.
_LISTED = 20


@dataclass(frozen=True)
class SensitivityReport:
    """Measured sensitivities of a model with the weighted errors of the same tensors and types."""

    model: ModelInfo
    text: str
    tokens: int
    measured: tuple[Sensitivity, ...]
    errors: dict[str, dict[str, float]]

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
                    "## By kind of tensor",
                    markdown(self.by_kind()),
                    f"## The {_LISTED} most sensitive tensors for their size ({first})",
                    markdown(self.most_sensitive()),
                    KEY,
                ]
            )
            + "\n"
        )


def _layers_only(s: Sensitivity) -> Sensitivity:
    """Without embeddings and output, whose inputs are of another kind."""
    return Sensitivity(s.probes, {n: kl for n, kl in s.kl.items() if n.startswith("blk.")})


def write_report(report: SensitivityReport, directory: Path) -> list[Path]:
    """Tables and plot; returns the files a reader starts with."""
    from bench.present.sensitivity_plot import draw  # matplotlib takes a second to import

    texts = {"sensitivity.csv": report.frame().to_csv(index=False), "sensitivity.md": report.markdown()}
    for name, text in texts.items():
        with complete_or_absent(directory / name) as partial:
            partial.write_text(text, encoding="utf-8")
    draw(report, directory)
    return [directory / "sensitivity.md", directory / "sensitivity.png"]


def layer_map(frame: pd.DataFrame) -> pd.DataFrame:
    """Divergence by layer (rows) and kind (columns); tensors of one kind in one layer are summed."""
    in_layers = frame[frame["layer"].notna()]
    table = in_layers.pivot_table(index="layer", columns="kind", values="kl", aggfunc="sum", sort=False)
    return table.sort_index().astype(np.float64)
