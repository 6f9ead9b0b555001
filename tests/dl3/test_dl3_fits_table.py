"""The fast reader of tables gives what astropy gives."""

from __future__ import annotations

import gzip
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from xgamma.io.fits_file import open_fits
from xgamma.io.fits_table import FitsTable, UnusualError, open_tables, parse_header

REAL = [
    "hess-dl3-dr1/data/hess_dl3_dr1_obs_id_020136.fits.gz",
    "cta-1dc/data/baseline/gps/gps_baseline_110380.fits",
    "cta-1dc/caldb/data/cta/1dc/bcf/South_z20_50h/irf_file.fits",
    "magic/rad_max/data/20131004_05029747_DL3_CrabNebula-W0.40+035.fits",
    "joint-crab/dl3/magic/run_05029748_DL3.fits",
]


def assert_same_table(fast, slow):
    assert fast.name == slow.name
    assert fast.columns.names == slow.columns.names
    for name in slow.columns.names:
        assert fast.columns[name].unit == slow.columns[name].unit
        ours, theirs = fast.data[name], np.asarray(slow.data[name])
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)
    # of a card that is there twice the first counts
    cards = {k: slow.header[k] for k in slow.header if k not in ("COMMENT", "HISTORY", "")}
    assert {k: v for k, v in fast.header.items() if k in cards} == cards


@pytest.mark.parametrize("name", REAL)
def test_real_files(gammapy_data, name):
    number = 0
    with open_fits(gammapy_data / name) as slow, open_tables(gammapy_data / name) as fast:
        assert len(fast) == len(slow)
        for ours, theirs in zip(fast, slow, strict=True):
            assert ours.name == theirs.name
            if isinstance(ours, FitsTable):
                assert_same_table(ours, theirs)
                number += 1
    # all but the primary HDU, and the events of CTA-1DC, whose EVENT_ID is an unsigned (scaled) number
    assert number == len(slow) - 1 - ("baseline" in name)


@pytest.mark.parametrize("packed", [False, True])
def test_unusual_tables_are_left_to_astropy(tmp_path, packed):
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.array([1.0]), np.array([1.0, 2.0])]
    unusual = {
        "text": fits.Column("A", "3A", array=["a", "b"]),
        "bits": fits.Column("A", "8X", array=np.eye(2, 8, dtype=bool)),
        "flags": fits.Column("A", "L", array=[True, False]),
        "ragged": fits.Column("A", "PE()", array=ragged),
        "unsigned": fits.Column("A", "J", bzero=2**31, array=np.array([1, 2**31 + 1], dtype=np.uint32)),
        "null": fits.Column("A", "J", null=-1, array=np.array([1, -1])),
        "scaled": fits.Column("A", "I", array=np.array([1, 3])),
        "complex": fits.Column("A", "C", array=np.array([1j, 2])),
    }
    plain = fits.Column("A", "2E", dim="(1,2)", array=np.ones((2, 2, 1)))
    hdus = [fits.BinTableHDU.from_columns([c], name=n) for n, c in unusual.items()]
    hdus += [fits.ImageHDU(np.ones(3), name="image"), fits.BinTableHDU.from_columns([plain], name="plain")]
    hdus[6].header["TSCAL1"] = 0.5
    hdus[-1].header["HIERARCH a long keyword"] = 1
    hdus.append(fits.BinTableHDU.from_columns([plain], name="last"))
    file = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(file)
    if packed:
        file.write_bytes(gzip.compress(file.read_bytes()))
    with open_tables(file) as tables:
        assert [isinstance(t, FitsTable) for t in tables] == [False] * (len(hdus)) + [True]
        assert tables[2].data["A"].shape == (2, 8)
        assert tables[4].data["A"][1].tolist() == [1, 2]
        assert tables[5].data["A"].tolist() == [1, 2**31 + 1]
        assert tables[7].data["A"].tolist() == [0.5, 1.5]
        assert tables[len(hdus)].data["A"].shape == (2, 2, 1)
        with pytest.raises(ValueError, match="read-only"):
            tables[len(hdus)].data["A"][:] = 0
    assert tables.closed


keys = st.from_regex(r"[A-Z][A-Z0-9_-]{0,7}", fullmatch=True).filter(lambda k: k not in ("END", "HISTORY", "COMMENT"))
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(str.rstrip)
values = st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), texts)


@settings(deadline=None)
@given(st.dictionaries(keys, values, max_size=8))
def test_headers_are_parsed_as_astropy_does(cards):
    header = fits.Header()
    with warnings.catch_warnings():
        # astropy cuts a comment for which a long text leaves no room, and says so
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        for key, value in cards.items():
            header[key] = (value, "a comment / with a slash")
        block = header.tostring().encode()
    if b"CONTINUE" in block:
        with pytest.raises(UnusualError):
            parse_header(block)
        return
    assert parse_header(block) == dict(fits.Header.fromstring(block.decode()))


def test_odd_cards():
    lines = [
        "A       = 1.5D3",
        "B       =",
        "C       = ''",
        "D       = 'it''s' / x",
        "COMMENT = 5",
        "E       =     +12 /c",
    ]
    block = b"".join(line.ljust(80).encode() for line in [*lines, "END"])
    assert parse_header(block) == {"A": 1500.0, "B": "", "C": "", "D": "it's", "COMMENT": 5, "E": 12}
    for bad in (b"A       = (1.0, 2.0)", b"A       = 0x12", b"CONTINUE  'x'", "A       = 'µ'".encode()):
        with pytest.raises(UnusualError):
            parse_header(bad.ljust(80) + b"END".ljust(80))
