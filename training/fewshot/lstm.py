"""The baseline without external memory: stacked LSTMs (Hochreiter and Schmidhuber 1997), two as in the paper's published code."""

from torch import Tensor, nn

from training.fewshot.recurrent import Recurrence, State

_GAIN = 3.0


class LSTMMemory(Recurrence):
    """Stacked LSTMs, layer normalisation, and a linear layer to the logits.

    Recurrent matrices start orthogonal, forget gates open (bias 1), and input matrices `_GAIN` times as large as Glorot and
    Bengio (2010) have them. The logits of a query depend on products of it with an earlier clip and that clip's label; with small
    weights the cells are nearly linear, these products vanish, and so does their gradient: nothing is learnt.

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
        for name, parameter in self.lstm.named_parameters():
            for number, gate in enumerate(parameter.data.chunk(4)):  # input, forget, cell, output
                if name.startswith("weight_hh"):
                    nn.init.orthogonal_(gate)
                elif name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(gate, _GAIN)
                else:
                    nn.init.constant_(gate, float(name.startswith("bias_ih") and number == 1))

    def initial_state(self, batch: int) -> State:
        """Hidden and cell states, both zero, (B, layers * units)."""
        zero = self.output.weight.new_zeros(batch, self.lstm.num_layers * self.lstm.hidden_size)
        return zero, zero

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: inputs (B, inputs) -> logits (B, classes) and the next state."""
        hidden, after = self._run(inputs.unsqueeze(1), state)
        return self.output(self.norm(hidden[:, -1])), after

    def run(self, inputs: Tensor, state: State) -> State:
        """The state after the inputs (B, S, inputs) in turn."""
        return self._run(inputs, state)[1] if inputs.shape[1] else state

    def _run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        layers = self.lstm.num_layers
        hidden, cell = (part.unflatten(1, (layers, -1)).transpose(0, 1).contiguous() for part in state)
        found, after = self.lstm(inputs, (hidden, cell))
        return found, tuple(part.transpose(0, 1).flatten(1) for part in after)
