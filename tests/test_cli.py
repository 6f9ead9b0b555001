"""The command line, in process and as the program that a user starts."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import xgamma as xg
from xgamma.cli import app
from xgamma.io.sample import sample_path

ROOT = Path(__file__).resolve().parents[1]
SURVEY = sample_path("survey")

CONFIG = {
    "observations": {"datastore": str(SURVEY), "obs_ids": [1, 2]},
    "datasets": {
        "geom": {
            "wcs": {
                "skydir": {"frame": "icrs", "lon": "150 deg", "lat": "-25 deg"},
                "width": {"width": "2.4 deg", "height": "2.4 deg"},
                "binsize": "0.1 deg",
            },
            "axes": {"energy": {"nbins": 2}, "energy_true": {"nbins": 2}},
        },
        "background": {"method": "ring", "parameters": {"r_in": "0.5 deg", "width": "0.4 deg"}},
    },
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run each command in a folder of its own; it leaves logging and warnings as they were."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("xgamma")
    before = logger.level, logger.propagate, list(logger.handlers), warnings.showwarning
    yield tmp_path
    assert (logger.level, logger.propagate, list(logger.handlers), warnings.showwarning) == before


@pytest.fixture
def no_pictures(monkeypatch):
    """Files in place of pictures, which take longest."""
    for name in ("draw_maps", "draw_distribution"):
        monkeypatch.setattr(f"xgamma.analysis.products.{name}", lambda maps, path, *_, **__: path.write_bytes(b"png"))


def call(*words):
    """Run a command in process; its output has no traceback."""
    result = CliRunner().invoke(app, [str(w) for w in words], prog_name="xgamma")
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def program(*words):
    """Run the command line as a process of its own."""
    command = [sys.executable, "-m", "xgamma", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def write_config(**change):
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG | change))
    return "config.yaml"


def listing():
    return sorted(str(p) for p in Path().iterdir())


# ---------------------------------------------------------------------------------------------------- help and options


def test_help_and_version():
    code, output = call("--help")
    assert code == 0
    assert all(name in output for name in ("demo", "run", "info", "check", "simulate", "download"))
    assert call("--version") == (0, f"xgamma {xg.__version__}\n")
    for command in ("demo", "run", "info", "check", "simulate", "download"):
        assert call(command, "--help")[0] == 0


def test_wrong_words_are_usage_errors():
    assert call()[0] == 2
    for words in (["runn"], ["run"], ["info"], ["demo", "extra"], ["check", "--nothing"], ["simulate", "one"]):
        code, output = call(*words)
        assert code == 2, words
        assert re.search("Usage", output)


def test_help_loads_nothing_that_a_command_needs():
    """What `import xgamma` loads, typer and rich: neither astropy nor Dask nor what reads files and draws."""
    code = "import json, sys\nfrom xgamma.cli import app\ntry:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
    code += "print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    loaded = {name.split(".")[0] for name in json.loads(output.splitlines()[-1])}
    assert "typer" in loaded
    assert not loaded & {"astropy", "dask", "distributed", "matplotlib", "numba", "netCDF4", "pooch", "regions", "zarr"}
    own = [n for n in json.loads(output.splitlines()[-1]) if n.startswith("xgamma.")]
    assert own == ["xgamma.accessor", "xgamma.cli"]


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(app, ["--debug", "run", "none.yaml"])
    assert isinstance(result.exception, FileNotFoundError)
    assert logging.getLogger("xgamma").level != logging.DEBUG


def test_faults_of_xgamma_itself(monkeypatch):
    def fail(_):
        msg = "a fault"
        raise ZeroDivisionError(msg)

    monkeypatch.setattr("xgamma.io.describe.describe", fail)
    Path("file.fits").write_text("")
    code, output = call("info", "file.fits")
    assert code == 70
    assert "Error inside xgamma: ZeroDivisionError: a fault" in output
    assert "--debug" in output


def test_warnings_are_one_line_each(monkeypatch):
    def warn(_):
        for _ in range(3):
            warnings.warn("two\n  lines", UserWarning, stacklevel=1)
        warnings.warn("odd", RuntimeWarning, stacklevel=1)
        return "done"

    monkeypatch.setattr("xgamma.io.describe.describe", warn)
    Path("file.fits").write_text("")
    code, output = call("info", "file.fits")
    assert code == 0
    lines = output.splitlines()
    assert lines.count("Warning: two lines") == 1
    assert "Warning: RuntimeWarning: odd" in lines
    assert lines[-1] == "done"


# ---------------------------------------------------------------------------------------------------------------- demo


def test_demo_as_a_program():
    process = program("demo", "-o", "here")
    assert process.returncode == 0, process.stderr
    assert "Warning" not in process.stderr
    for word in ("bright", "extended", "faint", "simulated", "excess found", "maps.png"):
        assert word in process.stdout
    assert max(map(len, process.stdout.splitlines()[:-3])) <= 80
    assert sorted(p.name for p in Path("here").iterdir())[0] == "config_resolved.yaml"
    assert listing() == ["here"]

    code, output = call("demo", "--output", "here")
    assert code == 1
    assert "exists; pass --overwrite to replace it" in output


# ----------------------------------------------------------------------------------------------------------------- run


def test_run(no_pictures):
    config = write_config()
    code, output = call("run", config)
    assert code == 0
    assert re.search(r"^2 runs selected from ", output, re.MULTILINE)
    assert re.search(r"^Counts +\d+  \(counts\)$", output, re.MULTILINE)
    assert re.search(r"^Livetime +\d+(\.\d+)? s  \(livetime\)$", output, re.MULTILINE)
    # the products lie beside the configuration, which is as it was
    assert yaml.safe_load(Path(config).read_text()) == CONFIG
    assert "cube.zarr" in listing()

    code, output = call("run", config)
    assert code == 1
    assert "Error: " in output
    assert "config_resolved.yaml exists" in output
    assert call("run", config, "--overwrite")[0] == 0


def test_run_as_a_program_and_what_it_says_in_case_of_errors():
    process = program("run", write_config(), "--output", "out")
    assert process.returncode == 0, process.stderr
    assert "2 runs selected" in process.stderr
    assert "Counts" in process.stdout
    assert listing() == ["config.yaml", "out"]

    process = program("run", "none.yaml")
    assert (process.returncode, process.stdout) == (1, "")
    assert re.fullmatch(r"Error: the configuration file .*none.yaml does not exist\n", process.stderr)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": {}}, "'dataset' is not known; did you mean 'datasets'"),
        ({"observations": {"datastore": "nowhere"}}, "there is no DL3 store at nowhere"),
        ({"observations": {"datastore": "$NO_SUCH_VARIABLE/x"}}, "environment variable NO_SUCH_VARIABLE"),
        ({"observations": {"datastore": str(SURVEY), "obs_ids": [77]}}, "77"),
        ({"datasets": {"type": "1d"}}, "datasets.on_region, the region of the spectrum, is missing"),
        ({"datasets": {}}, "datasets.geom.wcs.skydir, the centre of the map, is missing"),
    ],
)
def test_run_with_bad_input_writes_nothing(change, message):
    config = write_config(**change)
    code, output = call("run", config, "-o", "out")
    assert code == 1
    assert message in output
    assert output.count("Error") == 1
    assert listing() == ["config.yaml"]


def test_run_says_which_runs_it_leaves_out(no_pictures):
    """Runs 1 to 12 on a map that only some of them touch: a line that names the others."""
    geom = {**CONFIG["datasets"]["geom"], "selection": {"offset_max": "0.7 deg"}}
    geom["wcs"] = {**geom["wcs"], "width": {"width": "1 deg", "height": "1 deg"}}
    datasets = {"geom": geom}
    code, output = call("run", write_config(datasets=datasets, observations={"datastore": str(SURVEY)}), "-o", "out")
    assert code == 0, output
    line = next(line for line in output.splitlines() if line.startswith("Warning: "))
    assert re.search(r"\d of 12 runs do not touch the grid and are left out: ", line)
    assert "UserWarning" not in output
    assert ".py" not in output


@pytest.mark.real_data
def test_run_on_real_data(gammapy_data, no_pictures):
    skydir = {"frame": "icrs", "lon": "228.32 deg", "lat": "-59.08 deg"}
    datasets = {
        "geom": {
            "wcs": {"skydir": skydir, "width": {"width": "3 deg", "height": "3 deg"}, "binsize": "0.1 deg"},
            "axes": {"energy": {"min": "0.5 TeV", "nbins": 1}, "energy_true": {"nbins": 2}},
        },
        "background": CONFIG["datasets"]["background"],
    }
    runs = {"datastore": str(gammapy_data / "hess-dl3-dr1"), "obs_cone": {**skydir, "radius": "2.5 deg"}}
    code, output = call("run", write_config(datasets=datasets, observations=runs), "-o", "out")
    assert code == 0, output
    assert "20 runs selected" in output
    assert re.search(r"^Counts +41803 ", output, re.MULTILINE)


# ------------------------------------------------------------------------------------------------------- info and check


def test_info_of_a_store_a_cube_a_map_and_a_file(no_pictures):
    code, output = call("info", SURVEY)
    assert code == 0
    assert "12 runs" in output
    assert call("run", write_config(), "-o", "out")[0] == 0
    for name, word in (
        ("out/cube.zarr", "Zarr store"),
        ("out/cube.fits.gz", "FITS file"),
        ("out/sqrt_ts.fits.gz", "sky grid: icrs"),
        (SURVEY / "responses.fits.gz", "HDUs:"),
    ):
        code, output = call("info", name)
        assert code == 0, name
        assert word in output
    process = program("info", "out/cube.zarr")
    assert process.returncode == 0
    assert "counts_off (energy: 1, y: 24, x: 24)" in process.stdout


def test_info_of_what_is_not_there_or_nothing_known():
    code, output = call("info", "nowhere")
    assert code == 1
    assert "nowhere" in output
    Path("text.txt").write_text("words")
    code, output = call("info", "text.txt")
    assert code == 1
    assert "Error: " in output
    Path("empty").mkdir()
    code, output = call("info", "empty")
    assert code == 1
    assert "empty" in output
    assert call("info", "$NO_SUCH_VARIABLE/x")[0] == 1


def test_check_of_a_good_store():
    process = program("check", SURVEY)
    assert (process.returncode, process.stderr) == (0, "")
    assert "no faults" in process.stdout


def test_check_lists_every_fault(folder):
    store = xg.open_store(SURVEY).copy([1, 2], folder / "broken")
    files = sorted((folder / "broken").rglob("run_*.fits.gz"))
    assert len(store) == len(files) == 2
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:3000])
    code, output = call("check", "broken")
    assert code == 1
    assert "run 1" in output
    assert "run 2" in output
    assert re.search(r"error", output)
    code, output = call("check", "nowhere")
    assert (code, "nowhere" in output) == (1, True)


@pytest.mark.real_data
def test_info_and_check_of_real_stores(gammapy_data):
    code, output = call("info", gammapy_data / "cta-1dc" / "index" / "gps")
    assert code == 0
    assert "110380" in output
    code, output = call("check", gammapy_data / "magic" / "rad_max" / "data")
    assert code in (0, 1)
    assert output.strip()


# ------------------------------------------------------------------------------------------------ simulate and download

SURVEY_TEXT = """
seed: 3
runs:
  start: "2024-03-01T01:30:00"
  ontime: 2 min
  positions: [{lon: 150 deg, lat: -25 deg}]
responses: array
energy_range: [1 TeV, 100 TeV]
sources: []
"""


def test_simulate():
    Path("survey.yaml").write_text(SURVEY_TEXT)
    process = program("simulate", "survey.yaml", "survey")
    assert process.returncode == 0, process.stderr
    number = int(re.search(r"1 runs? with (\d+) events written to survey", process.stdout)[1])
    assert number == len(xg.open_store("survey").observations[0].events.event)
    assert call("check", "survey")[0] == 0

    code, output = call("simulate", "survey.yaml", "survey")
    assert code == 1
    assert "exists" in output
    assert call("simulate", "survey.yaml", "survey", "--overwrite")[0] == 0


@pytest.mark.parametrize("text", ["seed: [", "sources: 3", SURVEY_TEXT.replace("seed: 3", "sed: 3")])
def test_simulate_with_bad_input_writes_nothing(text):
    Path("survey.yaml").write_text(text)
    code, output = call("simulate", "survey.yaml", "survey")
    assert code == 1
    assert output.startswith("Error: ")
    assert listing() == ["survey.yaml"]
    code, output = call("simulate", "none.yaml", "survey")
    assert (code, "none.yaml" in output) == (1, True)


def test_download_lists_and_refuses(monkeypatch):
    """Nothing is fetched here."""
    process = program("download")
    assert process.returncode == 0
    assert re.search(r"^hess-dl3-dr1  \(\d+ files\)$", process.stdout, re.MULTILINE)
    monkeypatch.delenv("GAMMAPY_DATA", raising=False)
    code, output = call("download", "hess-dl3-dr2", "--path", "data")
    assert code == 1
    assert "there is no data set 'hess-dl3-dr2'; did you mean 'hess-dl3-dr1'" in output
    code, output = call("download", "hess-dl3-dr1")
    assert code == 1
    assert "GAMMAPY_DATA" in output
    assert listing() == []


def test_download_keeps_what_is_right(monkeypatch):
    """With a registry and a server of our own: a folder of files."""
    from hashlib import sha256

    from xgamma.dl3 import download

    content = b"a file"
    Path("data/small").mkdir(parents=True)
    Path("data/small/file.txt").write_bytes(content)
    registry = {"small/file.txt": f"sha256:{sha256(content).hexdigest()}"}
    monkeypatch.setattr(download, "read_registry", lambda text=None: registry)
    code, output = call("download", "small", "--path", "data")
    assert code == 0
    assert "small: " in output
