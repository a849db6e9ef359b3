"""`forescale fit`: which of its fits is meant, and what each of them takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from forescale.cli._options import File, Flag, OptionalFile, OptionalWhole
from forescale.cli._outputs import check_destinations
from forescale.cli._threads import use_one_thread
from forescale.errors import ForescaleError

PRIORS = ("published", "none")
BOOTSTRAPS = 1000
# Which fits an option changes something in; options that are not listed belong to all.
TAKEN_BY = {
    "prior": ("prior", "alone"),
    "protocol": ("alone",),
    "over": ("alone",),
    "bootstraps": ("alone", "loss", "isoflop"),
    "seed": ("alone", "loss", "isoflop", "surface"),
    "seq_len": ("prior", "alone", "surface"),
    "loss_law": ("loss", "isoflop"),
    "groups": ("loss", "isoflop"),
    "picture": ("isoflop",),
    "report": ("prior", "alone", "loss"),
}
CALLED = {
    "prior": "the published prior",
    "alone": "--prior none",
    "loss": "--loss-law",
    "isoflop": "--isoflop",
    "surface": "--surface",
}


def fit(
    runs: File,
    *,
    out: OptionalFile = None,
    json: Flag = False,
    prior: str | None = None,
    protocol: str = "auto",
    loss_law: str | None = None,
    isoflop: Flag = False,
    surface: Flag = False,
    groups: str | None = None,
    picture: OptionalFile = None,
    report: OptionalFile = None,
    over: str = "cells",
    bootstraps: OptionalWhole = None,
    columns: str | None = None,
    set: str | None = None,  # noqa: A002  # the option's name
    seq_len: OptionalWhole = None,
    keep_unfinished: Flag = False,
    seed: int = 0,
) -> None:
    """Laws of the best learning rate and batch from your own runs, and how they do on cells they have not seen.

    Runs are grouped into cells of the same workload. The published prior (what other labs' laws have in common, and how
    far they differ) is calibrated on them: a handful of cheap runs is enough. With --prior none a law is fitted to the
    runs alone: every protocol without one cell at a time, scored on that cell; the lowest gap becomes the law.
    `forescale plan --law law.toml` and `forescale score RUNS --law law.toml` use the law.

    Parameters
    ----------
    runs
        A table with one row per finished run (.csv, .tsv, also .gz; .parquet, .jsonl, .json), or the store of a tool: a
        W&B export or run folders, an MLflow store, TensorBoard event files, an Optuna study (file::study where it holds
        several), a Ray Tune experiment, trainer_state.json files of Hugging Face. Needs parameters, tokens, peak
        learning rate, batch and loss, under our names or common ones (N, D, lr, bs, smooth loss, config.lr, ...).
    out
        Write the law to this .toml file.
    json
        Print JSON (schema_version 1).
    prior
        published, or none; default: published, unless --protocol, --over or --bootstraps is given.
    protocol
        Without a prior: step-law (the published protocol), near-0.5, centroid, vertex, argmin, bowl, or auto: the
        lowest gap on cells left out.
    loss_law
        Fit a law of the loss instead, in this form: chinchilla, skaling, farseer, kaplan, gadre, sparse, muennighoff or moe.
        Needs loss, and parameters and tokens as the form takes them; no learning rate or batch.
    isoflop
        Find the best parameters and tokens of each compute budget in the runs, and how they grow with compute: by a loss
        law of all the runs (skaling, or --loss-law chinchilla), beside a parabola of each budget and its bias.
    surface
        Fit one model of the loss over parameters, tokens, learning rate and batch; `forescale score --surface` uses it.
    groups
        With --loss-law or --isoflop: the column whose runs the bootstrap draws together, because they are checkpoints of
        one run, say. Default: each run by itself; with --isoflop runs of one size.
    picture
        With --isoflop: also draw loss over parameters for every budget: a .png, .svg or .pdf file.
    report
        Also write a page about the fit to this .html file: data, landscape, coefficients, held-out scores, residuals. It
        is one file that opens offline. Not with --surface or --isoflop.
    over
        Without a prior: what the bootstrap resamples: cells, or points as Step Law's authors do (the intervals are then
        too narrow).
    bootstraps
        Resamples for the intervals (default 1000); the published prior needs none.
    columns
        Our name = your column, where the names are not recognised: learning_rate=lr,tokens=D.
    set
        What is alike in every run and not recorded, by our name: params=124M,tokens=2.6B.
    seq_len
        Tokens per sequence, where the batch counts sequences and no column says.
    keep_unfinished
        Also take runs that crashed, were killed or pruned, or still run.
    seed
        Of the bootstrap.
    """
    use_one_thread()
    given = {
        "prior": prior is not None,
        "protocol": protocol != "auto",
        "over": over != "cells",
        "bootstraps": bootstraps is not None,
        "seed": seed != 0,
        "seq_len": seq_len is not None,
        "loss_law": loss_law is not None,
        "groups": groups is not None,
        "picture": picture is not None,
        "report": report is not None,
    }
    mode = _mode(prior, given, isoflop=isoflop, surface=surface)
    resamples = BOOTSTRAPS if bootstraps is None else bootstraps
    _check_files(runs, out, report, picture)
    if mode == "isoflop":
        from forescale.cli._fit_isoflop import fit_isoflop

        family = loss_law or "skaling"
        fit_isoflop(
            runs,
            family,
            json=json,
            out=out,
            picture=picture,
            groups=groups,
            bootstraps=resamples,
            seed=seed,
            columns=columns,
            constants=set,
            keep_unfinished=keep_unfinished,
        )
    elif mode == "loss":
        from forescale.cli._fit_loss import fit_loss

        law = loss_law or ""
        fit_loss(
            runs,
            law,
            json=json,
            out=out,
            report=report,
            groups=groups,
            bootstraps=resamples,
            seed=seed,
            columns=columns,
            constants=set,
            keep_unfinished=keep_unfinished,
        )
    else:
        from forescale.cli._own_runs import read as read_table

        table = read_table(runs, columns, set, seq_len=seq_len, keep_unfinished=keep_unfinished)
        if mode == "surface":
            from forescale.cli._surface import fit_and_print

            fit_and_print(table, out, json=json, seed=seed)
        elif mode == "alone":
            from forescale.cli._fit_alone import fit_alone

            options = {"protocol": protocol, "over": over, "bootstraps": resamples, "seed": seed}
            fit_alone(table, json=json, out=out, report=report, **options)
        else:
            from forescale.cli._fit_prior import fit_prior

            fit_prior(table, json=json, out=out, report=report)


def _mode(prior: str | None, given: Mapping[str, bool], *, isoflop: bool, surface: bool) -> str:
    """Which fit is meant; an option that would change nothing in it is refused."""
    if prior is not None and prior not in PRIORS:
        raise ForescaleError(f"--prior is published or none; got {prior!r}.")
    if isoflop and surface:
        raise ForescaleError("--isoflop and --surface are two fits: give one of them.")
    alone = prior == "none" or (prior is None and any(given[o] for o in ("protocol", "over", "bootstraps")))
    mode = (
        "isoflop"
        if isoflop
        else "surface"
        if surface
        else "loss"
        if given["loss_law"]
        else "alone"
        if alone
        else "prior"
    )
    unused = [option for option, taken in TAKEN_BY.items() if given[option] and mode not in taken]
    if unused:
        options = " and no ".join(f"--{option.replace('_', '-')}" for option in unused)
        raise ForescaleError(f"{CALLED[mode]} takes no {options}: leave it out.")
    return mode


def _check_files(runs: Path, out: Path | None, report: Path | None, picture: Path | None) -> None:
    """Refuse files that cannot be written before any work is done."""
    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)
    check_destinations({"--out": out, "--report": report, "--picture": picture}, [runs])
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise ForescaleError(f"--report must end in .html, since a report is a page of HTML; got {str(report)!r}.")
    if out is not None and out.suffix != ".toml":
        raise ForescaleError(f"--out must end in .toml, since a law is written as TOML; got {str(out)!r}.")
