"""Blob files: durable before they are named, opened in part, refused when touched, swept when nobody names them."""

import errno
import gc
import os
import subprocess
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailx.store import blobs as module
from mailx.store.blobs import Blobs, ForeignFiles
from mailx.store.chunks import CHUNK
from mailx.store.cipher import Cipher, CipherError, Keys

KEYS = Keys({1: b"\1" * 32}, 1, b"\2" * 32)
HEAD = 30
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17)
_CONTENT = os.urandom(4 * CHUNK)


class BlobsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.blobs = Blobs(str(self.directory), Cipher(KEYS))

    def path(self, name: str) -> Path:
        return self.directory / name[:2] / name

    def files(self) -> set[str]:
        return {path.name for path in self.directory.glob("*/*")}


class ContentTests(BlobsCase):
    def test_reads_what_was_written(self) -> None:
        for size in SIZES:
            file = self.blobs.put(_CONTENT[:size])
            self.assertEqual((file.size, self.blobs.size(file.name)), (size, size))
            self.assertEqual(file.read(), _CONTENT[:size])
            self.assertNotIn(_CONTENT[:64] or b"none", self.path(file.name).read_bytes())
            self.assertEqual(self.path(file.name).stat().st_mode & 0o777, 0o600)

    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.differing_executors])
    @given(st.lists(st.integers(0, 2 * CHUNK), max_size=6), st.integers(0, 5 * CHUNK), st.none() | st.integers(0, 5 * CHUNK))
    def test_any_pieces_in_any_range_out(self, pieces: list[int], offset: int, length: int | None) -> None:
        writer = self.blobs.spool()
        content = b""
        for size in pieces:
            content += _CONTENT[:size]
            writer.write(_CONTENT[:size])
        file = writer.finish()
        self.assertEqual(self.blobs.read(file.name), content)
        self.assertEqual(self.blobs.read(file.name, offset, length), content[offset:][:length])
        file.discard()

    def test_a_range_opens_only_its_chunks(self) -> None:
        file = self.blobs.put(_CONTENT)
        touched = bytearray(self.path(file.name).read_bytes())
        touched[HEAD + 2 * (CHUNK + 16) + 5] ^= 1
        self.path(file.name).write_bytes(touched)
        self.assertEqual(self.blobs.read(file.name, CHUNK + 10, CHUNK - 10), _CONTENT[CHUNK + 10 : 2 * CHUNK])
        self.assertRaises(CipherError, self.blobs.read, file.name, 2 * CHUNK, 1)

    def test_a_large_one_is_not_held_twice(self) -> None:
        size = 20 * len(_CONTENT)
        writer = self.blobs.spool()
        tracemalloc.start()
        try:
            for _ in range(20):
                writer.write(_CONTENT)
            file = writer.finish()
            self.assertTrue(tracemalloc.get_traced_memory()[1] < 8 * CHUNK + 2 * len(_CONTENT))
            self.assertEqual(len(file.read()), size)
            self.assertTrue(tracemalloc.get_traced_memory()[1] < 1.3 * size)
        finally:
            tracemalloc.stop()

    def test_names_are_checked(self) -> None:
        for name in ("", "../../../../../../../../etc/passwd", "a" * 31, "/" * 32):
            self.assertRaises(ValueError, self.blobs.read, name)
        self.assertRaises(FileNotFoundError, self.blobs.read, "0" * 32)


class TamperTests(BlobsCase):
    def damaged(self, name: str, data: bytes) -> None:
        self.path(name).write_bytes(data)
        self.assertRaises(CipherError, self.blobs.read, name)

    def test_any_changed_octet(self) -> None:
        file = self.blobs.put(_CONTENT[: CHUNK + 100])
        whole = self.path(file.name).read_bytes()
        for place in [*range(HEAD), HEAD, HEAD + CHUNK + 15, HEAD + CHUNK + 16, len(whole) - 1]:
            touched = bytearray(whole)
            touched[place] ^= 0x80
            self.damaged(file.name, bytes(touched))

    def test_cut_short_and_prolonged(self) -> None:
        file = self.blobs.put(_CONTENT[: 2 * CHUNK + 5])
        whole = self.path(file.name).read_bytes()
        chunk = CHUNK + 16
        for size in (0, HEAD - 1, HEAD, HEAD + 15, HEAD + chunk, HEAD + 2 * chunk, HEAD + 2 * chunk + 3, len(whole) - 1):
            self.damaged(file.name, whole[:size])
        self.damaged(file.name, whole + b"\0")
        self.damaged(file.name, whole + whole[HEAD : HEAD + chunk])

    def test_chunks_exchanged(self) -> None:
        file = self.blobs.put(_CONTENT[: 3 * CHUNK])
        whole = self.path(file.name).read_bytes()
        chunk = CHUNK + 16
        first, second, third = (whole[HEAD + index * chunk : HEAD + (index + 1) * chunk] for index in range(3))
        self.damaged(file.name, whole[:HEAD] + second + first + third)

    def test_one_file_under_the_name_of_another(self) -> None:
        one, other = self.blobs.put(b"one"), self.blobs.put(b"two")
        os.rename(self.path(one.name), self.path(other.name))
        self.assertRaises(CipherError, other.read)


class DurabilityTests(BlobsCase):
    def record(self) -> list[tuple[str, str]]:
        """The calls that make a file durable, in order, with the file they concern."""
        calls: list[tuple[str, str]] = []
        fsync, rename = os.fsync, os.rename

        def recorded_fsync(descriptor: int) -> None:
            calls.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
            fsync(descriptor)

        def recorded_rename(source: str, target: str) -> None:
            calls.append(("rename", target))
            rename(source, target)

        self.patch(module.os, "fsync", recorded_fsync)
        self.patch(module.os, "rename", recorded_rename)
        return calls

    def test_file_then_name_then_directory(self) -> None:
        calls = self.record()
        writer = self.blobs.create()
        final = str(self.path(writer.name).absolute())
        writer.write(_CONTENT)
        del calls[:]
        self.assertFalse(os.path.exists(final))
        writer.finish()
        self.assertEqual(calls, [("fsync", final + ".tmp"), ("rename", final), ("fsync", os.path.dirname(final))])

    def test_everything_is_written_before_the_fsync(self) -> None:
        sizes: list[int] = []
        fsync = os.fsync
        self.patch(module.os, "fsync", lambda descriptor: (sizes.append(os.fstat(descriptor).st_size), fsync(descriptor)))
        file = self.blobs.put(_CONTENT[:1000])
        self.assertIn(self.path(file.name).stat().st_size, sizes)

    def test_a_new_subdirectory_is_durable_too(self) -> None:
        calls = self.record()
        self.blobs.create().abort()
        self.assertEqual(calls, [("fsync", str(self.directory.absolute()))])

    def test_the_first_directory_is_durable_too(self) -> None:
        calls = self.record()
        parent = Path(self.mktemp())
        parent.mkdir()
        for _ in range(2):
            Blobs(str(parent / "blobs"), Cipher(KEYS))
        self.assertEqual(calls, [("fsync", str(parent.absolute()))])

    def test_owner(self) -> None:
        """The files of one database are not left to another one's sweep."""
        for _ in range(2):
            self.blobs.claim()
        self.assertEqual(list(self.blobs.candidates()), [])
        other = Blobs(str(self.directory), Cipher(evolve(KEYS, lookup=b"another lookup key".ljust(32))))
        self.assertIn("store.url", str(self.assertRaises(ForeignFiles, other.claim)))
        self.blobs.claim()
        self.assertEqual(os.listdir(self.directory), ["owner"])

    def test_failure_of_each_step_leaves_nothing(self) -> None:
        def full(*args: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.blobs.put(b"").discard()
        for step in ("fsync", "rename", "_fsync_directory"):
            writer = self.blobs.create()
            writer.write(_CONTENT)
            patch = self.patch(module if step.startswith("_") else module.os, step, full)
            try:
                self.assertRaises(OSError, writer.finish)
            finally:
                patch.restore()
            self.assertEqual(self.files(), set(), step)

    def test_abort_leaves_nothing(self) -> None:
        writer = self.blobs.create()
        writer.write(_CONTENT)
        self.assertEqual(self.files(), {writer.name + ".tmp"})
        writer.abort()
        writer.abort()
        self.assertEqual(self.files(), set())
        self.assertRaises(ValueError, writer.finish)

    def test_full_disk(self) -> None:
        place = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, place)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, check=False)
        if mounted.returncode:
            raise SkipTest("no small file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", place], check=True)
        blobs = Blobs(place, Cipher(KEYS))
        writer = blobs.create()
        error = self.assertRaises(OSError, lambda: [writer.write(_CONTENT) for _ in range(4)])
        self.assertEqual(error.errno, errno.ENOSPC)
        writer.abort()
        self.assertEqual(blobs.put(_CONTENT[:100000]).read(), _CONTENT[:100000])


class SweepTests(BlobsCase):
    def test_removes_what_nobody_names(self) -> None:
        kept, orphan, unfinished = self.blobs.put(b"kept").name, self.blobs.put(b"orphan").name, self.blobs.create().name
        gc.collect()
        candidates = self.blobs.candidates()
        self.assertEqual(candidates, {kept, orphan, unfinished})
        self.assertEqual(self.blobs.sweep(candidates, {kept}), 2)
        self.assertEqual(self.files(), {kept})
        self.assertEqual(list(self.blobs.names()), [kept])

    def test_spares_what_is_in_flight(self) -> None:
        writer, file = self.blobs.create(), self.blobs.put(b"not yet named")
        self.assertEqual(self.blobs.in_flight(), {writer.name, file.name})
        self.assertEqual(self.blobs.candidates(), frozenset())
        self.assertEqual(self.blobs.sweep({writer.name, file.name}, ()), 0)
        self.assertEqual(self.files(), {writer.name + ".tmp", file.name})

    def test_a_finished_spool_stays_in_flight(self) -> None:
        writer = self.blobs.spool()
        file = writer.finish()
        name = file.name
        del writer
        gc.collect()
        self.assertEqual(self.blobs.in_flight(), {name})
        del file
        gc.collect()
        self.assertEqual(self.blobs.in_flight(), frozenset())

    def test_spares_young_files_of_other_nodes(self) -> None:
        name = self.blobs.put(b"young").name
        gc.collect()
        self.assertEqual(self.blobs.candidates(older_than=60), frozenset())
        os.utime(self.path(name), (1, 1))
        self.assertEqual(self.blobs.candidates(older_than=60), {name})

    def test_unlink_twice(self) -> None:
        file = self.blobs.put(b"gone")
        file.discard()
        self.blobs.unlink(file.name)
        self.assertEqual(self.files(), set())
