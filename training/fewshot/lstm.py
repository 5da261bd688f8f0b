"""The baseline without external memory: stacked LSTMs (Hochreiter and Schmidhuber 1997), two as in the paper's published code."""

from torch import Tensor, nn

from training.fewshot.recurrent import Recurrence, State, initialise

_GAIN = 3.0  # of the initial input matrices


class LSTMMemory(Recurrence):
    """Stacked LSTMs, layer normalisation, and a linear layer to the logits.

    Args:
        inputs: values of an input.
        classes: number of logits.
        units: of every layer.
        layers: stacked LSTMs.
    """

    def __init__(self, inputs: int, classes: int, *, units: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, layers, batch_first=True)
        self.norm = nn.LayerNorm(units)
        self.output = nn.Linear(units, classes)
        initialise(self.lstm, _GAIN)

    def initial_state(self, batch: int) -> State:
        """Hidden and cell states, both zero, (B, layers * units)."""
        zero = self.output.weight.new_zeros(batch, self.lstm.num_layers * self.lstm.hidden_size)
        return zero, zero

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: inputs (B, inputs) -> logits (B, classes) and the next state."""
        hidden, after = self._run(inputs.unsqueeze(1), state)
        return self.output(self.norm(hidden[:, -1])), after

    def unroll(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Recurrence.unroll`."""
        hidden, after = self._run(inputs, state)
        return self.output(self.norm(hidden)), after

    def run(self, inputs: Tensor, state: State) -> State:
        """The state after the inputs (B, S, inputs) in turn."""
        return self._run(inputs, state)[1] if inputs.shape[1] else state

    def _run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        layers = self.lstm.num_layers
        hidden, cell = (part.unflatten(1, (layers, -1)).transpose(0, 1).contiguous() for part in state)
        found, after = self.lstm(inputs, (hidden, cell))
        return found, tuple(part.transpose(0, 1).flatten(1) for part in after)
