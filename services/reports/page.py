"""A plain page of an evaluation: one self-contained HTML file."""

from html import escape

from services.reports.evaluation import Evaluation

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #8884; }
td { font-variant-numeric: tabular-nums; }
"""


def render(found: Evaluation, title: str = "Accuracy of a scoring job") -> str:
    """The page as HTML text."""
    cells = ((escape(c.combination), c.with_duplicates or "-", c.without_duplicates or "-") for c in found.combinations)
    rows = "".join(f"<tr><td>{name}</td><td>{both}</td><td>{alone}</td></tr>" for name, both, alone in cells)
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><p>Job {escape(found.job)}. "
        f"Share of products in the right category, with the 95 % interval (Wilson) and the number judged.</p>"
        f"<table><thead><tr><th>Combination</th><th>With duplicates</th><th>Without</th></tr></thead>"
        f"<tbody>{rows}</tbody></table><ul>{notes}</ul></body></html>\n"
    )
