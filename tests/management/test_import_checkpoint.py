from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from detection.d3.checkpoints import load
from tests.support.published_layouts import CLIP, HEAD, head_layout, openai_archive, read

pytestmark = pytest.mark.stateless

ROOT = Path(__file__).parents[2]


def test_a_head_and_its_clip_become_one_file(tmp_path, capsys):
    output = tmp_path / "new" / "converted.safetensors"
    call_command("import_checkpoint", HEAD, clip_weights=str(CLIP), output=output, permutations=4)
    converted = load(output)
    assert converted.version == load(HEAD, clip_weights=CLIP).version
    assert converted.permutations == 4
    printed = capsys.readouterr().out
    assert printed.startswith(f"{output}: d3-clip-w128-l3, version {converted.version}, 753,409 ")
    assert len(printed.splitlines()) == 1


def test_a_whole_model_needs_no_clip(tmp_path):
    output = tmp_path / "converted.safetensors"
    call_command("import_checkpoint", head_layout("wrapped", tmp_path), output=output)
    assert load(output).permutations == 1


def test_a_checkpoint_of_this_project_keeps_its_settings(tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    call_command("import_checkpoint", HEAD, clip_weights=str(CLIP), output=first, permutations=4)
    call_command("import_checkpoint", first, output=second)
    assert load(second).permutations == 4
    assert load(second).training == load(first).training


def test_the_configured_clip_weights_are_the_default(tmp_path, settings):
    settings.CLIP_WEIGHTS = str(CLIP)
    output = tmp_path / "converted.safetensors"
    call_command("import_checkpoint", HEAD, output=output)
    assert load(output).training["clip_weights"] == CLIP.name


def test_an_archive_must_be_trusted(tmp_path):
    archive, output = openai_archive(read(CLIP), tmp_path / "clip.pt"), tmp_path / "converted"
    with pytest.raises(CommandError, match="--trust-torchscript"):
        call_command("import_checkpoint", HEAD, clip_weights=str(archive), output=output)
    assert not output.exists()
    call_command(
        "import_checkpoint", HEAD, clip_weights=str(archive), output=output, trust_torchscript=True
    )
    assert load(output).name == "d3-clip-w128-l3"


@pytest.mark.parametrize("permutations", ["0", "-1", "257", "two", "1.5"])
def test_an_invalid_number_of_permutations_is_refused(tmp_path, permutations):
    with pytest.raises(CommandError, match="is not a number from 1 to 256"):
        call_command(
            "import_checkpoint",
            str(HEAD),
            "--output",
            str(tmp_path / "x"),
            f"--permutations={permutations}",
        )


def test_on_the_command_line_an_error_is_one_sentence_without_a_traceback(tmp_path):
    """Run without a database, and without the default checkpoint."""
    text = tmp_path / "notes.pth"
    text.write_text("These are no weights.")
    command = [sys.executable, "manage.py", "import_checkpoint", text, "--output", tmp_path / "x"]
    missing = {"DATA_DIR": str(tmp_path / "data"), "MODEL_CHECKPOINT_PATH": str(tmp_path / "none")}
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | missing, check=False, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stdout == ""
    message = f"CommandError: The file {text} is not a checkpoint of any known format.\n"
    assert result.stderr == message
