"""How much oxygen water holds: Benson and Krause (1980, 1984) as adopted by the USGS.

Source: U.S. Geological Survey, Office of Water Quality Technical Memorandum 2011.03, "Change to
solubility equations for oxygen in water": equations 1 (fresh water at one atmosphere) and 4
(pressure), salinity taken as 0.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def saturation_mg_per_l(temperature_c: Numbers, pressure_atm: float = 1.0) -> Numbers:
    """Return dissolved oxygen at saturation.

    Args:
        temperature_c: Any shape, 0 to 40 degrees Celsius.
        pressure_atm: Barometric pressure, 0.5 to 1.1 atmospheres.

    Returns:
        Same shape, mg/L.
    """
    kelvin = temperature_c + 273.15
    at_one_atm = np.exp(
        -139.34411
        + 1.575701e5 / kelvin
        - 6.642308e7 / kelvin**2
        + 1.243800e10 / kelvin**3
        - 8.621949e11 / kelvin**4
    )
    vapour_atm = np.exp(11.8571 - 3_840.70 / kelvin - 216_961.0 / kelvin**2)
    theta = 0.000975 - 1.426e-5 * temperature_c + 6.436e-8 * temperature_c**2
    corrected = (pressure_atm - vapour_atm) * (1 - theta * pressure_atm)
    return np.asarray(at_one_atm * corrected / ((1 - vapour_atm) * (1 - theta)))
