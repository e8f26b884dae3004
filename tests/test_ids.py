"""Ids: unique everywhere, and sorting by the time they were made at."""

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

from sourced.ids import new_id, new_stream_id


def run(script):
    return subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def test_an_id_is_a_uuid_of_version_7():
    made = uuid.UUID(new_id())
    assert (made.version, made.variant, str(made)) == (7, uuid.RFC_4122, str(made).lower())


def test_ids_sort_by_the_millisecond_they_were_made_in():
    moments = [id[:13] for id in (new_id() for _ in range(10_000))]
    assert moments == sorted(moments)


def test_ids_are_unique_over_threads():
    with ThreadPoolExecutor(8) as threads:
        made = [id for ids in threads.map(lambda _: [new_id() for _ in range(5_000)], range(8)) for id in ids]
    assert len(set(made)) == 40_000


def test_ids_are_unique_over_forks():
    """A child that went on with its parent's luck would make its parent's ids: compared is all but the time."""
    made = run("""if True:
        import os
        from sourced.ids import new_id
        new_id()
        for _ in range(3):
            child = os.fork()
            if not child:
                break
            os.waitpid(child, 0)
        print(*(new_id()[14:] for _ in range(100)))
    """)
    assert len(set(made)) == len(made) == 400


def test_ids_are_made_where_nothing_can_fork():
    """Some systems cannot: importing does not assume it."""
    assert run(
        "import asyncio, logging, os, random; del os.register_at_fork; from sourced.ids import new_id; print(new_id())"
    )


def test_a_new_stream_has_a_name_nobody_wrote_to():
    assert new_stream_id() != new_stream_id()
    assert new_stream_id("cart").startswith("cart-")
