"""The training loop of all stages: batches drawn ahead, mixed precision, gradient accumulation, data parallelism, weight
averaging, validation and checkpoints. Losses are read from the device every few steps only."""

import contextlib
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from common.errors import ParamError, WorkError
from common.files import write_bytes, write_json
from common.paths import PLOTS
from training.engine import checkpoints, distributed
from training.engine.checkpoints import History, Run, TrainState
from training.engine.optimiser import create_optimiser, create_schedule
from training.params import Optimiser

_READ_EVERY = 10  # steps between two reads of the losses, each of which waits for the device
_SAVE_EVERY = 50  # steps; a multiple of the above
_AHEAD = 2  # batches drawn while a step is computed

Drawn = TypeVar("Drawn")
Measured = Mapping[str, Tensor]


@dataclass(frozen=True)
class Draw:
    """What a batch is drawn by: the step, counted from 0, its random numbers, and the share of the step's batch.

    A step's random numbers depend on the run's seed and the step only. All of them are drawn, for the whole batch; `share`
    keeps those of this part of it, so that processes and accumulated parts together see the same batch as one process.
    """

    step: int
    generator: Generator
    part: int = 0
    parts: int = 1

    def share(self, values: Tensor) -> Tensor:
        """The part's share of `values`, (B, ...) -> (B / parts, ...)."""
        return values.chunk(self.parts)[self.part]


@dataclass(frozen=True)
class Task(Generic[Drawn]):
    """What a run trains on.

    Args:
        draw: draws a batch; runs in a thread, ahead of the step.
        compute: what a batch measures, scalar tensors by name; `loss` is minimised, all are recorded.
        names: clip ids of a batch, saved when its loss is not finite.
        validate: numbers by name, `loss` among them; called `validations` times, with the model in eval mode.
    """

    draw: Callable[[Draw], Drawn]
    compute: Callable[[Drawn], Measured]
    names: Callable[[Drawn], Sequence[str]] = lambda _: ()
    validate: Callable[[], Mapping[str, float]] | None = None


class _Objective(nn.Module):
    """The model and what is computed with it as one module, which DistributedDataParallel and torch.compile can wrap."""

    def __init__(self, model: nn.Module, compute: Callable[[Any], Measured]) -> None:
        super().__init__()
        self.model, self._compute = model, compute

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return dict(self._compute(batch))


def train(run: Run, model: nn.Module, settings: Optimiser, task: Task[Drawn], *, save: bool = True) -> History:
    """Minimise a loss over the model's trainable parameters, resuming the run's checkpoint if there is one.

    On the CPU a run that was killed and resumed gives the same weights as one that was not, and processes started by
    `torchrun` those of a single one: a step's random numbers depend on the seed and its number alone.

    Args:
        run: names the checkpoint.
        model: on its training device; it ends in eval mode, with averaged weights if `settings.ema` is set.
        settings: of the optimiser.
        task: the batches, and what is computed with them.
        save: write checkpoints and the loss curve.

    Returns:
        The recorded values of every step, those before a resumption included.

    Raises:
        ParamError: `batch` cannot be divided among processes and accumulated parts, or the task has no validation.
        WorkError: the loss is infinite or NaN.
    """
    with distributed.joined() as group:
        return _Training(run, model, settings, task, group, save=save).run()


class _Training(Generic[Drawn]):
    """The state of one call of `train`."""

    def __init__(
        self,
        run: Run,
        model: nn.Module,
        settings: Optimiser,
        task: Task[Drawn],
        group: distributed.Group,
        *,
        save: bool,
    ) -> None:
        self._run, self._model, self._settings, self._task, self._group = run, model, settings, task, group
        self._parts = settings.accumulate * group.size
        if settings.batch % self._parts:
            raise ParamError(
                f"params.yaml: {run.name}: batch is {settings.batch}: must be a multiple of accumulate times the number of "
                f"processes, {self._parts}"
            )
        if settings.validations and task.validate is None:
            raise ParamError(f"params.yaml: {run.name}: validations is {settings.validations}: must be 0, it has none")
        self._device = next(model.parameters()).device
        self._optimiser = create_optimiser(model, settings)
        self._schedule = create_schedule(self._optimiser, settings)
        self._average = None if settings.ema is None else ModelEmaV3(model, settings.ema, use_warmup=True)
        self._state = TrainState(model, self._optimiser, None if self._average is None else self._average.module)
        self._save = save and group.is_first
        self.history: History = checkpoints.resume(run, self._state) if save else {}
        self._unread: list[dict[str, Tensor]] = []
        self._validate_at = set() if task.validate is None else even_steps(settings.steps, settings.validations)

    def run(self) -> History:
        first, steps = len(self.history.get("loss", ())), self._settings.steps
        self._model.train()
        objective = self._objective()
        quiet = None if self._group.is_first else True
        with (
            tqdm(desc=self._run.name, total=steps, initial=first, unit="step", disable=quiet) as bar,
            self._batches(first) as batches,
        ):
            for step in range(first, steps):
                if self._out_of_patience():
                    break
                self._unread.append(self._step(step, objective, batches))
                bar.update()
                validate = step + 1 in self._validate_at
                done = step + 1 == steps
                if done or validate or (step + 1) % _READ_EVERY == 0:
                    self._read(step + 1)
                    bar.set_postfix(loss=f"{self.history['loss'][-1]:.4f}", refresh=False)
                if validate:
                    self._validate(step + 1)
                    done = done or self._out_of_patience()
                if self._save and (done or (step + 1) % _SAVE_EVERY == 0):
                    checkpoints.save(self._run, self._state, self.history, done=done)
        self._model.load_state_dict(self._state.result())
        self._model.eval()
        if self._save:
            _write_curves(self._run.name, self.history)
            if self._state.validation:
                _write_table(f"{self._run.name}_validation", self._state.validation)
        return self.history

    def _validate(self, step: int) -> None:
        """Measure the averaged weights, or else the model, and keep the weights if they are the best so far."""
        assert self._task.validate is not None
        trained = {name: value.clone() for name, value in self._model.state_dict().items()}
        self._model.load_state_dict(self._state.weights())
        self._model.eval()
        with torch.no_grad():
            measured = {"step": float(step), **self._task.validate()}
        self._model.load_state_dict(trained)
        self._model.train()
        for name, value in measured.items():
            self._state.validation.setdefault(name, []).append(float(value))
        losses = self._state.validation["loss"]
        if self._settings.patience is not None and losses[-1] == min(losses):
            self._state.best = {name: value.clone() for name, value in self._state.weights().items()}

    def _out_of_patience(self) -> bool:
        losses = self._state.validation.get("loss", [])
        patience = self._settings.patience
        return patience is not None and bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

    def _objective(self) -> nn.Module:
        objective: nn.Module = _Objective(self._model, self._task.compute)
        return objective if self._group.size == 1 else DistributedDataParallel(objective)

    def _step(self, step: int, objective: nn.Module, batches: Iterator[Drawn]) -> dict[str, Tensor]:
        """Update the weights once; returns the step's values, still on the device."""
        self._schedule.step_update(step)
        self._optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        accumulated = self._settings.accumulate
        for number in range(accumulated):
            batch = next(batches)
            torch.manual_seed(_seed(self._run.seed, step, self._part(number)))  # of dropout and drop path
            last = number + 1 == accumulated
            with (
                contextlib.nullcontext() if last else _without_sync(objective),
                torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"),
            ):
                measured = objective(batch)
                (measured["loss"] / accumulated).backward()
            for name, value in measured.items():
                share = value.detach().float() / accumulated
                sums[name] = sums[name] + share if name in sums else share
        nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.clip_norm)
        self._optimiser.step()
        if self._average is not None:
            self._average.update(self._model, step + 1)
        return sums

    def _part(self, number: int) -> int:
        return self._group.rank * self._settings.accumulate + number

    @contextlib.contextmanager
    def _batches(self, first: int) -> Iterator[Iterator[Drawn]]:
        """This process's batches from step `first` on, drawn ahead in a thread."""
        accumulated = self._settings.accumulate
        wanted = ((step, number) for step in range(first, self._settings.steps) for number in range(accumulated))
        pool = ThreadPoolExecutor(1)

        def drawn() -> Iterator[Drawn]:
            ahead: deque[Future[Drawn]] = deque()
            for step, number in wanted:
                ahead.append(pool.submit(self._draw, step, number))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

        try:
            yield drawn()
        finally:
            pool.shutdown(cancel_futures=True)

    def _draw(self, step: int, number: int) -> Drawn:
        generator = Generator().manual_seed(_seed(self._run.seed, step))
        return self._task.draw(Draw(step, generator, self._part(number), self._parts))

    def _read(self, steps: int) -> None:
        """Move the unread values to the history; `steps` are done.

        Raises:
            WorkError: a loss is infinite or NaN.
        """
        names = list(self._unread[0])
        table = distributed.mean(
            torch.stack([torch.stack([values[name] for name in names]) for values in self._unread])
        )
        for column, name in zip(table.T.tolist(), names, strict=True):
            self.history.setdefault(name, []).extend(column)
        first, self._unread = steps - len(self._unread), []
        for step in range(first, steps):
            if not math.isfinite(self.history["loss"][step]):
                self._stop_at(step)

    def _stop_at(self, step: int) -> None:
        parts = range(self._settings.accumulate)
        clips = [name for part in parts for name in self._task.names(self._draw(step, part))]
        where = ""
        if self._save and clips:
            path = self._run.path.with_name(f"not_finite_{self._group.rank}.json")
            write_json(path, {"step": step, "clips": clips})
            where = f"; {path} has its clips"
        raise WorkError(
            f"{self._run.name}: the loss is {self.history['loss'][step]} at step {step}: lower the learning rate{where}"
        )


def _without_sync(objective: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Gradients are summed in this process only."""
    if isinstance(objective, DistributedDataParallel):
        sync: contextlib.AbstractContextManager[None] = objective.no_sync()
        return sync
    return contextlib.nullcontext()


def even_steps(steps: int, count: int) -> set[int]:
    """`count` numbers of steps evenly spread from 1 to `steps`, the last one included."""
    return {round(steps * number / count) for number in range(1, count + 1)}


def _seed(*numbers: int) -> int:
    """A seed of 63 bits from whole numbers."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _write_curves(name: str, history: History) -> None:
    """Write plots/<name>.tsv, one row per step, and log through DVCLive where it is installed."""
    _write_table(name, {"step": list(range(1, len(history["loss"]) + 1)), **history})
    with contextlib.suppress(ImportError):
        from dvclive.live import Live

        with Live(f"dvclive/{name}", dvcyaml=None, save_dvc_exp=False, monitor_system=False) as live:
            for step, values in enumerate(zip(*history.values(), strict=True), 1):
                live.step = step
                for column, value in zip(history, values, strict=True):
                    live.log_metric(column, value)


def _write_table(name: str, columns: Mapping[str, Sequence[float]]) -> None:
    """Write plots/<name>.tsv."""
    rows = ["\t".join(columns)]
    for step, *values in zip(*columns.values(), strict=True):
        rows.append("\t".join((f"{step:.0f}", *(f"{value:.6f}" for value in values))))
    write_bytes(PLOTS / f"{name}.tsv", ("\n".join(rows) + "\n").encode())
