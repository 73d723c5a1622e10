"""Where names lead while models' files change."""

from __future__ import annotations

import os
from dataclasses import replace

from llamawire_server.models import catalog_file, model_files


class TestFilesThatChange:
    def test_a_file_of_the_same_size_and_time_is_another_one(self, make_resolver, write_model):
        path = write_model("models/a.gguf", name="Name 1")
        resolver = make_resolver()
        before = resolver.resolve("a")
        times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)

        os.utime(write_model("new", name="Name 1"), ns=times)
        (path.parent.parent / "new").replace(path)

        after = resolver.resolve("a")
        assert after.metadata == before.metadata
        assert after.signature != before.signature
        assert resolver.entries() == [after]

    def test_every_part_of_a_split_model_counts(self, make_resolver, write_model):
        split = {"split__count": 2}
        write_model("models/a-00001-of-00002.gguf", split__no=0, **split)
        second = write_model("models/a-00002-of-00002.gguf", split__no=1, **split)
        resolver = make_resolver()
        before = resolver.resolve("a")
        times = (second.stat().st_atime_ns, second.stat().st_mtime_ns)

        os.utime(write_model("new", split__no=1, **split), ns=times)
        (second.parent.parent / "new").replace(second)

        assert len(before.signature) == 2
        after = resolver.resolve("a")
        assert after.signature[0] == before.signature[0]
        assert after.signature[1] != before.signature[1]

    def test_a_file_that_is_being_written_is_unreadable_until_it_is_whole(self, make_resolver, write_model):
        path = write_model("a.gguf")
        whole = path.read_bytes()
        resolver = make_resolver(yaml="a: a.gguf\n")
        (before,) = resolver.entries()

        for size_bytes in (0, 10, len(whole) - 1):
            path.write_bytes(whole[:size_bytes])
            (entry,) = resolver.entries()
            assert (entry.name, entry.metadata, entry.signature) == ("a", None, ())

        path.write_bytes(whole)
        (after,) = resolver.entries()
        assert after.metadata is not None
        assert after.signature != before.signature

    def test_a_loaded_model_stays_listed_while_its_file_in_the_folder_is_written_anew(
        self, make_resolver, write_model
    ):
        path = write_model("models/a.gguf")
        whole = path.read_bytes()
        resolver = make_resolver()
        (loaded,) = resolver.entries()

        path.write_bytes(whole[:-1])
        assert resolver.entries() == []
        assert resolver.entries([loaded]) == [replace(loaded, metadata=None, signature=())]
        write_model("other.gguf")
        make_resolver(yaml="a: other.gguf\n")
        assert [entry.path.name for entry in resolver.entries([loaded])] == ["other.gguf"]
        make_resolver(yaml="")
        path.unlink()
        assert resolver.entries([loaded]) == []

    def test_a_loaded_model_that_was_given_a_name_goes_with_it(self, make_resolver, write_model):
        path = write_model("a.gguf")
        resolver = make_resolver(yaml="a: a.gguf\n")
        loaded = resolver.entries()

        path.write_bytes(b"GGUF")
        make_resolver(yaml="# nothing\n")
        assert resolver.entries(loaded) == []

    def test_nothing_is_read_while_nothing_changes(self, make_resolver, write_model, monkeypatch):
        write_model("models/a.gguf")
        write_model("models/half.gguf").write_bytes(b"GGUF")
        write_model("b.gguf")
        resolver = make_resolver(yaml="b: b.gguf\nlost: lost.gguf\nwrong: 3\n")
        before = resolver.entries()

        monkeypatch.delattr(model_files, "read_gguf")
        monkeypatch.delattr(catalog_file, "load_catalog")
        assert resolver.entries() == before
