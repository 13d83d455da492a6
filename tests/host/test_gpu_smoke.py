"""`tools/dev.py gpu --smoke`: every part runs on a CPU with tiny models, so that the command cannot rot."""

import json
import subprocess
import sys

import pytest

from tools.gpu.jobs import all_jobs
from tools.host_env import paths


@pytest.mark.slow
def test_every_part_runs_and_finds_no_fault(comfy_root, tmp_path):
    command = [sys.executable, "-m", "tools.gpu", "--smoke", "--limit", "100000", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=paths.CLONE, env=paths.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert set(found["results"]) == {job.name for job in all_jobs(smoke=True)}
    assert found["faults"] == found["left_out"] == {}
    assert "nothing is applied" in done.stdout and "| joint attention, smoke |" in done.stdout
    sizes = found["results"]["sizes_sdxl"]["found"]
    assert sizes["plain_step"]["seconds"] > 0 and sizes["published"]["seconds"] > 0
    assert sizes["gradients"]["norm"] > 0 and sizes["gradients"]["level_2"]["cosine"] > 0.99999
    assert found["results"]["correctness_fp32"]["found"]["Flux"]["cosine"] > 0.9999
