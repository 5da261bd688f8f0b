"""The baseline without external memory: two stacked LSTMs over the same sequences, as in the authors' own code."""

from torch import Tensor, nn


class LSTMBaseline(nn.Module):
    """Sequence of inputs (B, S, inputs) -> logits (B, S, classes)."""

    def __init__(self, inputs: int, classes: int, *, controller: int = 200, layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, controller, layers, batch_first=True)
        self.output = nn.Linear(controller, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits at every step."""
        logits: Tensor = self.output(self.lstm(inputs)[0])
        return logits
