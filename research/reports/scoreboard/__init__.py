"""Every result of every task in one place: what is claimed, what is not, and where it came from.

`tables` gathers the long format, `claims` turns comparisons into sentences, `registry` sets trained
location encoders against neighbours, `further` reads the ablation and the stress tests, `board`
puts them together, `page` writes the sortable page reports/scoreboard.html.
"""
