"""Remove folders that are no longer needed: on a disk at once, in a bucket from background threads."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

from search.storage.storage_path import StoragePath

NUM_THREADS = 4
"""Removing a checkpoint takes a bucket five requests in sequence, about 0.2 s."""

END_SECONDS = 30.0
"""How long to wait for the last removals. If the search is resumed, it removes what is left."""


class FolderRemover:
    """Removes folders; in a bucket, the caller does not wait."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._futures: list[Future] = []

    def remove(self, folder: StoragePath) -> None:
        """Remove a folder: at once on a disk, soon in a bucket."""
        if not folder.is_bucket:
            folder.remove_folder()
            return
        self._threads = self._threads or ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="removals")
        self._futures = [future for future in self._futures if not future.done()]
        self._futures.append(self._threads.submit(folder.remove_folder))

    def end(self, *, seconds: float = END_SECONDS) -> None:
        """Wait at most this long for removals that have begun, and cancel the others."""
        wait(self._futures, seconds)
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
