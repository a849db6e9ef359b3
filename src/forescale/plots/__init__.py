"""Pictures of laws, plans, frontiers, schedules, scores, surfaces, iso-FLOP sets, fits and runs; they hold no logic."""

from forescale.plots._caution import caution_chart as caution_chart
from forescale.plots._checks import coords_chart as coords_chart
from forescale.plots._checks import transfer_chart as transfer_chart
from forescale.plots._coefficients import slope_chart as slope_chart
from forescale.plots._coefficients import value_chart as value_chart
from forescale.plots._coverage import coverage_map as coverage_map
from forescale.plots._critical_batch import branches_chart as branches_chart
from forescale.plots._critical_batch import critical_batch_figure as critical_batch_figure
from forescale.plots._curves import ranking_figure as ranking_figure
from forescale.plots._forecast import forecast_figure as forecast_figure
from forescale.plots._frontier import frontier_figure as frontier_figure
from forescale.plots._frontier import frontier_map as frontier_map
from forescale.plots._frontier import frontier_trade as frontier_trade
from forescale.plots._isoflop import isoflop_chart as isoflop_chart
from forescale.plots._landscape import landscape_legend as landscape_legend
from forescale.plots._landscape import landscape_map as landscape_map
from forescale.plots._landscape import landscape_maps as landscape_maps
from forescale.plots._loss import loss_constants_chart as loss_constants_chart
from forescale.plots._loss import loss_fit_chart as loss_fit_chart
from forescale.plots._loss import loss_residual_chart as loss_residual_chart
from forescale.plots._noise import noise_figure as noise_figure
from forescale.plots._pareto import pareto_chart as pareto_chart
from forescale.plots._plan import plan_map as plan_map
from forescale.plots._residuals import residual_chart as residual_chart
from forescale.plots._run_curve import run_curve as run_curve
from forescale.plots._save import inline_svg as inline_svg
from forescale.plots._save import picture_bytes as picture_bytes
from forescale.plots._save import picture_format as picture_format
from forescale.plots._save import save as save
from forescale.plots._schedules import schedules_figure as schedules_figure
from forescale.plots._scores import calibration_chart as calibration_chart
from forescale.plots._scores import held_out_chart as held_out_chart
from forescale.plots._scores import score_chart as score_chart
from forescale.plots._surface import surface_map as surface_map
from forescale.plots._terminal import law_curve as law_curve
from forescale.plots._tune import tuning_belief_map as tuning_belief_map
from forescale.plots._tune import tuning_gap_chart as tuning_gap_chart
from forescale.plots._tune_runs import tuning_runs_charts as tuning_runs_charts
from forescale.plots._tune_runs import tuning_runs_figure as tuning_runs_figure
from forescale.plots._tune_runs import tuning_target_chart as tuning_target_chart
from forescale.plots._watch import watch_figure as watch_figure

__all__ = [
    "branches_chart",
    "calibration_chart",
    "caution_chart",
    "coords_chart",
    "coverage_map",
    "critical_batch_figure",
    "forecast_figure",
    "frontier_figure",
    "frontier_map",
    "frontier_trade",
    "held_out_chart",
    "inline_svg",
    "isoflop_chart",
    "landscape_legend",
    "landscape_map",
    "landscape_maps",
    "law_curve",
    "loss_constants_chart",
    "loss_fit_chart",
    "loss_residual_chart",
    "noise_figure",
    "pareto_chart",
    "picture_bytes",
    "picture_format",
    "plan_map",
    "ranking_figure",
    "residual_chart",
    "run_curve",
    "save",
    "schedules_figure",
    "score_chart",
    "slope_chart",
    "surface_map",
    "transfer_chart",
    "tuning_belief_map",
    "tuning_gap_chart",
    "tuning_runs_charts",
    "tuning_runs_figure",
    "tuning_target_chart",
    "value_chart",
    "watch_figure",
]
