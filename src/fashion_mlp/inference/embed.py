"""Where a network places images before it classifies them."""

import torch
from torch import Tensor, nn

from fashion_mlp.classifier import Classifier


@torch.inference_mode()
def last_hidden_layer(classifier: Classifier, images: Tensor) -> Tensor:
    """Return what goes into the last linear layer, `[N, width]`, on the CPU; without hidden layers, the pixels.

    Args:
        classifier: in evaluation mode.
        images: raw pixels, uint8 `[N, C, H, W]`.
    """
    linears = [module for module in classifier.model.modules() if isinstance(module, nn.Linear)]
    seen: list[Tensor] = []
    hook = linears[-1].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        classifier(images.to(classifier.device))
    finally:
        hook.remove()
    return seen[0].float().cpu()
