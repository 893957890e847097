"""From images to tumour masks with an exported model: `python -m model.predict MODEL INPUT... --out FOLDER`.

What is wrong with the command, with the model, or with how files are named, ends it before anything is written.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import Progress

from data.errors import DataError
from model.inference.onnx_file import model_file
from model.inference.runtime import RUNTIMES, choose_runtime, load_model
from model.manifest import sha256
from model.predict.images import Volume
from model.predict.inputs import find_all, find_volumes, is_mask
from model.predict.outputs import TABLE, Outputs
from model.predict.pipeline import Steps, Work
from model.settings import ModelError, Settings

STREAM = Path("-")
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells count it."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Mark the tumour in MRI slices with an exported model. For research, not for diagnosis."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """An exported model.onnx, or the folder that holds it."""

    input: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT...")]
    """A patient's folder with slices <PATIENT>_<NUMBER>.tif (or .png, .jpg), a folder of such folders, a folder with
    `images/`, one image; for a model of NIfTI volumes a case's folder, or a folder of such. Several, or `-` for names
    from standard input, one a line, each predicted as it comes."""

    out: Path
    """Folder to write to: <patient>/<slice>_mask.tif (0 and 255; .png where the slice is no TIFF) or
    <case>/<case>_mask.nii.gz, and volumes.csv, a row a patient of this command. Patients whose files are there already,
    of the same model, runtime, options and input, are passed over."""

    runtime: Literal[RUNTIMES] = "auto"
    """What runs the network. `auto`: OpenVINO in bfloat16 where it is installed and the processor computes in bfloat16,
    and there is no CUDA; else ONNX Runtime in float32."""

    batch_size: int | None = None
    """Slices that go through the network at once. None: 16 on a GPU, 1 on a processor, where more are slower."""

    overlays: bool = True
    """Whether to draw the outline into the FLAIR image as well, as <patient>/<slice>_overlay.png; of NIfTI volumes for
    slices with tumour only."""

    patient_pattern: str | None = None
    """Regular expression that finds the patient in the path of an image below `images/`, as in training."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a mistake of the caller ends it with one sentence and exit status 2, Ctrl-C with 130."""
    arguments = tyro.cli(Arguments, prog="python -m model.predict", args=argv)
    _take_any_name()
    try:
        is_whole = _predict(arguments)
    except KeyboardInterrupt:
        print("interrupted: the patients that were finished stay; the same command goes on.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except MemoryError:
        print("error: the memory does not suffice; close other programs, or take smaller volumes", file=sys.stderr)
        raise SystemExit(2) from None
    except (ModelError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if not is_whole:
        raise SystemExit(2)


def _take_any_name() -> None:
    """Have names of files that are not UTF-8 read and shown: Python's own streams would end the command at one."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)


def _predict(arguments: Arguments) -> bool:
    """Return whether all that was asked for is predicted."""
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise ModelError(f"batch_size is {arguments.batch_size}, but must be at least 1")
    pattern = _pattern(arguments.patient_pattern)
    choice = choose_runtime(arguments.runtime)
    network, settings = load_model(arguments.model, runtime=choice.name)
    outputs = Outputs(
        folder=arguments.out,
        made_by={"model_sha256": sha256(model_file(arguments.model)), "runtime": choice.name},
        overlays=arguments.overlays,
        channel_names=settings.channel_names,
    )
    is_stream = arguments.input == (STREAM,)
    find = _from_lines if is_stream else _from_arguments
    works = find(arguments, settings, pattern, outputs)
    print(f"runtime: {choice.name}, {choice.precision}, on the {choice.device}", flush=True)
    console = Console(stderr=True)
    with Progress(console=console) as progress:
        task = progress.add_task("patients", total=None if is_stream else len(works))
        steps = Steps(
            network=network,
            settings=settings,
            outputs=outputs,
            batch_size=arguments.batch_size or (1 if choice.device == "CPU" else 16),
            advance=lambda share: progress.advance(task, share),
            say=lambda text: progress.console.print(text, markup=False, highlight=False, soft_wrap=True),
        )
        try:
            # A stream waits for no line before the last one is done: what writes the lines may wait for the masks.
            done = list(steps.run(works, num_ahead=0 if is_stream else 1))
        finally:
            outputs.write_table()
    return _summarise(arguments, done)


def _pattern(text: str | None) -> re.Pattern | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise DataError(f'patient_pattern "{text}" is illegal ({error})') from error


def _from_arguments(
    arguments: Arguments, settings: Settings, pattern: re.Pattern | None, outputs: Outputs
) -> list[Work]:
    if not arguments.input or STREAM in arguments.input:
        raise DataError("INPUT must be files and folders, at least one, or - (standard input) alone")
    sources = [source for source in arguments.input if not is_mask(source)]
    if num_masks := len(arguments.input) - len(sources):
        print(f"note: {num_masks} file(s) are named as masks or overlays, and passed over")
    if not sources:
        raise DataError("no INPUT is an image: all are named as masks or overlays")
    volumes = find_all(sources, settings, patient_pattern=pattern)
    outputs.check(volumes)
    single = [volume.files[0].name for volume in volumes if len(volume.files) == 1 and not volume.is_nifti]
    if single:
        print(
            f"note: {len(single)} volume(s) have but one slice ({single[0]}), which is normalised by itself; "
            "give a patient's folder to normalise over all slices, as in training"
        )
    return [Work(name=volume.patient, volume=volume) for volume in volumes]


def _from_lines(
    arguments: Arguments, settings: Settings, pattern: re.Pattern | None, outputs: Outputs
) -> Iterator[Work]:
    """Yield the patients that each line of standard input names, when it comes; files that came before, once."""
    outputs.check(())
    return _works_of_lines(settings, pattern, outputs)


def _works_of_lines(settings: Settings, pattern: re.Pattern | None, outputs: Outputs) -> Iterator[Work]:
    known: dict[str, Volume] = {}
    for source in (Path(line.rstrip("\r\n")) for line in sys.stdin if line.strip()):
        if is_mask(source):
            continue
        try:
            volumes = find_volumes(source, settings, patient_pattern=pattern)
            outputs.check(volumes)
        except (DataError, ModelError) as error:
            yield Work(name=str(source), error=error)
            continue
        for volume in volumes:
            if (before := known.setdefault(volume.patient, volume)) is volume:
                yield Work(name=volume.patient, volume=volume)
            elif _resolved(before) != _resolved(volume):
                reason = f"{source}: a patient of this name is already in {before.folder}; predict them apart"
                yield Work(name=str(source), error=DataError(reason))


def _resolved(volume: Volume) -> list[Path]:
    return [path.resolve() for path in volume.files]


def _summarise(arguments: Arguments, done: list[Work]) -> bool:
    rows = [work.row for work in done if work.row is not None]
    failed = [work.name for work in done if work.error is not None]
    if rows:
        kinds = "masks and overlays" if arguments.overlays else "masks"
        was_there = sum(work.was_there for work in done)
        again = f"; {was_there} patient(s) were there before, of the same model and input" if was_there else ""
        num_slices = sum(row["slices"] for row in rows)
        print(
            f"Wrote {kinds} of {num_slices} slice(s) of {len(rows)} patient(s), and {TABLE}, to {arguments.out}{again}"
        )
    if failed:
        shown = ", ".join(failed[:4]) + (", ..." if len(failed) > 4 else "")
        rest = "the others are finished" if rows else "nothing was written"
        print(
            f"error: {len(failed)} of {len(done)} patient(s) could not be predicted ({shown}): see above; {rest}, and "
            "after a repair the same command goes on",
            file=sys.stderr,
        )
    return not failed


if __name__ == "__main__":
    main()
