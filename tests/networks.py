"""Two networks as they are built elsewhere, narrow, with the norms of any namespace: normcore.nn or torch.nn."""

import torch
from torch import nn as tnn


class Block(tnn.Module):
    """He et al. (2016): two convolutions around a skip, as torchvision's BasicBlock."""

    def __init__(self, norms, inputs, outputs, stride):
        super().__init__()
        self.conv1 = tnn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = norms.BatchNorm2d(outputs)
        self.relu = tnn.ReLU(inplace=True)
        self.conv2 = tnn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = norms.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = tnn.Sequential(
                tnn.Conv2d(inputs, outputs, 1, stride, bias=False), norms.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(tnn.Module):
    """ResNet-18, as torchvision's: four stages of two blocks, 20 norms."""

    def __init__(self, norms, width):
        super().__init__()
        self.conv1 = tnn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = norms.BatchNorm2d(width)
        self.relu = tnn.ReLU(inplace=True)
        self.maxpool = tnn.MaxPool2d(3, 2, 1)
        self.layer1 = self._stage(norms, width, width, 1)
        self.layer2 = self._stage(norms, width, 2 * width, 2)
        self.layer3 = self._stage(norms, 2 * width, 4 * width, 2)
        self.layer4 = self._stage(norms, 4 * width, 8 * width, 2)
        self.avgpool = tnn.AdaptiveAvgPool2d(1)
        self.fc = tnn.Linear(8 * width, 10)

    @staticmethod
    def _stage(norms, inputs, outputs, stride):
        return tnn.Sequential(Block(norms, inputs, outputs, stride), Block(norms, outputs, outputs, 1))

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Attention(tnn.Module):
    """One head after another; the queries and keys of each normalized, as large models do."""

    def __init__(self, norms, size, heads):
        super().__init__()
        self.heads = heads
        self.qkv = tnn.Linear(size, 3 * size)
        self.q_norm = norms.RMSNorm(size // heads)
        self.k_norm = norms.RMSNorm(size // heads)
        self.out = tnn.Linear(size, size)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        weights = torch.softmax(q @ k.transpose(-2, -1) / q.size(-1) ** 0.5, -1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Layer(tnn.Module):
    def __init__(self, norms, size, heads):
        super().__init__()
        self.norm1, self.norm2 = norms.LayerNorm(size), norms.LayerNorm(size)
        self.attention = Attention(norms, size, heads)
        self.feedforward = tnn.Sequential(tnn.Linear(size, 2 * size), tnn.GELU(), tnn.Linear(2 * size, size))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feedforward(self.norm2(x))


class Transformer(tnn.Module):
    """Pre-norm; its input is (N, T, size)."""

    def __init__(self, norms, size, layers):
        super().__init__()
        self.layers = tnn.Sequential(*(Layer(norms, size, 2) for _ in range(layers)))
        self.norm = norms.LayerNorm(size)
        self.head = tnn.Linear(size, 10)

    def forward(self, x):
        return self.head(self.norm(self.layers(x)))


def resnet(norms, width=4):
    torch.manual_seed(0)
    return ResNet(norms, width)


def transformer(norms, size=8, layers=2):
    torch.manual_seed(0)
    return Transformer(norms, size, layers)
