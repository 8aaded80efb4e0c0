"""The style sheet of the index page and the scoreboard: light and dark, wide and narrow."""

STYLE = """
:root { color-scheme: light dark; --bg: #f5f6f7; --card: #fff; --ink: #1d2329; --soft: #5b6670;
  --line: #dfe3e7; --accent: #0b65a3; --synthetic: #8a5a00; --synthetic-bg: #fdf1d8;
  --real: #0b6b4c; --real-bg: #ddf3ea; --ours: #0b65a3; --worse: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --bg: #13171b; --card: #1d2329; --ink: #e8ebee;
  --soft: #a2adb7; --line: #343c44; --accent: #7cc0f4; --synthetic: #f3c876;
  --synthetic-bg: #3d3013;  --real: #7fd9b5; --real-bg: #123529; --ours: #7cc0f4;
  --worse: #fb923c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.01em; }
h2 { font-size: 21px; margin: 44px 0 12px; }
h3 { font-size: 16.5px; line-height: 1.35; margin: 0; }
p { margin: 6px 0; max-width: 76ch; }
a { color: var(--accent); }
.soft, figcaption, summary { color: var(--soft); font-size: 14px; }
.badge { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: 12.5px;
  font-weight: 600; vertical-align: 2px; white-space: nowrap; }
.synthetic { color: var(--synthetic); background: var(--synthetic-bg); }
.real { color: var(--real); background: var(--real-bg); }
.banner { border-radius: 10px; padding: 12px 16px; margin: 16px 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr));
  gap: 16px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px;
  display: flex; flex-direction: column; gap: 8px; min-width: 0; }
.card img { width: 100%; height: 250px; object-fit: contain; background: #fff; border-radius: 8px;
  border: 1px solid var(--line); }
.card img.tall { object-fit: cover; object-position: top; }
.name { font: 600 12.5px ui-monospace, monospace; color: var(--soft); overflow-wrap: anywhere; }
.value { font-size: 22px; font-weight: 650; line-height: 1.25; overflow-wrap: anywhere; }
.value small { font-size: 14px; font-weight: 400; color: var(--soft); white-space: nowrap; }
.pages { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr));
  gap: 12px; margin: 16px 0; }
.page { display: grid; gap: 2px; align-content: start; background: var(--card); padding: 12px 16px;
  border: 1px solid var(--line); border-radius: 12px; text-decoration: none; }
.page:hover, .page:focus-visible { border-color: var(--accent); }
.links { margin-top: auto; display: flex; gap: 16px; flex-wrap: wrap; align-items: baseline;
  font-size: 15px; padding-top: 4px; }
details > summary { cursor: pointer; }
details dl { display: grid; grid-template-columns: auto 1fr; gap: 1px 12px; font-size: 13px;
  margin: 6px 0; overflow-wrap: anywhere; }
dt { color: var(--soft); } dd { margin: 0; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; margin: 10px 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
td.strip { min-width: 190px; } td small { white-space: nowrap; color: var(--soft); }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.wins { color: var(--real); font-weight: 600; } .loses { color: var(--worse); font-weight: 600; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
.gallery.pair { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
figure { margin: 0; min-width: 0; } figcaption { font-size: 12.5px; line-height: 1.4;
  overflow-wrap: anywhere; }
.gallery img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 8px;
  display: block; }
.gallery.pair .two { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; }
@media (max-width: 600px) { main { padding: 18px 12px 48px; } h1 { font-size: 25px; }
  .card img { height: auto; max-height: 300px; }
  th, td { padding: 6px 9px; } .gallery { grid-template-columns: 1fr 1fr; } }
"""
