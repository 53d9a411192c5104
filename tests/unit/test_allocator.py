import subprocess
import sys

_PAGES = """
import resource, sys
from workers.vision.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**26
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _new_pages(how: str) -> int:
    """Of a process's second 64 MiB, after it has freed the first."""
    made = subprocess.run([sys.executable, "-c", _PAGES, how], capture_output=True, text=True, check=True)
    return int(made.stdout)


def test_freed_memory_is_taken_again_without_new_pages():
    assert _new_pages("keep") < 100 < _new_pages("default")
