"""What a run shows or guards, one file each."""

from fashion_mlp.callbacks.epoch_evaluation import EpochEvaluation
from fashion_mlp.callbacks.epoch_lines import EpochLines
from fashion_mlp.callbacks.non_finite_loss import NonFiniteLoss
from fashion_mlp.callbacks.prediction_picture import PredictionPicture
from fashion_mlp.callbacks.progress import progress_bar
from fashion_mlp.callbacks.stopwatch import Stopwatch

__all__ = ["EpochEvaluation", "EpochLines", "NonFiniteLoss", "PredictionPicture", "Stopwatch", "progress_bar"]
