"""The style sheet of the report."""

from __future__ import annotations

from archscout.viz.style import FONT, MONO, page_variables

__all__ = ["report_style"]

_RULES = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 FONT;-webkit-text-size-adjust:100%}
main{max-width:1040px;margin:0 auto;padding:40px 24px 56px}
h1{font-size:30px;line-height:1.2;margin:4px 0 14px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:19px;line-height:1.3;margin:0 0 4px}
h3{font-size:15px;margin:22px 0 6px}
p{margin:0 0 10px}
a{color:var(--accent);text-underline-offset:2px}
.eyebrow{margin:0;color:var(--muted);font-size:14px}
.verdict{font-size:18px;line-height:1.5;max-width:46em;margin-bottom:20px;overflow-wrap:anywhere}
.verdict b{white-space:nowrap}
.note{color:var(--muted);font-size:14px;max-width:60em}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 18px}
.tile{background:var(--surface);border:1px solid var(--line);border-radius:10px;padding:12px 16px;max-width:280px}
.tile b{display:block;font-size:23px;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums}
.tile span{display:block;color:var(--muted);font-size:13px;line-height:1.4}
.tile.main{background:var(--tint);border-color:var(--accent)}
.tile.main b{color:var(--accent)}
.stages{display:flex;flex-wrap:wrap;gap:4px 22px;list-style:none;padding:0;margin:0;font-size:14px;color:var(--muted)}
.stages b{color:var(--ink);font-weight:600}
.stages .done::before{content:"\\2713\\00a0";color:var(--good)}
.stages .open::before{content:"\\2026\\00a0";color:var(--warn)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:18px 0 0;padding-top:14px;border-top:1px solid var(--line);
  font-size:14px}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
.warnings{background:var(--warn-tint);border-left:4px solid var(--warn);border-radius:6px;padding:12px 18px;
  margin:0 0 20px}
.warnings p{margin:2px 0;overflow-wrap:anywhere}
section{background:var(--surface);border:1px solid var(--line);border-radius:12px;padding:22px 26px 24px;
  margin-top:20px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:8px 28px;margin:10px 0 4px}
.facts div{min-width:0}
.facts dt{color:var(--muted);font-size:13px}
.facts dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin-top:10px}
table{border-collapse:collapse;font-size:14.5px;min-width:min(100%,600px)}
th{text-align:left;font-weight:600;font-size:13px;color:var(--muted);white-space:nowrap}
th,td{padding:7px 26px 7px 0;border-bottom:1px solid var(--line);vertical-align:top}
th:last-child,td:last-child{padding-right:6px}
tbody tr:last-child td{border-bottom:0}
td:not(.wide){white-space:nowrap}
td.wide{min-width:8.5em;max-width:26em;overflow-wrap:break-word}
.numeric{text-align:right;font-variant-numeric:tabular-nums}
tr.marked td{background:var(--tint);font-weight:600}
tr.marked td:first-child,tr td:first-child,tr th:first-child{padding-left:8px}
.badge{display:inline-block;border:1px solid currentColor;border-radius:99px;color:var(--accent);font-size:12px;
  line-height:1.35;padding:0 8px;margin-left:8px;font-weight:600}
pre{background:var(--raised);border:1px solid var(--line);border-radius:8px;padding:10px 14px;margin:8px 0 12px;
  overflow-x:auto;font:13px/1.55 MONO}
pre code{user-select:all;-webkit-user-select:all}
td pre{margin:6px 0;font-weight:400;white-space:pre}
td details{font-weight:400}
details{margin-top:12px}
td details{margin:0}
summary{cursor:pointer;color:var(--accent);font-size:14.5px}
td summary{font-size:13.5px}
.drawing{overflow-x:auto;margin:10px 0 0 -14px}
.drawing svg{display:block;height:auto;max-width:100%;min-width:min(100%,640px)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,380px),1fr));gap:14px 22px;margin-top:8px}
.charts svg{display:block;width:calc(100% + 12px);margin-left:-12px;height:auto;max-width:492px}
.command{margin-top:12px}
.command p{margin:0}
.command pre{white-space:pre-wrap;overflow-wrap:anywhere}
footer{color:var(--muted);font-size:13px;margin-top:26px}
@media (max-width:640px){
main{padding:24px 12px 40px}
section{padding:18px 14px 18px}
h1{font-size:25px}
.verdict{font-size:16.5px}
.tiles{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}
.tile{padding:10px 12px}
.tile b{font-size:19px;overflow-wrap:anywhere}
.tile{max-width:none}
.tile.main{grid-column:1/-1}
.drawing svg{min-width:600px;max-width:none}
}
@media print{
body{background:#fff;font-size:11pt}
main{max-width:none;padding:0 14px}
.tile b{font-size:17px}
nav{display:none}
section{border:0;padding:0;margin-top:22pt}
h2,h3{break-after:avoid}
svg,tr,.tile,.command{break-inside:avoid}
.drawing,.scroll,pre{overflow:visible;white-space:pre-wrap}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
"""


def report_style() -> str:
    """Palettes, drawings and page in one sheet."""
    return page_variables() + _RULES.replace("FONT", FONT).replace("MONO", MONO)
