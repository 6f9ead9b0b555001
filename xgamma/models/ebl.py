"""Absorption of gamma rays on their way, by the extragalactic background light."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from xgamma.io.fits_file import expand_path, open_fits, read_column
from xgamma.models.component import ParameterField
from xgamma.models.parameter import Parameter
from xgamma.models.registry import nearest
from xgamma.models.spectral_model import SpectralModel
from xgamma.models.table import as_quantity, checked_nodes

__all__ = ["EBL_MODELS", "EBLAbsorptionNormSpectralModel"]

FloatArray = NDArray[np.float64]

#: Tables among the public data sets.
EBL_MODELS = {
    "franceschini": "$GAMMAPY_DATA/ebl/ebl_franceschini.fits.gz",
    "franceschini17": "$GAMMAPY_DATA/ebl/ebl_franceschini_2017.fits.gz",
    "dominguez": "$GAMMAPY_DATA/ebl/ebl_dominguez11.fits.gz",
    "finke": "$GAMMAPY_DATA/ebl/frd_abs.fits.gz",
    "saldana-lopez21": "$GAMMAPY_DATA/ebl/ebl_saldana-lopez_2021.fits.gz",
}
#: Transmissions below are not normal numbers in the single precision of the files.
SMALLEST = 1.2e-38


class EBLAbsorptionNormSpectralModel(SpectralModel):
    r"""Factor on another spectrum, the transmission :math:`\exp(-\alpha \, \tau(E, z))`.

    Parameters
    ----------
    energy
        Energies of the table, quantity of shape (n,), ascending.
    param
        Redshifts of the table, shape (m,), ascending.
    data
        Transmission :math:`\exp(-\tau)`, shape (m, n), from 0 to 1.
    redshift
        :math:`z`, frozen; within the table. Its limits are 0 and the table's highest redshift.
    alpha_norm
        :math:`\alpha`, frozen: scales the optical depth.
    filename
        File that the table is from, for YAML.

    Raises
    ------
    ValueError
        If the table is none, or the redshift lies above it.

    Notes
    -----
    The optical depth is interpolated linearly in redshift and in the logarithm of energy. At redshift 0 it is 0, also
    where the table starts above. Beyond the energies of the table it goes on in a straight line, and never falls with
    energy there. Where files hold a transmission of 0 (in single precision, an optical depth above 87), the optical
    depth goes on as a power law: with a small `alpha_norm` it is still seen.

    References
    ----------
    Franceschini et al. 2008, A&A 487, 837; Finke et al. 2010, ApJ 712, 238; Domínguez et al. 2011, MNRAS 410, 2556;
    Franceschini & Rodighiero 2017, A&A 603, A34; Saldana-Lopez et al. 2021, MNRAS 507, 5144.

    Examples
    --------
    >>> data = np.exp([[-1, -3], [-2, -6]])
    >>> model = EBLAbsorptionNormSpectralModel(["0.1 TeV", "10 TeV"], [0.1, 0.2], data, redshift=0.2)
    >>> -np.log(model("1 TeV"))
    <Quantity 4.>
    """

    tag = ("EBLAbsorptionNormSpectralModel", "ebl-norm")
    redshift = ParameterField(0.1, frozen=True, min=0.0)
    alpha_norm = ParameterField(1.0, frozen=True)

    def __init__(
        self,
        energy: Any,
        param: Any,
        data: Any,
        redshift: Any = 0.1,
        alpha_norm: Any = 1.0,
        *,
        filename: str | None = None,
    ) -> None:
        super().__init__(redshift=redshift, alpha_norm=alpha_norm)
        self.filename = filename
        self._nodes = checked_nodes(energy, "energy")
        self._log_nodes = np.log(self._nodes)
        redshifts, table = np.asarray(param, float), np.asarray(data, float)
        if table.shape != (redshifts.size, self._nodes.size):
            msg = f"data have shape {table.shape}; they need ({redshifts.size}, {self._nodes.size}): redshift, energy"
            raise ValueError(msg)
        if np.any(np.diff(redshifts) <= 0) or np.any(redshifts < 0) or not np.all((table >= 0) & (table <= 1.001)):
            msg = "the table needs redshifts that ascend from 0 on, and transmissions from 0 to 1"
            raise ValueError(msg)
        depth = optical_depth(np.clip(table, 0.0, 1.0), self._log_nodes)
        if redshifts[0] > 0:  # nothing is absorbed on no way
            redshifts, depth = np.append(0.0, redshifts), np.vstack([np.zeros(depth.shape[1]), depth])
        self._redshifts, self._depth = redshifts, depth
        if np.isnan(self.redshift.max):
            self.redshift.max = float(redshifts[-1])
        self._row(self.redshift.value)

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], redshift: Any = 0.1, alpha_norm: Any = 1.0
    ) -> EBLAbsorptionNormSpectralModel:
        """Read an XSPEC table model of the transmission.

        Parameters
        ----------
        path
            FITS file with the tables PARAMETERS, ENERGIES (keV) and SPECTRA; ``$VARIABLES`` are expanded.
        redshift, alpha_norm
            As for the model.

        Returns
        -------
        EBLAbsorptionNormSpectralModel

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no such table, or has other parameters than the redshift.

        Notes
        -----
        OGIP memo 92-009, "The file format for XSPEC table models".
        """
        energy, redshifts, transmission = read_table_model(path)
        return cls(energy, redshifts, transmission, redshift, alpha_norm, filename=os.fspath(path))

    @classmethod
    def read_builtin(
        cls, reference: str = "dominguez", redshift: Any = 0.1, alpha_norm: Any = 1.0
    ) -> EBLAbsorptionNormSpectralModel:
        """Read one of the tables among the public data sets, from ``$GAMMAPY_DATA/ebl``.

        Parameters
        ----------
        reference
            ``"dominguez"``, ``"franceschini"``, ``"franceschini17"``, ``"finke"`` or ``"saldana-lopez21"``.
        redshift, alpha_norm
            As for the model.

        Returns
        -------
        EBLAbsorptionNormSpectralModel

        Raises
        ------
        ValueError
            If the name is not known.
        FileNotFoundError
            If the public data sets do not have the table.
        """
        if reference not in EBL_MODELS:
            msg = f"reference={reference!r} is no table of the background light{nearest(str(reference), EBL_MODELS)}"
            raise ValueError(msg)
        return cls.read(EBL_MODELS[reference], redshift, alpha_norm)

    def optical_depth(self, energy: FloatArray, redshift: float) -> FloatArray:
        """Return the optical depth at energies in TeV, shape of `energy`."""
        row = self._row(redshift)
        x = np.log(energy)
        i = np.clip(np.searchsorted(self._log_nodes, x, side="right") - 1, 0, row.size - 2)
        slope = np.diff(row) / np.diff(self._log_nodes)
        slope[0], slope[-1] = max(slope[0], 0.0), max(slope[-1], 0.0)
        return np.clip(row[i] + slope[i] * (x - self._log_nodes[i]), 0.0, None)

    def _row(self, redshift: float) -> FloatArray:
        """Optical depth over the energies of the table."""
        top = float(self._redshifts[-1])
        if not 0 <= redshift <= top * (1 + 1e-9):
            msg = f"redshift={redshift:g} lies outside of the table of the background light, 0 to {top:g}"
            raise ValueError(msg)
        if self._redshifts.size == 1:
            return self._depth[0].copy()
        i = int(np.clip(np.searchsorted(self._redshifts, redshift, side="right") - 1, 0, self._redshifts.size - 2))
        weight = (redshift - self._redshifts[i]) / (self._redshifts[i + 1] - self._redshifts[i])
        return np.asarray((1.0 - weight) * self._depth[i] + weight * self._depth[i + 1])

    def evaluate(self, energy: FloatArray, redshift: float, alpha_norm: float) -> FloatArray:  # type: ignore[override]
        """Return the transmission."""
        return np.exp(-alpha_norm * self.optical_depth(energy, redshift))

    def kinks(self, *values: float) -> Sequence[float]:
        """Return the energies of the table between which the transmission is smooth."""
        row = self._row(values[0])
        seen = (row[1:] > 1e-9) & (values[1] * row[:-1] < 300.0)
        return list(self._nodes[:-1][seen]) + list(self._nodes[1:][seen])

    def settings(self) -> dict[str, Any]:
        """Return the file of the table, or the table itself, by the keys of a file."""
        if self.filename is not None:
            return {"filename": self.filename}
        return {
            "energy": self._nodes * u.TeV,
            "param": u.Quantity(self._redshifts),
            "values": u.Quantity(np.exp(-self._depth)),
        }

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its parameters and what `settings` returned."""
        if "filename" in settings:
            return cls.read(settings["filename"], **parameters)  # type: ignore[return-value]
        missing = [key for key in ("energy", "param", "values") if key not in settings]
        if missing:
            msg = (
                f"{cls.__name__} needs the key 'filename', or 'energy', 'param' and 'values'; {missing[0]!r} is missing"
            )
            raise ValueError(msg)
        energy, redshifts, data = (as_quantity(settings[key]) for key in ("energy", "param", "values"))
        return cls(energy, redshifts.value, data.value, **dict[str, Any](parameters))

    def __repr__(self) -> str:
        table = self.filename or f"{self._redshifts.size} redshifts, {self._nodes.size} energies"
        values = f"redshift={self.redshift.value:g}, alpha_norm={self.alpha_norm.value:g}"
        return f"EBLAbsorptionNormSpectralModel({values}, {table})"


def optical_depth(transmission: FloatArray, log_energy: FloatArray) -> FloatArray:
    """Return minus the logarithm of transmissions; beyond what single precision holds, a power law in energy.

    Parameters
    ----------
    transmission
        Shape (m, n), from 0 to 1.
    log_energy
        Logarithm of energy, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (m, n).

    Examples
    --------
    >>> optical_depth(np.exp([[-25.0, -50.0, -1000.0]]), np.log([1.0, 2.0, 4.0])).round(3)
    array([[ 25.,  50., 100.]])
    """
    seen = transmission >= SMALLEST
    depth = np.abs(np.log(np.where(seen, transmission, 1.0)))
    for row, good in zip(depth, seen, strict=True):
        last = np.flatnonzero(good)
        if not last.size or last[-1] == good.size - 1:
            continue
        k = int(last[-1])
        beyond = slice(k + 1, None)
        steps = log_energy[beyond] - log_energy[k]
        slope = 0.0
        if k > 0 and row[k - 1] > 0:
            slope = max(np.log(row[k] / row[k - 1]) / (log_energy[k] - log_energy[k - 1]), 0.0)
        # at least what the file's zero says
        row[beyond] = np.maximum(
            np.maximum(row[k], 1e-300) * np.exp(np.minimum(slope * steps, 500.0)), -np.log(SMALLEST)
        )
    return depth


def read_table_model(path: str | os.PathLike[str]) -> tuple[u.Quantity, FloatArray, FloatArray]:
    """Read energies, redshifts and transmissions of an XSPEC table model.

    Parameters
    ----------
    path
        FITS file.

    Returns
    -------
    energy : astropy.units.Quantity
        Geometric means of the bins, shape (n,).
    redshifts : numpy.ndarray
        Ascending, shape (m,).
    transmission : numpy.ndarray
        Shape (m, n).
    """
    file = expand_path(path)
    if not file.is_file():
        msg = f"there is no file {str(path)!r}; the tables are among the public data sets (`xgamma download`)"
        raise FileNotFoundError(msg)
    with open_fits(file) as hdus:
        energies, spectra = _table(hdus, "ENERGIES", file.name), _table(hdus, "SPECTRA", file.name)
        low, high = (
            read_column(energies, f"ENERG_{end}", unit="keV", assume="keV", where=file.name) for end in ("LO", "HI")
        )
        redshifts = np.asarray(spectra.data["PARAMVAL"], float)
        transmission = np.asarray(spectra.data["INTPSPEC"], float)
    if redshifts.ndim > 1 and redshifts.shape[-1] > 1:
        msg = f"{file.name} has {redshifts.shape[-1]} parameters; a table of the background light has the redshift only"
        raise ValueError(msg)
    # rows may be out of order, and double
    redshifts, order = np.unique(redshifts.ravel(), return_index=True)
    return np.sqrt(low * high) * u.keV, redshifts, transmission[order]


def _table(hdus: fits.HDUList, name: str, file: str) -> fits.BinTableHDU:
    names = [hdu.name for hdu in hdus]
    if name not in names:
        msg = f"{file} is no XSPEC table model: it has no table {name}, only {names}"
        raise ValueError(msg)
    return hdus[name]
