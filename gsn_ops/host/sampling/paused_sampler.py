"""A sampler that stops at each call of its model until it is given the answer.

The sampler's own function runs in a thread of its own; only one of both sides runs at a time. So several
starts can be taken to the same step, compared, and the best one finished, with any sampler, its history and
its noise: the calls of the network stay in the caller's thread. Random numbers that the sampler draws come
from a stream of its own.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

SEEDED_DEVICES = ("cuda", "xpu")  # whose random state torch gives and takes per device


class _Stopped(BaseException):
    """Raised inside a sampler that is not finished. Not an Exception: samplers must not handle it."""


@dataclass(frozen=True)
class ModelCall:
    """What the sampler calls its model with."""

    args: tuple
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class _Callback:
    args: tuple


@dataclass(frozen=True)
class _Ended:
    result: Tensor | None
    error: BaseException | None = None


class _AskingModel:
    """What the sampler gets as its model: calls ask the other side, attributes pass through."""

    def __init__(self, model: Any, ask: Callable[[ModelCall], Any]):
        self.__dict__.update(_model=model, _ask=ask)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._model, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask(ModelCall(args, kwargs))


class PausedSampler:
    """One run of a sampler. `result` is None until it has ended.

    run(model, callback): calls the sampler, gives its samples. model: the real one. on_step: the sampler's
    callback, called in the caller's thread. device: whose random numbers it may draw. The random state at the
    moment of this call is its stream's start.
    """

    def __init__(
        self,
        run: Callable[[Any, Callable[..., None]], Tensor],
        model: Any,
        on_step: Callable[..., None],
        device: torch.device,
    ):
        self.result: Tensor | None = None
        self._on_step, self._device = on_step, device
        self._to_sampler: SimpleQueue[Any] = SimpleQueue()
        self._to_caller: SimpleQueue[Any] = SimpleQueue()
        self._random = self._random_state()
        modes = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

        def work() -> None:
            ended = _Ended(None)
            try:
                self._wait()
                with _modes(*modes, device):
                    ended = _Ended(
                        run(_AskingModel(model, self._ask), lambda *step: self._ask(_Callback(step)))
                    )
            except _Stopped:
                pass
            except BaseException as error:  # the caller raises it
                ended = _Ended(None, error)
            self._to_caller.put(ended)

        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(work,), name="gsn-sampler", daemon=True)
        self._thread.start()

    def resume(self, answer: Tensor | None = None) -> ModelCall | None:
        """The sampler's next call of its model, None when it has ended. answer: of the call before."""
        here = self._random_state()
        self._set_random_state(self._random)
        try:
            message = self._exchange(answer)
            while isinstance(message, _Callback):
                message = self._exchange(self._on_step(*message.args))
        finally:
            self._random = self._random_state()
            self._set_random_state(here)
        if isinstance(message, ModelCall):
            return message
        self._thread.join()
        if message.error is not None:
            raise message.error
        self.result = message.result
        return None

    def close(self) -> None:
        """Ends a sampler that is not finished."""
        while self._thread.is_alive():
            self._to_sampler.put(_Stopped())
            if isinstance(self._to_caller.get(), _Ended):
                self._thread.join()

    def _exchange(self, answer: Any) -> Any:
        self._to_sampler.put(answer)
        return self._to_caller.get()

    def _ask(self, question: ModelCall | _Callback) -> Any:
        self._to_caller.put(question)
        return self._wait()

    def _wait(self) -> Any:
        answer = self._to_sampler.get()
        if isinstance(answer, _Stopped):
            raise answer
        return answer

    def _random_state(self) -> tuple[Tensor, Tensor | None]:
        seeded = self._device.type in SEEDED_DEVICES
        on_device = getattr(torch, self._device.type).get_rng_state(self._device) if seeded else None
        return torch.get_rng_state(), on_device

    def _set_random_state(self, state: tuple[Tensor, Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None:
            getattr(torch, self._device.type).set_rng_state(state[1], self._device)


@contextlib.contextmanager
def _modes(inference: bool, grad: bool, device: torch.device):
    """The modes of the caller's thread, which torch keeps per thread."""
    with (
        torch.inference_mode(inference),
        torch.set_grad_enabled(grad),
        comfy.model_management.cuda_device_context(device),
    ):
        yield
