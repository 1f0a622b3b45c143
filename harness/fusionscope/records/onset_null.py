"""How large the score of a rise is in noise without one, whatever the correlation of its probes up to 0.9.

Simulated once, like tables of a unit-root test; ``tools/check_claims.py --calibrate`` makes it anew.
"""

import numpy as np

P_VALUES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
SCORES = {
    8: (1.81, 12.13, 16.21, 19.44, 23.52, 26.51, 29.93, 34.73, 38.47, 42.36),
    10: (2.28, 11.81, 15.66, 18.53, 22.19, 24.86, 27.22, 30.62, 33.69, 36.23),
    12: (2.77, 11.41, 15.43, 18.20, 21.58, 23.91, 26.38, 29.80, 31.84, 34.92),
    16: (3.25, 10.32, 14.44, 17.52, 20.72, 23.11, 25.65, 29.12, 31.47, 33.40),
    24: (3.69, 8.99, 12.44, 15.48, 19.36, 22.06, 24.24, 26.96, 29.23, 30.64),
    32: (3.95, 8.25, 11.08, 13.77, 17.20, 19.70, 22.36, 25.68, 27.50, 29.44),
    48: (4.23, 7.75, 10.07, 12.35, 15.11, 17.23, 19.58, 21.82, 23.79, 26.69),
    64: (4.38, 7.58, 9.61, 11.52, 13.97, 15.77, 17.70, 19.86, 21.72, 24.09),
    96: (4.60, 7.38, 9.19, 10.86, 13.11, 14.83, 16.38, 18.49, 19.93, 22.24),
}
"""By the number of probes, the scores that noise exceeds with these probabilities, at the worst correlation."""
_TAIL = 5
"""From this entry on log p falls in proportion to the score, beyond the table too."""


def p_value(score: float, probes: int) -> float:
    """The probability that noise without a rise scores as much as a curve, at the worst correlation.

    Args:
        score: Of the best rise (`fusionscope.records.ramps.Fit.score`).
        probes: Number of probes fitted, from 8 to 96.

    >>> round(p_value(SCORES[24][5], 24), 6), p_value(0.0, 24), p_value(80.0, 24) < 1e-6
    (0.01, 1.0, True)
    """
    log_p = np.log(P_VALUES)
    sizes = np.array(list(SCORES))
    table = np.array(list(SCORES.values()))
    scores = np.array([np.interp(np.log(probes), np.log(sizes), column) for column in table.T])
    if score > scores[-1]:
        slope = np.polyfit(scores[_TAIL:], log_p[_TAIL:], 1)[0]
        return float(np.exp(log_p[-1] + slope * (score - scores[-1])))
    return float(np.exp(np.interp(score, [0.0, *scores], [0.0, *log_p])))
