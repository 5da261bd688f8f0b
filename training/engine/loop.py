"""The training loop of all stages: batches drawn ahead, mixed precision, compilation, gradient accumulation, data parallelism,
weight averaging, validation and checkpoints. Losses are read from the device every few steps only."""

import contextlib
import hashlib
import itertools
import math
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from common.errors import ParamError, WorkError
from common.files import write_json
from training.engine import checkpoints, distributed
from training.engine.checkpoints import History, Run, TrainState
from training.engine.log import RunLog, write_curves, write_table
from training.engine.memory import advice
from training.engine.objective import Measured, Objective, compiled, mixed_precision
from training.engine.optimiser import create_optimiser, create_schedule
from training.engine.prefetch import Prefetch
from training.engine.task import Draw, Drawn, Task
from training.engine.throughput import Meter, count_flops, peak_flops
from training.params import Optimiser

_READ_EVERY = 10  # steps between two reads of the losses, each of which waits for the device
_SAVE_EVERY = 50  # steps; a multiple of the above
_SAVE_SHARE = 0.05  # of the time that checkpoints may take, else there are fewer

Result = TypeVar("Result")


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
        self._batch: Drawn | None = None  # the one that is computed
        self._save_after = 0.0

    def run(self) -> History:
        first, steps = len(self.history.get("loss", ())), self._settings.steps
        distributed.check_equal(first, "the checkpoint")
        self._model.train()
        if first < steps and not self._out_of_patience():
            self._train(first, steps)
        self._model.load_state_dict(self._state.result())
        self._model.eval()
        if self._save:
            write_curves(self._run.name, self.history)
            write_table(f"{self._run.name}_validation", self._state.validation)
        return self.history

    def _train(self, first: int, steps: int) -> None:
        accumulated = self._settings.accumulate
        keys = ((step, self._part(number)) for step in range(first, steps) for number in range(accumulated))
        with Prefetch(lambda key: self._draw(*key), keys, self._device) as drawn:
            batch = next(drawn)
            batches = itertools.chain([batch], drawn)
            objective, meter = self._guarded(partial(self._prepare, batch))
            quiet = None if self._group.is_first else True
            with (
                RunLog(self._run.name, first, write=self._save) as log,
                tqdm(desc=self._run.name, total=steps, initial=first, unit="step", disable=quiet) as bar,
            ):
                log.start(**self._description(first, compiled=self._is_compiled(objective)))
                meter.restart(drawn.waited_s)
                for step in range(first, steps):
                    self._unread.append(self._guarded(partial(self._step, step, objective, batches)))
                    bar.update()
                    validate = step + 1 in self._validate_at
                    done = step + 1 == steps
                    if not (done or validate or (step + 1) % _READ_EVERY == 0):
                        continue
                    unread = len(self._unread)
                    values = self._read(step + 1)
                    rates = meter.read(unread, drawn.waited_s)
                    log.step(step + 1, values | {"lr": self._rate()} | rates)
                    bar.set_postfix(
                        {"loss": f"{values['loss']:.4f}", "clips/s": f"{rates['clips_per_s']:,.1f}"}, refresh=False
                    )
                    if validate:
                        log.validation(step + 1, self._validate(step + 1))
                        done = done or self._out_of_patience()
                    self._save_checkpoint(step + 1, done=done)
                    if done:
                        break
                    meter.restart(drawn.waited_s)
                log.end(len(self.history["loss"]))
        if self._is_compiled(objective):
            del objective
            torch.compiler.reset()  # frees the memory of CUDA graphs

    def _save_checkpoint(self, step: int, *, done: bool) -> None:
        started = time.monotonic()
        if self._save and (done or (step % _SAVE_EVERY == 0 and started >= self._save_after)):
            checkpoints.save(self._run, self._state, self.history, done=done)
            ended = time.monotonic()
            self._save_after = ended + (ended - started) / _SAVE_SHARE

    def _validate(self, step: int) -> dict[str, float]:
        """Measure the averaged weights, or else the model, and keep the weights if they are the best so far."""
        assert self._task.validate is not None
        trained = {name: value.clone() for name, value in self._model.state_dict().items()}
        self._model.load_state_dict(self._state.weights())
        self._model.eval()
        with torch.no_grad():
            measured = {name: float(value) for name, value in self._task.validate().items()}
        self._model.load_state_dict(trained)
        self._model.train()
        for name, value in {"step": float(step), **measured}.items():
            self._state.validation.setdefault(name, []).append(value)
        losses = self._state.validation["loss"]
        if self._settings.patience is not None and losses[-1] == min(losses):
            self._state.best = {name: value.clone() for name, value in self._state.weights().items()}
        return measured

    def _out_of_patience(self) -> bool:
        losses = self._state.validation.get("loss", [])
        patience = self._settings.patience
        return patience is not None and bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

    def _prepare(self, batch: Drawn) -> tuple[nn.Module, Meter]:
        """The objective, compiled if the run is to be, for this process or all; and the meter of the throughput."""
        objective: nn.Module = Objective(self._model, self._task.compute)
        self._eager, self._batch = objective, batch
        gpu = self._device.type == "cuda"
        peak = peak_flops(torch.cuda.get_device_name(self._device)) if gpu else None
        flops = None if peak is None else count_flops(objective, batch, self._device) * self._settings.accumulate
        if self._run.compile == "always" or (self._run.compile == "auto" and gpu):
            # Accumulated gradients would lie in memory that the next graph writes to; so would those of other processes.
            graphs = gpu and self._parts == 1
            objective = compiled(objective, batch, self._device, graphs=graphs, name=self._run.name)
        meter = Meter(self._settings.batch * self._task.clips, flops, peak)
        return (objective if self._group.size == 1 else DistributedDataParallel(objective)), meter

    @staticmethod
    def _is_compiled(objective: nn.Module) -> bool:
        module = objective.module if isinstance(objective, DistributedDataParallel) else objective
        return not isinstance(module, Objective)

    def _description(self, first: int, *, compiled: bool) -> dict[str, object]:
        gpu = self._device.type == "cuda"
        return {
            "run": self._run.name,
            "fingerprint": self._run.fingerprint,
            "step": first,
            "steps": self._settings.steps,
            "device": torch.cuda.get_device_name(self._device) if gpu else f"CPU {platform.machine()}",
            "processes": self._group.size,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "compiled": compiled,
        }

    def _guarded(self, call: Callable[[], Result]) -> Result:
        """The result of `call`.

        Raises:
            WorkError: it does not fit into the GPU's memory; the message names the batch that does.
        """
        with contextlib.suppress(torch.OutOfMemoryError):  # whose traceback holds the memory
            return call()
        raise WorkError(self._out_of_memory())

    def _out_of_memory(self) -> str:
        where = f"{self._run.name}: out of GPU memory"
        if self._batch is None:
            return f"{where}: set `accumulate` of its optimiser in params.yaml to {2 * self._settings.accumulate}"
        torch.compiler.reset()
        moments = not self._optimiser.state
        return f"{where} {advice(self._eager, self._batch, self._device, self._settings.accumulate, moments=moments)}"

    def _step(self, step: int, objective: nn.Module, batches: Iterator[Drawn]) -> dict[str, Tensor]:
        """Update the weights once; returns the step's values, still on the device."""
        self._schedule.step_update(step)
        self._optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        accumulated = self._settings.accumulate
        for number in range(accumulated):
            self._batch = next(batches)
            torch.manual_seed(_seed(self._run.seed, step, self._part(number)))  # of dropout and drop path
            torch.compiler.cudagraph_mark_step_begin()
            with contextlib.nullcontext() if number + 1 == accumulated else _without_sync(objective):
                with mixed_precision(self._device):
                    measured: Measured = objective(self._batch)
                (measured["loss"] / accumulated).backward()
            for name, value in measured.items():
                share = value.detach().float() / accumulated  # a copy: CUDA graphs write to `value` again
                sums[name] = sums[name] + share if name in sums else share
        nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.clip_norm)
        self._optimiser.step()
        if self._average is not None:
            self._average.update(self._model, step + 1)
        return sums

    def _part(self, number: int) -> int:
        return self._group.rank * self._settings.accumulate + number

    def _draw(self, step: int, part: int) -> Drawn:
        generator = Generator().manual_seed(_seed(self._run.seed, step))
        return self._task.draw(Draw(step, generator, part, self._parts))

    def _rate(self) -> float:
        """The learning rate, without layer decay."""
        rate: float = max(group["lr"] for group in self._optimiser.param_groups)
        return rate

    def _read(self, steps: int) -> dict[str, float]:
        """Move the unread values to the history; `steps` are done. Returns their means.

        Raises:
            WorkError: a loss is infinite or NaN.
        """
        names = list(self._unread[0])
        table = distributed.mean(
            torch.stack([torch.stack([values[name] for name in names]) for values in self._unread])
        )
        columns = dict(zip(names, table.T.tolist(), strict=True))
        for name, column in columns.items():
            self.history.setdefault(name, []).extend(column)
        first, self._unread = steps - len(self._unread), []
        for step in range(first, steps):
            if not math.isfinite(self.history["loss"][step]):
                self._stop_at(step)
        return {name: sum(column) / len(column) for name, column in columns.items()}

    def _stop_at(self, step: int) -> None:
        where = ""
        clips = (
            [name for part in range(self._parts) for name in self._task.names(self._draw(step, part))]
            if self._save
            else []
        )
        if clips:
            path = self._run.path.with_name("not_finite.json")
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
