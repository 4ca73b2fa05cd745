"""Small models of PyTorch, with everything that makes taking activations hard."""

from __future__ import annotations

from torch import nn


class Net(nn.Module):
    """Convolutions with an in-place ReLU that is used twice, a norm, dropout, a residual."""

    def __init__(self, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(width, 5)

    def forward(self, x):
        x = self.relu(self.bn(self.conv1(x)))
        x = self.relu(self.conv2(x) + x)
        return self.fc(self.drop(x.mean((2, 3))))


class Tied(nn.Module):
    """A sequence model: an embedding, a recurrent layer with sequences first, a linear layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.rnn = nn.GRU(6, 5)
        self.head = nn.Linear(5, 4)

    def forward(self, ids):
        hidden, _ = self.rnn(self.embed(ids).transpose(0, 1))
        return self.head(hidden)


class Block(nn.Module):
    """A residual block on maps with the channels last, as in Swin."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.act = nn.GELU()
        self.down = nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(self.act(self.up(self.norm(x))))


class Patches(nn.Module):
    """Convolution, blocks with the channels last, and a convolution again."""

    def __init__(self, width=6):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2, stride=2)
        self.block = Block(width)
        self.out = nn.Conv2d(width, 4, 1)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.block(self.stem(x).permute(0, 2, 3, 1))
        return self.relu(self.out(x.permute(0, 3, 1, 2)))
