"""Parts of `make cluster` that need no cluster."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.install.image import install_tools
from verification.cluster.helm import parser
from verification.cluster.page import TOOLS, commands
from verification.cluster.programs import find_go, write_image

# Programs that a reader of docs/install.md has.
KNOWN = {"curl", "docker", "echo", "for", "helm", "kubectl", *TOOLS}


def test_page_has_commands_of_known_programs_only() -> None:
    assert {command.split()[0] for command in commands()} <= KNOWN


def test_options_of_helm_on_the_page_are_known_options_of_helm() -> None:
    of_helm = [command.split()[1:] for command in commands() if command.startswith("helm ")]
    assert of_helm
    for arguments in of_helm:
        parser().parse_args(["added.json", *arguments])


def test_image_of_a_program_has_it_as_entry_point(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"a program")
    program.chmod(0o755)
    write_image(tmp_path / "image.tar", "localhost/pause:1", program, "amd64")
    with tarfile.open(tmp_path / "image.tar") as image:
        manifest = json.loads(_read(image, "manifest.json"))[0]
        config = json.loads(_read(image, manifest["Config"]))
        assert manifest["RepoTags"] == ["localhost/pause:1"]
        assert config["config"]["Entrypoint"] == ["/pause"]
        with tarfile.open(fileobj=image.extractfile(manifest["Layers"][0])) as layer:
            assert _read(layer, "pause") == b"a program"


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_missing_go_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"install Go 1\.26 or newer"):
        find_go(str(tmp_path))


def test_go_is_found_in_any_of_the_folders(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.touch(mode=0o755)
    assert find_go(f"/nonexistent:{tmp_path}") == str(go)


def test_missing_package_is_named_where_it_cannot_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt-get install --no-install-recommends a-package"):
        install_tools({"a-program": "a-package"})
