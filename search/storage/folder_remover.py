"""What nobody needs any more is removed: from a folder at once, from a bucket by threads that nobody waits for."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

from search.storage.storage_path import StoragePath

NUM_THREADS = 4
"""To remove a checkpoint takes a bucket five requests, one after the other: some 0.2 s."""

END_SECONDS = 30.0
"""How long the last removals are waited for; what is left then, a resumed search finds."""


class FolderRemover:
    """Removes folders."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._futures: list[Future] = []

    def remove(self, folder: StoragePath) -> None:
        """Remove a folder, now or soon."""
        if not folder.is_bucket:
            folder.remove_folder()
            return
        self._threads = self._threads or ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="removals")
        self._futures = [future for future in self._futures if not future.done()]
        self._futures.append(self._threads.submit(folder.remove_folder))

    def end(self, *, seconds: float = END_SECONDS) -> None:
        """Wait for what is under way, a while."""
        wait(self._futures, seconds)
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
