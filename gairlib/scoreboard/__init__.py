"""Every result of every task in one place: what is claimed, what is not, and where it came from.

`tables` gathers the long format, `claims` turns comparisons into sentences, `further` reads the
ablation, the stress tests and the location encoders, `board` puts them together, `page` writes
the sortable page reports/scoreboard.html.
"""
