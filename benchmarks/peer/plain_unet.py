"""A U-Net in PyTorch that is ours layer by layer: the peer takes any segmentation network, and brings none."""

import torch
from torch import nn


def block(in_channels, out_channels, num_convs):
    """3x3 convolutions, each with ReLU."""
    layers = []
    for _ in range(num_convs):
        layers += [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU(inplace=True)]
        in_channels = out_channels
    return nn.Sequential(*layers)


class PlainUNet(nn.Module):
    """Mean of 2x2 pixels down, bilinear up, concatenated skips, and a 1x1 convolution to one channel a class.

    The last is what ours has not: the peer reads the number of classes off the network's last layer, and hands its
    output to f_comb.

    Args:
        channels: filters at each resolution, finest first.
        num_convs: convolutions in a block.
        num_classes: K.
    """

    def __init__(self, channels, num_convs, num_classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            block(before, after, num_convs) for before, after in zip((1, *channels), channels)
        )
        self.decoder = nn.ModuleList(
            block(skip + below, skip, num_convs) for skip, below in zip(channels, channels[1:])
        )
        self.down, self.up = nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")
        self.logits = nn.Conv2d(channels[0], num_classes, 1)

    def forward(self, images):
        activations = []
        for place, encode in enumerate(self.encoder):
            images = encode(self.down(images) if place else images)
            activations.append(images)
        hidden = activations.pop()
        for decode, skip in zip(reversed(self.decoder), reversed(activations)):
            hidden = decode(torch.cat([skip, self.up(hidden)], dim=1))
        return self.logits(hidden)
