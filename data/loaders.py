"""Batches of a pack's slices: seeded, balanced, the same for any number of workers, prepared ahead by a thread.

The order of an epoch and the augmentation of a slice depend on (seed, epoch, slice) and never on the rank, so two
workers together see exactly what one worker alone would have seen.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from data.ahead import map_ahead
from data.augmentation.augment import Augment
from data.packing.pack import Pack
from data.preprocess import as_channels, neighbours, normalise
from data.regions import decode

# Two batches hide the time that one takes; a third would only cost memory.
NUM_BATCHES_AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Slices that the network sees at once; `images` has channels last in memory (see `preprocess.normalise`)."""

    images: Float32[np.ndarray, "batch channels height width"]
    masks: Float32[np.ndarray, "batch regions height width"]
    slices: Int64[np.ndarray, " batch"]
    """Index of each slice in the pack."""


@dataclass(frozen=True, kw_only=True)
class BatchRecipe:
    """Everything that determines the content of a batch."""

    slices: Int64[np.ndarray, " batch"]
    seed: int
    epoch: int


Augmented = tuple[UInt8[np.ndarray, "batch height width channels"], UInt8[np.ndarray, "batch height width"]]


def epoch_slices(
    pack: Pack, slices: Int64[np.ndarray, " slices"], *, seed: int, epoch: int
) -> Int64[np.ndarray, " chosen"]:
    """Return the slices of one training epoch in order: every tumour slice once, and as many slices without tumour.

    The slices without tumour are a fresh sample in each epoch, without replacement, or all of them if there are fewer
    than tumour slices. If no slice has a tumour, return all slices. Two thirds of the LGG slices are empty: using them
    all would take most of the time and teach the network to predict no tumour.
    """
    rng = np.random.default_rng([seed, epoch])
    tumour = pack.tumour_slices[slices]
    with_tumour, empty = slices[tumour], slices[~tumour]
    if len(with_tumour) > 0:
        empty = rng.permutation(empty)[: len(with_tumour)]
    return rng.permutation(np.concatenate([with_tumour, empty]))


def num_train_batches(pack: Pack, *, batch_size: int) -> int:
    """Return the number of global batches of `train_batches` of all slices, the same in all epochs and on all ranks."""
    num_tumour = int(pack.tumour_slices.sum())
    num_empty = pack.num_slices - num_tumour
    num_chosen = num_tumour + (min(num_tumour, num_empty) if num_tumour else num_empty)
    return max(num_chosen // batch_size, min(num_chosen, 1))


def train_batches(
    pack: Pack,
    slices: Int64[np.ndarray, " slices"],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    first: int = 0,
    augment: Augment | None = None,
    processes: Callable[[list[BatchRecipe]], Iterator[Augmented]] | None = None,
) -> Generator[Batch, None, None]:
    """Return a generator of this rank's share of each global batch of the epoch, batch[rank::world_size].

    The order of `epoch_slices` is cut into global batches. A short last batch is dropped, unless it is the only one:
    then its first slices are repeated up to a multiple of world_size, so that no rank waits for another. A thread
    prepares two batches ahead; closing the generator ends it.

    Args:
        batch_size: Number of slices in a global batch.
        first: Index of the first global batch to return; those before it are not read.
        processes: Returns the augmented slices of the batches, computed in other processes instead of the thread.

    Raises:
        ValueError: batch_size is not a positive multiple of world_size, or there is no slice to train on. For a search
            both are checked with its options and its data.
    """
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(f"batch_size is {batch_size}, but must be a positive multiple of world_size ({world_size})")
    if len(slices) == 0:
        raise ValueError("slices is empty, but training needs at least one")
    order = epoch_slices(pack, slices, seed=seed, epoch=epoch)
    shares = [batch[rank::world_size] for batch in _global_batches(order, batch_size, world_size)]
    recipes = [BatchRecipe(slices=share, seed=seed, epoch=epoch) for share in shares[first:]]
    found = processes(recipes) if processes else (augmented(pack, augment, recipe) for recipe in recipes)
    return map_ahead(
        lambda recipe: _batch(pack, recipe, *next(found)), recipes, num_ahead=NUM_BATCHES_AHEAD, name="batches"
    )


def _global_batches(order: np.ndarray, batch_size: int, world_size: int) -> list[np.ndarray]:
    if len(order) < batch_size:
        return [np.resize(order, -(-len(order) // world_size) * world_size)]
    return [order[stop - batch_size : stop] for stop in range(batch_size, len(order) + 1, batch_size)]


def eval_batches(
    pack: Pack, slices: Int64[np.ndarray, " slices"], *, batch_size: int, rank: int = 0, world_size: int = 1
) -> Generator[Batch, None, None]:
    """Return a generator of batches of slices[rank::world_size], in order, without augmentation.

    A batch has batch_size slices, the last one perhaps fewer. All ranks together get each slice exactly once. A rank
    whose share is empty gets no batch.
    """
    assert batch_size >= 1, batch_size
    share = slices[rank::world_size]
    starts = range(0, len(share), batch_size)
    recipes = [BatchRecipe(slices=share[start : start + batch_size], seed=0, epoch=0) for start in starts]
    return map_ahead(
        lambda recipe: _batch(pack, recipe, *augmented(pack, None, recipe)),
        recipes,
        num_ahead=NUM_BATCHES_AHEAD,
        name="batches",
    )


def augmented(pack: Pack, augment: Augment | None, recipe: BatchRecipe) -> Augmented:
    """Return the augmented images of a batch, with their context slices as channels, and its masks, as copies."""
    seen = neighbours(recipe.slices, pack.patient_of_slice, pack.preprocessing.context_slices)
    images, masks = as_channels(pack.images[seen]), pack.masks[recipe.slices]
    if augment is not None:
        for i, index in enumerate(recipe.slices):
            slice_seed = np.random.SeedSequence([recipe.seed, recipe.epoch, int(index)]).generate_state(1)[0]
            images[i], masks[i] = augment(images[i], masks[i], int(slice_seed))
    return images, masks


def _batch(pack: Pack, recipe: BatchRecipe, images: np.ndarray, masks: np.ndarray) -> Batch:
    patients, num_seen = pack.patient_of_slice[recipe.slices], pack.preprocessing.num_slices_seen
    return Batch(
        images=normalise(images, *(np.tile(one[patients], num_seen) for one in (pack.mean, pack.std))),
        masks=np.ascontiguousarray(decode(masks, len(pack.regions)).swapaxes(0, 1), np.float32),
        slices=recipe.slices,
    )
