"""The training step that is measured: the engine's own, on random inputs of a given size.

Nothing of the step is written anew here: `gradient_cache.backward`, clipping, the optimiser, as
`gairlib.train` calls them. Inputs are random numbers of the right shapes, made on the device; every
slot holds a photo, and coordinates are spread over the globe, so that no pair is excluded.
"""

from dataclasses import replace

import torch
from torch import Tensor

from gairlib.config import GAIRConfig
from gairlib.model import GAIR
from gairlib.train import gradient_cache
from gairlib.train.engine import Engine
from gairlib.train.inputs import Inputs
from gairlib.train.options import PretrainOptions, adamw


def places(n: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """[n, 2] float64 (lon, lat), anywhere."""
    drawn = torch.rand(n, 2, dtype=torch.float64, device=device, generator=generator)
    return drawn * drawn.new_tensor([360.0, 160.0]) - drawn.new_tensor([180.0, 80.0])


def random_inputs(
    config: GAIRConfig,
    chips: int,
    photos: int,
    device: torch.device,
    seed: int = 0,
    points: int = 24,
) -> Inputs:
    """Inputs of `chips` chips with `photos` photos each, preprocessed float32, on the device."""
    generator = torch.Generator(device).manual_seed(seed)
    n, options = chips * photos, {"device": device, "generator": generator}
    numbers = torch.arange(n, device=device)
    return Inputs(
        chips=torch.randn(chips, config.rs_bands, config.rs_size, config.rs_size, **options),
        xy=torch.rand(chips, photos, 2, dtype=torch.float64, **options) * 2 - 1,
        keep=numbers,
        photos=torch.randn(n, 3, config.sv_size, config.sv_size, **options),
        lonlat=places(n, device, generator),
        heading=torch.full((n,), torch.nan, dtype=torch.float64, device=device),
        chip=numbers // photos,
        field_xy=torch.rand(chips, points, 2, dtype=torch.float64, **options) * 2 - 1,
        side_m=torch.full((chips,), 960.0, dtype=torch.float64, device=device),
        view=2 * numbers,
        photo_ids=[f"p{i}" for i in range(n)],
    )


class Stepper:
    """A model, its optimiser and a queue, set up as in training; calling it makes one step."""

    def __init__(
        self,
        config: GAIRConfig,
        options: PretrainOptions,
        engine: Engine,
        *,
        queue: int,
        seed: int = 0,
    ):
        torch.manual_seed(seed)
        self.options, self.fabric = options, engine.fabric(options.precision)
        self.device = self.fabric.device
        self.model = GAIR(config).train()
        self.wrapped, self.optimiser = engine.setup(
            self.fabric, self.model, lambda m: adamw(m, options), parts=options.gradient_parts
        )
        generator = torch.Generator(self.device).manual_seed(seed + 1)
        self.queued = places(queue, self.device, generator)

    def divide(self, parts: int, loss_chunk: int) -> None:
        """Takes the batches that follow in so many parts, and so many rows of logits at a time."""
        self.options = replace(self.options, gradient_parts=parts, loss_chunk=loss_chunk)

    def gradients(self, inputs: Inputs) -> dict[str, Tensor]:
        """The terms of a batch; its gradients are added to the model's."""
        return gradient_cache.backward(
            self.fabric, self.wrapped, inputs, self.queued, self.options
        )[0]

    def __call__(self, inputs: Inputs) -> dict[str, Tensor]:
        """One whole step. The host does not wait for it."""
        found = self.gradients(inputs)
        self.fabric.clip_gradients(
            self.wrapped, self.optimiser, error_if_nonfinite=False, max_norm=self.options.clip_norm
        )
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return found
