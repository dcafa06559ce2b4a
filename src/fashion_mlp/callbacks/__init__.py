"""What a run shows or guards, one file each."""

from fashion_mlp.callbacks.best_checkpoint import BestCheckpoint
from fashion_mlp.callbacks.curves import Curves
from fashion_mlp.callbacks.ema import ExponentialMovingAverage, ema
from fashion_mlp.callbacks.epoch_evaluation import EpochEvaluation
from fashion_mlp.callbacks.epoch_lines import EpochLines
from fashion_mlp.callbacks.evaluation_pictures import EvaluationPictures
from fashion_mlp.callbacks.final_figures import FinalFigures
from fashion_mlp.callbacks.gradient_norm import GradientNorm, gradient_norm
from fashion_mlp.callbacks.last_checkpoint import LastCheckpoint
from fashion_mlp.callbacks.non_finite_loss import NonFiniteLoss
from fashion_mlp.callbacks.prediction_picture import PredictionPicture
from fashion_mlp.callbacks.progress import progress_bar
from fashion_mlp.callbacks.stopwatch import Stopwatch
from fashion_mlp.callbacks.throughput import Throughput
from fashion_mlp.callbacks.weight_histograms import WeightHistograms

__all__ = [
    "BestCheckpoint",
    "Curves",
    "EpochEvaluation",
    "EpochLines",
    "EvaluationPictures",
    "ExponentialMovingAverage",
    "FinalFigures",
    "GradientNorm",
    "LastCheckpoint",
    "NonFiniteLoss",
    "PredictionPicture",
    "Stopwatch",
    "Throughput",
    "WeightHistograms",
    "ema",
    "gradient_norm",
    "progress_bar",
]
