"""The figures of pretraining on a GPU: `make bench-gpu`, or `python -m research.speed.gpu`.

One GPU of the H100 or H200 class, the published size (GAIRConfig.preset("base")), bfloat16:

| part        | figure                                                           | target      |
|-------------|------------------------------------------------------------------|-------------|
| utilisation | model FLOPs a second, as a share of the card's own product rate  | 45% or more |
| large_batch | a step of 16,384 pairs by gradient caching: peak memory          | 80 GB       |
| loader      | time with inputs at hand, as a share of time with the loader     | 95% or more |
| exactness   | loss and gradients of a divided batch against an undivided one   | rounding    |
| ranks       | the same of several GPUs against one (where there are several)   | rounding    |

Each part runs in a process of its own, so that one that runs out of memory, or breaks the device's
context, is recorded as failed and the others go on. metrics/bench_gpu.json is written anew after
each part; it says which device, driver and versions, which shapes, and with which command.

`--device cpu --quick` runs every path with tiny sizes: a test of the script, no measurement.
"""
