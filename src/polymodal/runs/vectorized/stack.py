"""Models of one architecture, run in one pass, each with its own weights and its own dropout.

Legend: head = models that are run together, batch = utterances of one head, time = frames,
feature = width, output = classes or values.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from polymodal.runs.vectorized.frames import Stacked
from polymodal.schemas.batch import PaddedSequence

Shape = tuple[int, ...]
PROBE, SECOND_PROBE = 3, 7  # utterances and frames of the batches that measure shapes of dropouts


class StackedModels:
    """The stacked weights of several models, and one pass through all of them.

    PyTorch's vmap draws random numbers for all models at once, so dropout would differ from that of
    a model alone. Here every model draws from its own random state, in the shapes and in the order
    in which it would draw alone.

    Args:
        models: Models of one architecture; their weights are copied.
        widths: Modality to the width of its frames, in the order of `PackedFrames.sizes`.
    """

    def __init__(self, models: Sequence[nn.Module], widths: Mapping[str, int]) -> None:
        self.noise = _SharedNoise()
        self.template = _with_shared_dropout(copy.deepcopy(models[0]), self.noise)
        weights = [dict(model.named_parameters()) for model in models]
        self.parameters = {
            name: torch.stack([of_model[name].detach() for of_model in weights]).requires_grad_(
                first.requires_grad
            )
            for name, first in weights[0].items()
        }
        buffers = [dict(model.named_buffers()) for model in models]
        self.buffers = {name: torch.stack([b[name] for b in buffers]) for name in buffers[0]}
        self.dropouts = _DropoutShapes(lambda sizes: self._probe(sizes, widths), 1 + len(widths))

    def __call__(
        self,
        heads: Sequence[int],
        inputs: Mapping[str, Stacked],
        noise: Sequence[Tensor] | None = None,
    ) -> Float[Tensor, "head batch output"]:
        """Run the models of given indices, each on its batch.

        Args:
            heads: Indices of the models.
            inputs: Modality to values and mask of the batches.
            noise: As `draw` returns it, for training; None for no dropout.

        Returns:
            Outputs, also of rows that are padding.
        """
        self.template.train(noise is not None)
        state = self._select(self.parameters, heads), self._select(self.buffers, heads)

        def run(
            state: tuple[dict[str, Tensor], ...],
            inputs: Mapping[str, tuple[Tensor, Tensor]],
            noise: Sequence[Tensor],
        ) -> Tensor:
            self.noise.values = iter(noise)
            batch = {name: PaddedSequence(*stacked) for name, stacked in inputs.items()}
            outputs: Tensor = functional_call(self.template, state, (batch,))
            return outputs.float()

        outputs: Tensor = vmap(run)(state, dict(inputs), list(noise or ()))
        return outputs

    def _select(self, stacked: Mapping[str, Tensor], heads: Sequence[int]) -> dict[str, Tensor]:
        indices = torch.tensor(heads, device=self._device)
        return {
            name: values if len(heads) == len(values) else values.index_select(0, indices)
            for name, values in stacked.items()
        }

    def draw(
        self, states: Sequence[Tensor], sizes: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "head ..."]]:
        """Draw the noise of every dropout, for each model as if it ran alone.

        Args:
            states: Random state of each model, which is advanced.
            sizes: Size of the batch of each model, without padding.

        Returns:
            For each dropout the factors of its input.
        """
        generator = _generator(self._device)
        padded = self.dropouts.shapes(np.max(sizes, axis=0))
        noise = [torch.zeros(len(states), *shape, device=self._device) for shape in padded]
        for head, (state, size) in enumerate(zip(states, sizes, strict=True)):
            generator.set_state(state)
            shapes = self.dropouts.shapes(size)
            for factors, p, shape in zip(noise, self.dropouts.p, shapes, strict=True):
                ones = torch.ones(shape, device=self._device)
                factors[head][_corner(shape)] = functional.dropout(ones, p)
            state.copy_(generator.get_state())
        return noise

    def random_state(self, seed: int) -> Tensor:
        """Return the random state after seeding, for `draw`."""
        return _generator(self._device).manual_seed(seed).get_state()

    def write(self, head: int, model: nn.Module) -> None:
        """Copy the weights of a head into a model."""
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(self.parameters[name][head])

    def keep(self, heads: list[int]) -> None:
        """Drop all models but those of the given indices."""
        for parameter in self.parameters.values():
            parameter.data, parameter.grad = parameter.data[heads], None
        self.buffers = {name: values[heads] for name, values in self.buffers.items()}

    @property
    def _device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    def _probe(self, sizes: Sequence[int], widths: Mapping[str, int]) -> list[tuple[float, Shape]]:
        """Return probability and shape of the dropouts that a batch of these sizes passes."""
        self.noise.values, self.noise.probed = None, []
        device = self._device
        batch = {
            name: PaddedSequence(
                torch.zeros(sizes[0], frames, width, device=device),
                torch.ones(sizes[0], frames, dtype=torch.bool, device=device),
            )
            for frames, (name, width) in zip(sizes[1:], widths.items(), strict=True)
        }
        with torch.no_grad():
            self.template.train()(batch)
        return self.noise.probed


class _SharedNoise:
    """The noise of a pass for all dropouts of a template; None to record their shapes instead."""

    def __init__(self) -> None:
        self.values: Iterator[Tensor] | None = None
        self.probed: list[tuple[float, Shape]] = []


class _SharedDropout(nn.Module):
    """A dropout that takes its noise from `_SharedNoise`."""

    def __init__(self, p: float, noise: _SharedNoise) -> None:
        super().__init__()
        self.p, self.noise = p, noise

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or not self.p:  # then PyTorch draws nothing either
            return values
        if self.noise.values is None:
            self.noise.probed.append((self.p, tuple(values.shape)))
            return values
        return values * next(self.noise.values)


class _DropoutShapes:
    """The shapes of all dropouts, as linear functions of the utterances and frames of a batch."""

    def __init__(
        self, probe: Callable[[Sequence[int]], list[tuple[float, Shape]]], num_sizes: int
    ) -> None:
        def shapes_at(sizes: np.ndarray) -> list[np.ndarray]:
            return [np.array(shape) for _, shape in probe(sizes.tolist())]

        origin = np.full(num_sizes, PROBE)
        self.p = [p for p, _ in probe(origin.tolist())]
        self.origin, self.shapes_at_origin = origin, shapes_at(origin)
        steps = [shapes_at(origin + step) for step in np.eye(num_sizes, dtype=int)]
        self.slopes = [
            np.stack([shapes[layer] - shape for shapes in steps])
            for layer, shape in enumerate(self.shapes_at_origin)
        ]
        second = origin + np.arange(num_sizes) + SECOND_PROBE
        if self.shapes(second) != [tuple(shape) for shape in shapes_at(second)]:
            raise RuntimeError("the shapes of its dropouts are not linear in its input's")

    def shapes(self, sizes: Sequence[int] | np.ndarray) -> list[Shape]:
        """Return the shape of every dropout for a batch of these sizes."""
        steps = np.asarray(sizes) - self.origin
        return [
            tuple((shape + steps @ slope).tolist())
            for shape, slope in zip(self.shapes_at_origin, self.slopes, strict=True)
        ]


def why_not_stackable(model: nn.Module, widths: Mapping[str, int]) -> str | None:
    """Return why a model cannot be stacked, or None.

    Two copies are run in one pass and alone, with batches of different sizes. Running statistics of
    the model, if it has any, are changed.
    """
    sizes = [[3, *range(4, 4 + len(widths))], [2, *range(2, 2 + len(widths))]]
    with torch.random.fork_rng():
        batches = [_random_batch(size, widths) for size in sizes]
        states, expected = [], []
        for seed, batch in enumerate(batches):
            states.append(torch.manual_seed(seed).get_state())
            expected.append(model.train()(batch).float())
        try:
            stack = StackedModels([model, model], widths)
            outputs = stack([0, 1], _pad(batches), stack.draw(states, sizes))
        except (RuntimeError, TypeError, ValueError, IndexError, StopIteration) as error:
            return f"the model cannot be run by vmap: {str(error).strip().partition(chr(10))[0]}"
    same = all(
        torch.allclose(output[: len(values)], values, rtol=1e-4, atol=1e-5)
        for output, values in zip(outputs, expected, strict=True)
    )
    return None if same else "the model gives an utterance other outputs in another batch"


def _random_batch(sizes: Sequence[int], widths: Mapping[str, int]) -> dict[str, PaddedSequence]:
    return {
        name: PaddedSequence(
            torch.randn(sizes[0], frames, width),
            torch.ones(sizes[0], frames, dtype=torch.bool),
        )
        for frames, (name, width) in zip(sizes[1:], widths.items(), strict=True)
    }


def _pad(batches: Sequence[Mapping[str, PaddedSequence]]) -> dict[str, Stacked]:
    """Stack batches, of which the first is the largest in every dimension."""
    padded = {}
    for name, largest in batches[0].items():
        values = torch.zeros(2, *largest.values.shape)
        mask = torch.zeros(2, *largest.valid_mask.shape)
        for head, batch in enumerate(batches):
            corner = _corner(batch[name].valid_mask.shape)
            values[head][corner], mask[head][corner] = batch[name].values, 1
        padded[name] = (values, mask > 0)
    return padded


def _corner(shape: Sequence[int]) -> tuple[slice, ...]:
    """Where a smaller tensor lies in a padded one."""
    return tuple(slice(size) for size in shape)


def _with_shared_dropout(model: nn.Module, noise: _SharedNoise) -> nn.Module:
    """Replace the dropouts of a model; others that draw, such as of channels, fail in vmap."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, _SharedDropout(child.p, noise))
    return model


def _generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator
