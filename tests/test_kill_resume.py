"""A training killed with SIGKILL at random moments ends with the very file that an undisturbed one writes."""

import random

import pytest
from benchmarks import kill_resume

from distok.training import MODEL_FILE


@pytest.mark.parametrize("seed", [0])
def test_killed_run_ends_with_the_same_file(seed, tmp_path, pipeline_folder, labeler_folder):
    (tmp_path / "pipeline").symlink_to(pipeline_folder)
    (tmp_path / "labeler").symlink_to(labeler_folder)
    dice, steps = random.Random(seed), 40
    for _ in range(3):
        process = kill_resume.start(tmp_path, tmp_path / "killed", steps)
        assert kill_resume.kill_at(process, dice.randint(2, 10), dice.uniform(0, 0.02)), "it finished before it was killed"
        assert not (tmp_path / "killed" / MODEL_FILE).exists()
    kill_resume.work(tmp_path, tmp_path / "killed", steps)
    kill_resume.work(tmp_path, tmp_path / "whole", steps)
    assert kill_resume.digest(tmp_path / "killed" / MODEL_FILE) == kill_resume.digest(tmp_path / "whole" / MODEL_FILE)
    assert not list((tmp_path / "killed").glob(".*.tmp"))
