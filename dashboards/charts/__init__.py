"""Arrow tables to chart specifications: pure functions, no Streamlit and no SQL.

Up is blue and down is orange, never by colour alone: rising candles are hollow, falling bars hatched, labels signed.
Charts get ratios as percent, because axis labels can't multiply.
"""

from charts.bars import counts, lines, signed_bars
from charts.compare import correlations, earned, indexed, paths, spread
from charts.frames import MAX_POINTS, brushable, share, thin
from charts.palette import DARK, LIGHT, Palette, contrast, ink_on
from charts.prices import Measures, candles, split_text
from charts.sectors import distribution, sector_map, shares
from charts.trust import coverage, model_diagram, scores
from charts.volatility import Scores, cone, distances, ranking, zscores

__all__ = [
    "DARK",
    "LIGHT",
    "MAX_POINTS",
    "Measures",
    "Palette",
    "Scores",
    "brushable",
    "candles",
    "cone",
    "contrast",
    "correlations",
    "counts",
    "coverage",
    "distances",
    "distribution",
    "earned",
    "indexed",
    "ink_on",
    "lines",
    "model_diagram",
    "paths",
    "ranking",
    "scores",
    "sector_map",
    "share",
    "shares",
    "signed_bars",
    "split_text",
    "spread",
    "thin",
    "zscores",
]
