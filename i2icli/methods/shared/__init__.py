"""All that a paper's file needs to be a method: the contract, its helpers, and `register`.

Networks, losses and configurations of networks come from their own rooms.
"""

from i2icli.config.method import MethodConfig, Task
from i2icli.methods.shared.adversarial import Adversarial, Seen
from i2icli.methods.shared.base import Method, Player, Terms, Translation
from i2icli.methods.shared.draws import Draws, ImagePool
from i2icli.methods.shared.one_way import OneWay, OneWayConfig, SingleImage, single_image_data
from i2icli.methods.shared.registry import register
from i2icli.methods.shared.segmenting import (
    Segmenter,
    SegmenterConfig,
    check_crop,
    labelled_pixels,
    needed_classes,
)
from i2icli.methods.shared.views import (
    AnyView,
    Attending,
    ChannelView,
    MaskView,
    PositionView,
    ScaleView,
    attention_views,
)
from i2icli.networks.batches import ties_pictures

__all__ = [
    "Adversarial",
    "AnyView",
    "Attending",
    "ChannelView",
    "Draws",
    "ImagePool",
    "MaskView",
    "Method",
    "MethodConfig",
    "OneWay",
    "OneWayConfig",
    "Player",
    "PositionView",
    "ScaleView",
    "Seen",
    "Segmenter",
    "SegmenterConfig",
    "SingleImage",
    "Task",
    "Terms",
    "Translation",
    "attention_views",
    "check_crop",
    "labelled_pixels",
    "needed_classes",
    "register",
    "single_image_data",
    "ties_pictures",
]
