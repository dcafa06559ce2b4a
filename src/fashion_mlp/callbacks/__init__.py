"""Callbacks, one file each."""

from fashion_mlp.callbacks.best_checkpoint import BestCheckpoint as BestCheckpoint
from fashion_mlp.callbacks.ema import EMAWeightAveraging as EMAWeightAveraging
from fashion_mlp.callbacks.epoch_evaluation import EpochEvaluation as EpochEvaluation
from fashion_mlp.callbacks.epoch_logger import EpochLogger as EpochLogger
from fashion_mlp.callbacks.evaluation_figures import EvaluationFigures as EvaluationFigures
from fashion_mlp.callbacks.gradient_norm import GradientNorm as GradientNorm
from fashion_mlp.callbacks.learning_curves import LearningCurves as LearningCurves
from fashion_mlp.callbacks.prediction_grid import PredictionGrid as PredictionGrid
from fashion_mlp.callbacks.progress_bar import ProgressBar as ProgressBar
from fashion_mlp.callbacks.run_progress import RunProgress as RunProgress
from fashion_mlp.callbacks.run_records import RunRecords as RunRecords
from fashion_mlp.callbacks.stopwatch import Stopwatch as Stopwatch
from fashion_mlp.callbacks.terminate_on_nan import TerminateOnNaN as TerminateOnNaN
from fashion_mlp.callbacks.weight_histograms import WeightHistograms as WeightHistograms
