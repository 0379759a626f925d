import json
import os
from pathlib import Path

import pytest
import torch

from nla import Config, fit

torch.set_num_threads(int(os.environ.get("NLA_TEST_THREADS", "2")))

TINY = Config(train_faces=120, test_faces=60, noise=0.3, epochs=3, batch_size=32, probe=40, snapshots=4)


@pytest.fixture(scope="session")
def golden_cases():
    return json.loads((Path(__file__).parent / "golden/nla_cases.json").read_text())["cases"]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    return fit(TINY, tmp_path_factory.mktemp("runs") / "tiny", progress=False)


@pytest.fixture(scope="session")
def data_root():
    root = Path(os.environ.get("NLA_DATA_ROOT", "data"))
    if not list(root.glob("fer2013/fer2013.csv*")):
        pytest.skip(f"no real faces: {root}/fer2013/fer2013.csv is not there (set NLA_DATA_ROOT)")
    return root
