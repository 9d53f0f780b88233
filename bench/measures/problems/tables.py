"""Tables of infill problems and conversations from records: each set on its own, paired with the reference by problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.formats import MISSING, divergence_text, percent, perplexity_text, share
from bench.measures.problems.jobs import ProblemResult
from bench.measures.problems.records import ProblemSetIdentity
from bench.measures.problems.runs import problem_sets, problems_of
from bench.measures.problems.sets import CHAT, CODE, FIM, KINDS
from bench.records.run import Run
from bench.statistics.estimates import Estimate, change_of_share, exp, ratio_of_sums, share_of
from bench.statistics.verdicts import TOGETHER, verdicts, with_interval

INFILL = "- Infill problems: {n} pieces of code with a gap; the model is given what precedes and follows it, in the order prefix, suffix, middle"
BEGINNINGS = "- Code: {n} pieces with a gap; the model is given what precedes it, and cannot know what follows"
GAP_KEY = """\
Key
{what}
- PPL: perplexity of the text that belongs into the gap; vs reference: its change on the same problems; KL: mean divergence from the reference, nats
- Exact: share of gaps that greedy completion fills to the letter (blanks at the ends aside), Wilson's interval; Similarity: one minus edit distance over the longer length, mean over problems
- A completion stops at the model's own end, at the end of the line for a gap within a line, and where the line after the gap begins for a gap of lines, and after 64 or 192 tokens (more for longer gaps)
- Intervals (95 %) come from problems as independent draws"""

PARSES_KEY = "- Parses: share of files with the completion in the gap in which tree-sitter's grammar of the language finds no error, of those that it can parse with the right text there"
PASSES_KEY = "- Doctests: share of Python files with the completion in the gap that run and pass their doctests, of those that pass them with the right text there; run in a locked-down process"
PAIRED_KEY = "- Both have Wilson's interval; vs reference: change on the same problems in percentage points, Newcombe's interval for paired shares"

CHAT_KEY = """\
Key
- Conversations: {n}, rendered with the model's chat template; scored are {scored}
- PPL: their perplexity; vs reference: its change on the same conversations; KL: mean divergence from the reference, nats; Same top: share of tokens where both find the same token most likely
- Intervals (95 %) come from conversations as independent draws"""


@dataclass(frozen=True)
class Scores:
    """Figures of one file on one set. exact, similarity: None for what is scored only; parses, passes: None where none
    was judged; the rest against the reference: None for itself."""

    problems: int
    ppl: Estimate
    change: Estimate | None
    kl: Estimate | None
    same_top: Estimate | None
    exact: Estimate | None
    similarity: Estimate | None
    similarity_change: Estimate | None
    parses: Estimate | None
    parses_change: Estimate | None
    passes: Estimate | None
    passes_change: Estimate | None


def problem_results(run: Run, problems: ProblemSetIdentity) -> dict[str, list[ProblemResult]]:
    """Results, problem by problem, of files that have all of the set: figures over fewer problems would not compare."""
    on_record = problems_of(run, problems.key)
    most = max((len(b) for b in on_record.values()), default=0)
    return {
        n: [r for record in b.values() for r in record.results]
        for n, b in on_record.items()
        if b and len(b) == (next(iter(b.values())).batches or most)
    }


def scores(results: Sequence[ProblemResult], reference: Sequence[ProblemResult] | None) -> Scores:
    """PPL = exp(sum of NLL / tokens); against the reference the same tokens are paired problem by problem."""
    tokens = _array(r.tokens for r in results)
    nll = _array(r.nll for r in results)
    kl = [r.kl for r in results]
    same = [r.same_top for r in results]
    written = [(r.completion, r.expected) for r in results if r.completion is not None and r.expected is not None]
    similarity = _array(edit_similarity(c, e) for c, e in written)
    change, similarity_change = None, None
    if reference is not None:
        by_name = {r.name: r for r in reference}
        theirs = _array(by_name[r.name].nll for r in results)
        change = ratio_of_sums(nll - theirs, tokens).map(lambda x: exp(x) - 1)
        if written:
            before = _array(edit_similarity(by_name[r.name].completion or "", r.expected or "") for r in results)
            similarity_change = ratio_of_sums(similarity - before, np.ones(len(written)))
    parses, parses_change = _judged(results, reference, lambda r: r.parses)
    passes, passes_change = _judged(results, reference, lambda r: r.passes)
    return Scores(
        problems=len(results),
        ppl=ratio_of_sums(nll, tokens).map(exp),
        change=change,
        kl=ratio_of_sums(_array(kl), tokens, "logarithm") if all(x is not None for x in kl) else None,
        same_top=ratio_of_sums(_array(same), tokens, "odds") if all(x is not None for x in same) else None,
        exact=share_of(sum(is_exact(c, e) for c, e in written), len(written)) if written else None,
        similarity=ratio_of_sums(similarity, np.ones(len(written)), "odds") if written else None,
        similarity_change=similarity_change,
        parses=parses,
        parses_change=parses_change,
        passes=passes,
        passes_change=passes_change,
    )


def _judged(
    results: Sequence[ProblemResult],
    reference: Sequence[ProblemResult] | None,
    verdict: Callable[[ProblemResult], bool | None],
) -> tuple[Estimate | None, Estimate | None]:
    """Share of the judged completions that hold, and its change from the reference's on the problems that both are judged on."""
    found = {r.name: v for r in results if (v := verdict(r)) is not None}
    if not found:
        return None, None
    share_found = share_of(sum(found.values()), len(found))
    theirs = {r.name: v for r in reference or () if r.name in found and (v := verdict(r)) is not None}
    if not theirs:
        return share_found, None
    ours = np.array([found[name] for name in theirs], np.bool_)
    return share_found, change_of_share(ours, np.array(list(theirs.values()), np.bool_))


def _array(values: object) -> NDArray[np.float64]:
    return np.array(list(values), np.float64)  # type: ignore[call-overload]


def is_exact(completion: str, expected: str) -> bool:
    """Whether a gap is filled to the letter, blanks at the ends of lines and of the whole aside."""
    return _trimmed(completion) == _trimmed(expected)


def edit_similarity(completion: str, expected: str) -> float:
    """1 - Levenshtein distance / length of the longer, in characters; 1 for equal texts."""
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_similarity(_trimmed(completion), _trimmed(expected)))


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


def problem_table(run: Run, problems: ProblemSetIdentity) -> pd.DataFrame:
    """One row a file, the reference first, as text."""
    found = problem_results(run, problems)
    reference = found.get(run.reference or "")
    scored = {name: scores(results, None if name == run.reference else reference) for name, results in found.items()}
    # what is said of a table holds together, so all its comparisons are one family
    changes = [c for s in scored.values() for c in (s.similarity_change, s.parses_change, s.passes_change)]
    words = verdicts(changes, "worse", "better")
    judged = [what for what in ("parses", "passes") if any(getattr(s, what) is not None for s in scored.values())]
    rows = []
    for i, (name, s) in enumerate(scored.items()):
        similarity_word, parses_word, passes_word = words[3 * i : 3 * i + 3]
        row = {
            "Recipe": name,
            "PPL [95 %]": with_interval(s.ppl, perplexity_text),
            "vs reference": _text(s.change, percent),
            "KL [95 %]": _text(s.kl, divergence_text),
        }
        if problems.problem_kind != CHAT:
            row |= {
                "Exact [95 %]": _text(s.exact, share),
                "Similarity [95 %]": _text(s.similarity, share),
                "Similarity vs reference": _change(s.similarity_change, similarity_word),
            }
            if "parses" in judged:
                row |= {
                    "Parses [95 %]": _text(s.parses, share),
                    "Parses vs reference": _change(s.parses_change, parses_word),
                }
            if "passes" in judged:
                row |= {
                    "Doctests [95 %]": _text(s.passes, share),
                    "Doctests vs reference": _change(s.passes_change, passes_word),
                }
        else:
            row["Same top [95 %]"] = _text(s.same_top, share)
        rows.append(row)
    return pd.DataFrame(rows)


def filled(run: Run) -> list[tuple[str, dict[str, str], dict[str, float]]]:
    """Of each set of infill problems: its title, the share of gaps that are filled to the letter by file as text, and as a number."""
    found = []
    for problems in problem_sets(run):
        if problems.problem_kind == FIM and (results := problem_results(run, problems)):
            exact = {name: e for name, r in results.items() if (e := scores(r, None).exact) is not None}
            cells = {name: with_interval(e, share) for name, e in exact.items()}
            found.append((title(problems), cells, {name: e.value for name, e in exact.items()}))
    return found


def groups_table(run: Run, problems: ProblemSetIdentity) -> pd.DataFrame:
    """Perplexity by language or topic; empty when there is one only."""
    rows = []
    for name, results in problem_results(run, problems).items():
        groups = dict.fromkeys(sorted(r.group for r in results))
        values = {g: scores([r for r in results if r.group == g], None).ppl.value for g in groups}
        rows.append({"Recipe": name} | {g or "other": perplexity_text(v) for g, v in values.items()})
    table = pd.DataFrame(rows)
    return table if len(table.columns) > 2 else pd.DataFrame()


def key(run: Run, problems: ProblemSetIdentity) -> str:
    found = problem_results(run, problems)
    n = max((len(r) for r in found.values()), default=0)
    if problems.problem_kind != CHAT:
        what = (INFILL if problems.problem_kind == FIM else BEGINNINGS).format(n=n)
        results = [r for of_file in found.values() for r in of_file]
        judged = [PARSES_KEY] if any(r.parses is not None for r in results) else []
        judged += [PASSES_KEY] if any(r.passes is not None for r in results) else []
        return "\n".join([GAP_KEY.format(what=what), *judged, *([PAIRED_KEY] if judged else []), f"- {TOGETHER}"])
    scored = "the assistant's tokens" if problems.assistant_only else "all tokens, the template's among them"
    return CHAT_KEY.format(n=n, scored=scored)


def title(problems: ProblemSetIdentity) -> str:
    what = {FIM: "Infill", CODE: "Code", CHAT: "Conversations"}[problems.problem_kind]
    fixed = problems.name in KINDS
    only = ", assistant's tokens" if problems.assistant_only else ""
    return what + ("" if fixed else f": {problems.name}") + only


def _change(change: Estimate | None, word: str) -> str:
    """A paired change in percentage points, and what it allows to say."""
    return MISSING if change is None else f"{_text(change, lambda x: f'{100 * x:+.1f}')} ({word})"


def _text(estimate: Estimate | None, form: object) -> str:
    return MISSING if estimate is None else with_interval(estimate, form)  # type: ignore[arg-type]
