"""Predict tumour masks for images with an exported model: `python -m model.predict MODEL INPUT... --out FOLDER`.

A mistake in the arguments, in the model, or in the names of files ends the command before anything is written.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import Progress

from data.arguments import parse_arguments
from data.command import USER_ERROR, run_command
from data.errors import UserError
from data.printable import some
from data.readers.volumes.cases.channels import parse_renames
from data.splitting.persons import compile_pattern
from model.inference.runtime import Runtime
from model.manifest import sha256
from model.predict.exported_model import ExportedModel
from model.predict.outputs import TABLE, Outputs
from model.predict.patients import patients_of_lines, patients_of_sources
from model.predict.pipeline import Done, Failed, Pipeline
from model.predict.volume_files import InputOptions, VolumeFiles
from model.settings import Settings

STREAM = Path("-")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Mark the tumour in MRI slices with an exported model. For research, not for diagnosis."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """An exported model.onnx, or the folder that holds it."""

    input: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT...")]
    """A patient's folder with slices <PATIENT>_<NUMBER>.tif (or .png, .jpg), a folder of such folders, a folder with
    `images/`, or one image; for a model of volumes a folder of cases, as in training. Give several, or `-` to read
    names from standard input, one a line, each of which is predicted as it comes."""

    out: Path
    """Folder to write to: <patient>/<slice>_mask.tif (0 and 255; .png if the slice is not a TIFF), or
    <case>/<case>_mask in the format of the volume or as DICOM SEG; a model of several regions writes their labels. And
    volumes.csv with a row for each patient of this command. Patients whose files are there already, made by the same
    model, runtime and options from the same input, are skipped."""

    runtime: Runtime = "auto"
    """Library that runs the network. `auto`: OpenVINO in bfloat16 if it is installed, the CPU computes in bfloat16 and
    there is no CUDA; else ONNX Runtime in float32."""

    batch_size: int | None = None
    """Number of slices that go through the network at once. None: 16 on a GPU, 1 on a CPU, where larger batches are
    slower."""

    overlays: bool = True
    """Whether to draw the outline into the FLAIR image as well, as <patient>/<slice>_overlay.png; of volumes and stacks
    only for slices with tumour."""

    patient_pattern: str | None = None
    """Regular expression that finds the patient in the path of a slice below INPUT, as in training."""

    modality: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """What volumes call a channel of the model, such as `t1c=pink`, or `t1c=0001` for files of nnU-Net. Common
    spellings need no such help."""

    trust_voxels: bool = False
    """Whether volumes of a case that have one shape match voxel by voxel even where their affines differ."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Return 0 if all patients are predicted, 2 after a mistake of the user, 130 after Ctrl-C."""
    interrupted = "finished patients are kept, and the same command predicts the others"
    return run_command(_main, argv, interrupted=interrupted)


def _main(argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, prog="python -m model.predict")
    _accept_any_file_name()
    try:
        finished = _predict(arguments)
    except MemoryError as error:
        raise UserError("there is not enough memory; close other programs, or predict smaller volumes") from error
    return _summarise(arguments, finished)


def _accept_any_file_name() -> None:
    """Let standard input and output pass file names that are not UTF-8, which would raise by default."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)


def _predict(arguments: Arguments) -> list[Done | Failed]:
    """Predict all patients that the arguments name, and return the outcome of each."""
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise UserError(f"batch_size is {arguments.batch_size}, but must be at least 1")
    model = ExportedModel.load(arguments.model, runtime=arguments.runtime)
    outputs = Outputs(
        folder=arguments.out,
        model_sha256=sha256(model.file),
        runtime=model.runtime.engine,
        overlays=arguments.overlays,
        channel_names=model.settings.channel_names,
        regions=model.settings.regions,
    )
    patients = _patients(arguments, model.settings, outputs)
    print(f"runtime: {model.runtime}", flush=True)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("patients", total=len(patients) if isinstance(patients, tuple) else None)
        pipeline = Pipeline(
            network=model.network,
            settings=model.settings,
            outputs=outputs,
            batch_size=arguments.batch_size or model.default_batch_size,
            advance=lambda share: progress.advance(task, share),
            report=lambda text: progress.console.print(text, markup=False, highlight=False, soft_wrap=True),
        )
        try:
            # Each line of a stream is finished before the next is read: the writer of the lines may wait for the masks.
            return list(pipeline.run(patients, num_ahead=1 if isinstance(patients, tuple) else 0))
        finally:
            outputs.write_table()


def _patients(
    arguments: Arguments, settings: Settings, outputs: Outputs
) -> tuple[VolumeFiles, ...] | Iterator[VolumeFiles | Failed]:
    """Return the patients that the arguments name, or an iterator over those of standard input."""
    options = InputOptions(
        patient_pattern=compile_pattern(arguments.patient_pattern) if arguments.patient_pattern else None,
        renames=parse_renames(arguments.modality),
        trust_voxels=arguments.trust_voxels,
    )
    if arguments.input == (STREAM,):
        return patients_of_lines(sys.stdin, settings, outputs, options)
    if not arguments.input or STREAM in arguments.input:
        raise UserError("INPUT must be files and folders, at least one, or - (standard input) alone")
    return patients_of_sources(arguments.input, settings, outputs, options, note=lambda text: print(f"note: {text}"))


def _summarise(arguments: Arguments, finished: list[Done | Failed]) -> int:
    """Print how many patients are predicted, and return the exit status."""
    done = [patient for patient in finished if isinstance(patient, Done)]
    failed = [patient.name for patient in finished if isinstance(patient, Failed)]
    if done:
        kinds = "masks and overlays" if arguments.overlays else "masks"
        num_there = sum(patient.was_there for patient in done)
        there = f"; {num_there} patient(s) were there already, from the same model and input" if num_there else ""
        num_slices = sum(patient.row.slices for patient in done)
        print(
            f"Wrote {kinds} of {num_slices} slice(s) of {len(done)} patient(s), and {TABLE}, to {arguments.out}{there}"
        )
    if not failed:
        return 0
    rest = "the others are finished" if done else "nothing was written"
    print(
        f"error: {len(failed)} of {len(finished)} patient(s) could not be predicted ({some(failed, most=4)}): see "
        f"above; {rest}. Repair the files and run the same command again",
        file=sys.stderr,
    )
    return USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
