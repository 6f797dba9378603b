"""The command line, `bitloop`: options to settings, errors to one line."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from flow import cli_board, cli_sim, cli_watch
from flow.cli_options import (
    MEASUREMENTS,
    BoardName,
    Calibration,
    DataDir,
    Dataset,
    Device,
    Finalists,
    Halving,
    MaxUtil,
    Measurements,
    Model,
    RayAddress,
    Run,
    Seed,
    Threads,
    TopK,
    Workers,
    settings_of,
)
from flow.errors import BITLOOP_ERRORS, MissingToolError
from flow.interruption import ctrl_c

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
TABLE_WIDTH = 180  # of output that goes to a file: nothing is folded
NO_TOOLS = 3
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it
AGAIN = "interrupted; what was finished is kept, the same command goes on from there"
USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__base__)  # the root of them, which Typer exports by no name


cli_board.register(app)
cli_watch.register(app)
cli_sim.register(app)


@app.callback()
def bitloop() -> None:
    """Bits for every layer of a network on an FPGA."""


@app.command()
def search(
    model: Model = "cnv",
    board: BoardName = "pynq-z2",
    dataset: Dataset = "auto",
    data_dir: DataDir = None,
    run: Annotated[Path | None, typer.Option(help="run directory; runs/<model>-<board> unless given")] = None,
    trials: Annotated[int | None, typer.Option(help="trials in all, those of an interrupted run counted")] = None,
    seed: Seed = 0,
    min_fps: Annotated[float | None, typer.Option(help="frames a second to reach; the model's own unless given")] = None,
    max_util: MaxUtil = None,
    top_k: TopK = None,
    searcher: Annotated[
        str, typer.Option(help="model-based, ddpg, … (README), or your own as package.module:Class")
    ] = "model-based",
    objective: Annotated[str, typer.Option(help="what is to be best: accuracy, fps, latency or utilisation")] = "accuracy",
    min_accuracy: Annotated[
        float | None, typer.Option(help="on the search split, as 0.9, where fps, latency or utilisation is to be best")
    ] = None,
    retrain_images: Annotated[
        int | None, typer.Option(help="images of the brief retraining a trial; 0 for a reward free of training")
    ] = None,
    halving: Halving = False,
    finalists: Finalists = None,
    final_images: Annotated[int | None, typer.Option(help="images of the final retraining")] = None,
    threads: Threads = None,
    device: Device = "auto",
    calibration: Calibration = "auto",
    workers: Workers = None,
    ray_address: RayAddress = None,
    storage: Annotated[
        str | None, typer.Option(help="URL of a store that runs share a study in, postgresql://user@host/database")
    ] = None,
    study: Annotated[str | None, typer.Option(help="its name there; <model>-<board> unless given")] = None,
    warm_start: Annotated[Path | None, typer.Option(help="directory of an earlier run whose trials to begin with")] = None,
) -> None:
    """Search the bits of every layer; no board, no Vivado, no GPU."""
    from flow.config import shared_storage
    from flow.pipeline import search as run_search
    from flow.progress import ConsoleListener
    from flow.sharing import check_storage

    hide_passwords(sys.argv)

    settings = settings_of(
        model=model, board=board, dataset=dataset, data_dir=data_dir, run_dir=run, n_trials=trials, seed=seed, min_fps=min_fps,
        max_utilisation=max_util, searcher=searcher, retrain_images=retrain_images, final_images=final_images, threads=threads,
        device=device, top_k=top_k, calibration=calibration, objective=objective, min_accuracy=min_accuracy, halving=halving,
        finalists=finalists, workers=workers, ray_address=ray_address, storage=storage or shared_storage(), study=study,
        warm_start=warm_start,
    )  # fmt: skip
    with ConsoleListener(Console(), between=ctrl_c.check) as listener:
        settings.check()
        check_storage(settings)
        found = run_search(settings, listener)
        e = found.estimate
        listener.note(
            f"{found.test_accuracy:.2%} on the test split with {found.best.policy}\n"
            f"estimated {e.fps:,.0f} fps, {e.resources.lut:,.0f} LUT, {e.resources.bram18:.0f} BRAM18 "
            f"on a {found.constraint.board.title} ({found.constraint.describe(e)})\n"
            f"read {settings.directory / 'summary.md'}"
        )


@app.command()
def estimate(
    model: Model = "cnv",
    board: BoardName = "pynq-z2",
    dataset: Dataset = "auto",
    data_dir: DataDir = None,
    policy: Annotated[Path | None, typer.Option(help="the policy.json of a run; uniform bits unless given")] = None,
    weight_bits: Annotated[int, typer.Option(help="of every layer, 1 to 8")] = 2,
    act_bits: Annotated[int, typer.Option(help="of every layer, 1 to 8")] = 2,
    min_fps: Annotated[float | None, typer.Option(help="the leanest folding this fast, not the fastest that fits")] = None,
    max_util: MaxUtil = None,
    top_k: TopK = None,
    seed: Seed = 0,
    front: Annotated[bool, typer.Option("--front", help="frame rate against use instead, folding by folding")] = False,
    check: Annotated[int, typer.Option(help="hold this many random policies against FINN's whole flow instead")] = 0,
) -> None:
    """What a policy costs on a board, item by item, at its fastest folding that fits."""
    from flow import estimation
    from flow.policy_file import read_policy
    from flow.progress import ConsoleListener
    from models.policy import BitPolicy

    settings = settings_of(
        model=model, board=board, dataset=dataset, data_dir=data_dir, seed=seed, max_utilisation=max_util, top_k=top_k
    )
    console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
    listener = ConsoleListener(console, between=ctrl_c.check)
    evaluator = estimation.estimator_of(settings, listener)
    if check > 0:

        def tell(number: int, checked: BitPolicy, found: list[str]) -> None:
            listener.note(f"{number} of {check}: {checked}: {len(found)} differences")
            for line in found:
                listener.note(f"    {line}")

        if estimation.check_against_flow(evaluator, check, seed, tell):
            raise typer.Exit(1)
        listener.note("no differences: node class, cycles, LUT, BRAM18, DSP and folding are equal")
        return
    wanted = read_policy(policy) if policy else BitPolicy.uniform(evaluator.specs, weight_bits, act_bits)
    if front:
        console.print(estimation.front_table(estimation.front_of(evaluator, wanted), evaluator.constraint.board.capacity))
        return
    found = estimation.estimate_policy(evaluator, wanted, min_fps)
    console.print(estimation.estimate_table(found, evaluator.constraint.board.capacity))
    constraint = evaluator.constraint
    listener.note(
        f"{wanted}\n{constraint.describe(found)} within {constraint.max_utilisation:.0%} of a {constraint.board.title}: "
        f"{found.fps:,.0f} fps in the steady state, {found.latency_ms:.3g} ms for the first frame, all estimated"
    )


@app.command()
def pretrain(
    model: Model = "cnv",
    dataset: Dataset = "auto",
    data_dir: DataDir = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="the weights file; where shipped weights are unless given")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="passes over the train split; the model's recipe unless given")
    ] = None,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Train a model's float weights from scratch, for searches to start from."""
    from flow.pipeline import pretrain_weights
    from flow.progress import ConsoleListener

    settings = settings_of(model=model, dataset=dataset, data_dir=data_dir, seed=seed, threads=threads, device=device)
    with ConsoleListener(Console(), between=ctrl_c.check) as listener:
        path, weights, test_accuracy = pretrain_weights(settings, out, listener, epochs)
        listener.note(f"{path}: {weights.search_accuracy:.2%} on the search split, {test_accuracy:.2%} on the test split")


@app.command()
def retrain(
    run: Run,
    epochs: Annotated[int, typer.Option(min=1, help="passes over the train split at most")] = 60,
    patience: Annotated[int, typer.Option(min=1, help="passes without a better one after which it ends")] = 15,
    data_dir: DataDir = None,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Retrain the best policy of a run to convergence; interrupted, the same command goes on."""
    from flow.pipeline import retrain as run_retraining
    from flow.progress import ConsoleListener
    from models.convergence import Effort

    settings = settings_of(data_dir=data_dir, threads=threads, device=device)
    with ConsoleListener(Console(), between=ctrl_c.check) as listener:
        document, ended = run_retraining(run, Effort(epochs, patience), settings, listener)
        scores = document["accuracy"]
        listener.note(
            f"best epoch {ended.best_epoch} of {ended.n_epochs}: {scores['final_search']:.2%} on the search split, "
            f"{scores['final_test']:.2%} on the test split; {run / 'policy.json'} is up to date"
        )


@app.command()
def replay(
    run: Run,
    trial: Annotated[int, typer.Option(min=0, help="its number")],
    data_dir: DataDir = None,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Evaluate a trial of a run once more and hold the result against what was kept; exit code 1 where they differ."""
    from flow.progress import ConsoleListener
    from flow.replay import replay as run_replay

    with ConsoleListener(Console(), between=ctrl_c.check) as listener:
        found = run_replay(run, trial, settings_of(data_dir=data_dir, threads=threads, device=device), listener)
        for name, (then, now) in found.changed.items():
            listener.note(f"{name} was {then}, it is {now} now")
        for line in found.differences or [f"trial {trial} gives the same: {found.kept.accuracy:.2%}, accelerator included"]:
            listener.note(line)
    if found.differences:
        raise typer.Exit(1)


@app.command()
def verify(
    run: Run,
    images: Annotated[int, typer.Option(min=1, help="of the golden set; a few seconds each")] = 64,
) -> None:
    """Hold every stage on the way to hardware against the trained network, bit for bit."""
    from flow.verification import verdict_table, verify_run

    found = verify_run(run, images)
    Console(width=None if sys.stdout.isatty() else TABLE_WIDTH).print(verdict_table(found))
    if not all(v.agrees for v in found):
        raise typer.Exit(1)


@app.command()
def build(
    run: Annotated[Path | None, typer.Option(help="directory of a run that make search has finished")] = None,
    policy: Annotated[Path | None, typer.Option(help="its policy.json instead")] = None,
    qonnx: Annotated[Path | None, typer.Option(help="a QONNX file from elsewhere instead")] = None,
    board: Annotated[str | None, typer.Option(help="of --qonnx: as for a search, pynq-z2 unless given")] = None,
    folding: Annotated[Path | None, typer.Option(help="of --qonnx: JSON as FINN's folding_config_file takes it")] = None,
    target_fps: Annotated[
        int | None, typer.Option(help="of --qonnx: frame rate that FINN's own folding aims at instead")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(help="of --qonnx: numbers of the best classes that are handed on, 1 unless given; 0: the logits"),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="of the golden set, that every stage is held against first")] = 64,
    force: Annotated[
        bool, typer.Option("--force", help="build what does not fit, was estimated otherwise or misses its clock")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="directory of the build; build/<name> unless given")] = None,
    instrumented: Annotated[bool, typer.Option("--instrumented", help="the accelerator counts its own cycles")] = False,
    measurements: Measurements = MEASUREMENTS,
) -> None:
    """Build the accelerator: a deployment package with Vivado, a hand-over package without."""
    import boards.measurements
    from flow.bitstream import build as run_build
    from flow.build_source import source_of_policy, source_of_qonnx
    from flow.config import environment
    from flow.errors import SettingsError
    from flow.progress import ConsoleListener

    given = {"--run": run, "--policy": policy, "--qonnx": qonnx}
    if sum(value is not None for value in given.values()) != 1:
        raise SettingsError("give one of RUN=runs/…, POLICY=runs/…/policy.json and QONNX=….onnx")
    of_qonnx = {"BOARD": board, "FOLDING": folding, "TARGET_FPS": target_fps, "TOP_K": top_k}
    if qonnx is not None:
        source = source_of_qonnx(qonnx, board or "pynq-z2", folding, target_fps, 1 if top_k is None else top_k)
    elif strange := [f"{name}={value}" for name, value in of_qonnx.items() if value is not None]:
        raise SettingsError(
            f"{', '.join(strange)} goes with QONNX; a policy has board, folding and top_k of its own: leave it out"
        )
    else:
        source = source_of_policy(policy or cast(Path, run) / "policy.json")
    # a job that is ended, a terminal that is closed: FINN and Vivado, which have a session of their own, end as after Ctrl-C
    with ctrl_c.also_on(signal.SIGTERM, signal.SIGHUP), ConsoleListener(Console(), between=ctrl_c.check) as listener:
        built = run_build(source, out, images, force, environment(), listener, instrumented)
        boards.measurements.Measurements(measurements).add(built.synthesis)
        r, timing = built.reports, built.reports.system_timing
        listener.note(
            f"Vivado {r.vivado}: {r.system.lut:,.0f} LUT, {r.system.bram18:.0f} BRAM18, {r.system.dsp:.0f} DSP with the shell, "
            f"up to {timing.fmax_mhz:.1f} MHz\nmake measure HOST=… runs {built.package.path} on the board; read "
            f"{built.path / 'layers.md'}"
        )


def hide_passwords(arguments: list[str]) -> None:
    """Mask passwords of URLs in the arguments of this process, of which results and Ray take note."""
    from flow.storage_url import without_password

    arguments[:] = map(without_password, arguments)


def entry() -> None:
    """What the installed command calls."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # but for `main`, which hears it: a traceback is no answer
    try:
        code = main()
    except KeyboardInterrupt:  # once more, just before `main` could say anything of the first
        code = _complain(AGAIN, INTERRUPTED)
    sys.exit(code)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    The exit code is 0, 2 after an error of the user's or the machine's, 3 where a vendor tool is missing and all that needs
    none is done, 130 after Ctrl-C.
    """
    warnings.filterwarnings("ignore", "fast_hadamard_transform", UserWarning)  # brevitas, on import
    with _remembered_where_it_cannot_be_raised(), ctrl_c:
        try:
            code = app(args=arguments, standalone_mode=False)
        except (KeyboardInterrupt, typer.Abort):
            code = INTERRUPTED
        except Exception as error:
            text = _complaint(error)
            if ctrl_c.seen:
                code = INTERRUPTED  # something took it for an error of its own
            elif text is None:
                raise
            else:
                return _complain(text, NO_TOOLS if isinstance(error, MissingToolError) else 2)
        if code == INTERRUPTED:  # Typer may have made this of Ctrl-C by itself
            ctrl_c.answered()
            return _complain(AGAIN, INTERRUPTED)
    return code if isinstance(code, int) else 0


@contextmanager
def _remembered_where_it_cannot_be_raised() -> Iterator[None]:
    """Print nothing of Ctrl-C in a destructor or a weak reference's callback, where Python ignores it; `ctrl_c` has seen it."""
    before = sys.unraisablehook

    def hook(ignored: sys.UnraisableHookArgs) -> None:
        if ignored.exc_type is not KeyboardInterrupt:
            before(ignored)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _complaint(error: Exception) -> str | None:
    """What to say of an error; None of one that is a bug."""
    if isinstance(error, USAGE_ERROR):
        return f"{error.format_message().rstrip('.')}; see bitloop --help"
    if isinstance(error, BITLOOP_ERRORS):
        return str(error)
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
        return _describe(error.__context__)  # torch.save's own words for a full disk explain nothing
    return _describe(error) if isinstance(error, OSError) else None


def _describe(error: OSError) -> str:
    """What the machine refused and what to do about it."""
    place = f" ({error.filename})" if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "free some space and run the same command again" if full else "see to that and try again"
    return f"{error.strerror or error}{place}; {advice}"


def _complain(text: str, code: int) -> int:
    from flow.storage_url import without_passwords

    print(f"bitloop: {without_passwords(' '.join(text.split()))}", file=sys.stderr)
    return code


if __name__ == "__main__":
    entry()
