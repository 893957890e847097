"""What a search says and does where /dev/shm is small or cannot be written."""

from pathlib import Path

from search.cluster.start.shared_memory import STORE_BYTES, describe_shortage, free_bytes, store_options


def test_shared_memory_that_can_be_written_is_left_to_ray(tmp_path):
    assert store_options(tmp_path) == {}
    assert free_bytes(tmp_path) > 0


def test_the_store_is_elsewhere_where_shared_memory_cannot_be_written():
    options = store_options(Path("/proc/nobody"))
    assert Path(options["_plasma_directory"]).is_dir()
    assert options["object_store_memory"] == STORE_BYTES
    assert free_bytes(Path("/proc/nobody")) == 0


def test_a_shortage_is_described_with_the_option_that_ends_it():
    assert describe_shortage(8 * 10**9, 8e9) is None
    words = describe_shortage(64 * 10**6, 2.0**31) or ""
    assert words.startswith("/dev/shm has 64 MB")
    assert "`docker run --shm-size=3gb`" in words
