"""Loss and gradients of a divided batch against the undivided one, in float32 and in bfloat16.

Deviations are relative: the norm of the difference over the norm of what it should be, of the loss,
of all gradients together, and of the worst single parameter. Nothing is exactly equal on a GPU,
since products of other sizes are summed in another order, so two yardsticks stand beside: the same
undivided batch a second time, and bfloat16 against float32. A divided batch passes if it is within
1e-4 in float32 (TF32 off), and in bfloat16 nearer to the undivided one than that is to float32.
"""

import torch
from torch import Tensor

from gairlib.train.engine import Engine
from research.speed.gpu import machine
from research.speed.gpu.record import Sizes, reached
from research.speed.gpu.steps import Stepper, random_inputs
from research.speed.gpu.utilisation import options_for

TARGET = 1e-4  # float32
NEGLIGIBLE = 1e-5  # parameters whose gradient is a smaller share of the whole are not "worst"

Gradients = dict[str, Tensor]


def gradients(stepper: Stepper, inputs, parts: int, chunk: int) -> tuple[float, Gradients]:
    """Loss and gradients (float64, on the CPU) of a batch in so many parts."""
    stepper.divide(parts, chunk)
    stepper.optimiser.zero_grad(set_to_none=True)
    loss = stepper.gradients(inputs)["loss"]
    found = {
        name: p.grad.detach().double().cpu()
        for name, p in stepper.model.named_parameters()
        if p.grad is not None
    }
    stepper.optimiser.zero_grad(set_to_none=True)
    return float(loss), found


def deviation(one: tuple[float, Gradients], other: tuple[float, Gradients]) -> dict:
    """Of `one` from `other`, relative to `other`."""
    (loss, a), (true_loss, b) = one, other
    if set(a) != set(b):
        raise ValueError(f"gradients of different parameters: {sorted(set(a) ^ set(b))[:4]}")
    whole = sum(float(g.square().sum()) for g in b.values()) ** 0.5
    off = {name: float((a[name] - b[name]).norm()) for name in b}
    norm = {name: float(b[name].norm()) for name in b}
    shares = {k: off[k] / norm[k] for k in b if norm[k] > NEGLIGIBLE * whole}
    worst = max(shares, key=shares.get)
    return {
        "loss": abs(loss - true_loss) / abs(true_loss),
        "gradients": sum(v * v for v in off.values()) ** 0.5 / whole,
        "worst_parameter": shares[worst],
        "worst_parameter_name": worst,
    }


def run(sizes: Sizes, device: torch.device) -> dict:
    """Deviations in both precisions."""
    batch = random_inputs(sizes.config, sizes.exact_chips, sizes.photos, device)
    undivided, found = {}, {}
    # cuDNN multiplies float32 in TF32 unless told otherwise; cuBLAS does not
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for precision in ("32-true", "bf16-mixed"):
            options = options_for(sizes, sizes.exact_chips, precision=precision)
            stepper = Stepper(
                sizes.config, options, Engine(accelerator=device.type), queue=sizes.queue
            )
            whole = gradients(stepper, batch, 1, 0)
            divided = gradients(stepper, batch, sizes.exact_parts, sizes.loss_chunk)
            found[precision] = {
                "loss": whole[0],
                "divided": deviation(divided, whole),
                "undivided_again": deviation(gradients(stepper, batch, 1, 0), whole),
            }
            undivided[precision] = whole
            del stepper, divided
            machine.free()
    yardstick = deviation(undivided["bf16-mixed"], undivided["32-true"])
    exact, half = (found[p]["divided"] for p in ("32-true", "bf16-mixed"))
    name = f"{sizes.exact_chips * sizes.photos} pairs in {sizes.exact_parts} parts"
    return found | {
        "bf16_against_float32": yardstick,
        "pairs": sizes.exact_chips * sizes.photos,
        "parts": sizes.exact_parts,
        "loss_chunk": sizes.loss_chunk,
        "targets": [
            reached(
                f"{name}, float32: gradients within 1e-4",
                f"loss {exact['loss']:.1e}, gradients {exact['gradients']:.1e}",
                max(exact["loss"], exact["gradients"]) <= TARGET,
            ),
            reached(
                f"{name}, bfloat16: nearer than float32 is",
                f"loss {half['loss']:.1e}, gradients {half['gradients']:.1e} "
                f"(float32: {yardstick['gradients']:.1e})",
                half["gradients"] <= yardstick["gradients"],
            ),
        ],
    }
