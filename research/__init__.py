"""What the notebooks run. It imports `gairlib`, never the other way; a line imports those below it.

| package               | what it does                                                        |
|-----------------------|---------------------------------------------------------------------|
| `research.reports`    | the report and the scoreboard                                       |
| `research.speed`      | benchmarks of time and memory, CPU and GPU                          |
| `research.maps`       | map pages that open without a network; the explorer                 |
| `research.figures`    | Matplotlib, one module a subject                                    |
| `research.studies`    | ablation, stress tests, CoordBench: many runs and one sentence      |
| `research.pipeline`   | run a notebook, a stage, two at once, offline                       |
| `research.tasks`      | each benchmark: its question, its data, its run                     |
| `research.evaluation` | splits, probes, intervals, tables: how a number becomes a verdict   |
| `research.sample`     | the synthetic world that the tests and `make` run on                |
| `research.imports`    | which code a result depends on, read from the imports               |
"""
