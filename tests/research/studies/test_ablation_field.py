"""Rows of the field's ablation: each trains, is read in both ways, is compared with the base."""

import re
from pathlib import Path

import pytest
import yaml
from builders.small_run import SMALL, small_pairs

from research.studies import ablation, ablation_run, ablation_table
from research.studies.runs import Run

ROOT = Path(__file__).resolve().parents[3]
(LISTED,) = re.findall(r"```yaml\n(variants:.*?)```", (ROOT / "docs/paper.md").read_text(), re.S)
VARIANTS = ablation.read_variants(yaml.safe_load(LISTED)["variants"])
READ = {"field-cone-tokens", "field-cone"}  # directions


@pytest.fixture(scope="module")
def outcomes(tiny, tmp_path_factory):
    """Each variant, trained for two steps."""
    folder = tmp_path_factory.mktemp("field")
    dataset = small_pairs(tiny, folder / "pair", max_photos=3)
    base = ablation.base_values(ROOT / "params.yaml")
    base["model"]["changes"] = SMALL["model"]["changes"] | {"decoder": "linear"}
    base["pretrain"] |= SMALL["pretrain"]
    base["data"]["folder"] = str(dataset.folder)
    planned = ablation.plan_runs(base, VARIANTS, steps=2, seeds=[0], pairs="p")
    assert len({run.key for run in planned}) == len(VARIANTS) == 6
    return planned, {
        run.variant: ablation_run.run(run.values, str(folder / "pair"), folder / run.variant)
        for run in planned
    }


def test_every_row_trains_and_is_read_with_and_without_the_compass_it_has(outcomes):
    columns = {name: set(found["photos"]) for name, found in outcomes[1].items()}
    plain = columns["base"]
    assert {"place_hit10", "site_hit10", "error_m"} <= plain and len(columns) == 6
    blind = {f"unknown_{c}" for c in plain - {"photo_id", "site"} if not c.startswith("coord")}
    for name, found in columns.items():
        assert found == plain | (blind if name in READ else set())
    cone = outcomes[1]["field-cone"]["photos"]
    assert cone["coordinates_rank"] and len(cone["unknown_error_m"]) == 12


def test_both_readings_are_compared_with_the_bases_only_one(outcomes):
    planned, found = outcomes
    result = ablation_table.summarise(planned, [found[r.variant] for r in planned], bootstrap=20)
    table = result.table.set_index(["variant", "metric"])
    assert set(table.index.get_level_values(0)) == set(found)
    for m in ablation_table.UNKNOWN:
        rows = result.table[result.table["metric"] == m.name]
        assert set(rows["variant"]) == READ and result.chance[m.name] == result.chance[m.of]
        for row in rows.itertuples():
            expected = row.mean - table.loc[("base", m.of), "mean"]
            assert row.difference == pytest.approx(expected)
    shown = ablation_table.readable(result, VARIANTS)
    label = ablation_table.BY_NAME["site_recall_at_10_compass_unknown"].label
    assert shown.loc["base", label] == "-" and "pp" in shown.loc["field-cone", label]


def test_a_table_without_a_compass_has_no_column_for_it(outcomes):
    planned, found = outcomes
    kept = [Run("base", 0, {}, "a"), Run("field-ring", 0, {}, "b")]
    result = ablation_table.summarise(kept, [found[r.variant] for r in kept], bootstrap=20)
    assert not result.table["metric"].str.contains("unknown").any()
    assert not ablation_table.readable(result, VARIANTS[:1]).columns.str.contains("unknown").any()
