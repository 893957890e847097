"""Answer one request: predict the volume in its files."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from starlette.responses import JSONResponse, Response

from data.errors import BadFiles, DataError
from model.inference.volume import Network, predict_volume, to_masks
from model.predict.volume_files import InputOptions
from model.serve.answer import (
    FileAnswer,
    Output,
    PredictionSummary,
    json_answer,
    mask_file,
    overlay_file,
    summarise_prediction,
)
from model.serve.limits import Allowance, Refusal
from model.serve.upload import MAX_FILES, Upload, num_values, read_upload, store
from model.settings import ModelError, Settings


@dataclass(frozen=True, kw_only=True)
class UploadPredictor:
    """Everything that a prediction needs besides the files of a request."""

    network: Network
    settings: Settings
    folder: Path
    """Where the files of a request are kept until it is answered."""

    options: InputOptions

    allowance: Allowance
    """Values (pixels times channels) that may be in memory at once."""

    prepared: Allowance
    """The same for values of slices at the network's size, most of which take a byte."""

    batch_size: int

    def _num_values(self, files: Iterable[Path]) -> int:
        """Return how many values are in memory at once: those of the channels, or of the regions if they are more."""
        values = sum(num_values(path) for path in files)
        return max(values, values * len(self.settings.regions) // self.settings.num_channels)

    def _num_prepared(self, shape: tuple[int, ...]) -> int:
        """Return how many bytes a volume takes at the network's size, with one slice that is padded to a square.

        The files need not be large for that: a slice may be 1 pixel wide, and a volume may have thousands of slices of
        one pixel.

        Raises:
            Refusal: It has more slices than a request may have files.
        """
        num_slices, height, width, num_channels = shape
        if num_slices > MAX_FILES:
            raise Refusal(413, f"the request has {num_slices} slices, but at most {MAX_FILES} are accepted; send less")
        square = max(height, width) ** 2 * (num_channels + 8)  # its image in bytes, its probability in float32, a copy
        return num_slices * self.settings.preprocessing.size**2 * num_channels + square

    def respond(self, uploads: Sequence[Upload], output: Output) -> Response:
        """Return the answer to a request.

        Raises:
            Refusal: The files cannot be used, do not suit the model, or need too much memory.
        """
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as name:
            received, written = Path(name) / "received", Path(name)
            received.mkdir()
            with _refusing_unusable_files(received):
                stored = store(uploads, received)
                with self.allowance.reserve(self._num_values(stored.values())):
                    volume = read_upload(stored, self.settings, self.options)
                    with self.prepared.reserve(self._num_prepared(volume.images.shape)):
                        probability = predict_volume(
                            self.network, volume.images, self.settings.preprocessing, batch_size=self.batch_size
                        )
                    masks = to_masks(probability, self.settings)
                    summary = summarise_prediction(volume, masks, self.settings)
                    if output == "json":
                        answer = json_answer(volume, masks, self.settings.regions, written, summary)
                        return JSONResponse(asdict(answer))
                    if output == "mask":
                        answer = mask_file(volume, masks, self.settings.regions, written)
                    else:
                        answer = overlay_file(volume, masks, written)
        return _file_response(answer, summary)


@contextmanager
def _refusing_unusable_files(received: Path) -> Iterator[None]:
    """Turn errors about the files of a request into refusals that do not show where the files are."""
    try:
        yield
    except BadFiles as error:
        reasons = (f"{problem.path.name}: {problem.reason}" for problem in error.problems)
        raise Refusal(400, "; ".join(reasons)) from None
    except (DataError, ModelError) as error:
        status = 422 if isinstance(error, ModelError) else 400
        sentence = str(error).replace(f"{received}/", "").replace(str(received), "the request")
        raise Refusal(status, sentence) from None
    except MemoryError:
        raise Refusal(413, "the request needs more memory than this machine has left; send less") from None


def _file_response(answer: FileAnswer, summary: PredictionSummary) -> Response:
    headers = {
        "Content-Disposition": f'attachment; filename="{answer.name}"',
        "X-Tumour-Pixels": str(summary.tumour_pixels),
        "X-Tumour-Share": str(summary.tumour_share),
    }
    if summary.tumour_ml is not None:
        headers["X-Tumour-Ml"] = str(summary.tumour_ml)
    if summary.note:
        headers["X-Note"] = summary.note
    return Response(answer.content, media_type=answer.media_type, headers=headers)
